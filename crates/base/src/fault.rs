//! What went wrong, as far as a caller or a script branches on it: the exit code, and the remedy.
//!
//! Everything else travels as `anyhow` context. `main` renders the chain once:
//! `error:` the outermost message, `caused by:` the others, `hint:` the remedy.

use std::fmt;

use crate::host::process::ProcessError;

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

/// What the machine lacks, in the words of a tool that ran into it, and the remedy.
const LACKS: [(&str, &str); 5] = [
    ("no space left on device", "free some space there and run it again: what was done is found again"),
    ("disk quota exceeded", "free some space there and run it again: what was done is found again"),
    ("read-only file system", "make that place writable"),
    ("too many open files", "raise the limit with `ulimit -n`, or lower `--jobs`"),
    ("cannot allocate memory", "free some memory, or lower `--jobs`"),
];

/// The remedy where a tool's words say that the machine lacks something.
pub fn lack(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    LACKS.iter().find(|(words, _)| text.contains(words)).map(|(_, remedy)| *remedy)
}

/// The remedy where what lies behind a failure is that the machine lacks something.
pub fn lacking(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return lack(&error.to_string());
        }
        match cause.downcast_ref() {
            Some(ProcessError::Failed { tail, .. }) => tail.iter().find_map(|line| lack(line)),
            _ => None,
        }
    })
}

/// The exit code of a failure: that of its outermost [`Fault`], of its located
/// [`crate::diagnostic::Diagnostics`], [`Exit::Machine`] where that lacks something, else [`Exit::Failed`].
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
    if lacking(error).is_some() { Exit::Machine } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_is_no_failed_job() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(exit_of(&anyhow::Error::from(full).context("could not write")), Exit::Machine);
        let tail = vec!["link: write a.out: no space left on device".to_owned()];
        let status = crate::host::process::Status::Exited(1);
        let failed = |tail| ProcessError::Failed { command: "go".into(), status, tail };
        assert_eq!(exit_of(&failed(tail.clone()).into()), Exit::Machine);
        assert_eq!(exit_of(&failed(vec![]).into()), Exit::Failed);
        let gate = anyhow::Error::from(failed(tail)).context(Fault::new(Exit::Gate, "no"));
        assert_eq!(exit_of(&gate), Exit::Gate, "who spoke knows better");
    }
}
