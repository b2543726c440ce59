//! Where two images that should be the same are not: the first layer, file and byte range.

use std::io::Read;
use std::path::Path;

use super::layer::reader::plain;
use super::layout::Layout;
use super::types::{Descriptor, Digest};
use crate::fault::{Exit, FaultContext as _};

/// The first difference of two images, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `layer 2 of 2 (sha256:…, then sha256:…)`, or the config, or the manifest.
    pub part: String,
    /// `usr/local/bin/api: bytes 12-20 of 4000`.
    pub detail: String,
}

/// Compares the images of two manifests; `None` where both are the same.
///
/// # Errors
/// [`Exit::Machine`] where a layout is damaged.
pub fn images(one: (&Layout, &Digest), other: (&Layout, &Digest)) -> anyhow::Result<Option<Difference>> {
    if one.1 == other.1 {
        return Ok(None);
    }
    let (first, _) = one.0.read_image(one.1)?;
    let (second, _) = other.0.read_image(other.1)?;
    let mut layers = first.layers.iter().zip(&second.layers).enumerate();
    if let Some((number, (a, b))) = layers.find(|(_, (a, b))| a.digest != b.digest) {
        let count = first.layers.len();
        let part = format!("layer {} of {count} ({}, then {})", number + 1, a.digest, b.digest);
        return Ok(Some(Difference { part, detail: tars((one.0, a), (other.0, b))? }));
    }
    if first.layers.len() != second.layers.len() {
        let detail = format!("{} layers, then {}", first.layers.len(), second.layers.len());
        return Ok(Some(Difference { part: "the manifest".to_owned(), detail }));
    }
    let (part, a, b) = if first.config.digest == second.config.digest {
        ("the manifest", one.0.read(one.1)?, other.0.read(other.1)?)
    } else {
        ("the config", one.0.read(&first.config.digest)?, other.0.read(&second.config.digest)?)
    };
    let part = format!("{part} ({}, then {})", Digest::of(&a), Digest::of(&b));
    let detail = range(&mut a.as_slice(), &mut b.as_slice())?.unwrap_or_default();
    Ok(Some(Difference { part, detail }))
}

/// Compares two files; `None` where both are the same.
///
/// # Errors
/// [`Exit::Machine`] where one can't be read.
pub fn files(one: &Path, other: &Path) -> anyhow::Result<Option<String>> {
    let open = |path: &Path| {
        std::fs::File::open(path).fault(Exit::Machine, format!("could not read `{}`", path.display()))
    };
    range(&mut open(one)?, &mut open(other)?)
}

type Entries<'a, 'b> = tar::Entries<'a, Box<dyn Read + 'b>>;

/// The first file that differs between two layers.
fn tars(one: (&Layout, &Descriptor), other: (&Layout, &Descriptor)) -> anyhow::Result<String> {
    let open = |(layout, layer): (&Layout, &Descriptor)| -> anyhow::Result<_> {
        Ok(tar::Archive::new(plain(&layer.media_type, layout.open_blob(layer)?)?))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let failed = "could not read a layer";
    let (mut first, mut second) =
        (one.entries().fault(Exit::Machine, failed)?, other.entries().fault(Exit::Machine, failed)?);
    loop {
        let found = match (next(&mut first)?, next(&mut second)?) {
            (None, None) => return Ok("the same files, packed into other bytes".to_owned()),
            (Some(a), None) => Some(format!("{}: only in the first build", name(&a))),
            (None, Some(b)) => Some(format!("{}: only in the second build", name(&b))),
            (Some(a), Some(b)) if a.path_bytes() != b.path_bytes() => {
                Some(format!("{}, then {}: not the same files", name(&a), name(&b)))
            }
            (Some(mut a), Some(mut b)) => {
                let shown = name(&a);
                let content = range(&mut a, &mut b)?;
                let header = a.header().as_bytes() != b.header().as_bytes();
                content
                    .or_else(|| header.then(|| "its mode, time or owner".to_owned()))
                    .map(|what| format!("{shown}: {what}"))
            }
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
}

fn next<'a, 'b>(entries: &mut Entries<'a, 'b>) -> anyhow::Result<Option<tar::Entry<'a, Box<dyn Read + 'b>>>> {
    entries.next().transpose().fault(Exit::Machine, "could not read a layer")
}

/// For eyes.
fn name<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let path = entry.path_bytes();
    String::from_utf8_lossy(&path).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// From the first byte that differs to the last one, counted from 0; `None` where none does.
fn range(one: &mut impl Read, other: &mut impl Read) -> anyhow::Result<Option<String>> {
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (mut sizes, mut differing) = ((0_u64, 0_u64), None);
    loop {
        let (x, y) = (fill(one, &mut a)?, fill(other, &mut b)?);
        if x == 0 && y == 0 {
            break;
        }
        let at = sizes.0.max(sizes.1);
        for index in (0..x.max(y)).filter(|index| *index >= x.min(y) || a[*index] != b[*index]) {
            let place = at + index as u64;
            differing = Some((differing.map_or(place, |(first, _)| first), place));
        }
        sizes = (sizes.0 + x as u64, sizes.1 + y as u64);
    }
    let Some((first, last)) = differing else { return Ok(None) };
    let sizes =
        if sizes.0 == sizes.1 { sizes.0.to_string() } else { format!("{}, then {}", sizes.0, sizes.1) };
    Ok(Some(format!("bytes {first}-{last} of {sizes}")))
}

/// Reads until the buffer is full or the end.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).fault(Exit::Machine, "could not read what is compared"),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_goes_from_the_first_differing_byte_to_the_last() {
        let shown = |a: &[u8], b: &[u8]| range(&mut &*a, &mut &*b).unwrap();
        assert_eq!(shown(b"same", b"same"), None);
        assert_eq!(shown(b"abcdef", b"aXcdYf").as_deref(), Some("bytes 1-4 of 6"));
        assert_eq!(shown(b"abc", b"abcde").as_deref(), Some("bytes 3-4 of 3, then 5"));
        assert_eq!(shown(b"", b"a").as_deref(), Some("bytes 0-0 of 0, then 1"));
        // Past the end of a buffer.
        let (long, mut other) = (vec![7; 200_000], vec![7; 200_000]);
        other[70_000] = 8;
        other[150_000] = 8;
        assert_eq!(shown(&long, &other).as_deref(), Some("bytes 70000-150000 of 200000"));
        assert_eq!(
            shown(&long, &long[..65_536]).as_deref(),
            Some("bytes 65536-199999 of 200000, then 65536")
        );
    }
}
