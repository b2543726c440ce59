use semver::Version;

use super::*;
use crate::closure::Closure;
use crate::deploy::record::{Action, Origin, Pending};
use crate::deploy::workload::tests::workload;
use crate::ledger::SCHEMA;
use crate::plan::Stage;

const HOUR: u64 = 3600;

fn platform(scan: Scan, verify: Verify) -> PlatformRecord {
    PlatformRecord {
        digest: Digest::of(format!("{scan:?} {verify:?}").as_bytes()),
        config: Digest::of(b"config"),
        size: 1,
        scan,
        verify,
        database: Some("1970-01-02T00:00:00.123456789Z".to_owned()),
        findings: None,
    }
}

fn record(platforms: &[(&str, Scan, Verify)]) -> ReleaseRecord {
    let platforms =
        platforms.iter().map(|(name, scan, verify)| (name.parse().unwrap(), platform(*scan, *verify)));
    let closure = serde_json::json!({
        "main": "cmd/x", "packages": [], "embeds": [], "modules": {}, "go_mod": "", "ignored": [],
        "extra_files": [], "settings": Digest::of(b"settings"), "go": "1.26.8",
    });
    ReleaseRecord {
        schema: SCHEMA,
        service: "api".into(),
        version: Version::new(0, 1, 0),
        commit: "a".repeat(40).parse().unwrap(),
        commit_time: 0,
        released_at: String::new(),
        released_by: String::new(),
        environment: "staging".into(),
        repository: String::new(),
        digest: workload("api").image.neutral,
        arguments: None,
        platforms: platforms.collect(),
        skips: Vec::new(),
        closure: serde_json::from_value::<Closure>(closure).unwrap(),
        tags: Vec::new(),
        git_tag: String::new(),
        notes: String::new(),
    }
}

fn running() -> Running {
    let workload = workload("api");
    let hash = workload.hash().unwrap();
    Running { workload, hash, since: String::new(), by: String::new(), via: Action::Deploy }
}

fn refused(record: &ReleaseRecord, accept: &[Gap], rescans: &BTreeMap<Digest, Rescan>) -> Vec<String> {
    let accept: BTreeSet<Gap> = accept.iter().copied().collect();
    let rules = Rules {
        from: "staging",
        own_build: false,
        accept: &accept,
        max_age: Duration::from_secs(10 * HOUR),
        rescans,
        now: 33 * HOUR,
    };
    refusals(record, &running(), &rules)
}

#[test]
fn every_gap_is_a_reason_unless_it_is_accepted() {
    let none = BTreeMap::new();
    let good = record(&[("linux/amd64", Scan::Pass, Verify::Container)]);
    assert_eq!(refused(&good, &[], &none), [""; 0]);
    let others = record(&[
        ("linux/amd64", Scan::Pass, Verify::Container),
        ("linux/arm64", Scan::Pass, Verify::None),
        ("windows/amd64", Scan::Unsupported, Verify::None),
    ]);
    let said = refused(&others, &[], &none);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("nothing was run of linux/arm64, windows/amd64"), "{said:?}");
    assert_eq!(refused(&others, &[Gap::VerifyNone, Gap::ScanUnsupported], &none), [""; 0]);
    let process = record(&[("linux/amd64", Scan::Pass, Verify::Process)]);
    let said = refused(&process, &[Gap::VerifyProcess], &none);
    assert_eq!(said, ["no platform of it was verified as a container"], "that can't be accepted");
    let bad =
        record(&[("linux/amd64", Scan::None, Verify::Container), ("linux/arm64", Scan::Fail, Verify::Fail)]);
    assert_eq!(refused(&bad, &[Gap::ScanUnsupported], &none).len(), 3);
    let mut skipped = good.clone();
    skipped.skips = vec![Stage::Lint];
    assert_eq!(refused(&skipped, &[], &none), ["lint was skipped when it was released"]);
    let mut other = good;
    other.digest = Digest::of(b"other");
    assert!(refused(&other, &[], &none)[0].contains("is not what is recorded as 0.1.0"));
}

#[test]
fn an_old_database_is_a_reason_and_a_new_scan_is_the_last_word() {
    let good = record(&[("linux/amd64", Scan::Pass, Verify::Container)]);
    let digest = good.platforms.values().next().unwrap().digest.clone();
    let rescan = |database: &str, verdict| {
        let scan = Rescan {
            verdict,
            database: Some(database.to_owned()),
            at: String::new(),
            by: String::new(),
            note: String::new(),
        };
        BTreeMap::from([(digest.clone(), scan)])
    };
    let mut old = good.clone();
    for platform in old.platforms.values_mut() {
        platform.database = Some("1970-01-01T12:00:00Z".to_owned());
    }
    let said = refused(&old, &[], &BTreeMap::new());
    assert_eq!(said, ["the database that linux/amd64 was scanned with is 21h old, and `max-age` is 10h"]);
    assert_eq!(refused(&old, &[], &rescan("1970-01-02T08:00:00Z", Scan::Pass)), [""; 0]);
    let said = refused(&good, &[], &rescan("1970-01-02T08:00:00Z", Scan::Fail));
    assert_eq!(said, ["linux/amd64 did not pass its last scan"]);
    for platform in old.platforms.values_mut() {
        platform.database = None;
    }
    assert!(refused(&old, &[], &BTreeMap::new())[0].contains("does not say"));
}

#[test]
fn only_what_runs_verified_can_go_on() {
    assert_eq!(verified(None, "staging").unwrap_err(), "it never ran in `staging`");
    let mut standing = Standing::default();
    assert_eq!(verified(Some(&standing), "staging").unwrap_err(), "it does not run in `staging`");
    standing.current = Some(running());
    assert_eq!(verified(Some(&standing), "staging").unwrap().workload, workload("api"));
    standing.pending = Some(Pending {
        id: String::new(),
        workload: Some(workload("api")),
        action: Action::Deploy,
        at: String::new(),
        by: String::new(),
        origin: Origin::default(),
    });
    assert!(verified(Some(&standing), "staging").unwrap_err().contains("is under way in `staging`"));
}
