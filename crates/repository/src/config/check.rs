//! What the files say together: names that must exist, circles, limits, secrets. Pure over the
//! configuration and the facts about its paths.

mod deploy;
mod dockerfile;
mod environments;
mod services;

use crate::config::graph::{self, Graph};
use crate::config::paths::Facts;
use crate::config::{
    BuildArg, Config, FORMAT, Located, PlainOptions, Registry, STAGE_VERSIONS, Stages, secrets,
};
use crate::diagnostic::{Diagnostic, Place, did_you_mean, quoted};
use crate::stage::Stage;

/// Whether what a file declares is known: a name that is not there may stand in a file that could
/// not be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) services: bool,
    pub(crate) environments: bool,
}

pub(crate) fn check_config(
    config: &Config,
    version: &Located<u32>,
    declared: &Declared,
    facts: &Facts,
) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    faults.extend(format(version));
    faults.extend(stages(&config.stages));
    faults.extend(services::check(config, declared, facts));
    faults.extend(dockerfile::check(config, facts));
    faults.extend(texts(config));
    faults.extend(untrusted(config));
    if declared.environments {
        faults.extend(default_environment(config));
        faults.extend(unknown_parents(config));
    }
    faults.extend(inheritance_cycles(config));
    faults.extend(environments::check(config, declared));
    faults.extend(deploy::check(config, declared));
    faults
}

fn format(version: &Located<u32>) -> Option<Diagnostic> {
    // Absent: it has been said.
    if version.value == FORMAT || version.place.span.is_empty() {
        return None;
    }
    let fault = Diagnostic::error(format!(
        "this build does not read version {} of this file's format",
        version.value
    ));
    Some(if version.value > FORMAT {
        fault.at(&version.place, "newer than this build").hint("upgrade longshore")
    } else {
        fault.at(&version.place, "").hint(format!("write `version = {FORMAT}`"))
    })
}

fn stages(stages: &Stages) -> Vec<Diagnostic> {
    let options: [(Stage, &PlainOptions); 8] = [
        (Stage::Lint, &stages.lint.plain),
        (Stage::Test, &stages.test.plain),
        (Stage::Build, &stages.build),
        (Stage::Image, &stages.image),
        (Stage::Scan, &stages.scan.plain),
        (Stage::Verify, &stages.verify.plain),
        (Stage::Push, &stages.push.plain),
        (Stage::Tag, &stages.tag),
    ];
    let mut faults = Vec::new();
    for (stage, options) in options {
        let newest =
            STAGE_VERSIONS.iter().find(|(known, _)| *known == stage).map_or(1, |(_, version)| *version);
        let Some(version) = &options.version else { continue };
        if (1..=newest).contains(&version.value) {
            continue;
        }
        let fault =
            Diagnostic::error(format!("stage `{stage}` has no version {} in this build", version.value));
        faults.push(if version.value > newest {
            fault
                .at(&version.place, "newer than this build")
                .hint(format!("upgrade longshore, or write `version = {newest}`"))
        } else {
            fault.at(&version.place, "").hint("the first version is 1")
        });
    }
    faults
}

/// A shared cache of which nothing counts.
fn untrusted(config: &Config) -> Option<Diagnostic> {
    let remote = config.cache.remote.as_ref().map(|remote| &remote.place);
    let registry = config.cache.registry.as_ref();
    let place = remote.or(registry.map(|registry| &registry.place))?;
    let trusts = config.cache.trust.iter().flatten().next().is_some();
    if !trusts {
        let fault = Diagnostic::error("nobody's entries in the shared cache are trusted");
        return Some(
            fault
                .at(place, "`trust` is not set")
                .hint("make a key with `cache key FILE`, and name the public one: `trust = [\"ed25519:…\"]`"),
        );
    }
    match registry {
        Some(registry) if remote.is_some() => Some(
            Diagnostic::error("there are two shared caches")
                .at(&registry.place, "and `remote` is set")
                .hint("take out `remote` or `registry`"),
        ),
        Some(Located { value: Registry::Layouts(_), place }) => Some(
            Diagnostic::error("a folder is no shared cache")
                .at(place, "")
                .hint("write `HOST/PATH`, as `registry.example.com/team/cache`"),
        ),
        _ => None,
    }
}

fn default_environment(config: &Config) -> Option<Diagnostic> {
    let Some(name) = &config.project.environment else {
        if config.environments.contains_key("local") {
            return None;
        }
        return Some(
            Diagnostic::error("the default environment `local` is not there")
                .at(&config.project.name.place, "no `environment` is named in `[project]`")
                .hint("write `environments/local.toml`, which may be empty, or name another in `project.environment`"),
        );
    };
    if config.environments.contains_key(&name.value) {
        return None;
    }
    let mut fault = Diagnostic::error(format!("there is no environment {}", quoted(&name.value)))
        .at(&name.place, format!("no `environments/{}.toml`", name.value.escape_debug()));
    fault.hint = did_you_mean(&name.value, config.environments.keys().map(String::as_str));
    Some(fault)
}

/// Why the parents of some environment don't end in one that has none.
pub(crate) fn inheritance(config: &Config) -> Vec<Diagnostic> {
    let mut faults = unknown_parents(config);
    faults.extend(inheritance_cycles(config));
    faults
}

fn unknown_parents(config: &Config) -> Vec<Diagnostic> {
    let parents =
        config.environments.iter().filter_map(|(name, child)| Some((name, child.inherits.as_ref()?)));
    let unknown = parents.filter(|(_, parent)| !config.environments.contains_key(&parent.value));
    let fault = |(name, parent): (&String, &Located<String>)| {
        let shown = quoted(&parent.value);
        let mut fault =
            Diagnostic::error(format!("environment `{name}` inherits {shown}, which is not there"))
                .at(&parent.place, "");
        let others = config.environments.keys().filter(|other| *other != name).map(String::as_str);
        fault.hint = did_you_mean(&parent.value, others);
        fault
    };
    unknown.map(fault).collect()
}

fn inheritance_cycles(config: &Config) -> Vec<Diagnostic> {
    let parents = |name: &str| config.environments.get(name)?.inherits.as_ref();
    let graph: Graph<'_> = config
        .environments
        .keys()
        .map(|name| (name.as_str(), parents(name).iter().map(|parent| parent.value.as_str()).collect()))
        .collect();
    let fault = |cycle: Vec<&str>| {
        let places: Vec<&Place> = cycle.iter().filter_map(|name| Some(&parents(name)?.place)).collect();
        circle("environments that inherit each other", &cycle, &places)
    };
    graph::order(&graph).1.into_iter().map(fault).collect()
}

/// A circle, at the first of its places, with the others beside it.
fn circle(what: &str, cycle: &[&str], places: &[&Place]) -> Diagnostic {
    let mut fault = Diagnostic::error(format!("{what}: {}", graph::shown(cycle)));
    let mut places = places.iter().zip(cycle.iter().cycle().skip(1));
    if let Some((place, next)) = places.next() {
        fault = fault.at(place, format!("`{next}` from here"));
    }
    for (place, next) in places.take(4) {
        fault = fault.related(place, format!("`{next}` from here"));
    }
    fault.hint("take one of them out")
}

/// What goes into binaries and images, beside build-args: it must hold no token either.
fn texts(config: &Config) -> Vec<Diagnostic> {
    let services = config.services.values();
    let builds = std::iter::once(&config.build).chain(services.clone().map(|service| &service.build));
    let images = std::iter::once(&config.image).chain(services.clone().map(|service| &service.image));
    let labels = images.map(|image| &image.labels).chain(services.map(|service| &service.labels));
    let mut values: Vec<(&str, &Located<String>)> = Vec::new();
    for build in builds {
        values.extend(build.ldflags.iter().flatten().map(|value| ("a linker flag", value)));
        values.extend(build.flags.iter().flatten().map(|value| ("a build flag", value)));
        values.extend(build.env.values().map(|value| ("the build's environment", value)));
    }
    values.extend(labels.flat_map(|labels| labels.values()).map(|value| ("a label", value)));
    let fault = |(what, value): (&str, &Located<String>)| {
        let looks = secrets::looks_like(&value.value)?;
        let fault = Diagnostic::error(format!("{what} looks like {looks}"));
        Some(fault.at(&value.place, "not shown").hiding(&value.place).hint(SECRETS))
    };
    values.into_iter().filter_map(fault).collect()
}

const SECRETS: &str = "everyone who has the image could read it: name it under `[secrets]` in the environment's file, and give the value at run time";

/// A build-arg that is named or looks like a secret.
fn secret(name: &str, name_place: &Place, value: Option<&Located<String>>) -> Option<Diagnostic> {
    let named = secrets::is_named_secret(name);
    let looks = value.and_then(|value| secrets::looks_like(&value.value));
    let what = match (named, looks) {
        (false, None) => return None,
        (_, Some(looks)) => format!("the value of build-arg `{name}` looks like {looks}"),
        (true, None) => format!("build-arg `{name}` is named like a secret"),
    };
    let mut fault =
        Diagnostic::error(what).at(name_place, if looks.is_some() { "not shown" } else { "" }).hint(SECRETS);
    if let Some(value) = value {
        fault = fault.hiding(&value.place);
    }
    Some(fault)
}

fn declared_secret(name: &str, build_arg: &BuildArg) -> Option<Diagnostic> {
    secret(name, &build_arg.place, build_arg.default.as_ref())
}
