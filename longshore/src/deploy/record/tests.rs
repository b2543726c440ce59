use super::*;
use crate::deploy::workload::tests::workload;

fn version(number: u64) -> Workload {
    let mut workload = workload("api");
    workload.version = Version::new(0, number, 0);
    workload
}

fn begin(state: &mut State, action: Action, workload: Option<Workload>) {
    let pending = Pending {
        id: "1".into(),
        workload,
        action,
        at: "2026-11-21T08:00:00Z".into(),
        by: "Ada <ada@example.com>".into(),
        origin: Origin::default(),
    };
    state.services.entry("api".into()).or_default().pending = Some(pending);
}

fn end(state: &mut State, outcome: Outcome) -> Entry {
    let ended = Ended { outcome, why: None, at: "2026-11-21T08:00:01Z" };
    state.settle("api", &ended).unwrap().unwrap()
}

fn runs(state: &State) -> (Option<u64>, Vec<u64>) {
    let api = &state.services["api"];
    let minor = |running: &Running| running.workload.version.minor;
    (api.current.as_ref().map(minor), api.trail.iter().map(minor).collect())
}

#[test]
fn the_trail_leads_back_and_not_forth() {
    let mut state = State::default();
    for number in 1..=3 {
        begin(&mut state, Action::Deploy, Some(version(number)));
        end(&mut state, Outcome::Verified);
    }
    assert_eq!(runs(&state), (Some(3), vec![1, 2]));
    begin(&mut state, Action::Rollback, Some(version(2)));
    let entry = end(&mut state, Outcome::Verified);
    assert_eq!(entry.previous, Some(Version::new(0, 3, 0)));
    assert_eq!(runs(&state), (Some(2), vec![1]), "the bad one is no way to go");
    begin(&mut state, Action::Deploy, Some(version(4)));
    end(&mut state, Outcome::Restored);
    assert_eq!(runs(&state), (Some(2), vec![1]), "what did not run leaves no trace");
    begin(&mut state, Action::Deploy, Some(version(2)));
    end(&mut state, Outcome::Verified);
    assert_eq!(runs(&state), (Some(2), vec![1]), "the same again");
    begin(&mut state, Action::Down, None);
    end(&mut state, Outcome::Verified);
    assert_eq!(runs(&state), (None, vec![1, 2]));
}

#[test]
fn the_trail_has_an_end() {
    let mut state = State::default();
    for number in 0..30 {
        begin(&mut state, Action::Deploy, Some(version(number)));
        end(&mut state, Outcome::Verified);
    }
    assert_eq!(runs(&state), (Some(29), (9..29).collect()));
}

#[test]
fn the_last_one_gives_the_environment_back() {
    let holder = Holder {
        id: "1".into(),
        by: String::new(),
        host: String::new(),
        process: None,
        command: String::new(),
        at: String::new(),
        patience: 1,
    };
    let mut state = State { holder: Some(holder), ..State::default() };
    begin(&mut state, Action::Deploy, Some(version(1)));
    let other = state.services["api"].clone();
    state.services.insert("web".into(), other);
    end(&mut state, Outcome::Verified);
    assert!(state.holder.is_some(), "web is not done");
    let ended = Ended { outcome: Outcome::Failed, why: Some("x"), at: "" };
    state.settle("web", &ended).unwrap().unwrap();
    assert!(state.holder.is_none());
    assert!(state.settle("web", &ended).unwrap().is_none(), "nothing is pending");
}

#[test]
fn a_record_of_the_future_is_not_guessed_at() {
    let state = serde_json::to_string(&State::default()).unwrap();
    assert_eq!(State::read(state.as_bytes()).unwrap(), State::default());
    let future = state.replace("\"schema\":1", "\"schema\":2");
    let error = State::read(future.as_bytes()).unwrap_err();
    assert_eq!(crate::fault::exit_of(&error), Exit::Machine);
    assert!(State::read(b"{").is_err());
}
