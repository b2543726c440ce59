//! From what commits touch to the next version of each service. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use crate::config::OtherCommits;
use crate::digest::Digest;
use crate::version::level::{Bump, Kind, core, pre_number, with_pre};
use crate::version::reason::{Inputs, Reason};
use crate::version::{Commit, CommitId, Known, TagForm, VersionError};

/// What is known of one service. Where one version is for all services, `known`, `base` and `commits`
/// are those of all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub name: &'a str,
    pub form: &'a TagForm,
    /// From [`crate::version::survey`].
    pub known: &'a [Known],
    /// The tag at HEAD that asks for a version, and the version.
    pub requested: Option<&'a (String, Version)>,
    /// From [`crate::version::base`].
    pub base: Option<&'a Known>,
    pub inputs: Inputs<'a>,
    /// Those that HEAD has and the base's commit has not (all of them without a base), newest first.
    pub commits: &'a [Commit],
    /// Those of them that count, where an earlier decision found them.
    pub reasons: Option<&'a [Reason]>,
}

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: CommitId,
    pub mode: Mode,
    /// Instead of what the commits ask for.
    pub bump: Option<Bump>,
    /// Services that `bump` is for even if no commit asks for a release: those named.
    pub named: BTreeSet<String>,
    /// `stages.versions.other`.
    pub other: OtherCommits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    /// With a label: `rc`.
    Pre(String),
    /// With a hash of the content of each service whose inputs are not committed.
    Snapshot {
        dirty: BTreeMap<String, Digest>,
    },
}

/// What follows for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The version that this one follows.
    pub previous: Option<Version>,
    pub outcome: Outcome,
    /// What went up; `None` for the first version, a requested one, and a graduation alone.
    pub bump: Option<Bump>,
    /// The tag that asked.
    pub request: Option<String>,
    /// The commits that touch the service since `previous`, newest first, released or not.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new version, of HEAD.
    Release(Version),
    /// HEAD has this version already: to be finished from its record.
    Recorded(Version),
    /// No commit asks for one.
    Unchanged,
    /// Never recorded, never a Git tag.
    Snapshot(Version),
}

impl Outcome {
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Release(version) | Self::Recorded(version) | Self::Snapshot(version) => Some(version),
            Self::Unchanged => None,
        }
    }
}

/// The version of every service.
///
/// # Errors
/// The first service that can't have one; see [`VersionError`].
pub fn decide(
    services: &[Service<'_>],
    request: &Request,
) -> Result<BTreeMap<String, Decision>, VersionError> {
    let mut groups: BTreeMap<(&TagForm, &str), Vec<&Service<'_>>> = BTreeMap::new();
    for service in services {
        let own = if service.form.is_per_service() { service.name } else { "" };
        groups.entry((service.form, own)).or_default().push(service);
    }
    let mut decisions = BTreeMap::new();
    for members in groups.values() {
        let group = Group::new(members, request);
        let (outcome, bump, tag) = group.outcome()?;
        for (service, reasons) in members.iter().zip(group.reasons) {
            let decision = Decision {
                previous: group.base.map(|known| known.version.clone()),
                outcome: outcome.clone(),
                bump,
                request: tag.clone(),
                reasons,
            };
            decisions.insert(service.name.to_owned(), decision);
        }
    }
    Ok(decisions)
}

/// The services that share a version: one, or all of a project.
struct Group<'a> {
    request: &'a Request,
    /// For messages.
    name: String,
    named: bool,
    known: Vec<&'a Known>,
    requested: Option<&'a (String, Version)>,
    base: Option<&'a Known>,
    commits: &'a [Commit],
    /// By member.
    reasons: Vec<Vec<Reason>>,
    /// Of the inputs that are not committed.
    dirty: Option<Digest>,
}

impl<'a> Group<'a> {
    fn new(members: &[&'a Service<'a>], request: &'a Request) -> Self {
        let leader = members.iter().max_by_key(|service| service.base.map(|known| &known.version));
        let commits = leader.map_or(&[][..], |service| service.commits);
        let reasons = members
            .iter()
            .map(|service| match service.reasons {
                Some(known) => known.to_vec(),
                None => commits.iter().filter_map(|commit| service.inputs.reason(commit)).collect(),
            })
            .collect();
        let names: Vec<&str> = members.iter().map(|service| service.name).collect();
        let dirty = match &request.mode {
            Mode::Snapshot { dirty } => {
                let hashes: Vec<&str> =
                    names.iter().filter_map(|name| dirty.get(*name)).map(Digest::as_str).collect();
                match hashes[..] {
                    [] => None,
                    [one] => one.parse().ok(),
                    _ => Some(Digest::of(hashes.join("\n").as_bytes())),
                }
            }
            _ => None,
        };
        Self {
            request,
            name: names.join(", "),
            named: names.iter().any(|name| request.named.contains(*name)),
            known: members.iter().flat_map(|service| service.known).collect(),
            requested: members
                .iter()
                .filter_map(|service| service.requested)
                .max_by_key(|(_, version)| version),
            base: leader.and_then(|service| service.base),
            commits,
            reasons,
            dirty,
        }
    }

    fn outcome(&self) -> Result<(Outcome, Option<Bump>, Option<String>), VersionError> {
        if let Mode::Snapshot { .. } = self.request.mode {
            return Ok((Outcome::Snapshot(self.snapshot()), None, None));
        }
        if let Some((tag, version)) = self.requested {
            if let Some(last) = self.base.filter(|base| base.version >= *version) {
                return Err(VersionError::NotAbove {
                    service: self.name.clone(),
                    tag: tag.clone(),
                    version: version.to_string(),
                    last: last.version.to_string(),
                });
            }
            return Ok((self.free(version.clone())?, None, Some(tag.clone())));
        }
        if let Some(version) = self.at_head() {
            return Ok((Outcome::Recorded(version.clone()), None, None));
        }
        let earned = self.level(self.all_reasons())?;
        let level = match self.request.bump {
            Some(bump) if earned.is_some() || self.named || self.base.is_none() => Some(bump),
            _ => earned,
        };
        let Some(target) = self.target(level) else { return Ok((Outcome::Unchanged, None, None)) };
        let bump = level.filter(|_| self.base.is_some());
        match &self.request.mode {
            Mode::Pre(label) => Ok((self.pre(&target, label)?, bump, None)),
            _ => Ok((self.free(target)?, bump, None)),
        }
    }

    fn all_reasons(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().flatten()
    }

    /// The version that HEAD has and that answers this request: a pre-release answers only its label.
    fn at_head(&self) -> Option<&Version> {
        let answers = |version: &Version| match &self.request.mode {
            Mode::Pre(label) => version.pre.is_empty() || pre_number(version, label).is_some(),
            _ => version.pre.is_empty(),
        };
        let here = self.known.iter().filter(|known| known.commit == self.request.head);
        here.map(|known| &known.version).filter(|version| answers(version)).max()
    }

    /// The most that any of `reasons` asks for.
    fn level<'r>(&self, reasons: impl Iterator<Item = &'r Reason>) -> Result<Option<Bump>, VersionError> {
        let mut level = None;
        for reason in reasons {
            level = level.max(match reason.kind {
                Kind::Breaking => Some(Bump::Major),
                Kind::Feature => Some(Bump::Minor),
                Kind::Fix => Some(Bump::Patch),
                Kind::Other | Kind::Unconventional => self.other(reason)?,
            });
        }
        Ok(level)
    }

    fn other(&self, reason: &Reason) -> Result<Option<Bump>, VersionError> {
        // Where the answer is given by other means, the question need not be asked.
        let answered = self.request.bump.is_some()
            || self.base.is_none()
            || matches!(self.request.mode, Mode::Snapshot { .. })
            // Git words a merge, not its author.
            || reason.merge;
        match self.request.other {
            OtherCommits::None => Ok(None),
            OtherCommits::Error if !answered => Err(VersionError::Unclassified {
                service: self.name.clone(),
                commit: reason.commit.clone(),
                subject: reason.subject.clone(),
                what: reason.inputs.first().map(ToString::to_string).unwrap_or_default(),
            }),
            OtherCommits::Patch | OtherCommits::Error => Ok(Some(Bump::Patch)),
        }
    }

    /// The three numbers of the next version; `None` where nothing asks for one.
    fn target(&self, level: Option<Bump>) -> Option<Version> {
        let earned = match self.base {
            Some(base) => level.map(|level| match self.request.bump {
                Some(_) => level.applied(&base.version),
                None => level.earned(&base.version),
            }),
            None if self.request.bump == Some(Bump::Major) => Some(Version::new(1, 0, 0)),
            None => Some(Version::new(0, 1, 0)),
        };
        earned.max(self.announced())
    }

    /// The highest version that a pre-release in HEAD's history has announced and no stable one has
    /// answered.
    fn announced(&self) -> Option<Version> {
        let inside = |commit: &CommitId| {
            *commit == self.request.head || self.commits.iter().any(|known| known.id == *commit)
        };
        let pre = self.known.iter().filter(|known| !known.version.pre.is_empty() && inside(&known.commit));
        let above = pre.filter(|known| self.base.is_none_or(|base| known.version > base.version));
        above.map(|known| core(&known.version)).max()
    }

    fn pre(&self, target: &Version, label: &str) -> Result<Outcome, VersionError> {
        let numbered = self.known.iter().filter(|known| core(&known.version) == *target);
        let numbered = numbered.filter_map(|known| Some((pre_number(&known.version, label)?, &known.commit)));
        let last = numbered.max_by_key(|(number, _)| *number);
        if let Some((_, commit)) = last
            && !(self.named && self.request.bump.is_some())
        {
            let behind = self.ancestors(commit);
            let ahead = self.all_reasons().filter(|reason| !behind.contains(&reason.commit));
            if self.level(ahead)?.is_none() {
                return Ok(Outcome::Unchanged);
            }
        }
        let number = last.map_or(1, |(number, _)| number + 1);
        let version = with_pre(target, label, number).ok_or_else(|| VersionError::Label(label.to_owned()))?;
        self.free(version)
    }

    /// `commit` and what it follows, among the commits that were read.
    fn ancestors(&self, commit: &'a CommitId) -> BTreeSet<&'a CommitId> {
        let parents: BTreeMap<&CommitId, &'a [CommitId]> =
            self.commits.iter().map(|commit| (&commit.id, commit.parents.as_slice())).collect();
        let mut found = BTreeSet::new();
        let mut open = vec![commit];
        while let Some(commit) = open.pop() {
            if found.insert(commit) {
                open.extend(parents.get(commit).copied().unwrap_or_default());
            }
        }
        found
    }

    fn free(&self, version: Version) -> Result<Outcome, VersionError> {
        match self.known.iter().find(|known| known.version == version) {
            Some(known) if known.commit != self.request.head => Err(VersionError::Taken {
                service: self.name.clone(),
                version,
                recorded: known.commit.clone(),
                here: self.request.head.clone(),
            }),
            _ => Ok(Outcome::Release(version)),
        }
    }

    /// `X.Y.Z-dev.N.gSHA[.dHASH]`.
    fn snapshot(&self) -> Version {
        let level = self.level(self.all_reasons()).ok().flatten().unwrap_or(Bump::Patch);
        let level = self.request.bump.unwrap_or(level);
        let mut version = self.target(Some(level)).unwrap_or(Version::new(0, 1, 0));
        let touching: BTreeSet<&CommitId> = self.all_reasons().map(|reason| &reason.commit).collect();
        let last = self.commits.iter().map(|commit| &commit.id).find(|commit| touching.contains(commit));
        let last = last.or(self.base.map(|base| &base.commit)).unwrap_or(&self.request.head);
        let mut text = format!("dev.{}.g{}", touching.len(), last.short());
        if let Some(dirty) = &self.dirty {
            text.push_str(&format!(".d{}", &dirty.hex()[..8]));
        }
        // `dev`, a number, and two words of letters and digits: always what SemVer takes.
        version.pre = semver::Prerelease::new(&text).unwrap_or_default();
        version
    }
}

#[cfg(test)]
mod tests;
