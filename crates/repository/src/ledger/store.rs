//! A ref whose tree holds files, and how a commit is put on top of it: compare and swap, here with
//! `update-ref`, in a remote with a push that names the value it expects.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use anyhow::Context as _;

use super::{Ledger, Scope};
use crate::facts::git::{Git, Identity, Pushed, Update, without_credentials};
use crate::fault::{Exit, Fault};
use crate::version::CommitId;

/// How often a lost race is run again: with a dozen of machines at once, some lose many times.
const ATTEMPTS: u32 = 10;

/// A file to add to a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    path: String,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Blob(Vec<u8>),
    Link(CommitId),
}

impl File {
    /// `path`: names and `/`.
    pub fn blob(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: Content::Blob(bytes.into()) }
    }

    /// An entry that names a commit without holding it, as a submodule's does.
    pub fn link(path: impl Into<String>, commit: &CommitId) -> Self {
        Self { path: path.into(), content: Content::Link(commit.clone()) }
    }
}

/// The names in a ref's tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The ref's commit; absent where there is none.
    pub tip: Option<CommitId>,
    /// Path → blob, or the commit of a link.
    entries: BTreeMap<String, String>,
}

impl Tree {
    pub fn get(&self, path: &str) -> Option<&str> {
        self.entries.get(path).map(String::as_str)
    }

    /// What lies under `folder/`, without it.
    pub fn under(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .filter_map(move |(path, object)| Some((path.strip_prefix(folder)?, object.as_str())))
    }
}

impl Ledger<'_> {
    /// The tree of one of the ledger's refs, as this clone has it.
    pub fn tree(&self, name: &str) -> anyhow::Result<Tree> {
        let reference = self.reference(name);
        let Some(tip) = self.git.ref_object(&reference)? else { return Ok(Tree::default()) };
        let command =
            self.git.command("ls-tree").args(["-r", "-z", "--full-tree", "--end-of-options", tip.as_str()]);
        let output = self.git.run(command)?;
        let mut entries = BTreeMap::new();
        for entry in output.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((words, path)) = entry.split_once('\t') else { continue };
            if let Some(object) = words.split(' ').nth(2) {
                entries.insert(path.to_owned(), object.to_owned());
            }
        }
        Ok(Tree { tip: Some(tip), entries })
    }

    /// Puts one commit with `change`'s files on top of a ref (`releases`, `env/prod`), and gives the
    /// commit that is then its tip. `change` sees the tree as it is; after a lost race it is asked
    /// again about the tree as it has become. No files: nothing to do. `by` (`Name <address>`) and
    /// `time` (seconds since 1970) go into the commit.
    ///
    /// # Errors
    /// What `change` says; [`Exit::Conflict`] after too many lost races; [`Exit::Outside`] where the
    /// remote does not answer; [`Exit::Machine`] where its rules forbid the ref.
    pub fn append(
        &self,
        name: &str,
        message: &str,
        by: &str,
        time: i64,
        change: &mut dyn FnMut(&Tree) -> anyhow::Result<Vec<File>>,
    ) -> anyhow::Result<Option<CommitId>> {
        let reference = self.reference(name);
        let mut lost = String::new();
        for attempt in 0..ATTEMPTS {
            let there = match &self.scope {
                Scope::Local => None,
                Scope::Remote(remote) => {
                    // The first look is the caller's where it was recent; a wrong one costs an attempt.
                    if attempt > 0 {
                        pause(attempt);
                    }
                    self.follow(remote, &reference)?
                }
            };
            let tree = self.tree(name)?;
            let files = change(&tree)?;
            if files.is_empty() {
                return Ok(tree.tip);
            }
            let commit = commit(self.git, tree.tip.as_ref(), &files, message, &Identity::parse(by), time)?;
            let parent = tree.tip.as_ref().map(CommitId::as_str);
            if let Scope::Remote(remote) = &self.scope {
                let expected = there.map(|tip| tip.to_string());
                let update = Update { name: reference.clone(), object: commit.to_string(), expected };
                match self.git.push(remote, &[update])?.pop() {
                    Some(Pushed::Done) => {}
                    Some(Pushed::Refused(why)) => return Err(refused(remote, &reference, &why).into()),
                    Some(Pushed::Lost(why)) => {
                        lost = why;
                        continue;
                    }
                    None => anyhow::bail!("internal: a push without an answer"),
                }
                // The mirror: another process of this clone may have moved it on already.
                self.git.set_ref(&reference, commit.as_str(), parent)?;
                return Ok(Some(commit));
            }
            if self.git.set_ref(&reference, commit.as_str(), parent)? {
                return Ok(Some(commit));
            }
            pause(attempt);
            lost = "another process of this machine moves it".to_owned();
        }
        Err(Fault::new(
            Exit::Conflict,
            format!("`{reference}` moved each time in {ATTEMPTS} attempts to add to it: {lost}"),
        )
        .hint("other releases are under way; run it again when they are done")
        .into())
    }

    /// The tree of one of the ledger's refs as the remote has it now.
    ///
    /// # Errors
    /// As [`Ledger::refresh`].
    pub fn newest_tree(&self, name: &str) -> anyhow::Result<Tree> {
        if let Scope::Remote(remote) = &self.scope {
            self.follow(remote, &self.reference(name))?;
        }
        self.tree(name)
    }

    /// The bytes of blobs of a tree, by their ids.
    pub fn blobs<'b>(
        &self,
        ids: impl IntoIterator<Item = &'b str>,
    ) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        self.git.objects(ids)
    }

    /// Brings the mirror of one ref up to the remote, and gives the remote's value.
    fn follow(&self, remote: &str, reference: &str) -> anyhow::Result<Option<CommitId>> {
        let there = self.git.list_remote(remote, &[reference])?;
        let there = there.into_iter().find(|found| found.name == reference).map(|found| found.object);
        self.mirror(remote, &[(reference.to_owned(), there.clone())])?;
        Ok(there)
    }

    /// Fetches those refs whose value there is not the one here.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where the remote's ref is no descendant of what was seen before.
    pub(super) fn mirror(&self, remote: &str, refs: &[(String, Option<CommitId>)]) -> anyhow::Result<()> {
        for (name, there) in refs {
            let Some(there) = there else { continue };
            let here = self.git.ref_object(name)?;
            // A fetch that another process of this clone overtakes finds the ref further on than asked.
            if here.as_ref() == Some(there) || self.git.fetch(remote, &[name])? {
                continue;
            }
            let now = self.git.ref_object(name)?;
            let follows = match &now {
                Some(now) => self.git.ancestors([there], now)?.contains(there),
                None => false,
            };
            if !follows {
                let here = now.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
                return Err(Fault::new(
                    Exit::Conflict,
                    format!("`{name}` was rewritten in the Git remote: it was {here} and is {there}, which does not follow"),
                )
                .hint(format!(
                    "the ledger is append-only: find out who forced it; `git update-ref -d {name}` accepts theirs"
                ))
                .into());
            }
        }
        Ok(())
    }
}

/// Writes a commit of `parent`'s tree with `files` in it.
fn commit(
    git: &Git,
    parent: Option<&CommitId>,
    files: &[File],
    message: &str,
    by: &Identity,
    time: i64,
) -> anyhow::Result<CommitId> {
    let state = git.dir.join("longshore");
    std::fs::create_dir_all(&state).with_context(|| format!("could not make `{}`", state.display()))?;
    // An index of our own: the user's is not touched.
    let folder = tempfile::Builder::new().prefix("index-").tempdir_in(&state)?;
    let index = folder.path().join("index");
    let command = |name: &str| git.command(name).env("GIT_INDEX_FILE", &index);
    if let Some(parent) = parent {
        git.run(command("read-tree").args(["--end-of-options", parent.as_str()]))?;
    }
    let mut lines = Vec::new();
    for file in files {
        let (mode, object) = match &file.content {
            Content::Blob(bytes) => ("100644", git.write_object("blob", bytes.clone())?),
            Content::Link(commit) => ("160000", commit.to_string()),
        };
        lines.extend_from_slice(format!("{mode} {object} 0\t{}\0", file.path).as_bytes());
    }
    git.run(command("update-index").args(["-z", "--index-info"]).stdin(lines))?;
    let tree = git.line(command("write-tree"))?;
    let command = by.sign(git.command("commit-tree"), time.max(0));
    let command = command.args(parent.into_iter().flat_map(|parent| ["-p", parent.as_str()]));
    let id = git.line(command.args(["--no-gpg-sign", "-F", "-", &tree]).stdin(message))?;
    Ok(id.parse()?)
}

fn refused(remote: &str, reference: &str, why: &str) -> Fault {
    Fault::new(
        Exit::Machine,
        format!("`{}` takes no push of `{reference}`: {why}", without_credentials(remote)),
    )
    .hint(
        "give this user the right to push there; on a host that allows only branches set `ledger = \
         \"refs/heads/longshore\"` in `[project]`",
    )
}

/// Waits before attempt `attempt`, longer each time and never as long as a competitor does.
fn pause(attempt: u32) {
    let mut random = std::hash::RandomState::new().build_hasher();
    random.write_u32(attempt);
    let limit = 20u64 << attempt.min(5);
    std::thread::sleep(Duration::from_millis(limit / 2 + random.finish() % limit));
}
