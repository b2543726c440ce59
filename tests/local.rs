//! A release into a folder: what it leaves, what a second run does, and that the same inputs give the
//! same digests.

use std::path::Path;

use crate::process::{command, run, succeed};
use crate::repository::Repository;
use crate::tool::tool;

#[test]
fn a_first_release_takes_every_service_through_every_stage() {
    let Some(shop) = Repository::new().scanner() else { return };
    shop.write("pkg/shared/shared_test.go", TEST).commit("test: a word");
    let head = shop.git(["rev-parse", "HEAD"]).trim().to_owned();
    shop.longshore(&["release"]).code(0);

    let artifacts = shop.artifacts();
    assert_eq!(artifacts["schema"], 1);
    assert_eq!(artifacts["commit"], head.as_str());
    assert_eq!(artifacts["environment"], "local");
    for name in ["api", "web"] {
        let service = &artifacts["services"][name];
        let digest = shop.digest(name);
        assert_eq!(service["version"], "0.1.0");
        assert_eq!(service["reference"], format!("oci:dist/oci/{name}@{digest}"), "{service:#}");
        assert_eq!(service["changed"], true);
        assert_eq!(service["tags"], serde_json::json!(["0.1.0", format!("sha-{head}")]), "{service:#}");
        assert!(!service["reasons"].as_array().unwrap().is_empty(), "{service:#}");
        let platform = &service["platforms"]["linux/amd64"];
        assert!(platform["digest"].as_str().unwrap().starts_with("sha256:"), "{service:#}");
        assert!(platform["size"].as_u64().unwrap() > 100_000, "{service:#}");
        assert_eq!(platform["verdicts"]["scan"], "pass", "{service:#}");
        assert!(platform["verdicts"]["verify"].is_string(), "{service:#}");
    }
    // A rehearsal stays where no `git push` finds it.
    let refs = shop.refs();
    assert!(refs.contains(&"refs/longshore/local/releases".to_owned()), "{refs:?}");
    assert!(refs.contains(&"refs/longshore/local/tags/api/v0.1.0".to_owned()), "{refs:?}");
    assert!(refs.iter().all(|name| name.starts_with("refs/longshore/local/")), "{refs:?}");
    assert_eq!(shop.git(["status", "--porcelain"]), "");
}

const TEST: &str = r#"package shared

import "testing"

func TestWord(t *testing.T) {
	if Word != "shared" {
		t.Fatal(Word)
	}
}
"#;

#[test]
fn a_second_run_finds_nothing_to_release() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let (tip, digest) = (ledger(&shop), shop.digest("api"));
    shop.quick(&[]).code(0);
    assert_eq!(ledger(&shop), tip);
    let artifacts = shop.artifacts();
    assert_eq!(artifacts["services"]["api"]["changed"], false, "{artifacts:#}");
    assert_eq!(shop.digest("api"), digest);
}

#[test]
fn a_lost_folder_is_made_again_with_the_same_digests() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let (tip, api, web) = (ledger(&shop), shop.digest("api"), shop.digest("web"));
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.quick(&[]).code(0);
    assert_eq!((shop.digest("api"), shop.digest("web")), (api.clone(), web));
    assert_eq!(ledger(&shop), tip, "the record stands");
    assert!(shop.path(&format!("dist/oci/api/blobs/sha256/{}", &api[7..])).is_file());
}

#[test]
fn the_same_commit_gives_the_same_digests_everywhere() {
    let shop = Repository::new();
    shop.remote();
    shop.quick(&[]).code(0);
    let elsewhere =
        shop.clone_of_remote().env("TZ", "Asia/Tokyo").env("LC_ALL", "C.UTF-8").env("USER", "eve");
    assert_ne!(elsewhere.root(), shop.root());
    // As under the umask 0077, and one job at a time.
    run("chmod", ["-R".as_ref(), "go-rwx".as_ref(), elsewhere.root().as_os_str()]);
    elsewhere.quick(&["-j", "1"]).code(0);
    assert_eq!(shop.digest("api"), elsewhere.digest("api"));
    assert_eq!(shop.digest("web"), elsewhere.digest("web"));
    // One service without its sibling.
    let alone = shop.clone_of_remote();
    alone.quick(&["web"]).code(0);
    assert_eq!(shop.digest("web"), alone.digest("web"));
    assert!(!alone.path("dist/oci/api").exists());
}

#[test]
fn other_tools_read_the_layouts() {
    let (Some(skopeo), Some(umoci), Some(buildah)) = (tool("skopeo"), tool("umoci"), tool("buildah")) else {
        return;
    };
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let layout = shop.path("dist/oci/api");
    let image = format!("{}:0.1.0", layout.display());

    let inspected = run(&skopeo, ["inspect", &format!("oci:{image}")]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Architecture"], "amd64", "{inspected:#}");
    let raw = run(&skopeo, ["inspect", "--raw", &format!("oci:{image}")]);
    assert_eq!(
        crate::registry::sha256(raw.as_bytes()),
        shop.digest("api"),
        "the index under the version's tag"
    );
    let folder = tempfile::tempdir().unwrap();
    let copy = format!("oci:{}/copy:one", folder.path().display());
    run(&skopeo, ["copy", "--all", &format!("oci:{image}"), &copy]);

    // umoci reads manifests, not indexes: skopeo picks this machine's.
    let single = folder.path().join("single");
    run(&skopeo, ["copy", &format!("oci:{image}"), &format!("oci:{}:one", single.display())]);
    let bundle = folder.path().join("bundle");
    unpack(&umoci, &single, &bundle);
    let version = run(bundle.join("rootfs/usr/local/bin/api"), ["-version"]);
    assert_eq!(version.trim(), "0.1.0");

    let store = folder.path().join("store");
    let option = |name: &str| format!("--{name}={}", store.join(name).display());
    let storage = [option("root"), option("runroot"), "--storage-driver=vfs".to_owned()];
    let policy = folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let policy = format!("--signature-policy={}", policy.display());
    // A name from a path must be in lower case.
    let mut pull = command(&buildah);
    succeed(pull.args(&storage).args(["pull", &policy, "oci:api:0.1.0"]).current_dir(shop.path("dist/oci")));
    let images = succeed(command(&buildah).args(&storage).args(["images", "--quiet"]));
    assert_eq!(images.lines().count(), 1, "{images}");
}

fn unpack(umoci: &Path, layout: &Path, bundle: &Path) {
    let image = format!("{}:one", layout.display());
    let mut unpack = command(umoci);
    unpack.args(["unpack", "--image", &image]);
    if !nix::unistd::geteuid().is_root() {
        unpack.arg("--rootless");
    }
    succeed(unpack.arg(bundle));
}

/// The tip of the local ledger.
fn ledger(shop: &Repository) -> String {
    shop.git(["rev-parse", "refs/longshore/local/releases"])
}
