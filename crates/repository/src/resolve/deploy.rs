//! How an environment is deployed to, with defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value;
use crate::config::deploy::gitops::GitopsOptions;
use crate::config::deploy::kubernetes::{CanaryOptions, KubernetesOptions, ManifestOptions};
use crate::config::deploy::{ComposeOptions, DockerOptions, DriverName, Gap, ServiceDeploy, WorkloadOptions};
use crate::config::read::Field as _;
use crate::config::{EffectiveEnvironment, Registry, Service, values};

/// Where an environment's services run, and what may go there.
#[derive(Clone, Debug)]
pub struct DeploySettings {
    /// Absent: nothing can be deployed there.
    pub driver: Option<DriverName>,
    pub require_approval: bool,
    pub accept: BTreeSet<Gap>,
    /// Of a scan's database, at promotion.
    pub max_age: Duration,
    pub docker: DockerOptions,
    pub compose: ComposeOptions,
    pub kubernetes: KubernetesOptions,
    pub gitops: GitopsOptions,
}

/// How one service runs in an environment.
#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    /// Until it is healthy and verified.
    pub timeout: Duration,
    pub verify: Vec<Request>,
    pub replicas: u32,
    /// The machine's port on which it is reached.
    pub publish: Option<u16>,
    pub resources: Resources,
    pub labels: BTreeMap<String, String>,
    /// Names of the environment's secrets that it gets.
    pub secrets: BTreeSet<String>,
    pub canary: CanaryOptions,
    /// Its own over the environment's.
    pub kubernetes: ManifestOptions,
    /// Its own alone.
    pub own_kubernetes: ManifestOptions,
}

/// A request and the answer that it must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub path: String,
    pub status: u16,
    /// What the answer's body must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What a service asks for, and what it gets at most; absent: the system's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// In thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// In thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u32>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
}

/// Of an environment, as [`crate::config`] merged it over pipeline.toml.
pub fn deploy(environment: &EffectiveEnvironment) -> DeploySettings {
    let given = &environment.deploy;
    let folder = matches!(environment.registry, Registry::Layouts(_));
    DeploySettings {
        driver: value(&given.driver).or(folder.then_some(DriverName::Process)),
        require_approval: value(&given.require_approval).unwrap_or(false),
        accept: given.accept.iter().flatten().map(|gap| gap.value).collect(),
        max_age: value(&given.max_age).unwrap_or(Duration::from_secs(7 * 24 * 3600)),
        docker: given.docker.clone(),
        compose: given.compose.clone(),
        kubernetes: given.kubernetes.clone(),
        gitops: given.gitops.clone(),
    }
}

/// Of a service in an environment: the service's word there, its word in pipeline.toml, the environment's,
/// pipeline.toml's.
pub fn workload(environment: &EffectiveEnvironment, service: &Service) -> WorkloadSettings {
    let own = environment.services.get(&service.name.value).map(|own| own.deploy.clone()).unwrap_or_default();
    let own: ServiceDeploy = own.over(&service.deploy);
    let options: WorkloadOptions = own.workload.over(&environment.deploy.workload);
    let cores = |cores: &Option<crate::config::Located<String>>| {
        value(cores).and_then(|cores| values::millicores(&cores).ok())
    };
    let asked = |check: &&crate::config::deploy::Check| match &check.service {
        Some(name) => name.value == service.name.value,
        None => service.port.is_some(),
    };
    let is_its_own = |name: &&String| {
        service.secrets.as_ref().is_none_or(|named| named.iter().any(|own| own.value == **name))
    };
    WorkloadSettings {
        timeout: value(&options.timeout).unwrap_or(Duration::from_secs(120)),
        verify: options
            .verify
            .iter()
            .flatten()
            .filter(asked)
            .map(|check| Request {
                path: check.path.value.clone(),
                status: value(&check.status).unwrap_or(200),
                body: value(&check.body),
            })
            .collect(),
        replicas: value(&options.replicas).unwrap_or(1),
        publish: value(&options.publish),
        resources: Resources {
            cpu: cores(&options.resources.cpu),
            memory: value(&options.resources.memory),
            cpu_limit: cores(&options.resources.cpu_limit),
            memory_limit: value(&options.resources.memory_limit),
        },
        labels: options.labels.iter().map(|(key, label)| (key.clone(), label.value.clone())).collect(),
        secrets: environment.secrets.keys().filter(is_its_own).cloned().collect(),
        canary: options.canary,
        kubernetes: own.kubernetes.clone().over(&environment.deploy.kubernetes.manifests),
        own_kubernetes: own.kubernetes,
    }
}
