//! Calm lines on stderr: how something goes on that is no run of jobs, as an installation.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Tools, note};
use crate::cli::{Global, ProgressChoice};
use crate::stage::Progress;

/// Writes a line for each new step, for each quarter of what is fetched, and for what tools print where
/// that is wanted.
#[derive(Debug)]
pub struct Lines {
    steps: bool,
    tools: Tools,
    /// Quarters that were told of the download under way.
    quarters: AtomicU64,
}

impl Lines {
    /// As the options say it: with `--progress quiet` warnings are all there is.
    pub fn of(global: &Global) -> Self {
        Self {
            steps: global.progress != ProgressChoice::Quiet,
            tools: if global.verbose { Tools::Everything } else { Tools::Failures },
            quarters: AtomicU64::new(0),
        }
    }

    fn step(&self, text: &str) {
        if self.steps {
            note(text);
        }
    }
}

impl Progress for Lines {
    fn status(&self, status: &str) {
        self.quarters.store(0, Ordering::Relaxed);
        self.step(status);
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let Some(quarter) = quarter(done, total) else { return };
        if self.quarters.fetch_max(quarter, Ordering::Relaxed) < quarter {
            let of = total.map_or_else(String::new, |total| format!(" of {}", super::measure::bytes(total)));
            self.step(&format!("  {}{of}", super::measure::bytes(done)));
        }
    }

    fn line(&self, line: &str) {
        if self.tools == Tools::Everything {
            self.step(&format!("  {line}"));
        }
    }

    fn warning(&self, message: &str, hint: Option<&str>) {
        note(&format!("warning: {message}"));
        if let Some(hint) = hint {
            note(&format!("hint: {hint}"));
        }
    }
}

/// How many quarters of a known total are done.
fn quarter(done: u64, total: Option<u64>) -> Option<u64> {
    let total = total.filter(|total| *total > 0)?;
    Some((done.min(total) as u128 * 4 / total as u128) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_of_a_known_total() {
        assert_eq!(quarter(0, Some(100)), Some(0));
        assert_eq!(quarter(24, Some(100)), Some(0));
        assert_eq!(quarter(25, Some(100)), Some(1));
        assert_eq!(quarter(200, Some(100)), Some(4));
        assert_eq!(quarter(u64::MAX, Some(u64::MAX)), Some(4));
        assert_eq!(quarter(5, None), None);
        assert_eq!(quarter(5, Some(0)), None);
    }
}
