//! What the user wrote: `pipeline.toml` and `environments/*.toml`, checked, with the places of its
//! values. Nothing is defaulted here: that is [`crate::resolve`]'s, last. (To be filled in.)

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Place, Source};
use crate::oci::types::Digest;
use crate::platform::Platform;

/// A value and where it stands.
#[derive(Clone, Debug)]
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
    pub services: BTreeMap<String, Service>,
    /// At least one: `local`, empty, where the repository has no `environments/`.
    pub environments: BTreeMap<String, Environment>,
}

#[derive(Clone, Debug)]
pub struct Project {
    pub name: Located<String>,
    /// `oci:DIR` or `HOST/PATH`; absent: `oci:dist/oci`.
    pub registry: Option<Located<Registry>>,
    /// Absent: `linux/amd64` and `linux/arm64`.
    pub platforms: Option<Vec<Located<Platform>>>,
    /// The default environment; absent: `local`.
    pub environment: Option<Located<String>>,
    /// The Git tag's form; absent: `{service}/v{version}`.
    pub tag: Option<Located<String>>,
    /// The Git remote; absent: `origin`.
    pub remote: Option<Located<String>>,
    /// Where the ledger's refs lie; absent: `refs/longshore`.
    pub ledger: Option<Located<String>>,
}

/// Where images go: a folder of OCI layouts, one a service, or a registry with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// `oci:DIR`, relative to the root.
    Layouts(PathBuf),
    /// `HOST[:PORT]/PATH`, images are `HOST/PATH/SERVICE`. `plain_http`: written as `http://HOST/PATH`,
    /// which declares a host other than loopback to be without TLS.
    Remote { host: String, path: String, plain_http: bool },
}

/// Exact versions.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    pub go: Option<Located<String>>,
    pub trivy: Option<Located<String>>,
    pub golangci_lint: Option<Located<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct Build {
    pub cgo: Option<Located<bool>>,
    pub flags: Option<Vec<Located<String>>>,
    /// A template each: `{version}`, `{service}`, `{commit}`.
    pub ldflags: Option<Vec<Located<String>>>,
    pub tags: Option<Vec<Located<String>>>,
    pub env: BTreeMap<String, Located<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct Image {
    pub base: Option<Located<Base>>,
    /// `UID[:GID]`, numbers.
    pub user: Option<Located<String>>,
    pub compression: Option<Located<Compression>>,
    pub labels: BTreeMap<String, Located<String>>,
    /// Moving tags by choice: any of `X.Y`, `X`, `latest`.
    pub tags: Option<Vec<Located<MovingTag>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing below but what the embedded builder adds: CA certificates, tzdata, passwd, group, /tmp.
    Scratch,
    /// `oci:DIR`, with an optional `@sha256:…`.
    Layout { path: PathBuf, digest: Option<Digest> },
    /// `HOST/PATH[:TAG]@sha256:…`: a digest is required.
    Remote { repository: String, tag: Option<String>, digest: Digest },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MovingTag {
    /// `X.Y`
    Minor,
    /// `X` (never `0`)
    Major,
    Latest,
}

/// The options of the stages, in pipeline.toml and again in an environment. Every stage has
/// `version` and `enabled`.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    pub versions: VersionsOptions,
    pub lint: LintOptions,
    pub test: TestOptions,
    pub build: PlainOptions,
    pub image: PlainOptions,
    pub scan: ScanOptions,
    pub verify: VerifyOptions,
    pub push: PushOptions,
    pub tag: PlainOptions,
}

#[derive(Clone, Debug, Default)]
pub struct PlainOptions {
    pub version: Option<Located<u32>>,
    pub enabled: Option<Located<bool>>,
}

#[derive(Clone, Debug, Default)]
pub struct VersionsOptions {
    /// What a commit of another type that changes build inputs asks for.
    pub other: Option<Located<OtherCommits>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherCommits {
    Patch,
    None,
    Error,
}

#[derive(Clone, Debug, Default)]
pub struct LintOptions {
    pub plain: PlainOptions,
    /// Extra arguments of golangci-lint.
    pub golangci_args: Option<Vec<Located<String>>>,
}

#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    pub plain: PlainOptions,
    pub race: Option<Located<bool>>,
    pub timeout: Option<Located<Duration>>,
    /// Files outside the module that tests read: paths or globs from the root.
    pub inputs: Option<Vec<Located<String>>>,
    /// Names of variables of the process environment that tests see.
    pub env: Option<Vec<Located<String>>>,
}

#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    pub plain: PlainOptions,
    /// What fails the gate; absent: CRITICAL and HIGH.
    pub severity: Option<Vec<Located<Severity>>>,
    pub ignore_unfixed: Option<Located<bool>>,
    pub ignore: Option<Vec<Ignore>>,
    /// `error`, or `warn` where the registry is an `oci:` folder.
    pub on_unavailable: Option<Located<OnUnavailable>>,
    /// The repository of the vulnerability database; absent: Trivy's own.
    pub db_repository: Option<Located<String>>,
    pub timeout: Option<Located<Duration>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Unknown,
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnavailable {
    Error,
    Warn,
}

/// A finding that somebody has looked at.
#[derive(Clone, Debug)]
pub struct Ignore {
    /// `CVE-…`, `GHSA-…`, `GO-…`, or a check's or secret rule's id.
    pub id: Located<String>,
    pub reason: Located<String>,
    /// `YYYY-MM-DD`, the last day on which it holds.
    pub until: Option<Located<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    pub plain: PlainOptions,
    /// `auto` (the best there is), or one that must be had.
    pub runner: Option<Located<Runner>>,
    pub timeout: Option<Located<Duration>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Auto,
    Docker,
    Chroot,
    Process,
}

#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    pub plain: PlainOptions,
    /// Bytes a chunk; absent: whole blobs in one request.
    pub chunk: Option<Located<u64>>,
    pub retries: Option<Located<u32>>,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: Located<String>,
    /// The main package's directory, from the root.
    pub package: Located<PathBuf>,
    pub port: Option<Located<u16>>,
    pub health: Option<Located<Health>>,
    pub build_args: BTreeMap<String, BuildArg>,
    pub needs: Vec<Located<String>>,
    pub build: Build,
    pub image: Image,
    pub platforms: Option<Vec<Located<Platform>>>,
    pub tools: Tools,
    pub tag: Option<Located<String>>,
    /// Extra files of the image: destination (absolute) → source (from the root).
    pub files: BTreeMap<String, Located<PathBuf>>,
}

/// HTTP paths on the service's port; times of the checks.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub live: Option<String>,
    pub ready: Option<String>,
    pub startup: Option<String>,
    pub delay: Option<Duration>,
    pub period: Option<Duration>,
    pub timeout: Option<Duration>,
}

/// A value baked into an image's `Env`.
#[derive(Clone, Debug)]
pub struct BuildArg {
    /// Absent (`{}`): an environment must set it.
    pub default: Option<Located<String>>,
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
    pub services: BTreeMap<String, EnvironmentService>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `NAME = "env"` or `{ env = "OTHER" }`
    Variable(String),
    /// `{ file = "PATH" }`
    File(PathBuf),
}

#[derive(Clone, Debug, Default)]
pub struct EnvironmentService {
    pub build_args: BTreeMap<String, Located<String>>,
    pub env: BTreeMap<String, Located<String>>,
}
