//! What builds Dockerfiles, when nothing changed, when it is killed, when its disk is full, and its caches.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::builder::{Builder, buildx};
use crate::builds::{self, Small};
use crate::docker::Dockerd;
use crate::dockerfile::shop;
use crate::process::{command, succeed};
use crate::registry::Registry;
use crate::repository::{Repository, exit_code};
use crate::tool::{skip, tool};

/// State and reason of the job that makes an image.
#[track_caller]
fn image_job(shop: &Repository, service: &str) -> (String, String) {
    let plan = shop.longshore(&["plan", "--all", "--format", "json"]).code(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let id = format!("image:{service}:linux/amd64");
    let job = plan["jobs"].as_array().unwrap().iter().find(|job| job["id"] == id.as_str()).unwrap().clone();
    (job["state"].as_str().unwrap().to_owned(), job["why"].as_str().unwrap().to_owned())
}

/// The same shop on a machine that has Git and Go alone.
fn without_engines(shop: Repository, folder: &tempfile::TempDir) -> Repository {
    for program in ["git", "go"] {
        std::os::unix::fs::symlink(tool(program).unwrap(), folder.path().join(program)).unwrap();
    }
    shop.env("PATH", folder.path())
}

#[test]
fn where_nothing_changed_no_engine_is_started() {
    if tool("buildah").is_none() {
        return;
    }
    let shop = shop("buildah");
    assert_eq!(image_job(&shop, "api"), ("run".to_owned(), "not built here before".to_owned()));
    shop.longshore(&["image", "api"]).code(0);
    let before = shop.digest("api");
    let folder = tempfile::tempdir().unwrap();
    let shop = without_engines(shop, &folder);
    assert_eq!(image_job(&shop, "api"), ("cached".to_owned(), "nothing changed".to_owned()));
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.longshore(&["image", "api"]).code(0);
    assert_eq!(shop.digest("api"), before);
    // What decides is content and mode, not the time.
    let program = shop.path("prebuilt/amd64/api");
    let bytes = std::fs::read(&program).unwrap();
    std::fs::write(&program, &bytes).unwrap();
    assert_eq!(image_job(&shop, "api").0, "cached");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(image_job(&shop, "api"), ("run".to_owned(), "./prebuilt/amd64/api changed".to_owned()));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(image_job(&shop, "api").0, "cached");
    shop.longshore(&["image", "api"]).code(0);
    shop.edit("pipeline.toml", "APP_ENV = \"development\"", "APP_ENV = \"other\"");
    assert!(image_job(&shop, "api").1.contains("build-arg APP_ENV changed"), "{:?}", image_job(&shop, "api"));
    shop.longshore(&["image", "api"]).code(4).stderr_has("`buildah` is not on PATH");
    shop.edit("pipeline.toml", "APP_ENV = \"other\"", "APP_ENV = \"development\"");
    // What may be another thing tomorrow is always built, and the plan says why.
    let dockerfile = shop.read("Dockerfile");
    for (from, to, why) in [
        ("FROM scratch", "FROM alpine:3", "always built: its base `alpine:3` has no digest"),
        (
            "COPY prebuilt",
            "ADD https://x/y /y\nCOPY prebuilt",
            "what it adds from `https://x/y` has no checksum",
        ),
        ("COPY prebuilt", "COPY --from=alpine /y /y\nCOPY prebuilt", "takes from `alpine` has no digest"),
    ] {
        shop.edit("Dockerfile", from, to);
        let (state, told) = image_job(&shop, "api");
        assert!(state == "run" && told.contains(why), "{told}");
        shop.write("Dockerfile", &dockerfile);
    }
    std::fs::remove_file(shop.path(".dockerignore")).unwrap();
    assert_eq!(image_job(&shop, "api").1, "always built: its context holds `.git`, which every run changes");
    shop.longshore(&["explain", "api", "image"]).code(0).stdout_has("always built");
}

#[test]
fn what_is_edited_while_it_is_built_is_not_kept() {
    let Some(buildah) = tool("buildah") else { return };
    let shop = shop("buildah");
    let folder = tempfile::tempdir().unwrap();
    let edited = shop.path("prebuilt/notes.txt");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *' build '*) [ -e \"$(dirname $0)/edit\" ] && echo x > {} ;; esac\nexec {} \"$@\"\n",
        edited.display(),
        buildah.display()
    );
    std::fs::write(folder.path().join("buildah"), script).unwrap();
    std::fs::write(folder.path().join("edit"), "").unwrap();
    crate::process::run("chmod", ["+x".as_ref(), folder.path().join("buildah").as_os_str()]);
    let rest = std::env::split_paths(&crate::tool::variable("PATH").unwrap()).collect::<Vec<_>>();
    let path = std::env::join_paths([folder.path().to_owned()].iter().chain(&rest)).unwrap();
    let shop = shop.env("PATH", path);
    shop.longshore(&["image", "api"]).code(4).stderr_has("was edited meanwhile: ./prebuilt/notes.txt is new");
    std::fs::remove_file(folder.path().join("edit")).unwrap();
    std::fs::remove_file(&edited).unwrap();
    assert_eq!(image_job(&shop, "api").0, "run");
    shop.longshore(&["image", "api"]).code(0);
}

/// A bridge of the tests' own: BuildKit's steps want a network, and the machine's daemon may have the default.
struct Bridge(String);

impl Bridge {
    fn new(number: u8) -> Option<Self> {
        let ip = tool("ip")?;
        if !nix::unistd::geteuid().is_root() {
            skip("a bridge needs root");
            return None;
        }
        let name = format!("ls{}-{number}", std::process::id() % 100_000);
        succeed(command(&ip).args(["link", "add", "name", &name, "type", "bridge"]));
        let bridge = Self(name);
        succeed(command(&ip).args(["addr", "add", &format!("10.251.{number}.1/24"), "dev", &bridge.0]));
        succeed(command(&ip).args(["link", "set", &bridge.0, "up"]));
        Some(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = command("ip").args(["link", "del", &self.0]).status();
    }
}

/// A shop whose `web` is built by docker's daemon, with a step that runs.
fn with_docker(step: &str, dockerd: &Dockerd) -> Option<Repository> {
    let dockerfile =
        format!("FROM scratch\nCOPY busybox /busybox\nRUN [{step}]\nUSER 1:1\nENTRYPOINT [\"/busybox\"]\n");
    let shop = builds::shop(&dockerfile, "")?;
    shop.edit("pipeline.toml", "builder = \"second\"", "engine = \"docker\"");
    shop.commit("feat: by docker");
    Some(shop.env("DOCKER_HOST", dockerd.host()))
}

/// Containers and images, dangling ones too.
fn left(dockerd: &Dockerd) -> String {
    let images = dockerd.docker(&["image", "ls", "--all", "--quiet"]);
    format!("{}{images}", dockerd.docker(&["container", "ls", "--all", "--quiet"]))
}

/// Starts a run and waits until its step is under way; gives the rest of what it prints.
fn under_way(shop: &Repository) -> (std::process::Child, impl Iterator<Item = String>) {
    let mut run = shop.start(&["image", "web", "--verbose", "--progress", "plain"]);
    let stderr = run.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    let mut before = Vec::new();
    let started = lines.by_ref().any(|line| {
        before.push(line);
        before[before.len() - 1].contains("RUN [\"/busybox\", \"sleep\"")
    });
    assert!(started, "{}", before.join("\n"));
    (run, lines)
}

#[test]
fn a_killed_run_and_a_dead_daemon_leave_nothing_in_docker() {
    let Some(bridge) = Bridge::new(1) else { return };
    let Some(mut dockerd) = Dockerd::start_in(tempfile::tempdir().unwrap(), &bridge.0) else { return };
    let Some(shop) = with_docker("\"/busybox\", \"sleep\", \"5\"", &dockerd) else { return };
    assert_eq!(left(&dockerd), "");
    // The run, by SIGKILL: its client goes with the next one.
    let (mut run, _) = under_way(&shop);
    run.kill().unwrap();
    run.wait().unwrap();
    // The daemon, in the next.
    let (mut run, lines) = under_way(&shop);
    dockerd.kill();
    let rest: Vec<String> = lines.collect();
    assert_eq!(exit_code(run.wait().unwrap()), 4, "{}", rest.join("\n"));
    assert!(
        !shop.path("dist/artifacts.json").exists() || shop.artifacts()["services"]["web"]["digest"].is_null()
    );
    dockerd.serve().unwrap();
    assert_eq!(left(&dockerd), "");
    shop.longshore(&["image", "web"]).code(0);
    let digest = shop.digest("web");
    assert_eq!(left(&dockerd), "");
    // What a run leaves that is killed between a build and its end.
    let name = "longshore-build/web:left";
    std::fs::create_dir(shop.path(".git/longshore/dockerfile-left")).unwrap();
    let client = tool("docker").unwrap();
    shop.write(".git/longshore/dockerfile-left/in-daemon", format!("{}\n{name}", client.display()));
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("busybox.tar").display().to_string();
    succeed(command("tar").args(["-cf", &tar, "busybox"]).current_dir(shop.root()));
    dockerd.docker(&["import", &tar, name]);
    assert_ne!(left(&dockerd), "");
    shop.longshore(&["image", "web"]).code(0);
    assert_eq!(left(&dockerd), "");
    assert_eq!(shop.digest("web"), digest);
}

#[test]
fn a_killed_build_of_buildah_s_leaves_no_container() {
    let (Some(buildah), true) = (tool("buildah"), nix::unistd::geteuid().is_root()) else { return };
    let dockerfile = "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sleep\", \"5\"]\nUSER 1:1\n";
    let Some(shop) = builds::shop(dockerfile, "") else { return };
    shop.edit("pipeline.toml", "builder = \"second\"", "engine = \"buildah\"");
    shop.commit("feat: by buildah");
    let containers = || {
        let storages = std::fs::read_dir(shop.cache().join("longshore/buildah")).unwrap();
        let storage = storages.flatten().next().unwrap().path();
        let mut command = command(&buildah);
        command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        succeed(command.args(["containers", "--all", "--quiet"]))
    };
    let (mut run, _) = under_way(&shop);
    run.kill().unwrap();
    run.wait().unwrap();
    shop.longshore(&["image", "web"]).code(0);
    assert_eq!(containers(), "");
}

#[test]
fn a_full_disk_of_the_daemons_is_no_verdict_and_the_next_run_converges() {
    let Some(bridge) = Bridge::new(2) else { return };
    let folder = tempfile::tempdir().unwrap();
    let small = Small(folder.path().to_owned());
    succeed(command("mount").args(["-t", "tmpfs", "-o", "size=40m", "none"]).arg(folder.path()));
    let Some(dockerd) = Dockerd::start_in(folder, &bridge.0) else { return };
    let step = "\"/busybox\", \"dd\", \"if=/dev/zero\", \"of=/big\", \"bs=1M\", \"count=64\"";
    let Some(shop) = with_docker(step, &dockerd) else { return };
    shop.longshore(&["image", "web"]).code(4).stderr_has("found no room on the disk");
    assert_eq!(left(&dockerd), "");
    succeed(command("mount").args(["-o", "remount,size=400m"]).arg(&small.0));
    shop.longshore(&["image", "web"]).code(0);
    assert_eq!(left(&dockerd), "");
    drop(dockerd);
    drop(small);
}

#[test]
fn caches_are_written_and_read_and_one_that_fails_warns() {
    let (Some(builder), Some(registry)) = (Builder::start(), Registry::start()) else { return };
    let dockerfile = "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"/busybox date +%N > /when\"]\nUSER 1:1\n";
    let Some(shop) = builds::shop(dockerfile, "") else { return };
    builder.join(&shop, "second");
    let pipeline = shop.read("pipeline.toml");
    let cached = |line: &str| {
        shop.write("pipeline.toml", format!("{pipeline}{line}\n"));
    };
    // An unreachable registry and a folder that can't be made cost a warning each.
    cached("cache-to = [\"type=registry,ref=127.0.0.1:1/x/cache\", \"type=local,dest=go.mod/cache\"]");
    shop.longshore(&["image", "web"])
        .code(0)
        .stderr_has("the cache of `web` was not exported: `go.mod/cache` can't be written")
        .stderr_has("the cache of `web` was not exported: error writing")
        .stderr_has("the image is whole");
    // A builder that knows nothing takes the step from either cache: its time is the first one's.
    let layers = |shop: &Repository| {
        let digest = shop.artifacts()["services"]["web"]["platforms"]["linux/amd64"]["digest"].clone();
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let manifest: Value =
            serde_json::from_str(&shop.read(&format!("dist/images/web/blobs/sha256/{hex}"))).unwrap();
        manifest["layers"].clone()
    };
    let place = format!("type=registry,ref={}/team/cache", registry.host());
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("cache").display().to_string();
    let caches =
        [(place.clone(), place), (format!("type=local,dest={local}"), format!("type=local,src={local}"))];
    for (number, (to, from)) in caches.into_iter().enumerate() {
        // Nothing is known of it here.
        shop.edit("Dockerfile", "USER 1:1\n", &format!("USER 1:1\nLABEL number={number}\n"));
        cached(&format!("cache-to = [\"{to},mode=max\"]"));
        shop.longshore(&["image", "web"]).code(0).stderr_lacks("was not exported");
        let first = layers(&shop);
        let other = Builder::start().unwrap();
        other.join(&shop, &format!("other{number}"));
        cached(&format!("cache-from = [\"{from}\"]"));
        shop.edit("pipeline.toml", "builder = \"second\"", &format!("builder = \"other{number}\""));
        shop.longshore(&["image", "web"]).code(0);
        assert_eq!(layers(&shop), first, "{from}");
    }
}

#[test]
fn buildah_s_cache_that_fails_warns() {
    if tool("buildah").is_none() {
        return;
    }
    let shop = shop("buildah");
    shop.edit("pipeline.toml", "build-args = { APP_ENV = \"development\" }\n", "");
    shop.append("pipeline.toml", "cache-to = [\"127.0.0.1:1/x/cache\"]\n");
    shop.edit("Dockerfile", "ARG VERSION\n", "");
    shop.edit("Dockerfile", "LABEL built.version=$VERSION\n", "");
    shop.commit("feat: a cache");
    shop.longshore(&["image", "api"])
        .code(0)
        .stderr_has("the cache of `api` was not exported: failed pushing cache to");
}

#[test]
fn what_an_engine_lacks_is_said_at_its_place() {
    let shop = shop("docker");
    shop.append("pipeline.toml", "cache-to = [\"type=registry,ref=127.0.0.1:1/x\"]\n");
    shop.longshore(&["check"])
        .code(2)
        .stderr_has("`docker` without buildx can't write a cache, and service `api` has `cache-to`")
        .stderr_has("pipeline.toml:")
        .stderr_has("^^^^");
    shop.edit("pipeline.toml", "engine = \"docker\"", "engine = \"buildah\"");
    shop.longshore(&["check"]).code(2).stderr_has("`buildah` confuses the values of `ARG`s in its caches");
    shop.edit("pipeline.toml", "type=registry,ref=127.0.0.1:1/x", "type=local,dest=x");
    shop.longshore(&["check"]).code(2).stderr_has("`buildah` knows no cache but a registry's");
    // Where the machine decides, the run says it.
    shop.edit("pipeline.toml", "engine = \"buildah\"", "engine = \"buildx\"");
    shop.longshore(&["check"]).code(0);
    let (Some(()), Some(dockerd)) = (buildx(&shop), Dockerd::start()) else { return };
    let shop = shop.env("DOCKER_HOST", dockerd.host());
    shop.longshore(&["image", "api"])
        .code(4)
        .stderr_has("buildx's builder of the driver `docker` can't write a cache")
        .stderr_has("pipeline.toml:")
        .stderr_has("cache-to = [");
}

#[test]
fn doctor_lists_the_engines_and_who_needs_them() {
    let with_engines = shop("auto");
    let doctor = |shop: &Repository| shop.longshore(&["doctor", "--offline"]);
    // None at all: what is missing, for whom, and what mends it.
    let folder = tempfile::tempdir().unwrap();
    let bare = without_engines(shop("auto"), &folder);
    doctor(&bare)
        .code(4)
        .stdout_has("MISSING  Dockerfiles")
        .stdout_has("`buildah` is not on PATH")
        .stdout_has("needed: any engine, by `api`")
        .stdout_has("`apt-get install buildah`");
    bare.edit("pipeline.toml", "engine = \"auto\"", "builder = \"far\"");
    doctor(&bare).code(4).stdout_has("MISSING  builder far").stdout_has("docker buildx create --name far");
    if tool("buildah").is_none() {
        return;
    }
    let shop = with_engines;
    let run = doctor(&shop);
    assert!(!run.stdout.contains("MISSING  Dockerfiles"), "{run}");
    run.stdout_has("buildah").stdout_has("for `api`");
    shop.edit("pipeline.toml", "engine = \"auto\"", "engine = \"buildx\"");
    doctor(&shop).code(4).stdout_has("MISSING  buildx").stdout_has("needed: by `api`");
    let (Some(()), Some(builder)) = (buildx(&shop), Builder::start()) else { return };
    builder.join(&shop, "near");
    shop.edit("pipeline.toml", "engine = \"buildx\"", "builder = \"near\"");
    doctor(&shop).stdout_has("builder near").stdout_has("answers to buildx");
    builder.kill();
    doctor(&shop).code(4).stdout_has("MISSING  builder near").stdout_has("does not answer");
}
