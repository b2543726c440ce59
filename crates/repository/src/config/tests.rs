//! Whole files in, messages out. `UPDATE=1 cargo test -p longshore config` writes the stored messages anew.

mod data;
mod deploy;
mod environments;
mod hostile;
mod messages;

use std::path::Path;

use crate::config::{Config, check};
use crate::diagnostic::{Diagnostic, render_all};
use crate::style::Colour;

/// A repository's configuration files, and what is found in them.
struct Repository {
    folder: tempfile::TempDir,
}

/// A file that is as short as a good one can be.
const PIPELINE: &str = r#"version = 1
[project]
name = "shop"
[services.gateway]
package = "cmd/gateway"
port = 8080
build-args = { APP_ENV = "development", DB_HOST = {} }
"#;

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self { folder };
        std::fs::create_dir_all(repository.root().join("cmd/gateway")).unwrap();
        std::fs::create_dir_all(repository.root().join("cmd/orders")).unwrap();
        repository.file("pipeline.toml", PIPELINE)
    }

    /// As [`Repository::new`], with more in the pipeline's file.
    fn with(more: &str) -> Self {
        Self::new().file("pipeline.toml", format!("{PIPELINE}{more}"))
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn check(&self) -> (Option<Config>, Vec<Diagnostic>) {
        check(self.root(), Path::new("pipeline.toml")).unwrap()
    }

    fn config(&self) -> Config {
        let (config, diagnostics) = self.check();
        config.unwrap_or_else(|| panic!("{}", render_all(&diagnostics, Colour::Off)))
    }

    /// What the user sees.
    fn faults(&self) -> String {
        let (config, diagnostics) = self.check();
        assert!(config.is_none(), "no fault was found");
        assert!(!render_all(&diagnostics, Colour::On).is_empty());
        render_all(&diagnostics, Colour::Off)
    }

    /// There is one fault, and what the user sees of it holds each of `parts`.
    #[track_caller]
    fn says(&self, parts: &[&str]) {
        let (_, diagnostics) = self.check();
        let text = self.faults();
        assert_eq!(diagnostics.len(), 1, "{text}");
        for part in parts {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}

/// Compares with the file of this name beside the tests.
#[track_caller]
fn stored(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests").join(name);
    #[expect(clippy::disallowed_methods, reason = "a test's switch, read by no other code")]
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        stored == text,
        "not what {name} holds (`UPDATE=1 cargo test -p longshore config` writes it):\n{text}"
    );
}

#[test]
fn a_short_file_is_read() {
    let config = Repository::new().config();
    assert_eq!(config.project.name.value, "shop");
    let gateway = &config.services["gateway"];
    assert_eq!(gateway.port.as_ref().unwrap().value, 8080);
    assert_eq!(gateway.build_args["APP_ENV"].default.as_ref().unwrap().value, "development");
    assert!(gateway.build_args["DB_HOST"].default.is_none());
    assert_eq!(config.environments.keys().collect::<Vec<_>>(), ["local"]);
}
