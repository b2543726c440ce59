//! One environment as it holds: its parents merged in, its build-args composed. Pure.

use std::collections::BTreeMap;

use crate::digest::Hasher;

use crate::config::deploy::Deploy;
use crate::config::graph::{self, Graph};
use crate::config::read::{Field as _, part};
use crate::config::template::{self, Piece};
use crate::config::{
    Config, Environment, EnvironmentCache, EnvironmentService, Located, Registry, SecretSource, Service,
    Stages,
};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, did_you_mean, quoted};
use crate::fault::{Exit, Fault};
use crate::resolve::default_registry;

/// Bytes of a composed value at most: systems take no more in one variable (Linux: MAX_ARG_STRLEN).
const VALUE_LIMIT: usize = 128 * 1024 - 1;

/// An environment and what it inherits, a child's word over its parent's, and over `pipeline.toml`'s.
#[derive(Clone, Debug)]
pub struct EffectiveEnvironment {
    pub name: String,
    /// Itself, its parent, and so on.
    pub chain: Vec<String>,
    /// The environment's, else the project's, else `oci:dist/oci`.
    pub registry: Registry,
    /// Where that is said.
    pub registry_place: Option<Place>,
    /// The environment's options over those in `pipeline.toml`, key by key.
    pub stages: Stages,
    pub cache: EnvironmentCache,
    /// The environment's over those in `pipeline.toml`, key by key.
    pub deploy: Deploy,
    pub build_args: BTreeMap<String, Located<String>>,
    pub env: BTreeMap<String, Located<String>>,
    pub secrets: BTreeMap<String, Located<SecretSource>>,
    /// A service's own word is over the environment's, even a parent's over a child's.
    pub services: BTreeMap<String, EnvironmentService>,
}

/// Merges the environment `name` with its parents.
///
/// # Errors
/// [`Exit::Usage`] where there is none of this name; [`Diagnostics`] where its parents don't end.
pub fn environment(config: &Config, name: &str) -> anyhow::Result<EffectiveEnvironment> {
    if !config.environments.contains_key(name) {
        let mut fault = Fault::new(Exit::Usage, format!("there is no environment {}", quoted(name)));
        fault.hint = did_you_mean(name, config.environments.keys().map(String::as_str));
        return Err(fault.into());
    }
    match chain(config, name) {
        Some(chain) => Ok(effective(config, &chain)),
        None => Err(Diagnostics(crate::config::check::inheritance(config)).into()),
    }
}

/// The environment and its parents; `None` where a parent is unknown or they go in a circle.
pub(crate) fn chain<'a>(config: &'a Config, name: &str) -> Option<Vec<&'a Environment>> {
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        if chain.len() >= config.environments.len() {
            return None;
        }
        let environment = config.environments.get(&name)?;
        next = environment.inherits.as_ref().map(|parent| parent.value.clone());
        chain.push(environment);
    }
    Some(chain)
}

fn effective(config: &Config, chain: &[&Environment]) -> EffectiveEnvironment {
    let registry = chain
        .iter()
        .find_map(|environment| environment.registry.as_ref())
        .or(config.project.registry.as_ref());
    let mut merged = EffectiveEnvironment {
        name: chain.first().map_or_else(String::new, |environment| environment.name.clone()),
        chain: chain.iter().map(|environment| environment.name.clone()).collect(),
        registry: registry.map_or_else(default_registry, |located| located.value.clone()),
        registry_place: registry.map(|located| located.place.clone()),
        stages: Stages::default(),
        cache: EnvironmentCache::default(),
        deploy: Deploy::default(),
        build_args: BTreeMap::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        services: BTreeMap::new(),
    };
    for environment in chain {
        merged.stages = merged.stages.over(&environment.stages);
        merged.cache = merged.cache.over(&environment.cache);
        merged.deploy = merged.deploy.over(&environment.deploy);
        merged.build_args = merged.build_args.over(&environment.build_args);
        merged.env = merged.env.over(&environment.env);
        merged.secrets = merged.secrets.over(&environment.secrets);
        for (name, base) in &environment.services {
            let service = match merged.services.remove(name) {
                Some(service) => service.over(base),
                None => base.clone(),
            };
            merged.services.insert(name.clone(), service);
        }
    }
    merged.stages = merged.stages.over(&config.stages);
    merged.deploy = merged.deploy.over(&config.deploy);
    merged
}

impl EffectiveEnvironment {
    /// The `Env` of a service's variant: every declared build-arg that has a value, composed. What is
    /// required and not set is absent: ask [`EffectiveEnvironment::missing_build_args`] first.
    pub fn variant_build_args(&self, service: &Service) -> BTreeMap<String, String> {
        compose(service, &self.declared(service)).0
    }

    /// Which build of a service's Dockerfile is this environment's: `ENV_<8 hex of the ARGs' hash>`, or
    /// `None` where the defaults hold, or there is no Dockerfile.
    pub fn arguments(&self, service: &Service) -> Option<String> {
        service.dockerfile.as_ref()?;
        let values = self.variant_build_args(service);
        let differ = values != service.neutral_build_args();
        differ.then(|| format!("{}_{}", self.name, variant_hash(&values)))
    }

    /// The runtime variables of a service: its own over the environment's.
    pub fn runtime_env(&self, service: &str) -> BTreeMap<String, String> {
        let own = self.services.get(service).map(|service| service.env.clone()).unwrap_or_default();
        own.over(&self.env).into_iter().map(|(name, value)| (name, value.value)).collect()
    }

    /// The faults of using this environment: each required build-arg that it leaves unset.
    pub fn missing_build_args(&self, config: &Config) -> Vec<Diagnostic> {
        let missing = |service: &Service| {
            let values = self.declared(service);
            let unset = service.build_args.iter().filter(|(name, _)| !values.contains_key(name.as_str()));
            let faults: Vec<Diagnostic> =
                unset.map(|(name, build_arg)| self.unset(service, name, &build_arg.place)).collect();
            faults
        };
        config.services.values().flat_map(missing).collect()
    }

    fn unset(&self, service: &Service, name: &str, place: &Place) -> Diagnostic {
        Diagnostic::error(format!(
            "environment `{}` does not set build-arg `{name}` of service `{}`",
            self.name, service.name.value
        ))
        .at(place, "required: it has no default")
        .hint(format!("set `{name}` in `environments/{}.toml` under `[build-args]`", self.name))
    }

    /// The declared build-args that have a value here: the service's own, the environment's, the default.
    pub(crate) fn declared<'a>(&'a self, service: &'a Service) -> Values<'a> {
        let own = self.services.get(&service.name.value);
        let value = |name: &String| {
            own.and_then(|own| own.build_args.get(name)).or_else(|| self.build_args.get(name))
        };
        service
            .build_args
            .iter()
            .filter_map(|(name, build_arg)| {
                Some((name.as_str(), value(name).or(build_arg.default.as_ref())?))
            })
            .collect()
    }
}

impl Service {
    /// The `Env` of the neutral image: the build-args' defaults, composed. Those without a default, and
    /// those that are composed of one, are absent.
    pub fn neutral_build_args(&self) -> BTreeMap<String, String> {
        compose(self, &defaults(self)).0
    }
}

pub(crate) type Values<'a> = BTreeMap<&'a str, &'a Located<String>>;

pub(crate) fn defaults(service: &Service) -> Values<'_> {
    service
        .build_args
        .iter()
        .filter_map(|(name, build_arg)| Some((name.as_str(), build_arg.default.as_ref()?)))
        .collect()
}

/// The values with each `{NAME}` replaced, and what is wrong with them.
pub(crate) fn compose(service: &Service, values: &Values<'_>) -> (BTreeMap<String, String>, Vec<Diagnostic>) {
    let mut faults = Vec::new();
    let mut templates: BTreeMap<&str, Vec<Piece<'_>>> = BTreeMap::new();
    for (name, located) in values {
        match pieces(service, located) {
            Ok(pieces) => {
                templates.insert(name, pieces);
            }
            Err(fault) => faults.push(*fault),
        }
    }
    let names = |pieces: &[Piece<'_>]| -> Vec<&str> {
        let held = pieces.iter().filter_map(|piece| match piece {
            Piece::Name(held, _) => service.build_args.get_key_value(*held).map(|(name, _)| name.as_str()),
            Piece::Text(_) => None,
        });
        held.collect()
    };
    let graph: Graph<'_> = templates.iter().map(|(name, pieces)| (*name, names(pieces))).collect();
    let (order, cycles) = graph::order(&graph);
    for cycle in cycles {
        let place = cycle.first().and_then(|name| values.get(name)).map(|located| &located.place);
        let mut fault =
            Diagnostic::error(format!("build-args that hold each other: {}", graph::shown(&cycle)));
        if let Some(place) = place {
            fault = fault.at(place, format!("for service `{}`", service.name.value));
        }
        faults.push(fault.hint("write one of them out"));
    }
    let mut composed: BTreeMap<String, String> = BTreeMap::new();
    for name in order {
        let mut text = Some(String::new());
        for piece in templates.get(name).into_iter().flatten() {
            let piece = match piece {
                Piece::Text(part) => Some(*part),
                // Absent: required and not set, or wrong, which has been said.
                Piece::Name(held, _) => composed.get(*held).map(String::as_str),
            };
            match (&mut text, piece) {
                (Some(text), Some(piece)) => text.push_str(piece),
                _ => text = None,
            }
            if text.as_ref().is_some_and(|text| text.len() > VALUE_LIMIT) {
                text = None;
                let fault =
                    Diagnostic::error(format!("build-arg `{name}` becomes longer than {VALUE_LIMIT} bytes"));
                faults.extend(values.get(name).map(|located| fault.at(&located.place, "")));
            }
        }
        if let Some(text) = text {
            composed.insert(name.to_owned(), text);
        }
    }
    (composed, faults)
}

fn pieces<'a>(service: &Service, located: &'a Located<String>) -> Result<Vec<Piece<'a>>, Box<Diagnostic>> {
    let complaint = match template::parse(&located.value) {
        Err(complaint) => complaint,
        Ok(pieces) => {
            let known: Vec<&str> = service.build_args.keys().map(String::as_str).collect();
            let unknown = pieces.iter().find_map(|piece| match piece {
                Piece::Name(name, part) if !service.build_args.contains_key(*name) => {
                    let mut complaint = template::unknown(name, part.clone(), &known);
                    complaint.message =
                        format!("service `{}` declares no build-arg {}", service.name.value, quoted(name));
                    Some(complaint)
                }
                _ => None,
            });
            match unknown {
                None => return Ok(pieces),
                Some(complaint) => complaint,
            }
        }
    };
    let place = part(&located.place, &located.value, complaint.part);
    let mut fault = Diagnostic::error(complaint.message).at(&place, "");
    fault.hint = complaint.hint;
    Err(Box::new(fault))
}

/// What tells a variant from another: 8 hex digits of the values' hash.
pub fn variant_hash(values: &BTreeMap<String, String>) -> String {
    let mut hash = Hasher::new();
    for (name, value) in values {
        // With their lengths, so that no two sets of values are the same bytes.
        hash.update(format!("{}:{name}={}:", name.len(), value.len()));
        hash.update(value);
    }
    hash.finish().hex()[..8].to_owned()
}
