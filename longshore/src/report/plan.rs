//! A plan for eyes and for programs: text, JSON, DOT, Mermaid. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use semver::Version;
use serde::Serialize;

use crate::plan::{JobId, Plan, Stage, State};
use crate::platform::Platform;

/// What a plan says of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedService {
    pub version: Option<Version>,
    pub previous: Option<Version>,
    /// It gets a new version.
    pub changed: bool,
    pub reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    services: &'a BTreeMap<String, PlannedService>,
    jobs: Vec<PlannedJob<'a>>,
}

#[derive(Debug, Serialize)]
struct PlannedJob<'a> {
    id: &'a JobId,
    stage: Stage,
    service: Option<&'a str>,
    platform: Option<&'a Platform>,
    needs: &'a [JobId],
    state: State,
    why: &'a str,
}

/// One JSON object (DESIGN: commands), on one line.
///
/// # Errors
/// None but a defect.
pub fn json<A>(services: &BTreeMap<String, PlannedService>, plan: &Plan<A>) -> anyhow::Result<String> {
    let jobs = plan.jobs.iter().map(|job| PlannedJob {
        id: &job.id,
        stage: job.stage,
        service: job.service.as_deref(),
        platform: job.platform.as_ref(),
        needs: &job.needs,
        state: job.state,
        why: &job.why,
    });
    let document = Document { schema: 1, services, jobs: jobs.collect() };
    Ok(serde_json::to_string(&document)?)
}

/// Services with their reasons, then jobs with their state. `command` gives a job's command line, where
/// it is to be shown.
pub fn text<A>(
    services: &BTreeMap<String, PlannedService>,
    plan: &Plan<A>,
    command: impl Fn(&A) -> Option<String>,
) -> String {
    let mut text = String::new();
    for (name, service) in services {
        let previous = service.previous.as_ref().map_or("none".to_owned(), Version::to_string);
        let _ = match &service.version {
            Some(version) if service.changed => writeln!(text, "{name} {previous} → {version}"),
            Some(version) if service.version != service.previous => {
                writeln!(text, "{name} {previous}, now {version} (not recorded)")
            }
            _ if service.reasons.is_empty() => writeln!(text, "{name} {previous} unchanged"),
            _ => writeln!(text, "{name} {previous} affected, not released"),
        };
        for reason in service.reasons.iter().take(REASONS) {
            let _ = writeln!(text, "  {reason}");
        }
        if service.reasons.len() > REASONS {
            let _ = writeln!(text, "  and {} more", service.reasons.len() - REASONS);
        }
    }
    if plan.jobs.is_empty() {
        text.push_str("\nnothing to do\n");
        return text;
    }
    text.push('\n');
    let width = plan.jobs.iter().map(|job| job.id.0.len()).max().unwrap_or(0);
    for job in &plan.jobs {
        let state = match job.state {
            State::Run => "run",
            State::Cached => "cached",
            State::Depends => "depends",
        };
        let _ = writeln!(text, "{:width$}  {state:7}  {}", job.id.0, job.why);
        if let Some(command) = command(&job.action) {
            let _ = writeln!(text, "{:width$}  $ {command}", "");
        }
    }
    text
}

/// Reasons shown of one service.
const REASONS: usize = 10;

/// Graphviz.
pub fn dot<A>(plan: &Plan<A>) -> String {
    let mut text = "digraph plan {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for job in &plan.jobs {
        let style = if job.state == State::Cached { " [style=dashed]" } else { "" };
        let _ = writeln!(text, "  {:?}{style};", job.id.0);
        for need in &job.needs {
            let _ = writeln!(text, "  {:?} -> {:?};", need.0, job.id.0);
        }
    }
    text.push_str("}\n");
    text
}

/// A Mermaid flowchart.
pub fn mermaid<A>(plan: &Plan<A>) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let numbers: BTreeMap<&JobId, usize> = plan.jobs.iter().map(|job| &job.id).zip(0..).collect();
    for job in &plan.jobs {
        let _ = writeln!(text, "  j{}[\"{}\"]", numbers[&job.id], job.id.0.replace('"', "#quot;"));
    }
    for job in &plan.jobs {
        for need in job.needs.iter().filter_map(|need| numbers.get(need)) {
            let _ = writeln!(text, "  j{need} --> j{}", numbers[&job.id]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Job;

    fn plan() -> Plan<()> {
        let job = |id: JobId, needs: Vec<JobId>, state| Job {
            id,
            stage: Stage::Build,
            service: Some("a".into()),
            platform: "linux/amd64".parse().ok(),
            title: String::new(),
            needs,
            cost: 1,
            state,
            why: "main.go changed".into(),
            action: (),
        };
        let first = JobId::new(Stage::Build, &["services", "linux/amd64"]);
        let second = JobId::new(Stage::Image, &["a", "linux/amd64"]);
        Plan { jobs: vec![job(first.clone(), vec![], State::Run), job(second, vec![first], State::Depends)] }
    }

    fn services() -> BTreeMap<String, PlannedService> {
        let service = PlannedService {
            version: "0.2.0".parse().ok(),
            previous: "0.1.0".parse().ok(),
            changed: true,
            reasons: vec!["1234567 feat: x (a/main.go)".into()],
        };
        BTreeMap::from([("a".to_owned(), service)])
    }

    #[test]
    fn json_has_the_shape_of_the_contract() {
        let value: serde_json::Value = serde_json::from_str(&json(&services(), &plan()).unwrap()).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["services"]["a"]["version"], "0.2.0");
        assert_eq!(value["services"]["a"]["previous"], "0.1.0");
        assert_eq!(value["services"]["a"]["changed"], true);
        assert_eq!(
            value["jobs"][1],
            serde_json::json!({
                "id": "image:a:linux/amd64", "stage": "build", "service": "a", "platform": "linux/amd64",
                "needs": ["build:services:linux/amd64"], "state": "depends", "why": "main.go changed",
            })
        );
    }

    #[test]
    fn every_form_names_every_job_and_edge() {
        let text = text(&services(), &plan(), |()| Some("go build".into()));
        assert!(text.starts_with("a 0.1.0 → 0.2.0\n  1234567 feat: x (a/main.go)\n"), "{text}");
        assert_eq!(text.matches("$ go build").count(), 2);
        let dot = dot(&plan());
        assert!(dot.contains("\"build:services:linux/amd64\" -> \"image:a:linux/amd64\";"), "{dot}");
        let mermaid = mermaid(&plan());
        assert!(mermaid.contains("j0[\"build:services:linux/amd64\"]") && mermaid.contains("j0 --> j1"));
    }
}
