//! What differs between a commit and the work tree.

use std::collections::BTreeSet;

use super::Git;
use super::tree::Dirty;
use crate::closure::RepoPath;
use crate::version::CommitId;

impl Git {
    /// The paths that differ between `base` and the work tree, the untracked of `dirty` among them.
    ///
    /// # Errors
    /// [`crate::fault::Exit::Machine`] where this clone does not have `base`.
    pub fn changed_since(&self, base: &CommitId, dirty: &Dirty) -> anyhow::Result<BTreeSet<RepoPath>> {
        let command = self
            .command("diff")
            .args(["--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"])
            .args(["--ignore-submodules=dirty", "--end-of-options", base.as_str(), "--"]);
        let output = self.run(command)?;
        let mut paths: BTreeSet<RepoPath> = output
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
            .map(RepoPath::from_bytes)
            .collect();
        paths.extend(dirty.entries.iter().map(|entry| entry.path.clone()));
        Ok(paths)
    }

    /// Whether this clone has a commit.
    pub fn has(&self, commit: &CommitId) -> anyhow::Result<bool> {
        let command = self.command("cat-file").arg("-e").arg(format!("{commit}^{{commit}}"));
        Ok(self.output(command)?.status == crate::host::process::Status::Exited(0))
    }

    /// Where `head` left the commit that `name` stands for: that commit itself where it is an ancestor, or
    /// where both have no history in common.
    ///
    /// # Errors
    /// As [`Git::commit`].
    pub fn since(&self, name: &str, head: &CommitId) -> anyhow::Result<CommitId> {
        let commit = self.commit(name)?;
        let command = self.command("merge-base").args(["--", commit.as_str(), head.as_str()]);
        let output = self.output(command)?;
        let common = String::from_utf8_lossy(&output.stdout).trim().parse();
        Ok(if output.status == crate::host::process::Status::Exited(0) { common? } else { commit })
    }

    /// The commit that a name given by the user stands for.
    ///
    /// # Errors
    /// [`crate::fault::Exit::Usage`] where it stands for none.
    pub fn commit(&self, name: &str) -> anyhow::Result<CommitId> {
        use crate::fault::{Exit, Fault};
        let command = self
            .command("rev-parse")
            .args(["--verify", "--quiet", "--end-of-options"])
            .arg(format!("{name}^{{commit}}"));
        let output = self.output(command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| {
            Fault::new(Exit::Usage, format!("`{name}` is no commit of this repository"))
                .hint("in a shallow clone it may be cut off: run `git fetch --unshallow`")
                .into()
        })
    }
}
