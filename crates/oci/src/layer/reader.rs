//! The way back: a layer's blob as the tar inside.

use std::io::{self, BufReader, Read};

use crate::digest::Hasher;

use crate::fault::{Exit, Fault, FaultContext as _};
use crate::types::{Digest, media_type};

/// The largest window that a zstd frame may ask for, as a power of two: what its format wants of every
/// decoder. 128 MiB would be the next step.
const WINDOW: u32 = 27;

/// Unpacks the bytes of a layer of this media type, with no limit of its own: who does not trust them
/// sets one.
///
/// # Errors
/// [`Exit::Machine`] for a type that is no layer's.
pub fn plain<'a>(media_type: &str, bytes: impl Read + 'a) -> anyhow::Result<Box<dyn Read + 'a>> {
    let bytes = BufReader::with_capacity(1 << 17, bytes);
    match media_type::layer(media_type) {
        Some(media_type::LAYER_GZIP) => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(bytes))),
        Some(media_type::LAYER_ZSTD) => {
            let failed = "could not start zstd";
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).fault(Exit::Machine, failed)?;
            decoder.window_log_max(WINDOW).fault(Exit::Machine, failed)?;
            Ok(Box::new(decoder))
        }
        Some(_) => Ok(Box::new(bytes)),
        None => {
            let message = format!("a layer of type `{media_type}` can't be shipped");
            Err(Fault::new(Exit::Machine, message).into())
        }
    }
}

/// A reader whose end is an error where its bytes were not those of a digest.
pub struct Checked<R> {
    pub inner: R,
    /// Taken at the end.
    pub hash: Option<Hasher>,
    pub expected: Digest,
}

impl<R> Checked<R> {
    pub fn new(inner: R, expected: &Digest) -> Self {
        Self { inner, hash: Some(Hasher::new()), expected: expected.clone() }
    }
}

impl<R> std::fmt::Debug for Checked<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a reader of `{}`", self.expected)
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read > 0 {
            if let Some(hash) = &mut self.hash {
                hash.update(&buffer[..read]);
            }
        } else if !buffer.is_empty()
            && let Some(hash) = self.hash.take()
            && hash.finish() != self.expected
        {
            return Err(io::Error::other(format!("its bytes are not those of `{}`", self.expected)));
        }
        Ok(read)
    }
}
