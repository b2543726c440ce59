//! A look through a base's layer, before a byte of it is used.

use std::io::{self, Read};
use std::path::Component;

use crate::digest::Hasher;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::layer::reader::plain as plain_layer;
use crate::stop_if_asked;
use crate::types::{Descriptor, Digest};

/// A layer may always unpack to this many bytes, beyond it to [`RATIO`] times its size, and never to
/// more than [`LARGEST`].
const ALWAYS: u64 = 256 << 20;
const RATIO: u64 = 64;
const LARGEST: u64 = 64 << 30;

/// Looks through a layer: bounded, of the digest that the config names, and with no path that leads
/// out of the root.
pub(super) fn layer(
    bytes: impl Read,
    layer: &Descriptor,
    diff_id: &Digest,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let limit = layer.size.saturating_mul(RATIO).clamp(ALWAYS, LARGEST);
    let plain = plain_layer(&layer.media_type, bytes)?;
    let mut bounded = Bounded { inner: plain, hash: Hasher::new(), left: limit, over: false, cancel };
    let checked = tar(&mut bounded)
        .and_then(|()| io::copy(&mut bounded, &mut io::sink()).fault(Exit::Machine, "it can't be unpacked"));
    stop_if_asked(cancel)?;
    if bounded.over {
        let message = format!("its {} bytes unpack to more than {limit}", layer.size);
        return Err(Fault::new(Exit::Machine, message).hint("is it a decompression bomb?").into());
    }
    checked?;
    let found = bounded.hash.finish();
    if found != *diff_id {
        let message = format!("it unpacks to `{found}` where the config names `{diff_id}`");
        return Err(Fault::new(Exit::Machine, message).into());
    }
    Ok(())
}

pub(super) fn tar(reader: impl Read) -> anyhow::Result<()> {
    let unreadable = "it is no tar that can be read";
    for entry in tar::Archive::new(reader).entries().fault(Exit::Machine, unreadable)? {
        let entry = entry.fault(Exit::Machine, unreadable)?;
        let path = entry.path().fault(Exit::Machine, unreadable)?;
        let leads_out =
            |component: Component<'_>| !matches!(component, Component::Normal(_) | Component::CurDir);
        if path.components().any(leads_out) {
            let message = format!("its entry `{}` leads out of the image", path.display());
            return Err(Fault::new(Exit::Machine, message).into());
        }
        if entry.header().entry_type().is_hard_link() {
            let target = entry.link_name().fault(Exit::Machine, unreadable)?.unwrap_or_default();
            if target.components().any(|component| component == Component::ParentDir) {
                let message = format!(
                    "its hard link `{}` leads out of the image, to `{}`",
                    path.display(),
                    target.display()
                );
                return Err(Fault::new(Exit::Machine, message).into());
            }
        }
    }
    Ok(())
}

/// Hashes what it gives, and gives no more than a limit.
struct Bounded<'a, R> {
    inner: R,
    hash: Hasher,
    left: u64,
    over: bool,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.inner.read(buffer)?;
        self.over |= read as u64 > self.left;
        if self.over {
            return Err(io::Error::other("too large"));
        }
        self.left -= read as u64;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
