//! Adopt: what another run left in its `dist/` becomes this run's, after a look at every byte: binaries
//! for `image`, images and their verdicts for the stages after it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::artifacts::{Artifact, Artifacts};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files;
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, media_type};
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::{Role, ServiceRelease};
use crate::stage::draft::{Draft, Sketch, Source};
use crate::stage::image::jobs::platform_job;
use crate::stage::{Action, Binary, Finish, ManifestOutput, Output, Scope};

/// One platform of one service, from the `dist/` of another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptSpec {
    pub service: String,
    pub platform: Platform,
    /// That run's `dist/` (absolute).
    pub dist: PathBuf,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Binary,
    Image,
}

/// The jobs that take images, or else binaries, from where `draft.source` says, and what they leave. A
/// service that only supports the others need not be there: it is built.
///
/// # Errors
/// [`Exit::Usage`] where the folder lacks a service or platform, or is of another commit or version.
pub fn jobs(draft: &mut Draft<'_>) -> anyhow::Result<BTreeMap<(String, Platform), (JobId, What)>> {
    let mut adopted = BTreeMap::new();
    let dists = match &draft.source {
        Source::Fresh => return Ok(adopted),
        Source::From(dist) => vec![dist.clone()],
        Source::Join(dists) => dists.clone(),
    };
    let mut runs = Vec::new();
    for dist in dists {
        let artifacts = Artifacts::read(&dist)?;
        if artifacts.commit != draft.release.commit {
            let message = format!(
                "`{}` is of commit {}, and HEAD is {}",
                dist.display(),
                artifacts.commit.short(),
                draft.release.commit.short()
            );
            return Err(Fault::new(Exit::Usage, message)
                .hint("take the results of a run over this commit")
                .into());
        }
        runs.push((dist, artifacts));
    }
    let release = draft.release;
    let mut missing = Vec::new();
    for (name, service) in &release.services {
        for platform in service.image_platforms() {
            match find(&runs, name, service, platform)? {
                Some((dist, what)) => {
                    let id = add(draft, name, platform, dist, what);
                    adopted.insert((name.clone(), platform.clone()), (id, what));
                }
                None if service.role == Role::Support => {}
                None => missing.push(format!("{name} for {platform}")),
            }
        }
    }
    if !missing.is_empty() {
        return Err(Fault::new(Exit::Usage, format!("nothing was left for {}", missing.join(", ")))
            .hint("name every folder that a `build` or `image` run of this commit wrote, or the platforms to take with `--platform`")
            .into());
    }
    Ok(adopted)
}

fn find(
    runs: &[(PathBuf, Artifacts)],
    name: &str,
    service: &ServiceRelease,
    platform: &Platform,
) -> anyhow::Result<Option<(PathBuf, What)>> {
    let mut binary = None;
    for (dist, artifacts) in runs {
        let Some(artifact) = artifacts.services.get(name) else { continue };
        if artifact.version != service.version {
            let message = format!(
                "`{}` holds {name} {}, and this run is of {}",
                dist.display(),
                artifact.version,
                service.version
            );
            return Err(Fault::new(Exit::Usage, message)
                .hint("give both runs the same `--snapshot`, `--pre` and `--bump`")
                .into());
        }
        if artifact.platforms.contains_key(platform) {
            return Ok(Some((dist.clone(), What::Image)));
        }
        if artifact.binaries.contains_key(platform) {
            binary.get_or_insert((dist.clone(), What::Binary));
        }
    }
    Ok(binary)
}

fn add(draft: &mut Draft<'_>, name: &str, platform: &Platform, dist: PathBuf, what: What) -> JobId {
    let (id, stage) = match what {
        What::Binary => (JobId::new(Stage::Build, &[name, &platform.to_string()]), Stage::Build),
        What::Image => (platform_job(name, platform), Stage::Image),
    };
    let why = format!("from {}", dist.display());
    let spec = AdoptSpec { service: name.to_owned(), platform: platform.clone(), dist, what };
    draft.add(Sketch {
        id: id.clone(),
        stage,
        service: Some(name.to_owned()),
        platform: Some(platform.clone()),
        title: name.to_owned(),
        needs: Vec::new(),
        cost: 1,
        state: State::Cached,
        why,
        action: Action::Adopt(spec),
    });
    id
}

/// Takes it over.
///
/// # Errors
/// [`Exit::Machine`] where bytes are missing, or are not what their digest says.
pub fn run(spec: &AdoptSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let artifacts = Artifacts::read(&spec.dist)?;
    let Some(artifact) = artifacts.services.get(&spec.service) else {
        return Err(Fault::new(Exit::Machine, format!("`{}` changed", spec.dist.display())).into());
    };
    match spec.what {
        What::Binary => binary(spec, artifact, scope),
        What::Image => image(spec, artifact, scope),
    }
}

fn binary(spec: &AdoptSpec, artifact: &Artifact, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let Some(found) = artifact.binaries.get(&spec.platform) else {
        return Err(Fault::new(Exit::Machine, format!("`{}` changed", spec.dist.display())).into());
    };
    let source = spec.dist.join(&found.path);
    let path = scope.workspace.binary(&spec.service, &spec.platform);
    let shown = format!("could not take `{}`", source.display());
    let bytes = std::fs::read(&source).fault(Exit::Machine, &shown)?;
    if crate::oci::types::Digest::of(&bytes) != found.digest {
        let message = format!("`{}` is not the file that artifacts.json names", source.display());
        return Err(Fault::new(Exit::Machine, message).hint("transfer that run's `dist` again").into());
    }
    if source != path {
        files::write(&path, &bytes)?;
    }
    let binary = Binary { path, digest: found.digest.clone(), size: found.size };
    let note = crate::report::measure::bytes(binary.size);
    let binaries = [(spec.service.clone(), binary)].into();
    Ok(Finish { output: Output::Binaries { binaries, failures: Default::default() }, cached: true, note })
}

fn image(spec: &AdoptSpec, artifact: &Artifact, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let Some(found) = artifact.platforms.get(&spec.platform) else {
        return Err(Fault::new(Exit::Machine, format!("`{}` changed", spec.dist.display())).into());
    };
    let from = Layout::open(&spec.dist.join("images").join(&spec.service))?;
    let layout = Layout::create(&scope.workspace.layout(&spec.service))?;
    let bytes = from.read(&found.digest)?;
    let descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
    layout.take(&from, &descriptor, scope.cancel)?;
    let (manifest, config) = layout.read_image(&found.digest)?;
    if !config.platform().is(&spec.platform) {
        let message = format!("`{}` of `{}` is not for {}", found.digest, spec.dist.display(), spec.platform);
        return Err(Fault::new(Exit::Machine, message).into());
    }
    let folder = spec.dist.join("verdicts");
    crate::verdict::adopt(&folder, &scope.workspace.verdicts(), &found.digest)?;
    let output = ManifestOutput {
        layout: layout.root().to_owned(),
        platform: spec.platform.clone(),
        digest: found.digest.clone(),
        config: manifest.config.digest.clone(),
        size: manifest.layers_size(),
    };
    let note = crate::report::measure::bytes(output.size);
    Ok(Finish { output: Output::Manifest(output), cached: true, note })
}
