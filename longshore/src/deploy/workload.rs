//! One service as it is to run in one environment. Pure data, without the values of secrets: it is written
//! into the environment's ledger, so that any clone can put it back.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::resolve::{HealthSettings, Request, Resources};

/// What runs, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub service: String,
    pub version: Version,
    pub image: Image,
    /// On which it listens for HTTP.
    pub port: Option<u16>,
    pub health: HealthSettings,
    /// Requests whose answers must be as expected before it takes its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Request>,
    /// Runtime variables, over those of the image.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables whose values are secret.
    #[serde(default)]
    pub secrets: BTreeSet<String>,
    /// Services that are up before it.
    #[serde(default)]
    pub needs: Vec<String>,
    pub replicas: u32,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver alone, in its own form.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub options: serde_json::Value,
}

/// An image by digest: the environment's variant of a version, or the neutral image where that is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `HOST/PATH/SERVICE`, or `oci:DIR/SERVICE`: never with a tag.
    pub repository: String,
    /// Of the index that runs.
    pub digest: Digest,
    /// Of the version's neutral index.
    pub neutral: Digest,
    /// Of each platform's manifest in the index.
    pub platforms: BTreeMap<Platform, Digest>,
}

impl Image {
    /// `HOST/PATH/SERVICE@sha256:…`
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

impl Workload {
    /// Stands for everything here, 64 hex digits: the same hash, nothing to do.
    ///
    /// # Errors
    /// A defect: it can't be written as JSON.
    pub fn hash(&self) -> anyhow::Result<String> {
        Ok(Digest::of(&serde_json::to_vec(self)?).hex().to_owned())
    }
}
