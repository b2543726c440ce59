//! Layers: a sorted set of files becomes a compressed tar, the same bytes on every machine.
//!
//! Nothing of the machine enters: no owner's name, no time, no mode of a file on disk, no header
//! field that a compressor fills by itself. Tar, both hashes and the compression are one pass over
//! the bytes with fixed buffers, so a layer of any size takes a few hundred kilobytes of memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::digest::Hasher;
use anyhow::Context as _;

use self::header::{ID_LIMIT, SIZE_LIMIT, write_header, write_padding};
use super::types::{Descriptor, Digest, media_type};
use crate::cancel::Cancel;
use crate::declared::Compression;
use crate::fault::{Exit, Fault, FaultContext as _};

mod header;
pub mod reader;
pub mod windows;

/// Every write into a compressor has this size but the last: how the input is cut never shapes the
/// output.
const CHUNK: usize = 128 * 1024;

/// deflate's and zstd's level where none is chosen. A change changes every digest: the golden test says so.
const LEVEL: u8 = 1;

/// What one path of a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Directory,
    Bytes(Vec<u8>),
    /// Read when the layer is written.
    File(PathBuf),
    /// A link with this target, which is not looked at.
    Symlink(String),
}

/// One path of a layer. The mode holds permission bits only, as 0o755.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub content: Content,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

impl Entry {
    /// 0755, root's.
    pub fn directory() -> Self {
        Self { content: Content::Directory, mode: 0o755, uid: 0, gid: 0 }
    }

    /// 0644, root's.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { content: Content::Bytes(bytes.into()), mode: 0o644, uid: 0, gid: 0 }
    }

    /// The bytes of a file, with a mode given here; root's.
    pub fn file(source: impl Into<PathBuf>, mode: u32) -> Self {
        Self { content: Content::File(source.into()), mode, uid: 0, gid: 0 }
    }

    pub fn symlink(target: impl Into<String>) -> Self {
        Self { content: Content::Symlink(target.into()), mode: 0o777, uid: 0, gid: 0 }
    }

    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}

/// The paths of one layer, sorted, each once, with their parents.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    paths: BTreeMap<String, Entry>,
    /// Each gets what [`windows`] says.
    windows: bool,
}

/// A written layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Of the compressed bytes.
    pub descriptor: Descriptor,
    /// Of the tar inside.
    pub diff_id: Digest,
}

impl Entries {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `path`, absolute as seen in the container (`/etc/passwd`). Parents that are missing
    /// become directories, 0755 and root's.
    ///
    /// # Errors
    /// A path with `.` or `..`, an empty part or a NUL in it; a parent that is no directory; a path
    /// that is already there as something else.
    pub fn insert(&mut self, path: &str, entry: Entry) -> anyhow::Result<()> {
        let name = path.trim_start_matches('/').trim_end_matches('/');
        let wrong = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
        if name.split('/').any(wrong) {
            return Err(Fault::new(Exit::Usage, format!("`{path}` is no path of an image")).into());
        }
        for (end, _) in name.match_indices('/') {
            let parent = self.paths.entry(name[..end].to_owned()).or_insert_with(Entry::directory);
            if parent.content != Content::Directory {
                let message = format!("`{path}` lies below `/{}`, which is no directory", &name[..end]);
                return Err(Fault::new(Exit::Usage, message).into());
            }
        }
        if let Some(old) = self.paths.get(name) {
            let directories = old.content == Content::Directory && entry.content == Content::Directory;
            if *old != entry && !directories {
                return Err(Fault::new(Exit::Usage, format!("`{path}` is in the image twice")).into());
            }
        }
        self.paths.insert(name.to_owned(), entry);
        Ok(())
    }

    /// The same for Windows, whose layers have the root in a folder of its own.
    ///
    /// # Errors
    /// None but a defect in the fixed paths.
    pub fn for_windows(self) -> anyhow::Result<Self> {
        let mut moved = Self { windows: true, ..Self::default() };
        moved.insert(windows::HIVES, Entry::directory())?;
        moved.insert(windows::FILES, Entry::directory())?;
        for (path, entry) in self.paths {
            moved.insert(&format!("{}/{path}", windows::FILES), entry)?;
        }
        Ok(moved)
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Paths without the leading slash, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.paths.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}

/// Writes the layer's compressed bytes to `out`. `mtime` is seconds since 1970, the time of every
/// entry.
///
/// # Errors
/// [`Exit::Machine`] where a file can't be read, changes while it is read, or `out` fails; an
/// interruption.
pub fn write(
    entries: &Entries,
    compression: Compression,
    mtime: u64,
    out: impl Write,
    cancel: &Cancel,
) -> anyhow::Result<Layer> {
    let compressor = Compressor::new(compression, Hashing::new(out))?;
    let mut tar = Chunked { buffer: Vec::with_capacity(CHUNK), sink: Hashing::new(compressor) };
    for (path, entry) in entries.iter() {
        let directory = entry.content == Content::Directory;
        let records = if entries.windows { windows::records(directory).to_vec() } else { Vec::new() };
        write_entry(&mut tar, path, entry, (mtime, &records), cancel)
            .with_context(|| format!("could not put `/{path}` into a layer"))?;
    }
    // Two blocks of zeros end an archive.
    tar.write_all(&[0; 1024]).fault(Exit::Machine, FAILED)?;
    finish(tar, compression)
}

/// Compresses a tar that somebody else has written, as it is.
///
/// # Errors
/// [`Exit::Machine`] where `tar` can't be read or `out` fails; an interruption.
pub fn compress(
    tar: impl Read,
    compression: Compression,
    out: impl Write,
    cancel: &Cancel,
) -> anyhow::Result<Layer> {
    let compressor = Compressor::new(compression, Hashing::new(out))?;
    let mut sink = Chunked { buffer: Vec::with_capacity(CHUNK), sink: Hashing::new(compressor) };
    copy(tar, &mut sink, SIZE_LIMIT, cancel)?;
    finish(sink, compression)
}

const FAILED: &str = "could not write a layer";

fn finish<W: Write>(
    tar: Chunked<Hashing<Compressor<Hashing<W>>>>,
    compression: Compression,
) -> anyhow::Result<Layer> {
    let failed = FAILED;
    let hashing = tar.finish().fault(Exit::Machine, failed)?;
    let (compressor, diff_id, _) = hashing.finish();
    let mut inner = compressor.finish().fault(Exit::Machine, failed)?;
    inner.flush().fault(Exit::Machine, failed)?;
    let (_, digest, size) = inner.finish();
    let media_type = match compression {
        Compression::Gzip(_) => media_type::LAYER_GZIP,
        Compression::Zstd(_) => media_type::LAYER_ZSTD,
    };
    Ok(Layer { descriptor: Descriptor::new(media_type, digest, size), diff_id })
}

fn write_entry(
    tar: &mut impl Write,
    path: &str,
    entry: &Entry,
    (mtime, records): (u64, &[(&str, &str)]),
    cancel: &Cancel,
) -> anyhow::Result<()> {
    if entry.uid > ID_LIMIT || entry.gid > ID_LIMIT || mtime > SIZE_LIMIT {
        return Err(Fault::new(Exit::Usage, "an owner or a time is too large for a tar header").into());
    }
    let mut header = tar::Header::new_ustar();
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(mtime);
    match &entry.content {
        Content::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            write_header(tar, &mut header, &format!("{path}/"), None, 0, records)
        }
        Content::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            write_header(tar, &mut header, path, Some(target), 0, records)
        }
        Content::Bytes(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            write_header(tar, &mut header, path, None, bytes.len() as u64, records)?;
            tar.write_all(bytes).fault(Exit::Machine, "could not write a layer")?;
            write_padding(tar, bytes.len() as u64)
        }
        Content::File(source) => {
            let shown = format!("could not read `{}`", source.display());
            let file = File::open(source).fault(Exit::Machine, &shown)?;
            let metadata = file.metadata().fault(Exit::Machine, &shown)?;
            if !metadata.is_file() {
                return Err(Fault::new(Exit::Machine, format!("`{}` is no file", source.display())).into());
            }
            header.set_entry_type(tar::EntryType::Regular);
            write_header(tar, &mut header, path, None, metadata.len(), records)?;
            let copied = copy(file, tar, metadata.len(), cancel)?;
            if copied != metadata.len() {
                let message = format!("`{}` changed while it was read", source.display());
                return Err(Fault::new(Exit::Machine, message).hint("run it again").into());
            }
            write_padding(tar, copied)
        }
    }
}

/// Copies `size` bytes; one more in `source` counts too, so that a file which grew is noticed.
fn copy(source: impl Read, target: &mut impl Write, size: u64, cancel: &Cancel) -> anyhow::Result<u64> {
    let mut source = source.take(size.saturating_add(1));
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        super::stop_if_asked(cancel)?;
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).fault(Exit::Machine, "could not read a layer's file"),
        };
        target.write_all(&buffer[..read]).fault(Exit::Machine, "could not write a layer")?;
        copied += read as u64;
    }
}

/// Passes bytes on and hashes what was taken.
struct Hashing<W> {
    inner: W,
    hash: Hasher,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Hasher::new(), size: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hash.finish(), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hands bytes on in pieces of [`CHUNK`].
struct Chunked<W> {
    buffer: Vec<u8>,
    sink: W,
}

impl<W: Write> Chunked<W> {
    fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&self.buffer)?;
        Ok(self.sink)
    }
}

impl<W: Write> Write for Chunked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.sink.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Compressor<W: Write> {
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    fn new(compression: Compression, out: W) -> anyhow::Result<Self> {
        Ok(match compression {
            // 255 is "unknown" (RFC 1952, OS): a default would name this machine's.
            Compression::Gzip(level) => Self::Gzip(
                flate2::GzBuilder::new()
                    .mtime(0)
                    .operating_system(255)
                    .write(out, flate2::Compression::new(level.unwrap_or(LEVEL).into())),
            ),
            Compression::Zstd(level) => Self::Zstd(
                zstd::stream::Encoder::new(out, level.unwrap_or(LEVEL).into())
                    .fault(Exit::Machine, "could not start zstd")?,
            ),
        })
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests;
