//! The command line against real tools: Git, Go, registries, Docker, Trivy, the readers of OCI
//! layouts. `tests/run` installs them.
//!
//! A test whose tool this machine lacks says so on stderr and is left out; under `CI=true` it fails.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![expect(dead_code, reason = "the harness is there before the tests of each command")]

mod affected;
mod bases;
mod bench;
mod builder;
mod builds;
mod cache;
mod ci;
mod clean;
mod cluster;
mod compose;
mod containers;
mod context;
mod database;
mod deploy;
mod docker;
mod dockerfile;
mod engines;
mod explain;
mod export;
mod faults;
mod gates;
mod gitops;
mod hostile;
mod images;
mod known;
mod local;
mod machine;
mod process;
mod promote;
mod property;
mod readme;
mod referrers;
mod registry;
mod remote;
mod repository;
mod reproduce;
mod rollouts;
mod samples;
mod self_check;
mod shared_cache;
mod shop;
mod stages;
mod status;
mod terminal;
mod timings;
mod tool;
mod versions;
mod windows;
