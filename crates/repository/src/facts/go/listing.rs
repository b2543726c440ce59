//! `go list -deps`: the packages below a set of main packages, for one platform.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cause::{Cause, cause};
use super::{Setting, command_for};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::process::{ProcessError, Status};
use crate::platform::Platform;

/// The fields asked of Go: fewer is faster (`go help list`).
const FIELDS: &str = "Dir,ImportPath,Name,Standard,Module,Imports,ImportMap,CgoFiles,SwigFiles,\
                      EmbedPatterns,EmbedFiles,IgnoredGoFiles,IgnoredOtherFiles,Target,Error,DepsErrors";

/// One package, in Go's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Package {
    pub dir: PathBuf,
    pub import_path: String,
    pub name: String,
    #[serde(skip_serializing_if = "is_false")]
    pub standard: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub import_map: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cgo_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swig_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embed_patterns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embed_files: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_go_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_other_files: Vec<String>,
    /// Where `go install` would put it: its base name is the executable's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<PackageError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deps_errors: Vec<PackageError>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModuleRef {
    pub path: String,
    /// Absent for the main module and for folders that replace one.
    pub version: Option<String>,
    pub replace: Option<Box<ModuleRef>>,
    pub dir: Option<PathBuf>,
    pub go_mod: Option<PathBuf>,
    pub main: bool,
}

impl ModuleRef {
    /// What a change of it is measured by: `v1.2.3`, or `path v1.2.3` where it is replaced.
    pub fn identity(&self) -> String {
        match &self.replace {
            Some(replace) => {
                format!("{} {}", replace.path, replace.version.as_deref().unwrap_or("local"))
            }
            None => self.version.clone().unwrap_or_else(|| "local".to_owned()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PackageError {
    import_stack: Option<Vec<String>>,
    pos: String,
    err: String,
}

/// All packages below the asked ones, in Go's order: dependencies first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub packages: Vec<Package>,
}

impl Listing {
    /// The package in a folder (absolute).
    pub fn in_folder(&self, folder: &Path) -> Option<&Package> {
        self.packages.iter().rev().find(|package| package.dir == folder)
    }

    /// Who imports whom.
    pub fn graph(&self) -> Graph<'_> {
        let places: HashMap<&str, usize> = self
            .packages
            .iter()
            .enumerate()
            .map(|(at, package)| (package.import_path.as_str(), at))
            .collect();
        let imports = |package: &Package| {
            let path = |import| package.import_map.get(import).unwrap_or(import);
            package.imports.iter().filter_map(|import| places.get(path(import).as_str()).copied()).collect()
        };
        Graph { packages: &self.packages, imports: self.packages.iter().map(imports).collect(), places }
    }
}

/// The packages of a listing, and for each the places of those that it imports.
#[derive(Debug)]
pub struct Graph<'a> {
    packages: &'a [Package],
    imports: Vec<Vec<usize>>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    /// `root` and everything that it imports, directly or not, in the listing's order.
    pub fn closure(&self, root: &str) -> Vec<&'a Package> {
        let mut seen = vec![false; self.packages.len()];
        let mut waiting: Vec<usize> = self.places.get(root).copied().into_iter().collect();
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                waiting.extend(self.imports[at].iter().filter(|import| !seen[**import]));
            }
        }
        std::iter::zip(self.packages, seen).filter(|(_, seen)| *seen).map(|(package, _)| package).collect()
    }
}

/// Lists `packages` (as `./cmd/gateway`, from the module's folder) and everything below them.
///
/// # Errors
/// What Go says of packages that can't be loaded, all of it: [`Exit::Failed`].
pub fn list(
    program: &Path,
    setting: &Setting,
    platform: &Platform,
    tags: &[String],
    packages: &[String],
    environment: &Environment,
    cancel: &Cancel,
) -> anyhow::Result<Listing> {
    let mut command = command_for(program, setting, platform, environment)
        .args(["list", "-e", "-deps"])
        .arg(format!("-json={FIELDS}"))
        .timeout(Duration::from_secs(900));
    if !tags.is_empty() {
        command = command.arg(format!("-tags={}", tags.join(",")));
    }
    command = command.arg("--").args(packages);
    let output = match command.run(cancel) {
        Ok(output) => output,
        Err(ProcessError::Failed { status: Status::Cancelled, .. }) => {
            return Err(Fault::new(Exit::Interrupted, "stopped").into());
        }
        Err(error) => {
            let said = match &error {
                ProcessError::Failed { tail, .. } => tail.join("\n"),
                _ => String::new(),
            };
            let message = format!("the packages of `{}` can't be listed", setting.module.display());
            return Err(anyhow::Error::from(error).context(unlisted(&said, message)));
        }
    };
    let packages = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<Package>()
        .collect::<Result<Vec<_>, _>>()
        .fault(Exit::Machine, "`go list` did not answer in JSON")?;
    faults_of(&packages, platform)?;
    Ok(Listing { packages })
}

/// Every package that Go could not load, once, with its place and what imports it.
fn faults_of(packages: &[Package], platform: &Platform) -> anyhow::Result<()> {
    let mut said = BTreeSet::new();
    let mut lines = Vec::new();
    for error in packages.iter().flat_map(|package| package.error.iter().chain(&package.deps_errors)) {
        let place = if error.pos.is_empty() { String::new() } else { format!("{}: ", error.pos) };
        let line = format!("{place}{}", error.err.trim());
        if said.insert(line.clone()) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len();
    let broken = lines.iter().any(|line| is_there(line));
    let shown = if broken { 3 } else { 20 };
    lines.truncate(shown);
    if count > shown {
        lines.push(format!("and {} more", count - shown));
    }
    let lines = lines.join("\n");
    if broken {
        let message = format!("Go can't load its own packages:\n  {}", lines.replace('\n', "\n  "));
        let hint = "free some space in GOCACHE and TMPDIR, raise the limit of open files with `ulimit -n`, or install Go again";
        return Err(Fault::new(Exit::Machine, message).hint(hint).into());
    }
    let message = format!("Go can't load the packages for {platform}:\n  {}", lines.replace('\n', "\n  "));
    Err(unlisted(&lines, message).into())
}

/// Whether Go says of one of its own packages that it is not there, and it is: it could not open it.
fn is_there(line: &str) -> bool {
    let folder = line.split_once(" is not in std (").and_then(|(_, rest)| rest.strip_suffix(')'));
    folder.is_some_and(|folder| Path::new(folder).is_dir())
}

/// Whose fault it is that Go can't list packages: the sources', the network's or the machine's.
fn unlisted(said: &str, message: String) -> Fault {
    match cause(said) {
        Cause::Offline => Fault::new(Exit::Machine, message).hint(
            "run once without `--offline` and with a GOPROXY, so that the modules are in the module cache",
        ),
        Cause::Network => Fault::new(Exit::Outside, message).hint("run again; behind a firewall set GOPROXY"),
        Cause::Sources | Cause::Unknown => Fault::new(Exit::Failed, message)
            .hint("`go build` in that module says the same; a missing module wants `go mod tidy`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str, imports: &[&str]) -> Package {
        Package {
            import_path: path.to_owned(),
            imports: imports.iter().map(|s| (*s).to_owned()).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn a_closure_is_what_is_reachable_through_the_import_map() {
        let mut vendored = package("net/http", &["golang.org/x/net/idna"]);
        vendored.import_map.insert("golang.org/x/net/idna".into(), "vendor/golang.org/x/net/idna".into());
        let listing = Listing {
            packages: vec![
                package("vendor/golang.org/x/net/idna", &[]),
                vendored,
                package("ex/other", &[]),
                package("ex/cmd", &["net/http", "C"]),
            ],
        };
        let paths: Vec<&str> =
            listing.graph().closure("ex/cmd").iter().map(|p| p.import_path.as_str()).collect();
        assert_eq!(paths, ["vendor/golang.org/x/net/idna", "net/http", "ex/cmd"]);
    }
}
