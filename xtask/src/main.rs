//! This repository's `cargo xtask`: the engine's command line, and `bench`.

mod bench;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match words.split_first() {
        Some((first, rest)) if first == "bench" => bench::main(rest),
        _ => bench::child(&words).unwrap_or_else(longshore::main),
    }
}
