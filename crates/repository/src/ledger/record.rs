//! What is written down of a release.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::store::{File, Tree};
use super::{Book, Entry};
use crate::closure::Closure;
use crate::digest::Digest;
use crate::facts::git::{Git, Identity};
use crate::fault::{Exit, Fault};
use crate::platform::Platform;
use crate::stage::Stage;
use crate::verdict::{Scan, Verify};
use crate::version::CommitId;

/// The form of the records; a greater number is not read.
pub const SCHEMA: u32 = 1;

/// The name of a build with the defaults.
const DEFAULTS: &str = "defaults";

/// One version of one service: everything that finishing it, promoting it and versioning the next one
/// needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    pub schema: u32,
    pub service: String,
    pub version: Version,
    pub commit: CommitId,
    /// Of the committer, in seconds since 1970: the time of the tag too.
    pub commit_time: i64,
    /// RFC 3339, UTC.
    pub released_at: String,
    /// `Name <address>`: the tagger too.
    pub released_by: String,
    /// The environment that the release was made in.
    pub environment: String,
    /// `REGISTRY/SERVICE`.
    pub repository: String,
    /// Of the index.
    pub digest: Digest,
    pub platforms: BTreeMap<Platform, PlatformRecord>,
    /// The gates that were not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<Stage>,
    pub closure: Closure,
    /// Image tags beside the version's own: `sha-…`, and the moving ones by choice.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Without `refs/tags/`.
    pub git_tag: String,
    /// The changelog.
    pub notes: String,
    /// Which environment's `ARG`s a Dockerfile was built with, where they are not the defaults:
    /// `ENV_<8 hex>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformRecord {
    /// Of the manifest.
    pub digest: Digest,
    /// Of the config: the image ID.
    pub config: Digest,
    /// Compressed bytes of all layers.
    pub size: u64,
    pub scan: Scan,
    pub verify: Verify,
    /// Of the vulnerability database that the scan judged by: its `UpdatedAt` (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// All that the scan found, as `CVE-2026-1 in MODULE VERSION`; absent in records of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<BTreeSet<String>>,
}

impl ReleaseRecord {
    /// The image by digest: `REGISTRY/SERVICE@sha256:…`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }

    /// The image's own tag: `X.Y.Z`, of an environment's build `X.Y.Z_ENV_<8 hex>`.
    pub fn image_tag(&self) -> String {
        match &self.arguments {
            None => self.version.to_string(),
            Some(arguments) => format!("{}_{arguments}", self.version),
        }
    }

    /// The Git tag's object (`git help mktag`). Made of nothing but the record: the same on every machine.
    pub fn tag_object(&self) -> String {
        let tagger = Identity::parse(&self.released_by);
        let mut text = format!(
            "object {}\ntype commit\ntag {}\ntagger {tagger} {} +0000\n\n{}\n",
            self.commit,
            self.git_tag,
            self.commit_time.max(0),
            self.notes.trim_end().replace('\0', "")
        );
        text.push_str(&format!("\nImage\n{}\n", self.reference()));
        for (platform, image) in &self.platforms {
            text.push_str(&format!("{platform} {}\n", image.digest));
        }
        text
    }

    pub(super) fn released_seconds(&self) -> i64 {
        let time = humantime::parse_rfc3339(&self.released_at).ok();
        let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(self.commit_time, |since| since.as_secs().try_into().unwrap_or(self.commit_time))
    }

    /// The record, and a link to its commit, so that one `ls-tree` tells which versions are of which
    /// commits.
    pub(super) fn files(&self) -> anyhow::Result<[File; 2]> {
        let mut bytes =
            serde_json::to_vec_pretty(self).context("internal: a release can't be written down")?;
        bytes.push(b'\n');
        let name = format!("{}/{}", self.service, self.version);
        Ok([
            File::blob(format!("releases/{name}.json"), bytes),
            File::link(format!("commits/{name}"), &self.commit),
        ])
    }

    /// The file of a build beside the version's first one.
    pub(super) fn build(&self) -> anyhow::Result<File> {
        let mut bytes =
            serde_json::to_vec_pretty(self).context("internal: a release can't be written down")?;
        bytes.push(b'\n');
        let name = self.arguments.as_deref().unwrap_or(DEFAULTS);
        Ok(File::blob(format!("builds/{}/{}/{name}.json", self.service, self.version), bytes))
    }

    pub(super) fn taken(&self, recorded: &CommitId) -> Fault {
        let Self { service, version, commit, .. } = self;
        Fault::new(
            Exit::Conflict,
            format!("{service} {version} is recorded for commit {recorded}, and this is commit {commit}"),
        )
        .hint("fetch, and release again from a commit that follows it: the next version is then free")
    }
}

/// The message of the ledger's commit.
pub(super) fn message(records: &[ReleaseRecord]) -> String {
    let names: Vec<String> =
        records.iter().map(|record| format!("{} {}", record.service, record.version)).collect();
    let mut message = format!("release {}\n\n", names.join(", "));
    for record in records {
        message.push_str(&format!("{} {} {}\n", record.service, record.version, record.reference()));
    }
    message
}

pub(super) fn read(bytes: &[u8]) -> anyhow::Result<ReleaseRecord> {
    #[derive(Deserialize)]
    struct Form {
        schema: u32,
    }
    let bad =
        |what: String| Fault::new(Exit::Machine, format!("a record of the ledger can't be read: {what}"));
    let form: Form = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if form.schema > SCHEMA {
        return Err(bad(format!("its schema is {}, this build knows {SCHEMA}", form.schema))
            .hint("use the version of this tool that wrote it, or a newer one")
            .into());
    }
    Ok(serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?)
}

/// Reads the names of a tree. A record without its link (written by other means) is opened for it.
pub(super) fn book(git: &Git, tree: &Tree) -> anyhow::Result<Book> {
    let mut book = Book { tip: tree.tip.clone(), versions: BTreeMap::new(), builds: BTreeMap::new() };
    let mut unlinked = Vec::new();
    for (path, blob) in tree.under("builds/") {
        let mut parts = path.splitn(3, '/');
        let (Some(service), Some(version)) = (parts.next(), parts.next()) else { continue };
        if let Ok(version) = Version::parse(version) {
            book.builds.entry((service.to_owned(), version)).or_default().push(blob.to_owned());
        }
    }
    for (path, blob) in tree.under("releases/") {
        let Some((service, name)) = path.split_once('/') else { continue };
        let Some(version) = name.strip_suffix(".json").and_then(|text| Version::parse(text).ok()) else {
            continue;
        };
        match tree.get(&format!("commits/{service}/{version}")).and_then(|link| link.parse().ok()) {
            Some(commit) => {
                let entry = Entry { blob: blob.to_owned(), commit };
                book.versions.entry(service.to_owned()).or_default().insert(version, entry);
            }
            None => unlinked.push(blob.to_owned()),
        }
    }
    for (blob, bytes) in git.objects(unlinked.iter().map(String::as_str))? {
        let record = read(&bytes)?;
        let entry = Entry { blob, commit: record.commit };
        book.versions.entry(record.service).or_default().insert(record.version, entry);
    }
    Ok(book)
}
