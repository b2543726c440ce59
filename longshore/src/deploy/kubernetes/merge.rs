//! A patch laid over an object as `kubectl patch` does: a strategic merge. Pure.
//!
//! Mappings merge key by key and `null` takes a key away. Lists of things that have a name merge by it; all
//! other lists are replaced. `$patch: delete` takes an item of such a list away, `$patch: replace` in a
//! mapping replaces it whole. Source: Kubernetes, "Strategic merge patch", and the `patchMergeKey` of its
//! types.

use serde_json::{Map, Value};

/// Lists that merge, by the field that holds them, and the keys by which: the first that the patch's items
/// have.
const KEYS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("imagePullSecrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("ports", &["containerPort", "port"]),
    ("ownerReferences", &["uid"]),
    ("secrets", &["name"]),
];

const DIRECTIVE: &str = "$patch";

/// Lays `patch` over `target`.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("replace") || !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if key == DIRECTIVE {
            continue;
        }
        match (value, merge_key(key, value)) {
            (Value::Null, _) => {
                target.remove(key);
            }
            (Value::Object(object), _) if is_deletion(object) => {
                target.remove(key);
            }
            (Value::Array(items), Some(by)) => {
                let list = target.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, by);
            }
            _ => merge(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

fn is_deletion(object: &Map<String, Value>) -> bool {
    object.get(DIRECTIVE).and_then(Value::as_str) == Some("delete")
}

/// By what the list in `field` merges; `None`: it is replaced.
fn merge_key(field: &str, value: &Value) -> Option<&'static str> {
    let items = value.as_array()?;
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == field)?;
    keys.iter().copied().find(|key| items.iter().any(|item| item.get(key).is_some()))
}

fn merge_list(list: &mut Value, patches: &[Value], by: &str) {
    let Value::Array(items) = list else {
        *list = Value::Array(patches.to_vec());
        return;
    };
    if patches.iter().any(|patch| patch.get(DIRECTIVE).and_then(Value::as_str) == Some("replace")) {
        items.clear();
    }
    for patch in patches {
        let Some(name) = patch.get(by) else { continue };
        let at = items.iter().position(|item| item.get(by) == Some(name));
        match (at, patch.as_object().is_some_and(is_deletion)) {
            (Some(at), true) => {
                items.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => merge(&mut items[at], patch),
            (None, false) => {
                let mut item = Value::Null;
                merge(&mut item, patch);
                items.push(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn merged(target: Value, patch: Value, expected: Value) {
        let mut target = target;
        merge(&mut target, &patch);
        assert_eq!(target, expected);
    }

    #[test]
    fn mappings_merge_and_null_removes() {
        merged(
            json!({"a": {"b": 1, "c": 2}, "d": 3}),
            json!({"a": {"b": null, "e": 4}, "d": {"f": 5}}),
            json!({"a": {"c": 2, "e": 4}, "d": {"f": 5}}),
        );
        merged(json!({"a": {"b": 1}}), json!({"a": {"$patch": "replace", "c": 2}}), json!({"a": {"c": 2}}));
        merged(json!({"a": {"b": 1}, "c": 1}), json!({"a": {"$patch": "delete"}}), json!({"c": 1}));
    }

    #[test]
    fn lists_with_names_merge_by_them_and_others_are_replaced() {
        merged(
            json!({"containers": [{"name": "a", "image": "x", "args": ["1"]}]}),
            json!({"containers": [{"name": "b", "image": "y"}, {"name": "a", "args": ["2", "3"]}]}),
            json!({"containers": [{"name": "a", "image": "x", "args": ["2", "3"]}, {"name": "b", "image": "y"}]}),
        );
        merged(
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
            json!({"env": [{"name": "A", "$patch": "delete"}, {"name": "Z", "$patch": "delete"}]}),
            json!({"env": [{"name": "B", "value": "2"}]}),
        );
        merged(
            json!({"ports": [{"port": 80, "targetPort": 8080}]}),
            json!({"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}]}),
            json!({"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}, {"port": 443}]}),
        );
        merged(
            json!({"volumes": [{"name": "a"}]}),
            json!({"volumes": [{"$patch": "replace"}, {"name": "b"}]}),
            json!({"volumes": [{"name": "b"}]}),
        );
        merged(
            json!({}),
            json!({"env": [{"name": "A", "value": "1"}]}),
            json!({"env": [{"name": "A", "value": "1"}]}),
        );
    }
}
