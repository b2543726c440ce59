//! Commits and what they changed.

use std::collections::{BTreeMap, BTreeSet};

use super::Git;
use crate::closure::RepoPath;
use crate::fault::{Exit, Fault};
use crate::host::process::Status;
use crate::version::modfile::{ModFile, differences};
use crate::version::{Commit, CommitId};

/// A go.mod or go.work that a commit changed, and its two states.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModEdit {
    /// Which commit, by its place in the list.
    commit: usize,
    file: RepoPath,
    /// Blobs; absent where the file was not or is not there.
    old: Option<String>,
    new: Option<String>,
}

impl Git {
    /// The commits of `head` that `base` does not have, newest first (every child before its parents);
    /// all of them without a base. Of a merge, only the files that differ from all its parents.
    ///
    /// # Errors
    /// [`Exit::Machine`] where this clone does not have `base`.
    pub fn commits(&self, base: Option<&CommitId>, head: &CommitId) -> anyhow::Result<Vec<Commit>> {
        if base == Some(head) {
            return Ok(Vec::new());
        }
        let command = self
            .command("log")
            .args(["-z", "--topo-order", "--raw", "--no-abbrev", "--no-renames", "--root", "-c", "-r"])
            .args(["--no-show-signature", "--no-color", "--no-ext-diff", "--no-textconv", "--no-notes"])
            .args(["--no-mailmap", "--encoding=UTF-8", "--ignore-submodules=none"])
            .arg("--format=%H%x00%P%x00%ct%x00%B%x00")
            .args(["--end-of-options", head.as_str()])
            .args(base.map(|base| format!("^{base}")));
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            let said = String::from_utf8_lossy(&output.stderr);
            let what = base.map_or_else(String::new, |base| format!(" since {}", base.short()));
            let line = said.lines().next().unwrap_or("it said nothing");
            return Err(Fault::new(Exit::Machine, format!("the history{what} can't be read: {line}"))
                .hint("run `git fetch --tags` (in a shallow clone with `--unshallow`): a release's commit is missing")
                .into());
        }
        let (mut commits, edits) = parse_log(&output.stdout)?;
        let wanted = edits.iter().flat_map(|edit| [&edit.old, &edit.new]).flatten().map(String::as_str);
        let texts = self.objects(wanted)?;
        // What one commit makes of a file is what the next one finds.
        let files: BTreeMap<&str, ModFile> = texts
            .iter()
            .map(|(blob, text)| (blob.as_str(), ModFile::parse(&String::from_utf8_lossy(text))))
            .collect();
        let file = |blob: &Option<String>| files.get(blob.as_deref()?);
        for edit in &edits {
            commits[edit.commit].modules.extend(differences(&edit.file, file(&edit.old), file(&edit.new)));
        }
        Ok(commits)
    }

    /// The commits since each of `bases`, which services may share: each read once, side by side.
    ///
    /// # Errors
    /// As [`Git::commits`].
    pub fn histories(
        &self,
        bases: impl IntoIterator<Item = Option<CommitId>>,
        head: &CommitId,
    ) -> anyhow::Result<BTreeMap<Option<CommitId>, Vec<Commit>>> {
        let bases: BTreeSet<Option<CommitId>> = bases.into_iter().collect();
        let bases: Vec<Option<CommitId>> = bases.into_iter().collect();
        let mut histories = BTreeMap::new();
        // A hundred services with a base each must not be a hundred processes at once.
        for some in bases.chunks(8) {
            let read = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    some.iter().map(|base| scope.spawn(move || self.commits(base.as_ref(), head))).collect();
                threads.into_iter().map(super::joined).collect::<anyhow::Result<Vec<_>>>()
            })?;
            histories.extend(some.iter().cloned().zip(read));
        }
        Ok(histories)
    }
}

/// `%H %P %ct %B`, each ended by a NUL, then raw entries (`git help diff-index`, "RAW OUTPUT FORMAT"),
/// each a word of modes, blobs and letters and then a path; a merge's has a colon for each parent.
fn parse_log(bytes: &[u8]) -> anyhow::Result<(Vec<Commit>, Vec<ModEdit>)> {
    let mut commits: Vec<Commit> = Vec::new();
    let mut edits = Vec::new();
    let mut tokens = bytes.split(|byte| *byte == 0);
    while let Some(token) = tokens.next() {
        // Git puts a NUL or a line break between a message and its entries, and between commits.
        let token = token.trim_ascii_start();
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        if token.is_empty() {
            continue;
        }
        if token[0] != b':' {
            let id = text(Some(token)).parse()?;
            let parents = text(tokens.next()).split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let time = text(tokens.next()).parse().unwrap_or_default();
            let message = text(tokens.next());
            commits.push(Commit { id, parents, time, message, files: Vec::new(), modules: Vec::new() });
            continue;
        }
        let (Some(path), Some(at)) = (tokens.next(), commits.len().checked_sub(1)) else {
            anyhow::bail!("internal: `git log` gave a change without its file or commit");
        };
        let path = RepoPath::from_bytes(path);
        if matches!(path.split().1, b"go.mod" | b"go.work") {
            let (old, new) = blobs(token);
            edits.push(ModEdit { commit: at, file: path.clone(), old, new });
        }
        commits[at].files.push(path);
    }
    Ok((commits, edits))
}

/// The first parent's blob and the new one.
fn blobs(entry: &[u8]) -> (Option<String>, Option<String>) {
    let parents = entry.iter().take_while(|byte| **byte == b':').count();
    let text = String::from_utf8_lossy(entry);
    let words: Vec<&str> = text.split(' ').collect();
    // Modes of all parents and the result, then as many blobs.
    let blob = |at: usize| {
        let blob = words.get(parents + 1 + at).filter(|blob| blob.bytes().any(|byte| byte != b'0'));
        blob.map(|blob| (*blob).to_owned())
    };
    (blob(0), blob(parents))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        std::iter::repeat_n(digit, 40).collect()
    }

    #[test]
    fn a_log_is_read_whatever_the_names_and_messages() {
        let [a, b, c, z] = ['a', 'b', 'c', '0'].map(id);
        let log = format!(
            "{a}\0{b} {c}\0170\0Merge\n\0\0::100644 100644 100644 {b} {c} {a} MM\0x/go.mod\0{b}\0{c}\0160\0feat: x\n\
             \n:100644 not an entry\n\0\0\n:100644 100644 {a} {b} M\0a\nb.go\0:000000 100644 {z} {c} A\0go.mod\0\
             {c}\0\0150\0empty\0"
        );
        let (commits, edits) = parse_log(log.as_bytes()).unwrap();
        let files: Vec<Vec<String>> =
            commits.iter().map(|commit| commit.files.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(files, [vec!["x/go.mod"], vec!["a%0Ab.go", "go.mod"], vec![]]);
        assert!(commits[0].is_merge());
        assert_eq!(commits[1].time, 160);
        assert_eq!(commits[1].message, "feat: x\n\n:100644 not an entry\n");
        assert_eq!(edits[0], ModEdit { commit: 0, file: "x/go.mod".into(), old: Some(b), new: Some(a) });
        assert_eq!(edits[1], ModEdit { commit: 1, file: "go.mod".into(), old: None, new: Some(c) });
    }
}
