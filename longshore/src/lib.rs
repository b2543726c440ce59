//! Longshore: a declarative release pipeline for Go services.
//!
//! Modules in reading order:
//!
//! 1. what the user wrote: [`config`], reported by [`diagnostic`];
//! 2. what is true: [`facts`] (Git, Go, the remote, the tools), gathered first and only there;
//! 3. what follows, pure: [`version`], [`affected`], [`resolve`], [`plan`];
//! 4. what is done: [`stage`] makes jobs, [`execute`] runs them, [`journal`] remembers them;
//! 5. what stays: [`oci`], [`cache`], [`verdict`], [`ledger`];
//! 6. what is shown: [`event`], [`report`];
//! 7. the only doors to the outside: [`host`].
//!
//! The invariants that hold between them are in ARCHITECTURE.md.

pub mod affected;
pub mod artifacts;
pub mod cache;
pub mod cancel;
pub mod cli;
pub mod closure;
pub mod config;
pub mod diagnostic;
pub mod doctor;
pub mod event;
pub mod execute;
pub mod facts;
pub mod fault;
pub mod fingerprint;
pub mod gather;
pub mod host;
pub mod journal;
pub mod ledger;
pub mod oci;
pub mod pipeline;
pub mod plan;
pub mod platform;
pub mod release;
pub mod report;
pub mod resolve;
pub mod results;
pub mod session;
pub mod stage;
pub mod status;
pub mod tools;
pub mod verdict;
pub mod version;
pub mod workspace;

/// Runs the command line of this process and returns its exit code.
pub fn main() -> std::process::ExitCode {
    cli::run::main()
}
