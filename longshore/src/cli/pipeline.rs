//! The commands that run stages, on a terminal and in CI.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::{Global, PlanFormat};
use crate::cancel::Cancel;
use crate::event::Event;
use crate::execute::{self, Options, Runner};
use crate::host::environment::Environment;
use crate::pipeline::{Order, Prepared, make_folders, prepare};
use crate::plan::{Job, JobId};
use crate::report::plan as render;
use crate::results;
use crate::session::Session;
use crate::stage::{Action, Finish, Outputs, Progress, Scope, ToolPaths};
use crate::workspace::Workspace;

/// Runs actions in their scope and keeps their outputs.
#[derive(Debug)]
struct Stages<'a> {
    workspace: &'a Workspace,
    environment: &'a Environment,
    tools: ToolPaths,
    keep_going: bool,
    outputs: &'a Outputs,
}

impl Runner<Action> for Stages<'_> {
    fn run(&self, job: &Job<Action>, cancel: &Cancel, progress: &dyn Progress) -> anyhow::Result<Finish> {
        let scope = Scope {
            workspace: self.workspace,
            job: &job.id,
            cancel,
            outputs: self.outputs,
            tools: &self.tools,
            environment: self.environment,
            keep_going: self.keep_going,
            progress,
        };
        let finish = job.action.run(&scope)?;
        self.outputs.set(job.id.clone(), finish.output.clone());
        Ok(finish)
    }
}

/// Prints the plan.
///
/// # Errors
/// As [`prepare`].
pub fn plan(session: &mut Session, order: &Order, format: PlanFormat) -> anyhow::Result<u8> {
    let mut hashes = session.hashes();
    let prepared = prepare(session, order, &mut hashes)?;
    let services = results::planned(&prepared);
    let text = match format {
        PlanFormat::Text => render::text(&services, &prepared.plan, |_| None),
        PlanFormat::Json => render::json(&services, &prepared.plan)? + "\n",
        PlanFormat::Dot => render::dot(&prepared.plan),
        PlanFormat::Mermaid => render::mermaid(&prepared.plan),
    };
    print(&text)
}

/// Prints the plan with the commands that would run.
///
/// # Errors
/// As [`prepare`].
pub fn dry_run(session: &mut Session, order: &Order) -> anyhow::Result<u8> {
    let mut hashes = session.hashes();
    let prepared = prepare(session, order, &mut hashes)?;
    let services = results::planned(&prepared);
    let command = |action: &Action| action.command_line(&session.environment);
    print(&render::text(&services, &prepared.plan, command))
}

/// Writes a result to stdout; a closed pipe ends it quietly.
fn print(text: &str) -> anyhow::Result<u8> {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(0)
}

/// Runs the plan and leaves its results.
///
/// # Errors
/// What can be found out before the first job; the jobs' own failures are in the exit code.
pub fn run(session: &mut Session, global: &Global, order: &Order) -> anyhow::Result<u8> {
    make_folders(session)?;
    let mut hashes = session.hashes();
    let prepared = prepare(session, order, &mut hashes)?;
    let outputs = Outputs::default();
    let tools = tools(session, &prepared)?;
    let stages = Stages {
        workspace: &session.workspace,
        environment: &session.environment,
        tools,
        keep_going: global.keep_going,
        outputs: &outputs,
    };
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut options = Options::new(cores);
    options.keep_going = global.keep_going;
    if let Some(jobs) = global.jobs {
        options.jobs = jobs.get();
    }
    let summary = execute::run(&prepared.plan, &stages, &options, &session.cancel, &mut |event| {
        show(event);
    });
    let seconds = seconds(&prepared, &summary.jobs);
    let artifacts = results::artifacts(session, &prepared, &outputs)?;
    artifacts.write(&session.workspace.dist)?;
    if summary.exit == 0 {
        let (headers, rows) = results::table(&artifacts, &seconds);
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{headers:?}");
        for row in rows {
            let _ = writeln!(err, "{}", row.join("  "));
        }
    }
    Ok(summary.exit)
}

fn show(event: &Event) {
    let _ = writeln!(std::io::stderr().lock(), "{}", serde_json::to_string(event).unwrap_or_default());
}

fn tools(session: &Session, prepared: &Prepared) -> anyhow::Result<ToolPaths> {
    let _ = prepared;
    let go = crate::tools::go(&session.environment)?;
    let trivy = session.environment.get("LONGSHORE_TRIVY").map(Into::into);
    Ok(ToolPaths { go, trivy, golangci_lint: None })
}

/// What each service's own jobs took.
fn seconds(prepared: &Prepared, ended: &[crate::event::Ended]) -> BTreeMap<String, f64> {
    let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
    let jobs: BTreeMap<&JobId, &Job<Action>> = prepared.plan.jobs.iter().map(|job| (&job.id, job)).collect();
    for ended in ended {
        let Some(job) = jobs.get(&ended.job) else { continue };
        if let Some(service) = &job.service {
            #[expect(clippy::cast_precision_loss, reason = "for eyes")]
            let taken = ended.milliseconds as f64 / 1000.0;
            *seconds.entry(service.clone()).or_default() += taken;
        }
    }
    seconds
}
