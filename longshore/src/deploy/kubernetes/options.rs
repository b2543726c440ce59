//! How a service's manifests are rendered: the configuration with defaults, and the user's overlays as they
//! are now. It is kept in the workload, so that any clone renders the same again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cancel::Cancel;
use crate::config::Located;
use crate::config::deploy::kubernetes::{AutoscaleOptions, CanaryOptions, ManifestOptions};
use crate::deploy::kubernetes::manifest::{PATCHED, text};
use crate::deploy::kubernetes::yaml::{self, Document};
use crate::deploy::workload::Workload;
use crate::diagnostic::{Diagnostic, Diagnostics, Source, quoted};
use crate::fault::{Exit, FaultContext as _};
use crate::host::process::Command;

/// With nothing left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub autoscale: Option<Autoscale>,
    /// Seconds from SIGTERM to SIGKILL.
    pub grace: u64,
    /// Seconds for which a pod that is to end still takes requests.
    pub drain: u64,
    pub network_policy: bool,
    pub service_account: Option<String>,
    pub pull_secrets: Vec<String>,
    /// An existing one; absent: one is made.
    pub secret: Option<String>,
    pub canary: Canary,
    pub overlays: Vec<Overlay>,
}

/// How many replicas, by load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    pub min: Option<u32>,
    pub max: u32,
    /// Percent of what is asked for.
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
}

/// A new version beside the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Percent of the requests, rising.
    pub steps: Vec<u32>,
    /// Milliseconds that a step lasts.
    pub pause: u64,
}

/// A document of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    pub document: Value,
    /// It was written for this service alone, and may add an object.
    pub own: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            autoscale: None,
            grace: 30,
            drain: 5,
            network_policy: true,
            service_account: None,
            pull_secrets: Vec::new(),
            secret: None,
            canary: Canary::default(),
            overlays: Vec::new(),
        }
    }
}

impl Options {
    /// Of a workload: what [`options`] has put there.
    ///
    /// # Errors
    /// A record that this build can't read.
    pub fn of(workload: &Workload) -> anyhow::Result<Self> {
        if workload.options.is_null() {
            return Ok(Self::default());
        }
        serde_json::from_value(workload.options.clone())
            .fault(Exit::Machine, format!("could not read how `{}` is rendered", workload.service))
    }

    /// How many replicas there are at least.
    pub fn least(&self, workload: &Workload) -> u32 {
        self.autoscale.as_ref().and_then(|autoscale| autoscale.min).unwrap_or(workload.replicas)
    }
}

/// What the options of a service come from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The service's over the environment's.
    pub manifests: &'a ManifestOptions,
    pub canary: &'a CanaryOptions,
    /// What is said for the service alone.
    pub own: &'a ManifestOptions,
    /// The names of all services.
    pub services: &'a BTreeSet<String>,
    /// Paths in the configuration are relative to this.
    pub root: &'a Path,
}

/// The options of a service, its overlays read.
///
/// # Errors
/// [`Diagnostics`]: overlays that can't be read or patch nothing that there is; [`Exit::Machine`] where
/// `kubectl kustomize` can't be run.
pub fn options(given: Given<'_>, cancel: &Cancel) -> anyhow::Result<Options> {
    let manifests = given.manifests;
    let seconds = |located: &Option<Located<std::time::Duration>>, default| {
        located.as_ref().map_or(default, |located| located.value.as_millis().div_ceil(1000) as u64)
    };
    let value = |located: &Option<Located<String>>| located.as_ref().map(|located| located.value.clone());
    Ok(Options {
        autoscale: autoscale(&manifests.autoscale)?,
        grace: seconds(&manifests.grace, 30),
        drain: seconds(&manifests.drain, 5),
        network_policy: manifests.network_policy.as_ref().is_none_or(|wanted| wanted.value),
        service_account: value(&manifests.service_account),
        pull_secrets: manifests.pull_secrets.iter().flatten().map(|name| name.value.clone()).collect(),
        secret: value(&manifests.secret),
        canary: Canary {
            steps: given.canary.steps.iter().flatten().map(|step| step.value).collect(),
            pause: given.canary.pause.as_ref().map_or(0, |pause| pause.value.as_millis() as u64),
        },
        overlays: overlays(given, cancel)?,
    })
}

fn autoscale(given: &AutoscaleOptions) -> Result<Option<Autoscale>, Diagnostics> {
    let number = |located: &Option<Located<u32>>| located.as_ref().map(|located| located.value);
    let memory = number(&given.memory);
    if let Some(max) = number(&given.max) {
        let cpu = number(&given.cpu).or(memory.is_none().then_some(80));
        return Ok(Some(Autoscale { max, min: number(&given.min), cpu, memory }));
    }
    // Its `max` may stand in another file: only here is it known that it does not.
    match [&given.min, &given.cpu, &given.memory].into_iter().flatten().next() {
        None => Ok(None),
        Some(other) => Err(Diagnostics(vec![
            Diagnostic::error("`autoscale` does nothing without `max`")
                .at(&other.place, "")
                .hint("say how many replicas there may be at most: `max = 10`"),
        ])),
    }
}

fn overlays(given: Given<'_>, cancel: &Cancel) -> anyhow::Result<Vec<Overlay>> {
    let mut overlays = Vec::new();
    let mut faults = Vec::new();
    if let Some(folder) = &given.manifests.kustomize {
        let source = kustomized(&given.root.join(&folder.value), folder, cancel)?;
        collect(&source, given.own.kustomize.is_some(), given.services, &mut overlays, &mut faults);
    }
    for path in given.manifests.overlays.iter().flatten() {
        let text = match std::fs::read_to_string(given.root.join(&path.value)) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("could not read {}", quoted(&path.value.display().to_string()));
                faults.push(Diagnostic::error(message).at(&path.place, error.to_string()));
                continue;
            }
        };
        let source = Arc::new(Source { path: path.value.clone(), text });
        collect(&source, given.own.overlays.is_some(), given.services, &mut overlays, &mut faults);
    }
    if faults.is_empty() { Ok(overlays) } else { Err(Diagnostics(faults).into()) }
}

fn collect(
    source: &Arc<Source>,
    own: bool,
    services: &BTreeSet<String>,
    overlays: &mut Vec<Overlay>,
    faults: &mut Vec<Diagnostic>,
) {
    match yaml::documents(source) {
        Err(Diagnostics(found)) => faults.extend(found),
        Ok(documents) => {
            for document in documents {
                match judge(&document, own, services) {
                    Some(fault) => faults.push(fault),
                    None => overlays.push(Overlay { document: document.value, own }),
                }
            }
        }
    }
}

/// What is wrong with a document that is well-formed.
fn judge(document: &Document, own: bool, services: &BTreeSet<String>) -> Option<Diagnostic> {
    let of = |pointer| text(&document.value, pointer);
    let (kind, name) = (of("/kind"), of("/metadata/name"));
    let fault = |message: String| Diagnostic::error(message).at(&document.place, "");
    if kind.is_empty() {
        return Some(
            fault("the document has no `kind`".to_owned())
                .hint("an overlay is a Kubernetes object, or a part of one"),
        );
    }
    let rendered = PATCHED.contains(&kind);
    if name.is_empty() {
        return (!rendered).then(|| {
            fault(format!("no {} is rendered that could be patched", quoted(kind)))
                .hint("give it `apiVersion` and `metadata.name`, and list the file for one service")
        });
    }
    if own {
        let whole = !of("/apiVersion").is_empty();
        return (!rendered && !whole).then(|| fault(format!("{} has no `apiVersion`", quoted(name))));
    }
    (!rendered || !services.contains(name)).then(|| {
        let mut fault = fault(format!("{} {} is no object of any service", quoted(kind), quoted(name)));
        fault.hint = Some(
            "an object more belongs to one service: list this file under `[services.NAME.deploy.kubernetes]`"
                .to_owned(),
        );
        fault
    })
}

fn kustomized(
    folder: &Path,
    located: &Located<std::path::PathBuf>,
    cancel: &Cancel,
) -> anyhow::Result<Arc<Source>> {
    let command = Command::new("kubectl").arg("kustomize").arg(folder);
    let output = command.output(cancel).fault_hint(
        Exit::Machine,
        "a Kustomize folder can't be built",
        "install kubectl",
    )?;
    if let Err(error) = command.checked(output.clone()) {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let _ = error;
        let message = format!("{} can't be built", quoted(&located.value.display().to_string()));
        return Err(Diagnostics(vec![Diagnostic::error(message).at(&located.place, said)]).into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Arc::new(Source { path: located.value.join("kustomization.yaml"), text }))
}
