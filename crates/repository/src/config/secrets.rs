//! What is named or looks like a secret: it would be in an image for everyone to read. Pure.
//!
//! A table of forms that issuers gave their tokens so that they can be found, looked for in the value
//! and in what it decodes to. It is a net for slips, no proof: a password without a form is only found
//! by its name.

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Words of a name that mean a secret; several are written together or apart.
const NAMES: &[&str] = &[
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PWD",
    "SECRET",
    "SECRETS",
    "CREDENTIAL",
    "CREDENTIALS",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "PRIVATEKEY",
    "ACCESS_KEY",
    "SECRET_KEY",
    "SIGNING_KEY",
    "ENCRYPTION_KEY",
    "AUTH_KEY",
    "MASTER_KEY",
    "DSN_PASS",
];
/// Words after which, or with which, a name speaks about a secret and does not hold one.
const HARMLESS: &[&str] = &[
    "URL",
    "URI",
    "FILE",
    "PATH",
    "DIR",
    "NAME",
    "LENGTH",
    "SIZE",
    "MIN",
    "MAX",
    "LIMIT",
    "TTL",
    "EXPIRY",
    "EXPIRES",
    "LIFETIME",
    "TIMEOUT",
    "AGE",
    "ISSUER",
    "AUDIENCE",
    "HEADER",
    "TYPE",
    "ENDPOINT",
    "HOST",
    "PORT",
    "ENABLED",
    "REQUIRED",
    "POLICY",
    "ALGORITHM",
    "PUBLIC",
    "PUBLISHABLE",
    "COUNT",
    "INTERVAL",
    "STORE",
    "PROVIDER",
    "BACKEND",
    "ID",
];

/// Whether a variable of this name holds a secret: by words, so that `TOKENIZER` and
/// `PASSWORD_FILE` don't.
pub fn is_named_secret(name: &str) -> bool {
    let words = words(name);
    let joined = format!("_{}_", words.join("_"));
    let harmless =
        words.last().is_some_and(|last| HARMLESS.contains(&last.as_str())) || joined.contains("_PUBLIC_");
    !harmless && NAMES.iter().any(|secret| joined.contains(&format!("_{secret}_")))
}

/// `dbPassword` and `DB_PASSWORD` → `DB`, `PASSWORD`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        let starts = lower && c.is_ascii_uppercase();
        lower = c.is_ascii_lowercase();
        if starts || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A token's form: after the prefix at least `least` characters of its alphabet; a digit among them where
/// the prefix says little.
struct Form {
    what: &'static str,
    prefixes: &'static [&'static str],
    alphabet: fn(u8) -> bool,
    least: usize,
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

fn base64_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

const FORMS: &[Form] = &[
    Form { what: "an AWS access key", prefixes: &["AKIA", "ASIA"], alphabet: upper, least: 16 },
    Form {
        what: "a GitHub token",
        prefixes: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        alphabet: alphanumeric,
        least: 30,
    },
    Form { what: "a GitHub token", prefixes: &["github_pat_"], alphabet: word, least: 22 },
    Form {
        what: "a GitLab token",
        prefixes: &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"],
        alphabet: word,
        least: 20,
    },
    Form {
        what: "a Slack token",
        prefixes: &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"],
        alphabet: word,
        least: 10,
    },
    Form {
        what: "a Slack webhook",
        prefixes: &["hooks.slack.com/services/"],
        alphabet: base64_digit,
        least: 20,
    },
    Form {
        what: "a Stripe key",
        prefixes: &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk-live-", "whsec_"],
        alphabet: word,
        least: 10,
    },
    Form { what: "an API key", prefixes: &["sk-"], alphabet: word, least: 20 },
    Form { what: "a Google key", prefixes: &["AIza", "ya29.", "GOCSPX-"], alphabet: word, least: 20 },
    Form { what: "an npm token", prefixes: &["npm_"], alphabet: alphanumeric, least: 30 },
    Form { what: "a PyPI token", prefixes: &["pypi-"], alphabet: word, least: 30 },
    Form {
        what: "a DigitalOcean token",
        prefixes: &["dop_v1_", "doo_v1_", "dor_v1_"],
        alphabet: hex,
        least: 40,
    },
    Form { what: "a SendGrid key", prefixes: &["SG."], alphabet: dotted, least: 40 },
    Form { what: "a Twilio key", prefixes: &["SK"], alphabet: hex, least: 32 },
    Form { what: "a Hugging Face token", prefixes: &["hf_"], alphabet: alphanumeric, least: 30 },
    Form { what: "a Docker Hub token", prefixes: &["dckr_pat_", "dckr_oat_"], alphabet: word, least: 20 },
    Form { what: "a Vault token", prefixes: &["hvs.", "hvb.", "hvr."], alphabet: word, least: 20 },
    Form {
        what: "a Shopify token",
        prefixes: &["shpat_", "shpss_", "shpca_", "shppa_"],
        alphabet: hex,
        least: 32,
    },
    Form { what: "a Grafana token", prefixes: &["glsa_", "glc_"], alphabet: word, least: 30 },
    Form { what: "an Atlassian token", prefixes: &["ATATT3", "ATCTT3"], alphabet: word, least: 40 },
    Form {
        what: "an Azure key",
        prefixes: &["AccountKey=", "SharedAccessKey="],
        alphabet: base64_digit,
        least: 40,
    },
    Form { what: "an age key", prefixes: &["AGE-SECRET-KEY-1"], alphabet: upper, least: 50 },
    Form { what: "a RubyGems key", prefixes: &["rubygems_"], alphabet: hex, least: 40 },
];

/// Characters of a token that are looked at.
const LONGEST: usize = 256;
/// Bytes of a value that are looked at, decodings counted: an image's variable holds no more.
const BYTES: usize = 512 * 1024;
/// Decodings looked at.
const VIEWS: usize = 64;
/// Decodings one upon the other.
const DEPTH: u32 = 3;

/// What a line of a file holds, if it holds a secret as it is written.
pub fn secret_in(line: &str) -> Option<&'static str> {
    plain(line)
}

/// What a value looks like, if it looks like a secret, in itself or decoded.
pub fn looks_like(value: &str) -> Option<&'static str> {
    let mut end = value.len().min(BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let mut views = vec![(value[..end].to_owned(), 0)];
    let (mut at, mut bytes) = (0, end);
    while let Some((view, depth)) = views.get(at).cloned() {
        if let Some(what) = plain(&view) {
            return Some(what);
        }
        let decoded = if depth < DEPTH { decodings(&view) } else { Vec::new() };
        for decoded in decoded {
            let new = !decoded.is_empty() && views.iter().all(|(known, _)| *known != decoded);
            if new && views.len() < VIEWS && bytes + decoded.len() <= 2 * BYTES {
                bytes += decoded.len();
                views.push((decoded, depth + 1));
            }
        }
        at += 1;
    }
    None
}

fn plain(text: &str) -> Option<&'static str> {
    let form = FORMS.iter().find(|form| form.prefixes.iter().any(|prefix| has_token(text, prefix, form)));
    if let Some(form) = form {
        return Some(form.what);
    }
    if text.contains("PRIVATE KEY-----")
        || text.contains("PRIVATE KEY BLOCK-----")
        || text.contains("PuTTY-User-Key-File")
    {
        return Some("a private key");
    }
    if json_web_token(text) {
        return Some("a JSON Web Token");
    }
    if bot_token(text) {
        return Some("a Telegram bot token");
    }
    if url_password(text) {
        return Some("a URL with a password");
    }
    aws_secret(text).then_some("an AWS secret key")
}

fn has_token(text: &str, prefix: &str, form: &Form) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let before = text[..at].bytes().next_back();
        let rest = text[at + prefix.len()..].bytes().take(LONGEST).take_while(|byte| (form.alphabet)(*byte));
        let rest: Vec<u8> = rest.collect();
        before.is_none_or(|byte| !byte.is_ascii_alphanumeric())
            && rest.len() >= form.least
            && (prefix.len() > 3 || rest.iter().any(u8::is_ascii_digit))
    })
}

/// Header and claims: base64 of JSON objects, a dot between (RFC 7519).
fn json_web_token(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let rest = &text.as_bytes()[at..];
        let header = rest.iter().take(8 * LONGEST).take_while(|byte| word(**byte)).count();
        let claims = rest.get(header + 1..).unwrap_or_default();
        header >= 10
            && rest.get(header) == Some(&b'.')
            && claims.starts_with(b"eyJ")
            && claims.iter().take(10).all(|byte| word(*byte))
            && claims.len() >= 10
    })
}

/// Digits, a colon, 35 characters.
fn bot_token(text: &str) -> bool {
    text.match_indices(':').any(|(at, _)| {
        let digits = text[..at].bytes().rev().take(11).take_while(u8::is_ascii_digit).count();
        let rest = text[at + 1..].bytes().take(36).take_while(|byte| word(*byte)).count();
        (8..=10).contains(&digits) && rest == 35
    })
}

/// `scheme://user:password@host`, where the password is no template's name.
fn url_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let authority = text[at + 3..].split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else { return false };
        user.split_once(':')
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(['{', '$', '<', '*']))
    })
}

/// 40 characters of base64, of all kinds, which stand alone.
fn aws_secret(text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '/' || c == '+' || c == '=')).any(|run| {
        let count = |kind: fn(&u8) -> bool| run.bytes().filter(kind).count();
        let run_of = run.rsplit('=').next().unwrap_or_default();
        run_of.len() == 40
            && !run_of.starts_with('/')
            && count(u8::is_ascii_uppercase) >= 4
            && count(u8::is_ascii_lowercase) >= 4
            && count(u8::is_ascii_digit) >= 1
            && (run_of.contains(['/', '+']) || count(u8::is_ascii_digit) >= 3)
    })
}

fn decodings(text: &str) -> Vec<String> {
    let mut decoded = vec![percent(text), escapes(text), entities(text)];
    // Base64 in lines.
    let joined: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if joined.len() != text.len() {
        decoded.push(joined);
    }
    for run in
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/_-".contains(c))).filter(|run| run.len() >= 16)
    {
        decoded.extend(base64(run));
        decoded.extend(
            run.split('/').filter(|part| part.len() >= 16 && part.len() < run.len()).filter_map(base64),
        );
        decoded.extend(hexadecimal(run));
    }
    decoded.retain(|decoded| decoded != text);
    decoded
}

fn printable(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()))
}

fn base64(run: &str) -> Option<String> {
    let alphabet: &Alphabet = if run.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    printable(GeneralPurpose::new(alphabet, config).decode(run).ok()?)
}

fn hexadecimal(run: &str) -> Option<String> {
    let run = run.strip_prefix("0x").unwrap_or(run);
    if !run.len().is_multiple_of(2) || !run.bytes().all(hex) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..run.len()).step_by(2).map(|at| u8::from_str_radix(run.get(at..at + 2)?, 16).ok()).collect();
    printable(bytes?)
}

/// Replaces each `lead`, after which `read` finds a byte's or character's number and its length.
fn replaced(text: &str, lead: char, read: impl Fn(&str) -> Option<(u32, usize)>) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(lead) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + lead.len_utf8()..];
        match read(rest) {
            Some((code, length)) if rest.is_char_boundary(length) => {
                match u8::try_from(code) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => bytes.extend(char::from_u32(code).unwrap_or('\u{fffd}').to_string().bytes()),
                }
                rest = &rest[length..];
            }
            _ => bytes.extend(lead.to_string().bytes()),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn radix(text: &str, length: usize, radix: u32) -> Option<u32> {
    u32::from_str_radix(text.get(..length)?, radix).ok()
}

/// `%41`, and `+` for a space does no harm.
fn percent(text: &str) -> String {
    replaced(text, '%', |rest| Some((radix(rest, 2, 16)?, 2)))
}

/// The escapes of JSON, C and shells: `\u0041`, `\x41`, `\n`, `\"`.
fn escapes(text: &str) -> String {
    replaced(text, '\\', |rest| match rest.as_bytes().first()? {
        b'u' => Some((radix(&rest[1..], 4, 16)?, 5)),
        b'x' => Some((radix(&rest[1..], 2, 16)?, 3)),
        b'n' | b'r' | b't' => Some((u32::from(b'\n'), 1)),
        b'0'..=b'3' => Some((radix(rest, 3, 8)?, 3)),
        other if other.is_ascii_punctuation() => Some((u32::from(*other), 1)),
        _ => None,
    })
}

/// `&#65;` and `&#x41;`
fn entities(text: &str) -> String {
    replaced(text, '&', |rest| {
        let (number, _) = rest.strip_prefix('#')?.split_once(';')?;
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        Some((code, number.len() + 2))
    })
}

#[cfg(test)]
mod tests;
