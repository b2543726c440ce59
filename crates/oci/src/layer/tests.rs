use super::*;

fn entries() -> Entries {
    let mut entries = Entries::new();
    entries.insert("/usr/share/app/readme", Entry::bytes("hello\n".repeat(50_000))).unwrap();
    entries.insert("/app", Entry::bytes(noise(300_000)).mode(0o755).owner(65532, 65532)).unwrap();
    entries.insert("/tmp", Entry::directory().mode(0o1777)).unwrap();
    entries.insert("/bin/sh", Entry::symlink("/usr/bin/sh")).unwrap();
    entries.insert(&format!("/{}/é", "long".repeat(60)), Entry::bytes("x")).unwrap();
    entries.insert(&format!("/{}/{}", "d".repeat(120), "f".repeat(90)), Entry::bytes("y")).unwrap();
    entries
}

/// Bytes that compress badly and are the same everywhere.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0x3f) as u8
    };
    (0..size).map(step).collect()
}

fn written(entries: &Entries, compression: Compression) -> (Layer, Vec<u8>) {
    let mut out = Vec::new();
    let layer = write(entries, compression, 0, &mut out, &Cancel::default()).unwrap();
    (layer, out)
}

fn untarred(bytes: &[u8]) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let (mode, uid) = (entry.header().mode().unwrap(), entry.header().uid().unwrap());
        assert_eq!(entry.header().mtime().unwrap(), 0);
        assert_eq!(entry.header().username().unwrap(), Some(""));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, mode, uid, content)
    };
    archive.entries().unwrap().map(entry).collect()
}

/// The guard of invariant 4: a compressor whose output changed would change every digest of every
/// service. If this fails after a dependency's update, the update is a breaking change.
#[test]
fn the_bytes_are_the_ones_of_every_other_machine() {
    let (gzip, _) = written(&entries(), Compression::Gzip(None));
    let (zstd, _) = written(&entries(), Compression::Zstd(None));
    assert_eq!(gzip.diff_id, zstd.diff_id);
    assert_eq!(
        gzip.diff_id.as_str(),
        "sha256:53dd8609dec6be28c54ddf0d3e7af5d4be45cc5c5ab42c023999a55602f6cbe4"
    );
    assert_eq!(
        gzip.descriptor.digest.as_str(),
        "sha256:59d4cebb7e074cd73f35817f90137685484073738a49e75cd8a30b387f546187"
    );
    assert_eq!(
        zstd.descriptor.digest.as_str(),
        "sha256:bee7fe2bf93309fc100dea154146c24304ec56c57df83e4f3d20db0d6d49f5ba"
    );
}

/// The same guard for chosen levels, which are other bytes of the same tar; layers are made side by side.
#[test]
fn a_level_has_its_own_bytes_whatever_is_made_beside_it() {
    let levels = [
        (Compression::Gzip(Some(1)), "59d4cebb7e074cd73f35817f90137685484073738a49e75cd8a30b387f546187"),
        (Compression::Gzip(Some(6)), "b702485bb25f5881b1d74c27fbeab850f009d3db0008f914a42d95c4d9ca7db6"),
        (Compression::Gzip(Some(9)), "fcee25aa408a4a5d4f505d272221d7d248dc2822fe978f512ecc000140e69936"),
        (Compression::Zstd(Some(1)), "bee7fe2bf93309fc100dea154146c24304ec56c57df83e4f3d20db0d6d49f5ba"),
        (Compression::Zstd(Some(3)), "09a351bc41e1ccc7ccbac4966a85fa7b4fc55e1498d88c12d7bf3b6d855ba0f2"),
        (Compression::Zstd(Some(19)), "7f97c8c4c074ac21069023d1521fecdbb9634934fb357284d18e72d078524fb4"),
    ];
    let entries = entries();
    let made = std::thread::scope(|scope| {
        let entries = &entries;
        let threads = levels.map(|(level, _)| scope.spawn(move || written(entries, level).0));
        threads.map(|thread| thread.join().unwrap().descriptor.digest.hex().to_owned())
    });
    assert_eq!(made, levels.map(|(_, digest)| digest.to_owned()));
}

#[test]
fn digests_and_size_are_those_of_the_bytes() {
    let levels = [Compression::Gzip(None), Compression::Zstd(None), Compression::Gzip(Some(9))];
    for compression in levels.into_iter().chain([Compression::Zstd(Some(19))]) {
        let (layer, bytes) = written(&entries(), compression);
        assert_eq!(layer.descriptor.digest, Digest::of(&bytes));
        assert_eq!(layer.descriptor.size, bytes.len() as u64);
        let mut tar = Vec::new();
        match compression {
            Compression::Gzip(_) => {
                assert_eq!(bytes[3..10], [0, 0, 0, 0, 0, bytes[8], 255]);
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
            }
            Compression::Zstd(_) => tar = zstd::decode_all(&bytes[..]).unwrap(),
        }
        assert_eq!(layer.diff_id, Digest::of(&tar));
        let list = untarred(&tar);
        let paths: Vec<&str> = list.iter().map(|(path, ..)| path.as_str()).collect();
        let (long, deep) = ("long".repeat(60), "d".repeat(120));
        let expected = [
            "app".to_owned(),
            "bin/".to_owned(),
            "bin/sh".to_owned(),
            format!("{deep}/"),
            format!("{deep}/{}", "f".repeat(90)),
            format!("{long}/"),
            format!("{long}/é"),
            "tmp/".to_owned(),
            "usr/".to_owned(),
            "usr/share/".to_owned(),
            "usr/share/app/".to_owned(),
            "usr/share/app/readme".to_owned(),
        ];
        assert_eq!(paths, expected);
        assert_eq!(list[0], ("app".to_owned(), 0o755, 65532, noise(300_000)));
        assert_eq!(list[7].1, 0o1777);
    }
}

#[test]
fn a_file_is_the_same_as_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("x");
    std::fs::write(&source, noise(1_000_001)).unwrap();
    let (mut files, mut bytes) = (Entries::new(), Entries::new());
    files.insert("/a/x", Entry::file(&source, 0o755)).unwrap();
    bytes.insert("a/x", Entry::bytes(noise(1_000_001)).mode(0o755)).unwrap();
    assert_eq!(written(&files, Compression::Gzip(None)).0, written(&bytes, Compression::Gzip(None)).0);
}

#[test]
fn paths_that_lead_out_or_clash_are_refused() {
    let mut entries = Entries::new();
    for bad in ["", "/", "/../x", "/a/./b", "/a//b", "/a\0b", "/a/.."] {
        assert!(entries.insert(bad, Entry::bytes("")).is_err(), "{bad:?}");
    }
    entries.insert("/a", Entry::bytes("1")).unwrap();
    entries.insert("/a", Entry::bytes("1")).unwrap();
    assert!(entries.insert("/a", Entry::bytes("2")).is_err());
    assert!(entries.insert("/a/b", Entry::bytes("2")).is_err());
}

#[test]
fn an_interruption_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("x");
    std::fs::write(&source, b"x").unwrap();
    let mut entries = Entries::new();
    entries.insert("/x", Entry::file(&source, 0o644)).unwrap();
    let cancel = Cancel::default();
    cancel.set(2);
    let error = write(&entries, Compression::Gzip(None), 0, io::sink(), &cancel).unwrap_err();
    assert_eq!(crate::fault::exit_of(&error), Exit::Interrupted);
}

/// Seconds that this thread has had a core (proc(5), schedstat): other load doesn't count.
#[cfg(target_os = "linux")]
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// `cargo test -p longshore --lib -- --ignored --nocapture throughput`: megabytes a second on one core.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement is read by eye")]
fn throughput() {
    let binary = std::env::current_exe().unwrap();
    let size = std::fs::metadata(&binary).unwrap().len();
    let mut entries = Entries::new();
    entries.insert("/app", Entry::file(&binary, 0o755)).unwrap();
    for compression in [Compression::Gzip(None), Compression::Zstd(None)] {
        let start = busy();
        let layer = write(&entries, compression, 0, io::sink(), &Cancel::default()).unwrap();
        let rate = size as f64 / 1e6 / (busy() - start);
        let ratio = layer.descriptor.size as f64 / size as f64;
        eprintln!("{compression:?}: {rate:.0} MB/s of {size} bytes, to {ratio:.3}");
    }
}
