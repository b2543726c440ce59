//! The user's own documents over the rendered objects.

use serde_json::{Value, json};

use crate::deploy::kubernetes::manifest::{Frame, labels, text};
use crate::deploy::kubernetes::merge::merge;
use crate::deploy::kubernetes::options::Options;
use crate::deploy::workload::Workload;

/// The kinds that are rendered and can be patched.
pub const PATCHED: &[&str] =
    &["Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"];

/// Each document patches the object of its kind and name, or is one more object of the service.
pub fn merged(mut objects: Vec<Value>, workload: &Workload, options: &Options, frame: &Frame) -> Vec<Value> {
    let mut added = Vec::new();
    for overlay in &options.overlays {
        let (kind, name) = (text(&overlay.document, "/kind"), text(&overlay.document, "/metadata/name"));
        let is_target = |object: &Value| {
            text(object, "/kind") == kind && (name.is_empty() || text(object, "/metadata/name") == name)
        };
        match objects.iter_mut().find(|object| is_target(object)) {
            Some(object) => merge(object, &overlay.document),
            None if overlay.own && !name.is_empty() => added.push(overlay.document.clone()),
            // Of another service, or of what this one has not.
            None => {}
        }
    }
    for object in &mut objects {
        settle(object, workload, frame);
    }
    for object in &mut added {
        settle(object, workload, frame);
    }
    // What a user adds may be what the pods need: it comes first.
    added.extend(objects);
    added
}

/// What everything is found by again is no overlay's to change.
fn settle(object: &mut Value, workload: &Workload, frame: &Frame) {
    merge(
        object,
        &json!({ "metadata": { "namespace": frame.namespace, "labels": labels(workload, frame) } }),
    );
    if text(object, "/kind") == "ConfigMap"
        && let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut)
    {
        labels.remove("app.kubernetes.io/version");
    }
}
