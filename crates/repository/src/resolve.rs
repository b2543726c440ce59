//! Configuration → settings of each service: the one place where defaults are applied, last. Pure.

mod deploy;
mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{
    Base, Build, Compression, Config, Engine, Health, Image, Located, MovingTag, Registry, SecretSource,
    Service,
};
use crate::diagnostic::Place;
use crate::digest::Digest;
use crate::facts::go::Toolchain;
use crate::platform::Platform;

pub use deploy::{DeploySettings, Request, Resources, WorkloadSettings, deploy, workload};
pub use stages::{ScanSettings, StageSettings, TestSettings, VerifySettings, stages};

/// A service with nothing left open but what the environment and the repository say.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    pub name: String,
    /// The main package's directory, from the root. Absent only beside a Dockerfile.
    pub package: Option<PathBuf>,
    pub platforms: Vec<Platform>,
    pub build: BuildSettings,
    pub image: ImageSettings,
    pub port: Option<u16>,
    pub health: HealthSettings,
    /// It is a command: it ends by itself with 0, and is not deployed.
    pub ends: bool,
    pub needs: Vec<String>,
    /// The Git tag's form.
    pub tag: String,
    /// Its image is not made of its binary but built from a Dockerfile.
    pub dockerfile: Option<DockerfileSettings>,
}

/// How a Dockerfile is built. Paths are from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileSettings {
    pub file: PathBuf,
    /// Empty for the root itself.
    pub context: PathBuf,
    pub target: Option<String>,
    pub text: String,
    /// The names of its `ARG`s.
    pub declared: BTreeSet<String>,
    pub engine: Engine,
    pub builder: Option<String>,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    /// Of the first cache.
    pub cache_place: Option<Place>,
    /// By the id that a build step mounts.
    pub secrets: BTreeMap<String, SecretSource>,
}

/// What shapes a binary, besides its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildSettings {
    /// `1.26.8`; absent: the Go that is installed.
    pub go: Option<String>,
    pub cgo: bool,
    pub flags: Vec<String>,
    /// Templates.
    pub ldflags: Vec<String>,
    pub tags: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// What shapes an image, besides its binary, its version and its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSettings {
    /// Compressed bytes that a platform's image may have.
    pub size_budget: Option<Located<u64>>,
    /// As written, for the platforms that have one; the others stand on scratch.
    pub bases: BTreeMap<Platform, Located<Base>>,
    pub user: String,
    pub compression: Compression,
    pub labels: BTreeMap<String, String>,
    pub moving_tags: Vec<MovingTag>,
    /// Destination in the image → source, from the root.
    pub files: BTreeMap<String, PathBuf>,
    /// The build-args' defaults, composed: the neutral image's `Env`.
    pub env: BTreeMap<String, String>,
}

/// HTTP paths and times of the checks that verify and deploy make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSettings {
    pub startup: Option<String>,
    pub ready: Option<String>,
    pub live: Option<String>,
    pub delay: Option<Duration>,
    pub period: Duration,
    pub timeout: Duration,
}

/// The release registry where none is named.
pub fn default_registry() -> Registry {
    Registry::Layouts(PathBuf::from("dist/oci"))
}

/// The Git tag's form where none is named.
pub const DEFAULT_TAG: &str = "{service}/v{version}";

/// Every service's settings. The paths of the configuration are relative to its own folder, those of the
/// settings to `root`, the repository's.
pub fn services(config: &Config, root: &Path) -> BTreeMap<String, ServiceSettings> {
    let folder = config.root.strip_prefix(root).unwrap_or(Path::new(""));
    let settings = |service| settings(config, folder, service);
    config.services.iter().map(|(name, service)| (name.clone(), settings(service))).collect()
}

fn settings(config: &Config, folder: &Path, service: &Service) -> ServiceSettings {
    ServiceSettings {
        name: service.name.value.clone(),
        package: service.package.value().map(|package| folder.join(&package.value)),
        platforms: platforms(config, service),
        build: build(config, service),
        image: image(config, folder, service),
        port: value(&service.port),
        health: health(service.health.as_ref().map(|health| &health.value)),
        ends: value(&service.ends).unwrap_or_default(),
        needs: service.needs.iter().map(|need| need.value.clone()).collect(),
        tag: value(&service.tag)
            .or_else(|| value(&config.project.tag))
            .unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        dockerfile: dockerfile(config, folder, service),
    }
}

fn dockerfile(config: &Config, folder: &Path, service: &Service) -> Option<DockerfileSettings> {
    let file = service.dockerfile.as_ref()?;
    let (own, shared) = (&service.image, &config.image);
    let list = |of: fn(&Image) -> &Option<Vec<Located<String>>>| {
        of(own).as_ref().or(of(shared).as_ref()).map(|items| values(items)).unwrap_or_default()
    };
    let context = service.context.as_ref().map_or(Path::new(""), |context| &context.value);
    let secrets = service.build_secrets.iter();
    Some(DockerfileSettings {
        file: normal(&folder.join(&file.value)),
        context: normal(&folder.join(context)),
        target: value(&service.target),
        text: config.dockerfiles.get(&file.value).map(|source| source.text.clone()).unwrap_or_default(),
        declared: declared(config, &file.value),
        engine: value(&own.engine).or_else(|| value(&shared.engine)).unwrap_or(Engine::Auto),
        builder: value(&own.builder).or_else(|| value(&shared.builder)),
        cache_from: list(|image| &image.cache_from),
        cache_to: list(|image| &image.cache_to),
        cache_place: [&own.cache_to, &shared.cache_to, &own.cache_from, &shared.cache_from]
            .into_iter()
            .find_map(|caches| Some(caches.as_ref()?.first()?.place.clone())),
        secrets: secrets.map(|(id, source)| (id.clone(), source.value.clone())).collect(),
    })
}

fn declared(config: &Config, file: &Path) -> BTreeSet<String> {
    let parsed = config.dockerfiles.get(file).map(crate::dockerfile::parse);
    parsed.and_then(Result::ok).map(|file| file.declared()).unwrap_or_default()
}

/// Without `.` and `..`: the configuration's check has seen that it stays inside.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

fn platforms(config: &Config, service: &Service) -> Vec<Platform> {
    let given = service.platforms.as_ref().or(config.project.platforms.as_ref());
    let mut platforms: Vec<Platform> = match given {
        Some(given) => given.iter().map(|platform| platform.value.clone()).collect(),
        None => ["linux/amd64", "linux/arm64"].iter().filter_map(|name| name.parse().ok()).collect(),
    };
    platforms.sort();
    platforms.dedup();
    platforms
}

fn build(config: &Config, service: &Service) -> BuildSettings {
    let (own, shared) = (&service.build, &config.build);
    let list = |of: fn(&Build) -> &Option<Vec<Located<String>>>| {
        of(own).as_ref().or(of(shared).as_ref()).map(|items| values(items))
    };
    let env = shared.env.iter().chain(&own.env).map(|(name, value)| (name.clone(), value.value.clone()));
    BuildSettings {
        go: value(&service.tools.go).or_else(|| value(&config.tools.go)),
        cgo: value(&own.cgo).or_else(|| value(&shared.cgo)).unwrap_or(false),
        flags: list(|build| &build.flags).unwrap_or_default(),
        ldflags: list(|build| &build.ldflags)
            .unwrap_or_else(|| ["-s", "-w", "-X main.version={version}"].map(str::to_owned).to_vec()),
        tags: list(|build| &build.tags).unwrap_or_default(),
        env: env.collect(),
    }
}

fn image(config: &Config, folder: &Path, service: &Service) -> ImageSettings {
    let (own, shared) = (&service.image, &config.image);
    fn either<T: Clone>(own: &Image, shared: &Image, of: fn(&Image) -> &Option<Located<T>>) -> Option<T> {
        value(of(own)).or_else(|| value(of(shared)))
    }
    let labels = shared.labels.iter().chain(&own.labels).chain(&service.labels);
    ImageSettings {
        size_budget: own.size_budget.clone().or_else(|| shared.size_budget.clone()),
        bases: platforms(config, service)
            .into_iter()
            .filter_map(|platform| {
                let base = base([own, shared], &platform, folder)?;
                Some((platform, base))
            })
            .collect(),
        user: either(own, shared, |image| &image.user).unwrap_or_else(|| "65532:65532".to_owned()),
        compression: either(own, shared, |image| &image.compression).unwrap_or(Compression::Gzip(None)),
        labels: labels.map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        moving_tags: own
            .tags
            .as_ref()
            .or(shared.tags.as_ref())
            .map(|tags| tags.iter().map(|tag| tag.value).collect())
            .unwrap_or_default(),
        files: service.files.iter().map(|(to, from)| (to.clone(), folder.join(&from.value))).collect(),
        env: service.neutral_build_args(),
    }
}

/// What a service says of a platform counts, then of its operating system, then of all; then what all
/// services have.
fn base(images: [&Image; 2], platform: &Platform, folder: &Path) -> Option<Located<Base>> {
    let named = images.into_iter().find_map(|image| {
        let bases = &image.bases;
        // Another system's base has to be named for it: until then it gets a binary alone.
        let general = image.base.as_ref().filter(|_| platform.os == "linux");
        let names = [platform.to_string(), platform.unversioned().to_string(), platform.os.clone()];
        names.iter().find_map(|name| bases.get(name)).or(general)
    });
    let Located { value, place } = named?.clone();
    let value = match value {
        Base::Layout { path, digest } => Base::Layout { path: folder.join(path), digest },
        base => base,
    };
    Some(Located { value, place })
}

fn health(given: Option<&Health>) -> HealthSettings {
    let given = given.cloned().unwrap_or_default();
    HealthSettings {
        startup: given.startup,
        ready: given.ready,
        live: given.live,
        delay: given.delay,
        period: given.period.unwrap_or(Duration::from_millis(200)),
        timeout: given.timeout.unwrap_or(Duration::from_secs(2)),
    }
}

fn value<T: Clone>(located: &Option<Located<T>>) -> Option<T> {
    located.as_ref().map(|located| located.value.clone())
}

fn values<T: Clone>(located: &[Located<T>]) -> Vec<T> {
    located.iter().map(|located| located.value.clone()).collect()
}

impl ServiceSettings {
    /// Stands for everything here that shapes the neutral image: a commit that touches the
    /// configuration counts for a service only where this changed.
    /// `toolchain`: absent without a package.
    pub fn digest(&self, toolchain: Option<&Toolchain>) -> Digest {
        let image = &self.image;
        let from = self.dockerfile.as_ref().map(|from| (&from.file, &from.context, &from.target));
        let (base, others) = image.general_base(&self.platforms);
        let text = format!(
            "{:?}",
            (
                &self.platforms,
                &self.build,
                toolchain.map_or("", |toolchain| &toolchain.version),
                base,
                &image.user,
                image.compression,
                &image.labels,
                &image.files,
                &image.env,
                self.port,
                &self.health,
            )
        );
        // Absent, it is no part: the records of other services stay as they are.
        let text = from.map_or(text.clone(), |from| format!("{text} {from:?}"));
        let text = if others.is_empty() { text } else { format!("{text} {others:?}") };
        Digest::of(text.as_bytes())
    }
}

impl ImageSettings {
    /// What a platform's image stands on.
    pub fn base(&self, platform: &Platform) -> &Base {
        self.bases.get(platform).map_or(&Base::Scratch, |base| &base.value)
    }

    /// The base of the first platform, and those of the platforms that have another.
    fn general_base(&self, platforms: &[Platform]) -> (&Base, BTreeMap<String, &Base>) {
        let general = platforms.first().map_or(&Base::Scratch, |first| self.base(first));
        let others = platforms.iter().map(|platform| (platform.to_string(), self.base(platform)));
        (general, others.filter(|(_, base)| *base != general).collect())
    }
}
