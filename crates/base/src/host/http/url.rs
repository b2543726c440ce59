//! The little that is needed of URLs: origins, relative locations, queries. Pure.

/// Scheme, host and port: what an `Authorization` is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub secure: bool,
    /// `HOST[:PORT]`, lowercase, without the scheme's own port.
    pub host: String,
}

impl Origin {
    /// Of an absolute URL; `None` for what is not HTTP, or names a user.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        if host.is_empty() || host.contains('@') {
            return None;
        }
        let own = if secure { ":443" } else { ":80" };
        let host = host.strip_suffix(own).map(str::to_owned).unwrap_or(host);
        Some(Self { secure, host })
    }
}

/// A `Location` as seen from the URL that answered it (RFC 3986, 5.2, without dot segments).
pub fn joined(base: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Origin::of(location).map(|_| location.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if location.starts_with('?') {
        return Some(format!("{scheme}://{authority}{path}{location}"));
    }
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    Some(format!("{scheme}://{authority}{folder}{location}"))
}

/// Appends `NAME=VALUE` pairs, their values percent-encoded.
pub fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = url.to_owned();
    for (name, value) in pairs {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

/// For messages.
pub(super) fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_were_answered() {
        let base = "https://r.example:5000/v2/a/blobs/uploads/1?_state=x";
        for (location, expected) in [
            ("http://other.example/x?y", "http://other.example/x?y"),
            ("//other.example/x", "https://other.example/x"),
            ("/v2/b", "https://r.example:5000/v2/b"),
            ("2?z", "https://r.example:5000/v2/a/blobs/uploads/2?z"),
            ("?z", "https://r.example:5000/v2/a/blobs/uploads/1?z"),
        ] {
            assert_eq!(joined(base, location).as_deref(), Some(expected), "{location}");
        }
        assert_eq!(joined(base, "file:///etc/passwd"), None);
        assert_eq!(joined("https://r.example", "x").as_deref(), Some("https://r.example/x"));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = [("https://A.example/x", "https://a.example:443/y"), ("http://a/x", "http://a:80?q")];
        for (one, two) in same {
            assert_eq!(Origin::of(one), Origin::of(two));
        }
        let other = ["http://a.example", "https://a.example:444", "https://b.example", "https://u@a.example"];
        for url in other {
            assert_ne!(Origin::of(url), Origin::of("https://a.example"), "{url}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(with_query("http://a/b", &[("x", "a b&c"), ("y", "1:2")]), "http://a/b?x=a%20b%26c&y=1:2");
        assert_eq!(with_query("http://a/b?q", &[("x", "+")]), "http://a/b?q&x=%2B");
    }
}
