//! What runs where, how it is, and what was done. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::measure::plural;
use super::super::table::{self, Side};
use crate::deploy::difference::condition;
use crate::status::{Deployed, EnvironmentStatus, History};

/// Changes of a history that are shown.
const SHOWN: usize = 20;

pub(super) fn write(text: &mut String, environments: &BTreeMap<String, EnvironmentStatus>) {
    let head =
        ["ENVIRONMENT", "SERVICE", "VERSION", "DIGEST", "SINCE", "BY", "NOW"].map(|name| (name, Side::Left));
    let services = environments.iter().flat_map(|(environment, status)| {
        status.services.iter().map(move |(service, deployed)| row(environment, service, deployed))
    });
    let rows: Vec<Vec<String>> = services.collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table::render(&head, &rows));
    }
    for (name, environment) in environments {
        if let Some(holder) = &environment.holder {
            let _ = writeln!(
                text,
                "\n{name}: {} on {} changes it since {}: {}",
                who(&holder.by),
                holder.host,
                holder.at,
                holder.command
            );
        }
        for (service, deployed) in &environment.services {
            let lines = deployed.pending.iter().chain(&deployed.drift);
            let lines: Vec<&String> = lines.collect();
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{name}: {service} drifts");
                lines.iter().for_each(|line| {
                    let _ = writeln!(text, "  {line}");
                });
            }
        }
        if let Some(history) = &environment.history {
            write_history(text, name, history);
        }
    }
}

fn row(environment: &str, service: &str, deployed: &Deployed) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        environment.to_owned(),
        service.to_owned(),
        deployed.version.as_ref().map_or_else(dash, ToString::to_string),
        deployed.digest.as_ref().map_or_else(dash, crate::stage::image::short),
        deployed.since.clone().unwrap_or_else(dash),
        deployed.by.as_deref().map_or_else(dash, who),
        now(deployed),
    ]
}

fn now(deployed: &Deployed) -> String {
    let Some(observed) = &deployed.observed else {
        return if deployed.version.is_some() { "not there".to_owned() } else { "down".to_owned() };
    };
    let mut text = format!("{}/{} {}", observed.ready, observed.wanted, condition(&observed.health));
    if !observed.addresses.is_empty() {
        let _ = write!(text, " at {}", observed.addresses.join(", "));
    }
    if observed.restarts > 0 {
        let _ = write!(text, ", {}", plural(observed.restarts as usize, "restart"));
    }
    text
}

/// A name without its address.
fn who(by: &str) -> String {
    by.split(" <").next().unwrap_or_default().to_owned()
}

fn write_history(text: &mut String, name: &str, history: &History) {
    let entries = &history.entries;
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{name}, {}", plural(entries.len(), "change"));
    for entry in entries.iter().rev().take(SHOWN) {
        let version = entry.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
        let outcome = format!("{:?}", entry.outcome).to_lowercase();
        let _ = write!(
            text,
            "{}  {:<8}  {}{version}  {outcome}  {}",
            entry.ended_at,
            entry.action.to_string(),
            entry.service,
            who(&entry.by)
        );
        if let Some(by) = &entry.origin.released_by
            && *by != entry.by
        {
            let _ = write!(text, ", released by {}", who(by));
        }
        if let Some(by) = &entry.origin.approved_by {
            let _ = write!(text, ", approved by {}", who(by));
        }
        if let Some(why) = &entry.why {
            let _ = write!(text, ": {why}");
        }
        text.push('\n');
    }
    let metrics = &history.metrics;
    let mut said = vec![plural(metrics.deploys, "deploy")];
    said.extend(metrics.per_week.map(|per_week| format!("{per_week:.1} a week")));
    said.extend(metrics.lead_time.map(|seconds| format!("median lead time {}", super::ago(seconds))));
    said.extend(metrics.failure_rate.map(|rate| format!("failure rate {:.0} %", rate * 100.0)));
    said.extend(
        metrics.time_to_restore.map(|seconds| format!("median time to restore {}", super::ago(seconds))),
    );
    let _ = writeln!(text, "{}", said.join("; "));
}
