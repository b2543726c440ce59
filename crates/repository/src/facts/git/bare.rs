//! Another repository: a bare one of this tool's own, in which a branch of somebody's is looked at and
//! carried on. Its branch is never forced.

use std::collections::BTreeMap;
use std::path::Path;

use super::network::{NETWORK, unreachable};
use super::{Git, Identity};
use crate::cancel::Cancel;
use crate::fault::{Exit, FaultContext as _};
use crate::host::process::Status;
use crate::version::CommitId;

/// What a commit changes: the new content by path; `None` takes the file away.
pub type Edits = BTreeMap<String, Option<Vec<u8>>>;

impl Git {
    /// Opens the bare repository in `folder`, which is made where it is not there.
    ///
    /// # Errors
    /// [`Exit::Machine`]: Git is missing, the disk says no.
    pub fn bare(folder: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        let parent = folder.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(Path::new("."));
        let mut git = Self {
            root: parent.to_owned(),
            dir: folder.to_owned(),
            shallow: false,
            env: BTreeMap::new(),
            cancel: cancel.clone(),
        };
        let made = git.run(git.command("init").args(["--quiet", "--bare", "--end-of-options"]).arg(folder));
        // Another process may be making it.
        if let Err(error) = made
            && !folder.join("HEAD").is_file()
        {
            return Err(error);
        }
        git.root = folder.to_owned();
        git.env.insert("GIT_DIR".into(), folder.into());
        Ok(git)
    }

    /// Brings a branch of another repository into a ref of this one, whatever that was, and gives its commit;
    /// `None` where there is no such branch.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the repository can't be reached.
    pub fn follow(&self, remote: &str, branch: &str, reference: &str) -> anyhow::Result<Option<CommitId>> {
        let branch = format!("refs/heads/{branch}");
        let command = self
            .command("fetch")
            .args([
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-gc",
            ])
            .args(["--end-of-options", remote])
            .arg(format!("+{branch}:{reference}"))
            .timeout(NETWORK);
        let output = self.output(command)?;
        if output.status == Status::Exited(0) {
            return self.ref_object(reference);
        }
        // One request more only where something is wrong: there may be no such branch yet.
        if self.list_remote(remote, &[&branch])?.is_empty() {
            return Ok(None);
        }
        Err(unreachable(remote, &output).into())
    }

    /// The files of a commit at or below `paths`, by path.
    ///
    /// # Errors
    /// A broken repository.
    pub fn files(&self, commit: &CommitId, paths: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let command =
            self.command("ls-tree").args(["-r", "-z", "--full-tree", "--end-of-options", commit.as_str()]);
        let output = self.run(command.arg("--").args(paths.iter().copied()))?;
        let mut ids = BTreeMap::new();
        for entry in output.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((words, path)) = entry.split_once('\t') else { continue };
            if let ["100644" | "100755", "blob", id] = words.split(' ').collect::<Vec<_>>()[..] {
                ids.insert(path.to_owned(), id.to_owned());
            }
        }
        let mut blobs = self.objects(ids.values().map(String::as_str))?;
        let content = |(path, id): (String, String)| {
            let bytes = blobs.get_mut(&id).map(|bytes| bytes.clone()).unwrap_or_default();
            (path, bytes)
        };
        Ok(ids.into_iter().map(content).collect())
    }

    /// Writes the tree of `parent` with `edits` in it, and gives its id.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no, or a path can't be a file there.
    pub fn edited(&self, parent: Option<&CommitId>, edits: &Edits) -> anyhow::Result<String> {
        let folder =
            tempfile::TempDir::new_in(&self.dir).fault(Exit::Machine, "could not write a Git index")?;
        let index = folder.path().join("index");
        let command = |name: &str| self.command(name).env("GIT_INDEX_FILE", &index);
        if let Some(parent) = parent {
            self.run(command("read-tree").args(["--end-of-options", parent.as_str()]))?;
        }
        let mut lines = Vec::new();
        for (path, content) in edits {
            let line = match content {
                Some(bytes) => format!("100644 {}\t{path}\0", self.write_object("blob", bytes.clone())?),
                None => format!("0 {}\t{path}\0", "0".repeat(40)),
            };
            lines.extend_from_slice(line.as_bytes());
        }
        self.run(command("update-index").args(["-z", "--index-info"]).stdin(lines))?;
        self.line(command("write-tree"))
    }

    /// Writes a commit of a tree.
    ///
    /// # Errors
    /// [`Exit::Machine`] when the disk says no.
    pub fn commit_tree(
        &self,
        tree: &str,
        parent: Option<&CommitId>,
        message: &str,
        by: &Identity,
        time: i64,
    ) -> anyhow::Result<CommitId> {
        let command = by.sign(self.command("commit-tree"), time.max(0));
        let command = command.args(parent.into_iter().flat_map(|parent| ["-p", parent.as_str()]));
        Ok(self.line(command.args(["--no-gpg-sign", "-F", "-", tree]).stdin(message))?.parse()?)
    }

    /// How two trees differ, as `git diff` prints it.
    ///
    /// # Errors
    /// A broken repository.
    pub fn difference(&self, from: Option<&CommitId>, to: &str) -> anyhow::Result<Vec<String>> {
        let empty = self.write_object("tree", Vec::new())?;
        let from = from.map_or(empty.as_str(), CommitId::as_str);
        let command = self.command("diff-tree").args([
            "-p",
            "-r",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            from,
            to,
        ]);
        let output = self.run(command)?;
        let lines = String::from_utf8_lossy(&output);
        Ok(lines.lines().filter(|line| !line.starts_with("index ")).map(str::to_owned).collect())
    }
}
