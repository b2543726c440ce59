//! A configuration file's bytes → text → TOML, with the places of what is wrong in them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{Event, EventKind};

use crate::config::read::Faults;
use crate::diagnostic::{Diagnostic, Place, Source, quoted};

/// Bytes of a file at most: people write these files.
const LIMIT: u64 = 1 << 20;
/// Levels of lists, tables and dotted keys at most: what reads them is recursive.
const DEPTH: usize = 32;
/// Syntax errors told of one file at most: the rest often follow from the first.
const SYNTAX_ERRORS: usize = 10;

/// How the parser's messages begin where a bracket is not closed.
const UNCLOSED: [&str; 2] = ["missing comma between", "missing key for inline table"];

/// The text of a file, without a byte order mark; `None` where there is no file.
///
/// # Errors
/// What is not a readable UTF-8 text of a sensible size, located in what could be read of it.
pub(crate) fn read(path: &Path, shown: &Path) -> Result<Option<Arc<Source>>, Box<Diagnostic>> {
    let fault = |message: &str| Diagnostic::error(format!("{message} `{}`", shown.display()));
    let unreadable = |error: std::io::Error| Box::new(fault("could not read").hint(error.to_string()));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // A FIFO would hang.
    if !metadata.is_file() {
        return Err(Box::new(fault("not a file:")));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT {
        let size = metadata.len().max(LIMIT + 1);
        let place = start(shown, String::new());
        return Err(Box::new(
            fault("too large a file:")
                .at(&place, "")
                .hint(format!("it has {size} bytes; at most {LIMIT} are read")),
        ));
    }
    text(bytes, shown).map(Some)
}

fn start(shown: &Path, text: String) -> Place {
    Place { source: Arc::new(Source { path: shown.to_owned(), text }), span: 0..0 }
}

fn text(bytes: Vec<u8>, shown: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let bytes = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(Source { path: shown.to_owned(), text })),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(at).copied().unwrap_or_default();
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Place { span: at..at + '\u{fffd}'.len_utf8(), ..start(shown, lossy) };
            Err(Box::new(
                Diagnostic::error("the file is not UTF-8")
                    .at(&place, format!("byte 0x{byte:02x}"))
                    .hint("save it as UTF-8"),
            ))
        }
    }
}

/// A file as far as it could be parsed.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) table: DeTable<'a>,
    /// It has syntax errors: what is missing in the table may be there in the file.
    pub(crate) broken: bool,
    /// From here on the text stands in brackets that are not closed.
    pub(crate) unclosed: Option<usize>,
}

/// Parses, and notes syntax errors and duplicates. Never deep enough to end the stack.
pub(crate) fn parse<'a>(text: &'a str, faults: &mut Faults) -> Parsed<'a> {
    if let Some(span) = too_deep(text) {
        let place = faults.place(span);
        faults.note(
            Diagnostic::error("nested too deeply").at(&place, format!("at most {DEPTH} levels are read")),
        );
        return Parsed { table: DeTable::new(), broken: true, unclosed: None };
    }
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map_or(text.len(), |span| span.start));
    let mut firsts: Option<BTreeMap<usize, Range<usize>>> = None;
    let (mut told, mut line_end) = (0, None);
    let (mut broken, mut open, mut rest) = (false, false, None);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let place = faults.place(span.clone());
        if error.message() == "duplicate key" {
            let first = firsts.get_or_insert_with(|| duplicates(text)).get(&span.start);
            faults.note(duplicate(&place, text.get(span).unwrap_or_default(), first));
            continue;
        }
        broken = true;
        // The first of a line is the cause, the others follow from it.
        if line_end.is_some_and(|end| span.start <= end) || told == SYNTAX_ERRORS {
            continue;
        }
        // After a bracket that is not closed every line is one.
        let unclosed = UNCLOSED.iter().any(|message| error.message().starts_with(message));
        if open {
            continue;
        }
        open = unclosed;
        told += 1;
        line_end = text.get(span.start..).map(|rest| span.start + rest.find('\n').unwrap_or(rest.len()));
        let mut fault = Diagnostic::error(format!("invalid TOML: {}", error.message())).at(&place, "");
        if unclosed {
            rest = Some(span.start);
            fault = fault.hint("is a `]` or a `}` missing before this?");
        }
        faults.note(fault);
    }
    Parsed { table: table.into_inner(), broken, unclosed: rest }
}

fn duplicate(place: &Place, name: &str, first: Option<&Range<usize>>) -> Diagnostic {
    let fault = Diagnostic::error(format!("duplicate key {}", quoted(name))).at(place, "again here");
    let fault = match first {
        Some(first) => {
            fault.related(&Place { source: Arc::clone(&place.source), span: first.clone() }, "first here")
        }
        None => fault,
    };
    fault.hint("keep one of the two")
}

/// The first bracket or dot that nests deeper than [`DEPTH`].
fn too_deep(text: &str) -> Option<Range<usize>> {
    let (mut brackets, mut dots) = (0_usize, 0_usize);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => brackets += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                brackets = brackets.saturating_sub(1)
            }
            TokenKind::Dot => dots += 1,
            TokenKind::Newline | TokenKind::Equals | TokenKind::Comma => dots = 0,
            _ => {}
        }
        if brackets > DEPTH || dots > DEPTH {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

/// For each key that stands where the same key stood before: its start → the first one's place.
fn duplicates(text: &str) -> BTreeMap<usize, Range<usize>> {
    let source = toml_parser::Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    toml_parser::parser::parse_document(&tokens, &mut events, &mut ());
    let mut walk = Walk::default();
    for event in events {
        walk.step(&event, source);
    }
    walk.again
}

/// Where in the document's tables a walk over its keys stands.
#[derive(Debug, Default)]
struct Walk {
    header: Vec<String>,
    /// The key being read, its parts.
    key: Vec<String>,
    /// For each open bracket: the path of what stands in it.
    open: Vec<Vec<String>>,
    in_header: bool,
    count: usize,
    first: BTreeMap<Vec<String>, Range<usize>>,
    again: BTreeMap<usize, Range<usize>>,
}

impl Walk {
    fn step(&mut self, event: &Event, source: toml_parser::Source<'_>) {
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.key.clear();
                self.open.clear();
                self.header.clear();
                self.in_header = true;
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.header = std::mem::take(&mut self.key);
                if event.kind() == EventKind::ArrayTableClose {
                    // Each element is a table of its own.
                    self.count += 1;
                    self.header.push(format!("#{}", self.count));
                }
                self.in_header = false;
            }
            EventKind::SimpleKey => self.part(event, source),
            EventKind::ArrayOpen => self.open.push(self.here()),
            EventKind::InlineTableOpen => {
                let mut path = self.here();
                if self.key.is_empty() {
                    self.count += 1;
                    path.push(format!("#{}", self.count));
                }
                self.open.push(path);
                self.key.clear();
            }
            EventKind::ArrayClose | EventKind::InlineTableClose => {
                self.open.pop();
            }
            EventKind::ValueSep | EventKind::Newline => self.key.clear(),
            _ => {}
        }
    }

    fn part(&mut self, event: &Event, source: toml_parser::Source<'_>) {
        let mut decoded = std::borrow::Cow::Borrowed("");
        if let Some(raw) = source.get(event) {
            raw.decode_key(&mut decoded, &mut ());
        }
        self.key.push(decoded.into_owned());
        let path = self.here();
        let span = event.span().start()..event.span().end();
        match self.first.get(&path) {
            Some(first) => {
                self.again.insert(span.start, first.clone());
            }
            None => {
                self.first.insert(path, span);
            }
        }
    }

    fn here(&self) -> Vec<String> {
        let mut path = match self.open.last() {
            Some(path) => path.clone(),
            None if self.in_header => Vec::new(),
            None => self.header.clone(),
        };
        path.extend(self.key.iter().cloned());
        path
    }
}
