//! Bases: the image that a service's image stands on, found for a platform, checked before a byte
//! of it is used.

mod check;

use std::path::Path;

use anyhow::Context as _;

use super::daemon::Daemon;
use super::image;
use super::layout::Layout;
use super::reference::{Repository, Tag};
use super::registry::{Client, Remote};
use super::saved;
use super::types::{Descriptor, Digest, ImageConfig, ImagePlatform, Index, Manifest, media_type};
use crate::cancel::Cancel;
use crate::declared::{self, Compression, Unpinned};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::platform::Platform;

/// A base for one platform, its config and layers in a layout.
#[derive(Clone, Debug)]
pub struct Found {
    pub base: image::Base,
    /// Of the platform's manifest; absent for scratch and for an image of a daemon.
    pub digest: Option<Digest>,
    /// As others would name it: `HOST/PATH[:TAG]`.
    pub name: Option<String>,
    /// What the name stands for: an index's digest, or a manifest's.
    pub target: Option<Digest>,
    /// The repository that has its layers.
    pub repository: Option<Repository>,
}

/// What leads to bases.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Where relative paths of `oci:DIR` start.
    pub root: &'a Path,
    pub client: &'a Client,
    /// Leads to the docker daemon.
    pub environment: &'a Environment,
}

/// Where a base comes from.
enum Source {
    Layout(Layout),
    Remote(Remote),
}

/// Brings `wanted` for `platform` into the layout `into` (best one that is shared: what it holds is
/// neither fetched nor checked again). `compression` is for the layers of a daemon, which has tars.
///
/// # Errors
/// [`Exit::Usage`] where the base lacks the platform (naming those it has), or is ambiguous;
/// [`Exit::Machine`] where it is missing, its tag has moved since it was pinned, or its layers are
/// damaged, lead out of the root or unpack without bounds; those of [`Remote::fetch_blob`].
pub fn find(
    wanted: &declared::Base,
    places: Places<'_>,
    platform: &Platform,
    compression: Compression,
    into: &Layout,
) -> anyhow::Result<Found> {
    let (source, target, shown, name) = match wanted {
        declared::Base::Scratch => return Ok(Found::scratch()),
        declared::Base::Daemon { name, digest } => {
            let (archive, now) = saved_by_daemon(name, places)?;
            if now != *digest {
                return Err(moved(&format!("docker-daemon:{name}"), digest, &now));
            }
            let folder = aside(into)?;
            let layout = saved::unpack(archive.path(), folder.path(), compression, places.client.cancel())?;
            let shown = format!("docker-daemon:{name}");
            let target = in_layout(&layout, None, platform, &shown)?;
            let manifest = target.digest;
            let cancel = places.client.cancel();
            let base = take(&Source::Layout(layout), &manifest, platform, into, cancel, &shown)?;
            return Ok(Found { base, name: Some(name.clone()), ..Found::scratch() });
        }
        declared::Base::Layout { path, digest } => {
            let layout = Layout::open(&places.root.join(path))?;
            let shown = format!("oci:{}", path.display());
            let target = in_layout(&layout, digest.as_ref(), platform, &shown)?;
            (Source::Layout(layout), target, shown, None)
        }
        declared::Base::Remote { repository, tag, digest } => {
            let remote = places.client.repository(parsed_name(repository)?);
            let target = in_registry(&remote, tag.as_deref(), digest)?;
            let name = tag.as_ref().map_or(repository.clone(), |tag| format!("{repository}:{tag}"));
            (Source::Remote(remote), target, format!("{repository}@{digest}"), Some(name))
        }
    };
    let named = || format!("the base `{shown}` can't be used");
    let manifest = source.platform(&target, platform, &shown)?;
    let cancel = places.client.cancel();
    let base = take(&source, &manifest, platform, into, cancel, &shown).with_context(named)?;
    let repository = match source {
        Source::Remote(remote) => Some(remote.repository().clone()),
        Source::Layout(_) => None,
    };
    Ok(Found { base, digest: Some(manifest), name, target: Some(target.digest), repository })
}

/// What a base's name stands for now; `None` where it names no tag, or more than one image.
///
/// # Errors
/// [`Exit::Machine`] where it is not there; those of [`Remote::manifest_by_tag`].
pub fn current(wanted: &Unpinned, places: Places<'_>) -> anyhow::Result<Option<Digest>> {
    match wanted {
        Unpinned::Scratch | Unpinned::Remote { tag: None, .. } => Ok(None),
        Unpinned::Daemon { name, .. } => Ok(Some(saved_by_daemon(name, places)?.1)),
        Unpinned::Layout { path, .. } => {
            let mut targets = Layout::open(&places.root.join(path))?.index()?.manifests;
            targets.dedup_by(|one, two| one.digest == two.digest);
            Ok(if targets.len() == 1 { Some(targets.remove(0).digest) } else { None })
        }
        Unpinned::Remote { repository, tag: Some(tag), .. } => {
            let remote = places.client.repository(parsed_name(repository)?);
            let parsed: Tag =
                tag.parse().fault(Exit::Usage, format!("the base `{repository}` can't be read"))?;
            let found = remote.manifest_by_tag(&parsed)?;
            found
                .map(|found| Some(found.descriptor.digest))
                .ok_or_else(|| Fault::new(Exit::Machine, format!("there is no `{repository}:{tag}`")).into())
        }
    }
}

impl Found {
    fn scratch() -> Self {
        Self { base: image::Base::default(), digest: None, name: None, target: None, repository: None }
    }
}

fn parsed_name(repository: &str) -> anyhow::Result<Repository> {
    repository.parse().fault(Exit::Usage, format!("the base `{repository}` can't be read"))
}

/// The archive of an image that the daemon has, gone when dropped, and the digest of its config.
fn saved_by_daemon(name: &str, places: Places<'_>) -> anyhow::Result<(tempfile::NamedTempFile, Digest)> {
    // Without a tag docker would save all that there are.
    let tagged = name.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
    let name = if tagged { name.to_owned() } else { format!("{name}:latest") };
    let file = tempfile::NamedTempFile::new().fault(Exit::Machine, "could not make a temporary file")?;
    Daemon::find(places.environment)?.save(&name, file.path(), places.client.cancel()).with_context(
        || Fault::new(Exit::Machine, format!("the base `docker-daemon:{name}` is not there")),
    )?;
    let digest = saved::config_digest(file.path())?;
    Ok((file, digest))
}

/// A name that stands for something else than was pinned.
fn moved(name: &str, pinned: &Digest, now: &Digest) -> anyhow::Error {
    let message = format!("the base `{name}` has moved: it was pinned as `{pinned}` and is now `{now}`");
    let hint = "look at what changed, then run `base update`, or drop the tag to stay";
    Fault::new(Exit::Machine, message).hint(hint).into()
}

fn in_layout(
    layout: &Layout,
    digest: Option<&Digest>,
    platform: &Platform,
    name: &str,
) -> anyhow::Result<Descriptor> {
    if let Some(digest) = digest {
        return layout
            .descriptor(digest)
            .with_context(|| Fault::new(Exit::Machine, format!("the base `{name}` has no `{digest}`")));
    }
    let mut targets = layout.index()?.manifests;
    targets.dedup_by(|one, two| one.digest == two.digest);
    if targets.len() > 1 {
        targets.retain(|target| {
            media_type::is_manifest(&target.media_type)
                && target.platform.as_ref().is_some_and(|found| found.is(platform))
        });
    }
    match targets.len() {
        1 => Ok(targets.remove(0)),
        _ => Err(Fault::new(
            Exit::Usage,
            format!("the base `{name}` holds not exactly one image for {platform}"),
        )
        .hint("name the one by its digest: `oci:DIR@sha256:…`")
        .into()),
    }
}

fn in_registry(remote: &Remote, tag: Option<&str>, digest: &Digest) -> anyhow::Result<Descriptor> {
    let repository = remote.repository();
    if let Some(tag) = tag {
        let tag: Tag = tag.parse().fault(Exit::Usage, format!("the base `{repository}` can't be read"))?;
        if let Some(found) = remote.manifest_by_tag(&tag)?
            && found.descriptor.digest != *digest
        {
            return Err(moved(&format!("{repository}:{tag}"), digest, &found.descriptor.digest));
        }
    }
    match remote.manifest_by_digest(digest)? {
        Some(document) => Ok(document.descriptor),
        None => {
            Err(Fault::new(Exit::Machine, format!("the base `{repository}@{digest}` is not there")).into())
        }
    }
}

impl Source {
    fn read(&self, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Layout(layout) => layout.read(digest),
            Self::Remote(remote) => match remote.manifest_by_digest(digest)? {
                Some(document) => Ok(document.bytes),
                None => {
                    Err(Fault::new(Exit::Machine, format!("the manifest `{digest}` is not there")).into())
                }
            },
        }
    }

    /// The digest of the platform's manifest; for a target that is a manifest itself, its own, which
    /// [`take`] compares with the platform.
    fn platform(&self, target: &Descriptor, platform: &Platform, name: &str) -> anyhow::Result<Digest> {
        if !media_type::is_index(&target.media_type) {
            return Ok(target.digest.clone());
        }
        let index: Index = parsed(&self.read(&target.digest)?)?;
        choose(&index, platform).ok_or_else(|| {
            let has = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
            lacks(name, platform, has.filter(|found| found.os != "unknown").map(versioned).collect())
        })
    }

    fn bring(&self, blob: &Descriptor, into: &Layout, cancel: &Cancel) -> anyhow::Result<()> {
        match self {
            Self::Layout(layout) => into.take_blob(layout, blob, cancel),
            Self::Remote(remote) => remote.fetch_blob(blob, into, &|_| {}),
        }
    }
}

/// The platform's own manifest; for a newer amd64 also the plain one, which runs there.
fn choose(index: &Index, platform: &Platform) -> Option<Digest> {
    let with = |wanted: &Platform| {
        let fits = |manifest: &&Descriptor| {
            media_type::is_manifest(&manifest.media_type)
                && manifest.platform.as_ref().is_some_and(|found| found.is(wanted))
        };
        let fitting = index.manifests.iter().filter(fits);
        fitting.reduce(newer).map(|manifest| manifest.digest.clone())
    };
    with(platform).or_else(|| with(&plain(platform)?))
}

/// The one with the higher `os.version`, which Windows' images have; else the first.
fn newer<'a>(one: &'a Descriptor, two: &'a Descriptor) -> &'a Descriptor {
    let version = |of: &Descriptor| {
        let version = of.platform.as_ref().and_then(|platform| platform.os_version.as_deref());
        version.unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>()
    };
    if version(two) > version(one) { two } else { one }
}

fn plain(platform: &Platform) -> Option<Platform> {
    let newer = platform.architecture == "amd64" && platform.variant.is_some();
    newer.then(|| Platform { variant: None, ..platform.clone() })
}

/// As [`Platform`] writes it.
fn versioned(found: &ImagePlatform) -> String {
    match &found.os_version {
        Some(version) => found.to_string().replacen('/', &format!("({version})/"), 1),
        None => found.to_string(),
    }
}

fn lacks(name: &str, platform: &Platform, has: Vec<String>) -> anyhow::Error {
    let list = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    Fault::new(Exit::Usage, format!("the base `{name}` has no image for {platform}; it has {list}"))
        .hint("take another base, or leave the platform out")
        .into()
}

fn take(
    source: &Source,
    manifest: &Digest,
    platform: &Platform,
    into: &Layout,
    cancel: &Cancel,
    name: &str,
) -> anyhow::Result<image::Base> {
    let manifest: Manifest = parsed(&source.read(manifest)?)?;
    source.bring(&manifest.config, into, cancel)?;
    let config: ImageConfig = into.read_json(&manifest.config.digest)?;
    let found = config.platform();
    if !found.is(platform) && !plain(platform).is_some_and(|plain| found.is(&plain)) {
        return Err(lacks(name, platform, vec![versioned(&config.platform())]));
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Fault::new(Exit::Machine, "its config and its manifest name different layers").into());
    }
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        if into.holds(&layer.digest, layer.size) {
            continue;
        }
        // Aside, so that `into` never holds a layer that was not looked at.
        let aside = aside(into)?;
        let aside = (Layout::create(aside.path())?, aside);
        source.bring(layer, &aside.0, cancel)?;
        check::layer(aside.0.open_blob(layer)?, layer, diff_id, cancel)
            .with_context(|| format!("the layer `{}` is refused", layer.digest))?;
        into.take_blob(&aside.0, layer, cancel)?;
    }
    Ok(image::Base { config, layers: manifest.layers })
}

/// A folder in a layout, gone when dropped.
fn aside(into: &Layout) -> anyhow::Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix(".base-").tempdir_in(into.root());
    made.fault(Exit::Machine, "could not make a folder for a base")
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).fault(Exit::Machine, "a base's manifest can't be read")
}

#[cfg(test)]
mod tests;
