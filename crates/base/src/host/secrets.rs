//! Values that must not be shown, and their removal from what is. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// Shorter values are not looked for: they occur everywhere by chance.
const SHORTEST: usize = 4;

/// Secret values in every encoding in which a tool is likely to print them. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Option<Arc<[String]>>);

impl Secrets {
    /// Of `values`: each as it is, its lines (a key file is printed a line at a time), and both in base64
    /// (at any offset), hexadecimal, percent-encoding, and escaped as in JSON, Go, HTML and a shell.
    /// Values and lines of fewer than four bytes are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for value in values {
            for part in std::iter::once(value).chain(value.lines()) {
                let part = part.trim();
                if part.len() >= SHORTEST {
                    needles.extend(encodings(part));
                }
            }
        }
        needles.retain(|needle| needle.len() >= SHORTEST);
        // The longest first: a secret within another must not leave the other's rest.
        needles.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self((!needles.is_empty()).then(|| needles.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// `text` with [`MASK`] in place of every secret.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for needle in self.0.iter().flat_map(|needles| needles.iter()) {
            if text.contains(needle.as_str()) {
                text = Cow::Owned(text.replace(needle.as_str(), MASK));
            }
        }
        text
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.as_ref().map_or(0, |needles| needles.len()))
    }
}

fn encodings(value: &str) -> Vec<String> {
    let percent = |upper: bool, keep: &str| -> String {
        value
            .bytes()
            .map(|byte| match byte {
                _ if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte) => {
                    char::from(byte).to_string()
                }
                _ if upper => format!("%{byte:02X}"),
                _ => format!("%{byte:02x}"),
            })
            .collect()
    };
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        value.to_owned(),
        // Go's encoder escapes these three in JSON.
        json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"),
        json.replace('/', "\\/"),
        json,
        percent(true, "-_.~"),
        percent(false, "-_.~"),
        percent(true, "-_.~!$&'()*+,;=:@/"),
        percent(true, "-_.~ ").replace(' ', "+"),
        value.replace('\'', r"'\''"),
        html.replace('"', "&#34;").replace('\'', "&#39;"),
        html.replace('"', "&quot;").replace('\'', "&#x27;"),
        hex.to_uppercase(),
        hex,
    ];
    all.extend((0..3).flat_map(|offset| base64_inside(value.as_bytes(), offset)));
    all
}

/// What `value` looks like in base64 when `offset` bytes (modulo three) stand before it: the characters
/// that no neighbour has a part in.
fn base64_inside(value: &[u8], offset: usize) -> [String; 2] {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let first = (offset * 4).div_ceil(3);
    let last = bytes.len() * 4 / 3;
    let cut = |text: String| text.get(first..last).unwrap_or_default().to_owned();
    [cut(STANDARD_NO_PAD.encode(&bytes)), cut(URL_SAFE_NO_PAD.encode(&bytes))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_what_tools_make_of_it() {
        let secret = "p&s's/w\"ö+rd?>~";
        let secrets = Secrets::new([secret]);
        let basic = format!("user:{secret}");
        for shown in [
            format!("password {secret}."),
            format!("{:?}", secret),
            serde_json::to_string(secret).unwrap(),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            STANDARD_NO_PAD.encode(&basic),
            STANDARD_NO_PAD.encode(format!("a{basic}\n")),
            format!("'{}'", secret.replace('\'', r"'\''")),
            "p%26s%27s%2Fw%22%C3%B6%2Brd%3F%3E~".to_owned(),
            "p\\u0026s's/w\\\"ö+rd?\\u003e~".to_owned(),
            "p&amp;s&#39;s/w&#34;ö+rd?&gt;~".to_owned(),
            "70267327732f7722c3b62b72643f3e7e".to_owned(),
        ] {
            let redacted = secrets.redact(&shown);
            assert!(redacted.contains(MASK), "{shown}");
            assert!(redacted.len() < MASK.len() + 20, "{redacted}");
        }
    }

    #[test]
    fn the_lines_of_a_key_are_secrets_too() {
        let secrets = Secrets::new(["-----BEGIN KEY-----\nMIIBVgIBADANBg\n-----END KEY-----\n"]);
        assert_eq!(secrets.redact("cat: MIIBVgIBADANBg"), "cat: ***");
    }

    #[test]
    fn without_secrets_nothing_is_copied() {
        assert!(matches!(Secrets::default().redact("text"), Cow::Borrowed("text")));
        assert!(Secrets::new(["", "abc"]).is_empty());
    }

    #[test]
    fn a_secret_in_another_leaves_no_rest() {
        assert_eq!(Secrets::new(["hunter", "hunter-two"]).redact("hunter-two hunter"), "*** ***");
    }
}
