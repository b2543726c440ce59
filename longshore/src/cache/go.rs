//! Go's own compile cache on this store: what `GOCACHEPROG` names speaks this protocol on its stdin and stdout
//! (cmd/go/internal/cacheprog: a JSON object a line, a body as a base64 string on the line after it).
//!
//! What Go is given lies in a folder of this process's own, as links, so that nobody's eviction takes it away while
//! Go reads it; and it was hashed on the way there.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Bucket, Cache};
use crate::host::clock;
use crate::host::files::{self, Draft};
use crate::oci::types::Digest;

/// How many requests are answered at once: Go asks for as many as it has processors.
const WORKERS: usize = 4;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(rename = "ID")]
    id: i64,
    command: String,
    #[serde(rename = "ActionID", default)]
    action: String,
    #[serde(rename = "OutputID", default)]
    output: String,
    #[serde(default)]
    body_size: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    err: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    known_commands: &'static [&'static str],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    miss: bool,
    #[serde(rename = "OutputID", skip_serializing_if = "String::is_empty")]
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_path: Option<PathBuf>,
}

/// What the store holds of an action.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Go's name of the output, in base64.
    output: String,
    digest: Digest,
    size: u64,
    /// Seconds since 1970.
    time: u64,
}

/// Answers Go until it says `close` or goes away.
///
/// # Errors
/// What is not of the protocol, and where the other side can't be spoken to.
pub fn serve(
    cache: &Cache,
    folder: &Path,
    mut input: impl BufRead,
    output: impl Write + Send,
) -> anyhow::Result<()> {
    let output = Mutex::new(output);
    let say = |response: &Response| -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(response)?;
        line.push(b'\n');
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&line).and_then(|()| output.flush()).context("Go does not listen")
    };
    say(&Response { known_commands: &["get", "put", "close"], ..Response::default() })?;
    let closing = std::thread::scope(|threads| -> anyhow::Result<Option<i64>> {
        let (sender, receiver) = mpsc::sync_channel::<(Request, Vec<u8>)>(WORKERS);
        let receiver = std::sync::Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let (receiver, say) = (receiver.clone(), &say);
            threads.spawn(move || {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((request, body)) = next else { return };
                    let id = request.id;
                    let response = answer(cache, folder, &request, &body).unwrap_or_else(|error| Response {
                        err: format!("{error:#}"),
                        ..Response::default()
                    });
                    if say(&Response { id, ..response }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(receiver);
        while let Some(request) = request(&mut input)? {
            let body = if request.body_size > 0 { body(&mut input, request.body_size)? } else { Vec::new() };
            if request.command == "close" {
                return Ok(Some(request.id));
            }
            sender.send((request, body)).context("nobody answers Go any more")?;
        }
        Ok(None)
    })?;
    closing.map_or(Ok(()), |id| say(&Response { id, ..Response::default() }))
}

/// The next request; `None` where Go has gone.
fn request(input: &mut impl BufRead) -> anyhow::Result<Option<Request>> {
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if !line.trim_ascii().is_empty() {
            return serde_json::from_slice(&line).map(Some).context("a request of Go's can't be read");
        }
    }
}

/// A body of exactly `size` bytes.
fn body(input: &mut impl BufRead, size: u64) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        ensure!(input.read_until(b'\n', &mut line)? > 0, "a body is missing");
    }
    let text = line.trim_ascii().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let body = STANDARD.decode(text.context("a body is no string")?).context("a body is not base64")?;
    ensure!(body.len() as u64 == size, "a body has {} of {size} bytes", body.len());
    Ok(body)
}

fn answer(cache: &Cache, folder: &Path, request: &Request, body: &[u8]) -> anyhow::Result<Response> {
    let action: [u8; 32] = STANDARD
        .decode(&request.action)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .context("an action's name is not 32 bytes")?;
    let key = Digest::from_sha256(action);
    match request.command.as_str() {
        "get" => Ok(get(cache, folder, &key).unwrap_or(Response { miss: true, ..Response::default() })),
        "put" => put(cache, folder, &key, request, body),
        other => anyhow::bail!("`{other}` is not known"),
    }
}

/// `None` where there is nothing, or nothing whole.
fn get(cache: &Cache, folder: &Path, key: &Digest) -> Option<Response> {
    let entry = cache.get::<Entry>(Bucket::Go, key)?;
    let path = folder.join(entry.digest.hex());
    if !path.exists() && !cache.link(&entry.digest, entry.size, &path).ok()? {
        return None;
    }
    Some(Response {
        output: entry.output,
        size: Some(entry.size),
        time: Some(clock::rfc3339(entry.time)),
        disk_path: Some(path),
        ..Response::default()
    })
}

fn put(
    cache: &Cache,
    folder: &Path,
    key: &Digest,
    request: &Request,
    body: &[u8],
) -> anyhow::Result<Response> {
    let digest = Digest::of(body);
    let path = folder.join(digest.hex());
    if !path.exists() {
        let mut draft = Draft::new(folder)?;
        draft.write_all(body).context("could not write a file for Go")?;
        draft.keep(&path)?;
    }
    let size = body.len() as u64;
    let entry = Entry { output: request.output.clone(), digest: digest.clone(), size, time: clock::now() };
    // The store does without what it can't take in: Go has its file.
    if cache.adopt(&path, &digest).is_ok() {
        let _ = cache.put(Bucket::Go, key, &entry, &[(digest, size)]);
    }
    Ok(Response { disk_path: Some(path), ..Response::default() })
}

/// A folder for [`serve`] in the user's cache; those that were left by killed processes are removed.
///
/// # Errors
/// [`crate::fault::Exit::Machine`] when the disk says no.
pub fn folder(root: &Path) -> anyhow::Result<tempfile::TempDir> {
    const PREFIX: &str = "gocache-";
    files::remove_old_folders(root, PREFIX, std::time::Duration::from_secs(24 * 60 * 60));
    files::folder_aside(root, PREFIX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The answers to `lines`, by their number.
    fn spoken(cache: &Cache, folder: &Path, lines: &[String]) -> Vec<Value> {
        let mut output = Vec::new();
        let input = lines.join("\n") + "\n";
        serve(cache, folder, input.as_bytes(), &mut output).unwrap();
        let mut answers: Vec<Value> = output
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        answers.sort_by_key(|answer| answer["ID"].as_i64());
        answers
    }

    fn id(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    #[test]
    fn what_go_puts_it_gets_again_from_another_process_and_nothing_that_was_harmed() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let body = vec![7; 100_000];
        let put = [
            json!({ "ID": 1, "Command": "get", "ActionID": id(1) }).to_string(),
            json!({ "ID": 2, "Command": "put", "ActionID": id(1), "OutputID": id(9), "BodySize": body.len() })
                .to_string(),
            String::new(),
            format!("\"{}\"", STANDARD.encode(&body)),
            json!({ "ID": 3, "Command": "put", "ActionID": id(2), "OutputID": id(8) }).to_string(),
            json!({ "ID": 4, "Command": "close" }).to_string(),
        ];
        let first = folder(root.path()).unwrap();
        let answers = spoken(&cache, first.path(), &put);
        assert_eq!(answers[0]["KnownCommands"], json!(["get", "put", "close"]));
        assert_eq!(answers[1]["Miss"], json!(true));
        assert_eq!(std::fs::read(answers[2]["DiskPath"].as_str().unwrap()).unwrap(), body);
        assert_eq!(answers[4]["ID"], json!(4));
        drop(first);

        let get =
            |id: i64, byte| json!({ "ID": id, "Command": "get", "ActionID": self::id(byte) }).to_string();
        let second = folder(root.path()).unwrap();
        let answers = spoken(&cache, second.path(), &[get(1, 1), get(2, 2), get(3, 3)]);
        let path = answers[1]["DiskPath"].as_str().unwrap();
        // Eviction takes nothing away that Go was given.
        assert!(cache.trim(0).bytes > 0);
        assert_eq!(std::fs::read(path).unwrap(), body);
        assert_eq!((&answers[1]["OutputID"], &answers[1]["Size"]), (&json!(id(9)), &json!(100_000)));
        assert_eq!((&answers[2]["Size"], &answers[3]["Miss"]), (&json!(0), &json!(true)));
        drop(second);

        let third = folder(root.path()).unwrap();
        spoken(&cache, third.path(), &put);
        drop(third);
        std::fs::write(cache.file(&Digest::of(&body)), "harmed").unwrap();
        let fourth = folder(root.path()).unwrap();
        assert_eq!(spoken(&cache, fourth.path(), &[get(1, 1)])[1]["Miss"], json!(true));
    }

    #[test]
    fn what_is_not_of_the_protocol_ends_it() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let put = json!({ "ID": 2, "Command": "put", "ActionID": id(1), "BodySize": 5 }).to_string();
        for input in
            ["GET / HTTP/1.1\n".to_owned(), put.clone(), format!("{put}\n\"YWI=\"\n"), format!("{put}\nab\n")]
        {
            let folder = folder(root.path()).unwrap();
            assert!(serve(&cache, folder.path(), input.as_bytes(), Vec::new()).is_err(), "{input}");
        }
        let folder = folder(root.path()).unwrap();
        let short = json!({ "ID": 5, "Command": "get", "ActionID": "AAAA" }).to_string();
        assert!(spoken(&cache, folder.path(), &[short])[1]["Err"].is_string());
    }
}
