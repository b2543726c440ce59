//! What an image follows from, named: kept with each run, so that `explain` can say what changed.

use std::path::{Path, PathBuf};

use super::{ImageSpec, VERSION};
use crate::fingerprint::{Hashes, Preimage};
use crate::host::files;
use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::stage::Scope;
use crate::workspace::Workspace;

/// Every input of an image. `binary`: absent where it is not made yet.
///
/// # Errors
/// A file that can't be read.
pub fn inputs(spec: &ImageSpec, binary: Option<&Digest>, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut inputs = Preimage::default();
    inputs.add("image stage", VERSION.to_string());
    inputs.add("binary", binary.map_or_else(|| "not built yet".to_owned(), ToString::to_string));
    inputs.add("base", format!("{:?}", spec.base));
    inputs.add("user", &spec.user);
    inputs.add("compression", spec.compression.to_string());
    inputs.add("commit's time", spec.created.to_string());
    if let Some(port) = spec.port {
        inputs.add("port", port.to_string());
    }
    for (name, value) in &spec.labels {
        inputs.add(format!("label {name}"), value);
    }
    for (name, value) in &spec.env {
        inputs.add(format!("build-arg {name}"), value);
    }
    for (target, source) in &spec.files {
        let value = if source.is_dir() { hashes.tree(source)? } else { hashes.file(source)? };
        inputs.add(format!("file {target}"), value);
    }
    Ok(inputs)
}

/// Where the inputs of the last run in this clone are kept.
pub fn file(workspace: &Workspace, service: &str, platform: &Platform) -> PathBuf {
    let name = format!("image-{}", platform.slug());
    workspace.state.join("inputs").join(service).join(name)
}

/// What such a file holds.
pub fn read(file: &Path) -> Option<Preimage> {
    Preimage::from_text(&std::fs::read_to_string(file).ok()?)
}

/// Keeps them. A failure costs only the explanation.
pub(super) fn remember(spec: &ImageSpec, binary: &Digest, scope: &Scope<'_>) {
    let kept =
        inputs(spec, Some(binary), &mut crate::fingerprint::hashes(scope.workspace)).and_then(|inputs| {
            files::keep(&file(scope.workspace, &spec.service, &spec.platform), inputs.to_text().as_bytes())
        });
    if let Err(error) = kept {
        scope.progress.warning(&format!("{error:#}"), None);
    }
}
