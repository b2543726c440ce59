//! Manifests, indexes and tags of a repository.

use serde::Deserialize;

use super::{Failure, Remote};
use crate::fault::{Exit, Fault};
use crate::host::http::{Body, HttpError, Method, Origin, Response, joined, with_query};
use crate::image::Document;
use crate::layout::{DOCUMENT_LIMIT, Kind};
use crate::reference::Tag;
use crate::types::{Descriptor, Digest, Index, media_type};

/// Pages of a list of tags; no registry that means well has more.
const PAGES: usize = 1000;

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

impl Remote {
    /// The manifest or index that a tag stands for; its digest is computed.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry fails, [`Exit::Machine`] without the permission.
    pub fn manifest_by_tag(&self, tag: &Tag) -> anyhow::Result<Option<Document>> {
        self.manifest(tag.as_str(), None)
    }

    /// A manifest or index by digest.
    ///
    /// # Errors
    /// As [`Remote::manifest_by_tag`]; bytes of another digest.
    pub fn manifest_by_digest(&self, digest: &Digest) -> anyhow::Result<Option<Document>> {
        self.manifest(digest.as_str(), Some(digest))
    }

    fn manifest(&self, reference: &str, digest: Option<&Digest>) -> anyhow::Result<Option<Document>> {
        let url = self.url(&format!("manifests/{reference}"));
        let accept = media_type::MANIFESTS.join(", ");
        self.patiently(&format!("could not read the manifest `{reference}`"), |remote| {
            let headers = vec![("accept", accept.clone())];
            let response = remote.send(&remote.pull_scope(), Method::Get, &url, headers, Body::Empty)?;
            let response = remote.accept(response, &[200, 404])?;
            if response.status == 404 {
                return Ok(None);
            }
            document(response, digest).map(Some)
        })
    }

    /// What refers to a manifest (distribution-spec, "Listing Referrers"); `None` where the registry keeps no
    /// such list.
    ///
    /// # Errors
    /// As [`Remote::manifest_by_tag`].
    pub fn referrers(&self, digest: &Digest) -> anyhow::Result<Option<Vec<Descriptor>>> {
        let mut url = self.url(&format!("referrers/{digest}"));
        let mut found = Vec::new();
        for page in 0..PAGES {
            let Some((index, next)) = self.referrers_page(digest, &url)? else {
                return Ok((page > 0).then_some(found));
            };
            found.extend(index.manifests);
            match next.and_then(|link| joined(&url, &link)) {
                Some(next) if Origin::of(&next) == Origin::of(&url) && next != url => url = next,
                _ => break,
            }
        }
        Ok(Some(found))
    }

    fn referrers_page(&self, digest: &Digest, url: &str) -> anyhow::Result<Option<(Index, Option<String>)>> {
        self.patiently(&format!("could not list what refers to `{digest}`"), |remote| {
            let headers = vec![("accept", media_type::INDEX.to_owned())];
            let response = remote.send(&remote.pull_scope(), Method::Get, url, headers, Body::Empty)?;
            // Who does not know the question says 404; some say that it was a bad one.
            let response = remote.accept(response, &[200, 400, 404, 405, 501])?;
            if response.status != 200 {
                return Ok(None);
            }
            let next = response.header("link").and_then(next_link).map(str::to_owned);
            // Something else than a list: as good as none.
            let index = serde_json::from_slice(&response.bytes(DOCUMENT_LIMIT)?).ok();
            Ok(index.map(|index| (index, next)))
        })
    }

    /// Whether a manifest or index is there, by its digest.
    ///
    /// # Errors
    /// As [`Remote::manifest_by_tag`].
    pub fn has_manifest(&self, digest: &Digest) -> anyhow::Result<bool> {
        let url = self.url(&format!("manifests/{digest}"));
        let accept = media_type::MANIFESTS.join(", ");
        self.patiently(&format!("could not look for the manifest `{digest}`"), |remote| {
            let headers = vec![("accept", accept.clone())];
            let response = remote.send(&remote.pull_scope(), Method::Head, &url, headers, Body::Empty)?;
            Ok(remote.accept(response, &[200, 404])?.status == 200)
        })
    }

    /// Sends a manifest or index by its digest, and reads it back.
    ///
    /// # Errors
    /// As [`Remote::manifest_by_tag`]; [`Exit::Outside`] where it reads back otherwise.
    pub fn put_manifest(&self, document: &Document) -> anyhow::Result<()> {
        let digest = &document.descriptor.digest;
        self.put(digest.as_str(), document)?;
        match self.manifest_by_digest(digest)? {
            Some(_) => Ok(()),
            None => Err(self.lost(digest.as_str())),
        }
    }

    /// Lets a tag stand for a manifest or index, and reads it back. What the tag meant before is gone.
    ///
    /// # Errors
    /// As [`Remote::put_manifest`].
    pub fn put_tag(&self, tag: &Tag, document: &Document) -> anyhow::Result<()> {
        self.put(tag.as_str(), document)?;
        match self.manifest_by_tag(tag)? {
            Some(found) if found.descriptor.digest == document.descriptor.digest => Ok(()),
            _ => Err(self.lost(tag.as_str())),
        }
    }

    fn put(&self, reference: &str, document: &Document) -> anyhow::Result<()> {
        let url = self.url(&format!("manifests/{reference}"));
        self.patiently(&format!("could not push the manifest `{reference}`"), |remote| {
            let headers = vec![("content-type", document.descriptor.media_type.clone())];
            let body = Body::Bytes(&document.bytes);
            let response = remote.send(&remote.push_scope(&[]), Method::Put, &url, headers, body)?;
            remote.accept(response, &[201, 200]).map(|_| ())
        })
    }

    fn lost(&self, reference: &str) -> anyhow::Error {
        let message =
            format!("`{}` took the manifest `{reference}` and now shows another or none", self.repository);
        Fault::new(Exit::Outside, message).hint("it is safe to run it again").into()
    }

    /// All tags, sorted; none where the repository isn't there yet.
    ///
    /// # Errors
    /// As [`Remote::manifest_by_tag`].
    pub fn tags(&self) -> anyhow::Result<Vec<Tag>> {
        let mut url = with_query(&self.url("tags/list"), &[("n", "1000")]);
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let (page, next) = self.patiently("could not list the tags", |remote| {
                let response =
                    remote.send(&remote.pull_scope(), Method::Get, &url, Vec::new(), Body::Empty)?;
                let response = remote.accept(response, &[200, 404])?;
                if response.status == 404 {
                    return Ok((Vec::new(), None));
                }
                let next = response.header("link").and_then(next_link).and_then(|link| joined(&url, link));
                let list: TagList =
                    serde_json::from_slice(&response.bytes(DOCUMENT_LIMIT)?).map_err(|error| {
                        Failure::Transient {
                            error: anyhow::Error::new(error).context("a list of tags can't be read"),
                            asked: None,
                        }
                    })?;
                Ok((list.tags.unwrap_or_default(), next))
            })?;
            tags.extend(page.iter().filter_map(|tag| tag.parse().ok()));
            match next {
                Some(next) if Origin::of(&next) == Origin::of(&url) && next != url => url = next,
                _ => break,
            }
        }
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

/// Reads a manifest's answer. Bytes of another digest than asked for, or than the registry says,
/// were damaged on the way: that may pass.
fn document(response: Response, digest: Option<&Digest>) -> Result<Document, Failure> {
    let said: Option<Digest> = response.header("docker-content-digest").and_then(|text| text.parse().ok());
    let bytes = match response.bytes(DOCUMENT_LIMIT) {
        Err(error @ HttpError::Protocol { .. }) => return Err(Failure::Final(error.fault())),
        other => other?,
    };
    let found = Digest::of(&bytes);
    if digest.or(said.as_ref()).is_some_and(|expected| *expected != found) {
        let error = anyhow::anyhow!("the registry sent a manifest of the digest `{found}` instead");
        return Err(Failure::Transient { error, asked: None });
    }
    let media_type = Kind::of(&bytes).map_err(|error| {
        Failure::Final(
            anyhow::Error::new(error).context(Fault::new(Exit::Outside, "a manifest can't be read")),
        )
    })?;
    let descriptor = Descriptor::of(&media_type, &bytes);
    Ok(Document { bytes, descriptor })
}

/// `<URL>; rel="next"` (RFC 8288).
fn next_link(text: &str) -> Option<&str> {
    let (url, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then_some(url)
}
