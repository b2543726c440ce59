//! What a Dockerfile's image follows from, named. The values of secrets are no part: what a step makes of one
//! must not be in the image. Nor is which engine `auto` finds: that one would have to be asked.

use std::path::Path;
use std::sync::Arc;

use super::DockerfileSpec;
use crate::closure::RepoPath;
use crate::facts::context::{self, Kind};
use crate::fingerprint::{Hashes, Preimage};
use crate::stage::image::VERSION;
use crate::workspace::Workspace;

/// Every input, or why not all can be known before a build.
pub type Inputs = Result<Arc<Preimage>, String>;

/// Looks at all that is sent, and at what else shapes the image.
pub fn of(spec: &DockerfileSpec, workspace: &Workspace, hashes: &mut Hashes) -> Inputs {
    let mut inputs = Preimage::default();
    add_settings(&mut inputs, spec);
    let file = hashes.file(&spec.file).map_err(|error| format!("{error:#}"))?;
    inputs.add("the Dockerfile", file);
    let context = context::read(&spec.file, &spec.context).map_err(|error| format!("{error:#}"))?;
    for entry in &context.entries {
        let path = spec.context.join(entry.path.to_path());
        if let Some(own) = changes_by_itself(&entry.path, &path, workspace) {
            return Err(format!("its context holds `{own}`, which every run changes"));
        }
        let mode = context::mode(&path);
        let value = match &entry.kind {
            Kind::File { .. } => {
                format!("{} {mode:o}", hashes.file(&path).map_err(|error| format!("{error:#}"))?)
            }
            Kind::Folder => format!("folder {mode:o}"),
            Kind::Link(target) => format!("link to {}", target.display()),
            Kind::Special(what) => (*what).to_owned(),
        };
        inputs.add(name(&entry.path), value);
    }
    Ok(Arc::new(inputs))
}

/// No setting's name begins as a path does.
fn name(path: &RepoPath) -> String {
    match std::str::from_utf8(path.as_bytes()) {
        Ok(path) => format!("./{path}"),
        Err(_) => format!("./{:?}", path.as_bytes()),
    }
}

/// Git's folder, and that of the results.
fn changes_by_itself(path: &RepoPath, full: &Path, workspace: &Workspace) -> Option<String> {
    let git = path.as_bytes() == b".git" || path.as_bytes().starts_with(b".git/");
    let results = full.starts_with(&workspace.dist);
    (git || results).then(|| match git {
        true => ".git".to_owned(),
        false => workspace.shown(&workspace.dist).display().to_string(),
    })
}

fn add_settings(inputs: &mut Preimage, spec: &DockerfileSpec) {
    inputs.add("image stage", VERSION.to_string());
    inputs.add("platform", spec.platform.to_string());
    inputs.add("target", format!("{:?}", spec.target));
    inputs.add("engine", format!("{:?} {:?}", spec.engine, spec.builder));
    inputs.add("compression", format!("{:?}", spec.compression));
    inputs.add("commit's time", spec.created.to_string());
    for (name, value) in &spec.args {
        inputs.add(format!("build-arg {name}"), value);
    }
    for (name, value) in &spec.labels {
        inputs.add(format!("label {name}"), value);
    }
    for id in spec.secrets.keys() {
        inputs.add(format!("secret {id}"), "mounted");
    }
}
