//! Where images are released to: a folder's layout, or a repository of a registry; and the one way
//! in which an image gets there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::image::Document;
use super::layout::Layout;
use super::reference::{Reference, Repository, Tag};
use super::registry::{Blob, Client, Remote};
use super::types::{Descriptor, Digest, Index, media_type};
use crate::cancel::Cancel;
use crate::declared::Registry;
use crate::fault::{Exit, Fault};
use crate::host::http::{Scheme, Schemes};

pub mod referrers;

/// One service's place in a release registry.
#[derive(Clone, Debug)]
pub enum Destination {
    Layout(Layout),
    Registry(Remote),
}

/// What a copy did. Bytes are compressed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs that were sent, and the bytes of them.
    pub sent: usize,
    pub bytes: u64,
    /// Blobs that were there, or were taken over from another repository of the same registry.
    pub found: usize,
}

/// Which repository of a registry is known to hold a blob, by host and digest: so that one goes to a
/// registry once in a run, however many services share it.
#[derive(Debug, Default)]
pub struct Whereabouts(Mutex<BTreeMap<(String, Digest), Slot>>);

/// The path of the repository; held while the blob is on its way.
type Slot = Arc<Mutex<Option<String>>>;

impl Whereabouts {
    /// A blob was found in `repository`.
    pub fn note(&self, repository: &Repository, digest: &Digest) {
        lock(&self.slot(&repository.host, digest)).get_or_insert_with(|| repository.path.clone());
    }

    fn slot(&self, host: &str, digest: &Digest) -> Slot {
        Arc::clone(lock(&self.0).entry((host.to_owned(), digest.clone())).or_default())
    }
}

/// How a copy is made.
#[derive(Clone, Copy)]
pub struct Copying<'a> {
    /// Blobs at a time.
    pub parallel: usize,
    /// Paths of other repositories of the same registry that may hold some of the blobs.
    pub sources: &'a [&'a str],
    /// Which ones are known to.
    pub whereabouts: &'a Whereabouts,
    /// Bytes done and bytes in all; from several threads.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Copying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at a time, mounting from {:?}", self.parallel, self.sources)
    }
}

/// A service's repository in a registry: `HOST/PATH/SERVICE`.
///
/// # Errors
/// [`Exit::Usage`] where the name is none of a repository.
pub fn repository(host: &str, path: &str, service: &str) -> anyhow::Result<Repository> {
    let path = if path.is_empty() { service.to_owned() } else { format!("{path}/{service}") };
    Repository::new(host, &path).map_err(|error| Fault::new(Exit::Usage, error.to_string()).into())
}

/// What registries' values declare of their hosts: for [`super::registry::Options`].
pub fn declared_schemes<'a>(registries: impl IntoIterator<Item = &'a Registry>) -> Schemes {
    let declared = |registry: &Registry| match registry {
        Registry::Remote { host, tls, .. } => {
            Some((host.clone(), if (*tls)? { Scheme::Https } else { Scheme::Http }))
        }
        Registry::Layouts(_) => None,
    };
    registries.into_iter().filter_map(declared).collect()
}

impl Destination {
    /// The place of `service`: a layout `ROOT/DIR/SERVICE`, made where it is missing, or the
    /// repository `HOST/PATH/SERVICE`.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no, [`Exit::Usage`] where the name is none of a repository.
    pub fn of_service(
        registry: &Registry,
        root: &Path,
        service: &str,
        client: &Client,
    ) -> anyhow::Result<Self> {
        match registry {
            Registry::Layouts(folder) => Ok(Self::Layout(Layout::create(&root.join(folder).join(service))?)),
            Registry::Remote { host, path, .. } => {
                Ok(Self::Registry(client.repository(repository(host, path, service)?)))
            }
        }
    }

    /// For messages and artifacts: `HOST/PATH@DIGEST`, or `oci:DIR@DIGEST`.
    pub fn reference(&self, digest: &Digest) -> String {
        match self {
            Self::Layout(layout) => format!("oci:{}@{digest}", layout.root().display()),
            Self::Registry(remote) => remote.repository().at(digest).to_string(),
        }
    }

    /// For messages: `HOST/PATH:TAG`, or `oci:DIR:TAG`.
    pub fn tagged(&self, tag: &Tag) -> String {
        match self {
            Self::Layout(layout) => format!("oci:{}:{tag}", layout.root().display()),
            Self::Registry(remote) => {
                let repository = remote.repository().clone();
                Reference { repository, tag: Some(tag.clone()), digest: None }.to_string()
            }
        }
    }

    /// Whether a blob (no manifest) is there.
    ///
    /// # Errors
    /// Those of [`Remote::has_blob`].
    pub fn has_blob(&self, blob: &Descriptor) -> anyhow::Result<bool> {
        match self {
            Self::Layout(layout) => Ok(layout.holds(&blob.digest, blob.size)),
            Self::Registry(remote) => remote.has_blob(&blob.digest, blob.size),
        }
    }

    /// The place that a repository's text names: `oci:DIR` below `root`, or `HOST/PATH`.
    ///
    /// # Errors
    /// [`Exit::Machine`] where there is no such layout, [`Exit::Usage`] where it is none of a repository.
    pub fn named(repository: &str, root: &Path, client: &Client) -> anyhow::Result<Self> {
        if let Some(folder) = repository.strip_prefix("oci:") {
            return Ok(Self::Layout(Layout::open(&root.join(folder))?));
        }
        let repository: Repository = repository
            .parse()
            .map_err(|error| Fault::new(Exit::Usage, format!("`{repository}`: {error}")))?;
        Ok(Self::Registry(client.repository(repository)))
    }

    /// Brings a blob (no manifest) from here into a layout, verified.
    ///
    /// # Errors
    /// Those of [`Layout::take_blob`] and [`Remote::fetch_blob`].
    pub fn fetch_blob(&self, blob: &Descriptor, into: &Layout, cancel: &Cancel) -> anyhow::Result<()> {
        match self {
            Self::Layout(layout) => into.take_blob(layout, blob, cancel),
            Self::Registry(remote) => remote.fetch_blob(blob, into, &|_| {}),
        }
    }

    /// A manifest or index by digest; `None` where it is not there.
    ///
    /// # Errors
    /// [`Exit::Machine`] for bytes of another digest in a layout; those of [`Remote::manifest_by_digest`].
    pub fn manifest(&self, digest: &Digest) -> anyhow::Result<Option<Document>> {
        match self {
            Self::Layout(layout) if !layout.blob_path(digest).exists() => Ok(None),
            Self::Layout(layout) => layout.document(digest).map(Some),
            Self::Registry(remote) => remote.manifest_by_digest(digest),
        }
    }

    /// What a tag stands for.
    ///
    /// # Errors
    /// As [`Destination::manifest`].
    pub fn resolve(&self, tag: &Tag) -> anyhow::Result<Option<Descriptor>> {
        match self {
            Self::Layout(layout) => layout.resolve(tag),
            Self::Registry(remote) => Ok(remote.manifest_by_tag(tag)?.map(|document| document.descriptor)),
        }
    }

    /// All tags, sorted.
    ///
    /// # Errors
    /// As [`Destination::manifest`].
    pub fn tags(&self) -> anyhow::Result<Vec<Tag>> {
        match self {
            Self::Layout(layout) => Ok(layout.tags()?.into_keys().collect()),
            Self::Registry(remote) => remote.tags(),
        }
    }

    /// Sets a tag that never moves: a version's. Nothing happens where it stands for `digest` already.
    ///
    /// A registry can't compare and set: between two that race, the ledger's push is the lock; here
    /// the tag is looked at before and read back after.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where it stands for another digest; as [`Destination::move_tag`].
    pub fn set_tag_once(&self, tag: &Tag, digest: &Digest) -> anyhow::Result<()> {
        match self {
            Self::Layout(layout) => {
                let target = layout.descriptor(digest)?;
                layout.tag_if(tag, &target, |found| self.free(tag, digest, found))
            }
            Self::Registry(remote) => {
                let found = remote.manifest_by_tag(tag)?.map(|document| document.descriptor);
                self.free(tag, digest, found.as_ref())?;
                if found.is_some() { Ok(()) } else { self.move_tag(tag, digest) }
            }
        }
    }

    fn free(&self, tag: &Tag, digest: &Digest, found: Option<&Descriptor>) -> anyhow::Result<()> {
        match found {
            Some(found) if found.digest != *digest => {
                let message = format!(
                    "`{}` is taken: it stands for `{}`, not `{digest}`",
                    self.tagged(tag),
                    found.digest
                );
                let hint = "a version never moves; release a new one";
                Err(Fault::new(Exit::Conflict, message).hint(hint).into())
            }
            _ => Ok(()),
        }
    }

    /// Lets a tag stand for a manifest or index that is there, whatever it stood for, and reads it back.
    ///
    /// # Errors
    /// [`Exit::Machine`] where `digest` is not there; those of [`Remote::put_tag`].
    pub fn move_tag(&self, tag: &Tag, digest: &Digest) -> anyhow::Result<()> {
        match self {
            Self::Layout(layout) => layout.tag(tag, &layout.descriptor(digest)?),
            Self::Registry(remote) => {
                let Some(document) = remote.manifest_by_digest(digest)? else {
                    let message = format!("`{}` is not there to be tagged", self.reference(digest));
                    return Err(Fault::new(Exit::Machine, message).hint("push it first").into());
                };
                remote.put_tag(tag, &document)
            }
        }
    }

    /// Keeps a manifest or index; what it names must be there. Read back and compared.
    ///
    /// # Errors
    /// As [`Destination::manifest`] and [`Remote::put_manifest`].
    pub fn put_manifest(&self, document: &Document) -> anyhow::Result<()> {
        match self {
            Self::Layout(layout) => layout.put_document(document).map(|_| ()),
            Self::Registry(remote) => remote.put_manifest(document),
        }
    }

    fn put_blob(
        &self,
        from: &Layout,
        blob: &Descriptor,
        copying: Copying<'_>,
        done: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<bool> {
        match self {
            Self::Layout(layout) => {
                let there = layout.holds(&blob.digest, blob.size);
                layout.take_blob(from, blob, copying.cancel)?;
                done(blob.size);
                Ok(!there)
            }
            Self::Registry(remote) => {
                // Its size now; its digest is what the registry checks.
                from.open_blob(blob)?;
                let path = from.blob_path(&blob.digest);
                let sent = Blob { file: &path, digest: &blob.digest, size: blob.size };
                let slot = copying.whereabouts.slot(&remote.repository().host, &blob.digest);
                // Held until it is there: who needs the same blob elsewhere waits, and mounts it.
                let mut known = lock(&slot);
                let uploaded = match known.as_deref() {
                    Some(path) => remote.put_blob(sent, &[path], done)?,
                    None => remote.put_blob(sent, copying.sources, done)?,
                };
                *known = Some(remote.repository().path.clone());
                drop(known);
                done(blob.size);
                Ok(uploaded == super::registry::Uploaded::Sent)
            }
        }
    }

    /// Brings an image (an index with its platforms, or one manifest) from a layout here: blobs in
    /// parallel, then the platforms' manifests, then the index; then everything is looked at again.
    /// No tag is touched, so nobody sees an image before it is whole.
    ///
    /// # Errors
    /// [`Exit::Machine`] for a source with missing or other bytes; those of [`Remote::put_blob`] and
    /// [`Remote::put_manifest`]; an interruption.
    pub fn copy_image(
        &self,
        from: &Layout,
        target: &Descriptor,
        copying: Copying<'_>,
    ) -> anyhow::Result<Copied> {
        let (manifests, blobs): (Vec<Descriptor>, Vec<Descriptor>) =
            from.closure(target)?.into_iter().partition(|found| {
                media_type::is_manifest(&found.media_type) || media_type::is_index(&found.media_type)
            });
        let copied = self.copy_blobs(from, &blobs, copying)?;
        for manifest in &manifests {
            super::stop_if_asked(copying.cancel)?;
            let mut document = from.document(&manifest.digest)?;
            document.descriptor.media_type.clone_from(&manifest.media_type);
            self.put_manifest(&document)?;
        }
        self.verify(target, &blobs)?;
        Ok(copied)
    }

    /// Sends blobs (no manifests) of a layout here, in parallel.
    ///
    /// # Errors
    /// As [`Destination::copy_image`].
    pub fn send_blobs(
        &self,
        from: &Layout,
        blobs: &[Descriptor],
        copying: Copying<'_>,
    ) -> anyhow::Result<Copied> {
        self.copy_blobs(from, blobs, copying)
    }

    fn copy_blobs(
        &self,
        from: &Layout,
        blobs: &[Descriptor],
        copying: Copying<'_>,
    ) -> anyhow::Result<Copied> {
        let total: u64 = blobs.iter().map(|blob| blob.size).sum();
        // Largest first: the last one to end is then a small one.
        let mut queue: Vec<&Descriptor> = blobs.iter().collect();
        queue.sort_by_key(|blob| blob.size);
        let queue = Mutex::new(queue);
        let (all, copied) = (AtomicU64::new(0), Mutex::new(Copied::default()));
        let (failed, failure) = (AtomicBool::new(false), Mutex::new(None));
        let running = AtomicU64::new(0);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some(blob) = lock(&queue).pop() else { break };
                let mine = AtomicU64::new(0);
                let done = |bytes: u64| {
                    let before = mine.swap(bytes, Ordering::Relaxed);
                    // Down again where an upload starts anew.
                    let sum = all.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
                    (copying.progress)(sum.wrapping_add(bytes.wrapping_sub(before)), total);
                };
                match self.put_blob(from, blob, copying, &done) {
                    Ok(true) => {
                        let mut copied = lock(&copied);
                        copied.sent += 1;
                        copied.bytes += blob.size;
                    }
                    Ok(false) => lock(&copied).found += 1,
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        lock(&failure).get_or_insert(error);
                    }
                }
            }
            running.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            let threads = copying.parallel.clamp(1, blobs.len().max(1));
            running.store(threads as u64, Ordering::SeqCst);
            for _ in 0..threads {
                scope.spawn(work);
            }
            self.watch(&running, copying.cancel);
        });
        match lock(&failure).take() {
            Some(error) => Err(error),
            None => Ok(*lock(&copied)),
        }
    }

    /// Cuts the connections when the run is told to stop, so that no thread waits for a silent server.
    fn watch(&self, running: &AtomicU64, cancel: &Cancel) {
        let Self::Registry(remote) = self else { return };
        while running.load(Ordering::SeqCst) > 0 {
            if cancel.is_set() {
                remote.client().shut_down();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Looks whether an image is here, whole: its manifests by their bytes, its blobs by name and
    /// size (a layout's by their bytes).
    ///
    /// # Errors
    /// [`Exit::Outside`] where something is missing or other.
    pub fn verify(&self, target: &Descriptor, blobs: &[Descriptor]) -> anyhow::Result<()> {
        let missing = |what: &Digest| -> anyhow::Error {
            let message = format!("`{}` is not there after it was pushed", self.reference(what));
            Fault::new(Exit::Outside, message).hint("it is safe to run it again").into()
        };
        let document = self.manifest(&target.digest)?.ok_or_else(|| missing(&target.digest))?;
        if media_type::is_index(&target.media_type)
            && let Ok(index) = serde_json::from_slice::<Index>(&document.bytes)
        {
            for manifest in &index.manifests {
                self.manifest(&manifest.digest)?.ok_or_else(|| missing(&manifest.digest))?;
            }
        }
        for blob in blobs {
            if !self.has_blob(blob)? {
                return Err(missing(&blob.digest));
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
