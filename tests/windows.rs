//! Images for Windows, made here: over a base in the form of nanoserver, read by other tools, and laid
//! beside what ko makes of the same sources.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::builder::built;
use crate::process::{command, succeed};
use crate::registry::{Registry, sha256};
use crate::repository::Repository;
use crate::tool::tool;

const VERSIONS: [&str; 2] = ["10.0.20348.2700", "10.0.26100.1742"];

/// Writes a layout `nano` with an index over two builds of Windows, each of one layer in Windows' form.
/// Gives the index's digest.
fn nanoserver(shop: &Repository) -> String {
    shop.write("nano/.root/Files/Windows/System32/kernel32.dll", "not a library\n");
    shop.write("nano/.root/Hives/DefaultUser_Delta", "a registry\n");
    let put = |bytes: &[u8]| {
        let digest = sha256(bytes);
        shop.write(&format!("nano/blobs/sha256/{}", &digest[7..]), bytes);
        json!({"digest": digest, "size": bytes.len()})
    };
    let typed = |mut blob: Value, kind: &str| {
        blob["mediaType"] = json!(format!("application/vnd.oci.image.{kind}"));
        blob
    };
    let mut manifests = Vec::new();
    for version in VERSIONS {
        shop.write("nano/.root/Files/Windows/version.txt", version);
        let tar = shop.path("nano/.tar");
        succeed(
            command("tar")
                .args(["--create", "--format=pax", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
                .args(["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime,MSWINDOWS.fileattr:=32"])
                .arg("--file")
                .arg(&tar)
                .arg("--directory")
                .arg(shop.path("nano/.root"))
                .args(["Files", "Hives"]),
        );
        let layer = std::fs::read(&tar).unwrap();
        let config = json!({
            "architecture": "amd64", "os": "windows", "os.version": version,
            "config": {"User": "ContainerUser", "Cmd": ["c:\\windows\\system32\\cmd.exe"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": typed(put(config.to_string().as_bytes()), "config.v1+json"),
            "layers": [typed(put(&layer), "layer.v1.tar")],
        });
        let mut descriptor = typed(put(manifest.to_string().as_bytes()), "manifest.v1+json");
        descriptor["platform"] = json!({"architecture": "amd64", "os": "windows", "os.version": version});
        manifests.push(descriptor);
    }
    std::fs::remove_dir_all(shop.path("nano/.root")).unwrap();
    std::fs::remove_file(shop.path("nano/.tar")).unwrap();
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let blob = put(index.to_string().as_bytes());
    let digest = blob["digest"].as_str().unwrap().to_owned();
    let mut entry = typed(blob, "index.v1+json");
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    shop.write("nano/index.json", json!({"schemaVersion": 2, "manifests": [entry]}).to_string());
    shop.write("nano/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    digest
}

/// A document of a layout.
#[track_caller]
fn blob(layout: &Path, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    serde_json::from_slice(&std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap()).unwrap()
}

/// What Go's own reader says of each entry of a layer, by its name.
fn entries(shop: &Repository, layout: &Path, layer: &Value) -> BTreeMap<String, Value> {
    let folder = shop.path("dist/reader");
    shop.write("dist/reader/go.mod", "module example.com/reader\n\ngo 1.26.0\n");
    shop.write("dist/reader/main.go", READER);
    let file = layout.join("blobs/sha256").join(&layer["digest"].as_str().unwrap()[7..]);
    let listed = succeed(shop.prepared("go").current_dir(folder).args(["run", "."]).arg(file));
    let parsed = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.map(|entry| (entry["Name"].as_str().unwrap().trim_end_matches('/').to_owned(), entry)).collect()
}

const READER: &str = r#"package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	file, err := os.Open(os.Args[1])
	check(err)
	buffered := bufio.NewReader(file)
	var plain io.Reader = buffered
	if magic, _ := buffered.Peek(2); magic[0] == 0x1f && magic[1] == 0x8b {
		plain, err = gzip.NewReader(buffered)
		check(err)
	}
	reader := tar.NewReader(plain)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return
		}
		check(err)
		hash := sha256.New()
		_, err = io.Copy(hash, reader)
		check(err)
		line, err := json.Marshal(map[string]any{
			"Name": header.Name, "Type": string(header.Typeflag), "Mode": header.Mode, "Size": header.Size,
			"Uid": header.Uid, "Gid": header.Gid, "Time": header.ModTime.Unix(), "Records": header.PAXRecords,
			"Hash": fmt.Sprintf("%x", hash.Sum(nil)),
		})
		check(err)
		fmt.Println(string(line))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

/// A shop whose `api` also has images for both builds of Windows.
fn shop() -> (Repository, String) {
    let shop = Repository::new();
    let digest = nanoserver(&shop);
    shop.append(
        "pipeline.toml",
        &format!("[services.api.image]\nbases = {{ windows = \"oci:nano@{digest}\" }}\n"),
    );
    shop.edit(
        "pipeline.toml",
        "[\"linux/amd64\"]",
        "[\"linux/amd64\", \"windows(10.0.20348)/amd64\", \"windows(10.0.26100.1742)/amd64\"]",
    );
    shop.commit("feat: Windows");
    (shop, digest)
}

#[test]
fn an_image_for_windows_has_its_form_and_its_versions() {
    let (shop, base) = shop();
    shop.longshore(&["image", "api"]).code(0);
    let layout = shop.path("dist/images/api");
    let index = blob(&layout, &json!(shop.digest("api")));
    let platforms: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|manifest| &manifest["platform"]).collect();
    let windows = |version| json!({"architecture": "amd64", "os": "windows", "os.version": version});
    assert_eq!(
        platforms,
        [&json!({"architecture": "amd64", "os": "linux"}), &windows(VERSIONS[0]), &windows(VERSIONS[1])]
    );

    let manifest = blob(&layout, &index["manifests"][1]["digest"]);
    let config = blob(&layout, &manifest["config"]["digest"]);
    assert_eq!((&config["os"], &config["os.version"]), (&json!("windows"), &json!(VERSIONS[0])));
    let run = &config["config"];
    assert_eq!(run["Entrypoint"], json!(["C:\\app\\api.exe"]));
    assert_eq!(
        (&run["User"], &run["WorkingDir"], &run["Cmd"]),
        (&json!("ContainerUser"), &json!("C:\\"), &Value::Null)
    );
    assert_eq!(run["Labels"]["org.opencontainers.image.base.digest"], json!(base));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "the base's, ours");
    let ours = entries(&shop, &layout, &layers[1]);
    assert_eq!(ours.keys().collect::<Vec<_>>(), ["Files", "Files/app", "Files/app/api.exe", "Hives"]);
    for (name, entry) in &ours {
        let attributes = if name.ends_with(".exe") { "32" } else { "16" };
        assert_eq!(entry["Records"]["MSWINDOWS.fileattr"], attributes, "{name}");
        assert!(entry["Records"]["MSWINDOWS.rawsd"].as_str().unwrap().starts_with("AQAEgBQAAAA"), "{entry}");
        assert_eq!((&entry["Uid"], &entry["Gid"], &entry["Time"]), (&json!(0), &json!(0), &json!(0)));
    }
    // One executable for both, and the same layer.
    let other = blob(&layout, &index["manifests"][2]["digest"]);
    assert_eq!(other["layers"][1], layers[1]);
    assert_ne!(other["layers"][0], layers[0]);

    // Other tools read it; umoci unpacks what belongs to Windows as it stands.
    if let Some(skopeo) = tool("skopeo") {
        let source = format!("oci:{}:0.1.0", layout.display());
        let inspected =
            succeed(command(skopeo).args(["inspect", "--override-os", "windows", "--config", &source]));
        assert_eq!(serde_json::from_str::<Value>(&inspected).unwrap()["os"], "windows");
    }
    // The rest of Windows: where a build is not asked for, the newest there is; one that is not there.
    shop.edit(
        "pipeline.toml",
        ", \"windows(10.0.20348)/amd64\", \"windows(10.0.26100.1742)/amd64\"",
        ", \"windows/amd64\"",
    );
    shop.longshore(&["image", "api", "--platform", "windows/amd64"]).code(0);
    let index = blob(&layout, &json!(shop.digest("api")));
    assert_eq!(index["manifests"][0]["platform"], windows(VERSIONS[1]));
    // A PE file has its parts under other names.
    let explained =
        shop.longshore(&["image", "--explain-size", "api", "--platform", "windows/amd64"]).code(0);
    let explained = explained.stdout_has("Files/app/api.exe: ").stdout_has("example.com/shop/cmd/api");
    explained.stdout_has("net/http").stdout_has(".rdata (constants");
    shop.edit("pipeline.toml", "\"windows/amd64\"", "\"windows(10.0.2034)/amd64\"");
    let refused = shop.longshore(&["image", "api", "--platform", "windows(10.0.2034)/amd64"]).code(2);
    refused.stderr_has("windows(10.0.20348.2700)/amd64").stderr_has("pipeline.toml:");
    shop.edit("pipeline.toml", &format!("oci:nano@{base}"), "scratch");
    shop.longshore(&["check"]).code(2).stderr_has("Windows has no `scratch`");
}

#[test]
fn the_scan_of_an_image_for_windows_judges_its_binary() {
    let (shop, _) = shop();
    let Some(shop) = shop.scanner() else { return };
    shop.longshore(&["scan", "api"]).code(0).stderr_has("the binary only");
    let artifacts = shop.artifacts();
    let platforms = &artifacts["services"]["api"]["platforms"];
    assert_eq!(platforms["linux/amd64"]["verdicts"]["scan"], "pass");
    assert_eq!(platforms["windows(10.0.20348)/amd64"]["verdicts"]["scan"], "unsupported");
    assert_eq!(platforms["windows(10.0.26100.1742)/amd64"]["verdicts"]["scan"], "unsupported");
}

#[test]
fn ko_makes_the_same_of_the_same_sources_but_for_what_is_said_here() {
    let Some(ko) = built("ko-0.19.1/ko") else { return };
    let (Some(skopeo), Some(registry)) = (tool("skopeo"), Registry::start()) else { return };
    let (shop, base) = shop();
    shop.longshore(&["image", "api"]).code(0);
    let nano = format!("{}/nano", registry.host());
    let source = format!("oci:{}:1", shop.path("nano").display());
    succeed(
        command(skopeo)
            .args(["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false", &source])
            .arg(format!("docker://{nano}:1")),
    );
    shop.write(
        "dist/ko/.ko.yaml",
        format!(
            "defaultBaseImage: {nano}@{base}\nbuilds:\n- id: api\n  main: ./cmd/api\n  env: [CGO_ENABLED=0]\n  \
             flags: [-trimpath, -buildvcs=false]\n  ldflags: [-s, -w, -X main.version=0.1.0]\n"
        ),
    );
    let out = shop.path("dist/ko/out");
    succeed(
        shop.prepared(ko)
            .args(["build", "--push=false", "--sbom=none", "--platform", "windows/amd64:10.0.20348.2700"])
            // From here: ko takes the path for a repository's name too.
            .args(["--oci-layout-path", "dist/ko/out", "./cmd/api"])
            .env("KO_CONFIG_PATH", shop.path("dist/ko"))
            .env("KO_DOCKER_REPO", "example.com/shop"),
    );
    let theirs = first_image(&out, &blob_of_index(&out));
    let layout = shop.path("dist/images/api");
    let index = blob(&layout, &json!(shop.digest("api")));
    let ours = image_at(&layout, &index["manifests"][1]["digest"]);

    // The same: what it is for, what it stands on, where the program lies in the layer, and its bytes.
    for field in ["os", "architecture", "os.version"] {
        assert_eq!(ours.config[field], theirs.config[field], "{field}");
    }
    assert_eq!(ours.layers[0]["digest"], theirs.layers[0]["digest"], "the base's layer, as it is");
    assert_eq!(ours.config["rootfs"]["diff_ids"][0], theirs.config["rootfs"]["diff_ids"][0]);
    // What the name stands for, as the specification has it; ko names the manifest of the platform.
    let key = "org.opencontainers.image.base.digest";
    assert_eq!(ours.manifest["annotations"][key], json!(base));
    let nano = blob(&shop.path("nano"), &json!(base));
    assert_eq!(theirs.manifest["annotations"][key], nano["manifests"][0]["digest"]);
    let mine = entries(&shop, &layout, &ours.layers[1]);
    // ko has a layer for data and one for the program.
    let kos: BTreeMap<String, Value> =
        theirs.layers[1..].iter().flat_map(|layer| entries(&shop, &out, layer)).collect();
    let named = |entries: &BTreeMap<String, Value>, name: &str| {
        entries.get(name).cloned().unwrap_or_else(|| panic!("{name} is not among {:?}", entries.keys()))
    };
    let program = &named(&mine, "Files/app/api.exe");
    let their_program = &named(&kos, "Files/ko-app/api");
    for field in ["Type", "Size", "Hash", "Uid", "Gid"] {
        assert_eq!(program[field], their_program[field], "{field} of the program");
    }
    for folder in ["Files", "Hives"] {
        assert_eq!(mine[folder]["Type"], kos[folder]["Type"], "{folder}");
    }
    // Every other field of the configs: the same, or named here.
    let differing = |ours: &Value, theirs: &Value| -> Vec<String> {
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
        };
        let all: std::collections::BTreeSet<String> =
            [keys(ours), keys(theirs)].concat().into_iter().collect();
        all.into_iter().filter(|key| ours[key] != theirs[key]).collect()
    };
    let (run, their_run) = (&ours.config["config"], &theirs.config["config"]);
    assert_eq!(
        [
            differing(&ours.config, &theirs.config).join(" "),
            differing(run, their_run).join(" "),
            differing(&ours.manifest, &theirs.manifest).join(" "),
            differing(&ours.layers[0], &theirs.layers[0]).join(" "),
        ],
        [
            "author config created history rootfs",
            "Entrypoint Env ExposedPorts Labels WorkingDir",
            "annotations config layers",
            "",
        ]
    );
    // Not the same, on purpose.
    assert_eq!((&program["Mode"], &their_program["Mode"]), (&json!(0o755), &json!(0o555)));
    let rights = |entry: &Value| entry["Records"]["MSWINDOWS.rawsd"].as_str().unwrap().len();
    assert!(rights(program) > rights(their_program), "an access list, where ko names an owner alone");
    assert_eq!(kos["Files"]["Records"], Value::Null, "ko says nothing of folders");
    let entrypoint = |image: &Image| image.config["config"]["Entrypoint"][0].clone();
    assert_eq!(
        (entrypoint(&ours), entrypoint(&theirs)),
        (json!("C:\\app\\api.exe"), json!("C:\\ko-app\\api"))
    );
    assert_eq!(ours.config["config"]["User"], theirs.config["config"]["User"], "the base's, said again");
}

struct Image {
    manifest: Value,
    config: Value,
    layers: Vec<Value>,
}

fn image_at(layout: &Path, digest: &Value) -> Image {
    let manifest = blob(layout, digest);
    let config = blob(layout, &manifest["config"]["digest"]);
    let layers = manifest["layers"].as_array().unwrap().clone();
    Image { manifest, config, layers }
}

fn blob_of_index(layout: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap()
}

/// The first manifest below an index, however deep.
fn first_image(layout: &Path, index: &Value) -> Image {
    let first = &index["manifests"][0]["digest"];
    let document = blob(layout, first);
    if document["manifests"].is_array() { first_image(layout, &document) } else { image_at(layout, first) }
}
