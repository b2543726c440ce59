//! A vulnerability database with the facts of a few published advisories, made by `fixtures/trivy-db`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::process::{command, succeed};
use crate::tool;

/// A folder for `TRIVY_CACHE_DIR`, made once for all tests of a run.
pub(crate) fn database() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        // Cargo's folder for what tests leave: a static is never dropped.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trivy-cache");
        let program = folder.join("make-db");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/trivy-db");
        let mut build = command("go");
        build.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&program).arg(".");
        succeed(build.current_dir(source).env("GOFLAGS", "-mod=readonly").env("GOWORK", "off"));
        let _ = std::fs::remove_dir_all(folder.join("db"));
        succeed(command(&program).arg("-out").arg(folder.join("db")));
        folder
    };
    MADE.get_or_init(make).clone()
}

/// As [`database`], without one of its facts, in `folder`: as it was before that was published.
pub(crate) fn without(id: &str, folder: &Path) {
    let program = database().join("make-db");
    let earlier = ["-updated", "2026-01-01T00:00:00Z", "-without", id, "-out"];
    succeed(command(&program).args(earlier).arg(folder.join("db")));
}

/// Whether this machine has the scanner and can make a database; says so where it can't.
pub(crate) fn scanner() -> Option<PathBuf> {
    tool::trivy().map(|_| database())
}
