//! This repository's `cargo xtask`: the engine's command line, and `bench`.

mod bench;

use std::process::ExitCode;

use longshore::Longshore;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let command = || Longshore::new().command_with("bench", bench::ABOUT, bench::run).main();
    bench::child(&words).unwrap_or_else(command)
}
