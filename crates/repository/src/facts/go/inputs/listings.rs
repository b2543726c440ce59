//! Listings, kept with the fingerprint of all that they were made from, so that Go is asked again only when some
//! of that changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use super::{Group, Question};
use crate::digest::Digest;
use crate::facts::go::{Listing, Package, Toolchain, list};
use crate::fault::{Exit, Fault};
use crate::fingerprint::{self, Hashes, Preimage, Roots};
use crate::host::{clock, files};

/// A listing with the fingerprint of everything that it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    made_from: Digest,
    listing: Listing,
}

/// What is known of a group's listing before its inputs were looked at.
#[derive(Debug)]
pub(super) enum Known {
    /// Of an earlier run.
    Kept(Kept),
    /// Of Go, asked at that time since 1970.
    Listed(Duration, Listing),
}

/// Asks Go for the listings that no earlier run has kept, several at once, while `other` runs.
pub(super) fn beside<T>(
    question: Question<'_>,
    groups: &[&Group],
    other: impl FnOnce() -> T,
) -> (Vec<anyhow::Result<Known>>, T) {
    let mut known: Vec<Option<anyhow::Result<Known>>> =
        groups.iter().map(|group| kept(question, group).map(|kept| Ok(Known::Kept(kept)))).collect();
    let next = AtomicUsize::new(0);
    let missing: Vec<usize> = (0..groups.len()).filter(|index| known[*index].is_none()).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    let (answers, result) = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                threads.spawn(|| {
                    let mut answers = Vec::new();
                    while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let started = clock::now_precise();
                        let listed = ask(question, groups[*index]);
                        answers.push((*index, listed.map(|listing| Known::Listed(started, listing))));
                    }
                    answers
                })
            })
            .collect();
        let result = other();
        let answers: Vec<_> =
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect();
        (answers, result)
    });
    for (index, answer) in answers {
        known[index] = Some(answer);
    }
    let known = known.into_iter();
    (known.map(|known| known.unwrap_or_else(|| Err(anyhow!("internal: no listing")))).collect(), result)
}

fn file(question: Question<'_>, group: &Group) -> anyhow::Result<PathBuf> {
    let mut name = Preimage::default();
    name.add("setting", serde_json::to_string(&group.setting)?);
    name.add("platform", group.platform.to_string());
    name.add("tags", group.tags.join(","));
    name.add("packages", format!("{:?}", group.folders));
    Ok(question.workspace.state.join("listings-v1").join(name.key().hex()))
}

fn kept(question: Question<'_>, group: &Group) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(file(question, group).ok()?).ok()?).ok()
}

/// The listing that holds now: a kept one only if all that it was made from is as it was.
///
/// # Errors
/// Packages that Go can't load; a file that can't be read.
pub(super) fn settle(
    question: Question<'_>,
    group: &Group,
    known: Known,
    chosen: &Toolchain,
    programs: &Preimage,
    hashes: &mut Hashes,
) -> anyhow::Result<Listing> {
    let (started, listing) = match known {
        // A folder that is gone is an error here, and a reason to ask Go again.
        Known::Kept(kept)
            if made_from(question, group, &kept.listing, chosen, programs, hashes)
                .is_ok_and(|found| found == kept.made_from) =>
        {
            return Ok(kept.listing);
        }
        Known::Kept(_) => (clock::now_precise(), ask(question, group)?),
        Known::Listed(started, listing) => (started, listing),
    };
    refuse_absolute_replacements(&listing)?;
    let made_from = made_from(question, group, &listing, chosen, programs, hashes)?;
    let kept = Kept { made_from, listing };
    // What was edited while Go looked at it may not be what it saw.
    if !question.read_only && !hashes.changed_since(started) {
        files::write(&file(question, group)?, &serde_json::to_vec(&kept)?)?;
    }
    Ok(kept.listing)
}

fn ask(question: Question<'_>, group: &Group) -> anyhow::Result<Listing> {
    let packages: Vec<String> = group
        .folders
        .iter()
        .map(|folder| {
            let below = folder.strip_prefix(&group.setting.module).unwrap_or(folder);
            if below.as_os_str().is_empty() { ".".to_owned() } else { format!("./{}", below.display()) }
        })
        .collect();
    list(
        question.go,
        &group.setting,
        &group.platform,
        &group.tags,
        &packages,
        question.environment,
        question.cancel,
    )
}

/// Everything that can change what Go lists.
fn made_from(
    question: Question<'_>,
    group: &Group,
    listing: &Listing,
    chosen: &Toolchain,
    programs: &Preimage,
    hashes: &mut Hashes,
) -> anyhow::Result<Digest> {
    let roots = Roots::new(&question.workspace.root, chosen);
    let all: Vec<&Package> = listing.packages.iter().collect();
    let mut preimage = fingerprint::of_packages(&all, &roots, hashes)?;
    preimage.merge(programs);
    preimage.merge(&modules(group, &roots, hashes)?);
    let prefix = format!("{}/", main_module(listing));
    // A folder of the main module that appears may come before a dependency's package.
    for package in &listing.packages {
        if let Some(module) = &package.module
            && let Some(below) = package.import_path.strip_prefix(&prefix)
            && !module.main
        {
            let folder = group.setting.module.join(below);
            preimage.add(roots.name(&folder), folder.exists().to_string());
        }
    }
    Ok(preimage.key())
}

fn main_module(listing: &Listing) -> &str {
    let mut modules = listing.packages.iter().filter_map(|package| package.module.as_ref());
    modules.find(|module| module.main).map_or("", |module| &module.path)
}

/// go.mod, go.sum, go.work and what they lead to in the repository.
pub(super) fn modules(group: &Group, roots: &Roots, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut preimage = Preimage::default();
    let module = &group.setting.module;
    let mut files =
        vec![module.join("go.mod"), module.join("go.sum"), module.join("vendor").join("modules.txt")];
    files.extend(group.setting.work.iter().flat_map(|work| [work.clone(), work.with_extension("work.sum")]));
    for folder in local_folders(&module.join("go.mod")) {
        files.push(folder.join("go.mod"));
    }
    if let Some(work) = &group.setting.work {
        files.extend(local_folders(work).into_iter().map(|folder| folder.join("go.mod")));
    }
    for file in files {
        preimage.add(roots.name(&file), hashes.file(&file)?);
    }
    Ok(preimage)
}

/// The folders that a go.mod's `replace` or a go.work's `use` lines name: words that begin with a dot.
fn local_folders(file: &Path) -> Vec<PathBuf> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let base = file.parent().unwrap_or(Path::new("."));
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches('"'))
        .filter(|word| word.starts_with('.'))
        .map(|word| base.join(word))
        .collect()
}

/// An absolute path would enter the binary, even with `-trimpath`.
fn refuse_absolute_replacements(listing: &Listing) -> anyhow::Result<()> {
    for module in listing.packages.iter().filter_map(|package| package.module.as_ref()) {
        if let Some(replace) = &module.replace
            && Path::new(&replace.path).is_absolute()
        {
            let message = format!("`{}` is replaced by the absolute path `{}`", module.path, replace.path);
            return Err(Fault::new(Exit::Usage, message)
                .hint(
                    "the path would become part of the binary: replace it by a relative one, or use go.work",
                )
                .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_folders_are_found_in_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go.mod");
        std::fs::write(&file, "replace a => ../a // ./no\nuse (\n\t./b\n\t.\n)\nrequire c v1\n").unwrap();
        let found = local_folders(&file);
        assert_eq!(found, ["../a", "./b", "."].map(|path| folder.path().join(path)));
    }
}
