//! Children that run on while their caller does other things: services under verification. Each has a
//! process group of its own, null stdin, and ends with its owner.
//!
//! Apart from [`super::process::Command::start`]: here one process gets the signal, not its group (in a
//! namespace of its own that is another than the child that we have), and how it ends is the result.

use std::collections::VecDeque;
use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::process::children::Entered;
use super::process::{Command, ProcessError, Status, start};
use crate::cancel::Cancel;

/// Lines kept of what a child prints, and bytes of one of them.
const LINES: usize = 400;
const LINE: usize = 4096;

/// How long the last output of an ended child is waited for: a process that it left behind may hold the
/// pipe for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// A running child. Dropped: its whole group is killed.
#[derive(Debug)]
pub struct Background {
    child: Child,
    status: Option<Status>,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
    /// For the next run, if this one is killed.
    _record: Option<Entered>,
}

impl Background {
    /// Starts `command`; its stdin bytes and time limit are not looked at. Its group is recorded where
    /// `cancel` carries a record.
    ///
    /// # Errors
    /// [`ProcessError::Missing`] and [`ProcessError::Start`].
    pub fn start(command: &Command, cancel: &Cancel) -> Result<Self, ProcessError> {
        let mut child = start::spawn(&mut start::prepared(command, Stdio::null()), command)?;
        let record = cancel.children().map(|children| children.record(child.id(), command));
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(reader(stdout, Arc::clone(&log)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(reader(stderr, Arc::clone(&log)));
        }
        Ok(Self { child, status: None, log, readers, _record: record })
    }

    /// Of the child itself, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// The system's, of which none is expected.
    pub fn ended(&mut self) -> std::io::Result<Option<Status>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?.map(status);
        }
        Ok(self.status)
    }

    /// The last lines that it printed, both streams together.
    pub fn log(&mut self) -> Vec<String> {
        if self.status.is_some() {
            let until = Instant::now() + DRAIN;
            while Instant::now() < until && !self.readers.iter().all(JoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Kills the whole group, and takes the child's end.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.pid()) {
            let _ = nix::sys::signal::killpg(
                nix::unistd::Pid::from_raw(group),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        let _ = self.child.kill();
        self.status = self.child.wait().ok().map(status);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks one process to end: SIGTERM. Where there are no signals (Windows) it answers `false`.
pub fn terminate(pid: u32) -> bool {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(pid) {
        let pid = nix::unistd::Pid::from_raw(pid);
        return nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).is_ok();
    }
    let _ = pid;
    false
}

/// Ends one process at once: SIGKILL. Nothing where there are no signals.
pub fn kill(pid: u32) {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(pid) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = pid;
}

/// Ends a process and its group at once. Nothing where there are no signals.
pub fn kill_group(pid: u32) {
    #[cfg(unix)]
    if let Ok(pid) = i32::try_from(pid) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = pid;
}

fn status(status: ExitStatus) -> Status {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Status::Signalled(signal);
    }
    Status::Exited(status.code().unwrap_or(-1))
}

fn reader(mut stream: impl Read + Send + 'static, log: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        let mut line = Vec::new();
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for byte in &buffer[..read] {
                if *byte == b'\n' {
                    push(&log, &mut line);
                } else if line.len() < LINE {
                    line.push(*byte);
                }
            }
        }
        if !line.is_empty() {
            push(&log, &mut line);
        }
    })
}

fn push(log: &Mutex<VecDeque<String>>, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_back(text);
    if log.len() > LINES {
        log.pop_front();
    }
}
