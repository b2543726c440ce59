//! How long a release takes beside the one `go build` that it can't do without.
//!
//! `cargo bench -p xtask --profile dev --bench release`: `dev`, because that is what `cargo xtask` runs. After
//! `--`: `--services 8`, `--cold 3`, `--warm 9` (rounds). Needs Go and Git, and no network.
//!
//! Every number is of this one run. Longshore and its peer take turns, and who begins changes with each round,
//! so that a machine that does something else too is unfair to both.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for eyes that may fail"
)]
#![expect(clippy::disallowed_methods, reason = "its children are measured from their start to their end")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore::cancel::Cancel;
use longshore::config::Compression;
use longshore::oci::layer::{Entries, Entry};
use longshore::oci::layout::Layout;
use sha2::Digest as _;

const PIPELINE: &str = r#"version = 1

[project]
name = "bench"
registry = "oci:dist/oci"
platforms = ["linux/amd64"]

[stages.scan]
enabled = false

[stages.verify]
enabled = false
"#;

/// What every main package is: a server, with shared packages, some by all and some by a few.
const MAIN: &str = r#"// NAME is a service.
package main

import (
	"log/slog"
	"net/http"
	"os"

	"example.com/bench/internal/server"
// imports
)

// version is set by the linker.
var version = "dev"

func main() {
	mux := http.NewServeMux()
// routes
	if err := server.Run("NAME", version, mux); err != nil {
		slog.Error("stopped", "error", err)
		os.Exit(1)
	}
}
"#;

const SERVER: &str = r#"// Package server runs an HTTP server.
package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"time"
)

// Run serves until it can't.
func Run(name, version string, mux *http.ServeMux) error {
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"name": name, "version": version})
	})
	slog.Info("listening", "name", name)
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}
"#;

const PACKAGE: &str = r#"// Package NAME has a handler.
package NAME

import (
	"encoding/xml"
	"net/http"
	"text/template"
)

var page = template.Must(template.New("NAME").Parse("{{.}}"))

// Handle answers.
func Handle(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("xml") {
		_ = xml.NewEncoder(w).Encode("NAME")
		return
	}
	_ = page.Execute(w, "NAME")
}
"#;

/// The repository, its home, and Go's cache of the warm runs.
struct Bench {
    folder: tempfile::TempDir,
}

/// Seconds, a measurement each.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn sorted(&self) -> Vec<f64> {
        let mut times = self.0.clone();
        times.sort_by(f64::total_cmp);
        times
    }

    fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }

    fn text(&self) -> String {
        let times = self.sorted();
        let [min, median, max] = [times[0], self.median(), times[times.len() - 1]].map(seconds);
        format!("{min} | {median} | {max}")
    }
}

fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{:.0} ms", time * 1e3) } else { format!("{time:.2} s") }
}

impl Bench {
    /// Service `i` imports the server and a third of the shared packages.
    fn new(services: usize) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.write("go.mod", "module example.com/bench\n\ngo 1.24.0\n");
        bench.write(".gitignore", "/dist\n");
        bench.write("internal/server/server.go", SERVER);
        for package in 0..services {
            let name = format!("part{package}");
            bench.write(&format!("pkg/{name}/{name}.go"), &PACKAGE.replace("NAME", &name));
        }
        let mut pipeline = PIPELINE.to_owned();
        for service in 0..services {
            let name = format!("service{service}");
            let parts = (0..services).filter(|part| (part + service) % 3 == 0);
            let (mut imports, mut routes) = (String::new(), String::new());
            for part in parts {
                writeln!(imports, "\t\"example.com/bench/pkg/part{part}\"").unwrap();
                writeln!(routes, "\tmux.HandleFunc(\"/part{part}\", part{part}.Handle)").unwrap();
            }
            let main =
                MAIN.replace("NAME", &name).replace("// imports\n", &imports).replace("// routes\n", &routes);
            bench.write(&format!("cmd/{name}/main.go"), &main);
            write!(pipeline, "\n[services.{name}]\npackage = \"cmd/{name}\"\n").unwrap();
        }
        bench.write("pipeline.toml", &pipeline);
        for arguments in
            [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "-m", "feat: all"]]
        {
            succeed(bench.command("git").args(arguments));
        }
        bench
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A program in the repository, with nothing of the user's but PATH.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.folder.path().join("home")).env("GOCACHE", self.folder.path().join("go"));
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Ada".to_owned())));
        command.envs(
            ["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ada@example.com".to_owned())),
        );
        command
    }

    fn longshore(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).args(["--progress", "quiet"]);
        command
    }

    /// The peer: the same packages, flags and environment in one command.
    fn go(&self) -> Command {
        let mut command = self.command("go");
        command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version=0.1.0"]);
        command.args(["-o", "dist/peer/", "./cmd/..."]);
        command.envs([("CGO_ENABLED", "0"), ("GOOS", "linux"), ("GOARCH", "amd64"), ("GOFLAGS", "")]);
        command.envs([("GOENV", "off"), ("GOWORK", "off"), ("GOTOOLCHAIN", "local")]);
        std::fs::create_dir_all(self.root().join("dist/peer")).unwrap();
        command
    }

    /// As after a clone on a machine that never compiled anything.
    fn forget(&self) {
        for folder in ["repository/dist", "repository/.git/longshore", "home", "go"] {
            let _ = std::fs::remove_dir_all(self.folder.path().join(folder));
        }
    }
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn timed(command: &mut Command) -> f64 {
    let begin = Instant::now();
    succeed(command);
    begin.elapsed().as_secs_f64()
}

/// As [`timed`], to within 10 ms, with the process's own peak of resident memory in bytes, as last seen.
fn watched(command: &mut Command) -> (f64, u64) {
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    loop {
        if let Some(bytes) = resident(&child.id().to_string()) {
            peak = bytes;
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}: {status}");
            return (begin.elapsed().as_secs_f64(), peak);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The peak of a process's resident memory in bytes; `None` where the system has no `/proc`.
fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Rounds of ours and the peer in turns.
fn rounds(count: usize, mut ours: impl FnMut() -> f64, mut peer: impl FnMut() -> f64) -> [Times; 2] {
    let (mut one, mut other) = (Times::default(), Times::default());
    for round in 0..count {
        if round % 2 == 0 {
            one.0.push(ours());
            other.0.push(peer());
        } else {
            other.0.push(peer());
            one.0.push(ours());
        }
    }
    [one, other]
}

fn tell(what: &str, peer: &str, times: &[Times; 2]) {
    let [one, other] = times;
    let each = Times(one.0.iter().zip(&other.0).map(|(one, other)| one / other).collect());
    let sorted = each.sorted();
    println!("| {what} | {} | |", one.text());
    println!("| {peer} | {} | |", other.text());
    let [min, median, max] = [sorted[0], each.median(), sorted[sorted.len() - 1]];
    println!("| ratio, of each round | {min:.2} | {median:.2} | {max:.2} | |");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, kind, file] = &arguments[..]
        && mode == "layer"
    {
        return layer(kind, Path::new(file));
    }
    let option = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let (services, cold, warm) = (option("--services", 8), option("--cold", 3), option("--warm", 9));
    let bench = Bench::new(services);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().unwrap();
    println!("{services} services, linux/amd64, {cores} cores, load before: {}\n", load.trim());
    println!("| | min | median | max | peak memory |\n|---|---|---|---|---|");

    let mut peak = 0;
    let times = rounds(
        cold,
        || {
            bench.forget();
            let (time, bytes) = watched(&mut bench.longshore(&["image"]));
            peak = peak.max(bytes);
            time
        },
        || {
            bench.forget();
            timed(&mut bench.go())
        },
    );
    tell("cold: `image` (compile and pack)", "cold: one `go build`", &times);
    println!("| `image` itself, without its children | | | | {} MB |", peak / 1_000_000);

    succeed(&mut bench.longshore(&["release"]));
    succeed(&mut bench.go());
    let times = rounds(warm, || timed(&mut bench.longshore(&["release"])), || timed(&mut bench.go()));
    tell("nothing changed: `release`", "nothing changed: one `go build`", &times);

    let help = || timed(bench.command(env!("CARGO_BIN_EXE_xtask")).arg("--help"));
    let times = rounds(warm, help, || timed(bench.command("git").arg("--version")));
    tell("start: `xtask --help`", "start: `git --version`", &times);
    layers(&bench, cold);
}

/// 100 MB of an executable's bytes, made into a layer by a process of its own, so that its memory is its own.
fn layers(bench: &Bench, count: usize) {
    const SIZE: usize = 100_000_000;
    let executable = std::fs::read(bench.root().join("dist/peer/service0")).unwrap();
    let bytes: Vec<u8> = executable.iter().copied().cycle().take(SIZE).collect();
    let file = bench.folder.path().join("synthetic");
    std::fs::write(&file, &bytes).unwrap();
    drop((executable, bytes));
    println!(
        "\n| 100 MB of an executable's bytes | MB/s: min | median | max | peak memory |\n|---|---|---|---|---|"
    );
    for kind in ["gzip", "zstd", "sha256"] {
        let (mut rates, mut peak) = (Vec::new(), 0.0);
        for _ in 0..count.max(3) {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let output = command.args(["layer", kind]).arg(&file).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let (rate, memory) = text.trim().split_once(' ').unwrap();
            rates.push(rate.parse::<f64>().unwrap());
            peak = f64::max(peak, memory.parse().unwrap());
        }
        rates.sort_by(f64::total_cmp);
        let what = if kind == "sha256" {
            "read and hashed once, for comparison"
        } else {
            "hashed, in a tar, compressed, hashed"
        };
        let (min, median, max) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("| {kind}: {what} | {min:.0} | {median:.0} | {max:.0} | {peak:.1} MB |");
    }
}

/// Prints MB/s and the peak of this process's memory in MB.
fn layer(kind: &str, file: &Path) {
    let size = std::fs::metadata(file).unwrap().len();
    let folder = tempfile::tempdir_in(file.parent().unwrap()).unwrap();
    let begin = Instant::now();
    if kind == "sha256" {
        let mut hash = sha2::Sha256::new();
        std::io::copy(&mut std::fs::File::open(file).unwrap(), &mut hash).unwrap();
        assert_eq!(hash.finalize().len(), 32);
    } else {
        let compression = if kind == "zstd" { Compression::Zstd } else { Compression::Gzip };
        let layout = Layout::create(folder.path()).unwrap();
        let mut entries = Entries::new();
        entries.insert("usr/local/bin/service", Entry::file(file, 0o755)).unwrap();
        layout.put_layer(&entries, compression, 0, &Cancel::default()).unwrap();
    }
    let rate = size as f64 / 1e6 / begin.elapsed().as_secs_f64();
    let memory = resident("self").unwrap_or_default() as f64 / 1e6;
    println!("{rate:.1} {memory:.1}");
}
