use super::*;

/// Twenty values of the forms that their issuers give them; put together here, so that no scanner takes
/// this file for a leak.
fn values() -> Vec<String> {
    let digits = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v2";
    let hex = "0123456789abcdef".repeat(4);
    let claims = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let header = claims(r#"{"alg":"HS256","typ":"JWT"}"#);
    let form = |prefix: &[&str], rest: &str| format!("{}{rest}", prefix.concat());
    vec![
        form(&["AK", "IA"], "IOSFODNN7EXAMPLE"),
        form(&["wJalrXUtnFEMI/K7MDENG", "/bPxRfiCY"], "EXAMPLEKEY"),
        form(&["gh", "p_"], &digits[..36]),
        form(&["github", "_pat_"], &format!("{}_{}", &digits[..22], digits)),
        form(&["gl", "pat-"], &digits[..20]),
        form(&["xo", "xb-"], &format!("1234567890-{}", &digits[..24])),
        form(&["sk_", "live_"], &digits[..24]),
        form(&["sk-", "ant-api03-"], digits),
        form(&["AI", "za"], &digits[..35]),
        form(&["np", "m_"], &digits[..36]),
        form(&["py", "pi-"], digits),
        form(&["dop_", "v1_"], &hex),
        form(&["S", "G."], &format!("{}.{digits}", &digits[..22])),
        form(&["hf", "_"], &digits[..34]),
        form(&["dckr_", "pat_"], &digits[..27]),
        form(&["hv", "s."], &digits[..24]),
        form(&["12345", "67890:"], &digits[..35]),
        format!("{header}.{}.{}", claims(r#"{"sub":"1234567890","name":"shop"}"#), &digits[..43]),
        form(&["-----BEGIN ", "PRIVATE KEY-----\n"], &format!("{digits}\n-----END PRIVATE KEY-----\n")),
        form(&["postgres://", "shop:"], "s3cr3t@db.example.com/shop"),
    ]
}

fn each(value: &str, encode: impl Fn(u8) -> String) -> String {
    value.bytes().map(encode).collect()
}

fn lines(text: &str, length: usize) -> String {
    text.as_bytes().chunks(length).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect()
}

/// Twelve ways to write one value.
fn encodings(value: &str) -> Vec<(&'static str, String)> {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    vec![
        ("as it is", value.to_owned()),
        ("in single quotes", format!("'{value}'")),
        ("in JSON", serde_json::json!({ "credential": value }).to_string()),
        ("in a header", format!("Authorization: Bearer {value}")),
        ("base64", STANDARD.encode(value)),
        ("base64 for URLs", URL_SAFE_NO_PAD.encode(value)),
        ("base64 twice", STANDARD.encode(STANDARD.encode(value))),
        ("base64 in lines", lines(&STANDARD.encode(value), 19)),
        ("URL", each(value, |byte| format!("%{byte:02X}"))),
        ("hexadecimal", each(value, |byte| format!("{byte:02x}"))),
        ("JSON's escapes", each(value, |byte| format!("\\u{byte:04x}"))),
        ("HTML's escapes", each(value, |byte| format!("&#{byte};"))),
    ]
}

#[test]
fn twenty_values_are_found_in_twelve_encodings() {
    let values = values();
    assert_eq!(values.len(), 20);
    let mut missed = Vec::new();
    for value in &values {
        let encodings = encodings(value);
        assert_eq!(encodings.len(), 12);
        for (name, text) in encodings {
            if looks_like(&text).is_none() {
                missed.push(format!("{name}: {text}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn what_is_no_secret_passes() {
    for value in [
        "",
        "development",
        "8080",
        "http://orders:8080",
        "mysql://{DB_HOST}/shop",
        "postgres://{DB_USER}:{DB_WORD}@db/shop",
        "https://example.com/a/long/path/with/Some/Capitals/And1Digit?x=1&y=2",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "4f1c2a34-8d9e-4b61-9f0e-0d9a6c1d2e3f",
        "us-central1-docker.pkg.dev/shop/images",
        "sk-SK,en-GB;q=0.8",
        "/Users/Someone/Documents/Project1/files",
        "a sentence, with words that are rather long: internationalization 2026",
        "SGVsbG8sIHdvcmxkISBUaGlzIGlzIGZpbmUu",
        "$(id)\n-x `y` %41%42 \\u0041",
        "user@example.com:22",
    ] {
        assert_eq!(looks_like(value), None, "{value}");
    }
}

#[test]
fn names_are_judged_by_their_words() {
    for name in [
        "API_TOKEN",
        "DB_PASSWORD",
        "dbPassword",
        "SECRET",
        "STRIPE_SECRET_KEY",
        "PRIVATE_KEY",
        "API_KEY",
        "APIKEY",
        "AWS_SECRET_ACCESS_KEY",
        "GCP_CREDENTIALS",
        "PASSWORD_PROD",
        "GITHUB_TOKEN",
        "token",
    ] {
        assert!(is_named_secret(name), "{name}");
    }
    for name in [
        "APP_ENV",
        "TOKENIZER",
        "MAX_TOKENS",
        "PASSWORD_FILE",
        "TOKEN_URL",
        "SECRET_NAME",
        "KEY",
        "CACHE_KEY_PREFIX",
        "PASSWORD_MIN_LENGTH",
        "NEXT_PUBLIC_API_KEY",
        "SECRETARY",
        "COMPASS",
    ] {
        assert!(!is_named_secret(name), "{name}");
    }
}

#[test]
fn a_long_value_ends_soon() {
    for unit in ["AKIA", "eyJ", "eyJa.", "SK0", "1:", "://", "%41", "a ", "\\u0041", "QUJDREVGRw/"] {
        let _ = looks_like(&unit.repeat(100_000 / unit.len()));
    }
}

proptest::proptest! {
    #[test]
    fn no_value_panics(value in "(?s).{0,200}", lead in "[%\\\\&]", tail in "\\PC{0,6}") {
        let _ = looks_like(&format!("{value}{lead}{tail}"));
        let _ = is_named_secret(&value);
    }
}
