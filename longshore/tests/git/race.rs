use std::sync::Barrier;

use longshore::fault::{Exit, exit_of};
use longshore::ledger::ReleaseRecord;

use super::repository::{Repository, local_ledger, record, remote_ledger};

const ROUNDS: usize = 12;

/// Both record at the same moment; what each got.
fn race(
    clones: [&Repository; 2],
    records: [Vec<ReleaseRecord>; 2],
) -> [anyhow::Result<Vec<ReleaseRecord>>; 2] {
    let start = Barrier::new(2);
    let run = |clone: &Repository, records: &[ReleaseRecord]| {
        let git = clone.facts();
        start.wait();
        remote_ledger(&git).record(records)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| run(clones[1], &records[1]));
        let first = run(clones[0], &records[0]);
        [first, second.join().unwrap()]
    })
}

#[test]
fn of_two_commits_one_gets_the_version() {
    let first = Repository::with_remote();
    let second = first.clone_as("second", &[]);
    let [a, b] = [first.commit("fix: a", &[("a", "a")]), second.commit("fix: b", &[("b", "b")])];
    assert_ne!(a, b);
    for round in 0..ROUNDS {
        let version = format!("1.0.{round}");
        let records = [vec![record("gateway", &version, &a)], vec![record("gateway", &version, &b)]];
        let results = race([&first, &second], records);
        let lost: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(lost.len(), 1, "{results:?}");
        assert_eq!(exit_of(lost[0]), Exit::Conflict);
        let message = lost[0].to_string();
        assert!(message.contains(a.as_str()) && message.contains(b.as_str()), "{message}");
    }
    let git = second.facts();
    remote_ledger(&git).refresh().unwrap();
    assert_eq!(remote_ledger(&git).book().unwrap().known("gateway").len(), ROUNDS);
}

#[test]
fn different_services_both_get_in_and_the_same_commit_converges() {
    let first = Repository::with_remote();
    let second = first.clone_as("second", &[]);
    let head = first.head();
    for round in 0..ROUNDS {
        let version = format!("1.0.{round}");
        let mut theirs = record("gateway", &version, &head);
        theirs.released_by = "Somebody Else <b@example.com>".into();
        let records = [
            vec![record("gateway", &version, &head), record("orders", &version, &head)],
            vec![theirs, record("worker", &version, &head)],
        ];
        let [ours, theirs] = race([&first, &second], records).map(Result::unwrap);
        assert_eq!(ours[0], theirs[0], "one record stands, and both know it");
    }
    let git = first.facts();
    let ledger = remote_ledger(&git);
    ledger.refresh().unwrap();
    let book = ledger.book().unwrap();
    for service in ["gateway", "orders", "worker"] {
        assert_eq!(book.known(service).len(), ROUNDS, "{service}");
    }
    assert_eq!(first.git(&["rev-list", "--count", "refs/longshore/releases"]), (2 * ROUNDS).to_string());
}

#[test]
fn a_lost_race_looks_again_and_goes_on() {
    let first = Repository::with_remote();
    let second = first.clone_as("second", &[]);
    let head = first.head();
    let [git, other] = [first.facts(), second.facts()];
    let mut looks = 0;
    let files = [longshore::ledger::File::blob("releases/orders/1.0.0.json", "{}")];
    remote_ledger(&git)
        .append("releases", "test", "A <a@b>", 0, &mut |tree| {
            looks += 1;
            if looks == 1 {
                assert_eq!(tree.tip, None);
                // Between our look and our push.
                remote_ledger(&other).record(&[record("gateway", "1.0.0", &head)])?;
            } else {
                assert!(tree.get("releases/gateway/1.0.0.json").is_some());
            }
            Ok(files.to_vec())
        })
        .unwrap();
    assert_eq!(looks, 2);
    assert_eq!(first.git(&["rev-list", "--count", "refs/longshore/releases"]), "2");
}

#[test]
fn losing_for_ever_ends() {
    let first = Repository::with_remote();
    let git = first.facts();
    let mut looks = 0;
    let error = remote_ledger(&git)
        .append("env/prod", "test", "A <a@b>", 0, &mut |_| {
            looks += 1;
            let other = first.commit(&format!("fix: {looks}"), &[]);
            first.git(&["push", "--quiet", "--force", "origin", &format!("{other}:refs/longshore/env/prod")]);
            Ok(vec![longshore::ledger::File::blob("x", looks.to_string())])
        })
        .unwrap_err();
    assert_eq!(exit_of(&error), Exit::Conflict);
    assert!((5..50).contains(&looks), "{looks}");
}

#[test]
fn processes_of_one_clone_take_turns() {
    let repository = Repository::new();
    let head = repository.head();
    std::thread::scope(|scope| {
        for service in ["a", "b", "c", "d"] {
            let (repository, head) = (&repository, &head);
            scope.spawn(move || {
                let git = repository.facts();
                for round in 0..3 {
                    local_ledger(&git).record(&[record(service, &format!("1.0.{round}"), head)]).unwrap();
                }
            });
        }
    });
    assert_eq!(repository.git(&["rev-list", "--count", "refs/longshore/local/releases"]), "12");
}

#[test]
fn one_tag_pushed_by_two() {
    let first = Repository::with_remote();
    let second = first.clone_as("second", &[]);
    let head = first.head();
    for round in 0..ROUNDS {
        let wanted = [record("gateway", &format!("1.0.{round}"), &head)];
        let start = Barrier::new(2);
        let run = |clone: &Repository| {
            let git = clone.facts();
            start.wait();
            remote_ledger(&git).tag(&wanted).unwrap().len()
        };
        let made = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(&second));
            run(&first) + other.join().unwrap()
        });
        assert!((1..=2).contains(&made), "{made}: one made it, the other found or made the same");
    }
    assert_eq!(first.git(&["ls-remote", "--refs", "--tags", "origin"]).lines().count(), ROUNDS);
}
