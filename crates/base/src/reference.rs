//! References to images: `HOST[:PORT]/PATH[:TAG][@DIGEST]` (distribution's reference grammar). Pure.
//!
//! The host is always written: a name without one would mean another image on another machine.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

/// Where an image lies: a registry's host and the path in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// `HOST[:PORT]`, as written.
    pub host: String,
    /// Components joined by `/`, without the host.
    pub path: String,
}

/// A tag: at most 128 of `[A-Za-z0-9_.-]`, not starting with `.` or `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A repository with the image in it: a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("`{0}` names no registry: write HOST/PATH, as `docker.io/library/alpine`")]
    NoHost(String),
    #[error("`{host}` in `{text}` is not a host: write HOST or HOST:PORT, without a scheme")]
    Host { host: String, text: String },
    #[error(
        "`{component}` in `{text}` is not part of a repository's name: lowercase letters and digits, \
         separated by one of `.`, `_`, `__` or dashes"
    )]
    Component { component: String, text: String },
    #[error("`{0}` is longer than the 255 characters that a repository's name may have")]
    Long(String),
    #[error(
        "`{0}` is not a tag: at most 128 letters, digits, `_`, `.` and `-`, the first of them no `.` or `-`"
    )]
    Tag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Repository {
    /// # Errors
    /// [`ReferenceError`] where host or path are not of the grammar.
    pub fn new(host: &str, path: &str) -> Result<Self, ReferenceError> {
        let text = format!("{host}/{path}");
        if !is_host(host) {
            return Err(ReferenceError::Host { host: host.to_owned(), text });
        }
        if let Some(component) = path.split('/').find(|component| !is_component(component)) {
            return Err(ReferenceError::Component { component: component.to_owned(), text });
        }
        if text.len() > 255 {
            return Err(ReferenceError::Long(text));
        }
        Ok(Self { host: host.to_owned(), path: path.to_owned() })
    }

    /// `HOST/PATH/NAME`.
    ///
    /// # Errors
    /// [`ReferenceError`] where `name` is not of the grammar.
    pub fn join(&self, name: &str) -> Result<Self, ReferenceError> {
        Self::new(&self.host, &format!("{}/{name}", self.path))
    }

    pub fn tagged(&self, tag: &Tag) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag.clone()), digest: None }
    }

    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest.clone()) }
    }
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A host name, IPv4 or bracketed IPv6 address, with a port by choice.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `[a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| s.is_empty() || matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.split(alphanumeric).all(separator)
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = (1..=128).contains(&text.len())
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
            && text.bytes().next().is_some_and(word);
        if valid { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Tag(text.to_owned())) }
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// `HOST[:PORT]/PATH`
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let Some((host, path)) = text.split_once('/') else {
            return Err(ReferenceError::NoHost(text.to_owned()));
        };
        // Distribution's rule for what is a host and not the first part of a path on Docker Hub.
        if !(host.contains(['.', ':']) || host == "localhost" || host.contains(char::is_uppercase)) {
            return Err(ReferenceError::NoHost(text.to_owned()));
        }
        Self::new(host, path)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if !name.contains('/') {
            return Err(ReferenceError::NoHost(text.to_owned()));
        }
        let tag = tag.map(str::parse).transpose()?;
        Ok(Self { repository: name.parse()?, tag, digest })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_read_and_write_the_same() {
        for text in [
            "docker.io/library/alpine",
            "localhost/a",
            "127.0.0.1:5000/storefront/gateway:1.2.3",
            "[::1]:5000/a/b:x",
            "registry.example.com/team/a__b.c-d---e_f:v1.0_ENV.x",
            "Host/a",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
            let pinned = format!("{text}@{DIGEST}");
            assert_eq!(pinned.parse::<Reference>().unwrap().to_string(), pinned);
        }
    }

    #[test]
    fn faults_say_which_part_is_wrong() {
        for (text, part) in [
            ("alpine", "names no registry"),
            ("alpine:3", "names no registry"),
            ("library/alpine", "names no registry"),
            ("localhost:5000", "names no registry"),
            ("https://example.com/a", "is not a host"),
            ("-x.example/a", "is not a host"),
            ("example.com:0/a", "is not a host"),
            ("example.com:99999/a", "is not a host"),
            ("[::g]/a", "is not a host"),
            ("example.com/A", "`A` in"),
            ("example.com/a..b", "`a..b` in"),
            ("example.com/../b", "`..` in"),
            ("example.com/a//b", "`` in"),
            ("example.com/a___b", "`a___b` in"),
            ("example.com/a:", "is not a tag"),
            ("example.com/a:-x", "is not a tag"),
            ("example.com/a:1.0+x", "is not a tag"),
            ("example.com/a@sha256:12", "is not a digest"),
        ] {
            let fault = text.parse::<Reference>().unwrap_err().to_string();
            assert!(fault.contains(part), "{text}: {fault}");
        }
        let long = format!("example.com/{}", "a".repeat(250));
        assert!(matches!(long.parse::<Reference>(), Err(ReferenceError::Long(_))));
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }
}
