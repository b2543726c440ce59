//! From the parsed command line to the commands.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::pipeline as run_pipeline;
use super::{
    BaseCommand, BumpChoice, CacheCommand, Cli, Command, Global, ImageArgs, Selection, StageArgs, Versioning,
};
use crate::cancel::Cancel;
use crate::ci::told;
use crate::diagnostic::render_error;
use crate::extension::{Context, Extension};
use crate::fault::{Exit, Fault, exit_of};
use crate::host::environment::Environment;
use crate::host::signal::Signals;
use crate::host::supervisor;
use crate::pipeline::{Order, Purpose, source};
use crate::plan::Stage;
use crate::release::decide::{Ask, Goal};
use crate::report;
use crate::session::{self, Session};
use crate::stage::draft::Source;
use crate::stage::image::output::Target;
use crate::style::Colour;
use crate::version::Bump;

/// Runs a command line, whose first word is the program's name; gives the exit code.
pub(crate) fn run(own: &[Extension], words: impl IntoIterator<Item = OsString>) -> u8 {
    let environment = Environment::from_process();
    if let Some(fault) = hiding(own) {
        report::note(&render_error(&fault.into(), Colour::Off));
        return Exit::Usage as u8;
    }
    let definition = super::command(&environment, own);
    let parsed = definition
        .clone()
        .try_get_matches_from(words)
        .and_then(|matches| Asked::of(own, &matches).map_err(|error| error.format(&mut definition.clone())));
    let (global, asked) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are no errors; a closed pipe is none of ours.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as u8 } else { 0 };
        }
    };
    let colour = report::colour(global.color, &environment);
    let cancel = Cancel::default();
    // Without a handler a signal ends this process at once, and the next run cleans up after it.
    let _signals = Signals::listen(&cancel);
    let ended = match asked {
        Asked::Engine(command) => dispatch(*command, global, environment.clone(), &cancel, definition),
        Asked::Own(own, matches) => extended(own, &matches, &global, environment.clone(), &cancel),
    };
    if let Err(error) = &ended {
        report::note(&render_error(error, colour));
        report::note(&told::annotations(&environment, error));
    }
    match cancel.signal() {
        Some(2) => Exit::Interrupted as u8,
        Some(_) => Exit::Terminated as u8,
        None => ended.unwrap_or_else(|error| exit_of(&error) as u8),
    }
}

/// Which command the user wants.
enum Asked<'a> {
    Engine(Box<Command>),
    Own(&'a Extension, clap::ArgMatches),
}

impl<'a> Asked<'a> {
    fn of(own: &'a [Extension], matches: &clap::ArgMatches) -> Result<(Global, Self), clap::Error> {
        let found = matches.subcommand().and_then(|(name, below)| {
            own.iter().find(|own| own.name == name).map(|own| Self::Own(own, below.clone()))
        });
        match found {
            Some(found) => Ok((Global::from_arg_matches(matches)?, found)),
            None => {
                Cli::from_arg_matches(matches).map(|cli| (cli.global, Self::Engine(Box::new(cli.command))))
            }
        }
    }
}

/// A name that would hide a command of the engine's, or another of the repository's.
fn hiding(own: &[Extension]) -> Option<Fault> {
    let engine = Cli::command();
    let taken = |name: &str| engine.find_subcommand(name).is_some() || name == "help";
    let twice = |name: &str| own.iter().filter(|other| other.name == name).count() > 1;
    let found = own.iter().find(|own| taken(own.name) || twice(own.name))?;
    let message = format!("there is a command `{}` already", found.name);
    Some(Fault::new(Exit::Usage, message).hint("give the repository's own another name in xtask/src/main.rs"))
}

/// Runs a command of the repository's own.
fn extended(
    own: &Extension,
    matches: &clap::ArgMatches,
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
) -> anyhow::Result<u8> {
    let (_, workspace) = session::place(global, &environment, cancel)?;
    global.refuse_several()?;
    let target = global.environment().map(str::to_owned);
    let args = Extension::words(matches);
    let context = Context { root: workspace.root, args, environment, cancel: cancel.clone(), target };
    (own.work)(&context, matches)?;
    Ok(0)
}

/// Runs one command; what it gives is the process's exit code.
fn dispatch(
    command: Command,
    global: Global,
    environment: Environment,
    cancel: &Cancel,
    mut definition: clap::Command,
) -> anyhow::Result<u8> {
    if !takes_several(&command) {
        global.refuse_several()?;
    }
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition, "cargo-xtask", &mut script);
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
                    super::size::explain(&session, &global, &service)?;
                    Ok(code)
                }
                code => Ok(code),
            }
        }
        Command::Image(args) => {
            let mut order =
                order(Goal::Stage(Stage::Image), &global, &args.stage, BTreeSet::new(), &args.join)?;
            order.ask.variants = global.environment().is_some();
            order.outputs = outputs(&args.output, &global)?;
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
        Command::VerifyRepro(args) => super::reproduce::reproduce(&global, environment, cancel, &args),
        Command::Cache(CacheCommand::Key { file }) => super::shared::key(&global, &file),
        Command::Clean(args) => super::clean::clean(&global, &environment, cancel, &args),
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
        Command::Gocache { key } => {
            super::shared::gocache(&global, environment, cancel, key.as_deref()).map(|()| 0)
        }
        Command::Init(args) => super::init::init(&global, environment, cancel, &args),
        Command::Setup => super::setup::setup(&global, environment, cancel),
        Command::Doctor(args) => super::doctor::doctor(&global, environment, cancel, args.format),
    }
}

/// Whether it makes something for each of several environments.
fn takes_several(command: &Command) -> bool {
    let Command::Image(args) = command else { return false };
    args.context.is_none() && args.explain_size.is_none() && args.output.is_empty()
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

/// The targets with absolute paths.
fn outputs(given: &[Target], global: &Global) -> anyhow::Result<Vec<Target>> {
    let absolute = |target: &Target| -> anyhow::Result<Target> {
        let path = target.path().map(|path| std::path::absolute(global.path(path))).transpose()?;
        Ok(target.with(|given| path.unwrap_or_else(|| given.to_owned())))
    };
    given.iter().map(absolute).collect()
}

/// The images of `services` as they would be of this very state.
pub(super) fn image_order(global: &Global, services: &[String]) -> anyhow::Result<Order> {
    let selection = Selection { services: services.to_vec(), all: true, since: None };
    let versioning = Versioning { snapshot: true, ..Versioning::default() };
    let args = StageArgs { selection, versioning, ..StageArgs::default() };
    order(Goal::Stage(Stage::Image), global, &args, BTreeSet::new(), &[])
}

fn order(
    target: Goal,
    global: &Global,
    args: &StageArgs,
    skip: BTreeSet<Stage>,
    join: &[PathBuf],
) -> anyhow::Result<Order> {
    let Selection { services, all, since } = args.selection.clone();
    let Versioning { snapshot, pre, bump } = args.versioning.clone();
    let (from, join): (Option<PathBuf>, Vec<PathBuf>) = (
        args.from.as_ref().map(|from| global.path(from)),
        join.iter().map(|folder| global.path(folder)).collect(),
    );
    let source: Source = source(from.as_ref(), &join)?;
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
        epoch: None,
    };
    let purpose = if args.dry_run { Purpose::Show } else { Purpose::Run };
    Ok(Order { ask, since, source, purpose, outputs: Vec::new(), timings: args.timings })
}
