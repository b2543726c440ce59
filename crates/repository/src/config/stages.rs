//! The options of the stages, in `pipeline.toml` and again in an environment.

use std::time::Duration;

use crate::config::Located;
use crate::config::read::{table, words};
use crate::config::values::{DATE, NOT_EMPTY, REPOSITORY, VARIABLE};

table! {
    /// The options of the stages, in pipeline.toml and again in an environment. Every stage has
    /// `version` and `enabled`.
    pub struct Stages derive Default {
        /// How a version follows from commits.
        ["versions"] versions: VersionsOptions,
        /// gofmt, go vet, go mod, golangci-lint.
        ["lint"] lint: LintOptions,
        /// `go test`.
        ["test"] test: TestOptions,
        /// `go build`.
        ["build"] build: PlainOptions,
        /// Images from binaries.
        ["image"] image: PlainOptions,
        /// Vulnerabilities, secrets and misconfiguration.
        ["scan"] scan: ScanOptions,
        /// Images run and looked at.
        ["verify"] verify: VerifyOptions,
        /// Images into the registry.
        ["push"] push: PushOptions,
        /// The ledger, image tags and Git tags.
        ["tag"] tag: PlainOptions,
    }
}

table! {
    /// What every stage has.
    pub struct PlainOptions derive Default {
        /// Pins the stage's behaviour; absent: this build's.
        ["version"] version: Option<Located<u32>>,
        /// Absent: `true`.
        ["enabled"] enabled: Option<Located<bool>>,
    }
}

table! {
    /// How a version follows from commits.
    pub struct VersionsOptions derive Default {
        /// What a commit of another type that changes build inputs asks for.
        ["other"] other: Option<Located<OtherCommits>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum OtherCommits {
        "patch" => Patch,
        "none" => None,
        "error" => Error,
    }
}

table! {
    /// gofmt, go vet, go mod, golangci-lint.
    pub struct LintOptions derive Default {
        [..] plain: PlainOptions,
    /// What advice on a Dockerfile does; absent: `warn`.
        ["dockerfile"] dockerfile: Option<Located<Advice>>,
        /// Extra arguments of golangci-lint.
        ["golangci-args"] golangci_args: Option<Vec<Located<String>>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Advice {
        "warn" => Warn,
        /// It fails the stage.
        "error" => Error,
        "off" => Off,
    }
}

table! {
    /// `go test`.
    pub struct TestOptions derive Default {
        [..] plain: PlainOptions,
        /// Absent: `false`.
        ["race"] race: Option<Located<bool>>,
        /// Of each package's tests.
        ["timeout"] timeout: Option<Located<Duration>>,
        /// Files outside the module that tests read: paths or globs from the root.
        ["inputs", NOT_EMPTY] inputs: Option<Vec<Located<String>>>,
        /// Names of variables of the process environment that tests see.
        ["env", VARIABLE] env: Option<Vec<Located<String>>>,
    }
}

table! {
    /// Vulnerabilities, secrets and misconfiguration.
    pub struct ScanOptions derive Default {
        [..] plain: PlainOptions,
        /// What fails the gate; absent: CRITICAL and HIGH.
        ["severity"] severity: Option<Vec<Located<Severity>>>,
        /// Whether findings without a fixed version pass.
        ["ignore-unfixed"] ignore_unfixed: Option<Located<bool>>,
        /// Findings that somebody has looked at. An environment's list replaces the other.
        ["ignore"] ignore: Option<Vec<Ignore>>,
        /// Where no vulnerability database can be had: `error`, or `warn` where the registry is an `oci:`
        /// folder.
        ["on-unavailable"] on_unavailable: Option<Located<OnUnavailable>>,
        /// The repository of the vulnerability database; absent: Trivy's own.
        ["db-repository", REPOSITORY] db_repository: Option<Located<String>>,
        /// Of one scan.
        ["timeout"] timeout: Option<Located<Duration>>,
    }
}

words! {
    #[derive(
        Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
    )]
    #[serde(rename_all = "UPPERCASE")]
    pub enum Severity {
        "UNKNOWN" => Unknown,
        "LOW" => Low,
        "MEDIUM" => Medium,
        "HIGH" => High,
        "CRITICAL" => Critical,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum OnUnavailable {
        "error" => Error,
        "warn" => Warn,
    }
}

table! {
    /// A finding that somebody has looked at.
    pub struct Ignore {
        /// `CVE-…`, `GHSA-…`, `GO-…`, or a check's or secret rule's id.
        ["id", NOT_EMPTY] id: Located<String>,
        /// Why it does not matter here.
        ["reason", NOT_EMPTY] reason: Located<String>,
        /// `YYYY-MM-DD`, the last day on which it holds.
        ["until", DATE] until: Option<Located<String>>,
    }
}

table! {
    /// Images run and looked at.
    pub struct VerifyOptions derive Default {
        [..] plain: PlainOptions,
        /// `auto` (the best there is), or one that must be had.
        ["runner"] runner: Option<Located<Runner>>,
        /// Until a service is ready.
        ["timeout"] timeout: Option<Located<Duration>>,
    }
}

words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Runner {
        "auto" => Auto,
        "docker" => Docker,
        "chroot" => Chroot,
        "process" => Process,
    }
}

table! {
    /// Images into the registry.
    pub struct PushOptions derive Default {
        [..] plain: PlainOptions,
        /// Bytes a chunk, or a size as `8MiB`; absent: whole blobs in one request.
        ["chunk"] chunk: Option<Located<u64>>,
        /// Of a request that failed outside.
        ["retries"] retries: Option<Located<u32>>,
    }
}
