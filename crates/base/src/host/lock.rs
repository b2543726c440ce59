//! Locks between processes: files that the kernel unlocks when their holder ends, however it ends.
//!
//! One run at a time in a work tree holds a [`Lock`], whose file says by whom it is held. The kernel's lock
//! alone is the truth: what the file says is for the message to the one who waits, and may be stale.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock;
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};

/// How often a held lock is tried again.
const TRY: Duration = Duration::from_millis(50);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    /// Seconds since 1970.
    pub since: u64,
}

/// What to do while another run holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    UntilFree,
    /// [`Exit::Conflict`].
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With others who only read.
    Shared,
    Exclusive,
}

/// Locks `path` (made where there is none) until the file that it gives is dropped. `waiting` is called
/// once, when somebody else holds it.
///
/// # Errors
/// [`Exit::Machine`] where the file system can't; an interruption.
pub fn wait(path: &Path, kind: Kind, cancel: &Cancel, waiting: &dyn Fn()) -> anyhow::Result<File> {
    locked(path, kind, cancel, &mut |_| {
        waiting();
        Ok(())
    })
}

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of the file at `path`, which is made with its folder. While another run holds it,
    /// `waiting` is told once by whom, as a message.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where it is held and not waited for; the signal's exit where the wait is
    /// cancelled; [`Exit::Machine`] where the file can't be opened or locked.
    pub fn take(
        path: &Path,
        command: &str,
        wait: Wait,
        cancel: &Cancel,
        waiting: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let mut file = locked(path, Kind::Exclusive, cancel, &mut |file| {
            let holder = holder(file);
            match wait {
                Wait::UntilFree => waiting(&format!("waiting for {holder} to end")),
                Wait::Never => {
                    return Err(Fault::new(Exit::Conflict, format!("{holder} holds the lock"))
                        .hint("wait for it to end, then run again")
                        .into());
                }
            }
            Ok(())
        })?;
        sign(&mut file, command).fault(Exit::Machine, format!("could not lock `{}`", path.display()))?;
        Ok(Self(file))
    }
}

/// Waits for the lock; `waiting` is called once, and may refuse.
fn locked(
    path: &Path,
    kind: Kind,
    cancel: &Cancel,
    waiting: &mut dyn FnMut(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<File> {
    let failed = || format!("could not lock `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).fault(Exit::Machine, failed())?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).fault(Exit::Machine, failed())?;
    let mut told = false;
    loop {
        let taken = match kind {
            Kind::Shared => file.try_lock_shared(),
            Kind::Exclusive => file.try_lock(),
        };
        match taken {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).fault(Exit::Machine, failed()),
            Err(TryLockError::WouldBlock) => {}
        }
        if let Some(signal) = cancel.signal() {
            let exit = if signal == 15 { Exit::Terminated } else { Exit::Interrupted };
            return Err(Fault::new(exit, "stopped while waiting for a lock").into());
        }
        if !std::mem::replace(&mut told, true) {
            waiting(&mut file)?;
        }
        // The kernel's own waiting can't be ended by our cancellation.
        std::thread::sleep(TRY);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: removed, two runs could hold locks of two files of one name.
        let _ = self.0.set_len(0);
    }
}

fn sign(file: &mut File, command: &str) -> std::io::Result<()> {
    let holder = Holder { pid: std::process::id(), command: command.to_owned(), since: clock::now() };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(&holder)?)
}

/// In words: "`release` (process 42, since 2026-11-21T06:30:00Z)". Windows lets nobody read a locked file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok()) {
        Some(Holder { pid, command, since }) => {
            format!("`{command}` (process {pid}, since {})", clock::rfc3339(since))
        }
        None => "another run".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn never(path: &Path) -> anyhow::Result<Lock> {
        Lock::take(path, "second", Wait::Never, &Cancel::default(), &mut |_| {})
    }

    #[test]
    fn a_held_lock_is_a_conflict_that_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/lock");
        let held = Lock::take(&path, "release", Wait::UntilFree, &Cancel::default(), &mut |_| {}).unwrap();
        let error = never(&path).unwrap_err();
        assert_eq!(crate::fault::exit_of(&error), Exit::Conflict);
        let expected = format!("`release` (process {}, since 2", std::process::id());
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(held);
        never(&path).unwrap();
    }

    #[test]
    fn what_a_killed_run_wrote_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, r#"{"pid":1,"command":"release","since":1}"#).unwrap();
        never(&path).unwrap();
        std::fs::write(&path, "torn").unwrap();
        never(&path).unwrap();
    }

    #[test]
    fn one_waits_for_the_other_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = never(&path).unwrap();
        let (sender, receiver) = mpsc::channel();
        let wait = |cancel: &Cancel| {
            let (path, cancel, sender) = (path.clone(), cancel.clone(), sender.clone());
            std::thread::spawn(move || {
                let mut told = |text: &str| sender.send(text.to_owned()).unwrap();
                Lock::take(&path, "third", Wait::UntilFree, &cancel, &mut told).map(drop)
            })
        };
        let (stopped, patient) = (Cancel::default(), Cancel::default());
        let impatient = wait(&stopped);
        assert!(receiver.recv().unwrap().starts_with("waiting for `second`"));
        stopped.set(15);
        let error = impatient.join().unwrap().unwrap_err();
        assert_eq!(crate::fault::exit_of(&error), Exit::Terminated);
        let waiter = wait(&patient);
        receiver.recv().unwrap();
        drop(held);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn readers_share_and_a_writer_waits_until_it_is_told_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("lock");
        let cancel = Cancel::default();
        let quiet = || {};
        let one = wait(&path, Kind::Shared, &cancel, &quiet).unwrap();
        let two = wait(&path, Kind::Shared, &cancel, &quiet).unwrap();
        let stopped = wait(&path, Kind::Exclusive, &cancel, &|| cancel.set(15)).unwrap_err();
        assert_eq!(crate::fault::exit_of(&stopped), Exit::Terminated);
        drop((one, two));
        wait(&path, Kind::Exclusive, &Cancel::default(), &|| panic!("nobody holds it")).unwrap();
    }
}
