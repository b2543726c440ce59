//! Child processes: argv only, a listed environment, null stdin, a process group of their own,
//! a time limit, and an end when the run is told to stop. (A first form: to be hardened.)

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::Cancel;

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

    /// Runs to the end and gives what it printed, however it ended.
    ///
    /// # Errors
    /// [`ProcessError::Missing`] and [`ProcessError::Start`] only.
    pub fn output(&self, cancel: &Cancel) -> Result<Output, ProcessError> {
        self.stream(cancel, &|_, _| {})
    }

    /// As [`Command::output`], but an end other than exit 0 is [`ProcessError::Failed`].
    pub fn run(&self, cancel: &Cancel) -> Result<Output, ProcessError> {
        let output = self.output(cancel)?;
        self.checked(output)
    }

    /// As [`Command::output`], and hands each line over as it comes.
    pub fn stream(&self, cancel: &Cancel, sink: LineSink<'_>) -> Result<Output, ProcessError> {
        let _ = (cancel, sink);
        #[expect(clippy::disallowed_methods, reason = "this is the door for processes")]
        let mut child = std::process::Command::new(&self.program);
        if self.clear {
            child.env_clear();
        }
        for name in &self.unset {
            child.env_remove(name);
        }
        child.args(&self.args).envs(&self.env);
        if let Some(cwd) = &self.cwd {
            child.current_dir(cwd);
        }
        let program = || self.program.to_string_lossy().into_owned();
        child.stdin(match &self.stdin {
            Some(bytes) => {
                stdin(bytes).map_err(|source| ProcessError::Start { program: program(), source })?
            }
            None => std::process::Stdio::null(),
        });
        let output = child.output().map_err(|source| {
            let program = self.program.to_string_lossy().into_owned();
            if source.kind() == std::io::ErrorKind::NotFound {
                ProcessError::Missing { program }
            } else {
                ProcessError::Start { program, source }
            }
        })?;
        Ok(Output {
            status: Status::Exited(output.status.code().unwrap_or(-1)),
            stdout: output.stdout,
            stderr: output.stderr,
        })
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
            tail: lines[lines.len().saturating_sub(20)..].iter().map(|s| (*s).to_owned()).collect(),
        })
    }
}

/// A file without a name: a child that does not read it can't block its writer.
fn stdin(bytes: &[u8]) -> std::io::Result<std::process::Stdio> {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

impl std::fmt::Display for Command {
    /// As a user could type it into a POSIX shell: words quoted where they need it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
            if !arg.is_empty() && arg.chars().all(plain) {
                write!(f, " {arg}")?;
            } else {
                write!(f, " '{}'", arg.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
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
