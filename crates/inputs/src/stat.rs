//! Digests of files by their status, so that a file that did not change is not read again.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use longshore_base::digest::{Digest, Hasher};
use longshore_base::host::{clock, files};

/// A change within this time of the hashing may leave no trace in the times of a file ("racily
/// clean", as Git calls it). Two seconds covers the coarsest file systems in use (FAT; NFS clocks).
const RACY: Duration = Duration::from_secs(2);

/// First line of the file: an index of another form is as good as none.
const FORM: &str = "longshore stat index 1";

/// What must be the same for a file to be believed unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    size: u64,
    modified: i128,
    changed: i128,
    inode: u64,
    device: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    status: Status,
    digest: Digest,
}

/// Digests of files by path and status.
#[derive(Debug)]
pub struct StatIndex {
    file: PathBuf,
    /// Read when it is first asked.
    entries: Option<HashMap<PathBuf, Entry>>,
    /// The newest change of any file that was asked for, in nanoseconds since 1970.
    newest: i128,
    changed: bool,
}

impl StatIndex {
    /// The index in `file`; where there is none, or a damaged one, it starts from nothing.
    pub fn load(file: &Path) -> Self {
        Self { file: file.to_owned(), entries: None, newest: 0, changed: false }
    }

    fn entries(&mut self) -> &mut HashMap<PathBuf, Entry> {
        let read = || std::fs::read_to_string(&self.file).ok().and_then(|text| parse(&text));
        self.entries.get_or_insert_with(|| read().unwrap_or_default())
    }

    /// The digest of a file's content. `metadata` is that of the file itself, links followed.
    pub fn digest(&mut self, path: &Path, metadata: &Metadata) -> anyhow::Result<Digest> {
        let status = status_of(metadata);
        self.newest = self.newest.max(status.map_or(i128::MAX, |status| status.changed));
        if let Some(status) = status
            && let Some(entry) = self.entries().get(path)
            && entry.status == status
        {
            return Ok(entry.digest.clone());
        }
        let now = i128::try_from(clock::now_precise().as_nanos()).unwrap_or(i128::MAX);
        let digest = hash_file(path)?;
        if let Some(status) = status {
            let settled = now - i128::try_from(RACY.as_nanos()).unwrap_or(0);
            if status.modified < settled && status.changed < settled {
                self.entries().insert(path.to_owned(), Entry { status, digest: digest.clone() });
                self.changed = true;
            }
        }
        Ok(digest)
    }

    /// Whether a file of those that were asked for may have changed since a time after 1970. Kernels keep times
    /// by their own ticks, a hundredth of a second at most.
    pub fn changed_since(&self, time: Duration) -> bool {
        const TICK: i128 = 10_000_000;
        self.newest + TICK >= i128::try_from(time.as_nanos()).unwrap_or(0)
    }

    pub fn save(&mut self) -> anyhow::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut text = format!("{FORM}\n");
        for (path, Entry { status, digest }) in self.entries() {
            // A path that can't stand in a line is hashed each time.
            let Some(path) = path.to_str().filter(|path| !path.contains('\n')) else { continue };
            let Status { size, modified, changed, inode, device } = status;
            text.push_str(&format!("{} {size} {modified} {changed} {inode} {device} {path}\n", digest.hex()));
        }
        files::write(&self.file, text.as_bytes())?;
        self.changed = false;
        Ok(())
    }
}

fn parse(text: &str) -> Option<HashMap<PathBuf, Entry>> {
    let mut lines = text.lines();
    if lines.next()? != FORM {
        return None;
    }
    lines
        .map(|line| {
            let mut words = line.splitn(7, ' ');
            let digest = format!("sha256:{}", words.next()?).parse().ok()?;
            let status = Status {
                size: words.next()?.parse().ok()?,
                modified: words.next()?.parse().ok()?,
                changed: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                device: words.next()?.parse().ok()?,
            };
            Some((PathBuf::from(words.next()?), Entry { status, digest }))
        })
        .collect()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn status_of(metadata: &Metadata) -> Option<Status> {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some(Status {
        size: metadata.size(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        device: metadata.dev(),
    })
}

/// Elsewhere no time says when a file's status changed, so every file is read.
#[cfg(not(unix))]
fn status_of(_metadata: &Metadata) -> Option<Status> {
    None
}

/// SHA-256 over a file, read in pieces.
fn hash_file(path: &Path) -> anyhow::Result<Digest> {
    let shown = || format!("could not read `{}`", path.display());
    let mut file = std::fs::File::open(path).with_context(shown)?;
    let mut hash = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).with_context(shown)?;
        if count == 0 {
            return Ok(hash.finish());
        }
        hash.update(&buffer[..count]);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    fn age(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }

    #[test]
    fn an_edit_that_keeps_size_and_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.go");
        let mut index = StatIndex::load(&folder.path().join("index"));
        let mut look = || index.digest(&path, &std::fs::metadata(&path).unwrap()).unwrap();
        std::fs::write(&path, "one").unwrap();
        age(&path, 1_000_000_000);
        let before = look();
        std::fs::write(&path, "two").unwrap();
        age(&path, 1_000_000_000);
        assert_ne!(look(), before);
    }

    #[test]
    fn a_racy_file_is_not_remembered_and_a_damaged_index_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.go");
        std::fs::write(&path, "one").unwrap();
        let mut index = StatIndex::load(&folder.path().join("index"));
        index.digest(&path, &std::fs::metadata(&path).unwrap()).unwrap();
        assert!(index.entries().is_empty(), "its change time is now");
        assert!(parse("another form\n").is_none());
        assert!(parse(&format!("{FORM}\nabc 1 2\n")).is_none());
    }
}
