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
    shop.edit("pipeline.toml", "platforms = [\"linux/amd64\"]", "platfroms = [\"linux/amd64\"]");
    shop.edit("pipeline.toml", "package = \"cmd/web\"", "package = \"../web\"");
    shop.edit("pipeline.toml", "needs = [\"api\"]", "needs = [\"apu\"]");
    shop.write("environments/local.toml", "inherits = \"dev\"\n");
    shop.write("environments/dev.toml", "inherits = \"local\"\n[build-args]\nNOBODY = \"1\"\n");
    let run = shop.longshore(&["check"]).code(2);
    for part in [
        "pipeline.toml:6:1",
        "platfroms",
        "platforms",
        "../web",
        "apu",
        "environments/",
        "inherits",
        "NOBODY",
    ] {
        assert!(run.stderr.contains(part), "{part}: {run}");
    }
    shop.longshore(&["release"]).code(2);
    shop.write("pipeline.toml", [0xff, 0xfe, b'x']);
    shop.longshore(&["check"]).code(2).stderr_has("UTF-8");
    shop.write("pipeline.toml", format!("x = {}", "[".repeat(20_000)));
    shop.longshore(&["check"]).code(2);
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
