//! What `explain` says of a service's jobs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::repository::Repository;

/// The explanation of a service's job, by the beginning of its name.
#[track_caller]
fn explained(shop: &Repository, args: &[&str], job: &str) -> Value {
    let value = shop.longshore(&[&["explain", "--format", "json"], args].concat()).code(0).stdout_json();
    let jobs = value["jobs"].as_array().unwrap().clone();
    let found = jobs.iter().find(|found| found["job"].as_str().unwrap().starts_with(job));
    found.unwrap_or_else(|| panic!("no {job} in {value:#}")).clone()
}

/// Every file below a folder with its size and time.
fn state(folder: &Path) -> BTreeMap<std::path::PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(state(&entry.path()));
        } else {
            found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

#[test]
fn each_changed_input_is_a_line_and_nothing_is_written() {
    let shop = Repository::new();
    let new = shop.longshore(&["explain", "api"]).code(0);
    new.stdout_has("build:.:linux/amd64: never ran here\n").stdout_has("lint:.: never ran here\n");
    shop.longshore(&["release", "--skip", "scan,verify"]).code(0);
    for job in ["lint", "test", "build", "image"] {
        let found = explained(&shop, &["api"], job);
        assert_eq!((&found["verdict"], &found["inputs"]), (&json!("unchanged"), &json!([])), "{found:#}");
    }

    shop.append("pkg/store/store.go", "\nvar More = 1\n").write("pkg/shared/new.go", "package shared\n");
    shop.edit("pipeline.toml", "[services.api]", "[build]\nflags = [\"-gcflags=-l\"]\n\n[services.api]");
    let (before, cache) = (state(shop.root()), state(&shop.cache()));
    let run = shop.longshore(&["explain", "api", "build"]).code(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "build:.:linux/amd64: 3 inputs changed", "{run}");
    assert!(lines[1].starts_with("  pkg/shared/new.go added: "), "{run}");
    assert!(lines[2].starts_with("  pkg/store/store.go changed: ") && lines[2].contains(" → "), "{run}");
    assert_eq!(lines[3], "  build flags changed: \"\" → -gcflags=-l");
    assert_eq!(lines.len(), 4, "{run}");
    let image = explained(&shop, &["api", "image"], "image:api:linux/amd64");
    assert_eq!(image["inputs"][0]["to"], "not built yet", "{image:#}");
    // web does not import the store.
    let web = explained(&shop, &["web", "build"], "build");
    let names: Vec<&str> =
        web["inputs"].as_array().unwrap().iter().map(|input| input["input"].as_str().unwrap()).collect();
    assert_eq!(names, ["pkg/shared/new.go", "build flags"]);
    assert!(state(shop.root()) == before, "something was written");
    assert!(state(&shop.cache()) == cache, "something was written into the cache");

    shop.git(["checkout", "--", "."]);
    std::fs::remove_file(shop.path("pkg/shared/new.go")).unwrap();
    assert_eq!(explained(&shop, &["api"], "build")["verdict"], "unchanged");
    shop.longshore(&["explain", "apy"]).code(2).stderr_has("did you mean `api`");
}

#[test]
fn a_lost_cache_and_an_unknown_input_are_told() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    std::fs::remove_dir_all(shop.cache().join("longshore/store")).unwrap();
    let lost = shop.longshore(&["explain", "api", "build"]).code(0);
    lost.stdout_has("build:.:linux/amd64: nothing changed; no longer in the cache\n");
    shop.edit("pipeline.toml", "[services.api]", "[build]\ncgo = true\n\n[services.api]");
    assert_eq!(explained(&shop, &["api"], "build")["verdict"], "always-runs");
}
