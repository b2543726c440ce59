//! What a build is sent, as the tool tells it, against what a real one gets.

use std::collections::BTreeSet;
use std::path::Path;

use longshore::facts::context;

use crate::builder::{Builder, buildx};
use crate::process::{command, succeed};
use crate::repository::Repository;
use crate::tool::tool;

/// The paths of a context that `COPY . /` has to choose from.
const FILES: &[&str] = &[
    ".git/HEAD",
    "a",
    "a.md",
    "ab",
    "b/a",
    "b/c/a",
    "b/c/d.go",
    "docs/a/x.md",
    "docs/x.md",
    "docs/y/x.md",
    "wild[1]/x",
    "x y",
    "é/a",
];

/// Each kind of pattern, and orders of them in which one undoes another.
const TABLE: &[&str] = &[
    "",
    "a\n",
    "/a\n",
    "./b/../a\n",
    "**/a\n",
    "*/a\n",
    "b/\n",
    "b/**\n",
    "b/**/a\n",
    "**\n",
    "*\n",
    "*.md\n",
    "**/*.md\n",
    "**.md\n",
    "?b\n",
    "[a-b]\n",
    "[^a]b\n",
    "[!a]\n",
    "\\a\n",
    "a\\.md\n",
    "wild\\[1\\]\n",
    "# a\n#\n  \n",
    "\u{feff}a\r\n",
    "  a  \nx y\n",
    "docs\n!docs/y\n",
    "!docs/y\ndocs\n",
    "*\n!b\nb/c\n",
    "*\n! b/c/*.go\n",
    "**\n!**/a\nb/c\n",
    "docs\n!docs/**/x.md\ndocs/y\n",
    "b\n!b/c\nb/c/a\n!b/c/a\n",
    "../a\n",
    "é\n",
    "a**\n",
    "**/b/**\n",
    "^a\n",
    "b^*\n",
    "docs/*/x.md\n!docs/y\n",
];

/// Files with patterns that nobody chose: the same ones in every run.
fn generated() -> Vec<String> {
    const WORDS: &[&str] = &["a", "b", "docs", "*", "**", "?", "x.md", "*.md", "c", "[ab]", "y", "b*"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut pick = |count: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % count as u64).unwrap()
    };
    let mut files = Vec::new();
    for _ in 0..24 {
        let mut file = String::new();
        for _ in 0..=pick(4) {
            if pick(3) == 0 {
                file.push('!');
            }
            let words: Vec<&str> = (0..=pick(2)).map(|_| WORDS[pick(WORDS.len())]).collect();
            file.push_str(&words.join("/"));
            file.push('\n');
        }
        files.push(file);
    }
    files
}

/// What a build of `COPY . /` gets of the context.
fn built(shop: &Repository, folder: &Path, ignore: &str) -> BTreeSet<String> {
    std::fs::write(folder.join("Dockerfile.dockerignore"), ignore).unwrap();
    let (file, tar) = (folder.join("Dockerfile"), folder.join("out.tar"));
    succeed(
        shop.prepared("docker")
            .args(["buildx", "build", "--quiet", "--builder", "second", "--provenance=false", "--file"])
            .arg(&file)
            .arg("--output")
            .arg(format!("type=tar,dest={}", tar.display()))
            .arg(folder.join("context")),
    );
    let listed = succeed(command("tar").args(["--quoting-style=literal", "-tf"]).arg(&tar));
    let path = |line: &str| line.trim_end_matches('/').to_owned();
    listed.lines().map(path).filter(|path| !path.is_empty()).collect()
}

#[test]
fn dockerignore_leaves_out_what_docker_leaves_out() {
    let shop = Repository::new();
    let (Some(()), Some(builder)) = (buildx(&shop), Builder::start()) else { return };
    builder.join(&shop, "second");
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = folder.path().join("context").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    std::fs::create_dir(folder.path().join("context/empty")).unwrap();
    std::os::unix::fs::symlink("../b", folder.path().join("context/docs/link")).unwrap();
    let file = folder.path().join("Dockerfile");
    std::fs::write(&file, "FROM scratch\nCOPY . /\n").unwrap();
    let mut differ = Vec::new();
    let table = TABLE.iter().map(|text| (*text).to_owned());
    for text in table.chain(generated()) {
        let docker = built(&shop, folder.path(), &text);
        let found = context::read(&file, &folder.path().join("context")).unwrap();
        let ours: BTreeSet<String> = found
            .entries
            .iter()
            .map(|entry| String::from_utf8(entry.path.as_bytes().to_vec()).unwrap())
            .collect();
        if ours != docker {
            let sent: Vec<&String> = docker.difference(&ours).collect();
            let kept: Vec<&String> = ours.difference(&docker).collect();
            differ.push(format!("{text:?}: docker alone sends {sent:?}, we alone {kept:?}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn what_is_sent_is_listed_with_what_will_be_regretted() {
    let shop = Repository::new();
    shop.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    shop.write(".dockerignore", "cmd\npkg\n.git\n");
    shop.edit("pipeline.toml", "package = \"cmd/web\"", "package = \"cmd/web\"\ndockerfile = \"Dockerfile\"");
    shop.write("big.bin", vec![0; 3_000_000]);
    shop.write("deploy/secrets.env", "A=b\n");
    shop.write("tls.pem", "x\n");
    shop.write("run.sh", "#!/bin/sh\r\necho\r\n");
    shop.write("notes.txt", format!("token ghp_{}\n", "a1B2".repeat(9)));
    std::os::unix::fs::symlink("/etc/passwd", shop.path("out")).unwrap();
    succeed(command("mkfifo").arg(shop.path("pipe")));
    let _socket = std::os::unix::net::UnixListener::bind(shop.path("socket")).unwrap();
    if nix::unistd::geteuid().is_root() {
        succeed(command("mknod").arg(shop.path("null")).args(["c", "1", "3"]));
    }
    shop.append(".gitignore", "/local.txt\n/generated\n");
    shop.write("local.txt", "x\n").write("generated/a/one.txt", "x\n").write("generated/two.txt", "x\n");
    let run = shop.longshore(&["image", "--context", "web"]).code(0);
    let run = run.stdout_has("without what `.dockerignore` names").stdout_has("3.0 MB  big.bin");
    for told in [
        "deploy/secrets.env: `secrets.env`",
        "tls.pem: a key or certificate",
        "run.sh: a script whose first line ends in CRLF",
        "run.sh: a script that is not executable",
        "notes.txt: a file that holds a GitHub token",
        "out: a link leads out of the context, to `/etc/passwd`",
        "pipe: a FIFO is sent",
        "socket: a socket is sent",
        "local.txt: Git ignores it",
        "generated/: Git ignores it",
    ] {
        assert!(run.stdout.contains(told), "{told:?}: {run}");
    }
    assert!(!run.stdout.contains("cmd/") && !run.stdout.contains(".git/"), "{run}");
    assert!(!nix::unistd::geteuid().is_root() || run.stdout.contains("null: a device is sent"), "{run}");
    // `check` says so too, the first of them, beside the advice on the Dockerfile.
    shop.longshore(&["check"])
        .code(0)
        .stdout_has("no faults")
        .stderr_has("the build of `web` is sent `deploy/secrets.env`")
        .stderr_has("more of what the build of `web` is sent")
        .stderr_has("`cargo xtask image --context web` lists them")
        .stderr_has("the image runs as root")
        .stderr_has("--> Dockerfile:1:1");
    shop.append("pipeline.toml", "[stages.lint]\ndockerfile = \"off\"\n");
    shop.longshore(&["check"]).code(0).stderr_lacks("as root");
    // A build is not stopped by any of it, and by no FIFO's silence.
    if tool("buildah").is_some() {
        shop.append("pipeline.toml", "[services.web.image]\nengine = \"buildah\"\n");
        shop.longshore(&["image", "web"]).code(0).stderr_has("more of what the build of `web` is sent");
    }
    shop.write(".dockerignore", "a\n[b\n");
    shop.longshore(&["image", "--context", "web"])
        .code(2)
        .stderr_has(".dockerignore:2:1: `[b` is no pattern");
    shop.longshore(&["image", "--context", "api"]).code(2).stderr_has("has no `dockerfile`");
    shop.longshore(&["image", "--context", "wbe"]).code(2).stderr_has("did you mean `web`?");
}
