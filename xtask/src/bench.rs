//! `cargo xtask bench`: Longshore beside the tools that do the same work, on repositories made for it.
//!
//! Every number of a table is of one run. The tools take turns and who begins changes with each round, so that a
//! machine that does something else too is unfair to all of them. A tool that this machine lacks is left out, and
//! that is said.

mod document;
mod layers;
mod measure;
mod registry;
mod table;
mod tools;
mod work;
mod workload;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use longshore::cancel::Cancel;
use longshore::fault::{Exit, exit_of};
use longshore::host::environment::Environment;
use longshore::host::signal::Signals;
use longshore::report;

use table::Table;
use tools::Peers;
use work::Work;
use workload::Workload;

/// Measure Longshore beside go build, ko and GoReleaser, on generated repositories.
///
/// Needs Go and Git, and the network the first time: for the peers, which are built into the user's cache, and for
/// the modules that the generated services import.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Options {
    /// How many services the repository has (may be repeated, or a list with commas)
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8, 64, 256], value_parser = clap::value_parser!(u16).range(1..=2000))]
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

/// Runs the command of this process.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let name = OsString::from("cargo xtask bench");
    let options = match Options::try_parse_from(std::iter::once(&name).chain(words)) {
        Ok(options) => options,
        Err(error) => {
            // Help is no error; a closed pipe is none of ours.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    let environment = Environment::from_process();
    let cancel = Cancel::default();
    // Between two measurements, so that no folder and no registry is left behind.
    let _signals = Signals::listen(&cancel);
    let ended = run(options, words, &environment, &cancel);
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if let Some(signal) = cancel.signal() {
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(1));
    }
    report::note(&format!("error: {error:#}"));
    ExitCode::from(exit_of(&error) as u8)
}

fn run(
    mut options: Options,
    words: &[OsString],
    environment: &Environment,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    if options.quick {
        (options.cold, options.warm) = (1, 3);
        if !words.iter().any(|word| word.to_string_lossy().starts_with("--services")) {
            options.services = vec![1, 8];
        }
    }
    let peers = Peers::find(environment)?;
    for services in &options.services {
        let workload = Workload::new(usize::from(*services), environment)?;
        let works: Vec<Work> = Work::ALL.into_iter().filter(|work| wanted(&options, *work)).collect();
        if !works.iter().any(|work| work.is_cold()) {
            workload.compile()?;
        }
        for work in works {
            let size = report::measure::plural(workload.services, "service");
            report::note(&format!("{size}: {}", work.title()));
            let rounds = if work.is_cold() { options.cold } else { options.warm };
            let table = work.measure(&workload, &peers, rounds, cancel)?;
            report::result(&format!("### {}\n\n{}", table.heading(), table.render()));
            if options.write {
                write(&table)?;
            }
        }
    }
    Ok(())
}

fn wanted(options: &Options, work: Work) -> bool {
    options.only.is_empty() || options.only.contains(&work)
}

/// At once: what comes later may take hours, or fail.
fn write(table: &Table) -> anyhow::Result<()> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md"));
    let before = std::fs::read_to_string(path).unwrap_or_default();
    longshore::host::files::write(path, document::merged(&before, table).as_bytes())
}
