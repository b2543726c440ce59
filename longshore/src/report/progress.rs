//! Bars, for people at a terminal: a line a running job, one for the whole, finished jobs above them.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::event::{Event, Outcome, Summary};
use crate::host::environment::Environment;
use crate::plan::JobId;

use super::plain::Lines;
use super::style::{Colour, Paint};
use super::{Reporter, Tools, Writer, measure, summary, tell};

/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(120);

/// What the terminal's character set allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyphs {
    Unicode,
    Ascii,
}

impl Glyphs {
    /// By the locale, as POSIX orders its variables.
    pub(super) fn of(environment: &Environment) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| environment.get(name));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    fn spinner(self) -> &'static str {
        match self {
            Self::Unicode => "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ",
            Self::Ascii => "|/-\\ ",
        }
    }

    fn bar(self) -> &'static str {
        match self {
            Self::Unicode => "━╸ ",
            Self::Ascii => "=> ",
        }
    }
}

pub(super) struct Bars {
    multi: MultiProgress,
    whole: ProgressBar,
    running: BTreeMap<JobId, Bar>,
    lines: Lines,
    /// For the end, when no bar is drawn any more.
    writer: Writer,
    colour: Colour,
    glyphs: Glyphs,
    failed: usize,
}

struct Bar {
    bar: ProgressBar,
    title: String,
}

impl Bars {
    pub(super) fn new(
        target: ProgressDrawTarget,
        writer: Writer,
        colour: Colour,
        tools: Tools,
        glyphs: Glyphs,
    ) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let whole = multi.add(ProgressBar::new(0));
        let template =
            format!("{:>9} {} {{pos}}/{{len}}{{msg}}  {{took}}", "", colour.paint(Paint::Good, "{bar:24}"));
        whole.set_style(style(&template, glyphs));
        let lines = Lines::new(colour, tools);
        Self { multi, whole, running: BTreeMap::new(), lines, writer, colour, glyphs, failed: 0 }
    }

    fn started(&mut self, job: &JobId, title: &str) {
        let spinner = self.colour.paint(Paint::Good, "{spinner}");
        let after = self.colour.paint(Paint::Calm, "{prefix} {took:>6}");
        let bar = self.multi.insert_before(&self.whole, ProgressBar::no_length());
        bar.set_style(style(&format!("{:>8}{spinner} {{wide_msg}} {after}", ""), self.glyphs));
        bar.set_message(title.to_owned());
        bar.enable_steady_tick(FRAME);
        self.running.insert(job.clone(), Bar { bar, title: title.to_owned() });
    }

    fn ended(&mut self, job: &JobId, outcome: &Outcome) {
        if let Some(Bar { bar, .. }) = self.running.remove(job) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        self.whole.inc(1);
        if matches!(outcome, Outcome::Failed(_)) {
            self.failed += 1;
            self.whole.set_message(self.colour.paint(Paint::Bad, &format!("  {} failed", self.failed)));
        }
    }

    fn said(&self, job: &JobId, status: &str) {
        if let Some(Bar { bar, title }) = self.running.get(job) {
            let status = self.colour.paint(Paint::Calm, &format!("  {}", status.replace('\n', " ")));
            bar.set_message(format!("{title}{status}"));
        }
    }

    fn draw(&mut self, event: &Event) {
        match event {
            Event::RunStarted { jobs, .. } => {
                self.whole.set_length(*jobs as u64);
                self.whole.enable_steady_tick(FRAME);
            }
            Event::JobStarted { job, title, .. } => self.started(job, title),
            Event::JobStatus { job, status } => self.said(job, status),
            Event::JobProgress { job, done, total, .. } => {
                if let Some(Bar { bar, .. }) = self.running.get(job) {
                    bar.set_prefix(measure::part(*done, *total));
                }
            }
            Event::JobFinished { job, outcome, .. } => self.ended(job, outcome),
            Event::RunFinished { .. } => {
                self.whole.finish_and_clear();
                let _ = self.multi.clear();
            }
            Event::JobRunning { .. } | Event::JobOutput { .. } | Event::Warning { .. } => {}
        }
    }
}

impl Reporter for Bars {
    fn event(&mut self, event: &Event) {
        if let Some(text) = self.lines.of(event) {
            // A terminal that went away is no reason to stop.
            let _ = self.multi.println(text);
        }
        self.draw(event);
    }

    fn finish(&mut self, summary: &Summary) {
        for Bar { bar, .. } in std::mem::take(&mut self.running).into_values() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
        let _ = self.multi.clear();
        tell(&mut self.writer, &summary::whole(summary, self.colour));
    }
}

fn style(template: &str, glyphs: Glyphs) -> ProgressStyle {
    let took = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let milliseconds = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = out.write_str(&measure::duration(milliseconds));
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("took", took)
        .tick_chars(glyphs.spinner())
        .progress_chars(glyphs.bar())
}
