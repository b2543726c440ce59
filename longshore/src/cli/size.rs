//! `image --explain-size SERVICE`: what a service's images are made of, layer by layer, and its program
//! package by package, and how much more or less that is than in its last release.

mod program;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use semver::Version;
use serde::Serialize;

use crate::artifacts::Artifacts;
use crate::cli::{Global, ProgressChoice};
use crate::config;
use crate::deploy::image::Store;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::ledger::{Ledger, ReleaseRecord};
use crate::oci::layer::reader::plain;
use crate::oci::layout::Layout;
use crate::oci::types::{Descriptor, Digest};
use crate::platform::Platform;
use crate::report;
use crate::session::Session;

const SCHEMA: u32 = 1;

/// A layer's own bytes' worth many times over is no layer of ours: see the check of bases.
const LAYER_LIMIT: u64 = 64 << 30;

/// A service's images, as `--progress json` prints them too.
#[derive(Debug, Serialize)]
struct Explanation {
    schema: u32,
    service: String,
    version: Version,
    /// The last release that there was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Version>,
    platforms: BTreeMap<Platform, Image>,
}

/// One platform's. Sizes are in bytes; `previous` is absent where the last release's image is not to be had.
#[derive(Debug, Serialize)]
struct Image {
    /// Of all layers, compressed.
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<u64>,
    layers: Vec<Layer>,
    /// What its start command names, where that is a Go executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<program::Program>,
}

#[derive(Debug, Serialize)]
struct Layer {
    digest: Digest,
    /// The base has it.
    base: bool,
    compressed: u64,
    /// Compressed, in the last release; absent where that had another number of layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<u64>,
    #[serde(flatten)]
    contents: Contents,
}

/// What one layer holds.
#[derive(Debug, Default, Serialize)]
struct Contents {
    files: usize,
    unpacked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest: Option<(String, u64)>,
}

/// Prints it for each platform of the image that the run before has left.
///
/// # Errors
/// [`Exit::Usage`] where there is none; [`Exit::Machine`] where a layer can't be read.
pub fn explain(session: &Session, global: &Global, service: &str) -> anyhow::Result<()> {
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
    let mut explanation = Explanation {
        schema: SCHEMA,
        service: service.to_owned(),
        version: artifact.version.clone(),
        previous: before.as_ref().map(|record| record.version.clone()),
        platforms: BTreeMap::new(),
    };
    for (platform, made) in &artifact.platforms {
        let mut image = image(&layout, &made.digest)?;
        if let Some(record) = &before
            && let Some(old) = record.platforms.get(platform)
        {
            image.previous = Some(old.size);
            match released(session, &layout, record, &old.digest) {
                Ok(old) => compare(&mut image, &old),
                Err(error) => report::note(&format!(
                    "warning: the image of {service} {} for {platform} can't be read, so its parts are not compared: {error:#}",
                    record.version
                )),
            }
        }
        explanation.platforms.insert(platform.clone(), image);
    }
    if global.progress == ProgressChoice::Json {
        report::result(&serde_json::to_string(&explanation)?);
    } else {
        report::result(text::render(&explanation).trim_end());
    }
    Ok(())
}

fn image(layout: &Layout, digest: &Digest) -> anyhow::Result<Image> {
    let (manifest, config) = layout.read_image(digest)?;
    let ours = config.history.iter().filter(|entry| entry.created_by.as_deref() == Some("longshore")).count();
    let below = manifest.layers.len().saturating_sub(ours);
    let paths = program::paths(&config);
    let (mut layers, mut program) = (Vec::new(), None);
    for (number, layer) in manifest.layers.iter().enumerate() {
        let (contents, found) = contents(layout, layer, &paths)?;
        // The layer above has the last word.
        program = found.or(program);
        layers.push(Layer {
            digest: layer.digest.clone(),
            base: number < below,
            compressed: layer.size,
            previous: None,
            contents,
        });
    }
    let program = program.and_then(|(path, bytes)| program::Program::read(path, &bytes));
    Ok(Image { size: manifest.layers_size(), previous: None, layers, program })
}

/// The image of a release: in this clone's `dist/`, or as the registry has it.
fn released(
    session: &Session,
    here: &Layout,
    record: &ReleaseRecord,
    digest: &Digest,
) -> anyhow::Result<Image> {
    if let Ok(found) = image(here, digest) {
        return Ok(found);
    }
    if session.offline && !record.repository.starts_with("oci:") {
        anyhow::bail!("it is not here, and `--offline` asks no registry");
    }
    let registries: Vec<_> = session
        .config
        .environments
        .keys()
        .filter_map(|name| config::environment(&session.config, name).ok())
        .map(|environment| environment.registry)
        .collect();
    let (root, cache) = (&session.workspace.root, &session.workspace.cache);
    let store = Store::open(&registries, root, cache, &session.environment, &session.cancel)?;
    image(store.fetch(&record.repository, digest)?, digest)
}

fn compare(image: &mut Image, old: &Image) {
    if image.layers.len() == old.layers.len() {
        for (layer, old) in image.layers.iter_mut().zip(&old.layers) {
            layer.previous = Some(old.compressed);
        }
    }
    if let (Some(program), Some(old)) = (&mut image.program, &old.program) {
        program.compare(old);
    }
}

type Found = Option<(String, Vec<u8>)>;

/// What a layer holds, and the file of it that is at one of `paths`.
fn contents(
    layout: &Layout,
    layer: &Descriptor,
    paths: &BTreeSet<String>,
) -> anyhow::Result<(Contents, Found)> {
    let failed = || format!("could not read the layer `{}`", layer.digest);
    let tar = plain(&layer.media_type, layout.open_blob(layer)?)?.take(LAYER_LIMIT);
    let (mut found, mut program) = (Contents::default(), None);
    for entry in tar::Archive::new(tar).entries().fault(Exit::Machine, failed())? {
        let mut entry = entry.fault(Exit::Machine, failed())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        found.files += 1;
        found.unpacked += size;
        let path: String = String::from_utf8_lossy(&entry.path_bytes())
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        if paths.contains(path.trim_start_matches("./").trim_start_matches('/')) && size <= program::LIMIT {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).fault(Exit::Machine, failed())?;
            program = Some((path.clone(), bytes));
        }
        if found.largest.as_ref().is_none_or(|(_, largest)| size > *largest) {
            found.largest = Some((path, size));
        }
    }
    Ok((found, program))
}
