//! Refs and remotes.

use std::collections::{BTreeMap, BTreeSet};

use super::Git;
use crate::fault::{Exit, Fault};
use crate::host::process::Status;
use crate::version::CommitId;

/// A ref of this clone or of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Whole: `refs/tags/gateway/v1.2.0`.
    pub name: String,
    /// What it points to: a commit, or an annotated tag's object.
    pub object: CommitId,
    /// What that is in the end: an annotated tag's commit.
    pub peeled: CommitId,
}

impl Ref {
    /// `gateway/v1.2.0` of `refs/tags/gateway/v1.2.0`.
    pub fn tag(&self) -> Option<&str> {
        self.name.strip_prefix("refs/tags/")
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    pub name: String,
    /// As configured. May hold credentials: never shown, never stored.
    pub url: String,
}

impl std::fmt::Debug for Remote {
    /// Without the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("name", &self.name)
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// The address for people and for `org.opencontainers.image.source`: https, without credentials
    /// and `.git`. Absent for a local folder.
    pub fn source(&self) -> Option<String> {
        let url = self.url.trim();
        let (host, path) = match url.split_once("://") {
            Some(("http" | "https" | "ssh" | "git" | "git+ssh" | "git+https", rest)) => {
                let (authority, path) = rest.split_once('/')?;
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                // The port of another protocol says nothing of where https listens.
                let host = if url.starts_with("http") { host } else { host.split(':').next()? };
                (host, path)
            }
            Some(_) => return None,
            None => {
                let (authority, path) = url.split_once(':')?;
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                // `C:\repo` and `./a:b` are folders; so says `git help clone`, "GIT URLS".
                if host.len() < 2 || host.contains('/') {
                    return None;
                }
                (host, path)
            }
        };
        let path = path.split(['?', '#']).next()?.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        (!host.is_empty() && !path.is_empty()).then(|| format!("https://{host}/{path}"))
    }
}

impl Git {
    /// Tags, and what lies under `prefixes` (as `refs/longshore`), by name.
    pub fn refs(&self, prefixes: &[&str]) -> anyhow::Result<Vec<Ref>> {
        let command = self
            .command("for-each-ref")
            .arg("--format=%(refname)%00%(objectname)%00%(*objectname)")
            .args(["--end-of-options", "refs/tags"])
            .args(prefixes.iter().copied());
        let output = self.run(command)?;
        let mut refs = Vec::new();
        for line in String::from_utf8_lossy(&output).lines() {
            let fields: Vec<&str> = line.split('\0').collect();
            if let [name, object, peeled] = fields[..] {
                let object: CommitId = object.parse()?;
                let peeled = if peeled.is_empty() { object.clone() } else { peeled.parse()? };
                refs.push(Ref { name: name.to_owned(), object, peeled });
            }
        }
        Ok(refs)
    }

    /// The remotes by name, with the address that is fetched from.
    pub fn remotes(&self) -> anyhow::Result<BTreeMap<String, Remote>> {
        let command = self.command("config").args(["-z", "--get-regexp", r"^remote\..*\.url$"]);
        let output = self.output(command)?;
        let mut remotes = BTreeMap::new();
        // Exit 1: there are none.
        if output.status == Status::Exited(0) {
            for entry in String::from_utf8_lossy(&output.stdout).split('\0') {
                let Some((key, url)) = entry.split_once('\n') else { continue };
                let Some(name) = key.strip_prefix("remote.").and_then(|key| key.strip_suffix(".url")) else {
                    continue;
                };
                let remote = Remote { name: name.to_owned(), url: url.to_owned() };
                remotes.entry(name.to_owned()).or_insert(remote);
            }
        }
        Ok(remotes)
    }

    /// Those of `commits` that are in HEAD's history. One that this clone does not have is not.
    pub fn ancestors<'a>(
        &self,
        commits: impl IntoIterator<Item = &'a CommitId>,
        head: &CommitId,
    ) -> anyhow::Result<BTreeSet<CommitId>> {
        let (same, others): (BTreeSet<CommitId>, BTreeSet<CommitId>) =
            commits.into_iter().cloned().partition(|commit| commit == head);
        let mut inside = same;
        for others in others.into_iter().collect::<Vec<_>>().chunks(200) {
            match self.outside(others, head)? {
                Some(outside) => {
                    inside.extend(others.iter().filter(|commit| !outside.contains(*commit)).cloned());
                }
                None => {
                    for commit in others {
                        let outside = self.outside(std::slice::from_ref(commit), head)?;
                        if outside.is_some_and(|outside| !outside.contains(commit)) {
                            inside.insert(commit.clone());
                        }
                    }
                }
            }
        }
        Ok(inside)
    }

    /// What `commits` have that `head` has not; `None` where a commit is missing.
    fn outside(&self, commits: &[CommitId], head: &CommitId) -> anyhow::Result<Option<BTreeSet<CommitId>>> {
        let command = self.command("rev-list").arg("--end-of-options");
        let command = command.args(commits.iter().map(CommitId::as_str)).arg(format!("^{head}"));
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Some(text.lines().filter_map(|line| line.parse().ok()).collect()))
    }

    /// Refuses history that is cut off, where it can't be had.
    ///
    /// # Errors
    /// [`Exit::Machine`] with the command.
    pub fn refuse_shallow(&self) -> Result<(), Fault> {
        if !self.shallow {
            return Ok(());
        }
        Err(Fault::new(Exit::Machine, "the clone is shallow: versions follow from its whole history")
            .hint("run `git fetch --unshallow --tags`, or set the checkout's depth to 0"))
    }

    /// Makes a shallow clone whole from `remote`; nothing to do where it is.
    ///
    /// # Errors
    /// [`Exit::Machine`] where it stays shallow, with the command.
    pub fn unshallow(&mut self, remote: &str) -> anyhow::Result<()> {
        if !self.shallow {
            return Ok(());
        }
        let fetch = self.command("fetch").args(["--quiet", "--unshallow", "--no-recurse-submodules"]);
        let fetched = self.output(fetch.args(["--end-of-options", remote]).timeout(super::network::NETWORK));
        let asked = self.command("rev-parse").arg("--is-shallow-repository");
        self.shallow = self.line(asked)? != "false";
        match (self.refuse_shallow(), fetched) {
            (Ok(()), _) => Ok(()),
            (Err(fault), Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or("it said nothing").to_owned();
                Err(anyhow::anyhow!("`git fetch --unshallow`: {last}").context(fault))
            }
            (Err(fault), Err(error)) => Err(anyhow::Error::from(error).context(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_shown_as_https_without_credentials() {
        for (url, shown) in [
            ("https://user:secret@example.com/team/shop.git", Some("https://example.com/team/shop")),
            ("https://example.com:8443/team/shop/", Some("https://example.com:8443/team/shop")),
            ("git@example.com:team/shop.git", Some("https://example.com/team/shop")),
            ("ssh://git@example.com:2222/team/shop.git", Some("https://example.com/team/shop")),
            ("https://example.com/shop?token=secret", Some("https://example.com/shop")),
            ("https://user:p@ss@example.com/shop", Some("https://example.com/shop")),
            ("/srv/git/shop.git", None),
            ("file:///srv/git/shop.git", None),
            (r"C:\repos\shop", None),
            ("./a:b", None),
            ("", None),
        ] {
            let remote = Remote { name: "origin".into(), url: url.into() };
            assert_eq!(remote.source().as_deref(), shown, "{url}");
            assert!(!format!("{remote:?}").contains("secret"), "{url}");
        }
    }
}
