//! An image's files in a folder, and the program in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::deploy::image::Local;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::supervisor::Spec;
use crate::stage::verify::local::{PATH, program};
use crate::stage::verify::root::Root;

/// The image unpacked below `folder`, whole: taken as it is where it was unpacked before.
pub(super) fn unpack(folder: &Path, image: &Local, cancel: &Cancel) -> anyhow::Result<PathBuf> {
    let shown = format!("could not write into `{}`", folder.display());
    let target = folder.join(&image.image.manifest_digest.hex()[..16]);
    if target.is_dir() {
        return Ok(target);
    }
    std::fs::create_dir_all(folder).fault(Exit::Machine, &shown)?;
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(folder).fault(Exit::Machine, &shown)?;
    image.image.unpack(&aside.path().join("root"), cancel)?;
    std::fs::rename(aside.path().join("root"), &target).fault(Exit::Machine, &shown)?;
    Ok(target)
}

/// What the image says is to be run, as paths of this machine.
///
/// # Errors
/// [`Exit::Failed`] for an image without a program.
pub(super) fn spec(
    folder: &Path,
    image: &Local,
    mut env: BTreeMap<String, String>,
    grace: Duration,
    service: &str,
) -> anyhow::Result<Spec> {
    let root = Root::new(folder);
    let argv = image.image.argv();
    let bad =
        |why: String| Fault::new(Exit::Failed, format!("`{service}` can't be started from its image: {why}"));
    let Some((name, args)) = argv.split_first() else {
        return Err(bad("it names no program".to_owned()).into());
    };
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    env.entry("HOME".to_owned()).or_insert_with(|| "/".to_owned());
    let program = program(&root, name, &env).ok_or_else(|| bad(format!("there is no `{name}` in it")))?;
    let cwd = root.resolve(Path::new(&image.image.config.config.working_dir))?;
    std::fs::create_dir_all(&cwd).fault(Exit::Machine, "could not make a working folder")?;
    Ok(Spec { program, args: args.to_vec(), env, cwd, grace: grace.as_secs() })
}

/// Removes what was unpacked before, but the last but one: to go back to at once.
pub(super) fn sweep(folder: &Path, kept: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut old: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path() != kept)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.sort();
    old.pop();
    for (_, path) in old {
        let _ = std::fs::remove_dir_all(path);
    }
}
