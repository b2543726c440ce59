//! Why a service's jobs would run or need not, for eyes and for programs. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::fingerprint::InputChange;
use crate::plan::{JobId, Stage};

/// What is known of one job since it last ran here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub job: JobId,
    pub stage: Stage,
    pub verdict: Standing,
    /// In a few words, where there are no inputs to compare.
    pub why: String,
    pub inputs: Vec<InputChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Unchanged,
    Changed,
    NeverRan,
    /// It follows from what other jobs make.
    Depends,
    /// Not all of its inputs can be known.
    AlwaysRuns,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    service: &'a str,
    jobs: &'a [Explanation],
}

/// One JSON object on one line.
///
/// # Errors
/// None but a defect.
pub fn json(service: &str, jobs: &[Explanation]) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&Document { schema: 1, service, jobs })?)
}

/// A line a job, and a line each input that changed.
pub fn text(jobs: &[Explanation]) -> String {
    let mut text = String::new();
    for job in jobs {
        let _ = match job.verdict {
            Standing::Changed => writeln!(text, "{}: {} changed", job.job, inputs(job.inputs.len())),
            _ => writeln!(text, "{}: {}", job.job, job.why),
        };
        for change in &job.inputs {
            let _ = writeln!(text, "  {}", change.line());
        }
    }
    text
}

fn inputs(count: usize) -> String {
    crate::report::measure::plural(count, "input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_a_line_and_its_inputs_one_each() {
        let job = |verdict, why: &str, inputs: Vec<InputChange>| Explanation {
            job: JobId::new(Stage::Build, &["."]),
            stage: Stage::Build,
            verdict,
            why: why.to_owned(),
            inputs,
        };
        let change = InputChange { input: "flags".into(), from: None, to: Some("-v".into()) };
        let jobs =
            [job(Standing::Changed, "", vec![change]), job(Standing::Unchanged, "nothing changed", vec![])];
        assert_eq!(text(&jobs), "build:.: 1 input changed\n  flags added: -v\nbuild:.: nothing changed\n");
        let value: serde_json::Value = serde_json::from_str(&json("api", &jobs).unwrap()).unwrap();
        assert_eq!(value["jobs"][0]["inputs"][0]["to"], "-v");
        assert_eq!(value["jobs"][1]["verdict"], "unchanged");
    }
}
