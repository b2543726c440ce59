//! Workloads in, whole manifests out. `UPDATE=1 cargo test -p longshore manifest` writes the stored ones anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::deploy::kubernetes::options::{Autoscale, Overlay};
use crate::deploy::workload::Image;
use crate::resolve::{HealthSettings, Resources};

fn health() -> HealthSettings {
    HealthSettings {
        startup: None,
        ready: Some("/readyz".to_owned()),
        live: Some("/healthz".to_owned()),
        delay: None,
        period: Duration::from_millis(200),
        timeout: Duration::from_secs(2),
    }
}

fn workload(platforms: &[&str]) -> Workload {
    let digest = |text: &str| Digest::of(text.as_bytes());
    Workload {
        service: "gateway".to_owned(),
        version: "1.2.3".parse().unwrap(),
        image: Image {
            repository: "registry.example.com/shop/gateway".to_owned(),
            digest: digest("index"),
            neutral: digest("neutral"),
            platforms: platforms.iter().map(|name| (name.parse().unwrap(), digest(name))).collect(),
        },
        port: Some(8080),
        publish: None,
        health: health(),
        verify: Vec::new(),
        env: BTreeMap::from([("LOG".to_owned(), "debug".to_owned())]),
        secrets: ["TOKEN".to_owned()].into(),
        needs: vec!["orders".to_owned()],
        replicas: 3,
        resources: Resources {
            cpu: Some(500),
            memory: Some(64 << 20),
            cpu_limit: Some(2000),
            memory_limit: Some(100_000_000),
        },
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        options: Value::Null,
    }
}

fn frame() -> Frame {
    Frame {
        project: "shop".to_owned(),
        instance: "shop-staging".to_owned(),
        namespace: "shop-staging".to_owned(),
    }
}

fn rendered(workload: &Workload, options: &Options) -> Vec<Value> {
    render(workload, options, &frame(), &Live::default()).unwrap()
}

fn deployment_of(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Deployment").unwrap()
}

#[track_caller]
fn golden(name: &str, objects: &[Value]) {
    let mut objects = objects.to_vec();
    for object in &mut objects {
        let spec = object["spec"].clone();
        let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
        let applied = annotations.remove(APPLIED).unwrap();
        let applied: Value = serde_json::from_str(applied.as_str().unwrap()).unwrap();
        assert_eq!(applied["spec"], spec, "what was applied is noted");
        if annotations.is_empty() {
            object["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    let text = serde_json::to_string_pretty(&objects).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deploy/kubernetes/manifest/golden").join(name);
    #[expect(clippy::disallowed_methods, reason = "a test's switch, read by no other code")]
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, stored, "not what {name} holds (`UPDATE=1 cargo test -p longshore manifest` writes it)");
}

#[test]
fn a_service_with_everything() {
    let options = Options {
        autoscale: Some(Autoscale { min: None, max: 10, cpu: Some(80), memory: Some(70) }),
        service_account: Some("reader".to_owned()),
        pull_secrets: vec!["registry".to_owned()],
        ..Options::default()
    };
    let live = Live { secret: Some("41".to_owned()), replicas: Some(7) };
    let objects = render(&workload(&["linux/amd64", "linux/arm64"]), &options, &frame(), &live).unwrap();
    golden("everything.json", &objects);
}

#[test]
fn a_service_with_nothing() {
    let workload = Workload {
        port: None,
        env: BTreeMap::new(),
        secrets: Default::default(),
        replicas: 1,
        resources: Resources::default(),
        labels: BTreeMap::new(),
        ..workload(&["linux/amd64"])
    };
    golden("nothing.json", &rendered(&workload, &Options::default()));
}

#[test]
fn a_service_for_windows() {
    golden("windows.json", &rendered(&workload(&["windows/amd64"]), &Options::default()));
    assert_eq!(operating_system(&workload(&["windows/amd64", "linux/amd64"])), "linux");
}

#[test]
fn another_value_makes_another_config_map() {
    let name = |value: &str| {
        let mut workload = workload(&["linux/amd64"]);
        workload.env.insert("LOG".to_owned(), value.to_owned());
        let objects = rendered(&workload, &Options::default());
        let pod = deployment_of(&objects).pointer("/spec/template/spec/containers/0").unwrap().clone();
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        assert_eq!(pod["envFrom"][0]["configMapRef"]["name"], map["metadata"]["name"]);
        text(map, "/metadata/name").to_owned()
    };
    assert_eq!(name("info"), name("info"));
    assert_ne!(name("info"), name("debug"));
}

#[test]
fn overlays_patch_and_add_but_never_what_everything_is_found_by() {
    let overlay = |document: Value, own| Overlay { document, own };
    let options = Options {
        overlays: vec![
            overlay(
                json!({"kind": "Deployment", "spec": {"template": {"spec": {"priorityClassName": "high"}}}}),
                false,
            ),
            overlay(
                json!({"kind": "Deployment", "metadata": {"name": "gateway", "namespace": "evil", "labels": {"app.kubernetes.io/instance": "evil", "own": "yes"}}, "spec": {"template": {"spec": {"containers": [{"name": "gateway", "args": ["-v"]}, {"name": "side", "image": "x"}]}}}}),
                false,
            ),
            overlay(
                json!({"kind": "Deployment", "metadata": {"name": "orders"}, "spec": {"replicas": 9}}),
                false,
            ),
            overlay(
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "gateway"}}),
                true,
            ),
            overlay(json!({"kind": "NetworkPolicy", "spec": {"policyTypes": ["Ingress", "Egress"]}}), false),
        ],
        ..Options::default()
    };
    let objects = rendered(&workload(&["linux/amd64"]), &options);
    let deployment = deployment_of(&objects);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "high");
    assert_eq!(
        (&pod["containers"][0]["args"], &pod["containers"][1]["name"]),
        (&json!(["-v"]), &json!("side"))
    );
    assert_eq!(text(&pod["containers"][0], "/image"), workload(&[]).image.reference());
    assert_eq!(deployment["spec"]["replicas"], 3);
    let metadata = &deployment["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["labels"]["own"]), (&json!("shop-staging"), &json!("yes")));
    assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "shop-staging");
    let ingress = objects.iter().find(|object| object["kind"] == "Ingress").unwrap();
    assert_eq!(ingress["metadata"]["namespace"], "shop-staging");
    assert!(
        text(metadata, "/annotations/longshore~1objects").contains("networking.k8s.io/v1/Ingress/gateway")
    );
}

#[test]
fn a_canary_is_a_deployment_of_its_own_that_the_service_selects() {
    let workload = workload(&["linux/amd64"]);
    let objects = render_canary(&workload, &Options::default(), &frame(), &Live::default(), 2).unwrap();
    let kinds: Vec<&str> = objects.iter().map(|object| text(object, "/kind")).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment"]);
    let canary = &objects[1];
    assert_eq!(
        (&canary["metadata"]["name"], &canary["spec"]["replicas"]),
        (&json!("gateway-canary"), &json!(2))
    );
    let stable = rendered(&workload, &Options::default());
    let labels = &canary["spec"]["template"]["metadata"]["labels"];
    assert_ne!(deployment_of(&stable)["spec"]["selector"]["matchLabels"][TRACK], labels[TRACK]);
    let service = stable.iter().find(|object| object["kind"] == "Service").unwrap();
    for (key, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&labels[key], value);
    }
}
