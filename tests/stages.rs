//! Stages as processes and machines of their own, as CI runs them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::process::succeed;
use crate::registry::Registry;
use crate::repository::Repository;
use crate::shop::shop_with;

fn dist(shop: &Repository) -> String {
    shop.path("dist").to_str().unwrap().to_owned()
}

#[test]
fn a_build_is_scanned_and_pushed_by_other_machines() {
    let Some(registry) = Registry::start() else { return };
    let Some(builder) = shop_with(&registry).scanner() else { return };
    builder.longshore(&["image", "--env", "dev"]).code(0);
    let wanted = builder.digest("api");

    // Nothing is pushed that no gate has seen.
    let Some(pusher) = builder.clone_of_remote().scanner() else { return };
    pusher.longshore(&["push", "--env", "dev", "--from", &dist(&builder)]).code(3).stderr_has("scan");
    assert!(registry.tags("team/api").is_empty());
    assert!(!registry.log().contains("\"PUT "), "{}", registry.log());

    let Some(scanner) = builder.clone_of_remote().scanner() else { return };
    scanner.longshore(&["scan", "--env", "dev", "--from", &dist(&builder)]).code(0);
    assert_eq!(scanner.digest("api"), wanted);
    let Some(runner) = builder.clone_of_remote().scanner() else { return };
    runner.longshore(&["verify", "--env", "dev", "--from", &dist(&scanner)]).code(0);
    pusher.longshore(&["push", "--env", "dev", "--from", &dist(&runner)]).code(0);
    assert!(registry.log().contains("\"PUT /v2/team/api/manifests/sha256:"), "{}", registry.log());
    assert!(registry.tags("team/api").is_empty(), "push sets no tag");
    pusher.longshore(&["tag", "--env", "dev", "--from", &dist(&pusher)]).code(0);
    assert!(registry.tags("team/api").contains(&"0.1.0".to_owned()));
    assert!(pusher.git(["ls-remote", "origin"]).contains("refs/tags/web/v0.1.0"));
}

#[test]
fn platforms_of_several_machines_become_one_index() {
    let both = Repository::new();
    both.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    both.commit("feat: another platform");
    both.remote();
    both.longshore(&["image", "api"]).code(0);
    let machines = ["linux/amd64", "linux/arm64"].map(|platform| {
        let machine = both.clone_of_remote();
        machine.longshore(&["image", "--platform", platform, "api"]).code(0);
        machine
    });
    let joiner = both.clone_of_remote();
    joiner.longshore(&["image", "api", "--join", &dist(&machines[0]), &dist(&machines[1])]).code(0);
    assert_eq!(joiner.digest("api"), both.digest("api"));
    let platforms = &joiner.artifacts()["services"]["api"]["platforms"];
    assert_eq!(platforms.as_object().unwrap().len(), 2, "{platforms:#}");
    // One of them alone is not what pipeline.toml asks for.
    joiner.longshore(&["image", "api", "--join", &dist(&machines[0])]).code(2).stderr_has("linux/arm64");
}

#[test]
fn variants_share_every_layer_and_compile_nothing() {
    let shop = Repository::new();
    shop.write("environments/local.toml", "");
    let staging = "[services.api.build-args]\nAPP_ENV = \"staging\"\n";
    shop.write("environments/staging.toml", staging).commit("ci: staging");
    shop.longshore(&["image"]).code(0);
    let neutral = shop.digest("api");
    // A second build would be a defect.
    let shop = shop.env("GOFLAGS", "-nonsense");
    shop.longshore(&["image", "--env", "staging", "api"]).code(0);
    assert_eq!(shop.digest("api"), neutral, "the neutral image is the same");
    let index: Value = serde_json::from_str(&shop.read("dist/images/api/index.json")).unwrap();
    let named = |index: &Value, part: &str| -> Option<String> {
        let manifests = index["manifests"].as_array()?;
        let name = |manifest: &&Value| {
            manifest["annotations"]["org.opencontainers.image.ref.name"]
                .as_str()
                .is_some_and(|name| name.contains(part))
        };
        manifests.iter().find(name)?["digest"].as_str().map(str::to_owned)
    };
    let variant = named(&index, "_staging_").unwrap_or_else(|| panic!("{index:#}"));
    let blob = |digest: &str| -> Value {
        serde_json::from_str(&shop.read(&format!("dist/images/api/blobs/sha256/{}", &digest[7..]))).unwrap()
    };
    let manifest = |index: &str| blob(blob(index)["manifests"][0]["digest"].as_str().unwrap());
    let (one, two) = (manifest(&neutral), manifest(&variant));
    assert_eq!(one["layers"], two["layers"]);
    let env =
        |manifest: &Value| blob(manifest["config"]["digest"].as_str().unwrap())["config"]["Env"].to_string();
    assert!(
        env(&one).contains("APP_ENV=development") && env(&two).contains("APP_ENV=staging"),
        "{}",
        env(&two)
    );
}

/// A layout's tags with their digests.
fn tagged(shop: &Repository, service: &str) -> BTreeMap<String, String> {
    let index: Value =
        serde_json::from_str(&shop.read(&format!("dist/images/{service}/index.json"))).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let manifests = index["manifests"].as_array().unwrap().iter();
    let named = manifests.map(|manifest| {
        let name = text(&manifest["annotations"]["org.opencontainers.image.ref.name"]);
        (name, text(&manifest["digest"]))
    });
    named.collect()
}

#[test]
fn several_environments_are_one_run_with_the_same_digests() {
    let shop = Repository::new();
    shop.write("environments/local.toml", "");
    let names = ["e1", "e2", "e3"];
    for name in names {
        let values = format!("[services.api.build-args]\nAPP_ENV = \"{name}\"\n");
        shop.write(&format!("environments/{name}.toml"), values);
    }
    // Its values are those of the image itself: it needs no variant.
    shop.write("environments/same.toml", "");
    shop.commit("ci: environments");
    for name in names {
        shop.longshore(&["image", "--env", name]).code(0);
    }
    let singly = tagged(&shop, "api");
    assert_eq!(singly.len(), 4, "{singly:#?}");
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    let run = shop.longshore(&["image", "-e", "e1,e2", "--env", "same", "-e", "e3", "-e", "e1"]).code(0);
    assert_eq!(tagged(&shop, "api"), singly, "{run}");
    assert_eq!(run.stderr.matches(" build ").count(), 1, "one build: {run}");
    // What can be in one environment alone is.
    for args in [
        &["release"][..],
        &["deploy"],
        &["plan"],
        &["push"],
        &["image", "--output", "docker-daemon:"],
        &["image", "--explain-size", "api"],
    ] {
        shop.longshore(&[args, &["--env", "e1,e2"]].concat())
            .code(2)
            .stderr_has("several environments are named: e1, e2")
            .stderr_has("hint: name one");
    }
    shop.longshore(&["image", "--env", "e1,e4"]).code(2).stderr_has("there is no environment `e4`");
    shop.write("environments/far.toml", "registry = \"registry.example.com/team\"\n");
    shop.longshore(&["image", "--env", "e1,far"]).code(2).stderr_has("different ledgers").stderr_has("hint:");
}

#[test]
fn a_plan_is_what_a_release_does() {
    let shop = Repository::new();
    let plan = shop.longshore(&["plan", "--format", "json"]).code(0).stdout_json();
    assert_eq!(plan["schema"], 1);
    let jobs = plan["jobs"].as_array().unwrap();
    let stages: std::collections::BTreeSet<&str> =
        jobs.iter().filter_map(|job| job["stage"].as_str()).collect();
    assert_eq!(stages, ["build", "image", "lint", "push", "scan", "tag", "test", "verify"].into());
    for job in jobs {
        assert!(["run", "cached", "depends"].contains(&job["state"].as_str().unwrap()), "{job:#}");
        for need in job["needs"].as_array().unwrap() {
            assert!(jobs.iter().any(|other| other["id"] == *need), "{job:#}");
        }
    }
    shop.longshore(&["plan", "--format", "dot"]).code(0).stdout_has("digraph");
    shop.longshore(&["plan", "--format", "mermaid"]).code(0).stdout_has("flowchart");
    shop.longshore(&["release", "--dry-run"]).code(0).stdout_has("go build");
    assert!(!shop.path("dist/artifacts.json").exists(), "nothing ran");
    assert_eq!(succeed(shop.prepared("git").args(["for-each-ref", "refs/longshore"])), "");
}
