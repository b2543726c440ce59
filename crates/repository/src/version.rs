//! Commits → versions. Pure: nothing here asks Git, the clock or the disk.
//!
//! A service's version follows from the commits that touch its inputs since its last stable version.
//! What a commit asks for is in [`level`], what it touches in [`reason`], which version that makes in
//! [`decision`].

pub mod changelog;
pub mod commit;
pub mod decision;
pub mod form;
pub mod known;
pub mod level;
pub mod modfile;
pub mod reason;

pub use commit::{Commit, CommitId};
pub use decision::{Decision, Mode, Outcome, Request, Service, decide};
pub use form::TagForm;
pub use known::{Known, Survey, base, survey};
pub use level::Bump;
pub use reason::Reason;

use crate::fault::{Exit, Fault};

/// Why there is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("{service} {version} is recorded for commit {recorded}, and this is commit {here}")]
    Taken { service: String, version: semver::Version, recorded: CommitId, here: CommitId },
    #[error("the tag `{tag}` asks for {version}, which is not above {last}, the last version of {service}")]
    NotAbove { service: String, tag: String, version: String, last: String },
    #[error("the tag `{tag}` asks for `{text}`, which is not a version: X.Y.Z or X.Y.Z-pre, without `+`")]
    Invalid { tag: String, text: String },
    #[error("`{0}` can't be a pre-release's label: letters, digits and hyphens, not digits alone")]
    Label(String),
    #[error("commit {commit} changes {what} of {service} and does not say what it asks for: `{subject}`")]
    Unclassified { service: String, commit: CommitId, subject: String, what: String },
}

impl From<VersionError> for Fault {
    fn from(error: VersionError) -> Self {
        let message = error.to_string();
        match error {
            VersionError::Taken { .. } => Self::new(Exit::Conflict, message)
                .hint("another branch released it, and it stays with that commit: merge that branch, or ask for a higher version with `--bump`"),
            VersionError::NotAbove { tag, .. } => Self::new(Exit::Conflict, message).hint(format!(
                "delete the tag with `git push origin :refs/tags/{tag}` and ask for a higher one"
            )),
            VersionError::Invalid { tag, .. } => {
                Self::new(Exit::Usage, message).hint(format!("delete it with `git tag -d {tag}`"))
            }
            VersionError::Label(_) => Self::new(Exit::Usage, message).hint("write `--pre rc`"),
            VersionError::Unclassified { .. } => Self::new(Exit::Gate, message).hint(
                "name the release with `--bump`, or set `other` of `[stages.versions]` to `patch` or `none`",
            ),
        }
    }
}
