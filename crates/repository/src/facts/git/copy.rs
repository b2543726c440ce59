//! A second work tree of the same commit: a repository of its own that borrows this one's objects.

use std::path::Path;
use std::time::Duration;

use super::Git;
use crate::version::CommitId;

/// A checkout writes every file once.
const CHECKOUT: Duration = Duration::from_secs(1800);

/// The name under which the copy knows this repository while it is made.
const SOURCE: &str = "longshore-source";

impl Git {
    /// Checks `commit` out in `folder`, which is made, with all refs and remotes of this repository and nothing
    /// that is not committed.
    ///
    /// # Errors
    /// [`crate::fault::Exit::Machine`]: the disk says no, or a filter of the checkout.
    pub fn copy_to(&self, folder: &Path, commit: &CommitId) -> anyhow::Result<()> {
        let clone = self
            .command("clone")
            .args(["--quiet", "--shared", "--no-checkout", "--no-tags", "--origin", SOURCE])
            .args(["--end-of-options".into(), self.root.as_os_str().to_owned(), folder.into()]);
        self.run(clone.timeout(CHECKOUT))?;
        let copy = Self { root: folder.to_owned(), ..self.clone() };
        let fetch = copy
            .command("fetch")
            .args(["--quiet", "--no-tags", "--update-head-ok", "--update-shallow", "--no-recurse-submodules"])
            .args([SOURCE, "+refs/*:refs/*", "+HEAD:refs/longshore-source"]);
        copy.run(fetch.timeout(CHECKOUT))?;
        copy.run(copy.command("remote").args(["remove", SOURCE]))?;
        for remote in self.remotes()?.values() {
            // Only where it is: nothing is asked of it, and a word in front is never an option.
            let key = format!("remote.{}.url", remote.name);
            copy.run(copy.command("config").args(["--add", &key, &remote.url]))?;
        }
        copy.run(copy.command("checkout").args(["--quiet", "--detach", commit.as_str()]).timeout(CHECKOUT))?;
        Ok(())
    }
}
