//! Faults located in the user's files: message, place, hint, and their rendering with the source line
//! and a caret. It must never fail on what a file holds, and never shows a text that is hidden.

mod render;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use render::{render, render_all, render_error};

/// A file's text as it was read; every diagnostic in it shares it.
#[derive(Debug)]
pub struct Source {
    /// As shown to the user: relative to the repository's root.
    pub path: PathBuf,
    pub text: String,
}

/// A place in a user's file, in bytes of its text.
#[derive(Clone, Debug)]
pub struct Place {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
}

/// One fault in a user's file.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub level: Level,
    pub message: String,
    /// The place and the words under the caret (may be empty).
    pub place: Option<(Place, String)>,
    /// Other places that matter, as the first of two duplicates.
    pub related: Vec<(Place, String)>,
    pub hint: Option<String>,
    /// What a rendering of this and of every other diagnostic beside it must not show: secrets.
    pub hidden: Vec<Place>,
}

/// All faults of one run. As an error its exit code is [`crate::fault::Exit::Usage`].
#[derive(Debug)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostic {
    /// `message`: lowercase, no full stop, `backticks` around literals.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Level::Error, message.into())
    }

    /// As [`Diagnostic::error`]; it stops nothing.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Level::Warning, message.into())
    }

    fn new(level: Level, message: String) -> Self {
        Self { level, message, place: None, related: Vec::new(), hint: None, hidden: Vec::new() }
    }

    /// `label`: the words under the caret; may be empty.
    #[must_use]
    pub fn at(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.place = Some((place.clone(), label.into()));
        self
    }

    #[must_use]
    pub fn related(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.related.push((place.clone(), label.into()));
        self
    }

    /// A remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn hiding(mut self, place: &Place) -> Self {
        self.hidden.push(place.clone());
        self
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.source.path == other.source.path && self.span == other.span
    }
}

impl Eq for Place {}

impl Place {
    /// Line and column of its start, in characters, both from 1.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.start()).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// Its start, moved back onto a character that exists.
    fn start(&self) -> usize {
        let text = &self.source.text;
        let mut start = self.span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        start
    }
}

impl fmt::Display for Place {
    /// `file:line:col`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source.path.display())
    }
}

impl fmt::Display for Diagnostics {
    /// "3 faults in pipeline.toml, environments/dev.toml"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.iter().filter(|diagnostic| diagnostic.level == Level::Error).count();
        match errors {
            0 => write!(f, "{} warning{}", self.0.len(), plural(self.0.len()))?,
            count => write!(f, "{count} fault{}", plural(count))?,
        }
        let mut files: Vec<String> = Vec::new();
        for (place, _) in self.0.iter().filter_map(|diagnostic| diagnostic.place.as_ref()) {
            let file = place.source.path.display().to_string();
            if !files.contains(&file) {
                files.push(file);
            }
        }
        if files.is_empty() { Ok(()) } else { write!(f, " in {}", files.join(", ")) }
    }
}

impl std::error::Error for Diagnostics {}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A user's text in backticks for a message: control characters escaped, cut after 60 characters.
pub fn quoted(text: &str) -> String {
    const LIMIT: usize = 60;
    let mut shown = String::with_capacity(text.len().min(4 * LIMIT) + 2);
    shown.push('`');
    for (count, c) in text.chars().enumerate() {
        if count == LIMIT {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push('`');
    shown
}

/// The one of `known` that `given` is probably meant to be. Names are short and few: of more than a
/// person would write only the first are looked at.
pub fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .take(1000)
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len().min(given.len()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`?", else the list of what there is, for a hint.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = meant(given, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let all: Vec<String> = known.into_iter().take(20).map(|name| format!("`{name}`")).collect();
    if all.is_empty() { None } else { Some(format!("known here: {}", all.join(", "))) }
}
