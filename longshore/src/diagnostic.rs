//! Faults located in the user's files: message, place, hint, rendered with the source line and a caret.
//! (To be filled in.)

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

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
}

/// All faults of one run. As an error its exit code is [`crate::fault::Exit::Usage`].
#[derive(Debug)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults", self.0.len())
    }
}

impl std::error::Error for Diagnostics {}
