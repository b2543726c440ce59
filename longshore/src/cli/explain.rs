//! `explain`: which inputs of a service's jobs changed since they last ran in this clone.

use std::collections::BTreeSet;

use super::{ExplainArgs, Format, Global};
use crate::cancel::Cancel;
use crate::fingerprint::{Hashes, Preimage};
use crate::host::environment::Environment;
use crate::oci::types::Digest;
use crate::pipeline::explained;
use crate::plan::{Job, Plan, Stage, State};
use crate::report::explain::{Explanation, Standing};
use crate::report::{self, explain as render};
use crate::session::Session;
use crate::stage::draft::SELECTION;
use crate::stage::{Action, Passed, build, image};
use crate::workspace::Workspace;

/// The stages whose work follows from inputs that are known before it starts, and those that follow on them.
const STAGES: [Stage; 6] = [Stage::Lint, Stage::Test, Stage::Build, Stage::Image, Stage::Scan, Stage::Verify];

/// Prints it; asks nothing of the network and writes nothing.
///
/// # Errors
/// [`crate::fault::Exit::Usage`] for an unknown service; those of the facts.
pub fn explain(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &ExplainArgs,
) -> anyhow::Result<u8> {
    let environment = environment.with("GOPROXY", "off");
    let mut session = Session::open(global, environment, cancel)?;
    session.offline = true;
    session.read_only = true;
    let stages: BTreeSet<Stage> = args.stage.map_or(STAGES.into(), |stage| [stage].into());
    let mut hashes = session.hashes();
    let plan = explained(&mut session, &args.service, &mut hashes)?;
    let mut told = Vec::new();
    for job in plan.jobs.iter().filter(|job| stages.contains(&job.stage)) {
        told.extend(explanation(job, &args.service, &plan, &session.workspace, &mut hashes)?);
    }
    report::result(&match args.format {
        Format::Text => render::text(&told),
        Format::Json => render::json(&args.service, &told)?,
    });
    Ok(0)
}

/// What is known of one job; `None` if it is another service's.
fn explanation(
    job: &Job<Action>,
    service: &str,
    plan: &Plan<Action>,
    workspace: &Workspace,
    hashes: &mut Hashes,
) -> anyhow::Result<Option<Explanation>> {
    let (inputs, file) = match &job.action {
        Action::Lint { key, .. } | Action::Test { key, .. } => kept(key, workspace),
        Action::Build(spec) => {
            let Some(target) = spec.targets.iter().find(|target| target.service == service) else {
                return Ok(None);
            };
            let inputs = target.inputs.as_deref().cloned();
            (inputs, build::inputs_file(workspace, target, &spec.platform))
        }
        Action::Image(spec) if spec.service == service => {
            let binary = binary(plan, spec, workspace);
            (
                Some(image::inputs::inputs(spec, binary.as_ref(), hashes)?),
                image::inputs::file(workspace, &spec.service, &spec.platform),
            )
        }
        Action::Dockerfile(spec) if spec.service == service => (
            spec.inputs.as_ref().ok().map(|inputs| (**inputs).clone()),
            image::inputs::file(workspace, &spec.service, &spec.platform),
        ),
        _ if job.service.as_deref() == Some(service) => return Ok(Some(depends(job))),
        _ => return Ok(None),
    };
    let before = std::fs::read_to_string(file).ok().and_then(|text| Preimage::from_text(&text));
    let (verdict, why, changes) = match (inputs, before) {
        (None, _) => (Standing::AlwaysRuns, job.why.clone(), Vec::new()),
        (_, None) => (Standing::NeverRan, "never ran here".to_owned(), Vec::new()),
        (Some(now), Some(before)) => {
            let mut changes = now.changes(&before);
            // For which services a gate ran last time is no property of this one.
            changes.retain(|change| change.input != SELECTION);
            let kept = !matches!(job.action, Action::Image(_)) && job.state == State::Run;
            let why =
                if kept { format!("nothing changed; {}", job.why) } else { "nothing changed".to_owned() };
            let verdict = if changes.is_empty() { Standing::Unchanged } else { Standing::Changed };
            (verdict, why, changes)
        }
    };
    Ok(Some(Explanation { job: job.id.clone(), stage: job.stage, verdict, why, inputs: changes }))
}

fn kept(key: &Passed, workspace: &Workspace) -> (Option<Preimage>, std::path::PathBuf) {
    (Preimage::from_text(&key.inputs), key.file(workspace))
}

/// The digest of an image's binary, where the cache holds it.
fn binary(plan: &Plan<Action>, spec: &image::ImageSpec, workspace: &Workspace) -> Option<Digest> {
    let job = plan.jobs.iter().find(|job| job.id == spec.build)?;
    let Action::Build(group) = &job.action else { return None };
    let target = group.targets.iter().find(|target| target.service == spec.service)?;
    build::cached_digest(target, &crate::cache::Cache::new(&workspace.cache))
}

fn depends(job: &Job<Action>) -> Explanation {
    let why = if job.why.starts_with("on ") { format!("depends {}", job.why) } else { job.why.clone() };
    Explanation { job: job.id.clone(), stage: job.stage, verdict: Standing::Depends, why, inputs: Vec::new() }
}
