use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

use proptest::prelude::*;

use super::*;
use crate::fault::Fault;
use crate::plan::State;

/// What a job of a test does.
#[derive(Clone, Debug)]
enum Act {
    Succeed,
    Fail(Exit),
    /// Fails, where [`Act::Fail`] first waits for as many starts as its cost says.
    FailAtOnce,
    Panic,
    /// Waits until it is told to stop, and says so as processes do.
    Wait,
    /// Waits as that does, and tells of it as of a failure of its own.
    Complain,
    Print(&'static str),
    /// Sets the run's own request to stop, as a signal does.
    Interrupt(i32),
}

fn job(id: &str, needs: &[&str], cost: u32, act: Act) -> Job<Act> {
    let (stage, _) = id.split_once(':').unwrap_or(("build", ""));
    let stage = Stage::ALL.into_iter().find(|known| known.name() == stage).unwrap_or(Stage::Build);
    Job {
        id: JobId(id.to_owned()),
        stage,
        service: None,
        platform: None,
        title: id.to_owned(),
        needs: needs.iter().map(|need| JobId((*need).to_owned())).collect(),
        cost,
        state: State::Run,
        why: String::new(),
        action: act,
    }
}

/// Runs what the acts say, and keeps what it saw.
#[derive(Default)]
struct Fake {
    run: Cancel,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    started: Vec<String>,
    finished: BTreeSet<String>,
    running: BTreeMap<Stage, usize>,
    most: BTreeMap<Stage, usize>,
    most_at_once: usize,
    unmet: Vec<String>,
}

impl Fake {
    fn enter(&self, job: &Job<Act>) {
        let mut seen = self.seen.lock().unwrap();
        let unmet: Vec<String> = job
            .needs
            .iter()
            .map(|need| need.0.clone())
            .filter(|need| !seen.finished.contains(need))
            .collect();
        seen.unmet.extend(unmet);
        seen.started.push(job.id.0.clone());
        *seen.running.entry(job.stage).or_default() += 1;
        let (now, all) = (seen.running[&job.stage], seen.running.values().sum());
        let most = seen.most.entry(job.stage).or_default();
        *most = (*most).max(now);
        seen.most_at_once = seen.most_at_once.max(all);
        self.changed.notify_all();
    }

    /// Until `count` jobs have started: what a test's failure or signal comes after.
    fn until_started(&self, count: usize) {
        let seen = self.seen.lock().unwrap();
        drop(self.changed.wait_while(seen, |seen| seen.started.len() < count).unwrap());
    }
}

struct Left<'a>(&'a Fake, Stage);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        *self.0.seen.lock().unwrap().running.entry(self.1).or_default() -= 1;
    }
}

impl Runner<Act> for Fake {
    fn run(&self, job: &Job<Act>, cancel: &Cancel, progress: &dyn Progress) -> anyhow::Result<Finish> {
        self.enter(job);
        let _left = Left(self, job.stage);
        match job.action {
            Act::Succeed => {}
            Act::FailAtOnce => anyhow::bail!("broken"),
            Act::Fail(exit) => {
                self.until_started(usize::try_from(job.cost).unwrap());
                return Err(Fault::new(exit, "it is broken").hint("mend it").into());
            }
            Act::Panic => panic!("a {} of a job", "defect"),
            Act::Complain => {
                while !cancel.is_set() {
                    std::thread::yield_now();
                }
                let stopped = anyhow::Error::from(Fault::new(Exit::Interrupted, "stopped"));
                return Err(stopped.context(Fault::new(Exit::Machine, "could not unpack")));
            }
            Act::Wait => {
                while !cancel.is_set() {
                    std::thread::yield_now();
                }
                let command = job.id.0.clone();
                let failed = ProcessError::Failed { command, status: Status::Cancelled, tail: Vec::new() };
                return Err(anyhow::Error::from(failed).context("could not wait"));
            }
            Act::Print(line) => progress.line(line),
            Act::Interrupt(signal) => {
                self.until_started(usize::try_from(job.cost).unwrap());
                self.run.set(signal);
            }
        }
        self.seen.lock().unwrap().finished.insert(job.id.0.clone());
        Ok(Finish { output: Output::Nothing, cached: false, note: "5 B".to_owned() })
    }
}

struct Ran {
    fake: Fake,
    events: Vec<Event>,
    summary: Summary,
}

fn ran(jobs: Vec<Job<Act>>, change: impl FnOnce(&mut Options)) -> Ran {
    let mut options = Options::new(2);
    change(&mut options);
    let (fake, mut events) = (Fake::default(), Vec::new());
    let plan = Plan { jobs };
    let summary = run(&plan, &fake, &options, &fake.run, &mut |event| events.push(event.clone()));
    Ran { fake, events, summary }
}

impl Ran {
    fn word(&self, id: &str) -> &'static str {
        self.summary.jobs.iter().find(|ended| ended.job.0 == id).unwrap().outcome.word()
    }

    fn words(&self) -> Vec<&'static str> {
        self.summary.jobs.iter().map(|ended| ended.outcome.word()).collect()
    }
}

fn diamond(left: Act, right: Act) -> Vec<Job<Act>> {
    vec![
        job("lint:a", &[], 1, Act::Succeed),
        job("build:left", &["lint:a"], 2, left),
        job("test:right", &["lint:a"], 2, right),
        job("image:a", &["build:left", "test:right"], 1, Act::Succeed),
        job("push:a", &["image:a"], 1, Act::Succeed),
    ]
}

#[test]
fn a_diamond_runs_in_order() {
    let ran = ran(diamond(Act::Succeed, Act::Succeed), |_| {});
    assert_eq!(ran.words(), ["done"; 5]);
    assert_eq!(ran.summary.exit, 0);
    assert!(ran.fake.seen.lock().unwrap().unmet.is_empty());
    assert!(matches!(&ran.events[0], Event::RunStarted { jobs: 5, .. }));
    assert!(matches!(ran.events.last(), Some(Event::RunFinished { exit: 0, .. })));
    let done = Outcome::Done { note: "5 B".to_owned() };
    assert!(ran.summary.jobs.iter().all(|ended| ended.outcome == done));
}

#[test]
fn under_keep_going_a_failure_stops_only_what_needs_it() {
    let mut jobs = diamond(Act::Fail(Exit::Gate), Act::Succeed);
    jobs.push(job("scan:other", &[], 0, Act::Succeed));
    jobs.push(job("verify:other", &["scan:other"], 0, Act::Fail(Exit::Outside)));
    let ran = ran(jobs, |options| options.keep_going = true);
    assert_eq!(ran.words(), ["done", "failed", "done", "skipped", "skipped", "done", "failed"]);
    assert_eq!(ran.summary.exit, 3);
    let failure = ran.summary.failures().next().unwrap().1;
    assert_eq!(
        (failure.messages.concat().as_str(), failure.hint.as_deref()),
        ("it is broken", Some("mend it"))
    );
    let of = JobId("build:left".to_owned());
    assert_eq!(ran.summary.jobs[4].outcome, Outcome::Skipped { of });
}

#[test]
fn else_a_failure_stops_the_run_and_tells_those_that_run() {
    for told in [Act::Wait, Act::Complain] {
        let mut jobs = diamond(Act::Fail(Exit::Failed), told);
        jobs[1].cost = 3;
        jobs.push(job("scan:other", &["lint:a"], 0, Act::Succeed));
        let ran = ran(jobs, |_| {});
        assert_eq!(ran.words(), ["done", "failed", "stopped", "skipped", "skipped", "skipped"]);
        assert_eq!(ran.summary.exit, 1);
        assert!(!ran.fake.run.is_set(), "what one run's failure stops is that run");
    }
}

#[test]
fn a_signal_in_mid_run_ends_it_with_the_signals_code() {
    for (signal, exit) in [(2, 130), (15, 143)] {
        let mut jobs = diamond(Act::Interrupt(signal), Act::Wait);
        jobs[1].cost = 3;
        let ran = ran(jobs, |options| options.keep_going = true);
        assert_eq!(ran.words(), ["done", "done", "stopped", "skipped", "skipped"]);
        assert_eq!(ran.summary.exit, exit);
    }
}

#[test]
fn a_panic_is_a_failure() {
    let ran = ran(diamond(Act::Panic, Act::Succeed), |options| options.keep_going = true);
    assert_eq!(ran.word("build:left"), "failed");
    let failure = ran.summary.failures().next().unwrap().1;
    assert_eq!(failure.messages, ["internal: it panicked: a defect of a job"]);
    assert_eq!(ran.summary.exit, 1);
}

#[test]
fn a_plan_at_fault_runs_what_it_can_and_fails() {
    let jobs = vec![
        job("build:a", &["build:b"], 1, Act::Succeed),
        job("image:a", &["build:a"], 1, Act::Succeed),
        job("build:b", &[], 1, Act::Succeed),
        job("build:b", &[], 1, Act::Succeed),
    ];
    let ran = ran(jobs, |options| options.keep_going = true);
    assert_eq!(ran.words(), ["failed", "skipped", "done", "failed"]);
}

#[test]
fn the_longest_chain_goes_first() {
    let jobs = vec![
        job("lint:alone", &[], 5, Act::Succeed),
        job("test:alone", &[], 6, Act::Succeed),
        job("build:head", &[], 1, Act::Succeed),
        job("image:mid", &["build:head"], 1, Act::Succeed),
        job("scan:end", &["image:mid"], 9, Act::Succeed),
    ];
    let ran = ran(jobs, |options| options.jobs = 1);
    let started = &ran.fake.seen.lock().unwrap().started;
    assert_eq!(*started, ["build:head", "image:mid", "scan:end", "test:alone", "lint:alone"]);
}

#[test]
fn lines_lose_what_must_not_be_shown() {
    let jobs = vec![job("build:a", &[], 1, Act::Print("\u{1b}[31mtoken hunter-two\u{1b}[0m"))];
    let ran = ran(jobs, |options| options.secrets = Secrets::new(["hunter-two"]));
    let job = JobId("build:a".to_owned());
    assert!(ran.events.contains(&Event::JobOutput { job, line: "token ***".to_owned() }));
}

#[test]
fn the_most_telling_exit_wins() {
    let ended = |exit: Exit| Ended {
        job: JobId(String::new()),
        title: String::new(),
        outcome: Outcome::Failed(JobFailure::new(exit, "")),
        milliseconds: 0,
    };
    let of = |exits: &[Exit], signal| exit(&exits.iter().copied().map(ended).collect::<Vec<_>>(), signal);
    assert_eq!(of(&[Exit::Outside, Exit::Gate, Exit::Failed], None), 3);
    assert_eq!(of(&[Exit::Gate, Exit::Machine], None), 4);
    assert_eq!(of(&[Exit::Outside], None), 6);
    assert_eq!(of(&[Exit::Machine, Exit::Usage], None), 2);
    assert_eq!(of(&[Exit::Gate], Some(15)), 143);
    assert_eq!(of(&[], Some(2)), 0);
}

fn graphs() -> impl Strategy<Value = (Vec<Job<Act>>, usize, usize, bool)> {
    let node = (proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 0usize..3, 0u32..9, 0..10);
    (proptest::collection::vec(node, 1..25), 1usize..5, 1usize..3, any::<bool>()).prop_map(
        |(nodes, jobs, limit, keep_going)| {
            let mut plan: Vec<Job<Act>> = Vec::new();
            for (place, (needs, stage, cost, luck)) in nodes.into_iter().enumerate() {
                let needs: BTreeSet<String> = needs
                    .iter()
                    .filter(|_| place > 0)
                    .map(|need| plan[need.index(place)].id.0.clone())
                    .collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let id = format!("{}:{place}", ["build", "test", "scan"][stage]);
                let act = if luck == 0 { Act::FailAtOnce } else { Act::Succeed };
                plan.push(job(&id, &needs, cost, act));
            }
            (plan, jobs, limit, keep_going)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_job_ends_once_after_its_needs_within_the_limits((jobs, at_once, limit, keep_going) in graphs()) {
        let ran = ran(jobs.clone(), |options| {
            options.jobs = at_once;
            options.keep_going = keep_going;
            options.limits = BTreeMap::from([(Stage::Build, limit)]);
        });
        let mut ended: BTreeMap<&JobId, &Outcome> = BTreeMap::new();
        for event in &ran.events {
            match event {
                Event::JobStarted { job, .. } => prop_assert!(!ended.contains_key(job)),
                Event::JobFinished { job, outcome, .. } => prop_assert!(ended.insert(job, outcome).is_none()),
                _ => {}
            }
        }
        prop_assert_eq!(ended.len(), jobs.len());
        let well = |id: &JobId| matches!(ended[id], Outcome::Done { .. });
        for job in &jobs {
            prop_assert!(!well(&job.id) || job.needs.iter().all(&well));
            if keep_going && matches!(job.action, Act::Succeed) {
                prop_assert_eq!(well(&job.id), job.needs.iter().all(&well));
            }
        }
        let seen = ran.fake.seen.lock().unwrap();
        prop_assert!(seen.unmet.is_empty());
        prop_assert!(seen.most_at_once <= at_once);
        prop_assert!(seen.most.get(&Stage::Build).copied().unwrap_or(0) <= limit);
        let all_well = jobs.iter().all(|job| well(&job.id));
        prop_assert_eq!(ran.summary.exit, u8::from(!all_well));
    }
}
