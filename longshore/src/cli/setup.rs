//! `setup`: what `[tools]` pins is installed, and each pinned Go is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Global;
use crate::cancel::Cancel;
use crate::facts::go::{self, Setting, Toolchain};
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::progress::Progress as _;
use crate::report;
use crate::report::lines::Lines;
use crate::report::table::{self, Side};
use crate::resolve::ServiceSettings;
use crate::session::Session;
use crate::tools::{self, Setup, Tool};

/// Installs, and prints a row a tool: its name, its version, where it lies.
///
/// # Errors
/// [`Exit::Usage`] for a version that is refused, [`Exit::Machine`] for a tool that can't be had.
pub fn setup(global: &Global, environment: Environment, cancel: &Cancel) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let lines = Lines::of(global, &session.environment);
    let setup = Setup {
        cache: &session.workspace.cache,
        environment: &session.environment,
        cancel,
        progress: &lines,
        offline: session.offline,
    };
    let mut rows = Vec::new();
    for setting in settings(&session) {
        if let Some(version) = &setting.version {
            lines.status(&format!("Go {version}, fetched if it is missing"));
        }
        let program = tools::go(&session.environment)?;
        let chosen = toolchain(&program, &setting, &session)?;
        let row = row("go", chosen.version.trim_start_matches("go"), &chosen.goroot);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let pinned = &session.config.tools;
    let paths = tools::ensure(pinned, &setup)?;
    let found = [
        (Tool::Trivy, &pinned.trivy, &paths.trivy),
        (Tool::GolangciLint, &pinned.golangci_lint, &paths.golangci_lint),
    ];
    for (tool, version, path) in found {
        if let (Some(version), Some(path)) = (version, path) {
            rows.push(row(tool.name(), &version.value, path));
        }
    }
    report::result(&table::render(
        &[("TOOL", Side::Left), ("VERSION", Side::Left), ("PATH", Side::Left)],
        &rows,
    ));
    Ok(0)
}

fn row(name: &str, version: &str, path: &Path) -> Vec<String> {
    vec![name.to_owned(), version.to_owned(), path.display().to_string()]
}

/// How Go is run for the services, one for each version. The modules' own settings don't matter here:
/// fetching a toolchain needs no module.
fn settings(session: &Session) -> BTreeSet<Setting> {
    let mut versions: BTreeSet<Option<String>> =
        packages(session).map(|service| service.build.go.clone()).collect();
    versions.extend(session.config.tools.go.as_ref().map(|go| Some(go.value.clone())));
    let env =
        if session.offline { [("GOPROXY".to_owned(), "off".to_owned())].into() } else { BTreeMap::new() };
    let setting = |version| Setting {
        module: session.workspace.root.clone(),
        version,
        work: None,
        cgo: false,
        env: env.clone(),
    };
    versions.into_iter().map(setting).collect()
}

fn packages(session: &Session) -> impl Iterator<Item = &ServiceSettings> {
    session.settings.values().filter(|service| service.package.is_some())
}

/// A pinned Go, fetched where it is missing and there is a network.
fn toolchain(program: &Path, setting: &Setting, session: &Session) -> anyhow::Result<Toolchain> {
    go::toolchain(program, setting, &session.environment, &session.cancel).map_err(|error| {
        match &setting.version {
            Some(version) if session.offline && !session.cancel.is_set() => {
                Fault::new(Exit::Machine, format!("Go {version} is not in the module cache"))
                    .hint("run `setup` once without `--offline`")
                    .into()
            }
            _ => error,
        }
    })
}
