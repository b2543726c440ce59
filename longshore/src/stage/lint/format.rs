//! gofmt: which files it would change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::finding::{Finding, file, located};
use super::{LintSpec, Scope, tool};
use crate::facts::go;
use crate::host::process::Command;

/// Bytes of file names in one command: Windows allows 32 KiB in all.
const BATCH: usize = 24 * 1024;

/// A package as far as the checks of its files and its name go (`go help list`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Sources {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    go_files: Vec<String>,
    cgo_files: Vec<String>,
    ignored_go_files: Vec<String>,
    invalid_go_files: Vec<String>,
    test_go_files: Vec<String>,
    x_test_go_files: Vec<String>,
}

impl Sources {
    fn files(&self) -> impl Iterator<Item = &String> {
        [
            &self.go_files,
            &self.cgo_files,
            &self.ignored_go_files,
            &self.invalid_go_files,
            &self.test_go_files,
            &self.x_test_go_files,
        ]
        .into_iter()
        .flatten()
    }
}

/// The packages of the spec, without a look at what they import, faulty ones included.
pub(super) fn sources(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Sources>> {
    const FIELDS: &str =
        "-json=Dir,Name,GoFiles,CgoFiles,IgnoredGoFiles,InvalidGoFiles,TestGoFiles,XTestGoFiles";
    if spec.packages.is_empty() {
        return Ok(Vec::new());
    }
    let command = tool::go(&spec.setting, spec.platform.as_ref(), scope)
        .args(["list", "-e", "-find", FIELDS])
        .args(&spec.flags)
        .arg("--")
        .args(&spec.packages)
        .timeout(spec.timeout);
    let (code, output) = tool::finished(&command, scope.cancel)?;
    if code != 0 {
        return Err(tool::failure(&command, output));
    }
    let packages: Result<Vec<Sources>, _> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect();
    Ok(packages?)
}

/// Files that gofmt would change, at the first line it would, and files that it can't parse.
pub(super) fn unformatted(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    let module = &spec.setting.module;
    let files: BTreeSet<PathBuf> = sources(spec, scope)?
        .iter()
        .flat_map(|package| package.files().map(|name| package.dir.join(name)))
        .collect();
    let program = gofmt(spec, scope)?;
    let mut findings = Vec::new();
    for batch in batches(&files, module) {
        let command = Command::new(&program).cwd(module).arg("-l").args(batch).timeout(spec.timeout);
        let (code, output) = tool::finished(&command, scope.cancel)?;
        let faulty = located(&String::from_utf8_lossy(&output.stderr), module, scope.workspace);
        if code != 0 && faulty.is_empty() {
            return Err(tool::failure(&command, output));
        }
        findings.extend(faulty);
        for name in String::from_utf8_lossy(&output.stdout).lines() {
            findings.push(finding(&program, name, spec, scope)?);
        }
    }
    Ok(findings)
}

fn finding(program: &Path, name: &str, spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Finding> {
    let module = &spec.setting.module;
    let command = Command::new(program).cwd(module).arg("-d").arg(name).timeout(spec.timeout);
    let (_, output) = tool::finished(&command, scope.cancel)?;
    Ok(Finding {
        file: file(name, module, scope.workspace),
        line: first_change(&String::from_utf8_lossy(&output.stdout)),
        column: None,
        message: "not formatted".to_owned(),
        hint: Some("`gofmt -w` on the files, or `go fmt ./...` in the module's folder".to_owned()),
    })
}

/// The gofmt of the selected toolchain: another version's has other opinions.
fn gofmt(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<PathBuf> {
    let toolchain = go::toolchain(&scope.tools.go, &spec.setting, scope.environment, scope.cancel)?;
    Ok(toolchain.goroot.join("bin").join(format!("gofmt{}", std::env::consts::EXE_SUFFIX)))
}

/// The files in commands that every system takes; `./` keeps a name from being a flag.
fn batches(files: &BTreeSet<PathBuf>, module: &Path) -> Vec<Vec<PathBuf>> {
    let mut batches: Vec<Vec<PathBuf>> = Vec::new();
    let mut bytes = BATCH;
    for file in files {
        let name = match file.strip_prefix(module) {
            Ok(inside) => Path::new(".").join(inside),
            Err(_) => file.clone(),
        };
        let length = name.as_os_str().len() + 1;
        if bytes + length > BATCH {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(batch) = batches.last_mut() {
            batch.push(name);
        }
    }
    batches
}

/// The first line of a unified diff's old side that goes, or after which one comes.
pub(super) fn first_change(diff: &str) -> Option<u32> {
    let mut line: Option<u32> = None;
    for text in diff.lines() {
        if let Some(hunk) = text.strip_prefix("@@ -") {
            let digits = hunk.split([',', ' ']).next()?;
            line = Some(digits.parse().ok()?);
        } else if let Some(number) = line {
            match text.as_bytes().first() {
                Some(b' ') => line = Some(number + 1),
                _ => return Some(number.max(1)),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_counted_on_the_old_side() {
        let diff = "diff a b\n--- a\n+++ b\n@@ -4,4 +4,5 @@\n x\n y\n-z\n+w\n";
        assert_eq!(first_change(diff), Some(6));
        assert_eq!(first_change("@@ -0,0 +1 @@\n+x\n"), Some(1));
        assert_eq!(first_change(""), None);
    }

    #[test]
    fn batches_hold_all_files_within_the_limit() {
        let files: BTreeSet<PathBuf> = (0..3000).map(|n| PathBuf::from(format!("/m/p/file{n}.go"))).collect();
        let batches = batches(&files, Path::new("/m"));
        assert!(batches.len() > 1);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 3000);
        for batch in &batches {
            assert!(batch.iter().map(|name| name.as_os_str().len() + 1).sum::<usize>() <= BATCH);
            assert!(batch.iter().all(|name| name.starts_with("./p")));
        }
    }
}
