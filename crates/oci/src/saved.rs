//! What `docker image save` writes becomes a layout: the config as it is, the layers compressed by us.
//! Both forms are read: `ID/layer.tar` of docker before 25, blobs since, either named by `manifest.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::cancel::Cancel;
use crate::declared::Compression;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::image::Document;
use crate::layout::{DOCUMENT_LIMIT, Layout};
use crate::types::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

const ODD: &str = "docker saved an image in a form that is not known";

/// Where an entry's bytes lie in the archive.
#[derive(Clone, Debug)]
enum Entry {
    File {
        start: u64,
        size: u64,
    },
    /// docker wrote a layer that comes twice as a link.
    Link(String),
}

/// Makes a layout in `folder` of the one image in `file`.
///
/// # Errors
/// [`Exit::Machine`] where the archive is not what docker writes, a layer is not the one that the config
/// names, or the disk says no; an interruption.
pub fn unpack(
    file: &Path,
    folder: &Path,
    compression: Compression,
    cancel: &Cancel,
) -> anyhow::Result<Layout> {
    let archive = Archive::open(file).fault(Exit::Machine, ODD)?;
    let (saved, config_bytes) = archive.image()?;
    let config: ImageConfig = serde_json::from_slice(&config_bytes).fault(Exit::Machine, ODD)?;
    if config.rootfs.diff_ids.len() != saved.layers.len() {
        return Err(Fault::new(Exit::Machine, ODD).into());
    }
    let layout = Layout::create(folder)?;
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
        let layer =
            layout.put_tar(plain(archive.reader(name)?).fault(Exit::Machine, ODD)?, compression, cancel)?;
        if layer.diff_id != *diff_id {
            let message =
                format!("docker saved the layer `{}` where its config names `{diff_id}`", layer.diff_id);
            return Err(Fault::new(Exit::Machine, message).hint("run it again").into());
        }
        layers.push(layer.descriptor);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media_type::CONFIG, &config_bytes),
        layers,
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    layout.put(&config_bytes)?;
    let manifest: Document = crate::image::document(media_type::MANIFEST, &manifest)?;
    let mut descriptor = layout.put_document(&manifest)?;
    descriptor.platform = Some(config.platform());
    let index = Index { manifests: vec![descriptor], ..Index::default() };
    crate::host::files::write(
        &folder.join("index.json"),
        &crate::image::document(media_type::INDEX, &index)?.bytes,
    )?;
    Ok(layout)
}

/// The digest of the config of the one image in `file`: the same whatever store the daemon has.
///
/// # Errors
/// As [`unpack`].
pub fn config_digest(file: &Path) -> anyhow::Result<Digest> {
    Ok(Digest::of(&Archive::open(file).fault(Exit::Machine, ODD)?.image()?.1))
}

/// A tar whose entries are found by name.
struct Archive<'a> {
    file: &'a Path,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Archive<'a> {
    fn open(file: &'a Path) -> std::io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::new(File::open(file)?));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            let kind = entry.header().entry_type();
            if kind.is_file() {
                entries.insert(name, Entry::File { start: entry.raw_file_position(), size: entry.size() });
            } else if let (true, Some(target)) = (kind.is_symlink(), entry.link_name_bytes()) {
                // `../ID/layer.tar`, from the folder of this one.
                let target = String::from_utf8_lossy(&target).trim_start_matches("../").to_owned();
                entries.insert(name, Entry::Link(target));
            }
        }
        Ok(Self { file, entries })
    }

    /// The one image, and its config's bytes.
    fn image(&self) -> anyhow::Result<(Saved, Vec<u8>)> {
        let mut saved: Vec<Saved> =
            serde_json::from_slice(&self.document("manifest.json")?).fault(Exit::Machine, ODD)?;
        let one = saved.pop().filter(|_| saved.is_empty());
        let one = one.ok_or_else(|| Fault::new(Exit::Machine, ODD))?;
        let config = self.document(&one.config)?;
        Ok((one, config))
    }

    fn reader(&self, name: &str) -> anyhow::Result<BufReader<std::io::Take<File>>> {
        let lacks = || Fault::new(Exit::Machine, format!("docker saved an image without `{name}`"));
        let entry = match self.entries.get(name).ok_or_else(lacks)? {
            Entry::Link(target) => self.entries.get(target).ok_or_else(lacks)?,
            entry => entry,
        };
        let Entry::File { start, size } = entry else { return Err(lacks().into()) };
        let shown = format!("could not read `{}`", self.file.display());
        let mut file = File::open(self.file).fault(Exit::Machine, &shown)?;
        file.seek(SeekFrom::Start(*start)).fault(Exit::Machine, &shown)?;
        Ok(BufReader::with_capacity(1 << 17, file.take(*size)))
    }

    fn document(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.reader(name)?;
        reader
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut bytes)
            .fault(Exit::Machine, "could not read an image's document")?;
        Ok(bytes)
    }
}

/// A layer's tar, which docker with containerd's store saves compressed.
fn plain(mut reader: BufReader<std::io::Take<File>>) -> std::io::Result<Box<dyn Read>> {
    use std::io::BufRead as _;
    let magic = reader.fill_buf()?;
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(reader)?),
        _ => Box::new(reader),
    })
}
