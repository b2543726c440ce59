use super::*;

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
    header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
    header
}

/// A layer: `path=text` a file, `path/` a folder, `path->target` a link, `path=>target` a hard link.
fn layer(entries: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let (mut header, path, data) = if let Some((path, target)) = entry.split_once("=>") {
            let mut header = header(tar::EntryType::Link, 0o644, 0);
            header.set_link_name(target).unwrap();
            (header, path, "")
        } else if let Some((path, target)) = entry.split_once("->") {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            header.set_link_name(target).unwrap();
            (header, path, "")
        } else if let Some((path, data)) = entry.split_once('=') {
            (header(tar::EntryType::Regular, 0o644, data.len()), path, data)
        } else {
            (header(tar::EntryType::Directory, 0o755, 0), *entry, "")
        };
        // By hand: the crate refuses to write what the tests are about.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(layers: &[&[&str]]) -> (tempfile::TempDir, Root, anyhow::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root { folder: folder.path().join("root") };
    std::fs::create_dir(&root.folder).unwrap();
    let cancel = Cancel::default();
    let result = layers.iter().try_for_each(|entries| root.apply(&layer(entries)[..], &cancel));
    (folder, root, result)
}

#[test]
fn whiteouts_take_away_what_lies_below_and_only_that() {
    let (_folder, root, result) = unpacked(&[
        &["a/", "a/old=1", "a/gone=2", "b/", "b/x/", "b/x/old=3"],
        &["a/.wh.gone=", "b/x/new=4", "b/.wh..wh..opq=", "b/late=5"],
    ]);
    result.unwrap();
    assert_eq!(root.read("/a/old").as_deref(), Some("1"));
    assert_eq!(root.read("/a/gone"), None);
    assert_eq!(root.read("/b/x/new").as_deref(), Some("4"));
    assert_eq!(root.read("/b/late").as_deref(), Some("5"));
}

#[test]
fn a_path_or_hard_link_that_leads_out_is_refused() {
    for entries in [&["../out=1"][..], &["a/../../out=1"], &["a=>../../etc/passwd"]] {
        let (folder, _, result) = unpacked(&[entries]);
        assert!(format!("{:#}", result.unwrap_err()).contains("out"), "{entries:?}");
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn links_lead_nowhere_but_inside() {
    let (folder, root, result) = unpacked(&[
        &["lib->/usr/lib", "usr/", "usr/lib/", "up->../../../..", "t->/../../tmp/elsewhere"],
        &["lib/libc=1", "up/escaped=2", "t/file=3"],
    ]);
    result.unwrap();
    assert_eq!(root.read("/usr/lib/libc").as_deref(), Some("1"));
    assert_eq!(std::fs::read_to_string(root.folder().join("escaped")).unwrap(), "2");
    assert_eq!(std::fs::read_to_string(root.folder().join("tmp/elsewhere/file")).unwrap(), "3");
    assert!(!folder.path().join("escaped").exists());
}

#[test]
fn a_file_replaces_a_link_and_does_not_write_through_it() {
    let (folder, root, result) = unpacked(&[&["a->/target", "target=1"], &["a=2"]]);
    result.unwrap();
    assert_eq!(root.read("/target").as_deref(), Some("1"));
    assert_eq!(root.read("/a").as_deref(), Some("2"));
    drop(folder);
}

#[test]
fn links_in_a_circle_are_an_error() {
    let (_folder, root, result) = unpacked(&[&["a->b", "b->a"]]);
    result.unwrap();
    assert!(root.resolve(Path::new("/a/x")).is_err());
}

#[test]
fn bytes_of_another_digest_are_told_at_their_end() {
    let bytes = layer(&["a=1"]);
    let checked = |expected: Digest| Checked {
        inner: Box::new(std::io::Cursor::new(bytes.clone())),
        hash: Some(crate::digest::Hasher::new()),
        expected,
    };
    let folder = tempfile::tempdir().unwrap();
    let root = Root { folder: folder.path().to_owned() };
    root.apply(checked(Digest::of(&bytes)), &Cancel::default()).unwrap();
    let error = root.apply(checked(Digest::of(b"other")), &Cancel::default()).unwrap_err();
    assert!(format!("{error:#}").contains("not those of"), "{error:#}");
}
