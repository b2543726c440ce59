//! Child processes: argv only, a listed environment, null stdin, a process group of their own,
//! a time limit, and an end when the run is told to stop: an interrupt reaches the whole group, then a
//! grace period, then a kill (a second interrupt kills at once). Nothing outlives its leader but what
//! took a session of its own.

mod capture;
pub(super) mod children;
mod group;
pub(super) mod start;
mod supervise;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

pub(super) use children::end as end_group;
pub use children::{Children, ProcessId, reap_stale};
pub use supervise::GRACE;
use supervise::Keep;

use crate::cancel::Cancel;
use crate::host::secrets::{MASK, Secrets};

/// Kept of what is printed for eyes, in bytes a stream.
const EYES: usize = 64 << 20;

/// Kept of what is printed as data, in bytes: the listing of a very large module is a tenth of it.
const DATA: usize = 1 << 30;

/// A command to run: data, so that a plan can show it and a journal can record it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: OsString,
    pub args: Vec<OsString>,
    /// Set on top of the inherited environment, or alone if `clear`.
    pub env: BTreeMap<OsString, OsString>,
    /// Taken out of the inherited environment.
    pub unset: Vec<OsString>,
    /// Start from nothing instead of from this process's environment.
    pub clear: bool,
    pub cwd: Option<PathBuf>,
    /// Bytes for its stdin; null where absent.
    pub stdin: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
    /// Taken out of every line handed on, and of the command as it is shown.
    pub secrets: Secrets,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Exited(i32),
    Signalled(i32),
    TimedOut(Duration),
    /// The run was told to stop, and the child with it.
    Cancelled,
}

/// What a child printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: Status,
    /// What it exited with, also where it had been told to stop; absent where it was killed.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// A command that could not be run, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("`{program}` is not installed or not on PATH")]
    Missing { program: String },
    #[error("could not start `{program}`")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{command}` failed: {status}")]
    Failed {
        /// As a user could type it.
        command: String,
        status: Status,
        /// The last lines of stderr (of stdout where stderr is empty).
        tail: Vec<String>,
    },
}

/// Where a child's lines go while it runs: `(is_stderr, line)`.
pub type LineSink<'a> = &'a (dyn Fn(bool, &str) + Sync);

impl Command {
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            unset: Vec::new(),
            clear: false,
            cwd: None,
            stdin: None,
            timeout: None,
            secrets: Secrets::default(),
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    #[must_use]
    pub fn unset(mut self, name: impl Into<OsString>) -> Self {
        self.unset.push(name.into());
        self
    }

    #[must_use]
    pub fn clear(mut self) -> Self {
        self.clear = true;
        self
    }

    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    #[must_use]
    pub fn secrets(mut self, secrets: &Secrets) -> Self {
        self.secrets = secrets.clone();
        self
    }

    /// Runs to the end and gives what it printed, however it ended. All of it: a child that prints more
    /// than 1 GiB to stdout is killed. Of stderr the two ends are kept past 64 MiB.
    ///
    /// A run that was told to stop starts nothing: the status is [`Status::Cancelled`].
    ///
    /// # Errors
    /// [`ProcessError::Missing`] and [`ProcessError::Start`] only.
    pub fn output(&self, cancel: &Cancel) -> Result<Output, ProcessError> {
        supervise::run(self, Keep::All(DATA), cancel, None)
    }

    /// As [`Command::output`], but an end other than exit 0 is [`ProcessError::Failed`].
    pub fn run(&self, cancel: &Cancel) -> Result<Output, ProcessError> {
        let output = self.output(cancel)?;
        self.checked(output)
    }

    /// As [`Command::output`], and hands each line over as it comes, on the calling thread: without its
    /// end, lossily UTF-8, cut past 1 MiB. Past 64 MiB a stream's two ends are kept.
    pub fn stream(&self, cancel: &Cancel, sink: LineSink<'_>) -> Result<Output, ProcessError> {
        supervise::run(self, Keep::Ends(EYES), cancel, Some(sink))
    }

    /// Turns an end other than exit 0 into [`ProcessError::Failed`].
    pub fn checked(&self, output: Output) -> Result<Output, ProcessError> {
        if output.status == Status::Exited(0) {
            return Ok(output);
        }
        let printed = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let text = String::from_utf8_lossy(printed);
        let lines: Vec<&str> = text.lines().collect();
        Err(ProcessError::Failed {
            command: self.to_string(),
            status: output.status,
            tail: lines[lines.len().saturating_sub(20)..]
                .iter()
                .map(|line| self.secrets.redact(&cut(line)).into_owned())
                .collect(),
        })
    }
}

/// A line for eyes: its first thousand characters.
fn cut(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{} …", &line[..end]).into(),
        None => line.into(),
    }
}

impl std::fmt::Display for Command {
    /// As a user could type it into a shell: words quoted where they need it, secrets left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> =
            std::iter::once(&self.program).chain(&self.args).map(|word| self.word(word)).collect();
        f.write_str(&words.join(" "))
    }
}

impl Command {
    fn word(&self, word: &OsStr) -> String {
        let word = word.to_string_lossy();
        let word = self.secrets.redact(&word);
        let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && (word.chars().all(plain) || word == MASK) {
            word.into_owned()
        } else if word.chars().any(char::is_control) {
            // The form that bash, zsh and ksh share: what it escapes can't move the cursor.
            format!("$'{}'", word.chars().map(escaped).collect::<String>())
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    }
}

fn escaped(c: char) -> String {
    match c {
        '\n' => r"\n".to_owned(),
        '\t' => r"\t".to_owned(),
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "timed out after {}", humantime::format_duration(*limit)),
            Self::Cancelled => write!(f, "stopped"),
        }
    }
}
