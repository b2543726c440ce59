//! The pipeline's stages by name. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The pipeline's stages, in the order in which a release takes them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Lint,
    Test,
    Build,
    Image,
    Scan,
    Verify,
    Push,
    Tag,
    /// What is released goes to an environment: no part of a release.
    #[value(skip)]
    Deploy,
}

impl Stage {
    /// Those of a release.
    pub const ALL: [Self; 8] =
        [Self::Lint, Self::Test, Self::Build, Self::Image, Self::Scan, Self::Verify, Self::Push, Self::Tag];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Test => "test",
            Self::Build => "build",
            Self::Image => "image",
            Self::Scan => "scan",
            Self::Verify => "verify",
            Self::Push => "push",
            Self::Tag => "tag",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
