//! What images are made of: bases, files, compression, toolchains, platforms without an image.

use serde_json::Value;

use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::tool::tool;

/// The blob of an OCI layout as JSON.
#[track_caller]
fn blob(shop: &Repository, layout: &str, digest: &str) -> Value {
    let hex = digest.strip_prefix("sha256:").unwrap();
    serde_json::from_str(&shop.read(&format!("{layout}/blobs/sha256/{hex}"))).unwrap()
}

/// Manifest and config of a service's one platform.
#[track_caller]
fn image(shop: &Repository, service: &str) -> (Value, Value) {
    let layout = format!("dist/images/{service}");
    let artifacts = shop.artifacts();
    let digest = artifacts["services"][service]["platforms"]["linux/amd64"]["digest"].as_str().unwrap();
    let manifest = blob(shop, &layout, digest);
    let config = blob(shop, &layout, manifest["config"]["digest"].as_str().unwrap());
    (manifest, config)
}

#[test]
fn a_base_lies_below_the_binary_and_its_settings_stay() {
    let Some(skopeo) = tool("skopeo") else { return };
    let Some(registry) = Registry::start() else { return };
    // The base is an image of the tool's own: `web`, with a label and a file.
    let made = Repository::new();
    made.append("pipeline.toml", "[services.web.image]\nlabels = { \"com.example.base\" = \"yes\" }\n");
    made.write("motd", "hello\n");
    made.edit(
        "pipeline.toml",
        "needs = [\"api\"]",
        "needs = [\"api\"]\nfiles = { \"/etc/motd\" = \"motd\" }",
    );
    made.commit("feat: a base");
    made.longshore(&["image", "web"]).code(0);
    let (below, _) = image(&made, "web");
    let layers = below["layers"].as_array().unwrap().len();
    assert_eq!(layers, 3, "the shared files, the service's own, the binary");

    let shop = Repository::new();
    let base = format!("{}/base/web", registry.host());
    let source = format!("oci:{}:0.1.0", made.path("dist/images/web").display());
    succeed(
        command(skopeo)
            .args(["copy", "--quiet", "--all", "--dest-tls-verify=false", &source])
            .arg(format!("docker://{base}:1")),
    );
    let digest = made.digest("web");
    shop.append("pipeline.toml", &format!("[services.api.image]\nbase = \"{base}:1@{digest}\"\n"));
    shop.commit("feat: on a base");
    shop.longshore(&["image", "api"]).code(0);
    let (manifest, config) = image(&shop, "api");
    let found = manifest["layers"].as_array().unwrap();
    assert_eq!(found.len(), layers + 1);
    assert_eq!(found[..layers], below["layers"].as_array().unwrap()[..], "the base's layers as they are");
    assert_eq!(config["config"]["Labels"]["com.example.base"], "yes");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/api"]));

    // The same from a folder, and a platform that it lacks.
    let from = made.path("dist/images/web").canonicalize().unwrap();
    succeed(command("cp").arg("-r").arg(&from).arg(shop.path("base")));
    shop.edit("pipeline.toml", &format!("{base}:1@{digest}"), &format!("oci:base@{digest}"));
    shop.longshore(&["image", "api"]).code(0);
    assert_eq!(image(&shop, "api").0["layers"].as_array().unwrap()[..layers], found[..layers]);
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/s390x\"]");
    shop.longshore(&["image", "api"]).code(2).stderr_has("linux/s390x").stderr_has("linux/amd64");
}

#[test]
fn files_labels_user_and_compression_are_what_pipeline_toml_says() {
    let shop = Repository::new();
    shop.write("assets/deep/a.txt", "a\n");
    shop.edit(
        "pipeline.toml",
        "needs = [\"api\"]",
        "needs = [\"api\"]\nfiles = { \"/srv/assets\" = \"assets\" }",
    );
    shop.append(
        "pipeline.toml",
        "[services.web.image]\nuser = \"1000:50\"\ncompression = \"zstd:19\"\nlabels = { team = \"shop\" }\n",
    );
    shop.commit("feat: settings");
    shop.remote();
    shop.longshore(&["image", "web"]).code(0);
    let (manifest, config) = image(&shop, "web");
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    assert_eq!(config["config"]["User"], "1000:50");
    assert_eq!(config["config"]["Labels"]["team"], "shop");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "0.1.0");
    assert_eq!(config["config"]["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
    let before = shop.digest("web");
    // The level is in the layer's bytes, and in its key; how many jobs run is in neither.
    let other = shop.clone_of_remote();
    other.longshore(&["image", "--jobs", "1", "--all"]).code(0);
    assert_eq!(other.digest("web"), before);
    other.edit("pipeline.toml", "zstd:19", "zstd");
    other.longshore(&["image", "web"]).code(0);
    let size =
        |manifest: &Value| manifest["layers"].as_array().unwrap().last().unwrap()["size"].as_u64().unwrap();
    assert!(size(&image(&other, "web").0) > size(&manifest), "the same binary at the format's own level");
    // A changed file is another image and a new version; a README beside it is not.
    shop.write("README.md", "words\n").commit("docs: words");
    assert_eq!(shop.planned(&["--bump", "patch"]), "api 0.1.0, web 0.1.0");
    shop.write("assets/deep/a.txt", "b\n").commit("fix: the assets");
    shop.longshore(&["image", "web"]).code(0);
    assert_ne!(shop.digest("web"), before);
}

#[test]
fn a_service_has_labels_of_its_own_and_source_date_epoch_is_the_time_of_all() {
    let shop = Repository::new();
    shop.append("pipeline.toml", "[image]\nlabels = { team = \"shop\", tier = \"x\" }\n");
    shop.edit("pipeline.toml", "needs = [\"api\"]\n", "needs = [\"api\"]\nlabels = { tier = \"web\" }\n");
    shop.commit("feat: labels");
    shop.longshore(&["image"]).code(0);
    let (manifest, config) = image(&shop, "web");
    assert_eq!(config["config"]["Labels"]["tier"], "web");
    assert_eq!(config["config"]["Labels"]["team"], "shop");
    assert_eq!(image(&shop, "api").1["config"]["Labels"]["tier"], "x");
    let before = (shop.digest("api"), manifest["layers"][0]["digest"].clone());
    let shop = shop.env("SOURCE_DATE_EPOCH", "1000000000");
    shop.longshore(&["image"]).code(0);
    let (manifest, config) = image(&shop, "web");
    assert_eq!(config["created"], "2001-09-09T01:46:40Z");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.created"], "2001-09-09T01:46:40Z");
    for layer in manifest["layers"].as_array().unwrap() {
        let blob = format!("dist/images/web/blobs/sha256/{}", &layer["digest"].as_str().unwrap()[7..]);
        let listed = succeed(command("tar").args(["-tvzf"]).arg(shop.path(&blob)).env("TZ", "UTC"));
        assert!(listed.lines().all(|line| line.contains("2001-09-09 01:46")), "{listed}");
    }
    let shop = shop.env("SOURCE_DATE_EPOCH", "");
    shop.longshore(&["image"]).code(0);
    assert_eq!((shop.digest("api"), image(&shop, "web").0["layers"][0]["digest"].clone()), before);
    shop.env("SOURCE_DATE_EPOCH", "yesterday").longshore(&["image"]).code(2).stderr_has("SOURCE_DATE_EPOCH");
}

#[test]
fn a_service_has_a_go_of_its_own_and_platforms_without_an_image() {
    let shop = Repository::new();
    shop.edit("go.mod", "go 1.26.0", "go 1.25.0");
    shop.append("pipeline.toml", "[services.api.tools]\ngo = \"1.25.3\"\n");
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"windows/amd64\", \"linux/arm/v6\"]");
    shop.commit("feat: more platforms");
    shop.longshore(&["build"]).code(0);
    let version = |path: &str| succeed(command("go").args(["version", "-m"]).arg(shop.path(path)));
    let old = version("dist/bin/api/linux_amd64/api");
    assert!(old.contains("go1.25.3"), "{old}");
    assert!(!version("dist/bin/web/linux_amd64/web").contains("go1.25.3"));
    let windows = version("dist/bin/web/windows_amd64/web.exe");
    assert!(windows.contains("GOOS=windows") && windows.contains("CGO_ENABLED=0"), "{windows}");
    assert!(version("dist/bin/web/linux_arm_v6/web").contains("GOARM=6"));
    // Nothing changed: nothing is compiled.
    let plan = shop.longshore(&["plan", "--format", "json"]).code(0).stdout_json();
    let built: Vec<&str> = plan["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|job| job["stage"] == "build")
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    assert_eq!(built.len(), 6, "a toolchain each, a platform each: {plan:#}");
    assert!(built.iter().all(|state| *state == "cached"), "{built:?}");
}
