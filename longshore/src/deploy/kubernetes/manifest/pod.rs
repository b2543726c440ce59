//! A workload's pods: one container without rights, its probes, its place.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::deploy::kubernetes::manifest::{Frame, environment_name, selected};
use crate::deploy::kubernetes::options::Options;
use crate::deploy::workload::Workload;
use crate::resolve::HealthSettings;

/// How long a service may take until it says that it has started, in seconds: then it is started again.
const STARTUP: u32 = 120;
/// Between two questions whether a service is alive: a dead one is rare.
const LIVENESS: u64 = 10;

/// `linux`, or `windows` where the image is for nothing else.
pub fn operating_system(workload: &Workload) -> &'static str {
    let platforms = &workload.image.platforms;
    let windows = !platforms.is_empty() && platforms.keys().all(|platform| platform.os == "windows");
    if windows { "windows" } else { "linux" }
}

/// Of the secret that is made of the environment's values for a service.
pub fn secret_name(service: &str) -> String {
    format!("{service}-secrets")
}

pub(super) fn spec(workload: &Workload, options: &Options, frame: &Frame) -> Value {
    let os = operating_system(workload);
    let mut spec = json!({
        "containers": [container(workload, options, os)],
        "automountServiceAccountToken": options.service_account.is_some(),
        "enableServiceLinks": false,
        "os": { "name": os },
        "nodeSelector": { "kubernetes.io/os": os },
        "securityContext": pod_security(os),
        // What is left of a connection after the last second has no use.
        "terminationGracePeriodSeconds": options.grace + options.drain,
    });
    if os == "linux" {
        spec["volumes"] = json!([{ "name": "tmp", "emptyDir": {} }]);
    }
    if let Some(affinity) = affinity(workload, os) {
        spec["affinity"] = affinity;
    }
    if options.least(workload) > 1 {
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selected(workload, frame) },
        }]);
    }
    if let Some(account) = &options.service_account {
        spec["serviceAccountName"] = account.clone().into();
    }
    if !options.pull_secrets.is_empty() {
        let names = options.pull_secrets.iter().map(|name| json!({ "name": name }));
        spec["imagePullSecrets"] = names.collect();
    }
    spec
}

fn container(workload: &Workload, options: &Options, os: &str) -> Value {
    let mut container = json!({
        "name": workload.service,
        "image": workload.image.reference(),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": container_security(os),
    });
    let Some(fields) = container.as_object_mut() else { return container };
    if let Some(port) = workload.port {
        fields.insert(
            "ports".to_owned(),
            json!([{ "name": "http", "containerPort": port, "protocol": "TCP" }]),
        );
        fields.extend(probes(&workload.health));
        // Until every proxy has heard that the pod is to end, requests still come. The kubelet sleeps: the
        // image needs no program for it.
        if options.drain > 0 {
            let sleep = json!({ "preStop": { "sleep": { "seconds": options.drain } } });
            fields.insert("lifecycle".to_owned(), sleep);
        }
    }
    if let Some(name) = environment_name(workload) {
        fields.insert("envFrom".to_owned(), json!([{ "configMapRef": { "name": name } }]));
    }
    if !workload.secrets.is_empty() {
        let own = secret_name(&workload.service);
        let from = options.secret.as_ref().unwrap_or(&own);
        let reference = |name: &String| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": from, "key": name } } });
        fields.insert("env".to_owned(), workload.secrets.iter().map(reference).collect());
    }
    if let Some(resources) = resources(workload) {
        fields.insert("resources".to_owned(), resources);
    }
    if os == "linux" {
        fields.insert("volumeMounts".to_owned(), json!([{ "name": "tmp", "mountPath": "/tmp" }]));
    }
    container
}

/// Startup by what there is to ask; readiness by `ready`, else by `live`; liveness by `live` alone.
fn probes(health: &HealthSettings) -> Map<String, Value> {
    let seconds = |duration: Duration| duration.as_millis().div_ceil(1000).max(1) as u64;
    let (period, timeout) = (seconds(health.period), seconds(health.timeout));
    let probe = |path: Option<&String>, period: u64, failures: u64| {
        let mut probe =
            json!({ "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures });
        match path {
            Some(path) => probe["httpGet"] = json!({ "path": path, "port": "http", "scheme": "HTTP" }),
            None => probe["tcpSocket"] = json!({ "port": "http" }),
        }
        probe
    };
    let mut startup =
        probe(health.startup.as_ref().or(health.live.as_ref()), period, u64::from(STARTUP).div_ceil(period));
    if let Some(delay) = health.delay {
        startup["initialDelaySeconds"] = seconds(delay).into();
    }
    let ready = health.ready.as_ref().or(health.live.as_ref());
    let mut probes = Map::new();
    probes.insert("startupProbe".to_owned(), startup);
    probes.insert("readinessProbe".to_owned(), probe(ready, period, 3));
    if health.live.is_some() {
        probes.insert("livenessProbe".to_owned(), probe(health.live.as_ref(), period.max(LIVENESS), 3));
    }
    probes
}

fn pod_security(os: &str) -> Value {
    match os {
        "windows" => json!({ "windowsOptions": { "runAsUserName": "ContainerUser" } }),
        _ => json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } }),
    }
}

/// Windows knows none of these.
fn container_security(os: &str) -> Value {
    match os {
        "windows" => json!({}),
        _ => json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        }),
    }
}

/// The architectures that the image is for.
fn affinity(workload: &Workload, os: &str) -> Option<Value> {
    let here = workload.image.platforms.keys().filter(|platform| platform.os == os);
    let architectures: BTreeSet<&str> = here.map(|platform| platform.architecture.as_str()).collect();
    if architectures.is_empty() {
        return None;
    }
    let term = json!({ "key": "kubernetes.io/arch", "operator": "In", "values": architectures });
    Some(json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [term] }],
    }}}))
}

fn resources(workload: &Workload) -> Option<Value> {
    let given = &workload.resources;
    let side = |cpu: Option<u32>, memory: Option<u64>| {
        let cpu = cpu.map(|millis| ("cpu".to_owned(), cores(millis).into()));
        let memory = memory.map(|bytes| ("memory".to_owned(), size(bytes).into()));
        cpu.into_iter().chain(memory).collect::<Map<String, Value>>()
    };
    let mut resources = Map::new();
    for (name, side) in
        [("requests", side(given.cpu, given.memory)), ("limits", side(given.cpu_limit, given.memory_limit))]
    {
        if !side.is_empty() {
            resources.insert(name.to_owned(), side.into());
        }
    }
    (!resources.is_empty()).then(|| resources.into())
}

/// As the API server would write it.
fn cores(millis: u32) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// As the API server would write it.
fn size(bytes: u64) -> String {
    let units = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let unit = units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}
