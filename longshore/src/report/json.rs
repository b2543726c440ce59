//! A line of JSON an event, for programs: `{"at":UNIX_MS,"event":"job-started",…}`.

use serde::Serialize;

use crate::event::{Event, Summary};
use crate::host::clock;

use super::{Reporter, Writer, tell};

pub(super) struct Json {
    writer: Writer,
}

impl Json {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    at: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Reporter for Json {
    fn event(&mut self, event: &Event) {
        let at = u64::try_from(clock::now_precise().as_millis()).unwrap_or(u64::MAX);
        if let Ok(line) = serde_json::to_string(&Line { at, event }) {
            tell(&mut self.writer, &line);
        }
    }

    /// The last event, `run-finished`, has said it.
    fn finish(&mut self, _summary: &Summary) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_event_is_a_line_that_reads_back() {
        let page = fixture::Page::default();
        fixture::show(&mut Json::new(page.writer()));
        let text = page.text();
        let back: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, fixture::events());
        let failed: serde_json::Value =
            serde_json::from_str(text.lines().find(|line| line.contains("\"failed\"")).unwrap()).unwrap();
        assert!(failed["at"].is_u64());
        assert_eq!(failed["event"], "job-finished");
        assert_eq!(failed["outcome"]["result"], "failed");
        assert_eq!(failed["outcome"]["tail"][1], "FAIL");
    }
}
