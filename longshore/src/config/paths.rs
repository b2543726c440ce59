//! What the paths in the files are on the disk: facts, gathered for the checks, which are pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Config, values};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Missing,
    /// A symlink on the way leads out of the repository, to this.
    Outside(PathBuf),
    Folder,
    File,
    /// A socket, a FIFO, a device, or nothing that could be read.
    Other,
}

/// By path as it is written.
pub(crate) type Facts = BTreeMap<PathBuf, Fact>;

/// Looks at each path that has to be in the repository; `root` is the repository's.
pub(crate) fn gather(root: &Path, config: &Config) -> Facts {
    let mut facts = Facts::new();
    for service in config.services.values() {
        let sources = service.files.values();
        for path in std::iter::once(&service.package).chain(sources) {
            if values::inside(&path.value).is_ok() {
                facts.entry(path.value.clone()).or_insert_with(|| look(root, &config.root.join(&path.value)));
            }
        }
    }
    facts
}

fn look(root: &Path, path: &Path) -> Fact {
    let (Ok(root), real) = (root.canonicalize(), path.canonicalize()) else { return Fact::Other };
    match real {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Fact::Missing,
        Err(_) => Fact::Other,
        Ok(real) if !real.starts_with(&root) => Fact::Outside(real),
        Ok(real) => match std::fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => Fact::Folder,
            Ok(metadata) if metadata.is_file() => Fact::File,
            _ => Fact::Other,
        },
    }
}
