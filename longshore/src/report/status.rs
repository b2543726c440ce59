//! A status for eyes and for programs. Pure.

use std::fmt::Write as _;

mod deployed;

use super::table::{self, Side};
use crate::status::{EnvironmentStatus, Next, Record, ServiceStatus, Status};

/// Commits, reasons and paths that are shown of each service.
const SHOWN: usize = 5;

/// One JSON object, on one line.
///
/// # Errors
/// None but a defect.
pub fn json(status: &Status) -> anyhow::Result<String> {
    Ok(serde_json::to_string(status)? + "\n")
}

/// Where it stands, a table of services with what changed, a table of environments.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    let branch = status.branch.as_deref().map_or_else(String::new, |branch| format!(" ({branch})"));
    let changes = if status.dirty { ", with uncommitted changes" } else { "" };
    let Status { project, commit, environment, .. } = status;
    let _ = writeln!(text, "{project} at {}{branch}{changes}, environment {environment}", commit.short());
    if let Some(age) = status.age {
        let _ = writeln!(text, "the remote as it was {} ago", ago(age));
    }
    if let Some(why) = &status.blocked {
        let _ = writeln!(text, "a release is not possible: {why}");
    }
    text.push('\n');
    let left = |name| (name, Side::Left);
    let head = ["SERVICE", "LAST", "COMMIT", "DIGEST", "RELEASED"].map(left);
    let head: Vec<(&str, Side)> =
        head.into_iter().chain([("COMMITS", Side::Right), left("NEXT RELEASE")]).collect();
    let rows: Vec<Vec<String>> = status.services.iter().map(|(name, service)| row(name, service)).collect();
    text.push_str(&table::render(&head, &rows));
    for (name, service) in &status.services {
        details(&mut text, name, service);
    }
    text.push('\n');
    let head = ["ENVIRONMENT", "REGISTRY", "RECORDED"].map(left);
    let rows: Vec<Vec<String>> = status
        .environments
        .iter()
        .map(|(name, environment)| vec![name.clone(), environment.registry.clone(), recorded(environment)])
        .collect();
    text.push_str(&table::render(&head, &rows));
    deployed::write(&mut text, &status.environments);
    text
}

fn row(name: &str, service: &ServiceStatus) -> Vec<String> {
    let last = service.last.as_ref();
    let dash = || "-".to_owned();
    vec![
        name.to_owned(),
        last.map_or_else(dash, |last| last.version.to_string()),
        last.map_or_else(dash, |last| last.commit.short().to_owned()),
        last.and_then(|last| last.digest.as_ref()).map_or_else(dash, crate::stage::image::short),
        last.and_then(|last| last.released_at.clone()).unwrap_or_else(dash),
        service.commits.len().to_string(),
        next(service),
    ]
}

fn next(service: &ServiceStatus) -> String {
    match &service.next {
        Next::Release { version, tag: Some(tag), .. } => format!("{version} (tag {tag})"),
        Next::Release { version, step: Some(step), .. } => {
            format!("{version} ({})", format!("{step:?}").to_lowercase())
        }
        Next::Release { version, .. } if service.since.is_none() => format!("{version} (the first)"),
        Next::Release { version, .. } => version.to_string(),
        Next::Finish { version } => format!("nothing: HEAD is {version}"),
        Next::Nothing if service.affected.is_empty() => "nothing".to_owned(),
        Next::Nothing => "nothing: no commit asks for one".to_owned(),
        Next::Unknown => "unknown".to_owned(),
    }
}

fn details(text: &mut String, name: &str, service: &ServiceStatus) {
    if !service.commits.is_empty() {
        let _ = match &service.since {
            Some(since) => writeln!(text, "\n{name} since {since}"),
            None => writeln!(text, "\n{name}, never released"),
        };
        let commits =
            service.commits.iter().map(|commit| format!("{} {}", commit.commit.short(), commit.subject));
        list(text, commits);
    }
    if !service.dirty.is_empty() {
        let _ = writeln!(text, "\n{name}, not committed");
        list(text, service.dirty.iter().map(ToString::to_string));
    }
}

fn list(text: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(SHOWN);
    for line in lines.take(SHOWN) {
        let _ = writeln!(text, "  {line}");
    }
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
}

fn recorded(environment: &EnvironmentStatus) -> String {
    let said = match &environment.record {
        Record::Nothing => "nothing recorded".to_owned(),
        Record::At { commit } => commit.short().to_owned(),
        Record::Unknown { why } => format!("unknown: {why}"),
    };
    match environment.age {
        Some(age) => format!("{said}, {} ago", ago(age)),
        None => said,
    }
}

/// `3h 12m`: two parts at most.
fn ago(seconds: u64) -> String {
    let text = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::deploy::metrics::Metrics;
    use crate::deploy::record::Holder;
    use crate::deploy::{Condition, Observed};
    use crate::status::{Changed, Deployed, History, Last};
    use crate::version::{Bump, CommitId};
    use std::collections::BTreeMap;

    fn id(digit: char) -> CommitId {
        std::iter::repeat_n(digit, 40).collect::<String>().parse().unwrap()
    }

    fn status() -> Status {
        let api = ServiceStatus {
            last: Some(Last {
                version: Version::new(0, 1, 0),
                commit: id('a'),
                digest: Some(crate::oci::types::Digest::of(b"index")),
                released_at: Some("2026-11-21T07:10:00Z".into()),
                reference: None,
            }),
            since: Some(Version::new(0, 1, 0)),
            commits: vec![Changed { commit: id('b'), subject: "feat: x".into() }; 7],
            affected: vec!["cmd/api/main.go changed".into()],
            next: Next::Release { version: Version::new(0, 2, 0), step: Some(Bump::Minor), tag: None },
            dirty: vec!["cmd/api/new.go".into()],
        };
        let web = ServiceStatus {
            last: None,
            since: None,
            commits: Vec::new(),
            affected: Vec::new(),
            next: Next::Nothing,
            dirty: Vec::new(),
        };
        let environment = EnvironmentStatus {
            registry: "oci:dist/oci".into(),
            driver: Some("process".into()),
            services: BTreeMap::from([("api".into(), deployed())]),
            holder: Some(holder()),
            history: Some(history()),
            record: Record::Nothing,
            age: Some(3),
        };
        Status {
            schema: 1,
            project: "shop".into(),
            commit: id('c'),
            branch: Some("main".into()),
            environment: "local".into(),
            dirty: true,
            age: Some(3_723),
            blocked: None,
            services: BTreeMap::from([("api".into(), api), ("web".into(), web)]),
            environments: BTreeMap::from([("local".into(), environment)]),
        }
    }

    fn deployed() -> Deployed {
        let digest = crate::oci::types::Digest::of(b"index");
        let observed = Observed {
            digest: Some(digest.clone()),
            hash: None,
            health: Condition::Healthy,
            ready: 1,
            wanted: 1,
            restarts: 0,
            since: None,
            addresses: vec!["127.0.0.1:8080".into()],
            drift: Vec::new(),
        };
        Deployed {
            version: Some(Version::new(0, 1, 0)),
            digest: Some(digest.clone()),
            neutral: Some(digest),
            since: Some("2026-11-21T08:00:00Z".into()),
            by: Some("Ada <ada@example.com>".into()),
            pending: None,
            observed: Some(observed),
            drift: vec!["it runs with other settings".into()],
        }
    }

    fn holder() -> Holder {
        let text = r#"{"id":"1","by":"Ada <ada@example.com>","host":"host","process":null,"command":"deploy","at":"2026-11-21T09:00:00Z","patience":9}"#;
        serde_json::from_str(text).unwrap()
    }

    fn history() -> History {
        let text = r#"{"schema":1,"service":"api","action":"deploy","outcome":"verified","version":"0.1.0","digest":null,"neutral":null,"previous":null,"by":"Ada <ada@example.com>","started_at":"2026-11-21T07:59:00Z","ended_at":"2026-11-21T08:00:00Z"}"#;
        let metrics = Metrics {
            deploys: 1,
            per_week: None,
            lead_time: Some(60),
            failure_rate: Some(0.0),
            time_to_restore: None,
        };
        History { metrics, entries: vec![serde_json::from_str(text).unwrap()] }
    }

    #[test]
    fn the_text_tells_all_that_matters() {
        let expected = "\
shop at cccccccc (main), with uncommitted changes, environment local
the remote as it was 1h 2m ago

SERVICE  LAST   COMMIT    DIGEST               RELEASED              COMMITS  NEXT RELEASE
api      0.1.0  aaaaaaaa  DIGEST  2026-11-21T07:10:00Z        7  0.2.0 (minor)
web      -      -         -                    -                           0  nothing

api since 0.1.0
  bbbbbbbb feat: x
  bbbbbbbb feat: x
  bbbbbbbb feat: x
  bbbbbbbb feat: x
  bbbbbbbb feat: x
  and 2 more

api, not committed
  cmd/api/new.go

ENVIRONMENT  REGISTRY      RECORDED
local        oci:dist/oci  nothing recorded, 3s ago

ENVIRONMENT  SERVICE  VERSION  DIGEST               SINCE                 BY   NOW
local        api      0.1.0    DIGEST  2026-11-21T08:00:00Z  Ada  1/1 healthy at 127.0.0.1:8080

local: Ada on host changes it since 2026-11-21T09:00:00Z: deploy

local: api drifts
  it runs with other settings

local, 1 change
2026-11-21T08:00:00Z  deploy    api 0.1.0  verified  Ada
1 deploy; median lead time 1m; failure rate 0 %
";
        let digest = crate::stage::image::short(&crate::oci::types::Digest::of(b"index"));
        assert_eq!(text(&status()), expected.replace("DIGEST  2026", &format!("{digest}  2026")));
    }

    #[test]
    fn the_json_is_one_line_with_a_schema() {
        let json = json(&status()).unwrap();
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["services"]["api"]["next"]["version"], "0.2.0");
        assert_eq!(value["services"]["api"]["dirty"][0], "cmd/api/new.go");
        assert_eq!(value["environments"]["local"]["recorded"], "nothing");
    }
}
