//! The harness itself: what the other tests stand on.

use crate::docker::Dockerd;
use crate::faults::{Fault, Proxy};
use crate::process::{command, listens, run};
use crate::registry::{PASSWORD, Registry, USER};
use crate::repository::Repository;
use crate::tool::tool;

#[test]
fn the_same_steps_give_the_same_commits() {
    let head = || Repository::new().git(["rev-parse", "HEAD"]);
    assert_eq!(head(), head());
}

#[test]
fn the_shop_compiles_and_keeps_the_conventions() {
    let repository = Repository::new();
    let go = |args: &[&str]| crate::process::succeed(repository.prepared("go").args(args));
    go(&["vet", "./..."]);
    assert_eq!(run("gofmt", ["-l", repository.root().to_str().unwrap()]), "");
    repository.git(["diff", "--exit-code", "HEAD"]);
}

#[test]
fn a_clone_has_what_the_remote_has() {
    let repository = Repository::new();
    repository.remote();
    let clone = repository.clone_of_remote();
    assert_eq!(clone.git(["rev-parse", "HEAD"]), repository.git(["rev-parse", "HEAD"]));
    let shallow = {
        repository.commit("fix: more");
        repository.git(["push", "--quiet"]);
        repository.clone_with(&["--depth=1"])
    };
    assert_eq!(shallow.git(["rev-parse", "--is-shallow-repository"]).trim(), "true");
}

/// A layout with one small image, made by umoci; gives its `oci:` name.
fn layout(folder: &std::path::Path) -> Option<String> {
    let umoci = tool("umoci")?;
    let path = folder.join("layout");
    run(&umoci, ["init".as_ref(), "--layout".as_ref(), path.as_os_str()]);
    let image = format!("{}:one", path.display());
    run(&umoci, ["new", "--image", &image]);
    Some(format!("oci:{image}"))
}

/// Copies `from` into the registry as skopeo does it, with or without credentials.
fn copy(registry: &Registry, from: &str, credentials: bool) -> bool {
    let credentials = credentials.then(|| format!("--dest-creds={USER}:{PASSWORD}"));
    command("skopeo")
        .args(["copy", "--dest-tls-verify=false"])
        .args(credentials)
        .args([from, &format!("docker://{}/team/one:1", registry.host())])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn registries_let_in_whom_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(layout), Some(_)) = (layout(folder.path()), tool("skopeo")) else { return };
    let Some(open) = Registry::start() else { return };
    assert!(copy(&open, &layout, false), "{}", open.log());
    assert_eq!(open.tags("team/one"), ["1"]);
    let Some(guarded) = Registry::with_password() else { return };
    assert!(!copy(&guarded, &layout, false));
    assert!(copy(&guarded, &layout, true), "{}", guarded.log());
    let Some(tokens) = Registry::with_tokens() else { return };
    assert!(!copy(&tokens, &layout, false));
    assert!(copy(&tokens, &layout, true), "{}", tokens.log());
    assert!(tokens.tokens().unwrap().given() > 0);
}

#[test]
fn a_registry_ends_with_its_owner() {
    let Some(registry) = Registry::start() else { return };
    let port = registry.port();
    assert!(listens(port));
    drop(registry);
    assert!(!listens(port));
}

#[test]
fn docker_pulls_what_a_registry_has() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(layout), Some(_)) = (layout(folder.path()), tool("skopeo")) else { return };
    let (Some(registry), Some(docker)) = (Registry::start(), Dockerd::start()) else { return };
    assert!(copy(&registry, &layout, false));
    docker.docker(&["pull", &format!("{}/team/one:1", registry.host())]);
    assert!(docker.docker(&["images", "--quiet"]).lines().count() == 1);
}

#[test]
fn a_proxy_spoils_what_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(layout), Some(skopeo)) = (layout(folder.path()), tool("skopeo")) else { return };
    let Some(registry) = Registry::start() else { return };
    let push = |proxy: &Proxy| {
        let to = format!("docker://{}/team/one:1", proxy.host());
        let mut copy = command(&skopeo);
        copy.args(["copy", "--dest-tls-verify=false", &layout, &to]).output().unwrap().status.success()
    };
    let clean = Proxy::before(registry.port(), |_, _| Fault::None);
    assert!(push(&clean), "{}", registry.log());
    assert!(clean.count("PUT /v2/team/one/manifests/1") == 1 && clean.spoilt() == 0, "{clean:?}");
    for fault in [
        Fault::Answer("507 Insufficient Storage", vec!["X-Test: 1".to_owned()]),
        Fault::CutRequest(10),
        Fault::CutAnswer(10),
    ] {
        let proxy = Proxy::before(registry.port(), move |request, _| {
            if request.starts_with("PUT /v2/team/one/manifests/") { fault.clone() } else { Fault::None }
        });
        assert!(!push(&proxy), "{proxy:?}");
        assert!(proxy.spoilt() > 0, "{proxy:?}");
    }
}

#[test]
fn a_database_of_a_few_advisories_can_be_made() {
    let folder = crate::database::database();
    assert!(folder.join("db/trivy.db").is_file() && folder.join("db/metadata.json").is_file());
}
