//! Programs that tests need and that a machine may lack.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// The path of a program, or `None` after [`skip`].
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = find(name);
    if path.is_none() {
        skip(&format!("`{name}` is not on PATH"));
    }
    path
}

/// The path of a program on PATH, or among the administrator's, which a user's PATH leaves out.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says that the running test is left out, and the how-many-th it is.
///
/// # Panics
/// Under `CI=true`, where nothing may be left out.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!under_ci(), "{why}, and under CI that is a failure");
    let count = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    // Written to the stream itself: libtest holds back what the print macros say in a passing test.
    let _ = writeln!(std::io::stderr(), "SKIPPED ({count} so far): {test}: {why}; `tests/run` installs it");
}

/// A variable of the process that runs the tests.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::vars_os().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn under_ci() -> bool {
    variable("CI").is_some_and(|value| value == "true")
}

/// The pinned Trivy: what `LONGSHORE_TRIVY` names, or what `setup` has installed for this user.
pub(crate) fn trivy() -> Option<PathBuf> {
    let named = variable("LONGSHORE_TRIVY").map(PathBuf::from);
    let found = named.or_else(|| {
        let versions = std::fs::read_dir(user_cache().join("longshore/tools/trivy")).ok()?;
        versions.flatten().map(|version| version.path().join("trivy")).find(|path| path.is_file())
    });
    if found.is_none() {
        skip("Trivy is not installed: neither LONGSHORE_TRIVY nor `cargo xtask setup`");
    }
    found
}

/// The pinned golangci-lint and its version: what `tests/run` has installed for this user.
pub(crate) fn golangci_lint() -> Option<(&'static str, PathBuf)> {
    const VERSION: &str = "2.11.4";
    let program = user_cache().join("longshore/tools/golangci-lint").join(VERSION).join("golangci-lint");
    if !program.is_file() {
        skip("golangci-lint is not installed");
        return None;
    }
    Some((VERSION, program))
}

/// The cache folder of the user who runs the tests, as the tool finds it.
pub(crate) fn user_cache() -> PathBuf {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".cache"));
    variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_default()
}
