//! What the user wrote: `pipeline.toml` and `environments/*.toml`, checked, with the places of its
//! values. Nothing is defaulted here: that is [`crate::resolve`]'s, last.
//!
//! All faults of all files are found in one run ([`load()`]). A value is data: nothing in it is ever run.

pub mod bases;
mod check;
pub mod deploy;
pub mod environment;
mod file;
mod graph;
mod load;
mod paths;
pub mod read;
#[cfg(test)]
mod schema;
mod secrets;
pub mod stages;
pub mod template;
#[cfg(test)]
mod tests;
pub mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::deploy::{Deploy, ServiceDeploy};
use crate::config::read::{Given, table, words};
use crate::config::values::{
    BASE_FOR, CACHE, CACHE_KEY, CACHE_URL, GO_VERSION, HTTP_PATH, IMAGE_PATH, LDFLAG, NOT_EMPTY, REFS,
    SECRET_ID, SERVICE, TAG_FORM, TRIVY_VERSION, USER, VARIABLE, VERSION,
};
pub use crate::declared::{Base, Compression, Registry};
use crate::diagnostic::{Place, Source};
use crate::platform::Platform;
use crate::stage::Stage;

pub use crate::config::environment::{EffectiveEnvironment, environment, variant_hash};
pub use crate::config::load::{check, earlier, load};
pub use crate::config::secrets::{is_named_secret, looks_like as looks_like_secret, secret_in};
pub use crate::config::stages::{
    Advice, Ignore, LintOptions, OnUnavailable, OtherCommits, PlainOptions, PushOptions, Runner, ScanOptions,
    Severity, Stages, TestOptions, VerifyOptions, VersionsOptions,
};

/// The version of `pipeline.toml`'s format that this build reads.
pub const FORMAT: u32 = 1;

/// The version of each stage's behaviour in this build: what `stages.STAGE.version` may pin at most.
pub const STAGE_VERSIONS: [(Stage, u32); 8] = [
    (Stage::Lint, 1),
    (Stage::Test, 1),
    (Stage::Build, 1),
    (Stage::Image, 1),
    (Stage::Scan, 1),
    (Stage::Verify, 1),
    (Stage::Push, 1),
    (Stage::Tag, 1),
];

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub place: Place,
}

/// Both kinds of file, read and checked, environments not yet merged with their parents.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of `pipeline.toml`: paths in it are relative to this, and stay inside the repository.
    pub root: PathBuf,
    pub source: Arc<Source>,
    pub project: Project,
    pub tools: Tools,
    pub build: Build,
    pub image: Image,
    pub stages: Stages,
    pub cache: CacheOptions,
    pub deploy: Deploy,
    pub services: BTreeMap<String, Service>,
    /// At least one: `local`, empty, where the repository has no `environments/`.
    pub environments: BTreeMap<String, Environment>,
    /// The Dockerfiles that services name, by that name.
    pub dockerfiles: BTreeMap<PathBuf, Arc<Source>>,
}

table! {
    /// What a repository releases, and how: services, and the defaults that they share.
    pub(crate) struct PipelineFile {
        /// The version of this file's format: 1.
        ["version"] version: Located<u32>,
        /// The whole of it.
        ["project"] project: Project,
        /// Exact versions of the tools; `setup` installs them, every run checks them.
        ["tools"] tools: Tools,
        /// How every service is compiled; a service may say otherwise.
        ["build"] build: Build,
        /// How every service's image is made; a service may say otherwise.
        ["image"] image: Image,
        /// Options of the stages.
        ["stages"] stages: Stages,
        /// What is kept between runs, for all repositories of the user.
        ["cache"] cache: CacheOptions,
        /// How environments are deployed to; each may say otherwise.
        ["deploy"] deploy: Deploy,
        /// What is released, by name.
        ["services", keys SERVICE] services: BTreeMap<String, Service>,
    }
}

table! {
    /// The whole of it.
    pub struct Project {
        /// The project's name, for messages and labels.
        ["name", NOT_EMPTY] name: Located<String>,
        /// `oci:DIR` or `HOST/PATH`; absent: `oci:dist/oci`.
        ["registry"] registry: Option<Located<Registry>>,
        /// Absent: `linux/amd64` and `linux/arm64`.
        ["platforms"] platforms: Option<Vec<Located<Platform>>>,
        /// The default environment; absent: `local`.
        ["environment"] environment: Option<Located<String>>,
        /// The Git tag's form; absent: `{service}/v{version}`. Without `{service}`: one version for all
        /// services.
        ["tag", TAG_FORM] tag: Option<Located<String>>,
        /// The Git remote; absent: `origin`.
        ["remote", NOT_EMPTY] remote: Option<Located<String>>,
        /// Where the ledger's refs lie; absent: `refs/longshore`.
        ["ledger", REFS] ledger: Option<Located<String>>,
    }
}

table! {
    /// Exact versions.
    pub struct Tools derive Default {
        /// The Go toolchain, got through GOTOOLCHAIN; a service may pin its own.
        ["go", GO_VERSION] go: Option<Located<String>>,
        /// The scanner.
        ["trivy", TRIVY_VERSION] trivy: Option<Located<String>>,
        /// The linter; without it the lint stage runs gofmt, go vet and go mod.
        ["golangci-lint", VERSION] golangci_lint: Option<Located<String>>,
    }
}

table! {
    /// What is kept between runs, for all repositories of the user.
    pub struct CacheOptions derive Default {
        /// Of the user's store, as `20GiB`: what was not used for longest is removed when a run ends.
        /// Absent: 10 GiB.
        ["max-size"] max_size: Option<Located<u64>>,
        /// A server of Bazel's remote cache protocol, as `https://cache.example.com/longshore`, that a team shares.
        ["remote", CACHE_URL] remote: Option<Located<String>>,
        /// A repository of an OCI registry instead, as `registry.example.com/team/cache`.
        ["registry"] registry: Option<Located<Registry>>,
        /// Whether Go's own compile cache lies in the user's store too, and behind it in the shared one.
        /// Absent: `false`.
        ["go"] go: Option<Located<bool>>,
        /// Whose entries in the shared cache count: public keys, as `cache key` prints them.
        ["trust", CACHE_KEY] trust: Option<Vec<Located<String>>>,
    }
}

table! {
    /// How a service is compiled. `-trimpath` and `-buildvcs=false` are always there.
    pub struct Build derive Default {
        /// Absent: `false`.
        ["cgo"] cgo: Option<Located<bool>>,
        /// Flags of `go build`.
        ["flags"] flags: Option<Vec<Located<String>>>,
        /// A template each: `{version}`, `{service}`, `{commit}`.
        ["ldflags", LDFLAG] ldflags: Option<Vec<Located<String>>>,
        /// Build tags.
        ["tags", NOT_EMPTY] tags: Option<Vec<Located<String>>>,
        /// Variables of the compiler's environment.
        ["env", keys VARIABLE] env: BTreeMap<String, Located<String>>,
    }
}

table! {
    /// How a service's image is made.
    pub struct Image derive Default {
        /// `scratch` (with CA certificates, time zones, passwd, group and /tmp), `oci:DIR`,
        /// `docker-daemon:NAME`, or a reference; the last two by digest, which `base update` writes.
        ["base"] base: Option<Located<Base>>,
        /// By platform (`windows/amd64`) or operating system (`windows`): instead of `base`.
        ["bases", keys BASE_FOR] bases: BTreeMap<String, Located<Base>>,
        /// `UID[:GID]`, numbers.
        ["user", USER] user: Option<Located<String>>,
        /// Of the layers, with a level where one is chosen, as `zstd:19`; absent: gzip.
        ["compression"] compression: Option<Located<Compression>>,
        /// Of all layers of a platform's image, compressed, as `20MB`: more fails the image stage.
        ["size-budget"] size_budget: Option<Located<u64>>,
        /// More labels than the `org.opencontainers.image.*` that are always there.
        ["labels", keys NOT_EMPTY] labels: BTreeMap<String, Located<String>>,
        /// Moving tags by choice: any of `X.Y`, `X`, `latest`.
        ["tags"] tags: Option<Vec<Located<MovingTag>>>,
        /// What builds a service's `dockerfile`; absent: the first that this machine has.
        ["engine"] engine: Option<Located<Engine>>,
        /// A builder of `docker buildx`, by its name: builds run where it does.
        ["builder"] builder: Option<Located<String>>,
        /// Where a `dockerfile`'s build looks for layers, as `type=registry,ref=HOST/PATH`.
        ["cache-from", CACHE] cache_from: Option<Vec<Located<String>>>,
        /// Where it leaves them; where that fails it warns.
        ["cache-to", CACHE] cache_to: Option<Vec<Located<String>>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Engine {
        /// The first that this machine has, in the order of the others.
        "auto" => Auto,
        /// `docker buildx`
        "buildx" => Buildx,
        /// The BuildKit of docker's daemon, without buildx.
        "docker" => Docker,
        "buildah" => Buildah,
    }
}

impl Engine {
    /// What `docker` and `buildah` can't do with a cache that a service with or without build-args names under
    /// this key; `None` where they can.
    pub fn lacks(self, key: &str, cache: &str, has_args: bool) -> Option<&'static str> {
        let registry = !cache.starts_with("type=") || cache.starts_with("type=registry,");
        match self {
            Self::Docker if key == "cache-to" => Some("`docker` without buildx can't write a cache"),
            Self::Docker if !registry => Some("`docker` without buildx reads no cache but a registry's"),
            Self::Buildah if !registry => Some("`buildah` knows no cache but a registry's"),
            Self::Buildah if has_args => Some("`buildah` confuses the values of `ARG`s in its caches"),
            _ => None,
        }
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum MovingTag {
        /// `X.Y`
        "X.Y" => Minor,
        /// `X` (never `0`)
        "X" => Major,
        "latest" => Latest,
    }
}

table! {
    /// A program with an image, a version and releases of its own.
    pub struct Service {
        [name] name: Located<String>,
        /// The main package's directory, from the root. A service with a `dockerfile` may do without: what it
        /// is made of is then what its build is sent.
        ["package", NOT_EMPTY] package: Given<Located<PathBuf>>,
        /// On which it listens for HTTP.
        ["port"] port: Option<Located<u16>>,
        /// Where it says how it is.
        ["health"] health: Option<Located<Health>>,
        /// A command: run, it ends by itself with 0, as a migration or a tool does. It is never deployed.
        ["ends"] ends: Option<Located<bool>>,
        /// What is baked into its images' environment: a default, or `{}`, which an environment must set.
        ["build-args", keys VARIABLE] build_args: BTreeMap<String, BuildArg>,
        /// Services that start before it.
        ["needs"] needs: Vec<Located<String>>,
        /// Over the defaults of all services.
        ["build"] build: Build,
        /// Over the defaults of all services.
        ["image"] image: Image,
        /// Instead of the project's.
        ["platforms"] platforms: Option<Vec<Located<Platform>>>,
        /// Instead of those of all services.
        ["tools"] tools: Tools,
        /// Instead of the project's form.
        ["tag", TAG_FORM] tag: Option<Located<String>>,
        /// Extra files of the image: destination (absolute) → source (from the root).
        ["files", keys IMAGE_PATH] files: BTreeMap<String, Located<PathBuf>>,
        /// More labels of its image, over those of `[image]`.
        ["labels"] labels: BTreeMap<String, Located<String>>,
        /// Over what is said for all services.
        ["deploy"] deploy: ServiceDeploy,
        /// Which of an environment's `[secrets]` it gets; absent: all.
        ["secrets", VARIABLE] secrets: Option<Vec<Located<String>>>,
        /// Its image is built from this Dockerfile (from the root) by docker or buildah, with the
        /// build-args as `ARG`s, and no package is compiled here.
        ["dockerfile", NOT_EMPTY] dockerfile: Option<Located<PathBuf>>,
        /// The folder that the Dockerfile's `COPY` sees, from the root; absent: the root.
        ["context", NOT_EMPTY] context: Option<Located<PathBuf>>,
        /// The Dockerfile's stage that makes the image; absent: the last.
        ["target", NOT_EMPTY] target: Option<Located<String>>,
        /// What `RUN --mount=type=secret,id=NAME` sees: names, and from where a value comes.
        ["build-secrets", keys SECRET_ID] build_secrets: BTreeMap<String, Located<SecretSource>>,
    }
}

table! {
    /// HTTP paths on the service's port; times of the checks.
    pub struct Health derive Default {
        /// Alive: else it is started again.
        ["live", HTTP_PATH] live: Option<String>,
        /// Ready for requests.
        ["ready", HTTP_PATH] ready: Option<String>,
        /// Started: until then it is not asked for the others.
        ["startup", HTTP_PATH] startup: Option<String>,
        /// Before the first check.
        ["delay"] delay: Option<Duration>,
        /// Between two.
        ["period"] period: Option<Duration>,
        /// Of one.
        ["timeout"] timeout: Option<Duration>,
    }
}

/// A value baked into an image's `Env`.
#[derive(Clone, Debug)]
pub struct BuildArg {
    /// Absent (`{}`): an environment must set it.
    pub default: Option<Located<String>>,
    /// Of its name.
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct Environment {
    pub name: String,
    /// Absent for the implied `local`.
    pub source: Option<Arc<Source>>,
    pub inherits: Option<Located<String>>,
    pub registry: Option<Located<Registry>>,
    pub build_args: BTreeMap<String, Located<String>>,
    /// Runtime values, set at deploy.
    pub env: BTreeMap<String, Located<String>>,
    /// Names, and from where a value comes at run time.
    pub secrets: BTreeMap<String, Located<SecretSource>>,
    pub stages: Stages,
    pub cache: EnvironmentCache,
    pub deploy: Deploy,
    pub services: BTreeMap<String, EnvironmentService>,
}

table! {
    /// What an environment does with the shared cache.
    pub struct EnvironmentCache derive Default {
        /// Whether it puts anything there. Absent: only where `CI` is set. A key is needed too.
        ["write"] write: Option<Located<bool>>,
    }
}

table! {
    /// What differs in one environment.
    pub(crate) struct EnvironmentFile derive Default {
        /// One parent: what is not said here is taken from there.
        ["inherits"] inherits: Option<Located<String>>,
        /// Instead of the project's: `oci:DIR` or `HOST/PATH`.
        ["registry"] registry: Option<Located<Registry>>,
        /// For every service that declares them. A value may hold others of the same service, as
        /// `mysql://{DB_HOST}/shop`.
        ["build-args", keys VARIABLE] build_args: BTreeMap<String, Located<String>>,
        /// Runtime values, set at deploy, never in an image.
        ["env", keys VARIABLE] env: BTreeMap<String, Located<String>>,
        /// Names, and from where a value comes at run time; never a value.
        ["secrets", keys VARIABLE] secrets: BTreeMap<String, Located<SecretSource>>,
        /// Over the options in `pipeline.toml`.
        ["stages"] stages: Stages,
        /// Whether it writes to the shared cache.
        ["cache"] cache: EnvironmentCache,
        /// Over the options in `pipeline.toml`.
        ["deploy"] deploy: Deploy,
        /// For one service, by name.
        ["services"] services: BTreeMap<String, EnvironmentService>,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `NAME = "env"` or `{ env = "OTHER" }`
    Variable(String),
    /// `{ file = "PATH" }`
    File(PathBuf),
}

table! {
    /// What differs for one service.
    pub struct EnvironmentService {
        [name] name: Located<String>,
        /// Over the environment's.
        ["build-args", keys VARIABLE] build_args: BTreeMap<String, Located<String>>,
        /// Over the environment's.
        ["env", keys VARIABLE] env: BTreeMap<String, Located<String>>,
        /// Over what is said for all services, and in `pipeline.toml`.
        ["deploy"] deploy: ServiceDeploy,
    }
}
