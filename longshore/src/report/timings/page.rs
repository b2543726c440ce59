//! `dist/timings.html`: one page that needs nothing else, and runs no script. Pure.
//!
//! Every name in it may be hostile: all text is escaped, isolated in its direction, and the page forbids
//! scripts and loads by its own policy.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::{After, Timing, Timings};
use crate::plan::Stage;
use crate::report::measure;

const STYLE: &str = include_str!("page.css");

/// At most so many lines across the chart.
const TICKS: u64 = 8;

/// The page.
pub fn render(timings: &Timings) -> String {
    let command = escape(&format!("cargo xtask {}", timings.command));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Timings: {command}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    header(&mut page, timings, &command);
    chart(&mut page, timings);
    critical(&mut page, timings);
    stages(&mut page, timings);
    page.push_str("</body>\n</html>\n");
    page
}

/// Adds to the page; a string takes everything.
macro_rules! add {
    ($page:expr, $($text:tt)*) => {
        let _ = write!($page, $($text)*);
    };
}

fn header(page: &mut String, timings: &Timings, command: &str) {
    let began = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(timings.started));
    let exit = if timings.exit == 0 { String::new() } else { format!(" · exit {}", timings.exit) };
    let took = measure::duration(timings.milliseconds);
    add!(page, "<header>\n<h1><bdi>{command}</bdi></h1>\n<p>{began} · took {took}{exit}</p>\n</header>\n");
    page.push_str("<dl class=\"figures\">\n");
    figure(page, "all", timings.jobs.len(), if timings.jobs.len() == 1 { "job" } else { "jobs" });
    for result in ["done", "cached", "failed", "skipped", "stopped"] {
        let count = timings.count(result);
        if count > 0 {
            figure(page, result, count, result);
        }
    }
    page.push_str("</dl>\n");
}

fn figure(page: &mut String, class: &str, count: usize, word: &str) {
    add!(page, "<div class=\"{class}\"><dt>{word}</dt><dd>{count}</dd></div>\n");
}

fn chart(page: &mut String, timings: &Timings) {
    let whole = timings.milliseconds.max(1);
    page.push_str("<section class=\"chart\">\n<h2>Jobs</h2>\n<p class=\"legend\">");
    for (class, word) in [
        ("done", "ran"),
        ("cached", "from the cache"),
        ("failed", "failed"),
        ("stopped", "stopped"),
        ("waited", "waited for a place"),
        ("on-path", "critical path"),
    ] {
        add!(page, "<span><i class=\"{class}\"></i>{word}</span>");
    }
    page.push_str("</p>\n<div class=\"rows\">\n");
    axis(page, whole);
    preparation(page, timings, whole);
    let mut jobs: Vec<&Timing> = timings.jobs.iter().collect();
    // Those that were not started come last; a stable sort leaves the plan's order where it can.
    jobs.sort_by_key(|job| (job.start.is_none(), job.start));
    for job in jobs {
        row(page, timings, job, whole);
    }
    page.push_str("</div>\n</section>\n");
}

fn axis(page: &mut String, whole: u64) {
    page.push_str("<div class=\"axis\" aria-hidden=\"true\">");
    for tick in ticks(whole) {
        let label = if tick == 0 { "0".to_owned() } else { measure::duration(tick) };
        add!(page, "<span style=\"left:{}%\">{label}</span>", percent(tick, whole));
    }
    page.push_str("</div>\n<div class=\"lines\" aria-hidden=\"true\">");
    for tick in ticks(whole) {
        add!(page, "<i style=\"left:{}%\"></i>", percent(tick, whole));
    }
    page.push_str("</div>\n");
}

fn preparation(page: &mut String, timings: &Timings, whole: u64) {
    let took = precise(timings.preparation);
    add!(
        page,
        "<div class=\"row\" title=\"locks, facts, the decision, the plan, tools\">\
         <span class=\"name\">facts and plan</span>\
         <span class=\"track\"><i class=\"bar stopped\" style=\"left:0%;width:{}%\"></i></span>\
         <span class=\"took\">{took}</span></div>\n",
        percent(timings.preparation, whole)
    );
}

fn row(page: &mut String, timings: &Timings, job: &Timing, whole: u64) {
    let on_path = timings.critical.iter().any(|step| step.job == job.id);
    let class = if on_path { " on-path" } else { "" };
    let name = escape(&job.id.0);
    add!(
        page,
        "<div class=\"row{class}\" title=\"{}\"><span class=\"name\"><bdi>{name}</bdi></span>\
         <span class=\"track\">",
        escape(&tip(job))
    );
    let Some(start) = job.start else {
        let note = escape(&job.note);
        add!(page, "<em>{} <bdi>{note}</bdi></em></span><span class=\"took\"></span></div>\n", job.result);
        return;
    };
    if job.waited > 0 {
        let (left, width) = (percent(start - job.waited, whole), percent(job.waited, whole));
        add!(page, "<i class=\"waited\" style=\"left:{left}%;width:{width}%\"></i>");
    }
    let (left, width) = (percent(start, whole), percent(job.milliseconds, whole));
    let took = precise(job.milliseconds);
    add!(
        page,
        "<i class=\"bar {}\" style=\"left:{left}%;width:{width}%\"></i></span>\
         <span class=\"took\">{took}</span></div>\n",
        job.result
    );
}

/// What is said of a job under the pointer.
fn tip(job: &Timing) -> String {
    let mut text = format!("{}\n{}", job.title, job.result);
    if !job.note.is_empty() {
        add!(text, ": {}", job.note);
    }
    if let Some(start) = job.start {
        add!(text, "\nstarted at {}", precise(start));
        add!(text, ", took {}", precise(job.milliseconds));
        if job.waited > 0 {
            add!(text, ", after waiting {} for a place", precise(job.waited));
        }
    }
    text
}

fn critical(page: &mut String, timings: &Timings) {
    if timings.critical.is_empty() {
        return;
    }
    page.push_str(
        "<section>\n<h2>Critical path</h2>\n<p>What the end of the run waited for. To be faster, one of these \
         must be.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>Job</th><th>Started</th><th>At</th>\
         <th>Took</th><th>Share</th></tr></thead>\n<tbody>\n",
    );
    let whole = timings.milliseconds.max(1);
    add!(
        page,
        "<tr><td>facts and plan</td><td></td><td>{}</td><td>{}</td><td>{}%</td></tr>\n",
        precise(0),
        precise(timings.preparation),
        timings.preparation * 100 / whole
    );
    for step in &timings.critical {
        let Some(job) = timings.job(&step.job) else { continue };
        let why = match step.after {
            After::Start => "at the start",
            After::Need => "after the one above, which it needs",
            After::Place => "when the one above left its place",
        };
        add!(
            page,
            "<tr><td><bdi>{}</bdi></td><td>{why}</td><td>{}</td><td>{}</td><td>{}%</td></tr>\n",
            escape(&job.id.0),
            precise(job.start.unwrap_or_default()),
            precise(job.milliseconds),
            job.milliseconds * 100 / whole
        );
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}

fn stages(page: &mut String, timings: &Timings) {
    page.push_str(
        "<section>\n<h2>Stages</h2>\n<p>Times of jobs that ran side by side are added up.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>Stage</th><th>Jobs</th><th>From the cache</th>\
         <th>Time</th><th>Longest</th></tr></thead>\n<tbody>\n",
    );
    for stage in Stage::ALL {
        let jobs: Vec<&Timing> = timings.jobs.iter().filter(|job| job.stage == stage).collect();
        let cached = jobs.iter().filter(|job| job.result == "cached").count();
        let sum: u64 = jobs.iter().map(|job| job.milliseconds).sum();
        let Some(longest) = jobs.iter().map(|job| job.milliseconds).max() else { continue };
        add!(
            page,
            "<tr><td>{stage}</td><td>{}</td><td>{cached}</td><td>{}</td><td>{}</td></tr>\n",
            jobs.len(),
            precise(sum),
            precise(longest)
        );
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}

/// `12 ms` below a second, where [`measure::duration`] says too little.
fn precise(milliseconds: u64) -> String {
    if milliseconds < 1000 { format!("{milliseconds} ms") } else { measure::duration(milliseconds) }
}

/// Round times, at most [`TICKS`] of them.
fn ticks(whole: u64) -> impl Iterator<Item = u64> {
    const STEPS: [u64; 16] = [
        100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000,
        1_800_000, 3_600_000, 7_200_000,
    ];
    let fits = |step: &u64| whole / step < TICKS;
    let step = STEPS.into_iter().find(fits).unwrap_or(whole / TICKS + 1);
    (0..=whole / step).map(move |number| number * step)
}

/// Of the chart's width, to a hundredth.
fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part.min(whole)) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Text that is nothing but text, in an element or an attribute; what would turn its direction is shown as
/// what can't be shown.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push('\u{fffd}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}
