//! The size of the store: what was not used for longest goes first.
//!
//! Safe beside other processes: what one takes away while another looks for it is a miss there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Cache;
use crate::host::clock;

/// What an unfinished write leaves is nobody's after this time.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A use within this time of the last is not noted again.
const PRECISION: Duration = Duration::from_secs(60 * 60);

/// What was removed of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub files: usize,
    pub bytes: u64,
    /// Bytes that are still there.
    pub left: u64,
}

impl Cache {
    /// Removes files, the least recently used first, until at most `limit` bytes are left.
    pub fn trim(&self, limit: u64) -> Trimmed {
        let mut files = Vec::new();
        let mut waiting = vec![self.root.clone()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    waiting.push(entry.path());
                } else {
                    files.push((used(&entry.path(), &metadata), entry.path(), metadata.len()));
                }
            }
        }
        files.sort();
        let mut trimmed = Trimmed { left: files.iter().map(|(_, _, size)| size).sum(), ..Trimmed::default() };
        for (used, path, size) in files {
            if trimmed.left <= limit && used.is_some() {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                trimmed.files += 1;
                trimmed.bytes += size;
                trimmed.left -= size;
            }
        }
        trimmed
    }
}

/// When a file was used last; `None` for what an unfinished write left.
fn used(path: &Path, metadata: &std::fs::Metadata) -> Option<SystemTime> {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let draft = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".longshore-"));
    let abandoned = draft && clock::age(modified) > ABANDONED;
    (!abandoned).then_some(modified)
}

/// Notes that a file is used. Where that can't be noted it only goes earlier.
pub(super) fn touch(path: &PathBuf) {
    let Ok(file) = std::fs::File::open(path) else { return };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    if modified.is_ok_and(|modified| clock::age(modified) > PRECISION) {
        let _ = file.set_modified(SystemTime::UNIX_EPOCH + clock::now_precise());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Bucket;
    use crate::oci::types::Digest;

    fn old(path: &Path, hours: u64) {
        let time = SystemTime::UNIX_EPOCH + clock::now_precise() - Duration::from_secs(hours * 3600);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let put = |content: &str, hours| {
            let source = folder.path().join("source");
            std::fs::write(&source, content).unwrap();
            let (digest, _) = cache.put_file(&source).unwrap();
            old(&cache.file(&digest), hours);
            digest
        };
        let (first, second, third) = (put("aaaa", 30), put("bbbb", 20), put("cccc", 10));
        let abandoned = folder.path().join("store/sha256/.longshore-x");
        std::fs::write(&abandoned, "dd").unwrap();
        old(&abandoned, 25);
        assert_eq!(cache.trim(100), Trimmed { files: 1, bytes: 2, left: 12 });
        assert!(!abandoned.exists());
        // A use makes it young again.
        assert!(cache.take(&first, 4, &folder.path().join("target")).unwrap());
        assert_eq!(cache.trim(8), Trimmed { files: 1, bytes: 4, left: 8 });
        assert!(cache.file(&first).exists() && !cache.file(&second).exists() && cache.file(&third).exists());
        assert_eq!(cache.trim(0).left, 0);
        assert!(!cache.take(&first, 4, &folder.path().join("target")).unwrap(), "a miss");
    }

    #[test]
    fn an_entry_says_itself_whether_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
        cache.put(Bucket::Build, &key, &1234, &[]).unwrap();
        let path = cache.entry(Bucket::Build, &key);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("1234", "1235")).unwrap();
        assert_eq!(cache.get::<u32>(Bucket::Build, &key), None, "one digit changed");
        let elsewhere = cache.entry(Bucket::Build, &other);
        std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
        std::fs::write(elsewhere, text).unwrap();
        assert_eq!(cache.get::<u32>(Bucket::Build, &other), None, "another key's");
    }
}
