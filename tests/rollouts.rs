//! Deploys to a real Kubernetes: rolled out without a lost request, put back when they fail, seen when
//! somebody else changes them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, Load, REGISTRY, ask, cluster};
use crate::repository::Repository;

/// What a service answers at `/readyz`, in its source.
const READY: &str = "mux.HandleFunc(\"/readyz\", func(http.ResponseWriter, *http.Request) {})";

/// An environment on the cluster, with what follows `[deploy]`.
fn environment(more: &str) -> String {
    format!("[deploy]\ndriver = \"kubernetes\"\ntimeout = \"90s\"\n{more}\n")
}

const QUICK_DRAIN: &str = "[deploy.kubernetes]\ndrain = \"1s\"\n";

/// Releases and deploys `api`, which runs then.
#[track_caller]
fn bring_up(shop: &Repository, env: &str) {
    shop.quick(&["--env", env, "api"]).code(0);
    shop.longshore(&["deploy", "--env", env, "api"]).code(0);
}

/// Releases `api` with a change of its source.
#[track_caller]
fn change(shop: &Repository, env: &str, from: &str, to: &str) {
    shop.edit("cmd/api/main.go", from, to).commit("feat(api): a change");
    shop.quick(&["--env", env, "api"]).code(0);
}

/// What `status` sees of `api`.
#[track_caller]
fn status(shop: &Repository, env: &str) -> String {
    shop.longshore(&["status", "--env", env, "--format", "json"]).code(0).stdout
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The namespace's Service comes to answer as `api` of this version in this environment, once the node's proxy
/// has heard of the pods; no other Deployment is left.
#[track_caller]
fn runs(cluster: &Cluster, namespace: &str, version: &str, environment: &str) {
    let address = cluster.address(namespace, "api");
    let wanted = format!("api {version} {environment} ");
    wait_for(&wanted, || ask(&address).is_ok_and(|body| body.contains(&wanted)));
    assert_eq!(cluster.names(namespace, "deployments"), ["api"]);
}

#[test]
fn a_rollout_over_three_replicas_loses_no_request() {
    let Some(cluster) = cluster() else { return };
    let more = "replicas = 3\nverify = [{ service = \"api\", path = \"/\", body = \"development\" }]\n[deploy.kubernetes]\ndrain = \"2s\"";
    let shop = cluster.shop("load", &environment(more));
    bring_up(&shop, "load");
    runs(cluster, "shop-load", "0.1.0", "development");
    change(&shop, "load", "// version is", "// Version is");
    let address = cluster.address("shop-load", "api");
    let load = Load::start(&address);
    shop.longshore(&["deploy", "--env", "load", "api"]).code(0);
    // The pods of the old version have drained too.
    wait_for("three pods", || cluster.names("shop-load", "pods").len() == 3);
    let (answered, failures) = load.end();
    assert_eq!(failures, [] as [&str; 0], "of {answered}");
    assert!(answered > 100, "{answered}");
    runs(cluster, "shop-load", "0.2.0", "development");
    // Back, as quickly.
    shop.longshore(&["rollback", "--env", "load", "api"]).code(0);
    runs(cluster, "shop-load", "0.1.0", "development");
    shop.longshore(&["logs", "--env", "load", "api"]).code(0);
    shop.longshore(&["down", "--env", "load", "api"]).code(0);
    for kind in ["deployments", "services", "pods", "networkpolicies", "poddisruptionbudgets"] {
        assert_eq!(cluster.names("shop-load", kind), [] as [&str; 0], "{kind}");
    }
}

#[test]
fn a_version_that_is_never_ready_or_crashes_is_put_back_with_its_logs() {
    let Some(cluster) = cluster() else { return };
    let shop = cluster.shop("bad", &environment(QUICK_DRAIN).replace("90s", "15s"));
    bring_up(&shop, "bad");
    let unready = "fmt.Println(\"about to say no\")\n\tmux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })";
    change(&shop, "bad", READY, unready);
    shop.longshore(&["deploy", "--env", "bad", "api"])
        .code(1)
        .stderr_has("is not healthy after")
        .stderr_has("about to say no")
        .stderr_has("Readiness probe failed: HTTP probe failed with statuscode: 503")
        .stderr_has("api 0.1.0 was put back");
    runs(cluster, "shop-bad", "0.1.0", "development");
    let crash = "fmt.Fprintln(os.Stderr, \"no database here\")\n\tif port != \"\" {\n\t\tos.Exit(3)\n\t}";
    change(&shop, "bad", unready, crash);
    shop.longshore(&["deploy", "--env", "bad", "api"])
        .code(1)
        .stderr_has("no database here")
        .stderr_has("exit code 3")
        .stderr_has("api 0.1.0 was put back");
    runs(cluster, "shop-bad", "0.1.0", "development");
    // What never ran is taken away.
    let other = cluster.shop("never", &environment(QUICK_DRAIN).replace("90s", "15s"));
    other.edit("cmd/api/main.go", READY, crash).commit("feat(api): a crash");
    other.quick(&["--env", "never", "api"]).code(0);
    other.longshore(&["deploy", "--env", "never", "api"]).code(1).stderr_has("api was taken away");
    assert_eq!(cluster.names("shop-never", "deployments"), [] as [&str; 0]);
}

#[test]
fn a_canary_is_verified_at_each_step_and_aborted_by_a_wrong_answer() {
    let Some(cluster) = cluster() else { return };
    let more = format!(
        "replicas = 2\nverify = [{{ service = \"api\", path = \"/\", body = \"development\" }}]\n[deploy.canary]\nsteps = [30, 50]\npause = \"1s\"\n{QUICK_DRAIN}"
    );
    let shop = cluster.shop("canary", &environment(&more));
    bring_up(&shop, "canary");
    change(&shop, "canary", "// version is", "// Version is");
    shop.longshore(&["deploy", "--env", "canary", "api", "--progress", "plain", "--verbose"]).code(0);
    runs(cluster, "shop-canary", "0.2.0", "development");
    let before = cluster.get("shop-canary", "deployment/api");
    change(&shop, "canary", "os.Getenv(\"APP_ENV\")", "\"wrong\"");
    shop.longshore(&["deploy", "--env", "canary", "api"])
        .code(1)
        .stderr_has("does not hold \"development\"")
        .stderr_has("api 0.2.0 was put back");
    runs(cluster, "shop-canary", "0.2.0", "development");
    let after = cluster.get("shop-canary", "deployment/api");
    assert_eq!(after["spec"], before["spec"], "the version that ran was never touched");
}

#[test]
fn a_killed_deploy_is_finished_or_put_back_by_the_next() {
    let Some(cluster) = cluster() else { return };
    let shop = cluster.shop("killed", &environment(QUICK_DRAIN));
    bring_up(&shop, "killed");
    change(&shop, "killed", "// version is", "// Version is");
    let mut whole = Duration::from_secs(4);
    for part in [1, 2, 3, 5] {
        let mut child = shop.start(&["deploy", "--env", "killed", "api"]);
        // A moment of the run, whatever that is: what follows holds at each.
        std::thread::sleep(whole * part / 6);
        child.kill().unwrap();
        child.wait().unwrap();
        let begin = Instant::now();
        shop.longshore(&["deploy", "--env", "killed", "api"]).code(0);
        whole = begin.elapsed().max(Duration::from_secs(2));
        runs(cluster, "shop-killed", "0.2.0", "development");
        shop.longshore(&["rollback", "--env", "killed", "api"]).code(0);
        runs(cluster, "shop-killed", "0.1.0", "development");
    }
}

#[test]
fn what_somebody_changed_by_hand_is_seen() {
    let Some(cluster) = cluster() else { return };
    let shop = cluster.shop("drift", &environment(&format!("replicas = 2\n{QUICK_DRAIN}")));
    bring_up(&shop, "drift");
    assert!(!status(&shop, "drift").contains("→"), "{}", status(&shop, "drift"));
    cluster.kubectl("shop-drift", &["scale", "deployment/api", "--replicas=1"]);
    cluster.kubectl("shop-drift", &["delete", "networkpolicy/api"]);
    cluster.kubectl(
        "shop-drift",
        &["patch", "service/api", "--patch", "{\"spec\":{\"selector\":{\"a\":\"b\"}}}"],
    );
    let status = status(&shop, "drift");
    for part in ["spec.replicas: 2 → 1", "networking.k8s.io/v1/NetworkPolicy/api is gone"] {
        assert!(status.contains(part), "no {part:?} in {status}");
    }
}

#[test]
fn ten_environments_of_one_build_send_the_layers_once() {
    let Some(cluster) = cluster() else { return };
    let shop = cluster.shop("ten", &environment(QUICK_DRAIN));
    let names: Vec<String> = (0..10).map(|number| format!("ten{number}")).collect();
    for name in &names {
        let text = format!("registry = \"{REGISTRY}/ten\"\n[build-args]\nAPP_ENV = \"{name}\"\n");
        shop.write(&format!("environments/{name}.toml"), format!("{text}{}", environment(QUICK_DRAIN)));
    }
    shop.commit("ci: ten environments");
    shop.quick(&["--env", "ten", "api"]).code(0);
    for name in &names {
        shop.longshore(&["deploy", "--env", name, "api"]).code(0);
        runs(cluster, &format!("shop-{name}"), "0.1.0", name);
    }
    let log = std::fs::read_to_string(cluster.log("registry")).unwrap();
    let puts = log.lines().filter(|line| line.contains("\"PUT /v2/ten/api/blobs/uploads/"));
    let image = cluster.get("shop-ten0", "deployment/api");
    let image = image.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap();
    let manifest = |reference: &str| -> Value {
        let skopeo = crate::tool::find("skopeo").unwrap();
        let image = format!("docker://{reference}");
        serde_json::from_str(&crate::process::run(skopeo, ["inspect", "--tls-verify=false", "--raw", &image]))
            .unwrap()
    };
    let index = manifest(image);
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = manifest(&format!("{REGISTRY}/ten/api@{digest}"));
    let layers = manifest["layers"].as_array().unwrap();
    // Each layer once, the configuration of the neutral image, and one of each environment.
    assert_eq!(puts.count(), layers.len() + 1 + names.len(), "{log}");
}

#[test]
fn overlays_are_merged_and_what_is_no_longer_rendered_goes() {
    let Some(cluster) = cluster() else { return };
    let more = "[env]\nLOG = \"debug\"\n[secrets]\nTOKEN = \"env\"\n[services.api.deploy.kubernetes]\noverlays = [\"deploy/api.yaml\"]\n";
    let shop =
        cluster.shop("over", &(environment(QUICK_DRAIN) + more)).env("TOKEN", "s3cret-value-of-the-test");
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: public\nspec:\n  defaultBackend:\n    service:\n      name: api\n      port:\n        name: http\n";
    let patch =
        "kind: Deployment\nspec:\n  template:\n    metadata:\n      annotations:\n        note: \"1\"\n";
    shop.write("deploy/api.yaml", format!("{patch}---\n{ingress}")).commit("ci: an overlay");
    shop.quick(&["--env", "over", "api"]).code(0);
    // Nothing is there: all of it is shown, and nothing is made.
    let run = shop.longshore(&["deploy", "--env", "over", "api", "--dry-run"]).code(0);
    assert!(!run.stdout.contains("s3cret") && !run.stderr.contains("s3cret"), "{run}");
    assert!(!cluster.kubectl("default", &["get", "namespaces", "--output=name"]).contains("shop-over"));
    shop.longshore(&["deploy", "--env", "over", "api"]).code(0).stderr_lacks("s3cret");
    assert_eq!(cluster.names("shop-over", "ingresses"), ["public"]);
    let template = cluster.get("shop-over", "deployment/api")["spec"]["template"].clone();
    assert_eq!(template["metadata"]["annotations"]["note"], "1");
    let maps = cluster.names("shop-over", "configmaps");
    assert_eq!(cluster.names("shop-over", "secrets"), ["api-secrets"]);

    let change = "LOG = \"info\"\n[services.api.deploy.kubernetes]\n";
    shop.edit("environments/over.toml", "LOG = \"debug\"\n[secrets]\nTOKEN = \"env\"\n[services.api.deploy.kubernetes]\noverlays = [\"deploy/api.yaml\"]\n", change);
    shop.commit("ci: no overlay");
    let run = shop.longshore(&["deploy", "--env", "over", "api", "--dry-run"]).code(0);
    assert!(run.stdout.contains("note: \"1\"") || run.stderr.contains("note: \"1\""), "{run}");
    shop.longshore(&["deploy", "--env", "over", "api"]).code(0);
    assert_eq!(cluster.names("shop-over", "ingresses"), [] as [&str; 0]);
    assert_eq!(cluster.names("shop-over", "secrets"), [] as [&str; 0]);
    let now = cluster.names("shop-over", "configmaps");
    assert!(now.len() == maps.len() && now != maps, "{maps:?} {now:?}");
}

#[test]
fn who_may_not_or_finds_no_cluster_is_told_so() {
    let Some(cluster) = cluster() else { return };
    let shop = cluster.shop("rights", &environment("[deploy.kubernetes]\ncontext = \"nobody\""));
    shop.quick(&["--env", "rights", "api"]).code(0);
    shop.longshore(&["deploy", "--env", "rights", "api"])
        .code(4)
        .stderr_has("the cluster forbids it")
        .stderr_has("User \"nobody\" cannot");
    shop.edit("environments/rights.toml", "\"nobody\"", "\"other\"").commit("ci: another");
    shop.longshore(&["deploy", "--env", "rights", "api"]).code(4).stderr_has("no cluster is configured");
    shop.edit("environments/rights.toml", "context = \"other\"", "overlays = [\"deploy/all.yaml\"]");
    shop.write("deploy/all.yaml", "kind: Deployment\nspec: [\n").commit("ci: broken");
    shop.longshore(&["deploy", "--env", "rights", "api"]).code(2).stderr_has("deploy/all.yaml:3:1");
    shop.write("deploy/all.yaml", "kind: Deployment\nspec: {nonsense: true, replicas: -1}\n")
        .commit("ci: wrong");
    shop.longshore(&["deploy", "--env", "rights", "api"]).code(2).stderr_has("does not take a manifest");
    let shop = shop.env("KUBECONFIG", "/nonexistent");
    shop.edit("environments/rights.toml", "overlays = [\"deploy/all.yaml\"]", "").commit("ci: none");
    shop.longshore(&["deploy", "--env", "rights", "api"]).code(4).stderr_has("hint:");
}

#[test]
fn the_api_server_takes_every_stored_manifest() {
    let Some(cluster) = cluster() else { return };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../longshore/src/deploy/kubernetes/manifest/golden");
    cluster.kubectl("default", &["create", "namespace", "shop-staging"]);
    for name in ["everything.json", "nothing.json", "windows.json"] {
        let objects: Value =
            serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap();
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), list.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", path];
        let said = cluster.kubectl("shop-staging", &args);
        assert_eq!(said.lines().count(), objects.as_array().unwrap().len(), "{said}");
    }
}
