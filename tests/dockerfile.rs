//! Services that are built from a Dockerfile, by every engine that this machine has.

use serde_json::Value;

use crate::builder::{Builder, buildx};
use crate::docker::Dockerd;
use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::tool::tool;

/// A static binary, made by the tests: no registry has to be asked for a base.
const DOCKERFILE: &str = "\
ARG APP_ENV=none
FROM scratch AS image
ARG APP_ENV
ARG TARGETARCH
ARG VERSION
COPY prebuilt/${TARGETARCH}/api /api
ENV APP_ENV=$APP_ENV
ENV SERVER_PORT=8080
LABEL built.version=$VERSION
USER 65532:65532
EXPOSE 8080
ENTRYPOINT [\"/api\"]
";

/// A shop whose `api` comes from a Dockerfile, committed; `engine` is written into pipeline.toml.
pub(crate) fn shop(engine: &str) -> Repository {
    let shop = Repository::new();
    shop.write("Dockerfile", DOCKERFILE);
    shop.write(".dockerignore", "*\n!prebuilt\n");
    shop.edit("pipeline.toml", ", SERVER_PORT = \"8080\"", "");
    shop.edit("pipeline.toml", "package = \"cmd/api\"", "package = \"cmd/api\"\ndockerfile = \"Dockerfile\"");
    shop.append("pipeline.toml", &format!("\n[services.api.image]\nengine = \"{engine}\"\n"));
    prebuild(&shop, "amd64");
    shop.commit("feat: an image from a Dockerfile");
    shop
}

/// Compiles `api` for the Dockerfile to copy.
fn prebuild(shop: &Repository, architecture: &str) {
    succeed(
        shop.prepared("go")
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-o",
                &format!("prebuilt/{architecture}/api"),
                "./cmd/api",
            ])
            .env("GOARCH", architecture)
            .env("CGO_ENABLED", "0"),
    );
}

/// Manifest and config of a platform of `api`.
#[track_caller]
fn image(shop: &Repository, platform: &str) -> (Value, Value) {
    let artifacts = shop.artifacts();
    let digest = artifacts["services"]["api"]["platforms"][platform]["digest"].as_str().unwrap();
    let blob = |digest: &str| -> Value {
        let path = format!("dist/images/api/blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
        serde_json::from_str(&shop.read(&path)).unwrap()
    };
    let manifest = blob(digest);
    let config = blob(manifest["config"]["digest"].as_str().unwrap());
    (manifest, config)
}

/// With the docker client that has BuildKit built in, which need not be the first on PATH, and a daemon.
fn with_docker(shop: Repository) -> Option<(Repository, Dockerd)> {
    let dockerd = Dockerd::start()?;
    let shop = shop.env("DOCKER_HOST", dockerd.host());
    Some((shop, dockerd))
}

#[test]
fn a_dockerfile_is_built_scanned_verified_and_pushed() {
    let Some((shop, dockerd)) = with_docker(shop("docker")) else { return };
    let Some(registry) = Registry::start() else { return };
    shop.dev(&registry.host());
    shop.remote();
    let Some(shop) = shop.scanner() else { return };
    shop.longshore(&["release", "--env", "dev", "--skip", "lint,test", "api"]).code(0);
    let (manifest, config) = image(&shop, "linux/amd64");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/api"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    let env = config["config"]["Env"].as_array().unwrap();
    assert!(env.contains(&"APP_ENV=development".into()), "{env:?}");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["built.version"], "0.1.0");
    assert_eq!(labels["org.opencontainers.image.version"], "0.1.0");
    let artifact = &shop.artifacts()["services"]["api"];
    let verdicts = &artifact["platforms"]["linux/amd64"]["verdicts"];
    assert_eq!(verdicts["verify"], "container", "{artifact:#}");
    assert_eq!(verdicts["scan"], "pass", "{artifact:#}");
    // Anybody's client can read what was pushed.
    let Some(skopeo) = tool("skopeo") else { return };
    let reference = format!("docker://{}", artifact["reference"].as_str().unwrap());
    let read = succeed(command(skopeo).args(["inspect", "--tls-verify=false", &reference]));
    assert!(read.contains("APP_ENV=development"), "{read}");
    assert_eq!(dockerd.docker(&["image", "ls", "--all", "--quiet"]), "", "nothing stays in the daemon");
    assert_eq!(dockerd.docker(&["container", "ls", "--all", "--quiet"]), "");
}

#[test]
fn a_remote_builder_makes_two_platforms_of_one_index() {
    let shop = shop("buildx");
    let (Some(()), Some(builder)) = (buildx(&shop), Builder::start()) else { return };
    builder.join(&shop, "second");
    prebuild(&shop, "arm64");
    shop.edit("pipeline.toml", "engine = \"buildx\"", "engine = \"buildx\"\nbuilder = \"second\"");
    shop.edit(
        "pipeline.toml",
        "platforms = [\"linux/amd64\"]",
        "platforms = [\"linux/amd64\", \"linux/arm64\"]",
    );
    shop.commit("feat: two platforms");
    shop.longshore(&["image", "api"]).code(0).stderr_has("buildx");
    for (platform, architecture) in [("linux/amd64", "amd64"), ("linux/arm64", "arm64")] {
        let (_, config) = image(&shop, platform);
        assert_eq!(config["architecture"], architecture);
    }
    let before = shop.digest("api");
    // A builder that ends each layer's times at the commit's makes the same image anew.
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.longshore(&["image", "api"]).code(0);
    assert_eq!(shop.digest("api"), before);
    // The tool that reads layouts agrees that both are there.
    let Some(skopeo) = tool("skopeo") else { return };
    let layout = format!("oci:{}:0.1.0", shop.path("dist/images/api").display());
    let raw = succeed(command(skopeo).args(["inspect", "--raw", &layout]));
    assert!(raw.contains("arm64") && raw.contains("amd64"), "{raw}");
    // Without it there is no verdict, and what was made before stays.
    builder.kill();
    shop.append("Dockerfile", "LABEL more=1\n").commit("fix: a label");
    shop.longshore(&["image", "api"]).code(4).stderr_has("second");
    shop.longshore(&["verify", "--from", "dist", "web"]).code(2);
}

#[test]
fn buildah_needs_no_daemon_and_leaves_nothing_behind() {
    if tool("buildah").is_none() {
        return;
    }
    let shop = shop("buildah");
    shop.append("pipeline.toml", "compression = \"zstd:3\"\n").commit("feat: smaller");
    shop.longshore(&["image", "api"]).code(0).stderr_has("buildah");
    let (manifest, config) = image(&shop, "linux/amd64");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let zstd = |layer: &Value| layer["mediaType"].as_str().unwrap().ends_with("tar+zstd");
    assert!(manifest["layers"].as_array().unwrap().iter().all(zstd), "{manifest:#}");
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Labels"]["built.version"], "0.1.0");
    let before = shop.digest("api");
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.longshore(&["image", "api"]).code(0);
    assert_eq!(shop.digest("api"), before);
}

#[test]
fn what_the_context_holds_decides_what_is_released() {
    let shop = shop("buildah");
    shop.write(".dockerignore", "*\n!prebuilt\n!assets\nassets/*.md\n").write("assets/a.txt", "a\n");
    shop.commit("feat: assets");
    assert_eq!(shop.planned(&[]), "api 0.1.0, web 0.1.0");
    shop.quick(&["web"]).code(0);
    if tool("buildah").is_none() {
        return;
    }
    shop.quick(&["api"]).code(0);
    assert_eq!(shop.planned(&[]), "");
    for (path, text, version) in [
        ("assets/README.md", "words\n", ""),
        ("README.md", "words\n", ""),
        ("assets/b.txt", "b\n", "api 0.1.1"),
        ("Dockerfile", "FROM scratch\nARG APP_ENV\nCOPY assets /\n", "api 0.1.1"),
    ] {
        shop.write(path, text).commit("fix: something");
        assert_eq!(shop.planned(&[]), version, "{path}");
    }
}

#[test]
fn a_dockerfile_is_checked_before_anything_is_built() {
    let shop = shop("auto");
    // An ARG that nobody sets, a build-arg that no ARG takes, a stage that is not there: all at once.
    shop.write("Dockerfile", "FROM scratch AS image\nARG DB_HOST\nARG API_ENV\nCOPY prebuilt /\n");
    shop.edit(
        "pipeline.toml",
        "dockerfile = \"Dockerfile\"",
        "dockerfile = \"Dockerfile\"\ncontext = \"nowhere\"",
    );
    shop.longshore(&["check"])
        .code(2)
        .stderr_has("nobody sets `ARG DB_HOST`, which has no default")
        .stderr_has("Dockerfile:2:5")
        .stderr_has("build-arg `APP_ENV` of service `api` is no `ARG` of `Dockerfile`")
        .stderr_has("did you mean `API_ENV`?")
        .stderr_has("context of service `api`: `nowhere` is not there");
    shop.edit("pipeline.toml", "context = \"nowhere\"", "target = \"imgae\"");
    shop.longshore(&["check"]).code(2).stderr_has("has no stage `imgae`").stderr_has("did you mean `image`?");
    shop.edit("pipeline.toml", "target = \"imgae\"", "");
    for (text, place, message) in [
        ("FROM scratch\nCOPPY a /\n", "Dockerfile:2:1", "unknown instruction `COPPY`"),
        ("FROM scratch\nRUN <<EOF\necho\n", "Dockerfile:", "here-document"),
        ("COPY a /\n", "Dockerfile:1:1", "FROM"),
        ("", "Dockerfile", "FROM"),
        ("FROM scratch AS a\nFROM scratch AS a\n", "Dockerfile:2:1", "duplicate stage name `a`"),
    ] {
        shop.write("Dockerfile", text);
        shop.longshore(&["check"]).code(2).stderr_has(place).stderr_has(message);
    }
    shop.write("Dockerfile", [0xff, 0xfe, 0]);
    shop.longshore(&["check"]).code(2).stderr_has("it is not UTF-8");
    std::fs::remove_file(shop.path("Dockerfile")).unwrap();
    shop.longshore(&["check"]).code(2).stderr_has("`Dockerfile` is not there");
}

#[test]
fn advice_warns_and_is_a_gate_where_the_lint_stage_says_so() {
    let shop = shop("auto");
    shop.append("Dockerfile", "USER root\n").commit("fix: as root");
    shop.longshore(&["lint", "api"])
        .code(0)
        .stderr_has("warning lint Dockerfile of api: the image runs as root")
        .stderr_has("--> Dockerfile:13:6")
        .stderr_has("13 | USER root")
        .stderr_has("|      ^^^^");
    shop.append("pipeline.toml", "[stages.lint]\ndockerfile = \"error\"\n");
    shop.longshore(&["lint", "api"])
        .code(3)
        .stderr_has("Dockerfile:13:6")
        .stderr_has("`[stages.lint]` makes them errors");
    shop.edit("pipeline.toml", "dockerfile = \"error\"", "dockerfile = \"off\"");
    shop.longshore(&["lint", "api"]).code(0).stderr_lacks("Dockerfile:13");
    shop.edit("pipeline.toml", "dockerfile = \"off\"", "dockerfile = \"error\"");
    shop.edit("Dockerfile", "USER root\n", "");
    shop.longshore(&["lint", "api"]).code(0);
}

#[test]
fn each_environment_has_a_build_of_its_own_where_its_args_differ() {
    if tool("buildah").is_none() {
        return;
    }
    let Some(registry) = Registry::start() else { return };
    let shop = shop("buildah");
    shop.dev(&registry.host());
    shop.write(
        "environments/prod.toml",
        format!("registry = \"{}/team\"\n[build-args]\nAPP_ENV = \"production\"\n", registry.host()),
    );
    shop.commit("ci: another environment");
    shop.remote();
    shop.quick(&["--env", "dev", "api"]).code(0);
    let dev = shop.digest("api");
    shop.quick(&["--env", "prod", "api"]).code(0);
    let prod = shop.digest("api");
    assert_ne!(dev, prod, "an ARG is in the layers' history and the variables");
    let (_, config) = image(&shop, "linux/amd64");
    assert!(config["config"]["Env"].as_array().unwrap().contains(&"APP_ENV=production".into()));
    // One version, one Git tag, a record of each build.
    let recorded = shop.git(["ls-tree", "-r", "--name-only", "refs/longshore/releases"]);
    let files: Vec<&str> = recorded.lines().filter(|line| !line.starts_with("commits/")).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with("builds/api/0.1.0/prod_"), "{files:?}");
    assert_eq!(files[1], "releases/api/0.1.0.json");
    let Some(skopeo) = tool("skopeo") else { return };
    let place = format!("docker://{}/team/api", registry.host());
    let tags = succeed(command(skopeo).args(["list-tags", "--tls-verify=false", &place]));
    assert!(tags.contains("\"0.1.0\"") && tags.contains("\"0.1.0_prod_"), "{tags}");
    // Both are done: neither is built again.
    for environment in ["dev", "prod"] {
        shop.quick(&["--env", environment, "api"]).code(0).stderr_lacks("done image");
    }
    // An edited environment is another build of the same version, and a commit is a new version of both.
    shop.edit("environments/prod.toml", "production", "live");
    shop.commit("ci: another word");
    assert_eq!(shop.planned(&["--env", "prod"]), "web 0.1.0");
}

#[test]
fn several_environments_have_their_builds_in_one_run() {
    if tool("buildah").is_none() {
        return;
    }
    let shop = shop("buildah");
    for (name, text) in [("local", ""), ("dev", ""), ("prod", "[build-args]\nAPP_ENV = \"production\"\n")] {
        shop.write(&format!("environments/{name}.toml"), text);
    }
    shop.commit("ci: environments");
    let singly = ["dev", "prod"].map(|name| {
        shop.longshore(&["image", "--env", name, "api"]).code(0);
        shop.digest("api")
    });
    assert_ne!(singly[0], singly[1]);
    let both = |list: &str| -> Vec<String> {
        shop.longshore(&["image", "--env", list, "api"]).code(0);
        let index: Value = serde_json::from_str(&shop.read("dist/images/api/index.json")).unwrap();
        let named = |part: &str| {
            let name = "org.opencontainers.image.ref.name";
            let fits = |found: &&Value| found["annotations"][name].as_str().unwrap().contains(part);
            index["manifests"].as_array().unwrap().iter().find(fits).unwrap()["digest"].to_string()
        };
        let other = list.split_once(',').unwrap().1;
        vec![shop.digest("api"), named(&format!("_{other}_")).trim_matches('"').to_owned()]
    };
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    assert_eq!(both("dev,prod"), singly);
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    assert_eq!(both("prod,dev"), [&*singly[1], &*singly[0]], "whichever is named first");
}

#[test]
fn a_service_may_be_nothing_but_a_dockerfile() {
    let shop = shop("buildah");
    shop.edit("pipeline.toml", "package = \"cmd/api\"\n", "");
    shop.write("prebuilt/notes.txt", "words\n");
    shop.commit("feat: api is nothing but a Dockerfile");
    assert_eq!(shop.planned(&[]), "api 0.1.0, web 0.1.0");
    shop.longshore(&["check"]).code(0);
    // Nothing of it is Go's business: its Dockerfile is looked at, and no module is tested for it.
    let run = shop.longshore(&["lint", "api"]).code(0).stderr_has("Dockerfile of api");
    assert!(!run.stderr.contains("lint ."), "{run}");
    shop.longshore(&["test", "api"]).code(0);
    if tool("buildah").is_none() {
        return;
    }
    let Some(shop) = shop.scanner() else { return };
    shop.longshore(&["release"]).code(0);
    let artifact = &shop.artifacts()["services"]["api"];
    let verdicts = &artifact["platforms"]["linux/amd64"]["verdicts"];
    assert_eq!((&verdicts["scan"], artifact["version"].as_str()), (&"pass".into(), Some("0.1.0")));
    assert_ne!(verdicts["verify"], Value::Null, "{artifact:#}");
    // The record says what it was made of, and the next release follows from that.
    let record = shop.git(["show", "refs/longshore/local/releases:releases/api/0.1.0.json"]);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["closure"]["packages"], serde_json::json!([]));
    assert_eq!(record["closure"].get("main"), None);
    assert_eq!(shop.planned(&[]), "");
    for (path, text, version) in [
        ("cmd/api/more.go", "package main\n", ""),
        ("go.mod", "module example.com/shop\n\ngo 1.26.1\n", "web 0.1.1"),
        ("prebuilt/notes.txt", "other words\n", "api 0.1.1, web 0.1.1"),
    ] {
        shop.write(path, text).commit("fix: something");
        assert_eq!(shop.planned(&[]), version, "{path}");
    }
    let plan = shop.longshore(&["plan", "--since", "HEAD~1"]).code(0);
    plan.stdout_has("prebuilt/notes.txt changed").stdout_has("web 0.1.0 unchanged");
    shop.longshore(&["explain", "api"]).code(0);
    shop.longshore(&["status"]).code(0).stdout_has("api");
    // Without any Go at all.
    let empty = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tool("git").unwrap(), empty.path().join("git")).unwrap();
    let shop = shop.env("PATH", empty.path());
    shop.longshore(&["plan"]).code(4).stderr_has("`go` is not installed");
    let web = shop.read("pipeline.toml");
    let web = &web[web.find("[services.web]").unwrap()..];
    let web = web.split("\n\n").next().unwrap().to_owned();
    shop.edit("pipeline.toml", &web, "");
    shop.longshore(&["plan"]).code(0).stdout_has("api");
    // Neither is an error, at its place.
    shop.edit("pipeline.toml", "dockerfile = \"Dockerfile\"", "");
    shop.longshore(&["check"])
        .code(2)
        .stderr_has("service `api` has neither `package` nor `dockerfile`")
        .stderr_has("`package` is required here")
        .stderr_has("pipeline.toml:");
}
