//! The environments: what they set must be declared, and what they change must be theirs to change.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::check::{Declared, secret, stages};
use crate::config::environment::{EffectiveEnvironment, chain, compose, environment};
use crate::config::{Config, Environment, Located, OnUnavailable, Registry, secrets};
use crate::diagnostic::{Diagnostic, did_you_mean, meant, quoted};

/// Names that are compared with what is declared: more faults than that are not read.
const HINTS: usize = 100;

pub(crate) fn check(config: &Config, declared: &Declared) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for environment in config.environments.values() {
        faults.extend(stages(&environment.stages));
        faults.extend(shared_stages(environment));
        faults.extend(secret_values(environment));
        if declared.services {
            faults.extend(undeclared(config, environment));
        }
    }
    for name in config.environments.keys().filter(|name| chain(config, name).is_some()) {
        let Ok(effective) = environment(config, name) else { continue };
        faults.extend(on_unavailable(&effective));
        if declared.services {
            for service in config.services.values() {
                faults.extend(compose(service, &effective.declared(service)).1);
            }
        }
    }
    faults
}

/// A release is the same for every environment: what makes it is not an environment's to say.
fn shared_stages(environment: &Environment) -> Vec<Diagnostic> {
    let stages = &environment.stages;
    let mut places = vec![("versions", stages.versions.other.as_ref().map(|other| &other.place))];
    for (name, options) in [("build", &stages.build), ("image", &stages.image)] {
        let version = options.version.as_ref().map(|version| &version.place);
        places.push((name, version.or(options.enabled.as_ref().map(|enabled| &enabled.place))));
    }
    let fault = |(name, place): (&str, Option<&_>)| {
        Some(
            Diagnostic::error(format!("an environment can't change `[stages.{name}]`"))
                .at(place?, "")
                .hint("a release is the same for every environment: say it in `pipeline.toml`"),
        )
    };
    places.into_iter().filter_map(fault).collect()
}

fn build_args(environment: &Environment) -> impl Iterator<Item = (Option<&str>, &String, &Located<String>)> {
    let own = environment.build_args.iter().map(|(name, value)| (None, name, value));
    own.chain(environment.services.iter().flat_map(|(service, values)| {
        values.build_args.iter().map(move |(name, value)| (Some(service.as_str()), name, value))
    }))
}

fn secret_values(environment: &Environment) -> Vec<Diagnostic> {
    let mut faults: Vec<Diagnostic> = build_args(environment)
        .filter_map(|(_, name, value)| secret(name, &value.place, Some(value)))
        .collect();
    let services = environment.services.values().flat_map(|service| &service.env);
    for (name, value) in environment.env.iter().chain(services) {
        if let Some(looks) = secrets::looks_like(&value.value) {
            faults.push(
                Diagnostic::error(format!("the value of `{name}` looks like {looks}"))
                    .at(&value.place, "not shown")
                    .hiding(&value.place)
                    .hint("everyone who has the repository can read it: name it under `[secrets]`, and give the value at run time"),
            );
        }
        if let Some(source) = environment.secrets.get(name) {
            faults.push(
                Diagnostic::error(format!("`{name}` is both in `[env]` and in `[secrets]`"))
                    .at(&value.place, "here")
                    .related(&source.place, "and here")
                    .hint("keep one of the two"),
            );
        }
    }
    faults
}

/// Services and build-args that `pipeline.toml` does not declare.
fn undeclared(config: &Config, environment: &Environment) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut declared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, name) in config
        .services
        .iter()
        .flat_map(|(service, known)| known.build_args.keys().map(move |name| (service, name)))
    {
        declared.entry(name).or_default().push(service);
    }
    for (service, name, value) in build_args(environment) {
        let known: BTreeSet<&str> = match service.map(|service| config.services.get(service)) {
            None => declared.keys().copied().collect(),
            Some(Some(service)) => service.build_args.keys().map(String::as_str).collect(),
            // An unknown service, which is said below.
            Some(None) => continue,
        };
        if known.contains(name.as_str()) {
            continue;
        }
        let who = service
            .map_or_else(|| "no service".to_owned(), |service| format!("service `{service}` does not"));
        let verb = if service.is_some() { "declare" } else { "declares" };
        let mut fault =
            Diagnostic::error(format!("{who} {verb} build-arg {}", quoted(name))).at(&value.place, "");
        let meant = if faults.len() < HINTS { meant(name, known) } else { None };
        fault.hint = Some(match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!(
                "declare it in `pipeline.toml` under `[services.{}.build-args]`",
                service.unwrap_or("NAME")
            ),
        });
        faults.push(fault);
    }
    for (name, service) in &environment.services {
        if config.services.contains_key(name) {
            continue;
        }
        let mut fault =
            Diagnostic::error(format!("there is no service {}", quoted(name))).at(&service.name.place, "");
        fault.hint = did_you_mean(name, config.services.keys().map(String::as_str));
        faults.push(fault);
    }
    faults
}

/// Only a folder may do without a vulnerability verdict: what is in a registry is for others.
fn on_unavailable(environment: &EffectiveEnvironment) -> Option<Diagnostic> {
    let Registry::Remote { host, path, .. } = &environment.registry else { return None };
    let option = environment.stages.scan.on_unavailable.as_ref()?;
    if option.value != OnUnavailable::Warn {
        return None;
    }
    let mut fault = Diagnostic::error(format!(
        "environment `{}` pushes to `{host}/{path}` and would do without a scan's verdict",
        environment.name
    ))
    .at(&option.place, "only where the registry is an `oci:` folder")
    .hint("write `on-unavailable = \"warn\"` in that environment's own file");
    if let Some(place) = &environment.registry_place {
        fault = fault.related(place, "the registry");
    }
    Some(fault)
}
