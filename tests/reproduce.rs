//! Whether a commit gives the same digests when all around it is another.

use std::ffi::OsStr;

use crate::repository::Repository;
use crate::tool::tool;

/// A service with few imports, as Go's cache is empty for the second build, that embeds a folder.
fn shop() -> Repository {
    let shop = Repository::empty();
    shop.write("go.mod", "module example.com/shop\n\ngo 1.26.0\n");
    shop.write(
        "cmd/api/main.go",
        "package main\n\nimport \"embed\"\n\n//go:embed data\nvar data embed.FS\n\n\
         func main() {\n\tif text, err := data.ReadFile(\"data/local.txt\"); err == nil {\n\t\tprintln(string(text))\n\t}\n}\n",
    );
    shop.write("cmd/api/data/one.txt", "one\n");
    shop.write(".gitignore", "/dist\nlocal.txt\n");
    shop.write(
        "pipeline.toml",
        "version = 1\n\n[project]\nname = \"shop\"\nplatforms = [\"linux/amd64\"]\n\n[services.api]\npackage = \"cmd/api\"\n",
    );
    shop.commit("feat: a shop");
    shop
}

#[test]
fn a_commit_gives_the_same_digests_elsewhere_and_what_differs_is_told_to_the_byte() {
    let shop = shop();
    shop.longshore(&["image", "--snapshot", "--all"]).code(0);
    let digest = shop.digest("api");
    // The first build is today's, out of the cache; the second one is made from nothing ten years on.
    let run = match tool("faketime") {
        Some(faketime) => {
            let program = [faketime.as_os_str(), OsStr::new("-f"), OsStr::new("+10y")];
            shop.behind(&program, &["verify-repro"])
        }
        None => shop.longshore(&["verify-repro", "api"]),
    };
    let run = run.code(0).stdout_has(&format!("api {digest}: the same twice, 1 platform\n"));
    assert!(run.stderr.contains("in a fresh checkout"), "{run}");

    // A file that Git does not know is embedded: it is in one build only.
    shop.write("cmd/api/data/local.txt", "something of this machine");
    let run = shop.longshore(&["verify-repro"]).code(3);
    let run = run.stdout_has("api for linux/amd64 differs in layer 2 of 2 (sha256:");
    assert!(run.stdout.contains("\n  usr/local/bin/api: bytes "), "{run}");
    let range = run.stdout.split_once("api: bytes ").unwrap().1;
    let (first, last) = range.split_once(' ').unwrap().0.split_once('-').unwrap();
    let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
    assert!(
        first < last
            && last
                < std::fs::metadata(shop.path("dist/bin/api/linux_amd64/api")).unwrap().len().max(last + 1),
        "{run}"
    );

    // What is not committed is no part of a commit; and nothing is left of any of it.
    shop.append("cmd/api/main.go", "\n// Changed.\n");
    shop.longshore(&["verify-repro"])
        .code(4)
        .stderr_has("M cmd/api/main.go")
        .stderr_has("what is compared is a commit");
    shop.git(["checkout", "--quiet", "--", "cmd/api/main.go"]);
    shop.longshore(&["verify-repro", "nothing"]).code(2);
    let state = std::fs::read_dir(shop.path(".git/longshore")).unwrap();
    let left: Vec<String> = state.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("reproduce-")), "{left:?}");
    assert_eq!(shop.git(["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_build_that_needs_what_is_not_committed_is_told_so() {
    let shop = shop();
    shop.edit("cmd/api/main.go", "//go:embed data\n", "//go:embed data data/local.txt\n");
    shop.write("cmd/api/data/local.txt", "here");
    shop.commit("feat: something of this machine");
    shop.longshore(&["verify-repro"])
        .code(1)
        .stderr_has("a fresh checkout of the same commit can't be built")
        .stderr_has("no matching files found")
        .stderr_has("git status --ignored");
}
