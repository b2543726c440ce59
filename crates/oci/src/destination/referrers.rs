//! What refers to an image: signatures, SBOMs, attestations, whatever names it as its `subject`.

use super::Destination;
use crate::image;
use crate::reference::Tag;
use crate::types::{Descriptor, Digest, Index, media_type};

impl Destination {
    /// What refers to a manifest or index: of a registry's own list, and of the index that stands for one
    /// elsewhere; of a layout, what its `index.json` names, too.
    ///
    /// # Errors
    /// As [`Destination::manifest`].
    pub fn referrers(&self, subject: &Digest) -> anyhow::Result<Vec<Descriptor>> {
        let mut found = match self {
            Self::Registry(remote) => remote.referrers(subject)?.unwrap_or_default(),
            Self::Layout(layout) => {
                let named = layout.index()?.manifests;
                let refers = |named: &Descriptor| {
                    let document = layout.document(&named.digest).ok()?;
                    let value: serde_json::Value = serde_json::from_slice(&document.bytes).ok()?;
                    (value["subject"]["digest"].as_str()? == subject.as_str()).then_some(())
                };
                named.into_iter().filter(|named| refers(named).is_some()).collect()
            }
        };
        for other in self.fallback(subject)?.manifests {
            if !found.iter().any(|known| known.digest == other.digest) {
                found.push(other);
            }
        }
        Ok(found)
    }

    /// Makes sure that what refers to `subject`, and is here, is found: where there is no list of it, the
    /// index under the tag `sha256-HEX` is one, and keeps what it names already.
    ///
    /// # Errors
    /// As [`Destination::put_manifest`].
    pub fn list_referrers(&self, subject: &Digest, referrers: &[Descriptor]) -> anyhow::Result<()> {
        let has_list = match self {
            Self::Registry(remote) => !referrers.is_empty() && remote.referrers(subject)?.is_some(),
            Self::Layout(_) => false,
        };
        if referrers.is_empty() || has_list {
            return Ok(());
        }
        let mut index = self.fallback(subject)?;
        let before = index.manifests.len();
        for referrer in referrers {
            if !index.manifests.iter().any(|known| known.digest == referrer.digest) {
                index.manifests.push(referrer.clone());
            }
        }
        if index.manifests.len() == before {
            return Ok(());
        }
        let document = image::document(media_type::INDEX, &index)?;
        self.put_manifest(&document)?;
        self.move_tag(&tag(subject, "")?, &document.descriptor.digest)
    }

    /// The index that stands for a list; an empty one where there is none.
    fn fallback(&self, subject: &Digest) -> anyhow::Result<Index> {
        let Some(found) = self.resolve(&tag(subject, "")?)? else { return Ok(Index::default()) };
        let document = self.manifest(&found.digest)?.filter(|_| media_type::is_index(&found.media_type));
        Ok(document.and_then(|document| serde_json::from_slice(&document.bytes).ok()).unwrap_or_default())
    }
}

/// `sha256-HEX`, and what follows: distribution-spec, "Referrers Tag Schema".
///
/// # Errors
/// A defect: it is no tag.
pub fn tag(subject: &Digest, suffix: &str) -> anyhow::Result<Tag> {
    let tag = format!("sha256-{}{suffix}", subject.hex());
    tag.parse().map_err(|error| anyhow::anyhow!("internal: `{tag}`: {error}"))
}
