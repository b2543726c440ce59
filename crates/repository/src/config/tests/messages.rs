//! The messages as the user sees them.

use std::path::Path;

use super::{PIPELINE, Repository, stored};
use crate::config::load;
use crate::diagnostic::render_error;
use crate::fault::{Exit, exit_of};
use crate::style::Colour;

#[test]
fn all_faults_of_all_files_are_told_in_one_run() {
    let repository = Repository::new()
        .file(
            "pipeline.toml",
            r#"version = 1

[project]
nam = "shop"
platforms = ["linux/amd64", "linux/amd65"]

[tools]
go = "1.26"
trivy = "0.69.4"

[stages.scan]
severity = ["HIHG"]
ignore = [{ id = "CVE-2026-1" }]
timeout = "10 parsecs"

[services.gateway]
package = "../x"
port = 808080
tag = "{servic}/v{version}"
build-args = { API_KEY = "hunter2", RETRIES = 3 }
needs = ["ordrs"]

[services.orders]
package = "cmd/orders"
needs = ["gateway"]

[services.orders]
ports = 8080
"#,
        )
        .file("environments/local.toml", "inherits = \"dev\"\n")
        .file("environments/dev.toml", "inherits = \"local\"\n[build-args]\nRETRYS = \"3\"\n")
        .file("environments/prod.toml", "registry = \"registry\n");
    let error = load(repository.root(), Path::new("pipeline.toml")).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
    stored("all.txt", &render_error(&error, Colour::Off));
}

#[test]
fn a_secret_is_not_shown_by_any_message_about_its_line() {
    let text = Repository::with("[build]\nx = 1\n[services.gateway.build]\nenv = { }\n")
        .file(
            "pipeline.toml",
            PIPELINE.replace("DB_HOST = {}", "DB_PASSWORD = \"hunter2\", \"a b\" = \"x\", N = 3"),
        )
        .faults();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("DB_PASSWORD") && text.contains("[secrets]") && text.contains("`a b`"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let repository = Repository::new();
    let error = load(repository.root(), Path::new("nope.toml")).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
    let text = render_error(&error, Colour::Off);
    assert!(text.starts_with("error: there is no `nope.toml`\nhint: "), "{text}");
}
