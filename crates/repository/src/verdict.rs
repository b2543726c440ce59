//! What a gate said of a digest, as a file by that digest under `dist/verdicts/`, and the rule by which
//! a push takes or refuses it. A verdict is about one platform's manifest; no verdict is not a pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files;
use crate::platform::Platform;
use crate::stage::Stage;

/// What the scanner said of one platform's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scan {
    Pass,
    Fail,
    /// Only the binary could be judged: no scanner knows Windows' own packages.
    Unsupported,
    /// No vulnerability verdict exists (secrets were looked for).
    None,
}

/// How an image was seen to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// As a container, or in a root of its own with nothing of the host's in it.
    Container,
    /// The binary as a plain process.
    Process,
    /// Not run: another platform's, or the stage was skipped.
    None,
    Fail,
}

/// The words of one gate, and the name of its file.
pub trait Verdict: Copy + PartialEq + Serialize + DeserializeOwned {
    const STAGE: Stage;
}

impl Verdict for Scan {
    const STAGE: Stage = Stage::Scan;
}

impl Verdict for Verify {
    const STAGE: Stage = Stage::Verify;
}

/// The form of the files; another number is not read.
pub const SCHEMA: u32 = 1;

/// One verdict: `dist/verdicts/HEX/STAGE.json`, HEX being the manifest's digest without `sha256:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<V> {
    pub schema: u32,
    /// Of the manifest.
    pub digest: Digest,
    pub service: String,
    pub platform: Platform,
    pub verdict: V,
    /// What judged: `trivy 0.69.3`, `docker 26.1.5`, `chroot`.
    pub tool: String,
    /// What it judged by, where that changes by itself: the database's `UpdatedAt` (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Everything the verdict follows from. The same key again: the same verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// In a few words, for a summary.
    pub note: String,
    /// Of a scan: all that it found, as `CVE-2026-1 in MODULE VERSION`; absent: not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<BTreeSet<String>>,
    /// What the user is to know although it stops nothing: said again when the verdict is used again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When, RFC 3339, UTC.
    pub at: String,
}

/// Where a verdict lies.
pub fn path<V: Verdict>(verdicts: &Path, digest: &Digest) -> PathBuf {
    verdicts.join(digest.hex()).join(format!("{}.json", V::STAGE))
}

/// Writes a verdict, whole or not at all.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn write<V: Verdict>(verdicts: &Path, record: &Record<V>) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.push(b'\n');
    files::write(&path::<V>(verdicts, &record.digest), &bytes)
}

/// Takes a verdict away: before its gate looks again, so that a run that is killed in between leaves none.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn remove<V: Verdict>(verdicts: &Path, digest: &Digest) -> anyhow::Result<()> {
    let path = path::<V>(verdicts, digest);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).fault(Exit::Machine, format!("could not remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// The verdict of a digest, if there is one.
///
/// # Errors
/// [`Exit::Machine`] for a file that is not a verdict of this schema, or one of another digest:
/// something else wrote it, so nothing can be concluded.
pub fn read<V: Verdict>(verdicts: &Path, digest: &Digest) -> anyhow::Result<Option<Record<V>>> {
    let path = path::<V>(verdicts, digest);
    let Some(bytes) = files::read_optional(&path)? else { return Ok(None) };
    let bad = |what: &str| {
        Fault::new(Exit::Machine, format!("`{}` {what}", path.display()))
            .hint(format!("remove it and run `cargo xtask {}` again", V::STAGE))
    };
    let record: Record<V> =
        serde_json::from_slice(&bytes).map_err(|error| bad(&format!("is not a verdict: {error}")))?;
    if record.schema != SCHEMA {
        return Err(bad(&format!("has schema {}, this build reads {SCHEMA}", record.schema)).into());
    }
    if record.digest != *digest {
        return Err(bad(&format!("is about `{}`", record.digest)).into());
    }
    Ok(Some(record))
}

/// Takes over what another run's gates said of a digest, where `from`, its folder of verdicts, holds any.
///
/// # Errors
/// As [`read`] and [`write`].
pub fn adopt(from: &Path, to: &Path, digest: &Digest) -> anyhow::Result<()> {
    if let Some(record) = read::<Scan>(from, digest)? {
        write(to, &record)?;
    }
    if let Some(record) = read::<Verify>(from, digest)? {
        write(to, &record)?;
    }
    Ok(())
}

/// What the environment that is pushed to allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The registry is an `oci:` folder, and `on-unavailable = "warn"` holds.
    pub unscanned: bool,
    /// Gates that `--skip` or `enabled = false` took out; the release records them.
    pub skipped: BTreeSet<Stage>,
}

/// The verdicts of one platform's manifest, as far as they exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    pub scan: Option<Scan>,
    pub verify: Option<Verify>,
}

/// Why one service may not be pushed: a sentence for each fault, none if it may.
///
/// Each platform needs a scan. Verify needs no failure anywhere and a word on at least one platform: the
/// others can't run on this machine.
pub fn refusals(platforms: &BTreeMap<Platform, Verdicts>, policy: &Policy) -> Vec<String> {
    let mut refusals = Vec::new();
    if !policy.skipped.contains(&Stage::Scan) {
        for (platform, verdicts) in platforms {
            let why = match verdicts.scan {
                Some(Scan::Pass | Scan::Unsupported) => continue,
                Some(Scan::None) if policy.unscanned => continue,
                Some(Scan::None) => "has no vulnerability verdict, and this registry asks for one",
                Some(Scan::Fail) => "did not pass its scan",
                None => "was not scanned",
            };
            refusals.push(format!("{platform} {why}"));
        }
    }
    if !policy.skipped.contains(&Stage::Verify) {
        for (platform, verdicts) in platforms {
            if verdicts.verify == Some(Verify::Fail) {
                refusals.push(format!("{platform} did not pass its verification"));
            }
        }
        if platforms.values().all(|verdicts| verdicts.verify.is_none()) {
            refusals.push("no platform was verified".to_owned());
        }
    }
    refusals
}

/// Reads the verdicts of one service's manifests, a digest a platform, and refuses what lacks one.
///
/// # Errors
/// [`Exit::Gate`] with every reason; [`Exit::Machine`] for a verdict that can't be read.
pub fn gate(
    verdicts: &Path,
    service: &str,
    platforms: &BTreeMap<Platform, Digest>,
    policy: &Policy,
) -> anyhow::Result<BTreeMap<Platform, Verdicts>> {
    let mut found = BTreeMap::new();
    for (platform, digest) in platforms {
        let scan = read::<Scan>(verdicts, digest)?.map(|record| record.verdict);
        let verify = read::<Verify>(verdicts, digest)?.map(|record| record.verdict);
        found.insert(platform.clone(), Verdicts { scan, verify });
    }
    let refusals = refusals(&found, policy);
    if refusals.is_empty() {
        return Ok(found);
    }
    Err(Fault::new(Exit::Gate, format!("`{service}` may not be pushed: {}", refusals.join("; ")))
        .hint("run `cargo xtask scan verify` on these digests, or bring their `dist/verdicts` with `--from`")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::exit_of;

    fn platforms(verdicts: &[(Option<Scan>, Option<Verify>)]) -> BTreeMap<Platform, Verdicts> {
        ["linux/amd64", "linux/arm64", "windows/amd64"]
            .into_iter()
            .zip(verdicts)
            .map(|(name, (scan, verify))| (name.parse().unwrap(), Verdicts { scan: *scan, verify: *verify }))
            .collect()
    }

    #[test]
    fn the_gate_fails_closed() {
        let strict = Policy::default();
        let lenient = Policy { unscanned: true, ..Policy::default() };
        let skipping =
            |stages: &[Stage]| Policy { skipped: stages.iter().copied().collect(), ..strict.clone() };
        let (pass, ran) = (Some(Scan::Pass), Some(Verify::Container));
        for (verdicts, policy, expected) in [
            (vec![(pass, ran)], &strict, &[][..]),
            (vec![(pass, Some(Verify::Process))], &strict, &[]),
            (vec![(pass, Some(Verify::None))], &strict, &[]),
            (vec![(pass, ran), (pass, None), (Some(Scan::Unsupported), None)], &strict, &[]),
            (vec![(None, None)], &strict, &["linux/amd64 was not scanned", "no platform was verified"]),
            (vec![(pass, None)], &strict, &["no platform was verified"]),
            (vec![(pass, ran), (None, ran)], &strict, &["linux/arm64 was not scanned"]),
            (vec![(Some(Scan::Fail), ran)], &lenient, &["linux/amd64 did not pass its scan"]),
            (
                vec![(Some(Scan::None), ran)],
                &strict,
                &["linux/amd64 has no vulnerability verdict, and this registry asks for one"],
            ),
            (vec![(Some(Scan::None), ran)], &lenient, &[]),
            (
                vec![(pass, ran), (pass, Some(Verify::Fail))],
                &strict,
                &["linux/arm64 did not pass its verification"],
            ),
            (vec![(None, ran)], &skipping(&[Stage::Scan]), &[]),
            (vec![(None, None)], &skipping(&[Stage::Scan, Stage::Verify]), &[]),
            (vec![(None, None)], &skipping(&[Stage::Verify]), &["linux/amd64 was not scanned"]),
        ] {
            assert_eq!(refusals(&platforms(&verdicts), policy), expected, "{verdicts:?} {policy:?}");
        }
    }

    fn record(digest: &Digest) -> Record<Scan> {
        Record {
            schema: SCHEMA,
            digest: digest.clone(),
            service: "orders".to_owned(),
            platform: "linux/amd64".parse().unwrap(),
            verdict: Scan::Pass,
            tool: "trivy 0.69.3".to_owned(),
            database: Some("2026-11-21T06:00:00Z".to_owned()),
            key: Some("key".to_owned()),
            note: "no findings".to_owned(),
            findings: Some(BTreeSet::new()),
            warnings: Vec::new(),
            at: "2026-11-21T06:30:00Z".to_owned(),
        }
    }

    #[test]
    fn a_verdict_is_found_by_its_digest_only() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        write(folder.path(), &record(&one)).unwrap();
        assert_eq!(read::<Scan>(folder.path(), &one).unwrap(), Some(record(&one)));
        assert_eq!(read::<Scan>(folder.path(), &other).unwrap(), None);
        assert_eq!(read::<Verify>(folder.path(), &one).unwrap(), None);
        remove::<Scan>(folder.path(), &one).unwrap();
        assert_eq!(read::<Scan>(folder.path(), &one).unwrap(), None);
        remove::<Scan>(folder.path(), &one).unwrap();
    }

    #[test]
    fn a_file_that_is_no_verdict_of_that_digest_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let text = serde_json::to_string(&record(&one)).unwrap();
        for (bytes, part) in [
            (text.replace("\"schema\":1", "\"schema\":9"), "schema 9"),
            (text.replace(one.as_str(), other.as_str()), "is about"),
            (text.replace("\"pass\"", "\"fine\""), "is not a verdict"),
            (text[..40].to_owned(), "is not a verdict"),
        ] {
            files::write(&path::<Scan>(folder.path(), &one), bytes.as_bytes()).unwrap();
            let fault = read::<Scan>(folder.path(), &one).unwrap_err();
            assert!(fault.to_string().contains(part), "{fault}");
            assert_eq!(exit_of(&fault), Exit::Machine);
        }
    }

    #[test]
    fn the_gate_reads_files_and_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"one");
        write(folder.path(), &record(&digest)).unwrap();
        let wanted = BTreeMap::from([("linux/amd64".parse().unwrap(), digest)]);
        let fault = gate(folder.path(), "orders", &wanted, &Policy::default()).unwrap_err();
        assert_eq!(exit_of(&fault), Exit::Gate);
        assert_eq!(fault.to_string(), "`orders` may not be pushed: no platform was verified");
        let policy = Policy { skipped: BTreeSet::from([Stage::Verify]), ..Policy::default() };
        assert_eq!(gate(folder.path(), "orders", &wanted, &policy).unwrap().len(), 1);
    }
}
