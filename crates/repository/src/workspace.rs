//! Where things lie: the repository, its `dist/`, its private state, the user's cache.

use std::path::{Path, PathBuf};

use crate::platform::Platform;

/// The folders of one run. All absolute; none need exist yet but `root`.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The repository's work tree.
    pub root: PathBuf,
    /// Results for people and CI: `ROOT/dist`.
    pub dist: PathBuf,
    /// Private to this work tree, never committed: `GITDIR/longshore` (lock, journal, stat index).
    pub state: PathBuf,
    /// Shared by all repositories of the user: `$XDG_CACHE_HOME/longshore`.
    pub cache: PathBuf,
}

impl Workspace {
    /// The OCI layout that the image stage writes for a service: neutral images and variants,
    /// before any gate. Never the release registry.
    pub fn layout(&self, service: &str) -> PathBuf {
        self.dist.join("images").join(service)
    }

    /// A service's executable for a platform.
    pub fn binary(&self, service: &str, platform: &Platform) -> PathBuf {
        let name = format!("{service}{}", platform.executable_suffix());
        self.dist.join("bin").join(service).join(platform.slug()).join(name)
    }

    /// Verdicts by digest.
    pub fn verdicts(&self) -> PathBuf {
        self.dist.join("verdicts")
    }

    /// Reports of scans and tests, for people: SARIF, JSON, tables.
    pub fn reports(&self) -> PathBuf {
        self.dist.join("reports")
    }

    /// `path` as the user would write it: relative to the root where it lies inside.
    pub fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
