//! A child that runs beside us: a service that is looked at from outside, then told to end.

use std::thread::JoinHandle;

use super::{Command, Output, ProcessError};
use crate::cancel::Cancel;

/// A started child. Dropped, it is told to terminate and waited for.
#[derive(Debug)]
pub struct Running {
    cancel: Cancel,
    thread: Option<JoinHandle<Result<Output, ProcessError>>>,
}

impl Command {
    /// Starts the child and goes on: its lines come to `sink` from another thread. The run's request to
    /// stop reaches it too. That it can't be started is said by [`Running::wait`].
    pub fn start(self, cancel: &Cancel, sink: impl Fn(bool, &str) + Send + Sync + 'static) -> Running {
        let own = cancel.child();
        let cancel = own.clone();
        let thread = std::thread::spawn(move || self.stream(&cancel, &sink));
        Running { cancel: own, thread: Some(thread) }
    }
}

impl Running {
    /// False once the child has ended, or could not be started.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Sends the child's group a signal (15 asks it to terminate), kills it after [`super::GRACE`], and
    /// waits. [`Output::code`] says whether it ended well.
    ///
    /// # Errors
    /// Of [`Command::stream`].
    pub fn stop(self, signal: i32) -> Result<Output, ProcessError> {
        self.cancel.set(signal);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Of [`Command::stream`].
    pub fn wait(mut self) -> Result<Output, ProcessError> {
        let ended = self.thread.take().map(JoinHandle::join);
        ended.unwrap_or_else(|| Err(Box::new("waited for twice"))).unwrap_or_else(|_| {
            let source = std::io::Error::other("internal: what watched it panicked");
            Err(ProcessError::Start { program: "child".to_owned(), source })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.cancel.set(super::group::TERMINATE);
            let _ = thread.join();
        }
    }
}
