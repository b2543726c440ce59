//! What a service that did not come up has printed, and what the cluster says of it.

use serde_json::Value;

use crate::deploy::kubernetes::Kubernetes;
use crate::deploy::kubernetes::manifest::text;
use crate::deploy::kubernetes::rollout::{Seen, is_ready, restarts};
use crate::deploy::workload::Workload;
use crate::deploy::{Step, Unhealthy};

/// Pods that are told of: the others say the same.
const PODS: usize = 2;
/// Lines of one container's log.
const LINES: &str = "--tail=20";
/// Events that are told.
const EVENTS: usize = 10;

impl Kubernetes {
    /// The error of a Deployment that did not come up, with its pods' last lines and its last events. What
    /// can't be had of them is left out.
    pub(super) fn unhealthy(
        &self,
        workload: &Workload,
        name: &str,
        why: String,
        seen: &Seen,
        step: &Step<'_>,
    ) -> anyhow::Error {
        let pods = seen.newest_pods(name);
        let mut log = Vec::new();
        for pod in pods.iter().filter(|pod| !is_ready(pod)).take(PODS) {
            log.extend(self.last_lines(pod, step));
        }
        log.extend(self.events(name, &pods, step));
        Unhealthy { service: workload.service.clone(), why, log }.into()
    }

    fn last_lines(&self, pod: &Value, step: &Step<'_>) -> Vec<String> {
        let name = text(pod, "/metadata/name");
        let read = |more: &[&str]| {
            let command =
                self.kubectl.command(["logs", name, "--all-containers", LINES]).args(more.iter().copied());
            let bytes = self.kubectl.run(&command, step.cancel).unwrap_or_default();
            String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect::<Vec<String>>()
        };
        let mut lines = read(&[]);
        if lines.is_empty() && restarts(pod) > 0 {
            lines = read(&["--previous"]);
        }
        lines
    }

    /// The last events of a Deployment, its ReplicaSets and its pods, oldest first.
    fn events(&self, name: &str, pods: &[&Value], step: &Step<'_>) -> Vec<String> {
        let command = self.kubectl.command(["get", "events", "--output=json"]);
        let bytes = self.kubectl.run(&command, step.cancel).unwrap_or_default();
        let Ok(list) = serde_json::from_slice::<Value>(&bytes) else { return Vec::new() };
        let names: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
        let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
        let of_it = |event: &&Value| {
            let (kind, object) = (text(event, "/involvedObject/kind"), text(event, "/involvedObject/name"));
            match kind {
                "Pod" => names.contains(&object),
                "ReplicaSet" => object.rsplit_once('-').is_some_and(|(base, _)| base == name),
                _ => object == name,
            }
        };
        let mut events: Vec<&Value> =
            items.filter(of_it).filter(|event| text(event, "/type") == "Warning").collect();
        events
            .sort_by_key(|event| (text(event, "/lastTimestamp"), text(event, "/metadata/creationTimestamp")));
        let mut lines: Vec<String> = Vec::new();
        for event in events {
            let line = format!("event: {}: {}", text(event, "/reason"), text(event, "/message").trim());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.split_off(lines.len().saturating_sub(EVENTS))
    }
}
