//! What a run tells the CI system that it runs in, where its variables say how: outputs for later jobs
//! (`GITHUB_OUTPUT`), a summary (`GITHUB_STEP_SUMMARY`), and annotations at the places of faults.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostics, Level};
use crate::host::environment::Environment;
use crate::host::files;
use crate::plan::{Plan, Stage, State};
use crate::report::plan::PlannedService;

/// The jobs of a matrix: each platform of each service whose image is to be made.
pub fn matrix<A>(plan: &Plan<A>) -> Value {
    let made = plan.jobs.iter().filter(|job| job.stage == Stage::Image && job.state != State::Cached);
    let entry = |service: &String, platform: &crate::platform::Platform| json!({ "service": service, "platform": platform.to_string(), "slug": platform.slug() });
    let entries = made.filter_map(|job| Some(entry(job.service.as_ref()?, job.platform.as_ref()?)));
    json!({ "include": entries.collect::<Vec<Value>>() })
}

/// Leaves a plan's outputs, `changed` and `matrix`.
///
/// # Errors
/// The file that GITHUB_OUTPUT names can't be written.
pub fn planned<A>(
    environment: &Environment,
    services: &BTreeMap<String, PlannedService>,
    plan: &Plan<A>,
) -> anyhow::Result<()> {
    let Some(path) = environment.get("GITHUB_OUTPUT") else { return Ok(()) };
    let matrix = matrix(plan);
    let changed = matrix["include"].as_array().is_some_and(|entries| !entries.is_empty());
    let names: Vec<&String> =
        services.iter().filter(|(_, service)| service.changed).map(|(name, _)| name).collect();
    let text = format!("changed={changed}\nmatrix={matrix}\nservices={}\n", json!(names));
    files::append(Path::new(path), text.as_bytes())
}

/// Leaves what a command says at its end in the summary of the job.
///
/// # Errors
/// The file that GITHUB_STEP_SUMMARY names can't be written.
pub fn summary(environment: &Environment, title: &str, text: &str) -> anyhow::Result<()> {
    let Some(path) = environment.get("GITHUB_STEP_SUMMARY").filter(|_| !text.trim().is_empty()) else {
        return Ok(());
    };
    // A fence longer than any in the text.
    let fence = "`".repeat(text.split(|c| c != '`').map(str::len).max().unwrap_or(0).max(2) + 1);
    files::append(
        Path::new(path),
        format!("### {title}\n\n{fence}\n{}\n{fence}\n\n", text.trim_end()).as_bytes(),
    )
}

/// An error as annotations, a line each: workflow commands of GitHub Actions.
pub fn annotations(environment: &Environment, error: &anyhow::Error) -> String {
    if environment.get("GITHUB_ACTIONS") != Some("true") {
        return String::new();
    }
    let Some(Diagnostics(faults)) = error.chain().find_map(|cause| cause.downcast_ref::<Diagnostics>())
    else {
        return format!("::error::{}\n", data(&error.to_string()));
    };
    let mut text = String::new();
    for fault in faults.iter().filter(|fault| fault.level == Level::Error) {
        let place = fault.place.as_ref().map(|(place, _)| {
            let (line, column) = place.line_and_column();
            let file = place.source.path.display().to_string();
            format!(" file={},line={line},col={column}", property(&file))
        });
        text.push_str(&format!("::error{}::{}\n", place.unwrap_or_default(), data(&fault.message)));
    }
    text
}

/// As the runner reads a command's data.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As the runner reads a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
