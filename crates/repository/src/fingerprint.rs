//! Inputs of work, named and hashed: equal fingerprints mean equal inputs, and two that differ say
//! which input did.
//!
//! Must never take an unchanged name, size or time for an unchanged file: [`StatIndex`] says what it
//! asks for before it believes that.

mod difference;
mod recheck;
mod stat;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::digest::Hasher;
use anyhow::Context as _;

use crate::digest::Digest;
use crate::facts::go::{Package, Toolchain};

pub use difference::InputChange;
pub use stat::StatIndex;

/// Every input of one piece of work: its name, as a person would say it, and its value.
/// Independent of where the repository, Go and its caches lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preimage(BTreeMap<Arc<str>, Arc<str>>);

impl Preimage {
    pub fn add(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        self.0.insert(name.as_ref().into(), value.as_ref().into());
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// The key under which work over these inputs is kept.
    pub fn key(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// One input a line, JSON strings, so that a name can hold anything.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            push_quoted(&mut text, name);
            text.push(' ');
            push_quoted(&mut text, value);
            text.push('\n');
        }
        text
    }

    /// Reads what [`Preimage::to_text`] wrote; `None` where it did not.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut inputs = BTreeMap::new();
        for line in text.lines() {
            let mut values = serde_json::Deserializer::from_str(line).into_iter::<String>();
            inputs.insert(values.next()?.ok()?.into(), values.next()?.ok()?.into());
        }
        Some(Self(inputs))
    }

    /// What differs from `before`, in a few words; `None` where nothing does.
    pub fn difference(&self, before: &Self) -> Option<String> {
        let changed = self.0.iter().filter(|(name, value)| before.0.get(*name) != Some(value));
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        let mut names: Vec<String> = changed
            .map(|(name, _)| match before.0.contains_key(name) {
                true => format!("{name} changed"),
                false => format!("{name} is new"),
            })
            .chain(gone.map(|name| format!("{name} is gone")))
            .collect();
        // A file says more than a setting that follows from it, and both more than a toolchain's folder.
        names.sort_by_key(|name| (name.starts_with("GO"), !name.contains('/'), name.clone()));
        match names.len() {
            0 => None,
            1 => names.pop(),
            count => Some(format!("{} and {} more", names.swap_remove(0), count - 1)),
        }
    }
}

/// As a JSON string. Nearly every name and value stands for itself.
fn push_quoted(text: &mut String, word: &str) {
    if word.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        text.push_str(&serde_json::Value::from(word).to_string());
    } else {
        text.push('"');
        text.push_str(word);
        text.push('"');
    }
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

/// The names and contents directly in a folder.
type Folder = Rc<Vec<(String, String)>>;

/// What one package is made of, with its embed patterns, which can differ from platform to platform.
type PackageInputs = (Vec<String>, Rc<Preimage>);

/// Hashes of files and folders, each made once a run.
#[derive(Debug)]
pub struct Hashes {
    index: StatIndex,
    /// The folder of the engine's own results, which are no input of anything.
    results: PathBuf,
    folders: HashMap<PathBuf, Folder>,
    packages: HashMap<PathBuf, Vec<PackageInputs>>,
}

impl Hashes {
    /// `results`: [`crate::workspace::Workspace::dist`].
    pub fn new(index: StatIndex, results: &Path) -> Self {
        Self { index, results: results.to_owned(), folders: HashMap::new(), packages: HashMap::new() }
    }

    /// With what earlier runs in this work tree have hashed.
    pub fn of(workspace: &crate::workspace::Workspace) -> Self {
        Self::new(StatIndex::load(&workspace.state.join("stat-v1")), &workspace.dist)
    }

    /// Keeps what was hashed for the next run. A failure costs only time then.
    pub fn save(&mut self) -> anyhow::Result<()> {
        self.index.save()
    }

    /// As [`StatIndex::changed_since`].
    pub fn changed_since(&self, time: std::time::Duration) -> bool {
        self.index.changed_since(time)
    }

    /// The content of a file; `absent` where there is none.
    pub fn file(&mut self, path: &Path) -> anyhow::Result<String> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => self.entry(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("absent".to_owned()),
            Err(error) => Err(error).with_context(|| format!("could not read `{}`", path.display())),
        }
    }

    /// Everything directly in a folder but its folders: names with contents, links with their targets.
    pub fn folder(&mut self, path: &Path) -> anyhow::Result<Folder> {
        if let Some(known) = self.folders.get(path) {
            return Ok(Rc::clone(known));
        }
        let mut entries = Vec::new();
        let shown = || format!("could not read the folder `{}`", path.display());
        for entry in std::fs::read_dir(path).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            if !entry.file_type().with_context(shown)?.is_dir() {
                entries.push((name_of(&entry.file_name()), self.entry(&entry.path())?));
            }
        }
        entries.sort();
        let folder = Rc::new(entries);
        self.folders.insert(path.to_owned(), Rc::clone(&folder));
        Ok(folder)
    }

    /// A folder with all below it, but for Git's own folders and the engine's results.
    pub fn tree(&mut self, path: &Path) -> anyhow::Result<String> {
        let mut hash = Hasher::new();
        let mut waiting = vec![path.to_owned()];
        while let Some(folder) = waiting.pop() {
            let relative = folder.strip_prefix(path).unwrap_or(&folder);
            hash.update(format!("{}\0", relative.to_string_lossy()));
            for (name, value) in self.folder(&folder)?.iter() {
                hash.update(format!("{name}\0{value}\0"));
            }
            waiting.extend(self.folders_in(&folder)?.into_iter().rev());
        }
        Ok(hash.finish().to_string())
    }

    /// The folders directly in a folder, sorted, but for Git's own and the engine's results.
    fn folders_in(&self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let shown = || format!("could not read the folder `{}`", path.display());
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            let below = entry.path();
            if entry.file_type().with_context(shown)?.is_dir()
                && entry.file_name() != ".git"
                && below != self.results
            {
                folders.push(below);
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// A file, link or special file that exists.
    fn entry(&mut self, path: &Path) -> anyhow::Result<String> {
        let shown = || format!("could not read `{}`", path.display());
        let metadata = std::fs::symlink_metadata(path).with_context(shown)?;
        if metadata.is_symlink() {
            let target = std::fs::read_link(path).with_context(shown)?;
            let content = match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => self.index.digest(path, &metadata)?.to_string(),
                Ok(_) => "not a file".to_owned(),
                Err(_) => "dangling".to_owned(),
            };
            return Ok(format!("link to {}: {content}", target.to_string_lossy()));
        }
        if !metadata.is_file() {
            return Ok("special".to_owned());
        }
        Ok(self.index.digest(path, &metadata)?.to_string())
    }
}

/// A file's name; one that is not UTF-8 is told apart by its bytes.
fn name_of(name: &OsStr) -> String {
    match name.to_str() {
        Some(name) => name.to_owned(),
        None => format!("{name:?}"),
    }
}

/// The files that `packages` are compiled from: of the repository by name, of Go and of the module
/// cache by folder. Holds names and bytes of *every* file in each package's folder, what an embed
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
    if package.dir.starts_with(&roots.repository) && !package.dir.starts_with(&roots.modcache) {
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

    fn preimage(inputs: &[(&str, &str)]) -> Preimage {
        Preimage(inputs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect())
    }

    #[test]
    fn a_difference_is_named() {
        let before = preimage(&[("a.go", "1"), ("b.go", "1")]);
        assert_eq!(before.difference(&before), None);
        assert_eq!(preimage(&[("a.go", "2"), ("b.go", "1")]).difference(&before).unwrap(), "a.go changed");
        assert_eq!(preimage(&[("a.go", "1")]).difference(&before).unwrap(), "b.go is gone");
        let more = preimage(&[("a.go", "1"), ("b.go", "2"), ("c.go", "1")]);
        assert_eq!(more.difference(&before).unwrap(), "b.go changed and 1 more");
    }

    #[test]
    fn a_wildcard_part_lets_through_at_least_what_it_matches() {
        for (part, name) in [("*", "x"), ("t*s", "templates"), ("a[0-9]b", "a1b"), ("?.html", "é.html")] {
            assert!(could_match(OsStr::new(part), OsStr::new(name)), "{part} {name}");
        }
        assert!(!could_match(OsStr::new("*.html"), OsStr::new("dist")));
    }

    #[test]
    fn text_holds_any_name_and_comes_back() {
        let given = preimage(&[("new\nline \"x\" .go", "1"), ("b", "link to ../a: x")]);
        assert_eq!(Preimage::from_text(&given.to_text()).unwrap(), given);
        assert_eq!(Preimage::from_text("\"torn"), None);
    }

    #[test]
    fn a_folder_sees_new_gone_and_edited_files_and_link_targets() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let look = || {
            Hashes::new(StatIndex::load(&at(".index")), &at("dist"))
                .folder(folder.path())
                .unwrap()
                .as_ref()
                .clone()
        };
        std::fs::write(at("a.go"), "package a").unwrap();
        let first = look();
        std::fs::write(at("b.go"), "package a").unwrap();
        let second = look();
        assert_ne!(first, second);
        std::fs::write(at("b.go"), "package b").unwrap();
        let third = look();
        assert_ne!(second, third);
        std::fs::remove_file(at("b.go")).unwrap();
        assert_eq!(look(), first);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a.go", at("c.go")).unwrap();
            let linked = look();
            std::fs::write(at("a.go"), "package c").unwrap();
            assert_ne!(look()[1], linked[1], "the link's target changed");
        }
    }
}
