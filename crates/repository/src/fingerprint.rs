//! What Go compiles, as named inputs: of packages and of toolchains.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::digest::Hasher;

use crate::facts::go::{Package, Toolchain};
use crate::workspace::Workspace;

pub use longshore_inputs::{Hashes, InputChange, Preimage, StatIndex};

/// Hashes with what earlier runs in this work tree have hashed.
pub fn hashes(workspace: &Workspace) -> Hashes {
    Hashes::new(StatIndex::load(&workspace.state.join("stat-v1")), &workspace.dist)
}

/// The roots that names in a preimage are relative to.
#[derive(Clone, Debug)]
pub struct Roots {
    pub repository: PathBuf,
    pub goroot: PathBuf,
    pub modcache: PathBuf,
}

impl Roots {
    pub fn new(repository: &Path, toolchain: &Toolchain) -> Self {
        Self {
            repository: repository.to_owned(),
            goroot: toolchain.goroot.clone(),
            modcache: toolchain.modcache.clone(),
        }
    }

    /// `path` without the part that differs from machine to machine.
    pub fn name(&self, path: &Path) -> String {
        for (root, prefix) in
            [(&self.repository, ""), (&self.goroot, "GOROOT/"), (&self.modcache, "GOMODCACHE/")]
        {
            if let Ok(rest) = path.strip_prefix(root) {
                return format!("{prefix}{}", rest.to_string_lossy());
            }
        }
        path.to_string_lossy().into_owned()
    }
}

/// The files that `packages` are compiled from: of the repository by name, of Go, of the module cache and of
/// `vendor` by folder. Holds names and bytes of *every* file in each package's folder, what an embed
/// pattern can reach, and the presence of a `go.mod` that would cut a folder off.
pub fn of_packages(packages: &[&Package], roots: &Roots, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut preimage = Preimage::default();
    for package in packages {
        if !package.dir.as_os_str().is_empty() {
            // Services share most of their packages.
            let known = hashes.packages.get(&package.dir).into_iter().flatten();
            let known = known.clone().find(|(patterns, _)| *patterns == package.embed_patterns);
            let one = match known {
                Some((_, one)) => Rc::clone(one),
                None => {
                    let one = Rc::new(of_package(package, roots, hashes)?);
                    let kept = (package.embed_patterns.clone(), Rc::clone(&one));
                    hashes.packages.entry(package.dir.clone()).or_default().push(kept);
                    one
                }
            };
            preimage.merge(&one);
        }
        // `unsafe` and `C` have no files.
    }
    Ok(preimage)
}

fn of_package(package: &Package, roots: &Roots, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut preimage = Preimage::default();
    let folder = hashes.folder(&package.dir)?;
    let name = roots.name(&package.dir);
    let inside = package.dir.starts_with(&roots.repository) && !package.dir.starts_with(&roots.modcache);
    if inside && !is_vendored(&name) {
        for (file, value) in folder.iter() {
            let file = if name.is_empty() { file.clone() } else { format!("{name}/{file}") };
            preimage.add(file, value);
        }
        add_boundaries(&mut preimage, package, roots, hashes)?;
    } else {
        let mut hash = Hasher::new();
        for (file, value) in folder.iter() {
            hash.update(format!("{file}\0{value}\0"));
        }
        preimage.add(name, hash.finish().to_string());
    }
    if !package.standard {
        add_embeds(&mut preimage, package, roots, hashes)?;
    }
    Ok(preimage)
}

/// Whether a package's folder lies in a `vendor` folder. Where modules begin is no question there: Go asks
/// `vendor/modules.txt`, which is an input of the module itself.
fn is_vendored(name: &str) -> bool {
    name.starts_with("vendor/") || name.contains("/vendor/")
}

/// The modules' own files, and every place between a package and its module where a `go.mod` may appear.
fn add_boundaries(
    preimage: &mut Preimage,
    package: &Package,
    roots: &Roots,
    hashes: &mut Hashes,
) -> anyhow::Result<()> {
    for folder in package.dir.ancestors().take_while(|folder| folder.starts_with(&roots.repository)) {
        let file = folder.join("go.mod");
        let value = hashes.file(&file)?;
        if value != "absent" {
            preimage.add(roots.name(&file), value);
            for sibling in ["go.sum", "vendor/modules.txt"] {
                let file = folder.join(sibling);
                preimage.add(roots.name(&file), hashes.file(&file)?);
            }
        }
    }
    Ok(())
}

/// Whatever a package's embed patterns match or could come to match: the whole tree below the part of
/// each pattern that has no wildcard.
fn add_embeds(
    preimage: &mut Preimage,
    package: &Package,
    roots: &Roots,
    hashes: &mut Hashes,
) -> anyhow::Result<()> {
    for pattern in &package.embed_patterns {
        let pattern = Path::new(pattern.strip_prefix("all:").unwrap_or(pattern));
        let fixed: PathBuf = pattern.iter().take_while(|part| !has_wildcard(part)).collect();
        let start = package.dir.join(&fixed);
        let wild = pattern.iter().nth(fixed.iter().count());
        if !start.is_dir() {
            preimage.add(roots.name(&start), hashes.file(&start)?);
            continue;
        }
        let Some(wild) = wild else {
            preimage.add(format!("{}/", roots.name(&start)), hashes.tree(&start)?);
            continue;
        };
        for (file, value) in hashes.folder(&start)?.iter() {
            preimage.add(format!("{}/{file}", roots.name(&start)), value);
        }
        for folder in hashes.folders_in(&start)? {
            if folder.file_name().is_some_and(|name| could_match(wild, name)) {
                preimage.add(format!("{}/", roots.name(&folder)), hashes.tree(&folder)?);
            }
        }
    }
    Ok(())
}

/// Whether `name` may match a pattern's part: by what stands before its first wildcard and after its
/// last. More than the pattern matches, never less.
pub(crate) fn could_match(part: &OsStr, name: &OsStr) -> bool {
    let (part, name) = (part.to_string_lossy(), name.to_string_lossy());
    let before = part.split(['*', '?', '[', '\\']).next().unwrap_or_default();
    let after = part.rsplit(['*', '?', ']', '\\']).next().unwrap_or_default();
    name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
}

fn has_wildcard(part: &OsStr) -> bool {
    part.to_string_lossy().contains(['*', '?', '['])
}

/// What makes a toolchain itself, beside the packages: its programs, headers and defaults.
pub fn of_toolchain(toolchain: &Toolchain, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut preimage = Preimage::default();
    preimage.add("Go", &toolchain.version);
    preimage.add("GOEXPERIMENT", &toolchain.experiment);
    let root = &toolchain.goroot;
    let mut hash = Hasher::new();
    for file in ["VERSION", "go.env", "bin/go", "bin/go.exe"] {
        hash.update(hashes.file(&root.join(file))?);
    }
    for tree in ["pkg/tool", "pkg/include"] {
        let folder = root.join(tree);
        if folder.is_dir() {
            hash.update(hashes.tree(&folder)?);
        }
    }
    preimage.add("GOROOT", hash.finish().to_string());
    Ok(preimage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_part_lets_through_at_least_what_it_matches() {
        for (part, name) in [("*", "x"), ("t*s", "templates"), ("a[0-9]b", "a1b"), ("?.html", "é.html")] {
            assert!(could_match(OsStr::new(part), OsStr::new(name)), "{part} {name}");
        }
        assert!(!could_match(OsStr::new("*.html"), OsStr::new("dist")));
    }
}
