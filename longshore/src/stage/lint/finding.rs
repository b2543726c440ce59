//! One thing that a check found, and how the tools' lines become one.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From the repository's root where it lies inside.
    pub file: PathBuf,
    /// From 1; absent where the tool names none.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub message: String,
    /// What mends it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    /// `services/main.go:3:5: message`, which editors and CI make a link of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The findings among a tool's lines: those of the form `path:line[:column]: message`, with paths relative to
/// `folder`. Indented lines that follow one belong to it (Go's type errors run over several).
pub(super) fn located(text: &str, folder: &Path, workspace: &Workspace) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for line in text.lines() {
        if let (true, Some(last)) = (line.starts_with('\t'), findings.last_mut()) {
            last.message.push(' ');
            last.message.push_str(line.trim());
            continue;
        }
        if let Some((path, number, column, message)) = place(line.strip_prefix("vet: ").unwrap_or(line)) {
            findings.push(Finding {
                file: file(path, folder, workspace),
                line: Some(number),
                column,
                message: message.to_owned(),
                hint: None,
            });
        }
    }
    findings
}

/// A tool's path as the user would write it.
pub(super) fn file(path: &str, folder: &Path, workspace: &Workspace) -> PathBuf {
    // Built from components: `./main.go` becomes `main.go`.
    let path: PathBuf = folder.join(path).components().collect();
    workspace.shown(&path).to_owned()
}

/// `a/b.go:3:5: message` in its parts. A drive's colon (`C:\a.go:3:5: …`) is not followed by digits.
fn place(line: &str) -> Option<(&str, u32, Option<u32>, &str)> {
    for (index, _) in line.match_indices(':') {
        let Some((number, rest)) = leading_number(&line[index + 1..]) else { continue };
        let path = &line[..index];
        if path.is_empty() || path.starts_with(char::is_whitespace) || path.starts_with('#') {
            return None;
        }
        if let Some(message) = rest.strip_prefix(": ") {
            return Some((path, number, None, message));
        }
        let (column, rest) = leading_number(rest.strip_prefix(':')?)?;
        return Some((path, number, Some(column), rest.strip_prefix(": ")?));
    }
    None
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        Workspace {
            root: "/repo".into(),
            dist: "/repo/dist".into(),
            state: "/repo/.git/longshore".into(),
            cache: "/cache".into(),
        }
    }

    fn shown(text: &str) -> Vec<String> {
        located(text, Path::new("/repo/services"), &workspace()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn vet_lines_are_located_from_the_root() {
        let text =
            "# example.com/x/cmd/a\n# [example.com/x/cmd/a]\ncmd/a/main.go:7:2: Printf format %d has arg x\n";
        assert_eq!(shown(text), ["services/cmd/a/main.go:7:2: Printf format %d has arg x"]);
    }

    #[test]
    fn type_errors_and_their_next_lines_are_one_finding() {
        let text = "vet: ./main.go:3:5: cannot use x\n\thave int\n\twant string\n";
        assert_eq!(shown(text), ["services/main.go:3:5: cannot use x have int want string"]);
    }

    #[test]
    fn a_path_outside_the_repository_stays_absolute_and_a_column_is_optional() {
        assert_eq!(shown("/elsewhere/a.go:9: no column"), ["/elsewhere/a.go:9: no column"]);
    }

    #[test]
    fn drives_are_no_line_numbers() {
        assert_eq!(place(r"C:\a.go:3:5: bad"), Some((r"C:\a.go", 3, Some(5), "bad")));
    }

    #[test]
    fn other_lines_are_no_findings() {
        assert!(
            shown("go: downloading example.com/a v1.0.0\nexit status 1\n:3: x\n12:30: late\n").len() == 1
        );
        assert!(shown("ok  \texample.com/x\t0.01s\n").is_empty());
    }
}
