//! `status`: what is released, what a release would do now, and what each environment records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Format, Global, StatusArgs};
use crate::cancel::Cancel;
use crate::config::{self, EffectiveEnvironment, Registry};
use crate::deploy::book::Book;
use crate::deploy::metrics::metrics;
use crate::deploy::record::Standing;
use crate::deploy::{Condition, Observed, SecretValues, Step, difference, site};
use crate::diagnostic::did_you_mean;
use crate::fault::{Exit, Fault};
use crate::gather::{Facts, remote_name};
use crate::host::environment::Environment;
use crate::ledger::{Ledger, Scope};
use crate::progress::Progress;
use crate::release::decide::{self, Ask, Goal, Ground};
use crate::report::lines::Lines;
use crate::report::{self, status as render};
use crate::resolve;
use crate::session::Session;
use crate::status::{self, Deployed, EnvironmentStatus, History, Record};

/// How long an environment may take to say what runs there.
const LOOK: Duration = Duration::from_secs(20);

/// Prints it; changes nothing but what this clone remembers of the remote.
///
/// # Errors
/// [`Exit::Usage`] for an unknown service; those of the facts.
pub fn status(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &StatusArgs,
) -> anyhow::Result<u8> {
    let mut session = Session::open(global, environment, cancel)?;
    let services: BTreeSet<String> = args.services.iter().cloned().collect();
    known(&session, &services)?;
    let mut hashes = session.hashes();
    let facts = session.facts(None, &mut hashes)?;
    let decided = decide(&session, &facts);
    let blocked = decided.as_ref().err().map(|error| format!("{error:#}"));
    let progress = Lines::of(global, &session.environment);
    let environments = environments(&session, &facts, args, &progress)?;
    drop(progress);
    let status = status::status(status::Ground {
        project: &session.config.project.name.value,
        environment: &session.effective.name,
        facts: &facts,
        decisions: match (&decided, &blocked) {
            (Ok(decided), _) => Ok(&decided.decisions),
            (Err(_), why) => Err(why.as_deref().unwrap_or_default()),
        },
        environments: &environments,
        services: &services,
    });
    report::result(&match args.format {
        Format::Text => render::text(&status),
        Format::Json => render::json(&status)?,
    });
    Ok(0)
}

fn known(session: &Session, services: &BTreeSet<String>) -> anyhow::Result<()> {
    match services.iter().find(|name| !session.settings.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let mut fault = Fault::new(Exit::Usage, format!("there is no service `{name}`"));
            fault.hint = did_you_mean(name, session.settings.keys().map(String::as_str));
            Err(fault.into())
        }
    }
}

/// What `release` without any option would decide.
fn decide(session: &Session, facts: &Facts) -> anyhow::Result<decide::Decided> {
    let ask = Ask {
        target: Goal::Release,
        services: BTreeSet::new(),
        all: false,
        snapshot: false,
        pre: None,
        bump: None,
        skip: BTreeSet::new(),
        platforms: Vec::new(),
        adopts: false,
        variants: false,
        epoch: None,
    };
    let ground = Ground {
        config: &session.config,
        environment: &session.effective,
        others: &[],
        stages: &session.stages,
        settings: &session.settings,
        facts,
        pipeline: &session.pipeline(),
        lost: &BTreeSet::new(),
    };
    decide::release(ground, &ask)
}

/// What each environment's part of the ledger says. Those whose registry is a folder have theirs in this
/// clone, the others share the Git remote's, which is asked once.
fn environments(
    session: &Session,
    facts: &Facts,
    args: &StatusArgs,
    progress: &dyn Progress,
) -> anyhow::Result<BTreeMap<String, EnvironmentStatus>> {
    let remote = remote_name(&session.config).to_owned();
    let shared = Ledger::new(&session.git, session.prefix(), Scope::Remote(remote));
    let own = Ledger::new(&session.git, session.prefix(), Scope::Local);
    let mut asked: Option<Result<Option<u64>, String>> = match session.scope() {
        // The facts were asked of it just now.
        Scope::Remote(_) => Some(Ok(facts.age)),
        Scope::Local => None,
    };
    let mut found = BTreeMap::new();
    for name in session.config.environments.keys() {
        let effective = config::environment(&session.config, name)?;
        let (ledger, age) = match effective.registry {
            Registry::Layouts(_) => (Ok(&own), None),
            Registry::Remote { .. } => match asked.get_or_insert_with(|| ask(&shared, session)) {
                Ok(age) => (Ok(&shared), *age),
                Err(why) => (Err(why.clone()), None),
            },
        };
        let mut status = EnvironmentStatus {
            registry: shown(&effective.registry),
            driver: resolve::deploy(&effective).driver.map(|driver| driver.to_string()),
            services: BTreeMap::new(),
            holder: None,
            history: None,
            record: Record::Nothing,
            age,
        };
        match ledger {
            Ok(ledger) => fill(&mut status, ledger, session, &effective, args, progress)?,
            Err(why) => status.record = Record::Unknown { why },
        }
        found.insert(name.clone(), status);
    }
    Ok(found)
}

/// What is recorded of an environment, and what is seen there.
fn fill(
    status: &mut EnvironmentStatus,
    ledger: &Ledger<'_>,
    session: &Session,
    effective: &EffectiveEnvironment,
    args: &StatusArgs,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let name = &effective.name;
    let Some(commit) = ledger.tree(&format!("env/{name}"))?.tip else { return Ok(()) };
    status.record = Record::At { commit };
    let book = Book::new(ledger, name);
    let state = book.here()?;
    let step = Step { cancel: &session.cancel, progress, until: Instant::now() + LOOK };
    let seen = site::driver(session, effective, SecretValues::default())
        .and_then(|driver| driver.observe(&step))
        .map_err(|error| format!("{error:#}"));
    let wanted = |service: &String| args.services.is_empty() || args.services.contains(service);
    for (service, standing) in state.services.iter().filter(|(service, _)| wanted(service)) {
        status.services.insert(service.clone(), deployed(standing, service, &seen)?);
    }
    if let Ok(seen) = &seen {
        for (service, observed) in seen.iter().filter(|(service, _)| wanted(service)) {
            status.services.entry(service.clone()).or_insert_with(|| Deployed {
                version: None,
                digest: None,
                neutral: None,
                since: None,
                by: None,
                pending: None,
                observed: Some(observed.clone()),
                drift: vec!["it runs and is not recorded".to_owned()],
            });
        }
    }
    status.holder = state.holder;
    if args.history {
        let entries: Vec<_> = book.history()?.into_iter().filter(|entry| wanted(&entry.service)).collect();
        status.history = Some(History { metrics: metrics(&entries), entries });
    }
    Ok(())
}

fn deployed(
    standing: &Standing,
    service: &str,
    seen: &Result<BTreeMap<String, Observed>, String>,
) -> anyhow::Result<Deployed> {
    let current = standing.current.as_ref();
    let observed = match seen {
        Ok(seen) => seen.get(service).cloned(),
        Err(why) => Some(Observed {
            digest: None,
            hash: None,
            health: Condition::Unknown(why.clone()),
            ready: 0,
            wanted: current.map_or(0, |running| running.workload.replicas),
            restarts: 0,
            since: None,
            addresses: Vec::new(),
            drift: Vec::new(),
        }),
    };
    let pending = standing.pending.as_ref();
    Ok(Deployed {
        version: current.map(|running| running.workload.version.clone()),
        digest: current.map(|running| running.workload.image.digest.clone()),
        neutral: current.map(|running| running.workload.image.neutral.clone()),
        since: current.map(|running| running.since.clone()),
        by: current.map(|running| running.by.clone()),
        pending: pending.map(|pending| difference::found(pending, observed.as_ref())).transpose()?,
        drift: match current {
            Some(running) => difference::drift(&running.workload, observed.as_ref())?,
            None if observed.is_some() => vec!["it runs and should not".to_owned()],
            None => Vec::new(),
        },
        observed,
    })
}

/// Brings the mirror of the shared ledger up to date; with `--offline` gives its age.
fn ask(ledger: &Ledger<'_>, session: &Session) -> Result<Option<u64>, String> {
    let state = if session.offline { ledger.stored() } else { ledger.refresh() };
    state.map(|state| session.offline.then(|| state.age())).map_err(|error| error.to_string())
}

fn shown(registry: &Registry) -> String {
    match registry {
        Registry::Layouts(folder) => format!("oci:{}", folder.display()),
        Registry::Remote { host, path, .. } if path.is_empty() => host.clone(),
        Registry::Remote { host, path, .. } => format!("{host}/{path}"),
    }
}
