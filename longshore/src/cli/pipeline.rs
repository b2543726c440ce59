//! The commands that run stages, on a terminal and in CI.

use std::time::{Duration, Instant};

use super::shared;
use super::timings::{self, Surroundings, Watch};
use super::{Global, PlanFormat, ProgressChoice};
use crate::cache::{self, Cache};
use crate::cancel::Cancel;
use crate::ci::told;
use crate::config::SecretSource;
use crate::diagnostic::render_all;
use crate::event::{Event, Outcome, Summary};
use crate::execute::{self, Options, Runner};
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::host::lock::{Lock, Wait};
use crate::host::process::reap_stale;
use crate::host::secrets::Secrets;
use crate::journal::{self, Journal};
use crate::pipeline::{Order, make_folders, prepare};
use crate::plan::{Job, Plan, Stage};
use crate::progress::Progress;
use crate::release::decide::Goal;
use crate::report::{self, plan as render};
use crate::results;
use crate::session::Session;
use crate::stage::{Action, Finish, Outputs, Scope};
use crate::tools;
use crate::tools::ToolPaths;
use crate::workspace::Workspace;

/// Runs actions in their scope and keeps their outputs.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) environment: &'a Environment,
    pub(super) tools: ToolPaths,
    pub(super) cache: Cache,
    pub(super) keep_going: bool,
    pub(super) outputs: &'a Outputs,
}

impl Runner<Action> for Stages<'_> {
    fn run(&self, job: &Job<Action>, cancel: &Cancel, progress: &dyn Progress) -> anyhow::Result<Finish> {
        let scope = Scope {
            workspace: self.workspace,
            job: &job.id,
            cancel,
            outputs: self.outputs,
            tools: &self.tools,
            cache: &self.cache,
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
    let prepared = prepare(session, order, &mut session.hashes())?;
    let services = results::planned(&prepared);
    told::planned(&session.environment, &services, &prepared.plan)?;
    report::result(&match format {
        PlanFormat::Text => render::text(&services, &prepared.plan, |_| None),
        PlanFormat::Json => render::json(&services, &prepared.plan)?,
        PlanFormat::Dot => render::dot(&prepared.plan),
        PlanFormat::Mermaid => render::mermaid(&prepared.plan),
    });
    Ok(0)
}

/// Prints the plan with the commands that would run.
///
/// # Errors
/// As [`prepare`].
pub fn dry_run(session: &mut Session, order: &Order) -> anyhow::Result<u8> {
    let prepared = prepare(session, order, &mut session.hashes())?;
    let services = results::planned(&prepared);
    let command = |action: &Action| action.command_line(&session.environment);
    report::result(&render::text(&services, &prepared.plan, command));
    Ok(0)
}

/// Runs the plan and leaves its results.
///
/// # Errors
/// What can be found out before the first job; the jobs' own failures are in the exit code.
pub fn run(session: &mut Session, global: &Global, order: &Order) -> anyhow::Result<u8> {
    let began = Instant::now();
    let _lock = begin(session)?;
    warn(session, global, order);
    let prepared = prepare(session, order, &mut session.hashes())?;
    if let Some(age) = prepared.facts.age {
        let age = humantime::format_duration(Duration::from_secs(age));
        report::note(&format!("offline: what the remote has is {age} old"));
    }
    let outputs = Outputs::default();
    let mut tools = install(session, global, &prepared.plan)?;
    tools.gocache = shared::gocache_command(session)?;
    let mut reporter = report::open(global.progress, global.color, shown(global), &session.environment);
    let stages = Stages {
        workspace: &session.workspace,
        environment: &session.environment,
        tools,
        cache: shared::cache(session),
        keep_going: global.keep_going,
        outputs: &outputs,
    };
    let (mut journal, warning) = Journal::begin(&session.workspace.state);
    let mut watch = order.timings.then(|| Watch::new(&prepared.plan, began));
    let mut events = |event: &Event| {
        if let Some(watch) = &mut watch {
            watch.event(event);
        }
        reporter.event(event);
        if let Some(warning) = journal.record(event) {
            reporter.event(&warning);
        }
    };
    if let Some(warning) = warning {
        events(&warning);
    }
    let options = options(session, global);
    let summary = execute::run(&prepared.plan, &stages, &options, &session.cancel, &mut events);
    reporter.finish(&summary);
    drop(reporter);
    let artifacts = results::artifacts(session, &prepared, &outputs)?;
    artifacts.write(&session.workspace.dist)?;
    let closing = results::closing(&prepared, &artifacts, &outputs, &summary, order);
    trim(session, &summary);
    stages.cache.warnings().iter().for_each(|warning| report::note(&format!("warning: {warning}")));
    if global.progress != ProgressChoice::Quiet {
        report::note(&closing);
    }
    told::summary(&session.environment, &prepared.decided.release.environment, &closing)?;
    if let Some(watch) = watch {
        leave(session, global, watch);
    }
    Ok(summary.exit)
}

/// Leaves the times of a run, once all else is done.
pub(super) fn leave(session: &Session, global: &Global, watch: Watch) {
    let (note, warnings) = watch.finish(Surroundings {
        dist: &session.workspace.dist,
        environment: &session.environment,
        cancel: &session.cancel,
        offline: session.offline,
    });
    let note = note.filter(|_| global.progress != ProgressChoice::Quiet);
    note.iter().chain(&warnings).for_each(|text| report::note(text));
}

/// Keeps the user's store to its size. A run that put nothing into it made it no larger.
fn trim(session: &Session, summary: &Summary) {
    if summary.jobs.iter().any(|job| matches!(job.outcome, Outcome::Done { .. })) {
        let limit = session.config.cache.max_size.as_ref().map_or(cache::MAX_SIZE, |size| size.value);
        Cache::new(&session.workspace.cache).trim(limit);
    }
}

/// One run at a time in a work tree; what a killed one left running is ended first.
fn begin(session: &Session) -> anyhow::Result<Lock> {
    let state = &session.workspace.state;
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let waiting = &mut |message: &str| report::note(message);
    let lock = Lock::take(&state.join("lock"), &command, Wait::UntilFree, &session.cancel, waiting)?;
    reap(session);
    let before = journal::read(&journal::path(state))?;
    if let Some(command) = journal::killed(&before) {
        let finished = report::measure::plural(journal::finished_jobs(&before).len(), "job");
        report::note(&format!(
            "the last run, `{command}`, was killed after {finished}: its work is found again"
        ));
    }
    make_folders(session)?;
    Ok(lock)
}

/// Ends what a killed run left running.
pub(super) fn reap(session: &Session) {
    for ended in reap_stale(&session.workspace.state) {
        report::note(&format!("ended what a killed run left: {ended}"));
    }
}

/// What the user should know of the configuration.
pub(super) fn warnings(session: &Session, global: &Global) {
    if !session.warnings.is_empty() {
        report::note(&render_all(&session.warnings, report::colour(global.color, &session.environment)));
    }
}

fn warn(session: &Session, global: &Global, order: &Order) {
    warnings(session, global);
    let ci = session.environment.get("CI").is_some();
    if ci && order.ask.target == Goal::Release && global.environment().is_none() && !order.ask.snapshot {
        report::note(&format!(
            "warning: this is CI, and nothing leaves it: the environment is the default one, `{}`\nhint: name one with `--env`",
            session.effective.name
        ));
    }
}

pub(super) fn shown(global: &Global) -> report::Tools {
    if global.verbose { report::Tools::Everything } else { report::Tools::Failures }
}

pub(super) fn options(session: &Session, global: &Global) -> Options {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut options = Options::new(cores);
    options.run = format!("{}-{}", clock::now(), std::process::id());
    options.command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    options.keep_going = global.keep_going;
    options.secrets = secrets(session);
    if let Some(jobs) = global.jobs {
        options.jobs = jobs.get();
    }
    options
}

/// The values of the environments' secrets, as far as they are here, and what a collector of spans is told:
/// never to be shown.
fn secrets(session: &Session) -> Secrets {
    let values =
        session.environments().flat_map(|environment| environment.secrets.values()).filter_map(|source| {
            match &source.value {
                SecretSource::Variable(name) => session.environment.get(name).map(str::to_owned),
                SecretSource::File(path) => {
                    let path = session.workspace.root.join(path);
                    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
                }
            }
        });
    let values = values.chain(timings::secrets(&session.environment));
    let values: Vec<String> = values.chain(shared::secrets(&session.environment)).collect();
    Secrets::new(values.iter().map(String::as_str))
}

/// The tools that this plan's jobs need, installed where they are missing.
pub(super) fn install(session: &Session, global: &Global, plan: &Plan<Action>) -> anyhow::Result<ToolPaths> {
    let runs = |stage| plan.jobs.iter().any(|job| job.stage == stage);
    let mut pinned = session.config.tools.clone();
    if !runs(Stage::Scan) {
        pinned.trivy = None;
    } else if pinned.trivy.is_none() {
        let message = "the scan stage needs Trivy, and `[tools]` in pipeline.toml pins none";
        return Err(Fault::new(Exit::Usage, message)
            .hint("write `trivy = \"0.69.3\"` under `[tools]`, or `enabled = false` under `[stages.scan]`")
            .into());
    }
    if !runs(Stage::Lint) {
        pinned.golangci_lint = None;
    }
    let progress = report::lines::Lines::of(global, &session.environment);
    let setup = tools::Setup {
        cache: &session.workspace.cache,
        environment: &session.environment,
        cancel: &session.cancel,
        progress: &progress,
        offline: session.offline,
    };
    tools::ensure(&pinned, &setup)
}
