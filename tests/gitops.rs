//! Manifests in a Git repository that a cluster follows: real bare repositories, writers that race, and a
//! controller that is played by kubectl.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{ask, cluster};
use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;

/// A bare repository with one commit on `main`.
fn repository(folder: &Path) -> PathBuf {
    let bare = folder.join("ops.git");
    succeed(command("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&bare));
    let work = folder.join("first");
    succeed(command("git").args(["clone", "--quiet"]).arg(&bare).arg(&work));
    std::fs::write(work.join("README.md"), "Operations.\n").unwrap();
    commit(&work, "first");
    succeed(git(&work).args(["push", "--quiet", "origin", "HEAD:main"]));
    bare
}

fn git(work: &Path) -> Command {
    let mut git = command("git");
    git.arg("-C").arg(work).args(["-c", "user.name=Bob", "-c", "user.email=bob@example.com"]);
    git
}

fn commit(work: &Path, message: &str) {
    succeed(git(work).args(["add", "--all"]));
    succeed(git(work).args(["commit", "--quiet", "--message", message]));
}

fn environment(host: &str, bare: &Path) -> String {
    format!(
        "registry = \"{host}/ops\"\n[deploy]\ndriver = \"gitops\"\ntimeout = \"60s\"\n[deploy.gitops]\nrepository = \"{}\"\n",
        bare.display()
    )
}

fn show(bare: &Path, what: &str) -> String {
    succeed(git(bare).args(["show", what]))
}

#[test]
fn manifests_of_two_environments_and_another_writer_all_arrive() {
    let Some(registry) = Registry::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bare = repository(folder.path());
    let shop = Repository::new().env("KUBECONFIG", "/nonexistent");
    shop.write("environments/local.toml", "");
    for name in ["one", "two"] {
        shop.write(&format!("environments/{name}.toml"), environment(&registry.host(), &bare));
    }
    shop.commit("ci: environments");
    shop.remote();
    shop.quick(&["--env", "one", "api"]).code(0);
    let start = |name: &str| {
        let mut child = shop.start(&["deploy", "--env", name, "api"]);
        child.stdout.take();
        child
    };
    let mut children = [start("one"), start("two")];
    // Somebody else pushes all the time, and loses races too.
    let other = folder.path().join("other");
    succeed(command("git").args(["clone", "--quiet"]).arg(&bare).arg(&other));
    let mut pushed = 0;
    while pushed < 5 || children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        std::fs::write(other.join("notes.txt"), format!("{pushed}\n")).unwrap();
        commit(&other, &format!("note {pushed}"));
        while !git(&other)
            .args(["push", "--quiet", "origin", "HEAD:main"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            succeed(git(&other).args(["pull", "--quiet", "--rebase", "origin", "main"]));
        }
        pushed += 1;
        std::thread::sleep(Duration::from_millis(700));
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("can't be asked"), "{said}");
    }
    let subjects = succeed(git(&bare).args(["log", "--format=%s", "main"]));
    assert_eq!(subjects.lines().count(), pushed + 3, "{subjects}");
    for name in ["one", "two"] {
        assert!(subjects.contains(&format!("deploy({name}): api 0.1.0")), "{subjects}");
        let manifest = show(&bare, &format!("main:environments/{name}/api.yaml"));
        assert!(manifest.contains(&format!("@{}", shop.digest("api"))), "{manifest}");
        let application = show(&bare, &format!("main:argocd/shop-{name}.yaml"));
        assert!(application.contains("kind: Application"), "{application}");
        assert!(show(&bare, &format!("main:flux/shop-{name}.yaml")).contains("kind: Kustomization"));
    }
    // Nothing changed: no commit. Then another version, its difference first.
    let tip = succeed(git(&bare).args(["rev-parse", "main"]));
    shop.longshore(&["deploy", "--env", "one", "api"]).code(0);
    assert_eq!(succeed(git(&bare).args(["rev-parse", "main"])), tip);
    shop.append("cmd/api/main.go", "\n// More.\n").commit("feat(api): more");
    shop.quick(&["--env", "one", "api"]).code(0);
    let run = shop.longshore(&["deploy", "--env", "one", "api", "--dry-run"]).code(0);
    assert!((run.stdout.clone() + &run.stderr).contains("app.kubernetes.io/version: \"0.2.0\""), "{run}");
    assert_eq!(succeed(git(&bare).args(["rev-parse", "main"])), tip);
    shop.longshore(&["deploy", "--env", "one", "api"]).code(0);
    shop.longshore(&["rollback", "--env", "one", "api"]).code(0);
    let back = show(&bare, "main:environments/one/api.yaml");
    assert!(back.contains("app.kubernetes.io/version: \"0.1.0\""), "{back}");
    shop.longshore(&["down", "--env", "one", "api"]).code(0);
    let files = succeed(git(&bare).args(["ls-tree", "-r", "--name-only", "main"]));
    assert!(
        !files.contains("environments/one/api.yaml") && files.contains("environments/two/api.yaml"),
        "{files}"
    );
    // A secret is never committed.
    shop.append("environments/two.toml", "[secrets]\nTOKEN = \"env\"\n").commit("ci: a secret");
    let shop = shop.env("TOKEN", "s3cret-value-of-the-test");
    shop.longshore(&["deploy", "--env", "two", "api"]).code(2).stderr_has("can't be committed");
}

#[test]
fn a_deploy_ends_when_the_controller_has_applied_it() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bare = repository(folder.path());
    let shop = cluster.shop("ops", "");
    shop.write("environments/ops.toml", environment(crate::cluster::REGISTRY, &bare)).commit("ci: gitops");
    shop.quick(&["--env", "ops", "api"]).code(0);
    let mut child = shop.start(&["deploy", "--env", "ops", "api"]);
    child.stdout.take();
    let begin = Instant::now();
    let path = "main:environments/ops/api.yaml";
    while !git(&bare).args(["cat-file", "-e", path]).stderr(Stdio::null()).status().unwrap().success() {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing was committed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(child.try_wait().unwrap().is_none(), "it waits for the controller");
    for name in ["namespace", "api"] {
        let file = folder.path().join(name);
        std::fs::write(&file, show(&bare, &format!("main:environments/ops/{name}.yaml"))).unwrap();
        let namespace = if name == "api" { "shop-ops" } else { "default" };
        cluster.kubectl(namespace, &["apply", "--server-side", "--filename", file.to_str().unwrap()]);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let address = cluster.address("shop-ops", "api");
    while !ask(&address).is_ok_and(|body| body.contains("api 0.1.0")) {
        assert!(begin.elapsed() < Duration::from_secs(90), "{:?}", ask(&address));
        std::thread::sleep(Duration::from_millis(50));
    }
}
