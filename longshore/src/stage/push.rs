//! Push: images go to the release registry by digest, each with its verdicts, and are read back. No tag
//! is touched, so nobody sees them yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{Draft, Sketch, Source};
use super::image::jobs::{index_job, platform_job};
use super::{Action, Finish, Output, Scope};
use crate::closure::Closure;
use crate::config::Registry;
use crate::facts::git::Git;
use crate::fault::{Exit, Fault};
use crate::oci::destination::{Copying, Destination, declared_schemes};
use crate::oci::layout::Layout;
use crate::oci::registry::{Client, Options};
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::verdict::{self, Policy};
use crate::version::CommitId;

/// The behaviour of this stage.
pub const VERSION: u32 = 1;

/// Blobs at a time.
const PARALLEL: usize = 4;

/// How to reach a release registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub registry: Registry,
    /// Bytes a request of an upload; absent: a whole blob in one.
    pub chunk: Option<u64>,
    pub retries: u32,
}

/// One service's image on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSpec {
    pub service: String,
    pub target: Target,
    /// The job that leaves the index.
    pub index: JobId,
    /// The jobs that leave the manifests.
    pub manifests: BTreeMap<Platform, JobId>,
    pub policy: Policy,
    /// The services of the same registry, whose repositories may hold some of the layers.
    pub siblings: Arc<[String]>,
    /// HEAD must still be this: the images say that they are of it.
    pub commit: CommitId,
}

/// What must be true before anything leaves, beside that every gate has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadySpec {
    /// HEAD must still be this.
    pub commit: CommitId,
    /// Of every service of the release: what must still be as committed. None for a snapshot, which may be of
    /// anything.
    pub closures: Vec<Closure>,
}

impl Target {
    /// One service's place.
    ///
    /// # Errors
    /// As [`Destination::of_service`].
    pub fn destination(&self, service: &str, scope: &Scope<'_>) -> anyhow::Result<Destination> {
        let mut options =
            Options { chunk: self.chunk, schemes: declared_schemes([&self.registry]), ..Options::default() };
        options.policy.retries = self.retries;
        let client = Client::new(scope.environment, options, scope.cancel);
        Destination::of_service(&self.registry, &scope.workspace.root, service, &client)
    }
}

/// The job that waits for every gate of every service.
fn ready_job() -> JobId {
    JobId::new(Stage::Push, &[])
}

/// One job that waits for every gate of every service (invariant 5), and, where gates are left out, for every
/// image: of a release that can't be whole nothing leaves. Behind it one job a subject.
pub fn jobs(draft: &mut Draft<'_>) {
    let release = draft.release;
    let subjects: Vec<_> = release.subjects().filter(|(name, _)| draft.has(&index_job(name))).collect();
    if subjects.is_empty() {
        return;
    }
    ready(draft);
    let siblings: Arc<[String]> = release.subjects().map(|(name, _)| name.clone()).collect();
    for (name, service) in subjects {
        let index = index_job(name);
        let manifests = service
            .image_platforms()
            .map(|platform| (platform.clone(), platform_job(name, platform)))
            .filter(|(_, job)| draft.has(job))
            .collect();
        let spec = PushSpec {
            service: name.clone(),
            target: release.target(),
            index: index.clone(),
            manifests,
            policy: release.policy(),
            siblings: Arc::clone(&siblings),
            commit: release.commit.clone(),
        };
        draft.add(Sketch {
            id: JobId::new(Stage::Push, &[name]),
            stage: Stage::Push,
            service: Some(name.clone()),
            platform: None,
            title: format!("{name} to {}", release.repository(name)),
            needs: vec![ready_job(), index],
            cost: 5,
            state: State::Depends,
            why: "on every image and gate of every service".to_owned(),
            action: Action::Push(spec),
        });
    }
}

fn ready(draft: &mut Draft<'_>) {
    let release = draft.release;
    let committed = draft.source == Source::Fresh && !release.snapshot;
    let closures =
        release.subjects().filter(|_| committed).map(|(_, service)| service.inputs.closure.clone());
    let spec = ReadySpec { commit: release.commit.clone(), closures: closures.collect() };
    draft.add(Sketch {
        id: ready_job(),
        stage: Stage::Push,
        service: None,
        platform: None,
        title: "begins when every gate has passed".to_owned(),
        needs: [draft.gates(), draft.of(Stage::Build), draft.of(Stage::Image)].concat(),
        cost: 0,
        state: State::Depends,
        why: "on every image and gate of every service".to_owned(),
        action: Action::Ready(spec),
    });
}

/// Looks whether HEAD and the sources are what they were when the run began.
///
/// # Errors
/// [`Exit::Machine`] where they are not.
pub fn run_ready(spec: &ReadySpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let git = Git::again(scope.workspace, scope.cancel);
    git.recheck(&spec.commit)?;
    if !spec.closures.is_empty() {
        git.refuse_edits(|path| spec.closures.iter().any(|closure| closure.touches(path)))?;
    }
    Ok(Finish { output: Output::Nothing, cached: false, note: "every gate has passed".to_owned() })
}

/// Sends what the registry lacks.
///
/// # Errors
/// [`Exit::Gate`] for a digest without its verdicts; [`Exit::Machine`] where HEAD moved; the registry's own
/// otherwise.
pub fn run(spec: &PushSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    Git::again(scope.workspace, scope.cancel).recheck(&spec.commit)?;
    let mut digests = BTreeMap::new();
    for (platform, job) in &spec.manifests {
        digests.insert(platform.clone(), scope.outputs.manifest(job)?.digest);
    }
    verdict::gate(&scope.workspace.verdicts(), &spec.service, &digests, &spec.policy)?;
    let destination = spec.target.destination(&spec.service, scope)?;
    let index = super::index(scope, &spec.index)?;
    let from = Layout::open(&scope.workspace.layout(&spec.service))?;
    let others = spec.siblings.iter().filter(|name| **name != spec.service);
    let siblings: Vec<String> = match &spec.target.registry {
        Registry::Layouts(_) => Vec::new(),
        Registry::Remote { path, .. } if path.is_empty() => others.cloned().collect(),
        Registry::Remote { path, .. } => others.map(|name| format!("{path}/{name}")).collect(),
    };
    let sources: Vec<&str> = siblings.iter().map(String::as_str).collect();
    let progress = |done, total| scope.progress.bytes(done, Some(total));
    let copying = Copying {
        parallel: PARALLEL,
        sources: &sources,
        whereabouts: &scope.outputs.whereabouts,
        progress: &progress,
        cancel: scope.cancel,
    };
    let copied = destination.copy_image(&from, &index, copying)?;
    let note = match copied.sent {
        0 => "it was there".to_owned(),
        sent => format!("{} in {sent} blobs", crate::report::measure::bytes(copied.bytes)),
    };
    Ok(Finish { output: Output::Nothing, cached: copied.sent == 0, note })
}

/// Sends a recorded image again, from where the image stage left it.
///
/// # Errors
/// [`Exit::Outside`] where it is not there either.
pub fn resend(
    service: &str,
    digest: &crate::oci::types::Digest,
    destination: &Destination,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    let lost = || {
        let message = format!("the registry has lost `{}`", destination.reference(digest));
        Fault::new(Exit::Outside, message)
            .hint("run `release` where that commit is checked out: the same bytes are made and pushed again")
    };
    let Ok(from) = Layout::open(&scope.workspace.layout(service)) else { return Err(lost().into()) };
    let Ok(bytes) = from.read(digest) else { return Err(lost().into()) };
    let target = crate::oci::types::Descriptor::of(crate::oci::types::media_type::INDEX, &bytes);
    let progress = |done, total| scope.progress.bytes(done, Some(total));
    let copying = Copying {
        parallel: PARALLEL,
        sources: &[],
        whereabouts: &scope.outputs.whereabouts,
        progress: &progress,
        cancel: scope.cancel,
    };
    destination.copy_image(&from, &target, copying)?;
    Ok(())
}
