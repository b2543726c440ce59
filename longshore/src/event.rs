//! What happened: one type, which is a line of the journal, a line of `--progress json`, and what a
//! reporter draws. Pure data.

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Tail};
use crate::host::process::ProcessError;
use crate::plan::{JobId, Stage};

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
#[serde(tag = "outcome", rename_all = "kebab-case")]
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

impl JobFailure {
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
        }
        if let Some(fault) = error.downcast_ref::<Fault>() {
            failure.hint.clone_from(&fault.hint);
        }
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
