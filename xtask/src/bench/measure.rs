//! One measured command: its time, the processor time of it and its children, and memory.
//!
//! It runs below a process of its own, so that what the system counts of children is of this command alone.
#![expect(clippy::disallowed_methods, reason = "what is measured is measured from its start to its end")]

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The hidden command that measures what follows it.
pub(super) const WORD: &str = "bench-measure";

/// Between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(5);

/// What one run of one command took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// Of the processors, by it and all its children.
    pub(super) processor: f64,
    /// Bytes: the peak of the process itself, as last seen, without its children.
    pub(super) own: u64,
    /// Bytes: the peak of the largest of it and its children.
    pub(super) largest: u64,
}

impl Sample {
    /// One after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self { seconds: self.seconds + next.seconds, ..self.beside(next) }
    }

    /// Side by side: the later end counts.
    pub(super) fn beside(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            processor: self.processor + other.processor,
            own: self.own.max(other.own),
            largest: self.largest.max(other.largest),
        }
    }
}

/// A command to be measured, or only run.
pub(super) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a command that prepares something.
pub(super) fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Measures `command`, which has a working folder and an environment of its own.
pub(super) fn measure(command: &Command) -> anyhow::Result<Sample> {
    let mut outer = self::command(std::env::current_exe()?);
    outer.arg(WORD).arg(command.get_program()).args(command.get_args()).env_clear();
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outer.output().context("the measuring process")?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("the measuring process")
}

/// The measuring process: runs what `words` say, and prints a [`Sample`].
pub(super) fn child(words: &[OsString]) -> anyhow::Result<u8> {
    let (program, arguments) = words.split_first().context("a program is missing")?;
    let mut command = command(program);
    command.args(arguments).stdout(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut sample = Sample::default();
    let status = loop {
        if let Some(bytes) = peak(&child.id().to_string()) {
            sample.own = bytes;
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(if began.elapsed() < LOOK * 20 { LOOK / 10 } else { LOOK });
    };
    sample.seconds = began.elapsed().as_secs_f64();
    (sample.processor, sample.largest) = children()?;
    longshore::report::result(&serde_json::to_string(&sample)?);
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Seconds of all children that have ended, and the memory of the largest.
#[cfg(unix)]
fn children() -> anyhow::Result<(f64, u64)> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let largest = u64::try_from(usage.max_rss()).unwrap_or_default() * unit;
    Ok((seconds(usage.user_time()) + seconds(usage.system_time()), largest))
}

#[cfg(not(unix))]
fn children() -> anyhow::Result<(f64, u64)> {
    Ok((0.0, 0))
}

/// The peak of a process's resident memory in bytes; `None` where the system has no `/proc`.
pub(super) fn peak(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
