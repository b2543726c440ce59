//! How something goes on that is no run of jobs, as an installation: a bar on a terminal, calm lines
//! elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Tools, is_terminal, note, settled};
use crate::cli::{Global, ProgressChoice};
use crate::host::environment::Environment;
use crate::progress::Progress;

/// Writes a line for each new step, for each quarter of what is fetched, and for what tools print where
/// that is wanted.
#[derive(Debug)]
pub struct Lines {
    steps: bool,
    tools: Tools,
    /// Quarters that were told of the download under way.
    quarters: AtomicU64,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

/// Between two turns of the bar's wheel.
const TICK: Duration = Duration::from_millis(100);

impl Lines {
    /// As the options say it: with `--progress quiet` warnings are all there is.
    pub fn of(global: &Global, environment: &Environment) -> Self {
        let terminal = is_terminal();
        let bar = settled(global.progress, environment, terminal) == ProgressChoice::Tty;
        Self {
            bar: bar.then(|| {
                let bar = ProgressBar::new_spinner();
                bar.enable_steady_tick(TICK);
                bar
            }),
            steps: global.progress != ProgressChoice::Quiet,
            tools: if global.verbose { Tools::Everything } else { Tools::Failures },
            quarters: AtomicU64::new(0),
        }
    }

    fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) if self.steps => bar.println(text),
            None if self.steps => note(text),
            _ => {}
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Lines {
    fn status(&self, status: &str) {
        self.quarters.store(0, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.set_message(status.to_owned()),
            None => self.step(status),
        }
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
                bar.set_style(style());
            }
            bar.set_position(done);
            return;
        }
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

/// A wheel, what is done, and how much of it.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {wide_bar} {bytes}/{total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
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
