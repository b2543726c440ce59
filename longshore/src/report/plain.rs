//! Lines, for logs: one a finished job, warnings, and a sign of life of what takes long.

use std::collections::BTreeMap;

use crate::event::{Event, Outcome, Summary};
use crate::plan::JobId;

use super::{Reporter, Tools, Writer, measure, summary, tell};
use crate::style::{Colour, Paint};

pub(super) struct Plain {
    writer: Writer,
    lines: Lines,
    colour: Colour,
}

impl Plain {
    pub(super) fn new(writer: Writer, colour: Colour, tools: Tools) -> Self {
        Self { writer, lines: Lines::new(colour, tools), colour }
    }
}

impl Reporter for Plain {
    fn event(&mut self, event: &Event) {
        if let Some(text) = self.lines.of(event) {
            tell(&mut self.writer, &text);
        } else if let Event::JobRunning { job, milliseconds } = event {
            let title = self.lines.title(job);
            let took = measure::duration(*milliseconds);
            tell(&mut self.writer, &self.lines.line(Paint::Calm, "running", &title, &took));
        }
    }

    fn finish(&mut self, summary: &Summary) {
        tell(&mut self.writer, &summary::whole(summary, self.colour));
    }
}

/// The lines that events are, where they are one.
#[derive(Debug)]
pub(super) struct Lines {
    titles: BTreeMap<JobId, String>,
    colour: Colour,
    tools: Tools,
}

impl Lines {
    pub(super) fn new(colour: Colour, tools: Tools) -> Self {
        Self { titles: BTreeMap::new(), colour, tools }
    }

    /// The line of an event that has one: a job's end, a warning, with [`Tools::Everything`] what a tool
    /// printed. Jobs that were stopped or skipped have none: the
    /// failure that they follow has, and the end counts them.
    pub(super) fn of(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::JobStarted { job, title, .. } => {
                self.titles.insert(job.clone(), title.clone());
                None
            }
            Event::JobFinished { job, outcome, milliseconds, .. } => self.ended(job, outcome, *milliseconds),
            Event::Warning { job, message, hint } => {
                let of = job.as_ref().map(|job| format!("{}: ", self.title(job))).unwrap_or_default();
                let mut text =
                    self.line(Paint::Warning, "warning", &format!("{of}{}", indented(message)), "");
                if let Some(hint) = hint {
                    text.push_str(&format!("\n{:9} hint: {}", "", indented(hint)));
                }
                Some(text)
            }
            Event::JobOutput { job, line } if self.tools == Tools::Everything => {
                Some(self.colour.paint(Paint::Calm, &format!("{:9} {job} | {line}", "")))
            }
            Event::JobOutput { .. }
            | Event::RunStarted { .. }
            | Event::JobRunning { .. }
            | Event::JobProgress { .. }
            | Event::JobStatus { .. }
            | Event::RunFinished { .. } => None,
        }
    }

    pub(super) fn title(&self, job: &JobId) -> String {
        self.titles.get(job).cloned().unwrap_or_else(|| job.to_string())
    }

    /// `     done  build gateway  12.3 MB  4.2s`
    pub(super) fn line(&self, paint: Paint, word: &str, text: &str, after: &str) -> String {
        let word = self.colour.paint(paint, &format!("{word:>9}"));
        let gap = if after.is_empty() { "" } else { "  " };
        format!("{word} {text}{gap}{}", self.colour.paint(Paint::Calm, after))
    }

    fn ended(&self, job: &JobId, outcome: &Outcome, milliseconds: u64) -> Option<String> {
        let took = measure::duration(milliseconds);
        let after = |note: &str| if note.is_empty() { took.clone() } else { format!("{note}  {took}") };
        let title = self.title(job);
        let word = outcome.word();
        match outcome {
            Outcome::Done { note } => Some(self.line(Paint::Good, word, &title, &after(note))),
            Outcome::Cached { note } => Some(self.line(Paint::Calm, word, &title, note)),
            Outcome::Failed(failure) => {
                let message = failure.messages.first().map_or("", String::as_str);
                let text = format!("{title}: {}", indented(message));
                Some(self.line(Paint::Bad, word, &text, &took))
            }
            Outcome::Stopped | Outcome::Skipped { .. } => None,
        }
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n          ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_run_is_a_few_calm_lines() {
        let page = fixture::Page::default();
        fixture::show(&mut Plain::new(page.writer(), Colour::Off, Tools::Failures));
        let expected = "   cached lint gateway
  running build gateway, orders  30s
  warning build gateway, orders: the cache is damaged
          hint: `clean` empties it
     done build gateway, orders  12.3 MB  4.2s
     done image gateway  0.9s
   failed test orders: tests failed  3.1s
";
        let text = page.text();
        let (lines, end) = text.split_at(expected.len().min(text.len()));
        assert_eq!(lines, expected);
        assert_eq!(end, summary::whole(&fixture::summary(), Colour::Off));
    }

    #[test]
    fn every_line_of_the_tools_on_request() {
        let page = fixture::Page::default();
        fixture::show(&mut Plain::new(page.writer(), Colour::On, Tools::Everything));
        let line = "\u{1b}[2m          build:services | go: downloading\u{1b}[0m\n";
        assert!(page.text().contains(line), "{}", page.text());
    }
}
