//! The commands that run stages: facts → release → plan → execution → results.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::artifacts;
use crate::cache::Cache;
use crate::config::Registry;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fault::{Exit, Fault};
use crate::fingerprint::Hashes;
use crate::gather::{Facts, ServiceFacts};
use crate::host::environment::Environment;
use crate::host::files;
use crate::ledger::ReleaseRecord;
use crate::oci::destination::{Destination, declared_schemes};
use crate::oci::registry::{Client, Options};
use crate::plan::{Plan, Stage};
use crate::release::Release;
use crate::release::decide::{self, Ask, Decided, Goal, Ground};
use crate::session::Session;
use crate::stage::draft::{Draft, Source};
use crate::stage::image::dockerfile;
use crate::stage::image::output::Target;
use crate::stage::{Action, build, plan, tag};

/// Everything that is known before the first job starts.
#[derive(Debug)]
pub struct Prepared {
    pub facts: Facts,
    pub decided: Decided,
    pub plan: Plan<Action>,
    /// Records that the run looks at and finishes.
    pub finish: Vec<ReleaseRecord>,
}

/// What a command is to do.
#[derive(Clone, Debug)]
pub struct Order {
    pub ask: Ask,
    pub since: Option<String>,
    pub source: Source,
    pub purpose: Purpose,
    /// Where images are copied to besides; absolute.
    pub outputs: Vec<Target>,
    /// Whether its times are taken down.
    pub timings: bool,
}

/// What the plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Run,
    /// It is only shown: an uncommitted tree is no reason to refuse.
    Show,
}

/// Asks, decides and plans; runs nothing.
///
/// # Errors
/// A dirty tree where a commit is to be released, and all that can be found out before the start.
pub fn prepare(session: &mut Session, order: &Order, hashes: &mut Hashes) -> anyhow::Result<Prepared> {
    let ask = &Ask { epoch: epoch(&session.environment)?, ..order.ask.clone() };
    let missing: Vec<Diagnostic> = session
        .environments()
        .flat_map(|environment| environment.missing_build_args(&session.config))
        .collect();
    if (needs_values(ask) || builds_dockerfiles(session, ask)) && !missing.is_empty() {
        return Err(Diagnostics(missing).into());
    }
    let facts = session.facts(order.since.as_deref(), hashes)?;
    if publishes(ask) && order.purpose == Purpose::Run {
        facts.dirty.refuse()?;
        session.git.refuse_pointers()?;
    }
    if facts.cut_off && needs_versions(ask) {
        session.git.refuse_shallow()?;
    }
    let lost = if ask.target == Goal::Release { lost(session, &facts, ask)? } else { BTreeSet::new() };
    let pipeline = session.pipeline();
    let ground = Ground {
        config: &session.config,
        environment: &session.effective,
        others: &session.others,
        stages: &session.stages,
        settings: &session.settings,
        facts: &facts,
        pipeline: &pipeline,
        lost: &lost,
    };
    let decided = decide::release(ground, ask)?;
    let finish = finish(session, &facts, &decided.release, ask);
    let plan = plan_of(session, order, stages(order), &decided.release, &finish, hashes)?;
    Ok(Prepared { facts, decided, plan, finish })
}

/// The jobs of one service's stages up to its verdicts, as a release would run them now: with the version
/// that it would give, else with the last one.
///
/// # Errors
/// As [`prepare`].
pub fn explained(session: &mut Session, service: &str, hashes: &mut Hashes) -> anyhow::Result<Plan<Action>> {
    let ask = Ask {
        target: Goal::Stage(Stage::Verify),
        services: BTreeSet::from([service.to_owned()]),
        epoch: epoch(&session.environment)?,
        ..Ask::default()
    };
    let facts = session.facts(None, hashes)?;
    let pipeline = session.pipeline();
    let ground = Ground {
        config: &session.config,
        environment: &session.effective,
        others: &session.others,
        stages: &session.stages,
        settings: &session.settings,
        facts: &facts,
        pipeline: &pipeline,
        lost: &BTreeSet::new(),
    };
    let mut decided = decide::release(ground, &ask)?;
    let decision = &decided.decisions[service];
    if let Some(version) = decision.outcome.version().or(decision.previous.as_ref())
        && let Some(found) = decided.release.services.get_mut(service)
    {
        found.version = version.clone();
    }
    let order = Order {
        ask,
        since: None,
        source: Source::Fresh,
        purpose: Purpose::Show,
        outputs: Vec::new(),
        timings: false,
    };
    let stages = Stage::ALL.into_iter().filter(|stage| *stage < Stage::Push).collect();
    plan_of(session, &order, stages, &decided.release, &[], hashes)
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org, "SOURCE_DATE_EPOCH specification").
fn epoch(environment: &Environment) -> anyhow::Result<Option<u64>> {
    let given = environment.get("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty());
    let parsed = given.map(|value| {
        // The last second that a time of four digits can tell, 9999-12-31T23:59:59Z.
        value.parse().ok().filter(|seconds| *seconds <= 253_402_300_799).ok_or_else(|| {
            Fault::new(
                Exit::Usage,
                format!("SOURCE_DATE_EPOCH is `{value}`, and no number of seconds since 1970"),
            )
            .hint("unset it: images then have the commit's time")
        })
    });
    Ok(parsed.transpose()?)
}

/// Whether a run may make something public, so that it must be of a commit.
fn publishes(ask: &Ask) -> bool {
    !ask.snapshot && matches!(ask.target, Goal::Release | Goal::Stage(Stage::Push | Stage::Tag))
}

/// Whether images are run or made with an environment's values.
fn needs_values(ask: &Ask) -> bool {
    ask.variants || ask.target == Goal::Release
}

/// Whether a Dockerfile may be built, which needs a value for each of its `ARG`s.
fn builds_dockerfiles(session: &Session, ask: &Ask) -> bool {
    let stage = !matches!(ask.target, Goal::Stage(Stage::Lint | Stage::Test | Stage::Build));
    let asked = |name: &String| ask.services.is_empty() || ask.services.contains(name);
    stage && session.config.services.iter().any(|(name, service)| service.dockerfile.is_some() && asked(name))
}

/// Whether versions can't be guessed: what lint, test and build make leaves nothing behind.
fn needs_versions(ask: &Ask) -> bool {
    !ask.snapshot && !matches!(ask.target, Goal::Stage(Stage::Lint | Stage::Test | Stage::Build))
}

fn stages(order: &Order) -> BTreeSet<Stage> {
    let mut stages: BTreeSet<Stage> = match order.ask.target {
        Goal::Release => Stage::ALL.into(),
        Goal::Stage(stage) => plan::closure(stage),
    };
    if order.source != Source::Fresh {
        // What another run left was tested there, where the sources are.
        stages.retain(|stage| {
            !matches!(stage, Stage::Lint | Stage::Test | Stage::Scan | Stage::Verify)
                || order.ask.target == Goal::Stage(*stage)
        });
    }
    if order.ask.snapshot {
        stages.remove(&Stage::Tag);
    }
    stages
}

fn plan_of(
    session: &Session,
    order: &Order,
    stages: BTreeSet<Stage>,
    release: &Release,
    finish: &[ReleaseRecord],
    hashes: &mut Hashes,
) -> anyhow::Result<Plan<Action>> {
    let cache = Cache::new(&session.workspace.cache);
    let mut draft = Draft::new(
        release,
        &session.workspace,
        &cache,
        hashes,
        order.source.clone(),
        stages.clone(),
        &session.environment,
    );
    draft.offline = session.offline;
    draft.outputs.clone_from(&order.outputs);
    let records = stages.contains(&Stage::Tag) && release.runs(Stage::Tag);
    plan::plan(draft, |draft| {
        if records && (release.subjects().next().is_some() || !finish.is_empty()) {
            tag::jobs(draft, session.scope(), session.prefix(), finish.to_vec());
        }
    })
}

/// The newest record of each service that is asked for and gets no new version: every step of it is
/// looked at, and done where it is missing.
fn finish(session: &Session, facts: &Facts, release: &Release, ask: &Ask) -> Vec<ReleaseRecord> {
    if ask.snapshot || ask.target != Goal::Release {
        return Vec::new();
    }
    let wanted = |name: &str| ask.services.is_empty() || ask.services.contains(name);
    facts
        .services
        .iter()
        .filter(|(name, _)| wanted(name) && release.subjects().all(|(subject, _)| subject != *name))
        .filter_map(|(name, service)| build_of(session, name, service))
        .filter(|record| release.repository(&record.service) == record.repository)
        .collect()
}

/// The record of a service's newest version with this environment's `ARG`s.
fn build_of(session: &Session, name: &str, facts: &ServiceFacts) -> Option<ReleaseRecord> {
    let service = session.config.services.get(name)?;
    let arguments = session.effective.arguments(service);
    // Only a Dockerfile's images differ by their `ARG`s.
    let fits = |record: &&ReleaseRecord| service.dockerfile.is_none() || record.arguments == arguments;
    facts.builds.iter().find(fits).cloned()
}

/// Services whose record is of HEAD and whose image is neither in the registry nor here any more: the
/// only way to finish them is to make it again.
fn lost(session: &Session, facts: &Facts, ask: &Ask) -> anyhow::Result<BTreeSet<String>> {
    let mut lost = BTreeSet::new();
    if ask.snapshot || session.offline {
        return Ok(lost);
    }
    let options = Options { schemes: declared_schemes([&session.effective.registry]), ..Options::default() };
    let client = Client::new(&session.environment, options, &session.cancel);
    for (name, service) in &facts.services {
        if service.newest.as_ref().is_none_or(|record| record.commit != facts.head.commit) {
            continue;
        }
        // Recorded with the `ARG`s of another environment: this one's image is to be built.
        let Some(record) = build_of(session, name, service) else {
            lost.insert(name.clone());
            continue;
        };
        if let Registry::Layouts(folder) = &session.effective.registry
            && !session.workspace.root.join(folder).join(name).is_dir()
        {
            lost.insert(name.clone());
            continue;
        }
        let destination =
            Destination::of_service(&session.effective.registry, &session.workspace.root, name, &client)?;
        let kept = crate::oci::layout::Layout::open(&session.workspace.layout(name))
            .is_ok_and(|layout| layout.read(&record.digest).is_ok());
        if !kept && destination.manifest(&record.digest)?.is_none() {
            lost.insert(name.clone());
        }
    }
    Ok(lost)
}

/// The folders that `--from` and `--join` name, absolute.
///
/// # Errors
/// A folder that is not there ([`Exit::Usage`]).
pub fn source(from: Option<&PathBuf>, join: &[PathBuf]) -> anyhow::Result<Source> {
    let folder = |path: &PathBuf| -> anyhow::Result<PathBuf> {
        if !path.is_dir() {
            let message = format!("there is no folder `{}`", path.display());
            return Err(Fault::new(Exit::Usage, message)
                .hint("name the `dist` folder that another run wrote")
                .into());
        }
        Ok(std::path::absolute(path)?)
    };
    Ok(match (from, join) {
        (Some(from), _) => Source::From(folder(from)?),
        (None, []) => Source::Fresh,
        (None, join) => Source::Join(join.iter().map(folder).collect::<anyhow::Result<_>>()?),
    })
}

/// Makes the folders of the results, which Git must not see, and removes what a killed run left half made.
/// Under the work tree's lock: no other run builds there.
pub fn make_folders(session: &Session) -> anyhow::Result<()> {
    dockerfile::clean(&session.workspace, &session.environment, &session.cancel);
    for prefix in [build::FOLDER, dockerfile::FOLDER] {
        files::remove_folders(&session.workspace.state, prefix);
    }
    artifacts::hide(&session.workspace.dist)
}
