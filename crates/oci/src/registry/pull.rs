//! Fetching blobs into a layout, verified, going on where a cut connection left off.

use std::io::{Read, Write};

use crate::digest::Hasher;

use super::{Failure, Remote};
use crate::fault::{Exit, Fault};
use crate::host::files::Draft;
use crate::host::http::{Body, Method};
use crate::layout::Layout;
use crate::types::Descriptor;

impl Remote {
    /// Fetches a blob into `layout`. `progress` gets the bytes that are here.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry fails after all retries or has other bytes,
    /// [`Exit::Machine`] without the permission or when the disk says no; an interruption.
    pub fn fetch_blob(
        &self,
        blob: &Descriptor,
        layout: &Layout,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        if layout.holds(&blob.digest, blob.size) {
            progress(blob.size);
            return Ok(());
        }
        let what = format!("could not fetch the blob `{}`", blob.digest);
        let mut download =
            Download { draft: layout.draft()?, hash: Hasher::new(), done: 0, restarted: false, progress };
        let mut number = 0;
        loop {
            let before = download.done;
            match download.step(self, blob) {
                Ok(()) => break,
                Err(failure) => {
                    number = if download.done > before { 0 } else { number };
                    self.wait_after(failure, number, &what)?;
                }
            }
            number += 1;
        }
        download.draft.keep(&layout.blob_path(&blob.digest))
    }
}

impl Remote {
    /// Writes a blob's bytes, at most `blob.size` of them, to `target`, in one request; `false` where there is none.
    /// They are checked by who asks.
    ///
    /// # Errors
    /// As [`Remote::fetch_blob`]; fewer bytes.
    pub fn copy_blob(&self, blob: &Descriptor, target: &mut dyn Write) -> anyhow::Result<bool> {
        let url = self.url(&format!("blobs/{}", blob.digest));
        let found = self.patiently(&format!("could not fetch the blob `{}`", blob.digest), |remote| {
            let response = remote.send(&remote.pull_scope(), Method::Get, &url, Vec::new(), Body::Empty)?;
            remote.accept(response, &[200, 404])
        })?;
        if found.status == 404 {
            return Ok(false);
        }
        let copied = std::io::copy(&mut found.reader().take(blob.size), target)?;
        anyhow::ensure!(copied == blob.size, "the registry sent {copied} of {} bytes", blob.size);
        Ok(true)
    }
}

struct Download<'a> {
    draft: Draft,
    hash: Hasher,
    done: u64,
    /// The whole came once with another digest.
    restarted: bool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Download<'_> {
    fn step(&mut self, remote: &Remote, blob: &Descriptor) -> Result<(), Failure> {
        let url = remote.url(&format!("blobs/{}", blob.digest));
        if self.done < blob.size || blob.size == 0 {
            let mut headers = Vec::new();
            if self.done > 0 {
                headers.push(("range", format!("bytes={}-", self.done)));
            }
            let response = remote.send(&remote.pull_scope(), Method::Get, &url, headers, Body::Empty)?;
            let response = match remote.accept(response, &[200, 206]) {
                Err(Failure::Status(refusal)) if refusal.status == 416 => {
                    self.restart().map_err(Failure::Final)?;
                    return Err(super::upload::soon(refusal));
                }
                other => other?,
            };
            let goes_on = response.status == 206
                && response
                    .header("content-range")
                    .is_some_and(|range| range.starts_with(&format!("bytes {}-", self.done)));
            if self.done > 0 && !goes_on {
                self.restart().map_err(Failure::Final)?;
                if response.status == 206 {
                    return Err(transient("the registry sent another part than was asked for"));
                }
            }
            self.read(remote, response.reader(), blob.size)?;
        }
        let found = self.hash.clone().finish();
        if found == blob.digest {
            return Ok(());
        }
        if self.restarted {
            let message = format!("the registry has bytes of the digest `{found}` under `{}`", blob.digest);
            return Err(Failure::Final(Fault::new(Exit::Outside, message).into()));
        }
        self.restarted = true;
        self.restart().map_err(Failure::Final)?;
        Err(transient("a blob came damaged"))
    }

    fn read(&mut self, remote: &Remote, mut reader: impl Read, size: u64) -> Result<(), Failure> {
        let mut buffer = vec![0; 128 * 1024];
        loop {
            super::super::stop_if_asked(&remote.shared().cancel).map_err(Failure::Final)?;
            let read = match reader.read(&mut buffer) {
                Ok(0) if self.done < size => return Err(transient("the connection was cut")),
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => {
                    let error = anyhow::Error::new(error).context("the connection was cut");
                    return Err(Failure::Transient { error, asked: None });
                }
            };
            if self.done + read as u64 > size {
                let message = format!("the registry sends more than the {size} bytes that were said");
                return Err(Failure::Final(Fault::new(Exit::Machine, message).into()));
            }
            self.draft.write_all(&buffer[..read]).map_err(|error| {
                Failure::Final(
                    anyhow::Error::new(error).context(Fault::new(Exit::Machine, "could not write a blob")),
                )
            })?;
            self.hash.update(&buffer[..read]);
            self.done += read as u64;
            (self.progress)(self.done);
        }
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.draft.clear()?;
        self.hash = Hasher::new();
        self.done = 0;
        Ok(())
    }
}

fn transient(message: &'static str) -> Failure {
    Failure::Transient { error: anyhow::anyhow!(message), asked: None }
}
