//! What a Deployment, its ReplicaSets and its pods say of a rollout. Pure over what the API server gave.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::deploy::kubernetes::manifest::text;

/// How a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All replicas are of the new version and available, none of the old is left.
    Done,
    /// Not yet, and what is waited for.
    Waiting(String),
    /// It can't end well, and why.
    Failed(String),
}

/// What the API server gave of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub deployments: Vec<Value>,
    pub replica_sets: Vec<Value>,
    pub pods: Vec<Value>,
}

impl Seen {
    /// Sorts what `kubectl get` listed.
    pub fn new(items: Vec<Value>) -> Self {
        let mut seen = Self::default();
        for item in items {
            match text(&item, "/kind") {
                "Deployment" => seen.deployments.push(item),
                "ReplicaSet" => seen.replica_sets.push(item),
                "Pod" => seen.pods.push(item),
                _ => {}
            }
        }
        seen
    }

    /// The Deployment of a name.
    pub fn deployment(&self, name: &str) -> Option<&Value> {
        self.deployments.iter().find(|deployment| text(deployment, "/metadata/name") == name)
    }

    /// The pods of a Deployment's newest version, those that are ending left out.
    pub fn newest_pods(&self, name: &str) -> Vec<&Value> {
        let Some(hash) = self.newest_hash(name) else { return Vec::new() };
        let of_it = |pod: &&Value| text(pod, "/metadata/labels/pod-template-hash") == hash;
        self.pods
            .iter()
            .filter(of_it)
            .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
            .collect()
    }

    /// Of the ReplicaSet with the Deployment's revision.
    fn newest_hash(&self, name: &str) -> Option<&str> {
        const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
        let deployment = self.deployment(name)?;
        let (uid, revision) = (text(deployment, "/metadata/uid"), text(deployment, REVISION));
        let owned = |set: &&Value| text(set, "/metadata/ownerReferences/0/uid") == uid;
        let set = self.replica_sets.iter().filter(owned).find(|set| text(set, REVISION) == revision)?;
        Some(text(set, "/metadata/labels/pod-template-hash"))
    }

    /// How the rollout of a Deployment is.
    pub fn rollout(&self, name: &str) -> Rollout {
        let Some(deployment) = self.deployment(name) else {
            return Rollout::Failed(format!("the Deployment `{name}` is gone"));
        };
        let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        if number("/status/observedGeneration") < number("/metadata/generation") {
            return Rollout::Waiting("the cluster to see it".to_owned());
        }
        let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let (all, updated) = (number("/status/replicas"), number("/status/updatedReplicas"));
        let available = number("/status/availableReplicas");
        if updated >= wanted && all <= updated && available >= updated {
            return Rollout::Done;
        }
        let newest = self.newest_pods(name);
        if let Some(why) = newest.iter().find_map(|pod| hopeless(pod)) {
            return Rollout::Failed(why);
        }
        let ready = newest.iter().filter(|pod| is_ready(pod)).count();
        let mut waits = format!("{ready} of {wanted} are ready");
        if let Some(why) = self.blocked(deployment, &newest) {
            waits = format!("{waits}: {why}");
        }
        Rollout::Waiting(waits)
    }

    /// What stands in the way, in the cluster's words.
    fn blocked(&self, deployment: &Value, pods: &[&Value]) -> Option<String> {
        let refused = conditions(deployment).find(|condition| {
            text(condition, "/type") == "ReplicaFailure" && text(condition, "/status") == "True"
        });
        if let Some(refused) = refused {
            return Some(text(refused, "/message").to_owned());
        }
        let reasons: BTreeSet<String> = pods.iter().filter_map(|pod| waits_for(pod)).collect();
        reasons.into_iter().next()
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |pointer| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    of("/status/initContainerStatuses").chain(of("/status/containerStatuses"))
}

/// Whether a pod takes requests.
pub fn is_ready(pod: &Value) -> bool {
    conditions(pod).any(|it| text(it, "/type") == "Ready" && text(it, "/status") == "True")
}

/// How often the containers of a pod were started again.
pub fn restarts(pod: &Value) -> u32 {
    let count = |container: &Value| container.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
    u32::try_from(containers(pod).map(count).sum::<u64>()).unwrap_or(u32::MAX)
}

/// Why a pod never becomes ready, where that is plain: it ends again and again, or can't be started.
pub fn hopeless(pod: &Value) -> Option<String> {
    const NEVER: &[&str] =
        &["InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull", "ImageInspectError"];
    for container in containers(pod) {
        let (reason, message) =
            (text(container, "/state/waiting/reason"), text(container, "/state/waiting/message"));
        let restarts = container.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
        if restarts >= 2 || (reason == "CrashLoopBackOff" && restarts >= 1) {
            return Some(format!("ends again and again: {}, {restarts} restarts", last_end(container)));
        }
        let is_lost = ["ErrImagePull", "ImagePullBackOff"].contains(&reason)
            && ["not found", "manifest unknown", "MANIFEST_UNKNOWN"]
                .iter()
                .any(|words| message.contains(words));
        if NEVER.contains(&reason) || is_lost {
            return Some(format!("can't be started: {reason}: {message}"));
        }
    }
    None
}

/// `exit code 1`, or what the kubelet calls it.
fn last_end(container: &Value) -> String {
    let ended = ["/lastState/terminated", "/state/terminated"];
    let Some(ended) = ended.iter().find_map(|pointer| container.pointer(pointer)) else {
        return "it ended".to_owned();
    };
    let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    match text(ended, "/reason") {
        "" | "Error" | "Completed" => format!("exit code {code}"),
        reason => format!("{reason} (exit code {code})"),
    }
}

/// What a pod that is not ready says of it.
fn waits_for(pod: &Value) -> Option<String> {
    if is_ready(pod) {
        return None;
    }
    let unscheduled = conditions(pod)
        .find(|it| text(it, "/type") == "PodScheduled" && text(it, "/status") == "False")
        .map(|it| text(it, "/message").to_owned());
    let waiting = || {
        containers(pod).find_map(|container| match text(container, "/state/waiting/reason") {
            "" | "ContainerCreating" | "PodInitializing" => None,
            reason => Some(format!("{reason}: {}", text(container, "/state/waiting/message"))),
        })
    };
    let restarted = || {
        let container =
            containers(pod).find(|container| restarts(pod) > 0 && container.get("lastState").is_some())?;
        Some(format!("it was started again after {}", last_end(container)))
    };
    unscheduled.or_else(waiting).or_else(restarted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(status: Value) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "api", "uid": "u", "generation": 2, "annotations": { "deployment.kubernetes.io/revision": "2" } },
            "spec": { "replicas": 2 },
            "status": status,
        })
    }

    fn replica_set(revision: &str) -> Value {
        json!({
            "kind": "ReplicaSet",
            "metadata": {
                "annotations": { "deployment.kubernetes.io/revision": revision },
                "labels": { "pod-template-hash": format!("h{revision}") },
                "ownerReferences": [{ "uid": "u" }],
            },
        })
    }

    fn pod(hash: &str, container: Value) -> Value {
        json!({
            "kind": "Pod",
            "metadata": { "labels": { "pod-template-hash": hash } },
            "status": { "containerStatuses": [container] },
        })
    }

    fn rollout(status: Value, pods: Vec<Value>) -> Rollout {
        let sets = [replica_set("1"), replica_set("2")];
        Seen::new([vec![deployment(status)], sets.to_vec(), pods].concat()).rollout("api")
    }

    #[test]
    fn a_rollout_is_done_when_nothing_old_is_left() {
        let status = |observed, all, updated, available| json!({ "observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available });
        assert_eq!(rollout(status(2, 2, 2, 2), Vec::new()), Rollout::Done);
        for (observed, all, updated, available) in [(1, 2, 2, 2), (2, 3, 2, 3), (2, 2, 1, 2), (2, 2, 2, 1)] {
            let found = rollout(status(observed, all, updated, available), Vec::new());
            assert!(matches!(found, Rollout::Waiting(_)), "{found:?}");
        }
        assert!(matches!(Seen::default().rollout("api"), Rollout::Failed(_)));
    }

    #[test]
    fn a_crash_loop_of_the_new_version_fails_and_one_of_the_old_does_not() {
        let crash = json!({
            "restartCount": 2,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
        });
        let status = json!({ "observedGeneration": 2, "replicas": 2 });
        assert_eq!(
            rollout(status.clone(), vec![pod("h2", crash.clone())]),
            Rollout::Failed("ends again and again: exit code 3, 2 restarts".to_owned())
        );
        assert!(matches!(rollout(status, vec![pod("h1", crash)]), Rollout::Waiting(_)));
    }

    #[test]
    fn an_image_that_is_not_there_fails_and_a_registry_that_stumbles_is_waited_for() {
        let pull = |message: &str| {
            let waiting = json!({ "reason": "ErrImagePull", "message": message });
            let status = json!({ "observedGeneration": 2, "replicas": 2 });
            rollout(status, vec![pod("h2", json!({ "state": { "waiting": waiting } }))])
        };
        assert!(matches!(pull("x: not found"), Rollout::Failed(_)));
        assert_eq!(pull("503"), Rollout::Waiting("0 of 2 are ready: ErrImagePull: 503".to_owned()));
    }
}
