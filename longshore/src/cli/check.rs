//! `check`: every fault of every file of the configuration.

use super::Global;
use crate::cancel::Cancel;
use crate::config;
use crate::diagnostic::Diagnostics;
use crate::host::environment::Environment;
use crate::report;
use crate::session::place;

/// Reads and checks.
///
/// # Errors
/// The faults.
pub fn check(global: &Global, environment: Environment, cancel: &Cancel) -> anyhow::Result<u8> {
    let (_, workspace) = place(global, &environment, cancel)?;
    let file = crate::session::pipeline(global, &workspace)?;
    let (config, diagnostics) = config::check(&workspace.root, &file)?;
    let Some(config) = config else { return Err(Diagnostics(diagnostics).into()) };
    report::result(&format!(
        "{}, {}: no faults",
        count(config.services.len(), "service"),
        count(config.environments.len(), "environment")
    ));
    Ok(0)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
