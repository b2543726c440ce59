//! The engines: which of them this machine has, and what each is told.

mod look;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::caches::{self, reference};
use super::{Build, DockerfileSpec, Unpushed};
use crate::cancel::Cancel;
use crate::config::Engine as Choice;
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::process::Command;
use crate::oci::layout::Layout;
use crate::oci::saved;
use crate::stage::image::located;
use crate::stage::lint::tool::{machine, stopped};
use crate::workspace::Workspace;

pub use look::look;

/// Of a question; a build takes as long as it takes.
const CALL: Duration = Duration::from_secs(60);
/// In a build's folder: the client, and the name of the image that it makes in its daemon.
const IN_DAEMON: &str = "in-daemon";
/// Of an image on its way out of a daemon or a storage.
const COPY: Duration = Duration::from_secs(900);

/// Variables of the user's that lead docker to its daemon, its builders and through a proxy.
const VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USERPROFILE",
    "SYSTEMROOT",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "TMPDIR",
    "TEMP",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_API_VERSION",
    "BUILDX_BUILDER",
    "BUILDX_CONFIG",
    "REGISTRY_AUTH_FILE",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "CONTAINERS_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINERS_STORAGE_CONF",
    "STORAGE_DRIVER",
    "BUILDAH_ISOLATION",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// One that can be used.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    kind: Kind,
    program: PathBuf,
    environment: Environment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A builder with an exporter of OCI layouts.
    Buildx,
    /// The daemon's own BuildKit, through buildx.
    BuildxDocker,
    /// The daemon's own BuildKit, through a client that has it built in.
    Docker,
    Buildah,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Buildx | Kind::BuildxDocker => "buildx",
            Kind::Docker => "docker",
            Kind::Buildah => "buildah",
        })
    }
}

impl Engine {
    /// The engine that `spec` names, or the first that this machine has.
    ///
    /// # Errors
    /// [`Exit::Machine`] with why each can't be used.
    pub(super) fn find(
        spec: &DockerfileSpec,
        environment: &Environment,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let wanted = match (spec.engine, &spec.builder) {
            (Choice::Auto, Some(_)) => vec![Choice::Buildx],
            (Choice::Auto, None) => vec![Choice::Buildx, Choice::Docker, Choice::Buildah],
            (named, _) => vec![named],
        };
        let mut reasons: Vec<String> = Vec::new();
        let mut lacking = false;
        for choice in wanted {
            let programs = programs(program_of(choice), environment);
            if programs.is_empty() {
                reasons.push(format!("`{}` is not on PATH", program_of(choice)));
            }
            for program in programs {
                match Self::probe(choice, program, spec.builder.as_deref(), environment, cancel) {
                    Ok(engine) => match engine.lacks(spec) {
                        None => return Ok(engine),
                        Some(lacks) => {
                            lacking = true;
                            reasons.push(lacks);
                        }
                    },
                    Err(_) if cancel.is_set() => return Err(stopped(cancel)),
                    Err(why) => reasons.push(why),
                }
            }
        }
        reasons.dedup();
        let message =
            format!("nothing here can build the Dockerfile of `{}`: {}", spec.service, reasons.join("; "));
        let fault = Fault::new(Exit::Machine, message)
            .hint("install docker with buildx and start it, or buildah, or name a remote `builder`; `cargo xtask doctor` says what is here");
        Err(located(fault.into(), spec.cache_place.as_ref().filter(|_| lacking)))
    }

    fn probe(
        choice: Choice,
        program: PathBuf,
        builder: Option<&str>,
        environment: &Environment,
        cancel: &Cancel,
    ) -> Result<Self, String> {
        let mut engine = Self { kind: Kind::Buildah, program, environment: environment.clone() };
        let shown = engine.program.display().to_string();
        match choice {
            Choice::Buildah => {
                if cfg!(not(target_os = "linux")) {
                    return Err("buildah needs Linux".to_owned());
                }
                engine.said(&["--version"], cancel).map_err(|why| format!("`{shown}`: {why}"))?;
            }
            Choice::Docker => {
                let text =
                    engine.said(&["version", "--format", "{{.Client.Version}} {{.Server.Version}}"], cancel);
                let text = text.map_err(|why| format!("docker's daemon does not answer `{shown}`: {why}"))?;
                let major = text.split('.').next().and_then(|major| major.parse::<u32>().ok());
                if major.is_none_or(|major| major >= 23) {
                    return Err(format!("`{shown}` needs its buildx component for BuildKit"));
                }
                engine.kind = Kind::Docker;
            }
            Choice::Buildx | Choice::Auto => engine.kind = engine.builder(builder, &shown, cancel)?,
        }
        Ok(engine)
    }

    /// The driver of buildx's builder decides how an image comes out of it.
    fn builder(&self, builder: Option<&str>, shown: &str, cancel: &Cancel) -> Result<Kind, String> {
        self.said(&["buildx", "version"], cancel)
            .map_err(|_| format!("`{shown}` has no buildx component"))?;
        let mut words = vec!["buildx", "inspect"];
        words.extend(builder);
        let text = self.said(&words, cancel).map_err(|why| match builder {
            Some(builder) => format!("buildx has no builder `{builder}`: {why}"),
            None => format!("buildx's builder can't be used: {why}"),
        })?;
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // A node that can't be reached says so, and the command ends well all the same. One of the driver
        // docker-container that is inactive is started by the build.
        let running = line("Status:") == Some("running");
        let name = line("Name:").unwrap_or("default");
        if let Some(error) = line("Error:").filter(|_| !running) {
            return Err(format!("buildx's builder `{name}` can't be used: {error}"));
        }
        if line("Driver:") == Some("remote") && !running {
            let place = line("Endpoint:").unwrap_or_default();
            return Err(format!("buildx's builder `{name}` does not answer at `{place}`"));
        }
        Ok(if line("Driver:") == Some("docker") { Kind::BuildxDocker } else { Kind::Buildx })
    }

    /// What it can't do that `spec` asks for.
    fn lacks(&self, spec: &DockerfileSpec) -> Option<String> {
        let choice = match self.kind {
            Kind::Buildx => return None,
            Kind::BuildxDocker => {
                let inline = |cache: &String| cache.starts_with("type=inline");
                return (!spec.cache_to.iter().all(inline)).then(|| {
                    "buildx's builder of the driver `docker` can't write a cache: `docker buildx create` makes one that can".to_owned()
                });
            }
            Kind::Docker => Choice::Docker,
            Kind::Buildah => Choice::Buildah,
        };
        let from = spec.cache_from.iter().map(|cache| ("cache-from", cache));
        let caches = from.chain(spec.cache_to.iter().map(|cache| ("cache-to", cache)));
        let has_args = !spec.args.is_empty();
        caches.filter_map(|(key, cache)| choice.lacks(key, cache, has_args)).next().map(str::to_owned)
    }

    /// What a question is answered; else why not.
    fn said(&self, words: &[&str], cancel: &Cancel) -> Result<String, String> {
        let command = self.command().args(words.iter().copied()).timeout(CALL);
        match command.output(cancel) {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                match command.checked(output) {
                    Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
                    Err(_) => Err(said.lines().last().unwrap_or("no answer").trim().to_owned()),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn command(&self) -> Command {
        let buildah = self.kind == Kind::Buildah;
        let listed = VARIABLES.iter().filter(|name| !buildah || **name != "DOCKER_CONFIG");
        let listed = listed.filter_map(|name| Some((*name, self.environment.get(name)?)));
        let mut command = listed
            .fold(Command::new(&self.program).clear(), |command, (name, value)| command.env(name, value));
        // It takes the file for granted that lies in the folder which docker's variable names.
        let config =
            self.environment.get("DOCKER_CONFIG").map(|folder| Path::new(folder).join("config.json"));
        if let Some(config) = config.filter(|config| buildah && config.is_file())
            && self.environment.get("REGISTRY_AUTH_FILE").is_none()
        {
            command = command.env("REGISTRY_AUTH_FILE", config);
        }
        command
    }

    /// Builds, and gives a layout with the image.
    ///
    /// # Errors
    /// As [`super::run`].
    pub(super) fn build(&self, build: &Build<'_>) -> anyhow::Result<Layout> {
        let cancel = build.scope.cancel;
        let answers = || self.answers(build.spec, &Cancel::default());
        match self.kind {
            Kind::Buildx => {
                let folder = build.folder.join("layout");
                let compression = build.spec.compression;
                let level = compression.level().map(|level| format!(",compression-level={level}"));
                let output = format!(
                    "type=oci,tar=false,dest={},compression={}{},rewrite-timestamp=true",
                    folder.display(),
                    compression.format(),
                    level.unwrap_or_default()
                );
                let command = self.buildx(build).arg("--output").arg(output).arg(&build.spec.context);
                build.run(command, answers)?;
                Layout::open(&folder)
            }
            Kind::BuildxDocker | Kind::Docker => {
                let image = Image { engine: self, name: &build.name };
                image.remove();
                let text = format!("{}\n{}", self.program.display(), build.name);
                files::write(&build.folder.join(IN_DAEMON), text.as_bytes())?;
                let command = match self.kind {
                    Kind::Docker => self.docker(build),
                    _ => self.buildx(build).arg("--load"),
                };
                let command = command.arg("--tag").arg(&build.name).arg(&build.spec.context);
                build.run(command, answers)?;
                let file = build.folder.join("image.tar");
                let save = self.command().args(["image", "save", "--output"]).arg(&file).arg(&build.name);
                let save = save.timeout(COPY).run(cancel);
                save.map_err(|error| if cancel.is_set() { stopped(cancel) } else { machine(error) })?;
                saved::unpack(&file, &build.folder.join("layout"), build.spec.compression, cancel)
            }
            Kind::Buildah => self.buildah(build),
        }
    }

    /// Whether it is still there, after something has failed.
    fn answers(&self, spec: &DockerfileSpec, cancel: &Cancel) -> bool {
        match self.kind {
            Kind::Buildah => true,
            Kind::Buildx => self.builder(spec.builder.as_deref(), "docker", cancel).is_ok(),
            Kind::BuildxDocker | Kind::Docker => {
                self.said(&["version", "--format", "{{.Server.Version}}"], cancel).is_ok()
            }
        }
    }

    /// What every BuildKit's `build` is told.
    fn common(command: Command, build: &Build<'_>) -> Command {
        let spec = build.spec;
        let mut command = command
            .args(["--progress", "plain", "--file"])
            .arg(&spec.file)
            .args(["--platform", &spec.platform.to_string()])
            // Folders of caches are named from there.
            .cwd(&build.scope.workspace.root)
            .env("DOCKER_BUILDKIT", "1")
            .env("SOURCE_DATE_EPOCH", spec.created.to_string());
        if let Some(target) = &spec.target {
            command = command.args(["--target", target]);
        }
        for (name, value) in &spec.args {
            command = command.args(["--build-arg", &format!("{name}={value}")]);
        }
        for (name, value) in &spec.labels {
            command = command.args(["--label", &format!("{name}={value}")]);
        }
        for secret in &build.secrets.args {
            command = command.args(["--secret", secret]);
        }
        command
    }

    fn buildx(&self, build: &Build<'_>) -> Command {
        let spec = build.spec;
        let mut command = Self::common(self.command().args(["buildx", "build"]), build)
            // Attestations are made of what is released, by the pipeline.
            .args(["--provenance=false", "--sbom=false"]);
        if let Some(builder) = &spec.builder {
            command = command.args(["--builder", builder]);
        }
        for cache in &spec.cache_from {
            command = command.arg("--cache-from").arg(cache);
        }
        let (told, lost) = caches::exports(&spec.cache_to, &build.scope.workspace.root);
        lost.iter().for_each(|why| build.lost(why));
        told.iter().fold(command, |command, cache| command.arg("--cache-to").arg(cache))
    }

    fn docker(&self, build: &Build<'_>) -> Command {
        let mut command = Self::common(self.command().arg("build"), build);
        for cache in &build.spec.cache_from {
            command = command.arg("--cache-from").arg(reference(cache));
        }
        command
    }

    fn buildah(&self, build: &Build<'_>) -> anyhow::Result<Layout> {
        let (spec, cancel) = (build.spec, build.scope.cancel);
        let storage = storage(build.scope.workspace);
        let command = || self.command().args(storage_args(&storage));
        let folder = build.folder.join("layout");
        let mut built = command()
            // Its cache takes an `ENV` or `LABEL` with another `ARG`'s value for the same (seen in 1.28).
            .arg("build")
            .arg(format!("--layers={}", spec.args.is_empty()))
            .args(["--format", "oci", "--force-rm", "--tag", &build.name, "--file"])
            .arg(&spec.file)
            .args(["--platform", &spec.platform.to_string()])
            .args(["--timestamp", &spec.created.to_string()]);
        if let Some(target) = &spec.target {
            built = built.args(["--target", target]);
        }
        for (name, value) in &spec.args {
            built = built.args(["--build-arg", &format!("{name}={value}")]);
        }
        for (name, value) in &spec.labels {
            built = built.args(["--label", &format!("{name}={value}")]);
        }
        for secret in &build.secrets.args {
            built = built.args(["--secret", secret]);
        }
        for cache in &spec.cache_from {
            built = built.args(["--cache-from", reference(cache)]);
        }
        // It knows the context's own alone.
        if let Some(file) = crate::facts::context::ignore_file(&spec.file, &spec.context) {
            built = built.arg("--ignorefile").arg(file);
        }
        let exporting = spec
            .cache_to
            .iter()
            .fold(built.clone(), |command, cache| command.args(["--cache-to", reference(cache)]));
        let ended = build.run(exporting.arg(&spec.context), || true);
        match ended.as_ref().err().and_then(|error| error.downcast_ref()) {
            Some(Unpushed(why)) => {
                build.lost(why);
                // Its steps are in the storage by now.
                build.run(built.arg(&spec.context), || true)?;
            }
            None => ended?,
        }
        let target = format!("oci:{}:image", folder.display());
        let mut push = command().args(["push", "--quiet", "--compression-format", spec.compression.format()]);
        if let Some(level) = spec.compression.level() {
            push = push.args(["--compression-level", &level.to_string()]);
        }
        let push = push.args([&build.name, &target]).timeout(COPY).run(cancel);
        push.map_err(|error| if cancel.is_set() { stopped(cancel) } else { machine(error) })?;
        if !spec.args.is_empty() {
            // Without its cache it can't be of use again.
            let _ = command().args(["rmi", "--force", &build.name]).timeout(CALL).output(cancel);
        }
        Layout::open(&folder)
    }
}

/// Buildah's images and containers of one work tree: apart from the user's, which may lack the room, the
/// rights, or the wish to be cleaned up.
fn storage(workspace: &Workspace) -> PathBuf {
    let place = crate::oci::types::Digest::of(workspace.state.as_os_str().as_encoded_bytes());
    workspace.cache.join("buildah").join(&place.hex()[..12])
}

fn storage_args(storage: &Path) -> [PathBuf; 4] {
    ["--root".into(), storage.join("root"), "--runroot".into(), storage.join("run")]
}

/// Removes what killed runs' builds have left in a daemon and in buildah's storage, by the folders in which
/// they ran. Under the work tree's lock, and before those folders are removed.
pub fn clean(workspace: &Workspace, environment: &Environment, cancel: &Cancel) {
    let entries = std::fs::read_dir(&workspace.state).into_iter().flatten().flatten();
    let of_build = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(super::FOLDER);
    let left: Vec<PathBuf> =
        entries.filter(|entry| of_build(&entry.file_name())).map(|entry| entry.path()).collect();
    for text in left.iter().filter_map(|folder| std::fs::read_to_string(folder.join(IN_DAEMON)).ok()) {
        let Some((program, name)) = text.split_once('\n') else { continue };
        let (program, environment) = (PathBuf::from(program), environment.clone());
        Image { engine: &Engine { kind: Kind::Docker, program, environment }, name }.remove();
    }
    let storage = storage(workspace);
    if left.is_empty() || !storage.is_dir() {
        return;
    }
    for program in programs("buildah", environment) {
        let engine = Engine { kind: Kind::Buildah, program, environment: environment.clone() };
        // A failure is told by the next build.
        let _ =
            engine.command().args(storage_args(&storage)).args(["rm", "--all"]).timeout(CALL).output(cancel);
    }
}

/// An image in the daemon, until it is in the layout.
struct Image<'a> {
    engine: &'a Engine,
    name: &'a str,
}

impl Image<'_> {
    /// Takes it away, where it is. What the user has under other names stays.
    fn remove(&self) {
        let _ = self.engine.said(&["image", "rm", self.name], &Cancel::default());
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

fn program_of(choice: Choice) -> &'static str {
    if choice == Choice::Buildah { "buildah" } else { "docker" }
}

/// Every program of this name on PATH: the first docker may lack what a later one has.
fn programs(name: &str, environment: &Environment) -> Vec<PathBuf> {
    let Some(path) = environment.get("PATH") else { return Vec::new() };
    which::which_in_all(name, Some(path), Path::new("/")).map(Iterator::collect).unwrap_or_default()
}
