//! When each job of a run ran, and what the run's end waited for. Pure: of a plan, of events, and of when
//! they came. It draws [`page`] and makes the spans of a [`trace`]; who writes and sends them is the command.

#[cfg(test)]
mod fixture;
pub mod page;
#[cfg(test)]
mod tests;
pub mod trace;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{Event, Outcome};
use crate::plan::{JobId, Plan, Stage};
use crate::platform::Platform;

pub const SCHEMA: u32 = 1;

/// A job that starts at most so many milliseconds after it could has waited for nothing.
const AT_ONCE: u64 = 5;

/// `dist/timings.json`. Every time is in milliseconds, and counts from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timings {
    pub schema: u32,
    pub run: String,
    /// The arguments that the user gave.
    pub command: String,
    /// Since 1970.
    pub started: u64,
    pub milliseconds: u64,
    /// Until the first job could start: locks, facts, decision, plan, tools.
    pub preparation: u64,
    pub exit: u8,
    /// In the order of the plan.
    pub jobs: Vec<Timing>,
    /// What the end of the run waited for, from the first job to the last.
    pub critical: Vec<Step>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timing {
    pub id: JobId,
    pub stage: Stage,
    pub service: Option<String>,
    pub platform: Option<Platform>,
    pub title: String,
    pub needs: Vec<JobId>,
    /// Absent where it was not started.
    pub start: Option<u64>,
    pub milliseconds: u64,
    /// Between the end of what it needs and its start: other jobs had its place.
    pub waited: u64,
    /// "done", "cached", "failed", "skipped", "stopped".
    pub result: &'static str,
    /// A few words on the result: a size, the first message of a failure.
    pub note: String,
}

/// A job of the critical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub job: JobId,
    pub after: After,
}

/// Why a job did not start earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// The run began.
    Start,
    /// It needs the job before it.
    Need,
    /// The job before it had its place.
    Place,
}

/// Takes down a run as it goes on.
#[derive(Debug)]
pub struct Recorder {
    timings: Timings,
    places: BTreeMap<JobId, usize>,
}

impl Timing {
    pub fn end(&self) -> Option<u64> {
        self.start.map(|start| start + self.milliseconds)
    }
}

impl Timings {
    pub fn job(&self, id: &JobId) -> Option<&Timing> {
        self.jobs.iter().find(|job| job.id == *id)
    }

    pub fn count(&self, result: &str) -> usize {
        self.jobs.iter().filter(|job| job.result == result).count()
    }
}

impl Recorder {
    /// Of a run that began at `started`, in milliseconds since 1970.
    pub fn new<A>(plan: &Plan<A>, started: u64) -> Self {
        let jobs: Vec<Timing> = plan
            .jobs
            .iter()
            .map(|job| Timing {
                id: job.id.clone(),
                stage: job.stage,
                service: job.service.clone(),
                platform: job.platform.clone(),
                title: job.title.clone(),
                needs: job.needs.clone(),
                start: None,
                milliseconds: 0,
                waited: 0,
                result: Outcome::Stopped.word(),
                note: String::new(),
            })
            .collect();
        let places = jobs.iter().enumerate().map(|(place, job)| (job.id.clone(), place)).collect();
        let timings = Timings {
            schema: SCHEMA,
            run: String::new(),
            command: String::new(),
            started,
            milliseconds: 0,
            preparation: 0,
            exit: 0,
            jobs,
            critical: Vec::new(),
        };
        Self { timings, places }
    }

    /// Takes down an event that came `at` milliseconds after the start of the run.
    pub fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::RunStarted { run, command, .. } => {
                self.timings.run.clone_from(run);
                self.timings.command.clone_from(command);
                self.timings.preparation = at;
            }
            Event::JobStarted { job, title, .. } => {
                if let Some(job) = self.job(job) {
                    job.start = Some(at);
                    job.title.clone_from(title);
                }
            }
            Event::JobFinished { job, outcome, .. } => {
                if let Some(job) = self.job(job) {
                    job.milliseconds = job.start.map_or(0, |start| at.saturating_sub(start));
                    job.result = outcome.word();
                    job.note = note(outcome);
                }
            }
            Event::RunFinished { exit, .. } => {
                self.timings.exit = *exit;
                self.timings.milliseconds = at;
            }
            Event::JobRunning { .. }
            | Event::JobProgress { .. }
            | Event::JobStatus { .. }
            | Event::JobOutput { .. }
            | Event::Warning { .. } => {}
        }
    }

    /// What was taken down, with what follows from it.
    pub fn finish(mut self) -> Timings {
        for place in 0..self.timings.jobs.len() {
            let ready = self.need(place).and_then(|need| self.timings.jobs[need].end());
            let ready = ready.unwrap_or(self.timings.preparation);
            let job = &mut self.timings.jobs[place];
            job.waited = job.start.map_or(0, |start| start.saturating_sub(ready));
        }
        self.timings.critical = self.critical();
        self.timings
    }

    fn job(&mut self, id: &JobId) -> Option<&mut Timing> {
        self.timings.jobs.get_mut(*self.places.get(id)?)
    }

    /// Of what a job needs, the one that ended last.
    fn need(&self, place: usize) -> Option<usize> {
        let needs = self.timings.jobs[place].needs.iter().filter_map(|id| self.places.get(id).copied());
        needs.filter(|need| self.timings.jobs[*need].start.is_some()).max_by_key(|need| self.end(*need))
    }

    /// Of all jobs, the one that ended last before this one's start.
    fn before(&self, place: usize) -> Option<usize> {
        let start = self.timings.jobs[place].start?;
        let ended = |other: &usize| *other != place && self.end(*other).is_some_and(|end| end <= start);
        (0..self.timings.jobs.len()).filter(ended).max_by_key(|other| self.end(*other))
    }

    fn end(&self, place: usize) -> Option<u64> {
        self.timings.jobs[place].end()
    }

    /// From the job that ended last back to the start: each time to what kept the job from starting earlier.
    fn critical(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut seen = vec![false; self.timings.jobs.len()];
        let started = |place: &usize| self.timings.jobs[*place].start.is_some();
        let mut next = (0..self.timings.jobs.len()).filter(started).max_by_key(|place| self.end(*place));
        while let Some(place) = next {
            seen[place] = true;
            let need = self.need(place);
            let other = self.before(place).filter(|_| self.timings.jobs[place].waited > AT_ONCE);
            // The later of both; a job that began in the run's first moment comes after nothing.
            let other = other.filter(|other| need.is_none_or(|need| self.end(*other) > self.end(need)));
            let (after, before) = match (other, need) {
                (Some(other), _) => (After::Place, Some(other)),
                (None, Some(need)) => (After::Need, Some(need)),
                (None, None) => (After::Start, None),
            };
            steps.push(Step { job: self.timings.jobs[place].id.clone(), after });
            next = before.filter(|before| !seen[*before]);
        }
        steps.reverse();
        steps
    }
}

fn note(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { note } | Outcome::Cached { note } => note.clone(),
        Outcome::Failed(failure) => failure.messages.first().cloned().unwrap_or_default(),
        Outcome::Skipped { of } => format!("because of {of}"),
        Outcome::Stopped => String::new(),
    }
}
