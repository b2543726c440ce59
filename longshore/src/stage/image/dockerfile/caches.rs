//! `cache-from` and `cache-to`, as the engines take them, and whether a folder among them can be written. A cache that can't be exported costs a warning: the image is none the worse for it.

use std::path::Path;

use crate::host::files;

/// What buildx is told to export to, and why the others are left out.
pub(super) fn exports(asked: &[String], root: &Path) -> (Vec<String>, Vec<String>) {
    let (mut told, mut lost) = (Vec::new(), Vec::new());
    for cache in asked {
        if let Some(folder) = folder(cache)
            && let Err(error) = writable(&root.join(folder))
        {
            lost.push(format!("`{folder}` can't be written: {error:#}"));
            continue;
        }
        told.push(forgiving(cache));
    }
    (told, lost)
}

/// With the word that keeps a failed export from failing the build.
fn forgiving(cache: &str) -> String {
    let typed = if cache.contains('=') { cache.to_owned() } else { format!("type=registry,ref={cache}") };
    if typed.starts_with("type=inline") || typed.contains("ignore-error=") {
        return typed;
    }
    format!("{typed},ignore-error=true")
}

/// Where a local cache goes.
fn folder(cache: &str) -> Option<&str> {
    let mut parts = cache.split(',');
    let local = parts.clone().any(|part| part == "type=local");
    parts.find_map(|part| part.strip_prefix("dest=")).filter(|_| local)
}

fn writable(folder: &Path) -> anyhow::Result<()> {
    files::make_folder(folder)?;
    tempfile::tempfile_in(folder)?;
    Ok(())
}

/// What BuildKit's plain output says of an export that failed in a build that did not.
pub(super) fn unexported(said: &str) -> Option<&str> {
    let exporting = said.lines().filter_map(|line| {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        rest.starts_with("exporting cache").then_some(number)
    });
    let numbers: Vec<&str> = exporting.collect();
    said.lines().find_map(|line| {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        rest.strip_prefix("ERROR: ").filter(|_| numbers.contains(&number))
    })
}

/// What buildah says where it could build, and not push what its cache lacks.
pub(super) fn unpushed(said: &str) -> Option<&str> {
    said.lines()
        .find_map(|line| line.strip_prefix("Error: ").filter(|line| line.contains("pushing cache to")))
}

/// The repository of a registry's cache.
pub(super) fn reference(cache: &str) -> &str {
    cache.split(',').find_map(|part| part.strip_prefix("ref=")).unwrap_or(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_fails_is_forgiven_and_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let asked =
            ["type=registry,ref=r/x", "r/y", "type=inline", "type=local,dest=a/b", "type=local,dest=file/c"];
        let (told, lost) = exports(&asked.map(str::to_owned), root.path());
        assert_eq!(
            told,
            [
                "type=registry,ref=r/x,ignore-error=true",
                "type=registry,ref=r/y,ignore-error=true",
                "type=inline",
                "type=local,dest=a/b,ignore-error=true",
            ]
        );
        assert!(lost.len() == 1 && lost[0].starts_with("`file/c` can't be written"), "{lost:?}");
        let said = "#6 [2/2] RUN x\n#6 ERROR: a step's\n#7 exporting cache to registry\n#7 ERROR: refused\n";
        assert_eq!(unexported(said), Some("refused"));
        assert_eq!(unexported("#6 [2/2] RUN x\n#6 ERROR: a step's\n"), None);
        assert_eq!(
            unpushed("COMMIT x\nError: failed pushing cache to {r}: no\n"),
            Some("failed pushing cache to {r}: no")
        );
        assert_eq!(unpushed("Error: building at STEP \"RUN x\": exit status 1\n"), None);
    }
}
