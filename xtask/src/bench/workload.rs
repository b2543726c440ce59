//! A repository of N services, the same every time: a module whose commands share packages as real ones do, over
//! modules of third parties. Each tool has a clone with a home and a Go cache of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use longshore::host::environment::Environment;
use longshore::host::files;

use super::measure::{command, succeed};
use super::source::{CLOUD, MAIN, MODULE, MORE, PACKAGE, PIPELINE, SERVER};
use super::tools::go_build;

/// The place that all others are cloned from.
const ORIGIN: &str = "origin";

/// The package that all services share.
pub(super) const SERVER_FILE: &str = "internal/server/server.go";

/// Environments that a service can be built for.
pub(super) const ENVIRONMENTS: usize = 10;

/// What the module's dependencies are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Some, in the module cache.
    Plain,
    /// More than a thousand packages, in the repository.
    Vendored,
}

/// The repository and who may use it.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) services: usize,
    folder: tempfile::TempDir,
    environment: Environment,
}

/// A tool's own clone of the repository, home and Go cache.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Workload {
    pub(super) fn new(services: usize, kind: Kind, environment: &Environment) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
        let workload = Self { services, folder, environment: environment.clone() };
        let place = workload.place(ORIGIN)?;
        for (path, text) in files(services)? {
            place.write(&path, &text)?;
        }
        let mut words = vec!["tidy"];
        if kind == Kind::Vendored {
            place.write("go.mod", &format!("{MODULE}{MORE}"))?;
            place.write("internal/cloud/cloud.go", CLOUD)?;
            let import = "import (\n\t_ \"example.com/bench/internal/cloud\"\n";
            place.write(SERVER_FILE, &SERVER.replace("import (\n", import))?;
            words.push("vendor");
        }
        for word in words {
            // The only thing that may need the network: go.sum, and the modules in the user's cache.
            let proxy = ["GOPROXY", "GOSUMDB", "HTTPS_PROXY", "SSL_CERT_FILE"];
            let proxy = proxy.iter().filter_map(|name| Some((name, environment.get(name)?)));
            succeed(place.command("go").args(["mod", word]).env_remove("GOPROXY").envs(proxy))
                .context("the modules that the services import could not be had")?;
        }
        place.git(&["init", "--quiet", "--initial-branch=main"])?;
        place.commit("feat: all")?;
        Ok(workload)
    }

    /// Compiles everything once, for the places that are made after it. Where nothing cold is measured this saves
    /// each tool the same minutes.
    pub(super) fn compile(&self) -> anyhow::Result<()> {
        succeed(&mut go_build(&self.place(ORIGIN)?, "./cmd/...", "amd64")).map(drop)
    }

    /// The place of a tool; made when it is first asked for.
    pub(super) fn place(&self, tool: &str) -> anyhow::Result<Place> {
        let folder = self.folder.path().join(tool);
        let place = Place { variables: self.variables(&folder)?, folder };
        if !place.root().is_dir() {
            std::fs::create_dir_all(place.home())?;
            let origin = self.folder.path().join(ORIGIN);
            if tool == ORIGIN {
                std::fs::create_dir_all(place.root())?;
            } else {
                let mut clone = command("git");
                succeed(clone.args(["clone", "--quiet"]).arg(origin.join("repository")).arg(place.root()))?;
                link(&origin.join("go"), &place.folder.join("go"))?;
            }
        }
        Ok(place)
    }

    /// Nothing of the user's but PATH and the modules, so that all tools are told the same.
    fn variables(&self, folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let modules = succeed(command("go").args(["env", "GOMODCACHE"]))?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut variables = vec![
            ("PATH".to_owned(), self.environment.get("PATH").unwrap_or_default().to_owned()),
            ("HOME".to_owned(), text(folder.join("home"))),
            ("GOCACHE".to_owned(), text(folder.join("go"))),
            ("GOMODCACHE".to_owned(), modules.trim().to_owned()),
            ("GOPROXY".to_owned(), "off".to_owned()),
            ("GOTOOLCHAIN".to_owned(), "local".to_owned()),
            ("CGO_ENABLED".to_owned(), "0".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
        ];
        for who in ["AUTHOR", "COMMITTER"] {
            variables.push((format!("GIT_{who}_NAME"), "Ada".to_owned()));
            variables.push((format!("GIT_{who}_EMAIL"), "ada@example.com".to_owned()));
        }
        Ok(variables)
    }
}

impl Place {
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("repository")
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// A program in the clone.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = command(program);
        command.current_dir(self.root()).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(super) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        files::write(&self.root().join(path), text.as_bytes())
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        succeed(self.command("git").args(arguments))
    }

    fn commit(&self, message: &str) -> anyhow::Result<()> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message]).map(drop)
    }

    /// Changes one line of a file that has a `round`, and commits it.
    pub(super) fn edit(&self, path: &str, round: usize) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.root().join(path))?;
        let lines = text.lines().map(|line| match line.strip_prefix("const round = ") {
            Some(_) => format!("const round = \"{}-{round}\"\n", std::process::id()),
            None => format!("{line}\n"),
        });
        let text: String = lines.collect();
        self.write(path, &text)?;
        self.commit(&format!("fix: round {round}"))
    }

    /// As in a new clone, on a machine that has Go's compile cache and nothing of the tools'.
    pub(super) fn forget_tools(&self) -> anyhow::Result<()> {
        let private = ["repository/dist", "repository/.git/longshore", "home"];
        for folder in private.map(|folder| self.folder.join(folder)).iter().filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(std::fs::create_dir_all(self.home())?)
    }

    /// As on a machine that never compiled anything.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        let cache = self.folder.join("go");
        if cache.exists() {
            std::fs::remove_dir_all(cache)?;
        }
        self.forget_tools()
    }
}

/// Every file of the repository by its path.
fn files(services: usize) -> anyhow::Result<Vec<(String, String)>> {
    let parts = services.max(4);
    let mut files = vec![
        ("go.mod".to_owned(), MODULE.to_owned()),
        (".gitignore".to_owned(), "/dist\n".to_owned()),
        (SERVER_FILE.to_owned(), SERVER.to_owned()),
        // What ko and GoReleaser are told: the same flags.
        (".ko.yaml".to_owned(), "defaultLdflags:\n  - -s\n  - -w\n".to_owned()),
        (".goreleaser-amd64.yaml".to_owned(), goreleaser(services, "amd64")?),
        (".goreleaser-amd64-arm64.yaml".to_owned(), goreleaser(services, "amd64, arm64")?),
    ];
    for part in 0..parts {
        // Each over those before it, as layers of a business are.
        let below = if part == 0 { vec![] } else { distinct([part / 2, part / 3, part - 1 - part / 4]) };
        let name = format!("part{part}");
        let (mut imports, mut uses) = (String::from("\n"), String::new());
        for part in &below {
            writeln!(imports, "\t\"example.com/bench/pkg/part{part}\"")?;
            writeln!(
                uses,
                "\tif r.Header.Get(\"X-Part\") == \"{part}\" {{\n\t\tpart{part}.Handle(w, r)\n\t}}"
            )?;
        }
        let imports = if below.is_empty() { String::new() } else { imports };
        let text =
            PACKAGE.replace("NAME", &name).replace("// imports\n", &imports).replace("// uses\n", &uses);
        files.push((format!("pkg/{name}/{name}.go"), text));
    }
    let mut pipeline = PIPELINE.to_owned();
    for service in 0..services {
        let name = service_name(service);
        let (mut imports, mut routes) = (String::new(), String::new());
        for part in distinct([service % parts, (service * 3 + 1) % parts, (service * 5 + 2) % parts]) {
            writeln!(imports, "\t\"example.com/bench/pkg/part{part}\"")?;
            writeln!(routes, "\troutes.HandleFunc(\"/part{part}\", part{part}.Handle)")?;
        }
        let main =
            MAIN.replace("NAME", &name).replace("// imports\n", &imports).replace("// routes\n", &routes);
        files.push((format!("cmd/{name}/main.go"), main));
        write!(
            pipeline,
            "\n[services.{name}]\npackage = \"cmd/{name}\"\nbuild-args = {{ APP_ENV = \"development\" }}\n"
        )?;
    }
    let both = pipeline.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    files.push(("both.toml".to_owned(), both));
    files.push(("pipeline.toml".to_owned(), pipeline));
    files.push(("environments/local.toml".to_owned(), String::new()));
    for number in 0..ENVIRONMENTS {
        let text = format!("[build-args]\nAPP_ENV = \"e{number}\"\n");
        files.push((format!("environments/e{number}.toml"), text));
    }
    Ok(files)
}

/// A build a service, as GoReleaser has it.
fn goreleaser(services: usize, architectures: &str) -> anyhow::Result<String> {
    let mut text = String::from("version: 2\nproject_name: bench\nbuilds:\n");
    for service in 0..services {
        let name = service_name(service);
        write!(
            text,
            "  - id: {name}\n    main: ./cmd/{name}\n    binary: {name}\n    env: [CGO_ENABLED=0]\n    \
             flags: [-trimpath, -buildvcs=false]\n    ldflags: [-s -w -X main.version=0.1.0]\n    goos: [linux]\n    \
             goarch: [{architectures}]\n"
        )?;
    }
    Ok(text)
}

pub(super) fn service_name(service: usize) -> String {
    format!("service{service:03}")
}

/// The files of a Go cache, which never change, under another name as well; nothing where there is none.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link(&entry.path(), &to)?;
        } else {
            std::fs::hard_link(entry.path(), to)?;
        }
    }
    Ok(())
}

fn distinct(numbers: [usize; 3]) -> Vec<usize> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_that_is_imported_is_there_and_none_imports_itself() {
        for services in [1, 8, 64] {
            let files = files(services).unwrap();
            let text = |path: &str| files.iter().find(|(known, _)| known == path).map(|(_, text)| text);
            let mut imports = 0;
            for (path, text_of) in files.iter().filter(|(path, _)| path.ends_with(".go")) {
                for import in
                    text_of.lines().filter_map(|line| line.trim().strip_prefix("\"example.com/bench/"))
                {
                    let package = import.trim_end_matches('"');
                    let file = format!("{package}/{}.go", package.rsplit('/').next().unwrap());
                    assert!(text(&file).is_some(), "{path} imports {package}");
                    assert!(
                        part(path).is_none_or(|own| part(&file).is_none_or(|other| other < own)),
                        "{path}: {file}"
                    );
                    imports += 1;
                }
            }
            assert!(imports > 3 * services, "{imports}");
            assert_eq!(text("pipeline.toml").unwrap().matches("[services.").count(), services);
        }
    }

    fn part(path: &str) -> Option<usize> {
        path.strip_prefix("pkg/part")?.split('/').next()?.parse().ok()
    }
}
