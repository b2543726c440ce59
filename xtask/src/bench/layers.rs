//! How fast the library makes a layer: each kind in a process of its own, so that its memory is its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use longshore::cancel::Cancel;
use longshore::config::Compression;
use longshore::oci::layer::{Entries, Entry};
use longshore::oci::layout::Layout;

use super::workload::Place;

/// The hidden command that makes one layer.
pub(super) const WORD: &str = "bench-layer";

const SIZE: usize = 100_000_000;

/// The commands, over one file of an executable's bytes.
pub(super) fn commands(place: &Place) -> anyhow::Result<Vec<(&'static str, Place, Command)>> {
    let program = std::env::current_exe()?;
    let folder = place.root().join("dist/layers");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("synthetic");
    let bytes: Vec<u8> = std::fs::read(&program)?.into_iter().cycle().take(SIZE).collect();
    longshore::host::files::write(&file, &bytes)?;
    let kinds = [
        ("gzip: hashed, in a tar, compressed, hashed", "gzip"),
        ("zstd: hashed, in a tar, compressed, hashed", "zstd"),
        ("read and hashed once", "sha256"),
    ];
    let commands = kinds.map(|(name, kind)| {
        let mut command = place.command(&program);
        command.args([WORD, kind]).arg(&file);
        (name, place.clone(), command)
    });
    Ok(commands.into())
}

/// Makes one layer of a file.
pub(super) fn child(words: &[OsString]) -> anyhow::Result<u8> {
    let [kind, file] = words else { anyhow::bail!("usage: KIND FILE") };
    let file = PathBuf::from(file);
    let folder = tempfile::tempdir_in(file.parent().unwrap_or(Path::new(".")))?;
    if kind == "sha256" {
        let mut hash = longshore::digest::Hasher::new();
        std::io::copy(&mut std::fs::File::open(&file)?, &mut hash)?;
        longshore::report::result(hash.finish().hex());
        return Ok(0);
    }
    let compression = if kind == "zstd" { Compression::Zstd(None) } else { Compression::Gzip(None) };
    let layout = Layout::create(folder.path())?;
    let mut entries = Entries::new();
    entries.insert("usr/local/bin/service", Entry::file(&file, 0o755)).context("the layer's only file")?;
    layout.put_layer(&entries, compression, 0, &Cancel::default())?;
    Ok(0)
}
