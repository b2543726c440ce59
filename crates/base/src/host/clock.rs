//! The clock: the only place that asks for the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970. Never part of an artifact: those carry the commit's time.
pub fn now() -> u64 {
    now_precise().as_secs()
}

/// Now, since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the door for the clock")]
pub fn now_precise() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long ago a time was; nothing for one to come.
pub fn age(time: SystemTime) -> Duration {
    (UNIX_EPOCH + now_precise()).duration_since(time).unwrap_or_default()
}

/// `2026-11-21T06:30:00Z` (RFC 3339, UTC).
pub fn rfc3339(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Of a time as RFC 3339 writes it.
pub fn seconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// `2026-11-21`, in UTC.
pub fn date(seconds: u64) -> String {
    rfc3339(seconds)[..10].to_owned()
}
