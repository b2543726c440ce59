//! The stages: each a file that makes jobs of a release, and the action that its jobs carry.

pub mod action;
pub mod adopt;
pub mod build;
pub mod draft;
pub mod image;
pub mod lint;
pub mod plan;
pub mod push;
pub mod scan;
pub mod tag;
pub mod test;
pub mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

pub use action::{Action, Passed};

use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::event::JobFailure;
use crate::host::environment::Environment;
use crate::oci::destination::Whereabouts;
use crate::oci::reference::Tag;
use crate::oci::types::{Descriptor, Digest, media_type};
use crate::plan::JobId;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::tools::ToolPaths;
use crate::workspace::Workspace;

/// What a job's action may use.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub workspace: &'a Workspace,
    pub job: &'a JobId,
    pub cancel: &'a Cancel,
    pub outputs: &'a Outputs,
    pub tools: &'a ToolPaths,
    /// The user's, with the shared one behind it.
    pub cache: &'a Cache,
    /// The variables of the process, of which a tool sees those that its stage lists.
    pub environment: &'a Environment,
    /// A failure stops only what depends on it.
    pub keep_going: bool,
    pub progress: &'a dyn Progress,
}

/// How a job ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    pub output: Output,
    /// Its result was already there.
    pub cached: bool,
    /// A few words for the summary, as "12.3 MB".
    pub note: String,
}

/// What a job leaves for those that need it. A digest not yet known is a reference to one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Output {
    Nothing,
    /// Executables by service, and what kept others from being made.
    Binaries {
        binaries: BTreeMap<String, Binary>,
        failures: BTreeMap<String, JobFailure>,
    },
    /// One platform's manifest, in the layout of its service.
    Manifest(ManifestOutput),
    /// The index over all platforms, in the layout of its service.
    Index {
        layout: PathBuf,
        digest: Digest,
        size: u64,
    },
    Scanned {
        verdict: crate::verdict::Scan,
    },
    Verified {
        verdict: crate::verdict::Verify,
    },
    /// The versions whose records stand and whose tags are set, and whether anything had to be done.
    Recorded {
        versions: Vec<RecordedVersion>,
        changed: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedVersion {
    pub service: String,
    pub version: semver::Version,
    /// Of the image, the version's own first.
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    pub path: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestOutput {
    /// The OCI layout's folder.
    pub layout: PathBuf,
    pub platform: Platform,
    /// Of the manifest.
    pub digest: Digest,
    /// Of the image's config, which scanners and daemons call the image ID.
    pub config: Digest,
    /// Compressed bytes of all layers.
    pub size: u64,
}

/// The outputs of the jobs that have finished.
#[derive(Debug, Default)]
pub struct Outputs {
    jobs: Mutex<BTreeMap<JobId, Output>>,
    pub whereabouts: Whereabouts,
}

impl Outputs {
    pub fn set(&self, job: JobId, output: Output) {
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(job, output);
    }

    pub fn get(&self, job: &JobId) -> Option<Output> {
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(job).cloned()
    }

    /// Every executable of a service that any job left.
    pub fn binaries_of(&self, service: &str) -> Vec<Binary> {
        let outputs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_service = |output: &Output| match output {
            Output::Binaries { binaries, .. } => binaries.get(service).cloned(),
            _ => None,
        };
        outputs.values().filter_map(of_service).collect()
    }

    /// The manifest that `job` left.
    ///
    /// # Errors
    /// A plan that lets a job start before its input exists: a defect, said as such.
    pub fn manifest(&self, job: &JobId) -> anyhow::Result<ManifestOutput> {
        match self.get(job) {
            Some(Output::Manifest(manifest)) => Ok(manifest),
            other => anyhow::bail!("internal: `{job}` left {other:?} where a manifest is needed"),
        }
    }
}

/// A path of a tool, or of a result, for a message.
pub fn shown(workspace: &Workspace, path: &Path) -> String {
    let shown = workspace.shown(path).display().to_string();
    if shown.is_empty() { ".".to_owned() } else { shown }
}

/// A service's executable, as the job `build` left it.
///
/// # Errors
/// What kept it from being made, if its group was built with `--keep-going`.
fn binary(scope: &Scope<'_>, build: &JobId, service: &str) -> anyhow::Result<Binary> {
    let Some(Output::Binaries { mut binaries, mut failures }) = scope.outputs.get(build) else {
        anyhow::bail!("internal: `{build}` left no binaries");
    };
    if let Some(failure) = failures.remove(service) {
        return Err(anyhow::Error::new(failure));
    }
    binaries
        .remove(service)
        .ok_or_else(|| anyhow::anyhow!("internal: `{build}` left no binary of `{service}`"))
}

/// The index that `job` left.
fn index(scope: &Scope<'_>, job: &JobId) -> anyhow::Result<Descriptor> {
    match scope.outputs.get(job) {
        Some(Output::Index { digest, size, .. }) => Ok(Descriptor::new(media_type::INDEX, digest, size)),
        other => anyhow::bail!("internal: `{job}` left {other:?} where an index is needed"),
    }
}

/// An image's tag, which begins with a version: versions here have no `+`.
fn image_tag(text: &str) -> anyhow::Result<Tag> {
    text.parse().map_err(|error| anyhow::anyhow!("`{text}` is no image tag: {error}"))
}
