//! The command line on a terminal: a pseudo-terminal of the tests' own, which its keys are typed into.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::pty::openpty;

use crate::deploy::wait;
use crate::process::text;
use crate::repository::exit_code;

/// A process whose stdin and stderr are a terminal that it controls; stdout goes nowhere.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// `command` must begin with `setsid --ctty`, or a program that makes stdin its terminal too.
    pub(crate) fn start(mut command: Command) -> Self {
        let pair = openpty(None, None).unwrap();
        // Copies are closed in children, as these are not.
        let [slave, keys] = [pair.slave, pair.master].map(|end| File::from(end).try_clone().unwrap());
        command.stdin(slave.try_clone().unwrap()).stderr(slave).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        // The last of the slave's owners is the child.
        drop(command);
        let mut output = keys.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shared = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text(&buffer[..read]));
            }
        });
        Self { child, keys, screen, reader }
    }

    pub(crate) fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn shows(self, part: &str) -> Self {
        wait(&format!("{part:?} on the terminal"), || self.screen().contains(part));
        self
    }

    /// Types, waits for the end, and gives the exit code with all that was shown.
    pub(crate) fn types(mut self, keys: &str) -> (i32, String) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.ends()
    }

    pub(crate) fn ends(mut self) -> (i32, String) {
        let code = exit_code(self.child.wait().unwrap());
        wait("the end of the output", || self.reader.is_finished());
        (code, self.screen())
    }
}
