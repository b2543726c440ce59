//! What a commit touches of a service. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::closure::{Closure, RepoPath};
use crate::version::level::{Kind, headline};
use crate::version::modfile::{Change, ModuleChange};
use crate::version::{Commit, CommitId};

/// A commit that changed a service's inputs, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub commit: CommitId,
    pub kind: Kind,
    /// The commit's first line.
    pub subject: String,
    /// For a changelog: see [`crate::version::level::Headline`].
    pub text: String,
    pub merge: bool,
    /// In the commit's order, files first.
    pub inputs: Vec<Input>,
}

/// One input that a commit changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    File(RepoPath),
    Module {
        path: String,
        from: Option<String>,
        to: Option<String>,
    },
    /// A line of a go.mod or go.work for the whole module: `go`, `toolchain`, `godebug`, `module`, `use`.
    Directive {
        file: RepoPath,
        key: String,
        from: Option<String>,
        to: Option<String>,
    },
    /// The pipeline's settings for this service differ, and the commit changed the file that holds them.
    Settings(RepoPath),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Module { path, from, to } => write!(f, "{path} {} → {}", shown(from), shown(to)),
            Self::Directive { file, key, from, to } => {
                write!(f, "{file}: {key} {} → {}", shown(from), shown(to))
            }
            Self::Settings(path) => write!(f, "settings in {path}"),
        }
    }
}

/// A service's inputs, then and now.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// At the version that the next one follows; absent where no record holds one.
    pub previous: Option<&'a Closure>,
    pub current: &'a Closure,
    /// pipeline.toml, from the repository's root.
    pub pipeline: &'a RepoPath,
}

impl Inputs<'_> {
    /// What `commit` changed of them; `None` if nothing.
    pub fn reason(&self, commit: &Commit) -> Option<Reason> {
        let mut inputs: Vec<Input> = Vec::new();
        for path in &commit.files {
            if self.closures().any(|closure| closure.touches(path)) {
                inputs.push(Input::File(path.clone()));
            } else if path == self.pipeline && self.settings_differ() {
                inputs.push(Input::Settings(path.clone()));
            }
        }
        let mut seen = BTreeSet::new();
        for change in &commit.modules {
            if let Some(input) = self.module(change)
                && seen.insert(input.clone())
            {
                inputs.push(input);
            }
        }
        if inputs.is_empty() {
            return None;
        }
        let headline = headline(commit);
        Some(Reason {
            commit: commit.id.clone(),
            kind: headline.kind,
            subject: commit.subject().to_owned(),
            text: headline.text,
            merge: commit.is_merge(),
            inputs,
        })
    }

    /// Whether an uncommitted change of `path` may change them: files as above, and the whole of the
    /// files whose lines are otherwise compared one by one.
    pub fn may_touch(&self, path: &RepoPath) -> bool {
        let (folder, name) = path.split();
        path == self.pipeline
            || self.closures().any(|closure| {
                closure.touches(path)
                    || (matches!(name, b"go.mod" | b"go.sum") && closure.in_module(&folder))
                    || (name == b"go.work" && closure.below(&folder))
            })
    }

    fn closures(&self) -> impl Iterator<Item = &Closure> {
        self.previous.into_iter().chain([self.current])
    }

    fn settings_differ(&self) -> bool {
        let now = self.current;
        // Without a record nobody can say that they are the same.
        self.previous.is_none_or(|then| then.settings != now.settings || then.go != now.go)
    }

    fn packages_differ(&self) -> bool {
        let now = self.current;
        self.previous.is_none_or(|then| then.packages != now.packages || then.modules != now.modules)
    }

    fn module(&self, change: &ModuleChange) -> Option<Input> {
        let (folder, name) = change.file.split();
        let concerned = |closure: &&Closure| match name {
            b"go.work" => closure.below(&folder),
            _ => closure.in_module(&folder),
        };
        let mut concerned = self.closures().filter(concerned);
        match &change.what {
            Change::Module { path, from, to } => concerned
                .any(|closure| closure.modules.contains_key(path))
                .then(|| Input::Module { path: path.clone(), from: from.clone(), to: to.clone() }),
            // Another service's folder in go.work is none of this one's business.
            Change::Directive { key: "use", .. } if !self.packages_differ() => None,
            Change::Directive { key, from, to } => concerned.next().map(|_| Input::Directive {
                file: change.file.clone(),
                key: (*key).to_owned(),
                from: from.clone(),
                to: to.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::tests::closure;
    use crate::digest::Digest;

    fn commit(files: &[&str], modules: Vec<ModuleChange>) -> Commit {
        Commit {
            id: "a".repeat(40).parse().unwrap(),
            parents: vec![],
            time: 0,
            message: "chore: x".into(),
            files: files.iter().map(|file| RepoPath::from(*file)).collect(),
            modules,
        }
    }

    fn bump(file: &str, path: &str) -> ModuleChange {
        let what =
            Change::Module { path: path.into(), from: Some("v1.0.0".into()), to: Some("v1.0.1".into()) };
        ModuleChange { file: file.into(), what }
    }

    fn directive(file: &str, key: &'static str) -> ModuleChange {
        ModuleChange { file: file.into(), what: Change::Directive { key, from: None, to: Some("1".into()) } }
    }

    fn shown(inputs: &Inputs<'_>, commit: &Commit) -> Option<String> {
        let reason = inputs.reason(commit)?;
        Some(reason.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn a_dependency_counts_for_those_that_have_or_had_it() {
        let mut then = closure(&["cmd/a"]);
        then.modules.insert("example.com/gone".into(), "v1.0.0".into());
        let mut now = closure(&["cmd/a"]);
        now.modules.insert("example.com/here".into(), "v1.0.1".into());
        let pipeline = "pipeline.toml".into();
        let inputs = Inputs { previous: Some(&then), current: &now, pipeline: &pipeline };
        let with = |change| commit(&["go.mod", "go.sum"], vec![change]);
        assert_eq!(
            shown(&inputs, &with(bump("go.mod", "example.com/here"))).unwrap(),
            "example.com/here v1.0.0 → v1.0.1"
        );
        assert!(shown(&inputs, &with(bump("go.mod", "example.com/gone"))).is_some());
        assert_eq!(shown(&inputs, &with(bump("go.mod", "example.com/other"))), None);
        assert_eq!(shown(&inputs, &with(bump("tools/go.mod", "example.com/here"))), None);
        assert_eq!(shown(&inputs, &with(directive("go.mod", "go"))).unwrap(), "go.mod: go none → 1");
        assert_eq!(shown(&inputs, &with(directive("tools/go.mod", "toolchain"))), None);
        assert!(shown(&inputs, &with(directive("go.work", "go"))).is_some());
        assert!(shown(&inputs, &with(directive("go.work", "use"))).is_some(), "its modules changed");
        assert_eq!(shown(&inputs, &commit(&["go.sum", "README.md"], vec![])), None);
    }

    #[test]
    fn the_pipeline_counts_only_where_the_settings_differ() {
        let then = closure(&["cmd/a"]);
        let pipeline = "pipeline.toml".into();
        let change = commit(&["pipeline.toml"], vec![]);
        let same = Inputs { previous: Some(&then), current: &then, pipeline: &pipeline };
        assert_eq!(shown(&same, &change), None);
        let mut now = then.clone();
        now.settings = Digest::of(b"other");
        let other = Inputs { previous: Some(&then), current: &now, pipeline: &pipeline };
        assert_eq!(shown(&other, &change).unwrap(), "settings in pipeline.toml");
        let mut now = then.clone();
        now.go = Some("1.27.0".into());
        assert!(
            shown(&Inputs { previous: Some(&then), current: &now, pipeline: &pipeline }, &change).is_some()
        );
    }

    #[test]
    fn a_file_that_left_the_closure_counts() {
        let then = closure(&["cmd/a", "internal/old"]);
        let now = closure(&["cmd/a"]);
        let pipeline = "pipeline.toml".into();
        let inputs = Inputs { previous: Some(&then), current: &now, pipeline: &pipeline };
        assert_eq!(shown(&inputs, &commit(&["internal/old/x.go"], vec![])).unwrap(), "internal/old/x.go");
        assert!(inputs.may_touch(&"go.sum".into()) && inputs.may_touch(&pipeline));
        assert!(!inputs.may_touch(&"README.md".into()) && !inputs.may_touch(&"tools/go.mod".into()));
    }
}
