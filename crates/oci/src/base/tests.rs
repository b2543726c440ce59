use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::fault::exit_of;
use crate::host::environment::Environment;
use crate::image::Settings;
use crate::layout::tests::sample;
use crate::registry::Options;

fn client() -> Client {
    Client::new(&Environment::default(), Options::default(), &Cancel::default())
}

fn find_in(root: &Path, digest: Option<Digest>, platform: &str, into: &Layout) -> anyhow::Result<Found> {
    let base = declared::Base::Layout { path: "base".into(), digest };
    let (client, environment) = (client(), Environment::default());
    let places = Places { root, client: &client, environment: &environment };
    find(&base, places, &platform.parse().unwrap(), Compression::Gzip(None), into)
}

/// A layout `base` whose one image has this one layer, whatever it holds.
fn with_layer(root: &Path, bytes: &[u8], diff_id: &Digest, media: &str) {
    let layout = Layout::create(&root.join("base")).unwrap();
    layout.put(bytes).unwrap();
    let mut config =
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.rootfs.diff_ids.push(diff_id.clone());
    let config = serde_json::to_vec(&config).unwrap();
    layout.put(&config).unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_MANIFEST.into()),
        artifact_type: None,
        config: Descriptor::of(media_type::DOCKER_CONFIG, &config),
        layers: vec![Descriptor::of(media, bytes)],
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    layout.put(&manifest).unwrap();
    let descriptor = Descriptor::of(media_type::DOCKER_MANIFEST, &manifest);
    layout.tag(&"x".parse().unwrap(), &descriptor).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar with one entry of this name, whatever it is.
fn tarred(name: &str, kind: tar::EntryType, target: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_link_name_literal(target).unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    [header.as_bytes().as_slice(), &[0; 1024]].concat()
}

#[test]
fn a_base_is_taken_for_its_platform() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("base"));
    let into = Layout::create(&folder.path().join("into")).unwrap();
    for platform in ["linux/amd64", "linux/arm64"] {
        let found = find_in(folder.path(), None, platform, &into).unwrap();
        assert_eq!(found.base.config.platform().to_string(), platform);
        assert!(found.base.layers.iter().all(|layer| into.has_blob(&layer.digest, layer.size)));
        let settings = Settings::new(platform.parse().unwrap(), 0);
        image::assemble(&found.base, &[], &settings).unwrap();
    }
    let by_digest = find_in(folder.path(), Some(index.digest.clone()), "linux/amd64/v3", &into).unwrap();
    assert_eq!(by_digest.digest, Some(layout.manifests(&index).unwrap()[0].digest.clone()));
}

#[test]
fn a_missing_platform_names_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("base"));
    let into = Layout::create(&folder.path().join("into")).unwrap();
    let error = find_in(folder.path(), None, "linux/arm/v7", &into).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
    assert!(error.to_string().ends_with("it has linux/amd64, linux/arm64"), "{error}");
    let single = layout.manifests(&index).unwrap().remove(0).digest;
    let error = find_in(folder.path(), Some(single), "linux/arm64", &into).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage, "{error:#}");
    let error = find_in(folder.path(), Some(Digest::of(b"none")), "linux/arm64", &into).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
}

#[test]
fn layers_that_lead_out_are_refused() {
    use tar::EntryType::{Link, Regular};
    for (name, kind, target, refused) in [
        ("../evil", Regular, "", true),
        ("a/../../evil", Regular, "", true),
        ("/etc/passwd", Regular, "", true),
        ("x", Link, "../../etc/passwd", true),
        ("./usr/bin/x", Regular, "", false),
        ("x", Link, "usr/bin/x", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tar = tarred(name, kind, target);
        with_layer(folder.path(), &gzip(&tar), &Digest::of(&tar), media_type::DOCKER_LAYER_GZIP);
        let into = Layout::create(&folder.path().join("into")).unwrap();
        match find_in(folder.path(), None, "linux/amd64", &into) {
            Ok(_) => assert!(!refused, "{name} {target}"),
            Err(error) => {
                assert!(refused && format!("{error:#}").contains("leads out"), "{name}: {error:#}");
                assert_eq!(exit_of(&error), Exit::Machine);
                assert!(!into.blob_path(&Digest::of(&gzip(&tar))).exists());
            }
        }
    }
}

#[test]
fn bombs_lies_and_damage_are_refused() {
    let zeros = vec![0; 300 << 20];
    let tar = tarred("x", tar::EntryType::Regular, "");
    let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
    for (bytes, diff_id, media, part) in [
        (gzip(&zeros), Digest::of(&zeros), media_type::LAYER_GZIP, "unpack to more than"),
        (zstd, Digest::of(&zeros), media_type::LAYER_ZSTD, "unpack to more than"),
        (gzip(&tar), Digest::of(b"other"), media_type::LAYER_GZIP, "where the config names"),
        (gzip(&tar)[..20].to_vec(), Digest::of(&tar), media_type::LAYER_GZIP, "tar that can be read"),
        (b"not a tar".repeat(100), Digest::of(b""), media_type::LAYER, "tar that can be read"),
        (tar.clone(), Digest::of(&tar), "application/x-other", "can't be shipped"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        with_layer(folder.path(), &bytes, &diff_id, media);
        let into = Layout::create(&folder.path().join("into")).unwrap();
        let error = find_in(folder.path(), None, "linux/amd64", &into).unwrap_err();
        assert!(format!("{error:#}").contains(part), "{part}: {error:#}");
        assert_eq!(exit_of(&error), Exit::Machine);
    }
}
