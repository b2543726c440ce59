//! A workload as Kubernetes objects: what is sent to the API server, or committed for a GitOps controller.
//! Pure: the same workload gives the same objects, in the same order.
//!
//! Every object is found again by its labels: the service is `app.kubernetes.io/name`, project and
//! environment are `app.kubernetes.io/instance`. Values of secrets are never in here.

mod overlay;
mod pod;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::deploy::kubernetes::options::Options;
use crate::deploy::workload::Workload;
use crate::oci::types::Digest;

pub use overlay::{PATCHED, merged};
pub use pod::{operating_system, secret_name};

/// The field manager of all that is applied.
pub const MANAGER: &str = "longshore";

/// [`Workload::hash`] of what was applied.
pub const WORKLOAD: &str = "longshore/workload";
/// The image's digest.
pub const DIGEST: &str = "longshore/digest";
/// The other objects of the service, as `VERSION/KIND/NAME` with commas between.
pub const OBJECTS: &str = "longshore/objects";
/// What was applied, as JSON: drift is what differs from it.
pub const APPLIED: &str = "longshore/applied";
/// The revision of the secret that a pod was started with.
pub const SECRET: &str = "longshore/secret";
/// A label: whether a pod is of the version that stays, or of one that is tried.
pub const TRACK: &str = "longshore/track";

/// Where objects go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub project: String,
    /// Of project and environment: what tells environments apart that share a namespace.
    pub instance: String,
    pub namespace: String,
}

/// What is known of the live objects and shapes the new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Of the secret that is made of the environment's values.
    pub secret: Option<String>,
    /// How many replicas the autoscaler has made of it.
    pub replicas: Option<u64>,
}

/// The objects of a workload, overlays merged in: the Deployment last, after all that its pods need.
///
/// # Errors
/// A defect: the workload can't be hashed.
pub fn render(
    workload: &Workload,
    options: &Options,
    frame: &Frame,
    live: &Live,
) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    objects.extend(environment(workload, frame));
    objects.extend(service(workload, frame));
    objects.extend(disruption_budget(workload, options, frame));
    objects.extend(autoscaler(workload, options, frame));
    objects.extend(options.network_policy.then(|| network_policy(workload, frame)));
    objects.push(deployment(workload, options, frame, live));
    let mut objects = merged(objects, workload, options, frame);
    finish(&mut objects, workload)?;
    Ok(objects)
}

/// The Deployment of a version that is tried beside the one that runs, and the variables that it needs.
///
/// # Errors
/// As [`render`].
pub fn render_canary(
    workload: &Workload,
    options: &Options,
    frame: &Frame,
    live: &Live,
    replicas: u32,
) -> anyhow::Result<Vec<Value>> {
    let mut objects = render(workload, options, frame, live)?;
    objects.retain(|object| ["ConfigMap", "Deployment"].contains(&text(object, "/kind")));
    for object in objects.iter_mut().filter(|object| text(object, "/kind") == "Deployment") {
        object["metadata"]["name"] = canary_name(&workload.service).into();
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove(APPLIED);
            annotations.remove(OBJECTS);
        }
        object["spec"]["replicas"] = replicas.into();
        for labels in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                labels.insert(TRACK.to_owned(), "canary".into());
            }
        }
    }
    Ok(objects)
}

/// Of the second Deployment, while a version is tried.
pub fn canary_name(service: &str) -> String {
    format!("{service}-canary")
}

/// `VERSION/KIND/NAME`
pub fn identity(object: &Value) -> String {
    let of = |pointer| text(object, pointer);
    format!("{}/{}/{}", of("/apiVersion"), of("/kind"), of("/metadata/name"))
}

/// A string of an object, empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What selects a service's objects, as `kubectl -l` takes it.
pub fn selector(service: &str, frame: &Frame) -> String {
    format!("app.kubernetes.io/name={service},app.kubernetes.io/instance={}", frame.instance)
}

/// The labels of what a service's pods are selected by.
fn selected(workload: &Workload, frame: &Frame) -> Map<String, Value> {
    let pairs =
        [("app.kubernetes.io/name", &workload.service), ("app.kubernetes.io/instance", &frame.instance)];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.clone().into())).collect()
}

/// The labels of every object: the user's, and over them those that everything is found by.
fn labels(workload: &Workload, frame: &Frame) -> Map<String, Value> {
    let own = workload.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
    let mut labels: Map<String, Value> = own.collect();
    labels.extend(selected(workload, frame));
    for (key, value) in [
        ("app.kubernetes.io/version", workload.version.to_string()),
        ("app.kubernetes.io/part-of", frame.project.clone()),
        ("app.kubernetes.io/managed-by", MANAGER.to_owned()),
    ] {
        labels.insert(key.to_owned(), value.into());
    }
    labels
}

fn object(version: &str, kind: &str, name: &str, workload: &Workload, frame: &Frame) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": { "name": name, "namespace": frame.namespace, "labels": labels(workload, frame) },
    })
}

/// The runtime variables. Its name follows from them: a change makes another, so that pods roll, and what
/// ran before still has its own.
fn environment(workload: &Workload, frame: &Frame) -> Option<Value> {
    let name = environment_name(workload)?;
    let mut map = object("v1", "ConfigMap", &name, workload, frame);
    map["data"] = json!(workload.env);
    map["immutable"] = true.into();
    // Versions share it.
    if let Some(labels) = map.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("app.kubernetes.io/version");
    }
    Some(map)
}

fn environment_name(workload: &Workload) -> Option<String> {
    if workload.env.is_empty() {
        return None;
    }
    let text = json!(workload.env).to_string();
    let digest = Digest::of(text.as_bytes());
    Some(format!("{}-env-{}", workload.service, &digest.hex()[..8]))
}

fn service(workload: &Workload, frame: &Frame) -> Option<Value> {
    let port = workload.port?;
    let mut service = object("v1", "Service", &workload.service, workload, frame);
    service["spec"] = json!({
        "selector": selected(workload, frame),
        "ports": [{ "name": "http", "port": port, "targetPort": "http", "protocol": "TCP" }],
    });
    Some(service)
}

/// At most one pod less when nodes are drained; where there is one alone it would keep its node from that.
fn disruption_budget(workload: &Workload, options: &Options, frame: &Frame) -> Option<Value> {
    if options.least(workload) < 2 {
        return None;
    }
    let mut budget = object("policy/v1", "PodDisruptionBudget", &workload.service, workload, frame);
    budget["spec"] = json!({
        "maxUnavailable": 1,
        "selector": { "matchLabels": selected(workload, frame) },
    });
    Some(budget)
}

fn autoscaler(workload: &Workload, options: &Options, frame: &Frame) -> Option<Value> {
    let autoscale = options.autoscale.as_ref()?;
    let metric = |resource: &str, percent: u32| {
        json!({ "type": "Resource", "resource": {
            "name": resource, "target": { "type": "Utilization", "averageUtilization": percent },
        }})
    };
    let cpu = autoscale.cpu.map(|percent| metric("cpu", percent));
    let memory = autoscale.memory.map(|percent| metric("memory", percent));
    let mut scaler = object("autoscaling/v2", "HorizontalPodAutoscaler", &workload.service, workload, frame);
    scaler["spec"] = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": workload.service },
        "minReplicas": options.least(workload),
        "maxReplicas": autoscale.max,
        "metrics": cpu.into_iter().chain(memory).collect::<Vec<_>>(),
    });
    Some(scaler)
}

/// Nothing but the port can be reached from outside of the pod.
fn network_policy(workload: &Workload, frame: &Frame) -> Value {
    let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", &workload.service, workload, frame);
    let ingress = match workload.port {
        Some(_) => json!([{ "ports": [{ "port": "http", "protocol": "TCP" }] }]),
        None => json!([]),
    };
    policy["spec"] = json!({
        "podSelector": { "matchLabels": selected(workload, frame) },
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    });
    policy
}

fn deployment(workload: &Workload, options: &Options, frame: &Frame, live: &Live) -> Value {
    let mut deployment = object("apps/v1", "Deployment", &workload.service, workload, frame);
    let mut selected = selected(workload, frame);
    selected.insert(TRACK.to_owned(), "stable".into());
    let mut labels = labels(workload, frame);
    labels.insert(TRACK.to_owned(), "stable".into());
    // The autoscaler's number, where it has made one: no deploy takes it back.
    let replicas = match &options.autoscale {
        Some(_) => live.replicas.unwrap_or(u64::from(options.least(workload))),
        None => u64::from(workload.replicas),
    };
    let mut template =
        json!({ "metadata": { "labels": labels }, "spec": pod::spec(workload, options, frame) });
    if let Some(secret) = live.secret.as_ref().filter(|_| !workload.secrets.is_empty()) {
        template["metadata"]["annotations"] = json!({ SECRET: secret });
    }
    deployment["spec"] = json!({
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": "25%" } },
        "selector": { "matchLabels": selected },
        "template": template,
    });
    // Who says nothing of its readiness is believed once it has run for a while.
    if workload.port.is_none() {
        deployment["spec"]["minReadySeconds"] = 5.into();
    }
    deployment
}

/// Notes on the objects: what each is, and on the Deployment what belongs to it.
fn finish(objects: &mut [Value], workload: &Workload) -> anyhow::Result<()> {
    let hash = workload.hash()?;
    let main = format!("apps/v1/Deployment/{}", workload.service);
    let others: Vec<String> = objects.iter().map(identity).filter(|identity| *identity != main).collect();
    for object in objects {
        if identity(object) == main {
            annotate(object, WORKLOAD, hash.clone());
            annotate(object, DIGEST, workload.image.digest.to_string());
            annotate(object, OBJECTS, others.join(","));
        }
        let applied = object.to_string();
        annotate(object, APPLIED, applied);
    }
    Ok(())
}

fn annotate(object: &mut Value, key: &str, value: String) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(key.to_owned(), value.into());
    }
}
