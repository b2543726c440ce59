//! The client against a registry of the tests' own that misbehaves on demand, and against real ones.

mod faults;
mod faulty;
mod real;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::destination::{Copying, Destination};
use crate::layout::Layout;
use crate::layout::tests::sample;
use crate::types::{Descriptor, Digest};

/// Short waits, so that a test of retries takes milliseconds.
fn options() -> Options {
    Options {
        policy: Policy { retries: 3, first: Duration::from_millis(2), longest: Duration::from_millis(40) },
        limits: Limits { connect: Duration::from_secs(5), idle: Duration::from_millis(400), total: None },
        ..Options::default()
    }
}

/// The environment of a user who has logged in nowhere, but for these variables.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    [("HOME", "/nonexistent")].iter().chain(variables).map(own).collect()
}

fn remote(host: &str, options: Options) -> Remote {
    let client = Client::new(&environment(&[]), options, &Cancel::default());
    client.repository(Repository::new(host, "shop/gateway").unwrap())
}

fn copying(cancel: &Cancel) -> Copying<'_> {
    Copying {
        parallel: 3,
        sources: &[],
        whereabouts: Box::leak(Box::default()),
        progress: &|_, _| {},
        cancel,
    }
}

/// A file of `size` bytes that are all different from their neighbours, and its digest.
fn blob(folder: &Path, size: usize) -> (std::path::PathBuf, Digest, u64) {
    let bytes: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
    let path = folder.join("blob");
    std::fs::write(&path, &bytes).unwrap();
    (path, Digest::of(&bytes), size as u64)
}
