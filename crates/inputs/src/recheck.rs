//! Looks at inputs again when the work over them has ended: what was edited meanwhile must not be kept
//! under the key of what was there before.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_base::digest::Hasher;

use super::{Folder, Hashes, Preimage};

impl Preimage {
    /// The first file or folder of the repository that is no longer as it was, by its name. A new file in a
    /// package's folder counts. Go's own folders and the module cache are not looked at.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn changed(&self, repository: &Path, hashes: &mut Hashes) -> anyhow::Result<Option<String>> {
        let mut folders: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        let inputs = self.0.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in inputs.filter(|(name, value)| is_path(name, value)) {
            let path = repository.join(name);
            if path.is_dir() && !path.is_symlink() {
                if value != flat(&path, hashes)? && value != hashes.tree(&path)? {
                    return Ok(Some(name.trim_end_matches('/').to_owned()));
                }
                continue;
            }
            let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            folders.entry(folder).or_default().insert(file, value);
        }
        for (folder, expected) in folders {
            let path = repository.join(folder);
            let found = if path.is_dir() { hashes.folder(&path)? } else { Folder::default() };
            if let Some(file) = difference(&expected, &found) {
                return Ok(Some(if folder.is_empty() { file } else { format!("{folder}/{file}") }));
            }
        }
        Ok(None)
    }
}

/// What a user wrote, whatever it looks like: a build tag may be called `special`.
const SETTINGS: [&str; 4] = ["build flags", "build tags", "linker flags", "main package"];

/// Whether a line is of something in the repository, as a package's files and a module's tree are named.
fn is_path(name: &str, value: &str) -> bool {
    let file = value == "absent" || value == "special" || value.starts_with("link to ");
    let elsewhere = name == "GOROOT" || name.starts_with("GOROOT/") || name.starts_with("GOMODCACHE/");
    let setting = name.starts_with("variable ") || SETTINGS.contains(&name);
    (file || value.starts_with("sha256:")) && !elsewhere && !setting && !Path::new(name).is_absolute()
}

/// A vendored package, and one of a module cache that lies in the repository: what is directly in its folder.
fn flat(path: &Path, hashes: &mut Hashes) -> anyhow::Result<String> {
    let mut hash = Hasher::new();
    for (file, value) in hashes.folder(path)?.iter() {
        hash.update(format!("{file}\0{value}\0"));
    }
    Ok(hash.finish().to_string())
}

fn difference(expected: &BTreeMap<&str, &str>, found: &[(String, String)]) -> Option<String> {
    let here: BTreeMap<&str, &str> =
        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let other = |(name, value): &(&&str, &&str)| here.get(**name).unwrap_or(&"absent") != *value;
    let is_package = expected.keys().any(|name| name.ends_with(".go"));
    let new = || here.keys().find(|name| is_package && !expected.contains_key(**name));
    expected.iter().find(other).map(|(name, _)| *name).or_else(|| new().copied()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatIndex;

    #[test]
    fn edits_new_files_and_gone_ones_are_seen_and_what_is_elsewhere_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let fresh = || Hashes::new(StatIndex::load(&root.join("none")), &root.join("dist"));
        std::fs::create_dir_all(root.join("pkg/data/inner")).unwrap();
        for (file, text) in [("go.mod", "module x"), ("pkg/a.go", "package a"), ("pkg/data/inner/x", "1")] {
            std::fs::write(root.join(file), text).unwrap();
        }
        let mut inputs = Preimage::default();
        for file in ["go.mod", "go.sum", "vendor/modules.txt", "pkg/a.go"] {
            inputs.add(file, fresh().file(&root.join(file)).unwrap());
        }
        inputs.add("pkg/data/", fresh().tree(&root.join("pkg/data")).unwrap());
        inputs.add("GOROOT", "sha256:0");
        inputs.add("GOROOT/src/fmt", "sha256:0");
        inputs.add("GOMODCACHE/x@v1.0.0", "sha256:0");
        inputs.add("main package", "example.com/x");
        inputs.add("build tags", "special");
        let changed = || inputs.changed(root, &mut fresh()).unwrap();
        assert_eq!(changed(), None);
        // The module's own folder is no package: what is new there is no input.
        std::fs::write(root.join("README.md"), "").unwrap();
        assert_eq!(changed(), None);
        std::fs::write(root.join("pkg/a.go"), "package b").unwrap();
        assert_eq!(changed().as_deref(), Some("pkg/a.go"));
        std::fs::write(root.join("pkg/a.go"), "package a").unwrap();
        std::fs::write(root.join("pkg/new.go"), "package a").unwrap();
        assert_eq!(changed().as_deref(), Some("pkg/new.go"));
        std::fs::remove_file(root.join("pkg/new.go")).unwrap();
        std::fs::write(root.join("go.sum"), "").unwrap();
        assert_eq!(changed().as_deref(), Some("go.sum"));
        std::fs::remove_file(root.join("go.sum")).unwrap();
        std::fs::write(root.join("pkg/data/inner/y"), "").unwrap();
        assert_eq!(changed().as_deref(), Some("pkg/data"));
    }
}
