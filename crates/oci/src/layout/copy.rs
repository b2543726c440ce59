//! What goes from one layout to another, or into a new image of the same layout.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Layout, copy_verified};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};
use crate::host::files;
use crate::image;
use crate::types::{Descriptor, Index, Manifest, annotation, media_type};

impl Layout {
    /// Every blob below a manifest or index, children before parents, each once; documents are read
    /// and verified on the way.
    ///
    /// # Errors
    /// As [`Layout::read_json`].
    pub fn closure(&self, target: &Descriptor) -> anyhow::Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        self.collect(target, &mut found, 0)?;
        Ok(found)
    }

    fn collect(&self, target: &Descriptor, found: &mut Vec<Descriptor>, depth: u32) -> anyhow::Result<()> {
        if found.iter().any(|known| known.digest == target.digest) {
            return Ok(());
        }
        if depth > 4 {
            return Err(Fault::new(Exit::Machine, "an image index is nested too deeply").into());
        }
        if media_type::is_index(&target.media_type) {
            let index: Index = self.read_json(&target.digest)?;
            for manifest in &index.manifests {
                self.collect(manifest, found, depth + 1)?;
            }
        } else if media_type::is_manifest(&target.media_type) {
            let manifest: Manifest = self.read_json(&target.digest)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if !found.iter().any(|known| known.digest == blob.digest) {
                    found.push(blob.clone());
                }
            }
        }
        found.push(target.clone());
        Ok(())
    }

    /// Takes a manifest or index with everything below it over from another layout: by hard link
    /// where the file systems allow it, verified either way.
    ///
    /// # Errors
    /// [`Exit::Machine`] where a blob is missing or its bytes are others; an interruption.
    pub fn take(&self, from: &Self, target: &Descriptor, cancel: &Cancel) -> anyhow::Result<()> {
        for blob in from.closure(target)? {
            self.take_blob(from, &blob, cancel)?;
        }
        Ok(())
    }

    /// As [`Layout::take`], for one blob.
    ///
    /// # Errors
    /// As [`Layout::take`].
    pub fn take_blob(&self, from: &Self, blob: &Descriptor, cancel: &Cancel) -> anyhow::Result<()> {
        if self.holds(&blob.digest, blob.size) {
            return Ok(());
        }
        let path = self.blob_path(&blob.digest);
        // A bad file in the way: a link can't replace it.
        let _ = std::fs::remove_file(&path);
        let source = from.open_blob(blob)?;
        if std::fs::hard_link(from.blob_path(&blob.digest), &path).is_ok() {
            let checked = copy_verified(source, &mut std::io::sink(), &blob.digest, blob.size, cancel);
            if checked.is_err() {
                let _ = std::fs::remove_file(&path);
            }
            return checked;
        }
        self.put_blob(source, &blob.digest, blob.size, cancel)
    }

    /// Makes a layout in `root` that holds this one manifest and nothing else, for a scanner that
    /// would take the first of several.
    ///
    /// # Errors
    /// As [`Layout::take`]; a `root` that is already a layout with something in it.
    pub fn single(&self, manifest: &Descriptor, root: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let single = Self::create(root)?;
        if !single.index()?.manifests.is_empty() {
            return Err(Fault::new(Exit::Machine, format!("`{}` is not empty", root.display())).into());
        }
        single.take(self, manifest, cancel)?;
        let index = Index { manifests: vec![manifest.clone()], ..Index::default() };
        files::write(&root.join("index.json"), &image::document(media_type::INDEX, &index)?.bytes)?;
        Ok(single)
    }

    /// The platform manifests of an index, or the one manifest itself.
    ///
    /// # Errors
    /// As [`Layout::read_json`].
    pub fn manifests(&self, target: &Descriptor) -> anyhow::Result<Vec<Descriptor>> {
        if media_type::is_index(&target.media_type) {
            return Ok(self.read_json::<Index>(&target.digest)?.manifests);
        }
        let mut manifest = target.clone();
        if manifest.platform.is_none() {
            manifest.platform = Some(self.read_image(&target.digest)?.1.platform());
        }
        Ok(vec![manifest])
    }

    /// Makes an environment's variant of a neutral index, for each of its platforms, and gives the
    /// variant's index. Layers are shared: only configs, manifests and the index are written.
    ///
    /// # Errors
    /// As [`Layout::read_json`].
    pub fn variant(
        &self,
        neutral: &Descriptor,
        env: &BTreeMap<String, String>,
    ) -> anyhow::Result<Descriptor> {
        let index: Index = self.read_json(&neutral.digest)?;
        let mut manifests = Vec::new();
        for descriptor in &index.manifests {
            let bytes = self.read(&descriptor.digest)?;
            let (manifest, _) = self.read_image(&descriptor.digest)?;
            let image = image::variant(&bytes, &self.read(&manifest.config.digest)?, env)?;
            self.put_document(&image.config)?;
            manifests.push(self.put_document(&image.manifest)?);
        }
        let mut annotations = index.annotations;
        annotations.insert(annotation::NEUTRAL.to_owned(), neutral.digest.to_string());
        self.put_document(&image::index(&manifests, &annotations)?)
    }
}
