//! Running Go's tools for a verdict: what their failures mean, apart from their findings.

use anyhow::anyhow;

use super::finding::{Finding, located};
use super::{LintSpec, Scope};
use crate::cancel::Cancel;
use crate::facts::go;
use crate::facts::go::cause::{Cause, cause};
use crate::fault::{Exit, Fault};
use crate::host::process::{Command, Output, ProcessError, Status};
use crate::platform::Platform;

/// A Go command of a module, for `platform` or the host.
pub(crate) fn go(setting: &go::Setting, platform: Option<&Platform>, scope: &Scope<'_>) -> Command {
    let program = &scope.tools.go;
    let command = match platform {
        Some(platform) => go::command_for(program, setting, platform, scope.environment),
        None => go::command(program, setting, scope.environment),
    };
    let command = command.env("GIT_TERMINAL_PROMPT", "0");
    match &scope.tools.gocache {
        Some(program) => command.env("GOCACHEPROG", program),
        None => command,
    }
}

/// Runs `command` to its end, whatever its exit code: the caller knows what that means.
///
/// # Errors
/// [`Exit::Machine`] where it is missing, was killed or took too long; the signal's exit where the run was
/// told to stop.
pub(crate) fn finished(command: &Command, cancel: &Cancel) -> anyhow::Result<(i32, Output)> {
    settled(command, command.output(cancel).map_err(machine)?, cancel)
}

/// As [`finished`], for what has run already.
pub(crate) fn settled(command: &Command, output: Output, cancel: &Cancel) -> anyhow::Result<(i32, Output)> {
    match output.status {
        Status::Exited(code) => Ok((code, output)),
        Status::Cancelled => Err(stopped(cancel)),
        Status::Signalled(_) | Status::TimedOut(_) => match command.checked(output) {
            Ok(output) => Ok((0, output)),
            Err(error) => Err(machine(error)),
        },
    }
}

/// The end of a job that was told to stop.
pub(crate) fn stopped(cancel: &Cancel) -> anyhow::Error {
    let exit = if cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
    Fault::new(exit, "stopped").into()
}

/// A tool that is missing or broken: no verdict.
pub(crate) fn machine(error: ProcessError) -> anyhow::Error {
    let fault = match &error {
        ProcessError::Missing { program } => {
            Fault::new(Exit::Machine, format!("no verdict: `{program}` can't be run"))
                .hint("`setup` installs the pinned tools; `doctor` says what is missing")
        }
        ProcessError::Start { program, .. } => {
            Fault::new(Exit::Machine, format!("no verdict: `{program}` can't be run"))
        }
        ProcessError::Failed { status, .. } => {
            Fault::new(Exit::Machine, format!("no verdict: the tool was {}", ended(*status)))
        }
    };
    anyhow!(error).context(fault)
}

fn ended(status: Status) -> String {
    match status {
        Status::Exited(_) => "broken".to_owned(),
        other => other.to_string(),
    }
}

/// A failure that was no finding: the network, the toolchain, or something unknown.
pub(crate) fn failure(command: &Command, output: Output) -> anyhow::Error {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let fault = match cause(&text) {
        Cause::Offline => Fault::new(Exit::Machine, "no verdict: a module is not in the module cache")
            .hint("run once without `--offline`"),
        Cause::Network => Fault::new(Exit::Outside, "no verdict: the module proxy can't be reached")
            .hint("run again; behind a firewall set GOPROXY"),
        Cause::Sources => Fault::new(Exit::Gate, "Go can't load the packages")
            .hint("`go mod tidy` in the module's folder, then commit go.mod and go.sum"),
        Cause::Unknown => Fault::new(Exit::Machine, "no verdict: the tool failed without a finding"),
    };
    match command.checked(output) {
        Ok(_) => fault.into(),
        Err(error) => anyhow!(error).context(fault),
    }
}

/// `go vet`, for the files of the spec's platform.
pub(super) fn vet(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    if spec.packages.is_empty() {
        return Ok(Vec::new());
    }
    let command = go(&spec.setting, spec.platform.as_ref(), scope)
        .args(["vet", "-buildvcs=false"])
        .args(&spec.flags)
        .arg("--")
        .args(&spec.packages)
        .timeout(spec.timeout);
    judged(&command, spec, scope)
}

/// Exit 0 is clean; else the located lines are the findings, and without any it is a failure.
fn judged(command: &Command, spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    let (code, output) = finished(command, scope.cancel)?;
    if code == 0 {
        return Ok(Vec::new());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let findings = located(&text, &spec.setting.module, scope.workspace);
    if findings.is_empty() { Err(failure(command, output)) } else { Ok(findings) }
}
