//! What Git knows: the work tree, HEAD, what is uncommitted, refs, history. Every question to Git is
//! asked here, through its command line, `-z` where there are names, and never through a shell.
//!
//! Reading never writes: no index refresh, no prompt. A ref's or file's name is data: it stands behind
//! `--end-of-options`, and names are bytes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::closure::RepoPath;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::process::{Command, Output, ProcessError, Status};
use crate::version::CommitId;
use crate::workspace::Workspace;

mod bare;
mod changes;
mod copy;
mod history;
mod identity;
mod network;
mod objects;
mod refs;
mod tree;

pub use bare::Edits;
pub use identity::Identity;
pub use network::without_credentials;
pub use network::{Pushed, Update};
pub use refs::{Ref, Remote};
pub use tree::{Dirty, DirtyEntry};

/// Variables that would point Git at another repository, index or object store than the one asked for.
const AMBIENT: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INDEX_VERSION",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_QUARANTINE_PATH",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_PAGER",
];

/// A local question takes milliseconds; a whole minute is a broken disk.
const LOCAL: Duration = Duration::from_secs(120);

/// A repository with a work tree, and how to ask Git about it.
#[derive(Clone, Debug)]
pub struct Git {
    /// The work tree's root, absolute.
    pub root: PathBuf,
    /// This work tree's own Git directory, absolute: private state lies under it.
    pub dir: PathBuf,
    /// Its history is cut off.
    pub shallow: bool,
    env: BTreeMap<OsString, OsString>,
    cancel: Cancel,
}

/// The commit that is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub commit: CommitId,
    /// Of the committer, in seconds since 1970.
    pub time: i64,
    pub subject: String,
    /// Absent where HEAD is detached.
    pub branch: Option<String>,
}

/// Everything about this clone that a run starts from.
#[derive(Clone, Debug)]
pub struct Facts {
    pub head: Head,
    pub dirty: Dirty,
    /// Tags, and the ledger's refs.
    pub refs: Vec<Ref>,
    /// By name.
    pub remotes: BTreeMap<String, Remote>,
}

impl Git {
    /// Finds the repository that `folder` lies in.
    ///
    /// # Errors
    /// [`Exit::Machine`]: Git is missing, or `folder` is in no work tree.
    pub fn open(folder: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::open_with(folder, BTreeMap::new(), cancel)
    }

    /// As [`Git::open`], with variables that every Git process gets.
    pub fn open_with(
        folder: &Path,
        env: BTreeMap<OsString, OsString>,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let mut git = Self {
            root: folder.to_owned(),
            dir: PathBuf::new(),
            shallow: false,
            env,
            cancel: cancel.clone(),
        };
        let output = git
            .output(git.command("rev-parse").args([
                "--is-shallow-repository",
                "--is-inside-work-tree",
                "--absolute-git-dir",
                "--show-toplevel",
            ]))
            .map_err(missing_git)?;
        if output.status != Status::Exited(0) {
            return Err(no_repository(folder, &output).into());
        }
        let lines: Vec<&[u8]> = output.stdout.trim_ascii_end().split(|byte| *byte == b'\n').collect();
        let [shallow, b"true", dir, root] = lines[..] else {
            return Err(Fault::new(
                Exit::Machine,
                format!("`{}` is in no work tree that can be used", folder.display()),
            )
            .hint("run it inside a checkout whose path has no line break")
            .into());
        };
        git.shallow = shallow == b"true";
        git.dir = RepoPath::from_bytes(dir).to_path();
        git.root = RepoPath::from_bytes(root).to_path();
        Ok(git)
    }

    /// In a work tree that was opened before; nothing is asked.
    pub fn again(workspace: &Workspace, cancel: &Cancel) -> Self {
        Self {
            root: workspace.root.clone(),
            dir: workspace.state.parent().unwrap_or(&workspace.state).to_owned(),
            shallow: false,
            env: BTreeMap::new(),
            cancel: cancel.clone(),
        }
    }

    /// All at once: four processes side by side. `prefixes` as in [`Git::refs`].
    ///
    /// # Errors
    /// As [`Git::head`].
    pub fn facts(&self, prefixes: &[&str]) -> anyhow::Result<Facts> {
        std::thread::scope(|scope| {
            let dirty = scope.spawn(|| self.dirty());
            let refs = scope.spawn(|| self.refs(prefixes));
            let remotes = scope.spawn(|| self.remotes());
            let head = self.head();
            Ok(Facts { head: head?, dirty: joined(dirty)?, refs: joined(refs)?, remotes: joined(remotes)? })
        })
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// [`Exit::Machine`] where there is no commit yet.
    pub fn head(&self) -> anyhow::Result<Head> {
        let command =
            self.command("log").args(["-1", "-z", "--no-show-signature", "--no-color", "--decorate=full"]);
        let command = command.arg("--format=%H%x00%ct%x00%s%x00%D").args(["--end-of-options", "HEAD"]);
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            return Err(Fault::new(Exit::Machine, "the repository has no commits yet")
                .hint("commit first: a release is of a commit")
                .into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut fields = text.split('\0');
        let mut field = || fields.next().unwrap_or_default();
        let commit = field().parse()?;
        let time = field().parse().unwrap_or_default();
        let subject = field().to_owned();
        let branch = field().trim_end().strip_prefix("HEAD -> refs/heads/").map(|rest| {
            // A branch's name holds no comma followed by a space: Git refuses spaces in it.
            rest.split(", ").next().unwrap_or(rest).to_owned()
        });
        Ok(Head { commit, time, subject, branch })
    }

    /// Checks that HEAD is still where the run found it.
    ///
    /// # Errors
    /// [`Exit::Machine`] naming both commits.
    pub fn recheck(&self, expected: &CommitId) -> anyhow::Result<()> {
        let asked = self.command("rev-parse").args(["--verify", "--end-of-options", "HEAD^{commit}"]);
        let now: CommitId = String::from_utf8_lossy(&self.run(asked)?).trim_end().parse()?;
        if now == *expected {
            return Ok(());
        }
        Err(Fault::new(
            Exit::Machine,
            format!("HEAD moved during the run, from {} to {}", expected.short(), now.short()),
        )
        .hint("nothing was published; run it again")
        .into())
    }

    /// `git SUBCOMMAND` in the root, deaf to what the user's environment and configuration could
    /// change about an answer.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new("git").cwd(&self.root).timeout(LOCAL);
        for name in AMBIENT {
            command = command.unset(*name);
        }
        for (name, value) in [
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_MERGE_AUTOEDIT", "no"),
            ("GCM_INTERACTIVE", "never"),
        ] {
            command = command.env(name, value);
        }
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        for setting in SETTINGS {
            command = command.args(["-c", setting]);
        }
        command.arg(subcommand)
    }

    /// What a command said, with whatever exit code: one that was stopped or killed has said nothing.
    pub(crate) fn output(&self, command: Command) -> Result<Output, ProcessError> {
        let output = command.output(&self.cancel)?;
        match output.status {
            Status::Exited(_) => Ok(output),
            _ => command.checked(output),
        }
    }

    pub(crate) fn run(&self, command: Command) -> anyhow::Result<Vec<u8>> {
        match command.run(&self.cancel) {
            Ok(output) => Ok(output.stdout),
            Err(error @ (ProcessError::Missing { .. } | ProcessError::Start { .. })) => {
                Err(missing_git(error))
            }
            Err(error) => Err(error).fault(Exit::Machine, "git gave no answer"),
        }
    }

    /// The first line of what a command prints.
    pub(crate) fn line(&self, command: Command) -> anyhow::Result<String> {
        let output = self.run(command)?;
        Ok(String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned())
    }
}

/// What a thread found; its panic goes on here.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How Git answers, whatever the user has configured. An edit that keeps size and time still shows in the
/// time of the inode's change.
const SETTINGS: [&str; 6] = [
    "core.quotePath=false",
    "core.fsmonitor=false",
    "core.trustctime=true",
    "core.checkStat=default",
    "advice.detachedHead=false",
    "gc.auto=0",
];

fn missing_git(error: ProcessError) -> anyhow::Error {
    if !matches!(error, ProcessError::Missing { .. }) {
        return anyhow::Error::from(error).context(Fault::new(Exit::Machine, "Git can't be run"));
    }
    let fault: Result<(), _> = Err(error);
    match fault.fault_hint(Exit::Machine, "Git can't be run", "install Git 2.35 or newer") {
        Err(error) => error,
        Ok(()) => anyhow::anyhow!("internal: no error to report"),
    }
}

fn no_repository(folder: &Path, output: &Output) -> Fault {
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = folder.display();
    if said.contains("not a git repository") {
        Fault::new(Exit::Machine, format!("`{shown}` is not in a Git repository"))
            .hint("run `git init` and commit, or name the repository with `-C DIR`")
    } else if said.contains("dubious ownership") {
        Fault::new(Exit::Machine, format!("Git does not trust `{shown}`: another user owns it"))
            .hint("run `git config --global --add safe.directory` with that path")
    } else {
        let line = said.lines().find(|line| !line.is_empty()).unwrap_or("it said nothing");
        Fault::new(Exit::Machine, format!("`{shown}` can't be used as a Git work tree: {line}"))
    }
}
