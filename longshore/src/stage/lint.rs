//! The lint stage: what the Go tools say of a module's sources, and warnings where its layout or its
//! tags depart from what Go people expect. It reads and judges; it never changes a file.
//!
//! All checks of a job run, and all findings are told at once. A check that could not be made (a
//! module that can't be had, a broken tool) is no pass: it fails with its own exit code.

mod convention;
pub mod dockerfile;
mod finding;
mod format;
pub mod golangci;
pub mod jobs;
mod modfile;
pub(crate) mod tool;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::go::Setting;
use crate::fault::{Exit, Fault, Tail};
use crate::platform::Platform;
use crate::stage::{Finish, Output, Scope};

pub use finding::Finding;

/// The version of this stage's behaviour, for `[stages.lint] version`.
pub const VERSION: u32 = 1;

/// The checks of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintSpec {
    pub setting: Setting,
    /// Go's package patterns, from the module's folder: `./...` or `./cmd/gateway`. None: nothing but the
    /// module's own files is looked at.
    pub packages: Vec<String>,
    /// Flags of the build that decide which files belong to it, as `-tags=netgo`.
    pub flags: Vec<String>,
    /// Whose files `go vet` and golangci-lint look at; absent: the host's.
    pub platform: Option<Platform>,
    pub checks: Vec<Check>,
    /// Of each tool's run.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "kebab-case")]
pub enum Check {
    /// Files that `gofmt` would change.
    Gofmt,
    Vet,
    /// The downloaded modules are what go.sum says (`go mod verify`).
    ModVerify,
    /// `go mod tidy` would change go.mod or go.sum. Needs Go 1.23.
    ModTidy,
    /// Only where `[tools]` pins it.
    GolangciLint(golangci::Options),
    /// Warnings: a layout that departs from the Go conventions.
    Layout,
    /// Warnings: a service's Git tag that Go would take for a version of a module.
    Tags {
        services: Vec<TaggedService>,
        modules: Vec<PathBuf>,
    },
}

/// What decides whether a service's tags collide with a module's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedService {
    pub name: String,
    /// `{service}/v{version}`
    pub tag: String,
    /// The folder of its module, from the repository's root.
    pub module: PathBuf,
}

/// Something that the user should know and that fails nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub message: String,
    pub hint: Option<String>,
}

/// Runs the checks.
///
/// # Errors
/// [`Exit::Gate`] with a line a finding in its [`Tail`]; [`Exit::Machine`] or [`Exit::Outside`] where a check
/// could not be made.
pub fn run(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let mut findings = Vec::new();
    let mut failure = None;
    for check in &spec.checks {
        scope.progress.status(check.title());
        match judge(check, spec, scope) {
            Ok(found) => {
                for finding in &found {
                    scope.progress.line(&finding.to_string());
                }
                findings.extend(found);
            }
            Err(error) if scope.cancel.is_set() => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    if findings.is_empty() {
        let note = format!("{} checks", spec.checks.len());
        return Ok(Finish { output: Output::Nothing, cached: false, note });
    }
    let module = crate::stage::shown(scope.workspace, &spec.setting.module);
    let count = findings.len();
    let noun = if count == 1 { "finding" } else { "findings" };
    let mut fault = Fault::new(Exit::Gate, format!("{count} {noun} in module `{module}`"));
    if let Some(hint) = findings.iter().find_map(|finding: &Finding| finding.hint.clone()) {
        fault = fault.hint(hint);
    }
    let lines = findings.iter().map(ToString::to_string).collect();
    Err(anyhow::Error::from(Tail(lines)).context(fault))
}

fn judge(check: &Check, spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Finding>> {
    match check {
        Check::Gofmt => format::unformatted(spec, scope),
        Check::Vet => tool::vet(spec, scope),
        Check::ModVerify => modfile::verify(spec, scope),
        Check::ModTidy => modfile::tidy(spec, scope),
        Check::GolangciLint(options) => golangci::lint(options, spec, scope),
        Check::Layout => {
            warn(scope, &convention::layout(spec, scope)?);
            Ok(Vec::new())
        }
        Check::Tags { services, modules } => {
            warn(scope, &convention::tags(services, modules));
            Ok(Vec::new())
        }
    }
}

fn warn(scope: &Scope<'_>, warnings: &[Warning]) {
    for warning in warnings {
        scope.progress.warning(&warning.message, warning.hint.as_deref());
    }
}

impl Check {
    fn title(&self) -> &'static str {
        match self {
            Self::Gofmt => "gofmt",
            Self::Vet => "go vet",
            Self::ModVerify => "go mod verify",
            Self::ModTidy => "go mod tidy -diff",
            Self::GolangciLint(_) => "golangci-lint",
            Self::Layout => "the layout",
            Self::Tags { .. } => "the tags",
        }
    }
}
