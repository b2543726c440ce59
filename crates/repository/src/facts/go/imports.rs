//! The chains of imports through which a service's main package reaches what it is made of, from a listing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::inputs::{Program, ServiceInputs};
use super::{Listing, Package, Toolchain};
use crate::affected::{Imports, Node};
use crate::closure::RepoPath;

impl ServiceInputs {
    /// Of each platform. `root`: the repository's.
    pub fn imports(&self, root: &Path) -> Vec<Imports> {
        let of = |program: &Program| {
            let listings = program.listings.values();
            listings.map(|listing| imports(listing, &program.package, root, &program.toolchain)).collect()
        };
        self.program.as_ref().map(of).unwrap_or_default()
    }
}

/// Breadth first, so that each chain is a shortest one; among those of one length, Go's order decides.
fn imports(listing: &Listing, main: &str, root: &Path, toolchain: &Toolchain) -> Imports {
    let by_path: BTreeMap<&str, &Package> =
        listing.packages.iter().map(|package| (package.import_path.as_str(), package)).collect();
    let mut found = Imports::default();
    let mut seen = BTreeSet::from([main]);
    let mut waiting = VecDeque::from([main]);
    let own = by_path.get(main).and_then(|package| node(package, root, toolchain));
    while let Some(package) = waiting.pop_front().and_then(|path| by_path.get(path)) {
        let Some(here) = node(package, root, toolchain) else { continue };
        if let Node::Folder(folder) = &here
            && !package.embed_patterns.is_empty()
        {
            found.embeds.entry(folder.clone()).or_default().extend(package.embed_patterns.iter().cloned());
        }
        for import in &package.imports {
            let path = package.import_map.get(import).unwrap_or(import).as_str();
            let Some(next) = by_path.get(path).filter(|_| seen.insert(path)) else { continue };
            let Some(there) = node(next, root, toolchain) else { continue };
            if Some(&there) != own.as_ref() && there != here {
                found.importers.entry(there).or_insert_with(|| here.clone());
            }
            // A module whose folder lies in the repository is one and the other.
            let module = |package: &Package| package.module.as_ref().map(|module| module.path.clone());
            if let Some(name) = module(next).filter(|_| module(next) != module(package)) {
                found.importers.entry(Node::Module(name)).or_insert_with(|| here.clone());
            }
            waiting.push_back(path);
        }
    }
    found
}

/// `None` for a package of Go's own.
fn node(package: &Package, root: &Path, toolchain: &Toolchain) -> Option<Node> {
    let foreign = package.dir.starts_with(&toolchain.goroot) || package.dir.starts_with(&toolchain.modcache);
    match package.dir.strip_prefix(root) {
        _ if package.standard || package.dir.as_os_str().is_empty() => None,
        Ok(below) if !foreign => Some(Node::Folder(RepoPath::from_path(below))),
        _ => package.module.as_ref().map(|module| Node::Module(module.path.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::go::ModuleRef;

    #[test]
    fn chains_are_the_shortest_and_pass_through_modules_once() {
        let package = |path: &str, dir: &str, module: &str, imports: &[&str]| Package {
            import_path: path.to_owned(),
            dir: dir.into(),
            standard: module.is_empty(),
            module: Some(ModuleRef { path: module.to_owned(), ..ModuleRef::default() }),
            imports: imports.iter().map(|import| (*import).to_owned()).collect(),
            ..Package::default()
        };
        let listing = Listing {
            packages: vec![
                package("fmt", "/go/src/fmt", "", &[]),
                package("ext/b/in", "/mod/ext/b/in", "ext/b", &[]),
                package("ext/b", "/mod/ext/b", "ext/b", &["ext/b/in", "fmt"]),
                package("ext/a", "/mod/ext/a", "ext/a", &["ext/b"]),
                package("ex/price", "/r/price", "ex", &["ext/a"]),
                package("ex/cart", "/r/cart", "ex", &["ex/price"]),
                package("ext/c", "/r/third/c", "ext/c", &[]),
                package("ex/cmd", "/r/cmd", "ex", &["ex/cart", "ex/price", "ext/c", "fmt"]),
                package("ex/other", "/r/other", "ex", &["ex/cart"]),
            ],
        };
        let toolchain = Toolchain {
            version: "go1.26.8".into(),
            goroot: "/go".into(),
            modcache: "/mod".into(),
            experiment: String::new(),
        };
        let found = imports(&listing, "ex/cmd", Path::new("/r"), &toolchain);
        let chain = |node| found.chain(&node);
        assert_eq!(chain(Node::Module("ext/b".into())).unwrap(), "ext/b → ext/a → price → cmd");
        assert_eq!(chain(Node::Module("ext/c".into())).unwrap(), "ext/c → cmd");
        assert_eq!(chain(Node::Folder("third/c".into())).unwrap(), "third/c → cmd");
        assert_eq!(chain(Node::Folder("price".into())).unwrap(), "price → cmd");
        assert_eq!(chain(Node::Folder("cmd".into())), None);
        assert_eq!(chain(Node::Folder("other".into())), None);
    }
}
