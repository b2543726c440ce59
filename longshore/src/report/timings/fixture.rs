//! A run whose times are known, for the tests of what is made of it.

use super::{Recorder, Timings};
use crate::event::{Event, JobFailure, Outcome};
use crate::fault::Exit;
use crate::plan::{Job, JobId, Plan, Stage, State};

/// A job: its stage, its name, what it needs.
pub(super) fn plan(jobs: &[(Stage, &str, &[&str])]) -> Plan<()> {
    let job = |(stage, name, needs): &(Stage, &str, &[&str])| Job {
        id: JobId((*name).to_owned()),
        stage: *stage,
        service: Some("orders".to_owned()),
        platform: Some("linux/amd64".parse().unwrap()),
        title: format!("the job {name}"),
        needs: needs.iter().map(|need| JobId((*need).to_owned())).collect(),
        cost: 1,
        state: State::Run,
        why: String::new(),
        action: (),
    };
    Plan { jobs: jobs.iter().map(job).collect() }
}

/// Takes down jobs that ran from a time to another.
pub(super) fn record(plan: &Plan<()>, ran: &[(&str, u64, u64, Outcome)], end: u64) -> Timings {
    let mut recorder = Recorder::new(plan, 1_750_000_000_000);
    recorder.event(
        100,
        &Event::RunStarted { run: "7-1".to_owned(), command: "release".to_owned(), jobs: plan.jobs.len() },
    );
    let mut events = Vec::new();
    for (name, start, stop, outcome) in ran {
        let job = JobId((*name).to_owned());
        let title = format!("the job {name}");
        if !matches!(outcome, Outcome::Skipped { .. }) {
            let stage = plan.jobs.iter().find(|known| known.id == job).unwrap().stage;
            events.push((*start, Event::JobStarted { job: job.clone(), stage, title }));
        }
        let milliseconds = stop - start;
        events
            .push((*stop, Event::JobFinished { job, outcome: outcome.clone(), milliseconds, output: None }));
    }
    // A stable sort: what a job frees is taken by one that was written later.
    events.sort_by_key(|(at, _)| *at);
    events.iter().for_each(|(at, event)| recorder.event(*at, event));
    let failed = ran.iter().any(|(.., outcome)| matches!(outcome, Outcome::Failed(_)));
    recorder.event(end, &Event::RunFinished { exit: u8::from(failed), milliseconds: end - 100 });
    recorder.finish()
}

pub(super) fn done() -> Outcome {
    Outcome::Done { note: "12.3 MB".to_owned() }
}

pub(super) fn cached() -> Outcome {
    Outcome::Cached { note: String::new() }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed(JobFailure::new(Exit::Failed, "no <b>luck</b>"))
}

/// One of everything: a lint that is cached, two builds on one place, an image, a failed test, a push.
pub(super) fn everything() -> Timings {
    let plan = plan(&[
        (Stage::Lint, "lint", &[]),
        (Stage::Build, "build:amd64", &[]),
        (Stage::Build, "build:arm64", &[]),
        (Stage::Image, "image", &["build:amd64", "build:arm64"]),
        (Stage::Test, "test", &[]),
        (Stage::Push, "push", &["image", "test"]),
    ]);
    record(
        &plan,
        &[
            ("lint", 100, 103, cached()),
            ("build:amd64", 100, 1100, done()),
            ("build:arm64", 1101, 3100, done()),
            ("image", 3100, 3500, done()),
            ("test", 103, 900, failed()),
            ("push", 0, 0, Outcome::Skipped { of: JobId("test".to_owned()) }),
        ],
        3600,
    )
}
