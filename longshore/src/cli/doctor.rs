//! `doctor`: what this machine has, what is missing, and what mends it.

use std::path::PathBuf;
use std::time::Duration;

use super::{Format, Global};
use crate::cancel::Cancel;
use crate::config::{Registry, Tools};
use crate::doctor::{self, Check, Dockerfile, Needs};
use crate::gather::remote_name;
use crate::host::environment::Environment;
use crate::ledger::Scope;
use crate::oci::destination::{declared_schemes, repository};
use crate::oci::registry::retry::Policy;
use crate::oci::registry::{Client, Options};
use crate::report;
use crate::report::lines::Lines;
use crate::resolve::ServiceSettings;
use crate::session::{Session, cache, place};
use crate::tools::Setup;
use crate::workspace::Workspace;

/// Looks at everything, and goes on where a part can't be looked at; 4 if a release can't run here.
///
/// # Errors
/// None but a defect: what is wrong is told as a check.
pub fn doctor(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    format: Format,
) -> anyhow::Result<u8> {
    let mut checks = Vec::new();
    let (session, workspace) = match Session::open(global, environment.clone(), cancel) {
        Ok(session) => {
            let workspace = session.workspace.clone();
            (Some(session), workspace)
        }
        Err(error) => match place(global, &environment, cancel) {
            Ok((_, workspace)) => {
                checks.push(doctor::broken("configuration", &error));
                (None, workspace)
            }
            Err(error) => {
                checks.push(doctor::broken("repository", &error));
                (None, nowhere(global, &environment)?)
            }
        },
    };
    let lines = Lines::of(global, &environment);
    let setup = Setup {
        cache: &workspace.cache,
        environment: &environment,
        cancel,
        progress: &lines,
        offline: global.offline,
    };
    let none = Tools::default();
    let needs = Needs {
        workspace: &workspace,
        tools: session.as_ref().map_or(&none, |session| &session.config.tools),
        go: &session.as_ref().map_or_else(Vec::new, toolchains),
        ports: &session.as_ref().map_or_else(Vec::new, ports),
        packages: session
            .as_ref()
            .is_none_or(|session| session.settings.values().any(|service| service.package.is_some())),
        dockerfiles: &session.as_ref().map_or_else(Vec::new, dockerfiles),
    };
    checks.extend(doctor::examine(&needs, &setup));
    if let Some(session) = &session {
        checks.extend(git_remote(session));
        checks.extend(registry(session));
    }
    let text = match format {
        Format::Text => doctor::text(&checks),
        Format::Json => doctor::json(&checks)?,
    };
    report::result(&text);
    Ok(doctor::exit(&checks).map_or(0, |exit| exit as u8))
}

/// Where there is no repository: the machine can be looked at from any folder.
fn nowhere(global: &Global, environment: &Environment) -> anyhow::Result<Workspace> {
    let here = global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let root = std::path::absolute(here)?;
    let cache = cache(environment).unwrap_or_else(|_| std::env::temp_dir().join("longshore"));
    Ok(Workspace { dist: root.join("dist"), state: root.join(".git/longshore"), cache, root })
}

/// The Go versions of services that pin one.
fn toolchains(session: &Session) -> Vec<String> {
    session.settings.values().filter_map(|service| service.build.go.clone()).collect()
}

fn dockerfiles(session: &Session) -> Vec<Dockerfile> {
    let of = |(name, service): (&String, &ServiceSettings)| {
        let from = service.dockerfile.as_ref()?;
        Some(Dockerfile { service: name.clone(), engine: from.engine, builder: from.builder.clone() })
    };
    session.settings.iter().filter_map(of).collect()
}

/// Each port once, with the services that listen on it.
fn ports(session: &Session) -> Vec<(String, u16)> {
    let mut ports: std::collections::BTreeMap<u16, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, service) in &session.settings {
        if let Some(port) = service.port {
            ports.entry(port).or_default().push(name);
        }
    }
    ports.into_iter().map(|(port, services)| (services.join("`, `"), port)).collect()
}

/// The Git remote, where the ledger of the chosen environment lies in it.
fn git_remote(session: &Session) -> Option<Check> {
    let Scope::Remote(_) = session.scope() else { return None };
    let name = remote_name(&session.config);
    if session.offline {
        return Some(doctor::unasked(&format!("git remote {name}")));
    }
    let answer = session.git.list_remote(name, &["HEAD"]).map(|_| ());
    Some(doctor::git_remote(name, &answer))
}

/// The registry of the chosen environment, asked as a release would ask it.
fn registry(session: &Session) -> Option<Check> {
    let Registry::Remote { host, path, .. } = &session.effective.registry else { return None };
    let name = if path.is_empty() { host.clone() } else { format!("{host}/{path}") };
    if session.offline {
        return Some(doctor::unasked(&format!("registry {name}")));
    }
    let service = session.settings.keys().next()?;
    let policy = Policy { retries: 1, first: Duration::from_millis(200), longest: Duration::from_secs(2) };
    let schemes = declared_schemes([&session.effective.registry]);
    let client =
        Client::new(&session.environment, Options { schemes, policy, ..Options::default() }, &session.cancel);
    let answer = repository(host, path, service).and_then(|place| client.repository(place).ping());
    Some(doctor::registry(&name, &answer))
}
