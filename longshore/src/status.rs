//! Facts and decisions → what is released, what a release would do now, and what each environment
//! records. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Serialize;

use crate::closure::RepoPath;
use crate::deploy::Observed;
use crate::deploy::metrics::Metrics;
use crate::deploy::record::{Entry, Holder};
use crate::gather::{Facts, ServiceFacts};
use crate::oci::types::Digest;
use crate::version::{Bump, CommitId, Decision, Outcome};

/// Everything that `status` shows; its JSON is this.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub schema: u32,
    pub project: String,
    /// HEAD.
    pub commit: CommitId,
    pub branch: Option<String>,
    /// The chosen one: whose ledger the versions are from.
    pub environment: String,
    /// Something is uncommitted, an input or not: a release refuses.
    pub dirty: bool,
    /// With `--offline`: how old what is shown of the remote is, in seconds.
    pub age: Option<u64>,
    /// Why no version can be told: `next` of each service is unknown then.
    pub blocked: Option<String>,
    pub services: BTreeMap<String, ServiceStatus>,
    pub environments: BTreeMap<String, EnvironmentStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The newest version, pre-releases too.
    pub last: Option<Last>,
    /// The version that `commits` are counted from: the last stable one.
    pub since: Option<Version>,
    /// Since then, those that change its inputs, newest first.
    pub commits: Vec<Changed>,
    /// Why lint, test and build would look at it.
    pub affected: Vec<String>,
    pub next: Next,
    /// Its inputs that are not committed.
    pub dirty: Vec<RepoPath>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Last {
    pub version: Version,
    pub commit: CommitId,
    /// The three are absent where a Git tag is all that is known.
    pub digest: Option<Digest>,
    /// RFC 3339, UTC.
    pub released_at: Option<String>,
    /// `REGISTRY/SERVICE@DIGEST`
    pub reference: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub commit: CommitId,
    pub subject: String,
}

/// What a release would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Next {
    /// `step`: what goes up; absent for a first version, one that a tag asks for, and a graduation.
    Release {
        version: Version,
        step: Option<Bump>,
        tag: Option<String>,
    },
    /// HEAD has this version: every step of it is looked at, and done where it is missing.
    Finish {
        version: Version,
    },
    Nothing,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnvironmentStatus {
    /// As the user writes it.
    pub registry: String,
    /// How it is deployed to; absent: nothing can be.
    pub driver: Option<String>,
    /// What is recorded to run there, and what is seen of it.
    pub services: BTreeMap<String, Deployed>,
    /// Who changes it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// With `--history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    #[serde(flatten)]
    pub record: Record,
    /// How old that is, in seconds, where the remote was not asked now.
    pub age: Option<u64>,
}

/// What an environment's part of the ledger says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "recorded", rename_all = "kebab-case")]
pub enum Record {
    Nothing,
    /// The ledger's commit.
    At {
        commit: CommitId,
    },
    /// It could not be asked.
    Unknown {
        why: String,
    },
}

/// A service in an environment: what is recorded, and what is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// Absent: nothing is recorded to run.
    pub version: Option<Version>,
    /// Of the image that is recorded to run.
    pub digest: Option<Digest>,
    /// Of the version's neutral image.
    pub neutral: Option<Digest>,
    /// RFC 3339, UTC.
    pub since: Option<String>,
    pub by: Option<String>,
    /// A change of it was begun and is not known to have ended.
    pub pending: Option<String>,
    /// Absent: nothing of it is seen.
    pub observed: Option<Observed>,
    /// How what runs differs from what is recorded, a line each.
    pub drift: Vec<String>,
}

/// An environment's changes, and what they come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    pub metrics: Metrics,
    /// The oldest first.
    pub entries: Vec<Entry>,
}

/// What is known before a status is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub project: &'a str,
    pub environment: &'a str,
    pub facts: &'a Facts,
    /// What a release would decide, or why it can't.
    pub decisions: Result<&'a BTreeMap<String, Decision>, &'a str>,
    pub environments: &'a BTreeMap<String, EnvironmentStatus>,
    /// None: all.
    pub services: &'a BTreeSet<String>,
}

/// The status of the services asked for.
pub fn status(ground: Ground<'_>) -> Status {
    let facts = ground.facts;
    let wanted = |name: &str| ground.services.is_empty() || ground.services.contains(name);
    let services = facts.services.iter().filter(|(name, _)| wanted(name)).map(|(name, service)| {
        let decision = ground.decisions.ok().and_then(|decisions| decisions.get(name));
        (name.clone(), of_service(service, decision, facts))
    });
    let cut_off = "the history is cut off, so that no version can be told".to_owned();
    Status {
        schema: 1,
        project: ground.project.to_owned(),
        commit: facts.head.commit.clone(),
        branch: facts.head.branch.clone(),
        environment: ground.environment.to_owned(),
        dirty: !facts.dirty.is_clean(),
        age: facts.age,
        blocked: if facts.cut_off { Some(cut_off) } else { ground.decisions.err().map(str::to_owned) },
        services: services.collect(),
        environments: ground.environments.clone(),
    }
}

fn of_service(service: &ServiceFacts, decision: Option<&Decision>, facts: &Facts) -> ServiceStatus {
    let reasons = decision.into_iter().flat_map(|decision| &decision.reasons);
    let dirty = facts.dirty.entries.iter().map(|entry| &entry.path);
    ServiceStatus {
        last: last(service),
        since: service.base.as_ref().map(|base| base.version.clone()),
        commits: reasons
            .map(|reason| Changed { commit: reason.commit.clone(), subject: reason.subject.clone() })
            .collect(),
        affected: service.affected.clone(),
        next: decision.map_or(Next::Unknown, next),
        dirty: dirty.filter(|path| service.inputs.closure.touches(path)).cloned().collect(),
    }
}

fn last(service: &ServiceFacts) -> Option<Last> {
    if let Some(record) = &service.newest {
        return Some(Last {
            version: record.version.clone(),
            commit: record.commit.clone(),
            digest: Some(record.digest.clone()),
            released_at: Some(record.released_at.clone()),
            reference: Some(record.reference()),
        });
    }
    let known = service.survey.known.iter().max_by_key(|known| known.version.clone())?;
    Some(Last {
        version: known.version.clone(),
        commit: known.commit.clone(),
        digest: None,
        released_at: None,
        reference: None,
    })
}

fn next(decision: &Decision) -> Next {
    match &decision.outcome {
        Outcome::Release(version) => {
            Next::Release { version: version.clone(), step: decision.bump, tag: decision.request.clone() }
        }
        Outcome::Recorded(version) => Next::Finish { version: version.clone() },
        Outcome::Unchanged => Next::Nothing,
        // Only where the history is cut off.
        Outcome::Snapshot(_) => Next::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Reason;
    use crate::version::level::Kind;

    fn id(digit: char) -> CommitId {
        std::iter::repeat_n(digit, 40).collect::<String>().parse().unwrap()
    }

    fn decision(outcome: Outcome) -> Decision {
        let reason = Reason {
            commit: id('b'),
            kind: Kind::Feature,
            subject: "feat: x".into(),
            text: "x".into(),
            merge: false,
            inputs: Vec::new(),
        };
        Decision { previous: None, outcome, bump: Some(Bump::Minor), request: None, reasons: vec![reason] }
    }

    #[test]
    fn every_outcome_is_told() {
        let version = Version::new(0, 2, 0);
        assert_eq!(
            next(&decision(Outcome::Release(version.clone()))),
            Next::Release { version: version.clone(), step: Some(Bump::Minor), tag: None }
        );
        assert_eq!(
            next(&decision(Outcome::Recorded(version.clone()))),
            Next::Finish { version: version.clone() }
        );
        assert_eq!(next(&decision(Outcome::Unchanged)), Next::Nothing);
        assert_eq!(next(&decision(Outcome::Snapshot(version))), Next::Unknown);
    }

    #[test]
    fn the_forms_of_the_json_are_tagged() {
        let release = Next::Release { version: Version::new(0, 2, 0), step: Some(Bump::Minor), tag: None };
        assert_eq!(
            serde_json::to_value(&release).unwrap(),
            serde_json::json!({ "action": "release", "version": "0.2.0", "step": "minor", "tag": null })
        );
        let record = serde_json::to_value(Record::Nothing).unwrap();
        assert_eq!(record, serde_json::json!({ "recorded": "nothing" }));
    }
}
