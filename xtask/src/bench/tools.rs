//! The peers: built once, at fixed versions, into the user's cache, and how each is told to do the same work.

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore::host::environment::Environment;
use longshore::{report, session};

use super::measure::{command, succeed};
use super::registry::Registry;
use super::workload::Place;

const KO: (&str, &str) = ("github.com/google/ko", "0.19.1");
const GORELEASER: (&str, &str) = ("github.com/goreleaser/goreleaser/v2", "2.15.1");

/// What this machine has beside Go.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) ko: Option<PathBuf>,
    pub(super) goreleaser: Option<PathBuf>,
    /// With the base image that ko must pull.
    pub(super) registry: Option<Registry>,
}

impl Peers {
    /// Finds the peers, and builds those that are not there yet.
    pub(super) fn find(environment: &Environment) -> anyhow::Result<Self> {
        let cache = session::cache(environment)?.join("bench");
        let built = |name: &str, (module, version): (&str, &str)| match build(&cache, name, module, version) {
            Ok(path) => Some(path),
            Err(error) => {
                report::note(&format!("warning: {name} is left out: {error:#}"));
                None
            }
        };
        let registry = Registry::start(environment)?;
        if registry.is_none() {
            report::note(
                "warning: ko and the push to a registry are left out: `docker-registry` is not on PATH",
            );
        }
        if let Some(registry) = &registry {
            registry.put_base()?;
        }
        let ko = registry.is_some().then(|| built("ko", KO)).flatten();
        Ok(Self { ko, goreleaser: built("goreleaser", GORELEASER), registry })
    }

    /// `ko 0.19.1, GoReleaser 2.15.1`, of those that are there.
    pub(super) fn versions(&self) -> String {
        let ko = self.ko.iter().map(|_| format!("ko {}", KO.1));
        let goreleaser = self.goreleaser.iter().map(|_| format!("GoReleaser {}", GORELEASER.1));
        ko.chain(goreleaser).collect::<Vec<_>>().join(", ")
    }

    /// All commands into a layout, or with a registry into that.
    pub(super) fn ko(
        &self,
        place: &Place,
        services: &[String],
        platforms: &[&str],
        registry: Option<&str>,
    ) -> Option<Command> {
        let mut command = place.command(self.ko.as_ref()?);
        command.args(["build", "--sbom=none"]).arg(format!("--platform={}", linux(platforms)));
        if registry.is_none() {
            command.args(["--push=false", "--oci-layout-path=dist/ko"]);
        }
        let base = self.registry.as_ref()?.host();
        // A name to put into the layout: nothing is sent there.
        let unused = format!("{base}/unused");
        command.args(services.iter().map(|service| format!("./cmd/{service}")));
        command.env("KO_DOCKER_REPO", registry.unwrap_or(&unused));
        command.env("KO_DEFAULTBASEIMAGE", format!("{base}/base:latest"));
        Some(command)
    }

    /// The executables of all commands, which is less than the others make.
    pub(super) fn goreleaser(&self, place: &Place, platforms: &[&str]) -> Option<Command> {
        let mut command = place.command(self.goreleaser.as_ref()?);
        command.args(["build", "--snapshot", "--clean", "--config"]);
        command.arg(format!(".goreleaser-{}.yaml", platforms.join("-")));
        Some(command)
    }
}

/// One `go build` of `packages` for one platform.
pub(super) fn go_build(place: &Place, packages: &str, architecture: &str) -> Command {
    let mut command = place.command("go");
    command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version=0.1.0"]);
    command.args(["-o", &format!("dist/go-{architecture}/"), packages]);
    command.envs([
        ("GOOS", "linux"),
        ("GOARCH", architecture),
        ("GOFLAGS", ""),
        ("GOENV", "off"),
        ("GOWORK", "off"),
    ]);
    command
}

/// Longshore: this very program, as `cargo xtask` runs it.
pub(super) fn longshore(place: &Place, words: &[&str]) -> anyhow::Result<Command> {
    let mut command = place.command(std::env::current_exe()?);
    command.args(words).args(["--progress", "quiet"]);
    Ok(command)
}

fn linux(platforms: &[&str]) -> String {
    platforms.iter().map(|architecture| format!("linux/{architecture}")).collect::<Vec<_>>().join(",")
}

/// Builds a module's command in a folder aside, which then gets its name: half of one is never used.
fn build(cache: &Path, name: &str, module: &str, version: &str) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("{name}-{version}"));
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    report::note(&format!("building {name} {version}: some minutes, once"));
    std::fs::create_dir_all(cache)?;
    let aside = tempfile::Builder::new().prefix(".building-").tempdir_in(cache)?;
    let mut go = command("go");
    go.args(["install", "-trimpath", "-ldflags=-s -w", &format!("{module}@v{version}")])
        .current_dir(aside.path());
    go.env("GOBIN", aside.path()).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    succeed(&mut go)?;
    std::fs::create_dir_all(&folder)?;
    std::fs::rename(aside.path().join(name), &program)?;
    Ok(program)
}
