//! Longshore: a declarative release pipeline for Go services.
//!
//! Modules in reading order:
//!
//! 1. what a command is: [`cli`], a repository's own in [`extension`], with its surroundings in [`session`] and
//!    [`workspace`], tied together by
//!    [`pipeline`]: facts → release → plan → execution → results;
//! 2. what the user wrote: [`config`], its faults told by [`diagnostic`], its defaults applied by
//!    [`resolve`], for each [`platform`]; a [`dockerfile`], where an image is built from one;
//! 3. what is true, asked first and once: [`gather`] through [`facts`]; what a service is made of is its
//!    [`closure`], and [`fingerprint`] names and hashes inputs;
//! 4. what follows, pure: [`affected`], [`version`], [`release`], [`plan`];
//! 5. what is done: [`stage`] makes jobs, [`execute`] runs them until they end or [`cancel`] says so;
//!    [`tools`] has the programs for it, [`doctor`] says which are missing, [`status`] what is to be done;
//! 6. what is made: [`oci`] images; where they run: [`deploy`];
//! 7. what stays: [`cache`], [`verdict`], [`ledger`], [`artifacts`], written by [`results`];
//! 8. what is shown: an [`event`] becomes a line of [`report`] and of the [`journal`], an error with its
//!    exit code is a [`fault`];
//! 9. the only doors to the outside: [`host`].
//!
//! Most of 2 and 3, [`version`], [`verdict`] and [`ledger`] lie in the crate `longshore_repository`, images in
//! `longshore_oci`, what all stand on in `longshore_base`; they are modules of this one by name.
//!
//! ARCHITECTURE.md says what holds between them, and what enforces it.

pub mod artifacts;
pub mod cache;
pub mod ci;
pub mod cli;
pub mod deploy;
pub mod doctor;
pub mod event;
pub mod execute;
pub mod extension;
pub mod journal;
pub mod pipeline;
pub mod plan;
pub mod release;
pub mod report;
pub mod results;
pub mod session;
pub mod stage;
pub mod status;

pub use extension::Longshore;
pub use longshore_base::{cancel, declared, diagnostic, digest, fault, host, key, platform, progress, style};
pub use longshore_oci as oci;
pub use longshore_repository::{
    affected, closure, config, dockerfile, facts, fingerprint, gather, ledger, resolve, tools, verdict,
    version, workspace,
};

/// Runs the command line of this process and returns its exit code.
pub fn main() -> std::process::ExitCode {
    Longshore::new().main()
}
