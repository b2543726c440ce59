//! Rules of ARCHITECTURE.md that neither types nor lints hold: read from the sources themselves.
//!
//! A rule is words that a line of the engine may not hold, and where it may all the same. An exception that
//! nothing needs any more is a fault too.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use longshore::config::STAGE_VERSIONS;
use longshore::plan::Stage;
use longshore::stage;

use rules::{IMPURE, LINES, LONG, NOT_QUITE_PURE, PURE, RULES, Rule, SAY_PURE};

/// A crate's sources, and where the engine sees its modules.
const CRATES: &[(&str, &str)] = &[
    ("longshore/src", ""),
    ("crates/base/src", ""),
    ("crates/inputs/src", "inputs/"),
    ("crates/oci/src", "oci/"),
    ("crates/repository/src", ""),
];

/// A source file: the path of its module as the engine sees it, in whatever crate it lies, its head, and the
/// lines that are neither comments nor tests.
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
    let mut sources = Vec::new();
    for (folder, seen) in CRATES {
        let folder = root().join(folder);
        for file in below(&folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs"))
        {
            let below = file.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
            let path = format!("{seen}{below}");
            if is_test(&path) {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let head = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
            sources.push(Source { path, head, lines: lines(&text) });
        }
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
    let folders = ["crates", "longshore", "xtask", "tests", "benches"].map(|folder| root().join(folder));
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
        let places =
            ["", "longshore", "longshore/src", "crates"].map(|folder| root().join(folder).join(word));
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
    assert!(metadata.packages.len() >= 6);
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
