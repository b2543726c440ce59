//! Stages that run the services' own code, with the real tools.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod gotools;
mod harness;
mod installing;
mod scanner;
mod verify;
