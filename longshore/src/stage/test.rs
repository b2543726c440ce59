//! The test stage: `go test` of a module's packages, its `-json` stream read while it runs and kept
//! under `dist/reports/`.

pub mod jobs;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::go::Setting;
use crate::fault::{self, Exit, Fault};
use crate::host::files;
use crate::host::process::{Command, ProcessError, Status};
use crate::stage::lint::tool;
use crate::stage::{Finish, Output, Scope};
use crate::workspace::Workspace;

use stream::Summary;

/// The version of this stage's behaviour, for `[stages.test] version`.
pub const VERSION: u32 = 1;

/// Whether the race detector looks on; it needs cgo and a C compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Race {
    Off,
    On,
}

/// The tests of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSpec {
    pub setting: Setting,
    /// Go's package patterns, from the module's folder: `./...` or import paths. None: nothing to test.
    pub packages: Vec<String>,
    /// Flags of the build that decide which files belong to it, as `-tags=netgo`.
    pub flags: Vec<String>,
    pub race: Race,
    /// Of each package's test binary (`go test -timeout`).
    pub timeout: Duration,
    /// Names of variables of the process environment that the tests see.
    pub env: Vec<String>,
    /// Files outside the module that the tests read. Go does not look at them before it takes a result from
    /// its own cache, so with any of them that cache is not used.
    pub inputs: Vec<String>,
}

/// Runs the tests.
///
/// # Errors
/// [`Exit::Gate`] where a test fails or does not compile, with names and last lines; [`Exit::Machine`] or
/// [`Exit::Outside`] where there is no verdict.
pub fn run(spec: &TestSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    if spec.packages.is_empty() {
        return Ok(finish("no packages".to_owned()));
    }
    let command = command(spec, scope);
    let summary = Mutex::new(Summary::default());
    let sink = |is_stderr: bool, line: &str| {
        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stderr {
            summary.error_line(line);
        } else if summary.line(line) {
            scope.progress.status(&summary.note());
        }
    };
    let output = command.stream(scope.cancel, &sink).map_err(tool::machine)?;
    let (code, output) = tool::settled(&command, output, scope.cancel)?;
    files::write(&report(scope.workspace, &spec.setting.module), &output.stdout)?;
    let summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    if code == 0 {
        return Ok(finish(summary.note()));
    }
    if !summary.has_failures() {
        return Err(tool::failure(&command, output));
    }
    let module = crate::stage::shown(scope.workspace, &spec.setting.module);
    let tail = summary.tail();
    let lack = tail.iter().find_map(|line| fault::lack(line)).filter(|_| !summary.has_failed_tests());
    let fault = match lack {
        Some(remedy) => Fault::new(Exit::Machine, format!("no verdict on module `{module}`")).hint(remedy),
        None => Fault::new(Exit::Gate, format!("{} in module `{module}`", summary.verdict())),
    };
    for line in &tail {
        scope.progress.line(line);
    }
    let failed = ProcessError::Failed { command: command.to_string(), status: Status::Exited(code), tail };
    Err(anyhow::Error::from(failed).context(fault))
}

/// Where the raw stream of a module's tests is kept: `dist/reports/test-services.json`.
pub fn report(workspace: &Workspace, module: &Path) -> PathBuf {
    let name = workspace.shown(module).to_string_lossy().replace(['/', '\\'], "-");
    let name = if name.is_empty() { "root".to_owned() } else { name };
    workspace.reports().join(format!("test-{name}.json"))
}

fn command(spec: &TestSpec, scope: &Scope<'_>) -> Command {
    let mut command = tool::go(&spec.setting, None, scope)
        .args(["test", "-json", "-buildvcs=false"])
        .arg(format!("-timeout={}ms", spec.timeout.as_millis()))
        .args(&spec.flags);
    for name in &spec.env {
        if let Some(value) = scope.environment.get(name) {
            command = command.env(name, value);
        }
    }
    if spec.race == Race::On {
        command = command.arg("-race").env("CGO_ENABLED", "1");
    }
    if !spec.inputs.is_empty() {
        command = command.arg("-count=1");
    }
    command.args(&spec.packages)
}

fn finish(note: String) -> Finish {
    Finish { output: Output::Nothing, cached: false, note }
}
