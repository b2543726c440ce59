//! What a run leaves: `dist/artifacts.json` and the closing table, from the outputs of its jobs and the
//! records that stand.

use std::collections::BTreeMap;

use semver::Version;

use crate::artifacts::{Artifact, Artifacts, BinaryArtifact, PlatformArtifact, PlatformVerdicts, SCHEMA};
use crate::ledger::ReleaseRecord;
use crate::oci::types::Digest;
use crate::pipeline::Prepared;
use crate::plan::{JobId, Stage};
use crate::platform::Platform;
use crate::release::decide::reasons;
use crate::release::{Release, ServiceRelease};
use crate::report::plan::PlannedService;
use crate::session::Session;
use crate::stage::image::jobs::{index_job, platform_job};
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

/// A row a service for the closing table: service, version, digest, then size by platform. `seconds`:
/// what the service's own jobs took.
pub fn table(
    artifacts: &Artifacts,
    seconds: &BTreeMap<String, f64>,
) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let rows = artifacts.services.iter().map(|(name, artifact)| {
        let sizes: Vec<String> = artifact
            .platforms
            .iter()
            .map(|(platform, image)| format!("{platform} {}", indicatif::HumanBytes(image.size)))
            .collect();
        let built: Vec<String> = artifact
            .binaries
            .iter()
            .map(|(platform, binary)| format!("{platform} {}", indicatif::HumanBytes(binary.size)))
            .collect();
        vec![
            name.clone(),
            artifact.version.to_string(),
            artifact.digest.as_ref().map_or_else(String::new, short),
            if sizes.is_empty() { built.join(", ") } else { sizes.join(", ") },
            seconds.get(name).map_or_else(String::new, |seconds| format!("{seconds:.1}s")),
        ]
    });
    (vec!["service", "version", "digest", "size", "time"], rows.collect())
}

fn short(digest: &Digest) -> String {
    crate::stage::image::short(digest)
}

/// What a plan says of every service.
pub fn planned(prepared: &Prepared) -> BTreeMap<String, PlannedService> {
    let (release, facts) = (&prepared.decided.release, &prepared.facts);
    let planned = prepared.decided.decisions.iter().map(|(name, decision)| {
        let version: Option<Version> = match &decision.outcome {
            Outcome::Unchanged => None,
            outcome => outcome.version().cloned(),
        };
        let subject = release.subjects().find(|(subject, _)| *subject == name);
        let service = PlannedService {
            version: subject
                .map(|(_, service)| service.version.clone())
                .or(version)
                .or(decision.previous.clone()),
            previous: decision.previous.clone(),
            changed: matches!(decision.outcome, Outcome::Release(_)),
            reasons: reasons(decision, &facts.services[name]),
        };
        (name.clone(), service)
    });
    planned.collect()
}
