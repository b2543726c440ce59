//! What Go says: the toolchain, and the packages that a service is made of. Every Go process of the
//! engine is made by [`command`], so that all of them see the same listed environment.

pub mod cause;
pub mod executable;
mod imports;
pub mod inputs;
mod listing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::process::{Command, ProcessError, Status};
use crate::platform::Platform;

pub use listing::{Listing, ModuleRef, Package, list};

/// Variables of the user's environment that Go may see. None of them shapes an output that a key does
/// not hold: where modules come from, how servers are reached, where caches and temporary files lie.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "TEMP",
    "TMP",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "USERPROFILE",
    "LOCALAPPDATA",
    "APPDATA",
    "SYSTEMROOT",
    "SystemRoot",
    "GOPATH",
    "GOMODCACHE",
    "GOCACHE",
    "GOPROXY",
    "GONOPROXY",
    "GOPRIVATE",
    "GOSUMDB",
    "GONOSUMDB",
    "GOINSECURE",
    "GOAUTH",
    "GOVCS",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND",
    "NETRC",
];

/// How Go is to be run for one module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// The module's folder (absolute): where Go runs.
    pub module: PathBuf,
    /// `1.26.8`, for GOTOOLCHAIN; absent: the Go that is installed.
    pub version: Option<String>,
    /// The `go.work` in force (absolute); absent: `GOWORK=off`.
    pub work: Option<PathBuf>,
    pub cgo: bool,
    /// Variables of `[build] env`, as the user wrote them.
    pub env: std::collections::BTreeMap<String, String>,
}

/// A Go command in the module's folder: listed environment, `GOENV=off`, no ambient `GOFLAGS`.
pub fn command(program: &Path, setting: &Setting, environment: &Environment) -> Command {
    let mut command = Command::new(program).clear().cwd(&setting.module);
    for name in INHERITED {
        if let Some(value) = environment.get(name) {
            command = command.env(*name, value);
        }
    }
    let toolchain = match &setting.version {
        Some(version) => format!("go{version}"),
        None => "local".to_owned(),
    };
    let work = match &setting.work {
        Some(path) => path.clone().into_os_string(),
        None => "off".into(),
    };
    command = command
        .env("GOENV", "off")
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", toolchain)
        .env("GOWORK", work)
        .env("GOTELEMETRY", "off")
        .env("CGO_ENABLED", if setting.cgo { "1" } else { "0" })
        .env("LC_ALL", "C");
    for (name, value) in &setting.env {
        command = command.env(name, value);
    }
    command
}

/// [`command`] for one platform.
pub fn command_for(
    program: &Path,
    setting: &Setting,
    platform: &Platform,
    environment: &Environment,
) -> Command {
    platform
        .go_env()
        .into_iter()
        .fold(command(program, setting, environment), |command, (name, value)| command.env(name, value))
}

/// The Go that a setting selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// As Go says it: `go1.26.8`. A version is not an identity: the content of `goroot` is.
    #[serde(rename = "GOVERSION")]
    pub version: String,
    #[serde(rename = "GOROOT")]
    pub goroot: PathBuf,
    #[serde(rename = "GOMODCACHE")]
    pub modcache: PathBuf,
    #[serde(rename = "GOEXPERIMENT")]
    pub experiment: String,
}

/// Asks Go which toolchain a setting selects; downloads it through the module proxy where it is missing.
///
/// # Errors
/// [`Exit::Machine`] with the remedy where Go is missing or the pinned version can't be had.
pub fn toolchain(
    program: &Path,
    setting: &Setting,
    environment: &Environment,
    cancel: &Cancel,
) -> anyhow::Result<Toolchain> {
    let command = command(program, setting, environment)
        .args(["env", "-json", "GOVERSION", "GOROOT", "GOMODCACHE", "GOEXPERIMENT"])
        .timeout(Duration::from_secs(600));
    let wanted = setting.version.as_deref().unwrap_or("installed");
    let output = match command.run(cancel) {
        Ok(output) => output,
        Err(ProcessError::Missing { .. }) => {
            return Err(Fault::new(Exit::Machine, "`go` is not installed or not on PATH")
                .hint("install Go from https://go.dev/dl; the pinned version then comes by itself")
                .into());
        }
        Err(ProcessError::Failed { status: Status::Cancelled, .. }) => {
            return Err(Fault::new(Exit::Interrupted, "stopped").into());
        }
        Err(error) => {
            return Err(error).fault_hint(
                Exit::Machine,
                format!("Go {wanted} can't be had"),
                "check `[tools] go` in pipeline.toml, and that the module proxy (GOPROXY) answers",
            );
        }
    };
    let toolchain: Toolchain = serde_json::from_slice(&output.stdout)
        .fault(Exit::Machine, "`go env -json` did not answer in JSON")?;
    if let Some(version) = &setting.version
        && toolchain.version != format!("go{version}")
    {
        return Err(Fault::new(
            Exit::Machine,
            format!("Go {version} was asked for, and `{}` answered", toolchain.version),
        )
        .into());
    }
    Ok(toolchain)
}

/// The nearest folder at or above `package` that holds a `go.mod`, not above `root`. Both absolute.
pub fn module_of(root: &Path, package: &Path) -> Option<PathBuf> {
    package
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .find(|folder| folder.join("go.mod").is_file())
        .map(Path::to_owned)
}

/// The `go.work` in force for a module: the nearest at or above it, not above `root`. One above the
/// repository is another project's, and would make the outcome depend on where a clone lies.
pub fn work_of(root: &Path, module: &Path) -> Option<PathBuf> {
    module
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .map(|folder| folder.join("go.work"))
        .find(|file| file.is_file())
}
