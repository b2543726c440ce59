//! Bases: pinned, followed, mounted, refused; from registries, layouts and a docker daemon.

use serde_json::{Value, json};

use crate::docker::Dockerd;
use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::shop::QUICK;
use crate::tool::tool;

/// The blob of a service's layout as JSON.
#[track_caller]
fn blob(shop: &Repository, service: &str, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    serde_json::from_str(&shop.read(&format!("dist/images/{service}/blobs/sha256/{hex}"))).unwrap()
}

/// Manifest and config of a service's image for linux/amd64.
#[track_caller]
fn image(shop: &Repository, service: &str) -> (Value, Value) {
    let artifacts = shop.artifacts();
    let manifest = blob(shop, service, &artifacts["services"][service]["platforms"]["linux/amd64"]["digest"]);
    let config = blob(shop, service, &manifest["config"]["digest"]);
    (manifest, config)
}

/// A shop whose service `web` is an image to stand on, with a file of this content, copied to `target`
/// (as skopeo names it). Gives the index's digest.
#[track_caller]
fn make_base(content: &str, target: &str) -> String {
    let skopeo = tool("skopeo").unwrap();
    let made = Repository::new();
    made.write("motd", content);
    made.edit(
        "pipeline.toml",
        "needs = [\"api\"]",
        "needs = [\"api\"]\nfiles = { \"/etc/motd\" = \"motd\" }",
    );
    made.commit("feat: a base");
    made.longshore(&["image", "web"]).code(0);
    let source = format!("oci:{}:0.1.0", made.path("dist/images/web").display());
    let all = if target.starts_with("docker-archive:") { "--format=v2s2" } else { "--all" };
    succeed(command(skopeo).args(["copy", "--quiet", all, "--dest-tls-verify=false", &source, target]));
    made.digest("web")
}

#[test]
fn tags_are_pinned_and_followed() {
    let Some(_) = tool("skopeo") else { return };
    let Some(registry) = Registry::start() else { return };
    let base = format!("{}/base/web:1", registry.host());
    let one = make_base("one\n", &format!("docker://{base}"));
    let shop = Repository::new();
    let extra = format!("\n[services.api.image] # its own\nbase   = '{base}'   # followed\n");
    shop.append("pipeline.toml", &extra);
    let written = shop.read("pipeline.toml");
    shop.longshore(&["check"]).code(2).stderr_has("has no digest").stderr_has("`base update`");
    shop.longshore(&["base", "check"]).code(3).stdout_has("unpinned");
    shop.longshore(&["base", "update"]).code(0).stdout_has("pipeline.toml:24:10").stdout_has("no digest");
    assert_eq!(shop.read("pipeline.toml"), written.replace(&base, &format!("{base}@{one}")));
    shop.longshore(&["base", "update"]).code(0).stdout_has("every base");
    shop.longshore(&["base", "check"]).code(0).stdout_has("same");
    shop.commit("feat: a base");
    shop.longshore(&["image", "api"]).code(0);
    let (manifest, config) = image(&shop, "api");
    for said in [&manifest["annotations"], &config["config"]["Labels"]] {
        assert_eq!(said["org.opencontainers.image.base.name"], json!(base), "{said}");
        assert_eq!(said["org.opencontainers.image.base.digest"], json!(one));
    }

    // The tag moves: the check says so, and nothing is built on what nobody has looked at.
    let two = make_base("two\n", &format!("docker://{base}"));
    assert_ne!(one, two);
    let checked = shop.longshore(&["base", "check", "--format", "json"]).code(3).stderr_has("1 moved");
    let looked = &checked.stdout_json()["bases"][0];
    assert_eq!(
        (&looked["state"], &looked["pinned"], &looked["current"]),
        (&json!("moved"), &json!(one), &json!(two))
    );
    let refused = shop.longshore(&["image", "api"]).code(4).stderr_has(&one).stderr_has(&two);
    let line = shop.read("pipeline.toml").lines().position(|line| line.starts_with("base")).unwrap() + 1;
    refused.stderr_has(&format!("pipeline.toml:{line}:10"));
    shop.longshore(&["base", "update"]).code(0);
    shop.commit("feat: a newer base");
    shop.longshore(&["image", "api"]).code(0);

    // What can't be asked is not "same"; and nothing is written then.
    let now = shop.read("pipeline.toml");
    shop.append("pipeline.toml", "[services.web.image]\nbase = \"127.0.0.1:1/none:1\"\n");
    shop.edit("pipeline.toml", &two, &one);
    shop.longshore(&["base", "check"]).code(6).stdout_has("unknown").stdout_has("moved");
    shop.longshore(&["base", "update"]).code(6).stderr_has("nothing was written");
    shop.edit("pipeline.toml", "127.0.0.1:1/none:1", &format!("{}/none:1", registry.host()));
    shop.longshore(&["base", "update"]).code(4).stderr_has("there is no");
    shop.edit("pipeline.toml", "/none:1", "/none");
    shop.longshore(&["base", "update"]).code(2).stderr_has("write a tag").stderr_has("pipeline.toml:");
    assert!(shop.read("pipeline.toml").contains(&one) && now.contains(&two));
}

#[test]
fn a_platform_has_a_base_of_its_own_and_one_that_it_lacks_is_located() {
    let Some(_) = tool("skopeo") else { return };
    let shop = Repository::new();
    let digest = make_base("a\n", &format!("oci:{}", shop.path("base").display()));
    shop.append(
        "pipeline.toml",
        "[services.web.image]\nbase = \"scratch\"\nbases = { \"linux/amd64\" = \"oci:base\" }\n",
    );
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    shop.commit("feat: a base");
    shop.longshore(&["image", "web"]).code(0);
    let artifacts = shop.artifacts();
    let arm = blob(&shop, "web", &artifacts["services"]["web"]["platforms"]["linux/arm64"]["digest"]);
    assert_eq!(arm["layers"].as_array().unwrap().len(), 2, "on scratch");
    assert_eq!(arm["annotations"], Value::Null);
    let (manifest, _) = image(&shop, "web");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 4, "on the base");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.digest"], json!(digest));
    // Its files count: a service whose base changes is another one.
    shop.quick(&["web"]).code(0);
    assert_eq!(shop.planned(&["web"]), "");
    std::fs::remove_dir_all(shop.path("base")).unwrap();
    make_base("b\n", &format!("oci:{}", shop.path("base").display()));
    shop.commit("fix: the base");
    assert_eq!(shop.planned(&["web"]), "web 0.1.1");

    shop.edit("pipeline.toml", "\"linux/amd64\" =", "\"linux\" =");
    let refused = shop.longshore(&["image", "web", "--platform", "linux/arm64"]).code(2);
    let line = shop.read("pipeline.toml").lines().position(|line| line.starts_with("bases")).unwrap() + 1;
    refused.stderr_has("linux/arm64").stderr_has(&format!("pipeline.toml:{line}:21"));
    shop.edit("pipeline.toml", "\"linux\" =", "\"plan9\" =");
    shop.longshore(&["check"]).code(2).stderr_has("`plan9`");
}

#[test]
fn base_layers_go_to_a_registry_once() {
    let Some(_) = tool("skopeo") else { return };
    let (Some(registry), Some(other)) = (Registry::start(), Registry::start()) else { return };
    let base = format!("{}/base/web:1", registry.host());
    let digest = make_base("one\n", &format!("docker://{base}"));
    let shop = Repository::new();
    shop.write("environments/local.toml", "");
    shop.write("environments/same.toml", format!("registry = \"{}/team\"\n", registry.host()));
    shop.write("environments/other.toml", format!("registry = \"{}/team\"\n", other.host()));
    shop.append("pipeline.toml", &format!("[image]\nbase = \"{base}@{digest}\"\n"));
    shop.commit("feat: on a base");
    shop.remote();
    let release = ["release", "--skip", QUICK, "--snapshot", "--all", "--env"];
    shop.longshore(&[&release[..], &["same"]].concat()).code(0);
    let (manifest, _) = image(&shop, "api");
    let layers: Vec<String> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(layers.len(), 4, "three of the base, ours");
    let log = registry.log();
    let mounted = |service: &str, layer: &str| {
        let asked = format!("POST /v2/team/{service}/blobs/uploads/?mount={layer}&from=");
        log.lines().any(|line| line.contains(&asked) && line.contains(" 201 "))
    };
    for layer in &layers[..3] {
        assert!(mounted("api", layer) && mounted("web", layer), "{layer}\n{log}");
        assert_eq!(uploads(&log, "team", layer), 0, "not sent: mounted");
    }
    shop.longshore(&[&release[..], &["other"]].concat()).code(0);
    for layer in &layers[..3] {
        assert_eq!(uploads(&other.log(), "team", layer), 1, "once for both services\n{}", other.log());
    }
}

/// How many uploads of a blob into the repositories below `path` a registry has finished.
fn uploads(log: &str, path: &str, digest: &str) -> usize {
    let (put, digest) = (format!("PUT /v2/{path}/"), format!("digest={digest} "));
    log.lines().filter(|line| line.contains(&put) && line.contains(&digest) && line.contains(" 201 ")).count()
}

#[test]
fn a_size_has_a_budget_and_an_explanation() {
    let shop = Repository::new();
    shop.quick(&["web"]).code(0);
    shop.append("pipeline.toml", "[services.web.image]\nsize-budget = \"1MB\" # small\n");
    shop.write("assets/big", "x".repeat(1 << 20));
    shop.edit("pipeline.toml", "needs = [\"api\"]", "needs = [\"api\"]\nfiles = { \"/srv\" = \"assets\" }");
    shop.commit("feat: more");
    let line =
        shop.read("pipeline.toml").lines().position(|line| line.starts_with("size-budget")).unwrap() + 1;
    let refused = shop.longshore(&["image", "web"]).code(3).stderr_has("budget of 1000000 bytes");
    refused.stderr_has(&format!("pipeline.toml:{line}:15")).stderr_has("--explain-size web");
    let explained = shop.longshore(&["image", "--explain-size", "web"]).code(3);
    let explained = explained.stdout_has("usr/local/bin/web").stdout_has("srv/big").stdout_has("0.1.0 had");
    let own = explained.stdout.lines().filter(|line| line.starts_with("own ")).count();
    assert_eq!(own, 3, "shared files, the service's own, the binary: {}", explained.stdout);
    shop.edit("pipeline.toml", "\"1MB\"", "\"50MB\"");
    shop.longshore(&["image", "web"]).code(0);
}

/// A program's parts as JSON, of one platform; they are always the whole file.
fn parts(explained: &Value, platform: &str) -> Vec<Value> {
    let program = &explained["platforms"][platform]["program"];
    let parts = program["parts"].as_array().unwrap_or_else(|| panic!("{explained:#}")).clone();
    assert_eq!(parts.iter().map(|part| part["size"].as_u64().unwrap()).sum::<u64>(), program["size"]);
    parts
}

fn part<'a>(parts: &'a [Value], name: &str) -> Option<&'a Value> {
    parts.iter().find(|part| part["name"] == name)
}

#[test]
fn a_program_is_explained_package_by_package_against_its_last_release() {
    let shop = Repository::new();
    shop.edit("pipeline.toml", "[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\", \"linux/386\"]");
    shop.commit("feat: three platforms");
    shop.quick(&["web"]).code(0);
    let text = "package shared\n\nimport \"encoding/xml\"\n\nconst Word = \"shared\"\n\n\
                func init() { _ = xml.Unmarshal([]byte(Word), new(struct{ X string })) }\n";
    shop.write("pkg/shared/shared.go", text).commit("feat: it reads XML");
    let explain = |shop: &Repository, args: &[&str]| {
        let args = [&["image", "--explain-size", "web"], args].concat();
        shop.longshore(&args).code(0)
    };
    let json = |shop: &Repository| -> Value {
        let said = explain(shop, &["--progress", "json"]);
        serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap()
    };
    let explained = json(&shop);
    for platform in ["linux/amd64", "linux/arm64", "linux/386"] {
        let parts = parts(&explained, platform);
        let xml = part(&parts, "encoding/xml").unwrap();
        assert!(xml["size"].as_u64().unwrap() > 10_000 && xml["previous"] == 0, "{platform}: {xml}");
        let own = part(&parts, "example.com/shop/cmd/web").unwrap();
        assert_eq!(own["module"], "example.com/shop");
        assert_eq!(own["size"], own["previous"], "{platform}: the same source is the same code");
        let table = part(&parts, ".gopclntab").unwrap();
        assert!(table["size"].as_u64() > table["previous"].as_u64(), "{platform}: {table}");
        assert!(part(&parts, "symbols").is_none(), "`-s` and `-w` are the default: {platform}");
        assert!(part(&parts, "debug information").is_none(), "{platform}");
    }
    // What the linker says of its own symbols is the measure; without `-s` and `-w` they are there.
    let text = explain(&shop, &[]).stdout_has("standard library").stdout_has("since 0.1.0").stdout;
    assert!(
        text.lines().any(|line| line.trim_start().starts_with("encoding/xml ") && line.contains('+')),
        "{text}"
    );
    shop.append("pipeline.toml", "[build]\nldflags = []\n");
    let whole = parts(&json(&shop), "linux/amd64");
    for name in ["symbols", "debug information"] {
        assert!(part(&whole, name).unwrap()["size"].as_u64().unwrap() > 100_000, "{name}");
    }
    let symbols =
        succeed(command("go").args(["tool", "nm", "-size"]).arg(shop.path("dist/bin/web/linux_amd64/web")));
    let of = |line: &str| -> Option<u64> {
        let [_, size, kind, name] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        (kind.eq_ignore_ascii_case("t") && name.starts_with("encoding/xml.")).then(|| size.parse().unwrap())
    };
    let said = symbols.lines().filter_map(of).sum::<u64>() as f64;
    let found = part(&whole, "encoding/xml").unwrap()["size"].as_u64().unwrap() as f64;
    // Up to 31 bytes of room behind a function are part of it here.
    assert!((1.0..1.15).contains(&(found / said)), "{found} and {said}");
    // A clone without that image asks the registry for it.
    shop.git(["checkout", "--quiet", "pipeline.toml"]);
    std::fs::remove_dir_all(shop.path("dist/images")).unwrap();
    let again = json(&shop);
    assert_eq!(part(&parts(&again, "linux/386"), "encoding/xml").unwrap()["previous"], 0);
    assert!(again["platforms"]["linux/386"]["layers"][0]["previous"].is_u64());
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    explain(&shop, &[]).stderr_has("can't be read, so its parts are not compared");
}

#[test]
fn a_docker_daemon_has_bases_too() {
    let Some(_) = tool("skopeo") else { return };
    let Some(dockerd) = Dockerd::start() else { return };
    let shop = Repository::new().env("DOCKER_HOST", dockerd.host());
    let archive = shop.path("dist.tar");
    make_base("in docker\n", &format!("docker-archive:{}:team/base:1", archive.display()));
    dockerd.docker(&["load", "--input", archive.to_str().unwrap()]);
    std::fs::remove_file(&archive).unwrap();
    shop.append("pipeline.toml", "[services.api.image]\nbase = \"docker-daemon:team/base:1\"\n");
    shop.longshore(&["base", "update"]).code(0);
    let id = dockerd.docker(&["image", "inspect", "--format", "{{.Id}}", "team/base:1"]);
    assert!(shop.read("pipeline.toml").contains(&format!("\"docker-daemon:team/base:1@{}\"", id.trim())));
    shop.commit("feat: on a base");
    shop.longshore(&["image", "api"]).code(0);
    let (manifest, config) = image(&shop, "api");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 4);
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.base.name"], "team/base:1");
    // The same from the same daemon; another image under its name is refused.
    let digest = shop.digest("api");
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.longshore(&["image", "api"]).code(0);
    assert_eq!(shop.digest("api"), digest);
    make_base("other\n", &format!("docker-archive:{}:team/base:1", archive.display()));
    dockerd.docker(&["load", "--input", archive.to_str().unwrap()]);
    shop.longshore(&["image", "api"]).code(4).stderr_has("has moved").stderr_has(id.trim());
}

#[test]
fn hostile_layers_end_the_run_and_leave_nothing() {
    for (name, part) in
        [("../evil", "leads out of the image"), ("bomb", "decompression bomb"), ("short", "were said")]
    {
        let shop = Repository::new();
        hostile_layout(&shop, name);
        shop.append("pipeline.toml", "[services.api.image]\nbase = \"oci:base\"\n");
        shop.commit("feat: on a base");
        shop.longshore(&["image", "api"]).code(4).stderr_has(part).stderr_has("pipeline.toml:");
        assert!(
            !shop.path("dist/images/api/index.json").exists()
                || !shop.read("dist/images/api/index.json").contains("0.1.0")
        );
        let names: Vec<_> = std::fs::read_dir(shop.path("dist/images/api"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".base-")), "{names:?}");
    }
}

/// An OCI layout `base` with one layer that no image should have.
fn hostile_layout(shop: &Repository, name: &str) {
    let mut tar = tarred(name);
    if name == "bomb" {
        tar = vec![0; 300 << 20];
    }
    let diff_id = crate::registry::sha256(&tar);
    shop.write("plain", &tar);
    succeed(command("gzip").args(["-1", "-n"]).arg(shop.path("plain")));
    let layer = std::fs::read(shop.path("plain.gz")).unwrap();
    std::fs::remove_file(shop.path("plain.gz")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = crate::registry::sha256(bytes);
        shop.write(&format!("base/blobs/sha256/{}", &digest[7..]), bytes);
        digest
    };
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
            .to_string();
    let size = if name == "short" { layer.len() + 1 } else { layer.len() };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": put(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": put(&layer), "size": size}],
    })
    .to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": put(manifest.as_bytes()), "size": manifest.len()}],
    });
    shop.write("base/index.json", index.to_string());
    shop.write("base/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
}

/// A tar with one empty file of this name (POSIX ustar), as no well-behaved writer makes it.
fn tarred(name: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, "00000000000\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [&header[..], &[0; 1024]].concat()
}
