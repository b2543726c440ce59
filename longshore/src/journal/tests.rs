use proptest::prelude::*;

use super::*;
use crate::event::JobFailure;
use crate::plan::Stage;

fn events() -> Vec<Event> {
    let job = |name: &str| JobId(format!("build:{name}"));
    let finished =
        |name, outcome| Event::JobFinished { job: job(name), outcome, milliseconds: 7, output: None };
    vec![
        Event::RunStarted { run: "1".to_owned(), command: "release".to_owned(), jobs: 2 },
        Event::JobStarted { job: job("a"), stage: Stage::Build, title: "build a\nb \u{1f6a2}".to_owned() },
        finished("a", Outcome::Done { note: "5 B".to_owned() }),
        finished("b", Outcome::Failed(JobFailure::new(Exit::Gate, "no"))),
        Event::RunFinished { exit: 3, milliseconds: 9 },
    ]
}

/// A journal of all events, as bytes.
fn written() -> Vec<u8> {
    let state = tempfile::tempdir().unwrap();
    let (mut journal, warning) = Journal::begin(state.path());
    assert_eq!(warning, None);
    for event in events() {
        assert_eq!(journal.record(&event), None);
    }
    std::fs::read(path(state.path())).unwrap()
}

fn read_bytes(bytes: &[u8]) -> anyhow::Result<Vec<Event>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    std::fs::write(&path, bytes).unwrap();
    Ok(read(&path)?.into_iter().map(|record| record.event).collect())
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read_bytes(&written()).unwrap(), events());
}

#[test]
fn a_run_begins_its_own_and_keeps_the_one_before() {
    let state = tempfile::tempdir().unwrap();
    for command in ["first", "second", "third"] {
        let (mut journal, _) = Journal::begin(state.path());
        journal.record(&Event::RunStarted { run: String::new(), command: command.to_owned(), jobs: 0 });
        journal.record(&Event::JobOutput { job: JobId("a".to_owned()), line: "not kept".to_owned() });
    }
    let records = read(&path(state.path())).unwrap();
    assert_eq!((records.len(), killed(&records)), (1, Some("third")));
    let previous = read(&state.path().join("journal.previous.jsonl")).unwrap();
    assert_eq!(killed(&previous), Some("second"));
    assert!(read(&state.path().join("none")).unwrap().is_empty());
}

#[test]
fn only_what_ended_well_is_finished() {
    let state = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::begin(state.path());
    events().iter().for_each(|event| assert_eq!(journal.record(event), None));
    let records = read(&path(state.path())).unwrap();
    let finished: Vec<String> = finished_jobs(&records).keys().map(ToString::to_string).collect();
    assert_eq!(finished, ["build:a"]);
    assert_eq!(killed(&records), None);
}

#[test]
fn a_line_that_is_gone_or_changed_is_damage() {
    let bytes = written();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |place: usize| {
        let mut lines = lines.clone();
        lines.remove(place);
        format!("{}\n", lines.join("\n"))
    };
    for damaged in
        [without(0), without(2), text.replace("\"exit\":3,\"messages\"", "\"exit\":0,\"messages\"")]
    {
        let error = read_bytes(damaged.as_bytes()).unwrap_err();
        assert_eq!(crate::fault::exit_of(&error), Exit::Machine);
        assert!(error.to_string().contains("damaged: line "), "{error}");
    }
}

#[test]
fn a_disk_that_says_no_warns_once_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (mut journal, warning) = Journal::begin(&file.join("state"));
    assert!(matches!(warning, Some(Event::Warning { .. })));
    assert_eq!(journal.record(&events()[0]), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_warns_once_and_stops_nothing() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut journal = Journal { path: PathBuf::from("/dev/full"), file: Some(full), sum: String::new() };
    assert!(matches!(journal.record(&events()[0]), Some(Event::Warning { .. })));
    assert_eq!(journal.record(&events()[1]), None);
}

proptest! {
    #[test]
    fn a_torn_tail_is_dropped_and_all_before_it_kept(cut in any::<prop::sample::Index>(), junk in any::<bool>()) {
        let whole = written();
        let mut bytes = whole[..cut.index(whole.len() + 1)].to_vec();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        if junk {
            bytes.extend([0; 100]);
        }
        prop_assert_eq!(read_bytes(&bytes).unwrap(), &events()[..lines]);
    }

    #[test]
    fn a_flipped_bit_is_never_believed(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = written();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        match read_bytes(&bytes) {
            Ok(read) => prop_assert!(events().starts_with(&read)),
            Err(error) => prop_assert_eq!(crate::fault::exit_of(&error), Exit::Machine),
        }
    }
}
