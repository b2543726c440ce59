//! What is new in a version, as text for its tag's message and for notes. Pure.

use semver::Version;

use crate::version::level::Kind;
use crate::version::reason::{Input, Reason};

const SECTIONS: &[(&str, &[Kind])] = &[
    ("Breaking", &[Kind::Breaking]),
    ("Features", &[Kind::Feature]),
    ("Fixes", &[Kind::Fix]),
    ("Other", &[Kind::Other, Kind::Unconventional]),
];

/// How many lines a section has before the rest is counted: a first release has the whole history.
const LINES: usize = 100;

/// `SERVICE VERSION`, since when, and the commits by section, newest first, each with its short id and
/// the dependencies that it changed.
pub fn changelog(service: &str, version: &Version, previous: Option<&Version>, reasons: &[Reason]) -> String {
    let mut text = format!("{service} {version}\n");
    match previous {
        Some(previous) => text.push_str(&format!("\nSince {previous}.\n")),
        None => text.push_str("\nThe first release.\n"),
    }
    for (title, kinds) in SECTIONS {
        // A merge that changes inputs by itself says nothing that its commits do not.
        let shown = |reason: &&Reason| {
            kinds.contains(&reason.kind) && !(reason.merge && reason.kind == Kind::Unconventional)
        };
        let section: Vec<&Reason> = reasons.iter().filter(shown).collect();
        if section.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{title}\n"));
        for reason in section.iter().take(LINES) {
            text.push_str(&format!(
                "- {} ({}){}\n",
                reason.text,
                reason.commit.short(),
                dependencies(reason)
            ));
        }
        if section.len() > LINES {
            text.push_str(&format!("- and {} more\n", section.len() - LINES));
        }
    }
    text
}

fn dependencies(reason: &Reason) -> String {
    let modules =
        reason.inputs.iter().filter(|input| matches!(input, Input::Module { .. } | Input::Directive { .. }));
    let all: Vec<String> = modules.take(5).map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(digit: &str, kind: Kind, text: &str, inputs: Vec<Input>) -> Reason {
        let commit = digit.repeat(40).parse().unwrap();
        Reason { commit, kind, subject: text.into(), text: text.into(), merge: false, inputs }
    }

    #[test]
    fn sections_in_their_order_and_only_those_with_something() {
        let module = Input::Module {
            path: "example.com/a".into(),
            from: Some("v1.0.0".into()),
            to: Some("v1.0.1".into()),
        };
        let reasons = [
            reason("a", Kind::Other, "deps: bump a", vec![module]),
            reason("b", Kind::Feature, "add b", vec![]),
            reason("c", Kind::Breaking, "drop c", vec![]),
            Reason { merge: true, ..reason("d", Kind::Unconventional, "Merge", vec![]) },
        ];
        let previous = Version::new(1, 2, 0);
        let text = changelog("gateway", &Version::new(2, 0, 0), Some(&previous), &reasons);
        assert_eq!(
            text,
            "gateway 2.0.0\n\nSince 1.2.0.\n\nBreaking\n- drop c (cccccccc)\n\nFeatures\n- add b (bbbbbbbb)\n\n\
             Other\n- deps: bump a (aaaaaaaa): example.com/a v1.0.0 → v1.0.1\n"
        );
        assert_eq!(changelog("a", &Version::new(0, 1, 0), None, &[]), "a 0.1.0\n\nThe first release.\n");
    }
}
