//! `dist/artifacts.json`: what a run made, for people and for the next step of CI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files;
use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::verdict;
use crate::version::CommitId;

pub const SCHEMA: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    pub schema: u32,
    pub commit: CommitId,
    pub environment: String,
    pub services: BTreeMap<String, Artifact>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub version: Version,
    /// `REGISTRY/NAME@sha256:…`; absent before there is an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub platforms: BTreeMap<Platform, PlatformArtifact>,
    /// Executables that no image holds yet, or that never are in one (Windows, macOS).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binaries: BTreeMap<Platform, BinaryArtifact>,
    /// It is released by this run, or would be.
    pub changed: bool,
    #[serde(default)]
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformArtifact {
    pub digest: Digest,
    /// Compressed bytes of all layers.
    pub size: u64,
    #[serde(default)]
    pub verdicts: PlatformVerdicts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformVerdicts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<verdict::Scan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<verdict::Verify>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryArtifact {
    /// From `dist/`.
    pub path: PathBuf,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl Artifacts {
    /// Reads `DIST/artifacts.json`.
    ///
    /// # Errors
    /// [`Exit::Usage`] where there is none, or one of another form.
    pub fn read(dist: &Path) -> anyhow::Result<Self> {
        let path = dist.join("artifacts.json");
        let Some(bytes) = files::read_optional(&path)? else {
            return Err(Fault::new(Exit::Usage, format!("there is no `{}`", path.display()))
                .hint("name the `dist` folder that another run wrote")
                .into());
        };
        let artifacts: Self = serde_json::from_slice(&bytes)
            .fault(Exit::Usage, format!("`{}` is not what this build writes", path.display()))?;
        if artifacts.schema != SCHEMA {
            let message =
                format!("`{}` has schema {}, this build reads {SCHEMA}", path.display(), artifacts.schema);
            return Err(Fault::new(Exit::Usage, message).into());
        }
        Ok(artifacts)
    }

    /// Writes `DIST/artifacts.json`, and a `.gitignore` beside it, so that results never make a tree
    /// dirty.
    pub fn write(&self, dist: &Path) -> anyhow::Result<()> {
        hide(dist)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        files::write(&dist.join("artifacts.json"), &text)
    }
}

/// Lets Git ignore the folder.
pub fn hide(dist: &Path) -> anyhow::Result<()> {
    let file = dist.join(".gitignore");
    if file.exists() { Ok(()) } else { files::write(&file, b"*\n") }
}
