//! A temporary layout with one manifest and nothing else, because a scanner that is given a whole layout
//! takes an index's first child. Every blob is hashed on its way in: what is scanned is what is pushed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::buildinfo::{self, Modules};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::oci::types::Digest;
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

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    digest: Digest,
}

/// Bytes of a manifest; images have a few kB.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// Bytes of an executable that is looked into.
const BINARY_LIMIT: u64 = 2 << 30;

/// Makes the folders, and the layout with the blobs of one manifest.
///
/// # Errors
/// [`Exit::Machine`] for a blob that is missing or is not what its digest says, and for an executable
/// that is not in the image or holds no build information.
pub fn isolate(
    workspace: &Workspace,
    manifest: &ManifestOutput,
    executable: Option<&str>,
) -> anyhow::Result<Isolated> {
    const MAKE: &str = "could not make the scan's temporary folder";
    // Beside the layouts, so that blobs can be hard links.
    let parent = &workspace.dist;
    std::fs::create_dir_all(parent).fault(Exit::Machine, MAKE)?;
    let folder = tempfile::Builder::new().prefix(".scan-").tempdir_in(parent).fault(Exit::Machine, MAKE)?;
    let path = |name: &str| folder.path().join(name);
    let (layout, cache, home, empty) = (path("layout"), path("cache"), path("home"), path("empty"));
    let target = layout.join("blobs").join("sha256");
    for made in [&target, &cache, &home, &empty] {
        std::fs::create_dir_all(made).fault(Exit::Machine, MAKE)?;
    }
    let source = manifest.layout.join("blobs").join("sha256");
    take(&source, &target, &manifest.digest)?;
    let file = target.join(manifest.digest.hex());
    let size = file.metadata().fault(Exit::Machine, MAKE)?.len();
    if size > MANIFEST_LIMIT {
        return Err(Fault::new(Exit::Machine, format!("`{}` is no manifest", manifest.digest)).into());
    }
    let bytes = std::fs::read(&file).fault(Exit::Machine, MAKE)?;
    let parsed: Manifest = serde_json::from_slice(&bytes)
        .fault(Exit::Machine, format!("`{}` is no image manifest", manifest.digest))?;
    take(&source, &target, &parsed.config.digest)?;
    for layer in &parsed.layers {
        take(&source, &target, &layer.digest)?;
    }
    let media = parsed.media_type.as_deref().unwrap_or("application/vnd.oci.image.manifest.v1+json");
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": media, "digest": manifest.digest, "size": size }],
    });
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .fault(Exit::Machine, MAKE)?;
    std::fs::write(layout.join("index.json"), index.to_string()).fault(Exit::Machine, MAKE)?;
    let layers: Vec<PathBuf> = parsed.layers.iter().map(|layer| target.join(layer.digest.hex())).collect();
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

/// Hard-links (or copies) a blob whose bytes are what its digest says.
fn take(source: &Path, target: &Path, digest: &Digest) -> anyhow::Result<()> {
    let (from, to) = (source.join(digest.hex()), target.join(digest.hex()));
    if to.exists() {
        return Ok(());
    }
    let shown = || format!("no verdict: `{digest}` is not in the layout");
    if std::fs::hard_link(&from, &to).is_err() {
        std::fs::copy(&from, &to).fault(Exit::Machine, shown())?;
    }
    let found = hash(&to).fault(Exit::Machine, shown())?;
    if found != *digest {
        return Err(Fault::new(
            Exit::Machine,
            format!("no verdict: the layout's blob `{digest}` is damaged: its bytes are `{found}`"),
        )
        .hint("remove the layout and run `cargo xtask image`")
        .into());
    }
    Ok(())
}

/// The digest of a file's bytes.
pub(super) fn hash(path: &Path) -> anyhow::Result<Digest> {
    let mut file = File::open(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha256(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
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

    #[test]
    fn a_blob_that_is_not_its_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir_all(&source).unwrap();
        std::fs::create_dir_all(&target).unwrap();
        let digest = Digest::of(b"layer");
        let missing = take(&source, &target, &digest).unwrap_err();
        assert!(missing.to_string().contains("is not in the layout"), "{missing}");
        std::fs::write(source.join(digest.hex()), b"other").unwrap();
        let damaged = take(&source, &target, &digest).unwrap_err();
        assert!(damaged.to_string().contains("is damaged"), "{damaged}");
        assert_eq!(crate::fault::exit_of(&damaged), Exit::Machine);
    }
}
