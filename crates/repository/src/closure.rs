//! What a service is made of: the packages, files, modules and settings that its images follow from.
//! Pure data, kept in the ledger with each release.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dockerfile::ignore::Ignore;

pub use longshore_inputs::path::RepoPath;

/// A service's inputs: the union over its platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// The main package's directory. Like the other facts of Go absent where a Dockerfile's service names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<RepoPath>,
    /// Directories of all packages that lie in the repository (a vendored one too).
    pub packages: BTreeSet<RepoPath>,
    /// Files that `//go:embed` takes in.
    pub embeds: BTreeSet<RepoPath>,
    /// Module path → version, with its replacement: `v1.2.3` or `v1.2.3 => ../fork`.
    pub modules: BTreeMap<String, String>,
    /// The directory of the service's go.mod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_mod: Option<RepoPath>,
    /// Files in package directories that no platform's build looks at.
    pub ignored: BTreeSet<RepoPath>,
    /// Files of the image that are no Go source: `files`, a Dockerfile.
    pub extra_files: BTreeSet<RepoPath>,
    /// Of everything else that shapes the image: flags, base, image settings, neutral build-args.
    pub settings: Digest,
    /// The Go version, as `1.26.8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<String>,
    /// What a Dockerfile's build is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextClosure>,
}

/// A folder without what `.dockerignore` leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextClosure {
    pub folder: RepoPath,
    /// The patterns, cleaned, in their order.
    pub ignore: Vec<String>,
}

impl ContextClosure {
    /// Whether a change of `path` changes what is sent.
    fn touches(&self, path: &RepoPath) -> bool {
        if !self.folder.contains(path) {
            return false;
        }
        let below = &path.as_bytes()[self.folder.as_bytes().len()..];
        let below = String::from_utf8_lossy(below.strip_prefix(b"/").unwrap_or(below));
        !Ignore::from_lines(&self.ignore).leaves_out(&below)
    }
}

/// What `go build` reads in a package's directory, by the file's ending (`go help packages`, cmd/go
/// `internal/load`, lists `GoFiles` to `SysoFiles`).
const SOURCES: &[&str] = &[
    "go", "c", "cc", "cpp", "cxx", "h", "hh", "hpp", "hxx", "m", "s", "S", "sx", "swig", "swigcxx", "syso",
    "f", "F", "for", "f90",
];

impl Closure {
    /// Whether a change of `path` changes this service: a source file directly in one of its packages,
    /// the main package's `default.pgo`, an embedded or an extra file. Never go.mod: its lines are
    /// compared one by one.
    pub fn touches(&self, path: &RepoPath) -> bool {
        self.embeds.contains(path)
            || self.extra_files.iter().any(|extra| extra.contains(path))
            || self.is_source(path)
            || self.context.as_ref().is_some_and(|context| context.touches(path))
    }

    fn is_source(&self, path: &RepoPath) -> bool {
        let (folder, name) = path.split();
        if name == b"default.pgo" {
            let in_package = self.packages.contains(&folder) && !self.ignored.contains(path);
            return in_package && self.main.as_ref() == Some(&folder);
        }
        // cmd/go passes over names that begin so.
        if name.starts_with(b"_") || name.starts_with(b".") || name.ends_with(b"_test.go") {
            return false;
        }
        let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return false };
        // Of many paths that are asked for few have such an ending.
        SOURCES.iter().any(|ending| ending.as_bytes() == &name[dot + 1..])
            && self.packages.contains(&folder)
            && !self.ignored.contains(path)
    }

    /// Whether the go.mod in `folder` has a say in this service's build: its own module's, or that of
    /// another module of this repository whose packages it imports.
    pub fn in_module(&self, folder: &RepoPath) -> bool {
        let Some(go_mod) = &self.go_mod else { return false };
        folder == go_mod
            || self.packages.iter().any(|package| {
                let inner = folder.contains(go_mod) && go_mod.contains(package);
                folder.contains(package) && !inner
            })
    }

    /// Whether a go.mod, go.sum or go.work (with go.work.sum) has a say in this service's build.
    pub fn obeys(&self, file: &RepoPath) -> bool {
        let (folder, name) = file.split();
        if name.starts_with(b"go.work") { self.below(&folder) } else { self.in_module(&folder) }
    }

    /// Whether its go.mod lies in `folder`, where a go.work may be.
    pub fn below(&self, folder: &RepoPath) -> bool {
        self.go_mod.as_ref().is_some_and(|go_mod| folder.contains(go_mod))
    }

    /// Takes in the closure of the same service for another platform. A file is ignored only where
    /// every platform that has its package ignores it.
    pub fn merge(&mut self, other: Self) {
        let ignored = {
            let both = |file: &&RepoPath, there: &Self| {
                there.ignored.contains(*file) || !there.packages.contains(&file.split().0)
            };
            let ours = self.ignored.iter().filter(|file| both(file, &other));
            let theirs = other.ignored.iter().filter(|file| both(file, self));
            ours.chain(theirs).cloned().collect()
        };
        self.ignored = ignored;
        self.packages.extend(other.packages);
        self.embeds.extend(other.embeds);
        self.modules.extend(other.modules);
        self.extra_files.extend(other.extra_files);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A closure of packages alone, with `main` first; the module is at the root.
    pub(crate) fn closure(packages: &[&str]) -> Closure {
        Closure {
            main: Some(packages[0].into()),
            packages: packages.iter().map(|p| RepoPath::from(*p)).collect(),
            embeds: BTreeSet::new(),
            modules: BTreeMap::new(),
            go_mod: Some("".into()),
            ignored: BTreeSet::new(),
            extra_files: BTreeSet::new(),
            settings: Digest::of(b"settings"),
            go: Some("1.26.8".into()),
            context: None,
        }
    }

    #[test]
    fn a_context_touches_but_for_what_is_left_out() {
        let mut closure = closure(&["cmd/gateway"]);
        let ignore = ["*", "!web", "web/*.md"].map(str::to_owned).to_vec();
        closure.context = Some(ContextClosure { folder: "services".into(), ignore });
        for (path, touched) in [
            ("services/web/index.html", true),
            ("services/web/README.md", false),
            ("services/other", false),
            ("web/index.html", false),
            ("cmd/gateway/main.go", true),
        ] {
            assert_eq!(closure.touches(&path.into()), touched, "{path}");
        }
        let text = serde_json::to_string(&closure).unwrap();
        assert_eq!(serde_json::from_str::<Closure>(&text).unwrap(), closure);
    }

    #[test]
    fn only_what_the_build_reads_touches() {
        let mut closure = closure(&["cmd/gateway", "internal/http"]);
        closure.embeds.insert("cmd/gateway/static/index.html".into());
        closure.extra_files.insert("deploy/motd".into());
        closure.ignored.insert("internal/http/http_windows.go".into());
        for (path, touched) in [
            ("cmd/gateway/main.go", true),
            ("cmd/gateway/default.pgo", true),
            ("cmd/gateway/static/index.html", true),
            ("deploy/motd", true),
            ("deploy/motd/inside", true),
            ("deploy/motds", false),
            ("internal/http/route_amd64.s", true),
            ("internal/http/new.go", true),
            ("internal/http/default.pgo", false),
            ("internal/http/http_windows.go", false),
            ("internal/http/http_test.go", false),
            ("internal/http/_draft.go", false),
            ("internal/http/.#main.go", false),
            ("internal/http/README.md", false),
            ("internal/http/go", false),
            ("internal/http/inner/x.go", false),
            ("internal/httpx/x.go", false),
            ("README.md", false),
            ("go.mod", false),
        ] {
            assert_eq!(closure.touches(&path.into()), touched, "{path}");
        }
    }

    #[test]
    fn the_root_can_be_a_package() {
        let closure = closure(&[""]);
        assert!(closure.touches(&"main.go".into()));
        assert!(!closure.touches(&"cmd/main.go".into()));
    }

    #[test]
    fn a_go_mod_counts_for_its_module_and_for_those_it_imports_from() {
        let mut closure = closure(&["services/cmd/gateway", "lib/text"]);
        closure.go_mod = Some("services".into());
        for (folder, inside) in
            [("services", true), ("lib", true), ("", true), ("tools", false), ("services/tools", false)]
        {
            assert_eq!(closure.in_module(&folder.into()), inside, "{folder}");
        }
        closure.packages.remove(&"lib/text".into());
        assert!(!closure.in_module(&"".into()), "an outer module none of whose packages it has");
    }

    #[test]
    fn a_file_is_ignored_only_where_all_platforms_ignore_it() {
        let mut linux = closure(&["cmd", "a"]);
        linux.ignored = ["cmd/x_windows.go", "cmd/x_plan9.go", "a/old.go"].map(RepoPath::from).into();
        let mut windows = closure(&["cmd", "b"]);
        windows.ignored = ["cmd/x_linux.go", "cmd/x_plan9.go", "b/old.go"].map(RepoPath::from).into();
        linux.merge(windows);
        assert_eq!(linux.ignored, ["cmd/x_plan9.go", "a/old.go", "b/old.go"].map(RepoPath::from).into());
        assert_eq!(linux.packages.len(), 3);
    }
}
