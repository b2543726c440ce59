//! The work tree: what is uncommitted, what is not checked out.

use std::collections::BTreeSet;
use std::path::Path;

use crate::digest::Hasher;

use super::Git;
use crate::closure::RepoPath;
use crate::digest::Digest;
use crate::fault::{Exit, Fault};

/// What differs from HEAD: staged, unstaged and untracked (ignored files do not count).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    pub entries: Vec<DirtyEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyEntry {
    pub path: RepoPath,
    /// Git's two letters (`git help status`, "Short format"): `??` untracked, `.M` modified, `UU` conflict.
    pub code: String,
}

/// How many files a message lists.
const SHOWN: usize = 20;

impl Dirty {
    pub fn is_clean(&self) -> bool {
        self.entries.is_empty()
    }

    /// Refuses a dirty tree: a release is of a commit.
    ///
    /// # Errors
    /// [`Exit::Machine`], the files listed.
    pub fn refuse(&self) -> Result<(), Fault> {
        if self.is_clean() {
            return Ok(());
        }
        let mut message = "the work tree has uncommitted changes:".to_owned();
        for entry in self.entries.iter().take(SHOWN) {
            message.push_str(&format!("\n  {} {}", entry.code, entry.path));
        }
        if self.entries.len() > SHOWN {
            message.push_str(&format!("\n  and {} more", self.entries.len() - SHOWN));
        }
        Err(Fault::new(Exit::Machine, message)
            .hint("commit or stash them, or use `--snapshot` for a build of the tree as it is"))
    }
}

impl Git {
    /// What is uncommitted, in Git's order.
    pub fn dirty(&self) -> anyhow::Result<Dirty> {
        let command = self.command("status").args([
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--ignored=no",
        ]);
        let mut dirty = parse_status(&self.run(command)?);
        dirty.entries.extend(self.hidden()?);
        Ok(dirty)
    }

    /// What Git ignores below `folder` (absolute), from there; a folder that is ignored as a whole has a slash
    /// at its end.
    pub fn ignored(&self, folder: &Path) -> anyhow::Result<Vec<RepoPath>> {
        let listed = self.command("ls-files").cwd(folder);
        let listed = listed.args(["--others", "--ignored", "--exclude-standard", "--directory", "-z"]);
        let paths = self.run(listed)?;
        let paths = paths.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| RepoPath::from_bytes(path.to_vec())).collect())
    }

    /// Edits that Git was told not to look for, by `git update-index --skip-worktree` or `--assume-unchanged`.
    /// A file that a sparse checkout leaves out is no edit.
    fn hidden(&self) -> anyhow::Result<Vec<DirtyEntry>> {
        let index = self.run(self.command("ls-files").args(["-v", "-s", "-z"]))?;
        let mut found = Vec::new();
        for entry in index.split(|byte| *byte == 0).filter_map(Flagged::parse) {
            if self.differs(&entry)? {
                found.push(DirtyEntry { path: entry.path, code: "hidden".to_owned() });
            }
        }
        Ok(found)
    }

    fn differs(&self, entry: &Flagged<'_>) -> anyhow::Result<bool> {
        let path = self.root.join(entry.path.to_path());
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            // Of a Go package all files are there, or none.
            let torn = entry.path.as_bytes().ends_with(b".go") && path.parent().is_some_and(Path::is_dir);
            return Ok(entry.tag != b'S' || torn);
        };
        if entry.mode == b"120000" {
            let target = std::fs::read_link(&path).map(|target| RepoPath::from_path(&target));
            let kept = self.run(self.command("cat-file").arg("blob").arg(text(entry.object)))?;
            return Ok(target.map_or(true, |target| target.as_bytes() != kept));
        }
        if !meta.is_file() {
            return Ok(entry.mode != b"160000");
        }
        // By the path, so that line endings and filters are as they were when it was added.
        let command = self.command("hash-object").arg("--").arg(path.into_os_string());
        Ok(self.line(command)? != text(entry.object))
    }

    /// Refuses what was edited since the run found the tree clean, of the files that `counts`.
    ///
    /// # Errors
    /// [`Exit::Machine`], the files listed.
    pub fn refuse_edits(&self, counts: impl Fn(&RepoPath) -> bool) -> anyhow::Result<()> {
        let mut dirty = self.dirty()?;
        dirty.entries.retain(|entry| counts(&entry.path));
        let Err(fault) = dirty.refuse() else { return Ok(()) };
        let message = fault.message.replacen(
            "the work tree has uncommitted changes",
            "the work tree was changed during the run",
            1,
        );
        Err(Fault::new(Exit::Machine, message)
            .hint("nothing was published; commit or undo it, and run it again")
            .into())
    }

    /// A hash over the content of `paths` as they lie in the work tree: for the version of a snapshot
    /// of a dirty tree. Independent of order, times and modes but the executable bit.
    pub fn content_hash<'a>(&self, paths: impl IntoIterator<Item = &'a RepoPath>) -> anyhow::Result<Digest> {
        let paths: BTreeSet<&RepoPath> = paths.into_iter().collect();
        let mut hash = Hasher::new();
        for path in paths {
            let (kind, bytes) = content(&self.root.join(path.to_path()))?;
            for part in [path.as_bytes(), kind, &bytes] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Ok(hash.finish())
    }

    /// Refuses a tree in which a submodule or a Git LFS file is only a pointer: a build of it would not
    /// be of what the commit means.
    ///
    /// # Errors
    /// [`Exit::Machine`] naming the path and the command.
    pub fn refuse_pointers(&self) -> anyhow::Result<()> {
        let index = self.run(self.command("ls-files").args(["-s", "-z"]))?;
        let mut lfs = Vec::new();
        for (mode, path) in index.split(|byte| *byte == 0).filter_map(index_entry) {
            let here = self.root.join(path.to_path());
            if mode == b"160000" {
                let empty = std::fs::read_dir(&here).map_or(true, |mut entries| entries.next().is_none());
                if empty {
                    return Err(Fault::new(
                        Exit::Machine,
                        format!("the submodule `{path}` is not checked out"),
                    )
                    .hint("run `git submodule update --init --recursive`")
                    .into());
                }
            } else if path.split().1 == b".gitattributes" {
                let text = std::fs::read(&here).unwrap_or_default();
                if text.windows(10).any(|window| window == b"filter=lfs") {
                    lfs.push(path);
                }
            }
        }
        if lfs.is_empty() { Ok(()) } else { self.refuse_lfs(&index) }
    }

    fn refuse_lfs(&self, index: &[u8]) -> anyhow::Result<()> {
        for (mode, path) in index.split(|byte| *byte == 0).filter_map(index_entry) {
            if mode.starts_with(b"100") && is_lfs_pointer(&self.root.join(path.to_path())) {
                return Err(Fault::new(
                    Exit::Machine,
                    format!("`{path}` is a Git LFS pointer, not its content"),
                )
                .hint("run `git lfs pull`")
                .into());
            }
        }
        Ok(())
    }
}

/// Git LFS specification, "Intro": a pointer is under 1024 bytes and starts with this line.
fn is_lfs_pointer(path: &Path) -> bool {
    let small = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < 1024);
    small
        && std::fs::read(path)
            .is_ok_and(|bytes| bytes.starts_with(b"version https://git-lfs.github.com/spec/"))
}

fn content(path: &Path) -> anyhow::Result<(&'static [u8], Vec<u8>)> {
    use anyhow::Context as _;
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((b"absent", Vec::new())),
        Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
    };
    if meta.is_symlink() {
        return Ok((b"link", RepoPath::from_path(&std::fs::read_link(path)?).as_bytes().to_vec()));
    }
    if !meta.is_file() {
        return Ok((b"other", Vec::new()));
    }
    let bytes = std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))?;
    Ok((if executable(&meta) { b"executable" } else { b"file" }, bytes))
}

#[cfg(unix)]
fn executable(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &std::fs::Metadata) -> bool {
    false
}

/// `MODE OBJECT STAGE<TAB>PATH` → mode and path.
fn index_entry(entry: &[u8]) -> Option<(&[u8], RepoPath)> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let mode = entry.split(|byte| *byte == b' ').next()?;
    Some((mode, RepoPath::from_bytes(&entry[tab + 1..])))
}

/// A line of `git ls-files -v -s`: `TAG MODE OBJECT STAGE<TAB>PATH`.
struct Flagged<'a> {
    /// `S` is skip-worktree, a small letter assume-unchanged.
    tag: u8,
    mode: &'a [u8],
    object: &'a [u8],
    path: RepoPath,
}

impl<'a> Flagged<'a> {
    fn parse(entry: &'a [u8]) -> Option<Self> {
        let tag = *entry.first().filter(|tag| **tag == b'S' || tag.is_ascii_lowercase())?;
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let mut words = entry.get(2..tab)?.split(|byte| *byte == b' ');
        Some(Self {
            tag,
            mode: words.next()?,
            object: words.next()?,
            path: RepoPath::from_bytes(&entry[tab + 1..]),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `git help status`, "Porcelain Format Version 2". Renames are off, so every entry is one token.
fn parse_status(bytes: &[u8]) -> Dirty {
    let mut entries = Vec::new();
    for entry in bytes.split(|byte| *byte == 0) {
        // The number of fields before the path, by the kind of entry.
        let (fields, code) = match entry.first() {
            Some(b'1') => (8, entry.get(2..4)),
            Some(b'u') => (10, entry.get(2..4)),
            Some(b'?') => (1, Some(&b"??"[..])),
            _ => continue,
        };
        let mut parts = entry.splitn(fields + 1, |byte| *byte == b' ');
        if let (Some(path), Some(code)) = (parts.nth(fields), code) {
            let code = String::from_utf8_lossy(code).into_owned();
            entries.push(DirtyEntry { path: RepoPath::from_bytes(path), code });
        }
    }
    Dirty { entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_line_breaks_are_names() {
        let status = b"1 .M N... 100644 100644 100644 aaaa bbbb a b\nc.go\0? new\xff file\0\
            u UU N... 100644 100644 100644 100644 a b c both.go\0! ignored\0";
        let dirty = parse_status(status);
        let shown: Vec<String> = dirty.entries.iter().map(|e| format!("{} {}", e.code, e.path)).collect();
        assert_eq!(shown, [".M a b%0Ac.go", "?? new%FF file", "UU both.go"]);
        assert!(dirty.refuse().unwrap_err().message.contains("a b%0Ac.go"));
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let entry = DirtyEntry { path: "x".into(), code: "??".into() };
        let fault = Dirty { entries: vec![entry; 25] }.refuse().unwrap_err();
        assert!(fault.message.ends_with("and 5 more"));
        assert_eq!(fault.exit, Exit::Machine);
    }
}
