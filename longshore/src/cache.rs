//! The user's cache: results of work under the key of its inputs, files under their digest. Shared by
//! all repositories and by processes that run at once: entries are written aside and renamed.
//!
//! Behind it there may be one that a team shares, [`remote`]: what is missing here is looked for there, and what
//! is put here goes there too, where this run may write.
//!
//! Must never hand out what it did not check: a file is hashed again when it is taken, and one that
//! does not match is a miss and a warning.

mod action;
pub mod go;
pub mod http;
pub mod registry;
pub mod remote;
mod trim;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Hasher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Exit, FaultContext as _};
use crate::host::files::{self, Draft};
use crate::oci::types::Digest;

use remote::Remote;
pub use trim::Trimmed;

/// The store's size in bytes where no configuration says one.
pub const MAX_SIZE: u64 = 10 << 30;

/// A kind of entry. The number is part of the folder's name: a new form starts a new folder, and
/// older releases of the tool go on with theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    Build,
    Dockerfile,
    /// What Go itself keeps.
    Go,
    Layer,
    Lint,
    Test,
}

impl Bucket {
    fn folder(self) -> &'static str {
        match self {
            Self::Build => "build-v2",
            Self::Dockerfile => "dockerfile-v1",
            Self::Go => "go-v1",
            Self::Layer => "layer-v2",
            Self::Lint => "lint-v2",
            Self::Test => "test-v2",
        }
    }
}

/// The store in one folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    remote: Option<Arc<Remote>>,
}

impl Cache {
    /// `root`: [`crate::workspace::Workspace::cache`].
    pub fn new(root: &Path) -> Self {
        Self { root: root.join("store"), remote: None }
    }

    /// With a shared one behind it.
    #[must_use]
    pub fn behind(mut self, remote: Option<Arc<Remote>>) -> Self {
        self.remote = remote;
        self
    }

    /// What went wrong with the shared one.
    pub fn warnings(&self) -> Vec<String> {
        self.remote.as_ref().map(|remote| remote.warnings()).unwrap_or_default()
    }

    /// Where a file with this digest lies, if it does. Not checked: see [`Cache::take`].
    pub fn file(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// The entry under `key`; a damaged one is a miss.
    pub fn get<T: DeserializeOwned>(&self, bucket: Bucket, key: &Digest) -> Option<T> {
        self.own(bucket, key).or_else(|| {
            let value = self.remote.as_ref()?.entry(bucket, key)?;
            let found = serde_json::from_str(&value).ok()?;
            // Where it can't be kept it is asked for again.
            let _ = self.keep(bucket, key, &value);
            Some(found)
        })
    }

    fn own<T: DeserializeOwned>(&self, bucket: Bucket, key: &Digest) -> Option<T> {
        let path = self.entry(bucket, key);
        let text = std::fs::read_to_string(&path).ok()?;
        let (value, digest) = text.rsplit_once('\n')?;
        if digest != sealed(bucket, key, value).as_str() {
            return None;
        }
        trim::touch(&path);
        serde_json::from_str(value).ok()
    }

    /// Keeps a value that is about `files`: their digests and sizes, taken in before.
    pub fn put<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &Digest,
        value: &T,
        files: &[(Digest, u64)],
    ) -> anyhow::Result<()> {
        let value = serde_json::to_string(value)?;
        if let Some(remote) = &self.remote {
            remote.put(bucket, key, &value, files, |digest| self.file(digest));
        }
        self.keep(bucket, key, &value)
    }

    fn keep(&self, bucket: Bucket, key: &Digest, value: &str) -> anyhow::Result<()> {
        let text = format!("{value}\n{}", sealed(bucket, key, value));
        files::write(&self.entry(bucket, key), text.as_bytes())
    }

    /// Takes a copy of a file in and gives its digest and size in bytes.
    pub fn put_file(&self, source: &Path) -> anyhow::Result<(Digest, u64)> {
        let folder = self.root.join("sha256");
        std::fs::create_dir_all(&folder).fault(Exit::Machine, "could not write to the cache")?;
        let (temporary, digest, size) = copy_hashed(source, &folder)?;
        let target = self.file(&digest);
        persist(temporary, &target)?;
        Ok((digest, size))
    }

    /// Copies the file with this digest and size to `target`, replacing what is there; `false` where the cache
    /// has none, or one that is no longer what it was (which is then removed).
    pub fn take(&self, digest: &Digest, size: u64, target: &Path) -> anyhow::Result<bool> {
        Ok(self.take_own(digest, target)? || self.fetch(digest, size)? && self.take_own(digest, target)?)
    }

    /// Whether there is a file with this digest and size, which was used now.
    pub fn touch(&self, digest: &Digest, size: u64) -> bool {
        let path = self.file(digest);
        let found = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == size);
        if found {
            trim::touch(&path);
        }
        found
    }

    /// Brings a file here from the shared cache, if its bytes are the right ones.
    fn fetch(&self, digest: &Digest, size: u64) -> anyhow::Result<bool> {
        let Some(remote) = &self.remote else { return Ok(false) };
        let mut draft = Draft::new(&self.root.join("sha256"))?;
        if remote.fetch(digest, size, &mut draft).is_none() {
            return Ok(false);
        }
        if hash(draft.path())?.0 != *digest {
            remote.was_tampered_with();
            return Ok(false);
        }
        let target = self.file(digest);
        files::make_folder(target.parent().unwrap_or(Path::new(".")))?;
        draft.keep(&target)?;
        Ok(true)
    }

    /// Makes `target` a link to the file with this digest and size, which is hashed; `false` where there is none.
    pub fn link(&self, digest: &Digest, size: u64, target: &Path) -> anyhow::Result<bool> {
        Ok(self.link_own(digest, target)? || self.fetch(digest, size)? && self.link_own(digest, target)?)
    }

    fn link_own(&self, digest: &Digest, target: &Path) -> anyhow::Result<bool> {
        let source = self.file(digest);
        trim::touch(&source);
        let aside = target.with_extension(format!("{:?}", std::thread::current().id()));
        match std::fs::hard_link(&source, &aside) {
            Ok(()) => {}
            Err(_) if !source.is_file() => return Ok(false),
            // Not every file system has links.
            Err(_) => return self.take_own(digest, target),
        }
        if hash(&aside)?.0 != *digest {
            let _ = std::fs::remove_file(&source);
            files::remove(&aside)?;
            return Ok(false);
        }
        files::rename(&aside, target)?;
        Ok(true)
    }

    /// Takes a file in that has this digest, as a link where that can be: it is not written to any more.
    pub fn adopt(&self, source: &Path, digest: &Digest) -> anyhow::Result<()> {
        let target = self.file(digest);
        files::make_folder(target.parent().unwrap_or(Path::new(".")))?;
        match std::fs::hard_link(source, &target) {
            Ok(()) => Ok(()),
            // It is the same, or was harmed: who takes it looks.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => self.put_file(source).map(|_| ()),
        }
    }

    fn take_own(&self, digest: &Digest, target: &Path) -> anyhow::Result<bool> {
        let source = self.file(digest);
        if !source.is_file() {
            return Ok(false);
        }
        let folder = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .fault(Exit::Machine, format!("could not write `{}`", target.display()))?;
        trim::touch(&source);
        let (temporary, found, _) = match copy_hashed(&source, folder) {
            // Another process has just removed it.
            Err(_) if !source.is_file() => return Ok(false),
            copied => copied?,
        };
        if found != *digest {
            let _ = std::fs::remove_file(&source);
            return Ok(false);
        }
        persist(temporary, target)?;
        Ok(true)
    }

    fn entry(&self, bucket: Bucket, key: &Digest) -> PathBuf {
        self.root.join(bucket.folder()).join(&key.hex()[..2]).join(key.hex())
    }
}

/// What an entry ends with: a damaged one, and one that was put under another key, do not.
fn sealed(bucket: Bucket, key: &Digest, value: &str) -> Digest {
    Digest::of(format!("{} {key}\n{value}", bucket.folder()).as_bytes())
}

/// The digest and size of a file that the store could not take in.
///
/// # Errors
/// [`Exit::Machine`] where it can't be read.
pub fn hash(path: &Path) -> anyhow::Result<(Digest, u64)> {
    let shown = || format!("could not read `{}`", path.display());
    let mut file = std::fs::File::open(path).fault(Exit::Machine, shown())?;
    let mut hash = Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = file.read(&mut buffer).fault(Exit::Machine, shown())?;
        if count == 0 {
            return Ok((hash.finish(), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

fn persist(temporary: tempfile::NamedTempFile, target: &Path) -> anyhow::Result<()> {
    let shown = || format!("could not write `{}`", target.display());
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
    }
    temporary.persist(target).fault(Exit::Machine, shown())?;
    Ok(())
}

/// A copy of `source` in `folder` under a name of its own, executable as the source is, hashed on
/// the way.
fn copy_hashed(source: &Path, folder: &Path) -> anyhow::Result<(tempfile::NamedTempFile, Digest, u64)> {
    let shown = || format!("could not copy `{}` to `{}`", source.display(), folder.display());
    let mut from = std::fs::File::open(source).fault(Exit::Machine, shown())?;
    let mut to =
        tempfile::Builder::new().prefix(".longshore-").tempfile_in(folder).fault(Exit::Machine, shown())?;
    let mut hash = Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = from.read(&mut buffer).fault(Exit::Machine, shown())?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count]).fault(Exit::Machine, shown())?;
        size += count as u64;
    }
    let permissions = from.metadata().fault(Exit::Machine, shown())?.permissions();
    to.as_file().set_permissions(permissions).fault(Exit::Machine, shown())?;
    Ok((to, hash.finish(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_in_the_cache_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let source = folder.path().join("source");
        std::fs::write(&source, "binary").unwrap();
        let (digest, size) = cache.put_file(&source).unwrap();
        assert_eq!((digest.clone(), size), (Digest::of(b"binary"), 6));

        let target = folder.path().join("deep/er/target");
        assert!(cache.take(&digest, 6, &target).unwrap());
        assert_eq!(std::fs::read(&target).unwrap(), b"binary");

        std::fs::write(cache.file(&digest), "tampered").unwrap();
        assert!(!cache.take(&digest, 6, &target).unwrap());
        assert_eq!(std::fs::read(&target).unwrap(), b"binary", "the good copy stays");
        assert!(!cache.file(&digest).exists(), "the bad one does not");
    }

    #[test]
    fn a_damaged_entry_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let key = Digest::of(b"key");
        assert_eq!(cache.get::<u32>(Bucket::Build, &key), None);
        cache.put(Bucket::Build, &key, &7, &[]).unwrap();
        assert_eq!(cache.get::<u32>(Bucket::Build, &key), Some(7));
        assert_eq!(cache.get::<u32>(Bucket::Test, &key), None);
        std::fs::write(cache.entry(Bucket::Build, &key), "{").unwrap();
        assert_eq!(cache.get::<u32>(Bucket::Build, &key), None);
    }
}
