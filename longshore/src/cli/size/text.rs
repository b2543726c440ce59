//! The explanation as tables. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::program::{Compared, Program};
use super::{Explanation, Image};
use crate::facts::go::executable::{Kind, Part};
use crate::report::measure::{bytes, plural};
use crate::report::table::{self, Side};

/// Parts that are smaller, of the whole, and have not changed by [`CHANGED`] bytes are summed up where there are
/// more than [`FEW`].
const SMALL: f64 = 0.01;
const CHANGED: u64 = 1000;
const FEW: usize = 8;

pub(super) fn render(explanation: &Explanation) -> String {
    let Explanation { service, version, previous, platforms, .. } = explanation;
    let mut text = String::new();
    for (platform, image) in platforms {
        let _ = writeln!(text, "{service} {version} for {platform}: {}", bytes(image.size));
        if let (Some(version), Some(old)) = (previous, image.previous) {
            let _ = writeln!(text, "  {version} had {}: {}", bytes(old), change(image.size, old));
        }
        let since = previous.as_ref().map(|version| format!("since {version}"));
        text.push_str(&layers(image, since.as_deref()));
        text.push('\n');
        match &image.program {
            Some(found) => text.push_str(&program(found, since.as_deref())),
            None => text.push_str("what it starts is no Go executable with a table of functions\n"),
        }
        text.push('\n');
    }
    text
}

fn layers(image: &Image, since: Option<&str>) -> String {
    let mut head = vec![
        ("layer", Side::Left),
        ("compressed", Side::Right),
        ("unpacked", Side::Right),
        ("files", Side::Right),
        ("largest", Side::Left),
    ];
    let compared = image.layers.iter().any(|layer| layer.previous.is_some());
    if let Some(since) = since.filter(|_| compared) {
        head.insert(2, (since, Side::Right));
    }
    let rows: Vec<Vec<String>> = image
        .layers
        .iter()
        .map(|layer| {
            let of = if layer.base { "base" } else { "own" };
            let mut row = vec![of.to_owned(), bytes(layer.compressed)];
            if compared {
                row.push(layer.previous.map_or_else(String::new, |old| change(layer.compressed, old)));
            }
            let contents = &layer.contents;
            row.extend([bytes(contents.unpacked), contents.files.to_string()]);
            row.extend(contents.largest.iter().map(|(path, size)| format!("{path} {}", bytes(*size))));
            row
        })
        .collect();
    table::render(&head, &rows)
}

/// Sums of several parts, or one.
#[derive(Clone, Copy, Default)]
struct Sum {
    size: u64,
    previous: Option<u64>,
}

impl Sum {
    fn of<'a>(parts: impl IntoIterator<Item = &'a Compared>) -> Self {
        parts.into_iter().fold(Self::default(), |sum, found| Self {
            size: sum.size + found.part.size,
            previous: found.previous.map(|old| old + sum.previous.unwrap_or(0)).or(sum.previous),
        })
    }

    fn row(self, name: String, whole: u64) -> Vec<String> {
        let share = format!("{:.1}%", 100.0 * self.size as f64 / whole.max(1) as f64);
        let mut row = vec![name, bytes(self.size), share];
        row.extend(self.previous.map(|old| change(self.size, old)));
        row
    }
}

fn program(found: &Program, since: Option<&str>) -> String {
    let mut head = vec![("part", Side::Left), ("size", Side::Right), ("share", Side::Right)];
    head.extend(since.filter(|_| found.previous.is_some()).map(|since| (since, Side::Right)));
    let is = |kind: Kind| found.parts.iter().filter(move |compared| compared.part.kind == kind);
    let mut modules: BTreeMap<&str, Vec<&Compared>> = BTreeMap::new();
    for package in is(Kind::Package) {
        modules.entry(&package.part.module).or_default().push(package);
    }
    let mut modules: Vec<(&str, Vec<&Compared>)> = modules.into_iter().collect();
    modules.sort_by_key(|(_, packages)| std::cmp::Reverse(Sum::of(packages.iter().copied()).size));
    let mut rows = vec![Sum::of(is(Kind::Package)).row("code".to_owned(), found.size)];
    for (module, packages) in modules {
        rows.push(Sum::of(packages.iter().copied()).row(format!("  {module}"), found.size));
        rows.extend(shown("    ", "package", packages, found.size));
    }
    rows.extend(shown("", "section", is(Kind::Section).collect(), found.size));
    let mut text = format!("{}: {}", found.path, bytes(found.size));
    if let Some(old) = found.previous {
        let _ = write!(text, " ({})", change(found.size, old));
    }
    let go = found.go.as_deref().map_or_else(String::new, |go| format!(", {go}"));
    let packages = is(Kind::Package).filter(|package| package.part.size > 0).count();
    let _ =
        writeln!(text, "{go}, {} of {}", plural(found.functions, "function"), plural(packages, "package"));
    text.push_str(&table::render(&head, &rows));
    text
}

/// A module's packages or the sections, the largest first, many small ones in one row.
fn shown(indent: &str, noun: &str, mut parts: Vec<&Compared>, whole: u64) -> Vec<Vec<String>> {
    parts.sort_by_key(|found| std::cmp::Reverse(found.part.size));
    let row = |found: &&Compared| Sum::of([*found]).row(format!("{indent}{}", name(&found.part)), whole);
    let changed =
        |found: &Compared| found.previous.is_some_and(|old| old.abs_diff(found.part.size) >= CHANGED);
    let (large, small): (Vec<&Compared>, Vec<&Compared>) =
        parts.iter().partition(|found| found.part.size as f64 >= SMALL * whole as f64 || changed(found));
    if small.len() <= FEW {
        return parts.iter().map(row).collect();
    }
    let mut rows: Vec<Vec<String>> = large.iter().map(row).collect();
    let rest = plural(small.len(), &format!("smaller {noun}"));
    rows.push(Sum::of(small).row(format!("{indent}{rest}"), whole));
    rows
}

fn name(part: &Part) -> String {
    match (part.kind, part.name.as_str()) {
        (Kind::Section, name @ ("symbols" | "debug information")) => {
            format!("{name} (`-s -w` in ldflags leaves them out)")
        }
        (Kind::Section, name) if name.ends_with("pclntab") => format!("{name} (functions, files and lines)"),
        (Kind::Section, name @ (".rodata" | ".rdata")) => {
            format!("{name} (constants, types, embedded files)")
        }
        (Kind::Section, ".text") => ".text (what is not Go's, room between functions)".to_owned(),
        (_, name) => name.to_owned(),
    }
}

/// `+1.2 kB`, `-3 B`, `=`.
fn change(now: u64, before: u64) -> String {
    match now.cmp(&before) {
        std::cmp::Ordering::Equal => "=".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", bytes(now - before)),
        std::cmp::Ordering::Less => format!("-{}", bytes(before - now)),
    }
}
