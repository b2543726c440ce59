//! `status`, `doctor` and `setup` from the command line.

use crate::repository::Repository;

#[test]
fn a_new_repository_has_nothing_released_and_says_what_a_release_would_do() {
    let repository = Repository::new();
    let run = repository.longshore(&["status", "--format", "json"]).code(0);
    let status = run.stdout_json();
    assert_eq!(status["schema"], 1);
    assert_eq!(status["project"], "shop");
    assert_eq!(status["dirty"], false);
    for service in ["api", "web"] {
        let service = &status["services"][service];
        assert!(service["last"].is_null() && service["since"].is_null(), "{service}");
        assert_eq!(service["next"]["action"], "release");
        assert_eq!(service["next"]["version"], "0.1.0");
        assert_eq!(service["commits"][0]["subject"], "feat: a shop");
    }
    assert_eq!(status["environments"]["local"]["recorded"], "nothing");
    repository
        .longshore(&["status", "api"])
        .code(0)
        .stdout_has("0.1.0 (the first)")
        .stdout_has("oci:dist/oci")
        .stdout_has("nothing recorded");
}

#[test]
fn status_follows_tags_commits_and_uncommitted_inputs() {
    let repository = Repository::new();
    let first = repository.git(["rev-parse", "HEAD"]);
    for tag in ["api/v1.2.0", "web/v1.0.0"] {
        repository.git(["tag", tag]);
    }
    repository.append("pkg/store/store.go", "\n// Size is a number.\nconst Size = 1\n");
    repository.commit("feat: a size");
    repository.append("pkg/shared/shared.go", "\n// More is a number.\nconst More = 1\n");
    repository.write("README.md", "a shop\n");
    let before = repository.git(["for-each-ref"]) + &repository.git(["status", "--porcelain"]);
    let status = repository.longshore(&["status", "--format", "json"]).code(0).stdout_json();
    assert_eq!(status["dirty"], true);
    let (api, web) = (&status["services"]["api"], &status["services"]["web"]);
    assert_eq!(api["last"]["version"], "1.2.0");
    assert_eq!(api["last"]["commit"], first.trim());
    assert_eq!(api["next"]["version"], "1.3.0");
    assert_eq!(api["next"]["step"], "minor");
    assert_eq!(api["commits"].as_array().unwrap().len(), 1);
    assert_eq!(api["dirty"], serde_json::json!(["pkg/shared/shared.go"]));
    assert_eq!(web["next"]["action"], "nothing");
    assert_eq!(web["commits"], serde_json::json!([]));
    assert_eq!(web["dirty"], serde_json::json!(["pkg/shared/shared.go"]));
    let after = repository.git(["for-each-ref"]) + &repository.git(["status", "--porcelain"]);
    assert_eq!(before, after, "status changes nothing");
}

#[test]
fn a_tag_that_is_no_version_blocks_a_release_and_not_the_status() {
    let repository = Repository::new();
    repository.git(["tag", "web/v1.0.0+x"]);
    let status = repository.longshore(&["status", "--format", "json"]).code(0).stdout_json();
    assert!(status["blocked"].as_str().unwrap().contains("web/v1.0.0+x"), "{status:#}");
    assert_eq!(status["services"]["web"]["next"]["action"], "unknown");
    assert_eq!(status["environments"]["local"]["recorded"], "nothing");
    repository.longshore(&["status"]).code(0).stdout_has("web/v1.0.0+x");
    repository.longshore(&["release"]).code(2).stderr_has("web/v1.0.0+x");
    repository.longshore(&["build", "--snapshot"]).code(0);
}

#[test]
fn what_go_cannot_load_is_told_in_its_words_with_the_place() {
    let repository = Repository::new();
    let main = repository.read("cmd/api/main.go");
    let broken = |from: &str, to: &str| {
        repository.write("cmd/api/main.go", main.replace(from, to));
    };
    broken("\t\"os\"\n", "\t\"os\"\n\t\"example.com/shop/pkg/nowhere\"\n");
    for command in ["plan", "status"] {
        let run = repository.longshore(&[command]).code(1);
        assert!(run.stderr.contains("cmd/api/main.go:10:2: ") && run.stderr.contains("pkg/nowhere"), "{run}");
    }
    broken("\t\"os\"\n", "\t\"os\"\n\t\"golang.org/x/nowhere\"\n");
    repository.append("go.mod", "\nrequire golang.org/x/nowhere v1.0.0\n");
    repository.write("go.sum", "golang.org/x/nowhere v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ngolang.org/x/nowhere v1.0.0/go.mod h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let repository = repository.env("GOPROXY", "off");
    repository.longshore(&["plan"]).code(4).stderr_has("GOPROXY");
    let repository = repository.env("GOPROXY", "http://127.0.0.1:1");
    repository.longshore(&["plan"]).code(6).stderr_has("GOPROXY");
    repository.write("go.mod", "module example.com/shop\n\ngo 1.26.0\n\nnonsense x\n");
    repository.longshore(&["plan"]).code(1).stderr_has("go.mod:5: unknown directive: nonsense");
}

#[test]
fn an_unknown_service_is_a_usage_error_with_the_likely_one() {
    let repository = Repository::new();
    repository.longshore(&["status", "wep"]).code(2).stderr_has("did you mean `web`?");
}

#[test]
fn offline_says_how_old_it_is_and_an_unreachable_remote_hides_nothing_else() {
    let repository = Repository::new();
    repository.write("environments/local.toml", "");
    repository.write("environments/prod.toml", "registry = \"registry.example.com/shop\"\n");
    repository.commit("chore: environments");
    // There is no remote: what this clone knows is shown all the same.
    let status = repository.longshore(&["status", "--format", "json"]).code(0).stdout_json();
    assert_eq!(status["environments"]["prod"]["recorded"], "unknown");
    assert_eq!(status["environments"]["local"]["recorded"], "nothing");
    repository.longshore(&["-e", "prod", "--offline", "status"]).code(4).stderr_has("--offline");
    repository.remote();
    let status = repository.longshore(&["-e", "prod", "status", "--format", "json"]).code(0).stdout_json();
    assert_eq!(status["environments"]["prod"]["recorded"], "nothing");
    assert!(status["age"].is_null());
    let run = repository.longshore(&["-e", "prod", "--offline", "status", "--format", "json"]).code(0);
    assert!(run.stdout_json()["age"].is_u64(), "{run}");
    repository.longshore(&["-e", "prod", "--offline", "status"]).code(0).stdout_has("the remote as it was");
}

#[test]
fn doctor_tells_what_is_broken_and_goes_on() {
    let repository = Repository::new();
    let run = repository.longshore(&["doctor", "--offline", "--format", "json"]);
    let found = run.stdout_json();
    let names: Vec<&str> =
        found["checks"].as_array().unwrap().iter().filter_map(|check| check["name"].as_str()).collect();
    assert!(names.contains(&"git") && names.contains(&"go"), "{names:?}");
    repository.edit("pipeline.toml", "version = 1", "version = 1\nversoin = 2");
    repository.longshore(&["doctor", "--offline"]).code(4).stdout_has("configuration").stdout_has("git ");
}

#[test]
fn doctor_asks_the_remotes_of_an_environment_that_has_some() {
    let repository = Repository::new();
    repository.write("environments/local.toml", "");
    repository.write("environments/prod.toml", "registry = \"127.0.0.1:1/shop\"\n");
    let run = repository.longshore(&["doctor", "-e", "prod"]).code(4);
    assert!(run.stdout.contains("MISSING  registry 127.0.0.1:1/shop"), "{run}");
    assert!(run.stdout.contains("MISSING  git remote origin"), "{run}");
}

#[test]
fn setup_prints_what_there_is_and_names_what_can_t_be_had() {
    let repository = Repository::new();
    repository.edit("pipeline.toml", "trivy = \"0.69.3\"\n", "");
    repository.longshore(&["setup"]).code(0).stdout_has("TOOL").stdout_has("go");
    repository.edit("pipeline.toml", "[tools]\n", "[tools]\ngo = \"1.99.99\"\n");
    repository.longshore(&["setup", "--offline"]).code(4).stderr_has("hint: run `setup` once");
    repository.edit("pipeline.toml", "go = \"1.99.99\"\n", "golangci-lint = \"2.99.99\"\n");
    repository.longshore(&["setup", "--offline"]).code(4).stderr_has("golangci-lint 2.99.99");
}

#[test]
fn a_switch_in_a_variable_takes_the_usual_words_and_an_empty_variable_is_none() {
    let repository = Repository::new();
    repository.write("environments/local.toml", "");
    repository.write("environments/prod.toml", "registry = \"registry.example.com/shop\"\n");
    for word in ["1", "true", "yes"] {
        let repository = Repository::new().env("LONGSHORE_OFFLINE", word);
        repository.edit("pipeline.toml", "trivy = \"0.69.3\"", "golangci-lint = \"2.99.99\"");
        repository.longshore(&["setup"]).code(4).stderr_has("run `setup` once without `--offline`");
    }
    let repository =
        repository.env("LONGSHORE_OFFLINE", "").env("LONGSHORE_ENV", "").env("LONGSHORE_JOBS", "");
    repository.longshore(&["status"]).code(0);
    repository.env("LONGSHORE_OFFLINE", "perhaps").longshore(&["status"]).code(2);
}
