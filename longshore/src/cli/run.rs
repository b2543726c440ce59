//! From the parsed command line to the commands.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::FromArgMatches as _;

use super::pipeline as run_pipeline;
use super::{BaseCommand, BumpChoice, Cli, Command, Global, ImageArgs, Selection, StageArgs, Versioning};
use crate::cancel::Cancel;
use crate::ci::told;
use crate::diagnostic::render_error;
use crate::fault::{Exit, exit_of};
use crate::host::environment::Environment;
use crate::host::signal::Signals;
use crate::host::supervisor;
use crate::pipeline::{Order, Purpose, source};
use crate::plan::Stage;
use crate::release::decide::{Ask, Goal};
use crate::report;
use crate::report::style::Colour;
use crate::session::Session;
use crate::stage::draft::Source;
use crate::stage::image::output::Target;
use crate::version::Bump;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let environment = Environment::from_process();
    let parsed = super::command(&environment).try_get_matches().and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut super::command(&environment)))
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a closed pipe is none of ours.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    let colour = Colour::choose(cli.global.color, &environment, std::io::stderr().is_terminal());
    let cancel = Cancel::default();
    // Without a handler a signal ends this process at once, and the next run cleans up after it.
    let _signals = Signals::listen(&cancel);
    let ended = dispatch(cli, environment.clone(), &cancel);
    if let Err(error) = &ended {
        report::note(&render_error(error, colour));
        report::note(&told::annotations(&environment, error));
    }
    match cancel.signal() {
        Some(2) => ExitCode::from(Exit::Interrupted as u8),
        Some(_) => ExitCode::from(Exit::Terminated as u8),
        None => ExitCode::from(ended.unwrap_or_else(|error| exit_of(&error) as u8)),
    }
}

/// Runs one command; what it gives is the process's exit code.
fn dispatch(cli: Cli, environment: Environment, cancel: &Cancel) -> anyhow::Result<u8> {
    let global = cli.global;
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut super::command(&environment), "cargo-xtask", &mut script);
            report::result(&String::from_utf8_lossy(&script));
            Ok(0)
        }
        Command::Release(args) => {
            let order = order(Goal::Release, &global, &args.stage, args.skip.into_iter().collect(), &[])?;
            stages(&global, environment, cancel, &order, args.stage.dry_run)
        }
        Command::Lint(args) => stage(Stage::Lint, &global, &args, environment, cancel),
        Command::Test(args) => stage(Stage::Test, &global, &args, environment, cancel),
        Command::Build(args) => stage(Stage::Build, &global, &args, environment, cancel),
        Command::Scan(args) if args.deployed => {
            super::rescan::rescan(&global, environment, cancel, &args.stage)
        }
        Command::Scan(args) => stage(Stage::Scan, &global, &args.stage, environment, cancel),
        Command::Verify(args) => stage(Stage::Verify, &global, &args, environment, cancel),
        Command::Push(args) => stage(Stage::Push, &global, &args, environment, cancel),
        Command::Tag(args) => stage(Stage::Tag, &global, &args, environment, cancel),
        Command::Image(ImageArgs { context: Some(service), .. }) => {
            super::context::context(&global, environment, cancel, &service)
        }
        Command::Image(ImageArgs { explain_size: Some(service), mut stage, .. }) => {
            stage.selection.services = vec![service.clone()];
            stage.selection.all = true;
            let order = order(Goal::Stage(Stage::Image), &global, &stage, BTreeSet::new(), &[])?;
            let mut session = Session::open(&global, environment, cancel)?;
            match run_pipeline::run(&mut session, &global, &order)? {
                // Over its budget is when one wants to know.
                code if code == 0 || code == Exit::Gate as u8 => {
                    super::size::explain(&session, &service)?;
                    Ok(code)
                }
                code => Ok(code),
            }
        }
        Command::Image(args) => {
            let mut order =
                order(Goal::Stage(Stage::Image), &global, &args.stage, BTreeSet::new(), &args.join)?;
            order.ask.variants = global.environment.is_some();
            order.outputs = outputs(&args.output)?;
            stages(&global, environment, cancel, &order, args.stage.dry_run)
        }
        Command::Plan(args) => {
            let given = StageArgs {
                selection: args.selection,
                versioning: args.versioning,
                from: None,
                dry_run: true,
                timings: false,
            };
            let order = order(Goal::Release, &global, &given, args.skip.into_iter().collect(), &[])?;
            let mut session = Session::open(&global, environment, cancel)?;
            run_pipeline::plan(&mut session, &order, args.format)
        }
        Command::Explain(args) => super::explain::explain(&global, environment, cancel, &args),
        Command::Check => super::check::check(&global, environment, cancel),
        Command::Base(BaseCommand::Check(args)) => {
            super::base::check(&global, &environment, cancel, args.format)
        }
        Command::Base(BaseCommand::Update) => super::base::update(&global, &environment, cancel),
        Command::Status(args) => super::status::status(&global, environment, cancel, &args),
        Command::Deploy(args) => super::deploy::deploy(&global, environment, cancel, &args),
        Command::Promote(args) => super::promote::promote(&global, environment, cancel, &args),
        Command::Rollback(args) => super::deploy::rollback(&global, environment, cancel, &args),
        Command::Logs(args) => super::deploy::logs(&global, environment, cancel, &args),
        Command::Down(args) => super::deploy::down(&global, environment, cancel, &args),
        Command::Supervise { folder } => supervisor::run(&folder, cancel).map(|()| 0),
        Command::Init(args) => super::init::init(&global, environment, cancel, &args),
        Command::Setup => super::setup::setup(&global, environment, cancel),
        Command::Doctor(args) => super::doctor::doctor(&global, environment, cancel, args.format),
    }
}

fn stage(
    stage: Stage,
    global: &Global,
    args: &StageArgs,
    environment: Environment,
    cancel: &Cancel,
) -> anyhow::Result<u8> {
    let order = order(Goal::Stage(stage), global, args, BTreeSet::new(), &[])?;
    stages(global, environment, cancel, &order, args.dry_run)
}

fn stages(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    order: &Order,
    dry_run: bool,
) -> anyhow::Result<u8> {
    let mut session = Session::open(global, environment, cancel)?;
    if dry_run {
        return run_pipeline::dry_run(&mut session, order);
    }
    run_pipeline::run(&mut session, global, order)
}

/// The targets with absolute paths: a relative one starts where the command was typed.
fn outputs(given: &[Target]) -> anyhow::Result<Vec<Target>> {
    let absolute = |target: &Target| -> anyhow::Result<Target> {
        let path = target.path().map(std::path::absolute).transpose()?;
        Ok(target.with(|given| path.unwrap_or_else(|| given.to_owned())))
    };
    given.iter().map(absolute).collect()
}

fn order(
    target: Goal,
    global: &Global,
    args: &StageArgs,
    skip: BTreeSet<Stage>,
    join: &[std::path::PathBuf],
) -> anyhow::Result<Order> {
    let Selection { services, all, since } = args.selection.clone();
    let Versioning { snapshot, pre, bump } = args.versioning.clone();
    let source: Source = source(args.from.as_ref(), join)?;
    let ask = Ask {
        target,
        services: services.into_iter().collect(),
        all,
        snapshot,
        pre,
        bump: bump.map(|choice| match choice {
            BumpChoice::Major => Bump::Major,
            BumpChoice::Minor => Bump::Minor,
            BumpChoice::Patch => Bump::Patch,
        }),
        skip,
        platforms: global.platform.clone(),
        adopts: source != Source::Fresh,
        variants: false,
    };
    let purpose = if args.dry_run { Purpose::Show } else { Purpose::Run };
    Ok(Order { ask, since, source, purpose, outputs: Vec::new(), timings: args.timings })
}
