//! Samples as a table: medians with their spread, and ratios of the two measurements of one round.

use std::fmt::Write as _;

use longshore::host::clock;
use longshore::report::measure;

use super::measure::{Sample, command, succeed};
use super::work::Work;

/// One work on one repository. The first row is what the others are compared with.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) work: Work,
    pub(super) services: usize,
    pub(super) rows: Vec<Row>,
    pub(super) load: String,
    pub(super) peers: String,
}

#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    pub(super) samples: Vec<Sample>,
}

impl Row {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, samples: Vec::new() }
    }
}

impl Table {
    pub(super) fn heading(&self) -> String {
        format!("{}, {}", measure::plural(self.services, "service"), self.work.title())
    }

    /// Markdown, with a line of how it was made.
    pub(super) fn render(&self) -> String {
        let Some(first) = self.rows.first() else {
            return "Left out: this machine lacks what it needs.\n".to_owned();
        };
        let mut text = format!(
            "| | time | {} takes, of it | processors | own memory | largest process |\n|---|---|---|---|---|---|\n",
            first.name
        );
        for (at, row) in self.rows.iter().enumerate() {
            let of = |value: fn(&Sample) -> f64| row.samples.iter().map(value).collect::<Vec<_>>();
            let ratios: Vec<f64> = first
                .samples
                .iter()
                .zip(&row.samples)
                .map(|(one, other)| one.seconds / other.seconds)
                .collect();
            let ratio = if at == 0 { String::new() } else { spread(&ratios, |ratio| format!("{ratio:.2}")) };
            let peak = |value: fn(&Sample) -> u64| {
                let most = row.samples.iter().map(value).max().unwrap_or_default();
                // One that ended before anybody looked.
                if most == 0 { String::new() } else { measure::bytes(most) }
            };
            // A string takes everything.
            let _ = writeln!(
                text,
                "| {} | {} | {ratio} | {} | {} | {} |",
                row.name,
                spread(&of(|sample| sample.seconds), seconds),
                seconds(median(&of(|sample| sample.processor))),
                peak(|sample| sample.own),
                peak(|sample| sample.largest),
            );
        }
        let _ = writeln!(text, "\n{}", self.caption());
        text
    }

    fn caption(&self) -> String {
        let go = succeed(command("go").arg("env").arg("GOVERSION")).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let load = self.load.split(' ').next().unwrap_or_default();
        let rounds = self.rows.iter().map(|row| row.samples.len()).max().unwrap_or_default();
        let peers = if self.peers.is_empty() { String::new() } else { format!(", {}", self.peers) };
        format!(
            "{}, {}, {cores} cores, load {load} before, {}{peers}.",
            clock::date(clock::now()),
            measure::plural(rounds, "round"),
            go.trim()
        )
    }
}

/// `median (least to most)`.
fn spread(values: &[f64], show: impl Fn(f64) -> String) -> String {
    let sorted = sorted(values);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) if sorted.len() > 1 => {
            format!("{} ({} to {})", show(median(values)), show(*least), show(*most))
        }
        (Some(only), _) => show(*only),
        _ => String::new(),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    sorted(values).get(values.len() / 2).copied().unwrap_or_default()
}

fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{:.0} ms", time * 1e3) } else { format!("{time:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_one_round_and_medians_stand_before_their_spread() {
        let sample =
            |seconds| Sample { seconds, processor: 2.0 * seconds, own: 20_000_000, largest: 90_000_000 };
        let row = |name, times: &[f64]| Row { name, samples: times.iter().copied().map(sample).collect() };
        let rows = vec![row("ours", &[1.0, 2.0, 4.0]), row("theirs", &[2.0, 8.0, 4.0])];
        let table = Table {
            work: Work::Cold,
            services: 8,
            rows,
            load: "1.5 1 1".to_owned(),
            peers: "ko 1".to_owned(),
        };
        let text = table.render();
        assert!(
            text.contains("| ours | 2.00 s (1.00 s to 4.00 s) |  | 4.00 s | 20.0 MB | 90.0 MB |"),
            "{text}"
        );
        assert!(text.contains("| theirs | 4.00 s (2.00 s to 8.00 s) | 0.50 (0.25 to 1.00) |"), "{text}");
        assert!(text.contains("3 rounds, ") && text.contains("load 1.5 before"), "{text}");
        assert_eq!(seconds(0.0123), "12 ms");
    }
}
