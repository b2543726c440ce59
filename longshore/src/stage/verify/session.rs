//! One verification's traces on the machine, and their removal: by itself when it ends, by the next one when
//! it was killed.
//!
//! Each has a folder, `CACHE/verify/ID/`, and beside it `ID.lock`, held while it lives: a lock that can be
//! taken is a dead one's, whatever its process's number has become since. What a dead one left is found
//! without its help: processes by where their root or executable lies (below the folder), containers and
//! networks by their label.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::{background, clock};
use crate::stage::Scope;
use crate::stage::lint::tool::stopped;

use super::docker;

/// After this, a dead one whose daemon never answered again is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// A running verification; dropped, everything of it is gone.
#[derive(Debug)]
pub(super) struct Session {
    id: String,
    folder: PathBuf,
    lock: PathBuf,
    _held: File,
    ports: Vec<File>,
}

impl Session {
    /// Removes what dead ones left, then begins.
    pub(super) fn begin(scope: &Scope<'_>) -> anyhow::Result<Self> {
        let all = scope.workspace.cache.join("verify");
        let shown = format!("could not write into `{}`", all.display());
        std::fs::create_dir_all(&all).fault(Exit::Machine, &shown)?;
        // Between making a lock's file and taking it, a sweep would think its owner dead.
        let guard = File::create(all.join("lock")).fault(Exit::Machine, &shown)?;
        wait_for(&guard, scope.cancel)?;
        sweep(&all);
        let id = format!("{}-{:x}", std::process::id(), clock::now_precise().as_nanos());
        let lock = all.join(format!("{id}.lock"));
        let held = File::create(&lock).fault(Exit::Machine, &shown)?;
        wait_for(&held, scope.cancel)?;
        let folder = all.join(&id);
        std::fs::create_dir(&folder).fault(Exit::Machine, &shown)?;
        Ok(Self { id, folder, lock, _held: held, ports: Vec::new() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until no other verification of this user uses these ports. In ascending order, so that two
    /// never wait for each other.
    pub(super) fn reserve(&mut self, mut ports: Vec<u16>, cancel: &Cancel) -> anyhow::Result<()> {
        ports.sort_unstable();
        for port in ports {
            let path = self.lock.with_file_name(format!("port-{port}"));
            let file =
                File::create(&path).fault(Exit::Machine, format!("could not write `{}`", path.display()))?;
            wait_for(&file, cancel)?;
            self.ports.push(file);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What can't be removed now is the next one's to remove: it needs the lock's file for that.
        if clean(&self.folder, &self.id) {
            let _ = std::fs::remove_file(&self.lock);
        }
    }
}

fn wait_for(file: &File, cancel: &Cancel) -> anyhow::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if cancel.is_set() => return Err(stopped(cancel)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => {
                let fault = Fault::new(Exit::Machine, "could not lock a file of the cache")
                    .hint("put the cache on a local disk: set XDG_CACHE_HOME");
                return Err(anyhow::Error::from(error).context(fault));
            }
        }
    }
}

/// Cleans after each whose lock is free.
fn sweep(all: &Path) {
    let Ok(entries) = std::fs::read_dir(all) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(id) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".lock")) else {
            continue;
        };
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let old = lock
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FORGOTTEN));
        if clean(&all.join(id), id) || old {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Ends what runs below `folder` and its containers, removes both; false where something is left.
fn clean(folder: &Path, id: &str) -> bool {
    // Twice: a process may have made another one meanwhile.
    for _ in 0..2 {
        processes(folder).into_iter().for_each(background::kill);
    }
    let containers = docker::clean(folder, id);
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while !processes(folder).is_empty() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !containers {
        return false;
    }
    remove(folder)
}

/// Processes whose root or executable lies below `folder`.
#[cfg(target_os = "linux")]
pub(super) fn processes(folder: &Path) -> Vec<u32> {
    // The kernel names paths without links in them.
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let below = |link: PathBuf| std::fs::read_link(link).is_ok_and(|path| path.starts_with(&folder));
    entries
        .flatten()
        .filter(|entry| below(entry.path().join("root")) || below(entry.path().join("exe")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn processes(_: &Path) -> Vec<u32> {
    Vec::new()
}

/// Removes a folder, those that an image made unwritable included.
fn remove(folder: &Path) -> bool {
    if std::fs::remove_dir_all(folder).is_err() {
        open_up(folder);
        let _ = std::fs::remove_dir_all(folder);
    }
    !folder.exists()
}

#[cfg(unix)]
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(not(unix))]
fn open_up(_: &Path) {}
