//! Templates: text with `{name}` in it; `{{` and `}}` are braces. Everything else is data. Pure.

use std::ops::Range;

use crate::config::read::Complaint;
use crate::diagnostic::{did_you_mean, quoted};

/// The names of a Git tag's form.
pub const TAG_NAMES: &[&str] = &["service", "version"];
/// The names of `build.ldflags`.
pub const LDFLAG_NAMES: &[&str] = &["version", "service", "commit"];

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// A name, and its bytes in the template, braces included.
    Name(&'a str, Range<usize>),
}

/// The template with each `{name}` replaced by its value.
///
/// # Errors
/// A lone brace, or a name without a value.
pub fn expand(template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = String::with_capacity(template.len());
    for piece in parse(template).map_err(|complaint| anyhow::anyhow!(complaint.message))? {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Name(name, _) => {
                let value = values.iter().find(|(known, _)| *known == name);
                let (_, value) = value.ok_or_else(|| {
                    anyhow::anyhow!("unknown name {} in {}", quoted(name), quoted(template))
                })?;
                text.push_str(value);
            }
        }
    }
    Ok(text)
}

pub(crate) fn parse(template: &str) -> Result<Vec<Piece<'_>>, Complaint> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(offset) = template[at..].find(['{', '}']) {
        let brace = at + offset;
        if brace > at {
            pieces.push(Piece::Text(&template[at..brace]));
        }
        let doubled = template.as_bytes()[brace] == *template.as_bytes().get(brace + 1).unwrap_or(&0);
        if doubled {
            pieces.push(Piece::Text(&template[brace..=brace]));
            at = brace + 2;
            continue;
        }
        let close = template[brace + 1..].find(['{', '}']).map(|close| brace + 1 + close);
        let close =
            close.filter(|close| template.as_bytes()[brace] == b'{' && template.as_bytes()[*close] == b'}');
        let Some(close) = close else {
            let lone = &template[brace..=brace];
            return Err(Complaint::new(format!("a `{lone}` that stands alone"))
                .hint(format!("a template's names stand in braces, as `{{version}}`; for a brace itself write `{lone}{lone}`"))
                .part(brace..brace + 1));
        };
        pieces.push(Piece::Name(&template[brace + 1..close], brace..close + 1));
        at = close + 1;
    }
    if at < template.len() {
        pieces.push(Piece::Text(&template[at..]));
    }
    Ok(pieces)
}

/// A complaint about a name that is none of `known`.
pub(crate) fn unknown(name: &str, part: Range<usize>, known: &[&str]) -> Complaint {
    let mut complaint = Complaint::new(format!("unknown name {} in a template", quoted(name))).part(part);
    let braces: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let braced = did_you_mean(&format!("{{{name}}}"), braces.iter().map(String::as_str));
    complaint.hint = Some(match braced {
        Some(hint) => format!("{hint} (for a brace itself write `{{{{`)"),
        None => "for a brace itself write `{{`".to_owned(),
    });
    complaint
}

fn names<'a>(template: &'a str, known: &[&str]) -> Result<Vec<&'a str>, Complaint> {
    let mut names = Vec::new();
    for piece in parse(template)? {
        if let Piece::Name(name, part) = piece {
            if !known.contains(&name) {
                return Err(unknown(name, part, known));
            }
            names.push(name);
        }
    }
    Ok(names)
}

pub(crate) fn ldflag(template: &str) -> Result<(), Complaint> {
    names(template, LDFLAG_NAMES).map(|_| ())
}

pub(crate) fn tag_form(template: &str) -> Result<(), Complaint> {
    let names = names(template, TAG_NAMES)?;
    if !names.contains(&"version") {
        return Err(Complaint::new("a tag's form must hold `{version}`")
            .hint("write `{service}/v{version}` or `v{version}`"));
    }
    if let Some(plus) = template.find('+') {
        return Err(Complaint::new("a `+` can't be in a tag: an image tag has none")
            .hint("leave build metadata out: the commit is in the image's labels")
            .part(plus..plus + 1));
    }
    let example = expand(template, &[("service", "gateway"), ("version", "1.2.3")]).unwrap_or_default();
    if valid_ref(&example) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a Git tag", quoted(&example)))
        .hint("write `{service}/v{version}` or `v{version}`; `git help check-ref-format` has the rules"))
}

/// Git's rules for the name of a tag or branch (git-check-ref-format(1)), and no `-` first.
pub(crate) fn valid_ref(name: &str) -> bool {
    let bad = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    !name.is_empty()
        && name != "@"
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(bad)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_braces_are_doubled() {
        let values = [("version", "1.2.3"), ("service", "a{b}$(id)")];
        for (template, text) in [
            ("", ""),
            ("-X main.version={version}", "-X main.version=1.2.3"),
            ("{service}/v{version}", "a{b}$(id)/v1.2.3"),
            ("{{version}}", "{version}"),
            ("{{{version}}}", "{1.2.3}"),
            ("é{version}é", "é1.2.3é"),
        ] {
            assert_eq!(expand(template, &values).unwrap(), text, "{template}");
        }
        for template in ["{", "}", "a}b", "{version", "{a{b}}", "{nope}", "{}"] {
            assert!(expand(template, &values).is_err(), "{template}");
        }
    }

    #[test]
    fn a_tag_form_must_make_a_git_tag() {
        for form in
            ["v{version}", "{service}/v{version}", "release-{version}", "{version}", "{service}@{version}"]
        {
            assert_eq!(tag_form(form), Ok(()), "{form}");
        }
        for form in [
            "v",
            "-v{version}",
            "v{version}.",
            "v {version}",
            "/v{version}",
            "a//{version}",
            "{version}.lock",
            "..{version}",
            "v{version}+{service}",
            "v{version}~",
            "{commit}/{version}",
            "v{version}@{{x",
        ] {
            assert!(tag_form(form).is_err(), "{form}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_with_its_braces_doubled_is_itself(text in "\\PC*") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            proptest::prop_assert_eq!(expand(&escaped, &[]).unwrap(), text);
        }

        #[test]
        fn no_template_panics(text in ".*") {
            let _ = tag_form(&text);
            let _ = ldflag(&text);
        }
    }
}
