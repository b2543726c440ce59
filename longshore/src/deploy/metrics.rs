//! What an environment's history comes to: how often, how soon, how safely, how fast back. Pure.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::deploy::record::{Action, Entry, Outcome};

/// The four key measures of delivery (DORA), over all of a history.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Versions brought in by `deploy` and `promote`, well or not.
    pub deploys: usize,
    /// Of those: per week, over the time from the first to the last; absent for fewer than two.
    pub per_week: Option<f64>,
    /// Seconds from a version's commit to its being verified here, the median; absent where none was.
    pub lead_time: Option<u64>,
    /// The part of the deploys that did not become healthy or were rolled back, 0 to 1.
    pub failure_rate: Option<f64>,
    /// Seconds from the beginning of a bad deploy until the service was well again, the median.
    pub time_to_restore: Option<u64>,
}

/// `entries`: the oldest first.
pub fn metrics(entries: &[Entry]) -> Metrics {
    let deploys: Vec<(usize, &Entry)> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.action, Action::Deploy | Action::Promote))
        .collect();
    let (mut lead, mut restore, mut failed) = (Vec::new(), Vec::new(), 0_usize);
    for (index, entry) in &deploys {
        let later: Vec<&Entry> =
            entries[index + 1..].iter().filter(|later| later.service == entry.service).collect();
        let verified = entry.outcome == Outcome::Verified;
        if verified && let (Some(committed), Some(ended)) = (entry.origin.committed, seconds(&entry.ended_at))
        {
            lead.push(ended.saturating_sub(u64::try_from(committed).unwrap_or_default()));
        }
        let well_again = match entry.outcome {
            Outcome::Restored => Some(&entry.ended_at),
            Outcome::Failed => {
                later.iter().find(|later| later.outcome == Outcome::Verified).map(|later| &later.ended_at)
            }
            Outcome::Verified => later
                .first()
                .filter(|next| next.action == Action::Rollback && next.outcome == Outcome::Verified)
                .map(|next| &next.ended_at),
        };
        if !verified || well_again.is_some() {
            failed += 1;
        }
        if let (Some(began), Some(well)) =
            (seconds(&entry.started_at), well_again.and_then(|text| seconds(text)))
        {
            restore.push(well.saturating_sub(began));
        }
    }
    let times: Vec<u64> = deploys.iter().filter_map(|(_, entry)| seconds(&entry.started_at)).collect();
    Metrics {
        deploys: deploys.len(),
        per_week: per_week(&times),
        lead_time: median(lead),
        failure_rate: (!deploys.is_empty()).then(|| ratio(failed, deploys.len())),
        time_to_restore: median(restore),
    }
}

fn per_week(times: &[u64]) -> Option<f64> {
    const WEEK: f64 = 7.0 * 86_400.0;
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    // A history of a day says nothing of a week.
    let span = Duration::from_secs((last - first).max(86_400)).as_secs_f64();
    (times.len() > 1).then(|| ratio(times.len(), 1) / (span / WEEK))
}

fn ratio(part: usize, of: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(of)
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Of RFC 3339, since 1970.
fn seconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::record::{Origin, SCHEMA};

    fn entry(action: Action, outcome: Outcome, started: u64, ended: u64) -> Entry {
        let time = |at: u64| humantime::format_rfc3339(UNIX_EPOCH + Duration::from_secs(at)).to_string();
        Entry {
            schema: SCHEMA,
            service: "api".into(),
            action,
            outcome,
            version: None,
            digest: None,
            neutral: None,
            previous: None,
            by: String::new(),
            started_at: time(started),
            ended_at: time(ended),
            origin: Origin { committed: Some(1000), ..Origin::default() },
            why: None,
        }
    }

    #[test]
    fn a_history_comes_to_four_numbers() {
        assert_eq!(metrics(&[]), Metrics::default());
        let day = 86_400;
        let entries = [
            entry(Action::Deploy, Outcome::Verified, 2000, 2010),
            entry(Action::Deploy, Outcome::Restored, 3000, 3050),
            entry(Action::Promote, Outcome::Verified, 4000, 4010),
            entry(Action::Rollback, Outcome::Verified, 4300, 4400),
            entry(Action::Deploy, Outcome::Verified, 2000 + 7 * day, 2020 + 7 * day),
        ];
        let metrics = metrics(&entries);
        assert_eq!(metrics.deploys, 4);
        assert_eq!(metrics.per_week, Some(4.0));
        assert_eq!(metrics.failure_rate, Some(0.5), "one put back, one rolled back");
        assert_eq!(metrics.lead_time, Some(3010));
        assert_eq!(metrics.time_to_restore, Some(400), "the median of 50 and 400");
    }
}
