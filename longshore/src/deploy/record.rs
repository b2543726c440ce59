//! What the ledger holds of an environment: what runs there, what is under way, what was done. Data alone.
//!
//! `PREFIX/env/ENV` is a ref whose tree has `state.json` ([`State`]) and a file a finished change below
//! `history/` ([`Entry`]). Every change of it is one commit by compare and swap, so whoever is not the holder
//! any more learns that before it touches anything.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::deploy::workload::Workload;
use crate::fault::{Exit, Fault};
use crate::host::process::ProcessId;
use crate::oci::types::Digest;
use crate::verdict::Scan;

/// The form of the records; a greater number is not read.
pub const SCHEMA: u32 = 1;

/// How many earlier workloads of a service are kept to go back to.
const TRAIL: usize = 20;

/// An environment now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub schema: u32,
    /// Who may change it now.
    pub holder: Option<Holder>,
    pub services: BTreeMap<String, Standing>,
    /// Promotions that somebody has agreed to, by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: BTreeMap<String, Approval>,
    /// Scans of what runs here, made since it was released: by the neutral manifest's digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scans: BTreeMap<Digest, Rescan>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            holder: None,
            services: BTreeMap::new(),
            approvals: BTreeMap::new(),
            scans: BTreeMap::new(),
        }
    }
}

/// A run that changes an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Another for every run.
    pub id: String,
    /// `Name <address>`
    pub by: String,
    pub host: String,
    /// Where the system can say it: whoever runs beside it sees whether it lives.
    pub process: Option<ProcessId>,
    pub command: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// Seconds at most between two of its commits: after that it counts as gone.
    pub patience: u64,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What runs, verified.
    pub current: Option<Running>,
    /// What was begun and is not known to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// What ran before, the newest last: the way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<Running>,
}

/// A workload that was seen to run well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub workload: Workload,
    /// [`Workload::hash`]
    pub hash: String,
    /// RFC 3339, UTC.
    pub since: String,
    pub by: String,
    pub via: Action,
}

/// A change that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// [`Holder::id`]
    pub id: String,
    /// What is to run; absent: nothing.
    pub workload: Option<Workload>,
    pub action: Action,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: String,
    /// When the version's commit was made, and who released it: for the history.
    #[serde(default)]
    pub origin: Origin,
}

/// Where a version comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Of the commit, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The environment that it was promoted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Deploy,
    Promote,
    Rollback,
    Down,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Down => "down",
        })
    }
}

/// Somebody's agreement to one promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Of the neutral image.
    pub digest: Digest,
    pub version: Version,
    pub by: String,
    /// RFC 3339, UTC.
    pub at: String,
}

/// A scan of what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescan {
    pub verdict: Scan,
    /// Of the database: its `UpdatedAt` (RFC 3339).
    pub database: Option<String>,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: String,
    /// In a few words.
    pub note: String,
}

/// A change that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub schema: u32,
    pub service: String,
    pub action: Action,
    pub outcome: Outcome,
    /// Absent: it was taken away.
    pub version: Option<Version>,
    /// Of the image that was to run.
    pub digest: Option<Digest>,
    pub neutral: Option<Digest>,
    /// The version that ran before.
    pub previous: Option<Version>,
    pub by: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub ended_at: String,
    #[serde(flatten)]
    pub origin: Origin,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs as wanted, healthy and verified.
    Verified,
    /// It did not; what ran before runs again.
    Restored,
    /// It did not, nor does what ran before.
    Failed,
}

impl State {
    /// Reads `state.json`.
    ///
    /// # Errors
    /// [`Exit::Machine`] for what can't be read, or is of a newer schema.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        read(bytes)
    }

    /// Notes how a pending change ended. Gives the entry for the history; `None` where none was pending.
    ///
    /// # Errors
    /// A defect: a workload that can't be written as JSON.
    pub fn settle(&mut self, service: &str, ended: &Ended<'_>) -> anyhow::Result<Option<Entry>> {
        let standing = self.services.entry(service.to_owned()).or_default();
        let Some(pending) = standing.pending.take() else { return Ok(None) };
        let before = standing.current.clone();
        let workload = pending.workload.as_ref();
        let entry = Entry {
            schema: SCHEMA,
            service: service.to_owned(),
            action: pending.action,
            outcome: ended.outcome,
            version: workload.map(|workload| workload.version.clone()),
            digest: workload.map(|workload| workload.image.digest.clone()),
            neutral: workload.map(|workload| workload.image.neutral.clone()),
            previous: before.as_ref().map(|running| running.workload.version.clone()),
            by: pending.by.clone(),
            started_at: pending.at.clone(),
            ended_at: ended.at.to_owned(),
            origin: pending.origin.clone(),
            why: ended.why.map(str::to_owned),
        };
        if ended.outcome == Outcome::Verified {
            standing.succeed(pending, before, ended.at)?;
            self.approvals.remove(service);
        }
        if self.services.values().all(|standing| standing.pending.is_none()) {
            self.holder = None;
        }
        Ok(Some(entry))
    }
}

/// How a change ended, and when (RFC 3339, UTC).
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    pub outcome: Outcome,
    pub why: Option<&'a str>,
    pub at: &'a str,
}

impl Standing {
    fn succeed(&mut self, pending: Pending, before: Option<Running>, at: &str) -> anyhow::Result<()> {
        let next = match pending.workload {
            Some(workload) => Some(Running {
                hash: workload.hash()?,
                workload,
                since: at.to_owned(),
                by: pending.by,
                via: pending.action,
            }),
            None => None,
        };
        let same = match (&next, &before) {
            (Some(next), Some(before)) => next.hash == before.hash,
            _ => false,
        };
        if same {
            // Put back as it was: it has run since then.
            return Ok(());
        }
        match (pending.action, &next) {
            // Going back takes what it goes back to from the trail, and does not leave the way to what it
            // came from: a second rollback goes further back.
            (Action::Rollback, Some(next)) => {
                if let Some(at) = self.trail.iter().rposition(|earlier| earlier.hash == next.hash) {
                    self.trail.truncate(at);
                } else {
                    self.trail.extend(before);
                }
            }
            _ => self.trail.extend(before),
        }
        let excess = self.trail.len().saturating_sub(TRAIL);
        self.trail.drain(..excess);
        self.current = next;
        Ok(())
    }
}

impl Entry {
    /// Reads a file of the history.
    ///
    /// # Errors
    /// As [`State::read`].
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        read(bytes)
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Form {
        schema: u32,
    }
    let bad = |what: String| {
        Fault::new(Exit::Machine, format!("a record of the environment's ledger can't be read: {what}"))
    };
    let form: Form = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if form.schema > SCHEMA {
        return Err(bad(format!("its schema is {}, this build knows {SCHEMA}", form.schema))
            .hint("use the version of this tool that wrote it, or a newer one")
            .into());
    }
    Ok(serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?)
}

#[cfg(test)]
mod tests;
