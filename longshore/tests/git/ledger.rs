use longshore::fault::{Exit, exit_of};
use longshore::ledger::{File, Ledger, Scope};

use super::repository::{Repository, local_ledger, record, remote_ledger};

#[test]
fn what_is_recorded_is_read_back() {
    let repository = Repository::new();
    let git = repository.facts();
    let ledger = local_ledger(&git);
    assert_eq!(ledger.book().unwrap().tip, None);
    let first = repository.head();
    let records = [record("gateway", "0.1.0", &first), record("orders", "0.1.0", &first)];
    assert_eq!(ledger.record(&records).unwrap(), records);
    let second = repository.commit("feat: b", &[]);
    let next = [record("gateway", "0.10.0", &second), record("gateway", "0.9.0", &second)];
    ledger.record(&next).unwrap();

    let book = ledger.book().unwrap();
    assert_eq!(book.services().collect::<Vec<_>>(), ["gateway", "orders"]);
    assert_eq!(book.newest("gateway").unwrap().to_string(), "0.10.0");
    let known: Vec<String> = book
        .known("gateway")
        .iter()
        .map(|known| format!("{} {}", known.version, known.commit.short()))
        .collect();
    let [a, b] = [first.short(), second.short()];
    assert_eq!(known, [format!("0.1.0 {a}"), format!("0.9.0 {b}"), format!("0.10.0 {b}")]);
    let version = "0.1.0".parse().unwrap();
    let nothing = "9.9.9".parse().unwrap();
    let read =
        ledger.records(&book, [("orders", &version), ("gateway", &nothing), ("gateway", &version)]).unwrap();
    assert_eq!(read, [records[1].clone(), records[0].clone()]);

    let name = ledger.reference("releases");
    assert_eq!(repository.git(&["rev-list", "--count", &name]), "2");
    let author = repository.git(&["log", "-1", "--format=%an <%ae> %ct", &name]);
    assert_eq!(author, "A. Person <a@example.com> 1767323045");
    assert_eq!(repository.git(&["status", "--porcelain"]), "", "the user's index is as it was");
    repository.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn the_same_commit_again_is_adopted_and_another_is_refused() {
    let repository = Repository::new();
    let git = repository.facts();
    let ledger = local_ledger(&git);
    let theirs = record("gateway", "1.0.0", &repository.head());
    ledger.record(std::slice::from_ref(&theirs)).unwrap();
    let tip = ledger.book().unwrap().tip;

    let mut ours = theirs.clone();
    ours.released_by = "Somebody Else <b@example.com>".into();
    assert_eq!(ledger.record(&[ours]).unwrap(), std::slice::from_ref(&theirs));
    assert_eq!(ledger.book().unwrap().tip, tip, "nothing to write");

    let other = record("gateway", "1.0.0", &repository.commit("fix: a", &[]));
    let error = ledger.record(&[record("orders", "1.0.0", &other.commit), other.clone()]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Conflict);
    let message = error.to_string();
    assert!(message.contains(theirs.commit.as_str()) && message.contains(other.commit.as_str()), "{message}");
    assert_eq!(ledger.book().unwrap().tip, tip, "all or nothing");
}

#[test]
fn rehearsals_stay_in_the_clone() {
    let repository = Repository::with_remote();
    let git = repository.facts();
    // Even where the shared ledger lies among the branches.
    let ledger = Ledger::new(&git, "refs/heads/longshore", Scope::Local);
    let records = [record("gateway", "0.1.0", &repository.head())];
    ledger.record(&records).unwrap();
    assert_eq!(ledger.tag(&records).unwrap(), ["gateway/v0.1.0"]);
    assert_eq!(ledger.tag(&records).unwrap(), Vec::<String>::new());
    repository.git(&["push", "--quiet", "--tags", "origin"]);
    repository.git(&["push", "--quiet", "--all", "origin"]);
    assert_eq!(repository.git(&["ls-remote", "--refs", "origin"]).lines().count(), 1);
    assert_eq!(ledger.refresh().unwrap().tags(), [("gateway/v0.1.0", &repository.head())]);
}

#[test]
fn the_remote_is_mirrored_and_its_state_kept() {
    let repository = Repository::with_remote();
    let git = repository.facts();
    let ledger = remote_ledger(&git);
    let error = ledger.stored().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    let records = [record("gateway", "0.1.0", &repository.head())];
    ledger.record(&records).unwrap();
    ledger.tag(&records).unwrap();

    let clone = repository.clone_as("second", &["--no-tags"]);
    let other = clone.facts();
    let there = remote_ledger(&other);
    assert_eq!(there.book().unwrap().tip, None);
    let state = there.refresh().unwrap();
    assert_eq!(state.tags(), [("gateway/v0.1.0", &repository.head())]);
    assert_eq!(there.book().unwrap(), ledger.book().unwrap());
    assert_eq!(clone.git(&["status", "--porcelain"]), "");
    assert!(!clone.path.join(".git/FETCH_HEAD").exists());

    clone.git(&["remote", "set-url", "origin", "/nonexistent"]);
    let error = there.refresh().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Outside);
    let stored = there.stored().unwrap();
    assert_eq!(stored, state);
    assert!(stored.age() < 3600);
    assert_eq!(
        exit_of(&there.record(&[record("gateway", "0.2.0", &clone.head())]).unwrap_err()),
        Exit::Outside
    );
}

#[test]
fn tags_are_the_same_on_every_machine_and_at_most_three_a_push() {
    let repository = Repository::with_remote();
    // The hook counts the tags of each push.
    let hook = repository.remote().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\nwc -l >> pushes\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let head = repository.head();
    let records: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| record(name, "1.0.0", &head)).collect();
    let git = repository.facts();
    // No identity is configured: Git alone would refuse to make an annotated tag.
    let ledger = remote_ledger(&git);
    assert!(!ledger.tagged(&records).unwrap());
    assert_eq!(ledger.tag(&records).unwrap().len(), 5);
    assert!(ledger.tagged(&records).unwrap());
    let pushes = std::fs::read_to_string(repository.remote().join("pushes")).unwrap();
    assert_eq!(pushes.split_whitespace().collect::<Vec<_>>(), ["3", "2"]);

    let text = repository.git(&["cat-file", "tag", "refs/tags/a/v1.0.0"]);
    assert!(
        text.contains("tagger A. Person <a@example.com> 1700000000 +0000\n\na 1.0.0\n\nFeatures"),
        "{text}"
    );
    assert!(text.contains(&records[0].reference()) && text.contains("linux/amd64 sha256:"), "{text}");
    let object = repository.git(&["rev-parse", "refs/tags/a/v1.0.0"]);
    repository.git(&["push", "--quiet", "origin", ":refs/tags/a/v1.0.0"]);
    let clone = repository.clone_as("second", &["--no-tags"]);
    let other = clone.facts();
    assert_eq!(remote_ledger(&other).tag(&records).unwrap(), ["a/v1.0.0"]);
    assert_eq!(clone.git(&["rev-parse", "refs/tags/a/v1.0.0"]), object);
    clone.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_tag_of_another_commit_is_a_conflict_and_a_plain_one_of_ours_is_fine() {
    let repository = Repository::with_remote();
    let first = repository.head();
    let second = repository.commit("fix: a", &[]);
    repository.git(&["push", "--quiet", "origin", "main", &format!("{first}:refs/tags/gateway/v1.0.0")]);
    let git = repository.facts();
    let ledger = remote_ledger(&git);
    assert_eq!(ledger.tag(&[record("gateway", "1.0.0", &first)]).unwrap(), Vec::<String>::new());
    let error = ledger.tag(&[record("gateway", "1.0.0", &second)]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Conflict);
    let message = error.to_string();
    assert!(message.contains(first.as_str()) && message.contains(second.as_str()), "{message}");
}

#[test]
fn a_rewritten_ledger_is_a_conflict() {
    let repository = Repository::with_remote();
    let git = repository.facts();
    let ledger = remote_ledger(&git);
    ledger.record(&[record("gateway", "0.1.0", &repository.head())]).unwrap();
    repository.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/longshore/releases"]);
    let error = ledger.refresh().unwrap_err();
    assert_eq!(exit_of(&error), Exit::Conflict);
    assert!(error.to_string().contains("rewritten"), "{error}");
}

#[test]
fn a_remote_that_forbids_the_ref_says_so() {
    let repository = Repository::with_remote();
    let hook = repository.remote().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho only branches >&2\nexit 1\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let git = repository.facts();
    let error = remote_ledger(&git).record(&[record("gateway", "0.1.0", &repository.head())]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains("pre-receive hook declined"), "{error}");
    assert_eq!(remote_ledger(&git).book().unwrap().tip, None);
}

#[test]
fn other_files_use_the_same_storage() {
    let repository = Repository::with_remote();
    let git = repository.facts();
    let ledger = remote_ledger(&git);
    for text in ["one", "two"] {
        let mut change = |_: &_| Ok(vec![File::blob("services/gateway.json", text)]);
        ledger.append("env/prod", "deploy gateway", "A <a@b>", 0, &mut change).unwrap();
    }
    let tree = ledger.tree("env/prod").unwrap();
    let blob = tree.get("services/gateway.json").unwrap().to_owned();
    assert_eq!(git.objects([blob.as_str()]).unwrap()[&blob], b"two");
    assert_eq!(repository.git(&["ls-remote", "origin", "refs/longshore/env/prod"]).lines().count(), 1);
    assert_eq!(repository.git(&["rev-list", "--count", "refs/longshore/env/prod"]), "2");
}
