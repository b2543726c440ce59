//! go.mod and go.sum: the modules are those that were recorded, and the files say all and only what the
//! sources need.

use super::finding::Finding;
use super::format::first_change;
use super::tool;
use super::{LintSpec, Scope};
use crate::facts::go::cause::{Cause, cause};
use crate::host::process::{Command, Output};

/// `go mod verify`: the downloaded modules are unchanged since their download.
pub(super) fn verify(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    let command = go_mod(&["verify"], spec, scope);
    let (code, output) = tool::finished(&command, scope.cancel)?;
    if code == 0 {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // "example.com/a v1.0.0: dir has been modified (/…/mod/example.com/a@v1.0.0)"
    let findings: Vec<Finding> = text
        .lines()
        .filter(|line| line.contains("has been modified") || line.contains("checksum mismatch"))
        .map(|line| Finding {
            file: shown("go.sum", spec, scope),
            line: None,
            column: None,
            message: line.to_owned(),
            hint: Some("`go clean -modcache`, then run again".to_owned()),
        })
        .collect();
    if findings.is_empty() {
        unreachable(&command, output, "go mod verify", spec, scope)
    } else {
        Ok(findings)
    }
}

/// `go mod tidy -diff`: nothing to add, nothing to drop.
pub(super) fn tidy(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    let command = go_mod(&["tidy", "-diff"], spec, scope);
    let (code, output) = tool::finished(&command, scope.cancel)?;
    if code == 0 {
        return Ok(Vec::new());
    }
    if String::from_utf8_lossy(&output.stderr).contains("flag provided but not defined") {
        scope.progress.warning(
            "whether go.mod is tidy was not looked at: `go mod tidy -diff` needs Go 1.23",
            Some("raise `[tools] go`"),
        );
        return Ok(Vec::new());
    }
    let findings = drift(&String::from_utf8_lossy(&output.stdout), spec, scope);
    if findings.is_empty() { unreachable(&command, output, "go mod tidy", spec, scope) } else { Ok(findings) }
}

fn go_mod(args: &[&str], spec: &LintSpec, scope: &Scope<'_>) -> Command {
    tool::go(&spec.setting, None, scope).arg("mod").args(args).timeout(spec.timeout)
}

/// Without the network a vendored module is complete all the same: its vendor folder is what is built, and
/// Go itself checks that against go.mod. So there it is a warning.
fn unreachable(
    command: &Command,
    output: Output,
    name: &str,
    spec: &LintSpec,
    scope: &Scope<'_>,
) -> anyhow::Result<Vec<Finding>> {
    let kind = cause(&String::from_utf8_lossy(&output.stderr));
    let vendored = spec.setting.module.join("vendor/modules.txt").is_file();
    if kind == Cause::Offline || (kind == Cause::Network && vendored) {
        let message = format!("`{name}` was not run to its end: a module is not in the module cache");
        scope.progress.warning(&message, Some("run once with the network"));
        return Ok(Vec::new());
    }
    Err(tool::failure(command, output))
}

/// A finding for each file of `go mod tidy -diff`'s diff, with the first lines that would come and go.
fn drift(diff: &str, spec: &LintSpec, scope: &Scope<'_>) -> Vec<Finding> {
    const SHOWN: usize = 3;
    let mut findings = Vec::new();
    for part in diff.split("diff current/").skip(1) {
        let name = part.split_whitespace().next().unwrap_or("go.mod");
        let changes: Vec<&str> = part
            .lines()
            .filter(|line| {
                line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---")
            })
            .collect();
        let mut message: Vec<String> =
            changes.iter().take(SHOWN).map(|line| format!("{} {}", &line[..1], line[1..].trim())).collect();
        if changes.len() > SHOWN {
            message.push(format!("and {} more", changes.len() - SHOWN));
        }
        findings.push(Finding {
            file: shown(name, spec, scope),
            line: first_change(part),
            column: None,
            message: format!("not tidy: {}", message.join(", ")),
            hint: Some("`go mod tidy` in the module's folder, then commit go.mod and go.sum".to_owned()),
        });
    }
    findings
}

fn shown(name: &str, spec: &LintSpec, scope: &Scope<'_>) -> std::path::PathBuf {
    scope.workspace.shown(&spec.setting.module.join(name)).to_owned()
}
