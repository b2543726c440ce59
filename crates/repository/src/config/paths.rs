//! What the paths in the files are on the disk: facts, gathered for the checks, which are pure.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, values};
use crate::diagnostic::Source;

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
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) paths: BTreeMap<PathBuf, Fact>,
    /// The texts of the Dockerfiles that are there, or why they can't be read.
    pub(crate) dockerfiles: BTreeMap<PathBuf, Result<Arc<Source>, String>>,
}

/// A Dockerfile's bytes at most.
const DOCKERFILE: u64 = 1 << 20;

/// Looks at each path that has to be in the repository; `root` is the repository's.
pub(crate) fn gather(root: &Path, config: &Config) -> Facts {
    let mut facts = Facts::default();
    for service in config.services.values() {
        let sources = service.files.values().chain(&service.dockerfile).chain(&service.context);
        for path in sources.chain(service.package.value()) {
            if values::inside(&path.value).is_ok() {
                let full = config.root.join(&path.value);
                facts.paths.entry(path.value.clone()).or_insert_with(|| look(root, &full));
            }
        }
        if let Some(file) = &service.dockerfile
            && facts.paths.get(&file.value) == Some(&Fact::File)
        {
            let full = config.root.join(&file.value);
            let shown = full.strip_prefix(root).unwrap_or(&full).to_owned();
            facts.dockerfiles.entry(file.value.clone()).or_insert_with(|| text(&full, shown));
        }
    }
    facts
}

fn text(path: &Path, shown: PathBuf) -> Result<Arc<Source>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(DOCKERFILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > DOCKERFILE {
        return Err(format!("it is longer than {DOCKERFILE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Arc::new(Source { path: shown, text }))
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
