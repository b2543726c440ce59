//! What a job does: one variant a kind of work. The execution runs these and knows no stage.

use std::path::{Path, PathBuf};

use super::{Finish, Output, Scope, adopt, build, image, lint, push, scan, tag, test, verify};
use crate::cache::Bucket;
use crate::fingerprint::{self, Preimage};
use crate::host::environment::Environment;
use crate::host::files;
use crate::oci::types::Digest;
use crate::workspace::Workspace;

/// One job's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Lint { spec: lint::LintSpec, key: Passed },
    LintDockerfile(Box<lint::dockerfile::DockerfileSpec>),
    Test { spec: test::TestSpec, key: Passed },
    Build(build::BuildSpec),
    Image(image::ImageSpec),
    Dockerfile(Box<image::dockerfile::DockerfileSpec>),
    Index(image::IndexSpec),
    Variant(image::VariantSpec),
    Output(image::output::OutputSpec),
    Adopt(adopt::AdoptSpec),
    Scan(scan::ScanSpec),
    Verify(verify::VerifySpec),
    Ready(push::ReadySpec),
    Push(push::PushSpec),
    Tag(Box<tag::TagSpec>),
}

/// Under which key it is kept that work over these inputs ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub key: Digest,
    /// Of the file with the inputs of the last run in this clone.
    pub name: String,
    /// As [`crate::fingerprint::Preimage::to_text`].
    pub inputs: String,
}

impl Passed {
    pub fn file(&self, workspace: &Workspace) -> PathBuf {
        workspace.state.join("inputs").join(&self.name)
    }
}

impl Action {
    /// The command that it runs, where it runs one, as a user could type it.
    pub fn command_line(&self, environment: &Environment) -> Option<String> {
        let Self::Build(spec) = self else { return None };
        let targets: Vec<&build::Target> = spec.targets.iter().collect();
        let command =
            build::command(&targets, spec, Path::new("go"), Path::new("dist/bin"), environment).ok()?;
        Some(command.to_string())
    }

    /// Does it.
    ///
    /// # Errors
    /// Those of its stage.
    pub fn run(&self, scope: &Scope<'_>) -> anyhow::Result<Finish> {
        match self {
            Self::Lint { spec, key } => once(Bucket::Lint, key, scope, || lint::run(spec, scope)),
            Self::LintDockerfile(spec) => lint::dockerfile::run(spec, scope),
            Self::Test { spec, key } => once(Bucket::Test, key, scope, || test::run(spec, scope)),
            Self::Build(spec) => build::run(spec, scope),
            Self::Image(spec) => image::run(spec, scope),
            Self::Dockerfile(spec) => image::dockerfile::run(spec, scope),
            Self::Index(spec) => image::run_index(spec, scope),
            Self::Variant(spec) => image::run_variant(spec, scope),
            Self::Output(spec) => image::output::run(spec, scope),
            Self::Adopt(spec) => adopt::run(spec, scope),
            Self::Scan(spec) => scan::run(spec, scope),
            Self::Verify(spec) => verify::run(spec, scope),
            Self::Ready(spec) => push::run_ready(spec, scope),
            Self::Push(spec) => push::run(spec, scope),
            Self::Tag(spec) => tag::run(spec, scope),
        }
    }
}

/// Runs `work` unless it is known to have ended well over the same inputs.
fn once(
    bucket: Bucket,
    passed: &Passed,
    scope: &Scope<'_>,
    work: impl FnOnce() -> anyhow::Result<Finish>,
) -> anyhow::Result<Finish> {
    let cache = scope.cache;
    let note = "nothing changed".to_owned();
    let known = cache.get::<bool>(bucket, &passed.key) == Some(true);
    let finish = if known { Finish { output: Output::Nothing, cached: true, note } } else { work()? };
    if !known {
        let inputs = Preimage::from_text(&passed.inputs).unwrap_or_default();
        if let Some(name) =
            inputs.changed(&scope.workspace.root, &mut fingerprint::hashes(scope.workspace))?
        {
            let message = format!("`{name}` was changed meanwhile: this result is not kept");
            scope.progress.warning(&message, None);
            return Ok(finish);
        }
        cache.put(bucket, &passed.key, &true, &[])?;
    }
    files::keep(&passed.file(scope.workspace), passed.inputs.as_bytes())?;
    Ok(finish)
}
