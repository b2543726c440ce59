//! Images: a base, layers of ours and settings become a config and a manifest; manifests become an
//! index; an image plus an environment's values becomes a variant. Pure: bytes in, bytes out.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::layer::Layer;
use super::types::{
    Descriptor, Digest, Empty, Healthcheck, History, ImageConfig, Index, Manifest, annotation, media_type,
};
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::platform::Platform;

/// What lies below our layers: `Base::default()` is scratch.
#[derive(Clone, Debug, Default)]
pub struct Base {
    pub config: ImageConfig,
    /// Lowest first, as many as `config.rootfs.diff_ids`.
    pub layers: Vec<Descriptor>,
}

/// What an image says of itself, over what its base says. An empty value leaves the base's.
#[derive(Clone, Debug)]
pub struct Settings {
    pub platform: Platform,
    /// Seconds since 1970: the commit's time.
    pub created: u64,
    pub env: BTreeMap<String, String>,
    /// Where set, the base's `Cmd` goes: it was meant for another program.
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `UID[:GID]`
    pub user: String,
    pub working_dir: String,
    /// TCP.
    pub ports: Vec<u16>,
    pub labels: BTreeMap<String, String>,
    pub healthcheck: Option<Healthcheck>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Settings {
    pub fn new(platform: Platform, created: u64) -> Self {
        Self {
            platform,
            created,
            env: BTreeMap::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            healthcheck: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// Bytes to keep as a blob, and their descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub bytes: Vec<u8>,
    pub descriptor: Descriptor,
}

/// One platform's image without its layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub config: Document,
    /// Its descriptor names the platform.
    pub manifest: Document,
    /// Compressed bytes of all layers.
    pub layers_size: u64,
}

/// Puts `layers` (lowest first) and `settings` onto `base`.
///
/// # Errors
/// A base whose config and layers don't fit together, or with a layer that can't be shipped
/// ([`Exit::Machine`]).
pub fn assemble(base: &Base, layers: &[Layer], settings: &Settings) -> anyhow::Result<Image> {
    if base.config.rootfs.diff_ids.len() != base.layers.len() {
        let message = format!(
            "the base has {} layers and names {} in its config",
            base.layers.len(),
            base.config.rootfs.diff_ids.len()
        );
        return Err(Fault::new(Exit::Machine, message).into());
    }
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media_type::CONFIG, b""),
        layers: Vec::new(),
        annotations: settings.annotations.clone(),
        extra: BTreeMap::new(),
    };
    for layer in &base.layers {
        let Some(name) = media_type::layer(&layer.media_type) else {
            let message = format!("a layer of the base is a `{}`, which can't be shipped", layer.media_type);
            return Err(Fault::new(Exit::Machine, message).into());
        };
        manifest.layers.push(Descriptor { media_type: name.to_owned(), ..layer.clone() });
    }
    let mut config = configured(&base.config, settings)?;
    for layer in layers {
        manifest.layers.push(layer.descriptor.clone());
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        config.history.push(History {
            created: config.created.clone(),
            created_by: Some("longshore".to_owned()),
            ..History::default()
        });
    }
    finished(&config, manifest)
}

/// The index over platform manifests, in the order of their platforms' names.
///
/// # Errors
/// Two manifests of one platform, or one without.
pub fn index(manifests: &[Descriptor], annotations: &BTreeMap<String, String>) -> anyhow::Result<Document> {
    let mut sorted = BTreeMap::new();
    for manifest in manifests {
        let platform = manifest.platform.as_ref().context("internal: a manifest without a platform")?;
        let key = (platform.to_string(), platform.os_version.clone());
        if sorted.insert(key, manifest.clone()).is_some() {
            return Err(
                Fault::new(Exit::Usage, format!("two manifests of one index are for `{platform}`")).into()
            );
        }
    }
    let index = Index {
        manifests: sorted.into_values().collect(),
        annotations: annotations.clone(),
        ..Index::default()
    };
    document(media_type::INDEX, &index)
}

/// The same layers with more in the config's `Env`, annotated with the digest of the manifest that
/// it was made of. `manifest` and `config` are that one's bytes.
///
/// # Errors
/// Bytes that are no manifest or no config.
pub fn variant(manifest: &[u8], config: &[u8], env: &BTreeMap<String, String>) -> anyhow::Result<Image> {
    let neutral = Digest::of(manifest);
    let mut manifest: Manifest = serde_json::from_slice(manifest).context("a manifest can't be read")?;
    let mut config: ImageConfig =
        serde_json::from_slice(config).context("an image's config can't be read")?;
    set_env(&mut config.config.env, env);
    manifest.annotations.insert(annotation::NEUTRAL.to_owned(), neutral.to_string());
    finished(&config, manifest)
}

/// Overwrites values in place, so that a base's order stays, and appends new ones sorted.
fn set_env(list: &mut Vec<String>, values: &BTreeMap<String, String>) {
    for (name, value) in values {
        let set = format!("{name}={value}");
        let named = |entry: &&mut String| entry.split_once('=').is_some_and(|(found, _)| found == name);
        match list.iter_mut().find(named) {
            Some(entry) => *entry = set,
            None => list.push(set),
        }
    }
}

fn configured(base: &ImageConfig, settings: &Settings) -> anyhow::Result<ImageConfig> {
    // RFC 3339 ends with the year 9999.
    anyhow::ensure!(settings.created < 253_402_300_800, "the time {} is out of range", settings.created);
    let mut config = base.clone();
    config.created = Some(clock::rfc3339(settings.created));
    config.architecture.clone_from(&settings.platform.architecture);
    config.os.clone_from(&settings.platform.os);
    config.variant.clone_from(&settings.platform.variant);
    let run = &mut config.config;
    set_env(&mut run.env, &settings.env);
    if !settings.entrypoint.is_empty() {
        run.entrypoint.clone_from(&settings.entrypoint);
        run.cmd.clear();
    }
    if !settings.cmd.is_empty() {
        run.cmd.clone_from(&settings.cmd);
    }
    if !settings.user.is_empty() {
        run.user.clone_from(&settings.user);
    }
    if !settings.working_dir.is_empty() {
        run.working_dir.clone_from(&settings.working_dir);
    }
    run.exposed_ports.extend(settings.ports.iter().map(|port| (format!("{port}/tcp"), Empty {})));
    run.labels.extend(settings.labels.clone());
    if settings.healthcheck.is_some() {
        run.healthcheck.clone_from(&settings.healthcheck);
    }
    Ok(config)
}

fn finished(config: &ImageConfig, mut manifest: Manifest) -> anyhow::Result<Image> {
    let platform = config.platform();
    let config = document(media_type::CONFIG, config)?;
    manifest.config = config.descriptor.clone();
    let layers_size = manifest.layers_size();
    let mut manifest = document(media_type::MANIFEST, &manifest)?;
    manifest.descriptor.platform = Some(platform);
    Ok(Image { config, manifest, layers_size })
}

/// A value as JSON, with its descriptor.
pub fn document<T: serde::Serialize>(media_type: &str, value: &T) -> anyhow::Result<Document> {
    let bytes = serde_json::to_vec(value).context("internal: a document can't be written")?;
    Ok(Document { descriptor: Descriptor::of(media_type, &bytes), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Extra, RunConfig};

    fn layer(name: &str) -> Layer {
        Layer {
            descriptor: Descriptor::of(media_type::LAYER_GZIP, name.as_bytes()),
            diff_id: Digest::of(name.as_bytes()),
        }
    }

    fn settings() -> Settings {
        let platform = "linux/arm/v7".parse().unwrap();
        Settings {
            env: BTreeMap::from([("PATH".into(), "/bin".into()), ("B".into(), "2".into())]),
            entrypoint: vec!["/app".into()],
            ports: vec![8080],
            labels: BTreeMap::from([("a".into(), "b".into())]),
            ..Settings::new(platform, 1_700_000_000)
        }
    }

    fn base() -> Base {
        let config = RunConfig {
            env: vec!["PATH=/usr/bin".into(), "A=1".into()],
            cmd: vec!["sh".into()],
            user: "7".into(),
            extra: Extra::from([("ArgsEscaped".into(), true.into())]),
            ..RunConfig::default()
        };
        let mut image = ImageConfig { config, ..ImageConfig::default() };
        image.rootfs.diff_ids.push(Digest::of(b"base tar"));
        let layers = vec![Descriptor::of(media_type::DOCKER_LAYER_GZIP, b"base")];
        Base { config: image, layers }
    }

    #[test]
    fn settings_go_over_the_base() {
        let image = assemble(&base(), &[layer("ours")], &settings()).unwrap();
        let config: ImageConfig = serde_json::from_slice(&image.config.bytes).unwrap();
        assert_eq!(config.config.env, ["PATH=/bin", "A=1", "B=2"]);
        assert_eq!(config.config.entrypoint, ["/app"]);
        assert!(config.config.cmd.is_empty());
        assert_eq!(config.config.user, "7");
        assert_eq!(config.config.extra["ArgsEscaped"], true);
        assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(config.rootfs.diff_ids, [Digest::of(b"base tar"), Digest::of(b"ours")]);
        let manifest: Manifest = serde_json::from_slice(&image.manifest.bytes).unwrap();
        assert_eq!(manifest.layers[0].media_type, media_type::LAYER_GZIP);
        assert_eq!(manifest.config.digest, Digest::of(&image.config.bytes));
        assert_eq!(image.manifest.descriptor.platform.as_ref().unwrap().to_string(), "linux/arm/v7");
        assert_eq!(image, assemble(&base(), &[layer("ours")], &settings()).unwrap());
    }

    #[test]
    fn a_base_that_does_not_fit_is_refused() {
        let mut short = base();
        short.config.rootfs.diff_ids.clear();
        assert!(assemble(&short, &[], &settings()).is_err());
        let mut foreign = base();
        foreign.layers[0].media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
        let error = assemble(&foreign, &[], &settings()).unwrap_err();
        assert_eq!(crate::fault::exit_of(&error), Exit::Machine);
    }

    #[test]
    fn a_variant_shares_every_layer_and_names_the_neutral_image() {
        let neutral = assemble(&base(), &[layer("ours")], &settings()).unwrap();
        let env = BTreeMap::from([("A".to_owned(), "staging".to_owned()), ("Z".to_owned(), "1".to_owned())]);
        let image = variant(&neutral.manifest.bytes, &neutral.config.bytes, &env).unwrap();
        let parse = |bytes: &[u8]| serde_json::from_slice::<Manifest>(bytes).unwrap();
        let (before, after) = (parse(&neutral.manifest.bytes), parse(&image.manifest.bytes));
        assert_eq!(before.layers, after.layers);
        assert_eq!(after.annotations[annotation::NEUTRAL], neutral.manifest.descriptor.digest.as_str());
        let config: ImageConfig = serde_json::from_slice(&image.config.bytes).unwrap();
        assert_eq!(config.config.env, ["PATH=/bin", "A=staging", "B=2", "Z=1"]);
        assert_eq!(image.manifest.descriptor.platform, neutral.manifest.descriptor.platform);
    }

    #[test]
    fn an_index_has_one_order_and_each_platform_once() {
        let one = assemble(&base(), &[], &settings()).unwrap().manifest.descriptor;
        let platform = "linux/amd64".parse().unwrap();
        let two = assemble(&base(), &[], &Settings { platform, ..settings() }).unwrap().manifest.descriptor;
        let none = BTreeMap::new();
        let ordered = index(&[one.clone(), two.clone()], &none).unwrap();
        assert_eq!(ordered, index(&[two, one.clone()], &none).unwrap());
        assert!(index(&[one.clone(), one], &none).is_err());
    }
}
