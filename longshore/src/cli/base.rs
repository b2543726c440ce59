//! `base check` and `base update`: what the bases of pipeline.toml stand for now.

use std::fmt;
use std::path::Path;

use anyhow::anyhow;
use serde::Serialize;

use super::{Format, Global};
use crate::cancel::Cancel;
use crate::config::bases::{self, Written};
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::fault::{Exit, Fault, exit_of};
use crate::host::environment::Environment;
use crate::host::files;
use crate::oci::base::{Places, current};
use crate::oci::registry::{Client, Options};
use crate::oci::types::Digest;
use crate::report;
use crate::report::table::{self, Side};
use crate::session::place;

const SCHEMA: u32 = 1;
const MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Same,
    Moved,
    /// Without a digest in the file.
    Unpinned,
    /// By digest alone, or a layout of several images: nothing can move.
    Fixed,
    /// It could not be asked.
    Unknown,
}

/// One base, as `base check --format json` has it.
#[derive(Debug, Serialize)]
struct Looked {
    key: String,
    base: String,
    /// `file:line:col`
    place: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u32,
    bases: &'a [Looked],
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Moved => "moved",
            Self::Unpinned => "unpinned",
            Self::Fixed => "fixed",
            Self::Unknown => "unknown",
        })
    }
}

/// The file, its bases, and what each stands for, or why that can't be told.
struct Answers {
    path: std::path::PathBuf,
    source: std::sync::Arc<Source>,
    bases: Vec<(Written, anyhow::Result<Option<Digest>>)>,
}

fn ask(global: &Global, environment: &Environment, cancel: &Cancel) -> anyhow::Result<Answers> {
    let (_, workspace) = place(global, environment, cancel)?;
    let path = crate::session::pipeline(global, &workspace)?;
    if global.offline {
        return Err(Fault::new(
            Exit::Usage,
            "bases are looked up in their registries, so not with `--offline`",
        )
        .into());
    }
    let (source, found) = bases::read(&workspace.root, &path)?;
    let client = Client::new(environment, Options::default(), cancel);
    let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
    let places = Places { root: &folder, client: &client, environment };
    let mut known: Vec<(Written, anyhow::Result<Option<Digest>>)> = Vec::new();
    for written in found {
        crate::oci::stop_if_asked(cancel)?;
        let answer = current(&written.base, places);
        known.push((written, answer));
    }
    Ok(Answers { path, source, bases: known })
}

/// Says which bases have moved since they were pinned.
///
/// # Errors
/// Faults of the file; the first base that can't be looked up decides the exit code.
pub fn check(
    global: &Global,
    environment: &Environment,
    cancel: &Cancel,
    format: Format,
) -> anyhow::Result<u8> {
    let answers = ask(global, environment, cancel)?;
    let looked: Vec<Looked> = answers.bases.iter().map(|(written, answer)| looked(written, answer)).collect();
    report::result(&match format {
        Format::Json => serde_json::to_string_pretty(&Report { schema: SCHEMA, bases: &looked })?,
        Format::Text => text(&looked),
    });
    let failed =
        answers.bases.into_iter().find_map(|(written, answer)| {
            let error = answer.err()?;
            let exit = exit_of(&error);
            Some(error.context(Fault::new(
                exit,
                format!("{}: `{}` can't be looked up", written.place, written.text),
            )))
        });
    if let Some(error) = failed {
        return Err(error);
    }
    let changed = |state| looked.iter().filter(|looked| looked.state == state).count();
    let (moved, unpinned) = (changed(State::Moved), changed(State::Unpinned));
    if moved + unpinned == 0 {
        return Ok(0);
    }
    let of = report::measure::plural(looked.len(), "base");
    Err(Fault::new(Exit::Gate, format!("of {of}, {moved} moved and {unpinned} without a digest"))
        .hint("`base update` writes what they stand for now")
        .into())
}

fn looked(written: &Written, answer: &anyhow::Result<Option<Digest>>) -> Looked {
    let pinned = written.base.digest().cloned();
    let state = match (&pinned, answer) {
        (_, Err(_)) => State::Unknown,
        (Some(pinned), Ok(Some(now))) if pinned == now => State::Same,
        (Some(_), Ok(Some(_))) => State::Moved,
        (None, Ok(_)) => State::Unpinned,
        (Some(_), Ok(None)) => State::Fixed,
    };
    let name = written.text.split_once('@').map_or(written.text.as_str(), |(name, _)| name);
    Looked {
        key: written.key.clone(),
        base: name.to_owned(),
        place: written.place.to_string(),
        state,
        pinned,
        current: answer.as_ref().ok().cloned().flatten(),
        error: answer.as_ref().err().map(|error| format!("{error:#}")),
    }
}

fn text(looked: &[Looked]) -> String {
    if looked.is_empty() {
        return "no base but scratch".to_owned();
    }
    let head = [
        ("base", Side::Left),
        ("state", Side::Left),
        ("pinned", Side::Left),
        ("now", Side::Left),
        ("where", Side::Left),
    ];
    let short =
        |digest: &Option<Digest>| digest.as_ref().map_or_else(String::new, crate::stage::image::short);
    let rows: Vec<Vec<String>> = looked
        .iter()
        .map(|one| {
            let place = one.place.clone();
            vec![one.base.clone(), one.state.to_string(), short(&one.pinned), short(&one.current), place]
        })
        .collect();
    table::render(&head, &rows).trim_end().to_owned()
}

/// Writes what each base stands for now into the pipeline's file, all or nothing.
///
/// # Errors
/// Faults of the file; a base that can't be looked up or names no tag; a file that changed meanwhile.
pub fn update(global: &Global, environment: &Environment, cancel: &Cancel) -> anyhow::Result<u8> {
    let answers = ask(global, environment, cancel)?;
    let (mut changes, mut faults, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (written, answer) in &answers.bases {
        match (answer, written.base.digest()) {
            (Ok(Some(now)), pinned) if pinned != Some(now) => {
                let before = pinned.map_or("no digest".to_owned(), crate::stage::image::short);
                let name = written.text.split_once('@').map_or(written.text.as_str(), |(name, _)| name);
                lines.push(format!(
                    "{}: {name}: {before} → {}",
                    written.place,
                    crate::stage::image::short(now)
                ));
                changes.push((written, now));
            }
            (Ok(None), None) => faults.push(
                Diagnostic::error(format!("`{}`: `{}` stands for no one image", written.key, written.text))
                    .at(&written.place, "")
                    .hint("write a tag, as `HOST/PATH:TAG`"),
            ),
            _ => {}
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    for (written, answer) in &answers.bases {
        if let Err(error) = answer {
            let message =
                format!("{}: `{}` can't be looked up; nothing was written", written.place, written.text);
            return Err(anyhow!("{error:#}").context(Fault::new(exit_of(error), message)));
        }
    }
    if changes.is_empty() {
        report::result("every base stands for what is written");
        return Ok(0);
    }
    // Through a link to the file that it means.
    let path = answers.path.canonicalize()?;
    let bytes = std::fs::read(&path)?;
    // A byte order mark is no part of the text, and stays.
    let mark = if bytes.starts_with(MARK) { MARK } else { b"" };
    if bytes[mark.len()..] != *answers.source.text.as_bytes() {
        let message = format!("`{}` changed while its bases were looked up", path.display());
        return Err(Fault::new(Exit::Conflict, message).hint("run it again").into());
    }
    files::write(&path, &[mark, bases::pinned(&answers.source, &changes).as_bytes()].concat())?;
    report::result(&lines.join("\n"));
    Ok(0)
}
