//! Rules of ARCHITECTURE.md that neither types nor lints hold: read from the sources themselves.
//!
//! A rule is words that a line of the engine may not hold, and where it may all the same. An exception that
//! nothing needs any more is a fault too.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use longshore::config::STAGE_VERSIONS;
use longshore::plan::Stage;
use longshore::stage;

/// Words that are another module's.
struct Rule {
    what: &'static str,
    words: &'static [&'static str],
    /// Beginnings of paths below `longshore/src`: whom it is for; empty for all.
    of: &'static [&'static str],
    /// Beginnings of paths that may.
    doors: &'static [&'static str],
    /// Files that may, and why.
    exceptions: &'static [(&'static str, &'static str)],
}

const RULES: &[Rule] = &[
    Rule {
        what: "writes a file: `host::files` does, whole or not at all",
        words: &[
            "fs::write(",
            "fs::create_dir",
            "fs::remove_",
            "fs::rename(",
            "fs::copy(",
            "fs::hard_link(",
            "fs::symlink(",
            "set_permissions(",
            "File::create",
            "File::options",
            "OpenOptions",
            "tempfile::Builder",
        ],
        of: &[],
        doors: &["host/"],
        exceptions: &[
            ("cache.rs", "a copy is hashed on the way, whatever its size"),
            ("cache/trim.rs", "what was not used for longest is removed"),
            ("deploy/process.rs", "a service's folder goes with it"),
            ("deploy/process/root.rs", "an image's root is a folder that changes by a rename"),
            ("journal.rs", "a line is appended an event: there is nothing to rename"),
            ("ledger/store.rs", "a folder for a Git index that is not the user's"),
            ("oci/base.rs", "a folder aside, in which a base is fetched"),
            ("oci/layout.rs", "the folders of a layout, and its lock"),
            ("oci/layout/copy.rs", "a blob is linked where the file system can"),
            ("stage/build.rs", "the folder that `go build` writes into"),
            ("stage/image/dockerfile.rs", "the folder that an engine exports into"),
            ("stage/scan/database.rs", "the database is a folder that changes by a rename"),
            ("stage/scan/isolate.rs", "the scanner's own folder, with links to what it reads"),
            ("stage/verify/local.rs", "working folders and devices of an image's root"),
            ("stage/verify/root.rs", "an image's root is a folder of many files and modes"),
            ("stage/verify/session.rs", "the folder and the lock of a verification"),
            ("tools.rs", "a tool's folder changes by a rename"),
            ("tools/module.rs", "a temporary module"),
            ("tools/release.rs", "a program is unpacked from an archive"),
            ("verdict.rs", "an old verdict is taken away before its gate looks again"),
        ],
    },
    Rule {
        what: "opens a connection or a port: `host::http` does",
        words: &["TcpStream", "TcpListener", "UdpSocket", "ureq::"],
        of: &[],
        doors: &["host/http"],
        exceptions: &[
            ("deploy/process/ports.rs", "looks which ports are free"),
            ("doctor/machine.rs", "looks which ports are taken"),
            ("stage/verify/ports.rs", "looks which ports are free"),
            ("stage/verify/probe.rs", "asks one status of a service on the loopback address"),
        ],
    },
    Rule {
        what: "starts or signals a process: `host::process` does",
        words: &[
            "process::Command::new",
            "std::process::{",
            "Stdio",
            "signal::kill",
            "killpg",
            "xshell::",
            ".spawn()",
        ],
        of: &[],
        doors: &["host/process", "host/background.rs", "host/supervisor.rs"],
        exceptions: &[],
    },
    Rule {
        what: "reads the process's environment: `host::environment` does",
        words: &["env::var", "env::current_dir", "env::home_dir", "env::args", "env::temp_dir"],
        of: &[],
        doors: &["host/environment.rs"],
        exceptions: &[
            ("cli/deploy.rs", "the command line, for the ledger"),
            ("cli/pipeline.rs", "the command line, for the lock and the journal"),
            ("cli/doctor.rs", "a stand-in for the cache where no home is set"),
            ("doctor/programs.rs", "a folder without a go.mod to ask Go in"),
        ],
    },
    Rule {
        what: "prints: `report` does",
        words: &["io::stdout", "io::stderr", "println!", "eprintln!", "print!("],
        of: &[],
        doors: &["report.rs", "report/"],
        exceptions: &[],
    },
    Rule {
        what: "asks Git: `facts::git` does",
        words: &["Command::new(\"git\")"],
        of: &[],
        doors: &["facts/git"],
        exceptions: &[("doctor/programs.rs", "Git may be missing, or no repository be here")],
    },
    Rule {
        what: "knows what a job does: the execution only runs it",
        words: &["Action", "crate::release", "crate::ledger", "crate::config", "crate::oci", "crate::facts"],
        of: &["execute.rs", "execute/"],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "looks behind the plan and the events: a reporter draws nothing else",
        words: &[
            "Action",
            "crate::release",
            "crate::ledger",
            "crate::config",
            "crate::oci",
            "crate::facts",
            "crate::session",
        ],
        of: &["report.rs", "report/"],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "does something while the plan is made",
        words: &[
            "host::process",
            "host::http",
            "oci::registry",
            "oci::destination",
            "ledger.record",
            "files::write",
        ],
        of: &[
            "stage/plan.rs",
            "stage/draft.rs",
            "stage/lint/jobs.rs",
            "stage/test/jobs.rs",
            "stage/build/jobs.rs",
            "stage/image/jobs.rs",
            "stage/scan/jobs.rs",
            "stage/verify/jobs.rs",
        ],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "could force a push or rewrite the ledger",
        words: &["\"--force\"", "\"-f\"", "\"--mirror\"", "\"--delete\""],
        of: &["facts/", "ledger", "stage/tag.rs", "stage/push.rs"],
        doors: &[],
        exceptions: &[],
    },
];

/// What no pure module holds.
const IMPURE: &[&str] = &[
    "host::",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::io::std",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".canonicalize(",
    ".read_dir(",
    "symlink_metadata",
];

/// Pure without saying so in a sentence of its own. The others are those whose head says "Pure".
const PURE: &[&str] =
    &["plan.rs", "config/values.rs", "config/graph.rs", "resolve/stages.rs", "closure/path.rs"];

/// What must say so: the path from facts to a plan, and the specifications' words.
const SAY_PURE: &[&str] = &[
    "version.rs",
    "affected.rs",
    "closure.rs",
    "resolve.rs",
    "release.rs",
    "release/decide.rs",
    "oci/types.rs",
    "oci/reference.rs",
    "oci/image.rs",
    "event.rs",
    "report/plan.rs",
    "report/summary.rs",
];

const NOT_QUITE_PURE: &[(&str, &str)] = &[
    ("event.rs", "a failure is told from the error that a process's door gives"),
    ("oci/image.rs", "seconds as RFC 3339: a function of the clock's module that asks nothing"),
    ("oci/registry/retry.rs", "it sleeps, and says so"),
];

const LINES: usize = 500;

const LONG: &[(&str, &str)] = &[
    ("longshore/src/config/read.rs", "one macro: a table's struct, reader, merging and schema side by side"),
    ("longshore/src/config/values.rs", "one short implementation a kind of value"),
    ("longshore/tests/stages/scanner.rs", "every way in which a scanner can fail"),
    ("longshore/tests/stages/verify.rs", "the same questions to each way to run an image"),
];

/// A source file: its path below `longshore/src`, its head, and the lines that are neither comments nor
/// tests.
struct Source {
    path: String,
    head: String,
    lines: Vec<(usize, String)>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, &mut found);
    found
}

/// Whether only tests compile it.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs")
        || path.contains("/tests/")
        || ["config/schema.rs", "report/fixture.rs"].contains(&path)
}

fn sources() -> Vec<Source> {
    let folder = root().join("longshore/src");
    let mut sources = Vec::new();
    for file in below(&folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let path = file.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
        if is_test(&path) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let head = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        sources.push(Source { path, head, lines: lines(&text) });
    }
    assert!(sources.len() > 100, "only {} sources were found", sources.len());
    sources
}

/// The numbered lines of `text` without comments and test modules.
fn lines(text: &str) -> Vec<(usize, String)> {
    let all: Vec<&str> = text.lines().collect();
    let mut kept = Vec::new();
    let mut index = 0;
    while index < all.len() {
        let line = all[index];
        let after = all[index + 1..].iter().find(|line| !line.starts_with("#[")).copied().unwrap_or_default();
        let is_module = after.contains("mod ") && after.ends_with('{');
        if line.starts_with("#[cfg(") && line.contains("test") && is_module {
            index += all[index..].iter().position(|line| *line == "}").unwrap_or(all.len()) + 1;
            continue;
        }
        if !line.trim_start().starts_with("//") {
            kept.push((index + 1, line.to_owned()));
        }
        index += 1;
    }
    kept
}

fn begins(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The faults of `sources`, and the exceptions that nothing needs.
fn judge(rule: &Rule, sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unused: BTreeSet<&str> = rule.exceptions.iter().map(|(path, _)| *path).collect();
    for source in sources.iter().filter(|source| rule.of.is_empty() || begins(&source.path, rule.of)) {
        if begins(&source.path, rule.doors) {
            continue;
        }
        for (number, line) in &source.lines {
            let Some(word) = rule.words.iter().find(|word| line.contains(**word)) else { continue };
            if rule.exceptions.iter().any(|(path, _)| *path == source.path) {
                unused.remove(source.path.as_str());
            } else {
                faults.push(format!("{}:{number}: `{word}` {}", source.path, rule.what));
            }
        }
    }
    faults.extend(unused.iter().map(|path| format!("{path}: needs no exception any more: {}", rule.what)));
    faults
}

#[test]
fn what_is_a_modules_own_is_done_there_alone() {
    let sources = sources();
    let faults: Vec<String> = RULES.iter().flat_map(|rule| judge(rule, &sources)).collect();
    report(&faults);
}

#[test]
fn a_rule_sees_what_it_forbids_and_nothing_in_comments_or_tests() {
    let text = "//! Head.\n// fs::write(x)\n#[cfg(test)]\nmod tests {\n    fs::write(x);\n}\nfs::write(x);\n";
    let source = |path: &str| Source { path: path.to_owned(), head: String::new(), lines: lines(text) };
    let rule = &RULES[0];
    let own = |faults: Vec<String>| faults.into_iter().filter(|fault| !fault.contains("any more")).count();
    assert_eq!(own(judge(rule, &[source("affected.rs")])), 1);
    assert_eq!(own(judge(rule, &[source("host/files.rs"), source("cache.rs")])), 0);
    assert_eq!(lines(text), [(7, "fs::write(x);".to_owned())]);
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let sources = sources();
    let by_path: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut faults = Vec::new();
    for path in PURE.iter().chain(SAY_PURE) {
        assert!(by_path.contains_key(path), "{path} is gone: take it from the list");
    }
    for path in SAY_PURE.iter().filter(|path| !by_path[*path].head.contains("Pure")) {
        faults.push(format!("{path}: its head does not say that it is pure"));
    }
    let mut unused: BTreeSet<&str> = NOT_QUITE_PURE.iter().map(|(path, _)| *path).collect();
    let pure =
        sources.iter().filter(|source| source.head.contains("Pure") || PURE.contains(&source.path.as_str()));
    for source in pure {
        for (number, line) in &source.lines {
            // What it was compiled for is no question to the machine.
            let line = line.replace("std::env::consts", "");
            let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) else { continue };
            if NOT_QUITE_PURE.iter().any(|(path, _)| *path == source.path) {
                unused.remove(source.path.as_str());
            } else {
                faults.push(format!("{}:{number}: `{word}` in a pure module", source.path));
            }
        }
    }
    faults.extend(unused.iter().map(|path| format!("{path}: is pure, and needs no exception any more")));
    report(&faults);
}

#[test]
fn every_module_says_what_it_is_for() {
    let without: Vec<String> =
        sources().into_iter().filter(|source| source.head.is_empty()).map(|source| source.path).collect();
    report(&without);
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    let mut unused: BTreeSet<&str> = LONG.iter().map(|(path, _)| *path).collect();
    let folders = ["longshore", "xtask", "tests", "benches"].map(|folder| root().join(folder));
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for file in below(folder).iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let path = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            let count = std::fs::read_to_string(file).unwrap().lines().count();
            if count > LINES && !unused.remove(path.as_str()) {
                faults.push(format!("{path} has {count} lines: split it, or say why not"));
            }
        }
    }
    faults
        .extend(unused.iter().map(|path| format!("{path} is short enough, and needs no exception any more")));
    report(&faults);
}

#[test]
fn the_configuration_knows_the_stages_versions() {
    let versions = [
        (Stage::Lint, stage::lint::VERSION),
        (Stage::Test, stage::test::VERSION),
        (Stage::Build, stage::build::VERSION),
        (Stage::Image, stage::image::VERSION),
        (Stage::Scan, stage::scan::VERSION),
        (Stage::Verify, stage::verify::VERSION),
        (Stage::Push, stage::push::VERSION),
        (Stage::Tag, stage::tag::VERSION),
    ];
    assert_eq!(STAGE_VERSIONS, versions);
    assert_eq!(versions.map(|(stage, _)| stage), Stage::ALL);
}

#[test]
fn the_architecture_is_short_and_names_what_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 200, "ARCHITECTURE.md has {} lines", text.lines().count());
    let mut faults = Vec::new();
    for word in text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.ends_with(".rs") && !word.contains('*') && !word.contains("NAME"))
    {
        let places = ["", "longshore/src", "longshore"].map(|folder| root().join(folder).join(word));
        if !places.iter().any(|place| place.is_file()) {
            faults.push(format!("ARCHITECTURE.md names `{word}`, which is not there"));
        }
    }
    for source in sources().iter().filter(|source| !source.path.contains('/') && source.path != "lib.rs") {
        let name = source.path.trim_end_matches(".rs");
        if ![format!("`{name}`"), format!("`{name}::"), format!("`{name}.rs")]
            .iter()
            .any(|word| text.contains(word))
        {
            faults.push(format!("ARCHITECTURE.md does not name `{name}`"));
        }
    }
    report(&faults);
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    assert!(metadata.packages.len() >= 2);
    for package in &metadata.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} has lints of its own", package.name);
    }
}

#[test]
fn no_file_names_a_place_of_somebodys_machine() {
    // In parts, so that this file does not hold them.
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/runner/")];
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // What Git does not take, and the user's own.
        if matches!(name.as_str(), "target" | "dist" | ".git" | ".idea" | ".vscode") {
            continue;
        }
        let files = if path.is_dir() { below(&path) } else { vec![path] };
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            for (number, line) in text.lines().enumerate() {
                if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                    faults.push(format!("{}:{}: `{place}`", file.display(), number + 1));
                }
            }
        }
    }
    report(&faults);
}
