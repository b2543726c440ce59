//! Errors as text for people: snippets for what is located, a chain of causes for the rest.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::renderer::{AnsiColor, DecorStyle, Effects, Style};
use annotate_snippets::{AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Diagnostics, Level, Place};
use crate::fault::Fault;
use crate::host::process::ProcessError;
use crate::style::Colour;

/// Diagnostics that are shown at most: nobody reads more at once.
const SHOWN: usize = 100;
/// Characters of a source line that are shown at most: what stands around the caret.
const WINDOW: usize = 100;
/// Of these, before the caret.
const BEFORE: usize = 40;

/// One diagnostic, without a newline at its end.
pub fn render(diagnostic: &Diagnostic, colour: Colour) -> String {
    render_hiding(diagnostic, &diagnostic.hidden, colour)
}

/// All of them, up to a hundred, with a blank line after each.
pub fn render_all(diagnostics: &[Diagnostic], colour: Colour) -> String {
    let hidden: Vec<Place> = diagnostics.iter().flat_map(|diagnostic| diagnostic.hidden.clone()).collect();
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN) {
        let _ = writeln!(text, "{}\n", render_hiding(diagnostic, &hidden, colour));
    }
    if diagnostics.len() > SHOWN {
        let _ = writeln!(text, "… and {} more\n", diagnostics.len() - SHOWN);
    }
    text
}

/// Any error: `error:`, `caused by:` and `hint:`, or located snippets and their count. A newline at its end.
pub fn render_error(error: &anyhow::Error, colour: Colour) -> String {
    let mut text = String::new();
    let mut hint = None;
    let mut named = false;
    for cause in error.chain() {
        if let Some(Diagnostics(diagnostics)) = cause.downcast_ref::<Diagnostics>() {
            text.push_str(&render_all(diagnostics, colour));
            let _ = writeln!(text, "{} {cause}", label("error:", Level::Error, colour));
            return text;
        }
        let word = if named {
            paint("caused by:", Style::new().effects(Effects::BOLD), colour)
        } else {
            label("error:", Level::Error, colour)
        };
        let _ = writeln!(text, "{word} {}", harmless(&cause.to_string()));
        if let Some(ProcessError::Failed { tail, .. }) = cause.downcast_ref() {
            for line in tail {
                let _ = writeln!(text, "    | {}", harmless(line));
            }
        }
        named = true;
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            hint = hint.or(fault.hint.as_deref());
        }
    }
    // A `Fault` that was given as context is not in the chain under its own type.
    if let Some(fault) = error.downcast_ref::<Fault>() {
        hint = fault.hint.as_deref().or(hint);
    }
    if let Some(hint) = hint.or(crate::fault::lacking(error)).map(harmless) {
        let _ = writeln!(
            text,
            "{} {hint}",
            paint("hint:", AnsiColor::BrightCyan.on_default().effects(Effects::BOLD), colour)
        );
    }
    text
}

fn label(text: &str, level: Level, colour: Colour) -> String {
    let style = match level {
        Level::Error => AnsiColor::BrightRed,
        Level::Warning => AnsiColor::Yellow,
    };
    paint(text, style.on_default().effects(Effects::BOLD), colour)
}

fn paint(text: &str, style: Style, colour: Colour) -> String {
    match colour {
        Colour::Off => text.to_owned(),
        Colour::On => format!("{style}{text}{style:#}"),
    }
}

/// A text whose control characters can't command a terminal.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control()
                || "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".contains(c) =>
            {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    shown
}

fn render_hiding(diagnostic: &Diagnostic, hidden: &[Place], colour: Colour) -> String {
    let level = match diagnostic.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(harmless(&diagnostic.message)));
    let primary = diagnostic.place.iter().map(|place| (place, AnnotationKind::Primary));
    let related = diagnostic.related.iter().map(|place| (place, AnnotationKind::Context));
    for ((place, label), kind) in primary.chain(related) {
        let (line, column) = place.line_and_column();
        let shown = Line::around(place, hidden);
        let annotation = kind.span(shown.span).label((!label.is_empty()).then(|| harmless(label)));
        let path = place.source.path.display().to_string();
        let snippet = Snippet::source(shown.text).line_start(line).annotation(annotation);
        group = if shown.cut {
            // Of a part of a line the column has to be said.
            group.element(Origin::path(path).line(line).char_column(column)).element(snippet)
        } else {
            group.element(snippet.path(path))
        };
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Title::HELP.with_name("hint").message(harmless(hint)));
    }
    let renderer = match colour {
        Colour::Off => Renderer::plain(),
        Colour::On => Renderer::styled(),
    };
    let text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    // Between a place and its snippet stands a mark for a snippet without a place.
    let lines: Vec<&str> = text.lines().filter(|line| !is_mark(line)).collect();
    lines.join("\n")
}

/// A line that is `:::` and escape sequences.
fn is_mark(line: &str) -> bool {
    let mut shown = String::new();
    let mut escape = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => escape = true,
            _ if escape => escape = !c.is_ascii_alphabetic(),
            _ => shown.push(c),
        }
    }
    shown.trim() == ":::"
}

/// The part of a line that is shown, and the caret's span in it.
struct Line {
    text: String,
    span: Range<usize>,
    cut: bool,
}

impl Line {
    fn around(place: &Place, hidden: &[Place]) -> Self {
        let text = &place.source.text;
        let start = place.start();
        let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let last = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let last = if text[first..last].ends_with('\r') && start < last { last - 1 } else { last };
        let mut end = place.span.end.clamp(start, last);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = masked(place, first..last, hidden);
        Self::cut(&line, start - first..end - first)
    }

    /// At most [`WINDOW`] characters of the line.
    fn cut(line: &str, span: Range<usize>) -> Self {
        if line.chars().count() <= WINDOW {
            return Self { text: line.to_owned(), span, cut: false };
        }
        let from =
            line[..span.start].char_indices().rev().take(BEFORE).last().map_or(span.start, |(at, _)| at);
        let to = line[from..].char_indices().nth(WINDOW).map_or(line.len(), |(at, _)| from + at);
        let (before, after) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
        let shift = before.len();
        Self {
            text: format!("{before}{}{after}", &line[from..to]),
            span: span.start - from + shift..span.end.min(to) - from + shift,
            cut: true,
        }
    }
}

/// The bytes `range` of a place's text, with an asterisk for each byte that is hidden.
fn masked(place: &Place, range: Range<usize>, hidden: &[Place]) -> String {
    let mut line = place.source.text[range.clone()].to_owned();
    for secret in hidden.iter().filter(|secret| std::sync::Arc::ptr_eq(&secret.source, &place.source)) {
        let from = secret.span.start.clamp(range.start, range.end) - range.start;
        let to = secret.span.end.clamp(range.start, range.end) - range.start;
        if from < to && line.is_char_boundary(from) && line.is_char_boundary(to) {
            line.replace_range(from..to, &"*".repeat(to - from));
        }
    }
    line
}

#[cfg(test)]
mod tests;
