//! The tools that `[tools]` pins: found or installed, once for all repositories of the user, and checked
//! in every run. Go is not installed: its pinned version comes through GOTOOLCHAIN.
//!
//! A tool lies under `CACHE/tools/NAME/VERSION/`, with a receipt that holds its digest. It comes from the
//! official release where its checksum is known here and the server can be reached, else it is built from
//! its Go module, verified by Go's checksum database.

mod catalogue;
mod module;
mod receipt;
mod release;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use catalogue::Tool;
pub(crate) use receipt::stamp;

use crate::cancel::Cancel;
use crate::config;
use crate::facts::tools as facts;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::lock;
use crate::host::process::Command;
use crate::progress::Progress;

/// The programs that this run uses, found and checked before it starts.
#[derive(Clone, Debug, Default)]
pub struct ToolPaths {
    /// Empty where there is none: then no job needs it.
    pub go: PathBuf,
    pub trivy: Option<PathBuf>,
    pub golangci_lint: Option<PathBuf>,
    /// The value of `GOCACHEPROG`, where Go is to keep what it compiles in the store.
    pub gocache: Option<String>,
}

/// What finding and installing needs.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The user's cache: `Workspace.cache`.
    pub cache: &'a Path,
    pub environment: &'a Environment,
    pub cancel: &'a Cancel,
    pub progress: &'a dyn Progress,
    /// `--offline`: nothing is fetched.
    pub offline: bool,
}

/// Every pinned tool, installed where it is missing.
///
/// # Errors
/// [`Exit::Usage`] for a version that is refused, [`Exit::Machine`] for a tool that can't be had.
pub fn ensure(pinned: &config::Tools, setup: &Setup<'_>) -> anyhow::Result<ToolPaths> {
    let go = facts::on_path("go", setup.environment).unwrap_or_default();
    let one = |tool: Tool, version: &Option<config::Located<String>>| {
        version.as_ref().map(|version| ensure_one(tool, &version.value, setup)).transpose()
    };
    let trivy = one(Tool::Trivy, &pinned.trivy)?;
    let golangci_lint = one(Tool::GolangciLint, &pinned.golangci_lint)?;
    Ok(ToolPaths { go, trivy, golangci_lint, gocache: None })
}

/// The pinned tools as far as they are there; nothing is installed.
///
/// # Errors
/// As [`ensure`], but a tool that is missing is none.
pub fn installed(pinned: &config::Tools, setup: &Setup<'_>) -> anyhow::Result<ToolPaths> {
    let go = facts::on_path("go", setup.environment).unwrap_or_default();
    let one = |tool: Tool, version: &Option<config::Located<String>>| -> anyhow::Result<Option<PathBuf>> {
        match version {
            Some(version) => find(tool, &version.value, setup),
            None => Ok(None),
        }
    };
    let trivy = one(Tool::Trivy, &pinned.trivy)?;
    let golangci_lint = one(Tool::GolangciLint, &pinned.golangci_lint)?;
    Ok(ToolPaths { go, trivy, golangci_lint, gocache: None })
}

/// The Go command.
///
/// # Errors
/// [`Exit::Machine`] with the remedy.
pub fn go(environment: &Environment) -> anyhow::Result<PathBuf> {
    facts::on_path("go", environment).ok_or_else(|| {
        Fault::new(Exit::Machine, "`go` is not installed or not on PATH")
            .hint("install Go from https://go.dev/dl; the pinned version then comes by itself")
            .into()
    })
}

/// One tool of one version: where the variable names it, in the user's cache, or on PATH.
///
/// # Errors
/// [`Exit::Usage`] for a version that is refused; [`Exit::Machine`] where the variable names a tool of
/// another version.
pub fn find(tool: Tool, version: &str, setup: &Setup<'_>) -> anyhow::Result<Option<PathBuf>> {
    catalogue::accept(tool, version)?;
    if let Some(path) = setup.environment.get(tool.variable()) {
        return named(tool, version, Path::new(path), setup).map(Some);
    }
    let folder = folder(tool, version, setup);
    match receipt::check(&folder, tool, version) {
        Ok(Some(path)) => return Ok(Some(path)),
        Ok(None) => {}
        Err(what) => {
            setup.progress.warning(&format!("{what}; it is not used"), Some("`setup` installs it again"));
        }
    }
    let Some(path) = facts::on_path(tool.name(), setup.environment) else { return Ok(None) };
    let found = facts::remembered_version(tool, &path, setup.cache, setup.cancel);
    Ok(found.ok().filter(|found| found == version).map(|_| path))
}

/// The tool that the user names instead: its version is the pinned one, or it is not used.
fn named(tool: Tool, version: &str, path: &Path, setup: &Setup<'_>) -> anyhow::Result<PathBuf> {
    let variable = tool.variable();
    let found = facts::remembered_version(tool, path, setup.cache, setup.cancel)
        .fault(Exit::Machine, format!("{variable} names `{}`, which can't be used", path.display()))?;
    if found != version {
        let message = format!("{variable} names {tool} {found}, `[tools]` pins {version}");
        return Err(Fault::new(Exit::Machine, message)
            .hint(format!("unset {variable}, or pin {found} in pipeline.toml"))
            .into());
    }
    std::path::absolute(path).fault(Exit::Machine, format!("{variable} names no path"))
}

fn folder(tool: Tool, version: &str, setup: &Setup<'_>) -> PathBuf {
    setup.cache.join("tools").join(tool.name()).join(version)
}

/// One tool of one version, installed if it is missing.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_one(tool: Tool, version: &str, setup: &Setup<'_>) -> anyhow::Result<PathBuf> {
    if let Some(path) = find(tool, version, setup)? {
        return Ok(path);
    }
    if setup.offline {
        return Err(Fault::new(Exit::Machine, format!("{tool} {version} is not installed"))
            .hint("run `setup` once without `--offline`")
            .into());
    }
    let folder = folder(tool, version, setup);
    let waiting = || setup.progress.status(&format!("waiting for another run that installs {tool}"));
    let _lock = lock::wait(&folder.with_extension("lock"), lock::Kind::Exclusive, setup.cancel, &waiting)?;
    // The one that was waited for may have done it.
    if let Ok(Some(path)) = receipt::check(&folder, tool, version) {
        return Ok(path);
    }
    install(tool, version, &folder, setup)
}

/// Installs aside, proves that it runs and is of that version, writes the receipt, renames.
fn install(tool: Tool, version: &str, folder: &Path, setup: &Setup<'_>) -> anyhow::Result<PathBuf> {
    let shown = || format!("could not install {tool} {version}");
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).fault(Exit::Machine, shown())?;
    let aside = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).fault(Exit::Machine, shown())?;
    let made = aside.path().join("tool");
    std::fs::create_dir_all(&made).fault(Exit::Machine, shown())?;
    let program = made.join(tool.file());
    let source = match release::fetch(tool, version, &program, setup)? {
        release::Answer::Installed(url) => url,
        release::Answer::Unreachable(why) => {
            setup.progress.line(&format!("{tool} {version} is built from its Go module: {why}"));
            setup.progress.status(&format!("building {tool} {version} from its Go module"));
            module::build(tool, version, &go(setup.environment)?, aside.path(), &program, setup)?
        }
    };
    let found = facts::version(tool, &program, setup.cancel).fault(Exit::Machine, shown())?;
    if found != version {
        let message = format!("what was installed as {tool} {version} says it is {found}");
        return Err(Fault::new(Exit::Machine, message).into());
    }
    receipt::write(&made, tool, version, &source)?;
    if folder.exists() {
        std::fs::rename(folder, aside.path().join("old")).fault(Exit::Machine, shown())?;
    }
    std::fs::rename(&made, folder).fault(Exit::Machine, shown())?;
    match receipt::check(folder, tool, version) {
        Ok(Some(path)) => Ok(path),
        Ok(None) => Err(Fault::new(Exit::Machine, shown()).into()),
        Err(what) => Err(Fault::new(Exit::Machine, what).into()),
    }
}

/// A command of a tool that is asked for its version.
pub(crate) fn version_command(tool: Tool, program: &Path) -> Command {
    // The working directory matters: a tool may obey a file that lies in it.
    let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty());
    let command = Command::new(program).args(tool.version_args().iter().copied());
    command.cwd(folder.unwrap_or(Path::new("/"))).timeout(Duration::from_secs(60))
}
