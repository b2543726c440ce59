//! An image as one tar: an OCI layout (image-spec, image-layout.md), and for a daemon docker's own
//! `manifest.json` beside it, which those older than 25 read alone and whose graph store then has the
//! config's digest as the image's ID. The same image makes the same bytes.

use std::io::{Read, Write};

use serde_json::json;

use super::layer::reader::{Checked, plain};
use super::layout::Layout;
use super::types::{Descriptor, Digest, Index, annotation, media_type};
use crate::cancel::Cancel;
use crate::fault::{Exit, FaultContext as _};

const FAILED: &str = "could not write an image's archive";

/// What an archive is to be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An OCI layout, of an index or a manifest.
    Oci,
    /// Also what `docker save` writes: of one manifest.
    Docker,
}

/// What an image is called by who reads the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `HOST/PATH`, or a name alone, which docker and containerd take for one of docker.io/library.
    pub repository: String,
    pub tag: String,
}

impl Name {
    /// `REPOSITORY:TAG`
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// With the host that a bare name goes without, as containerd wants it.
    fn qualified(&self) -> String {
        let bare = !self.repository.contains('/');
        format!("{}{}", if bare { "docker.io/library/" } else { "" }, self.reference())
    }
}

/// Writes the image `target` of `layout` to `out`; without a name it is to be found by its digest.
///
/// # Errors
/// [`Exit::Machine`] where a blob is missing or other than its digest says, or `out` fails; an
/// interruption.
pub fn write(
    out: impl Write,
    (layout, target): (&Layout, &Descriptor),
    form: Form,
    name: Option<&Name>,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let mut archive = Archive { tar: tar::Builder::new(out), layout, cancel };
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut named = Descriptor::new(&target.media_type, target.digest.clone(), target.size);
    if let Some(name) = name {
        named.annotations.insert(annotation::REF_NAME.to_owned(), name.tag.clone());
        named.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), name.qualified());
    }
    let index = Index { manifests: vec![named], ..Index::default() };
    archive.bytes("index.json", &serde_json::to_vec(&index)?)?;
    if form == Form::Docker {
        archive.docker(target, name)?;
    }
    for blob in layout.closure(target)? {
        archive.blob(&blob)?;
    }
    archive.tar.into_inner().and_then(|mut out| out.flush()).fault(Exit::Machine, FAILED)
}

struct Archive<'a, W: Write> {
    tar: tar::Builder<W>,
    layout: &'a Layout,
    cancel: &'a Cancel,
}

impl<W: Write> Archive<'_, W> {
    /// `manifest.json` (moby, image/spec/v1.2.md), and the tars of layers that old daemons can't unpack.
    fn docker(&mut self, target: &Descriptor, name: Option<&Name>) -> anyhow::Result<()> {
        let (manifest, config) = self.layout.read_image(&target.digest)?;
        let (mut layers, mut tars) = (Vec::new(), Vec::new());
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            if media_type::layer(&layer.media_type) == Some(media_type::LAYER_ZSTD) {
                let path = format!("layers/{}.tar", diff_id.hex());
                if !layers.contains(&path) {
                    tars.push((path.clone(), layer, diff_id));
                }
                layers.push(path);
            } else {
                layers.push(blob_path(&layer.digest));
            }
        }
        let docker = json!([{
            "Config": blob_path(&manifest.config.digest),
            "RepoTags": name.map(|name| [name.reference()]),
            "Layers": layers,
        }]);
        self.bytes("manifest.json", &serde_json::to_vec(&docker)?)?;
        for (path, layer, diff_id) in tars {
            let open = || -> anyhow::Result<_> {
                let tar = plain(&layer.media_type, self.layout.open_blob(layer)?)?;
                Ok(Checked::new(tar, diff_id))
            };
            // A header comes before its bytes: they are counted first.
            let size = std::io::copy(&mut open()?, &mut std::io::sink()).fault(Exit::Machine, FAILED)?;
            let tar = open()?;
            self.entry(&path, size, tar)?;
        }
        Ok(())
    }

    fn blob(&mut self, blob: &Descriptor) -> anyhow::Result<()> {
        let bytes = Checked::new(self.layout.open_blob(blob)?, &blob.digest);
        self.entry(&blob_path(&blob.digest), blob.size, bytes)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.entry(path, bytes.len() as u64, bytes)
    }

    fn entry(&mut self, path: &str, size: u64, bytes: impl Read) -> anyhow::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        let written =
            self.tar.append_data(&mut header, path, Stoppable { inner: bytes, cancel: self.cancel });
        super::stop_if_asked(self.cancel)?;
        written.fault(Exit::Machine, FAILED)
    }
}

/// A reader that fails once the run is told to stop.
struct Stoppable<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_set() {
            return Err(std::io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::sample;

    #[test]
    fn the_same_image_makes_the_same_archive_and_a_damaged_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let (layout, index) = sample(folder.path());
        let name = Name { repository: "web".into(), tag: "1.0.0".into() };
        let archive = |form, target: &Descriptor| {
            let mut bytes = Vec::new();
            write(&mut bytes, (&layout, target), form, Some(&name), &Cancel::default()).map(|()| bytes)
        };
        let bytes = archive(Form::Oci, &index).unwrap();
        assert_eq!(bytes, archive(Form::Oci, &index).unwrap());
        let unpacked = tempfile::tempdir().unwrap();
        tar::Archive::new(&bytes[..]).unpack(unpacked.path()).unwrap();
        let read = Layout::open(unpacked.path()).unwrap();
        assert_eq!(read.resolve(&"1.0.0".parse().unwrap()).unwrap().unwrap().digest, index.digest);
        assert_eq!(read.closure(&index).unwrap(), layout.closure(&index).unwrap());

        let manifest = layout.manifests(&index).unwrap().remove(0);
        let bytes = archive(Form::Docker, &manifest).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(r#""RepoTags":["web:1.0.0"]"#) && text.contains("docker.io/library/web:1.0.0"));

        let (inside, _) = layout.read_image(&manifest.digest).unwrap();
        let path = layout.blob_path(&inside.layers[0].digest);
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[5] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = archive(Form::Docker, &manifest).unwrap_err();
        assert!(format!("{error:#}").contains("its bytes are not those of"), "{error:#}");
    }
}
