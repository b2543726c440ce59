//! The vulnerability database: fetched once for all repositories of the user, verified, and used as it is
//! while it is fresh. Old, damaged or of another form: no verdict.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::lock::{self, Kind};
use crate::host::secrets::Secrets;
use crate::host::{clock, files};
use crate::oci::types::Digest;
use crate::progress::Progress;

/// The form of the database that is read (trivy-db's `SchemaVersion`).
const SCHEMA: u32 = 2;
/// A database this many seconds from the future shows a wrong clock, and then nothing is known to be fresh.
const AHEAD: u64 = 24 * 3600;
/// What every database that knows Go holds, as a bucket's name.
const GO: &[u8] = b"go::";
/// How long a download may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Where the database comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub program: &'a Path,
    /// The scanner's folder in the user's cache.
    pub folder: &'a Path,
    pub repository: Option<&'a str>,
    pub offline: bool,
    pub environment: &'a Environment,
    pub cancel: &'a Cancel,
    pub progress: &'a dyn Progress,
}

/// What there is to scan with.
#[derive(Debug)]
pub enum State {
    Ready(Database),
    /// None can be had: why, in words.
    Unavailable(String),
}

/// A database that was verified. While it lives no other process replaces it.
#[derive(Debug)]
pub struct Database {
    /// Holds `trivy.db` and `metadata.json`.
    pub folder: PathBuf,
    /// When its facts were gathered, RFC 3339.
    pub updated_at: String,
    /// Of `trivy.db`.
    pub digest: Digest,
    _lock: Option<File>,
}

/// `metadata.json`, written by who made the database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(default)]
    version: u32,
    next_update: String,
    updated_at: String,
}

/// That a file was read through once, and what it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    digest: Digest,
    size: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    Stale,
    /// From the future: the clock is wrong.
    Ahead,
}

/// The database to use, downloaded where there is none or it is old.
///
/// # Errors
/// [`Exit::Machine`] for a database that is there and is damaged, of another form, or without Go.
pub fn ready(source: &Source<'_>) -> anyhow::Result<State> {
    if let Some(preset) = source.environment.get("TRIVY_CACHE_DIR") {
        let folder = Path::new(preset).join("db");
        if folder.is_dir() {
            return preset_database(source, &folder);
        }
    }
    let folder = source.folder.join("db");
    let held = lock(source, Kind::Shared)?;
    if let Some(metadata) = metadata(&folder)?
        && age(&metadata, clock::now())? == Age::Fresh
    {
        return Ok(State::Ready(opened(&folder, &metadata, &source.folder.join("db.json"), Some(held))?));
    }
    drop(held);
    if source.offline {
        return absent(&folder, "with `--offline` none is fetched");
    }
    let exclusive = lock(source, Kind::Exclusive)?;
    // Another process may have fetched it while this one waited.
    let fetched = match metadata(&folder)? {
        Some(metadata) if age(&metadata, clock::now())? == Age::Fresh => Ok(()),
        _ => fetch_once(source, &folder)?,
    };
    drop(exclusive);
    if let Err(error) = fetched {
        if source.cancel.is_set() {
            return Err(error);
        }
        return absent(&folder, &format!("{error:#}"));
    }
    let held = lock(source, Kind::Shared)?;
    let Some(metadata) = metadata(&folder)? else {
        return absent(&folder, "the one that was fetched is gone");
    };
    match age(&metadata, clock::now())? {
        Age::Fresh => {
            Ok(State::Ready(opened(&folder, &metadata, &source.folder.join("db.json"), Some(held))?))
        }
        age => Ok(State::Unavailable(words(age, &metadata, "the newest that the server has"))),
    }
}

/// That a download failed, so that the other scans of this run need not wait for it to fail again.
#[derive(Debug, Serialize, Deserialize)]
struct Unreachable {
    /// The run is this process.
    process: u32,
    /// Seconds since 1970.
    at: u64,
    repository: Option<String>,
    why: String,
}

/// Process numbers come again: a note is believed for this long, in seconds.
const UNREACHABLE: u64 = 600;

/// [`fetch`], tried once a run. The outer error is the disk's.
fn fetch_once(source: &Source<'_>, folder: &Path) -> anyhow::Result<anyhow::Result<()>> {
    let note = source.folder.join("unreachable.json");
    let (process, at) = (std::process::id(), clock::now());
    let repository = source.repository.map(str::to_owned);
    let known = files::read_optional(&note)?
        .and_then(|bytes| serde_json::from_slice::<Unreachable>(&bytes).ok())
        .filter(|note| note.process == process && note.repository == repository)
        .filter(|note| at.saturating_sub(note.at) < UNREACHABLE);
    if let Some(known) = known {
        return Ok(Err(anyhow::anyhow!(known.why)));
    }
    let fetched = fetch(source, folder);
    match &fetched {
        Ok(()) => {
            let _ = std::fs::remove_file(&note);
        }
        Err(error) if !source.cancel.is_set() => {
            let why = format!("{error:#}");
            files::write(&note, &serde_json::to_vec(&Unreachable { process, at, repository, why })?)?;
        }
        Err(_) => {}
    }
    Ok(fetched)
}

/// The user's own, in `TRIVY_CACHE_DIR`: read, never written.
fn preset_database(source: &Source<'_>, folder: &Path) -> anyhow::Result<State> {
    let Some(metadata) = metadata(folder)? else {
        return Err(damaged(folder, "has no `metadata.json`").into());
    };
    let age = age(&metadata, clock::now())?;
    if age != Age::Fresh {
        return Ok(State::Unavailable(words(age, &metadata, "the one in TRIVY_CACHE_DIR")));
    }
    let name = Digest::of(folder.as_os_str().as_encoded_bytes());
    let seen = source.folder.join("preset").join(format!("{}.json", name.hex()));
    // It is the user's to change: what was seen before saves the reading, and is no promise.
    let file = folder.join("trivy.db");
    if let Some(remembered) = remembered(&seen)?
        && stamp(&file).ok() != Some((remembered.size, remembered.modified))
    {
        std::fs::remove_file(&seen).fault(Exit::Machine, "could not forget the old database")?;
    }
    Ok(State::Ready(opened(folder, &metadata, &seen, None)?))
}

/// Neither there nor to be had: says which.
fn absent(folder: &Path, why: &str) -> anyhow::Result<State> {
    let what = match metadata(folder)? {
        Some(metadata) => words(age(&metadata, clock::now())?, &metadata, "the one here"),
        None => "there is no vulnerability database".to_owned(),
    };
    Ok(State::Unavailable(format!("{what}; {why}")))
}

fn words(age: Age, metadata: &Metadata, which: &str) -> String {
    let updated = &metadata.updated_at;
    match age {
        Age::Ahead => format!("the vulnerability database is of {updated}, in the future: look at the clock"),
        Age::Stale => format!(
            "the vulnerability database is stale: {which} is of {updated}, and was good until {}",
            metadata.next_update
        ),
        Age::Fresh => format!("the vulnerability database is of {updated}"),
    }
}

fn metadata(folder: &Path) -> anyhow::Result<Option<Metadata>> {
    let path = folder.join("metadata.json");
    let Some(bytes) = files::read_optional(&path).fault(Exit::Machine, "no verdict: no database")? else {
        return Ok(None);
    };
    let metadata: Metadata = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(folder, &format!("has metadata that can't be read ({error})")))?;
    if metadata.version != SCHEMA {
        let version = metadata.version;
        return Err(damaged(folder, &format!("has schema {version}, {SCHEMA} is needed")).into());
    }
    Ok(Some(metadata))
}

fn age(metadata: &Metadata, now: u64) -> anyhow::Result<Age> {
    let seconds = |text: &str| {
        humantime::parse_rfc3339_weak(text)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map(|time| time.as_secs())
            .ok_or_else(|| Fault::new(Exit::Machine, format!("no verdict: the database has a time `{text}`")))
    };
    let (updated, next) = (seconds(&metadata.updated_at)?, seconds(&metadata.next_update)?);
    Ok(if updated > now + AHEAD {
        Age::Ahead
    } else if next <= now {
        Age::Stale
    } else {
        Age::Fresh
    })
}

/// Reads the database through unless that was done and nothing has touched it since.
fn opened(folder: &Path, metadata: &Metadata, seen: &Path, held: Option<File>) -> anyhow::Result<Database> {
    let file = folder.join("trivy.db");
    let (size, modified) = stamp(&file).map_err(|_| damaged(folder, "has no `trivy.db`"))?;
    let digest = match remembered(seen)? {
        Some(seen) if (seen.size, seen.modified) == (size, modified) => seen.digest,
        before => {
            let digest = read_through(&file, folder)?;
            if before.is_some_and(|before| before.digest != digest) {
                return Err(damaged(folder, "was changed after it was fetched").into());
            }
            let now = Seen { digest: digest.clone(), size, modified };
            files::write(seen, &serde_json::to_vec(&now)?)?;
            digest
        }
    };
    Ok(Database { folder: folder.to_owned(), updated_at: metadata.updated_at.clone(), digest, _lock: held })
}

fn remembered(seen: &Path) -> anyhow::Result<Option<Seen>> {
    Ok(files::read_optional(seen)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn stamp(path: &Path) -> std::io::Result<(u64, u128)> {
    let metadata = path.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), modified.as_nanos()))
}

/// The digest of a database, which must say that it knows Go: an empty one would find nothing wrong.
fn read_through(file: &Path, folder: &Path) -> anyhow::Result<Digest> {
    let shown = || format!("no verdict: could not read `{}`", file.display());
    let mut reader = File::open(file).fault(Exit::Machine, shown())?;
    let (mut hasher, mut knows_go) = (Hasher::new(), false);
    let mut buffer = vec![0; 1 << 20];
    // The end of one piece stands before the next, so that a word that straddles both is seen.
    let mut kept = 0;
    loop {
        let read = reader.read(&mut buffer[kept..]).fault(Exit::Machine, shown())?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[kept..kept + read]);
        let filled = kept + read;
        knows_go = knows_go || buffer[..filled].windows(GO.len()).any(|window| window == GO);
        let tail = filled.min(GO.len() - 1);
        buffer.copy_within(filled - tail..filled, 0);
        kept = tail;
    }
    if !knows_go {
        return Err(damaged(folder, "knows no Go advisories").into());
    }
    Ok(hasher.finish())
}

fn damaged(folder: &Path, what: &str) -> Fault {
    Fault::new(Exit::Machine, format!("no verdict: the database in `{}` {what}", folder.display()))
        .hint("remove that folder: the next scan fetches another")
}

/// Downloads beside the one that is there, verifies, and puts it in its place.
fn fetch(source: &Source<'_>, folder: &Path) -> anyhow::Result<()> {
    source.progress.status("downloading the vulnerability database");
    std::fs::create_dir_all(source.folder).fault(Exit::Machine, "could not make the scanner's cache")?;
    let aside = tempfile::Builder::new()
        .prefix(".db-")
        .tempdir_in(source.folder)
        .fault(Exit::Machine, "could not make a folder for the database")?;
    let home = aside.path().join("home");
    std::fs::create_dir_all(&home)?;
    let cache = aside.path().join("cache");
    let repository = source.environment.get("TRIVY_DB_REPOSITORY").or(source.repository);
    let mut command = super::trivy(source.program, &home, source.environment)
        .args(["image", "--download-db-only", "--no-progress", "--skip-version-check"])
        .args(["--disable-telemetry", "--timeout", "15m"])
        .arg("--cache-dir")
        .arg(&cache)
        .cwd(&home)
        .timeout(LIMIT);
    if let Some(repository) = repository {
        command = command.args(["--db-repository", repository]);
        if repository.split(',').all(loopback) {
            command = command.arg("--insecure");
        }
    }
    // Only here, where it talks to a server: how to reach it, and as whom.
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "TRIVY_USERNAME",
        "TRIVY_PASSWORD",
        "TRIVY_REGISTRY_TOKEN",
        "TRIVY_INSECURE",
        "TRIVY_CACERT",
    ] {
        if let Some(value) = source.environment.get(name) {
            command = command.env(name, value);
        }
    }
    let secret = ["TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN"].map(|name| source.environment.get(name));
    let command = command.secrets(&Secrets::new(secret.into_iter().flatten()));
    command.run(source.cancel).map_err(|error| download_error(&error))?;
    let fetched = cache.join("db");
    let Some(metadata) = metadata(&fetched)? else {
        return Err(damaged(&fetched, "came without `metadata.json`").into());
    };
    age(&metadata, clock::now())?;
    let digest = read_through(&fetched.join("trivy.db"), &fetched)?;
    install(source.folder, &fetched, folder, aside.path())?;
    let (size, modified) = stamp(&folder.join("trivy.db"))?;
    let seen = Seen { digest, size, modified };
    files::write(&source.folder.join("db.json"), &serde_json::to_vec(&seen)?)
}

/// The scanner's own last word, which says more than its exit status.
fn download_error(error: &crate::host::process::ProcessError) -> anyhow::Error {
    use crate::host::process::ProcessError;
    let ProcessError::Failed { tail, .. } = error else {
        return anyhow::anyhow!("none could be fetched: {error}");
    };
    let said = tail.iter().rev().find(|line| !line.trim().is_empty()).map_or("", |line| line.trim());
    // Lines are `TIME\tFATAL\tFatal error\tTEXT`.
    let said = said.rsplit('\t').next().unwrap_or(said);
    anyhow::anyhow!("none could be fetched: {said}")
}

/// Renames the new folder into place: the old one goes aside, and with it when the temporary folder goes.
fn install(cache: &Path, fetched: &Path, folder: &Path, aside: &Path) -> anyhow::Result<()> {
    const SHOWN: &str = "could not put the database into place";
    // What was seen of the old one is no longer true; a run that is killed here reads the new one through.
    let _ = std::fs::remove_file(cache.join("db.json"));
    if folder.exists() {
        std::fs::rename(folder, aside.join("old")).fault(Exit::Machine, SHOWN)?;
    }
    std::fs::rename(fetched, folder).fault(Exit::Machine, SHOWN)
}

/// Whether a repository's host is this machine: there plain HTTP is fine.
fn loopback(repository: &str) -> bool {
    let host = repository.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn lock(source: &Source<'_>, kind: Kind) -> anyhow::Result<File> {
    let waiting = || source.progress.status("waiting for another run that uses the vulnerability database");
    lock::wait(&source.folder.join("lock"), kind, source.cancel, &waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(updated: &str, next: &str) -> Metadata {
        Metadata { version: 2, updated_at: updated.to_owned(), next_update: next.to_owned() }
    }

    #[test]
    fn a_database_is_good_until_the_next_one_is_due() {
        // 2026-11-21T06:30:00Z
        let now = 1_795_242_600;
        assert_eq!(crate::host::clock::rfc3339(now), "2026-11-21T06:30:00Z");
        for (updated, next, expected) in [
            ("2026-11-21T06:00:00.123456789Z", "2026-11-22T06:00:00Z", Age::Fresh),
            ("2026-11-20T06:00:00Z", "2026-11-21T06:30:00Z", Age::Stale),
            ("2036-11-20T06:00:00Z", "2036-11-21T06:30:00Z", Age::Ahead),
        ] {
            assert_eq!(age(&metadata(updated, next), now).unwrap(), expected, "{updated}");
        }
        assert!(age(&metadata("yesterday", "2026-11-21T06:30:00Z"), now).is_err());
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for repository in ["localhost:5000/x", "127.0.0.1/x:2", "[::1]:5000/x", "127.9.9.9:1/x"] {
            assert!(loopback(repository), "{repository}");
        }
        for repository in ["ghcr.io/a/b", "10.0.0.1:5000/x", "localhost.example.com/x", "", "::1/x"] {
            assert!(!loopback(repository), "{repository}");
        }
    }

    #[test]
    fn a_word_across_two_pieces_is_seen_and_an_empty_database_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trivy.db");
        for start in (1 << 20) - 5..(1 << 20) + 2 {
            let mut bytes = vec![0u8; start];
            bytes.extend_from_slice(GO);
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(read_through(&file, folder.path()).unwrap(), Digest::of(&bytes), "{start}");
        }
        std::fs::write(&file, b"nothing").unwrap();
        let fault = read_through(&file, folder.path()).unwrap_err();
        assert!(fault.to_string().contains("knows no Go advisories"), "{fault}");
    }
}
