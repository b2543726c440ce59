//! The request to stop, shared by everything that waits, and what every child process of a run shares.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::host::process::Children;

/// Set once by a signal (or by a failing sibling); looked at by every loop that waits.
/// Clones share one state.
///
/// It reaches every place that starts a process, so it also carries the run's record of them
/// ([`Children`]), where there is one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    signal: AtomicI32,
    hurried: AtomicBool,
    /// Whose request is ours too.
    parent: Option<Cancel>,
    /// Whose hurry alone is ours: what cleans up goes on after a first signal.
    shield: Option<Cancel>,
    children: OnceLock<Children>,
}

impl Cancel {
    /// A request of its own, whose processes are recorded in `children`.
    pub fn recording(children: Children) -> Self {
        let cancel = Self::default();
        cancel.record(children);
        cancel
    }

    /// From now on the processes that this request reaches are recorded in `children`: where they go is
    /// known only when the repository is. The first word counts.
    pub fn record(&self, children: Children) {
        let _ = self.0.children.set(children);
    }

    /// Set when `self` is, or alone: what is set on the child does not reach `self`.
    #[must_use]
    pub fn child(&self) -> Self {
        let children = self.0.children.clone();
        Self(Arc::new(Shared { parent: Some(self.clone()), children, ..Shared::default() }))
    }

    /// For what must be done after a stop, as removing a container: not set when `self` is, only hurried.
    #[must_use]
    pub fn cleanup(&self) -> Self {
        let children = self.0.children.clone();
        Self(Arc::new(Shared { shield: Some(self.clone()), children, ..Shared::default() }))
    }

    /// The number of a signal: 2 for an interrupt, 15 for a termination.
    pub fn set(&self, signal: i32) {
        // The first request wins: it decides the exit code.
        let _ = self.0.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Asks again: whoever waits for a child to end well kills it at once.
    pub fn hurry(&self) {
        self.0.hurried.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    /// The signal that asked, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.0.signal.load(Ordering::SeqCst) {
            0 => self.0.parent.as_ref().and_then(Self::signal).or_else(|| self.shielded()),
            signal => Some(signal),
        }
    }

    /// A second request came: no more grace.
    pub fn is_hurried(&self) -> bool {
        let of = |cancel: &Option<Self>| cancel.as_ref().is_some_and(Self::is_hurried);
        self.0.hurried.load(Ordering::SeqCst) || of(&self.0.parent) || of(&self.0.shield)
    }

    pub(crate) fn children(&self) -> Option<&Children> {
        self.0.children.get()
    }

    fn shielded(&self) -> Option<i32> {
        self.0.shield.as_ref().filter(|cancel| cancel.is_hurried()).and_then(Self::signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_down_and_never_up() {
        let run = Cancel::default();
        let (job, sibling) = (run.child(), run.child());
        job.set(15);
        assert_eq!((job.signal(), sibling.signal(), run.signal()), (Some(15), None, None));
        run.set(2);
        assert_eq!((job.signal(), sibling.signal(), run.signal()), (Some(15), Some(2), Some(2)));
        run.set(15);
        assert_eq!(run.signal(), Some(2));
    }

    #[test]
    fn cleaning_up_goes_on_until_it_is_hurried() {
        let run = Cancel::default();
        let cleanup = run.child().cleanup();
        run.set(2);
        assert!(!cleanup.is_set());
        run.hurry();
        assert!(cleanup.is_set() && cleanup.is_hurried());
    }
}
