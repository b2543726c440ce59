//! `.dockerignore`: which paths of a context are not sent. Pure; the rules are those of moby's
//! patternmatcher as BuildKit's file transfer uses it: the last pattern that matches a path, or one of the
//! folders above it, decides, and `!` takes back.

mod pattern;

use pattern::Pattern;

/// The patterns of one file, in order.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line that no engine takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct IgnoreError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Which patterns matched a folder: what its children start from.
pub type Matched = Vec<bool>;

/// The longest line that docker reads.
const LONGEST: usize = 64 * 1024 - 1;

impl Ignore {
    /// Reads the text of a file. A byte order mark, comments (`#` first) and empty lines are passed over.
    ///
    /// # Errors
    /// The first line that docker refuses.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').enumerate() {
            let fault = |message: String| IgnoreError { line: number + 1, message };
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.len() > LONGEST {
                return Err(fault(format!("longer than {LONGEST} bytes")));
            }
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (exception, path) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if path.is_empty() {
                return Err(fault("`!` takes nothing back".to_owned()));
            }
            patterns.push(Pattern::new(unrooted(&clean(path)), exception).map_err(fault)?);
        }
        Ok(Self { patterns })
    }

    /// Of the lines that [`Ignore::lines`] gave; one that is not understood is left out.
    pub fn from_lines(lines: &[String]) -> Self {
        let pattern = |line: &String| {
            let (exception, path) =
                line.strip_prefix('!').map_or((false, line.as_str()), |rest| (true, rest));
            Pattern::new(unrooted(path), exception).ok()
        };
        Self { patterns: lines.iter().filter_map(pattern).collect() }
    }

    /// The patterns, cleaned, `!` before those that take back.
    pub fn lines(&self) -> Vec<String> {
        self.patterns.iter().map(ToString::to_string).collect()
    }

    /// Whether `path` (from the context, `/` between names) is left out, given what its folder matched
    /// (empty at the top), and what it matched itself.
    pub fn look(&self, path: &str, above: &[bool]) -> (bool, Matched) {
        let mut left_out = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            // A pattern that could change nothing is not asked, as the original has it: then it is not
            // known to have matched for what lies below either.
            let inherited = above.get(index).copied().unwrap_or(false);
            if !inherited && pattern.exception != left_out {
                continue;
            }
            if inherited || pattern.matches(path) {
                matched[index] = true;
                left_out = !pattern.exception;
            }
        }
        (left_out, matched)
    }

    /// Whether `path` is left out, whatever lies there.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut above = Matched::new();
        let mut left_out = false;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (left_out, above) = self.look(&path[..end], &above);
        }
        left_out
    }

    /// Whether something in a folder that is left out may be taken back.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }
}

/// Without the slash that it begins with, if there is more.
fn unrooted(path: &str) -> &str {
    path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// The shortest path that means the same (Go's `path.Clean`).
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests;
