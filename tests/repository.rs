//! A Git repository to try the command line in: a small Go module, `pipeline.toml`, environments.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::process::{self, command, succeed, text};
use crate::terminal::Terminal;
use crate::tool::{self, variable};

/// The first commit's time; each next one is a minute later, so that the same steps give the same commits.
const FIRST_COMMIT: u64 = 1_750_000_000;

/// A temporary work tree, with a home of its own and nothing of the user's but Go's caches.
#[derive(Debug)]
pub(crate) struct Repository {
    folder: tempfile::TempDir,
    root: PathBuf,
    env: BTreeMap<OsString, OsString>,
    commits: Cell<u64>,
}

impl Repository {
    /// A committed repository with the services `api` and `web`: both import `pkg/shared`, only `api`
    /// imports `pkg/store`, nobody imports `pkg/spare`. They listen on SERVER_PORT and answer `/healthz`
    /// and `/readyz`.
    pub(crate) fn new() -> Self {
        let repository = Self::empty();
        repository.write("go.mod", "module example.com/shop\n\ngo 1.26.0\n");
        for package in ["shared", "store", "spare"] {
            repository.write(
                &format!("pkg/{package}/{package}.go"),
                format!(
                    "// Package {package} holds a word.\npackage {package}\n\n// Word is the word.\nconst Word = \"{package}\"\n"
                ),
            );
        }
        repository.service("api", &["shared", "store"]);
        repository.service("web", &["shared"]);
        repository.write("pipeline.toml", PIPELINE);
        repository.write(".gitignore", "/dist\n");
        repository.commit("feat: a shop");
        repository
    }

    /// A work tree with nothing in it, and no commit.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("repository");
        std::fs::create_dir(&root).unwrap();
        let repository = Self { env: environment(folder.path()), folder, root, commits: Cell::new(0) };
        repository.git(["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Writes a main package under `cmd/` that imports packages of `pkg/`.
    pub(crate) fn service(&self, name: &str, packages: &[&str]) -> &Self {
        let import = |package: &&str| format!("\t\"example.com/shop/pkg/{package}\"\n");
        let imports: String = packages.iter().map(import).collect();
        let words: String = packages.iter().map(|package| format!(", {package}.Word")).collect();
        let main =
            MAIN.replace("NAME", name).replace("\t// imports\n", &imports).replace("/* words */", &words);
        self.write(&format!("cmd/{name}/main.go"), &main)
    }

    /// A bare repository beside this one, as its `origin`, with `main` pushed to it.
    pub(crate) fn remote(&self) -> PathBuf {
        let path = self.folder.path().join("remote.git");
        succeed(command("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&path));
        self.git(["remote", "add", "origin", path.to_str().unwrap()]);
        self.git(["push", "--quiet", "--set-upstream", "origin", "main"]);
        path
    }

    /// Another clone of the remote, with another home.
    ///
    /// # Panics
    /// Where there is no `origin`.
    pub(crate) fn clone_of_remote(&self) -> Self {
        self.clone_with(&[])
    }

    /// As [`Repository::clone_of_remote`], with options of `git clone`.
    pub(crate) fn clone_with(&self, options: &[&str]) -> Self {
        let origin = self.git(["remote", "get-url", "origin"]);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("repository");
        // As a URL: from a path Git would ignore `--depth`.
        let url = format!("file://{}", origin.trim());
        let args = ["clone", "--quiet"].iter().chain(options).copied();
        succeed(command("git").args(args).arg(url).arg(&root));
        Self { env: environment(folder.path()), folder, root, commits: Cell::new(self.commits.get()) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file, by its path from the root.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Replaces a part of a file that must be there.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) -> &Self {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
        self.write(path, text.replace(from, to))
    }

    /// Adds to the end of a file.
    pub(crate) fn append(&self, path: &str, text: &str) -> &Self {
        let before = self.read(path);
        self.write(path, before + text)
    }

    /// Commits the whole work tree; gives the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(["add", "--all"]);
        let time = format!("@{} +0000", FIRST_COMMIT + 60 * self.commits.get());
        self.commits.set(self.commits.get() + 1);
        succeed(
            self.prepared("git")
                .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
                .args(["commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "--message", message])
                .env("GIT_AUTHOR_DATE", &time)
                .env("GIT_COMMITTER_DATE", &time),
        );
        self.git(["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs Git in the work tree and wants exit 0; gives stdout.
    #[track_caller]
    pub(crate) fn git<const N: usize>(&self, args: [&str; N]) -> String {
        succeed(self.prepared("git").args(args))
    }

    /// Sets a variable for the runs that follow.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// The private cache of this repository's user.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("home/.cache")
    }

    /// Where this repository's user keeps credentials: `DOCKER_CONFIG`.
    pub(crate) fn docker_config(&self) -> PathBuf {
        self.folder.path().join("home/.docker")
    }

    /// Runs the command line with `-C` this repository, from outside of it.
    pub(crate) fn longshore(&self, args: &[&str]) -> Run {
        Run::of(&mut self.longshore_command(args), args)
    }

    /// As [`Repository::longshore`], behind a program that starts it, as `faketime -f +10y`.
    pub(crate) fn behind(&self, program: &[&OsStr], args: &[&str]) -> Run {
        let mut command = self.prepared(program[0]);
        command.current_dir(self.folder.path()).args(&program[1..]);
        command.arg(env!("CARGO_BIN_EXE_xtask")).arg("-C").arg(&self.root).args(args);
        Run::of(&mut command, args)
    }

    /// Starts the command line, for tests that stop it: the child leads no process group of its own.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.longshore_command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The command line as a user at a terminal has it.
    pub(crate) fn on_terminal(&self, args: &[&str]) -> Terminal {
        let mut command = self.prepared("setsid");
        command.args(["--ctty", "--wait"]).arg(env!("CARGO_BIN_EXE_xtask")).arg("-C").arg(&self.root);
        command.args(args).env("TERM", "xterm");
        Terminal::start(command)
    }

    fn longshore_command(&self, args: &[&str]) -> Command {
        let mut command = self.prepared(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(self.folder.path()).arg("-C").arg(&self.root).args(args);
        command
    }

    /// A command with this repository's environment and nothing else, in its work tree.
    pub(crate) fn prepared(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command(program);
        command.env_clear().envs(&self.env).current_dir(&self.root);
        command
    }
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(command: &mut Command, args: &[&str]) -> Self {
        let output = command.output().unwrap();
        Self {
            command: format!("longshore {}", args.join(" ")),
            code: exit_code(output.status),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "the exit code of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "stderr lacks {part:?}: {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_lacks(self, part: &str) -> Self {
        assert!(!self.stderr.contains(part), "stderr has {part:?}: {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "stdout lacks {part:?}: {self}");
        self
    }

    /// stdout, which must be one JSON value.
    #[track_caller]
    pub(crate) fn stdout_json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout: {error}: {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "`{command}` (exit {code})\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// As a shell counts: 128 and the signal.
pub(crate) fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A private home under `folder`, the tools that `setup` has installed, and Go's caches, which are the
/// user's: nothing else of the machine's settings reaches a run.
fn environment(folder: &Path) -> BTreeMap<OsString, OsString> {
    let home = folder.join("home");
    let cache = home.join(".cache");
    std::fs::create_dir_all(cache.join("longshore")).unwrap();
    std::fs::write(home.join("gitconfig"), "").unwrap();
    let tools = tool::user_cache().join("longshore/tools");
    if tools.is_dir() {
        std::os::unix::fs::symlink(tools, cache.join("longshore/tools")).unwrap();
    }
    let mut env: BTreeMap<OsString, OsString> =
        KEPT.iter().filter_map(|name| Some((OsString::from(name), variable(name)?))).collect();
    let go = |name| OsString::from(process::run("go", ["env", name]).trim());
    let own: [(&str, OsString); 12] = [
        ("HOME", home.clone().into()),
        ("XDG_CACHE_HOME", cache.into()),
        ("DOCKER_CONFIG", home.join(".docker").into()),
        ("GIT_CONFIG_GLOBAL", home.join("gitconfig").into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GOCACHE", go("GOCACHE")),
        ("GOMODCACHE", go("GOMODCACHE")),
        ("GOPROXY", go("GOPROXY")),
        // No vulnerability database can be had, and that is known at once.
        ("TRIVY_DB_REPOSITORY", "127.0.0.1:1/none/trivy-db:2".into()),
        ("LC_ALL", "C".into()),
        ("TZ", "UTC".into()),
        ("NO_COLOR", "1".into()),
    ];
    env.extend(own.map(|(name, value)| (OsString::from(name), value)));
    env
}

/// What a run keeps of the environment of the tests: how programs are found, and the way to the network.
const KEPT: &[&str] = &[
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

const PIPELINE: &str = r#"version = 1

[project]
name = "shop"
registry = "oci:dist/oci"
platforms = ["linux/amd64"]

[tools]
trivy = "0.69.3"

[services.api]
package = "cmd/api"
port = 8080
health = { live = "/healthz", ready = "/readyz" }
build-args = { APP_ENV = "development", SERVER_PORT = "8080" }

[services.web]
package = "cmd/web"
port = 8080
health = { live = "/healthz", ready = "/readyz" }
needs = ["api"]
"#;

const MAIN: &str = r#"// NAME is a service of the shop.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	// imports
)

// version is set by the linker.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-version" {
		fmt.Println(version)
		return
	}
	port := os.Getenv("SERVER_PORT")
	if port == "" {
		port = "8080"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "NAME", version, os.Getenv("APP_ENV")/* words */)
	})
	server := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
"#;
