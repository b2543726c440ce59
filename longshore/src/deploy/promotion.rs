//! Whether a version may go from one environment to another: what its gates said, and how long ago. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use crate::config::deploy::Gap;
use crate::deploy::record::{Rescan, Running, Standing};
use crate::ledger::{PlatformRecord, ReleaseRecord};
use crate::oci::types::Digest;
use crate::verdict::{Scan, Verify};

/// What decides it, beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The environment that it comes from.
    pub from: &'a str,
    /// The target has a build of its own: the `ARG`s of the service's Dockerfile differ there.
    pub own_build: bool,
    /// The gaps that the target lives with.
    pub accept: &'a BTreeSet<Gap>,
    /// Of a scan's database.
    pub max_age: Duration,
    /// Scans since the release, by the neutral manifest's digest.
    pub rescans: &'a BTreeMap<Digest, Rescan>,
    /// Seconds since 1970.
    pub now: u64,
}

/// What runs there, verified; else why there is nothing to promote.
///
/// # Errors
/// The reason, for the message.
pub fn verified<'s>(standing: Option<&'s Standing>, from: &str) -> Result<&'s Running, String> {
    let Some(standing) = standing else { return Err(format!("it never ran in `{from}`")) };
    if let Some(pending) = &standing.pending {
        let version =
            pending.workload.as_ref().map_or_else(String::new, |workload| workload.version.to_string());
        return Err(format!(
            "a {} of it {version} is under way in `{from}`, or was stopped half-way",
            pending.action
        ));
    }
    standing.current.as_ref().ok_or_else(|| format!("it does not run in `{from}`"))
}

/// Every reason not to promote; none: it may.
pub fn refusals(record: &ReleaseRecord, running: &Running, rules: &Rules<'_>) -> Vec<String> {
    let mut refusals = Vec::new();
    if record.digest != running.workload.image.neutral && !rules.own_build {
        refusals.push(format!(
            "what runs in `{}` is not what is recorded as {}: `{}` and `{}`",
            rules.from, record.version, running.workload.image.neutral, record.digest
        ));
    }
    for stage in &record.skips {
        refusals.push(format!("{stage} was skipped when it was released"));
    }
    let contained = record.platforms.values().any(|platform| platform.verify == Verify::Container);
    if !contained {
        refusals.push("no platform of it was verified as a container".to_owned());
    }
    let (mut old, mut gaps) = (Vec::new(), BTreeMap::<Gap, Vec<String>>::new());
    for (name, platform) in &record.platforms {
        let name = name.to_string();
        match scan(platform, rules) {
            Scan::Pass => {}
            Scan::Unsupported => gaps.entry(Gap::ScanUnsupported).or_default().push(name.clone()),
            Scan::Fail => refusals.push(format!("{name} did not pass its last scan")),
            Scan::None => refusals.push(format!("{name} was not scanned")),
        }
        match platform.verify {
            Verify::Container => {}
            Verify::Process => gaps.entry(Gap::VerifyProcess).or_default().push(name.clone()),
            Verify::None => gaps.entry(Gap::VerifyNone).or_default().push(name.clone()),
            Verify::Fail => refusals.push(format!("{name} did not pass its verification")),
        }
        match age(platform, rules) {
            Some(age) if age > rules.max_age => old.push((name, age)),
            None if matches!(scan(platform, rules), Scan::Pass | Scan::Unsupported) => {
                refusals.push(format!("{name}: its scan does not say how old its database was"));
            }
            _ => {}
        }
    }
    for (gap, platforms) in gaps.into_iter().filter(|(gap, _)| !rules.accept.contains(gap)) {
        refusals.push(format!("{} of {}, which `accept` does not name", words(gap), platforms.join(", ")));
    }
    if let Some((_, age)) = old.iter().max_by_key(|(_, age)| *age) {
        let names: Vec<&str> = old.iter().map(|(name, _)| name.as_str()).collect();
        let round =
            |age: Duration| humantime::format_duration(Duration::from_secs(age.as_secs() / 3600 * 3600));
        refusals.push(format!(
            "the database that {} was scanned with is {} old, and `max-age` is {}",
            names.join(", "),
            round(*age),
            humantime::format_duration(rules.max_age)
        ));
    }
    refusals
}

/// As `accept` names it.
fn words(gap: Gap) -> &'static str {
    match gap {
        Gap::ScanUnsupported => "`scan-unsupported`: only the binary was scanned",
        Gap::VerifyProcess => "`verify-process`: only a plain process was run",
        Gap::VerifyNone => "`verify-none`: nothing was run",
    }
}

fn rescan<'a>(platform: &PlatformRecord, rules: &Rules<'a>) -> Option<&'a Rescan> {
    rules.rescans.get(&platform.digest)
}

fn scan(platform: &PlatformRecord, rules: &Rules<'_>) -> Scan {
    rescan(platform, rules).map_or(platform.scan, |rescan| rescan.verdict)
}

/// Of the database of its last scan; where that is not known, since the scan itself.
fn age(platform: &PlatformRecord, rules: &Rules<'_>) -> Option<Duration> {
    let scanned = match rescan(platform, rules) {
        Some(rescan) => rescan.database.as_ref(),
        None => platform.database.as_ref(),
    }?;
    let time = humantime::parse_rfc3339_weak(scanned.get(..19)?).ok()?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(rules.now.saturating_sub(seconds)))
}

#[cfg(test)]
mod tests;
