//! JSON values as YAML: block style, a key a line, so that a change of one is a change of one line. Pure.

use serde_json::Value;

/// A document, without a marker of its start.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut text),
        _ => {
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&format!("{indent}{}:", plain_or_quoted(key)));
                nested(value, depth + 1, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                if !item.is_object() || is_empty(item) {
                    text.push_str(&format!("{indent}-"));
                    nested(item, depth + 1, text);
                    continue;
                }
                // The first key stands beside the dash.
                let mut part = String::new();
                block(item, depth + 1, &mut part);
                text.push_str(&format!("{indent}- {}", &part[indent.len() + 2..]));
            }
        }
        _ => {}
    }
}

fn nested(value: &Value, depth: usize, text: &mut String) {
    if is_empty(value) {
        text.push_str(&format!(" {}\n", inline(value)));
    } else {
        text.push('\n');
        block(value, depth, text);
    }
}

/// A scalar, `{}` or `[]`. A string of JSON is one of YAML.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => plain_or_quoted(text),
        other => other.to_string(),
    }
}

/// Without quotes only what no reader, of whichever version of YAML, takes for anything but a string.
fn plain_or_quoted(text: &str) -> String {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) && !is_word {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::deploy::kubernetes::yaml::documents;
    use crate::diagnostic::Source;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let value = json!({
            "apiVersion": "apps/v1",
            "a b": "x: y # z",
            "words": ["yes", "1.0", "~", "", "- x", "\n", "ü\u{1}\"", "a\\b", "null", "=", "0x1f", "1e3"],
            "numbers": [1, -2, 0.5],
            "empty": [{}, [], null, true],
            "list": [{ "name": "a", "more": { "b": [{ "c": "d", "e": [["f"]] }] } }, { "x": {} }],
        });
        let text = document(&value);
        let source = Arc::new(Source { path: "x.yaml".into(), text: text.clone() });
        let read = documents(&source).unwrap_or_else(|faults| panic!("{faults}: {text}"));
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value, value, "{text}");
        assert_eq!(document(&json!({"a": [{"b": 1, "c": "d"}]})), "a:\n  - b: 1\n    c: d\n");
    }
}
