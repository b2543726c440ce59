//! YAML as the user writes manifests, into JSON values: each document, faults with their places. Pure.
//!
//! Plain words mean what the core schema of YAML 1.2 says. Anchors are followed as far as a document stays
//! small; merge keys (`<<`) are no part of YAML 1.2 and are refused, since a reader would be misled.

pub mod write;

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source, quoted};

/// Nodes of one file at most, those that anchors bring included: a few lines could stand for millions.
const NODES: usize = 100_000;
/// How deep lists and mappings may lie in each other.
const DEPTH: usize = 100;

/// One document: what it says, and where it begins.
#[derive(Clone, Debug)]
pub struct Document {
    pub value: Value,
    pub place: Place,
}

/// The documents of a file, empty ones left out.
///
/// # Errors
/// The first syntax error, or every other fault: a duplicate key, a key that is no string, a merge key, an
/// unknown tag.
pub fn documents(source: &Arc<Source>) -> Result<Vec<Document>, Diagnostics> {
    let mut reader = Reader {
        source,
        parser: Parser::new_from_str(&source.text),
        offsets: Offsets::default(),
        anchors: HashMap::new(),
        nodes: 0,
        faults: Vec::new(),
    };
    let mut documents = Vec::new();
    let end = reader.stream(&mut documents);
    if let Err(fault) = end {
        reader.faults.push(*fault);
    }
    if reader.faults.is_empty() { Ok(documents) } else { Err(Diagnostics(reader.faults)) }
}

type Step<T> = Result<T, Box<Diagnostic>>;

struct Reader<'a> {
    source: &'a Arc<Source>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    offsets: Offsets,
    /// By anchor, with how many nodes it has.
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
    faults: Vec<Diagnostic>,
}

/// From characters to bytes; places are asked for in their order, nearly.
#[derive(Default)]
struct Offsets {
    characters: usize,
    bytes: usize,
}

impl Offsets {
    fn byte(&mut self, text: &str, character: usize) -> usize {
        if character < self.characters {
            *self = Self::default();
        }
        let rest = text.get(self.bytes..).unwrap_or_default();
        let ahead = character - self.characters;
        let step = rest.char_indices().nth(ahead).map_or(rest.len(), |(at, _)| at);
        *self = Self { characters: character, bytes: self.bytes + step };
        self.bytes
    }
}

impl<'a> Reader<'a> {
    fn stream(&mut self, documents: &mut Vec<Document>) -> Step<()> {
        while let Some((event, _)) = self.next()? {
            match event {
                Event::DocumentStart(_) => {
                    let Some((event, span)) = self.next()? else { break };
                    let place = self.place(span);
                    let value = self.node(event, span, 0)?;
                    if !value.is_null() {
                        documents.push(Document { value, place });
                    }
                }
                Event::StreamEnd => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Step<Option<(Event<'a>, Span)>> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(error)) => {
                let at = self.point(error.marker());
                Err(Box::new(Diagnostic::error("this is no YAML").at(&at, error.info())))
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Step<Value> {
        self.count(1, span)?;
        if depth > DEPTH {
            return Err(Box::new(Diagnostic::error("too deep").at(&self.place(span), "")));
        }
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let (value, nodes) = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.count(nodes, span)?;
                (value, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), span), anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            _ => (Value::Null, 0),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Step<Value> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn mapping(&mut self, depth: usize) -> Step<Value> {
        let mut map = Map::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        while let Some((event, span)) = self.next()? {
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => Some(text.into_owned()),
                other => {
                    self.node(other, span, depth + 1)?;
                    None
                }
            };
            let place = self.place(span);
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = key else {
                self.faults.push(Diagnostic::error("a key must be a string").at(&place, ""));
                continue;
            };
            if key == "<<" {
                self.faults.push(
                    Diagnostic::error("merge keys are no part of YAML 1.2")
                        .at(&place, "")
                        .hint("write the keys out, or use an alias for the whole value"),
                );
            }
            if let Some(first) = places.get(&key) {
                let message = format!("the key {} is there twice", quoted(&key));
                self.faults.push(Diagnostic::error(message).at(&place, "again").related(first, "first"));
            }
            map.insert(key.clone(), value);
            places.insert(key, place);
        }
        Ok(Value::Object(map))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        if let Some(tag) = tag {
            let known = tag.is_yaml_core_schema().then_some(tag.suffix.as_str());
            if known == Some("str") {
                return Value::String(text.to_owned());
            }
            if !matches!(known, Some("int" | "float" | "bool" | "null")) {
                let place = self.place(span);
                self.faults.push(Diagnostic::error(format!("`{tag}` is no tag of JSON")).at(&place, ""));
            }
            return plain(text);
        }
        if style == ScalarStyle::Plain { plain(text) } else { Value::String(text.to_owned()) }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Step<()> {
        self.nodes += nodes;
        if self.nodes <= NODES {
            return Ok(());
        }
        let message = format!("more than {NODES} values");
        Err(Box::new(Diagnostic::error(message).at(&self.place(span), "")))
    }

    fn point(&mut self, marker: &Marker) -> Place {
        let at = self.offsets.byte(&self.source.text, marker.index());
        Place { source: Arc::clone(self.source), span: at..at }
    }

    fn place(&mut self, span: Span) -> Place {
        let start = self.offsets.byte(&self.source.text, span.start.index());
        let end = self.offsets.byte(&self.source.text, span.end.index());
        Place { source: Arc::clone(self.source), span: start..end }
    }
}

/// What a plain scalar means by the core schema (YAML 1.2.2, section 10.3.2).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok()).map(Value::from)
    };
    let decimal = text.strip_prefix('+').unwrap_or(text);
    let number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let is_number = decimal.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && decimal.contains(|c: char| c.is_ascii_digit())
        && decimal.chars().all(number);
    let decimal = |text: &str| {
        text.parse::<i64>().map(Value::from).ok().or_else(|| {
            let float = text.parse::<f64>().ok()?;
            serde_json::Number::from_f64(float).map(Value::Number)
        })
    };
    radix("0o", 8)
        .or_else(|| radix("0x", 16))
        .or_else(|| is_number.then(|| decimal(text.strip_prefix('+').unwrap_or(text))).flatten())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::style::Colour;

    fn read(text: &str) -> Result<Vec<Value>, String> {
        let source = Arc::new(Source { path: "over.yaml".into(), text: text.to_owned() });
        match documents(&source) {
            Ok(documents) => Ok(documents.into_iter().map(|document| document.value).collect()),
            Err(Diagnostics(faults)) => Err(crate::diagnostic::render_all(&faults, Colour::Off)),
        }
    }

    #[test]
    fn documents_are_json() {
        let text = "---\na: 1\nb: [x, 'true', true, ~, 1.5, 0x1f, -3, 1.2.3, \"5\"]\n---\n# nothing\n---\nc: |\n  ü\n  two\nd: &x {e: f}\ng: *x\n";
        assert_eq!(
            read(text).unwrap(),
            [
                json!({"a": 1, "b": ["x", "true", true, null, 1.5, 31, -3, "1.2.3", "5"]}),
                json!({"c": "ü\ntwo\n", "d": {"e": "f"}, "g": {"e": "f"}}),
            ]
        );
        assert_eq!(read("").unwrap(), [] as [Value; 0]);
        assert_eq!(read("{\"a\": [1, 2]}").unwrap(), [json!({"a": [1, 2]})]);
    }

    #[test]
    fn faults_have_their_places() {
        let text = read("ü: x\na: 1\na: 2\n").unwrap_err();
        assert!(text.contains("over.yaml:3:1") && text.contains("`a` is there twice"), "{text}");
        let text = read("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(text.contains("over.yaml:2:") && text.contains("no YAML"), "{text}");
        let text = read("a: &x {b: 1}\nc:\n  <<: *x\n? [d]\n: e\nf: !secret g\n").unwrap_err();
        for part in ["over.yaml:3:3", "merge keys", "a key must be a string", "no tag of JSON"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_few_lines_do_not_become_millions() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
        }
        assert!(read(&text).unwrap_err().contains("more than 100000 values"));
        assert!(read(&"[".repeat(20_000)).is_err());
    }
}
