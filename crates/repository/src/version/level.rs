//! What a commit asks for: Conventional Commits 1.0.0 → SemVer 2.0.0. Pure.

use semver::{Prerelease, Version};
use serde::{Deserialize, Serialize};

use crate::version::Commit;

/// A part of a version that goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    Patch,
    Minor,
    Major,
}

/// What a commit is, by its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Breaking,
    Feature,
    /// `fix`, `perf`, `revert`, and Git's own `Revert "…"`.
    Fix,
    /// Conventional, of a type that asks for nothing by itself.
    Other,
    /// Its message is not conventional.
    Unconventional,
}

/// A message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    pub kind: Kind,
    /// What a changelog says: `scope: description`, of a breaking commit its footer's text, else the
    /// subject as it is.
    pub text: String,
}

/// Reads a commit's message.
pub fn headline(commit: &Commit) -> Headline {
    // Messages written on Windows; the grammar knows line feeds.
    let message = commit.message.replace("\r\n", "\n");
    let subject = message.lines().next().unwrap_or_default().trim();
    let parsed = git_conventional::Commit::parse(message.trim()).or_else(|_| {
        // A body that the grammar refuses (no blank line above it) does not unsay the first line.
        git_conventional::Commit::parse(subject)
    });
    let Ok(parsed) = parsed else {
        let kind = if subject.starts_with("Revert \"") { Kind::Fix } else { Kind::Unconventional };
        return Headline { kind, text: plain(subject) };
    };
    let breaking = parsed.breaking() || has_breaking_line(&message);
    let type_ = parsed.type_().as_str().to_ascii_lowercase();
    let kind = match type_.as_str() {
        _ if breaking => Kind::Breaking,
        "feat" => Kind::Feature,
        "fix" | "perf" | "revert" => Kind::Fix,
        _ => Kind::Other,
    };
    let text = parsed.breaking_description().unwrap_or(parsed.description());
    let text = match parsed.scope() {
        Some(scope) => format!("{}: {text}", scope.as_str()),
        None => text.to_owned(),
    };
    Headline { kind, text: plain(&text) }
}

/// A breaking footer that the grammar took for a part of the body: a wrong blank line must not hide it.
fn has_breaking_line(message: &str) -> bool {
    message.lines().skip(1).any(|line| {
        let rest = line.strip_prefix("BREAKING CHANGE").or_else(|| line.strip_prefix("BREAKING-CHANGE"));
        rest.is_some_and(|rest| rest.starts_with(": ") || rest.starts_with(" #"))
    })
}

/// One line without control characters: a message is data on its way to a terminal and a tag.
fn plain(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

impl Bump {
    /// The version after `version`, by what commits ask for: below 1.0.0 a breaking change is a MINOR.
    pub fn earned(self, version: &Version) -> Version {
        let below_one = version.major == 0 && self == Self::Major;
        if below_one { Self::Minor.applied(version) } else { self.applied(version) }
    }

    /// The version after `version`, to the letter: MAJOR leaves 0.x.
    pub fn applied(self, version: &Version) -> Version {
        match self {
            Self::Major => Version::new(version.major + 1, 0, 0),
            Self::Minor => Version::new(version.major, version.minor + 1, 0),
            Self::Patch => Version::new(version.major, version.minor, version.patch + 1),
        }
    }
}

/// `version` without what follows the three numbers.
pub fn core(version: &Version) -> Version {
    Version::new(version.major, version.minor, version.patch)
}

/// N of `-LABEL.N`.
pub fn pre_number(version: &Version, label: &str) -> Option<u64> {
    version.pre.as_str().strip_prefix(label)?.strip_prefix('.')?.parse().ok()
}

/// `core-LABEL.N`; `None` where the label can't stand there: `[0-9A-Za-z-]`, and not digits alone.
pub fn with_pre(core: &Version, label: &str, number: u64) -> Option<Version> {
    let shape = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if label.is_empty() || !label.bytes().all(shape) || label.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut version = self::core(core);
    version.pre = Prerelease::new(&format!("{label}.{number}")).ok()?;
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(message: &str) -> Kind {
        headline(&commit(message)).kind
    }

    fn commit(message: &str) -> Commit {
        Commit {
            id: "a".repeat(40).parse().unwrap(),
            parents: vec![],
            time: 0,
            message: message.to_owned(),
            files: vec![],
            modules: vec![],
        }
    }

    #[test]
    fn messages_in_every_shape() {
        for (message, expected) in [
            ("feat: a", Kind::Feature),
            ("FEAT(api): a", Kind::Feature),
            ("feat!: a", Kind::Breaking),
            ("chore(deps)!: a", Kind::Breaking),
            ("fix: a\n\nBREAKING CHANGE: b", Kind::Breaking),
            ("fix: a\r\n\r\nBREAKING-CHANGE: b\r\n", Kind::Breaking),
            ("fix: a\nBREAKING CHANGE: no blank line above", Kind::Breaking),
            ("fix: a\n\nbody\nBREAKING CHANGE: amid the body\nmore", Kind::Breaking),
            ("fix: a\n\nno breaking change: here", Kind::Fix),
            ("fix: a\n\nbreaking change: lower case is text", Kind::Fix),
            ("perf: a", Kind::Fix),
            ("revert: feat: a", Kind::Fix),
            ("Revert \"feat: a\"\n\nThis reverts commit 1234.", Kind::Fix),
            ("docs: a", Kind::Other),
            ("anything: a", Kind::Other),
            ("feat:a", Kind::Feature),
            ("feat", Kind::Unconventional),
            ("feature done", Kind::Unconventional),
            ("Merge branch 'x'", Kind::Unconventional),
            ("", Kind::Unconventional),
            ("\n\n", Kind::Unconventional),
            ("(: !", Kind::Unconventional),
            ("feat(unclosed: a", Kind::Unconventional),
        ] {
            assert_eq!(kind(message), expected, "{message:?}");
        }
    }

    #[test]
    fn a_headline_is_one_plain_line() {
        assert_eq!(headline(&commit("feat(api): add \u{1b}[31m\u{7}routes")).text, "api: add [31m routes");
        assert_eq!(headline(&commit("fix: a\n\nBREAKING CHANGE: the\n port moved")).text, "the port moved");
        assert_eq!(headline(&commit("Update x")).text, "Update x");
    }

    #[test]
    fn labels_that_semver_refuses_are_refused() {
        let core = Version::new(1, 2, 3);
        assert_eq!(with_pre(&core, "rc", 2).unwrap().to_string(), "1.2.3-rc.2");
        for label in ["", "1", "r c", "rc.1", "rc+1", "-é"] {
            assert_eq!(with_pre(&core, label, 1), None, "{label}");
        }
        assert_eq!(pre_number(&"1.2.3-rc.12".parse().unwrap(), "rc"), Some(12));
        assert_eq!(pre_number(&"1.2.3-rcx.12".parse().unwrap(), "rc"), None);
    }
}
