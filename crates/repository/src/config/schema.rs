//! The JSON Schemas of the two kinds of file, written from the types: for editors, which show the
//! descriptions and complete the keys. `UPDATE=1 cargo test -p longshore schema` writes them anew.

use serde_json::json;

use crate::config::read::{Field, Rule, Schemas, Table};
use crate::config::{EnvironmentFile, PipelineFile};

/// A table's schema, as a reference to its definition.
pub(crate) fn table<T: Table>(name: &str, docs: &str, schemas: &mut Schemas) -> serde_json::Value {
    if !schemas.contains_key(name) {
        // Entered first, so that a table that holds itself would end.
        schemas.insert(name.to_owned(), json!(true));
        let definition = object::<T>(docs, schemas);
        schemas.insert(name.to_owned(), definition);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn object<T: Table>(docs: &str, schemas: &mut Schemas) -> serde_json::Value {
    let mut properties = Schemas::new();
    let mut required = Vec::new();
    T::properties(&mut properties, &mut required, schemas);
    let mut object = json!({
        "type": "object",
        "description": text(docs),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

pub(crate) fn property<T: Field>(
    key: &'static str,
    docs: &str,
    rules: (Option<&'static Rule>, Option<&'static Rule>),
    properties: &mut Schemas,
    required: &mut Vec<&'static str>,
    schemas: &mut Schemas,
) {
    let mut schema = T::field_schema(rules.0, rules.1, schemas);
    schema["description"] = json!(text(docs));
    properties.insert(key.to_owned(), schema);
    if T::REQUIRED {
        required.push(key);
    }
}

/// A doc comment's lines as one.
fn text(docs: &str) -> String {
    docs.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn document<T: Table>(title: &str, docs: &str) -> String {
    let mut schemas = Schemas::new();
    let mut document = object::<T>(docs, &mut schemas);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["title"] = json!(title);
    document["$defs"] = json!(schemas);
    serde_json::to_string_pretty(&document).unwrap() + "\n"
}

#[test]
fn the_checked_in_schemas_are_those_of_the_types() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema");
    let schemas = [
        (
            "pipeline.json",
            document::<PipelineFile>("pipeline.toml", "What a repository releases with Longshore, and how."),
        ),
        (
            "environment.json",
            document::<EnvironmentFile>("environments/*.toml", "What differs in one environment."),
        ),
    ];
    for (name, schema) in schemas {
        let path = folder.join(name);
        #[expect(clippy::disallowed_methods, reason = "a test's switch, read by no other code")]
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &schema).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored.replace("\r\n", "\n") == schema,
            "schema/{name} is not that of the types: run `UPDATE=1 cargo test -p longshore schema`"
        );
    }
}
