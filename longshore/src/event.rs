//! What happened: one type, which is a line of the journal, a line of `--progress json`, and what a
//! reporter draws. Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::{Exit, Fault, Tail};
use crate::host::process::ProcessError;
use crate::plan::{JobId, Stage};
use crate::stage::Output;

/// One thing that happened in a run, in the order in which the coordinator saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The plan is fixed; `jobs` of it will be looked at.
    RunStarted {
        run: String,
        command: String,
        jobs: usize,
    },
    JobStarted {
        job: JobId,
        stage: Stage,
        title: String,
    },
    /// A sign of life of a job that takes long: after half a minute, then every half minute.
    JobRunning {
        job: JobId,
        milliseconds: u64,
    },
    /// How far a job has come. `total` is absent while it is not known; `unit` is "bytes" or "steps".
    JobProgress {
        job: JobId,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    },
    /// What a job is at, in a few words, as "downloading the database".
    JobStatus {
        job: JobId,
        status: String,
    },
    /// A line that a job's tool printed. Secrets are already redacted.
    JobOutput {
        job: JobId,
        line: String,
    },
    JobFinished {
        job: JobId,
        outcome: Outcome,
        milliseconds: u64,
        /// What it leaves, where that is something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Box<Output>>,
    },
    /// Something that the user should know and that stops nothing.
    Warning {
        job: Option<JobId>,
        message: String,
        hint: Option<String>,
    },
    RunFinished {
        exit: u8,
        milliseconds: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Bytes,
    Steps,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran. `note` is a few words for the summary, as "12.3 MB".
    Done {
        note: String,
    },
    /// Its result was already there.
    Cached {
        note: String,
    },
    Failed(JobFailure),
    /// Not started, because `of` failed or was stopped.
    Skipped {
        of: JobId,
    },
    /// Stopped by a signal or by a failure elsewhere.
    Stopped,
}

/// Everything the final summary repeats of a failed job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// The exit code of the whole run that this failure asks for.
    pub exit: u8,
    /// `error:` and its causes, outermost first.
    pub messages: Vec<String>,
    pub hint: Option<String>,
    /// The command, as a user could type it, where one was run.
    pub command: Option<String>,
    /// "exit status 2", "killed by signal 9", "timed out after 10m".
    pub status: Option<String>,
    /// The last lines that it printed.
    pub tail: Vec<String>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Every job of the plan, with how it ended and its milliseconds, in the order of the plan.
    pub jobs: Vec<Ended>,
    pub milliseconds: u64,
    /// The exit code that the jobs and the signal ask for; 0 where all is done.
    pub exit: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub job: JobId,
    pub title: String,
    pub outcome: Outcome,
    pub milliseconds: u64,
}

impl Summary {
    pub fn failures(&self) -> impl Iterator<Item = (&Ended, &JobFailure)> {
        self.jobs.iter().filter_map(|ended| match &ended.outcome {
            Outcome::Failed(failure) => Some((ended, failure)),
            _ => None,
        })
    }

    /// How many jobs ended in each way: "done", "cached", "failed", "skipped", "stopped".
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for ended in &self.jobs {
            *counts.entry(ended.outcome.word()).or_default() += 1;
        }
        counts
    }
}

impl Outcome {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Cached { .. } => "cached",
            Self::Failed(_) => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Stopped => "stopped",
        }
    }
}

impl Event {
    /// Applies `change` to every text in it that a tool or an error may have written.
    pub fn rewrite(&mut self, change: &dyn Fn(&mut String)) {
        match self {
            Self::RunStarted { command: text, .. }
            | Self::JobStarted { title: text, .. }
            | Self::JobStatus { status: text, .. }
            | Self::JobOutput { line: text, .. } => change(text),
            Self::Warning { message, hint, .. } => {
                change(message);
                hint.iter_mut().for_each(change);
            }
            Self::JobFinished { outcome, .. } => match outcome {
                Outcome::Done { note } | Outcome::Cached { note } => change(note),
                Outcome::Failed(failure) => {
                    let lines = failure.messages.iter_mut().chain(&mut failure.tail);
                    lines.chain(&mut failure.hint).chain(&mut failure.command).for_each(change);
                }
                Outcome::Skipped { .. } | Outcome::Stopped => {}
            },
            Self::JobRunning { .. } | Self::JobProgress { .. } | Self::RunFinished { .. } => {}
        }
    }
}

impl JobFailure {
    /// A failure without an error behind it.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::of(&Fault::new(exit, message).into())
    }

    /// What the chain of `error` holds: its messages, and the command, exit and remedy found on the way.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let mut failure = Self {
            exit: crate::fault::exit_of(error) as u8,
            messages: Vec::new(),
            hint: None,
            command: None,
            status: None,
            tail: Vec::new(),
        };
        for cause in error.chain() {
            if let Some(Tail(lines)) = cause.downcast_ref() {
                failure.tail.clone_from(lines);
                continue;
            }
            let message = cause.to_string();
            if failure.messages.last() != Some(&message) {
                failure.messages.push(message);
            }
            if let Some(ProcessError::Failed { command, status, tail }) = cause.downcast_ref() {
                failure.command = Some(command.clone());
                failure.status = Some(status.to_string());
                failure.tail.clone_from(tail);
            }
            // Without a program there is no verdict, whoever forgot to say so.
            if failure.exit == Exit::Failed as u8
                && matches!(
                    cause.downcast_ref(),
                    Some(ProcessError::Missing { .. } | ProcessError::Start { .. })
                )
            {
                failure.exit = Exit::Machine as u8;
            }
        }
        if let Some(fault) = error.downcast_ref::<Fault>() {
            failure.hint.clone_from(&fault.hint);
        }
        failure.hint = failure.hint.or_else(|| crate::fault::lacking(error).map(str::to_owned));
        failure
    }
}

impl std::fmt::Display for JobFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

/// A failure that one job found and another one reports.
impl std::error::Error for JobFailure {}
