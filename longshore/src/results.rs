//! What a run leaves: `dist/artifacts.json` and the closing table, from the outputs of its jobs and the
//! records that stand.

use std::collections::BTreeMap;

use semver::Version;

use crate::artifacts::{Artifact, Artifacts, BinaryArtifact, PlatformArtifact, PlatformVerdicts, SCHEMA};
use crate::event::Summary;
use crate::ledger::ReleaseRecord;
use crate::pipeline::{Order, Prepared};
use crate::plan::{JobId, Stage};
use crate::platform::Platform;
use crate::release::decide::{Goal, reasons};
use crate::release::{Release, ServiceRelease};
use crate::report::measure;
use crate::report::plan::PlannedService;
use crate::report::table::{self, Side};
use crate::session::Session;
use crate::stage::image::jobs::{index_job, platform_job};
use crate::stage::image::short;
use crate::stage::{Output, Outputs};
use crate::verdict;
use crate::version::Outcome;

/// The services of a run, with what is known of each when it ends.
///
/// # Errors
/// A verdict that can't be read.
pub fn artifacts(session: &Session, prepared: &Prepared, outputs: &Outputs) -> anyhow::Result<Artifacts> {
    let release = &prepared.decided.release;
    let mut services = BTreeMap::new();
    for (name, service) in release.subjects() {
        services.insert(name.clone(), artifact(session, release, name, service, outputs)?);
    }
    for record in &prepared.finish {
        services.insert(record.service.clone(), of_record(record));
    }
    Ok(Artifacts {
        schema: SCHEMA,
        commit: release.commit.clone(),
        environment: release.environment.clone(),
        services,
    })
}

fn artifact(
    session: &Session,
    release: &Release,
    name: &str,
    service: &ServiceRelease,
    outputs: &Outputs,
) -> anyhow::Result<Artifact> {
    let verdicts = session.workspace.verdicts();
    let mut platforms = BTreeMap::new();
    for platform in &service.settings.platforms {
        if let Some(Output::Manifest(manifest)) = outputs.get(&platform_job(name, platform)) {
            let said = PlatformVerdicts {
                scan: verdict::read(&verdicts, &manifest.digest)?.map(|record| record.verdict),
                verify: verdict::read(&verdicts, &manifest.digest)?.map(|record| record.verdict),
            };
            let artifact = PlatformArtifact { digest: manifest.digest, size: manifest.size, verdicts: said };
            platforms.insert(platform.clone(), artifact);
        }
    }
    let digest = match outputs.get(&index_job(name)) {
        Some(Output::Index { digest, .. }) => Some(digest),
        _ => None,
    };
    let tags = match outputs.get(&JobId::new(Stage::Tag, &[])) {
        Some(Output::Recorded { versions, .. }) => versions
            .into_iter()
            .find(|recorded| recorded.service == name && recorded.version == service.version)
            .map_or_else(Vec::new, |recorded| recorded.tags),
        _ => Vec::new(),
    };
    Ok(Artifact {
        version: service.version.clone(),
        reference: digest.as_ref().map(|digest| format!("{}@{digest}", release.repository(name))),
        digest,
        tags,
        platforms,
        binaries: binaries(session, name, outputs),
        changed: true,
        reasons: service.reasons.clone(),
    })
}

fn binaries(session: &Session, name: &str, outputs: &Outputs) -> BTreeMap<Platform, BinaryArtifact> {
    let mut found = BTreeMap::new();
    for platform in &session.settings[name].platforms {
        let path = session.workspace.binary(name, platform);
        for binary in outputs.binaries_of(name).into_iter().filter(|binary| binary.path == path) {
            let path = path.strip_prefix(&session.workspace.dist).unwrap_or(&path).to_owned();
            found.insert(
                platform.clone(),
                BinaryArtifact { path, digest: binary.digest.clone(), size: binary.size },
            );
        }
    }
    found
}

fn of_record(record: &ReleaseRecord) -> Artifact {
    let platforms = record.platforms.iter().map(|(platform, image)| {
        let verdicts = PlatformVerdicts { scan: Some(image.scan), verify: Some(image.verify) };
        (platform.clone(), PlatformArtifact { digest: image.digest.clone(), size: image.size, verdicts })
    });
    let tags = std::iter::once(record.version.to_string()).chain(record.tags.iter().cloned());
    Artifact {
        version: record.version.clone(),
        reference: Some(record.reference()),
        digest: Some(record.digest.clone()),
        tags: tags.collect(),
        platforms: platforms.collect(),
        binaries: BTreeMap::new(),
        changed: false,
        reasons: Vec::new(),
    }
}

/// What a run says at its end: a table of its services, or that there was nothing to do.
pub fn closing(
    prepared: &Prepared,
    artifacts: &Artifacts,
    outputs: &Outputs,
    summary: &Summary,
    order: &Order,
) -> String {
    let release = &prepared.decided.release;
    let ended_well = summary.exit == 0;
    if release.subjects().next().is_none() {
        let changed =
            matches!(outputs.get(&JobId::new(Stage::Tag, &[])), Some(Output::Recorded { changed: true, .. }));
        let versions: Vec<String> = artifacts
            .services
            .iter()
            .map(|(name, artifact)| format!("{name} {}", artifact.version))
            .collect();
        let versions = if versions.is_empty() { String::new() } else { format!(": {}", versions.join(", ")) };
        return match order.ask.target {
            _ if !ended_well => String::new(),
            Goal::Release if changed => format!("finished what an earlier run recorded{versions}\n"),
            Goal::Release => format!("nothing to release{versions}\n"),
            Goal::Stage(stage) => {
                format!("nothing is affected: no service to {stage}; `--all` takes every one\n")
            }
        };
    }
    if !ended_well {
        return String::new();
    }
    let head = [
        ("service", Side::Left),
        ("version", Side::Left),
        ("digest", Side::Left),
        ("size", Side::Left),
        ("time", Side::Right),
    ];
    format!("\n{}", table::render(&head, &rows(prepared, artifacts, summary)))
}

fn rows(prepared: &Prepared, artifacts: &Artifacts, summary: &Summary) -> Vec<Vec<String>> {
    let taken = milliseconds(prepared, summary);
    let rows = artifacts.services.iter().filter(|(_, artifact)| artifact.changed).map(|(name, artifact)| {
        let size = |platform: &Platform, bytes| format!("{platform} {}", measure::bytes(bytes));
        let mut sizes: Vec<String> =
            artifact.platforms.iter().map(|(platform, image)| size(platform, image.size)).collect();
        if sizes.is_empty() {
            sizes.extend(artifact.binaries.iter().map(|(platform, binary)| size(platform, binary.size)));
        }
        vec![
            name.clone(),
            artifact.version.to_string(),
            artifact.digest.as_ref().map_or_else(String::new, short),
            sizes.join(", "),
            taken.get(name).map_or_else(String::new, |taken| measure::duration(*taken)),
        ]
    });
    rows.collect()
}

/// What each service's own jobs took.
fn milliseconds(prepared: &Prepared, summary: &Summary) -> BTreeMap<String, u64> {
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for (job, ended) in prepared.plan.jobs.iter().zip(&summary.jobs) {
        if let Some(service) = &job.service {
            *taken.entry(service.clone()).or_default() += ended.milliseconds;
        }
    }
    taken
}

/// What a plan says of every service.
pub fn planned(prepared: &Prepared) -> BTreeMap<String, PlannedService> {
    let (release, facts) = (&prepared.decided.release, &prepared.facts);
    let planned = prepared.decided.decisions.iter().map(|(name, decision)| {
        let version: Option<Version> = match &decision.outcome {
            // One that is not asked for keeps what it has.
            Outcome::Unchanged | Outcome::Release(_) => None,
            outcome => outcome.version().cloned(),
        };
        let subject = release.subjects().find(|(subject, _)| *subject == name);
        let service = PlannedService {
            version: subject
                .map(|(_, service)| service.version.clone())
                .or(version)
                .or(decision.previous.clone()),
            previous: decision.previous.clone(),
            changed: subject.is_some() && matches!(decision.outcome, Outcome::Release(_)),
            reasons: reasons(decision, &facts.services[name], facts.since.is_some()),
        };
        (name.clone(), service)
    });
    planned.collect()
}
