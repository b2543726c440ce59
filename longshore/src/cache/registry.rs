//! An OCI registry as the store: one repository, in which an entry is a small artifact under a tag that is its
//! key, with the files that it is about as layers, so that the registry keeps them as long as the entry.

use std::io::Write;
use std::path::Path;

use super::remote::Store;
use crate::host::files::Draft;
use crate::oci::image;
use crate::oci::registry::{Blob, Remote};
use crate::oci::types::{Descriptor, Digest, Extra, Manifest, media_type};

const ARTIFACT: &str = "application/vnd.longshore.cache.entry.v1";
const FILE: &str = "application/octet-stream";
/// Image-spec, manifest.md, "Guidance for an Empty Descriptor".
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The annotation that holds an entry's text.
const TEXT: &str = "dev.longshore.cache.entry";

/// A repository of a registry.
#[derive(Debug)]
pub struct Repository(Remote);

impl Repository {
    pub fn new(remote: Remote) -> Self {
        Self(remote)
    }
}

impl Store for Repository {
    fn entry(&self, key: &Digest) -> anyhow::Result<Option<String>> {
        let Some(found) = self.0.manifest_by_tag(&key.hex().parse()?)? else { return Ok(None) };
        let manifest = serde_json::from_slice::<Manifest>(&found.bytes);
        // What is no entry at all is no trusted writer's.
        Ok(Some(manifest.ok().and_then(|mut manifest| manifest.annotations.remove(TEXT)).unwrap_or_default()))
    }

    fn put_entry(&self, key: &Digest, text: &str, files: &[(Digest, u64)]) -> anyhow::Result<()> {
        let empty = Descriptor::of(EMPTY.0, EMPTY.1);
        if !self.0.has_blob(&empty.digest, empty.size)? {
            let mut draft = Draft::temporary()?;
            draft.write_all(EMPTY.1)?;
            let blob = Blob { file: draft.path(), digest: &empty.digest, size: empty.size };
            self.0.put_blob(blob, &[], &|_| ())?;
        }
        let mut layers: Vec<Descriptor> =
            files.iter().map(|(digest, size)| Descriptor::new(FILE, digest.clone(), *size)).collect();
        if layers.is_empty() {
            layers.push(empty.clone());
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: Some(ARTIFACT.to_owned()),
            config: empty,
            layers,
            annotations: [(TEXT.to_owned(), text.to_owned())].into(),
            extra: Extra::new(),
        };
        self.0.put_tag(&key.hex().parse()?, &image::document(media_type::MANIFEST, &manifest)?)
    }

    fn fetch(&self, digest: &Digest, size: u64, target: &mut dyn Write) -> anyhow::Result<bool> {
        self.0.copy_blob(&Descriptor::new(FILE, digest.clone(), size), target)
    }

    fn send(&self, file: &Path, digest: &Digest, size: u64) -> anyhow::Result<()> {
        self.0.put_blob(Blob { file, digest, size }, &[], &|_| ()).map(|_| ())
    }
}
