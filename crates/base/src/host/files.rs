//! Files, written whole or not at all.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::fault::{Exit, FaultContext as _};

/// A file being written, in the folder where it will lie: gone when dropped, unless it is kept.
#[derive(Debug)]
pub struct Draft(tempfile::NamedTempFile);

impl Draft {
    /// Opens a draft in `folder`, which is made. The kept file has the permissions of any new file.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let shown = || format!("could not write into `{}`", folder.display());
        std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".longshore-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        Ok(Self(builder.tempfile_in(folder).fault(Exit::Machine, shown())?))
    }

    /// One in the folder of temporary files, which is not kept.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn temporary() -> anyhow::Result<Self> {
        let made = tempfile::NamedTempFile::new();
        Ok(Self(made.fault(Exit::Machine, "could not write a temporary file")?))
    }

    /// Where the draft lies while it is written.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Starts again from nothing.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn clear(&mut self) -> anyhow::Result<()> {
        let shown = format!("could not write `{}`", self.0.path().display());
        let file = self.0.as_file_mut();
        file.set_len(0).and_then(|()| std::io::Seek::rewind(file)).fault(Exit::Machine, shown)
    }

    /// Renames it to `path`, which must be on the same file system; what was there is replaced.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn keep(self, path: &Path) -> anyhow::Result<()> {
        self.0.persist(path).fault(Exit::Machine, format!("could not write `{}`", path.display()))?;
        Ok(())
    }
}

impl std::io::Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.as_file_mut().flush()
    }
}

/// As [`write`], but leaves a file alone that has these bytes already.
///
/// # Errors
/// As [`write`].
pub fn keep(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    write(path, bytes)
}

/// Writes `bytes` beside `path`, then renames: a reader sees the old file or the new one.
/// Parent folders are made.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut draft = Draft::new(path.parent().unwrap_or(Path::new(".")))?;
    draft.write_all(bytes).fault(Exit::Machine, format!("could not write `{}`", path.display()))?;
    draft.keep(path)
}

/// As [`write`], in a folder that is made for this user alone. The file itself may be read by whoever it is
/// handed to: a container's user, to whom it is mounted.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let shown = || format!("could not write `{}`", path.display());
    std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
    permit(folder, 0o700).fault(Exit::Machine, shown())?;
    let mut draft = Draft::new(folder)?;
    draft.write_all(bytes).and_then(|()| permit(draft.path(), 0o444)).fault(Exit::Machine, shown())?;
    draft.keep(path)
}

#[cfg(unix)]
fn permit(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Elsewhere a folder below the user's own is private as it is.
#[cfg(not(unix))]
fn permit(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// Writes a file that only its owner may read; `false` where there is one already.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn write_new_private(path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    let shown = || format!("could not write `{}`", path.display());
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    // The library gives such a file to its owner alone.
    let mut file =
        tempfile::Builder::new().prefix(".longshore-").tempfile_in(folder).fault(Exit::Machine, shown())?;
    file.write_all(bytes).fault(Exit::Machine, shown())?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error).fault(Exit::Machine, shown()),
    }
}

/// Moves a file that nobody else has, replacing what is there; parent folders are made. Between file
/// systems it is copied beside `to` first.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let shown = || format!("could not write `{}`", to.display());
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let draft = Draft::new(folder)?;
            std::fs::copy(from, draft.path()).fault(Exit::Machine, shown())?;
            draft.keep(to)
        }
        done => done.fault(Exit::Machine, shown()),
    }
}

/// Makes a folder, and those above it.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).fault(Exit::Machine, format!("could not make `{}`", path.display()))
}

/// A new folder in `parent`, which goes with all in it when dropped.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn folder_aside(parent: &Path, prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    make_folder(parent)?;
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
    made.fault(Exit::Machine, format!("could not make a folder in `{}`", parent.display()))
}

/// Another umask for this process and what it starts, until it is dropped. Only while nothing else is written.
#[derive(Debug)]
pub struct Umask {
    #[cfg(unix)]
    before: nix::sys::stat::Mode,
}

impl Umask {
    /// The narrowest one, or where it is that one already the usual one.
    pub fn other() -> Self {
        #[cfg(unix)]
        {
            use nix::sys::stat::{Mode, umask};
            let narrow = Mode::S_IRWXG | Mode::S_IRWXO;
            let before = umask(narrow);
            if before == narrow {
                umask(Mode::S_IWGRP | Mode::S_IWOTH);
            }
            Self { before }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        #[cfg(unix)]
        nix::sys::stat::umask(self.before);
    }
}

/// Adds to the end of a file, which is made: those that a CI system hands to every step.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn append(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = || format!("could not write `{}`", path.display());
    let mut file =
        std::fs::File::options().create(true).append(true).open(path).fault(Exit::Machine, shown())?;
    file.write_all(bytes).fault(Exit::Machine, shown())
}

/// Removes a file, or a folder with all in it; where there is none, nothing.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.fault(Exit::Machine, format!("could not remove `{}`", path.display()))
}

/// Removes the folders in `folder` whose names begin with `prefix`. One that stays is in the way of
/// nothing, and is tried again by the next run.
pub fn remove_folders(folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// As [`remove_folders`], for those that nothing was made in for longer than `age`.
pub fn remove_old_folders(folder: &Path, prefix: &str, age: std::time::Duration) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|modified| super::clock::age(modified) > age);
        if old && entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The text of a file, or `None` where there is none.
pub fn read_optional(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read `{}`", path.display())),
    }
}
