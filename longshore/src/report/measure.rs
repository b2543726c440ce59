//! Durations, sizes and counts in the words of a person. Pure.

/// `0.4s`, `12s`, `2m 05s`, `1h 02m`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `512 B`, `12.3 MB`, `1.5 GB`: powers of a thousand, as registries count.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // In tenths of the unit, rounded: 999,950 bytes are 1.0 MB, not 1000.0 kB.
    let mut divisor = 100;
    for unit in UNITS {
        let tenths = (u128::from(count) + divisor / 2) / divisor;
        if tenths < 10_000 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        divisor *= 1000;
    }
    format!("{count} B")
}

/// `3.4 / 12.3 MB`, or `3.4 MB` where the whole is not known.
pub fn part(done: u64, total: Option<u64>) -> String {
    let done = bytes(done);
    let Some(total) = total.map(bytes) else { return done };
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} / {total}"),
        _ => format!("{done} / {total}"),
    }
}

/// `1 job`, `2 jobs`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let shown = [0, 449, 9_999, 10_000, 59_999, 125_000, 3_720_000].map(duration);
        assert_eq!(shown, ["0.0s", "0.4s", "9.9s", "10s", "59s", "2m 05s", "1h 02m"]);
    }

    #[test]
    fn sizes() {
        let shown = [0, 999, 1000, 12_345_678, 999_950, 999_949, 1_500_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "12.3 MB", "1.0 MB", "999.9 kB", "1.5 GB"]);
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(part(3_400_000, Some(12_300_000)), "3.4 / 12.3 MB");
        assert_eq!(part(999, Some(12_300_000)), "999 B / 12.3 MB");
        assert_eq!(part(999, None), "999 B");
    }
}
