use std::sync::Arc;

use anyhow::Context as _;
use proptest::prelude::*;

use super::*;
use crate::diagnostic::Source;
use crate::fault::Exit;

fn place(text: &str, span: Range<usize>) -> Place {
    Place { source: Arc::new(Source { path: "pipeline.toml".into(), text: text.to_owned() }), span }
}

fn shown(text: &str, span: Range<usize>) -> String {
    render(&Diagnostic::error("no").at(&place(text, span), ""), Colour::Off)
}

/// The column of the first caret in the line below the source line, less that of the source line.
fn caret(rendered: &str) -> (String, usize, usize) {
    let lines: Vec<&str> = rendered.lines().collect();
    let at = lines.iter().position(|line| line.contains('^')).unwrap();
    let gutter = lines[at].find("| ").unwrap() + 2;
    let carets = &lines[at][gutter..];
    let indent = carets.chars().take_while(|c| *c == ' ').count();
    let line = lines[at - 1].get(gutter..).unwrap_or_default();
    (line.to_owned(), indent, carets.matches('^').count())
}

#[test]
fn a_caret_stands_below_what_it_means() {
    assert_eq!(caret(&shown("a = 1\nbc = 2\n", 6..8)), ("bc = 2".into(), 0, 2));
    assert_eq!(caret(&shown("a = 1", 4..5)), ("a = 1".into(), 4, 1), "no newline at the end");
    assert_eq!(caret(&shown("a = 1\r\nb = 2\r\n", 11..12)), ("b = 2".into(), 4, 1));
    assert_eq!(caret(&shown("\t\ta = 1", 2..3)), ("        a = 1".into(), 8, 1), "tabs are four spaces");
    assert_eq!(caret(&shown("漢 = 1", 6..7)), ("漢 = 1".into(), 5, 1), "wide characters are two columns");
    assert_eq!(caret(&shown("", 0..0)).2, 1);
    assert_eq!(caret(&shown("ab", 70..90)).2, 1, "a span beyond the end");
}

#[test]
fn a_long_line_is_cut_around_the_caret_and_keeps_its_column() {
    let text = format!("{}needle{}", "a".repeat(5000), "b".repeat(1_000_000));
    let rendered = shown(&text, 5000..5006);
    assert!(rendered.contains("pipeline.toml:1:5001"), "{rendered}");
    let (line, indent, carets) = caret(&rendered);
    assert!(line.starts_with("…a") && line.ends_with("b…") && line.chars().count() < 120, "{line}");
    assert_eq!((&line[line.find("needle").unwrap()..][..6], carets), ("needle", 6));
    assert_eq!(line.chars().take_while(|c| *c != 'n').count(), indent);
    assert!(!rendered.contains(":::"), "{rendered}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "a = \"\u{1b}[31m\u{8}\u{202e}\"";
    let fault = Diagnostic::error("bad \u{1b}[31m").at(&place(text, 4..9), "x\u{1b}").hint("y\u{1b}");
    let rendered = render(&fault, Colour::Off);
    assert!(!rendered.contains(['\u{1b}', '\u{8}', '\u{202e}']), "{rendered:?}");
}

#[test]
fn what_one_hides_the_others_beside_it_hide_too() {
    let secret = place("a = \"hunter2\", b = 1\n", 4..13);
    let other = Place { span: 15..16, source: Arc::clone(&secret.source) };
    let faults =
        [Diagnostic::error("b").at(&other, ""), Diagnostic::error("a").at(&secret, "").hiding(&secret)];
    let rendered = render_all(&faults, Colour::Off);
    assert!(!rendered.contains("hunter2"), "{rendered}");
    assert_eq!(rendered.matches("a = *********, b = 1").count(), 2, "{rendered}");
}

#[test]
fn any_error_is_told_with_its_causes_and_its_remedy() {
    let error = Err::<(), _>(std::io::Error::other("disk on fire"))
        .context(Fault::new(Exit::Machine, "could not write `x`").hint("put it out"))
        .context("the push stage")
        .unwrap_err();
    assert_eq!(
        render_error(&error, Colour::Off),
        "error: the push stage\ncaused by: could not write `x`\ncaused by: disk on fire\nhint: put it out\n"
    );
    assert!(render_error(&error, Colour::On).contains("\u{1b}["));
}

#[test]
fn located_faults_are_counted_by_file() {
    let fault = |span| Diagnostic::error("no").at(&place("a = 1\n", span), "");
    let error = anyhow::Error::new(Diagnostics(vec![fault(0..1), fault(4..5), Diagnostic::warning("hm")]));
    let text = render_error(&error, Colour::Off);
    assert!(text.ends_with("\nerror: 2 faults in pipeline.toml\n"), "{text}");
    let error = error.context("the configuration");
    assert!(render_error(&error, Colour::Off).starts_with("error: the configuration\n"));
    let many = Diagnostics((0..250).map(|_| fault(0..1)).collect());
    let text = render_error(&many.into(), Colour::Off);
    assert!(text.contains("… and 150 more") && text.ends_with("250 faults in pipeline.toml\n"));
}

proptest! {
    #[test]
    fn nothing_in_a_file_breaks_it(text in "(?s)([\\PC\t\r\n\u{0}-\u{1f}漢é\u{202e}\u{301}]|x{150}){0,60}", from in 0_usize..400, length in 0_usize..60) {
        let place = place(&text, from..from + length);
        let fault = Diagnostic::error(text.clone()).at(&place, text.clone()).related(&place, "x").hiding(&place);
        for colour in [Colour::Off, Colour::On] {
            let _ = render(&fault, colour);
        }
    }
}
