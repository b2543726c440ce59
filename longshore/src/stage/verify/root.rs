//! An image's layers as a folder (image-spec, layer.md): whiteouts applied, every path kept inside, every
//! byte checked against the digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::oci::layer::reader::{Checked, plain};
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, Digest, ImageConfig, Manifest};
use crate::stage::ManifestOutput;
use crate::stage::lint::tool::stopped;

/// Links followed on the way to one path, as Linux has it.
const LINKS: usize = 40;

/// An image as it lies in its layout.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) layout: Layout,
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Image {
    /// Reads manifest and config of an image by its manifest's digest.
    pub(crate) fn of(layout: Layout, manifest_digest: &Digest) -> anyhow::Result<Self> {
        let (manifest, config) = layout.read_image(manifest_digest)?;
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            let message = format!("the manifest `{manifest_digest}` and its config differ in their layers");
            return Err(Fault::new(Exit::Machine, message).into());
        }
        Ok(Self { layout, manifest_digest: manifest_digest.clone(), manifest, config })
    }

    /// Reads manifest and config, and checks that the config is the one that the job said.
    pub(crate) fn open(output: &ManifestOutput) -> anyhow::Result<Self> {
        let layout = Layout::open(&output.layout)?;
        let (manifest, config) = layout.read_image(&output.digest)?;
        if manifest.config.digest != output.config {
            let message = format!("the manifest `{}` has another config than was said", output.digest);
            return Err(Fault::new(Exit::Machine, message).into());
        }
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            let message = format!("the manifest `{}` and its config differ in their layers", output.digest);
            return Err(Fault::new(Exit::Machine, message).into());
        }
        Ok(Self { layout, manifest_digest: output.digest.clone(), manifest, config })
    }

    /// Entrypoint and command.
    pub(crate) fn argv(&self) -> Vec<String> {
        self.config.config.entrypoint.iter().chain(&self.config.config.cmd).cloned().collect()
    }

    /// Unpacks all layers into `folder`, which must be empty.
    pub(crate) fn unpack(&self, folder: &Path, cancel: &Cancel) -> anyhow::Result<Root> {
        std::fs::create_dir_all(folder)
            .fault(Exit::Machine, format!("could not write `{}`", folder.display()))?;
        let root = Root { folder: folder.to_owned() };
        for (layer, diff_id) in self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids) {
            let reader = self.open_layer(layer, diff_id)?;
            root.apply(reader, cancel)
                .fault(Exit::Machine, format!("could not unpack the layer `{}`", layer.digest))?;
        }
        Ok(root)
    }

    /// The tar of a layer; its end is an error unless its digest is `diff_id`, which follows from bytes that
    /// the config's digest covers: so a layer's own digest need not be looked at too.
    pub(crate) fn open_layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> anyhow::Result<impl Read + use<>> {
        let inner = plain(&layer.media_type, self.layout.open_blob(layer)?)?;
        Ok(Checked::new(inner, diff_id))
    }
}

/// A folder that is some process's root.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    folder: PathBuf,
}

impl Root {
    /// A folder that an image was unpacked into.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where `path` lies, links followed as inside: an absolute one from here, `..` no further than here.
    /// What does not exist is taken as it stands.
    pub(crate) fn resolve(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let mut left: Vec<PathBuf> = parts(path);
        let mut inside = PathBuf::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part.as_os_str() == ".." {
                inside.pop();
                continue;
            }
            let next = self.folder.join(&inside).join(&part);
            let Ok(target) = std::fs::read_link(&next) else {
                inside.push(part);
                continue;
            };
            links += 1;
            anyhow::ensure!(links <= LINKS, "`{}` has too many links on its way", path.display());
            if target.has_root() {
                inside = PathBuf::new();
            }
            left.extend(parts(&target));
        }
        Ok(self.folder.join(inside))
    }

    /// Writes a file that the container's runtime gives, in the place of what the image has there.
    pub(crate) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.place(Path::new(path))?;
        let _ = remove(&path);
        std::fs::write(&path, text).with_context(|| format!("could not write `{}`", path.display()))
    }

    /// Makes a folder where the image has none.
    pub(crate) fn directory(&self, path: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.resolve(Path::new(path))?)?;
        Ok(())
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.resolve(Path::new(path)).ok()?).ok()
    }

    /// Where the last part of `path` is to be put: its parents resolved and made, itself not followed.
    fn place(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let name = path.file_name().context("it names no file")?;
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        if !parent.is_dir() {
            std::fs::create_dir_all(&parent)?;
        }
        Ok(parent.join(name))
    }

    fn apply(&self, reader: impl Read, cancel: &Cancel) -> anyhow::Result<()> {
        let mut archive = tar::Archive::new(reader);
        let mut written = BTreeSet::new();
        let mut modes = Vec::new();
        for entry in archive.entries()? {
            if cancel.is_set() {
                return Err(stopped(cancel));
            }
            let mut entry = entry?;
            let path = clean(&entry.path()?).with_context(|| {
                format!("the path `{}` leads out", entry.path().unwrap_or_default().display())
            })?;
            if path.as_os_str().is_empty() {
                continue;
            }
            let shown = format!("at `/{}`", path.display());
            self.entry(&mut entry, &path, &mut written, &mut modes).context(shown)?;
        }
        // The end of the tar is not the end of its bytes: the digest is told at that.
        std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
        for (path, mode) in modes.into_iter().rev() {
            permit(&path, mode)?;
        }
        Ok(())
    }

    fn entry<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
        written: &mut BTreeSet<PathBuf>,
        modes: &mut Vec<(PathBuf, u32)>,
    ) -> anyhow::Result<()> {
        let place = self.place(path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == ".wh..wh..opq" {
            return empty(place.parent().unwrap_or(&self.folder), written);
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            anyhow::ensure!(!gone.is_empty() && gone != "." && gone != "..", "it is no whiteout");
            return remove(&place.with_file_name(gone));
        }
        let mode = entry.header().mode()? & 0o7777;
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                if !std::fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
                    remove(&place)?;
                    std::fs::create_dir(&place)?;
                }
                // Later, lest a folder without a write bit refuse its own content.
                modes.push((place.clone(), mode));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                remove(&place)?;
                let mut file = File::create_new(&place)?;
                std::io::copy(entry, &mut file)?;
                file.flush()?;
                permit(&place, mode)?;
            }
            tar::EntryType::Symlink => {
                remove(&place)?;
                let target = entry.link_name()?.context("a link to nothing")?;
                link(&target, &place)?;
            }
            tar::EntryType::Link => {
                let target = entry.link_name()?.context("a link to nothing")?;
                let target = self.place(&clean(&target).context("a hard link that leads out")?)?;
                if target != place {
                    remove(&place)?;
                    std::fs::hard_link(&target, &place)?;
                }
            }
            // Devices and pipes are the runtime's to give.
            _ => return Ok(()),
        }
        own(&place, entry.header())?;
        // Giving a file away takes its setuid bit.
        if mode & 0o6000 != 0 && entry.header().entry_type().is_file() {
            permit(&place, mode)?;
        }
        written.insert(place);
        Ok(())
    }
}

/// The parts of a path, last first, without its root.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}

/// A path of an archive without its leading `/` and `./`; `None` where a `..` is in it.
fn clean(path: &Path) -> Option<PathBuf> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Takes away what lower layers have put into `folder`.
fn empty(folder: &Path, written: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let kept = written.range(path.clone()..).next().is_some_and(|first| first.starts_with(&path));
        if !kept {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if found.is_dir() {
        std::fs::remove_dir_all(path)?
    } else {
        std::fs::remove_file(path)?
    }
    Ok(())
}

#[cfg(unix)]
fn permit(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

#[cfg(unix)]
fn link(target: &Path, place: &Path) -> anyhow::Result<()> {
    std::os::unix::fs::symlink(target, place)?;
    Ok(())
}

/// Gives a path to its owner, where this user may.
#[cfg(unix)]
fn own(place: &Path, header: &tar::Header) -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let id = |id: u64| u32::try_from(id).context("an owner's number is too large");
        std::os::unix::fs::lchown(place, Some(id(header.uid()?)?), Some(id(header.gid()?)?))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn permit(_: &Path, _: u32) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn own(_: &Path, _: &tar::Header) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
