//! The cache that a team shares: entries by key, files by digest, in a [`Store`] elsewhere.
//!
//! Trusts nobody but the writers that the configuration names: an entry counts if one of them signed it for
//! this very key, a file if its bytes are those of its digest. Must never fail a run: what goes wrong once
//! turns it off for the rest of the run, with one warning.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Bucket;
use crate::key::{PublicKey, SigningKey};
use crate::oci::types::Digest;

/// Of an entry's text, in bytes: they are small.
pub(super) const ENTRY_LIMIT: u64 = 1 << 20;

const HEAD: &str = "longshore cache entry 1";

/// A place that keeps entries and files.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// The text under a key, or `None` where there is none.
    ///
    /// # Errors
    /// Why it could not be asked.
    fn entry(&self, key: &Digest) -> anyhow::Result<Option<String>>;

    /// Keeps a text under a key, when the files that it is about are there.
    ///
    /// # Errors
    /// Why it could not.
    fn put_entry(&self, key: &Digest, text: &str, files: &[(Digest, u64)]) -> anyhow::Result<()>;

    /// Writes a file's bytes, at most `size` of them, to `target`; `false` where there is none. They are checked
    /// by who asks.
    ///
    /// # Errors
    /// Why it could not be had.
    fn fetch(&self, digest: &Digest, size: u64, target: &mut dyn Write) -> anyhow::Result<bool>;

    /// Keeps a file, unless it is there.
    ///
    /// # Errors
    /// Why it could not.
    fn send(&self, file: &Path, digest: &Digest, size: u64) -> anyhow::Result<()>;
}

/// A store with the keys that make it safe. Shared by the jobs of a run.
#[derive(Debug)]
pub struct Remote {
    store: Box<dyn Store>,
    trust: Vec<PublicKey>,
    /// Absent: it is only read.
    writer: Option<SigningKey>,
    reads: AtomicBool,
    writes: AtomicBool,
    warnings: Mutex<BTreeSet<String>>,
}

impl Remote {
    pub fn new(store: Box<dyn Store>, trust: Vec<PublicKey>, writer: Option<SigningKey>) -> Self {
        let writes = AtomicBool::new(writer.is_some());
        Self { store, trust, writer, reads: AtomicBool::new(true), writes, warnings: Mutex::default() }
    }

    /// What went wrong: nothing in a good run.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The value under a key that a trusted writer put there.
    pub(super) fn entry(&self, bucket: Bucket, key: &Digest) -> Option<String> {
        if !self.reads.load(Ordering::Relaxed) {
            return None;
        }
        match self.store.entry(&place(bucket, key)) {
            Ok(text) => {
                let text = text?;
                let value = self.opened(bucket, key, &text);
                if value.is_none() {
                    self.warn(
                        "the shared cache has entries that no trusted writer signed: they do not count",
                    );
                }
                value
            }
            Err(error) => self.give_up(&format!("the shared cache can't be read: {error:#}")),
        }
    }

    /// Writes a file's bytes to `target`: `Some` once all of them are there. Checked by who asks.
    pub(super) fn fetch(&self, digest: &Digest, size: u64, target: &mut dyn Write) -> Option<()> {
        if !self.reads.load(Ordering::Relaxed) {
            return None;
        }
        match self.store.fetch(digest, size, target) {
            Ok(found) => found.then_some(()),
            Err(error) => self.give_up(&format!("the shared cache can't be read: {error:#}")),
        }
    }

    /// A file came with other bytes than its digest says.
    pub(super) fn was_tampered_with(&self) {
        self.give_up::<()>("the shared cache gave a file of another digest");
    }

    /// Whether this run puts anything into it.
    pub(super) fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Puts a value there with the files that it is about; what can't be put costs a warning.
    pub(super) fn put<'a>(
        &self,
        bucket: Bucket,
        key: &Digest,
        value: &str,
        files: &[(Digest, u64)],
        file: impl Fn(&Digest) -> std::path::PathBuf + 'a,
    ) {
        let Some(writer) = self.writer.as_ref().filter(|_| self.writes()) else { return };
        let signature = writer.sign(&message(bucket, key, value));
        let text = format!("{}\n{signature}\n{value}", writer.public());
        let send = || {
            for (digest, size) in files {
                self.store.send(&file(digest), digest, *size)?;
            }
            self.store.put_entry(&place(bucket, key), &text, files)
        };
        if let Err(error) = send() {
            self.writes.store(false, Ordering::Relaxed);
            self.warn(&format!("the shared cache can't be written to: {error:#}"));
        }
    }

    /// The value of an entry's text, if a trusted writer signed it for this key.
    fn opened(&self, bucket: Bucket, key: &Digest, text: &str) -> Option<String> {
        let (public, rest) = text.split_once('\n')?;
        let (signature, value) = rest.split_once('\n')?;
        let public = PublicKey::parse(public).filter(|public| self.trust.contains(public))?;
        public.verifies(&message(bucket, key, value), signature).then(|| value.to_owned())
    }

    fn give_up<T>(&self, why: &str) -> Option<T> {
        self.reads.store(false, Ordering::Relaxed);
        self.writes.store(false, Ordering::Relaxed);
        self.warn(why);
        None
    }

    fn warn(&self, what: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
    }
}

/// What a writer signs.
fn message(bucket: Bucket, key: &Digest, value: &str) -> Vec<u8> {
    format!("{HEAD}\n{} {key}\n{value}", bucket.folder()).into_bytes()
}

/// Under which key a store keeps an entry. What a gate said holds for machines of one kind.
fn place(bucket: Bucket, key: &Digest) -> Digest {
    let kind = match bucket {
        Bucket::Lint | Bucket::Test => format!("{} {} ", std::env::consts::OS, std::env::consts::ARCH),
        Bucket::Build | Bucket::Dockerfile | Bucket::Go | Bucket::Layer => String::new(),
    };
    Digest::of(format!("{HEAD}\n{} {kind}{key}", bucket.folder()).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A store in memory that anybody may write to.
    #[derive(Clone, Debug, Default)]
    struct Open(std::sync::Arc<Mutex<BTreeMap<Digest, String>>>);

    impl Store for Open {
        fn entry(&self, key: &Digest) -> anyhow::Result<Option<String>> {
            Ok(self.0.lock().unwrap().get(key).cloned())
        }
        fn put_entry(&self, key: &Digest, text: &str, _: &[(Digest, u64)]) -> anyhow::Result<()> {
            self.0.lock().unwrap().insert(key.clone(), text.to_owned());
            Ok(())
        }
        fn fetch(&self, _: &Digest, _: u64, _: &mut dyn Write) -> anyhow::Result<bool> {
            anyhow::bail!("no files here")
        }
        fn send(&self, _: &Path, _: &Digest, _: u64) -> anyhow::Result<()> {
            Ok(())
        }
    }

    fn key(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn an_entry_counts_under_its_own_key_if_a_trusted_writer_signed_it() {
        let store = Open::default();
        let (writer, _) = SigningKey::generate().unwrap();
        let (stranger, _) = SigningKey::generate().unwrap();
        let trust = vec![writer.public()];
        let reader = || Remote::new(Box::new(store.clone()), trust.clone(), None);
        let put = |signer: SigningKey, name: &str, value: &str| {
            let remote = Remote::new(Box::new(store.clone()), trust.clone(), Some(signer));
            remote.put(Bucket::Build, &key(name), value, &[], |_| "/".into());
        };
        put(writer, "good", "1\n2");
        put(stranger, "foreign", "3");
        let remote = reader();
        assert_eq!(remote.entry(Bucket::Build, &key("good")).as_deref(), Some("1\n2"));
        assert_eq!(remote.entry(Bucket::Layer, &key("good")), None, "another kind");
        assert_eq!(remote.entry(Bucket::Build, &key("absent")), None);
        assert_eq!(remote.warnings(), Vec::<String>::new(), "nothing is no fault");
        assert_eq!(remote.entry(Bucket::Build, &key("foreign")), None);
        assert_eq!(remote.warnings().len(), 1);
        // The good one under other keys, of another kind, or with another value.
        let text = store.0.lock().unwrap()[&place(Bucket::Build, &key("good"))].clone();
        for (place, text) in [
            (place(Bucket::Build, &key("other")), text.clone()),
            (place(Bucket::Layer, &key("good")), text.clone()),
            (place(Bucket::Build, &key("good")), text.replace("1\n2", "1\n3")),
            (place(Bucket::Build, &key("good")), text.replace("\n1", "1")),
            (place(Bucket::Build, &key("good")), String::new()),
        ] {
            store.0.lock().unwrap().insert(place, text);
            let remote = reader();
            assert_eq!(remote.entry(Bucket::Build, &key("other")), None);
            assert_eq!(remote.entry(Bucket::Layer, &key("good")), None);
        }
        assert_eq!(reader().entry(Bucket::Build, &key("good")), None);
    }

    #[test]
    fn what_goes_wrong_once_is_not_asked_again() {
        let (writer, _) = SigningKey::generate().unwrap();
        let remote = Remote::new(Box::new(Open::default()), vec![writer.public()], Some(writer));
        remote.put(Bucket::Build, &key("good"), "1", &[], |_| "/".into());
        assert!(remote.writes() && remote.entry(Bucket::Build, &key("good")).is_some());
        assert_eq!(remote.fetch(&key("x"), 1, &mut Vec::new()), None);
        assert!(!remote.writes());
        assert_eq!(remote.entry(Bucket::Build, &key("good")), None);
        assert_eq!(remote.warnings(), ["the shared cache can't be read: no files here"]);
    }
}
