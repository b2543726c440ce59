//! Processes that tests start: programs that run to their end, and servers that end with their owner.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tool;

/// How long a server may take to answer, on a machine that has other things to do.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// A command of the tests' own: the tool's go through its `host::process`.
#[expect(clippy::disallowed_methods, reason = "the door of the tests")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs to the end and wants exit 0; gives stdout.
#[track_caller]
pub(crate) fn run<I, S>(program: impl AsRef<OsStr>, args: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    succeed(command(program).args(args))
}

/// As [`run`], for a command that has more to it.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output: Output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Bytes that a program printed, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is ended, by its pid, when its owner goes; the kernel ends it with this process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program whose output goes to the file `log`.
    pub(crate) fn start(program: &Path, args: &[&str], env: &[(&str, &str)], log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        // The kernel ends a child when the *thread* that started it goes: one that stays starts them all.
        let mut command = match tool::find("setpriv") {
            Some(setpriv) => {
                let mut command = self::command(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(program);
                command
            }
            None => self::command(program),
        };
        command.args(args).envs(env.iter().copied());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let (reply, answer) = mpsc::channel();
        starter().send((command, reply)).unwrap();
        let child = answer.recv().unwrap().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, log }
    }

    /// Waits until `ready` says yes.
    ///
    /// # Panics
    /// With the log, when the process ends before, or not in time.
    #[track_caller]
    pub(crate) fn wait(mut self, mut ready: impl FnMut() -> bool) -> Self {
        let begin = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}\n{}", ended.unwrap_or_default(), self.log());
            assert!(begin.elapsed() < START, "the server does not answer\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| text(&bytes)).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < STOP {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Start = (Command, mpsc::Sender<std::io::Result<Child>>);

fn starter() -> mpsc::Sender<Start> {
    static STARTER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    };
    STARTER.get_or_init(start).clone()
}

/// A loopback port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether somebody listens on a loopback port.
pub(crate) fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
