//! An image from a Dockerfile: built by docker's BuildKit, by buildx or by buildah, and brought into the
//! service's layout, from where it goes the way of every other. What its `RUN` steps do is the user's: the
//! same bytes are not promised, though `SOURCE_DATE_EPOCH` is given to whoever listens.
//!
//! Where every input is known and none changed, the image of the last time is taken: no engine is started.
//!
//! Values of secrets reach a build as variables of the engine's, or as a file's path, never in argv.

mod caches;
mod engine;
mod failure;
pub mod inputs;
pub mod jobs;
pub mod kept;
pub mod sent;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Compression, Engine as Choice, SecretSource};
use crate::diagnostic::Place;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::process::{Command, Output as Printed, Status};
use crate::host::secrets::Secrets;
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, media_type};
use crate::platform::Platform;
use crate::stage::{Finish, ManifestOutput, Output, Scope};

pub use engine::{clean, look};

use engine::Engine;

/// How the folders of builds begin, in the work tree's state: a killed run leaves one.
pub const FOLDER: &str = "dockerfile-";

/// One platform's image of one service, from its Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileSpec {
    pub service: String,
    pub platform: Platform,
    /// Absolute.
    pub file: PathBuf,
    /// Absolute.
    pub context: PathBuf,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The commit's time, in seconds since 1970.
    pub created: u64,
    pub compression: Compression,
    pub engine: Choice,
    pub builder: Option<String>,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    /// Where the first cache is written.
    pub cache_place: Option<Place>,
    pub secrets: BTreeMap<String, SecretSource>,
    /// Every input, or why not all are known: then it is always built.
    pub inputs: inputs::Inputs,
}

/// A build about to run.
struct Build<'a> {
    spec: &'a DockerfileSpec,
    scope: &'a Scope<'a>,
    /// Of this build alone.
    folder: &'a Path,
    /// Its image in a daemon or a storage, until it is in the layout: the same in the next run, which
    /// takes away what a killed one has left.
    name: String,
    secrets: Given,
}

/// The values of a build's secrets.
struct Given {
    /// `--secret`'s arguments.
    args: Vec<String>,
    /// The variables that they name.
    env: BTreeMap<String, String>,
    hidden: Secrets,
}

/// All was built, and the cache could not be pushed.
#[derive(Debug, thiserror::Error)]
#[error("the cache could not be pushed: {0}")]
struct Unpushed(String);

/// Builds it and keeps it in the service's layout.
///
/// # Errors
/// [`Exit::Failed`] where a step fails; [`Exit::Machine`] where no engine is there or it breaks;
/// [`Exit::Outside`] where a base can't be had; [`Exit::Usage`] for a secret that has no value.
pub fn run(spec: &DockerfileSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let layout = Layout::create(&scope.workspace.layout(&spec.service))?;
    if let Some(kept) = kept::take(spec, &layout, scope)? {
        let note = crate::report::measure::bytes(kept.size);
        return Ok(Finish { output: Output::Manifest(kept), cached: true, note });
    }
    std::fs::create_dir_all(&scope.workspace.state).fault(Exit::Machine, "could not make a folder")?;
    let folder = tempfile::Builder::new()
        .prefix(FOLDER)
        .tempdir_in(&scope.workspace.state)
        .fault(Exit::Machine, "could not make a folder to build in")?;
    let engine = Engine::find(spec, scope.environment, scope.cancel)?;
    let secrets = secrets(spec, scope)?;
    sent::look(spec, scope)?;
    let build = Build { spec, scope, folder: folder.path(), name: name(spec, scope), secrets };
    scope.progress.status(&format!("with {engine}"));
    let made = engine.build(&build)?;
    let manifest = keep(&build, &made, &layout)?;
    kept::put(spec, &manifest, &layout, scope)?;
    let note = format!("{}, {engine}", crate::report::measure::bytes(manifest.size));
    Ok(Finish { output: Output::Manifest(manifest), cached: false, note })
}

/// `longshore-build/api:0123456789ab-linux-amd64`: of this work tree, service and platform.
fn name(spec: &DockerfileSpec, scope: &Scope<'_>) -> String {
    let place = crate::oci::types::Digest::of(scope.workspace.state.as_os_str().as_encoded_bytes());
    format!("longshore-build/{}:{}-{}", spec.service, &place.hex()[..12], spec.platform.slug())
}

fn secrets(spec: &DockerfileSpec, scope: &Scope<'_>) -> anyhow::Result<Given> {
    let mut given = Given { args: Vec::new(), env: BTreeMap::new(), hidden: Secrets::default() };
    let mut values = Vec::new();
    for (number, (id, source)) in spec.secrets.iter().enumerate() {
        match source {
            SecretSource::Variable(name) => {
                let Some(value) = scope.environment.get(name) else {
                    let message = format!(
                        "the build of `{}` needs the secret `{id}`, and `{name}` is not set",
                        spec.service
                    );
                    return Err(Fault::new(Exit::Usage, message)
                        .hint(format!("set the variable `{name}`"))
                        .into());
                };
                let variable = format!("LONGSHORE_SECRET_{number}");
                given.args.push(format!("id={id},env={variable}"));
                given.env.insert(variable, value.to_owned());
                values.push(value.to_owned());
            }
            SecretSource::File(path) => {
                let path = scope.workspace.root.join(path);
                let text = std::fs::read(&path).fault(
                    Exit::Usage,
                    format!(
                        "could not read `{}`, the secret `{id}` of the build of `{}`",
                        path.display(),
                        spec.service
                    ),
                )?;
                given.args.push(format!("id={id},src={}", path.display()));
                values.push(String::from_utf8_lossy(&text).trim_end().to_owned());
            }
        }
    }
    given.hidden = Secrets::new(values.iter().map(String::as_str));
    Ok(given)
}

/// Takes the image over from the layout that the engine has left.
fn keep(build: &Build<'_>, made: &Layout, layout: &Layout) -> anyhow::Result<ManifestOutput> {
    let spec = build.spec;
    let mut found: Vec<Descriptor> = Vec::new();
    for entry in made.index()?.manifests {
        found.extend(made.manifests(&entry)?);
    }
    // An attestation is for no platform.
    found.retain(|manifest| manifest.platform.as_ref().is_none_or(|platform| platform.os != "unknown"));
    let [manifest] = &found[..] else {
        let message =
            format!("the build of `{}` left {} images where one was asked for", spec.service, found.len());
        return Err(Fault::new(Exit::Machine, message).into());
    };
    let (document, config) = made.read_image(&manifest.digest)?;
    if config.platform().known().as_ref() != Some(&spec.platform) {
        let message = format!(
            "the build of `{}` for {} left an image for {}",
            spec.service,
            spec.platform,
            config.platform()
        );
        return Err(Fault::new(Exit::Usage, message)
            .hint("a base that is not for this platform, or `FROM --platform=…` of another one")
            .into());
    }
    let bytes = made.read(&manifest.digest)?;
    layout.take(made, &Descriptor::of(media_type::MANIFEST, &bytes), build.scope.cancel)?;
    Ok(ManifestOutput {
        layout: layout.root().to_owned(),
        platform: spec.platform.clone(),
        digest: manifest.digest.clone(),
        config: document.config.digest.clone(),
        size: document.layers_size(),
    })
}

impl Build<'_> {
    /// Runs the engine's build to its end, its lines shown as they come.
    ///
    /// # Errors
    /// As [`failure::of`] says of its lines.
    fn run(&self, command: Command, answers: impl Fn() -> bool) -> anyhow::Result<()> {
        let command =
            self.secrets.env.iter().fold(command, |command, (name, value)| command.env(name, value));
        let command = command.secrets(&self.secrets.hidden);
        let progress = self.scope.progress;
        let output = command
            .stream(self.scope.cancel, &|_, line| {
                let line = self.secrets.hidden.redact(line);
                if let Some(step) = step(&line) {
                    progress.status(step);
                }
                progress.line(&line);
            })
            .map_err(|error| {
                anyhow::Error::from(error).context(Fault::new(Exit::Machine, "the build could not start"))
            })?;
        match output.status {
            Status::Exited(0) => {
                if let Some(why) = caches::unexported(&self.said(&output)) {
                    self.lost(why);
                }
                Ok(())
            }
            Status::Cancelled => Err(crate::stage::lint::tool::stopped(self.scope.cancel)),
            _ => Err(self.failed(&command, output, answers)),
        }
    }

    fn said(&self, output: &Printed) -> String {
        let said = [&output.stderr[..], &output.stdout[..]].concat();
        self.secrets.hidden.redact(&String::from_utf8_lossy(&said)).into_owned()
    }

    /// Tells of a cache that could not be exported.
    fn lost(&self, why: &str) {
        let message = format!("the cache of `{}` was not exported: {why}", self.spec.service);
        self.scope
            .progress
            .warning(&message, Some("the image is whole; look at `cache-to` in pipeline.toml"));
    }

    fn failed(&self, command: &Command, output: Printed, answers: impl Fn() -> bool) -> anyhow::Error {
        let said = self.said(&output);
        if let Some(why) = caches::unpushed(&said) {
            return Unpushed(why.to_owned()).into();
        }
        let fault = failure::of(&self.spec.service, &said, answers);
        match command.checked(output) {
            Err(error) => anyhow::Error::from(error).context(fault),
            Ok(_) => fault.into(),
        }
    }
}

/// What a line of BuildKit's or buildah's plain output says is being done.
fn step(line: &str) -> Option<&str> {
    if let Some(rest) = line.strip_prefix('#') {
        let (_, rest) = rest.split_once(' ')?;
        return rest.starts_with('[').then_some(rest);
    }
    line.starts_with("STEP ").then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_other_lines() {
        assert_eq!(step("#4 [build 2/3] RUN go build"), Some("[build 2/3] RUN go build"));
        assert_eq!(step("STEP 1/2: FROM scratch"), Some("STEP 1/2: FROM scratch"));
        for other in ["#4 sha256:c7", "#4 DONE 0.0s", "", "#", "COMMIT"] {
            assert_eq!(step(other), None, "{other}");
        }
    }
}
