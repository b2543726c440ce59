//! The plan: jobs and what they wait for. Data: serialisable, acyclic, in a fixed order.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::platform::Platform;
pub use longshore_repository::stage::Stage;

/// A job's name, unique in its plan and the same in every run: `build:services:linux/amd64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

impl JobId {
    /// `parts` joined by colons.
    pub fn new(stage: Stage, parts: &[&str]) -> Self {
        let mut id = stage.name().to_owned();
        for part in parts {
            id.push(':');
            id.push_str(part);
        }
        Self(id)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known, before anything runs, of whether a job will find its work done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Run,
    Cached,
    /// It depends on the output of a job that will run.
    Depends,
}

/// One unit of work. `A` is what it does: the engine's [`crate::stage::Action`]; tests use their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job<A> {
    pub id: JobId,
    pub stage: Stage,
    pub service: Option<String>,
    pub platform: Option<Platform>,
    /// What a progress line says: "build gateway, orders, worker for linux/amd64".
    pub title: String,
    /// Finished before this one starts. Only ids that stand earlier in the plan.
    pub needs: Vec<JobId>,
    /// An estimate of seconds, for the order of starts only.
    pub cost: u32,
    pub state: State,
    /// Why it runs or need not, in a few words.
    pub why: String,
    pub action: A,
}

/// Jobs in an order in which they could run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan<A> {
    pub jobs: Vec<Job<A>>,
}
