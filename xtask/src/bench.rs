//! `cargo xtask bench`: Longshore beside the tools that do the same work, on repositories made for it.
//!
//! Every number of a table is of one run. The tools take turns and who begins changes with each round, so that a
//! machine that does something else too is unfair to all of them. A tool that this machine lacks is left out, and
//! that is said.

mod document;
mod layers;
mod measure;
mod registry;
mod source;
mod table;
mod tools;
mod work;
mod workload;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use longshore::extension::Context;
use longshore::report;

use table::Table;
use tools::Peers;
use work::Work;
use workload::{Kind, Workload};

/// What `--help` of all commands says.
pub(crate) const ABOUT: &str =
    "Measure Longshore beside go build, ko and GoReleaser, on generated repositories";

/// Measure Longshore beside go build, ko and GoReleaser, on generated repositories.
///
/// Needs Go and Git, and the network the first time: for the peers, which are built into the user's cache, and for
/// the modules that the generated services import.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many services the repository has (may be repeated, or a list with commas); 1, 8, 64 and 256 without
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=2000))]
    services: Vec<u16>,
    /// Only this work (may be repeated, or a list with commas)
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    only: Vec<Work>,
    /// One round of what is cold, three of what is not, 1 and 8 services unless --services says else
    #[arg(long)]
    quick: bool,
    /// Rounds of what is cold
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    cold: u16,
    /// Rounds of everything else
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    warm: u16,
    /// Put the results into docs/benchmarks.md, each in the place of those of the same work and size
    #[arg(long)]
    write: bool,
}

/// What a process below the command runs, where `words` say that this is one.
pub(crate) fn child(words: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = words.split_first()?;
    let ended = match first.to_str()? {
        measure::WORD => measure::child(rest),
        layers::WORD => layers::child(rest),
        _ => return None,
    };
    Some(ended.map_or_else(
        |error| {
            report::note(&format!("error: {error:#}"));
            ExitCode::from(1)
        },
        ExitCode::from,
    ))
}

/// Between two measurements an interrupt is seen, so that no folder and no registry is left behind.
pub(crate) fn run(context: &Context, mut options: Options) -> anyhow::Result<()> {
    let environment = &context.environment;
    let sizes: &[u16] = if options.quick { &[1, 8] } else { &[1, 8, 64, 256] };
    if options.quick {
        (options.cold, options.warm) = (1, 3);
    }
    if options.services.is_empty() {
        options.services = sizes.to_vec();
    }
    let peers = Peers::find(environment)?;
    for services in &options.services {
        for kind in [Kind::Plain, Kind::Vendored] {
            measure_all(&options, usize::from(*services), kind, &peers, context)?;
        }
    }
    Ok(())
}

/// Every work that is asked for on one repository.
fn measure_all(
    options: &Options,
    services: usize,
    kind: Kind,
    peers: &Peers,
    context: &Context,
) -> anyhow::Result<()> {
    let all = Work::ALL.into_iter();
    let works: Vec<Work> =
        all.filter(|work| work.kind() == kind && wanted(options, *work, services)).collect();
    if works.is_empty() {
        return Ok(());
    }
    let workload = Workload::new(services, kind, &context.environment)?;
    if !works.iter().any(|work| work.is_cold()) {
        workload.compile()?;
    }
    for work in works {
        let size = report::measure::plural(workload.services, "service");
        report::note(&format!("{size}: {}", work.title()));
        let rounds = if work.is_cold() { options.cold } else { options.warm };
        let table = work.measure(&workload, peers, rounds, &context.cancel)?;
        report::result(&format!("### {}\n\n{}", table.heading(), table.render()));
        if options.write {
            write(&table)?;
        }
    }
    Ok(())
}

/// The vendored module takes minutes to compile and says the same at any size: unasked, at one alone.
fn wanted(options: &Options, work: Work, services: usize) -> bool {
    let unasked = options.only.is_empty() && (work.kind() == Kind::Plain || services == 8);
    unasked || options.only.contains(&work)
}

/// At once: what comes later may take hours, or fail.
fn write(table: &Table) -> anyhow::Result<()> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md"));
    let before = std::fs::read_to_string(path).unwrap_or_default();
    longshore::host::files::write(path, document::merged(&before, table).as_bytes())
}
