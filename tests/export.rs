//! `image --output`: what skopeo, docker and containerd make of the copies.

use std::path::Path;

use serde_json::Value;

use crate::docker::Dockerd;
use crate::process::{Server, command, succeed};
use crate::repository::Repository;
use crate::tool::{skip, tool};

fn json(program: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&succeed(command(program).args(args))).unwrap()
}

/// The digests of a service's index and of its manifest for linux/amd64.
fn digests(shop: &Repository, service: &str) -> (String, String) {
    let artifacts = shop.artifacts();
    let platform = &artifacts["services"][service]["platforms"]["linux/amd64"]["digest"];
    (shop.digest(service), platform.as_str().unwrap().to_owned())
}

#[test]
fn copies_of_an_image_are_read_by_other_tools() {
    let Some(skopeo) = tool("skopeo") else { return };
    let shop = Repository::new();
    shop.append("pipeline.toml", "[services.web.image]\ncompression = \"zstd\"\n");
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    shop.commit("feat: two platforms");
    let out = shop.path("dist/out");
    let at = |form: &str, name: &str| format!("{form}:{}/{name}", out.display());
    let targets = [
        at("oci", "{service}"),
        at("oci-archive", "{service}.oci.tar"),
        at("docker-archive", "deep/{service}.tar"),
    ];
    let args: Vec<&str> = targets.iter().flat_map(|target| ["--output", target.as_str()]).collect();
    shop.longshore(&[&["image"], &args[..]].concat()).code(0);
    for service in ["api", "web"] {
        let (index, manifest) = digests(&shop, service);
        for form in ["oci", "oci-archive"] {
            let name = if form == "oci" { service.to_owned() } else { format!("{service}.oci.tar") };
            let raw =
                succeed(command(&skopeo).args(["inspect", "--raw", &format!("{}:0.1.0", at(form, &name))]));
            assert_eq!(format!("sha256:{}", sha256(raw.as_bytes())), index, "{form}: the same bytes");
        }
        // Docker's form: of this machine's platform, with the same layers inside.
        let archive = at("docker-archive", &format!("deep/{service}.tar"));
        let read = json(&skopeo, &["inspect", "--config", &archive]);
        let layout = format!("dist/images/{service}/blobs/sha256");
        let blob = |digest: &str| -> Value {
            serde_json::from_str(&shop.read(&format!("{layout}/{}", &digest[7..]))).unwrap()
        };
        let config = blob(blob(&manifest)["config"]["digest"].as_str().unwrap());
        assert_eq!(read["rootfs"], config["rootfs"]);
        succeed(command(&skopeo).args(["copy", "--quiet", &archive, &at("dir", &format!("{service}.dir"))]));
    }
    // Again, into what is there: the same bytes, and a layout gets no second entry.
    let read = || std::fs::read(out.join("deep/web.tar")).unwrap();
    let before = read();
    shop.longshore(&[&["image"], &args[..]].concat()).code(0);
    assert!(read() == before, "the same archive");
    assert_eq!(shop.read("dist/out/web/index.json").matches("ref.name").count(), 1);
}

#[test]
fn a_copy_that_would_lie_is_refused_before_anything_runs() {
    let shop = Repository::new();
    let refused = |target: &str, part: &str| {
        shop.longshore(&["image", "--output", target]).code(2).stderr_has(part);
        assert!(!shop.path("dist/images").exists());
    };
    let path = |path: &str| shop.path(path).display().to_string();
    refused(&format!("oci:{}", path("out")), "would hold the images of api, web");
    refused(&format!("docker-archive:{}", path("x.tar")), "write `{service}`");
    refused(&format!("oci:{}/{{service}}", path("dist/oci")), "where only the stages write");
    refused(&format!("oci:{}/{{service}}", path("dist/x/../images")), "where only the stages write");
    refused(&format!("oci:{}/{{name}}", path("out")), "only `{service}`");
    refused("tar:x", "is no form of an image");
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/s390x\", \"linux/arm64\"]");
    refused(&format!("docker-archive:{}/{{service}}", path("out")), "`--platform`");
    // A folder with something else in it is somebody's.
    shop.edit("pipeline.toml", "[\"linux/s390x\", \"linux/arm64\"]", "[\"linux/amd64\"]");
    let target = format!("oci:{}", path("cmd"));
    shop.longshore(&["image", "web", "--output", &target]).code(2).stderr_has("is no OCI layout");
    assert!(!shop.path("cmd/oci-layout").exists());
}

#[test]
fn docker_and_containerd_load_the_copies() {
    let Some(dockerd) = Dockerd::start() else { return };
    let shop = Repository::new().env("DOCKER_HOST", dockerd.host());
    shop.write("environments/local.toml", "");
    shop.write(
        "environments/dev.toml",
        "registry = \"example.com/team\"\n[services.api.build-args]\nAPP_ENV = \"dev\"\n",
    );
    shop.append("pipeline.toml", "[services.web.image]\ncompression = \"zstd\"\n");
    shop.commit("ci: an environment");
    shop.remote();
    shop.longshore(&["image", "--output", "docker-daemon:"]).code(0);
    let inspected: Value =
        serde_json::from_str(&dockerd.docker(&["image", "inspect", "api:0.1.0", "web:0.1.0"])).unwrap();
    assert_eq!(inspected[1]["Config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/web"]));
    let said = dockerd.docker(&["run", "--rm", "--network", "none", "web:0.1.0", "-version"]);
    assert_eq!(said.trim(), "0.1.0");
    // An environment's variant goes by the name that its registry gives it.
    let archive = shop.path("dist/{service}.tar").display().to_string();
    shop.longshore(&["image", "api", "--env", "dev", "--output", &format!("docker-archive:{archive}")])
        .code(0);
    dockerd.docker(&["load", "--input", shop.path("dist/api.tar").to_str().unwrap()]);
    let listed = dockerd.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(listed.contains("example.com/team/api:0.1.0_dev_"), "{listed}");

    let Some((_server, address)) = containerd(shop.path("dist").as_path()) else { return };
    let Some(ctr) = tool("ctr") else { return };
    shop.longshore(&["image", "web", "--output", &format!("oci-archive:{archive}")]).code(0);
    for name in ["web", "api"] {
        let file = shop.path(&format!("dist/{name}.tar"));
        let args = ["--address", &address, "images", "import", "--no-unpack", file.to_str().unwrap()];
        succeed(command(&ctr).args(args));
    }
    let listed = succeed(command(&ctr).args(["--address", &address, "images", "ls"]));
    assert!(
        listed.contains("docker.io/library/web:0.1.0") && listed.contains(&shop.digest("web")),
        "{listed}"
    );
    assert!(listed.contains("example.com/team/api:0.1.0_dev_"), "{listed}");
}

/// containerd in a folder of its own, and its address.
fn containerd(folder: &Path) -> Option<(Server, String)> {
    let (program, ctr) = (tool("containerd")?, tool("ctr")?);
    if !nix::unistd::geteuid().is_root() {
        skip("containerd needs root");
        return None;
    }
    let path = |name: &str| folder.join("containerd").join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(folder.join("containerd")).unwrap();
    let address = path("socket");
    // Its own configuration: the machine's is another daemon's.
    std::fs::write(path("config.toml"), "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
        .unwrap();
    let args = [
        "--config",
        &path("config.toml"),
        "--root",
        &path("root"),
        "--state",
        &path("state"),
        "--address",
        &address,
    ];
    let server = Server::start(&program, &args, &[], folder.join("containerd.log"));
    let ready = || command(&ctr).args(["--address", &address, "version"]).output().unwrap().status.success();
    Some((server.wait(ready), address))
}

fn sha256(bytes: &[u8]) -> String {
    longshore::digest::Digest::of(bytes).hex().to_owned()
}
