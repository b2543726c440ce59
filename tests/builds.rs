//! Builds with steps that run: what `init` writes, secrets, builders that go away, disks that are full.

use std::process::Stdio;

use crate::builder::{Builder, buildx};
use crate::process::{command, succeed, text};
use crate::registry::Registry;
use crate::repository::{Repository, exit_code};
use crate::tool::tool;

/// A shop whose `web` is built from this Dockerfile by a builder, with busybox in its context.
pub(crate) fn shop(dockerfile: &str, extra: &str) -> Option<Repository> {
    let shop = Repository::new();
    buildx(&shop)?;
    let busybox = tool("busybox")?;
    std::fs::copy(busybox, shop.path("busybox")).unwrap();
    shop.write("Dockerfile", dockerfile);
    shop.write(".dockerignore", "*\n!busybox\n");
    shop.edit(
        "pipeline.toml",
        "package = \"cmd/web\"",
        &format!("package = \"cmd/web\"\ndockerfile = \"Dockerfile\"\n{extra}"),
    );
    shop.append("pipeline.toml", "[image]\nbuilder = \"second\"\n");
    shop.commit("feat: an image from a Dockerfile");
    Some(shop)
}

#[test]
fn what_init_writes_builds_on_every_base() {
    let (Some(builder), Some(registry)) = (Builder::start(), Registry::start()) else { return };
    let Some(shop) = shop("FROM scratch\n", "") else { return };
    builder.join(&shop, "second");
    // Bases of the tests' own: a Go, and what the images stand on.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shop.path("busybox"), folder.path().join("busybox")).unwrap();
    std::fs::write(folder.path().join("apk"), "#!/bin/sh\necho apk \"$@\"\n").unwrap();
    std::fs::write(
        folder.path().join("Dockerfile"),
        "FROM scratch AS alpine\nCOPY busybox /bin/sh\nCOPY --chmod=755 apk /sbin/apk\nENV PATH=/usr/local/go/bin:/bin:/sbin\n\
         FROM scratch AS distroless\nCOPY apk /etc/ssl/certs/ca-certificates.crt\nUSER 65532:65532\n\
         FROM alpine AS golang\nCOPY --from=goroot bin /usr/local/go/bin\nCOPY --from=goroot pkg /usr/local/go/pkg\n\
         COPY --from=goroot src /usr/local/go/src\nCOPY --from=goroot go.env VERSION /usr/local/go/\nCOPY apk /etc/ssl/certs/ca-certificates.crt\n\
         COPY apk /tmp/\nENV GOROOT=/usr/local/go GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GOPROXY=off\n",
    )
    .unwrap();
    let goroot = succeed(shop.prepared("go").args(["env", "GOROOT"]));
    for (target, name) in [
        ("golang", "golang:1"),
        ("alpine", "alpine:3.22"),
        ("distroless", "distroless/static-debian12:nonroot"),
    ] {
        let output =
            format!("type=image,name={}/base/{name},push=true,compression=uncompressed", registry.host());
        succeed(
            shop.prepared("docker")
                .args(["buildx", "build", "--quiet", "--builder", "second", "--provenance=false"])
                .args(["--target", target, "--output", &output])
                .arg(format!("--build-context=goroot={}", goroot.trim()))
                .arg(folder.path()),
        );
    }
    shop.edit("pipeline.toml", "dockerfile = \"Dockerfile\"", "dockerfile = \"cmd/web/Dockerfile\"");
    let mirror = format!("{}/base", registry.host());
    for base in ["scratch", "distroless", "alpine"] {
        let _ = std::fs::remove_file(shop.path("cmd/web/Dockerfile"));
        let _ = std::fs::remove_file(shop.path("cmd/web/Dockerfile.dockerignore"));
        shop.write("cmd/web/Dockerfile", "FROM scratch\n");
        let init = ["init", "--dockerfile", "web", "--base", base, "--mirror", &mirror];
        shop.longshore(&init).code(2).stderr_has("is there already");
        // The configuration names it before it is there.
        shop.edit("pipeline.toml", "dockerfile = \"cmd/web/Dockerfile\"", "");
        std::fs::remove_file(shop.path("cmd/web/Dockerfile")).unwrap();
        shop.longshore(&init)
            .code(0)
            .stdout_has("dockerfile = \"cmd/web/Dockerfile\"")
            .stderr_lacks("warning");
        shop.edit(
            "pipeline.toml",
            "package = \"cmd/web\"",
            "package = \"cmd/web\"\ndockerfile = \"cmd/web/Dockerfile\"",
        );
        shop.append("pipeline.toml", "[stages.lint]\ndockerfile = \"error\"\n");
        shop.commit(&format!("feat: on {base}"));
        shop.longshore(&["lint", "web"]).code(0).stderr_has("nothing to better");
        shop.longshore(&["image", "web"]).code(0).stderr_has("buildx");
        let digest = shop.artifacts()["services"]["web"]["platforms"]["linux/amd64"]["digest"].clone();
        let blob = |digest: &serde_json::Value| -> serde_json::Value {
            let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
            serde_json::from_str(&shop.read(&format!("dist/images/web/blobs/sha256/{hex}"))).unwrap()
        };
        let config = blob(&blob(&digest)["config"]["digest"]);
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/web"]), "{base}");
        assert_eq!(config["config"]["User"], "65532:65532", "{base}");
        shop.edit("pipeline.toml", "[stages.lint]\ndockerfile = \"error\"\n", "");
    }
}

#[test]
fn a_builds_secret_is_nowhere_but_in_its_step() {
    let Some(builder) = Builder::start() else { return };
    let dockerfile = "FROM scratch\nCOPY busybox /busybox\n\
        RUN --mount=type=secret,id=token [\"/busybox\", \"sh\", \"-c\", \"/busybox cat /run/secrets/token; /busybox wc -c < /run/secrets/token > /length\"]\n\
        USER 1:1\nENTRYPOINT [\"/busybox\"]\n";
    let Some(shop) = shop(dockerfile, "build-secrets = { token = { env = \"BUILD_TOKEN\" } }\n") else {
        return;
    };
    builder.join(&shop, "second");
    shop.longshore(&["image", "web"])
        .code(2)
        .stderr_has("needs the secret `token`, and `BUILD_TOKEN` is not set");
    let secret = "correct-horse-battery-staple-4711";
    let shop = shop.env("BUILD_TOKEN", secret);
    let run = shop.longshore(&["image", "web", "--verbose"]).code(0);
    assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "{run}");
    assert!(run.stderr.contains("***"), "the step has printed it: {run}");
    // Nowhere in the work tree, Git's folder, the results or the cache, compressed layers aside.
    let found = command("grep")
        .args(["--recursive", "--binary-files=text", "--files-with-matches", secret])
        .arg(shop.root())
        .arg(shop.cache())
        .output()
        .unwrap();
    assert_eq!(text(&found.stdout), "");
    let layers = shop.path("dist/images/web/blobs/sha256");
    for blob in std::fs::read_dir(layers).unwrap() {
        let plain = command("gzip").args(["-dcf"]).arg(blob.unwrap().path()).output().unwrap();
        assert!(!text(&plain.stdout).contains(secret));
    }
}

#[test]
fn a_builder_that_dies_is_no_verdict_and_nothing_is_lost() {
    let Some(builder) = Builder::start() else { return };
    let dockerfile = "FROM scratch\nCOPY busybox /busybox\nUSER 1:1\nENTRYPOINT [\"/busybox\"]\n";
    let Some(shop) = shop(dockerfile, "") else { return };
    builder.join(&shop, "second");
    shop.longshore(&["image", "web"]).code(0);
    let before = shop.digest("web");
    shop.write("Dockerfile", format!("{dockerfile}RUN [\"/busybox\", \"sleep\", \"600\"]\n"));
    shop.commit("fix: a long step");
    let mut run = shop.start(&["image", "web", "--verbose", "--progress", "plain"]);
    let stderr = run.stderr.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    assert!(lines.any(|line| line.unwrap().contains("sleep")), "the step starts");
    builder.kill();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = run.wait().unwrap();
    assert_eq!(exit_code(status), 4, "{}", rest.join("\n"));
    // What was made before is there, the folder of the build is not.
    let skopeo = tool("skopeo").map(|skopeo| {
        let layout = format!("oci:{}:0.1.0", shop.path("dist/images/web").display());
        succeed(command(skopeo).args(["inspect", "--format", "{{.Digest}}", &layout]).stderr(Stdio::null()))
    });
    assert!(skopeo.is_none_or(|digest| digest.trim() == before));
    let state = std::fs::read_dir(shop.path(".git/longshore")).unwrap();
    let left: Vec<String> = state.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("dockerfile-")), "{left:?}");
    // No engine at all: each is named, with why.
    let empty = tempfile::tempdir().unwrap();
    for program in ["git", "go"] {
        std::os::unix::fs::symlink(tool(program).unwrap(), empty.path().join(program)).unwrap();
    }
    shop.edit("pipeline.toml", "builder = \"second\"", "engine = \"auto\"");
    let shop = shop.env("PATH", empty.path());
    shop.longshore(&["image", "web"])
        .code(4)
        .stderr_has("`docker` is not on PATH")
        .stderr_has("`buildah` is not on PATH");
}

/// A file system of a few megabytes, until it is dropped.
pub(crate) struct Small(pub(crate) std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = command("umount").args(["--lazy", "--recursive"]).arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_no_verdict() {
    if !nix::unistd::geteuid().is_root() {
        return crate::tool::skip("a file system of its own needs root");
    }
    let dockerfile = "FROM scratch\nCOPY busybox /busybox\n\
        RUN [\"/busybox\", \"dd\", \"if=/dev/zero\", \"of=/big\", \"bs=1M\", \"count=64\"]\nUSER 1:1\n";
    let Some(shop) = shop(dockerfile, "") else { return };
    let folder = tempfile::tempdir().unwrap();
    let _small = Small(folder.path().to_owned());
    succeed(command("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(folder.path()));
    let Some(builder) = Builder::start_in(folder) else { return };
    builder.join(&shop, "second");
    shop.longshore(&["image", "web"]).code(4).stderr_has("found no room on the disk");
}
