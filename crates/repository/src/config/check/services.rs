//! The services: their packages, what they need, their tags, their build-args.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::config::check::{Declared, circle, declared_secret};
use crate::config::environment::{compose, defaults};
use crate::config::graph::{self, Graph};
use crate::config::paths::{Fact, Facts};
use crate::config::read::{Given, part};
use crate::config::{Base, Config, Image, Located, Service, template, values};
use crate::diagnostic::{Diagnostic, Place, did_you_mean, quoted};
use crate::platform::Platform;
use crate::resolve::DEFAULT_TAG;

pub(crate) fn check(config: &Config, declared: &Declared, facts: &Facts) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    if config.services.is_empty() && declared.services {
        let place = Place { source: std::sync::Arc::clone(&config.source), span: 0..0 };
        faults.push(
            Diagnostic::error("no service is declared")
                .at(&place, "")
                .hint("write `[services.NAME]` with its `package`, the directory of its `main.go`"),
        );
    }
    faults.extend(platforms(config.project.platforms.as_deref()));
    faults.extend(repositories(config));
    faults.extend(tags(config));
    for service in config.services.values() {
        faults.extend(paths(service, declared, facts));
        faults.extend(health(service));
        faults.extend(ends(service));
        faults.extend(platforms(service.platforms.as_deref()));
        faults.extend(needs(config, service, declared));
        faults.extend(undeclared_secrets(config, service));
        faults.extend(
            service.build_args.iter().filter_map(|(name, build_arg)| declared_secret(name, build_arg)),
        );
        faults.extend(compose(service, &defaults(service)).1);
    }
    faults.extend(needs_cycles(config));
    let images = config.services.values().map(|service| &service.image).chain([&config.image]);
    faults.extend(images.flat_map(windows_on_nothing));
    faults
}

/// A service's secrets are some that an environment has.
fn undeclared_secrets(config: &Config, service: &Service) -> Vec<Diagnostic> {
    let known: BTreeSet<&str> = config
        .environments
        .values()
        .flat_map(|environment| environment.secrets.keys().map(String::as_str))
        .collect();
    let unknown = service.secrets.iter().flatten().filter(|name| !known.contains(name.value.as_str()));
    let fault = |name: &Located<String>| {
        let mut fault = Diagnostic::error(format!("no environment has a secret {}", quoted(&name.value)))
            .at(&name.place, format!("for service `{}`", service.name.value));
        fault.hint = Some(
            did_you_mean(&name.value, known.iter().copied())
                .unwrap_or_else(|| "name it under `[secrets]` in an environment's file".to_owned()),
        );
        fault
    };
    unknown.map(fault).collect()
}

/// Windows' programs need its libraries.
fn windows_on_nothing(image: &Image) -> Vec<Diagnostic> {
    let scratch =
        |(name, base): &(&String, &Located<Base>)| name.starts_with("windows") && base.value == Base::Scratch;
    let fault = |(_, base): (&String, &Located<Base>)| {
        Diagnostic::error("Windows has no `scratch`").at(&base.place, "").hint(
            "name a nanoserver or servercore image by its digest; without one Windows gets a binary alone",
        )
    };
    image.bases.iter().filter(scratch).map(fault).collect()
}

/// An image's repository is `REGISTRY/SERVICE`, in lower case.
fn repositories(config: &Config) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, &Service> = BTreeMap::new();
    let mut faults = Vec::new();
    for service in config.services.values() {
        match first.get(&service.name.value.to_lowercase()) {
            Some(other) => faults.push(
                Diagnostic::error(format!(
                    "services {} and {} have one image repository",
                    quoted(&other.name.value),
                    quoted(&service.name.value)
                ))
                .at(&service.name.place, "this one")
                .related(&other.name.place, "and this one")
                .hint("rename one of them: a repository's name has no capitals"),
            ),
            None => {
                first.insert(service.name.value.to_lowercase(), service);
            }
        }
    }
    faults
}

/// A service with a form of its own must not make the tags of another.
fn tags(config: &Config) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, (&Service, bool)> = BTreeMap::new();
    let mut faults = Vec::new();
    for service in config.services.values() {
        let own = service.tag.as_ref();
        let form = own.or(config.project.tag.as_ref()).map_or(DEFAULT_TAG, |form| form.value.as_str());
        let names = [("service", service.name.value.as_str()), ("version", "\u{0}")];
        let Ok(tag) = template::expand(form, &names) else { continue };
        match first.get(&tag) {
            // The project's form without a service's name: one version for all.
            Some((_, false)) if own.is_none() => {}
            Some((other, _)) => {
                let place = own.or(other.tag.as_ref()).map_or(&service.name.place, |form| &form.place);
                faults.push(
                    Diagnostic::error(format!(
                        "services `{}` and `{}` have the same Git tags",
                        other.name.value, service.name.value
                    ))
                    .at(place, "")
                    .hint("put `{service}` into the form"),
                );
            }
            None => {
                first.insert(tag, (service, own.is_some()));
            }
        }
    }
    faults
}

fn paths(service: &Service, declared: &Declared, facts: &Facts) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    match &service.package {
        Given::Value(package) => {
            let name = format!("package of service `{}`", service.name.value);
            faults.extend(path(&name, package, facts, Some(true)));
        }
        Given::Absent if service.dockerfile.is_none() && declared.services => faults.push(
            Diagnostic::error(format!(
                "service `{}` has neither `package` nor `dockerfile`",
                service.name.value
            ))
            .at(&service.name.place, "`package` is required here")
            .hint("write `package`, the directory of its `main.go`, or `dockerfile`"),
        ),
        Given::Absent | Given::Wrong => {}
    }
    for (destination, source) in &service.files {
        faults.extend(path(&format!("source of file {}", quoted(destination)), source, facts, None));
    }
    faults
}

/// `folder`: whether it must be one; absent: a file will do as well.
pub(super) fn path(
    what: &str,
    located: &Located<PathBuf>,
    facts: &Facts,
    folder: Option<bool>,
) -> Option<Diagnostic> {
    let text = located.value.to_string_lossy();
    if let Err(complaint) = values::inside(&located.value) {
        let mut fault = Diagnostic::error(format!("{what}: {}", complaint.message))
            .at(&part(&located.place, &text, complaint.part), "");
        fault.hint = complaint.hint;
        return Some(fault);
    }
    let fault = |message: String| Diagnostic::error(format!("{what}: {message}")).at(&located.place, "");
    match facts.paths.get(&located.value)? {
        Fact::Missing => Some(fault(format!("{} is not there", quoted(&text)))),
        Fact::Outside(target) => Some(
            fault(format!("{} leads out of the repository", quoted(&text)))
                .hint(format!("a symlink leads to {}", quoted(&target.display().to_string()))),
        ),
        Fact::Folder if folder == Some(false) => Some(fault(format!("{} is a folder", quoted(&text)))),
        Fact::File if folder == Some(true) => {
            let parent =
                located.value.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
            Some(
                fault(format!("{} is a file", quoted(&text)))
                    .hint(format!("write the directory: {}", quoted(&parent))),
            )
        }
        Fact::Other => {
            Some(fault(format!("{} is neither a file nor a folder that can be read", quoted(&text))))
        }
        Fact::File | Fact::Folder => None,
    }
}

fn health(service: &Service) -> Option<Diagnostic> {
    let health = service.health.as_ref()?;
    if service.port.is_some() {
        return None;
    }
    Some(
        Diagnostic::error(format!("service `{}` has `health` and no `port`", service.name.value))
            .at(&health.place, "HTTP paths on a port")
            .hint("write `port`, or leave `health` out: a service without a port is looked at as a process"),
    )
}

fn ends(service: &Service) -> Option<Diagnostic> {
    let ends = service.ends.as_ref().filter(|ends| ends.value)?;
    let port = service.port.as_ref()?;
    Some(
        Diagnostic::error(format!("service `{}` has a `port`, and `ends` by itself", service.name.value))
            .at(&ends.place, "a command")
            .related(&port.place, "a server")
            .hint("leave one of them out"),
    )
}

fn platforms(platforms: Option<&[Located<Platform>]>) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<&Platform, &Place> = BTreeMap::new();
    let mut faults = Vec::new();
    for platform in platforms.into_iter().flatten() {
        match seen.get(&platform.value) {
            Some(first) => faults.push(
                Diagnostic::error(format!("platform `{}` twice", platform.value))
                    .at(&platform.place, "again here")
                    .related(first, "first here")
                    .hint("keep one of the two"),
            ),
            None => {
                seen.insert(&platform.value, &platform.place);
            }
        }
    }
    faults
}

fn needs(config: &Config, service: &Service, declared: &Declared) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for need in &service.needs {
        if !seen.insert(&need.value) {
            faults.push(
                Diagnostic::warning(format!("`{}` is needed twice", need.value))
                    .at(&need.place, "again here"),
            );
        }
        if config.services.contains_key(&need.value) || !declared.services {
            continue;
        }
        let mut fault = Diagnostic::error(format!(
            "service `{}` needs {}, which is not declared",
            service.name.value,
            quoted(&need.value)
        ))
        .at(&need.place, "");
        let others = config.services.keys().filter(|name| **name != service.name.value).map(String::as_str);
        fault.hint = did_you_mean(&need.value, others);
        faults.push(fault);
    }
    faults
}

fn needs_cycles(config: &Config) -> Vec<Diagnostic> {
    let needs = |service: &'_ Service| -> Vec<String> {
        service.needs.iter().map(|need| need.value.clone()).collect()
    };
    let owned: BTreeMap<&str, Vec<String>> =
        config.services.iter().map(|(name, service)| (name.as_str(), needs(service))).collect();
    let graph: Graph<'_> =
        owned.iter().map(|(name, needs)| (*name, needs.iter().map(String::as_str).collect())).collect();
    let fault = |cycle: Vec<&str>| {
        let next = cycle.iter().cycle().skip(1);
        let places: Vec<&Place> = cycle
            .iter()
            .zip(next)
            .filter_map(|(name, next)| {
                let service = config.services.get(*name)?;
                service.needs.iter().find(|need| need.value == *next).map(|need| &need.place)
            })
            .collect();
        circle("services that need each other", &cycle, &places)
    };
    graph::order(&graph).1.into_iter().map(fault).collect()
}
