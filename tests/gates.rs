//! Gates that say no, and machines that can't say anything: the exit code, and that nothing was published.

use std::path::Path;

use crate::registry::Registry;
use crate::repository::{Repository, Run};
use crate::shop::shop_with;

/// A shop with a registry; `None` where this machine has none.
fn shop() -> Option<(Registry, Repository)> {
    let registry = Registry::start()?;
    let shop = shop_with(&registry);
    Some((registry, shop))
}

/// A release into `dev` that leaves stages out.
fn release(shop: &Repository, skip: &str, args: &[&str]) -> Run {
    shop.longshore(&[&["release", "--env", "dev", "--skip", skip], args].concat())
}

/// Invariant 5: not a blob, not a ref.
#[track_caller]
fn nothing_was_published(registry: &Registry, shop: &Repository) {
    let log = registry.log();
    assert!(!log.contains("\"PUT ") && !log.contains("\"POST ") && !log.contains("\"PATCH "), "{log}");
    let refs = shop.git(["ls-remote", "origin"]);
    assert!(!refs.contains("refs/longshore") && !refs.contains("refs/tags"), "{refs}");
    assert!(!shop.path("dist/oci").exists());
}

#[test]
fn a_test_that_fails_publishes_nothing() {
    let Some((registry, shop)) = shop() else { return };
    shop.write("pkg/store/store_test.go", FAILING).commit("test: a word");
    let run = release(&shop, "lint,scan,verify", &[]).code(3);
    assert!(run.stderr.contains("TestWord") && run.stderr.contains("the word is wrong"), "{run}");
    nothing_was_published(&registry, &shop);
}

const FAILING: &str = r#"package store

import "testing"

func TestWord(t *testing.T) {
	t.Fatal("the word is wrong")
}
"#;

#[test]
fn findings_of_lint_publish_nothing() {
    let Some((registry, shop)) = shop() else { return };
    shop.append("pkg/store/store.go", "\nvar   Wide = 1\n").commit("feat: wide");
    let run = release(&shop, "test,scan,verify", &[]).code(3);
    assert!(run.stderr.contains("pkg/store/store.go"), "{run}");
    shop.write("pkg/store/store.go", VET).commit("fix: narrow");
    let run = release(&shop, "test,scan,verify", &[]).code(3);
    assert!(run.stderr.contains("%d"), "{run}");
    nothing_was_published(&registry, &shop);
}

const VET: &str = r#"// Package store holds a word.
package store

import "fmt"

// Word is the word.
const Word = "store"

// Say says it.
func Say() string { return fmt.Sprintf("%d", Word) }
"#;

#[test]
fn golangci_lint_is_a_gate_of_its_own() {
    let Some((registry, shop)) = shop() else { return };
    let Some((version, program)) = crate::tool::golangci_lint() else { return };
    let shop = shop.env("LONGSHORE_GOLANGCI_LINT", program);
    // Settings of the user's are none of the repository's.
    shop.write("../home/.golangci.yml", "version: \"2\"\nlinters:\n  default: none\n");
    shop.edit("pipeline.toml", "[tools]\n", &format!("[tools]\ngolangci-lint = \"{version}\"\n"));
    shop.append("pkg/store/store.go", UNUSED).commit("feat: an unused function");
    let run = release(&shop, "test,scan,verify", &[]).code(3);
    assert!(run.stderr.contains("pkg/store/store.go:7:6: func never is unused (unused)\n"), "{run}");
    // What it can't read is no verdict; the key of the last result has it in it.
    shop.write(".golangci.yml", "version: \"2\"\nlinters:\n  enable: [nonsense]\n").commit("ci: a linter");
    let run = release(&shop, "test,scan,verify", &[]).code(4).stderr_has("can't use `.golangci.yml`");
    assert!(run.stderr.contains("nonsense"), "{run}");
    nothing_was_published(&registry, &shop);
    shop.write(".golangci.yml", "version: \"2\"\nlinters:\n  disable: [unused, errcheck]\n")
        .commit("ci: fewer linters");
    shop.longshore(&["lint", "--env", "dev"]).code(0).stderr_has("done lint");
    shop.longshore(&["lint", "--env", "dev"]).code(0).stderr_has("cached lint");
    let shop = shop.env("LONGSHORE_GOLANGCI_LINT", "/nowhere/golangci-lint");
    shop.write("pkg/spare/more.go", "package spare\n");
    shop.longshore(&["lint", "--env", "dev"]).code(4).stderr_has("LONGSHORE_GOLANGCI_LINT");
}

const UNUSED: &str = "
func never() {}
";

#[test]
fn an_error_of_the_compiler_publishes_nothing_and_stops_no_sibling() {
    let Some((registry, shop)) = shop() else { return };
    shop.append("cmd/web/main.go", "\nvar _ = missing\n").commit("feat: broken");
    let run = release(&shop, "lint,test,scan,verify", &["--keep-going"]).code(1);
    assert!(run.stderr.contains("undefined: missing"), "{run}");
    nothing_was_published(&registry, &shop);
    assert!(shop.path("dist/images/api/index.json").exists(), "the other was built: {run}");
    // The summary repeats it at the end.
    let last: Vec<&str> = run.stderr.lines().rev().take(25).collect();
    assert!(last.iter().any(|line| line.contains("undefined: missing")), "{run}");
}

#[test]
fn every_failure_is_repeated_at_the_end() {
    let Some((registry, shop)) = shop() else { return };
    shop.append("cmd/web/main.go", "\nvar _ = missing\n");
    shop.write("pkg/store/store_test.go", FAILING).commit("feat: broken");
    let run = release(&shop, "lint,scan,verify", &["--keep-going"]);
    assert!([1, 3].contains(&run.code), "{run}");
    assert!(run.stderr.contains("undefined: missing") && run.stderr.contains("the word is wrong"), "{run}");
    nothing_was_published(&registry, &shop);
}

/// Makes `web` depend on a module with a known critical advisory.
pub(crate) fn make_vulnerable(shop: &Repository) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/vulnerable");
    for (from, to) in [("main.go", "cmd/web/main.go"), ("go.sum", "go.sum")] {
        shop.write(to, std::fs::read(fixture.join(from)).unwrap());
    }
    let modfile = std::fs::read_to_string(fixture.join("go.mod")).unwrap();
    let (_, rest) = modfile.split_once('\n').unwrap();
    shop.write("go.mod", format!("module example.com/shop\n{rest}")).commit("feat: a dependency");
}

#[test]
fn findings_of_the_scanner_publish_nothing() {
    let Some((registry, shop)) = shop() else { return };
    let Some(shop) = shop.scanner() else { return };
    make_vulnerable(&shop);
    let run = release(&shop, "lint,test,verify", &["--keep-going"]).code(3);
    assert!(run.stderr.contains("CVE-"), "{run}");
    nothing_was_published(&registry, &shop);
    assert_eq!(shop.artifacts()["services"]["web"]["platforms"]["linux/amd64"]["verdicts"]["scan"], "fail");
    assert_eq!(shop.artifacts()["services"]["api"]["platforms"]["linux/amd64"]["verdicts"]["scan"], "pass");
}

#[test]
fn no_database_is_no_verdict() {
    let Some((registry, shop)) = shop() else { return };
    let Some(trivy) = crate::tool::trivy() else { return };
    let shop = shop.env("LONGSHORE_TRIVY", trivy);
    release(&shop, "lint,test,verify", &[]).code(4).stderr_has("no verdict");
    nothing_was_published(&registry, &shop);
    let shop = shop.env("LONGSHORE_TRIVY", "/nowhere/trivy");
    release(&shop, "lint,test,verify", &[]).code(4);
    nothing_was_published(&registry, &shop);
}

#[test]
fn what_was_not_scanned_is_said_once() {
    let Some(trivy) = crate::tool::trivy() else { return };
    let shop = Repository::new().env("LONGSHORE_TRIVY", trivy);
    shop.append("pipeline.toml", "\n[stages.scan]\non-unavailable = \"warn\"\n").commit("ci: a rehearsal");
    let run = shop.longshore(&["release", "--skip", "lint,test,verify"]).code(0);
    assert_eq!(run.stderr.matches("NOT scanned for vulnerabilities").count(), 1, "{run}");
    for service in ["api", "web"] {
        let platform = &shop.artifacts()["services"][service]["platforms"]["linux/amd64"];
        assert_eq!(platform["verdicts"]["scan"], "none");
    }
}

#[test]
fn a_service_that_does_not_get_ready_publishes_nothing() {
    let Some((registry, shop)) = shop() else { return };
    shop.edit("cmd/web/main.go", "mux.HandleFunc(\"/readyz\"", "mux.HandleFunc(\"/elsewhere\"");
    shop.edit("cmd/web/main.go", "mux.HandleFunc(\"/\",", "mux.HandleFunc(\"/words\",");
    shop.append("pipeline.toml", "\n[stages.verify]\ntimeout = \"3s\"\n").commit("feat: not ready");
    let run = release(&shop, "lint,test,scan", &[]).code(3);
    assert!(run.stderr.contains("web") && run.stderr.contains("/readyz"), "{run}");
    nothing_was_published(&registry, &shop);
}

#[test]
fn a_command_is_run_to_its_end_and_never_deployed() {
    let shop = Repository::new();
    let program = |code: u8| format!("package main\n\nimport \"os\"\n\nfunc main() {{ os.Exit({code}) }}\n");
    shop.write("cmd/migrate/main.go", program(0));
    shop.append("pipeline.toml", "\n[services.migrate]\npackage = \"cmd/migrate\"\n")
        .commit("feat: a migration");
    let verify = |code: i32| shop.longshore(&["release", "--skip", "lint,test,scan", "migrate"]).code(code);
    verify(3).stderr_has("hint: if it is a command and no server, write `ends = true`");
    shop.append("pipeline.toml", "ends = true\n");
    shop.edit("pipeline.toml", "needs = [\"api\"]", "needs = [\"api\", \"migrate\"]").commit("ci: it ends");
    // Who needs it starts after its end.
    shop.longshore(&["release", "--skip", "lint,test,scan", "migrate", "web", "api"])
        .code(0)
        .stderr_has("ended after");
    shop.longshore(&["deploy", "--dry-run", "migrate"]).code(2).stderr_has("`migrate` ends by itself");
    let run = shop.longshore(&["deploy", "--dry-run"]).code(0);
    assert!(run.stdout.contains("api") && !run.stdout.contains("migrate"), "{run}");
    shop.write("cmd/migrate/main.go", program(7)).commit("feat: it fails");
    verify(3).stderr_has("`migrate` failed: exit status 7");
    shop.append("pipeline.toml", "port = 80\n");
    shop.longshore(&["check"]).code(2).stderr_has("has a `port`, and `ends` by itself");
}
