//! An image as one tar that every daemon's `docker load` reads: an OCI layout (image-spec, image-layout.md)
//! with the `manifest.json` of docker's own format beside it, for daemons older than 25, whose graph store
//! then has the config's digest as the image's ID.

use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::path::Path;

use serde_json::json;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::oci::types::{Descriptor, Digest, Index, media_type};
use crate::stage::lint::tool::stopped;

use super::Image;

/// Writes the archive of `image` to `path`.
///
/// # Errors
/// [`Exit::Machine`] where a blob is missing or other than its digest says, or the disk says no.
pub(super) fn write(image: &Image, path: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let shown = format!("could not write `{}`", path.display());
    let file = BufWriter::with_capacity(1 << 17, File::create(path).fault(Exit::Machine, &shown)?);
    let mut archive = tar::Builder::new(file);
    let manifest = image.layout.read(&image.manifest_digest)?;
    let config = image.layout.read(&image.manifest.config.digest)?;
    let index =
        Index { manifests: vec![Descriptor::of(media_type::MANIFEST, &manifest)], ..Index::default() };
    let mut layers = Vec::new();
    let mut plain = Vec::new();
    for (layer, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
        // Old daemons don't know zstd: for them the tar itself lies beside the blob.
        if media_type::layer(&layer.media_type) == Some(media_type::LAYER_ZSTD) {
            let name = format!("layers/{}.tar", diff_id.hex());
            plain.push((name.clone(), layer, diff_id));
            layers.push(name);
        } else {
            layers.push(blob(&layer.digest));
        }
    }
    let docker = json!([{
        "Config": blob(&image.manifest.config.digest),
        "RepoTags": null,
        "Layers": layers,
    }]);
    let mut documents = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), serde_json::to_vec(&index)?),
        ("manifest.json".to_owned(), serde_json::to_vec(&docker)?),
        (blob(&image.manifest_digest), manifest),
        (blob(&image.manifest.config.digest), config),
    ];
    for (name, bytes) in documents.drain(..) {
        archive
            .append_data(&mut header(bytes.len() as u64), name, &bytes[..])
            .fault(Exit::Machine, &shown)?;
    }
    for layer in &image.manifest.layers {
        if cancel.is_set() {
            return Err(stopped(cancel));
        }
        let reader = image.layout.open_blob(layer)?;
        archive
            .append_data(&mut header(layer.size), blob(&layer.digest), reader)
            .fault(Exit::Machine, &shown)?;
    }
    for (name, layer, diff_id) in plain {
        let size = length(image.open_layer(layer, diff_id)?)?;
        let reader = image.open_layer(layer, diff_id)?;
        archive.append_data(&mut header(size), name, reader.take(size)).fault(Exit::Machine, &shown)?;
    }
    let mut file = archive.into_inner().fault(Exit::Machine, &shown)?;
    file.flush().fault(Exit::Machine, &shown)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn length(mut reader: impl Read) -> anyhow::Result<u64> {
    std::io::copy(&mut reader, &mut std::io::sink())
        .map_err(|error| Fault::new(Exit::Machine, format!("could not read a layer: {error}")).into())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}
