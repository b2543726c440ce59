//! The journal: what a run did, a line an event, so that the next one can say what a killed run had done.
//! It saves work, and is never the truth: whoever reads it looks again at what it names.
//!
//! A line is a JSON object and the first 16 hexadecimal digits of the SHA-256 of the line before's digits
//! and it: a line that is changed, or missing in the middle, is seen. Counts, status words and the lines of
//! tools are not kept.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Outcome};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::clock;
use crate::plan::JobId;

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since 1970.
    pub at: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// The journal of the run that is going on.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Absent once it could not be written: a gap would be damage.
    file: Option<File>,
    sum: String,
}

/// Where the journal of the last run lies in `state`, the run's private folder.
pub fn path(state: &Path) -> PathBuf {
    state.join("journal.jsonl")
}

impl Journal {
    /// Begins a run's journal in `state`; that of the run before is kept as `journal.previous.jsonl`.
    /// Where it can't be begun, the run goes on without: the warning says so.
    pub fn begin(state: &Path) -> (Self, Option<Event>) {
        let path = path(state);
        let begin = || -> std::io::Result<File> {
            std::fs::create_dir_all(state)?;
            match std::fs::rename(&path, state.join("journal.previous.jsonl")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().create_new(true).append(true).open(&path)
        };
        let (file, warning) = match begin() {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(warning(&path, &error))),
        };
        (Self { path, file, sum: String::new() }, warning)
    }

    /// Writes an event, if it is of a kind that is kept; on the disk for good at a job's end. Gives a
    /// warning the first time that it can't: the run goes on, its journal does not.
    pub fn record(&mut self, event: &Event) -> Option<Event> {
        let file = self.file.as_mut()?;
        if !is_kept(event) {
            return None;
        }
        let at = u64::try_from(clock::now_precise().as_millis()).unwrap_or(u64::MAX);
        let mut write = || -> std::io::Result<()> {
            let line = serde_json::to_string(&Record { at, event: event.clone() })?;
            let sum = checksum(&self.sum, &line);
            file.write_all(format!("{line} {sum}\n").as_bytes())?;
            self.sum = sum;
            if matches!(event, Event::JobFinished { .. } | Event::RunFinished { .. }) {
                file.sync_data()?;
            }
            Ok(())
        };
        let error = write().err()?;
        self.file = None;
        Some(warning(&self.path, &error))
    }
}

/// The records of the journal at `path`; none where there is no file. What a kill left half written at its
/// end is left out.
///
/// # Errors
/// [`Exit::Machine`] where it can't be read, or is damaged before its end.
pub fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.fault(Exit::Machine, format!("could not read `{shown}`"))?,
    };
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // After the last line end there is nothing, or what was being written.
    lines.pop();
    let (mut records, mut sum) = (Vec::with_capacity(lines.len()), String::new());
    for (place, line) in lines.iter().enumerate() {
        match parse(line, &sum) {
            Some((record, own)) => {
                records.push(record);
                sum = own;
            }
            None if place + 1 == lines.len() => break,
            None => {
                let message = format!("the journal is damaged: line {} of `{shown}`", place + 1);
                return Err(Fault::new(Exit::Machine, message)
                    .hint(format!(
                        "check the disk, then remove `{shown}`: nothing is lost but the record of the last run"
                    ))
                    .into());
            }
        }
    }
    Ok(records)
}

/// The jobs that ended well by `records`, with when and how.
pub fn finished_jobs(records: &[Record]) -> BTreeMap<JobId, &Record> {
    records
        .iter()
        .filter_map(|record| match &record.event {
            Event::JobFinished { job, outcome: Outcome::Done { .. } | Outcome::Cached { .. }, .. } => {
                Some((job.clone(), record))
            }
            _ => None,
        })
        .collect()
}

/// The command of the run that `records` tell of, if it was killed before its end.
pub fn killed(records: &[Record]) -> Option<&str> {
    let ended = records.iter().any(|record| matches!(record.event, Event::RunFinished { .. }));
    records.iter().filter(|_| !ended).find_map(|record| match &record.event {
        Event::RunStarted { command, .. } => Some(command.as_str()),
        _ => None,
    })
}

fn is_kept(event: &Event) -> bool {
    match event {
        Event::RunStarted { .. }
        | Event::JobStarted { .. }
        | Event::JobFinished { .. }
        | Event::Warning { .. }
        | Event::RunFinished { .. } => true,
        Event::JobRunning { .. }
        | Event::JobProgress { .. }
        | Event::JobStatus { .. }
        | Event::JobOutput { .. } => false,
    }
}

fn parse(line: &[u8], previous: &str) -> Option<(Record, String)> {
    let (json, sum) = std::str::from_utf8(line).ok()?.rsplit_once(' ')?;
    let own = checksum(previous, json);
    if sum != own {
        return None;
    }
    Some((serde_json::from_str(json).ok()?, own))
}

fn checksum(previous: &str, line: &str) -> String {
    Hasher::new().chain(previous).chain(line).finish().hex()[..16].to_owned()
}

fn warning(path: &Path, error: &std::io::Error) -> Event {
    Event::Warning {
        job: None,
        message: format!("the run is not recorded: `{}`: {error}", path.display()),
        hint: Some(
            "a killed run can then not say what it had done; the next one looks at everything".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
