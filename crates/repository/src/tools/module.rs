//! Building a tool from its Go module: in a temporary module, verified by Go's checksum database.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Setup, Tool};
use crate::facts::go::{self, Setting};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::process::{Command, ProcessError, Status};

/// How long a build may take: Trivy's takes minutes on a small machine.
const LIMIT: Duration = Duration::from_secs(3600);

/// Variables that would take modules out of the checksum database, or its checks away.
const UNVERIFIED: &[&str] = &["GOPRIVATE", "GONOSUMDB", "GONOPROXY", "GOINSECURE"];

/// Builds `tool` into `program`; gives the module and version that it came from.
///
/// # Errors
/// [`Exit::Machine`] with Go's last lines.
pub(super) fn build(
    tool: Tool,
    version: &str,
    go: &Path,
    aside: &Path,
    program: &Path,
    setup: &Setup<'_>,
) -> anyhow::Result<String> {
    let (module, package) = tool.package(version);
    let folder = aside.join("module");
    let shown = || format!("could not build {tool} {version} from its Go module");
    std::fs::create_dir_all(&folder).fault(Exit::Machine, shown())?;
    // The version of Go is raised by itself to what the module asks for.
    let text = format!("module longshore.invalid/tool\n\ngo 1.21\n\nrequire {module} v{version}\n");
    std::fs::write(folder.join("go.mod"), text).fault(Exit::Machine, shown())?;
    let command =
        command(tool, version, go, &folder, setup).arg("-o").arg(program).arg(package).timeout(LIMIT);
    let lines = Lines { setup, what: format!("{tool} {version}"), compiled: AtomicU32::new(0) };
    let output = command.stream(setup.cancel, &|_, line| lines.take(line));
    let output = output.and_then(|output| command.checked(output));
    match output {
        Ok(_) => Ok(format!("{module}@v{version}")),
        Err(ProcessError::Failed { status: Status::Cancelled, .. }) => {
            let exit = if setup.cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
            Err(Fault::new(exit, "stopped").into())
        }
        Err(error) => Err(error).fault_hint(
            Exit::Machine,
            shown(),
            "check that the module proxy (GOPROXY) and the checksum database (GOSUMDB) answer",
        ),
    }
}

fn command(tool: Tool, version: &str, go: &Path, folder: &Path, setup: &Setup<'_>) -> Command {
    let setting = Setting {
        module: folder.to_owned(),
        version: None,
        work: None,
        cgo: false,
        env: std::collections::BTreeMap::new(),
    };
    let mut command =
        go::command(go, &setting, setup.environment).env("GOTOOLCHAIN", "auto").env("GOFLAGS", "-mod=mod");
    for name in UNVERIFIED {
        command.env.remove(std::ffi::OsStr::new(name));
    }
    // A mirror of the checksum database is fine, none is not.
    if setup.environment.get("GOSUMDB").is_some_and(|database| database == "off") {
        command.env.remove(std::ffi::OsStr::new("GOSUMDB"));
    }
    for (name, value) in tool.variables() {
        command = command.env(*name, *value);
    }
    // Names of packages as they are compiled: what the progress is made of.
    command.args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags"]).arg(tool.ldflags(version))
}

/// What Go says while it builds, as a status line.
struct Lines<'a> {
    setup: &'a Setup<'a>,
    what: String,
    compiled: AtomicU32,
}

impl Lines<'_> {
    fn take(&self, line: &str) {
        let Self { setup, what, compiled } = self;
        if line.starts_with("go: downloading ") {
            setup.progress.status(&format!("building {what}: fetching its modules"));
        } else if !line.starts_with("go: ") {
            let count = compiled.fetch_add(1, Ordering::Relaxed) + 1;
            setup.progress.status(&format!("building {what}: {count} packages compiled"));
        }
    }
}
