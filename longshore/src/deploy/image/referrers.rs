//! What refers to an image goes along with it: signatures, SBOMs, attestations. None of it is looked into.

use std::collections::BTreeSet;

use super::Store;
use crate::oci::destination::Destination;
use crate::oci::destination::referrers::tag;
use crate::oci::types::{Descriptor, Digest, Index, Manifest, media_type};
use crate::progress::Progress;

/// What cosign puts after `sha256-HEX` for signatures, attestations and SBOMs that name no subject.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

impl Store {
    /// Copies what refers to an image that was copied: to its index, to each platform's manifest, and to what
    /// refers to those. What the target has already stays there.
    ///
    /// # Errors
    /// Those of a copy. None where nothing refers to it.
    pub(super) fn copy_referrers(
        &self,
        from: &Destination,
        to: &Destination,
        image: &Digest,
        progress: &dyn Progress,
    ) -> anyhow::Result<()> {
        let top = self.documents.descriptor(image)?;
        let mut open: Vec<Digest> = self.manifests(&top)?.into_iter().map(|found| found.digest).collect();
        open.push(image.clone());
        let mut seen = BTreeSet::new();
        while let Some(subject) = open.pop() {
            if !seen.insert(subject.clone()) {
                continue;
            }
            let mut copied = Vec::new();
            for found in from.referrers(&subject)? {
                if from.manifest(&found.digest)?.is_none() {
                    let message =
                        format!("`{}` is not there, and was not copied", from.reference(&found.digest));
                    progress.warning(&message, Some(&format!("it is listed as referring to `{subject}`")));
                    continue;
                }
                self.copy_image(from, to, &found.digest)?;
                copied.push(self.referrer(&found.digest)?);
                open.push(found.digest);
            }
            to.list_referrers(&subject, &copied)?;
            self.copy_tagged(from, to, &subject, progress)?;
        }
        Ok(())
    }

    /// What is known by its tag alone.
    fn copy_tagged(
        &self,
        from: &Destination,
        to: &Destination,
        subject: &Digest,
        progress: &dyn Progress,
    ) -> anyhow::Result<()> {
        for suffix in COSIGN {
            let tag = tag(subject, suffix)?;
            let Some(found) = from.resolve(&tag)? else { continue };
            match to.resolve(&tag)? {
                None => {
                    self.copy_image(from, to, &found.digest)?;
                    to.move_tag(&tag, &found.digest)?;
                }
                Some(there) if there.digest == found.digest => {}
                // Somebody may have signed it there: that is not thrown away.
                Some(_) => {
                    let message =
                        format!("`{}` is another one than in `{}`", to.tagged(&tag), from.tagged(&tag));
                    progress.warning(&message, Some("it was left as it is"));
                }
            }
        }
        Ok(())
    }

    /// As a list of referrers names one: its own type, and its annotations.
    fn referrer(&self, digest: &Digest) -> anyhow::Result<Descriptor> {
        let mut referrer = self.documents.descriptor(digest)?;
        if media_type::is_index(&referrer.media_type) {
            let index: Index = self.documents.read_json(digest)?;
            (referrer.artifact_type, referrer.annotations) = (index.artifact_type, index.annotations);
        } else {
            let manifest: Manifest = self.documents.read_json(digest)?;
            let kind = manifest.artifact_type.filter(|kind| !kind.is_empty());
            referrer.artifact_type = Some(kind.unwrap_or(manifest.config.media_type));
            referrer.annotations = manifest.annotations;
        }
        Ok(referrer)
    }
}
