//! Git repositories, registries and files that are not as they should be: what each gets.

use std::os::unix::ffi::OsStrExt as _;

use crate::faults::{Fault, Proxy};
use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::shop::shop_with;

const DEV: &[&str] = &["--env", "dev"];

#[test]
fn no_repository_and_no_commit_are_said() {
    let shop = Repository::new();
    std::fs::remove_dir_all(shop.path(".git")).unwrap();
    shop.quick(&[]).code(4).stderr_has("Git");
    shop.git(["init", "--quiet"]);
    shop.quick(&[]).code(4).stderr_has("commit");
}

#[test]
fn a_dirty_tree_is_built_and_not_released() {
    let shop = Repository::new();
    shop.append("cmd/api/main.go", "\n// Not committed.\n");
    shop.write("pkg/store/new.go", "package store\n");
    let run = shop.quick(&[]).code(4);
    assert!(run.stderr.contains("cmd/api/main.go") && run.stderr.contains("pkg/store/new.go"), "{run}");
    assert!(!shop.path("dist/artifacts.json").exists());
    for stage in ["push", "tag"] {
        shop.longshore(&[stage]).code(4);
    }
    shop.longshore(&["build", "api"]).code(0);
    let artifacts = shop.artifacts();
    let version = artifacts["services"]["api"]["version"].as_str().unwrap();
    assert!(version.contains("-dev.") && version.contains(".d"), "{version}");
}

/// A Go test that changes the repository while the release goes on.
fn while_testing(shop: &Repository, command: &[&str]) {
    let words: String = command.iter().map(|word| format!(", {word:?}")).collect();
    let test = format!(
        "package store\n\nimport (\n\t\"os/exec\"\n\t\"testing\"\n)\n\nfunc TestMeanwhile(t *testing.T) {{\n\t\
         cmd := exec.Command({:?}{words})\n\tcmd.Dir = {:?}\n\t\
         if out, err := cmd.CombinedOutput(); err != nil {{\n\t\tt.Fatal(string(out), err)\n\t}}\n}}\n",
        "env",
        shop.root(),
    );
    shop.write("pkg/store/store_test.go", test).commit("test: meanwhile");
}

#[test]
fn what_moves_during_a_run_is_not_published() {
    let Some(registry) = Registry::start() else { return };
    let shop = shop_with(&registry);
    let release = || shop.longshore(&["release", "--env", "dev", "--skip", "lint,scan,verify"]);
    let nothing_left = |shop: &Repository| {
        let log = registry.log();
        assert!(!log.contains("\"PUT ") && !log.contains("\"POST "), "{log}");
        let refs = shop.git(["ls-remote", "origin"]);
        assert!(!refs.contains("refs/longshore") && !refs.contains("refs/tags"), "{refs}");
    };
    // HEAD, by a commit of the very same tree.
    let before = shop.git(["rev-parse", "--short=7", "HEAD"]);
    let commit =
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "fix: x"];
    while_testing(&shop, &[&["git"], &commit[..]].concat());
    let run = release().code(4).stderr_has("HEAD moved during the run").stderr_has("nothing was published");
    assert!(!run.stderr.contains(before.trim()), "the run began after that: {run}");
    nothing_left(&shop);
    // A source.
    while_testing(&shop, &["cp", "cmd/api/main.go", "cmd/api/more_linux.go"]);
    let run = release().code(4);
    assert!(run.stderr.contains("cmd/api/more_linux.go"), "{run}");
    nothing_left(&shop);
    std::fs::remove_file(shop.path("cmd/api/more_linux.go")).unwrap();
    // A file that is no source of theirs stops nothing.
    while_testing(&shop, &["cp", "go.mod", "notes.txt"]);
    release().code(0);
    assert!(registry.tags("team/api").contains(&"0.1.0".to_owned()));
}

#[test]
fn what_is_edited_while_it_is_compiled_is_not_kept() {
    let shop = Repository::new();
    // A `go` that edits a source before it compiles, and undoes that after.
    let folder = tempfile::tempdir().unwrap();
    let go = crate::tool::find("go").unwrap();
    let main = shop.path("cmd/api/main.go");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = build ] && [ -e \"$(dirname $0)/edit\" ] && echo 'var _ = 1' >> {}\nexec {} \"$@\"\n",
        main.display(),
        go.display()
    );
    std::fs::write(folder.path().join("go"), script).unwrap();
    std::fs::write(folder.path().join("edit"), "").unwrap();
    crate::process::run("chmod", ["+x".as_ref(), folder.path().join("go").as_os_str()]);
    let path = std::env::join_paths([folder.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    let original = shop.read("cmd/api/main.go");
    let shop = shop.env("PATH", path);
    shop.longshore(&["build"]).code(4).stderr_has("`cmd/api/main.go` was changed while it was compiled");
    std::fs::remove_file(folder.path().join("edit")).unwrap();
    shop.write("cmd/api/main.go", original);
    // Compiled again: nothing was kept under the key of what was committed.
    let run = shop.longshore(&["build"]).code(0);
    assert!(!run.stderr.contains("cached build"), "{run}");
}

#[test]
fn a_shallow_clone_never_starts_over() {
    let shop = Repository::new();
    shop.remote();
    shop.quick(&[]).code(0);
    shop.commit("docs: one");
    shop.append("cmd/api/main.go", "\n// A comment.\n").commit("feat: more");
    shop.git(["push", "--quiet", "origin", "main"]);
    let shallow = shop.clone_with(&["--depth=1"]);
    shallow.longshore(&["build"]).code(0);
    assert!(shallow.artifacts()["services"]["web"].is_object(), "all are affected");
    // The clone can be deepened, and then versions follow from the whole history; else it is said how.
    let run = shallow.quick(&[]);
    match run.code {
        0 => assert_eq!(
            shallow.artifacts()["services"]["api"]["version"],
            "0.1.0",
            "the ledger was local: {run}"
        ),
        code => assert!(code == 4 && run.stderr.contains("git fetch --unshallow"), "{run}"),
    }
    // Nothing can be fetched.
    let shallow = shop.clone_with(&["--depth=1"]);
    shallow.git(["remote", "set-url", "origin", "file:///nowhere"]);
    shallow.quick(&[]).code(4).stderr_has("shallow");
}

#[test]
fn hostile_names_are_data() {
    let Some(registry) = Registry::start() else { return };
    let shop = Repository::new();
    shop.dev(&registry.host());
    shop.remote();
    shop.write("-n", "a file\n").write("$(touch owned)", "a file\n").write("a\nb", "a file\n");
    std::fs::File::create(shop.root().join(std::ffi::OsStr::from_bytes(b"not-\xff-utf8"))).unwrap();
    shop.commit("feat: $(touch owned) `touch owned` --output=owned");
    shop.git(["checkout", "--quiet", "-b", "a$(touch${IFS}owned)"]);
    shop.git(["push", "--quiet", "origin", "HEAD"]);
    shop.git(["update-ref", "refs/tags/-x", "HEAD"]);
    shop.git(["update-ref", "refs/tags/api/v$(id)", "HEAD"]);
    shop.git(["update-ref", "refs/tags/api/vnonsense", "HEAD"]);
    shop.quick(DEV).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.1.0");
    for folder in [shop.root(), shop.root().parent().unwrap()] {
        assert!(!folder.join("owned").exists());
    }
    // Values too, in argv and in the image.
    shop.edit("pipeline.toml", "APP_ENV = \"development\"", "APP_ENV = \"-x $(touch owned)\\nX=1\"");
    shop.commit("feat: other values");
    shop.quick(DEV).code(0);
    assert!(!shop.path("owned").exists());
}

#[test]
fn no_identity_is_needed() {
    let Some(registry) = Registry::start() else { return };
    let shop = shop_with(&registry);
    // The harness' home has none; Git must not guess one from the machine either.
    shop.git(["config", "user.useConfigOnly", "true"]);
    shop.quick(DEV).code(0);
    assert!(shop.git(["cat-file", "tag", "api/v0.1.0"]).contains("\ntagger "));
}

#[test]
fn pointers_that_are_not_resolved_are_refused() {
    let shop = Repository::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    shop.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    shop.write("pkg/store/data.bin", pointer).commit("feat: data");
    let run = shop.quick(&[]).code(4);
    assert!(run.stderr.contains("data.bin"), "{run}");
}

#[test]
fn a_registry_that_stumbles_gets_the_release_all_the_same() {
    let Some(registry) = Registry::start() else { return };
    let proxy = Proxy::before(registry.port(), |request, before| match before {
        1 => Fault::Answer("500 Internal Server Error", Vec::new()),
        4 => Fault::Answer("429 Too Many Requests", vec!["Retry-After: 35.852µs".to_owned()]),
        6 => Fault::Answer("503 Service Unavailable", Vec::new()),
        _ if request.starts_with("PATCH ") && before < 12 => Fault::CutRequest(1000),
        _ => Fault::None,
    });
    let shop = Repository::new();
    shop.dev(&proxy.host());
    shop.remote();
    shop.quick(DEV).code(0);
    assert!(proxy.spoilt() >= 3, "{proxy:?}");
    assert!(registry.tags("team/api").contains(&"0.1.0".to_owned()));
}

#[test]
fn a_registry_that_stays_down_is_outside() {
    let Some(registry) = Registry::start() else { return };
    let proxy = Proxy::before(registry.port(), |_, _| Fault::Answer("500 Internal Server Error", Vec::new()));
    let shop = Repository::new();
    shop.append("pipeline.toml", "\n[stages.push]\nretries = 1\n").dev(&proxy.host());
    shop.remote();
    shop.quick(DEV).code(6);
    assert!(!shop.git(["ls-remote", "origin"]).contains("refs/longshore"));
    assert!(registry.tags("team/api").is_empty());
}

#[test]
fn a_credential_helper_that_is_missing_is_named() {
    let Some(registry) = Registry::with_password() else { return };
    let shop = shop_with(&registry);
    std::fs::create_dir_all(shop.docker_config()).unwrap();
    let config = serde_json::json!({ "credHelpers": { registry.host(): "not-there" } });
    std::fs::write(shop.docker_config().join("config.json"), config.to_string()).unwrap();
    shop.quick(DEV).code(4).stderr_has("docker-credential-not-there");
    registry.log_in(&shop.docker_config());
    shop.quick(DEV).code(0);
    assert!(registry.tags("team/api").contains(&"0.1.0".to_owned()));
}

#[test]
fn a_registry_of_this_machine_has_tls_where_that_is_declared() {
    let Some(registry) = Registry::with_tls() else { return };
    let declared = format!("https://{}", registry.host());
    let shop = Repository::new();
    shop.dev(&declared);
    shop.remote();
    shop.quick(DEV).code(4).stderr_has("SSL_CERT_FILE");
    let shop = shop.env("SSL_CERT_FILE", registry.certificate());
    shop.quick(DEV).code(0);
    assert_eq!(
        registry.tags("team/api"),
        ["0.1.0", &format!("sha-{}", shop.git(["rev-parse", "HEAD"]).trim())]
    );
    let Some(plain) = Registry::start() else { return };
    let shop = Repository::new();
    shop.dev(&format!("https://{}", plain.host()));
    shop.remote();
    shop.quick(DEV).code(4).stderr_has("can't be reached safely");
}

#[test]
fn a_registry_with_tokens_takes_the_release() {
    let Some(registry) = Registry::with_tokens() else { return };
    let shop = shop_with(&registry);
    registry.log_in(&shop.docker_config());
    shop.quick(DEV).code(0);
    assert!(registry.tags("team/web").contains(&"0.1.0".to_owned()));
}

#[test]
fn check_tells_every_fault_with_its_place() {
    let shop = Repository::new();
    shop.longshore(&["check"]).code(0);
    // A mark at the beginning and other line ends are fine.
    let good = shop.read("pipeline.toml");
    shop.write("pipeline.toml", format!("\u{feff}{}", good.replace('\n', "\r\n")));
    shop.longshore(&["check"]).code(0);
    std::os::unix::fs::symlink("/etc", shop.path("cmd/out")).unwrap();
    shop.write("pipeline.toml", FAULTY);
    shop.write("environments/a.toml", "inherits = \"b\"\n");
    shop.write("environments/b.toml", "inherits = \"a\"\n[build-args]\nNOBODY = \"1\"\n");
    shop.write("environments/c.toml", "inherits = \"zz\"\n");
    for command in ["check", "plan", "release", "build", "status", "setup"] {
        let run = shop.longshore(&[command]).code(2);
        for (place, words) in FAULTS {
            let located =
                run.stderr.split("\n\n").any(|fault| fault.contains(place) && fault.contains(words));
            assert!(located, "{place} {words}: {run}");
        }
        assert!(run.stderr.contains("^") && !run.stderr.contains("ghp_"), "{run}");
    }
    shop.longshore(&["check"]).stderr_has(&format!("{} faults in ", FAULTS.len()));
    for bytes in
        [b"\xff\xfex".to_vec(), format!("x = {}", "[".repeat(20_000)).into_bytes(), vec![b'#'; 50 << 20]]
    {
        shop.write("pipeline.toml", bytes);
        let run = shop.longshore(&["check"]).code(2);
        assert!(run.stderr.contains("pipeline.toml") && run.stderr.len() < 4000, "{run}");
    }
    shop.write("pipeline.toml", "version = 1\n[project\nname = 3\n");
    shop.longshore(&["check"]).code(2).stderr_has("pipeline.toml:2:9");
}

const FAULTY: &str = r#"version = 1
[project]
name = "shop"
registry = "http://[::bad/x"
platforms = ["linux/amd64", "linux/z80"]
environment = "nowhere"
tag = "{service}/v{version}+x"
[tools]
trivvy = "0.69.3"
[image]
base = "debian@sha256:zz"
[stages.scan]
version = 99
timeout = "5 parsecs"
[stages.nonsense]
enabled = true
[stages.push]
chunk = "8 potatoes"
[services.api]
package = "../x"
needs = ["web"]
build-args = { API_TOKEN = "x", GH = "ghp_0123456789abcdefghijABCDEFGHIJ012345" }
[services.web]
package = "/etc"
needs = ["api"]
[services.out]
package = "cmd/out"
[services.API]
package = "cmd/api"
[services.web]
labels = { x = 1 }
"#;

/// Where each fault is, and words of its message.
const FAULTS: &[(&str, &str)] = &[
    ("pipeline.toml:4:12", "is not a registry's host"),
    ("pipeline.toml:5:29", "z80"),
    ("pipeline.toml:6:15", "there is no environment `nowhere`"),
    ("pipeline.toml:7:28", "a `+` can't be in a tag"),
    ("pipeline.toml:9:1", "did you mean `trivy`?"),
    ("pipeline.toml:11:16", "is not a digest"),
    ("pipeline.toml:13:11", "newer than this build"),
    ("pipeline.toml:14:11", "is not a duration"),
    ("pipeline.toml:15:9", "unknown key `nonsense`"),
    ("pipeline.toml:18:9", "is not a size"),
    ("pipeline.toml:19:11", "have one image repository"),
    ("pipeline.toml:20:11", "leads out of the repository"),
    ("pipeline.toml:21:10", "services that need each other"),
    ("pipeline.toml:22:16", "named like a secret"),
    ("pipeline.toml:22:33", "looks like a GitHub token"),
    ("pipeline.toml:24:11", "is absolute"),
    ("pipeline.toml:27:11", "a symlink leads to"),
    ("pipeline.toml:28:11", "can't name a service"),
    ("pipeline.toml:30:11", "duplicate key `web`"),
    ("pipeline.toml:31:16", "labels"),
    ("environments/a.toml:1:12", "inherit each other: a -> b -> a"),
    ("environments/b.toml:3:10", "no service declares build-arg `NOBODY`"),
    ("environments/c.toml:1:12", "which is not there"),
];

#[test]
fn paths_on_the_command_line_are_taken_from_the_folder_of_dash_c() {
    let shop = Repository::new();
    let other = shop.read("pipeline.toml").replace("\"shop\"", "\"other\"");
    shop.write("other.toml", other).commit("ci: another pipeline");
    let status = shop.longshore(&["-f", "other.toml", "status", "--format", "json"]).code(0).stdout_json();
    assert_eq!(status["project"], "other");
    shop.longshore(&["-f", "../repository/none.toml", "check"]).code(2).stderr_has("none.toml");
    shop.longshore(&["build"]).code(0);
    shop.longshore(&["image"]).code(0);
    std::fs::rename(shop.path("dist"), shop.path("../other")).unwrap();
    shop.longshore(&["push", "--from", "other"]).code(2);
    shop.longshore(&["push", "--from", "../other"]).code(3).stderr_has("was not scanned");
}

#[test]
fn unknown_words_on_the_command_line_are_usage() {
    let shop = Repository::new();
    shop.longshore(&["release", "apu"]).code(2).stderr_has("api");
    shop.longshore(&["release", "--env", "nowhere"]).code(2).stderr_has("nowhere");
    shop.longshore(&["build", "--platform", "linux/z80"]).code(2);
    shop.longshore(&["release", "--snapshot", "--pre", "rc"]).code(2);
    shop.longshore(&["push", "--from", "nowhere"]).code(2).stderr_has("nowhere");
    assert_eq!(succeed(command("git").args(["-C"]).arg(shop.root()).args(["status", "--porcelain"])), "");
}
