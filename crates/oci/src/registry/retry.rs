//! When to try again, and how long to wait before. Pure but for the sleep.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;

/// Bounds of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// After the first attempt. An attempt that moved bytes starts the count again.
    pub retries: u32,
    /// Before the first retry; doubled for each one after it.
    pub first: Duration,
    /// No wait is longer, whatever a server asks for.
    pub longest: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retries: 5, first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Policy {
    /// The wait before retry `number` (from 0): what the server asked for, else exponential with up
    /// to a half of jitter on top; clamped.
    pub fn wait(&self, number: u32, asked: Option<Duration>) -> Duration {
        let wait = asked.unwrap_or_else(|| {
            let plain = self.first.saturating_mul(1 << number.min(16));
            plain + plain.mul_f64(random() / 2.0)
        });
        wait.min(self.longest)
    }
}

/// From 0 to 1; only to keep clients apart.
fn random() -> f64 {
    let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (seed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Sleeps, and wakes when the run is told to stop.
pub fn sleep(wait: Duration, cancel: &Cancel) {
    let end = Instant::now() + wait;
    while !cancel.is_set() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// `Retry-After`: seconds, an HTTP date, or a duration as Go prints it, which some registries send.
/// `now`: seconds since 1970.
pub fn retry_after(text: &str, now: u64) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    if let Some(seconds) = seconds {
        return (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e9)));
    }
    go_duration(text).or_else(|| Some(Duration::from_secs(http_date(text)?.saturating_sub(now))))
}

/// `1h2m3.5s`, `35.852µs`
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (!text.is_empty() && f64::is_finite(total)).then(|| Duration::from_secs_f64(total.min(1e9)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), in seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, text) = text.split_once(", ")?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let time = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let seconds = Duration::from_secs_f64;
        for (text, expected) in [
            ("3", Some(seconds(3.0))),
            (" 0.5 ", Some(seconds(0.5))),
            ("86400", Some(seconds(86400.0))),
            ("35.852µs", Some(seconds(35.852e-6))),
            ("35.852μs", Some(seconds(35.852e-6))),
            ("1h2m3.5s", Some(seconds(3723.5))),
            ("250ms", Some(seconds(0.25))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(seconds(7.0))),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(seconds(0.0))),
            ("-1", None),
            ("inf", None),
            ("soon", None),
            ("5 parsecs", None),
            ("", None),
            ("Sun, 99 Foo 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(retry_after(text, 784_111_770), expected, "{text}");
        }
    }

    #[test]
    fn waits_grow_and_are_clamped() {
        let policy = Policy::default();
        for number in 0..40 {
            let plain = Duration::from_millis(500 << number.min(16));
            let wait = policy.wait(number, None);
            assert!(
                wait >= plain.min(policy.longest) && wait <= (plain * 3 / 2).min(policy.longest),
                "{wait:?}"
            );
        }
        assert_eq!(policy.wait(0, Some(Duration::from_secs(86_400))), policy.longest);
        assert_eq!(policy.wait(9, Some(Duration::ZERO)), Duration::ZERO);
    }
}
