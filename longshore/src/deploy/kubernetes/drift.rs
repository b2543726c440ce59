//! How a live object differs from what was applied. Pure.
//!
//! Only what was applied is compared: what the API server, an autoscaler or another controller adds is
//! theirs. Items of lists are found by their names, as they are merged.

use serde_json::Value;

use crate::deploy::kubernetes::manifest::{APPLIED, identity, text};

/// Lines that are told of one object.
const LINES: usize = 20;

/// What differs in a live object that carries what was applied: a line each.
pub(super) fn drift(live: &Value, scaled: bool) -> Vec<String> {
    let pointer = format!("/metadata/annotations/{}", APPLIED.replace('/', "~1"));
    let Ok(mut applied) = serde_json::from_str::<Value>(text(live, &pointer)) else {
        return Vec::new();
    };
    // A ReplicaSet carries the notes of its Deployment.
    if identity(&applied) != identity(live) {
        return Vec::new();
    }
    if scaled && let Some(spec) = applied.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    let mut lines = Vec::new();
    compare(&applied, live, &mut String::new(), &mut lines);
    let name = format!("{}/{}", text(live, "/kind"), text(live, "/metadata/name"));
    let more = lines.len().saturating_sub(LINES);
    let mut told: Vec<String> = lines.into_iter().take(LINES).map(|line| format!("{name} {line}")).collect();
    if more > 0 {
        told.push(format!("{name} and {more} more"));
    }
    told
}

fn compare(applied: &Value, live: &Value, path: &mut String, lines: &mut Vec<String>) {
    match (applied, live) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let at = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                compare(value, found.get(key).unwrap_or(&Value::Null), path, lines);
                path.truncate(at);
            }
        }
        (Value::Array(wanted), Value::Array(found)) => compare_lists(wanted, found, path, lines),
        // The server leaves empty ones out.
        (Value::Object(wanted), Value::Null) if wanted.is_empty() => {}
        (Value::Array(wanted), Value::Null) if wanted.is_empty() => {}
        _ if same(applied, live) => {}
        _ => lines.push(format!("{path}: {} → {}", short(applied), short(live))),
    }
}

fn compare_lists(wanted: &[Value], found: &[Value], path: &mut String, lines: &mut Vec<String>) {
    let named = ["name", "mountPath", "key", "topologyKey", "port", "containerPort"];
    let key =
        named.into_iter().find(|key| !wanted.is_empty() && wanted.iter().all(|item| item.get(key).is_some()));
    let at = path.len();
    match key {
        Some(key) => {
            for item in wanted {
                let live = found.iter().find(|live| live.get(key) == item.get(key));
                path.push_str(&format!("[{}]", item.get(key).map(short).unwrap_or_default()));
                compare(item, live.unwrap_or(&Value::Null), path, lines);
                path.truncate(at);
            }
            for item in found.iter().filter(|live| wanted.iter().all(|item| live.get(key) != item.get(key))) {
                let name = item.get(key).map(short).unwrap_or_default();
                lines.push(format!("{path}[{name}]: was added"));
            }
        }
        None if wanted.len() == found.len() => {
            for (index, (item, live)) in wanted.iter().zip(found).enumerate() {
                path.push_str(&format!("[{index}]"));
                compare(item, live, path, lines);
                path.truncate(at);
            }
        }
        None => lines.push(format!("{path}: {} items → {}", wanted.len(), found.len())),
    }
}

/// Equal, or quantities that the server writes otherwise: `1000m` is `1`.
fn same(applied: &Value, live: &Value) -> bool {
    if applied == live {
        return true;
    }
    let quantity = |value: &Value| match value {
        Value::String(text) => quantity(text),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    matches!((quantity(applied), quantity(live)), (Some(one), Some(other)) if (one - other).abs() <= 1e-9 * one.abs())
}

/// A quantity of Kubernetes: a number with a suffix of ten or of two.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-') {
        return None;
    }
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// A value for a line.
fn short(value: &Value) -> String {
    const LIMIT: usize = 100;
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(change: impl Fn(&mut Value), scaled: bool) -> Vec<String> {
        let applied = json!({
            "kind": "Deployment",
            "metadata": { "name": "api", "labels": { "a": "b" } },
            "spec": { "replicas": 2, "template": { "spec": {
                "containers": [{ "name": "api", "image": "x@1", "resources": { "limits": { "cpu": "1000m", "memory": "1Gi" } } }],
                "securityContext": {},
            }}},
        });
        let mut live = applied.clone();
        live["metadata"]["annotations"] = json!({ APPLIED: applied.to_string() });
        live["metadata"]["uid"] = "u".into();
        live["spec"]["progressDeadlineSeconds"] = 600.into();
        change(&mut live);
        drift(&live, scaled)
    }

    #[test]
    fn what_others_add_is_theirs_and_what_was_applied_is_ours() {
        assert_eq!(found(|_| {}, false), [] as [&str; 0]);
        let container = "/spec/template/spec/containers/0";
        assert_eq!(
            found(|live| live.pointer_mut(container).unwrap()["image"] = "x@2".into(), false),
            ["Deployment/api spec.template.spec.containers[api].image: x@1 → x@2"]
        );
        assert_eq!(
            found(|live| live["spec"]["replicas"] = 5.into(), false),
            ["Deployment/api spec.replicas: 2 → 5"]
        );
        assert_eq!(found(|live| live["spec"]["replicas"] = 5.into(), true), [] as [&str; 0]);
        assert_eq!(found(|live| live["metadata"]["labels"] = Value::Null, false).len(), 1);
        let add = |live: &mut Value| {
            let containers = live.pointer_mut("/spec/template/spec/containers").unwrap();
            containers.as_array_mut().unwrap().push(json!({ "name": "side" }));
        };
        assert_eq!(found(add, false), ["Deployment/api spec.template.spec.containers[side]: was added"]);
    }

    #[test]
    fn quantities_are_numbers() {
        let limits = "/spec/template/spec/containers/0/resources/limits";
        let change = |live: &mut Value| {
            *live.pointer_mut(limits).unwrap() = json!({ "cpu": "1", "memory": "1073741824" })
        };
        assert_eq!(found(change, false), [] as [&str; 0]);
        assert!(
            same(&json!("0.5"), &json!("500m"))
                && !same(&json!("1Gi"), &json!("1G"))
                && !same(&json!("a"), &json!("b"))
        );
    }
}
