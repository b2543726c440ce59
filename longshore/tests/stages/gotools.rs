//! The lint and test stages with the real Go.

use crate::harness::{MINUTES, Repository, chain, lacks, which};
use longshore::fault::{Exit, Tail, exit_of};
use longshore::host::process::ProcessError;
use longshore::stage::lint::{self, Check, LintSpec, golangci};
use longshore::stage::test::{self, Race, TestSpec};

const MAIN: &str = "package main\n\nfunc main() {}\n";

fn module() -> Repository {
    Repository::new().file("services/go.mod", "module example.com/x\n\ngo 1.24\n")
}

fn lint(repository: &Repository, checks: &[Check]) -> anyhow::Result<longshore::stage::Finish> {
    let spec = LintSpec {
        setting: repository.setting("services"),
        packages: vec!["./...".to_owned()],
        flags: Vec::new(),
        platform: None,
        checks: checks.to_vec(),
        timeout: MINUTES,
    };
    lint::run(&spec, &repository.scope())
}

fn findings(error: &anyhow::Error) -> Vec<String> {
    assert_eq!(exit_of(error), Exit::Gate, "{}", chain(error));
    error.chain().find_map(|cause| cause.downcast_ref::<Tail>()).unwrap().0.clone()
}

#[test]
fn a_clean_module_passes_every_check() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module().file("services/cmd/a/main.go", MAIN);
    let checks = [Check::Gofmt, Check::Vet, Check::ModVerify, Check::ModTidy, Check::Layout];
    let finish = lint(&repository, &checks).unwrap();
    assert_eq!(finish.note, "5 checks");
    assert_eq!(repository.told.warnings(), Vec::<String>::new());
}

#[test]
fn unformatted_and_unparsable_files_are_listed_from_the_root() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module()
        .file("services/cmd/a/main.go", MAIN)
        .file("services/cmd/a/more.go", "package main\n\nvar  a = 1\n")
        .file("services/cmd/a/off_test.go", "package main\n\nvar b  = 1\n")
        .file("services/cmd/a/other.go", "//go:build never\n\npackage main\n\nvar c  = 1\n")
        .file("services/pkg/b/b.go", "package b\n\nfunc {\n")
        .file("services/cmd/a/testdata/x.go", "package  x\n");
    let error = lint(&repository, &[Check::Gofmt]).unwrap_err();
    let found = findings(&error);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"services/cmd/a/more.go:3: not formatted".to_owned()), "{found:?}");
    assert!(found.contains(&"services/cmd/a/off_test.go:3: not formatted".to_owned()), "{found:?}");
    assert!(found.contains(&"services/cmd/a/other.go:5: not formatted".to_owned()), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("services/pkg/b/b.go:3:6: ")), "{found:?}");
}

#[test]
fn vet_and_gofmt_findings_come_in_one_run() {
    if lacks("go", which("go")) {
        return;
    }
    let text = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Printf( \"%d\\n\", \"x\") }\n";
    let repository = module().file("services/cmd/a/main.go", text);
    let error = lint(&repository, &[Check::Gofmt, Check::Vet]).unwrap_err();
    let found = findings(&error);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].starts_with("services/cmd/a/main.go:5:"), "{found:?}");
    assert!(found[1].contains("%d"), "{found:?}");
    assert!(chain(&error).starts_with("2 findings in module `services`"));
}

#[test]
fn a_type_error_is_a_finding_with_its_place() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module().file("services/cmd/a/main.go", "package main\n\nfunc main() { x() }\n");
    let found = findings(&lint(&repository, &[Check::Vet]).unwrap_err());
    assert!(found[0].starts_with("services/cmd/a/main.go:3:15: undefined: x"), "{found:?}");
}

#[test]
fn an_untidy_go_mod_is_drift() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = Repository::new()
        .file("services/go.mod", "module example.com/x\n\ngo 1.24\n\nrequire example.com/y v0.0.0\n\nreplace example.com/y => ./y\n")
        .file("services/y/go.mod", "module example.com/y\n\ngo 1.24\n")
        .file("services/cmd/a/main.go", MAIN);
    let found = findings(&lint(&repository, &[Check::ModTidy]).unwrap_err());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("services/go.mod:"), "{found:?}");
    assert!(found[0].contains("- require example.com/y v0.0.0"), "{found:?}");
}

#[test]
fn a_changed_module_in_the_cache_is_found() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module().file("services/cmd/a/main.go", MAIN);
    // A module cache with one module whose files are not those of its recorded hash.
    let cache = repository.root().join("modcache");
    let name = "cache/download/example.com/y/@v/v1.0.0";
    repository.write(&format!("modcache/{name}.mod"), "module example.com/y\n");
    repository.write(&format!("modcache/{name}.info"), r#"{"Version":"v1.0.0"}"#);
    repository.write(&format!("modcache/{name}.ziphash"), "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    repository.write("modcache/example.com/y@v1.0.0/y.go", "package y\n");
    repository.write("services/go.mod", "module example.com/x\n\ngo 1.24\n\nrequire example.com/y v1.0.0\n");
    let mut setting = repository.setting("services");
    setting.env.insert("GOMODCACHE".to_owned(), cache.display().to_string());
    setting.env.insert("GOPROXY".to_owned(), "off".to_owned());
    setting.env.insert("GOSUMDB".to_owned(), "off".to_owned());
    let spec = LintSpec {
        setting,
        packages: Vec::new(),
        flags: Vec::new(),
        platform: None,
        checks: vec![Check::ModVerify],
        timeout: MINUTES,
    };
    let found = findings(&lint::run(&spec, &repository.scope()).unwrap_err());
    assert!(found[0].contains("example.com/y v1.0.0"), "{found:?}");
}

#[test]
fn an_unusual_layout_warns_and_passes() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = Repository::new()
        .file("services/go.mod", "module example.com/x\n")
        .file("services/gateway/main.go", MAIN)
        .file("services/src/utils/u.go", "package utils\n");
    lint(&repository, &[Check::Layout]).unwrap();
    let warnings = repository.told.warnings();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings.contains(&"`services/gateway`: a command outside `cmd`".to_owned()), "{warnings:?}");
}

#[test]
fn ambient_goflags_do_not_reach_go() {
    if lacks("go", which("go")) {
        return;
    }
    let mut repository = module().file("services/cmd/a/main.go", MAIN);
    let ambient =
        [("GOFLAGS", "-mod=nonsense"), ("GOOS", "plan10")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    repository.environment =
        repository.environment.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).chain(ambient).collect();
    lint(&repository, &[Check::Vet, Check::Gofmt]).unwrap();
}

#[test]
fn a_missing_tool_is_no_verdict() {
    let mut repository = module().file("services/cmd/a/main.go", MAIN);
    let options = golangci::Options { version: "2.11.4".to_owned(), args: Vec::new(), settings: None };
    let error = lint(&repository, &[Check::GolangciLint(options)]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    repository.tools.go = repository.root().join("no/go");
    let error = lint(&repository, &[Check::Vet]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{}", chain(&error));
}

fn test_spec(repository: &Repository) -> TestSpec {
    TestSpec {
        setting: repository.setting("services"),
        packages: vec!["./...".to_owned()],
        flags: Vec::new(),
        race: Race::Off,
        timeout: MINUTES,
        env: Vec::new(),
        inputs: Vec::new(),
    }
}

const TESTS: &str = "package a\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestGood(t *testing.T) {}\n\n\
    func TestSkipped(t *testing.T) { t.Skip() }\n\n\
    func TestTable(t *testing.T) {\n\tt.Run(\"one\", func(*testing.T) {})\n\t\
    t.Run(\"two\", func(t *testing.T) {\n\t\tif os.Getenv(\"FAIL\") != \"\" {\n\t\t\tt.Fatal(\"it was asked for\")\n\t\t}\n\t})\n}\n";

#[test]
fn passing_tests_are_counted_and_their_stream_kept() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module()
        .file("services/pkg/a/a.go", "package a\n")
        .file("services/pkg/a/a_test.go", TESTS)
        .file("services/pkg/b/b.go", "package b\n");
    let finish = test::run(&test_spec(&repository), &repository.scope()).unwrap();
    assert_eq!(finish.note, "2 passed, 1 skipped in 1 package");
    let stream = std::fs::read_to_string(repository.root().join("dist/reports/test-services.json")).unwrap();
    assert!(stream.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(stream.contains("TestGood"));
}

#[test]
fn a_failing_test_is_named_with_its_lines_and_sees_only_the_listed_variables() {
    if lacks("go", which("go")) {
        return;
    }
    let mut repository =
        module().file("services/pkg/a/a.go", "package a\n").file("services/pkg/a/a_test.go", TESTS);
    let ambient = [("FAIL".to_owned(), "1".to_owned())];
    repository.environment =
        repository.environment.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).chain(ambient).collect();
    let mut spec = test_spec(&repository);
    test::run(&spec, &repository.scope()).unwrap();

    spec.env.push("FAIL".to_owned());
    let error = test::run(&spec, &repository.scope()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Gate);
    assert!(chain(&error).starts_with("1 test failed in module `services`"), "{}", chain(&error));
    let Some(ProcessError::Failed { tail, command, .. }) = error.downcast_ref() else { panic!("{error:?}") };
    assert!(command.contains("test -json"));
    assert_eq!(tail[0], "FAIL example.com/x/pkg/a.TestTable/two");
    assert!(tail[1].contains("it was asked for"), "{tail:?}");
}

#[test]
fn tests_that_do_not_compile_are_located() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module()
        .file("services/pkg/a/a.go", "package a\n")
        .file("services/pkg/a/a_test.go", "package a\n\nvar x int = \"s\"\n");
    let error = test::run(&test_spec(&repository), &repository.scope()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Gate, "{}", chain(&error));
    let Some(ProcessError::Failed { tail, .. }) = error.downcast_ref() else { panic!("{error:?}") };
    assert!(tail.iter().any(|line| line.contains("a_test.go:3:13:")), "{tail:?}");
}

#[test]
fn a_test_that_hangs_is_ended_with_its_name() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = module().file("services/pkg/a/a.go", "package a\n").file(
        "services/pkg/a/a_test.go",
        "package a\n\nimport \"testing\"\n\nfunc TestHangs(t *testing.T) { <-make(chan int); select {} }\n",
    );
    let mut spec = test_spec(&repository);
    spec.timeout = std::time::Duration::from_secs(1);
    let error = test::run(&spec, &repository.scope()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Gate, "{}", chain(&error));
    let Some(ProcessError::Failed { tail, .. }) = error.downcast_ref() else { panic!("{error:?}") };
    assert!(tail.iter().any(|line| line.contains("TestHangs")), "{tail:?}");
}

#[test]
fn no_packages_is_said() {
    let repository = module();
    let mut spec = test_spec(&repository);
    spec.packages.clear();
    assert_eq!(test::run(&spec, &repository.scope()).unwrap().note, "no packages");
}
