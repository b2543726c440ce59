//! A Kubernetes cluster as a place to run, through `kubectl` and whatever it can log in to.
//!
//! Objects are applied on the server as field manager `longshore`, one service at a time, and found again by
//! labels alone: a run that was killed at any moment leaves nothing that the next one does not see. A rollout
//! is watched until no pod of the old version is left; what is no longer rendered is removed after that, so
//! that what ran before can always be put back. Never touched: objects without this environment's labels, and
//! the namespace, once it is there.

mod canary;
mod drift;
mod failure;
mod kubectl;
pub mod manifest;
pub mod merge;
pub mod options;
mod requests;
pub mod rollout;
mod sight;
pub mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::deploy::kubernetes::kubectl::Kubectl;
use crate::deploy::kubernetes::manifest::{
    Frame, Live, MANAGER, OBJECTS, identity, secret_name, selector, text,
};
use crate::deploy::kubernetes::options::Options;
use crate::deploy::kubernetes::rollout::{Rollout, Seen};
use crate::deploy::workload::Workload;
use crate::deploy::{Before, Driver, LogAsk, Observed, Step, Target};
use crate::fault::{Exit, Fault, exit_of};
use crate::host::process::Status;
use crate::stage::lint::tool::stopped;

/// Between two looks at a rollout.
const TICK: Duration = Duration::from_millis(150);

/// Kinds that are rendered, besides the Deployment and secrets, which many may not list.
const KINDS: &str = "configmaps,services,poddisruptionbudgets.policy,horizontalpodautoscalers.autoscaling,\
                     networkpolicies.networking.k8s.io";

/// The driver `kubernetes`.
#[derive(Debug)]
pub struct Kubernetes {
    target: Target,
    kubectl: Kubectl,
    frame: Frame,
}

impl Kubernetes {
    pub fn new(target: Target) -> Self {
        let options = &target.settings.kubernetes;
        let frame = frame(&target);
        let context = options.context.as_ref().map(|context| context.value.clone());
        let kubectl = Kubectl { context, namespace: frame.namespace.clone() };
        Self { target, kubectl, frame }
    }

    /// Brings one workload up; with `tried`, beside what runs first, as its canary says, and verified.
    fn bring_up(&self, workload: &Workload, tried: bool, step: &Step<'_>) -> anyhow::Result<()> {
        let options = Options::of(workload)?;
        pullable(workload)?;
        step.progress.status("asking the cluster");
        let found = self.found(&workload.service, step)?;
        let live = self.live(workload, &options, found.as_ref(), step)?;
        let mut objects = manifest::render(workload, &options, &self.frame, &live)?;
        if tried {
            self.try_beside(workload, &options, &live, found.as_ref(), step)?;
        }
        let new: BTreeSet<String> =
            objects.iter().map(identity).chain(own_secret(workload, &options)).collect();
        let old = found.as_ref().map(noted).unwrap_or_default();
        let stale: Vec<String> = old.into_iter().filter(|object| !new.contains(object)).collect();
        // Until they are removed they stay on the list: a run that is killed before forgets nothing.
        note(&mut objects, &[own_secret(workload, &options).into_iter().collect(), stale.clone()].concat());
        step.progress.status("applying");
        self.kubectl.apply(&objects, step.cancel)?;
        self.wait(workload, &workload.service, step)?;
        if tried {
            self.verify(workload, &workload.service, step)?;
        }
        step.progress.status("removing what is no longer rendered");
        self.remove_canary(&workload.service, step)?;
        self.prune(&workload.service, &new, &stale, step)?;
        if !stale.is_empty() {
            objects.retain(|object| text(object, "/kind") == "Deployment");
            unnote(&mut objects, &stale);
            self.kubectl.apply(&objects, step.cancel)?;
        }
        Ok(())
    }

    /// The Deployment of a service, which must be ours.
    fn found(&self, service: &str, step: &Step<'_>) -> anyhow::Result<Option<Value>> {
        let Some(found) = self.kubectl.get("deployments.apps", service, step.cancel)? else {
            return Ok(None);
        };
        let label =
            |name: &str| text(&found, &format!("/metadata/labels/app.kubernetes.io~1{name}")).to_owned();
        if label("managed-by") == MANAGER && label("instance") == self.frame.instance {
            return Ok(Some(found));
        }
        let namespace = &self.frame.namespace;
        let message = format!("the Deployment `{service}` in namespace `{namespace}` is somebody else's");
        Err(Fault::new(Exit::Conflict, message)
            .hint("delete it, or give the environment a `namespace` of its own under `[deploy.kubernetes]`")
            .into())
    }

    /// Hands the values of secrets over, and says what of the live objects shapes the new ones.
    fn live(
        &self,
        workload: &Workload,
        options: &Options,
        found: Option<&Value>,
        step: &Step<'_>,
    ) -> anyhow::Result<Live> {
        let replicas = found.and_then(|found| found.pointer("/spec/replicas")).and_then(Value::as_u64);
        let mut live = Live { secret: None, replicas };
        if own_secret(workload, options).is_some() {
            let secret = self.secret(workload)?;
            let applied = self.kubectl.apply(&[secret], step.cancel)?;
            // A value that changed makes pods roll; its hash would tell of it.
            live.secret = applied.first().map(|secret| text(secret, "/metadata/resourceVersion").to_owned());
        }
        Ok(live)
    }

    fn secret(&self, workload: &Workload) -> anyhow::Result<Value> {
        let mut values = serde_json::Map::new();
        for name in &workload.secrets {
            let Some(value) = self.target.secrets.reveal(name) else {
                let message = format!("the secret `{name}` of `{}` has no value", workload.service);
                return Err(Fault::new(Exit::Usage, message)
                    .hint(format!("name it under `[secrets]` in `environments/{}.toml`", self.target.name))
                    .into());
            };
            values.insert(name.clone(), value.into());
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": secret_name(&workload.service),
                "namespace": self.frame.namespace,
                "labels": {
                    "app.kubernetes.io/name": workload.service,
                    "app.kubernetes.io/instance": self.frame.instance,
                    "app.kubernetes.io/managed-by": MANAGER,
                },
            },
            "stringData": values,
        }))
    }

    /// Waits until a Deployment of the service runs as it should.
    fn wait(&self, workload: &Workload, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut seen = Seen::default();
        loop {
            let waits = match self.seen(&workload.service, step) {
                Ok(now) => {
                    seen = now;
                    match seen.rollout(name) {
                        Rollout::Done => return Ok(()),
                        Rollout::Failed(why) => return Err(self.unhealthy(workload, name, why, &seen, step)),
                        Rollout::Waiting(why) => why,
                    }
                }
                // An API server that stumbles is asked again.
                Err(error) if exit_of(&error) == Exit::Outside => format!("{error:#}"),
                Err(error) => return Err(error),
            };
            step.progress.status(&format!("rolling out: {waits}"));
            if step.left().is_zero() {
                let why = format!("is not healthy after {:.1} s: {waits}", began.elapsed().as_secs_f64());
                return Err(self.unhealthy(workload, name, why, &seen, step));
            }
            pause(TICK.min(step.left()), step)?;
        }
    }

    fn seen(&self, service: &str, step: &Step<'_>) -> anyhow::Result<Seen> {
        let selector = selector(service, &self.frame);
        Ok(Seen::new(self.kubectl.list("deployments.apps,replicasets.apps,pods", &selector, step.cancel)?))
    }

    /// Removes what has the service's labels and is not rendered, and what is `stale`.
    fn prune(
        &self,
        service: &str,
        rendered: &BTreeSet<String>,
        stale: &[String],
        step: &Step<'_>,
    ) -> anyhow::Result<()> {
        let listed = self.kubectl.list(KINDS, &selector(service, &self.frame), step.cancel)?;
        // The endpoints of a Service carry its labels, and go with it.
        let labelled = listed.iter().map(identity).filter(|object| !rendered.contains(object));
        let gone: BTreeSet<String> = labelled.chain(stale.iter().cloned()).collect();
        self.delete(gone.iter().map(String::as_str), step)
    }

    /// Deletes objects by `VERSION/KIND/NAME`.
    fn delete<'a>(&self, objects: impl Iterator<Item = &'a str>, step: &Step<'_>) -> anyhow::Result<()> {
        let names: Vec<String> = objects.filter_map(kubectl_name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let command = self.kubectl.command(["delete", "--ignore-not-found", "--wait=false"]).args(names);
        self.kubectl.run(&command, step.cancel)?;
        Ok(())
    }

    /// Takes all of a service away.
    fn remove(&self, service: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let extra = self.kubectl.get("deployments.apps", service, step.cancel)?;
        let extra = extra.as_ref().map(noted).unwrap_or_default();
        let selector = format!("{},app.kubernetes.io/managed-by={MANAGER}", selector(service, &self.frame));
        step.progress.status(&format!("deleting {service}"));
        let kinds = format!("deployments.apps,{KINDS}");
        // A Deployment goes in the foreground: when it is gone its pods are.
        let command = self.kubectl.command([
            "delete",
            &kinds,
            "--selector",
            &selector,
            "--ignore-not-found",
            "--cascade=foreground",
            "--wait=true",
            "--request-timeout=0",
        ]);
        let output = self.kubectl.output(&command, step.cancel)?;
        if output.status != Status::Exited(0) && !self.kubectl.lacks_namespace(&output) {
            return Err(self.kubectl.fault(&command, &output));
        }
        self.delete(extra.iter().map(String::as_str), step)
    }
}

impl Driver for Kubernetes {
    fn observe(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        self.observed(step)
    }

    fn difference(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        for workload in workloads {
            lines.extend(self.compared(workload, step)?);
        }
        Ok(lines)
    }

    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()> {
        workloads.iter().try_for_each(|workload| self.bring_up(workload, true, step))
    }

    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()> {
        for Before { service, workload } in before {
            // What was tried gets no more requests; all replicas of what ran before are there.
            self.remove_canary(service, step)?;
            match workload {
                Some(workload) => self.bring_up(workload, false, step)?,
                None => self.remove(service, step)?,
            }
        }
        Ok(())
    }

    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        let one = |service: &String| {
            let tail = ask.tail.map_or_else(|| "--tail=-1".to_owned(), |tail| format!("--tail={tail}"));
            let selector = selector(service, &self.frame);
            let mut command =
                self.kubectl.command(["logs", "--selector", &selector, &tail, "--all-containers"]);
            command = command.arg("--max-log-requests=100");
            if ask.follow {
                command = command.args(["--follow", "--request-timeout=0"]);
                command.timeout = None;
            }
            self.kubectl.stream(&command, step.cancel, &|is_stderr, line| {
                if !is_stderr || !line.starts_with("No resources found") {
                    sink(service, line);
                }
            })
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = services.iter().map(|service| scope.spawn(move || one(service))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn down(&self, services: &[String], step: &Step<'_>) -> anyhow::Result<()> {
        services.iter().try_for_each(|service| self.remove(service, step))
    }
}

/// Where an environment's objects go.
pub fn frame(target: &Target) -> Frame {
    let namespace = target.settings.kubernetes.namespace.as_ref();
    Frame {
        project: target.project.clone(),
        instance: target.slug(),
        namespace: namespace.map_or_else(|| target.slug(), |namespace| namespace.value.clone()),
    }
}

/// An image that a cluster can get.
///
/// # Errors
/// [`Exit::Usage`]: it lies in a folder.
pub fn pullable(workload: &Workload) -> anyhow::Result<()> {
    if !workload.image.repository.starts_with("oci:") {
        return Ok(());
    }
    let message = format!("no cluster can pull `{}`: it is a folder", workload.image.repository);
    Err(Fault::new(Exit::Usage, message)
        .hint("give the environment a `registry` that the cluster reaches")
        .into())
}

/// The secret that is made for a workload, as [`identity`] names it.
fn own_secret(workload: &Workload, options: &Options) -> Option<String> {
    let made = !workload.secrets.is_empty() && options.secret.is_none();
    made.then(|| format!("v1/Secret/{}", secret_name(&workload.service)))
}

/// The objects that a Deployment says belong to it.
fn noted(deployment: &Value) -> Vec<String> {
    let list = text(deployment, &format!("/metadata/annotations/{}", OBJECTS.replace('/', "~1")));
    list.split(',').filter(|object| !object.is_empty()).map(str::to_owned).collect()
}

/// Adds to the list of what belongs to the Deployment.
fn note(objects: &mut [Value], more: &[String]) {
    renote(objects, &|list| list.extend(more.iter().cloned()));
}

/// Takes from it.
fn unnote(objects: &mut [Value], gone: &[String]) {
    renote(objects, &|list| list.retain(|object| !gone.contains(object)));
}

fn renote(objects: &mut [Value], change: &dyn Fn(&mut Vec<String>)) {
    for object in objects.iter_mut().filter(|object| text(object, "/kind") == "Deployment") {
        let mut list = noted(object);
        if object.pointer("/metadata/annotations").is_some_and(|it| it.get(OBJECTS).is_some()) {
            change(&mut list);
            object["metadata"]["annotations"][OBJECTS] = list.join(",").into();
        }
    }
}

/// `VERSION/KIND/NAME` as an argument: `Ingress.v1.networking.k8s.io/NAME`.
fn kubectl_name(object: &str) -> Option<String> {
    let (rest, name) = object.rsplit_once('/')?;
    let (version, kind) = rest.rsplit_once('/')?;
    Some(match version.split_once('/') {
        Some((group, version)) => format!("{kind}.{version}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    })
}

/// Lets time pass, and looks meanwhile whether the run is to stop.
pub(super) fn pause(time: Duration, step: &Step<'_>) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(50);
    let until = Instant::now() + time;
    loop {
        if step.cancel.is_set() {
            return Err(stopped(step.cancel));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}
