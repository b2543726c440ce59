//! From TOML to types: one declaration of a table (`table!`) gives its struct, its reader, its merging
//! and its part of the JSON Schema, so that the four cannot drift apart.
//!
//! A reader never stops at a fault: it notes it and goes on, with what can be had of the rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::config::Located;
use crate::diagnostic::{Diagnostic, Place, Source, did_you_mean, quoted};

#[cfg(test)]
pub(crate) type Schemas = serde_json::Map<String, serde_json::Value>;

/// What is wrong with a value, without its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    pub message: String,
    pub hint: Option<String>,
    /// The bytes of the value that are wrong; absent: all of it.
    pub part: Option<Range<usize>>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn part(mut self, part: Range<usize>) -> Self {
        self.part = Some(part);
        self
    }
}

/// What a string must be, beyond a string.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Examples for the schema; each passes the check.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the schema, which the tests write"))]
    pub(crate) examples: &'static [&'static str],
    pub(crate) check: fn(&str) -> Result<(), Complaint>,
}

/// A value of the file, with the key that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) key: Option<&'a Spanned<DeString<'a>>>,
    pub(crate) value: &'a Spanned<DeValue<'a>>,
    /// For the strings in it.
    pub(crate) rule: Option<&'static Rule>,
    /// For the keys of the table that it is.
    pub(crate) keys: Option<&'static Rule>,
}

impl<'a> Node<'a> {
    fn element(&self, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { key: None, value, rule: self.rule, keys: None }
    }
}

/// Where faults are noted: one a file.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) source: Arc<Source>,
    pub(crate) found: Vec<Diagnostic>,
    /// The keys that lead to what is being read.
    path: Vec<String>,
    /// The file has syntax errors: what is missing may be there.
    pub(crate) broken: bool,
}

impl Faults {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, found: Vec::new(), path: Vec::new(), broken: false }
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        Place { source: Arc::clone(&self.source), span }
    }

    pub(crate) fn note(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// `services.gateway.port`
    pub(crate) fn path(&self) -> String {
        self.path.join(".")
    }

    fn wrong_type(&mut self, node: &Node<'_>, expected: &str) {
        let found = kind(node.value.get_ref());
        let place = self.place(node.value.span());
        let mut fault = Diagnostic::error(format!("`{}` must be {expected}, not {found}", self.path()))
            .at(&place, format!("expected {expected}"));
        if expected == "a string" && !matches!(node.value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
            let text = self.source.text.get(node.value.span()).unwrap_or_default();
            fault = fault.hint(format!("write it in quotes: `\"{text}\"`"));
        }
        self.note(fault);
    }

    /// A complaint about the string `text`, which stands at `span`.
    pub(crate) fn complain(&mut self, complaint: Complaint, span: Range<usize>, text: &str) {
        let place = part(&self.place(span), text, complaint.part);
        let mut fault = Diagnostic::error(format!("`{}`: {}", self.path(), complaint.message)).at(&place, "");
        fault.hint = complaint.hint;
        self.note(fault);
    }
}

/// The place of some bytes of a string, where the file spells it as it is; else of all of it.
pub(crate) fn part(place: &Place, text: &str, part: Option<Range<usize>>) -> Place {
    let Some(part) = part else { return place.clone() };
    let written = place.source.text.get(place.span.clone()).unwrap_or_default();
    let plain = written.len() == text.len() + 2 && written.get(1..written.len() - 1) == Some(text);
    if !plain {
        return place.clone();
    }
    let start = place.span.start + 1;
    Place { source: Arc::clone(&place.source), span: start + part.start..start + part.end }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What can stand behind a key. `None`: it could not be read, and the fault is noted.
pub(crate) trait Value: Sized {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self>;
    #[cfg(test)]
    fn schema(rule: Option<&'static Rule>, schemas: &mut Schemas) -> serde_json::Value;
}

/// What can be a field of a table: it knows what its key's absence means.
pub(crate) trait Field: Sized {
    /// `table`: the place of the table that should have it.
    fn field(node: Option<Node<'_>>, key: &str, table: &Place, faults: &mut Faults) -> Self;
    /// `self` where it says something, else `base`.
    fn over(self, base: &Self) -> Self;
    #[cfg(test)]
    const REQUIRED: bool = false;
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        keys: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value;
}

impl<T: Value> Value for Located<T> {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        let value = T::value(node, faults)?;
        Some(Self { value, place: faults.place(node.value.span()) })
    }
    #[cfg(test)]
    fn schema(rule: Option<&'static Rule>, schemas: &mut Schemas) -> serde_json::Value {
        T::schema(rule, schemas)
    }
}

impl<T: Value> Value for Vec<T> {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Array(array) = node.value.get_ref() else {
            faults.wrong_type(node, "a list");
            return None;
        };
        Some(array.iter().filter_map(|element| T::value(&node.element(element), faults)).collect())
    }
    #[cfg(test)]
    fn schema(rule: Option<&'static Rule>, schemas: &mut Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": T::schema(rule, schemas) })
    }
}

impl<T: Value + Clone> Field for Option<T> {
    fn field(node: Option<Node<'_>>, _: &str, _: &Place, faults: &mut Faults) -> Self {
        node.and_then(|node| T::value(&node, faults))
    }
    fn over(self, base: &Self) -> Self {
        self.or_else(|| base.clone())
    }
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        _: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value {
        T::schema(rule, schemas)
    }
}

/// A value that may be absent, where that is told from one that was wrong, which has been said.
#[derive(Clone, Debug)]
pub enum Given<T> {
    Absent,
    Wrong,
    Value(T),
}

impl<T> Given<T> {
    pub fn value(&self) -> Option<&T> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }
}

impl<T: Value + Clone> Field for Given<T> {
    fn field(node: Option<Node<'_>>, _: &str, _: &Place, faults: &mut Faults) -> Self {
        node.map_or(Self::Absent, |node| T::value(&node, faults).map_or(Self::Wrong, Self::Value))
    }
    fn over(self, base: &Self) -> Self {
        if matches!(self, Self::Absent) { base.clone() } else { self }
    }
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        _: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value {
        T::schema(rule, schemas)
    }
}

impl<T: Value + Clone> Field for Vec<T> {
    fn field(node: Option<Node<'_>>, _: &str, _: &Place, faults: &mut Faults) -> Self {
        node.and_then(|node| Self::value(&node, faults)).unwrap_or_default()
    }
    fn over(self, base: &Self) -> Self {
        if self.is_empty() { base.clone() } else { self }
    }
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        _: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value {
        <Self as Value>::schema(rule, schemas)
    }
}

impl<T: Value + Default + Clone> Field for Located<T> {
    fn field(node: Option<Node<'_>>, key: &str, table: &Place, faults: &mut Faults) -> Self {
        let place = node.as_ref().map_or_else(|| table.clone(), |node| faults.place(node.value.span()));
        match node {
            Some(node) => T::value(&node, faults),
            None => {
                missing(key, table, faults);
                None
            }
        }
        .map_or_else(
            || Self { value: T::default(), place: place.clone() },
            |value| Self { value, place: place.clone() },
        )
    }
    fn over(self, _: &Self) -> Self {
        self
    }
    #[cfg(test)]
    const REQUIRED: bool = true;
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        _: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value {
        T::schema(rule, schemas)
    }
}

fn missing(key: &str, table: &Place, faults: &mut Faults) {
    if faults.broken {
        return;
    }
    // The last of the path is the key itself.
    let within = &faults.path[..faults.path.len().saturating_sub(1)];
    let message = if within.is_empty() {
        format!("missing key `{key}`")
    } else {
        format!("missing key `{key}` in `[{}]`", within.join("."))
    };
    let fault = Diagnostic::error(message).at(table, format!("`{key}` is required here"));
    faults.note(fault);
}

impl<T: Value + Clone> Field for BTreeMap<String, T> {
    fn field(node: Option<Node<'_>>, _: &str, _: &Place, faults: &mut Faults) -> Self {
        let mut entries = Self::new();
        let Some(node) = node else { return entries };
        let DeValue::Table(table) = node.value.get_ref() else {
            faults.wrong_type(&node, "a table");
            return entries;
        };
        for (key, value) in table {
            faults.path.push(key.get_ref().to_string());
            if let Some(Err(complaint)) = node.keys.map(|rule| (rule.check)(key.get_ref())) {
                faults.complain(complaint, key.span(), key.get_ref());
            }
            let entry = Node { key: Some(key), value, rule: node.rule, keys: None };
            if let Some(value) = T::value(&entry, faults) {
                entries.insert(key.get_ref().to_string(), value);
            }
            faults.path.pop();
        }
        entries
    }
    fn over(mut self, base: &Self) -> Self {
        for (key, value) in base {
            self.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
    #[cfg(test)]
    fn field_schema(
        rule: Option<&'static Rule>,
        keys: Option<&'static Rule>,
        schemas: &mut Schemas,
    ) -> serde_json::Value {
        let mut schema =
            serde_json::json!({ "type": "object", "additionalProperties": T::schema(rule, schemas) });
        if let Some(keys) = keys {
            schema["propertyNames"] = serde_json::json!({ "examples": keys.examples });
        }
        schema
    }
}

impl Value for String {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        // A date without quotes is TOML's own type; where a rule asks for one it is as good.
        if matches!(node.value.get_ref(), DeValue::Datetime(_))
            && let Some(rule) = node.rule
        {
            let text = faults.source.text.get(node.value.span()).unwrap_or_default();
            if (rule.check)(text).is_ok() {
                return Some(text.to_owned());
            }
        }
        let DeValue::String(text) = node.value.get_ref() else {
            faults.wrong_type(node, "a string");
            return None;
        };
        if let Some(Err(complaint)) = node.rule.map(|rule| (rule.check)(text)) {
            faults.complain(complaint, node.value.span(), text);
            return None;
        }
        Some(text.to_string())
    }
    #[cfg(test)]
    fn schema(rule: Option<&'static Rule>, _: &mut Schemas) -> serde_json::Value {
        match rule {
            Some(rule) => serde_json::json!({ "type": "string", "examples": rule.examples }),
            None => serde_json::json!({ "type": "string" }),
        }
    }
}

impl Value for PathBuf {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        String::value(node, faults).map(Self::from)
    }
    #[cfg(test)]
    fn schema(rule: Option<&'static Rule>, schemas: &mut Schemas) -> serde_json::Value {
        String::schema(rule, schemas)
    }
}

impl Value for bool {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        if let DeValue::Boolean(value) = node.value.get_ref() {
            return Some(*value);
        }
        faults.wrong_type(node, "`true` or `false`");
        None
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "boolean" })
    }
}

/// An integer within `range`.
pub(crate) fn integer(
    node: &Node<'_>,
    range: std::ops::RangeInclusive<u64>,
    faults: &mut Faults,
) -> Option<u64> {
    let DeValue::Integer(integer) = node.value.get_ref() else {
        faults.wrong_type(node, "an integer");
        return None;
    };
    let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
    if let Some(value) = value.and_then(|value| u64::try_from(value).ok())
        && range.contains(&value)
    {
        return Some(value);
    }
    let place = faults.place(node.value.span());
    let limits = format!("{} to {}", range.start(), range.end());
    faults.note(
        Diagnostic::error(format!("`{}` is out of range", faults.path()))
            .at(&place, format!("expected {limits}")),
    );
    None
}

impl Value for u16 {
    /// A port.
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        integer(node, 1..=u64::from(Self::MAX), faults).and_then(|value| Self::try_from(value).ok())
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

impl Value for u32 {
    /// A small number: a version, a count of retries.
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        integer(node, 0..=1000, faults).and_then(|value| Self::try_from(value).ok())
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "integer", "minimum": 0, "maximum": 1000 })
    }
}

/// A table whose keys are known.
pub(crate) trait Table: Sized {
    fn fields(reader: &mut Fields<'_, '_>) -> Self;
    fn merged(self, base: &Self) -> Self;
    #[cfg(test)]
    fn properties(properties: &mut Schemas, required: &mut Vec<&'static str>, schemas: &mut Schemas);
}

/// The keys of a table, each taken by a field; what is left over is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a, 'f> {
    table: Option<&'a DeTable<'a>>,
    /// The table's own key, or header.
    place: Place,
    name: String,
    known: Vec<&'static str>,
    pub(crate) faults: &'f mut Faults,
}

impl<'a> Fields<'a, '_> {
    pub(crate) fn take<T: Field>(
        &mut self,
        key: &'static str,
        rule: Option<&'static Rule>,
        keys: Option<&'static Rule>,
    ) -> T {
        self.known.push(key);
        let node = self.table.and_then(|table| table.get_key_value(key)).map(|(key, value)| Node {
            key: Some(key),
            value,
            rule,
            keys,
        });
        self.faults.path.push(key.to_owned());
        let value = T::field(node, key, &self.place, self.faults);
        self.faults.path.pop();
        value
    }

    /// The name under which the table stands.
    pub(crate) fn name(&self) -> Located<String> {
        Located { value: self.name.clone(), place: self.place.clone() }
    }

    fn finish(self) {
        let unknown =
            self.table.into_iter().flatten().filter(|(key, _)| !self.known.contains(&&**key.get_ref()));
        for (key, _) in unknown {
            let within = if self.faults.path.is_empty() {
                String::new()
            } else {
                format!(" in `[{}]`", self.faults.path())
            };
            let place = self.faults.place(key.span());
            let mut fault =
                Diagnostic::error(format!("unknown key {}{within}", quoted(key.get_ref()))).at(&place, "");
            fault.hint = did_you_mean(key.get_ref(), self.known.iter().copied());
            self.faults.note(fault);
        }
    }
}

/// Reads a table that stands in the file, or whose absence means that all its keys are absent.
pub(crate) fn read_table<T: Table>(
    node: Option<&Node<'_>>,
    parent: Option<&Place>,
    faults: &mut Faults,
) -> Option<T> {
    let (table, span, name) = match node {
        None => (None, parent.map_or(0..0, |place| place.span.clone()), String::new()),
        Some(node) => {
            let DeValue::Table(table) = node.value.get_ref() else {
                faults.wrong_type(node, "a table");
                return None;
            };
            let span = node.key.map_or_else(|| node.value.span(), Spanned::span);
            (Some(table), span, node.key.map_or_else(String::new, |key| key.get_ref().to_string()))
        }
    };
    let place = faults.place(span);
    let mut fields = Fields { table, place, name, known: Vec::new(), faults };
    let value = T::fields(&mut fields);
    fields.finish();
    Some(value)
}

/// Reads a whole file.
pub(crate) fn read_document<T: Table>(document: &DeTable<'_>, faults: &mut Faults) -> T {
    let place = faults.place(0..0);
    let mut fields = Fields { table: Some(document), place, name: String::new(), known: Vec::new(), faults };
    let value = T::fields(&mut fields);
    fields.finish();
    value
}

/// Declares a table: `["key"]`, `["key", RULE]` for its strings, `["key", keys RULE]` for its keys,
/// `[..]` for the keys of another table in this one, `[name]` for the name under which it stands.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $name:ident $(derive $($extra:ident),+)? {
            $( $(#[doc = $field_doc:literal])* [$($how:tt)*] $field:ident: $type:ty, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug $($(, $extra)+)?)]
        $visibility struct $name { $( $(#[doc = $field_doc])* pub $field: $type, )* }

        impl $crate::config::read::Table for $name {
            fn fields(fields: &mut $crate::config::read::Fields<'_, '_>) -> Self {
                Self { $( $field: $crate::config::read::table!(@take fields [$($how)*] $type), )* }
            }
            fn merged(self, base: &Self) -> Self {
                Self { $( $field: $crate::config::read::table!(@over self base $field [$($how)*]), )* }
            }
            #[cfg(test)]
            fn properties(
                properties: &mut $crate::config::read::Schemas,
                required: &mut Vec<&'static str>,
                schemas: &mut $crate::config::read::Schemas,
            ) {
                $( $crate::config::read::table!(
                    @property properties required schemas [$($how)*] $type, concat!("" $(, $field_doc, "\n")*)
                ); )*
            }
        }
        impl $crate::config::read::Value for $name {
            fn value(
                node: &$crate::config::read::Node<'_>,
                faults: &mut $crate::config::read::Faults,
            ) -> Option<Self> {
                $crate::config::read::read_table(Some(node), None, faults)
            }
            #[cfg(test)]
            fn schema(
                _: Option<&'static $crate::config::read::Rule>,
                schemas: &mut $crate::config::read::Schemas,
            ) -> serde_json::Value {
                $crate::config::schema::table::<Self>(
                    stringify!($name), concat!("" $(, $doc, "\n")*), schemas,
                )
            }
        }
        impl $crate::config::read::Field for $name {
            fn field(
                node: Option<$crate::config::read::Node<'_>>,
                _: &str,
                table: &$crate::diagnostic::Place,
                faults: &mut $crate::config::read::Faults,
            ) -> Self {
                let absent = |faults: &mut _| $crate::config::read::absent(table, faults);
                match node {
                    None => absent(faults),
                    Some(node) => $crate::config::read::read_table(Some(&node), None, faults)
                        .unwrap_or_else(|| $crate::config::read::quietly(faults, absent)),
                }
            }
            fn over(self, base: &Self) -> Self {
                $crate::config::read::Table::merged(self, base)
            }
            #[cfg(test)]
            fn field_schema(
                rule: Option<&'static $crate::config::read::Rule>,
                _: Option<&'static $crate::config::read::Rule>,
                schemas: &mut $crate::config::read::Schemas,
            ) -> serde_json::Value {
                <Self as $crate::config::read::Value>::schema(rule, schemas)
            }
        }
    };
    (@take $fields:ident [..] $type:ty) => { <$type as $crate::config::read::Table>::fields($fields) };
    (@take $fields:ident [name] $type:ty) => { $fields.name() };
    (@take $fields:ident [$key:literal] $type:ty) => { $fields.take($key, None, None) };
    (@take $fields:ident [$key:literal, keys $rule:expr] $type:ty) => { $fields.take($key, None, Some(&$rule)) };
    (@take $fields:ident [$key:literal, $rule:expr] $type:ty) => { $fields.take($key, Some(&$rule), None) };
    (@over $self:ident $base:ident $field:ident [name]) => { $self.$field };
    (@over $self:ident $base:ident $field:ident $how:tt) => {
        $crate::config::read::Field::over($self.$field, &$base.$field)
    };
    (@property $p:ident $r:ident $s:ident [..] $type:ty, $doc:expr) => {
        <$type as $crate::config::read::Table>::properties($p, $r, $s)
    };
    (@property $p:ident $r:ident $s:ident [name] $type:ty, $doc:expr) => {};
    (@property $p:ident $r:ident $s:ident [$key:literal] $type:ty, $doc:expr) => {
        $crate::config::schema::property::<$type>($key, $doc, (None, None), $p, $r, $s)
    };
    (@property $p:ident $r:ident $s:ident [$key:literal, keys $rule:expr] $type:ty, $doc:expr) => {
        $crate::config::schema::property::<$type>($key, $doc, (None, Some(&$rule)), $p, $r, $s)
    };
    (@property $p:ident $r:ident $s:ident [$key:literal, $rule:expr] $type:ty, $doc:expr) => {
        $crate::config::schema::property::<$type>($key, $doc, (Some(&$rule), None), $p, $r, $s)
    };
}
pub(crate) use table;

/// A table that is not there: required keys of it are missing.
pub(crate) fn absent<T: Table>(parent: &Place, faults: &mut Faults) -> T {
    let mut fields =
        Fields { table: None, place: parent.clone(), name: String::new(), known: Vec::new(), faults };
    T::fields(&mut fields)
}

/// Runs `read` without noting its faults: what is wrong has been said.
pub(crate) fn quietly<T>(faults: &mut Faults, read: impl FnOnce(&mut Faults) -> T) -> T {
    let count = faults.found.len();
    let value = read(faults);
    faults.found.truncate(count);
    value
}

/// Declares an enumeration: `"word" => Variant`.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $( $(#[doc = $doc:literal])* $word:literal => $variant:ident, )*
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $name { $( $(#[doc = $doc])* $variant, )* }

        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[$( ($word, Self::$variant), )*];
        }
        impl $crate::config::read::Value for $name {
            fn value(
                node: &$crate::config::read::Node<'_>,
                faults: &mut $crate::config::read::Faults,
            ) -> Option<Self> {
                $crate::config::read::word(node, Self::WORDS, faults)
            }
            #[cfg(test)]
            fn schema(
                _: Option<&'static $crate::config::read::Rule>,
                _: &mut $crate::config::read::Schemas,
            ) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;

/// One of a list of words.
pub(crate) fn word<T: Copy>(node: &Node<'_>, words: &[(&'static str, T)], faults: &mut Faults) -> Option<T> {
    let text = String::value(&Node { rule: None, ..*node }, faults)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let mut complaint = Complaint::new(format!("{} is not one of {}", quoted(&text), all.join(", ")));
    complaint.hint = crate::diagnostic::meant(&text, words.iter().map(|(word, _)| *word))
        .map(|word| format!("did you mean `{word}`?"));
    faults.complain(complaint, node.value.span(), &text);
    None
}
