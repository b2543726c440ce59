use longshore::cancel::Cancel;
use longshore::facts::git::{Git, Identity};
use longshore::fault::{Exit, exit_of};
use longshore::host::process::Command;
use longshore::version::modfile::Change;

use super::repository::{AMBIENT, Repository, environment};

#[test]
fn a_repository_is_found_from_below() {
    let repository = Repository::new();
    repository.write("a/b/c", "x");
    let git = Git::open_with(&repository.path.join("a/b"), environment(), &Cancel::default()).unwrap();
    assert_eq!(git.root, repository.path);
    assert_eq!(git.dir, repository.path.join(".git"));
    assert!(!git.shallow);
}

#[test]
fn no_repository_and_no_commit_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Git::open_with(folder.path(), environment(), &Cancel::default()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains("is not in a Git repository"), "{error}");
    let error = Repository::empty().facts().head().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains("no commits"), "{error}");
    let bare = Repository::with_remote();
    let error = Git::open_with(&bare.remote(), environment(), &Cancel::default()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
}

#[test]
fn the_environments_own_git_variables_do_not_count() {
    // Another test, run as a hook would run it.
    let mut command = Command::new(std::env::current_exe().unwrap());
    command = command.args(["--exact", "git::facts::hostile_names_are_names"]);
    for name in AMBIENT {
        command = command.env(name, "/nonexistent");
    }
    let output = command.run(&Cancel::default()).unwrap_or_else(|error| panic!("{error:?}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn hostile_names_are_names() {
    let repository = Repository::new();
    repository.git(&["checkout", "--quiet", "-b", "a$(id)"]);
    repository.git(&["update-ref", "refs/tags/-x", "HEAD"]);
    repository.git(&["update-ref", "refs/tags/$(id)", "HEAD"]);
    let git = repository.facts();
    let head = git.head().unwrap();
    assert_eq!(head.branch.as_deref(), Some("a$(id)"));
    assert_eq!(head.subject, "feat: start");
    assert_eq!(head.commit, repository.head());
    let refs = git.refs(&[]).unwrap();
    assert_eq!(refs.iter().filter_map(|found| found.tag()).collect::<Vec<_>>(), ["$(id)", "-x"]);
    repository.git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(git.head().unwrap().branch, None);
}

#[cfg(unix)]
#[test]
fn files_with_line_breaks_and_bytes_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let repository = Repository::new();
    let name = std::ffi::OsStr::from_bytes(b"a\nb\xff \"c\".go");
    repository.write(name, "x");
    let git = repository.facts();
    let dirty = git.dirty().unwrap();
    assert_eq!(dirty.entries[0].path.to_string(), "a%0Ab%FF \"c\".go");
    assert_eq!(git.root.join(dirty.entries[0].path.to_path()), repository.path.join(name));
    let base = repository.head();
    let head = repository.commit("fix: names", &[]);
    let commits = git.commits(Some(&base), &head).unwrap();
    assert_eq!(commits[0].files[0].to_string(), "a%0Ab%FF \"c\".go");
}

#[test]
fn a_dirty_tree_is_listed_and_hashed() {
    let repository = Repository::new();
    repository.write(".gitignore", "ignored\n");
    repository.commit("chore: ignore", &[("kept.go", "a")]);
    let git = repository.facts();
    assert!(git.dirty().unwrap().is_clean());
    repository.write("ignored", "x");
    repository.write("kept.go", "b");
    repository.write("new/file.go", "c");
    let dirty = git.dirty().unwrap();
    let fault = dirty.refuse().unwrap_err();
    assert_eq!(fault.exit, Exit::Machine);
    assert!(
        fault.message.contains(".M kept.go") && fault.message.contains("?? new/file.go"),
        "{}",
        fault.message
    );
    assert_eq!(dirty.entries.len(), 2);

    let hash = |git: &Git| git.content_hash(dirty.entries.iter().map(|entry| &entry.path)).unwrap();
    let before = hash(&git);
    assert_eq!(before, hash(&git));
    repository.write("new/file.go", "d");
    assert_ne!(before, hash(&git));
}

#[test]
fn head_that_moves_is_noticed() {
    let repository = Repository::new();
    let git = repository.facts();
    let head = git.head().unwrap().commit;
    git.recheck(&head).unwrap();
    let new = repository.commit("fix: meanwhile", &[]);
    let error = git.recheck(&head).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains(head.short()) && error.to_string().contains(new.short()), "{error}");
}

#[test]
fn history_has_files_module_changes_and_only_a_merges_own_edits() {
    let repository = Repository::new();
    let base = repository.head();
    repository.commit(
        "feat: a",
        &[("go.mod", "module x\ngo 1.25\nrequire example.com/a v1.0.0\n"), ("a.go", "1\n2\n3\n")],
    );
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    repository.commit("fix: side", &[("side.go", "s")]);
    repository.git(&["checkout", "--quiet", "main"]);
    repository.commit(
        "fix(deps): security\n\nBREAKING CHANGE: none",
        &[("go.mod", "module x\ngo 1.25\nrequire example.com/a v1.0.1\n")],
    );
    repository.git(&["merge", "--quiet", "--no-commit", "side"]);
    let head = repository.commit("Merge branch 'side'", &[("a.go", "evil")]);
    repository.git(&["mv", "a.go", "b.go"]);
    let head_after = repository.commit("refactor: rename", &[]);

    let git = repository.facts();
    let commits = git.commits(Some(&base), &head_after).unwrap();
    let mut shown: Vec<String> = commits
        .iter()
        .map(|commit| {
            let files: Vec<String> = commit.files.iter().map(ToString::to_string).collect();
            format!("{}: {}", commit.subject(), files.join(" "))
        })
        .collect();
    assert_eq!(shown[..2], ["refactor: rename: a.go b.go", "Merge branch 'side': a.go"]);
    shown.sort();
    assert_eq!(
        shown[1..],
        [
            "feat: a: a.go go.mod",
            "fix(deps): security: go.mod",
            "fix: side: side.go",
            "refactor: rename: a.go b.go"
        ]
    );
    let security = commits.iter().find(|commit| commit.subject().starts_with("fix(deps)")).unwrap();
    assert_eq!(security.modules.len(), 1);
    assert!(matches!(&security.modules[0].what, Change::Module { path, to, .. }
        if path == "example.com/a" && to.as_deref() == Some("v1.0.1")));
    assert!(security.message.contains("BREAKING CHANGE"));

    assert_eq!(git.commits(Some(&head_after), &head_after).unwrap(), []);
    assert_eq!(git.commits(None, &head_after).unwrap().len(), 6);
    let found = git.ancestors([&base, &head, &head_after], &head).unwrap();
    assert_eq!(found, [base, head.clone()].into());
    let nowhere = "1".repeat(40).parse().unwrap();
    assert!(git.ancestors([&nowhere, &head_after], &head_after).unwrap().contains(&head_after));
    let error = git.commits(Some(&nowhere), &head).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
}

#[test]
fn all_facts_come_at_once_and_histories_are_shared() {
    let repository = Repository::with_remote();
    let first = repository.head();
    let second = repository.commit("fix: a", &[("a.go", "a")]);
    repository.git(&["tag", "gateway/v0.1.0", first.as_str()]);
    repository.write("new", "x");
    let git = repository.facts();
    let facts = git.facts(&["refs/longshore"]).unwrap();
    assert_eq!(facts.head.commit, second);
    assert_eq!(facts.dirty.entries.len(), 1);
    assert_eq!(facts.refs[0].peeled, first);
    assert_eq!(facts.remotes.keys().collect::<Vec<_>>(), ["origin"]);
    let histories = git
        .histories([None, Some(first.clone()), Some(second.clone()), Some(first.clone())], &second)
        .unwrap();
    let counts: Vec<usize> =
        [None, Some(first), Some(second)].iter().map(|base| histories[base].len()).collect();
    assert_eq!(counts, [2, 1, 0]);
}

#[test]
fn a_shallow_clone_is_deepened_or_refused() {
    let repository = Repository::with_remote();
    for number in 0..5 {
        repository.commit(&format!("fix: {number}"), &[("a.go", &number.to_string())]);
    }
    repository.git(&["push", "--quiet", "origin", "main"]);
    let clone = repository.clone_as("shallow", &["--depth", "1"]);
    let mut git = clone.facts();
    assert!(git.shallow);
    let fault = git.refuse_shallow().unwrap_err();
    assert_eq!(fault.exit, Exit::Machine);
    assert!(fault.hint.unwrap().contains("git fetch --unshallow"));
    git.unshallow("origin").unwrap();
    assert!(!git.shallow);
    assert_eq!(git.commits(None, &clone.head()).unwrap().len(), 6);

    let cut_off = repository.clone_as("cut-off", &["--depth", "1"]);
    cut_off.git(&["remote", "set-url", "origin", "/nonexistent"]);
    let error = cut_off.facts().unshallow("origin").unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
}

#[test]
fn pointers_are_not_content() {
    let repository = Repository::new();
    let git = repository.facts();
    git.refuse_pointers().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    repository.commit("feat: a", &[("model.bin", pointer)]);
    git.refuse_pointers().unwrap();
    repository.commit("feat: b", &[(".gitattributes", "*.bin filter=lfs diff=lfs\n")]);
    let error = git.refuse_pointers().unwrap_err();
    assert!(error.to_string().contains("model.bin"), "{error}");
    repository.write("model.bin", "content");
    git.refuse_pointers().unwrap();

    let head = repository.head();
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},third_party/lib")]);
    let error = git.refuse_pointers().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains("third_party/lib"), "{error}");
}

#[test]
fn nobody_is_guessed() {
    let repository = Repository::new();
    let git = repository.facts();
    assert_eq!(git.identity().unwrap(), Identity::default());
    repository.git(&["config", "user.name", "A. Person"]);
    repository.git(&["config", "user.email", "a@example.com"]);
    assert_eq!(git.identity().unwrap().to_string(), "A. Person <a@example.com>");
}

#[test]
fn remotes_are_read() {
    let repository = Repository::new();
    assert!(repository.facts().remotes().unwrap().is_empty());
    repository.git(&["remote", "add", "origin", "git@example.com:team/shop.git"]);
    let remotes = repository.facts().remotes().unwrap();
    assert_eq!(remotes["origin"].source().as_deref(), Some("https://example.com/team/shop"));
}
