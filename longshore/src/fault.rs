//! What went wrong, as far as a caller or a script branches on it: the exit code, and the remedy.
//!
//! Everything else travels as `anyhow` context. `main` renders the chain once:
//! `error:` the outermost message, `caused by:` the others, `hint:` the remedy.

use std::fmt;

/// The exit codes of every command (DESIGN: commands).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A job failed.
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// A gate said no: lint, test, scan, verify, a promotion rule.
    Gate = 3,
    /// A tool or the machine is missing or broken, so there is no verdict.
    Machine = 4,
    /// A version is taken, or the lock is held.
    Conflict = 5,
    /// An outside failure; safe to run again.
    Outside = 6,
    Interrupted = 130,
    Terminated = 143,
}

/// One failure with its exit code and, where there is one, the remedy.
#[derive(Debug)]
pub struct Fault {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    /// `message`: lowercase, no full stop, `backticks` around literals.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The last lines of what failed, or a line a finding: the cause under a [`Fault`] that speaks for them.
#[derive(Debug)]
pub struct Tail(pub Vec<String>);

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Tail {}

/// Gives an error of a library its exit code: the error stays as the cause.
pub trait FaultContext<T> {
    fn fault(self, exit: Exit, message: impl Into<String>) -> anyhow::Result<T>;
    fn fault_hint(self, exit: Exit, message: impl Into<String>, hint: impl Into<String>)
    -> anyhow::Result<T>;
}

impl<T, E> FaultContext<T> for Result<T, E>
where
    Result<T, E>: anyhow::Context<T, E>,
{
    fn fault(self, exit: Exit, message: impl Into<String>) -> anyhow::Result<T> {
        anyhow::Context::with_context(self, || Fault::new(exit, message))
    }

    fn fault_hint(
        self,
        exit: Exit,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> anyhow::Result<T> {
        anyhow::Context::with_context(self, || Fault::new(exit, message).hint(hint))
    }
}

/// The exit code of a failure: that of its outermost [`Fault`], of its located
/// [`crate::diagnostic::Diagnostics`], else [`Exit::Failed`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.exit;
    }
    for cause in error.chain() {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return fault.exit;
        }
        if cause.is::<crate::diagnostic::Diagnostics>() {
            return Exit::Usage;
        }
    }
    Exit::Failed
}
