//! `status`: what is released, what a release would do now, and what each environment records.

use std::collections::{BTreeMap, BTreeSet};

use super::{Format, Global, StatusArgs};
use crate::cancel::Cancel;
use crate::config::{self, Registry};
use crate::diagnostic::did_you_mean;
use crate::fault::{Exit, Fault};
use crate::gather::{Facts, remote_name};
use crate::host::environment::Environment;
use crate::ledger::{Ledger, Scope};
use crate::release::decide::{self, Ask, Goal, Ground};
use crate::report::{self, status as render};
use crate::session::Session;
use crate::status::{self, EnvironmentStatus, Record};

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
    let environments = environments(&session, &facts)?;
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
    };
    let ground = Ground {
        config: &session.config,
        environment: &session.effective,
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
fn environments(session: &Session, facts: &Facts) -> anyhow::Result<BTreeMap<String, EnvironmentStatus>> {
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
        let (record, age) = match effective.registry {
            Registry::Layouts(_) => (record(&own, name)?, None),
            Registry::Remote { .. } => match asked.get_or_insert_with(|| ask(&shared, session)) {
                Ok(age) => (record(&shared, name)?, *age),
                Err(why) => (Record::Unknown { why: why.clone() }, None),
            },
        };
        let registry = shown(&effective.registry);
        found.insert(name.clone(), EnvironmentStatus { registry, record, age });
    }
    Ok(found)
}

/// Brings the mirror of the shared ledger up to date; with `--offline` gives its age.
fn ask(ledger: &Ledger<'_>, session: &Session) -> Result<Option<u64>, String> {
    let state = if session.offline { ledger.stored() } else { ledger.refresh() };
    state.map(|state| session.offline.then(|| state.age())).map_err(|error| error.to_string())
}

fn record(ledger: &Ledger<'_>, environment: &str) -> anyhow::Result<Record> {
    let tree = ledger.tree(&format!("env/{environment}"))?;
    Ok(match &tree.tip {
        None => Record::Nothing,
        Some(commit) => Record::At {
            commit: commit.clone(),
            entries: tree.under("").map(|(path, _)| path.to_owned()).collect(),
        },
    })
}

fn shown(registry: &Registry) -> String {
    match registry {
        Registry::Layouts(folder) => format!("oci:{}", folder.display()),
        Registry::Remote { host, path, .. } if path.is_empty() => host.clone(),
        Registry::Remote { host, path, .. } => format!("{host}/{path}"),
    }
}
