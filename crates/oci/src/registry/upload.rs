//! Sending blobs: looked for, mounted from another repository, or uploaded, going on where the
//! server stands (distribution-spec, "Pushing blobs").

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::{Failure, Refusal, Remote, Scopes};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::http::{Body, Method, Response, joined, with_query};
use crate::layout::copy_verified;
use crate::types::Digest;

/// A blob's bytes, in a file of exactly this size and digest.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    pub file: &'a Path,
    pub digest: &'a Digest,
    /// Bytes.
    pub size: u64,
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    Existed,
    Mounted,
    Sent,
}

/// An upload that the server has begun.
#[derive(Clone)]
struct Session {
    /// A secret: whoever has it can write.
    url: String,
    /// What the server has.
    offset: u64,
    /// The least that a chunk may hold but the last, where the server says so.
    least: u64,
}

/// What one attempt to send came to.
enum Step {
    Done,
    Mounted,
}

impl Remote {
    /// Whether a blob is there with this size.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry fails, [`Exit::Machine`] without the permission.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> anyhow::Result<bool> {
        let url = self.url(&format!("blobs/{digest}"));
        self.patiently(&format!("could not look for the blob `{digest}`"), |remote| {
            let response = remote.send(&remote.pull_scope(), Method::Head, &url, Vec::new(), Body::Empty)?;
            let response = remote.accept(response, &[200, 404])?;
            let length = response.header("content-length").and_then(|text| text.parse::<u64>().ok());
            Ok(response.status == 200 && length.is_none_or(|length| length == size))
        })
    }

    /// Brings a blob into the repository: not at all where it is there, else by a mount from one of
    /// `sources` (paths of repositories of the same registry that may have it), else by an upload.
    /// `progress` gets the bytes of this blob that have been sent.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry fails after all retries, [`Exit::Machine`] without the
    /// permission or where the file is not what was said; an interruption.
    pub fn put_blob(
        &self,
        blob: Blob<'_>,
        sources: &[&str],
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<Uploaded> {
        if self.has_blob(blob.digest, blob.size)? {
            return Ok(Uploaded::Existed);
        }
        let what = format!("could not push the blob `{}`", blob.digest);
        let mut upload = Upload {
            remote: self,
            blob,
            source: sources.first().copied(),
            scopes: self.push_scope(sources),
            session: None,
            progress,
            sessions_lost: 0,
            refused_digest: false,
        };
        let mut number = 0;
        loop {
            let before = upload.stand();
            match upload.step() {
                Ok(Step::Done) => return Ok(Uploaded::Sent),
                Ok(Step::Mounted) => return Ok(Uploaded::Mounted),
                Err(failure) => {
                    let failure = upload.after(failure)?;
                    // What moved bytes was no attempt in vain.
                    number = if upload.stand() > before { 0 } else { number };
                    self.wait_after(failure, number, &what)?;
                }
            }
            number += 1;
        }
    }
}

struct Upload<'a> {
    remote: &'a Remote,
    blob: Blob<'a>,
    /// Tried once.
    source: Option<&'a str>,
    scopes: Scopes,
    session: Option<Session>,
    progress: &'a (dyn Fn(u64) + Sync),
    sessions_lost: u32,
    refused_digest: bool,
}

impl Upload<'_> {
    /// What the server is known to have.
    fn stand(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.offset)
    }

    /// Goes on from where the server stands to the end of the blob.
    fn step(&mut self) -> Result<Step, Failure> {
        let mut session = match self.session.clone() {
            Some(session) => match self.remote.status(session, &self.scopes)? {
                Some(session) => session,
                None => {
                    self.session = None;
                    self.begin_after_loss()?
                }
            },
            None => match self.begin()? {
                Some(session) => session,
                None => return Ok(Step::Mounted),
            },
        };
        loop {
            let left = self.blob.size.saturating_sub(session.offset);
            let chunk = self.remote.shared().options.chunk.map_or(u64::MAX, |chunk| chunk.max(session.least));
            let last = left <= chunk.max(1);
            // A rest that follows a cut goes as a PATCH: not every server takes a PUT's at an offset.
            let whole = last && session.offset == 0;
            self.session = Some(session.clone());
            if whole || left == 0 {
                self.close(&session, left)?;
                return Ok(Step::Done);
            }
            session = self.patch(&session, left.min(chunk.max(1)))?;
        }
    }

    /// Starts a session, by a mount where there is a source: `None` once mounted.
    fn begin(&mut self) -> Result<Option<Session>, Failure> {
        let mut url = self.remote.url("blobs/uploads/");
        let mounting = self.source.take();
        if let Some(source) = mounting {
            url = with_query(&url, &[("mount", self.blob.digest.as_str()), ("from", source)]);
        }
        let sent = self.remote.send(&self.scopes, Method::Post, &url, Vec::new(), Body::Empty);
        let response = match sent.and_then(|response| self.remote.accept(response, &[201, 202])) {
            // A mount that may not be made is no reason not to upload.
            Err(Failure::Status(_)) if mounting.is_some() => return self.begin(),
            other => other?,
        };
        if response.status == 201 && mounting.is_some() {
            let there = self.remote.has_blob(self.blob.digest, self.blob.size).map_err(Failure::Final)?;
            return if there { Ok(None) } else { self.begin() };
        }
        Ok(Some(session(&response, 0)?))
    }

    fn begin_after_loss(&mut self) -> Result<Session, Failure> {
        self.sessions_lost += 1;
        // A server may forget a session whenever a connection is cut; not forever.
        if self.sessions_lost > self.remote.shared().options.policy.retries.max(1) {
            let error = anyhow::anyhow!("the registry lost the upload again and again");
            return Err(Failure::Final(error.context(outside("an upload can't be finished"))));
        }
        self.source = None;
        (self.progress)(0);
        self.begin()?.ok_or_else(|| Failure::Final(anyhow::anyhow!("internal: mounted without a source")))
    }

    /// Sends `size` bytes from the session's offset.
    fn patch(&self, session: &Session, size: u64) -> Result<Session, Failure> {
        let end = session.offset + size;
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        headers.push(("content-range", format!("{}-{}", session.offset, end - 1)));
        let response = self.send(session, Method::Patch, &session.url, headers, size)?;
        let response = self.remote.accept(response, &[202])?;
        let mut next = self::session(&response, end)?;
        next.least = session.least;
        // A server that took less than was sent says so.
        if let Some(stand) = response.header("range").and_then(range_end)
            && stand < end
            && stand > session.offset
        {
            next.offset = stand;
        }
        Ok(next)
    }

    /// Ends the session, with all of the blob in the request where nothing was sent before.
    fn close(&self, session: &Session, size: u64) -> Result<(), Failure> {
        let url = with_query(&session.url, &[("digest", self.blob.digest.as_str())]);
        let headers = vec![("content-type", "application/octet-stream".to_owned())];
        let response = if size == 0 {
            self.remote.send(&self.scopes, Method::Put, &url, headers, Body::Empty)?
        } else {
            self.send(session, Method::Put, &url, headers, size)?
        };
        self.remote.accept(response, &[201, 204]).map(|_| ())
    }

    fn send(
        &self,
        session: &Session,
        method: Method,
        url: &str,
        headers: Vec<(&'static str, String)>,
        size: u64,
    ) -> Result<Response, Failure> {
        let mut source =
            Source::open(self.blob, session.offset, size, self.progress, &self.remote.shared().cancel)
                .map_err(Failure::Final)?;
        let body = Body::Stream { source: &mut source, size };
        let sent = self.remote.send(&self.scopes, method, url, headers, body);
        match source.error.take() {
            // The file's fault, not the connection's.
            Some(error) => Err(Failure::Final(error)),
            None => sent,
        }
    }

    /// What a failure means for the next attempt.
    fn after(&mut self, failure: Failure) -> anyhow::Result<Failure> {
        let Failure::Status(refusal) = failure else { return Ok(failure) };
        let unknown = matches!(refusal.status, 404 | 416) || refusal.has("BLOB_UPLOAD_UNKNOWN");
        let invalid = refusal.has("BLOB_UPLOAD_INVALID") || refusal.has("RANGE_INVALID");
        if self.session.is_some() && (unknown || invalid) && self.sessions_lost == 0 {
            self.session = None;
            self.sessions_lost += 1;
            return Ok(soon(refusal));
        }
        if !refusal.has("DIGEST_INVALID") {
            return Ok(Failure::Status(refusal));
        }
        self.session = None;
        self.check_file()?;
        if self.refused_digest {
            let hint = "the file here is whole: what the registry stored is not, as when its disk is full; see its \
                        log, then run it again";
            let message =
                format!("`{}` says that the blob `{}` is another", self.remote.repository, self.blob.digest);
            return Err(anyhow::Error::new(refusal).context(Fault::new(Exit::Outside, message).hint(hint)));
        }
        self.refused_digest = true;
        Ok(soon(refusal))
    }

    fn check_file(&self) -> anyhow::Result<()> {
        let shown = format!("could not read `{}`", self.blob.file.display());
        let file = File::open(self.blob.file).fault(Exit::Machine, shown)?;
        let cancel = &self.remote.shared().cancel;
        copy_verified(file, &mut io::sink(), self.blob.digest, self.blob.size, cancel)
    }
}

impl Remote {
    /// Where the server stands with a session; `None` where it knows it no more, or can't say.
    fn status(&self, session: Session, scopes: &Scopes) -> Result<Option<Session>, Failure> {
        let response = self.send(scopes, Method::Get, &session.url, Vec::new(), Body::Empty)?;
        let response = match self.accept(response, &[204, 202, 200]) {
            Err(Failure::Status(refusal)) if refusal.status < 500 && !matches!(refusal.status, 401 | 403) => {
                return Ok(None);
            }
            other => other?,
        };
        // `0-0` is one byte or none: a new session costs nothing then.
        let Some(offset) = response.header("range").and_then(range_end).filter(|offset| *offset > 1) else {
            return Ok(None);
        };
        let mut next = match response.header("location") {
            Some(_) => self::session(&response, offset)?,
            None => Session { offset, ..session },
        };
        next.least = next.least.max(1);
        Ok(Some(next))
    }
}

pub(super) fn soon(refusal: Refusal) -> Failure {
    Failure::Transient { error: refusal.into(), asked: Some(Duration::ZERO) }
}

fn outside(message: &str) -> Fault {
    Fault::new(Exit::Outside, message).hint("it is safe to run it again")
}

fn session(response: &Response, offset: u64) -> Result<Session, Failure> {
    let location = response.header("location").and_then(|location| joined(&response.url, location));
    let Some(url) = location else {
        let error = anyhow::anyhow!("the registry began an upload and didn't say where");
        return Err(Failure::Transient { error, asked: None });
    };
    let least = response.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(1);
    Ok(Session { url, offset, least })
}

/// `0-N` or `bytes=0-N`: N + 1 bytes are there.
fn range_end(text: &str) -> Option<u64> {
    let text = text.trim();
    let (_, end) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    end.parse::<u64>().ok()?.checked_add(1)
}

/// A part of a file on its way, which counts what was read and stops when it is asked to.
struct Source<'a> {
    file: io::Take<File>,
    done: u64,
    left: u64,
    progress: &'a (dyn Fn(u64) + Sync),
    cancel: &'a Cancel,
    error: Option<anyhow::Error>,
}

impl<'a> Source<'a> {
    fn open(
        blob: Blob<'_>,
        offset: u64,
        size: u64,
        progress: &'a (dyn Fn(u64) + Sync),
        cancel: &'a Cancel,
    ) -> anyhow::Result<Self> {
        let shown = || format!("could not read `{}`", blob.file.display());
        let mut file = File::open(blob.file).fault(Exit::Machine, shown())?;
        file.seek(SeekFrom::Start(offset)).fault(Exit::Machine, shown())?;
        Ok(Self { file: file.take(size), done: offset, left: size, progress, cancel, error: None })
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("stopped"));
        }
        let read = match self.file.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                self.error = Some(Fault::new(Exit::Machine, "a blob's file is shorter than was said").into());
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(read) => read,
            Err(error) => {
                let text = error.to_string();
                self.error = Some(
                    anyhow::Error::new(error)
                        .context(Fault::new(Exit::Machine, "a blob's file can't be read")),
                );
                return Err(io::Error::other(text));
            }
        };
        self.left -= read as u64;
        self.done += read as u64;
        (self.progress)(self.done);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::range_end;

    #[test]
    fn ranges_end_with_the_last_byte() {
        for (text, expected) in [
            ("0-0", Some(1)),
            ("0-99", Some(100)),
            ("bytes=0-9", Some(10)),
            ("0", None),
            ("0-x", None),
            ("", None),
        ] {
            assert_eq!(range_end(text), expected, "{text}");
        }
        assert_eq!(range_end("0-18446744073709551615"), None);
    }
}
