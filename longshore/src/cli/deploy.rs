//! `deploy`, `rollback`, `down`: what an environment runs is changed. `logs`: what its services print.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use semver::Version;

use super::pipeline::{leave, options, reap, shown, warnings};
use super::timings::Watch;
use super::{ChangeArgs, DeployArgs, DownArgs, Global, LogsArgs, ProgressChoice, RollbackArgs};
use crate::cancel::Cancel;
use crate::deploy::difference::{self, Change};
use crate::deploy::image::Made;
use crate::deploy::record::{Action, Origin, Pending, State};
use crate::deploy::rollout::{self, Rollout, Work};
use crate::deploy::site::{Site, Wanted};
use crate::deploy::workload::Workload;
use crate::deploy::{Driver, LogAsk, Observed, Step};
use crate::event::Event;
use crate::execute;
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::plan::Plan;
use crate::report;
use crate::report::lines::Lines;
use crate::session::Session;

/// How long a driver may take to say what runs.
const LOOK: Duration = Duration::from_secs(60);

/// What a command wants of an environment.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// What is to run, by service; absent: it is to be taken away.
    pub(super) wanted: BTreeMap<String, Option<Workload>>,
    pub(super) made: BTreeMap<String, Made>,
    pub(super) origins: BTreeMap<String, Origin>,
    /// What is said when nothing is to be done.
    pub(super) nothing: String,
}

/// Makes what a command wants of what is recorded now.
pub(super) type Wanting<'w> = dyn FnMut(&State) -> anyhow::Result<Order> + 'w;

/// Brings released versions into an environment.
///
/// # Errors
/// [`Exit::Usage`] for an unknown environment, service or version; those of the ledger and the driver.
pub fn deploy(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &DeployArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let site = Site::open(&session)?;
    let (asked, unreleased) = asked(&site, &args.services)?;
    let mut made: Option<Vec<Wanted>> = None;
    let mut wanting = |_: &State| {
        // Looked up once: a version is what it is.
        let wanted = match &made {
            Some(wanted) => wanted.clone(),
            None => {
                let wanted =
                    asked.iter().map(|(service, version)| site.wanted(&site.release(service, version)?));
                let wanted: Vec<Wanted> = wanted.collect::<anyhow::Result<_>>()?;
                made = Some(wanted.clone());
                wanted
            }
        };
        Ok(order(wanted, &unreleased))
    };
    carry_out(&site, global, Action::Deploy, args.change, &mut wanting)
}

fn order(wanted: Vec<Wanted>, unreleased: &[String]) -> Order {
    let mut order = Order { nothing: "everything runs as it is released".to_owned(), ..Order::default() };
    if !unreleased.is_empty() {
        order.nothing.push_str(&format!("; nothing is released of {}", unreleased.join(", ")));
    }
    for wanted in wanted {
        let service = wanted.workload.service.clone();
        order.made.insert(service.clone(), wanted.made);
        order.origins.insert(service.clone(), wanted.origin);
        order.wanted.insert(service, Some(wanted.workload));
    }
    order
}

/// `SERVICE[@VERSION]…`, without any every service that has a release; and those that have none.
fn asked(site: &Site<'_>, given: &[String]) -> anyhow::Result<(BTreeMap<String, Version>, Vec<String>)> {
    let mut asked = BTreeMap::new();
    let mut unreleased = Vec::new();
    if given.is_empty() {
        let servers = site.session.settings.iter().filter(|(_, settings)| !settings.ends);
        for (service, _) in servers {
            match site.newest(service) {
                Some(version) => {
                    asked.insert(service.clone(), version.clone());
                }
                None => unreleased.push(service.clone()),
            }
        }
        if asked.is_empty() {
            return Err(Fault::new(Exit::Usage, "nothing is released yet")
                .hint(format!("run `release --env {}` first", site.name()))
                .into());
        }
        return Ok((asked, unreleased));
    }
    for text in given {
        let (service, version) = named(text)?;
        site.known([service])?;
        if site.session.settings[service].ends {
            return Err(Fault::new(Exit::Usage, format!("`{service}` ends by itself, and is not deployed"))
                .hint("run its image where it is needed; `deploy` is for what goes on running")
                .into());
        }
        let version = match version {
            Some(version) => version,
            None => site.newest(service).cloned().ok_or_else(|| {
                Fault::new(Exit::Usage, format!("`{service}` is not released yet"))
                    .hint(format!("run `release --env {} {service}` first", site.name()))
            })?,
        };
        site.release(service, &version)?;
        if asked.insert(service.to_owned(), version).is_some() {
            return Err(Fault::new(Exit::Usage, format!("`{service}` is named twice")).into());
        }
    }
    Ok((asked, unreleased))
}

/// `SERVICE[@VERSION]`
fn named(text: &str) -> anyhow::Result<(&str, Option<Version>)> {
    let Some((service, version)) = text.split_once('@') else { return Ok((text, None)) };
    let parsed = Version::parse(version.strip_prefix('v').unwrap_or(version));
    let parsed = parsed.map_err(|error| {
        Fault::new(Exit::Usage, format!("`{version}` in `{text}` is not a version: {error}"))
            .hint(format!("write all of it, as `{service}@1.2.3`"))
    })?;
    Ok((service, Some(parsed)))
}

/// Brings back what ran before.
///
/// # Errors
/// [`Exit::Usage`] where nothing ran before; those of the ledger and the driver.
pub fn rollback(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &RollbackArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let site = Site::open(&session)?;
    site.known(&args.services)?;
    if args.to.is_some() && args.services.len() != 1 {
        return Err(Fault::new(Exit::Usage, "`--to` needs the one service whose version it is").into());
    }
    let mut wanting = |state: &State| back(&site, state, args);
    carry_out(&site, global, Action::Rollback, args.change, &mut wanting)
}

/// The recorded workloads to go back to: made of nothing but the ledger.
fn back(site: &Site<'_>, state: &State, args: &RollbackArgs) -> anyhow::Result<Order> {
    let mut order = Order { nothing: "nothing to go back to".to_owned(), ..Order::default() };
    let all: Vec<String> = state.services.keys().cloned().collect();
    for service in if args.services.is_empty() { &all } else { &args.services } {
        let trail = state.services.get(service).map(|standing| standing.trail.as_slice()).unwrap_or_default();
        let earlier = match &args.to {
            Some(to) => trail.iter().rev().find(|running| running.workload.version == *to),
            None => trail.last(),
        };
        match (earlier, &args.to) {
            (Some(earlier), _) => {
                order.wanted.insert(service.clone(), Some(earlier.workload.clone()));
            }
            // It never ran here: then it is as good as a deploy of it.
            (None, Some(to)) => {
                let wanted = site.wanted(&site.release(service, to)?)?;
                order.made.insert(service.clone(), wanted.made);
                order.origins.insert(service.clone(), wanted.origin);
                order.wanted.insert(service.clone(), Some(wanted.workload));
            }
            (None, None) if args.services.is_empty() => {}
            (None, None) => {
                let message = format!("nothing of `{service}` ran in `{}` before", site.name());
                return Err(Fault::new(Exit::Usage, message)
                    .hint("name a version with `--to`; `status --history` says what ran")
                    .into());
            }
        }
    }
    Ok(order)
}

/// Takes services away.
///
/// # Errors
/// Those of the ledger and the driver.
pub fn down(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &DownArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let site = Site::open(&session)?;
    let mut wanting = |state: &State| {
        let mut order = Order { nothing: "nothing runs there".to_owned(), ..Order::default() };
        let running = state.services.iter().filter(|(_, standing)| standing.current.is_some());
        let running: Vec<String> = running.map(|(service, _)| service.clone()).collect();
        if let Some(unknown) = args.services.iter().find(|name| !state.services.contains_key(*name)) {
            site.known([unknown])?;
        }
        for service in if args.services.is_empty() { &running } else { &args.services } {
            order.wanted.insert(service.clone(), None);
        }
        Ok(order)
    };
    let change = ChangeArgs { dry_run: args.dry_run, timings: false };
    carry_out(&site, global, Action::Down, change, &mut wanting)
}

/// Plans, shows, takes the environment, changes it, and gives it back.
pub(super) fn carry_out(
    site: &Site<'_>,
    global: &Global,
    action: Action,
    asked: ChangeArgs,
    wanting: &mut Wanting<'_>,
) -> anyhow::Result<u8> {
    let began = Instant::now();
    warnings(site.session, global);
    let driver = if action == Action::Down || asked.dry_run { site.looker()? } else { site.driver()? };
    let lines = Lines::of(global, &site.session.environment);
    let step = || Step { cancel: &site.session.cancel, progress: &lines, until: Instant::now() + LOOK };
    let book = site.book();
    if asked.dry_run {
        let state = if site.session.offline { book.here()? } else { book.look()? };
        let order = wanting(&state)?;
        let changes = changes(&state, &order, &driver.observe(&step())?)?;
        report::result(&difference_text(site, &order, &changes, driver.as_ref(), &step())?);
        return Ok(0);
    }
    // Before anybody looks what runs: it may still be changing that.
    reap(site.session);
    for (service, replicas, driver) in site.singles() {
        let order = format!("`{service}` runs once, not {replicas} times: the driver `{driver}` runs one");
        report::note(&format!("warning: {order} of each service"));
    }
    let holder = site.holder(&command());
    let planned: RefCell<(Order, Vec<Change>)> = RefCell::default();
    let begun = book.begin(&holder, &site.session.cancel, &report::note, &mut |state| {
        let order = wanting(state)?;
        let changes = changes(state, &order, &driver.observe(&step())?)?;
        let pending =
            changes.iter().map(|change| (change.service.clone(), pending(&holder, action, change, &order)));
        let pending = pending.collect();
        *planned.borrow_mut() = (order, changes);
        Ok(pending)
    });
    drop(lines);
    begun?;
    let (order, changes) = planned.into_inner();
    if changes.is_empty() {
        say(global, &format!("{} in `{}`", order.nothing, site.name()));
        return Ok(0);
    }
    let rollout = Rollout { driver: driver.as_ref(), book: site.book(), store: &site.store, holder };
    let plan =
        rollout::plan(&changes, &order.made, &|service| site.timeout(service), rollout.driver.is_whole());
    let watch = asked.timings.then(|| Watch::new(&plan, began));
    let exit = run(site, global, &rollout, (&plan, &changes), watch);
    // What was never begun is no business of the next run's.
    book.release(&rollout.holder)?;
    Ok(exit)
}

fn run(
    site: &Site<'_>,
    global: &Global,
    rollout: &Rollout<'_>,
    (plan, changes): (&Plan<Work>, &[Change]),
    mut watch: Option<Watch>,
) -> u8 {
    let session = site.session;
    let mut reporter = report::open(global.progress, global.color, shown(global), &session.environment);
    for change in changes {
        for reason in &change.reasons {
            let message = format!("{}: {reason}", change.service);
            reporter.event(&Event::JobStatus {
                job: crate::plan::JobId(change.service.clone()),
                status: message,
            });
        }
    }
    let mut events = |event: &Event| {
        if let Some(watch) = &mut watch {
            watch.event(event);
        }
        reporter.event(event);
    };
    let mut options = options(session, global);
    // A failure stops what depends on it: what goes on beside it is no better half-way.
    options.keep_going = true;
    options.jobs = options.jobs.max(8);
    let summary = execute::run(plan, rollout, &options, &session.cancel, &mut events);
    reporter.finish(&summary);
    drop(reporter);
    if let Some(watch) = watch {
        leave(session, global, watch);
    }
    summary.exit
}

/// What is to be done: for what is asked, and for what another run left half-way.
fn changes(
    state: &State,
    order: &Order,
    observed: &BTreeMap<String, Observed>,
) -> anyhow::Result<Vec<Change>> {
    let asked: BTreeSet<String> = order.wanted.keys().cloned().collect();
    let mut changes = difference::abandoned(state, observed, &asked)?;
    for (service, wanted) in &order.wanted {
        let standing = state.services.get(service);
        let change = difference::change(service, standing, observed.get(service), wanted.as_ref())?;
        changes.extend(change);
    }
    Ok(changes)
}

fn pending(
    holder: &crate::deploy::record::Holder,
    action: Action,
    change: &Change,
    order: &Order,
) -> Pending {
    Pending {
        id: holder.id.clone(),
        workload: change.to.clone(),
        action,
        at: clock::rfc3339(clock::now()),
        by: holder.by.clone(),
        origin: order.origins.get(&change.service).cloned().unwrap_or_default(),
    }
}

/// What a run would do, for eyes.
fn difference_text(
    site: &Site<'_>,
    order: &Order,
    changes: &[Change],
    driver: &dyn Driver,
    step: &Step<'_>,
) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut text = String::new();
    if changes.is_empty() {
        let _ = writeln!(text, "{} in `{}`", order.nothing, site.name());
        return Ok(text);
    }
    for change in difference::order(changes) {
        let _ = writeln!(text, "{}", rollout::title(change));
        for reason in &change.reasons {
            let _ = writeln!(text, "  {reason}");
        }
        if let Some(workload) = &change.to {
            let _ = writeln!(text, "  {}", workload.image.reference());
        }
    }
    let wanted: Vec<Workload> = changes.iter().filter_map(|change| change.to.clone()).collect();
    for line in driver.difference(&wanted, step)? {
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}

fn say(global: &Global, text: &str) {
    if global.progress != ProgressChoice::Quiet {
        report::note(text);
    }
}

/// The command line, as the ledger names it.
pub(super) fn command() -> String {
    std::env::args().skip(1).collect::<Vec<_>>().join(" ")
}

/// Prints what services have printed.
///
/// # Errors
/// [`Exit::Usage`] for an unknown service; those of the driver.
pub fn logs(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &LogsArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let site = Site::open(&session)?;
    let state = site.book().here()?;
    if let Some(unknown) = args.services.iter().find(|name| !state.services.contains_key(*name)) {
        site.known([unknown])?;
    }
    let services: Vec<String> = if args.services.is_empty() {
        state.services.keys().cloned().collect()
    } else {
        args.services.clone()
    };
    let secrets = options(&session, global).secrets;
    let ask = LogAsk { tail: args.tail, follow: args.follow };
    let lines = Lines::of(global, &session.environment);
    let step = Step { cancel, progress: &lines, until: Instant::now() + LOOK };
    let several = services.len() > 1;
    let sink = |service: &str, line: &str| {
        let line = secrets.redact(line);
        report::result(&if several { format!("{service} | {line}\n") } else { format!("{line}\n") });
    };
    site.looker()?.logs(&services, &ask, &step, &sink)?;
    Ok(0)
}
