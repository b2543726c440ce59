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
    /// The machine's port on which it is reached, by drivers that publish ports; absent: a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<u16>,
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

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A workload of version 0.1.0 without a port.
    pub(crate) fn workload(service: &str) -> Workload {
        let digest = Digest::of(service.as_bytes());
        Workload {
            service: service.to_owned(),
            version: Version::new(0, 1, 0),
            image: Image {
                repository: format!("oci:dist/oci/{service}"),
                neutral: digest.clone(),
                platforms: BTreeMap::from([("linux/amd64".parse().unwrap(), digest.clone())]),
                digest,
            },
            port: None,
            publish: None,
            health: HealthSettings {
                startup: None,
                ready: None,
                live: None,
                delay: None,
                period: Duration::from_millis(10),
                timeout: Duration::from_secs(1),
            },
            verify: Vec::new(),
            env: BTreeMap::new(),
            secrets: BTreeSet::new(),
            needs: Vec::new(),
            replicas: 1,
            resources: Resources::default(),
            labels: BTreeMap::new(),
            options: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_hash_stands_for_everything_and_survives_the_ledger() {
        let one = workload("api");
        let json = serde_json::to_vec(&one).unwrap();
        let back: Workload = serde_json::from_slice(&json).unwrap();
        assert_eq!(back.hash().unwrap(), one.hash().unwrap());
        let mut other = one.clone();
        other.env.insert("A".to_owned(), "b".to_owned());
        assert_ne!(other.hash().unwrap(), one.hash().unwrap());
    }
}
