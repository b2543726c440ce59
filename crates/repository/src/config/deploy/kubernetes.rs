//! `[deploy.kubernetes]` and `[deploy.canary]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Located;
use crate::config::read::table;
use crate::config::values::NOT_EMPTY;

table! {
    /// Options of the driver `kubernetes`; `gitops` renders by them too.
    pub struct KubernetesOptions derive Default {
        /// Of the kubeconfig; absent: its current one.
        ["context", NOT_EMPTY] context: Option<Located<String>>,
        /// Absent: PROJECT-ENVIRONMENT.
        ["namespace", NOT_EMPTY] namespace: Option<Located<String>>,
        /// For every service; `[services.NAME.deploy.kubernetes]` has them for one.
        [..] manifests: ManifestOptions,
    }
}

table! {
    /// How a service's manifests are rendered.
    pub struct ManifestOptions derive Default {
        /// YAML files, from the root, merged over what is rendered, in their order. A document patches the
        /// object of its kind and name (without a name: of its kind); one that names another object is added,
        /// where the file is listed for one service.
        ["overlays"] overlays: Option<Vec<Located<PathBuf>>>,
        /// A folder, from the root, whose `kubectl kustomize` is merged over what is rendered, before the
        /// overlays.
        ["kustomize"] kustomize: Option<Located<PathBuf>>,
        /// How many replicas, by load; absent: `replicas`.
        ["autoscale"] autoscale: AutoscaleOptions,
        /// From SIGTERM to SIGKILL; absent: 30s.
        ["grace"] grace: Option<Located<Duration>>,
        /// How long a pod that is to end still takes requests, until nobody sends it any; absent: 5s.
        ["drain"] drain: Option<Located<Duration>>,
        /// Whether nothing but the service's port can be reached from outside of its pod; absent: `true`.
        ["network-policy"] network_policy: Option<Located<bool>>,
        /// An existing service account; absent: the namespace's default, without its token.
        ["service-account", NOT_EMPTY] service_account: Option<Located<String>>,
        /// Existing secrets with the registry's credentials.
        ["pull-secrets", NOT_EMPTY] pull_secrets: Option<Vec<Located<String>>>,
        /// An existing secret that holds the environment's secrets, by their names; absent: one is made of
        /// their values.
        ["secret", NOT_EMPTY] secret: Option<Located<String>>,
    }
}

table! {
    /// How many replicas, by load.
    pub struct AutoscaleOptions derive Default {
        /// At most; absent: no autoscaling.
        ["max"] max: Option<Located<u32>>,
        /// At least; absent: `replicas`.
        ["min"] min: Option<Located<u32>>,
        /// Of the processors asked for, in percent; absent: 80.
        ["cpu"] cpu: Option<Located<u32>>,
        /// Of the memory asked for, in percent.
        ["memory"] memory: Option<Located<u32>>,
    }
}

table! {
    /// A new version beside the old one, for a part of the requests, before it takes its place.
    pub struct CanaryOptions derive Default {
        /// The part of the requests at each step, in percent, rising; absent: no canary.
        ["steps"] steps: Option<Vec<Located<u32>>>,
        /// How long a step lasts once it is verified, to be verified again at its end; absent: no time.
        ["pause"] pause: Option<Located<Duration>>,
    }
}
