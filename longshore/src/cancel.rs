//! The request to stop, shared by everything that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Set once by a signal (or by a failing sibling); looked at by every loop that waits.
/// Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicI32>);

impl Cancel {
    /// The number of a signal: 2 for an interrupt, 15 for a termination.
    pub fn set(&self, signal: i32) {
        // The first request wins: it decides the exit code.
        let _ = self.0.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    /// The signal that asked, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }
}
