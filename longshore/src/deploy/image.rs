//! The images that an environment runs: its variant of a version's neutral image, made of documents alone and
//! sent by digest, and an image on this machine's disk.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cancel::Cancel;
use crate::config::Registry;
use crate::deploy::workload::{Image, Workload};
use crate::deploy::{Step, Target};
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::oci::destination::{Copying, Destination, Whereabouts, declared_schemes};
use crate::oci::layout::Layout;
use crate::oci::registry::{Client, Options};
use crate::oci::types::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::stage::ManifestOutput;
use crate::stage::verify::root;

mod referrers;

/// Blobs at a time.
const PARALLEL: usize = 4;

/// How images are reached.
#[derive(Debug)]
pub struct Store {
    client: Client,
    root: std::path::PathBuf,
    /// Documents of images: indexes, manifests and configs, by digest.
    documents: Layout,
    cancel: Cancel,
}

/// An environment's image that is made, and perhaps not sent yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub image: Image,
    pub descriptor: Descriptor,
    /// `X.Y.Z_ENV_HASH`; absent where the neutral image is what runs.
    pub tag: Option<String>,
    /// The repository that has the neutral image, where that is another one: it is copied first.
    pub source: Option<String>,
    /// The version, as the neutral image's tag.
    pub version: String,
}

/// An image whose layers are on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) image: root::Image,
}

impl Local {
    /// The variables that the image sets.
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let pairs = self.image.config.config.env.iter().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Store {
    /// `registries`: all that may be asked, for what they say of TLS. `cache`: the user's.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn open<'r>(
        registries: impl IntoIterator<Item = &'r Registry>,
        root: &Path,
        cache: &Path,
        environment: &Environment,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let options = Options { schemes: declared_schemes(registries), ..Options::default() };
        Ok(Self {
            client: Client::new(environment, options, cancel),
            root: root.to_owned(),
            documents: Layout::create(&cache.join("images"))?,
            cancel: cancel.clone(),
        })
    }

    /// The environment's image of a version: the neutral one, or, where `env` says something that it does
    /// not, its variant. Nothing is sent.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry has lost the neutral image.
    pub fn variant(
        &self,
        repository: &str,
        neutral: &Digest,
        env: &BTreeMap<String, String>,
    ) -> anyhow::Result<Made> {
        let from = Destination::named(repository, &self.root, &self.client)?;
        let mut descriptor = self.documents_of(&from, neutral)?;
        let mut differs = false;
        for manifest in self.documents.manifests(&descriptor)? {
            let (_, config) = self.documents.read_image(&manifest.digest)?;
            differs |= !holds(&config, env);
        }
        if differs {
            descriptor = self.documents.variant(&descriptor, env)?;
        }
        let mut platforms = BTreeMap::new();
        for manifest in self.documents.manifests(&descriptor)? {
            let known = manifest.platform.as_ref().and_then(|platform| platform.known());
            if let Some(platform) = known {
                platforms.insert(platform, manifest.digest);
            }
        }
        let image = Image {
            repository: repository.to_owned(),
            digest: descriptor.digest.clone(),
            neutral: neutral.clone(),
            platforms,
        };
        Ok(Made { image, descriptor, tag: None, source: None, version: String::new() })
    }

    /// Brings index, manifests and configs of an image here.
    fn documents_of(&self, from: &Destination, digest: &Digest) -> anyhow::Result<Descriptor> {
        let lost = |digest: &Digest| {
            Fault::new(Exit::Outside, format!("the registry does not have `{}`", from.reference(digest)))
                .hint("run `release` where that version's commit is checked out: the same bytes are made and pushed again")
        };
        let take = |digest: &Digest| -> anyhow::Result<Descriptor> {
            let document = from.manifest(digest)?.ok_or_else(|| lost(digest))?;
            self.documents.put_document(&document)
        };
        let top = take(digest)?;
        let manifests = if media_type::is_index(&top.media_type) {
            let index: Index = self.documents.read_json(digest)?;
            for manifest in &index.manifests {
                take(&manifest.digest)?;
            }
            index.manifests
        } else {
            vec![top.clone()]
        };
        for manifest in &manifests {
            let manifest: Manifest = self.documents.read_json(&manifest.digest)?;
            from.fetch_blob(&manifest.config, &self.documents, &self.cancel)?;
        }
        Ok(top)
    }

    /// Sends what was made to its repository, whose layers are there already, and tags it. What is there is
    /// not sent.
    ///
    /// # Errors
    /// Those of [`Destination::put_manifest`].
    pub fn send(&self, made: &Made, progress: &dyn Progress) -> anyhow::Result<()> {
        if let Some(source) = &made.source {
            self.copy(source, made, progress)?;
        }
        let to = Destination::named(&made.image.repository, &self.root, &self.client)?;
        if to.manifest(&made.image.digest)?.is_none() {
            self.send_documents(&to, &made.descriptor)?;
        }
        if let Some(tag) = &made.tag {
            let tag = tag.parse().map_err(|error| anyhow::anyhow!("internal: `{tag}`: {error}"))?;
            to.move_tag(&tag, &made.image.digest)?;
        }
        Ok(())
    }

    fn send_documents(&self, to: &Destination, top: &Descriptor) -> anyhow::Result<()> {
        let none = |_: u64, _: u64| {};
        let copying = Copying {
            parallel: PARALLEL,
            sources: &[],
            whereabouts: &Whereabouts::default(),
            progress: &none,
            cancel: &self.cancel,
        };
        let (mut configs, mut documents) = (Vec::new(), Vec::new());
        for manifest in self.documents.manifests(top)? {
            let (parsed, _) = self.documents.read_image(&manifest.digest)?;
            configs.push(parsed.config);
            documents.push(self.documents.document(&manifest.digest)?);
        }
        to.send_blobs(&self.documents, &configs, copying)?;
        documents.push(self.documents.document(&top.digest)?);
        documents.iter().try_for_each(|document| to.put_manifest(document))
    }

    /// Copies the neutral image, by digest and with its layers and whatever refers to it, to another
    /// repository, and gives it its version's tag there.
    fn copy(&self, source: &str, made: &Made, progress: &dyn Progress) -> anyhow::Result<()> {
        let from = Destination::named(source, &self.root, &self.client)?;
        let to = match made.image.repository.strip_prefix("oci:") {
            Some(folder) => Destination::Layout(Layout::create(&self.root.join(folder))?),
            None => Destination::named(&made.image.repository, &self.root, &self.client)?,
        };
        let neutral = &made.image.neutral;
        if to.manifest(neutral)?.is_none() {
            self.copy_image(&from, &to, neutral)?;
        }
        self.copy_referrers(&from, &to, neutral, progress)?;
        let tag = made.version.parse().map_err(|error| anyhow::anyhow!("internal: {error}"))?;
        to.set_tag_once(&tag, neutral)
    }

    /// Blobs first, then manifests, then what holds them; all of it looked at again.
    fn copy_image(&self, from: &Destination, to: &Destination, digest: &Digest) -> anyhow::Result<()> {
        let top = self.documents_of(from, digest)?;
        let (mut missing, mut blobs, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for manifest in self.manifests(&top)? {
            let parsed: Manifest = self.documents.read_json(&manifest.digest)?;
            for blob in parsed.layers.iter().chain([&parsed.config]) {
                if !to.has_blob(blob)? {
                    from.fetch_blob(blob, &self.documents, &self.cancel)?;
                    missing.push(blob.clone());
                }
                blobs.push(blob.clone());
            }
            documents.push(self.documents.document(&manifest.digest)?);
        }
        let none = |_: u64, _: u64| {};
        let copying = Copying {
            parallel: PARALLEL,
            sources: &[],
            whereabouts: &Whereabouts::default(),
            progress: &none,
            cancel: &self.cancel,
        };
        to.send_blobs(&self.documents, &missing, copying)?;
        documents.push(self.documents.document(&top.digest)?);
        documents.iter().try_for_each(|document| to.put_manifest(document))?;
        to.verify(&top, &blobs)
    }

    /// Of an index; a manifest is its own.
    fn manifests(&self, top: &Descriptor) -> anyhow::Result<Vec<Descriptor>> {
        if media_type::is_index(&top.media_type) {
            return Ok(self.documents.read_json::<Index>(&top.digest)?.manifests);
        }
        Ok(vec![top.clone()])
    }

    /// One platform's image on this machine, with its layers, as a scan takes it.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry has lost it.
    pub fn manifest(&self, workload: &Workload, platform: &Platform) -> anyhow::Result<ManifestOutput> {
        let digest =
            workload.image.platforms.get(platform).ok_or_else(|| {
                anyhow::anyhow!("internal: `{}` has no image for {platform}", workload.service)
            })?;
        let layout = self.fetch(&workload.image.repository, digest)?;
        let (manifest, _) = layout.read_image(digest)?;
        Ok(ManifestOutput {
            layout: layout.root().to_owned(),
            platform: platform.clone(),
            digest: digest.clone(),
            config: manifest.config.digest.clone(),
            size: manifest.layers_size(),
        })
    }

    /// Brings an image of one platform to this machine; gives the layout that has it.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the registry has lost it.
    pub fn fetch(&self, repository: &str, manifest: &Digest) -> anyhow::Result<&Layout> {
        let from = Destination::named(repository, &self.root, &self.client)?;
        self.documents_of(&from, manifest)?;
        for layer in &self.documents.read_image(manifest)?.0.layers {
            from.fetch_blob(layer, &self.documents, &self.cancel)?;
        }
        Ok(&self.documents)
    }
}

/// Whether the image's variables are these already.
fn holds(config: &ImageConfig, env: &BTreeMap<String, String>) -> bool {
    env.iter().all(|(name, value)| {
        let mut found = config.config.env.iter().filter_map(|pair| pair.split_once('='));
        found.any(|(held, held_value)| held == name && held_value == value)
    })
}

/// A platform's image of a workload on this machine's disk: where it is a layout, that very one.
///
/// # Errors
/// [`Exit::Outside`] where the registry has lost it.
pub(crate) fn fetch(
    target: &Target,
    workload: &Workload,
    platform: &Platform,
    step: &Step<'_>,
) -> anyhow::Result<Local> {
    let Image { repository, platforms, .. } = &workload.image;
    let digest = platforms
        .get(platform)
        .ok_or_else(|| anyhow::anyhow!("internal: `{}` has no image for {platform}", workload.service))?;
    let options = Options { schemes: target.schemes.clone(), ..Options::default() };
    let client = Client::new(&target.environment, options, step.cancel);
    let from = Destination::named(repository, &target.workspace.root, &client)?;
    let lost = || Fault::new(Exit::Outside, format!("the registry has lost `{}`", from.reference(digest)));
    let layout = match &from {
        Destination::Layout(layout) if layout.blob_path(digest).exists() => layout.clone(),
        Destination::Layout(_) => return Err(lost().into()),
        Destination::Registry(_) => {
            step.progress.status("fetching the image");
            let into = Layout::create(&target.workspace.cache.join("images"))?;
            let document = from.manifest(digest)?.ok_or_else(lost)?;
            let manifest: Manifest = serde_json::from_slice(&document.bytes)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                from.fetch_blob(blob, &into, step.cancel)?;
            }
            into.put_document(&document)?;
            into
        }
    };
    Ok(Local { image: root::Image::of(layout, digest)? })
}
