//! Environments of containers: a real registry and a Docker daemon of the tests' own.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::deploy::{get, killed_after, wait};
use crate::docker::Dockerd;
use crate::process::{command, free_port, succeed};
use crate::registry::Registry;
use crate::repository::{Repository, Run};
use crate::shop::{QUICK, shop_with};

const READY: &str = "mux.HandleFunc(\"/readyz\", func(http.ResponseWriter, *http.Request) {})";

/// A shop whose environment `dev` is a daemon.
struct Shop {
    repository: Repository,
    docker: Dockerd,
    _registry: Registry,
}

impl Shop {
    fn new() -> Option<Self> {
        let (registry, docker) = (Registry::start()?, Dockerd::start()?);
        let repository = shop_with(&registry).env("DOCKER_HOST", docker.host());
        repository.append(
            "environments/dev.toml",
            "[build-args]\nAPP_ENV = \"team\"\n[deploy]\ndriver = \"docker\"\ntimeout = \"30s\"\n",
        );
        repository.commit("ci: containers");
        repository.git(["push", "--quiet", "origin", "main"]);
        Some(Self { repository, docker, _registry: registry })
    }

    fn run(&self, args: &[&str]) -> Run {
        self.repository.longshore(&[args, &["--env", "dev"]].concat())
    }

    fn release(&self, from: &str, to: &str) {
        self.repository.edit("cmd/api/main.go", from, to);
        self.repository.commit("fix: another one");
        self.run(&["release", "--skip", QUICK]).code(0);
    }

    fn status(&self) -> Value {
        self.run(&["status", "--format", "json"]).code(0).stdout_json()["environments"]["dev"].clone()
    }

    /// What a service answers, where `status` says that it is.
    fn answer(&self, service: &str) -> String {
        let status = self.status();
        let address = status["services"][service]["observed"]["addresses"][0].as_str().unwrap_or_default();
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        get(port.unwrap_or_else(|| panic!("{service} has no address: {status:#}")), "/")
    }

    fn containers(&self) -> usize {
        self.docker.docker(&["ps", "--all", "--quiet"]).lines().count()
    }
}

#[test]
fn containers_come_up_beside_the_old_ones_and_go_back_from_another_clone() {
    let Some(shop) = Shop::new() else { return };
    shop.run(&["release", "--skip", QUICK]).code(0);
    shop.run(&["deploy"]).code(0);
    assert!(shop.answer("api").contains("api 0.1.0 team"), "{}", shop.answer("api"));
    assert!(shop.answer("web").contains("web 0.1.0"));
    let api = &shop.status()["services"]["api"];
    assert_ne!(api["digest"], api["neutral"], "a variant");
    assert_eq!(api["drift"], serde_json::json!([]));
    let web = &shop.status()["services"]["web"];
    assert_eq!(web["digest"], web["neutral"], "nothing to vary");
    shop.release("\"api\", version", "\"next\", version");
    shop.run(&["deploy"]).code(0).stderr_lacks("web");
    assert!(shop.answer("api").contains("next 0.1.1 team"));
    assert_eq!(shop.containers(), 2, "the old one is gone");

    shop.release(READY, "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tfmt.Println(\"no database\")\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})");
    shop.repository.edit("environments/dev.toml", "30s", "3s");
    shop.run(&["deploy"])
        .code(1)
        .stderr_has("answered 503; api 0.1.1 was put back")
        .stderr_has("api | no database");
    assert!(shop.answer("api").contains("next 0.1.1 team"));
    assert_eq!(shop.containers(), 2, "nor is anything left of the new one");
    shop.release(
        "\tport := os",
        "\tfmt.Println(\"no license\")\n\tif len(os.Args) == 1 {\n\t\tos.Exit(3)\n\t}\n\tport := os",
    );
    shop.run(&["deploy"]).code(1).stderr_has("`api` ended by itself: exit status 3").stderr_has("no license");
    assert!(shop.answer("api").contains("next 0.1.1 team"));

    // Another machine: nothing but a clone of the Git remote.
    let other = shop.repository.clone_of_remote().env("DOCKER_HOST", shop.docker.host());
    other.longshore(&["rollback", "api", "--env", "dev"]).code(0);
    assert!(shop.answer("api").contains("api 0.1.0 team"));

    // Behind the ledger's back.
    let name =
        shop.docker.docker(&["ps", "--filter", "label=dev.longshore.service=api", "--format", "{{.Names}}"]);
    shop.docker.docker(&["rm", "--force", name.trim()]);
    shop.run(&["status"]).code(0).stdout_has("dev: api drifts").stdout_has("it does not run");
    shop.run(&["deploy", "api@0.1.0"]).code(0);
    assert!(shop.answer("api").contains("api 0.1.0 team"));
    shop.run(&["logs"]).code(0);
    shop.run(&["down"]).code(0);
    assert_eq!(shop.containers(), 0);
    let networks = shop.docker.docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains("shop-dev"), "{networks}");
}

/// A handler that takes its time, and a service that lets it end.
fn slow(shop: &Repository) {
    let from = "_ = server.Shutdown(context.Background())\n\t}()";
    let to = "_ = server.Shutdown(context.Background())\n\t\tclose(ended)\n\t}()";
    shop.edit("cmd/api/main.go", from, to);
    shop.edit("cmd/api/main.go", "\tgo func() {", "\tended := make(chan struct{})\n\tgo func() {");
    shop.edit("cmd/api/main.go", "\t\tos.Exit(1)\n\t}\n}", "\t\tos.Exit(1)\n\t}\n\t<-ended\n}");
    let handler = format!(
        "{READY}\n\tmux.HandleFunc(\"/slow\", func(http.ResponseWriter, *http.Request) {{ time.Sleep(3 * time.Second) }})"
    );
    shop.edit("cmd/api/main.go", READY, &handler);
    shop.commit("feat: a slow answer");
}

/// An image of the client that asks without a pause: `load:1`.
fn load_image(docker: &Dockerd) {
    let (folder, tar) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/load");
    let mut build = command("go");
    build.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(folder.path().join("load")).arg(".");
    succeed(build.current_dir(source).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", ""));
    succeed(command("tar").arg("-cf").arg(tar.path()).arg("-C").arg(folder.path()).arg("load"));
    docker.docker(&["import", tar.path().to_str().unwrap(), "load:1"]);
}

#[test]
fn a_deploy_of_containers_loses_no_request() {
    let Some(shop) = Shop::new() else { return };
    slow(&shop.repository);
    load_image(&shop.docker);
    shop.run(&["release", "--skip", QUICK, "api"]).code(0);
    shop.run(&["deploy", "api"]).code(0);
    shop.release("\"api\", version", "\"next\", version");
    // As each service of the environment asks, and as somebody else in the network may.
    let own = ["--dns-search", "shop-dev", "--dns-option", "ndots:1", "load:1", "/load", "http://api:8080"];
    let other = ["load:1", "/load", "http://api.shop-dev:8080"];
    let clients = [("own", own.as_slice()), ("other", other.as_slice())];
    for (name, args) in clients {
        let run = ["run", "--detach", "--network", "shop-dev", "--name", name];
        shop.docker.docker(&[run.as_slice(), args].concat());
    }
    std::thread::sleep(Duration::from_secs(1));
    for args in [["deploy", "api"], ["rollback", "api"], ["deploy", "api"]] {
        shop.run(&args).code(0);
    }
    assert!(shop.answer("api").contains("next 0.1.1"), "{}", shop.answer("api"));
    for (name, _) in clients {
        shop.docker.docker(&["stop", "--time", "20", name]);
        let met: Value = serde_json::from_str(&shop.docker.docker(&["logs", name])).unwrap();
        for (way, met) in met.as_object().unwrap() {
            assert_eq!(met["Failed"], serde_json::json!([]), "{name} {way}, of {}", met["Answered"]);
        }
        shop.docker.docker(&["rm", name]);
    }
    shop.run(&["down"]).code(0);
}

#[test]
fn a_killed_deploy_of_containers_leaves_no_half_service() {
    let Some(shop) = Shop::new() else { return };
    shop.run(&["release", "--skip", QUICK]).code(0);
    shop.run(&["deploy", "api"]).code(0);
    shop.release(READY, "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})");
    let mut child = shop.repository.start(&["deploy", "api", "--env", "dev"]);
    wait("the new container", || shop.containers() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(shop.answer("api").contains("api 0.1.0"), "the old one goes on");
    shop.run(&["deploy", "api@0.1.0"]).code(0).stderr_has("was killed: what it left is settled now");
    assert_eq!(shop.containers(), 1);
    assert!(shop.answer("api").contains("api 0.1.0"));
    assert!(shop.status()["holder"].is_null());
    shop.run(&["down"]).code(0);
}

#[test]
fn a_deploy_of_containers_killed_at_any_of_its_steps_is_settled_by_the_next() {
    let Some(shop) = Shop::new() else { return };
    shop.run(&["release", "--skip", QUICK]).code(0);
    shop.release("\"api\", version", "\"next\", version");
    let mut step = 0;
    while killed_after(&shop.repository, &["deploy", "api", "--env", "dev"], step) {
        let (version, expected) = [("0.1.1", "next 0.1.1"), ("0.1.0", "api 0.1.0")][step % 2];
        shop.run(&["deploy", &format!("api@{version}")]).code(0);
        assert!(shop.answer("api").contains(expected), "killed after {step}");
        assert!(shop.status()["holder"].is_null(), "killed after {step}");
        assert_eq!(shop.containers(), 1, "killed after {step}");
        if version == "0.1.1" {
            shop.run(&["deploy", "api@0.1.0"]).code(0);
        }
        step += 1;
    }
    assert!(step > 4, "there are more steps than {step}");
    shop.run(&["down"]).code(0);
}

#[test]
fn a_published_port_changes_hands_with_a_gap_that_is_said() {
    let Some(docker) = Dockerd::start() else { return };
    let repository = Repository::new().env("DOCKER_HOST", docker.host());
    let port = free_port();
    // Images in a folder: the daemon is handed them.
    repository.write(
        "environments/local.toml",
        format!("[secrets]\nTOKEN = \"env\"\n[env]\nAPP_ENV = \"two\\nlines\"\n[deploy]\ndriver = \"docker\"\n[services.api.deploy]\npublish = {port}\nresources = {{ memory-limit = \"64MiB\", cpu = \"0.1\" }}\n"),
    );
    repository.edit(
        "cmd/api/main.go",
        "os.Getenv(\"APP_ENV\")",
        "fmt.Sprintf(\"%q\", os.Getenv(\"APP_ENV\")), os.Getenv(\"TOKEN\")",
    );
    repository.commit("fix: secrets");
    let repository = repository.env("TOKEN", "hunter2-correct");
    repository.quick(&["api"]).code(0);
    repository.longshore(&["deploy"]).code(0).stderr_lacks("gap");
    assert!(get(port, "/").contains("\"two\\nlines\" hunter2-correct"), "{}", get(port, "/"));
    repository.edit("cmd/api/main.go", "\"api\", version", "\"next\", version");
    repository.commit("fix: another one");
    repository.quick(&["api"]).code(0);
    repository.longshore(&["deploy"]).code(0).stderr_has("`api` has a gap while port");
    assert!(get(port, "/").contains("next 0.1.1"), "{}", get(port, "/"));
    repository.longshore(&["rollback"]).code(0);
    assert!(get(port, "/").contains("api 0.1.0"));
    repository.longshore(&["down"]).code(0);
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn without_a_daemon_nothing_is_touched() {
    let repository = Repository::new().env("DOCKER_HOST", "unix:///nowhere/socket");
    repository.write("environments/local.toml", "[deploy]\ndriver = \"docker\"\n");
    repository.commit("ci: containers");
    repository.quick(&["api"]).code(0);
    if crate::tool::tool("docker").is_none() {
        return;
    }
    repository.longshore(&["deploy"]).code(4).stderr_has("no docker daemon answers");
    let status = repository.longshore(&["status"]).code(0);
    assert!(status.stdout.contains("nothing recorded"), "{status}");
}
