//! The form of Git tags: `{service}/v{version}`. Pure.

use std::fmt;
use std::str::FromStr;

use semver::Version;

/// A tag's form, with `{version}` once and `{service}` at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagForm(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{form}` is not a tag's form: {why}")]
pub struct TagFormError {
    form: String,
    why: &'static str,
}

/// What a tag of a form says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagged {
    Version(Version),
    /// In the place of the version stands something that looks like one and is none, or one with build
    /// metadata (`+`), which image tags can't hold.
    Invalid(String),
}

impl TagForm {
    /// Whether services have versions of their own.
    pub fn is_per_service(&self) -> bool {
        self.0.contains("{service}")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn render(&self, service: &str, version: &Version) -> String {
        // The version first: a service's name can't hold a brace, but nothing here relies on it.
        let (before, after) = self.parts(service);
        format!("{before}{version}{after}")
    }

    /// The version in a tag (without `refs/tags/`); `None` where the tag is not of this form, or names
    /// no whole version, as the moving `v1` and `v1.2` do not.
    pub fn parse(&self, service: &str, tag: &str) -> Option<Tagged> {
        let (before, after) = self.parts(service);
        let text = tag.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        match Version::parse(text) {
            Ok(version) if version.build.is_empty() => Some(Tagged::Version(version)),
            Ok(_) => Some(Tagged::Invalid(text.to_owned())),
            Err(_) if looks_whole(text) => Some(Tagged::Invalid(text.to_owned())),
            Err(_) => None,
        }
    }

    /// What stands before and after the version.
    fn parts(&self, service: &str) -> (String, String) {
        let (before, after) = self.0.split_once("{version}").unwrap_or((&self.0, ""));
        (before.replace("{service}", service), after.replace("{service}", service))
    }
}

/// Three or more parts of which the first is a number.
fn looks_whole(text: &str) -> bool {
    let mut parts = text.split('.');
    let number =
        parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    number && parts.count() >= 2
}

impl FromStr for TagForm {
    type Err = TagFormError;

    /// Takes what Git takes as a ref's name (`git help check-ref-format`), once filled in.
    fn from_str(form: &str) -> Result<Self, TagFormError> {
        let fault = |why| Err(TagFormError { form: form.to_owned(), why });
        if form.matches("{version}").count() != 1 {
            return fault("write `{version}` in it, once");
        }
        if form.matches("{service}").count() > 1 {
            return fault("`{service}` stands in it twice");
        }
        let filled = form.replacen("{version}", "1.0.0", 1).replacen("{service}", "service", 1);
        if filled.contains(['{', '}']) {
            return fault("it takes `{service}` and `{version}` only");
        }
        let refused = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\+".contains(c);
        let part = |part: &str| {
            part.is_empty() || part.starts_with('.') || part.ends_with(".lock") || part.ends_with('.')
        };
        if filled.contains(refused)
            || filled.contains("..")
            || filled.contains("@{")
            || filled.split('/').any(part)
        {
            return fault("Git takes no tag of this name");
        }
        if filled.starts_with('-') {
            return fault("a tag that starts with `-` reads as an option");
        }
        if form.contains("{version}{service}") || form.contains("{service}{version}") {
            return fault("nothing divides the service from the version");
        }
        Ok(Self(form.to_owned()))
    }
}

impl fmt::Display for TagForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(text: &str) -> TagForm {
        text.parse().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read(
            before in "[a-z]{0,3}", between in "[/_@-][a-z]{0,3}", service in "[a-z][a-z0-9-]{0,8}",
            major in 0u64..99, minor in 0u64..99, patch in 0u64..99, pre in "(|-rc\\.[1-9]|-beta-x\\.0\\.1a)",
            per_service: bool,
        ) {
            let version: Version = format!("{major}.{minor}.{patch}{pre}").parse().unwrap();
            let text = if per_service { format!("{before}{{service}}{between}{{version}}") } else { format!("{before}x{{version}}") };
            let form = form(&text);
            let tag = form.render(&service, &version);
            prop_assert_eq!(form.parse(&service, &tag), Some(Tagged::Version(version)));
        }
    }

    #[test]
    fn a_tag_of_another_form_says_nothing() {
        let form = form("{service}/v{version}");
        for tag in
            ["orders/v1.0.0", "gateway/1.0.0", "gateway/v1", "gateway/v1.2", "gateway/vnext", "v1.0.0", "-x"]
        {
            assert_eq!(form.parse("gateway", tag), None, "{tag}");
        }
        for tag in ["gateway/v1.0.0+linux", "gateway/v1.02.3", "gateway/v1.2.3.4", "gateway/v1.2.x"] {
            assert!(matches!(form.parse("gateway", tag), Some(Tagged::Invalid(_))), "{tag}");
        }
    }

    #[test]
    fn a_form_that_git_refuses_is_refused() {
        for text in [
            "v1",
            "{version}{version}",
            "{service}{version}",
            "{name}/v{version}",
            "a b{version}",
            "-{version}",
            "a//{version}",
            "a/.{version}",
            "{version}.lock",
            "v{version}+x",
            "{service}/{service}/{version}",
            "a..{version}",
        ] {
            assert!(text.parse::<TagForm>().is_err(), "{text}");
        }
        assert!(form("{service}/v{version}").is_per_service());
        assert!(!form("v{version}").is_per_service());
    }
}
