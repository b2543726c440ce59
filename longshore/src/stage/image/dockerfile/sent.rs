//! What of a context somebody will regret, told before it is sent.

use std::path::Path;

use super::DockerfileSpec;
use crate::cancel::Cancel;
use crate::closure::RepoPath;
use crate::dockerfile::context::{self, Notice};
use crate::facts::context as facts;
use crate::facts::git::Git;
use crate::stage::Scope;

/// Notices that are told of one build.
const TOLD: usize = 5;

/// A context, and everything to be told of it. `root`, `file` and `folder` are absolute.
///
/// # Errors
/// Those of [`facts::read`]; no Git.
pub fn notices(
    root: &Path,
    file: &Path,
    folder: &Path,
    cancel: &Cancel,
) -> anyhow::Result<(facts::Context, Vec<Notice>)> {
    let context = facts::read(file, folder)?;
    let beginning = |path: &RepoPath| facts::beginning(&folder.join(path.to_path()), context::BEGINNING);
    let mut notices = context::notices(&context.entries, beginning);
    let ignored = Git::open(root, cancel)?.ignored(folder)?;
    notices.extend(context::ignored(&context.entries, &ignored));
    notices.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((context, notices))
}

/// The first of them, each as a message and a hint.
pub fn told(service: &str, notices: &[Notice]) -> Vec<(String, String)> {
    let one = |notice: &Notice| {
        let message = format!("the build of `{service}` is sent `{}`: {}", notice.path, notice.message);
        (message, notice.hint.to_owned())
    };
    let mut told: Vec<(String, String)> = notices.iter().take(TOLD).map(one).collect();
    if notices.len() > TOLD {
        let message = format!("{} more of what the build of `{service}` is sent", notices.len() - TOLD);
        told.push((message, format!("`cargo xtask image --context {service}` lists them")));
    }
    told
}

/// Tells a build's.
pub(super) fn look(spec: &DockerfileSpec, scope: &Scope<'_>) -> anyhow::Result<()> {
    let (_, notices) = notices(&scope.workspace.root, &spec.file, &spec.context, scope.cancel)?;
    for (message, hint) in told(&spec.service, &notices) {
        scope.progress.warning(&message, Some(&hint));
    }
    Ok(())
}
