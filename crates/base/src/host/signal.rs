//! Signals: the first asks the run to end well, the second to end at once.

use crate::cancel::Cancel;

/// A lost terminal asks for an end as a termination does: one exit code for both.
#[cfg(unix)]
const TERMINATE: i32 = 15;

/// Listens while it lives.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    handle: signal_hook::iterator::Handle,
    #[cfg(unix)]
    thread: Option<std::thread::JoinHandle<()>>,
}

#[cfg(unix)]
impl Signals {
    /// Sets `cancel` at the first SIGINT, SIGTERM or SIGHUP, and hurries it at the second. A signal that
    /// this process was started to ignore (`nohup`, a background job of a script) stays ignored.
    ///
    /// # Errors
    /// The system takes no handler.
    pub fn listen(cancel: &Cancel) -> std::io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let ignored = ignored();
        let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = signal_hook::iterator::Signals::new(heard)?;
        let handle = signals.handle();
        let cancel = cancel.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if cancel.is_set() {
                    cancel.hurry();
                }
                cancel.set(if signal == SIGINT { SIGINT } else { TERMINATE });
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

#[cfg(unix)]
impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The signals that are ignored, a bit each, from the lowest (proc_pid_status(5), SigIgn). Elsewhere than
/// on Linux none is known to be.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
impl Signals {
    /// Sets `cancel` at the first Ctrl-C or Ctrl-Break, and hurries it at the second.
    ///
    /// # Errors
    /// The system takes no handler.
    pub fn listen(cancel: &Cancel) -> std::io::Result<Self> {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let heard = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&heard))?;
        let cancel = cancel.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            loop {
                if heard.swap(false, Ordering::SeqCst) {
                    if cancel.is_set() {
                        cancel.hurry();
                    }
                    cancel.set(2);
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        })?;
        Ok(Self {})
    }
}

#[cfg(all(test, unix))]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    /// One test only: signals come to the whole process.
    #[test]
    fn the_first_asks_and_the_second_hurries() {
        let cancel = Cancel::default();
        let _signals = Signals::listen(&cancel).unwrap();
        raise(Signal::SIGHUP).unwrap();
        while !cancel.is_set() {
            std::thread::yield_now();
        }
        assert_eq!((cancel.signal(), cancel.is_hurried()), (Some(15), false));
        raise(Signal::SIGTERM).unwrap();
        while !cancel.is_hurried() {
            std::thread::yield_now();
        }
        assert_eq!(cancel.signal(), Some(15));
    }
}
