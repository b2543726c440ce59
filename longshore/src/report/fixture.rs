//! A run that has something of everything, for the tests of the reporters.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use super::{Reporter, Writer};
use crate::event::{Ended, Event, JobFailure, Outcome, Summary, Unit};
use crate::plan::{JobId, Stage};

/// What a reporter wrote.
#[derive(Clone, Default)]
pub(super) struct Page(Rc<RefCell<Vec<u8>>>);

impl Page {
    pub(super) fn writer(&self) -> Writer {
        Box::new(self.clone())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn id(name: &str) -> JobId {
    JobId(name.to_owned())
}

fn failure() -> JobFailure {
    JobFailure {
        exit: 3,
        messages: vec!["tests failed".to_owned(), "`go test ./...` failed: exit status 1".to_owned()],
        hint: Some("run `go test ./services/orders`".to_owned()),
        command: Some("go test ./...".to_owned()),
        status: Some("exit status 1".to_owned()),
        tail: vec!["--- FAIL: TestOrder".to_owned(), "FAIL".to_owned()],
    }
}

fn outcomes() -> Vec<(&'static str, &'static str, Outcome, u64)> {
    let note = |note: &str| note.to_owned();
    vec![
        ("lint:gateway", "lint gateway", Outcome::Cached { note: String::new() }, 3),
        ("build:services", "build gateway, orders", Outcome::Done { note: note("12.3 MB") }, 4_200),
        ("image:gateway", "image gateway", Outcome::Done { note: String::new() }, 900),
        ("test:orders", "test orders", Outcome::Failed(failure()), 3_100),
        ("scan:gateway", "scan gateway", Outcome::Stopped, 100),
        ("push:gateway", "push gateway", Outcome::Skipped { of: id("scan:gateway") }, 0),
    ]
}

pub(super) fn summary() -> Summary {
    let jobs = outcomes()
        .into_iter()
        .map(|(job, title, outcome, milliseconds)| {
            let title = title.to_owned();
            Ended { job: id(job), title, outcome, milliseconds }
        })
        .collect();
    Summary { jobs, milliseconds: 125_000, exit: 3 }
}

pub(super) fn events() -> Vec<Event> {
    let mut events = vec![Event::RunStarted { run: "1".to_owned(), command: "release".to_owned(), jobs: 6 }];
    for (job, title, outcome, milliseconds) in outcomes() {
        let job = id(job);
        if !matches!(outcome, Outcome::Skipped { .. }) {
            let stage = Stage::ALL.into_iter().find(|stage| job.0.starts_with(stage.name())).unwrap();
            events.push(Event::JobStarted { job: job.clone(), stage, title: title.to_owned() });
        }
        if job.0 == "build:services" {
            let job = || job.clone();
            events.push(Event::JobStatus { job: job(), status: "compiling".to_owned() });
            let (done, total, unit) = (3_400_000, Some(12_300_000), Unit::Bytes);
            events.push(Event::JobProgress { job: job(), done, total, unit });
            events.push(Event::JobOutput { job: job(), line: "go: downloading".to_owned() });
            events.push(Event::JobRunning { job: job(), milliseconds: 30_000 });
            events.push(Event::Warning {
                job: Some(job()),
                message: "the cache is damaged".to_owned(),
                hint: Some("`clean` empties it".to_owned()),
            });
        }
        events.push(Event::JobFinished { job, outcome, milliseconds, output: None });
    }
    events.push(Event::RunFinished { exit: 3, milliseconds: 125_000 });
    events
}

/// Shows the whole run to `reporter`.
pub(super) fn show(reporter: &mut dyn Reporter) {
    for event in events() {
        reporter.event(&event);
    }
    reporter.finish(&summary());
}
