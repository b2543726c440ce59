//! This repository's `cargo xtask`: the engine's command line, plus the stages of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::main()
}
