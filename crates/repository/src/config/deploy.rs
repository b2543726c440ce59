//! `[deploy]`: how an environment is deployed to. In `pipeline.toml` for all environments, in an
//! environment over that, and for one service over both; each driver has a table of its own below it.

pub mod gitops;
pub mod kubernetes;

use std::time::Duration;

use crate::config::Located;
use crate::config::deploy::gitops::GitopsOptions;
use crate::config::deploy::kubernetes::{CanaryOptions, KubernetesOptions, ManifestOptions};
use crate::config::read::{table, words};
use crate::config::values::{CPU, HTTP_PATH, LABEL, NOT_EMPTY};

table! {
    /// How an environment is deployed to.
    pub struct Deploy derive Default {
        /// What runs the services; absent: `process` where the registry is an `oci:` folder, else none.
        ["driver"] driver: Option<Located<DriverName>>,
        /// Whether somebody must agree before anything is promoted here.
        ["require-approval"] require_approval: Option<Located<bool>>,
        /// Gaps in the gates that this environment lives with when something is promoted to it.
        ["accept"] accept: Option<Vec<Located<Gap>>>,
        /// How old a scan's database may be when something is promoted here; absent: 7 days.
        ["max-age"] max_age: Option<Located<Duration>>,
        /// For every service; `[services.NAME.deploy]` has them for one.
        [..] workload: WorkloadOptions,
        /// Options of the drivers `docker` and `compose`.
        ["docker"] docker: DockerOptions,
        /// Options of the driver `compose`.
        ["compose"] compose: ComposeOptions,
        /// Options of the driver `kubernetes`.
        ["kubernetes"] kubernetes: KubernetesOptions,
        /// Options of the driver `gitops`.
        ["gitops"] gitops: GitopsOptions,
    }
}

table! {
    /// How one service runs.
    pub struct WorkloadOptions derive Default {
        /// Until it is healthy and verified, else what ran before is put back; absent: 2 minutes.
        ["timeout"] timeout: Option<Located<Duration>>,
        /// Requests whose answers must be as expected before a deploy counts as done. An environment's list
        /// replaces the other.
        ["verify"] verify: Option<Vec<Check>>,
        /// How many of it run at once, with the drivers `kubernetes` and `gitops`: the others run one, which is
        /// a fault in an environment's file, and said of pipeline.toml's word; absent: 1.
        ["replicas"] replicas: Option<Located<u32>>,
        /// The machine's port on which it is reached, for the drivers `docker` and `compose`; absent: a free one. A fixed port has a gap while it changes hands.
        ["publish"] publish: Option<Located<u16>>,
        /// What it asks for, and what it gets at most.
        ["resources"] resources: ResourceOptions,
        /// A new version beside the old one before it takes its place; the driver `kubernetes` alone can.
        ["canary"] canary: CanaryOptions,
        /// On containers, pods and their like.
        ["labels", keys LABEL] labels: std::collections::BTreeMap<String, Located<String>>,
    }
}

table! {
    /// What a service asks for, and what it gets at most.
    pub struct ResourceOptions derive Default {
        /// Processors asked for, as `0.5` or `500m`.
        ["cpu", CPU] cpu: Option<Located<String>>,
        /// Bytes asked for, as `64MiB`.
        ["memory"] memory: Option<Located<u64>>,
        /// Processors at most.
        ["cpu-limit", CPU] cpu_limit: Option<Located<String>>,
        /// Bytes at most.
        ["memory-limit"] memory_limit: Option<Located<u64>>,
    }
}

table! {
    /// A request and the answer that it must have.
    pub struct Check {
        /// Which service is asked; absent: each that has a port.
        ["service", NOT_EMPTY] service: Option<Located<String>>,
        /// What is asked for, from `/`.
        ["path", HTTP_PATH] path: Located<String>,
        /// The answer's status; absent: 200.
        ["status"] status: Option<Located<u16>>,
        /// What the answer's body must hold.
        ["body", NOT_EMPTY] body: Option<Located<String>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum DriverName {
        "process" => Process,
        "docker" => Docker,
        "compose" => Compose,
        "kubernetes" => Kubernetes,
        "gitops" => Gitops,
    }
}

impl DriverName {
    /// Whether it runs one of each service, whatever `replicas` says.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Process | Self::Docker | Self::Compose)
    }
}

impl std::fmt::Display for DriverName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::WORDS.iter().find(|(_, name)| name == self).map_or("", |(word, _)| word))
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Gap {
        /// Of a platform only the binary was scanned: no scanner knows its packages.
        "scan-unsupported" => ScanUnsupported,
        /// A platform was verified as a plain process alone.
        "verify-process" => VerifyProcess,
        /// A platform was not run at all.
        "verify-none" => VerifyNone,
    }
}

table! {
    /// Options of the drivers `docker` and `compose`.
    pub struct DockerOptions derive Default {
        /// The daemon; absent: DOCKER_HOST, else the local one.
        ["host", NOT_EMPTY] host: Option<Located<String>>,
        /// The network that the services share; absent: one of the environment's own.
        ["network", NOT_EMPTY] network: Option<Located<String>>,
        /// On which address of the daemon's host ports are published; absent: 127.0.0.1.
        ["address", NOT_EMPTY] address: Option<Located<String>>,
    }
}

table! {
    /// Options of the driver `compose`.
    pub struct ComposeOptions derive Default {
        /// Compose files of the user's, from the root, over the one that is written, in their order.
        ["files"] files: Option<Vec<Located<std::path::PathBuf>>>,
        /// How secrets reach a service; absent: `files`.
        ["secrets"] secrets: Option<Located<SecretForm>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SecretForm {
        /// `/run/secrets/NAME`, by Compose's own secrets; the variable `NAME_FILE` says so.
        "files" => Files,
        /// As with the other drivers: the variable `NAME`.
        "variables" => Variables,
    }
}

table! {
    /// How one service runs: over what is said for all.
    pub struct ServiceDeploy derive Default {
        [..] workload: WorkloadOptions,
        /// Options of the driver `kubernetes`.
        ["kubernetes"] kubernetes: ManifestOptions,
    }
}
