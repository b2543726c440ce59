//! One child from its start to its end: feeding it, reading it, and ending it when it must end.
//!
//! The calling thread looks at everything; other threads only move bytes, and hold nothing that it
//! waits for: a process that left its group may keep a pipe open for as long as it likes.

use std::io::{Read, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::capture::{Capture, Lines};
use super::group::{self, Group, Leader};
use super::{Command, LineSink, Output, ProcessError, Status, start};
use crate::cancel::Cancel;

/// From the request to end until the kill.
pub const GRACE: Duration = Duration::from_secs(10);

/// How often a silent child is looked at: the longest that a request to stop waits.
const LOOK: Duration = Duration::from_millis(50);

/// What others in the group may still print after the leader has ended.
const LINGER: Duration = Duration::from_millis(300);

/// Until a killed process is given up on: one that the kernel can't end (a dead network file system).
const GIVE_UP: Duration = Duration::from_secs(5);

/// What is kept of one stream, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    /// Both ends of it, where there is more: it is for eyes.
    Ends(usize),
    /// All of it, or the child fails: it is data, and half of it would be wrong.
    All(usize),
}

impl Keep {
    fn bound(self) -> usize {
        match self {
            Self::Ends(bound) | Self::All(bound) => bound,
        }
    }
}

enum Message {
    Bytes { stderr: bool, bytes: Vec<u8> },
    Ended,
}

struct Supervision<'a> {
    child: Child,
    group: Group,
    sink: Option<LineSink<'a>>,
    command: &'a Command,
    keep: Keep,
    captures: [Capture; 2],
    lines: [Lines; 2],
    /// Streams that are still open.
    open: usize,
    /// Why it was told to end, and when it is killed.
    asked: Option<(Status, Instant)>,
    killed: Option<Instant>,
}

/// Runs `command` to its end.
pub(super) fn run(
    command: &Command,
    keep: Keep,
    cancel: &Cancel,
    sink: Option<LineSink<'_>>,
) -> Result<Output, ProcessError> {
    if cancel.is_set() {
        return Ok(Output { status: Status::Cancelled, code: None, stdout: Vec::new(), stderr: Vec::new() });
    }
    let started = Instant::now();
    let stdin = if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut prepared = start::prepared(command, stdin);
    // A prompt would wait for ever: nobody is there to answer.
    prepared.env("GIT_TERMINAL_PROMPT", "0");
    let mut child = start::spawn(&mut prepared, command)?;
    let group = Group::of(&child);
    let _record = cancel.children().map(|children| children.record(child.id(), command));
    let (sender, receiver) = mpsc::sync_channel(16);
    feed(&mut child, command.stdin.as_deref());
    let open = [
        child.stdout.take().map(|stream| read(stream, false, sender.clone())),
        child.stderr.take().map(|stream| read(stream, true, sender)),
    ];
    let supervision = Supervision {
        child,
        group,
        sink,
        command,
        keep,
        captures: [Capture::new(keep.bound()), Capture::new(super::EYES)],
        lines: [Lines::default(), Lines::default()],
        open: open.iter().flatten().count(),
        asked: None,
        killed: None,
    };
    let deadline = command.timeout.map(|limit| (started + limit, limit));
    Ok(supervision.watch(&receiver, cancel, deadline))
}

fn feed(child: &mut Child, bytes: Option<&[u8]>) {
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), bytes) {
        let bytes = bytes.to_vec();
        // A child that does not read to the end is its own affair.
        std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    }
}

fn read(mut stream: impl Read + Send + 'static, stderr: bool, sender: SyncSender<Message>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let bytes = buffer[..count].to_vec();
                    if sender.send(Message::Bytes { stderr, bytes }).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(Message::Ended);
    });
}

impl Supervision<'_> {
    fn watch(
        mut self,
        receiver: &Receiver<Message>,
        cancel: &Cancel,
        deadline: Option<(Instant, Duration)>,
    ) -> Output {
        let mut pause = Duration::from_micros(200);
        let mut looked = Instant::now();
        loop {
            if self.open > 0 {
                self.receive(receiver, LOOK);
            } else {
                // The streams' ends come just before the leader's: look soon, then less and less often.
                std::thread::sleep(pause);
                pause = (pause * 2).min(LOOK);
            }
            self.ask(cancel, deadline);
            if self.open > 0 && looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            match self.group.leader(&mut self.child) {
                Leader::Ended => break,
                Leader::AtTerminal => self.end_at_terminal(),
                Leader::Running => {}
            }
            if self.killed.is_some_and(|at| at.elapsed() > GIVE_UP) {
                break;
            }
        }
        self.drain(receiver, LINGER);
        // Nothing outlives its leader; who means to takes a session of its own.
        self.group.kill(&mut self.child);
        self.drain(receiver, Duration::from_secs(1));
        self.output()
    }

    /// Takes what the streams still hold, for at most `limit`.
    fn drain(&mut self, receiver: &Receiver<Message>, limit: Duration) {
        let end = Instant::now() + limit;
        while self.open > 0 && Instant::now() < end {
            self.receive(receiver, LOOK.min(limit));
        }
    }

    fn receive(&mut self, receiver: &Receiver<Message>, timeout: Duration) {
        match receiver.recv_timeout(timeout) {
            Ok(Message::Bytes { stderr, bytes }) => self.take(stderr, &bytes),
            Ok(Message::Ended) => self.open -= 1,
            Err(RecvTimeoutError::Disconnected) => self.open = 0,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn take(&mut self, stderr: bool, bytes: &[u8]) {
        let stream = usize::from(stderr);
        self.captures[stream].push(bytes);
        if let Some(sink) = self.sink {
            let secrets = &self.command.secrets;
            self.lines[stream].push(bytes, &mut |line| sink(stderr, &secrets.redact(line)));
        }
        if let Keep::All(bound) = self.keep
            && !self.captures[0].is_whole()
            && self.killed.is_none()
        {
            self.captures[1].push(format!("\nit printed more than {bound} bytes\n").as_bytes());
            self.kill(Status::Signalled(9));
        }
    }

    /// Asks the group to end, where the run was told to stop or its time is over; kills it where asking
    /// was no use.
    fn ask(&mut self, cancel: &Cancel, deadline: Option<(Instant, Duration)>) {
        if self.killed.is_some() {
            return;
        }
        match self.asked {
            None => {
                let now = Instant::now();
                if let Some(signal) = cancel.signal() {
                    self.asked = Some((Status::Cancelled, now + GRACE));
                    self.group.signal(&mut self.child, signal);
                } else if let Some((end, limit)) = deadline
                    && now >= end
                {
                    self.asked = Some((Status::TimedOut(limit), now + GRACE));
                    self.group.signal(&mut self.child, group::TERMINATE);
                }
            }
            Some((status, end)) if Instant::now() >= end || cancel.is_hurried() => self.kill(status),
            Some(_) => {}
        }
    }

    fn end_at_terminal(&mut self) {
        if self.killed.is_none() {
            self.captures[1].push(b"\nit asked for input on the terminal, and a job has none\n");
            self.kill(Status::Signalled(9));
        }
    }

    fn kill(&mut self, status: Status) {
        self.group.kill(&mut self.child);
        self.asked = Some((status, Instant::now()));
        self.killed = Some(Instant::now());
    }

    fn output(mut self) -> Output {
        if let Some(sink) = self.sink {
            for (stream, lines) in self.lines.iter_mut().enumerate() {
                let secrets = &self.command.secrets;
                lines.finish(&mut |line| sink(stream == 1, &secrets.redact(line)));
            }
        }
        let ended = match self.group.leader(&mut self.child) {
            Leader::Ended => Some(group::reap(&mut self.child)),
            Leader::Running | Leader::AtTerminal => None,
        };
        let code = match ended {
            Some(Status::Exited(code)) => Some(code),
            _ => None,
        };
        let asked = self.asked.map(|(status, _)| status);
        let status = asked.or(ended).unwrap_or(Status::Signalled(9));
        let [stdout, stderr] = self.captures.map(Capture::into_bytes);
        Output { status, code, stdout, stderr }
    }
}
