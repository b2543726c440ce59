//! Installing the pinned tools, with a Go that writes them instead of building them.
#![cfg(unix)]

use std::path::{Path, PathBuf};

use longshore::fault::{Exit, exit_of};
use longshore::host::environment::Environment;
use longshore::tools::{self, Setup, Tool};

use crate::harness::{Repository, chain};

const VERSION: &str = "2.5.0";

struct Case {
    repository: Repository,
    offline: bool,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gos").join(name)
}

fn case(folders: &[&str], variables: &[(&str, &str)]) -> Case {
    let mut repository = Repository::new();
    let mut path: Vec<PathBuf> = folders.iter().map(|name| fixture(name)).collect();
    path.extend(["/usr/bin", "/bin"].map(PathBuf::from));
    let path = std::env::join_paths(path).unwrap().into_string().unwrap();
    let home = repository.root().to_str().unwrap().to_owned();
    let own = [("PATH", path.as_str()), ("HOME", &home), ("GONOSUMDB", "*"), ("GOPRIVATE", "*")];
    repository.environment = own
        .iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Environment>();
    Case { repository, offline: false }
}

impl Case {
    fn setup(&self) -> Setup<'_> {
        Setup {
            cache: &self.repository.workspace.cache,
            environment: &self.repository.environment,
            cancel: &self.repository.cancel,
            progress: &self.repository.told,
            offline: self.offline,
        }
    }

    fn ensure(&self) -> anyhow::Result<PathBuf> {
        tools::ensure_one(Tool::GolangciLint, VERSION, &self.setup())
    }

    fn built(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.repository.root().join("built")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn refused(&self, exit: Exit, part: &str) {
        let error = self.ensure().unwrap_err();
        assert_eq!(exit_of(&error), exit, "{}", chain(&error));
        assert!(chain(&error).contains(part), "{}", chain(&error));
    }
}

#[test]
fn two_at_once_install_once_and_later_runs_not_at_all() {
    let case = case(&["copies"], &[]);
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let both = [scope.spawn(|| case.ensure().unwrap()), scope.spawn(|| case.ensure().unwrap())];
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let expected = case.repository.workspace.cache.join("tools/golangci-lint/2.5.0/golangci-lint");
    assert_eq!(paths, [expected.clone(), expected.clone()]);
    // As Go is to be run: the checksum database is asked whatever the user's settings.
    assert_eq!(case.built(), ["-mod=mod auto 0 verified"]);
    assert_eq!(case.ensure().unwrap(), expected);
    assert_eq!(case.built().len(), 1);
    let left: Vec<_> = std::fs::read_dir(expected.parent().unwrap().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_tool_that_was_changed_is_installed_again() {
    let case = case(&["copies"], &[]);
    let path = case.ensure().unwrap();
    std::fs::write(&path, "#!/bin/sh\necho 2.5.0 # and something else\n").unwrap();
    case.ensure().unwrap();
    assert_eq!(case.built().len(), 2);
    let warnings = case.repository.told.warnings().join("\n");
    assert!(warnings.contains("is not what was installed"), "{warnings}");
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let case = case(&["fails"], &[]);
    case.refused(Exit::Machine, "could not build golangci-lint 2.5.0");
    assert!(!case.repository.workspace.cache.join("tools/golangci-lint/2.5.0").exists());
}

#[test]
fn what_is_on_path_or_named_is_used_if_it_is_of_the_pinned_version() {
    let found = case(&["with-a-tool", "fails"], &[]);
    assert_eq!(found.ensure().unwrap(), fixture("with-a-tool/golangci-lint"));
    let tool = fixture("with-a-tool/golangci-lint");
    let named = case(&["fails"], &[("LONGSHORE_GOLANGCI_LINT", tool.to_str().unwrap())]);
    assert_eq!(named.ensure().unwrap(), tool);
    let other = tools::ensure_one(Tool::GolangciLint, "2.6.0", &named.setup()).unwrap_err();
    assert_eq!(exit_of(&other), Exit::Machine);
    assert!(other.to_string().contains("names golangci-lint 2.5.0, `[tools]` pins 2.6.0"), "{other}");
    let absent = case(&["fails"], &[("LONGSHORE_GOLANGCI_LINT", "/nowhere")]);
    absent.refused(Exit::Machine, "/nowhere");
}

#[test]
fn offline_nothing_is_installed() {
    let mut case = case(&["copies"], &[]);
    case.offline = true;
    case.refused(Exit::Machine, "is not installed");
    assert!(case.built().is_empty());
}

#[test]
fn the_malicious_trivy_is_refused_before_anything_is_looked_at() {
    let case = case(&["copies"], &[("LONGSHORE_TRIVY", "/bin/true")]);
    let error = tools::ensure_one(Tool::Trivy, "0.69.4", &case.setup()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
    assert!(error.to_string().contains("malicious"), "{error}");
    assert!(case.built().is_empty());
}

#[test]
#[ignore = "downloads Trivy, or builds it: minutes"]
fn the_real_trivy_is_installed() {
    let repository = Repository::new();
    let setup = Setup {
        cache: &repository.workspace.cache,
        environment: &repository.environment,
        cancel: &repository.cancel,
        progress: &repository.told,
        offline: false,
    };
    let path = tools::ensure_one(Tool::Trivy, "0.69.3", &setup).unwrap();
    assert!(path.starts_with(&repository.workspace.cache), "{}", path.display());
    assert_eq!(tools::find(Tool::Trivy, "0.69.3", &setup).unwrap(), Some(path));
}
