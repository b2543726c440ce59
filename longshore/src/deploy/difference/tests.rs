use super::*;
use crate::deploy::record::{Action, Origin, Running};
use crate::deploy::workload::tests::workload;
use crate::oci::types::Digest;

fn running(workload: &Workload) -> Standing {
    let current = Running {
        hash: workload.hash().unwrap(),
        workload: workload.clone(),
        since: String::new(),
        by: String::new(),
        via: Action::Deploy,
    };
    Standing { current: Some(current), ..Standing::default() }
}

fn seen(workload: &Workload) -> Observed {
    Observed {
        digest: Some(workload.image.digest.clone()),
        hash: Some(workload.hash().unwrap()),
        health: Condition::Healthy,
        ready: 1,
        wanted: 1,
        restarts: 0,
        since: None,
        addresses: Vec::new(),
        drift: Vec::new(),
    }
}

fn reasons(standing: &Standing, observed: Option<&Observed>, wanted: Option<&Workload>) -> Vec<String> {
    let change = change("api", Some(standing), observed, wanted).unwrap();
    change.map(|change| change.reasons).unwrap_or_default()
}

fn left_by_another(mut standing: Standing, workload: Option<Workload>) -> Standing {
    standing.pending = Some(Pending {
        id: "1".into(),
        workload,
        action: Action::Deploy,
        at: String::new(),
        by: String::new(),
        origin: Origin::default(),
    });
    standing
}

#[test]
fn what_runs_as_wanted_is_left_alone_and_what_differs_is_said() {
    let one = workload("api");
    assert_eq!(reasons(&running(&one), Some(&seen(&one)), Some(&one)), [""; 0]);
    assert_eq!(reasons(&Standing::default(), None, Some(&one)), ["0.1.0 is new here"]);
    let mut two = one.clone();
    two.version = semver::Version::new(0, 2, 0);
    two.env.insert("LEVEL".into(), "debug".into());
    two.secrets.insert("TOKEN".into());
    two.replicas = 3;
    let expected = ["0.1.0 → 0.2.0", "env LEVEL = \"debug\"", "secret TOKEN is new", "replicas 1 → 3"];
    assert_eq!(reasons(&running(&one), Some(&seen(&one)), Some(&two)), expected);
    assert_eq!(reasons(&running(&one), Some(&seen(&one)), None), ["0.1.0 is taken away"]);
    assert_eq!(reasons(&Standing::default(), None, None), [""; 0]);
}

#[test]
fn drift_is_a_reason_of_its_own() {
    let one = workload("api");
    let standing = running(&one);
    assert_eq!(reasons(&standing, None, Some(&one)), ["it does not run"]);
    let mut other = seen(&one);
    other.digest = Some(Digest::of(b"other"));
    assert!(reasons(&standing, Some(&other), Some(&one))[0].ends_with(" runs"));
    let mut stopped = seen(&one);
    stopped.health = Condition::Stopped("exit status 1".into());
    assert_eq!(reasons(&standing, Some(&stopped), Some(&one)), ["it has stopped: exit status 1"]);
    let mut edited = seen(&one);
    edited.hash = Some("0".repeat(64));
    edited.drift = vec!["replicas 5".into()];
    assert_eq!(reasons(&standing, Some(&edited), Some(&one)), ["it runs with other settings", "replicas 5"]);
}

#[test]
fn what_was_left_half_way_is_finished_where_it_is_there_and_else_put_back() {
    let (one, mut two) = (workload("api"), workload("api"));
    two.version = semver::Version::new(0, 2, 0);
    let mut state = State::default();
    state.services.insert("api".into(), left_by_another(running(&one), Some(two.clone())));
    let settled = |state: &State, observed: Option<Observed>| {
        let observed = observed.map(|observed| ("api".to_owned(), observed)).into_iter().collect();
        let mut changes = abandoned(state, &observed, &BTreeSet::new()).unwrap();
        assert_eq!(changes.len(), 1);
        changes.remove(0).to.map(|workload| workload.version.minor)
    };
    assert_eq!(settled(&state, Some(seen(&two))), Some(2), "it is there and well");
    let mut ill = seen(&two);
    ill.health = Condition::Unhealthy("503".into());
    assert_eq!(settled(&state, Some(ill)), Some(1));
    assert_eq!(settled(&state, Some(seen(&one))), Some(1));
    assert_eq!(settled(&state, None), Some(1));
    state.services.insert("api".into(), left_by_another(running(&one), None));
    assert_eq!(settled(&state, None), None, "it is gone as was wanted");
    assert_eq!(settled(&state, Some(seen(&one))), Some(1));
    let asked = BTreeSet::from(["api".to_owned()]);
    assert!(
        abandoned(&state, &BTreeMap::new(), &asked).unwrap().is_empty(),
        "whoever asks says what becomes of it"
    );
}

#[test]
fn needs_come_first() {
    let of = |name: &str, needs: &[&str]| {
        let mut to = workload(name);
        to.needs = needs.iter().map(|need| (*need).to_owned()).collect();
        Change { service: name.into(), from: None, to: Some(to), reasons: Vec::new() }
    };
    let changes = [of("a", &["b", "gone"]), of("b", &["c"]), of("c", &[]), of("d", &["d"])];
    let order: Vec<&str> = order(&changes).iter().map(|change| change.service.as_str()).collect();
    assert_eq!(order, ["c", "b", "a", "d"]);
}
