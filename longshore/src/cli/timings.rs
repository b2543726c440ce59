//! `--timings`: takes down when events come, writes `dist/timings.html` and `dist/timings.json`, and sends
//! the run's spans to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names.
//!
//! It never fails a run: what went wrong is a warning. It never shows a header's value, nor what a collector
//! answered.

mod collector;

use std::path::Path;
use std::time::Instant;

use crate::cancel::Cancel;
use crate::event::Event;
use crate::host::environment::Environment;
use crate::host::{clock, files};
use crate::plan::Plan;
use crate::report::timings::{Recorder, Timings, page};

use collector::Collector;
pub use collector::secrets;

/// Takes down a run.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    recorder: Recorder,
}

/// What the end of a run is told with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub dist: &'a Path,
    pub environment: &'a Environment,
    pub cancel: &'a Cancel,
    pub offline: bool,
}

impl Watch {
    /// Of a run of `plan` that began a while ago, when its facts were asked.
    pub fn new<A>(plan: &Plan<A>, began: Instant) -> Self {
        let now = u64::try_from(clock::now_precise().as_millis()).unwrap_or_default();
        Self { began, recorder: Recorder::new(plan, now.saturating_sub(since(began))) }
    }

    pub fn event(&mut self, event: &Event) {
        self.recorder.event(since(self.began), event);
    }

    /// Writes the files and sends the spans. Gives what to say: notes, then warnings.
    pub fn finish(self, around: Surroundings<'_>) -> (Option<String>, Vec<String>) {
        let timings = self.recorder.finish();
        let mut warnings = Vec::new();
        let note = match write(&timings, around.dist) {
            Ok(()) => Some("timings: `dist/timings.html`, `dist/timings.json`".to_owned()),
            Err(error) => {
                warnings.push(format!("warning: the timings are not written: {error:#}"));
                None
            }
        };
        if let Err(error) = export(&timings, around) {
            warnings.push(format!("warning: the spans of this run are not sent: {error}"));
        }
        (note, warnings)
    }
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn write(timings: &Timings, dist: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_string_pretty(timings)?;
    json.push('\n');
    files::write(&dist.join("timings.json"), json.as_bytes())?;
    files::write(&dist.join("timings.html"), page::render(timings).as_bytes())
}

/// Why spans were not sent, in words that hold no secret.
fn export(timings: &Timings, around: Surroundings<'_>) -> Result<(), String> {
    let Some(collector) = Collector::of(around.environment)? else { return Ok(()) };
    if around.cancel.is_set() {
        return Ok(());
    }
    if around.offline {
        return Err("`--offline` uses no network".to_owned());
    }
    collector.send(timings, around.environment, around.cancel)
}
