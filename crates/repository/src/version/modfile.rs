//! go.mod and go.work, as far as a change of them changes a build (<https://go.dev/ref/mod>, "go.mod
//! files" and "go.work files"). Lenient: a line that Go would refuse says nothing here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::RepoPath;

/// The lines of a go.mod or go.work that a build follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModFile {
    pub module: Option<String>,
    /// The `go` line: `1.26.0`.
    pub go: Option<String>,
    pub toolchain: Option<String>,
    pub godebug: BTreeMap<String, String>,
    /// Module path → version.
    pub require: BTreeMap<String, String>,
    /// Module path, and the version if only that is replaced → `PATH` or `PATH VERSION`.
    pub replace: BTreeMap<(String, Option<String>), String>,
    /// Module path, version.
    pub exclude: BTreeSet<(String, String)>,
    /// The folders of a go.work, as written.
    pub uses: BTreeSet<String>,
}

/// One difference between two states of a go.mod or go.work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleChange {
    pub file: RepoPath,
    pub what: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A requirement: `v1.2.3` or `v1.2.3 => ../fork`; `None` where it is absent.
    Module { path: String, from: Option<String>, to: Option<String> },
    /// The module's own name, the `go`, `toolchain` or a `godebug` line, or a go.work's folders: `key`
    /// is the directive.
    Directive { key: &'static str, from: Option<String>, to: Option<String> },
}

impl ModFile {
    /// Reads a file's text. Comments (`// indirect` too) are passed over.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut block: Option<String> = None;
        for line in text.lines() {
            match (&block, &words(line)[..]) {
                (_, []) => {}
                (Some(_), [")"]) => block = None,
                (None, [verb, "("]) => block = Some((*verb).to_owned()),
                (Some(verb), rest) => file.take(verb, rest),
                (None, [verb, rest @ ..]) => file.take(verb, rest),
            }
        }
        file
    }

    fn take(&mut self, verb: &str, words: &[&str]) {
        let own = |word: &&str| (**word).to_owned();
        match (verb, words) {
            ("module", [path]) => self.module = Some(own(path)),
            ("go", [version]) => self.go = Some(own(version)),
            ("toolchain", [name]) => self.toolchain = Some(own(name)),
            ("godebug", [setting]) => {
                let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
                self.godebug.insert(key.to_owned(), value.to_owned());
            }
            ("require", [path, version]) => {
                self.require.insert(own(path), own(version));
            }
            ("exclude", [path, version]) => {
                self.exclude.insert((own(path), own(version)));
            }
            ("use", [folder]) => {
                self.uses.insert(own(folder));
            }
            ("replace", [path, "=>", target @ ..]) => {
                self.replace.insert((own(path), None), target.join(" "));
            }
            ("replace", [path, version, "=>", target @ ..]) => {
                self.replace.insert((own(path), Some(own(version))), target.join(" "));
            }
            _ => {}
        }
    }

    /// What a module resolves to as far as this file says: version and replacement.
    fn resolved(&self, path: &str) -> Option<String> {
        let version = self.require.get(path);
        let exact = version.and_then(|version| self.replace.get(&(path.to_owned(), Some(version.clone()))));
        let target = exact.or_else(|| self.replace.get(&(path.to_owned(), None)));
        match (version, target) {
            (None, None) => None,
            (Some(version), None) => Some(version.clone()),
            (None, Some(target)) => Some(format!("=> {target}")),
            (Some(version), Some(target)) => Some(format!("{version} => {target}")),
        }
    }

    fn excluded(&self, path: &str) -> Vec<&str> {
        self.exclude.iter().filter(|(name, _)| name == path).map(|(_, version)| version.as_str()).collect()
    }
}

/// What differs between two states of the same file, `None` being a file that is not there.
pub fn differences(file: &RepoPath, old: Option<&ModFile>, new: Option<&ModFile>) -> Vec<ModuleChange> {
    let empty = ModFile::default();
    let (old, new) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
    let mut changes = Vec::new();
    let mut directive = |key, from: Option<String>, to: Option<String>| {
        if from != to {
            changes.push(Change::Directive { key, from, to });
        }
    };
    directive("module", old.module.clone(), new.module.clone());
    directive("go", old.go.clone(), new.go.clone());
    directive("toolchain", old.toolchain.clone(), new.toolchain.clone());
    let settings = |file: &ModFile| {
        let all: Vec<String> = file.godebug.iter().map(|(key, value)| format!("{key}={value}")).collect();
        (!all.is_empty()).then(|| all.join(" "))
    };
    directive("godebug", settings(old), settings(new));
    let uses = |file: &ModFile| {
        let all: Vec<&str> = file.uses.iter().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(" "))
    };
    directive("use", uses(old), uses(new));

    fn mentioned(file: &ModFile) -> impl Iterator<Item = &str> {
        let replaced = file.replace.keys().map(|(path, _)| path);
        let excluded = file.exclude.iter().map(|(path, _)| path);
        file.require.keys().chain(replaced).chain(excluded).map(String::as_str)
    }
    // Nearly always, and then a requirement that is the same means the same.
    let only_required = old.replace == new.replace && old.exclude == new.exclude;
    let paths: BTreeSet<&str> = mentioned(old).chain(mentioned(new)).collect();
    for path in paths {
        if only_required && old.require.get(path) == new.require.get(path) {
            continue;
        }
        let (from, to) = (old.resolved(path), new.resolved(path));
        if from != to || old.excluded(path) != new.excluded(path) {
            changes.push(Change::Module { path: path.to_owned(), from, to });
        }
    }
    changes.into_iter().map(|what| ModuleChange { file: file.clone(), what }).collect()
}

/// The words of a line: bare, `"quoted"` or `` `raw` ``, without the comment.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        }
        let (word, after) = if matches!(first, '"' | '`') {
            let inner = &rest[1..];
            let end = inner.find(first).unwrap_or(inner.len());
            (&inner[..end], inner.get(end + 1..).unwrap_or_default())
        } else if matches!(first, '(' | ')') {
            rest.split_at(1)
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).unwrap_or(rest.len());
            rest.split_at(rest[..end].find("//").unwrap_or(end))
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "module example.com/shop // the shop\n\ngo 1.25.0\n\nrequire (\n\texample.com/a v1.0.0\n\
        \texample.com/b v0.3.0 // indirect\r\n\t\"example.com/c\" v1.1.0\n)\nrequire example.com/d v2.0.0\n\
        replace example.com/d => ../d\n";

    fn changes(old: &str, new: &str) -> Vec<Change> {
        differences(&"go.mod".into(), Some(&ModFile::parse(old)), Some(&ModFile::parse(new)))
            .into_iter()
            .map(|change| change.what)
            .collect()
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        let file = ModFile::parse(OLD);
        assert_eq!(file.module.as_deref(), Some("example.com/shop"));
        assert_eq!(file.go.as_deref(), Some("1.25.0"));
        let versions: Vec<_> =
            file.require.iter().map(|(path, version)| format!("{path}@{version}")).collect();
        assert_eq!(
            versions,
            ["example.com/a@v1.0.0", "example.com/b@v0.3.0", "example.com/c@v1.1.0", "example.com/d@v2.0.0"]
        );
        assert_eq!(file.resolved("example.com/d").as_deref(), Some("v2.0.0 => ../d"));
        let work = ModFile::parse(
            "go 1.26\nuse (\n\t./a\n\t./b\n)\nuse ./c\ntoolchain go1.26.1\ngodebug default=go1.21\n",
        );
        assert_eq!(work.uses.len(), 3);
        assert_eq!(work.toolchain.as_deref(), Some("go1.26.1"));
        assert_eq!(work.godebug["default"], "go1.21");
        let exact = ModFile::parse(
            "require(\n a v1.0.0\n)\nreplace a v1.0.0 => b v1.1.0\nreplace a v2.0.0 => c v1.0.0",
        );
        assert_eq!(exact.resolved("a").as_deref(), Some("v1.0.0 => b v1.1.0"));
    }

    #[test]
    fn only_what_differs_is_named() {
        assert_eq!(changes(OLD, &OLD.replace(" // indirect", "").replace("\t", "    ")), []);
        assert_eq!(
            changes(OLD, &OLD.replace("a v1.0.0", "a v1.0.1").replace("go 1.25.0", "go 1.26.0")),
            [
                Change::Directive { key: "go", from: Some("1.25.0".into()), to: Some("1.26.0".into()) },
                Change::Module {
                    path: "example.com/a".into(),
                    from: Some("v1.0.0".into()),
                    to: Some("v1.0.1".into())
                },
            ]
        );
        assert_eq!(
            changes(OLD, &OLD.replace("replace example.com/d => ../d\n", "")),
            [Change::Module {
                path: "example.com/d".into(),
                from: Some("v2.0.0 => ../d".into()),
                to: Some("v2.0.0".into())
            }]
        );
        assert_eq!(changes(OLD, &format!("{OLD}exclude example.com/b v0.2.0\n")).len(), 1);
    }

    #[test]
    fn a_file_that_comes_or_goes_changes_all_it_says() {
        let file = ModFile::parse(OLD);
        assert_eq!(differences(&"go.mod".into(), None, Some(&file)).len(), 6);
        assert_eq!(differences(&"go.mod".into(), Some(&file), None).len(), 6);
        assert_eq!(differences(&"go.mod".into(), None, None), []);
    }

    #[test]
    fn rubbish_says_nothing() {
        for text in
            ["(", ")", "require", "require (", "\"", "`", "require \"", "replace => =>", "//", "\u{0}"]
        {
            let _ = ModFile::parse(text);
        }
    }
}
