//! Locks between processes: files that the kernel unlocks when their holder ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};

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
    let shown = || format!("could not lock `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .fault(Exit::Machine, shown())?;
    let mut told = false;
    loop {
        let taken = match kind {
            Kind::Shared => file.try_lock_shared(),
            Kind::Exclusive => file.try_lock(),
        };
        match taken {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).fault(Exit::Machine, shown()),
            Err(TryLockError::WouldBlock) => {}
        }
        if cancel.is_set() {
            let exit = if cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
            return Err(Fault::new(exit, "stopped").into());
        }
        if !told {
            waiting();
            told = true;
        }
        // The kernel's own waiting can't be ended by our cancellation.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
