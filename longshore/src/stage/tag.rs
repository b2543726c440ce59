//! Tag: a release becomes public, in this order and no other (invariant 5): the ledger's one
//! fast-forward, which is the lock; the version tags of the images; the Git tags; the moving tags.
//! Every step looks first, so that a release that was stopped in the middle, here or elsewhere, is
//! finished from its record.

use std::collections::BTreeMap;

use semver::Version;

use super::draft::{Draft, Sketch};
use super::image::jobs::{index_job, platform_job};
use super::push::Target;
use super::{Action, Finish, Output, RecordedVersion, Scope, push};
use crate::closure::Closure;
use crate::config::MovingTag;
use crate::facts::git::Git;
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::ledger::{self, Ledger, PlatformRecord, ReleaseRecord};
use crate::oci::destination::Destination;
use crate::oci::reference::Tag;
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::verdict;
use crate::version::CommitId;

/// The behaviour of this stage.
pub const VERSION: u32 = 1;

/// A release to record, and older ones to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSpec {
    pub scope: ledger::Scope,
    /// `refs/longshore`
    pub prefix: String,
    pub target: Target,
    /// HEAD must still be this.
    pub commit: CommitId,
    pub commit_time: u64,
    pub environment: String,
    pub skips: Vec<Stage>,
    pub new: Vec<Recording>,
    /// Records whose every step is looked at, and done where it is missing.
    pub finish: Vec<ReleaseRecord>,
    /// By service.
    pub moving: BTreeMap<String, Vec<MovingTag>>,
}

/// What is to be recorded of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub service: String,
    pub version: Version,
    pub repository: String,
    pub git_tag: String,
    pub notes: String,
    pub closure: Closure,
    /// As [`ReleaseRecord::arguments`].
    pub arguments: Option<String>,
    pub index: JobId,
    pub manifests: BTreeMap<Platform, JobId>,
}

/// The one job that ends a release: after every push.
pub fn jobs(draft: &mut Draft<'_>, scope: ledger::Scope, prefix: &str, finish: Vec<ReleaseRecord>) {
    let release = draft.release;
    let mut new = Vec::new();
    for (name, service) in release.subjects() {
        let manifests = service
            .image_platforms()
            .map(|platform| (platform.clone(), platform_job(name, platform)))
            .filter(|(_, job)| draft.has(job))
            .collect();
        new.push(Recording {
            service: name.clone(),
            version: service.version.clone(),
            repository: release.repository(name),
            git_tag: service.form.render(name, &service.version),
            notes: service.changelog.clone(),
            closure: service.inputs.closure.clone(),
            arguments: service.arguments.clone(),
            index: index_job(name),
            manifests,
        });
    }
    let moving = release.moving.clone();
    let title = match (new.len(), finish.len()) {
        (0, count) => format!("look at {count} recorded"),
        (count, _) => format!("record {count}"),
    };
    let needs = draft.of(Stage::Push);
    let spec = TagSpec {
        scope,
        prefix: prefix.to_owned(),
        target: release.target(),
        commit: release.commit.clone(),
        commit_time: release.commit_time,
        environment: release.environment.clone(),
        skips: release.skipped.iter().copied().collect(),
        new,
        finish,
        moving,
    };
    draft.add(Sketch {
        id: JobId::new(Stage::Tag, &[]),
        stage: Stage::Tag,
        service: None,
        platform: None,
        title,
        needs,
        cost: 3,
        state: State::Depends,
        why: "on every push".to_owned(),
        action: Action::Tag(Box::new(spec)),
    });
}

/// Records and tags.
///
/// # Errors
/// [`Exit::Conflict`] for a version or tag that is taken; [`Exit::Machine`] where HEAD moved;
/// [`Exit::Outside`] where the registry or the Git remote does not answer.
pub fn run(spec: &TagSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let git = Git::open(&scope.workspace.root, scope.cancel)?;
    let ledger = Ledger::new(&git, &spec.prefix, spec.scope.clone());
    let mut records = spec.finish.clone();
    if !spec.new.is_empty() {
        git.recheck(&spec.commit)?;
        scope.progress.status("recording in the ledger");
        let wanted = wanted(spec, &git, scope)?;
        let standing = ledger.record(&wanted)?;
        agree(&wanted, &standing)?;
        records.extend(standing);
    }
    let mut mended = 0;
    for record in &records {
        scope.progress.status(&format!("{} {}", record.service, record.version));
        let destination = spec.target.destination(&record.service, scope)?;
        mended += usize::from(tag_image(record, &destination, scope)?);
    }
    scope.progress.status("Git tags");
    let tags = ledger.tag(&records)?;
    let moved = move_tags(spec, &ledger, &records, scope)?;
    let done = mended + tags.len() + moved;
    let note = if done == 0 { "all in place".to_owned() } else { format!("{} recorded", spec.new.len()) };
    let versions = records
        .into_iter()
        .map(|record| RecordedVersion {
            tags: std::iter::once(record.image_tag()).chain(record.tags).collect(),
            service: record.service,
            version: record.version,
        })
        .collect();
    let output = Output::Recorded { versions, changed: done > 0 };
    Ok(Finish { output, cached: done == 0 && spec.new.is_empty(), note })
}

/// The records of this run's images.
fn wanted(spec: &TagSpec, git: &Git, scope: &Scope<'_>) -> anyhow::Result<Vec<ReleaseRecord>> {
    let released_by = git.identity()?.to_string();
    let released_at = clock::rfc3339(clock::now());
    let verdicts = scope.workspace.verdicts();
    let mut records = Vec::new();
    for recording in &spec.new {
        let mut platforms = BTreeMap::new();
        for (platform, job) in &recording.manifests {
            let manifest = scope.outputs.manifest(job)?;
            let scan = verdict::read::<verdict::Scan>(&verdicts, &manifest.digest)?;
            let verify = verdict::read::<verdict::Verify>(&verdicts, &manifest.digest)?;
            let record = PlatformRecord {
                digest: manifest.digest,
                config: manifest.config,
                size: manifest.size,
                database: scan.as_ref().and_then(|record| record.database.clone()),
                findings: scan.as_ref().and_then(|record| record.findings.clone()),
                scan: scan.map_or(verdict::Scan::None, |record| record.verdict),
                verify: verify.map_or(verdict::Verify::None, |record| record.verdict),
            };
            platforms.insert(platform.clone(), record);
        }
        records.push(ReleaseRecord {
            schema: ledger::SCHEMA,
            service: recording.service.clone(),
            version: recording.version.clone(),
            commit: spec.commit.clone(),
            commit_time: i64::try_from(spec.commit_time).unwrap_or(0),
            released_at: released_at.clone(),
            released_by: released_by.clone(),
            environment: spec.environment.clone(),
            repository: recording.repository.clone(),
            digest: super::index(scope, &recording.index)?.digest,
            platforms,
            skips: spec.skips.clone(),
            closure: recording.closure.clone(),
            // Of several builds of one commit none is the commit's image.
            tags: recording.arguments.is_none().then(|| format!("sha-{}", spec.commit)).into_iter().collect(),
            git_tag: recording.git_tag.clone(),
            notes: recording.notes.clone(),
            arguments: recording.arguments.clone(),
        });
    }
    Ok(records)
}

/// Another machine may have recorded the same commit first: then its images must be these.
fn agree(wanted: &[ReleaseRecord], standing: &[ReleaseRecord]) -> anyhow::Result<()> {
    for record in wanted {
        let other = standing
            .iter()
            .find(|other| {
                (&other.service, &other.version, &other.arguments)
                    == (&record.service, &record.version, &record.arguments)
            })
            .filter(|other| other.digest != record.digest);
        if let Some(other) = other {
            let message = format!(
                "{} {} is recorded with digest `{}`, and this machine made `{}` of the same commit",
                record.service, record.version, other.digest, record.digest
            );
            return Err(Fault::new(Exit::Conflict, message)
                .hint("the recorded one stands; see what differs: Go's version, an ignored file in a package's folder, the base")
                .into());
        }
    }
    Ok(())
}

/// The version's tag and the commit's, read back. Says whether anything was missing.
fn tag_image(record: &ReleaseRecord, destination: &Destination, scope: &Scope<'_>) -> anyhow::Result<bool> {
    let version = tag(&record.image_tag())?;
    let missing = |tag: &Tag| -> anyhow::Result<bool> {
        let found = destination.resolve(tag)?.map(|found| found.digest);
        Ok(found.as_ref() != Some(&record.digest))
    };
    let mut changed = false;
    if missing(&version)? {
        if destination.manifest(&record.digest)?.is_none() {
            push::resend(&record.service, &record.digest, destination, scope)?;
        }
        destination.set_tag_once(&version, &record.digest)?;
        changed = true;
    }
    for name in &record.tags {
        // A commit can have two versions, a pre-release and its graduation: the newer one holds it.
        let tag = tag(name)?;
        if missing(&tag)? {
            destination.move_tag(&tag, &record.digest)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn tag(name: &str) -> anyhow::Result<Tag> {
    name.parse().map_err(|error| Fault::new(Exit::Usage, format!("`{name}` is no image tag: {error}")).into())
}

/// `X.Y`, `X` and `latest`, each to the highest stable version of its range. Gives how many moved.
fn move_tags(
    spec: &TagSpec,
    ledger: &Ledger<'_>,
    records: &[ReleaseRecord],
    scope: &Scope<'_>,
) -> anyhow::Result<usize> {
    if spec.moving.values().all(Vec::is_empty) {
        return Ok(0);
    }
    let book = ledger.book()?;
    let mut moved = 0;
    for record in records.iter().filter(|record| record.arguments.is_none()) {
        let known = book.known(&record.service);
        let versions: Vec<&Version> = known.iter().map(|known| &known.version).collect();
        for kind in spec.moving.get(&record.service).into_iter().flatten() {
            let Some(name) = moving_tag(*kind, &record.version, &versions) else { continue };
            let (tag, destination) = (tag(&name)?, spec.target.destination(&record.service, scope)?);
            let found = destination.resolve(&tag)?.map(|found| found.digest);
            if found.as_ref() != Some(&record.digest) {
                destination.move_tag(&tag, &record.digest)?;
                moved += 1;
            }
        }
    }
    Ok(moved)
}

/// The moving tag that `version` holds, if it is the highest stable one of the tag's range.
fn moving_tag(kind: MovingTag, version: &Version, known: &[&Version]) -> Option<String> {
    let in_range = |other: &Version| match kind {
        MovingTag::Minor => (other.major, other.minor) == (version.major, version.minor),
        MovingTag::Major => other.major == version.major,
        MovingTag::Latest => true,
    };
    let stable = version.pre.is_empty();
    let higher = known.iter().any(|other| other.pre.is_empty() && in_range(other) && *other > version);
    if !stable || higher || (kind == MovingTag::Major && version.major == 0) {
        return None;
    }
    Some(match kind {
        MovingTag::Minor => format!("{}.{}", version.major, version.minor),
        MovingTag::Major => version.major.to_string(),
        MovingTag::Latest => "latest".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_tags_only_follow_the_highest_stable_version_of_their_range() {
        let known: Vec<Version> =
            ["0.9.0", "1.2.0", "1.3.0", "2.0.0-rc.1"].iter().map(|text| text.parse().unwrap()).collect();
        let known: Vec<&Version> = known.iter().collect();
        let held = |kind, version: &str| moving_tag(kind, &version.parse().unwrap(), &known);
        assert_eq!(held(MovingTag::Minor, "1.2.0").as_deref(), Some("1.2"));
        assert_eq!(held(MovingTag::Major, "1.2.0"), None, "1.3.0 is higher");
        assert_eq!(held(MovingTag::Major, "1.3.0").as_deref(), Some("1"));
        assert_eq!(held(MovingTag::Latest, "1.3.0").as_deref(), Some("latest"), "2.0.0-rc.1 is not stable");
        assert_eq!(held(MovingTag::Major, "0.9.0"), None, "0 says nothing");
        assert_eq!(held(MovingTag::Latest, "2.0.0-rc.1"), None);
    }
}
