//! Starting a child, and saying clearly why it could not be.

use std::io;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::group::Group;
use super::{Command, ProcessError};

/// How often a program that is just being written is tried again, and how long apart.
const BUSY: (u32, Duration) = (50, Duration::from_millis(20));

/// `command` for the system, with both outputs piped: a child that makes a session of its own must not lead a
/// group yet.
pub(in crate::host) fn detached(command: &Command, stdin: Stdio) -> std::process::Command {
    #[expect(clippy::disallowed_methods, reason = "this is the door for processes")]
    let mut child = std::process::Command::new(&command.program);
    if command.clear {
        child.env_clear();
    }
    for name in &command.unset {
        child.env_remove(name);
    }
    child.args(&command.args).envs(&command.env);
    if let Some(cwd) = &command.cwd {
        child.current_dir(cwd);
    }
    child.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    child
}

/// As [`detached`], in a group of its own.
pub(in crate::host) fn prepared(command: &Command, stdin: Stdio) -> std::process::Command {
    let mut child = detached(command, stdin);
    Group::prepare(&mut child);
    child
}

/// Starts what was [`prepared`] of `command`.
///
/// # Errors
/// [`ProcessError::Missing`] and [`ProcessError::Start`], which say what can be mended.
pub(in crate::host) fn spawn(
    child: &mut std::process::Command,
    command: &Command,
) -> Result<Child, ProcessError> {
    let mut tries = 0;
    loop {
        match child.spawn() {
            // Another thread forked while the program was open for writing: its child holds the file
            // until it has become its own program, a moment from now.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY.0 => {
                tries += 1;
                std::thread::sleep(BUSY.1);
            }
            result => return result.map_err(|error| explained(command, error)),
        }
    }
}

/// How a child ended, in words.
pub(in crate::host) fn words(status: std::process::ExitStatus) -> String {
    super::group::status(status).to_string()
}

fn explained(command: &Command, source: io::Error) -> ProcessError {
    let program = command.secrets.redact(&command.program.to_string_lossy()).into_owned();
    let because = |text: String| io::Error::new(source.kind(), text);
    let source = match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let path = Path::new(&command.program);
            match &command.cwd {
                Some(cwd) if !cwd.is_dir() => {
                    because(format!("the folder to run it in, `{}`, does not exist", cwd.display()))
                }
                _ if path.is_absolute() && path.exists() => {
                    because("it is there, but the interpreter or loader that it names is not".to_owned())
                }
                _ => return ProcessError::Missing { program },
            }
        }
        _ if source.raw_os_error().is_some_and(is_out_of_files) => {
            because("too many files are open: raise the limit with `ulimit -n`, or lower `--jobs`".to_owned())
        }
        _ => source,
    };
    ProcessError::Start { program, source }
}

/// EMFILE and ENFILE, the same numbers on every Unix.
fn is_out_of_files(code: i32) -> bool {
    cfg!(unix) && (code == 24 || code == 23)
}
