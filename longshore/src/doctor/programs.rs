//! Git, Go, the pinned tools, Docker: asked, never installed.

use std::path::Path;
use std::time::Duration;

use super::{Check, Needs, State, ill, well};
use crate::facts::go::{self, Setting};
use crate::facts::tools as facts;
use crate::host::clock;
use crate::host::process::Command;
use crate::tools::{self, Setup, Tool};
use crate::workspace::Workspace;

/// The oldest Git whose behaviour is relied on: `--end-of-options` everywhere, `push --porcelain`.
const GIT: (u64, u64) = (2, 39);
const QUICK: Duration = Duration::from_secs(20);
/// 2025-10-01: this build is younger, so an earlier clock is wrong.
const BORN: u64 = 1_759_276_800;

pub(super) fn git(setup: &Setup<'_>) -> Check {
    let needed = format!("{}.{} or later", GIT.0, GIT.1);
    let remedy = "install Git: https://git-scm.com/downloads";
    let Some(said) = said(Command::new("git").arg("--version"), setup) else {
        return ill("git", State::Missing, "not found", &needed, remedy);
    };
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    if git_is_new(version) {
        well("git", version)
    } else {
        ill("git", State::Missing, version, &needed, remedy)
    }
}

fn git_is_new(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u64>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= GIT
}

/// Go itself, then each pinned version of it.
pub(super) fn go(needs: &Needs<'_>, setup: &Setup<'_>) -> Vec<Check> {
    let Ok(program) = tools::go(setup.environment) else {
        let remedy = "install Go: https://go.dev/dl; the pinned version then comes by itself";
        return vec![ill("go", State::Missing, "not found", "any Go since 1.21", remedy)];
    };
    let setting = Setting {
        module: needs.workspace.root.clone(),
        version: None,
        work: None,
        cgo: false,
        env: std::collections::BTreeMap::new(),
    };
    let installed = match go::toolchain(&program, &setting, setup.environment, setup.cancel) {
        Ok(installed) => installed,
        Err(error) => {
            let remedy = "install Go again: https://go.dev/dl";
            return vec![ill("go", State::Missing, format!("{error:#}"), "any Go since 1.21", remedy)];
        }
    };
    let mut checks = vec![well("go", format!("{} in `{}`", installed.version, installed.goroot.display()))];
    let mut pinned: Vec<&str> = needs.go.iter().map(String::as_str).collect();
    pinned.extend(needs.tools.go.as_ref().map(|go| go.value.as_str()));
    pinned.sort_unstable();
    pinned.dedup();
    for version in pinned.into_iter().filter(|version| installed.version != format!("go{version}")) {
        checks.push(toolchain(version, &program, &setting, &installed, setup));
    }
    checks
}

/// Whether a pinned Go is in the module cache, or the module proxy has it.
fn toolchain(
    version: &str,
    program: &Path,
    setting: &Setting,
    installed: &go::Toolchain,
    setup: &Setup<'_>,
) -> Check {
    let name = format!("go {version}");
    let (os, architecture) = go_host();
    let module = format!("v0.0.1-go{version}.{os}-{architecture}");
    if installed.modcache.join("golang.org").join(format!("toolchain@{module}")).is_dir() {
        return well(&name, "in the module cache");
    }
    let needed = format!("Go {version}, which `[tools]` pins");
    if setup.offline {
        let remedy = "run once without `--offline`";
        return ill(&name, State::Missing, "not in the module cache", &needed, remedy);
    }
    let command = go::command(program, setting, setup.environment)
        .args(["list", "-m", "-mod=mod", &format!("golang.org/toolchain@{module}")])
        .cwd(std::env::temp_dir())
        .timeout(Duration::from_secs(60));
    match command.run(setup.cancel) {
        Ok(_) => well(&name, "at the module proxy; the first build fetches it"),
        Err(_) => {
            let remedy = "check GOPROXY, or pin a version that exists";
            ill(&name, State::Missing, "not to be had from the module proxy", &needed, remedy)
        }
    }
}

/// This machine in Go's words.
fn go_host() -> (&'static str, &'static str) {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        architecture => architecture,
    };
    (os, architecture)
}

pub(super) fn tools(needs: &Needs<'_>, setup: &Setup<'_>) -> Vec<Check> {
    let pinned = [(Tool::Trivy, &needs.tools.trivy), (Tool::GolangciLint, &needs.tools.golangci_lint)];
    let pinned = pinned.into_iter().filter_map(|(tool, version)| Some((tool, version.as_ref()?)));
    pinned.map(|(tool, version)| one(tool, &version.value, setup)).collect()
}

fn one(tool: Tool, version: &str, setup: &Setup<'_>) -> Check {
    let name = format!("{tool} {version}");
    let needed = format!("{version}, which `[tools]` pins");
    match tools::find(tool, version, setup) {
        Ok(Some(path)) => well(&name, path.display().to_string()),
        // A release installs it; only without a network it can't.
        Ok(None) => {
            let state = if setup.offline { State::Missing } else { State::Warn };
            ill(&name, state, "not installed yet", &needed, "`cargo xtask setup` installs it")
        }
        Err(error) => {
            let remedy = error.downcast_ref::<crate::fault::Fault>().and_then(|fault| fault.hint.clone());
            ill(&name, State::Missing, format!("{error:#}"), &needed, &remedy.unwrap_or_default())
        }
    }
}

pub(super) fn docker(setup: &Setup<'_>) -> Check {
    let needed = "a server for Linux containers, for the strongest verification";
    match facts::docker(setup.environment, setup.cancel) {
        Ok(docker) => {
            let mode = if docker.rootless { ", rootless" } else { "" };
            let found = format!("{} on {}/{}{mode}", docker.version, docker.os, docker.architecture);
            if docker.os == "linux" {
                well("docker", found)
            } else {
                let remedy = "switch Docker to Linux containers";
                ill("docker", State::Warn, found, needed, remedy)
            }
        }
        Err(error) => {
            let remedy = "start Docker, or set DOCKER_HOST; without it images run in a root of their own or \
                          as plain processes";
            ill("docker", State::Warn, format!("{error:#}"), needed, remedy)
        }
    }
}

pub(super) fn line_endings(workspace: &Workspace, setup: &Setup<'_>) -> Check {
    let name = "line endings";
    let command = Command::new("git").args(["config", "--get", "core.autocrlf"]).cwd(&workspace.root);
    match said(command, setup).as_deref() {
        Some("true") => ill(
            name,
            State::Warn,
            "core.autocrlf is true: files here are not those that others build from",
            "false or input",
            "`git config core.autocrlf input`, then check the tree out again; or `* text=auto eol=lf` in \
             .gitattributes",
        ),
        Some(value) if !value.is_empty() => well(name, format!("core.autocrlf is {value}")),
        _ => well(name, "not converted"),
    }
}

pub(super) fn clock(workspace: &Workspace, setup: &Setup<'_>) -> Check {
    let now = clock::now();
    let remedy = "set the clock: certificates and the vulnerability database are judged by it";
    let shown = clock::rfc3339(now);
    if now < BORN {
        return ill("clock", State::Warn, format!("{shown} is before this program was written"), "", remedy);
    }
    let command = Command::new("git").args(["log", "-1", "--format=%ct"]).cwd(&workspace.root);
    let commit = said(command, setup).and_then(|text| text.parse::<u64>().ok());
    match commit {
        Some(commit) if commit > now + 24 * 3600 => {
            let found = format!("{shown} is before the last commit, {}", clock::rfc3339(commit));
            ill("clock", State::Warn, found, "", remedy)
        }
        _ => well("clock", shown),
    }
}

/// What a command prints, trimmed; `None` where it can't be run or fails.
fn said(command: Command, setup: &Setup<'_>) -> Option<String> {
    let output = command.timeout(QUICK).run(setup.cancel).ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_versions_compare_as_numbers() {
        for (version, new) in [
            ("2.39.5", true),
            ("2.50.1.windows.1", true),
            ("3.0", true),
            ("2.9.0", false),
            ("1.99", false),
            ("", false),
        ] {
            assert_eq!(git_is_new(version), new, "{version}");
        }
    }
}
