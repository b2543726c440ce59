//! Versions that follow from commits, as `plan` tells them and `release` records them.

use crate::repository::Repository;
use crate::shop::QUICK;

/// A shop that is released as 0.1.0 of everything.
fn released() -> Repository {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    shop
}

#[test]
fn commits_raise_the_services_that_import_what_they_touch() {
    let shop = Repository::new();
    assert_eq!(shop.planned(&[]), "api 0.1.0, web 0.1.0");
    shop.quick(&[]).code(0);
    assert_eq!(shop.planned(&[]), "");

    shop.append("pkg/store/store.go", "\n// More is another.\nconst More = \"more\"\n").commit("feat: more");
    assert_eq!(shop.planned(&[]), "api 0.2.0", "only api imports it");
    shop.quick(&[]).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.2.0");

    shop.append("pkg/shared/shared.go", "\n// Other is another.\nconst Other = 1\n").commit("fix: a word");
    assert_eq!(shop.planned(&[]), "api 0.2.1, web 0.1.1");
    shop.append("cmd/web/main.go", "\n// A comment.\n").commit("feat!: other answers");
    assert_eq!(shop.planned(&[]), "api 0.2.1, web 0.2.0", "below 1.0.0 a break is minor");
    assert_eq!(shop.planned(&["--bump", "major", "web"]), "web 1.0.0");

    // Nobody imports it.
    let quiet = released();
    quiet
        .append("pkg/spare/spare.go", "\n// More is another.\nconst More = 1\n")
        .commit("feat: more to spare");
    assert_eq!(quiet.planned(&[]), "");
    quiet.write("README.md", "# Shop\n").commit("docs: a page");
    assert_eq!(quiet.planned(&[]), "");
    let tip = quiet.git(["rev-parse", "refs/longshore/local/releases"]);
    quiet.quick(&[]).code(0);
    assert_eq!(quiet.git(["rev-parse", "refs/longshore/local/releases"]), tip);
}

#[test]
fn other_commits_do_what_the_configuration_says() {
    let shop = released();
    shop.append("pkg/store/store.go", "\n// More is another.\nconst More = 1\n").commit("chore: tidy");
    assert_eq!(shop.planned(&[]), "api 0.1.1", "the default is a patch");
    let before = shop.read("pipeline.toml");
    shop.write("pipeline.toml", format!("{before}\n[stages.versions]\nother = \"none\"\n"));
    shop.commit("ci: other commits release nothing");
    assert_eq!(shop.planned(&[]), "");
    shop.edit("pipeline.toml", "\"none\"", "\"error\"").commit("ci: other commits are refused");
    shop.longshore(&["plan", "--skip", QUICK]).code(3).stderr_has("chore: tidy");
}

#[test]
fn a_dependency_releases_who_imports_it() {
    let shop = Repository::new();
    for (name, word) in [("dep", "one"), ("other", "two")] {
        shop.write(&format!("third/{name}/go.mod"), format!("module example.com/{name}\n\ngo 1.26.0\n"));
        let text = format!(
            "// Package {name} holds a word.\npackage {name}\n\n// Word is the word.\nconst Word = \"{word}\"\n"
        );
        shop.write(&format!("third/{name}/{name}.go"), text);
    }
    shop.append("go.mod", "\nrequire example.com/dep v1.0.0\n\nreplace example.com/dep => ./third/dep\n");
    shop.edit(
        "cmd/web/main.go",
        "\t\"example.com/shop/pkg/shared\"\n",
        "\t\"example.com/dep\"\n\t\"example.com/shop/pkg/shared\"\n",
    );
    shop.edit("cmd/web/main.go", ", shared.Word", ", shared.Word, dep.Word");
    shop.commit("feat: a dependency");
    shop.quick(&[]).code(0);
    shop.edit("go.mod", "example.com/dep v1.0.0", "example.com/dep v1.0.1").commit("fix(deps): dep 1.0.1");
    assert_eq!(shop.planned(&[]), "web 0.1.1");
}

#[test]
fn pre_releases_count_up_and_graduate() {
    let shop = released();
    shop.append("cmd/api/main.go", "\n// A comment.\n").commit("feat: more");
    shop.quick(&["--pre", "rc"]).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.2.0-rc.1");
    shop.append("cmd/api/main.go", "\n// Another.\n").commit("fix: more");
    shop.quick(&["--pre", "rc"]).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.2.0-rc.2");
    shop.quick(&[]).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.2.0");
    assert_eq!(shop.planned(&[]), "");
}

#[test]
fn snapshots_are_never_recorded() {
    let shop = released();
    let refs = shop.recorded();
    let head = shop.append("cmd/api/main.go", "\n// A comment.\n").commit("feat: more");
    shop.quick(&["--snapshot"]).code(0);
    let artifacts = shop.artifacts();
    let version = artifacts["services"]["api"]["version"].as_str().unwrap();
    assert!(
        version.starts_with("0.2.0-dev.1.g") && head.starts_with(&version["0.2.0-dev.1.g".len()..]),
        "{version}"
    );
    assert_eq!(artifacts["services"]["web"], serde_json::Value::Null, "nothing of it changed");
    shop.append("cmd/api/main.go", "// Not committed.\n");
    shop.quick(&["--snapshot"]).code(0);
    let artifacts = shop.artifacts();
    let dirty = artifacts["services"]["api"]["version"].as_str().unwrap();
    assert!(dirty.starts_with(&format!("{version}.d")), "{dirty}");
    assert_eq!(shop.recorded(), refs);
}

#[test]
fn a_pushed_tag_asks_for_its_version() {
    let shop = released();
    shop.append("pkg/shared/shared.go", "\n// Other is another.\nconst Other = 1\n").commit("fix: a word");
    shop.git(["tag", "api/v1.4.0"]);
    shop.quick(&["api"]).code(0);
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "1.4.0");
    assert_eq!(shop.planned(&[]), "web 0.1.1");
}

#[test]
fn one_version_for_all_where_the_tag_names_no_service() {
    let shop = Repository::new();
    shop.edit("pipeline.toml", "name = \"shop\"\n", "name = \"shop\"\ntag = \"v{version}\"\n")
        .commit("ci: one version");
    shop.quick(&[]).code(0);
    shop.append("pkg/store/store.go", "\n// More is another.\nconst More = 1\n").commit("feat: more");
    assert_eq!(shop.planned(&[]), "api 0.2.0, web 0.2.0");
    shop.quick(&[]).code(0);
    let refs = shop.refs();
    assert!(refs.contains(&"refs/longshore/local/tags/v0.2.0".to_owned()), "{refs:?}");
}
