//! The end of a run: every failure once more, then the counts. Pure.

use crate::event::{JobFailure, Summary};

use super::measure;
use crate::style::{Colour, Paint};

/// Every failure with all that is known of it; empty without one.
pub fn failures(summary: &Summary, colour: Colour) -> String {
    let mut text = String::new();
    for (ended, failure) in summary.failures() {
        text.push('\n');
        text.push_str(&colour.paint(Paint::Bad, &format!("failed: {}", ended.title)));
        text.push('\n');
        describe(failure, colour, &mut text);
    }
    text
}

fn describe(failure: &JobFailure, colour: Colour, text: &mut String) {
    for (place, message) in failure.messages.iter().enumerate() {
        let label = if place == 0 { "error" } else { "caused by" };
        field(label, message, text);
    }
    if let Some(command) = &failure.command {
        field("command", command, text);
    }
    if let Some(status) = &failure.status {
        field("ended", status, text);
    }
    for line in &failure.tail {
        text.push_str(&colour.paint(Paint::Calm, &format!("    | {line}")));
        text.push('\n');
    }
    if let Some(hint) = &failure.hint {
        field("hint", hint, text);
    }
}

fn field(label: &str, value: &str, text: &mut String) {
    text.push_str(&format!("  {label}: {}\n", value.trim_end().replace('\n', "\n    ")));
}

/// `5 done, 3 cached, 1 failed in 12s`, in the order of how well it went.
pub fn counts(summary: &Summary, colour: Colour) -> String {
    let counts = summary.counts();
    let parts: Vec<String> = [
        ("done", Paint::Good),
        ("cached", Paint::Good),
        ("failed", Paint::Bad),
        ("stopped", Paint::Warning),
        ("skipped", Paint::Warning),
    ]
    .into_iter()
    .filter_map(|(word, paint)| {
        let count = counts.get(word)?;
        Some(colour.paint(paint, &format!("{count} {word}")))
    })
    .collect();
    let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    format!("{parts} in {}\n", measure::duration(summary.milliseconds))
}

/// [`failures`] and [`counts`].
pub fn whole(summary: &Summary, colour: Colour) -> String {
    let failures = failures(summary, colour);
    let gap = if failures.is_empty() { "" } else { "\n" };
    format!("{failures}{gap}{}", counts(summary, colour))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn every_failure_is_repeated_with_its_remedy() {
        let expected = "
failed: test orders
  error: tests failed
  caused by: `go test ./...` failed: exit status 1
  command: go test ./...
  ended: exit status 1
    | --- FAIL: TestOrder
    | FAIL
  hint: run `go test ./services/orders`

2 done, 1 cached, 1 failed, 1 stopped, 1 skipped in 2m 05s
";
        assert_eq!(whole(&fixture::summary(), Colour::Off), expected);
    }

    #[test]
    fn nothing_to_do_is_said() {
        assert_eq!(whole(&Summary::default(), Colour::Off), "nothing to do in 0.0s\n");
    }
}
