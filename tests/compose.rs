//! Environments of Docker Compose: the generated file, files of the user's own, a Docker daemon of the tests'.

use std::time::Duration;

use serde_json::Value;

use crate::deploy::{get, killed_after};
use crate::docker::Dockerd;
use crate::process::{command, run, succeed};
use crate::repository::Repository;
use crate::tool::tool;

const READY: &str = "mux.HandleFunc(\"/readyz\", func(http.ResponseWriter, *http.Request) {})";

/// Beside `api`, a container that ends before it starts, as one that migrates a database.
const EXTRA: &str = "services:
  migrate:
    image: tool:1
    command: [\"/busybox\", \"sh\", \"-c\", \"echo migrating; exit 0\"]
  api:
    depends_on:
      migrate: {condition: service_completed_successfully}
";

/// `api` in the environment `local`, through Compose.
struct Shop {
    repository: Repository,
    docker: Dockerd,
}

impl Shop {
    fn new(options: &str) -> Option<Self> {
        let docker = Dockerd::start()?;
        let (_, busybox) = (tool("docker-compose")?, tool("busybox")?);
        let repository = Repository::new()
            .env("DOCKER_HOST", docker.host())
            .env("TOKEN", "hunter2-correct")
            .env("KEY", "k-$HOME-ey");
        repository.write(
            "environments/local.toml",
            format!("[secrets]\nTOKEN = \"env\"\nKEY = \"env\"\n[env]\nAPP_ENV = \"a$HOME\"\n[deploy]\ndriver = \"compose\"\ntimeout = \"30s\"\n[deploy.compose]\n{options}"),
        );
        repository.write("extra.yaml", EXTRA);
        let (folder, tar) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::copy(busybox, folder.path().join("busybox")).unwrap();
        succeed(command("tar").arg("-cf").arg(tar.path()).arg("-C").arg(folder.path()).arg("busybox"));
        docker.docker(&["import", tar.path().to_str().unwrap(), "tool:1"]);
        Some(Self { repository, docker })
    }

    fn release(&self, from: &str, to: &str) {
        self.repository.edit("cmd/api/main.go", from, to);
        self.repository.commit("fix: another one");
        self.repository.quick(&["api"]).code(0);
    }

    /// What `api` answers, where `status` says that it is.
    #[track_caller]
    fn answer(&self) -> String {
        let status = self.repository.longshore(&["status", "--format", "json"]).code(0).stdout_json();
        let api = &status["environments"]["local"]["services"]["api"];
        let address = api["observed"]["addresses"][0].as_str().unwrap_or_default();
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        get(port.unwrap_or_else(|| panic!("api has no address: {status:#}")), "/")
    }

    fn containers(&self) -> String {
        self.docker.docker(&["ps", "--all", "--format", "{{.Names}}"])
    }
}

#[test]
fn compose_runs_what_is_pinned_and_what_files_of_the_users_add() {
    let Some(shop) = Shop::new("files = [\"extra.yaml\"]\n") else { return };
    let repository = &shop.repository;
    let secrets = "func() string { b, _ := os.ReadFile(os.Getenv(\"TOKEN_FILE\")); k, _ := os.ReadFile(os.Getenv(\"KEY_FILE\")); return string(b) + string(k) + os.Getenv(\"TOKEN\") }()";
    shop.release("os.Getenv(\"APP_ENV\")", &format!("os.Getenv(\"APP_ENV\"), {secrets}"));
    repository.longshore(&["deploy"]).code(0);
    assert!(shop.answer().contains("api 0.1.0 a$HOME hunter2-correctk-$HOME-ey"), "{}", shop.answer());
    assert!(shop.containers().contains("migrate"), "{}", shop.containers());
    let folder = repository.path(".git/longshore/deploy/local");
    let file = std::fs::read_to_string(folder.join("compose.json")).unwrap();
    assert!(file.contains("\"image\": \"sha256:") && !file.contains("hunter2"), "{file}");
    let mode = run("stat", ["--format", "%a", folder.join("secrets/api").to_str().unwrap()]);
    assert_eq!(mode.trim(), "700");
    repository.longshore(&["deploy"]).code(0).stderr_has("everything runs as it is released");

    // One that is not healthy, and one whose container that comes first fails.
    shop.release(READY, "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tfmt.Println(\"no database\")\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})");
    repository.edit("environments/local.toml", "30s", "12s");
    repository
        .longshore(&["deploy"])
        .code(1)
        .stderr_has("answered 503; api 0.1.0 was put back")
        .stderr_has("api | no database");
    assert!(shop.answer().contains("api 0.1.0"), "{}", shop.answer());
    repository.edit("environments/local.toml", "12s", "30s");
    repository.edit("extra.yaml", "exit 0", "exit 3");
    repository
        .longshore(&["deploy"])
        .code(1)
        .stderr_has("which ended by itself: exit status 3; api 0.1.0 was put back")
        .stderr_has("api | migrating");
    assert!(shop.answer().contains("api 0.1.0"), "{}", shop.answer());
    assert_eq!(shop.containers().lines().count(), 2, "{}", shop.containers());

    // The files that it ran with are in the ledger.
    repository.write("extra.yaml", "services:\n  api:\n    working_dir: /\n");
    shop.release(
        "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tfmt.Println(\"no database\")\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})",
        READY,
    );
    repository.longshore(&["deploy"]).code(0);
    assert!(shop.answer().contains("api 0.1.2"), "{}", shop.answer());
    repository.longshore(&["rollback"]).code(0);
    assert!(shop.answer().contains("api 0.1.0"), "{}", shop.answer());
    repository.longshore(&["logs"]).code(0);
    repository.longshore(&["down"]).code(0);
    assert_eq!(shop.containers(), "");
    assert!(!folder.join("secrets/api").exists() && !folder.join("compose.json").exists());
    let networks = shop.docker.docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains("shop-local"), "{networks}");
}

#[test]
fn what_compose_can_not_do_is_said() {
    let Some(shop) = Shop::new("secrets = \"variables\"\nfiles = [\"gone.yaml\"]\n") else { return };
    let repository = &shop.repository;
    shop.release("os.Getenv(\"APP_ENV\")", "os.Getenv(\"TOKEN\"), os.Getenv(\"KEY\")");
    repository.longshore(&["check"]).code(2).stderr_has("could not read `gone.yaml`");
    repository
        .longshore(&["deploy"])
        .code(2)
        .stderr_has("could not read `gone.yaml`")
        .stderr_has("environments/local.toml:");
    repository.write("gone.yaml", "services: [\n");
    repository.longshore(&["deploy"]).code(4).stderr_has("api was taken away");
    assert_eq!(shop.containers(), "");
    repository.write("gone.yaml", "services:\n  api:\n    working_dir: /\n");
    repository.longshore(&["deploy"]).code(0);
    assert!(shop.answer().contains("api 0.1.0 hunter2-correct k-$HOME-ey"), "{}", shop.answer());
    let state = repository.git(["show", "refs/longshore/local/env/local:state.json"]);
    let file = repository.read(".git/longshore/deploy/local/compose.json");
    assert!(!state.contains("hunter2") && !file.contains("hunter2"), "{file}");
    repository.longshore(&["down"]).code(0);
}

#[test]
fn a_deploy_through_compose_killed_at_any_of_its_steps_is_settled_by_the_next() {
    let Some(shop) = Shop::new("") else { return };
    let repository = &shop.repository;
    shop.release("\"api\", version", "\"api\",  version");
    shop.release("\"api\",  version", "\"next\", version");
    let settled = |when: &str, version: &str| {
        repository.longshore(&["deploy", &format!("api@{version}")]).code(0);
        let name = if version == "0.1.1" { "next" } else { "api" };
        assert!(shop.answer().contains(&format!("{name} {version}")), "{when}: {}", shop.answer());
        assert_eq!(shop.containers().lines().count(), 1, "{when}: {}", shop.containers());
        let state = repository.git(["show", "refs/longshore/local/env/local:state.json"]);
        let state: Value = serde_json::from_str(&state).unwrap();
        let api = &state["services"]["api"];
        assert!(state["holder"].is_null() && api["pending"].is_null(), "{when}: {state:#}");
        assert_eq!(api["current"]["workload"]["version"], version, "{when}");
    };
    // From nothing, then over what runs: finished by the same command, or put back to what ran.
    let mut step = 0;
    while killed_after(repository, &["deploy", "api"], step) {
        let when = format!("killed after {step} events");
        settled(&when, ["0.1.1", "0.1.0"][step % 2]);
        settled(&when, "0.1.0");
        step += 1;
    }
    assert!(step > 4, "there are more steps than {step}");
    // While Compose is at work: it is another process, which the next run ends.
    for (turn, milliseconds) in [400, 800, 1200, 1800].into_iter().enumerate() {
        settled("before", "0.1.0");
        let mut child = repository.start(&["deploy", "api"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        settled(&format!("killed after {milliseconds} ms"), ["0.1.1", "0.1.0"][turn % 2]);
    }
    repository.longshore(&["down"]).code(0);
    assert_eq!(shop.containers(), "");
}

#[test]
fn a_service_gets_the_secrets_that_it_names_and_no_other() {
    let Some(shop) = Shop::new("") else { return };
    let repository = &shop.repository;
    repository.edit("pipeline.toml", "needs = [\"api\"]\n", "needs = [\"api\"]\nsecrets = []\n");
    let named = "[services.api]\nsecrets = [\"TOKEN\"]\n";
    repository.edit("pipeline.toml", "[services.api]\n", &named.replace("TOKEN", "TOKENS"));
    repository
        .longshore(&["check"])
        .code(2)
        .stderr_has("no environment has a secret `TOKENS`")
        .stderr_has("did you mean `TOKEN`?");
    repository.edit("pipeline.toml", "TOKENS", "TOKEN");
    repository.commit("ci: secrets");
    repository.quick(&[]).code(0);
    let folder = repository.path(".git/longshore/deploy/local/secrets");
    repository.longshore(&["deploy"]).code(0);
    let written = |service: &str| run("find", [folder.join(service).to_str().unwrap(), "-type", "f"]);
    assert_eq!(written("api").lines().count(), 1, "{}", written("api"));
    assert!(written("api").trim().ends_with("api/TOKEN") && !folder.join("web").exists());
    let mounts = |service: &str| {
        let label = format!("label=dev.longshore.service={service}");
        let id = shop.docker.docker(&["ps", "--quiet", "--filter", &label]);
        shop.docker.docker(&["inspect", "--format", "{{json .Mounts}} {{json .Config.Env}}", id.trim()])
    };
    assert!(mounts("api").contains("TOKEN") && !mounts("api").contains("KEY"), "{}", mounts("api"));
    assert!(!mounts("web").contains("TOKEN") && !mounts("web").contains("KEY"), "{}", mounts("web"));
    // A service that no longer names one loses it; the same of plain containers, in variables.
    repository.edit("pipeline.toml", "secrets = [\"TOKEN\"]", "secrets = [\"KEY\"]");
    repository
        .longshore(&["deploy", "--dry-run"])
        .code(0)
        .stdout_has("secret KEY is new")
        .stdout_has("secret TOKEN is gone");
    repository.longshore(&["deploy"]).code(0);
    assert!(mounts("api").contains("KEY") && !mounts("api").contains("TOKEN"), "{}", mounts("api"));
    repository.longshore(&["down"]).code(0);
    repository.edit("environments/local.toml", "\"compose\"", "\"docker\"");
    repository.longshore(&["deploy"]).code(0);
    assert!(mounts("api").contains("KEY=k-") && !mounts("api").contains("TOKEN"), "{}", mounts("api"));
    assert!(!mounts("web").contains("KEY"), "{}", mounts("web"));
    repository.longshore(&["down"]).code(0);
}
