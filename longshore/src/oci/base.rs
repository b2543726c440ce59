//! Bases: the image that a service's image stands on, found for a platform, checked before a byte
//! of it is used.

use std::io::{self, Read};
use std::path::{Component, Path};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::image;
use super::layer::reader::plain as plain_layer;
use super::layout::Layout;
use super::reference::{Repository, Tag};
use super::registry::{Client, Remote};
use super::types::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use crate::cancel::Cancel;
use crate::config;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::platform::Platform;

/// A layer may always unpack to this many bytes, beyond it to [`RATIO`] times its size, and never to
/// more than [`LARGEST`].
const ALWAYS: u64 = 256 << 20;
const RATIO: u64 = 64;
const LARGEST: u64 = 64 << 30;

/// A base for one platform, its config and layers in a layout.
#[derive(Clone, Debug)]
pub struct Found {
    pub base: image::Base,
    /// Of the platform's manifest; absent for scratch.
    pub digest: Option<Digest>,
}

/// Where a base comes from.
enum Source {
    Layout(Layout),
    Remote(Remote),
}

/// Brings `wanted` for `platform` into the layout `into` (best one that is shared: what it holds is
/// neither fetched nor checked again). `root`: where relative paths of `oci:DIR` start.
///
/// # Errors
/// [`Exit::Usage`] where the base lacks the platform (naming those it has), or is ambiguous;
/// [`Exit::Machine`] where it is missing, its tag has moved since it was pinned, or its layers are
/// damaged, lead out of the root or unpack without bounds; those of [`Remote::fetch_blob`].
pub fn find(
    wanted: &config::Base,
    root: &Path,
    platform: &Platform,
    client: &Client,
    into: &Layout,
) -> anyhow::Result<Found> {
    let (source, target, name) = match wanted {
        config::Base::Scratch => return Ok(Found { base: image::Base::default(), digest: None }),
        config::Base::Layout { path, digest } => {
            let layout = Layout::open(&root.join(path))?;
            let name = format!("oci:{}", path.display());
            let target = in_layout(&layout, digest.as_ref(), platform, &name)?;
            (Source::Layout(layout), target, name)
        }
        config::Base::Remote { repository, tag, digest } => {
            let parsed: Repository =
                repository.parse().fault(Exit::Usage, format!("the base `{repository}` can't be read"))?;
            let remote = client.repository(parsed);
            let target = in_registry(&remote, tag.as_deref(), digest)?;
            (Source::Remote(remote), target, format!("{repository}@{digest}"))
        }
    };
    let named = || format!("the base `{name}` can't be used");
    let manifest = source.platform(&target, platform, &name)?;
    let base = take(&source, &manifest, platform, into, client.cancel(), &name).with_context(named)?;
    Ok(Found { base, digest: Some(manifest) })
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
                && target.platform.as_ref().and_then(|found| found.known()).as_ref() == Some(platform)
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
            let message = format!(
                "the base `{repository}:{tag}` has moved: it was pinned as `{digest}` and is now `{}`",
                found.descriptor.digest
            );
            let hint = "look at what changed, then write the new digest, or drop the tag to stay";
            return Err(Fault::new(Exit::Machine, message).hint(hint).into());
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
            lacks(
                name,
                platform,
                has.filter(|found| found.os != "unknown").map(ToString::to_string).collect(),
            )
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
                && manifest.platform.as_ref().and_then(|found| found.known()).as_ref() == Some(wanted)
        };
        index.manifests.iter().find(fits).map(|manifest| manifest.digest.clone())
    };
    with(platform).or_else(|| with(&plain(platform)?))
}

fn plain(platform: &Platform) -> Option<Platform> {
    let newer = platform.architecture == "amd64" && platform.variant.is_some();
    newer.then(|| Platform { variant: None, ..platform.clone() })
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
    let found = config.platform().known();
    if found.as_ref() != Some(platform) && (found.is_none() || found != plain(platform)) {
        return Err(lacks(name, platform, vec![config.platform().to_string()]));
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Fault::new(Exit::Machine, "its config and its manifest name different layers").into());
    }
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        if into.holds(&layer.digest, layer.size) {
            continue;
        }
        // Aside, so that `into` never holds a layer that was not looked at.
        let aside = tempfile::Builder::new()
            .prefix(".base-")
            .tempdir_in(into.root())
            .fault(Exit::Machine, "could not make a folder for a base")?;
        let aside = (Layout::create(aside.path())?, aside);
        source.bring(layer, &aside.0, cancel)?;
        check_layer(aside.0.open_blob(layer)?, layer, diff_id, cancel)
            .with_context(|| format!("the layer `{}` is refused", layer.digest))?;
        into.take_blob(&aside.0, layer, cancel)?;
    }
    Ok(image::Base { config, layers: manifest.layers })
}

/// Looks through a layer: bounded, of the digest that the config names, and with no path that leads
/// out of the root.
fn check_layer(
    bytes: impl Read,
    layer: &Descriptor,
    diff_id: &Digest,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let limit = layer.size.saturating_mul(RATIO).clamp(ALWAYS, LARGEST);
    let plain = plain_layer(&layer.media_type, bytes)?;
    let mut bounded = Bounded { inner: plain, hash: Sha256::new(), left: limit, over: false, cancel };
    let checked = check_tar(&mut bounded)
        .and_then(|()| io::copy(&mut bounded, &mut io::sink()).fault(Exit::Machine, "it can't be unpacked"));
    super::stop_if_asked(cancel)?;
    if bounded.over {
        let message = format!("its {} bytes unpack to more than {limit}", layer.size);
        return Err(Fault::new(Exit::Machine, message).hint("is it a decompression bomb?").into());
    }
    checked?;
    let found = Digest::from_sha256(bounded.hash.finalize().into());
    if found != *diff_id {
        let message = format!("it unpacks to `{found}` where the config names `{diff_id}`");
        return Err(Fault::new(Exit::Machine, message).into());
    }
    Ok(())
}

fn check_tar(reader: impl Read) -> anyhow::Result<()> {
    let unreadable = "it is no tar that can be read";
    for entry in tar::Archive::new(reader).entries().fault(Exit::Machine, unreadable)? {
        let entry = entry.fault(Exit::Machine, unreadable)?;
        let path = entry.path().fault(Exit::Machine, unreadable)?;
        let leads_out =
            |component: Component<'_>| !matches!(component, Component::Normal(_) | Component::CurDir);
        if path.components().any(leads_out) {
            let message = format!("its entry `{}` leads out of the image", path.display());
            return Err(Fault::new(Exit::Machine, message).into());
        }
        if entry.header().entry_type().is_hard_link() {
            let target = entry.link_name().fault(Exit::Machine, unreadable)?.unwrap_or_default();
            if target.components().any(|component| component == Component::ParentDir) {
                let message = format!(
                    "its hard link `{}` leads out of the image, to `{}`",
                    path.display(),
                    target.display()
                );
                return Err(Fault::new(Exit::Machine, message).into());
            }
        }
    }
    Ok(())
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).fault(Exit::Machine, "a base's manifest can't be read")
}

/// Hashes what it gives, and gives no more than a limit.
struct Bounded<'a, R> {
    inner: R,
    hash: Sha256,
    left: u64,
    over: bool,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.inner.read(buffer)?;
        self.over |= read as u64 > self.left;
        if self.over {
            return Err(io::Error::other("too large"));
        }
        self.left -= read as u64;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
