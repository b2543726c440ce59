//! A temporary layout with one manifest and nothing else, because a scanner that is given a whole layout
//! takes an index's first child. Every blob is hashed on its way in: what is scanned is what is pushed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::buildinfo::{self, Modules};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, media_type};
use crate::stage::ManifestOutput;
use crate::workspace::Workspace;

/// The folders of one scan; gone when dropped.
#[derive(Debug)]
pub struct Isolated {
    _folder: tempfile::TempDir,
    pub layout: PathBuf,
    pub cache: PathBuf,
    pub home: PathBuf,
    /// The scanner's working directory: it would obey files that lie in it.
    pub empty: PathBuf,
    /// What the executable says it was built from, where its path is known.
    pub modules: Option<Modules>,
}

/// Bytes of an executable that is looked into.
const BINARY_LIMIT: u64 = 2 << 30;

/// Makes the folders, and the layout with the blobs of one manifest.
///
/// # Errors
/// [`Exit::Machine`] for a blob that is missing or is not what its digest says, and for an executable
/// that is not in the image or holds no build information; an interruption.
pub fn isolate(
    workspace: &Workspace,
    manifest: &ManifestOutput,
    executable: Option<&str>,
    cancel: &Cancel,
) -> anyhow::Result<Isolated> {
    const MAKE: &str = "could not make the scan's temporary folder";
    // Beside the layouts, so that blobs can be hard links.
    let parent = &workspace.dist;
    std::fs::create_dir_all(parent).fault(Exit::Machine, MAKE)?;
    let folder = tempfile::Builder::new().prefix(".scan-").tempdir_in(parent).fault(Exit::Machine, MAKE)?;
    let path = |name: &str| folder.path().join(name);
    let (layout, cache, home, empty) = (path("layout"), path("cache"), path("home"), path("empty"));
    for made in [&cache, &home, &empty] {
        std::fs::create_dir_all(made).fault(Exit::Machine, MAKE)?;
    }
    let source = Layout::open(&manifest.layout)?;
    let bytes = source.read(&manifest.digest)?;
    let (parsed, _) = source.read_image(&manifest.digest)?;
    let media = parsed.media_type.as_deref().unwrap_or(media_type::MANIFEST);
    let descriptor = Descriptor::of(media, &bytes);
    let single = source.single(&descriptor, &layout, cancel)?;
    let layers: Vec<PathBuf> = parsed.layers.iter().map(|layer| single.blob_path(&layer.digest)).collect();
    let modules = executable.map(|executable| modules_of(&layers, executable)).transpose()?;
    Ok(Isolated { _folder: folder, layout, cache, home, empty, modules })
}

impl Isolated {
    /// Puts the database where the scanner looks for it, without its being able to hold anything else
    /// that a scan would obey.
    pub fn link_database(&self, folder: &Path) -> anyhow::Result<()> {
        let target = self.cache.join("db");
        std::fs::create_dir_all(&target).fault(Exit::Machine, "could not make the scan's cache")?;
        for name in ["trivy.db", "metadata.json"] {
            link(&folder.join(name), &target.join(name))?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    let from = std::path::absolute(from)?;
    std::os::unix::fs::symlink(from, to).fault(Exit::Machine, "could not link the database")
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).fault(Exit::Machine, "could not copy the database")?;
    }
    Ok(())
}

/// The modules of the executable, from the topmost layer that holds it.
fn modules_of(layers: &[PathBuf], executable: &str) -> anyhow::Result<Modules> {
    let wanted = normal(executable);
    for layer in layers.iter().rev() {
        let found = find_in(layer, &wanted)
            .fault(Exit::Machine, format!("no verdict: layer `{}` can't be read", layer.display()))?;
        let Some(bytes) = found else { continue };
        return buildinfo::modules(&bytes, executable).ok_or_else(|| {
            Fault::new(Exit::Machine, format!("no verdict: `{executable}` holds no Go build information"))
                .hint("a scanner can't tell what is in it: don't pack it, and keep `-buildinfo`")
                .into()
        });
    }
    Err(Fault::new(Exit::Machine, format!("no verdict: `{executable}` is in no layer of the image")).into())
}

fn find_in(layer: &Path, wanted: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(decompressed(layer)?);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file()
            && normal(&String::from_utf8_lossy(&entry.path_bytes())) == wanted
        {
            let mut bytes = Vec::new();
            entry.take(BINARY_LIMIT).read_to_end(&mut bytes)?;
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// A layer's tar stream, by what its first bytes say.
fn decompressed(layer: &Path) -> anyhow::Result<Box<dyn Read>> {
    let mut magic = [0; 4];
    let read = File::open(layer)?.read(&mut magic)?;
    let file = File::open(layer)?;
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

/// A path in an image as its layers write it: no leading slash or drive, forward slashes, and without the
/// `Files/` that Windows' layers begin with.
fn normal(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = match path.split_once(':') {
        Some((drive, rest)) if drive.len() == 1 => rest,
        _ => &path,
    };
    let path = path.trim_start_matches("./").trim_start_matches('/');
    path.strip_prefix("Files/").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_name() {
        for path in ["/app/x", "app/x", "./app/x", "C:\\app\\x", "Files/app/x", "C:/app/x"] {
            assert_eq!(normal(path), "app/x", "{path}");
        }
    }
}
