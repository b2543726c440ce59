//! Inputs × what changed → services, with the chain of imports that reached them. Pure.
//!
//! Affected is what lint, test and build look at; whether it is released is [`crate::version`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::closure::{Closure, RepoPath};
use crate::fingerprint::could_match;
use crate::version::modfile::{Change, ModuleChange};

/// What differs between a commit and the work tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub files: BTreeSet<RepoPath>,
    /// Those of `files` that are no longer there.
    pub gone: BTreeSet<RepoPath>,
    /// Of the lines of each go.mod and go.work.
    pub modules: Vec<ModuleChange>,
    /// go.sum → the modules whose checksums differ.
    pub sums: BTreeMap<RepoPath, BTreeSet<String>>,
    /// Services whose settings in the pipeline's file differ.
    pub settings: BTreeSet<String>,
}

/// A package of the repository, by its folder, or a module from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Folder(RepoPath),
    Module(String),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) if folder.as_bytes().is_empty() => f.write_str("."),
            Self::Folder(folder) => write!(f, "{folder}"),
            Self::Module(path) => f.write_str(path),
        }
    }
}

/// How a service's main package reaches what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// Each package and module → what imports it on a shortest way to the main package.
    pub importers: BTreeMap<Node, Node>,
    /// The patterns of the packages that embed files.
    pub embeds: BTreeMap<RepoPath, BTreeSet<String>>,
}

impl Imports {
    /// `pkg/price → internal/cart → cmd/orders`; `None` where `from` is the main package or unknown.
    pub fn chain(&self, from: &Node) -> Option<String> {
        let mut chain = vec![from];
        while let Some(next) = self.importers.get(chain[chain.len() - 1]) {
            chain.push(next);
        }
        (chain.len() > 1).then(|| chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))
    }

    /// The package that embedded a file which is gone, if one may have.
    fn embedded(&self, path: &RepoPath) -> Option<&RepoPath> {
        let may = |folder: &&RepoPath| {
            let below = path.to_path();
            let Ok(below) = below.strip_prefix(folder.to_path()) else { return false };
            self.embeds[*folder].iter().any(|pattern| {
                let parts = std::path::Path::new(pattern.strip_prefix("all:").unwrap_or(pattern));
                parts.iter().zip(below).all(|(part, name)| could_match(part, name))
            })
        };
        self.embeds.keys().filter(|folder| folder.contains(path)).find(may)
    }
}

/// Why a service is affected: what changed, and the chain of imports from there to its main package. Files
/// first, in the order of their paths. `imports`: of each platform.
pub fn reasons(service: &str, closure: &Closure, imports: &[Imports], changes: &Changes) -> Vec<String> {
    let chain = |node: Node| imports.iter().find_map(|imports| imports.chain(&node));
    let told = |what: String, from: Option<Node>| match from.and_then(chain) {
        Some(chain) => format!("{what}: {chain}"),
        None => what,
    };
    let mut reasons = Vec::new();
    for path in &changes.files {
        if closure.touches(path) {
            reasons.push(told(format!("{path} changed"), owner(closure, path)));
        } else if changes.gone.contains(path)
            && let Some(folder) = imports.iter().find_map(|imports| imports.embedded(path))
        {
            reasons.push(told(format!("{path} changed"), Some(Node::Folder(folder.clone()))));
        } else if is_test_input(closure, path) {
            reasons.push(told(format!("{path} changed (tests)"), owner(closure, path)));
        }
    }
    let mut modules = BTreeSet::new();
    for change in changes.modules.iter().filter(|change| closure.obeys(&change.file)) {
        match &change.what {
            Change::Module { path, from, to } if closure.modules.contains_key(path) => {
                modules.insert(path);
                let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
                let what = format!("{path} {} → {} in {}", shown(from), shown(to), change.file);
                reasons.push(told(what, Some(Node::Module(path.clone()))));
            }
            Change::Module { .. } => {}
            Change::Directive { key, .. } => reasons.push(format!("`{key}` of {} changed", change.file)),
        }
    }
    for (file, sums) in changes.sums.iter().filter(|(file, _)| closure.obeys(file)) {
        for path in sums.iter().filter(|path| closure.modules.contains_key(*path)) {
            if modules.insert(path) {
                let what = format!("{path} changed in {file}");
                reasons.push(told(what, Some(Node::Module(path.clone()))));
            }
        }
    }
    if changes.settings.contains(service) {
        reasons.push("its settings in the pipeline's file changed".to_owned());
    }
    reasons
}

/// The package whose folder a file lies in, or is nearest above it.
fn owner(closure: &Closure, path: &RepoPath) -> Option<Node> {
    if closure.extra_files.contains(path) {
        return None;
    }
    let nearest = closure.packages.iter().filter(|folder| folder.contains(path));
    nearest.max_by_key(|folder| folder.as_bytes().len()).cloned().map(Node::Folder)
}

/// A test file, or test data below a package.
fn is_test_input(closure: &Closure, path: &RepoPath) -> bool {
    let (folder, name) = path.split();
    if closure.packages.contains(&folder) {
        return name.ends_with(b"_test.go");
    }
    closure.packages.iter().any(|package| package.join("testdata").contains(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::tests::closure;

    fn paths(paths: &[&str]) -> BTreeSet<RepoPath> {
        paths.iter().map(|path| RepoPath::from(*path)).collect()
    }

    fn folder(path: &str) -> Node {
        Node::Folder(path.into())
    }

    fn imports() -> [Imports; 2] {
        let module = Node::Module("example.com/money".to_owned());
        let linux = Imports {
            importers: BTreeMap::from([
                (folder("pkg/price"), folder("internal/cart")),
                (folder("internal/cart"), folder("cmd/orders")),
                (module, folder("pkg/price")),
            ]),
            embeds: BTreeMap::from([("pkg/price".into(), BTreeSet::from(["*.html".to_owned()]))]),
        };
        let other = BTreeMap::from([
            (folder("pkg/price"), folder("cmd/orders")),
            (folder("pkg/unix"), folder("cmd/orders")),
        ]);
        [linux, Imports { importers: other, embeds: BTreeMap::new() }]
    }

    #[test]
    fn a_reason_has_the_chain_of_imports_and_a_readme_has_none() {
        let mut closure = closure(&["cmd/orders", "internal/cart", "pkg/price", "pkg/unix"]);
        closure.modules.insert("example.com/money".into(), "v1.1.0".into());
        closure.extra_files.insert("deploy/motd".into());
        let bump = |path: &str| ModuleChange {
            file: "go.mod".into(),
            what: Change::Module {
                path: path.into(),
                from: Some("v1.0.0".into()),
                to: Some("v1.1.0".into()),
            },
        };
        let changes = Changes {
            files: paths(&[
                "README.md",
                "cmd/orders/README.md",
                "cmd/orders/main.go",
                "cmd/other/main.go",
                "deploy/motd",
                "go.mod",
                "internal/cart/testdata/in.json",
                "pkg/price/price.go",
                "pkg/price/price_test.go",
                "pkg/price/gone.html",
                "pkg/price/gone.md",
                "pkg/unix/unix.go",
                "tools/go.mod",
            ]),
            gone: paths(&["pkg/price/gone.html", "pkg/price/gone.md"]),
            modules: vec![bump("example.com/money"), bump("example.com/other")],
            sums: BTreeMap::from([(
                "go.sum".into(),
                ["example.com/money", "example.com/other"].map(str::to_owned).into(),
            )]),
            settings: BTreeSet::from(["other".to_owned()]),
        };
        assert_eq!(
            reasons("orders", &closure, &imports(), &changes),
            [
                "cmd/orders/main.go changed",
                "deploy/motd changed",
                "internal/cart/testdata/in.json changed (tests): internal/cart → cmd/orders",
                "pkg/price/gone.html changed: pkg/price → internal/cart → cmd/orders",
                "pkg/price/price.go changed: pkg/price → internal/cart → cmd/orders",
                "pkg/price/price_test.go changed (tests): pkg/price → internal/cart → cmd/orders",
                "pkg/unix/unix.go changed: pkg/unix → cmd/orders",
                "example.com/money v1.0.0 → v1.1.0 in go.mod: \
                 example.com/money → pkg/price → internal/cart → cmd/orders",
            ]
        );
        assert_eq!(reasons("other", &closure, &imports(), &changes).len(), 9, "its settings too");
    }
}
