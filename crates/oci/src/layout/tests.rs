use std::collections::BTreeMap;

use super::*;
use crate::fault::exit_of;
use crate::image::{Base, Settings};
use crate::layer::Entry;

/// A layout with one service of two platforms, tagged 1.0.0, and its index.
pub(crate) fn sample(root: &Path) -> (Layout, Descriptor) {
    let layout = Layout::create(root).unwrap();
    let mut manifests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let mut entries = Entries::new();
        let program = format!("program for {platform}\n").repeat(20_000);
        entries.insert("/app", Entry::bytes(program).mode(0o755)).unwrap();
        entries.insert("/etc/passwd", Entry::bytes("root:x:0:0::/:\n")).unwrap();
        entries.insert("/tmp", Entry::directory().mode(0o1777)).unwrap();
        let layer = layout.put_layer(&entries, Compression::Gzip(None), 0, &Cancel::default()).unwrap();
        let settings = Settings {
            entrypoint: vec!["/app".into()],
            env: BTreeMap::from([("APP_ENV".into(), "development".into())]),
            ..Settings::new(platform.parse().unwrap(), 1_700_000_000)
        };
        let image = image::assemble(&Base::default(), &[layer], &settings).unwrap();
        layout.put_document(&image.config).unwrap();
        manifests.push(layout.put_document(&image.manifest).unwrap());
    }
    let index = layout.put_document(&image::index(&manifests, &BTreeMap::new()).unwrap()).unwrap();
    layout.tag(&"1.0.0".parse().unwrap(), &index).unwrap();
    (layout, index)
}

#[test]
fn a_layout_is_the_same_wherever_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (one, index) = sample(&folder.path().join("one"));
    let (two, _) = sample(&folder.path().join("a/two"));
    let read = |layout: &Layout| std::fs::read(layout.root().join("index.json")).unwrap();
    assert_eq!(read(&one), read(&two));
    assert_eq!(one.closure(&index).unwrap().len(), 7);
    assert_eq!(Layout::create(one.root()).unwrap(), one);
}

#[test]
fn tags_move_only_by_the_tag_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(folder.path());
    let (one, latest): (Tag, Tag) = ("1.0.0".parse().unwrap(), "latest".parse().unwrap());
    let manifest = layout.manifests(&index).unwrap().remove(0);
    layout.tag(&latest, &index).unwrap();
    layout.tag(&latest, &manifest).unwrap();
    let tags = layout.tags().unwrap();
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[&one].digest, index.digest);
    assert_eq!(tags[&latest].digest, manifest.digest);
    let missing = Descriptor::of(media_type::MANIFEST, b"missing");
    assert!(layout.tag(&latest, &missing).is_err());
}

#[test]
fn many_threads_tag_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(folder.path());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (layout, index) = (&layout, &index);
            scope.spawn(move || layout.tag(&format!("t{number}").parse().unwrap(), index).unwrap());
        }
    });
    assert_eq!(layout.tags().unwrap().len(), 9);
}

#[test]
fn a_single_manifest_is_alone_in_its_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("all"));
    let manifest = layout.manifests(&index).unwrap().remove(1);
    let single = layout.single(&manifest, &folder.path().join("one"), &Cancel::default()).unwrap();
    assert_eq!(single.index().unwrap().manifests, [manifest]);
    let blobs = std::fs::read_dir(single.root().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 3);
}

#[test]
fn damage_is_noticed_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("from"));
    let copy = Layout::create(&folder.path().join("to")).unwrap();
    let layer = layout.closure(&index).unwrap().remove(0);
    let path = layout.blob_path(&layer.digest);
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[30] ^= 1;
    for damaged in [bad, good[..good.len() - 1].to_vec(), [good.as_slice(), b"x"].concat()] {
        std::fs::write(&path, damaged).unwrap();
        let error = copy.take(&layout, &index, &Cancel::default()).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
        assert!(!copy.blob_path(&layer.digest).exists());
    }
    layout.put_blob(&good[..], &layer.digest, layer.size, &Cancel::default()).unwrap();
    copy.take(&layout, &index, &Cancel::default()).unwrap();
    assert_eq!(copy.closure(&index).unwrap(), layout.closure(&index).unwrap());
}

#[test]
fn what_a_foreign_layout_says_cannot_lead_out() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, _) = sample(folder.path());
    let hostile = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1,"digest":"sha256:../../../etc/passwd"}]}"#;
    std::fs::write(folder.path().join("index.json"), hostile).unwrap();
    assert_eq!(exit_of(&layout.index().unwrap_err()), Exit::Machine);
    assert_eq!(exit_of(&Layout::open(&folder.path().join("none")).unwrap_err()), Exit::Machine);
    std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(Layout::open(folder.path()).unwrap_err().to_string().contains("`2.0.0`"));
}

#[test]
fn a_variant_writes_no_layer() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(folder.path());
    let env = BTreeMap::from([("APP_ENV".to_owned(), "staging".to_owned())]);
    let variant = layout.variant(&index, &env).unwrap();
    let (before, after) = (layout.closure(&index).unwrap(), layout.closure(&variant).unwrap());
    let layers = |blobs: &[Descriptor]| -> Vec<Descriptor> {
        blobs.iter().filter(|blob| media_type::layer(&blob.media_type).is_some()).cloned().collect()
    };
    assert_eq!(layers(&before), layers(&after));
    let read: Index = layout.read_json(&variant.digest).unwrap();
    assert_eq!(read.annotations[annotation::NEUTRAL], index.digest.as_str());
    for manifest in read.manifests {
        let (_, config) = layout.read_image(&manifest.digest).unwrap();
        assert_eq!(config.config.env, ["APP_ENV=staging"]);
    }
    assert_eq!(layout.variant(&index, &env).unwrap(), variant);
}
