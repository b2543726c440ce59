//! Whole files in, messages out.

use std::path::Path;

use crate::config::{Config, check};
use crate::diagnostic::{Colour, Diagnostic, render_all};

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
        config.unwrap_or_else(|| panic!("{}", render_all(&diagnostics, Colour::Plain)))
    }

    /// What the user sees.
    fn faults(&self) -> String {
        let (config, diagnostics) = self.check();
        assert!(config.is_none(), "no fault was found");
        render_all(&diagnostics, Colour::Plain)
    }
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
