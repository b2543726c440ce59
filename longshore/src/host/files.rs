//! Files, written whole or not at all.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::fault::{Exit, FaultContext as _};

/// Writes `bytes` beside `path`, then renames: a reader sees the old file or the new one.
/// Parent folders are made.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let shown = || format!("could not write `{}`", path.display());
    std::fs::create_dir_all(folder).fault(Exit::Machine, shown())?;
    let mut file =
        tempfile::Builder::new().prefix(".longshore-").tempfile_in(folder).fault(Exit::Machine, shown())?;
    file.write_all(bytes).fault(Exit::Machine, shown())?;
    file.persist(path).fault(Exit::Machine, shown())?;
    Ok(())
}

/// The text of a file, or `None` where there is none.
pub fn read_optional(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read `{}`", path.display())),
    }
}
