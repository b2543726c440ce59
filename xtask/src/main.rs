//! This repository's `cargo xtask`: the engine's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::main()
}
