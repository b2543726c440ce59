//! Inputs of work, named and hashed: equal fingerprints mean equal inputs, and two that differ say
//! which input did.
//!
//! Must never take an unchanged name, size or time for an unchanged file: [`StatIndex`] says what it
//! asks for before it believes that. Thousands of files are looked at before anything else can start, so this is
//! a crate of its own, which is optimised.

mod difference;
pub mod path;
mod recheck;
mod stat;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;

use longshore_base::digest::{Digest, Hasher};

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

/// The names and contents directly in a folder.
pub type Folder = Rc<Vec<(String, String)>>;

/// What one package is made of, with its embed patterns, which can differ from platform to platform.
pub type PackageInputs = (Vec<String>, Rc<Preimage>);

/// Hashes of files and folders, each made once a run.
#[derive(Debug)]
pub struct Hashes {
    index: StatIndex,
    /// The folder of the engine's own results, which are no input of anything.
    results: PathBuf,
    folders: HashMap<PathBuf, Folder>,
    trees: HashMap<PathBuf, String>,
    /// What is known of packages, by their folders.
    pub packages: HashMap<PathBuf, Vec<PackageInputs>>,
}

impl Hashes {
    /// `results`: the folder of the engine's own results.
    pub fn new(index: StatIndex, results: &Path) -> Self {
        Self {
            index,
            results: results.to_owned(),
            folders: HashMap::new(),
            trees: HashMap::new(),
            packages: HashMap::new(),
        }
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
            Ok(metadata) => self.entry(path, &metadata),
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
                let metadata = entry.metadata().with_context(shown)?;
                entries.push((name_of(&entry.file_name()), self.entry(&entry.path(), &metadata)?));
            }
        }
        entries.sort();
        let folder = Rc::new(entries);
        self.folders.insert(path.to_owned(), Rc::clone(&folder));
        Ok(folder)
    }

    /// A folder with all below it, but for Git's own folders and the engine's results.
    pub fn tree(&mut self, path: &Path) -> anyhow::Result<String> {
        if let Some(known) = self.trees.get(path) {
            return Ok(known.clone());
        }
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
        let digest = hash.finish().to_string();
        self.trees.insert(path.to_owned(), digest.clone());
        Ok(digest)
    }

    /// The folders directly in a folder, sorted, but for Git's own and the engine's results.
    pub fn folders_in(&self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
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

    /// A file, link or special file that exists, with the metadata of the link itself.
    fn entry(&mut self, path: &Path, metadata: &std::fs::Metadata) -> anyhow::Result<String> {
        let shown = || format!("could not read `{}`", path.display());
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
        Ok(self.index.digest(path, metadata)?.to_string())
    }
}

/// A file's name; one that is not UTF-8 is told apart by its bytes.
fn name_of(name: &OsStr) -> String {
    match name.to_str() {
        Some(name) => name.to_owned(),
        None => format!("{name:?}"),
    }
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
