//! golangci-lint as `[tools]` pins it: with the repository's own settings or none, never the user's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, located};
use super::{LintSpec, Scope, tool};
use crate::facts::go;
use crate::fault::{Exit, Fault};
use crate::host::process::{Command, Output};

/// Its exit code for findings: other than all that it gives for faults of its own (1 to 7).
const FINDINGS: i32 = 10;

/// What a run of it follows from, beside the sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `2.11.4`
    pub version: String,
    /// What the user adds: `[stages.lint] golangci-args`.
    pub args: Vec<String>,
    /// Its own settings, from the repository's root.
    pub settings: Option<PathBuf>,
}

/// The nearest settings file from `folder` up to the repository's root, as golangci-lint looks for it, but no
/// further: what lies above or in somebody's home is not the repository's.
pub fn settings(root: &Path, folder: &Path) -> Option<PathBuf> {
    const NAMES: [&str; 4] = [".golangci.yml", ".golangci.yaml", ".golangci.toml", ".golangci.json"];
    let mut folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
    folders.find_map(|folder| NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file()))
}

/// Runs it over the spec's packages.
///
/// # Errors
/// [`Exit::Machine`] where it is missing, can't read its settings, or breaks: no verdict.
pub(super) fn lint(options: &Options, spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    let Some(program) = &scope.tools.golangci_lint else {
        return Err(Fault::new(Exit::Machine, "no verdict: `golangci-lint` is not installed")
            .hint("`setup` installs what `[tools]` pins")
            .into());
    };
    if spec.packages.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = tool::go(&spec.setting, spec.platform.as_ref(), scope);
    command.program = program.clone().into_os_string();
    // It runs the Go that PATH names: the selected one.
    let command = with_go_first(command, spec, scope)?;
    let lines = if options.version.starts_with("1.") {
        "print-issued-lines"
    } else {
        "output.text.print-issued-lines"
    };
    let command = command
        .args(["run", "--color=never", "--allow-parallel-runners"])
        .args([format!("--issues-exit-code={FINDINGS}"), format!("--{lines}=false")])
        .arg(format!("--timeout={}s", spec.timeout.as_secs()));
    let chosen = options.args.iter().any(|arg| arg == "-c" || arg.contains("-config"));
    let command = match &options.settings {
        _ if chosen => command,
        Some(file) => command.arg("--config").arg(scope.workspace.root.join(file)),
        None => command.arg("--no-config"),
    };
    let command = command
        .args(&options.args)
        .arg("--")
        .args(&spec.packages)
        .timeout(spec.timeout + Duration::from_secs(30));
    let (code, output) = tool::finished(&command, scope.cancel)?;
    match code {
        0 => Ok(Vec::new()),
        FINDINGS => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let findings = located(&text, &spec.setting.module, scope.workspace);
            if findings.is_empty() { Err(failure(&command, output, options)) } else { Ok(findings) }
        }
        _ => Err(failure(&command, output, options)),
    }
}

fn with_go_first(command: Command, spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Command> {
    let toolchain = go::toolchain(&scope.tools.go, &spec.setting, scope.environment, scope.cancel)?;
    let mut folders = vec![toolchain.goroot.join("bin")];
    folders.extend(scope.environment.get("PATH").iter().flat_map(std::env::split_paths));
    let path = std::env::join_paths(folders)?;
    Ok(command.env("PATH", path))
}

/// It broke, or could not read what tells it what to do.
fn failure(command: &Command, output: Output, options: &Options) -> anyhow::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let words =
        ["can't load config", "unknown linters", "unknown flag", "unsupported version of the configuration"];
    if !words.iter().any(|word| said.contains(word)) {
        return tool::failure(command, output);
    }
    let fault = match &options.settings {
        Some(file) => {
            Fault::new(Exit::Machine, format!("no verdict: golangci-lint can't use `{}`", file.display()))
        }
        None => Fault::new(Exit::Machine, "no verdict: golangci-lint can't use `golangci-args`"),
    };
    let fault = fault.hint(format!("mend it as golangci-lint {} says above", options.version));
    match command.checked(output) {
        Ok(_) => fault.into(),
        Err(error) => anyhow::anyhow!(error).context(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_settings_within_the_repository_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        let module = root.join("services");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(folder.path().join(".golangci.yml"), "").unwrap();
        assert_eq!(settings(&root, &module), None);
        std::fs::write(root.join(".golangci.toml"), "").unwrap();
        assert_eq!(settings(&root, &module), Some(root.join(".golangci.toml")));
        std::fs::write(module.join(".golangci.yaml"), "").unwrap();
        assert_eq!(settings(&root, &module), Some(module.join(".golangci.yaml")));
    }
}
