//! What an environment runs in a cluster, how that differs from what was applied, and from what would be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::deploy::kubernetes::drift::drift;
use crate::deploy::kubernetes::kubectl::listed;
use crate::deploy::kubernetes::manifest::{
    self, APPLIED, Live, MANAGER, TRACK, WORKLOAD, canary_name, identity, text,
};
use crate::deploy::kubernetes::options::Options;
use crate::deploy::kubernetes::rollout::{Rollout, Seen, hopeless, is_ready, restarts};
use crate::deploy::kubernetes::{KINDS, Kubernetes, kubectl_name, noted, pause};
use crate::deploy::workload::Workload;
use crate::deploy::{Condition, Observed, Step};
use crate::host::process::Status;

impl Kubernetes {
    /// What `kubectl diff` says of a workload.
    pub(super) fn compared(&self, workload: &Workload, step: &Step<'_>) -> anyhow::Result<Vec<String>> {
        let options = Options::of(workload)?;
        let found = self.found(&workload.service, step)?;
        let replicas =
            found.as_ref().and_then(|found| found.pointer("/spec/replicas")).and_then(Value::as_u64);
        let secret = found.as_ref().and_then(|found| {
            let pointer = "/spec/template/metadata/annotations/longshore~1secret";
            Some(found.pointer(pointer)?.as_str()?.to_owned())
        });
        let objects = manifest::render(workload, &options, &self.frame, &Live { secret, replicas })?;
        let command = self
            .kubectl
            .command([
                "diff",
                "--server-side",
                "--force-conflicts",
                &format!("--field-manager={MANAGER}"),
                "--filename=-",
            ])
            .stdin(listed(&objects));
        let output = self.kubectl.output(&command, step.cancel)?;
        match output.status {
            Status::Exited(0 | 1) if output.stderr.is_empty() || !output.stdout.is_empty() => {
                let said = String::from_utf8_lossy(&output.stdout);
                Ok(shown_diff(&said))
            }
            _ if self.kubectl.lacks_namespace(&output) => {
                let lines = objects.iter().map(|object| format!("+ {}", identity(object)));
                Ok(std::iter::once(format!("+ v1/Namespace/{}", self.frame.namespace)).chain(lines).collect())
            }
            _ => Err(self.kubectl.fault(&command, &output)),
        }
    }

    /// All services of the environment that the cluster has.
    pub(in crate::deploy) fn observed(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/managed-by={MANAGER}",
            self.frame.instance
        );
        let kinds = format!("deployments.apps,replicasets.apps,pods,{KINDS}");
        let items = self.kubectl.list(&kinds, &selector, step.cancel)?;
        let service = |item: &Value| text(item, "/metadata/labels/app.kubernetes.io~1name").to_owned();
        let names: BTreeSet<String> =
            items.iter().filter(|item| text(item, "/kind") == "Deployment").map(service).collect();
        let mut observed = BTreeMap::new();
        for name in names {
            let own: Vec<Value> = items.iter().filter(|item| service(item) == name).cloned().collect();
            let more = self.more(&own, step)?;
            observed.insert(name.clone(), judged(&name, own, &more, &self.frame.namespace));
        }
        Ok(observed)
    }

    /// Waits until a controller has applied a workload, and then until that runs as it should.
    ///
    /// # Errors
    /// [`crate::fault::Exit::Machine`]: the cluster can't be asked; else as [`crate::deploy::Driver::apply`].
    pub(in crate::deploy) fn synced(&self, workload: &Workload, step: &Step<'_>) -> anyhow::Result<()> {
        let wanted = workload.hash()?;
        let pointer = format!("/metadata/annotations/{}", WORKLOAD.replace('/', "~1"));
        loop {
            let found = self.kubectl.get("deployments.apps", &workload.service, step.cancel)?;
            if found.is_some_and(|found| text(&found, &pointer) == wanted) {
                self.wait(workload, &workload.service, step)?;
                return self.verify(workload, &workload.service, step);
            }
            if step.left().is_zero() {
                let why = "was committed, and the controller has not applied it in time".to_owned();
                return Err(self.unhealthy(workload, &workload.service, why, &Seen::default(), step));
            }
            step.progress.status("waiting for the controller");
            pause(Duration::from_millis(500).min(step.left()), step)?;
        }
    }

    /// The objects of a service that are of kinds which its overlays have brought.
    fn more(&self, own: &[Value], step: &Step<'_>) -> anyhow::Result<Vec<Value>> {
        let known: BTreeSet<&str> = own.iter().map(|item| text(item, "/kind")).collect();
        let listed = |object: &String| {
            let kind = object.rsplit('/').nth(1).unwrap_or_default();
            kind == "Secret"
                || known.contains(kind)
                || manifest::PATCHED.contains(&kind)
                || kind == "ConfigMap"
        };
        let deployments = own.iter().filter(|item| text(item, "/kind") == "Deployment");
        let names = deployments.flat_map(noted).filter(|object| !listed(object));
        let names: Vec<String> = names.filter_map(|object| kubectl_name(&object)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let command = self.kubectl.command(["get", "--ignore-not-found", "--output=json"]).args(names);
        let bytes = self.kubectl.run(&command, step.cancel)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        let mut found: Value = serde_json::from_slice(&bytes)?;
        Ok(match found.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![found],
        })
    }
}

/// A service as its objects say.
fn judged(name: &str, own: Vec<Value>, more: &[Value], namespace: &str) -> Observed {
    let there: BTreeSet<String> = own.iter().chain(more).map(identity).collect();
    let scaled = there.contains(&format!("autoscaling/v2/HorizontalPodAutoscaler/{name}"));
    let mut lines: Vec<String> = own.iter().chain(more).flat_map(|object| drift(object, scaled)).collect();
    let addresses = own.iter().filter(|item| text(item, "/kind") == "Service").flat_map(|item| {
        let ports = item.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
        let host = format!("{}.{namespace}.svc", text(item, "/metadata/name"));
        ports
            .filter_map(|port| port.get("port")?.as_u64())
            .map(|port| format!("{host}:{port}"))
            .collect::<Vec<_>>()
    });
    let addresses = addresses.collect();
    let seen = Seen::new(own);
    let Some(deployment) = seen.deployment(name) else {
        return absent(addresses);
    };
    for object in noted(deployment).iter().filter(|object| !object.starts_with("v1/Secret/")) {
        if !there.contains(object) {
            let short = object.strip_prefix("v1/").unwrap_or(object);
            lines.push(format!("{short} is gone"));
        }
    }
    if seen.deployment(&canary_name(name)).is_some() {
        lines.push(format!("Deployment/{} is there: a deploy was not ended", canary_name(name)));
    }
    let number = |pointer: &str| {
        u32::try_from(deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)).unwrap_or(u32::MAX)
    };
    let of_it =
        |pod: &&Value| text(pod, &format!("/metadata/labels/{}", TRACK.replace('/', "~1"))) == "stable";
    let pods: Vec<&Value> = seen.pods.iter().filter(of_it).collect();
    let since =
        pods.iter().filter_map(|pod| crate::host::clock::seconds(text(pod, "/status/startTime"))).min();
    let hash = text(deployment, &format!("/metadata/annotations/{}", WORKLOAD.replace('/', "~1")));
    Observed {
        digest: image(deployment, name).and_then(|image| image.rsplit_once('@')?.1.parse().ok()),
        hash: (!hash.is_empty()).then(|| hash.to_owned()),
        health: condition(&seen, name, &pods, number("/spec/replicas")),
        ready: number("/status/readyReplicas"),
        wanted: number("/spec/replicas"),
        restarts: pods.iter().map(|pod| restarts(pod)).sum(),
        since,
        addresses,
        drift: lines,
    }
}

fn absent(addresses: Vec<String>) -> Observed {
    Observed {
        digest: None,
        hash: None,
        health: Condition::Stopped("its Deployment is gone".to_owned()),
        ready: 0,
        wanted: 0,
        restarts: 0,
        since: None,
        addresses,
        drift: Vec::new(),
    }
}

fn image<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    let containers = deployment.pointer("/spec/template/spec/containers")?.as_array()?;
    let own = containers.iter().find(|container| text(container, "/name") == name)?;
    own.get("image")?.as_str()
}

fn condition(seen: &Seen, name: &str, pods: &[&Value], wanted: u32) -> Condition {
    if wanted == 0 {
        return Condition::Stopped("it is scaled to 0".to_owned());
    }
    match seen.rollout(name) {
        Rollout::Done => Condition::Healthy,
        Rollout::Failed(why) => Condition::Unhealthy(why),
        Rollout::Waiting(why) => match pods.iter().find_map(|pod| hopeless(pod)) {
            Some(why) => Condition::Unhealthy(why),
            None if pods.iter().any(|pod| is_ready(pod)) => Condition::Unhealthy(why),
            None => Condition::Starting,
        },
    }
}

/// The lines of `kubectl diff` that say something to a reader: without the names of its temporary files, and
/// without the note of what was applied, which says all of it again.
fn shown_diff(said: &str) -> Vec<String> {
    let noise = |line: &str| {
        line.starts_with("diff ")
            || line.starts_with("+++ ")
            || (line.contains(APPLIED) && !line.starts_with("--- "))
    };
    let lines = said.lines().filter(|line| !noise(line));
    lines
        .map(|line| match line.strip_prefix("--- ") {
            // `/tmp/LIVE-1/apps.v1.Deployment.shop.api`, and a time.
            Some(path) => {
                let path = path.split_whitespace().next().unwrap_or_default();
                format!("--- {}", path.rsplit(['/', '\\']).next().unwrap_or(path))
            }
            None => line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_told_without_its_files_and_notes() {
        let said = "diff -u -N /tmp/LIVE-1/apps.v1.Deployment.shop.api /tmp/MERGED-2/apps.v1.Deployment.shop.api\n--- /tmp/LIVE-1/apps.v1.Deployment.shop.api\t2026-01-01\n+++ /tmp/MERGED-2/apps.v1.Deployment.shop.api\t2026-01-01\n@@ -1 +1 @@\n-    longshore/applied: x\n+    longshore/applied: y\n-  replicas: 1\n+  replicas: 2\n";
        assert_eq!(
            shown_diff(said),
            ["--- apps.v1.Deployment.shop.api", "@@ -1 +1 @@", "-  replicas: 1", "+  replicas: 2"]
        );
    }
}
