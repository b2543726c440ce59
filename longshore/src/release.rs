//! What is to be done, with nothing left to find out but the digests: the services with their versions,
//! for one environment. Pure data; [`crate::plan`] makes jobs of it.

pub mod decide;

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use crate::config::{MovingTag, OnUnavailable, Registry};
use crate::facts::go::inputs::ServiceInputs;
use crate::oci::types::Digest;
use crate::plan::Stage;
use crate::platform::Platform;
use crate::resolve::{ServiceSettings, StageSettings};
use crate::stage::push::Target;
use crate::verdict::Policy;
use crate::version::{CommitId, TagForm};

/// One run's release.
#[derive(Clone, Debug)]
pub struct Release {
    pub project: String,
    pub commit: CommitId,
    /// In seconds since 1970.
    pub commit_time: u64,
    /// `SOURCE_DATE_EPOCH`, where it is set: the time of images and their files instead of the commit's and 1970.
    pub epoch: Option<u64>,
    /// Where the sources can be read, as `https://host/path`.
    pub source: Option<String>,
    /// Of a state of the work tree, never recorded.
    pub snapshot: bool,
    pub environment: String,
    pub registry: Registry,
    pub stages: StageSettings,
    /// Stages that the user leaves out, or that are switched off: recorded.
    pub skipped: BTreeSet<Stage>,
    pub services: BTreeMap<String, ServiceRelease>,
    /// The tags besides the version's that each service's images get.
    pub moving: BTreeMap<String, Vec<MovingTag>>,
    /// The version that `[tools]` pins.
    pub golangci_lint: Option<String>,
    /// The version that `[tools]` pins.
    pub trivy: Option<String>,
    /// The Git remote that the ledger and the tags go to.
    pub remote: String,
}

/// Why a service is in a release, and so what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It gets every stage.
    Subject,
    /// A subject's verification needs it running: it is built, and neither scanned nor pushed.
    Support,
}

/// One service of a release.
#[derive(Clone, Debug)]
pub struct ServiceRelease {
    pub settings: ServiceSettings,
    pub inputs: ServiceInputs,
    pub role: Role,
    pub version: Version,
    pub previous: Option<Version>,
    /// In a few words, for people.
    pub reasons: Vec<String>,
    /// For the Git tag's message.
    pub changelog: String,
    pub form: TagForm,
    /// What the record of this version says already, where there is one: the result must be the same.
    pub recorded: Option<Digest>,
    /// The values with which it is run to be verified: the environment's build-args and `[env]`.
    pub run_env: BTreeMap<String, String>,
    /// By environment: of the image, or where it is built from a Dockerfile other builds.
    pub variants: BTreeMap<String, Variant>,
    /// What a Dockerfile is built with.
    pub build_args: BTreeMap<String, String>,
    /// Which environment's those are, where they are not the defaults: `ENV_<8 hex>`.
    pub arguments: Option<String>,
}

/// An environment's values and the tag of the image that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub values: BTreeMap<String, String>,
    /// `X.Y.Z_ENV_<8 hex>`
    pub tag: String,
}

impl ServiceRelease {
    /// The platforms that have an image: Linux, and Windows where a base is named for it. Others get a
    /// binary.
    pub fn image_platforms(&self) -> impl Iterator<Item = &Platform> {
        let bases = &self.settings.image.bases;
        self.settings
            .platforms
            .iter()
            .filter(|platform| platform.os == "linux" || bases.contains_key(platform))
    }
}

impl Release {
    pub fn subjects(&self) -> impl Iterator<Item = (&String, &ServiceRelease)> {
        self.services.iter().filter(|(_, service)| service.role == Role::Subject)
    }

    /// A service's place: `REGISTRY/SERVICE`.
    pub fn repository(&self, service: &str) -> String {
        match &self.registry {
            Registry::Layouts(folder) => format!("oci:{}", folder.join(service).display()),
            Registry::Remote { host, path, .. } if path.is_empty() => format!("{host}/{service}"),
            Registry::Remote { host, path, .. } => format!("{host}/{path}/{service}"),
        }
    }

    /// How to reach the registry.
    pub fn target(&self) -> Target {
        let push = &self.stages.push;
        Target { registry: self.registry.clone(), chunk: push.chunk, retries: push.retries }
    }

    /// What an image must have been told by the gates before it may leave.
    pub fn policy(&self) -> Policy {
        Policy {
            unscanned: self.is_local() && self.stages.scan.on_unavailable == OnUnavailable::Warn,
            skipped: self.skipped.clone(),
        }
    }

    /// Whether nothing of it leaves this clone: its registry is a folder.
    pub fn is_local(&self) -> bool {
        matches!(self.registry, Registry::Layouts(_))
    }

    /// What images say of their time, in seconds since 1970.
    pub fn created(&self) -> u64 {
        self.epoch.unwrap_or(self.commit_time)
    }

    pub fn runs(&self, stage: Stage) -> bool {
        !self.skipped.contains(&stage)
    }
}
