//! Runs a plan: one coordinator, a thread a running job, one channel between them.
//!
//! The coordinator alone starts jobs and emits events, in the order in which it saw things happen; a
//! job's thread only sends. It knows no stage: what a job's action means is the [`Runner`]'s.
//!
//! A failed job stops only what depends on it under [`Options::keep_going`]. Else it stops the run: the
//! running jobs are told to end, nothing more is started. A panic in a job is that job's failure.

mod queue;
mod send;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::event::{Ended, Event, JobFailure, Outcome, Summary};
use crate::fault::{Exit, Fault};
use crate::host::process::{ProcessError, Status};
use crate::host::secrets::Secrets;
use crate::plan::{Job, JobId, Plan, Stage};
use crate::progress::Progress;
use crate::stage::{Finish, Output};

use queue::Queue;
use send::{Message, Sender};

/// How often the coordinator looks up from an empty channel: for a request to stop, and signs of life.
const LOOK: Duration = Duration::from_millis(100);

/// Between two signs of life of a running job.
const ALIVE: Duration = Duration::from_secs(30);

/// What actions do. It also keeps their outputs, for the jobs that need them.
pub trait Runner<A>: Sync {
    /// Runs one job on a thread of its own. `cancel` is the run's request to stop or a failing sibling's.
    ///
    /// # Errors
    /// Become the job's failure: [`JobFailure::of`].
    fn run(&self, job: &Job<A>, cancel: &Cancel, progress: &dyn Progress) -> anyhow::Result<Finish>;
}

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run's name in the journal, and the command that the user gave.
    pub run: String,
    pub command: String,
    /// Jobs that run at once; at least one does.
    pub jobs: usize,
    /// How many of them may be of one stage; a stage that is not listed has no limit of its own.
    pub limits: BTreeMap<Stage, usize>,
    pub keep_going: bool,
    /// Taken out of every text of every event.
    pub secrets: Secrets,
}

impl Options {
    /// For a machine of `cores`: one `go build` or `go test` uses them all by itself, so a few at a time.
    pub fn new(cores: usize) -> Self {
        let few = (cores / 4).max(1);
        Self {
            run: String::new(),
            command: String::new(),
            jobs: cores.max(2),
            limits: BTreeMap::from([(Stage::Lint, few), (Stage::Test, few), (Stage::Build, few)]),
            keep_going: false,
            secrets: Secrets::default(),
        }
    }
}

/// Runs every job of `plan` that can be run. Every job ends exactly once, with one
/// [`Event::JobFinished`]; one that was not started has no [`Event::JobStarted`].
pub fn run<A: Sync>(
    plan: &Plan<A>,
    runner: &dyn Runner<A>,
    options: &Options,
    cancel: &Cancel,
    events: &mut dyn FnMut(&Event),
) -> Summary {
    let mut coordinator = Coordinator {
        plan,
        options,
        queue: Queue::new(plan, &options.limits),
        outcomes: plan.jobs.iter().map(|_| None).collect(),
        running: BTreeMap::new(),
        stop: cancel.child(),
        cancel,
        events,
        started: Instant::now(),
        told: false,
        warned: BTreeSet::new(),
    };
    coordinator.emit(Event::RunStarted {
        run: options.run.clone(),
        command: options.command.clone(),
        jobs: plan.jobs.len(),
    });
    coordinator.reject();
    std::thread::scope(|scope| {
        // Bounded: a job that prints faster than a terminal draws waits for it.
        let (sender, receiver) = mpsc::sync_channel(1024);
        loop {
            coordinator.start(scope, runner, &sender);
            if coordinator.running.is_empty() {
                break;
            }
            match receiver.recv_timeout(LOOK) {
                Ok(message) => coordinator.take(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            coordinator.signs_of_life();
            coordinator.tell_of_stop();
        }
    });
    coordinator.finish()
}

struct Running {
    started: Instant,
    seen: Instant,
}

struct Coordinator<'a, A> {
    plan: &'a Plan<A>,
    options: &'a Options,
    queue: Queue,
    /// By the job's place in the plan.
    outcomes: Vec<Option<(Outcome, u64)>>,
    running: BTreeMap<usize, Running>,
    /// What the jobs are told: the run's request to stop, or that a sibling failed.
    stop: Cancel,
    cancel: &'a Cancel,
    events: &'a mut dyn FnMut(&Event),
    started: Instant,
    told: bool,
    /// Warnings that were given: several jobs may have one and the same.
    warned: BTreeSet<(String, Option<String>)>,
}

impl<'plan, A: Sync> Coordinator<'plan, A> {
    /// Settles the jobs that the plan itself keeps from running.
    fn reject(&mut self) {
        for index in 0..self.plan.jobs.len() {
            if let Some(message) = self.queue.defect(index) {
                let failure = JobFailure::new(Exit::Failed, message);
                self.ended(index, Outcome::Failed(failure), None);
            }
        }
    }

    /// Starts what may start now.
    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        runner: &'plan (dyn Runner<A> + 'plan),
        sender: &SyncSender<Message>,
    ) where
        'plan: 'scope,
    {
        while self.running.len() < self.options.jobs.max(1) && !self.stop.is_set() {
            let Some(index) = self.queue.next() else { return };
            let plan = self.plan;
            let job = &plan.jobs[index];
            self.emit(Event::JobStarted { job: job.id.clone(), stage: job.stage, title: job.title.clone() });
            let now = Instant::now();
            self.running.insert(index, Running { started: now, seen: now });
            let sender = Sender::new(index, job.id.clone(), sender.clone());
            let cancel = self.stop.clone();
            let thread = std::thread::Builder::new().name(job.id.to_string());
            let spawned = thread.spawn_scoped(scope, move || {
                let result = catch_unwind(AssertUnwindSafe(|| runner.run(job, &cancel, &sender)));
                sender.ended(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
            });
            if let Err(error) = spawned {
                let message = format!("the system starts no more threads: {error}");
                self.ended(index, Outcome::Failed(JobFailure::new(Exit::Machine, message)), None);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.emit(event),
            Message::Ended(index, Ok(finish)) => {
                let Finish { output, cached, note } = finish;
                let outcome = if cached { Outcome::Cached { note } } else { Outcome::Done { note } };
                self.ended(index, outcome, (output != Output::Nothing).then_some(output));
            }
            Message::Ended(index, Err(error)) => {
                let failure = JobFailure::of(&error);
                let told = self.stop.is_set() && is_stop(&error, &failure);
                self.ended(index, if told { Outcome::Stopped } else { Outcome::Failed(failure) }, None);
            }
        }
    }

    fn ended(&mut self, index: usize, outcome: Outcome, output: Option<Output>) {
        let started = self.running.remove(&index).map(|running| running.started);
        let milliseconds = started.map_or(0, millis_since);
        let failed = !matches!(outcome, Outcome::Done { .. } | Outcome::Cached { .. });
        if matches!(outcome, Outcome::Failed(_)) && !self.options.keep_going {
            self.stop.set(2);
        }
        self.settle(index, outcome, milliseconds, output);
        if failed {
            let of = self.plan.jobs[index].id.clone();
            for dependent in self.queue.fail(index) {
                self.settle(dependent, Outcome::Skipped { of: of.clone() }, 0, None);
            }
        } else {
            self.queue.finish(index);
        }
    }

    fn settle(&mut self, index: usize, outcome: Outcome, milliseconds: u64, output: Option<Output>) {
        let job = self.plan.jobs[index].id.clone();
        let output = output.map(Box::new);
        let mut event = Event::JobFinished { job, outcome, milliseconds, output };
        self.clean(&mut event);
        (self.events)(&event);
        if let Event::JobFinished { outcome, .. } = event {
            self.outcomes[index] = Some((outcome, milliseconds));
        }
    }

    fn signs_of_life(&mut self) {
        let now = Instant::now();
        let mut alive = Vec::new();
        for (index, running) in &mut self.running {
            if now.duration_since(running.seen) >= ALIVE {
                running.seen = now;
                alive.push((*index, millis_since(running.started)));
            }
        }
        for (index, milliseconds) in alive {
            self.emit(Event::JobRunning { job: self.plan.jobs[index].id.clone(), milliseconds });
        }
    }

    /// Says once that a signal has come, while jobs are still ending.
    fn tell_of_stop(&mut self) {
        let running = self.running.len();
        if running > 0 && self.cancel.is_set() && !std::mem::replace(&mut self.told, true) {
            self.emit(Event::Warning {
                job: None,
                message: format!("stopping: {} to end", crate::report::measure::plural(running, "job")),
                hint: Some("interrupt again to kill at once".to_owned()),
            });
        }
    }

    /// Settles what was never started, and sums up.
    fn finish(mut self) -> Summary {
        let culprit = self.first_failure();
        for index in 0..self.plan.jobs.len() {
            if self.outcomes[index].is_none() {
                let outcome = match &culprit {
                    Some(of) if !self.cancel.is_set() => Outcome::Skipped { of: of.clone() },
                    _ => Outcome::Stopped,
                };
                self.settle(index, outcome, 0, None);
            }
        }
        let milliseconds = millis_since(self.started);
        let jobs: Vec<Ended> = std::iter::zip(&self.plan.jobs, std::mem::take(&mut self.outcomes))
            .filter_map(|(job, ended)| {
                let (outcome, milliseconds) = ended?;
                Some(Ended { job: job.id.clone(), title: job.title.clone(), outcome, milliseconds })
            })
            .collect();
        let exit = exit(&jobs, self.cancel.signal());
        self.emit(Event::RunFinished { exit, milliseconds });
        Summary { jobs, milliseconds, exit }
    }

    fn first_failure(&self) -> Option<JobId> {
        let failed = |outcome: &Option<(Outcome, u64)>| matches!(outcome, Some((Outcome::Failed(_), _)));
        self.outcomes.iter().position(failed).map(|index| self.plan.jobs[index].id.clone())
    }

    fn emit(&mut self, mut event: Event) {
        self.clean(&mut event);
        if let Event::Warning { message, hint, .. } = &event
            && !self.warned.insert((message.clone(), hint.clone()))
        {
            return;
        }
        (self.events)(&event);
    }

    /// What tools and errors say goes to terminals and logs: without secrets, and without what moves a
    /// cursor.
    fn clean(&self, event: &mut Event) {
        event.rewrite(&|text| {
            let clean = self.options.secrets.redact(text);
            let clean = send::printable(&clean).into_owned();
            *text = clean;
        });
    }
}

/// The exit code of a run: the most telling of its failures'.
///
/// A signal is what the user did, and comes first. A fault of use (2) and a broken machine (4) come before
/// what was found in spite of them, since they may be its cause; then that somebody else's release was in
/// the way (5), a gate's no (3), a failed job (1). "Outside, safe to run again" (6) is last: it is true only
/// where nothing else is wrong.
fn exit(jobs: &[Ended], signal: Option<i32>) -> u8 {
    const ORDER: [Exit; 6] =
        [Exit::Usage, Exit::Machine, Exit::Conflict, Exit::Gate, Exit::Failed, Exit::Outside];
    let failures = || {
        jobs.iter().filter_map(|ended| match &ended.outcome {
            Outcome::Failed(failure) => Some(failure.exit),
            _ => None,
        })
    };
    let all_well =
        jobs.iter().all(|ended| matches!(ended.outcome, Outcome::Done { .. } | Outcome::Cached { .. }));
    match signal {
        _ if all_well => 0,
        Some(2) => Exit::Interrupted as u8,
        Some(_) => Exit::Terminated as u8,
        None => ORDER
            .iter()
            .map(|exit| *exit as u8)
            .find(|exit| failures().any(|failure| failure == *exit))
            .unwrap_or(Exit::Failed as u8),
    }
}

/// The error of a job that ended because it was told to, whatever is said around that.
fn is_stop(error: &anyhow::Error, failure: &JobFailure) -> bool {
    const SIGNALS: [u8; 2] = [Exit::Interrupted as u8, Exit::Terminated as u8];
    let stopped = |cause: &(dyn std::error::Error + 'static)| {
        let told = cause.downcast_ref::<Fault>().is_some_and(|fault| SIGNALS.contains(&(fault.exit as u8)));
        told || matches!(cause.downcast_ref(), Some(ProcessError::Failed { status: Status::Cancelled, .. }))
    };
    SIGNALS.contains(&failure.exit) || error.chain().any(stopped)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    anyhow::anyhow!("internal: it panicked: {}", text.as_deref().unwrap_or("no message"))
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
