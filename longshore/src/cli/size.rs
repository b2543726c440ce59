//! `image --explain-size SERVICE`: what a service's images are made of, layer by layer, and how much more
//! or less that is than in its last release.

use std::fmt::Write as _;
use std::io::Read as _;

use crate::artifacts::Artifacts;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::ledger::Ledger;
use crate::oci::layer::reader::plain;
use crate::oci::layout::Layout;
use crate::oci::types::Descriptor;
use crate::report::table::{self, Side};
use crate::report::{self, measure};
use crate::session::Session;

/// Prints it for each platform of the image that the run before has left.
///
/// # Errors
/// [`Exit::Usage`] where there is none; [`Exit::Machine`] where a layer can't be read.
pub fn explain(session: &Session, service: &str) -> anyhow::Result<u8> {
    let artifacts = Artifacts::read(&session.workspace.dist)?;
    let Some(artifact) = artifacts.services.get(service).filter(|artifact| !artifact.platforms.is_empty())
    else {
        return Err(Fault::new(Exit::Usage, format!("no image of `{service}` was made")).into());
    };
    let layout = Layout::open(&session.workspace.layout(service))?;
    let ledger = Ledger::new(&session.git, session.prefix(), session.scope());
    let book = ledger.book()?;
    let newest = book.newest(service).map(|version| (service, version));
    let before = ledger.records(&book, newest)?.pop();
    let mut text = String::new();
    for (platform, image) in &artifact.platforms {
        let (manifest, config) = layout.read_image(&image.digest)?;
        let _ =
            writeln!(text, "{service} {} for {platform}: {}", artifact.version, measure::bytes(image.size));
        if let Some(record) = &before
            && let Some(old) = record.platforms.get(platform)
        {
            let (sign, change) = if image.size >= old.size {
                ('+', image.size - old.size)
            } else {
                ('-', old.size - image.size)
            };
            let _ = writeln!(
                text,
                "  {} had {}: {sign}{}",
                record.version,
                measure::bytes(old.size),
                measure::bytes(change)
            );
        }
        let ours =
            config.history.iter().filter(|entry| entry.created_by.as_deref() == Some("longshore")).count();
        let below = manifest.layers.len().saturating_sub(ours);
        let mut rows = Vec::new();
        for (number, layer) in manifest.layers.iter().enumerate() {
            let inside = contents(&layout, layer)?;
            let of = if number < below { "base" } else { "own" };
            rows.push(vec![
                of.to_owned(),
                measure::bytes(layer.size),
                measure::bytes(inside.bytes),
                inside.files.to_string(),
                inside
                    .largest
                    .map_or_else(String::new, |(size, path)| format!("{path} {}", measure::bytes(size))),
            ]);
        }
        let head = [
            ("layer", Side::Left),
            ("compressed", Side::Right),
            ("unpacked", Side::Right),
            ("files", Side::Right),
            ("largest", Side::Left),
        ];
        text.push_str(&table::render(&head, &rows));
    }
    report::result(text.trim_end());
    Ok(0)
}

/// What one layer holds.
#[derive(Debug, Default)]
struct Contents {
    files: usize,
    bytes: u64,
    largest: Option<(u64, String)>,
}

fn contents(layout: &Layout, layer: &Descriptor) -> anyhow::Result<Contents> {
    let failed = || format!("could not read the layer `{}`", layer.digest);
    // Its own bytes' worth many times over is no layer of ours: see the check of bases.
    let tar = plain(&layer.media_type, layout.open_blob(layer)?)?.take(64 << 30);
    let mut found = Contents::default();
    for entry in tar::Archive::new(tar).entries().fault(Exit::Machine, failed())? {
        let entry = entry.fault(Exit::Machine, failed())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        found.files += 1;
        found.bytes += size;
        if found.largest.as_ref().is_none_or(|(largest, _)| size > *largest) {
            let path: String = String::from_utf8_lossy(&entry.path_bytes())
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect();
            found.largest = Some((size, path));
        }
    }
    Ok(found)
}
