//! A child and everything that it starts, as one thing to look at and to end.

use std::process::Child;

/// How the leader of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    Running,
    /// The kernel stopped it for using a terminal that a job has not.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has a terminal's foreground group"))]
    AtTerminal,
    Ended,
}

#[cfg(unix)]
pub(super) use unix::Group;
#[cfg(not(unix))]
pub(super) use windows::Group;

#[cfg(unix)]
mod unix {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, ExitStatus};

    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;

    use super::Leader;
    use crate::host::process::Status;

    /// A process group; its number is the process id of its leader, our child.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::host::process) struct Group(Pid);

    impl Group {
        /// Makes the child of `command` the leader of a group of its own: a terminal's interrupt reaches
        /// us alone, and what we send reaches all that the child started.
        pub(in crate::host::process) fn prepare(command: &mut Command) {
            command.process_group(0);
        }

        pub(in crate::host::process) fn of(child: &Child) -> Self {
            Self(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)))
        }

        /// Sends a signal by its number. A group that is gone is no error.
        pub(in crate::host::process) fn signal(self, _child: &mut Child, signal: i32) {
            let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
            let _ = killpg(self.0, signal);
        }

        pub(in crate::host::process) fn kill(self, _child: &mut Child) {
            let _ = killpg(self.0, Signal::SIGKILL);
        }

        /// Looks without reaping: while the leader is not reaped, its number names nothing else.
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        pub(in crate::host::process) fn leader(self, _child: &mut Child) -> Leader {
            use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
            let flags =
                WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
            match waitid(Id::Pid(self.0), flags) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTTIN | Signal::SIGTTOU)) => Leader::AtTerminal,
                Ok(WaitStatus::StillAlive | WaitStatus::Stopped(..) | WaitStatus::Continued(_)) => {
                    Leader::Running
                }
                Err(nix::errno::Errno::EINTR) => Leader::Running,
                Ok(_) | Err(_) => Leader::Ended,
            }
        }

        /// Reaps: macOS offers no look at a group's leader that leaves it in place.
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        pub(in crate::host::process) fn leader(self, child: &mut Child) -> Leader {
            match child.try_wait() {
                Ok(None) => Leader::Running,
                Ok(Some(_)) | Err(_) => Leader::Ended,
            }
        }
    }

    pub(in crate::host::process) fn status(status: ExitStatus) -> Status {
        match (status.code(), status.signal()) {
            (Some(code), _) => Status::Exited(code),
            (None, Some(signal)) => Status::Signalled(signal),
            (None, None) => Status::Exited(-1),
        }
    }
}

#[cfg(not(unix))]
mod windows {
    use std::process::{Child, Command, ExitStatus};

    use super::Leader;
    use crate::host::process::Status;

    /// The child alone: ending what it started needs a job object, which is not made yet.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::host::process) struct Group;

    impl Group {
        pub(in crate::host::process) fn prepare(command: &mut Command) {
            use std::os::windows::process::CommandExt as _;
            // CREATE_NEW_PROCESS_GROUP: the console's Ctrl-C reaches us alone.
            command.creation_flags(0x0000_0200);
        }

        pub(in crate::host::process) fn of(_child: &Child) -> Self {
            Self
        }

        /// There is no signal to send to a process without a console of its own: it is ended.
        pub(in crate::host::process) fn signal(self, child: &mut Child, _signal: i32) {
            self.kill(child);
        }

        pub(in crate::host::process) fn kill(self, child: &mut Child) {
            let _ = child.kill();
        }

        pub(in crate::host::process) fn leader(self, child: &mut Child) -> Leader {
            match child.try_wait() {
                Ok(None) => Leader::Running,
                Ok(Some(_)) | Err(_) => Leader::Ended,
            }
        }
    }

    pub(in crate::host::process) fn status(status: ExitStatus) -> Status {
        Status::Exited(status.code().unwrap_or(-1))
    }
}

#[cfg(unix)]
pub(super) use unix::status;
#[cfg(not(unix))]
pub(super) use windows::status;

/// The numbers of the signals that are sent by choice (POSIX).
pub(super) const TERMINATE: i32 = 15;

/// Reaps the leader, which has ended.
pub(super) fn reap(child: &mut Child) -> super::Status {
    child.wait().map_or(super::Status::Exited(-1), status)
}
