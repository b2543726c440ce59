//! `promote`: what an environment runs, verified, goes to another one; `scan --deployed`: what an environment
//! runs is scanned again.

use super::approval::Granted;
use super::deploy::{Order, carry_out};
use super::{Global, PromoteArgs};
use crate::cancel::Cancel;
use crate::config::{self, EffectiveEnvironment, Registry};
use crate::deploy::book::Book;
use crate::deploy::promotion::{self, Rules};
use crate::deploy::record::{Action, Approval, State};
use crate::deploy::site::{Site, Wanted, repository};
use crate::fault::{Exit, Fault, Tail};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::ledger::Ledger;
use crate::report;
use crate::session::Session;

/// Brings what `--from` runs to `--to`.
///
/// # Errors
/// [`Exit::Gate`] with every reason why not; those of a deploy.
pub fn promote(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &PromoteArgs,
) -> anyhow::Result<u8> {
    let global = Global { environments: vec![args.to.clone()], ..global.clone() };
    let session = Session::open(&global, environment, cancel)?;
    let source = config::environment(&session.config, &args.from)?;
    if source.name == session.effective.name {
        return Err(Fault::new(Exit::Usage, "`--from` and `--to` are the same environment").into());
    }
    shared(&session, &source)?;
    let site = Site::open(&session)?;
    site.known(&args.services)?;
    let ledger = Ledger::new(&session.git, session.prefix(), session.scope());
    let book = Book::new(&ledger, &source.name);
    let state = if session.offline { book.here()? } else { book.look()? };
    let wanted = judged(&site, &source, &state, &args.services)?;
    if args.approve {
        return approve(&site, &wanted);
    }
    let granted =
        if args.change.dry_run { Granted::dry_run() } else { Granted::ask(&site, &source.name, &wanted)? };
    let mut wanting = |there: &State| agreed(&site, there, wanted.clone(), &source.name, &granted);
    carry_out(&site, &global, Action::Promote, args.change, &mut wanting)
}

/// A rehearsal's versions are this clone's own: they can't go where others are.
fn shared(session: &Session, source: &EffectiveEnvironment) -> anyhow::Result<()> {
    let local = |registry: &Registry| matches!(registry, Registry::Layouts(_));
    if local(&source.registry) == local(&session.effective.registry) {
        return Ok(());
    }
    let message = format!(
        "`{}` and `{}` have no ledger in common: one is this clone's rehearsal, the other is shared",
        source.name, session.effective.name
    );
    Err(Fault::new(Exit::Usage, message).hint("release in an environment whose registry is shared").into())
}

/// What may be promoted, as it is to run in the target.
///
/// # Errors
/// [`Exit::Gate`] where any of it may not.
fn judged(
    site: &Site<'_>,
    source: &EffectiveEnvironment,
    state: &State,
    services: &[String],
) -> anyhow::Result<Vec<Wanted>> {
    let asked: Vec<&String> = if services.is_empty() {
        let runs = state
            .services
            .iter()
            .filter(|(_, standing)| standing.current.is_some() || standing.pending.is_some());
        runs.map(|(name, _)| name).filter(|name| site.session.settings.contains_key(*name)).collect()
    } else {
        services.iter().collect()
    };
    if asked.is_empty() {
        return Err(Fault::new(Exit::Gate, format!("nothing runs in `{}`", source.name))
            .hint(format!("deploy to it first: `deploy --env {}`", source.name))
            .into());
    }
    let there = if site.session.offline { site.book().here()? } else { site.book().look()? };
    let mut rescans = state.scans.clone();
    for (digest, scan) in there.scans {
        match rescans.get(&digest) {
            Some(other) if other.at >= scan.at => {}
            _ => {
                rescans.insert(digest, scan);
            }
        }
    }
    let rules = Rules {
        from: &source.name,
        own_build: false,
        accept: &site.settings.accept,
        max_age: site.settings.max_age,
        rescans: &rescans,
        now: clock::now(),
    };
    let (mut refusals, mut wanted) = (Vec::new(), Vec::new());
    for service in asked {
        match judge(site, source, state, service, &rules)? {
            Ok(one) => wanted.push(one),
            Err(reasons) => refusals.extend(reasons.into_iter().map(|reason| format!("{service}: {reason}"))),
        }
    }
    if refusals.is_empty() {
        return Ok(wanted);
    }
    let hint = if refusals.iter().any(|reason| reason.contains("max-age") || reason.contains("scan")) {
        format!("`scan --deployed --env {}` scans again what runs there", source.name)
    } else {
        format!("`status --env {}` says what runs there", source.name)
    };
    let message = format!("no promotion from `{}` to `{}`", source.name, site.name());
    Err(anyhow::Error::from(Tail(refusals)).context(Fault::new(Exit::Gate, message).hint(hint)))
}

fn judge(
    site: &Site<'_>,
    source: &EffectiveEnvironment,
    state: &State,
    service: &str,
    rules: &Rules<'_>,
) -> anyhow::Result<Result<Wanted, Vec<String>>> {
    let running = match promotion::verified(state.services.get(service), &source.name) {
        Ok(running) => running,
        Err(why) => return Ok(Err(vec![why])),
    };
    let version = &running.workload.version;
    let Some(record) = site.build(service, version)? else {
        let why = format!(
            "{version} has no build for `{target}`, where the `ARG`s of its Dockerfile differ: `release --env {target} {service}` makes one at that version's commit",
            target = site.name()
        );
        return Ok(Err(vec![why]));
    };
    let declared = site.session.config.services.get(service).filter(|service| service.dockerfile.is_some());
    let own_build = declared
        .is_some_and(|declared| source.arguments(declared) != site.session.effective.arguments(declared));
    let refusals = promotion::refusals(&record, running, &Rules { own_build, ..*rules });
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    if own_build {
        report::note(&format!(
            "{service} {}: `{}` has a build of its own, since the `ARG`s of the Dockerfile differ there",
            record.version,
            site.name()
        ));
    }
    // It lies where it was released, or where the source environment has it.
    let lies = if own_build { record.repository.clone() } else { repository(&source.registry, service) };
    let mut wanted = site.wanted_from(&record, &lies)?;
    if lies != site.repository(service) {
        wanted.made.source = Some(lies);
    }
    wanted.origin.from = Some(source.name.clone());
    Ok(Ok(wanted))
}

/// Writes down that this user agrees.
fn approve(site: &Site<'_>, wanted: &[Wanted]) -> anyhow::Result<u8> {
    let at = clock::rfc3339(clock::now());
    let names: Vec<String> = wanted
        .iter()
        .map(|wanted| format!("{} {}", wanted.workload.service, wanted.workload.version))
        .collect();
    site.book().note(&site.by, &format!("approve {}", names.join(", ")), &mut |state| {
        for wanted in wanted {
            let approval = Approval {
                digest: wanted.workload.image.neutral.clone(),
                version: wanted.workload.version.clone(),
                by: site.by.clone(),
                at: at.clone(),
            };
            state.approvals.insert(wanted.workload.service.clone(), approval);
        }
        Ok(true)
    })?;
    report::note(&format!("approved for `{}`: {}", site.name(), names.join(", ")));
    Ok(0)
}

/// What may go on, each with who agreed to exactly this image.
fn agreed(
    site: &Site<'_>,
    there: &State,
    mut wanted: Vec<Wanted>,
    from: &str,
    granted: &Granted,
) -> anyhow::Result<Order> {
    granted.check(site, there, &wanted)?;
    for wanted in &mut wanted {
        wanted.origin.approved_by = granted.by(site, there, wanted);
    }
    let mut order = Order { nothing: format!("everything runs as in `{from}`"), ..Order::default() };
    for wanted in wanted {
        let service = wanted.workload.service.clone();
        order.made.insert(service.clone(), wanted.made);
        order.origins.insert(service.clone(), wanted.origin);
        order.wanted.insert(service, Some(wanted.workload));
    }
    Ok(order)
}
