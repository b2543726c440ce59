//! The record of what was released, in Git: a ref whose tree holds a JSON file for each service and
//! version, and whose history has one commit for each release. Append-only: no record is changed, no
//! ref is forced. One fast-forward of one ref is the lock that decides between two releases.
//!
//! `PREFIX/releases` lies in the Git remote and is mirrored here; `refs/longshore/local/releases` is
//! for rehearsals: it is never pushed, and its version tags lie beside it, where `git push --tags` does
//! not look.

mod record;
mod remote;
mod store;
mod tags;

use std::collections::BTreeMap;

use semver::Version;

pub use record::{PlatformRecord, ReleaseRecord, SCHEMA};
pub use remote::RemoteState;
pub use store::{File, Tree};

use crate::facts::git::Git;
use crate::fault::{Exit, Fault};
use crate::version::{CommitId, Known};

/// Where the local ledger lies, whatever the prefix of the shared one: a prefix under `refs/heads`
/// must not publish rehearsals.
const LOCAL: &str = "refs/longshore/local";

/// Who sees a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This clone alone.
    Local,
    /// Everybody who uses this Git remote.
    Remote(String),
}

/// The ledger of a repository, in one scope.
#[derive(Clone, Debug)]
pub struct Ledger<'a> {
    git: &'a Git,
    /// `refs/longshore`, or as configured.
    prefix: String,
    scope: Scope,
}

/// Which versions are recorded: one look, without reading records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The ledger's newest commit; absent while nothing is recorded.
    pub tip: Option<CommitId>,
    /// Service → version → the commit that it is of, and its record's blob.
    versions: BTreeMap<String, BTreeMap<Version, Entry>>,
    /// Service and version → the blobs of its builds for other environments.
    builds: BTreeMap<(String, Version), Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    blob: String,
    commit: CommitId,
}

impl Book {
    /// Every recorded version of a service, lowest first.
    pub fn known(&self, service: &str) -> Vec<Known> {
        let versions = self.versions.get(service).into_iter().flatten();
        versions
            .map(|(version, entry)| Known { version: version.clone(), commit: entry.commit.clone() })
            .collect()
    }

    /// Every recorded service.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.versions.keys().map(String::as_str)
    }

    /// The highest version of a service, pre-releases too.
    pub fn newest(&self, service: &str) -> Option<&Version> {
        self.versions.get(service)?.keys().next_back()
    }

    /// The highest stable version of a service.
    pub fn newest_stable(&self, service: &str) -> Option<&Version> {
        self.versions.get(service)?.keys().rev().find(|version| version.pre.is_empty())
    }

    /// The commit that a version is recorded for.
    pub fn commit(&self, service: &str, version: &Version) -> Option<&CommitId> {
        self.versions.get(service)?.get(version).map(|entry| &entry.commit)
    }
}

impl<'a> Ledger<'a> {
    /// `prefix`: `refs/longshore` unless configured otherwise.
    pub fn new(git: &'a Git, prefix: &str, scope: Scope) -> Self {
        Self { git, prefix: prefix.trim_end_matches('/').to_owned(), scope }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The whole name of one of the ledger's refs: `releases`, `env/prod`.
    pub fn reference(&self, name: &str) -> String {
        match self.scope {
            Scope::Local => format!("{LOCAL}/{name}"),
            Scope::Remote(_) => format!("{}/{name}", self.prefix),
        }
    }

    /// What is recorded, as this clone has it; [`Ledger::refresh`] first for what the remote has.
    pub fn book(&self) -> anyhow::Result<Book> {
        let tree = self.tree("releases")?;
        record::book(self.git, &tree)
    }

    /// Records in the order asked for, in one read. One that is not recorded is left out.
    ///
    /// # Errors
    /// [`Exit::Machine`] for a record that can't be read, or is of a newer schema.
    pub fn records<'r>(
        &self,
        book: &Book,
        wanted: impl IntoIterator<Item = (&'r str, &'r Version)>,
    ) -> anyhow::Result<Vec<ReleaseRecord>> {
        let found: Vec<&Entry> = wanted
            .into_iter()
            .filter_map(|(service, version)| book.versions.get(service)?.get(version))
            .collect();
        let blobs = self.git.objects(found.iter().map(|entry| entry.blob.as_str()))?;
        found
            .iter()
            .map(|entry| match blobs.get(&entry.blob) {
                Some(bytes) => record::read(bytes),
                None => {
                    Err(Fault::new(Exit::Machine, format!("the ledger's blob {} is missing", entry.blob))
                        .hint("fetch the ledger again: its objects are incomplete")
                        .into())
                }
            })
            .collect()
    }

    /// What a version was built as: its record, and those of its builds for other environments, which only
    /// a service with a Dockerfile has.
    ///
    /// # Errors
    /// As [`Ledger::records`].
    pub fn builds(
        &self,
        book: &Book,
        service: &str,
        version: &Version,
    ) -> anyhow::Result<Vec<ReleaseRecord>> {
        let mut records = self.records(book, [(service, version)])?;
        let Some(blobs) = book.builds.get(&(service.to_owned(), version.clone())) else { return Ok(records) };
        for (_, bytes) in self.git.objects(blobs.iter().map(String::as_str))? {
            records.push(record::read(&bytes)?);
        }
        Ok(records)
    }

    /// Records releases, all in one commit, and gives the records that stand: these, or those that
    /// somebody wrote for the same commit in the meantime. After this they are public.
    ///
    /// # Errors
    /// [`Exit::Conflict`]: a version is recorded for another commit (both named; nothing was written),
    /// or the race was lost too often. [`Exit::Outside`]: the remote does not answer.
    pub fn record(&self, wanted: &[ReleaseRecord]) -> anyhow::Result<Vec<ReleaseRecord>> {
        let Some(first) = wanted.first() else { return Ok(Vec::new()) };
        let mut standing = Vec::new();
        let message = record::message(wanted);
        self.append("releases", &message, &first.released_by, first.released_seconds(), &mut |tree| {
            let book = record::book(self.git, tree)?;
            standing.clear();
            let mut files = Vec::new();
            for record in wanted {
                match book.commit(&record.service, &record.version) {
                    None => {
                        files.extend(record.files()?);
                        standing.push(record.clone());
                    }
                    Some(commit) if *commit == record.commit => {
                        let builds = self.builds(&book, &record.service, &record.version)?;
                        match builds.into_iter().find(|build| build.arguments == record.arguments) {
                            Some(build) => standing.push(build),
                            None => {
                                files.push(record.build()?);
                                standing.push(record.clone());
                            }
                        }
                    }
                    Some(other) => return Err(record.taken(other).into()),
                }
            }
            Ok(files)
        })?;
        Ok(standing)
    }
}
