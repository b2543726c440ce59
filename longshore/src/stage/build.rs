//! Build: one `go build` a module, platform, toolchain and flags set, with every main package of it
//! that is not in the cache (invariant 9).

mod ahead;
pub mod jobs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::image::BinaryLayer;
use super::{Binary, Finish, Output, Scope};
use crate::cache::{Bucket, Cache};
use crate::event::JobFailure;
use crate::facts::go::{self, Setting};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::fingerprint::{self, Preimage, StatIndex};
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::process::Command;
use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::workspace::Workspace;

/// The behaviour of this stage, in every key: a change of it is a new version.
pub const VERSION: u32 = 1;

/// What the names of the folders begin with, in the run's private one, that Go writes executables to.
pub const FOLDER: &str = "build-";

/// Main packages that one `go build` compiles together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    pub setting: Setting,
    pub platform: Platform,
    /// Besides those that are always there.
    pub flags: Vec<String>,
    pub tags: Vec<String>,
    pub targets: Vec<Target>,
}

/// One main package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub service: String,
    /// Its import path.
    pub package: String,
    /// The name that Go gives the executable, without `.exe`. No two of a group are the same.
    pub executable: String,
    /// Expanded.
    pub ldflags: Vec<String>,
    /// Every input. Absent where not all can be known (cgo, unknown flags): then Go always runs.
    pub inputs: Option<Arc<Preimage>>,
    /// The layer that an image will want of it, where one will: made while other executables are linked.
    pub layer: Option<BinaryLayer>,
}

/// What the cache holds under a target's key.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    digest: Digest,
    size: u64,
}

/// The digest of a target's executable, where the cache holds it.
pub fn cached_digest(target: &Target, cache: &Cache) -> Option<Digest> {
    let entry = cache.get::<Entry>(Bucket::Build, &target.inputs.as_ref()?.key())?;
    cache.file(&entry.digest).is_file().then_some(entry.digest)
}

/// Why a target must be compiled: what differs from its last build in this clone.
pub fn why(target: &Target, platform: &Platform, workspace: &Workspace) -> String {
    let Some(inputs) = &target.inputs else {
        return "cgo, or a flag whose inputs are not known: Go always runs".to_owned();
    };
    let before = std::fs::read_to_string(inputs_file(workspace, target, platform))
        .ok()
        .and_then(|text| Preimage::from_text(&text));
    match before {
        None => "not built here before".to_owned(),
        Some(before) => inputs.difference(&before).unwrap_or_else(|| "no longer in the cache".to_owned()),
    }
}

/// Where the inputs of a target's last build in this clone are kept.
pub fn inputs_file(workspace: &Workspace, target: &Target, platform: &Platform) -> PathBuf {
    workspace.state.join("inputs").join(&target.service).join(platform.slug())
}

/// Takes from the cache what is there and compiles the rest.
///
/// # Errors
/// The compiler's, as a failed command ([`Exit::Failed`]). With `keep_going` each target of a failed
/// group is built singly, and the faults of those that fail are in the output.
pub fn run(spec: &BuildSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let cache = scope.cache;
    let mut binaries = BTreeMap::new();
    let mut missing = Vec::new();
    let left = format!("binaries-v1-{}", spec.platform.slug());
    let mut left = StatIndex::load(&scope.workspace.state.join(left));
    for target in &spec.targets {
        match take(target, spec, &mut left, scope)? {
            Some(binary) => {
                binaries.insert(target.service.clone(), binary);
            }
            None => missing.push(target),
        }
    }
    // Without it they are read again.
    let _ = left.save();
    let cached = missing.is_empty();
    let mut failures = BTreeMap::new();
    if !cached {
        scope.progress.status("compiling");
        match compile(&missing, spec, cache, scope) {
            Ok(built) => binaries.extend(built),
            Err(_) if scope.keep_going && missing.len() > 1 && !scope.cancel.is_set() => {
                failures = compile_singly(&missing, spec, cache, scope, &mut binaries);
            }
            Err(error) => return Err(error),
        }
    }
    let size: u64 = binaries.values().map(|binary| binary.size).sum();
    let note = crate::report::measure::bytes(size);
    Ok(Finish { output: Output::Binaries { binaries, failures }, cached, note })
}

/// The executable from the cache, put into `dist/` where it is not what lies there. `left`: what is known of those.
fn take(
    target: &Target,
    spec: &BuildSpec,
    left: &mut StatIndex,
    scope: &Scope<'_>,
) -> anyhow::Result<Option<Binary>> {
    let cache = scope.cache;
    let Some(inputs) = &target.inputs else { return Ok(None) };
    let Some(entry) = cache.get::<Entry>(Bucket::Build, &inputs.key()) else { return Ok(None) };
    let path = scope.workspace.binary(&target.service, &spec.platform);
    let there = cache.touch(&entry.digest, entry.size) && is_there(&path, &entry, left);
    if !there && !cache.take(&entry.digest, entry.size, &path)? {
        let message =
            format!("the cached binary of `{}` is gone or damaged: building it again", target.service);
        scope.progress.warning(&message, None);
        return Ok(None);
    }
    remember_inputs(target, spec, scope);
    Ok(Some(Binary { path, digest: entry.digest, size: entry.size }))
}

/// Whether a file is this executable.
fn is_there(path: &Path, entry: &Entry, left: &mut StatIndex) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    metadata.is_file()
        && metadata.len() == entry.size
        && is_executable(&metadata)
        && left.digest(path, &metadata).is_ok_and(|found| found == entry.digest)
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 == 0o111
}

#[cfg(not(unix))]
fn is_executable(_metadata: &std::fs::Metadata) -> bool {
    true
}

/// Keeps the inputs, so that the next plan can say what changed. A failure costs only that.
fn remember_inputs(target: &Target, spec: &BuildSpec, scope: &Scope<'_>) {
    if let Some(inputs) = &target.inputs {
        let file = inputs_file(scope.workspace, target, &spec.platform);
        if let Err(error) = files::keep(&file, inputs.to_text().as_bytes()) {
            scope.progress.warning(&format!("{error:#}"), None);
        }
    }
}

/// One `go build` of all `targets`.
fn compile(
    targets: &[&Target],
    spec: &BuildSpec,
    cache: &Cache,
    scope: &Scope<'_>,
) -> anyhow::Result<BTreeMap<String, Binary>> {
    std::fs::create_dir_all(&scope.workspace.state).fault(Exit::Machine, "could not make a folder")?;
    let folder = tempfile::Builder::new()
        .prefix(FOLDER)
        .tempdir_in(&scope.workspace.state)
        .fault(Exit::Machine, "could not make a folder to build in")?;
    let (made, work) = (folder.path().join("out"), folder.path().join("work"));
    for folder in [&made, &work] {
        std::fs::create_dir_all(folder).fault(Exit::Machine, "could not make a folder to build in")?;
    }
    // On the same file system Go renames what it has linked: no half of an executable is ever there. And
    // what a killed compile leaves is removed with the folder.
    let command = command(targets, spec, &scope.tools.go, &made, scope.environment)?.env("GOTMPDIR", &work);
    let command = match &scope.tools.gocache {
        Some(program) => command.env("GOCACHEPROG", program),
        None => command,
    };
    let (output, taken) = ahead::beside(targets, &made, spec, cache, scope, || {
        command.stream(scope.cancel, &|_, line| scope.progress.line(line))
    });
    command.checked(output?)?;
    refuse_edits(targets, scope)?;
    let mut binaries = BTreeMap::new();
    for target in targets {
        let made = made.join(executable(target, spec));
        if !made.is_file() {
            let message = format!("`go build` made no executable of `{}`", target.package);
            return Err(Fault::new(Exit::Failed, message)
                .hint("the package of a service must be `package main`")
                .into());
        }
        let (digest, size) = match taken.get(&target.service).filter(|taken| taken.stands(&made)) {
            Some(taken) => (taken.digest.clone(), taken.size),
            None => keep(&made, cache, scope)?,
        };
        if let Some(inputs) = &target.inputs {
            let entry = Entry { digest: digest.clone(), size };
            if let Err(error) = cache.put(Bucket::Build, &inputs.key(), &entry, &[(digest.clone(), size)]) {
                scope.progress.warning(&format!("{error:#}"), None);
            }
        }
        let path = scope.workspace.binary(&target.service, &spec.platform);
        files::rename(&made, &path)?;
        remember_inputs(target, spec, scope);
        binaries.insert(target.service.clone(), Binary { path, digest, size });
    }
    Ok(binaries)
}

/// Takes an executable into the cache, and gives its digest and size. A full disk there costs a warning.
fn keep(made: &Path, cache: &Cache, scope: &Scope<'_>) -> anyhow::Result<(Digest, u64)> {
    cache.put_file(made).or_else(|error| {
        scope.progress.warning(&format!("the cache does without it: {error:#}"), None);
        crate::cache::hash(made)
    })
}

/// The name under which Go writes it.
fn executable(target: &Target, spec: &BuildSpec) -> String {
    format!("{}{}", target.executable, spec.platform.executable_suffix())
}

/// What was edited while it was compiled is in the executables or not: nobody can say.
fn refuse_edits(targets: &[&Target], scope: &Scope<'_>) -> anyhow::Result<()> {
    let mut hashes = fingerprint::hashes(scope.workspace);
    for inputs in targets.iter().filter_map(|target| target.inputs.as_ref()) {
        if let Some(name) = inputs.changed(&scope.workspace.root, &mut hashes)? {
            let message = format!("`{name}` was changed while it was compiled");
            return Err(Fault::new(Exit::Machine, message).hint("run it again").into());
        }
    }
    Ok(())
}

/// After a group has failed: each target by itself, so that one broken package costs only its own
/// service.
fn compile_singly(
    targets: &[&Target],
    spec: &BuildSpec,
    cache: &Cache,
    scope: &Scope<'_>,
    binaries: &mut BTreeMap<String, Binary>,
) -> BTreeMap<String, JobFailure> {
    let mut failures = BTreeMap::new();
    for target in targets {
        match compile(&[target], spec, cache, scope) {
            Ok(built) => binaries.extend(built),
            Err(error) => {
                failures.insert(target.service.clone(), JobFailure::of(&error));
            }
        }
    }
    failures
}

/// The command that compiles `targets` into `folder`.
///
/// # Errors
/// A linker flag that can't be written in Go's own form.
pub fn command(
    targets: &[&Target],
    spec: &BuildSpec,
    go: &Path,
    folder: &Path,
    environment: &Environment,
) -> anyhow::Result<Command> {
    let mut command = go::command_for(go, &spec.setting, &spec.platform, environment)
        .args(["build", "-trimpath", "-buildvcs=false"])
        .args(&spec.flags)
        .timeout(Duration::from_secs(3600));
    if !spec.tags.is_empty() {
        command = command.arg(format!("-tags={}", spec.tags.join(",")));
    }
    for target in targets {
        if !target.ldflags.is_empty() {
            let flags = target.ldflags.iter().map(|flag| quoted(flag)).collect::<anyhow::Result<Vec<_>>>()?;
            command = command.arg(format!("-ldflags={}={}", target.package, flags.join(" ")));
        }
    }
    // `-o` takes a folder for one only if it ends in a separator.
    let mut folder = folder.as_os_str().to_owned();
    folder.push(std::path::MAIN_SEPARATOR_STR);
    Ok(command.arg("-o").arg(folder).arg("--").args(targets.iter().map(|target| &target.package)))
}

/// A word for Go's own splitting of flag lists, which knows quotes of both kinds and no escapes
/// (`cmd/internal/quoted`). `-X` and its value are two words.
pub(crate) fn quoted(word: &str) -> anyhow::Result<String> {
    if let Some(value) = word.strip_prefix("-X ") {
        return Ok(format!("-X {}", quoted(value.trim_start())?));
    }
    if !word.is_empty() && !word.contains([' ', '\t', '\n', '\r', '\'', '"']) {
        Ok(word.to_owned())
    } else if !word.contains('\'') {
        Ok(format!("'{word}'"))
    } else if !word.contains('"') {
        Ok(format!("\"{word}\""))
    } else {
        Err(Fault::new(Exit::Usage, format!("the linker flag `{word}` holds both kinds of quotes"))
            .hint("Go can't be given such a flag: leave out one kind")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_go_splits_them() {
        assert_eq!(quoted("-s").unwrap(), "-s");
        assert_eq!(quoted("-X main.a=b c").unwrap(), "-X 'main.a=b c'");
        assert_eq!(quoted("it's").unwrap(), "\"it's\"");
        assert_eq!(quoted("").unwrap(), "''");
        assert!(quoted("'\"").is_err());
    }

    #[test]
    fn every_package_gets_flags_of_its_own() {
        let target = |service: &str| Target {
            service: service.to_owned(),
            package: format!("ex/cmd/{service}"),
            executable: service.to_owned(),
            ldflags: vec!["-s".into(), format!("-X main.version=1.0-{service}")],
            inputs: None,
            layer: None,
        };
        let spec = BuildSpec {
            setting: Setting {
                module: "/m".into(),
                version: Some("1.26.8".into()),
                work: None,
                cgo: false,
                env: BTreeMap::new(),
            },
            platform: "linux/arm/v6".parse().unwrap(),
            flags: vec!["-gcflags=all=-l".into()],
            tags: vec!["netgo".into(), "osusergo".into()],
            targets: vec![],
        };
        let (a, b) = (target("a"), target("b"));
        let environment = Environment::from_iter([
            ("GOFLAGS".to_owned(), "-mod=mod".to_owned()),
            ("GOPROXY".to_owned(), "off".to_owned()),
        ]);
        let command = command(&[&a, &b], &spec, Path::new("go"), Path::new("/out"), &environment).unwrap();
        assert_eq!(
            command.to_string(),
            "go build -trimpath -buildvcs=false -gcflags=all=-l -tags=netgo,osusergo \
             '-ldflags=ex/cmd/a=-s -X main.version=1.0-a' \
             '-ldflags=ex/cmd/b=-s -X main.version=1.0-b' -o /out/ -- ex/cmd/a ex/cmd/b"
        );
        let value = |name: &str| command.env.get(std::ffi::OsStr::new(name)).map(|v| v.to_str().unwrap());
        assert_eq!(value("GOARM"), Some("6"));
        assert_eq!(value("GOFLAGS"), Some(""), "the ambient one shapes nothing");
        assert_eq!(value("GOPROXY"), Some("off"));
        assert_eq!(value("CGO_ENABLED"), Some("0"));
    }
}
