//! What a repository declares, is made of and remembers. Modules in reading order:
//!
//! 1. what the user wrote: [`config`], its defaults applied by [`resolve`] for each [`stage`]; a [`dockerfile`],
//!    where an image is built from one; where things lie: [`workspace`];
//! 2. what is true, asked first and once: [`gather`] through [`facts`], with the programs of [`tools`]; what a
//!    service is made of is its [`closure`], and [`fingerprint`] names and hashes inputs;
//! 3. what follows, pure: [`affected`] and [`version`];
//! 4. what is remembered: [`verdict`] and [`ledger`].

pub mod affected;
pub mod closure;
pub mod config;
pub mod dockerfile;
pub mod facts;
pub mod fingerprint;
pub mod gather;
pub mod ledger;
pub mod resolve;
pub mod stage;
pub mod tools;
pub mod verdict;
pub mod version;
pub mod workspace;

#[cfg(test)]
pub(crate) use longshore_base::style;
pub(crate) use longshore_base::{cancel, declared, diagnostic, digest, fault, host, key, platform, progress};
