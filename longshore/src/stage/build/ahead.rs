//! Takes executables as Go finishes them: into the cache, and into the layer that their image will want, while
//! the next one is linked. What is taken counts only if the file is still the same when Go has ended.
//!
//! Must never fail a build: what could not be done ahead is done after it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::{BuildSpec, Target, executable};
use crate::cache::Cache;
use crate::oci::types::Digest;
use crate::stage::Scope;

/// How often the folder is looked at: short beside a link, long beside the look.
const LOOK: Duration = Duration::from_millis(50);

/// An executable that is in the cache.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) digest: Digest,
    /// Bytes.
    pub(super) size: u64,
    status: Status,
}

impl Taken {
    /// Whether the file is the one that was taken.
    pub(super) fn stands(&self, made: &Path) -> bool {
        std::fs::metadata(made).is_ok_and(|found| status(&found) == self.status)
    }
}

/// Runs `compile`, which writes into `folder`, and takes what appears there meanwhile, by service.
pub(super) fn beside<T>(
    targets: &[&Target],
    folder: &Path,
    spec: &BuildSpec,
    cache: &Cache,
    scope: &Scope<'_>,
    compile: impl FnOnce() -> T,
) -> (T, BTreeMap<String, Taken>) {
    // One executable is there only when Go ends.
    if targets.len() < 2 {
        return (compile(), BTreeMap::new());
    }
    std::thread::scope(|threads| {
        let (ended, end) = mpsc::channel::<()>();
        let watcher = threads.spawn(move || {
            let mut taken = BTreeMap::new();
            while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let new = targets.iter().find_map(|target| {
                    let made = folder.join(executable(target, spec));
                    let waits = !taken.contains_key(&target.service) && made.is_file();
                    waits.then_some((target, made))
                });
                let Some((target, made)) = new else { continue };
                match take(target, &made, cache, scope) {
                    Ok(one) => taken.insert(target.service.clone(), one),
                    // Whatever it is, it will be said when it matters.
                    Err(_) => break,
                };
            }
            taken
        });
        let result = compile();
        drop(ended);
        (result, watcher.join().unwrap_or_default())
    })
}

fn take(target: &Target, made: &Path, cache: &Cache, scope: &Scope<'_>) -> anyhow::Result<Taken> {
    let status = status(&std::fs::metadata(made)?);
    let (digest, size) = cache.put_file(made)?;
    if let Some(layer) = &target.layer {
        // Of the cache's copy: its bytes are those of the digest, whatever becomes of the file.
        layer.prepare(&cache.file(&digest), &digest, scope)?;
    }
    Ok(Taken { digest, size, status })
}

/// Size in bytes, times in nanoseconds, and inode: another file, or one written to, differs.
#[cfg(unix)]
type Status = (u64, i64, i64, i64, i64, u64);
#[cfg(not(unix))]
type Status = (u64, Option<std::time::SystemTime>);

#[cfg(unix)]
fn status(file: &Metadata) -> Status {
    use std::os::unix::fs::MetadataExt as _;
    (file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec(), file.ino())
}

#[cfg(not(unix))]
fn status(file: &Metadata) -> Status {
    (file.len(), file.modified().ok())
}
