//! The Dockerfile of a service: advice, as warnings, or as findings where `[stages.lint] dockerfile` says so.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Advice;
use crate::diagnostic::{Diagnostic, Source, render};
use crate::dockerfile::{self, advice::Asked};
use crate::fault::{Exit, Fault, Tail};
use crate::plan::{JobId, Stage, State};
use crate::resolve::ServiceSettings;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::{Action, Finish, Output, Scope};
use crate::style::Colour;

/// One Dockerfile to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileSpec {
    pub service: String,
    /// From the repository's root.
    pub file: PathBuf,
    pub text: String,
    pub target: Option<String>,
    /// The service declares its health.
    pub health: bool,
    /// Advice fails the gate.
    pub gate: bool,
}

/// One job a subject that is built from a Dockerfile.
pub fn jobs(draft: &mut Draft<'_>) {
    let release = draft.release;
    let advice = release.stages.dockerfile_advice;
    if advice == Advice::Off {
        return;
    }
    for (name, service) in release.subjects() {
        let Some(spec) = spec(&service.settings, advice) else { continue };
        let file = spec.file.display().to_string();
        draft.add(Sketch {
            id: JobId::new(Stage::Lint, &[&file, name]),
            stage: Stage::Lint,
            service: Some(name.clone()),
            platform: None,
            title: format!("{file} of {name}"),
            needs: Vec::new(),
            cost: 1,
            state: State::Run,
            why: "it takes no time".to_owned(),
            action: Action::LintDockerfile(Box::new(spec)),
        });
    }
}

/// What there is to look at of a service.
pub fn spec(service: &ServiceSettings, advice: Advice) -> Option<DockerfileSpec> {
    let from = service.dockerfile.as_ref()?;
    let health = &service.health;
    Some(DockerfileSpec {
        service: service.name.clone(),
        file: from.file.clone(),
        text: from.text.clone(),
        target: from.target.clone(),
        health: [&health.live, &health.ready, &health.startup].iter().any(|path| path.is_some()),
        gate: advice == Advice::Error,
    })
}

/// The advice on a Dockerfile.
pub fn advice(spec: &DockerfileSpec) -> Vec<Diagnostic> {
    let source = Arc::new(Source { path: spec.file.clone(), text: spec.text.clone() });
    let asked = Asked { target: spec.target.as_deref(), health: spec.health };
    // One that can't be parsed is a fault of the configuration, and never comes here.
    dockerfile::parse(&source).map(|file| file.advice(asked)).unwrap_or_default()
}

/// Tells it.
///
/// # Errors
/// [`Exit::Gate`] with the advice, where it is a gate and there is any.
pub fn run(spec: &DockerfileSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let advice = advice(spec);
    let shown: Vec<String> = advice.iter().map(|note| render(note, Colour::Off)).collect();
    let count = crate::report::measure::plural(advice.len(), "warning");
    if spec.gate && !advice.is_empty() {
        let lines = shown.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
        let message = format!("{count} in `{}`, and `[stages.lint]` makes them errors", spec.file.display());
        let fault = Fault::new(Exit::Gate, message)
            .hint("mend them, or write `dockerfile = \"warn\"` under `[stages.lint]`");
        return Err(anyhow::Error::from(Tail(lines)).context(fault));
    }
    for text in &shown {
        scope.progress.warning(text.strip_prefix("warning: ").unwrap_or(text), None);
    }
    let note = if advice.is_empty() { "nothing to better".to_owned() } else { count };
    Ok(Finish { output: Output::Nothing, cached: false, note })
}
