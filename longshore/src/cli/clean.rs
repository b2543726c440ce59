//! `clean`: removes what the next run makes again, and says how much it was. Never the ledger, never what a
//! deployment runs from.

use std::path::Path;

use super::{CleanArgs, Global};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::lock::{Lock, Wait};
use crate::report;
use crate::report::measure::{bytes, plural};
use crate::session::place;
use crate::workspace::Workspace;

/// What a clone remembers of its runs only to save time. The rest of its state is in use: the lock, what runs.
const REMEMBERED: [&str; 5] = ["inputs", "listings-v1", "stat-v1", "journal.jsonl", "journal.previous.jsonl"];

/// Removes `dist/` and what this clone remembers, or with a size shrinks the user's store.
///
/// # Errors
/// [`crate::fault::Exit::Machine`] where something can't be removed.
pub fn clean(
    global: &Global,
    environment: &Environment,
    cancel: &Cancel,
    args: &CleanArgs,
) -> anyhow::Result<u8> {
    let (_, workspace) = place(global, environment, cancel)?;
    let text = match args.max_size {
        Some(limit) => {
            let trimmed = Cache::new(&workspace.cache).trim(limit);
            format!(
                "removed {}, {}, of the user's store; {} are left",
                plural(trimmed.files, "file"),
                bytes(trimmed.bytes),
                bytes(trimmed.left)
            )
        }
        None => results(&workspace, cancel)?,
    };
    report::result(&text);
    Ok(0)
}

fn results(workspace: &Workspace, cancel: &Cancel) -> anyhow::Result<String> {
    let waiting = &mut |message: &str| report::note(message);
    let lock = workspace.state.join("lock");
    let _lock = Lock::take(&lock, "clean", Wait::UntilFree, cancel, waiting)?;
    let mut removed = (0, 0);
    for path in REMEMBERED.iter().map(|name| workspace.state.join(name)).chain([workspace.dist.clone()]) {
        let (count, size) = size(&path);
        files::remove(&path)?;
        removed = (removed.0 + count, removed.1 + size);
    }
    let what = format!("{} and what this clone remembers", crate::stage::shown(workspace, &workspace.dist));
    Ok(format!("removed {what}: {}, {}", plural(removed.0, "file"), bytes(removed.1)))
}

/// The files below a path, and their bytes. Links are not followed.
fn size(path: &Path) -> (usize, u64) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return (0, 0) };
    if !metadata.is_dir() {
        return (1, metadata.len());
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).fold((0, 0), |sum, found| (sum.0 + found.0, sum.1 + found.1))
}
