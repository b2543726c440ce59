//! Images from Dockerfiles in the user's cache, under the key of their inputs: where nothing changed no engine
//! is started.

use serde::{Deserialize, Serialize};

use super::{DockerfileSpec, inputs};
use crate::cache::{Bucket, Cache};
use crate::fault::{Exit, Fault};
use crate::fingerprint::{self, Preimage};
use crate::host::files;
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, Digest, media_type};
use crate::plan::State;
use crate::stage::image::inputs::{file, read};
use crate::stage::{ManifestOutput, Scope};
use crate::workspace::Workspace;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    manifest: Digest,
    config: Digest,
    /// Compressed bytes of all layers.
    size: u64,
    /// All that the manifest names, and itself: digests with bytes.
    blobs: Vec<(Digest, u64)>,
}

/// Whether a build is known to be done, and why it is not.
pub fn state(spec: &DockerfileSpec, workspace: &Workspace, cache: &Cache) -> (State, String) {
    let inputs = match &spec.inputs {
        Ok(inputs) => inputs,
        Err(why) => return (State::Run, format!("always built: {why}")),
    };
    let layout = Layout::open(&workspace.layout(&spec.service)).ok();
    let here = |(digest, size): &(Digest, u64)| {
        layout.as_ref().is_some_and(|layout| layout.has_blob(digest, *size)) || cache.file(digest).is_file()
    };
    match cache.get::<Kept>(Bucket::Dockerfile, &inputs.key()) {
        Some(kept) if kept.blobs.iter().all(here) => (State::Cached, "nothing changed".to_owned()),
        found => (State::Run, why(inputs, found.is_some(), spec, workspace)),
    }
}

fn why(inputs: &Preimage, lost: bool, spec: &DockerfileSpec, workspace: &Workspace) -> String {
    if lost {
        return "no longer in the cache".to_owned();
    }
    match read(&file(workspace, &spec.service, &spec.platform)) {
        None => "not built here before".to_owned(),
        Some(before) => inputs.difference(&before).unwrap_or_else(|| "no longer in the cache".to_owned()),
    }
}

/// Brings an image of these inputs into the layout, where the cache has one.
///
/// # Errors
/// A disk that can't be written.
pub(super) fn take(
    spec: &DockerfileSpec,
    layout: &Layout,
    scope: &Scope<'_>,
) -> anyhow::Result<Option<ManifestOutput>> {
    let Ok(inputs) = &spec.inputs else { return Ok(None) };
    let cache = Cache::new(&scope.workspace.cache);
    let Some(kept) = cache.get::<Kept>(Bucket::Dockerfile, &inputs.key()) else { return Ok(None) };
    for (digest, size) in &kept.blobs {
        if !layout.has_blob(digest, *size) && !cache.take(digest, *size, &layout.blob_path(digest))? {
            let message =
                format!("the cached image of `{}` is gone or damaged: building it again", spec.service);
            scope.progress.warning(&message, None);
            return Ok(None);
        }
    }
    remember(spec, inputs, scope);
    Ok(Some(ManifestOutput {
        layout: layout.root().to_owned(),
        platform: spec.platform.clone(),
        digest: kept.manifest,
        config: kept.config,
        size: kept.size,
    }))
}

/// Keeps what was built. A cache that can't take it costs a warning.
///
/// # Errors
/// [`Exit::Machine`] where an input was edited meanwhile: nobody can say what is in the image.
pub(super) fn put(
    spec: &DockerfileSpec,
    made: &ManifestOutput,
    layout: &Layout,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    let Ok(inputs) = &spec.inputs else { return Ok(()) };
    let now = inputs::of(spec, scope.workspace, &mut fingerprint::hashes(scope.workspace));
    let changed = match &now {
        Ok(now) => now.difference(inputs),
        Err(why) => Some(why.clone()),
    };
    if let Some(changed) = changed {
        let message = format!("what the build of `{}` is sent was edited meanwhile: {changed}", spec.service);
        return Err(Fault::new(Exit::Machine, message).hint("run it again").into());
    }
    remember(spec, inputs, scope);
    let cache = Cache::new(&scope.workspace.cache);
    let stored = || -> anyhow::Result<()> {
        let target = Descriptor::of(media_type::MANIFEST, &layout.read(&made.digest)?);
        let mut blobs = Vec::new();
        for blob in layout.closure(&target)? {
            cache.put_file(&layout.blob_path(&blob.digest))?;
            blobs.push((blob.digest, blob.size));
        }
        let kept =
            Kept { manifest: made.digest.clone(), config: made.config.clone(), size: made.size, blobs };
        cache.put(Bucket::Dockerfile, &inputs.key(), &kept, &[])
    };
    if let Err(error) = stored() {
        scope.progress.warning(&format!("the cache does without it: {error:#}"), None);
    }
    Ok(())
}

/// For the next plan and `explain`. A failure costs only the explanation.
fn remember(spec: &DockerfileSpec, inputs: &Preimage, scope: &Scope<'_>) {
    let file = file(scope.workspace, &spec.service, &spec.platform);
    if let Err(error) = files::keep(&file, inputs.to_text().as_bytes()) {
        scope.progress.warning(&format!("{error:#}"), None);
    }
}
