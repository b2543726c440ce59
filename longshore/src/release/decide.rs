//! Facts and what the user asks for → the release. Pure: what is known was gathered before.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::{Release, Role, ServiceRelease, Variant};
use crate::closure::RepoPath;
use crate::config::{self, Config, EffectiveEnvironment, variant_hash};
use crate::fault::{Exit, Fault};
use crate::gather::{Facts, ServiceFacts, remote_name};
use crate::oci::types::Digest;
use crate::plan::Stage;
use crate::platform::Platform;
use crate::resolve::{ServiceSettings, StageSettings};
use crate::version::changelog::changelog;
use crate::version::reason::Inputs;
use crate::version::{Bump, Decision, Mode, Outcome, Request, Service, VersionError, decide};

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub target: Goal,
    /// None: the affected ones.
    pub services: BTreeSet<String>,
    pub all: bool,
    pub snapshot: bool,
    pub pre: Option<String>,
    pub bump: Option<Bump>,
    pub skip: BTreeSet<Stage>,
    /// None: all.
    pub platforms: Vec<Platform>,
    /// Images come from other runs.
    pub adopts: bool,
    /// Make the environments' variants.
    pub variants: bool,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970.
    pub epoch: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// What gets a new version is taken through every stage.
    #[default]
    Release,
    /// What is affected is taken through this stage and those that it needs.
    Stage(Stage),
}

/// What is known before a decision.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub config: &'a Config,
    pub environment: &'a EffectiveEnvironment,
    /// More environments whose variants are made.
    pub others: &'a [EffectiveEnvironment],
    pub stages: &'a StageSettings,
    pub settings: &'a BTreeMap<String, ServiceSettings>,
    pub facts: &'a Facts,
    /// The pipeline's file, from the root.
    pub pipeline: &'a RepoPath,
    /// Recorded services whose image is nowhere to be found.
    pub lost: &'a BTreeSet<String>,
}

/// The release, and what was decided of every service.
#[derive(Debug)]
pub struct Decided {
    pub release: Release,
    pub decisions: BTreeMap<String, Decision>,
}

/// Decides.
///
/// # Errors
/// An unknown service or platform ([`Exit::Usage`]), or a version that can't be had
/// ([`VersionError`]).
pub fn release(ground: Ground<'_>, ask: &Ask) -> anyhow::Result<Decided> {
    check_names(ground, ask)?;
    let (mode, snapshot) = (mode(ask, ground.facts), snapshot(ground.facts));
    let decisions = versions(ground, ask, mode.clone(), None).map_err(Fault::from)?;
    let snapshots = if mode == snapshot {
        decisions.clone()
    } else {
        versions(ground, ask, snapshot, Some(&decisions)).map_err(Fault::from)?
    };
    let mut subjects: BTreeMap<String, Version> = BTreeMap::new();
    for (name, decision) in &decisions {
        if let Some(version) = subject(ground, ask, name, decision, &snapshots[name]) {
            subjects.insert(name.clone(), version);
        }
    }
    let mut services = BTreeMap::new();
    for (name, version) in &subjects {
        let decision = &decisions[name];
        services.insert(name.clone(), service(ground, ask, name, decision, version.clone(), Role::Subject)?);
    }
    if runs_verify(ground, ask) {
        for name in supports(ground.settings, &subjects) {
            let version = support_version(&ground.facts.services[&name], &snapshots[&name]);
            let support = service(ground, ask, &name, &decisions[&name], version, Role::Support)?;
            services.insert(name, support);
        }
    }
    let mut skipped = ground.stages.disabled.clone();
    skipped.extend(&ask.skip);
    let moving =
        ground.settings.iter().map(|(name, service)| (name.clone(), service.image.moving_tags.clone()));
    let facts = ground.facts;
    let release = Release {
        project: ground.config.project.name.value.clone(),
        commit: facts.head.commit.clone(),
        commit_time: u64::try_from(facts.head.time).unwrap_or(0),
        epoch: ask.epoch,
        source: facts.source.clone(),
        snapshot: ask.snapshot,
        environment: ground.environment.name.clone(),
        registry: ground.environment.registry.clone(),
        stages: ground.stages.clone(),
        skipped,
        services,
        moving: moving.collect(),
        golangci_lint: ground.config.tools.golangci_lint.as_ref().map(|pinned| pinned.value.clone()),
        trivy: ground.config.tools.trivy.as_ref().map(|trivy| trivy.value.clone()),
        remote: remote_name(ground.config).to_owned(),
    };
    Ok(Decided { release, decisions })
}

fn check_names(ground: Ground<'_>, ask: &Ask) -> anyhow::Result<()> {
    for name in &ask.services {
        if !ground.settings.contains_key(name) {
            let mut fault = Fault::new(Exit::Usage, format!("there is no service `{name}`"));
            fault.hint = crate::diagnostic::did_you_mean(name, ground.settings.keys().map(String::as_str));
            return Err(fault.into());
        }
    }
    for platform in &ask.platforms {
        if !ground.settings.values().any(|service| service.platforms.contains(platform)) {
            let message = format!("no service is built for `{platform}`");
            return Err(Fault::new(Exit::Usage, message)
                .hint("name it under `platforms` in pipeline.toml")
                .into());
        }
    }
    Ok(())
}

fn mode(ask: &Ask, facts: &Facts) -> Mode {
    match &ask.pre {
        _ if ask.snapshot || facts.cut_off => snapshot(facts),
        Some(label) => Mode::Pre(label.clone()),
        None => Mode::Plain,
    }
}

fn snapshot(facts: &Facts) -> Mode {
    let dirty =
        facts.services.iter().filter_map(|(name, service)| Some((name.clone(), service.dirty.clone()?)));
    Mode::Snapshot { dirty: dirty.collect::<BTreeMap<String, Digest>>() }
}

/// `known`: decisions in another mode, whose reasons are the same.
fn versions(
    ground: Ground<'_>,
    ask: &Ask,
    mode: Mode,
    known: Option<&BTreeMap<String, Decision>>,
) -> Result<BTreeMap<String, Decision>, VersionError> {
    let problem = ground.facts.services.values().find_map(|facts| facts.survey.problem.clone());
    if let (Some(problem), Mode::Plain | Mode::Pre(_)) = (problem, &mode) {
        return Err(problem);
    }
    let services: Vec<Service<'_>> = ground
        .facts
        .services
        .iter()
        .map(|(name, facts)| Service {
            name,
            form: &facts.form,
            known: &facts.survey.known,
            requested: facts.survey.requested.as_ref(),
            base: facts.base.as_ref(),
            inputs: Inputs {
                previous: facts.base_closure.as_ref(),
                current: &facts.inputs.closure,
                pipeline: ground.pipeline,
            },
            commits: &facts.commits,
            reasons: known.map(|known| known[name].reasons.as_slice()),
        })
        .collect();
    let request = Request {
        head: ground.facts.head.commit.clone(),
        mode,
        bump: ask.bump,
        named: ask.services.clone(),
        other: ground.stages.other_commits,
    };
    decide(&services, &request)
}

/// The version with which a service is taken through the stages, if it is.
fn subject(
    ground: Ground<'_>,
    ask: &Ask,
    name: &str,
    decision: &Decision,
    snapshot: &Decision,
) -> Option<Version> {
    let facts = &ground.facts.services[name];
    let named = ask.services.contains(name);
    let dirty = !ground.facts.dirty.is_clean();
    let asked = named || (ask.services.is_empty() && (ask.all || !facts.affected.is_empty()));
    let since = ground.facts.since.is_some();
    let released = || named || (ask.services.is_empty() && (!since || !facts.affected.is_empty()));
    match (&decision.outcome, ask.target) {
        (Outcome::Snapshot(version), _) => asked.then(|| version.clone()),
        (Outcome::Release(version), Goal::Release) => released().then(|| version.clone()),
        (Outcome::Recorded(version), Goal::Release) => {
            (released() && ground.lost.contains(name)).then(|| version.clone())
        }
        (Outcome::Unchanged, Goal::Release) => None,
        // A tree that is not a commit's has no version but a snapshot's.
        (_, Goal::Stage(_)) if dirty => asked.then(|| snapshot.outcome.version().cloned()).flatten(),
        (Outcome::Release(version), Goal::Stage(_)) => released().then(|| version.clone()),
        (Outcome::Recorded(version), Goal::Stage(_)) => asked.then(|| version.clone()),
        // Affected, and not released: nothing of it may take a version's name, or leave.
        (Outcome::Unchanged, Goal::Stage(Stage::Push | Stage::Tag)) => None,
        (Outcome::Unchanged, Goal::Stage(_)) => asked.then(|| snapshot.outcome.version().cloned()).flatten(),
    }
}

fn runs_verify(ground: Ground<'_>, ask: &Ask) -> bool {
    let skipped = ask.skip.contains(&Stage::Verify) || ground.stages.disabled.contains(&Stage::Verify);
    let wanted = match ask.target {
        Goal::Release => true,
        // What another run left was verified there, but for `verify` itself.
        Goal::Stage(stage) if ask.adopts => stage == Stage::Verify,
        Goal::Stage(stage) => crate::stage::plan::closure(stage).contains(&Stage::Verify),
    };
    wanted && !skipped
}

/// What the subjects need to run, directly or not, and are not themselves.
fn supports(
    settings: &BTreeMap<String, ServiceSettings>,
    subjects: &BTreeMap<String, Version>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&String> = subjects.keys().collect();
    while let Some(name) = waiting.pop() {
        for need in settings.get(name).into_iter().flat_map(|service| &service.needs) {
            if !subjects.contains_key(need) && found.insert(need.clone()) {
                waiting.push(need);
            }
        }
    }
    found
}

/// The version that runs elsewhere, so that its binary is likely in the cache.
fn support_version(facts: &ServiceFacts, snapshot: &Decision) -> Version {
    let newest = facts.newest.as_ref().map(|record| record.version.clone());
    let base = || facts.base.as_ref().map(|base| base.version.clone());
    newest.or_else(base).or_else(|| snapshot.outcome.version().cloned()).unwrap_or(Version::new(0, 0, 0))
}

fn service(
    ground: Ground<'_>,
    ask: &Ask,
    name: &str,
    decision: &Decision,
    version: Version,
    role: Role,
) -> anyhow::Result<ServiceRelease> {
    let facts = &ground.facts.services[name];
    let mut settings = ground.settings[name].clone();
    if role == Role::Support {
        // It only runs here.
        let host = Platform::host_images();
        settings.platforms.retain(|platform| Some(platform) == host.as_ref());
    } else if !ask.platforms.is_empty() {
        settings.platforms.retain(|platform| ask.platforms.contains(platform));
    }
    let declared = &ground.config.services[name];
    let values = ground.environment.variant_build_args(declared);
    let from_dockerfile = settings.dockerfile.is_some();
    // An `ARG` is gone when its image runs.
    let mut run_env = if from_dockerfile { BTreeMap::new() } else { values.clone() };
    run_env.extend(ground.environment.runtime_env(name));
    let variants = if ask.variants && role == Role::Subject {
        variants(ground, declared, &version)
    } else {
        BTreeMap::new()
    };
    let arguments = ground.environment.arguments(declared);
    let recorded = facts
        .builds
        .iter()
        .find(|record| record.arguments == arguments)
        .filter(|record| record.version == version && record.commit == ground.facts.head.commit)
        .map(|record| record.digest.clone());
    Ok(ServiceRelease {
        settings,
        inputs: facts.inputs.clone(),
        role,
        changelog: changelog(name, &version, decision.previous.as_ref(), &decision.reasons),
        version,
        previous: decision.previous.clone(),
        reasons: reasons(decision, facts, ground.facts.since.is_some()),
        form: facts.form.clone(),
        recorded,
        run_env,
        variants,
        build_args: values,
        arguments,
    })
}

/// What is made of a service's version for each environment whose values are not those that it is built with.
fn variants(ground: Ground<'_>, declared: &config::Service, version: &Version) -> BTreeMap<String, Variant> {
    let built_with = match declared.dockerfile {
        Some(_) => ground.environment.variant_build_args(declared),
        None => declared.neutral_build_args(),
    };
    let environments = std::iter::once(ground.environment).chain(ground.others);
    let variants = environments.map(|environment| (environment, environment.variant_build_args(declared)));
    let others = variants.filter(|(_, values)| *values != built_with);
    let named = others.map(|(environment, values)| {
        let tag = format!("{version}_{}_{}", environment.name, variant_hash(&values));
        (environment.name.clone(), Variant { values, tag })
    });
    named.collect()
}

/// Why a service is in a release, for people: the commits that asked, else what affects it. With `since`
/// always the latter: the user asked what differs from one commit.
pub fn reasons(decision: &Decision, facts: &ServiceFacts, since: bool) -> Vec<String> {
    if since {
        return facts.affected.clone();
    }
    let mut reasons: Vec<String> = decision.request.iter().map(|tag| format!("tag `{tag}`")).collect();
    reasons.extend(decision.reasons.iter().map(|reason| {
        let inputs: Vec<String> = reason.inputs.iter().take(3).map(ToString::to_string).collect();
        let more = reason.inputs.len().saturating_sub(3);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{} {} ({}{more})", reason.commit.short(), reason.subject, inputs.join(", "))
    }));
    if reasons.is_empty() {
        reasons.clone_from(&facts.affected);
    }
    reasons
}
