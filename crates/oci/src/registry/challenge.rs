//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, 11.6.1; distribution's token
//! authentication). Pure.

use std::collections::BTreeMap;

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// Tokens are had at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        /// As the registry asks for it.
        scope: Option<String>,
    },
}

/// The challenges in these header values that we know how to meet, in order.
pub(super) fn parse(values: &[&str]) -> Vec<Challenge> {
    values.iter().flat_map(|value| parse_one(value)).collect()
}

fn parse_one(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let spaced = after.trim_start();
        match (spaced.strip_prefix('='), found.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                let (text, after) = parameter(after.trim_start());
                parameters.insert(name.to_ascii_lowercase(), text);
                rest = after;
            }
            (Some(after), None) => rest = after,
            (None, _) => {
                found.push((name.to_ascii_lowercase(), BTreeMap::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    found.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, parameters)).collect()
}

fn challenge(scheme: &str, mut parameters: BTreeMap<String, String>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    }
}

/// A token or a quoted string, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let url = "https://auth.example/token";
        for (value, expected) in [
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull,push""#,
                vec![bearer(url, Some("r.example"), Some("repository:a:pull,push"))],
            ),
            (r#"bearer  realm="https://auth.example/token""#, vec![bearer(url, None, None)]),
            (
                r#"Negotiate, Basic realm=x, Bearer service=s , realm="https://auth.example/token""#,
                vec![Challenge::Basic, bearer(url, Some("s"), None)],
            ),
            (r#"Bearer realm="a\"b"#, vec![bearer("a\"b", None, None)]),
            ("Bearer", vec![]),
            ("Bearer service=x", vec![]),
            (r#"=,==,"=""#, vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(&[value]), expected, "{value}");
        }
    }
}
