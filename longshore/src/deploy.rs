//! What runs in an environment: workloads, and the drivers that bring them up.
//!
//! The types here are what a deploy, the ledger and a driver tell each other; a driver knows neither the
//! ledger nor how versions are made. A driver does its work when asked, is asked again after a kill at any
//! moment, and then converges: everything it makes it finds again by names and labels that follow from the
//! project, the environment and the service.

pub mod book;
pub mod compose;
pub mod difference;
pub mod docker;
pub mod gitops;
pub mod health;
pub mod image;
pub mod kubernetes;
pub mod metrics;
pub mod options;
pub mod process;
pub mod promotion;
pub mod record;
pub mod rollout;
pub mod site;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cancel::Cancel;
use crate::deploy::workload::Workload;
use crate::host::environment::Environment;
use crate::host::http::Schemes;
use crate::oci::types::Digest;
use crate::progress::Progress;
use crate::resolve::DeploySettings;
use crate::workspace::Workspace;

/// Runs workloads somewhere. Its methods may be called from several threads, for different services.
pub trait Driver: Send + Sync + fmt::Debug {
    /// Whether all services of a deploy go in one step (one commit, one file), instead of one by one in the
    /// order of `needs`.
    fn is_whole(&self) -> bool {
        false
    }

    /// What runs now of all that this driver made for this environment, by service.
    ///
    /// # Errors
    /// [`crate::fault::Exit::Machine`]: there is no daemon, no cluster, no right to ask;
    /// [`crate::fault::Exit::Outside`]: it does not answer now.
    fn observe(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>>;

    /// What [`Driver::apply`] would change, for eyes, as `kubectl diff` prints it; empty where versions and
    /// values say it all.
    ///
    /// # Errors
    /// As [`Driver::observe`].
    fn difference(&self, _workloads: &[Workload], _step: &Step<'_>) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Brings the workloads up, waits until each is healthy and has answered its `verify` requests, and then
    /// lets it take the place of what ran before. What runs as wanted already is left alone.
    ///
    /// # Errors
    /// [`Unhealthy`] (anywhere in the chain), with what it printed last; or that nothing could be done. Either
    /// way [`Driver::restore`] is called next.
    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()>;

    /// Puts back what ran before, whatever an `apply` that failed or was killed has left, and waits until
    /// that is healthy. Where nothing ran before, the service is taken away.
    ///
    /// # Errors
    /// As [`Driver::apply`].
    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()>;

    /// Hands lines that services print to `sink` (service, line), until the end of what there is, or with
    /// [`LogAsk::follow`] until `cancel` is set.
    ///
    /// # Errors
    /// As [`Driver::observe`].
    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()>;

    /// Ends services and takes away all that was made for them. Those that are not there are no error.
    ///
    /// # Errors
    /// As [`Driver::observe`].
    fn down(&self, services: &[String], step: &Step<'_>) -> anyhow::Result<()>;
}

/// What a driver works with: fixed when it is opened.
#[derive(Clone, Debug)]
pub struct Target {
    pub project: String,
    /// The environment's name.
    pub name: String,
    pub settings: DeploySettings,
    pub workspace: Workspace,
    /// The variables of this process.
    pub environment: Environment,
    /// The environment's secrets, by the name that a service sees; a service gets those that its
    /// [`Workload::secrets`] names.
    pub secrets: SecretValues,
    pub offline: bool,
    /// Registries that are declared to be without TLS.
    pub schemes: Schemes,
}

impl Target {
    /// `PROJECT-ENVIRONMENT`, in lowercase letters, digits and `-`, at most 63: a name for what is shared by
    /// an environment's services.
    pub fn slug(&self) -> String {
        let text = format!("{}-{}", self.project, self.name).to_lowercase();
        let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        let slug: String = plain.collect();
        let slug = slug.trim_matches('-');
        if slug.len() <= 63 {
            return slug.to_owned();
        }
        // Cut, and told from others that begin alike.
        let hash = Digest::of(text.as_bytes());
        format!("{}-{}", slug[..50].trim_end_matches('-'), &hash.hex()[..12])
    }
}

/// What one call of a driver may use.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub cancel: &'a Cancel,
    pub progress: &'a dyn Progress,
    /// When to give up.
    pub until: Instant,
}

impl Step<'_> {
    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// What ran before a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    pub service: String,
    /// Absent: nothing of the service ran.
    pub workload: Option<Workload>,
}

/// What is seen of a service that runs, or should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Of the image that runs: what [`Workload::image`] had.
    pub digest: Option<Digest>,
    /// [`Workload::hash`] of what was applied, where the driver could note it there.
    pub hash: Option<String>,
    pub health: Condition,
    /// Instances that are ready, and that there should be.
    pub ready: u32,
    pub wanted: u32,
    pub restarts: u32,
    /// When the oldest instance started: seconds since 1970.
    pub since: Option<u64>,
    /// Where it can be reached, as `127.0.0.1:8080`.
    pub addresses: Vec<String>,
    /// How it differs from what was applied, as far as the driver sees it: a line each.
    pub drift: Vec<String>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "kebab-case")]
pub enum Condition {
    Healthy,
    /// It started and is not ready yet.
    Starting,
    Unhealthy(String),
    /// It ended, or was never started.
    Stopped(String),
    /// The driver can't ask.
    Unknown(String),
}

/// Which lines of its logs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAsk {
    /// The last lines of each service; absent: all.
    pub tail: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
}

/// A service that did not become healthy: why, and what it printed last.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{service}` {why}")]
pub struct Unhealthy {
    pub service: String,
    /// `is not healthy after 5.0 s: GET /readyz answers 503`, lowercase.
    pub why: String,
    /// Its last lines, and the platform's events: secrets are taken out where they are shown.
    pub log: Vec<String>,
}

/// The values of secrets by name. They are never shown, serialised or compared.
#[derive(Clone, Default)]
pub struct SecretValues(BTreeMap<String, String>);

impl SecretValues {
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// A value, to be handed to what keeps it: never to argv, a message, a file that others can read.
    pub fn reveal(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
