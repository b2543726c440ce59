//! OCI image layouts: a folder with `oci-layout`, `index.json` and blobs by digest (image-spec,
//! image-layout.md).
//!
//! A blob's path is made of a parsed [`Digest`] only, so nothing that a foreign layout says can lead
//! out of the folder. Blobs are written aside and renamed, and hashed again whenever they are read
//! or copied. `index.json` changes under a lock, by a rename.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::digest::Hasher;
use serde::Deserialize;

use super::image::{self, Document};
use super::layer::{self, Entries, Layer};
use super::reference::Tag;
use super::types::{Descriptor, Digest, ImageConfig, Index, Manifest, annotation, media_type};
use crate::cancel::Cancel;
use crate::declared::Compression;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files::{self, Draft};
use crate::inputs::StatIndex;

mod copy;

/// The largest manifest, index or config that is read: registries allow 4 MiB.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;
/// From this size on it is worth remembering which blobs were read.
const LARGE: u64 = 1 << 20;
/// The file that remembers.
const CHECKED: &str = ".checked";
const INDEX_LIMIT: u64 = 64 << 20;

/// One layout. Clones mean the same folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// As much of a document as tells a manifest from an index.
#[derive(Deserialize)]
pub(super) struct Kind {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Kind {
    /// The media type that a manifest or index says of itself, or has by its shape.
    pub(super) fn of(bytes: &[u8]) -> serde_json::Result<String> {
        let kind: Self = serde_json::from_slice(bytes)?;
        let shape = if kind.manifests.is_some() { media_type::INDEX } else { media_type::MANIFEST };
        Ok(kind.media_type.unwrap_or_else(|| shape.to_owned()))
    }
}

impl Layout {
    /// A layout that is there.
    ///
    /// # Errors
    /// [`Exit::Machine`] where there is none, or one of a version that we don't know.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let hint = "an OCI layout has the files `oci-layout` and `index.json`";
        let shown = root.display();
        let Some(marker) = files::read_optional(&root.join("oci-layout"))? else {
            return Err(Fault::new(Exit::Machine, format!("`{shown}` is no OCI layout")).hint(hint).into());
        };
        let marker: Marker = serde_json::from_slice(&marker).fault_hint(
            Exit::Machine,
            format!("`{shown}` is no OCI layout"),
            hint,
        )?;
        if marker.version != "1.0.0" {
            let message = format!("`{shown}` is an OCI layout of version `{}`", marker.version);
            return Err(Fault::new(Exit::Machine, message).hint("only version 1.0.0 is known").into());
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The layout in `root`, made where there is none yet.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn create(root: &Path) -> anyhow::Result<Self> {
        let layout = Self { root: root.to_owned() };
        if root.join("oci-layout").exists() && root.join("index.json").exists() {
            return Self::open(root);
        }
        std::fs::create_dir_all(layout.blobs())
            .fault(Exit::Machine, format!("could not make `{}`", root.display()))?;
        let _lock = layout.lock()?;
        if !root.join("index.json").exists() {
            files::write(
                &root.join("index.json"),
                &image::document(media_type::INDEX, &Index::default())?.bytes,
            )?;
        }
        files::write(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// Where a blob lies, or would.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether a blob is there with its full length; `size` in bytes. Its bytes are checked by who
    /// reads it.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Keeps `bytes` as a blob.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn put(&self, bytes: &[u8]) -> anyhow::Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.holds(&digest, bytes.len() as u64) {
            files::write(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Keeps a document and gives its descriptor.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn put_document(&self, document: &Document) -> anyhow::Result<Descriptor> {
        self.put(&document.bytes)?;
        Ok(document.descriptor.clone())
    }

    /// Keeps what `source` gives, which must have this digest and size.
    ///
    /// # Errors
    /// [`Exit::Machine`] where the bytes are others, or the disk says no; an interruption.
    pub fn put_blob(
        &self,
        source: impl Read,
        digest: &Digest,
        size: u64,
        cancel: &Cancel,
    ) -> anyhow::Result<()> {
        if self.holds(digest, size) {
            return Ok(());
        }
        let mut draft = Draft::new(&self.blobs())?;
        copy_verified(source, &mut draft, digest, size, cancel)?;
        draft.keep(&self.blob_path(digest))
    }

    /// Writes a layer straight into the blobs. `mtime`: seconds since 1970.
    ///
    /// # Errors
    /// As [`layer::write`].
    pub fn put_layer(
        &self,
        entries: &Entries,
        compression: Compression,
        mtime: u64,
        cancel: &Cancel,
    ) -> anyhow::Result<Layer> {
        let mut draft = Draft::new(&self.blobs())?;
        let layer = layer::write(entries, compression, mtime, &mut draft, cancel)?;
        draft.keep(&self.blob_path(&layer.descriptor.digest))?;
        Ok(layer)
    }

    /// Compresses a layer's tar straight into the blobs.
    ///
    /// # Errors
    /// As [`layer::compress`].
    pub fn put_tar(
        &self,
        tar: impl Read,
        compression: Compression,
        cancel: &Cancel,
    ) -> anyhow::Result<Layer> {
        let mut draft = Draft::new(&self.blobs())?;
        let layer = layer::compress(tar, compression, &mut draft, cancel)?;
        draft.keep(&self.blob_path(&layer.descriptor.digest))?;
        Ok(layer)
    }

    /// Whether the blob is there and its bytes are right. A bad one is overwritten by the next put.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> bool {
        if size >= LARGE {
            return self.has_blob(digest, size) && self.is_checked(digest);
        }
        self.has_blob(digest, size)
            && File::open(self.blob_path(digest)).is_ok_and(|file| {
                copy_verified(file, &mut std::io::sink(), digest, size, &Cancel::default()).is_ok()
            })
    }

    /// Whether a blob's bytes have its digest: read, unless it was read before and nothing touched it since.
    fn is_checked(&self, digest: &Digest) -> bool {
        let path = self.blob_path(digest);
        let Ok(metadata) = std::fs::metadata(&path) else { return false };
        let mut checked = StatIndex::load(&self.root.join(CHECKED));
        let found = checked.digest(&path, &metadata);
        // A folder that can't be written to is read again each time.
        let _ = checked.save();
        found.is_ok_and(|found| found == *digest)
    }

    /// A draft that can be kept as a blob.
    pub(super) fn draft(&self) -> anyhow::Result<Draft> {
        Draft::new(&self.blobs())
    }

    /// Opens a blob; the reader has to check what it reads, as [`copy_verified`] does.
    ///
    /// # Errors
    /// [`Exit::Machine`] where it is missing or of another size.
    pub fn open_blob(&self, descriptor: &Descriptor) -> anyhow::Result<File> {
        let path = self.blob_path(&descriptor.digest);
        let shown = format!("could not read the blob `{}`", path.display());
        let file = File::open(&path).fault(Exit::Machine, &shown)?;
        let metadata = file.metadata().fault(Exit::Machine, &shown)?;
        if !metadata.is_file() || metadata.len() != descriptor.size {
            let message = format!(
                "the blob `{}` has {} bytes where {} were said",
                path.display(),
                metadata.len(),
                descriptor.size
            );
            return Err(Fault::new(Exit::Machine, message).into());
        }
        Ok(file)
    }

    /// Reads a document (manifest, index, config) by digest, verified; at most [`DOCUMENT_LIMIT`].
    ///
    /// # Errors
    /// [`Exit::Machine`] where it is missing, too long, or its bytes are others.
    pub fn read(&self, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = read_bounded(&path, DOCUMENT_LIMIT)?;
        if Digest::of(&bytes) != *digest {
            let message = format!("the blob `{}` has bytes of another digest", path.display());
            return Err(Fault::new(Exit::Machine, message).hint("remove the file, then run it again").into());
        }
        Ok(bytes)
    }

    /// A manifest or index with its descriptor, verified.
    ///
    /// # Errors
    /// As [`Layout::read`], and where it is neither.
    pub fn document(&self, digest: &Digest) -> anyhow::Result<Document> {
        let bytes = self.read(digest)?;
        let kind = Kind::of(&bytes)
            .fault(Exit::Machine, format!("the blob `{digest}` is no manifest and no index"))?;
        Ok(Document { descriptor: Descriptor::of(&kind, &bytes), bytes })
    }

    /// The descriptor of a manifest or index among the blobs.
    ///
    /// # Errors
    /// As [`Layout::document`].
    pub fn descriptor(&self, digest: &Digest) -> anyhow::Result<Descriptor> {
        Ok(self.document(digest)?.descriptor)
    }

    /// # Errors
    /// As [`Layout::read`], and where it is no JSON of this shape.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> anyhow::Result<T> {
        serde_json::from_slice(&self.read(digest)?)
            .fault(Exit::Machine, format!("the blob `{digest}` is not what its descriptor says"))
    }

    /// One platform's manifest with its config.
    ///
    /// # Errors
    /// As [`Layout::read_json`].
    pub fn read_image(&self, manifest: &Digest) -> anyhow::Result<(Manifest, ImageConfig)> {
        let manifest: Manifest = self.read_json(manifest)?;
        let config = self.read_json(&manifest.config.digest)?;
        Ok((manifest, config))
    }

    /// `index.json`.
    ///
    /// # Errors
    /// [`Exit::Machine`] where it can't be read.
    pub fn index(&self) -> anyhow::Result<Index> {
        let path = self.root.join("index.json");
        serde_json::from_slice(&read_bounded(&path, INDEX_LIMIT)?)
            .fault(Exit::Machine, format!("`{}` is not an image index", path.display()))
    }

    /// What each tag stands for.
    ///
    /// # Errors
    /// As [`Layout::index`].
    pub fn tags(&self) -> anyhow::Result<BTreeMap<Tag, Descriptor>> {
        let named = |descriptor: Descriptor| {
            let tag = descriptor.annotations.get(annotation::REF_NAME)?.parse().ok()?;
            Some((tag, descriptor))
        };
        Ok(self.index()?.manifests.into_iter().filter_map(named).collect())
    }

    /// What a tag stands for.
    ///
    /// # Errors
    /// As [`Layout::index`].
    pub fn resolve(&self, tag: &Tag) -> anyhow::Result<Option<Descriptor>> {
        Ok(self.tags()?.remove(tag))
    }

    /// Lets `tag` stand for a manifest or index that is among the blobs; an older meaning goes.
    ///
    /// # Errors
    /// [`Exit::Machine`] where the blob is missing or the disk says no.
    pub fn tag(&self, tag: &Tag, target: &Descriptor) -> anyhow::Result<()> {
        self.tag_if(tag, target, |_| Ok(()))
    }

    /// As [`Layout::tag`], after `allowed` has said of the present meaning, under the lock, that it
    /// may be replaced.
    ///
    /// # Errors
    /// As [`Layout::tag`], and those of `allowed`.
    pub fn tag_if(
        &self,
        tag: &Tag,
        target: &Descriptor,
        allowed: impl FnOnce(Option<&Descriptor>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.open_blob(target)?;
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let tagged = |descriptor: &Descriptor| {
            descriptor.annotations.get(annotation::REF_NAME).is_some_and(|name| name == tag.as_str())
        };
        allowed(index.manifests.iter().find(|found| tagged(found)))?;
        index.manifests.retain(|found| !tagged(found));
        let mut named = target.clone();
        named.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_string());
        index.manifests.push(named);
        // An order of its own, so that the same tags make the same file whichever came first.
        let key =
            |found: &Descriptor| (found.annotations.get(annotation::REF_NAME).cloned(), found.digest.clone());
        index.manifests.sort_by_key(key);
        files::write(&self.root.join("index.json"), &image::document(media_type::INDEX, &index)?.bytes)
    }

    /// Held while `index.json` changes; let go when dropped.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.root.join(".lock");
        let shown = || format!("could not lock `{}`", path.display());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .fault(Exit::Machine, shown())?;
        file.lock().fault(Exit::Machine, shown())?;
        Ok(file)
    }
}

/// Copies `source` to `target` and checks on the way that it has this digest and size.
///
/// # Errors
/// [`Exit::Machine`] where it has not, or reading or writing fails; an interruption.
pub fn copy_verified(
    mut source: impl Read,
    target: &mut impl std::io::Write,
    digest: &Digest,
    size: u64,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let mut hash = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut copied = 0;
    loop {
        super::stop_if_asked(cancel)?;
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(error).fault(Exit::Machine, format!("could not read the blob `{digest}`"));
            }
        };
        copied += read as u64;
        if copied > size {
            break;
        }
        hash.update(&buffer[..read]);
        target
            .write_all(&buffer[..read])
            .fault(Exit::Machine, format!("could not write the blob `{digest}`"))?;
    }
    if copied != size {
        let than = if copied > size { "more" } else { "fewer" };
        let message = format!("the blob `{digest}` has {than} bytes than the {size} that were said");
        return Err(Fault::new(Exit::Machine, message).into());
    }
    let found = hash.finish();
    if found != *digest {
        return Err(
            Fault::new(Exit::Machine, format!("a blob has the digest `{found}`, not `{digest}`")).into()
        );
    }
    Ok(())
}

/// A whole file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let shown = || format!("could not read `{}`", path.display());
    let file = File::open(path).fault(Exit::Machine, shown())?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).fault(Exit::Machine, shown())?;
    if bytes.len() as u64 > limit {
        let message = format!("`{}` is longer than {limit} bytes", path.display());
        return Err(Fault::new(Exit::Machine, message).into());
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
