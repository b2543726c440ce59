//! What is recorded, what runs and what is wanted → what is to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::deploy::record::{Pending, Standing, State};
use crate::deploy::workload::Workload;
use crate::deploy::{Condition, Observed};

/// One service, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub service: String,
    /// What is recorded to run: what is put back if this fails.
    pub from: Option<Workload>,
    /// Absent: it is taken away.
    pub to: Option<Workload>,
    /// Why something is to be done, a line each.
    pub reasons: Vec<String>,
}

/// What differs between what is recorded, what runs and what is wanted; `None` where nothing does.
///
/// # Errors
/// A defect: a workload that can't be written as JSON.
pub fn change(
    service: &str,
    standing: Option<&Standing>,
    observed: Option<&Observed>,
    wanted: Option<&Workload>,
) -> anyhow::Result<Option<Change>> {
    let from = standing.and_then(|standing| standing.current.as_ref()).map(|running| &running.workload);
    let mut reasons = match (from, wanted) {
        (None, Some(wanted)) => vec![format!("{} is new here", wanted.version)],
        (Some(from), Some(wanted)) => differences(from, wanted),
        (Some(from), None) => vec![format!("{} is taken away", from.version)],
        (None, None) if observed.is_some() => vec!["what is there and not recorded is taken away".to_owned()],
        (None, None) => Vec::new(),
    };
    if let Some(pending) = standing.and_then(|standing| standing.pending.as_ref()) {
        reasons.push(found(pending, observed)?);
    }
    if reasons.is_empty()
        && let Some(wanted) = wanted
    {
        reasons.extend(drift(wanted, observed)?);
    }
    if reasons.is_empty() {
        return Ok(None);
    }
    Ok(Some(Change { service: service.to_owned(), from: from.cloned(), to: wanted.cloned(), reasons }))
}

/// What another run left of a change: what is done about it follows from what is wanted now.
pub fn found(pending: &Pending, observed: Option<&Observed>) -> anyhow::Result<String> {
    let Some(workload) = &pending.workload else {
        return Ok("a run that took it away was stopped half-way".to_owned());
    };
    let state = match observed {
        None => "nothing of it runs".to_owned(),
        Some(observed) if observed.hash.as_deref() == Some(workload.hash()?.as_str()) => {
            format!("it is there, {}", condition(&observed.health))
        }
        Some(_) => "what ran before is there".to_owned(),
    };
    Ok(format!("a {} of {} was stopped half-way: {state}", pending.action, workload.version))
}

/// How what runs differs from what should.
///
/// # Errors
/// A defect: a workload that can't be written as JSON.
pub fn drift(wanted: &Workload, observed: Option<&Observed>) -> anyhow::Result<Vec<String>> {
    let Some(observed) = observed else { return Ok(vec!["it does not run".to_owned()]) };
    let mut drift = Vec::new();
    match &observed.digest {
        Some(digest) if *digest != wanted.image.digest => {
            drift.push(format!("{} runs", crate::stage::image::short(digest)));
        }
        _ => {
            if let Some(hash) = &observed.hash
                && *hash != wanted.hash()?
            {
                drift.push("it runs with other settings".to_owned());
            }
        }
    }
    if let Condition::Stopped(why) = &observed.health {
        drift.push(if why.is_empty() {
            "it has stopped".to_owned()
        } else {
            format!("it has stopped: {why}")
        });
    }
    drift.extend(observed.drift.iter().cloned());
    Ok(drift)
}

pub fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Healthy => "healthy".to_owned(),
        Condition::Starting => "starting".to_owned(),
        Condition::Unhealthy(why) => with("unhealthy", why),
        Condition::Stopped(why) => with("stopped", why),
        Condition::Unknown(why) => with("unknown", why),
    }
}

fn with(word: &str, why: &str) -> String {
    if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") }
}

/// A line for each thing that differs.
fn differences(from: &Workload, to: &Workload) -> Vec<String> {
    let mut lines = Vec::new();
    let short = crate::stage::image::short;
    if from.version != to.version {
        lines.push(format!("{} → {}", from.version, to.version));
    }
    if from.image.neutral != to.image.neutral && from.version == to.version {
        lines.push(format!("image {} → {}", short(&from.image.neutral), short(&to.image.neutral)));
    } else if from.image.digest != to.image.digest && from.image.neutral == to.image.neutral {
        lines.push(format!("variant {} → {}", short(&from.image.digest), short(&to.image.digest)));
    }
    if from.image.repository != to.image.repository {
        lines.push(format!("repository {} → {}", from.image.repository, to.image.repository));
    }
    let names: BTreeSet<&String> = from.env.keys().chain(to.env.keys()).collect();
    for name in names {
        match (from.env.get(name), to.env.get(name)) {
            (Some(before), Some(after)) if before != after => {
                lines.push(format!("env {name} {before:?} → {after:?}"));
            }
            (Some(before), None) => lines.push(format!("env {name} {before:?} is gone")),
            (None, Some(after)) => lines.push(format!("env {name} = {after:?}")),
            _ => {}
        }
    }
    lines.extend(to.secrets.difference(&from.secrets).map(|name| format!("secret {name} is new")));
    lines.extend(from.secrets.difference(&to.secrets).map(|name| format!("secret {name} is gone")));
    let mut field = |name: &str, differs: bool, before: String, after: String| {
        if differs {
            lines.push(format!("{name} {before} → {after}"));
        }
    };
    field("replicas", from.replicas != to.replicas, from.replicas.to_string(), to.replicas.to_string());
    field("published port", from.publish != to.publish, shown(from.publish), shown(to.publish));
    field("port", from.port != to.port, shown(from.port), shown(to.port));
    for (name, differs) in [
        ("health", from.health != to.health),
        ("verify", from.verify != to.verify),
        ("needs", from.needs != to.needs),
        ("resources", from.resources != to.resources),
        ("labels", from.labels != to.labels),
        ("options of the driver", from.options != to.options),
        ("platforms", from.image.platforms.keys().ne(to.image.platforms.keys())),
    ] {
        if differs {
            lines.push(format!("{name} changed"));
        }
    }
    if lines.is_empty() && from != to {
        lines.push("platforms changed".to_owned());
    }
    lines
}

fn shown(port: Option<u16>) -> String {
    port.map_or_else(|| "none".to_owned(), |port| port.to_string())
}

/// Services in an order in which each comes after those of them that it needs. What is in a circle, which a
/// checked configuration has not, comes last.
pub fn order(changes: &[Change]) -> Vec<&Change> {
    let mut left: BTreeMap<&str, &Change> =
        changes.iter().map(|change| (change.service.as_str(), change)).collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let ready: Vec<&str> = left
            .iter()
            .filter(|(_, change)| needs(change).iter().all(|need| !left.contains_key(need.as_str())))
            .map(|(name, _)| *name)
            .collect();
        let ready = if ready.is_empty() { left.keys().copied().collect() } else { ready };
        ordered.extend(ready.iter().filter_map(|name| left.remove(name)));
    }
    ordered
}

/// What comes before it.
pub fn needs(change: &Change) -> &[String] {
    change.to.as_ref().map_or(&[], |workload| &workload.needs)
}

/// Services that another run left half-way and that nobody asks for now: what stands is put back, or, where
/// what was begun is there, it is finished.
///
/// # Errors
/// A defect: a workload that can't be written as JSON.
pub fn abandoned(
    state: &State,
    observed: &BTreeMap<String, Observed>,
    asked: &BTreeSet<String>,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (service, standing) in &state.services {
        let Some(pending) = standing.pending.as_ref().filter(|_| !asked.contains(service)) else { continue };
        let from = standing.current.as_ref().map(|running| running.workload.clone());
        let seen = observed.get(service);
        let is_there = match &pending.workload {
            Some(workload) => {
                let hash = workload.hash()?;
                seen.is_some_and(|seen| {
                    seen.hash.as_ref() == Some(&hash) && seen.health == Condition::Healthy
                })
            }
            None => seen.is_none(),
        };
        let to = if is_there { pending.workload.clone() } else { from.clone() };
        let what = if is_there { "it is finished" } else { "what stands is put back" };
        let reasons = vec![found(pending, seen)?, what.to_owned()];
        changes.push(Change { service: service.clone(), from, to, reasons });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests;
