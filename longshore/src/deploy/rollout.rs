//! Changes of an environment carried out: by the ledger's leave, through a driver, put back where they fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::deploy::book::Book;
use crate::deploy::difference::{self, Change};
use crate::deploy::image::{Made, Store};
use crate::deploy::record::{Ended, Holder, Outcome};
use crate::deploy::workload::Workload;
use crate::deploy::{Before, Driver, Step, Unhealthy};
use crate::execute::Runner;
use crate::fault::{Exit, Fault, Tail, exit_of};
use crate::host::clock;
use crate::plan::{Job, JobId, Plan, Stage, State};
use crate::progress::Progress;
use crate::stage::{Finish, Output};

/// Lines of a service's log that are told when it fails.
const TAIL: usize = 40;

/// One job: services that change together.
#[derive(Clone, Debug)]
pub struct Work {
    pub changes: Vec<Change>,
    /// Images that may have to be sent first.
    pub made: Vec<Made>,
    /// Until all of it is healthy, and again until what ran before is.
    pub timeout: Duration,
}

/// Carries out changes.
#[derive(Debug)]
pub struct Rollout<'a> {
    pub driver: &'a dyn Driver,
    pub book: Book<'a>,
    pub store: &'a Store,
    pub holder: Holder,
}

/// A job a service in the order of `needs`, or one for all where the driver works on the whole.
pub fn plan(
    changes: &[Change],
    made: &BTreeMap<String, Made>,
    timeout: &dyn Fn(&str) -> Duration,
    whole: bool,
) -> Plan<Work> {
    let ordered = difference::order(changes);
    let groups: Vec<Vec<&Change>> =
        if whole { vec![ordered] } else { ordered.into_iter().map(|change| vec![change]).collect() };
    let mut known = BTreeSet::new();
    let mut jobs = Vec::new();
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        let names: Vec<&str> = group.iter().map(|change| change.service.as_str()).collect();
        let id = JobId::new(Stage::Deploy, &names);
        let needs = group.iter().flat_map(|change| difference::needs(change));
        let needs = needs.map(|need| JobId::new(Stage::Deploy, &[need]));
        let needs: BTreeSet<JobId> = needs.filter(|need| known.contains(need)).collect();
        jobs.push(Job {
            id: id.clone(),
            stage: Stage::Deploy,
            service: (names.len() == 1).then(|| names.concat()),
            platform: None,
            title: group.iter().map(|change| title(change)).collect::<Vec<_>>().join(", "),
            needs: needs.into_iter().collect(),
            cost: 5,
            state: State::Run,
            why: group.iter().flat_map(|change| change.reasons.clone()).collect::<Vec<_>>().join("; "),
            action: Work {
                made: names.iter().filter_map(|name| made.get(*name).cloned()).collect(),
                timeout: names.iter().map(|name| timeout(name)).max().unwrap_or_default(),
                changes: group.into_iter().cloned().collect(),
            },
        });
        known.insert(id);
    }
    Plan { jobs }
}

/// `api 0.1.0 → 0.2.0`
pub fn title(change: &Change) -> String {
    let version = |workload: &Workload| workload.version.to_string();
    let service = &change.service;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) if from.version != to.version => {
            format!("{service} {} → {}", from.version, to.version)
        }
        (_, Some(to)) => format!("{service} {}", version(to)),
        (_, None) => format!("{service} down"),
    }
}

impl Runner<Work> for Rollout<'_> {
    fn run(&self, job: &Job<Work>, cancel: &Cancel, progress: &dyn Progress) -> anyhow::Result<Finish> {
        let work = &job.action;
        let began = Instant::now();
        progress.status("asking the ledger");
        self.book.check(&self.holder)?;
        if let Err(error) = self.send(work, progress) {
            // Nothing of the environment was touched.
            self.settle(work, Outcome::Restored, Some(&format!("{error:#}")))?;
            return Err(error);
        }
        let step = Step { cancel, progress, until: Instant::now() + work.timeout };
        if let Err(error) = self.apply(work, &step) {
            return Err(self.undo(work, error, cancel, progress));
        }
        self.settle(work, Outcome::Verified, None)?;
        let note = format!("healthy after {:.1} s", began.elapsed().as_secs_f64());
        let note = if work.changes.iter().all(|change| change.to.is_none()) { String::new() } else { note };
        Ok(Finish { output: Output::Nothing, cached: false, note })
    }
}

impl Rollout<'_> {
    fn send(&self, work: &Work, progress: &dyn Progress) -> anyhow::Result<()> {
        for made in &work.made {
            progress.status("the image");
            self.store.send(made, progress)?;
        }
        Ok(())
    }

    fn apply(&self, work: &Work, step: &Step<'_>) -> anyhow::Result<()> {
        let gone = work.changes.iter().filter(|change| change.to.is_none());
        let gone: Vec<String> = gone.map(|change| change.service.clone()).collect();
        if !gone.is_empty() {
            self.driver.down(&gone, step)?;
        }
        let wanted: Vec<Workload> = work.changes.iter().filter_map(|change| change.to.clone()).collect();
        if wanted.is_empty() { Ok(()) } else { self.driver.apply(&wanted, step) }
    }

    fn settle(&self, work: &Work, outcome: Outcome, why: Option<&str>) -> anyhow::Result<()> {
        let at = clock::rfc3339(clock::now());
        let ended = Ended { outcome, why, at: &at };
        work.changes.iter().try_for_each(|change| self.book.settle(&self.holder, &change.service, &ended))
    }

    /// Puts back what ran before; gives what the user is told.
    fn undo(
        &self,
        work: &Work,
        error: anyhow::Error,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> anyhow::Error {
        if let Err(lost) = self.book.check(&self.holder) {
            return lost.context(format!("{error:#}"));
        }
        progress.status("putting back what ran before");
        let cleanup = cancel.cleanup();
        let step = Step { cancel: &cleanup, progress, until: Instant::now() + work.timeout };
        let before: Vec<Before> = work
            .changes
            .iter()
            .map(|change| Before { service: change.service.clone(), workload: change.from.clone() })
            .collect();
        let restored = self.driver.restore(&before, &step);
        let outcome = if restored.is_ok() { Outcome::Restored } else { Outcome::Failed };
        let why = error.to_string();
        let settled = self.settle(work, outcome, Some(&why));
        let after = match &restored {
            Ok(()) => before.iter().map(put_back).collect::<Vec<_>>().join(", "),
            Err(failed) => format!("and what ran before could not be put back: {failed:#}"),
        };
        let mut told = told(error, &after, progress);
        if let Err(unsettled) = settled {
            told = told.context(format!("{unsettled:#}"));
        }
        told
    }
}

fn put_back(before: &Before) -> String {
    match &before.workload {
        Some(workload) => format!("{} {} was put back", before.service, workload.version),
        None => format!("{} was taken away", before.service),
    }
}

/// The failure with its exit code, what was done about it, and what the service printed last.
fn told(error: anyhow::Error, after: &str, progress: &dyn Progress) -> anyhow::Error {
    let unhealthy = error.chain().find_map(|cause| cause.downcast_ref::<Unhealthy>()).cloned();
    let exit = exit_of(&error);
    let hint = error.downcast_ref::<Fault>().and_then(|fault| fault.hint.clone());
    match unhealthy {
        Some(Unhealthy { service, why, log }) => {
            let first = log.len().saturating_sub(TAIL);
            let tail: Vec<String> = log[first..].iter().map(|line| format!("{service} | {line}")).collect();
            tail.iter().for_each(|line| progress.line(line));
            let fault = Fault::new(Exit::Failed, format!("`{service}` {why}; {after}"));
            anyhow::Error::from(Tail(tail)).context(fault)
        }
        None => {
            let message = format!("it was not deployed; {after}");
            error.context(Fault { exit, message, hint })
        }
    }
}
