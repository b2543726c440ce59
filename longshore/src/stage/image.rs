//! Image: the embedded builder. One manifest a platform, one index over them, and an environment's
//! variants of it; no daemon, no Dockerfile. Same inputs, same bytes.

pub mod dockerfile;
pub mod inputs;
pub mod jobs;
pub mod output;
mod root;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Finish, ManifestOutput, Output, Scope};
use crate::cache::{Bucket, Cache};
use crate::cancel::Cancel;
use crate::config::{Base, Compression, Located};
use crate::diagnostic::{Diagnostic, Place, render};
use crate::fault::{Exit, Fault, Tail, exit_of};
use crate::oci::base;
use crate::oci::image::{self, Settings};
use crate::oci::layer::{Content, Entries, Entry, Layer, windows};
use crate::oci::layout::Layout;
use crate::oci::registry::{Client, Options};
use crate::oci::types::{Descriptor, Digest, annotation};
use crate::plan::JobId;
use crate::platform::Platform;
use crate::style::Colour;

/// The behaviour of this stage, in every key: a change of it is a new version.
pub const VERSION: u32 = 1;

/// Where binaries lie in an image.
const BINARIES: &str = "usr/local/bin";
const WINDOWS_BINARIES: &str = "app";

/// Windows' bases have it, with no rights but a user's. Numbers mean nothing there.
const WINDOWS_USER: &str = "ContainerUser";

/// One platform's image of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    pub service: String,
    pub platform: Platform,
    /// The job that leaves the binary.
    pub build: JobId,
    pub base: Base,
    /// Where the base is written.
    pub base_place: Option<Place>,
    /// `UID[:GID]`
    pub user: String,
    pub compression: Compression,
    pub labels: BTreeMap<String, String>,
    /// The commit's time, in seconds since 1970.
    pub created: u64,
    /// Of every entry of a layer, in seconds since 1970: 0, so that a layer depends on its files alone.
    pub file_time: u64,
    /// The defaults of the build-args: nothing of an environment.
    pub env: BTreeMap<String, String>,
    pub port: Option<u16>,
    /// Destination in the image → source (absolute).
    pub files: BTreeMap<String, std::path::PathBuf>,
}

/// The index over a service's platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    pub service: String,
    /// The jobs that leave the manifests.
    pub manifests: Vec<JobId>,
    /// Its name in the layout.
    pub tag: String,
    pub annotations: BTreeMap<String, String>,
    /// Compressed bytes that each platform may have.
    pub size_budget: Option<Located<u64>>,
}

/// An environment's variant of a service's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantSpec {
    pub service: String,
    pub environment: String,
    /// The job that leaves the neutral index.
    pub index: JobId,
    pub env: BTreeMap<String, String>,
    /// `X.Y.Z_ENV_<8 hex>`
    pub tag: String,
}

/// Where a service's binary lies in its image, from the root.
pub fn binary_path(service: &str, platform: &Platform) -> String {
    let folder = if platform.is_windows() { WINDOWS_BINARIES } else { BINARIES };
    format!("{folder}/{service}{}", platform.executable_suffix())
}

/// Builds one platform's image into the service's layout.
///
/// # Errors
/// [`Exit::Machine`] where a file or a base can't be read; [`Exit::Usage`] where the base lacks the
/// platform.
pub fn run(spec: &ImageSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let binary = super::binary(scope, &spec.build, &spec.service)?;
    let layout = Layout::create(&scope.workspace.layout(&spec.service))?;
    let found = base(spec, &layout, scope)?;
    let mut layers = Vec::new();
    if spec.base == Base::Scratch {
        scope.progress.status("certificates and time zones");
        layers.push(layer(
            &root::entries(&spec.user)?,
            None,
            (spec.compression, spec.file_time),
            &layout,
            scope.cache,
            scope.cancel,
        )?);
    }
    if !spec.files.is_empty() {
        layers.push(layer(
            &extra_files(spec)?,
            None,
            (spec.compression, spec.file_time),
            &layout,
            scope.cache,
            scope.cancel,
        )?);
    }
    scope.progress.status("the binary's layer");
    let top = BinaryLayer::new(&spec.service, &spec.platform, spec.compression, spec.file_time);
    layers.push(top.make(&binary.path, &binary.digest, &layout, scope.cache, scope.cancel)?);
    let image = image::assemble(&found.base, &layers, &settings(spec, &top.path, &found))?;
    let known = layout.has_blob(&image.manifest.descriptor.digest, image.manifest.descriptor.size);
    let config = layout.put_document(&image.config)?;
    let manifest = layout.put_document(&image.manifest)?;
    let output = ManifestOutput {
        layout: layout.root().to_owned(),
        platform: spec.platform.clone(),
        digest: manifest.digest,
        config: config.digest,
        size: image.layers_size,
    };
    inputs::remember(spec, &binary.digest, scope);
    let note = crate::report::measure::bytes(image.layers_size);
    Ok(Finish { output: Output::Manifest(output), cached: known, note })
}

fn settings(spec: &ImageSpec, path: &str, found: &base::Found) -> Settings {
    let mut settings = Settings::new(spec.platform.clone(), spec.created);
    settings.env.clone_from(&spec.env);
    if spec.base == Base::Scratch {
        settings.env.entry("PATH".to_owned()).or_insert_with(|| format!("/{BINARIES}"));
    }
    if spec.platform.is_windows() {
        settings.entrypoint = vec![format!("C:\\{}", path.replace('/', "\\"))];
        settings.user = WINDOWS_USER.to_owned();
        settings.working_dir = "C:\\".to_owned();
    } else {
        settings.entrypoint = vec![format!("/{path}")];
        settings.user.clone_from(&spec.user);
        settings.working_dir = "/".to_owned();
    }
    settings.ports.extend(spec.port);
    settings.labels.clone_from(&spec.labels);
    let target = found.target.as_ref().map(ToString::to_string);
    for (key, value) in [(annotation::BASE_NAME, found.name.clone()), (annotation::BASE_DIGEST, target)] {
        if let Some(value) = value {
            settings.annotations.insert(key.to_owned(), value.clone());
            // The base's own say what it stands on itself: ours replace them, the user's stay.
            settings.labels.entry(key.to_owned()).or_insert(value);
        }
    }
    settings
}

/// The base, with its layers in the service's layout.
fn base(spec: &ImageSpec, layout: &Layout, scope: &Scope<'_>) -> anyhow::Result<base::Found> {
    if spec.base != Base::Scratch {
        scope.progress.status("the base");
    }
    let client = Client::new(scope.environment, Options::default(), scope.cancel);
    let places =
        base::Places { root: &scope.workspace.root, client: &client, environment: scope.environment };
    let found = base::find(&spec.base, places, &spec.platform, spec.compression, layout)
        .map_err(|error| located(error, spec.base_place.as_ref()))?;
    if let Some(repository) = &found.repository {
        for layer in &found.base.layers {
            scope.outputs.whereabouts.note(repository, &layer.digest);
        }
    }
    Ok(found)
}

/// The same failure with the lines of the user's file that it is about.
fn located(error: anyhow::Error, place: Option<&Place>) -> anyhow::Error {
    let exit = exit_of(&error);
    let Some(place) = place.filter(|_| matches!(exit, Exit::Usage | Exit::Machine)) else { return error };
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let hint = error.downcast_ref::<Fault>().and_then(|fault| fault.hint.clone());
    let fault = Fault { exit, message: causes.join(": "), hint };
    anyhow::Error::new(Tail(excerpt(place))).context(fault)
}

/// A service's `files`. A folder's files are taken with their modes' executable bit and nothing else of
/// the disk's.
fn extra_files(spec: &ImageSpec) -> anyhow::Result<Entries> {
    let mut entries = Entries::new();
    for (target, source) in &spec.files {
        add_files(&mut entries, target.trim_start_matches('/'), source)?;
    }
    if spec.platform.is_windows() { entries.for_windows() } else { Ok(entries) }
}

fn add_files(entries: &mut Entries, target: &str, source: &std::path::Path) -> anyhow::Result<()> {
    use crate::fault::FaultContext as _;
    let shown = || format!("could not read `{}`, one of the image's files", source.display());
    let metadata = std::fs::symlink_metadata(source).fault(Exit::Machine, shown())?;
    if metadata.is_file() {
        return entries.insert(target, Entry::file(source, mode(&metadata)));
    }
    if !metadata.is_dir() {
        let message =
            format!("`{}` is neither a file nor a folder, so it can't enter an image", source.display());
        return Err(Fault::new(Exit::Machine, message).into());
    }
    entries.insert(target, Entry::directory())?;
    let mut names = std::fs::read_dir(source)
        .and_then(|listing| {
            listing.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .fault(Exit::Machine, shown())?;
    names.sort();
    for name in names {
        let Some(text) = name.to_str() else {
            let message = format!("`{}` in `{}` is not UTF-8", name.display(), source.display());
            return Err(Fault::new(Exit::Machine, message).into());
        };
        add_files(entries, &format!("{target}/{text}"), &source.join(&name))?;
    }
    Ok(())
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 }
}

#[cfg(not(unix))]
fn mode(_metadata: &std::fs::Metadata) -> u32 {
    0o644
}

/// The layer that holds a service's executable alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryLayer {
    service: String,
    /// In the image, from the root.
    path: String,
    windows: bool,
    compression: Compression,
    file_time: u64,
}

impl BinaryLayer {
    pub fn new(service: &str, platform: &Platform, compression: Compression, file_time: u64) -> Self {
        Self {
            service: service.to_owned(),
            path: binary_path(service, platform),
            windows: platform.is_windows(),
            compression,
            file_time,
        }
    }

    /// Makes it in the layout of the service, before anything asks for it.
    ///
    /// # Errors
    /// As [`BinaryLayer::make`].
    pub fn prepare(&self, binary: &Path, digest: &Digest, scope: &Scope<'_>) -> anyhow::Result<()> {
        let layout = Layout::create(&scope.workspace.layout(&self.service))?;
        self.make(binary, digest, &layout, scope.cache, scope.cancel).map(|_| ())
    }

    fn make(
        &self,
        binary: &Path,
        digest: &Digest,
        layout: &Layout,
        cache: &Cache,
        cancel: &Cancel,
    ) -> anyhow::Result<Layer> {
        let mut entries = Entries::new();
        entries.insert(&self.path, Entry::file(binary, 0o755))?;
        let mut shown = self.path.clone();
        if self.windows {
            entries = entries.for_windows()?;
            shown = format!("{}/{shown}", windows::FILES);
        }
        layer(&entries, Some((&shown, digest)), (self.compression, self.file_time), layout, cache, cancel)
    }
}

/// What the cache holds of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    descriptor: Descriptor,
    diff_id: Digest,
}

/// A layer, from the cache where its content is known before it is read: `content` names the path and
/// digest of a layer that is one file.
fn layer(
    entries: &Entries,
    content: Option<(&str, &Digest)>,
    (compression, file_time): (Compression, u64),
    layout: &Layout,
    cache: &Cache,
    cancel: &Cancel,
) -> anyhow::Result<Layer> {
    let content = match content {
        Some((path, digest)) => Some(format!("{path} {digest}")),
        None => in_memory(entries),
    };
    let key = content.map(|content| {
        Digest::of(format!("layer {VERSION} {compression} {}{content}", time(file_time)).as_bytes())
    });
    if let Some(key) = &key
        && let Some(kept) = cache.get::<Kept>(Bucket::Layer, key)
        && (layout.has_blob(&kept.descriptor.digest, kept.descriptor.size)
            || cache.take(
                &kept.descriptor.digest,
                kept.descriptor.size,
                &layout.blob_path(&kept.descriptor.digest),
            )?)
    {
        return Ok(Layer { descriptor: kept.descriptor, diff_id: kept.diff_id });
    }
    let layer = layout.put_layer(entries, compression, file_time, cancel)?;
    if let Some(key) = &key {
        cache.put_file(&layout.blob_path(&layer.descriptor.digest))?;
        let kept = Kept { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.clone() };
        let file = (kept.descriptor.digest.clone(), kept.descriptor.size);
        cache.put(Bucket::Layer, key, &kept, &[file])?;
    }
    Ok(layer)
}

/// The part of a layer's key for its time: nothing, unless it has one.
fn time(file_time: u64) -> String {
    if file_time == 0 { String::new() } else { format!("{file_time} ") }
}

/// Stands for entries that are all in memory.
fn in_memory(entries: &Entries) -> Option<String> {
    let mut hash = crate::digest::Hasher::new();
    for (path, entry) in entries.iter() {
        let bytes: &[u8] = match &entry.content {
            Content::Directory => b"/",
            Content::Bytes(bytes) => bytes,
            Content::File(_) | Content::Symlink(_) => return None,
        };
        hash.update(format!("{path}\0{:o} {} {} {}\0", entry.mode, entry.uid, entry.gid, bytes.len()));
        hash.update(bytes);
    }
    Some(hash.finish().to_string())
}

/// Makes the index over a service's manifests.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn run_index(spec: &IndexSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let layout = Layout::create(&scope.workspace.layout(&spec.service))?;
    let mut manifests = Vec::new();
    for job in &spec.manifests {
        let output = scope.outputs.manifest(job)?;
        let bytes = layout.read(&output.digest)?;
        let manifest = Descriptor::of(crate::oci::types::media_type::MANIFEST, &bytes);
        let mut manifest = manifest.platform(&output.platform);
        let version = layout.read_image(&output.digest)?.1.os_version;
        manifest.platform.iter_mut().for_each(|platform| platform.os_version.clone_from(&version));
        manifests.push(manifest);
    }
    within_budget(spec, scope)?;
    let document = image::index(&manifests, &spec.annotations)?;
    let known = layout.has_blob(&document.descriptor.digest, document.descriptor.size);
    let descriptor = layout.put_document(&document)?;
    layout.tag(&super::image_tag(&spec.tag)?, &descriptor)?;
    let output = Output::Index {
        layout: layout.root().to_owned(),
        digest: descriptor.digest.clone(),
        size: descriptor.size,
    };
    Ok(Finish { output, cached: known, note: short(&descriptor.digest) })
}

/// # Errors
/// [`Exit::Gate`] where an image is larger than it may be, with the budget's place.
fn within_budget(spec: &IndexSpec, scope: &Scope<'_>) -> anyhow::Result<()> {
    let Some(budget) = &spec.size_budget else { return Ok(()) };
    let mut over = Vec::new();
    for job in &spec.manifests {
        let output = scope.outputs.manifest(job)?;
        if output.size > budget.value {
            over.push(format!("{} has {} bytes", output.platform, output.size));
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    let name = &spec.service;
    let message =
        format!("the image of {name} is over its budget of {} bytes: {}", budget.value, over.join(", "));
    let fault = Fault::new(Exit::Gate, message)
        .hint(format!("`image --explain-size {name}` says what is in it; the budget is `size-budget`"));
    Err(anyhow::Error::new(Tail(excerpt(&budget.place))).context(fault))
}

/// The lines of the user's file around a place, with a caret.
fn excerpt(place: &Place) -> Vec<String> {
    let diagnostic = Diagnostic::error("").at(place, "");
    // Its first line is the message.
    render(&diagnostic, Colour::Off).lines().skip(1).map(str::to_owned).collect()
}

/// Makes an environment's variant: other configs and manifests over the same layers.
///
/// # Errors
/// [`Exit::Machine`] when the disk says no.
pub fn run_variant(spec: &VariantSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let layout = Layout::create(&scope.workspace.layout(&spec.service))?;
    let neutral = super::index(scope, &spec.index)?;
    let variant = layout.variant(&neutral, &spec.env)?;
    layout.tag(&super::image_tag(&spec.tag)?, &variant)?;
    let output = Output::Index {
        layout: layout.root().to_owned(),
        digest: variant.digest.clone(),
        size: variant.size,
    };
    Ok(Finish { output, cached: false, note: format!("{} {}", spec.tag, short(&variant.digest)) })
}

/// `sha256:0123456789ab`: enough for eyes.
pub fn short(digest: &Digest) -> String {
    digest.as_str()[.."sha256:".len() + 12].to_owned()
}
