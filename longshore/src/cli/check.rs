//! `check`: every fault of every file of the configuration, and of the files that it names.

use super::Global;
use crate::cancel::Cancel;
use crate::config;
use crate::deploy::options;
use crate::diagnostic::{Diagnostic, Diagnostics, render_all};
use crate::host::environment::Environment;
use crate::report;
use crate::resolve;
use crate::session::place;
use crate::stage::image::dockerfile::sent;
use crate::stage::lint;
use crate::workspace::Workspace;

/// Reads and checks.
///
/// # Errors
/// The faults.
pub fn check(global: &Global, environment: Environment, cancel: &Cancel) -> anyhow::Result<u8> {
    let (_, workspace) = place(global, &environment, cancel)?;
    let file = crate::session::pipeline(global, &workspace)?;
    let (config, diagnostics) = config::check(&workspace.root, &file)?;
    let Some(config) = config else { return Err(Diagnostics(diagnostics).into()) };
    let faults = options::faults(&config, cancel)?;
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    let mut told = diagnostics;
    told.extend(of_dockerfiles(&config, &workspace, cancel)?);
    if !told.is_empty() {
        let colour = report::colour(global.color, &environment);
        report::note(&render_all(&told, colour));
    }
    report::result(&format!(
        "{}, {}: no faults",
        count(config.services.len(), "service"),
        count(config.environments.len(), "environment")
    ));
    Ok(0)
}

/// Advice on each Dockerfile, and what of its context somebody will regret.
fn of_dockerfiles(
    config: &config::Config,
    workspace: &Workspace,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Diagnostic>> {
    let mut told = Vec::new();
    let advice = resolve::stages(&config.stages).dockerfile_advice;
    for (name, service) in resolve::services(config, &workspace.root) {
        let Some(from) = &service.dockerfile else { continue };
        let spec = lint::dockerfile::spec(&service, advice).filter(|_| advice != config::Advice::Off);
        told.extend(spec.iter().flat_map(lint::dockerfile::advice));
        let root = &workspace.root;
        let (_, notices) = sent::notices(root, &root.join(&from.file), &root.join(&from.context), cancel)?;
        let note = |(message, hint): (String, String)| Diagnostic::warning(message).hint(hint);
        told.extend(sent::told(&name, &notices).into_iter().map(note));
    }
    Ok(told)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
