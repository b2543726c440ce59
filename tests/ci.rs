//! Workflow files: what they say is what runs, checked by the provider's own linter, and played here.

use serde_json::Value;

use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::shop::QUICK;
use crate::tool::{skip, user_cache};

fn shop(host: &str) -> Repository {
    let shop = Repository::new();
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    shop.write("environments/local.toml", "");
    let deploy = "[deploy]\ndriver = \"kubernetes\"\n[secrets]\nTOKEN = \"env\"\n";
    shop.write("environments/staging.toml", format!("registry = \"{host}/staging\"\n{deploy}"));
    let prod = "inherits = \"staging\"\n[deploy]\nrequire-approval = true\n";
    shop.write("environments/prod.toml", prod);
    shop.commit("ci: environments");
    shop.remote();
    shop
}

#[test]
fn a_workflow_for_github_is_one() {
    let shop = shop("ghcr.io");
    shop.longshore(&["init", "--ci", "github"]).code(0).stderr_has("wrote .github/workflows/release.yml");
    let path = ".github/workflows/release.yml";
    let text = shop.read(path);
    for part in
        ["cargo xtask promote --from staging --to prod", "tags: [\"*/v*\"]", "TOKEN: ${{ secrets.TOKEN }}"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("--approve"), "no job agrees to what it does: {text}");
    // Written once: what the user changes stays.
    shop.longshore(&["init", "--ci", "github"]).code(0).stderr_has("as it should be");
    shop.append(path, "# mine\n")
        .longshore(&["init", "--ci", "github"])
        .code(2)
        .stderr_has("says something else");
    assert!(shop.read(path).ends_with("# mine\n"));
    let actionlint = user_cache().join("longshore/test-tools/actionlint-v1.7.12/actionlint");
    if !actionlint.is_file() {
        return skip("actionlint is not installed");
    }
    succeed(command(actionlint).args(["-no-color", "-shellcheck=", "-pyflakes="]).arg(shop.path(path)));
}

#[test]
fn a_pipeline_for_gitlab_calls_the_stages() {
    let shop = shop("registry.example.com");
    shop.longshore(&["init", "--ci", "gitlab"]).code(0);
    let text = shop.read(".gitlab-ci.yml");
    for part in
        ["PLATFORM: [\"linux/amd64\", \"linux/arm64\"]", "when: manual", "cargo xtask tag --from dist"]
    {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("--approve"), "{text}");
}

#[test]
fn without_an_environment_to_release_to_nothing_is_written() {
    let shop = Repository::new();
    shop.longshore(&["init", "--ci", "github"]).code(2).stderr_has("which environment CI releases to");
    assert!(!shop.path(".github").exists());
}

#[test]
fn the_jobs_of_a_plans_matrix_make_the_release() {
    let Some(registry) = Registry::start() else { return };
    let shop = shop(&registry.host()).env("TOKEN", "a value of the test");
    let output = shop.path("../output");
    let planner = shop.env("GITHUB_OUTPUT", &output).env("LONGSHORE_ENV", "staging");
    planner.longshore(&["plan", "--skip", QUICK]).code(0);
    let said = std::fs::read_to_string(&output).unwrap();
    assert!(said.contains("changed=true\n"), "{said}");
    let line = said.lines().find_map(|line| line.strip_prefix("matrix=")).unwrap();
    let matrix: Value = serde_json::from_str(line).unwrap();
    let entries = matrix["include"].as_array().unwrap();
    assert_eq!(entries.len(), 4, "{matrix:#}");
    let mut parts = Vec::new();
    for entry in entries {
        let word = |key: &str| entry[key].as_str().unwrap().to_owned();
        let machine = planner.clone_of_remote();
        machine
            .longshore(&["image", "--env", "staging", "--platform", &word("platform"), &word("service")])
            .code(0);
        parts.push(machine);
    }
    let summary = planner.path("../summary");
    let joiner = planner.clone_of_remote().env("GITHUB_STEP_SUMMARY", &summary);
    let folders: Vec<String> =
        parts.iter().map(|part| part.path("dist").to_str().unwrap().to_owned()).collect();
    let mut args = vec!["image", "--env", "staging", "--join"];
    args.extend(folders.iter().map(String::as_str));
    joiner.longshore(&args).code(0);
    let services = joiner.artifacts()["services"].clone();
    for name in ["api", "web"] {
        assert_eq!(services[name]["platforms"].as_object().unwrap().len(), 2, "{services:#}");
    }
    assert!(std::fs::read_to_string(&summary).unwrap().contains("api"), "a table in the summary");
    // A fault is told at its place.
    joiner.append("pipeline.toml", "[nonsense]\n");
    let run = joiner.env("GITHUB_ACTIONS", "true").longshore(&["check"]).code(2);
    assert!(run.stderr.contains("::error file=pipeline.toml,line="), "{run}");
}
