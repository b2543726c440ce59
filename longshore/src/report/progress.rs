//! Bars, for people at a terminal: a line a running job, one for the whole, finished jobs above them.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::event::{Event, Outcome, Summary};
use crate::host::environment::Environment;
use crate::plan::JobId;

use super::plain::Lines;
use super::{Reporter, Tools, Writer, measure, summary, tell};
use crate::style::{Colour, Paint};

/// Between two frames of a spinner.
const FRAME: Duration = Duration::from_millis(120);

/// Jobs that have a line at once: on more than fit, a terminal would lose the line for the whole.
const SHOWN: usize = 12;

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
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Drawn,
    /// Until one that is drawn has ended.
    Waiting,
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
        // The message is last and may be cut: the rest fits into forty columns.
        let bar = colour.paint(Paint::Good, "{bar:14}");
        let template = format!("{:>9} {bar} {{pos}}/{{len}}  {{took}}{{wide_msg}}", "");
        whole.set_style(style(&template, glyphs));
        let lines = Lines::new(colour, tools);
        Self { multi, whole, running: BTreeMap::new(), lines, writer, colour, glyphs, failed: 0 }
    }

    fn started(&mut self, job: &JobId, title: &str) {
        let spinner = self.colour.paint(Paint::Good, "{spinner}");
        let after = self.colour.paint(Paint::Calm, "{prefix} {took:>6}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style(&format!("{:>8}{spinner} {{wide_msg}} {after}", ""), self.glyphs));
        bar.set_message(title.to_owned());
        self.running.insert(job.clone(), Bar { bar, title: title.to_owned(), place: Place::Waiting });
        self.fill();
    }

    /// Draws as many of the running jobs as there is room for.
    fn fill(&mut self) {
        let drawn = self.running.values().filter(|bar| bar.place == Place::Drawn).count();
        let waiting = self.running.values_mut().filter(|bar| bar.place == Place::Waiting);
        for Bar { bar, place, .. } in waiting.take(SHOWN.saturating_sub(drawn)) {
            *bar = self.multi.insert_before(&self.whole, bar.clone());
            bar.enable_steady_tick(FRAME);
            *place = Place::Drawn;
        }
    }

    fn ended(&mut self, job: &JobId, outcome: &Outcome) {
        if let Some(Bar { bar, place, .. }) = self.running.remove(job) {
            bar.finish_and_clear();
            if place == Place::Drawn {
                self.multi.remove(&bar);
            }
        }
        self.fill();
        self.whole.inc(1);
        if matches!(outcome, Outcome::Failed(_)) {
            self.failed += 1;
            self.whole.set_message(self.colour.paint(Paint::Bad, &format!("  {} failed", self.failed)));
        }
    }

    fn said(&self, job: &JobId, status: &str) {
        if let Some(Bar { bar, title, .. }) = self.running.get(job) {
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

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::report::fixture;

    fn bars(terminal: &InMemoryTerm, page: &fixture::Page) -> Bars {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        Bars::new(target, page.writer(), Colour::Off, Tools::Failures, Glyphs::Ascii)
    }

    fn drawn(terminal: &InMemoryTerm) -> Vec<String> {
        terminal.contents().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_running_job_is_a_line_with_all_that_is_known_of_it() {
        let (terminal, page) = (InMemoryTerm::new(10, 80), fixture::Page::default());
        let mut bars = bars(&terminal, &page);
        let until =
            |event: &Event| matches!(event, Event::JobFinished { job, .. } if job.0 == "build:services");
        for event in fixture::events().iter().take_while(|event| !until(event)) {
            bars.event(event);
        }
        bars.running.values().for_each(|running| running.bar.force_draw());
        bars.whole.force_draw();
        let lines = drawn(&terminal);
        assert_eq!(lines[0], "   cached lint gateway");
        assert_eq!(lines[1], "  warning build gateway, orders: the cache is damaged");
        let job = lines.iter().find(|line| line.contains("compiling")).unwrap();
        assert!(job.contains("build gateway, orders  compiling"), "{job}");
        assert!(job.contains("3.4 / 12.3 MB"), "{job}");
        assert!(lines.last().unwrap().contains(" 1/6"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_narrow_terminal_has_a_line_a_job_all_the_same() {
        let (terminal, page) = (InMemoryTerm::new(10, 40), fixture::Page::default());
        let mut bars = bars(&terminal, &page);
        bars.event(&Event::RunStarted { run: String::new(), command: String::new(), jobs: 1 });
        let (job, title) = (JobId("build:a".to_owned()), "build ".repeat(30));
        bars.event(&Event::JobStarted { job, stage: crate::plan::Stage::Build, title });
        bars.running.values().for_each(|running| running.bar.force_draw());
        assert_eq!(drawn(&terminal).len(), 2, "{:?}", drawn(&terminal));
    }

    #[test]
    fn however_many_jobs_run_the_whole_stays_in_sight() {
        let (terminal, page) = (InMemoryTerm::new(24, 80), fixture::Page::default());
        let mut bars = bars(&terminal, &page);
        bars.event(&Event::RunStarted { run: String::new(), command: String::new(), jobs: 40 });
        let job = |number: usize| JobId(format!("scan:{number:02}"));
        for number in 0..40 {
            let (job, title) = (job(number), format!("scan {number}"));
            bars.event(&Event::JobStarted { job, stage: crate::plan::Stage::Scan, title });
        }
        for number in 0..20 {
            let outcome = Outcome::Skipped { of: job(0) };
            bars.event(&Event::JobFinished { job: job(number), outcome, milliseconds: 1, output: None });
        }
        bars.running.values().for_each(|running| running.bar.force_draw());
        bars.whole.force_draw();
        let lines = drawn(&terminal);
        assert_eq!(lines.len(), SHOWN + 1, "{lines:?}");
        assert!(lines[SHOWN].contains(" 20/40"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("scan 20")));
    }

    #[test]
    fn at_the_end_no_bar_is_left() {
        let (terminal, page) = (InMemoryTerm::new(30, 80), fixture::Page::default());
        fixture::show(&mut bars(&terminal, &page));
        let text = terminal.contents();
        assert!(
            !text.contains("/6") && text.contains("     done build gateway, orders  12.3 MB  4.2s"),
            "{text}"
        );
        assert_eq!(page.text(), summary::whole(&fixture::summary(), Colour::Off));
    }

    #[test]
    fn glyphs_follow_the_locale() {
        let of = |name: &str, value: &str| {
            Glyphs::of(&[(name.to_owned(), value.to_owned())].into_iter().collect())
        };
        assert_eq!(of("LANG", "en_US.UTF-8"), Glyphs::Unicode);
        assert_eq!(of("LC_ALL", "C"), Glyphs::Ascii);
    }
}
