//! Where a module departs from what Go people expect of one (go.dev/doc/modules/layout,
//! go.dev/blog/package-names, go.dev/ref/mod#vcs-version). Warnings only.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::format::{Sources, sources};
use super::{LintSpec, Scope, TaggedService, Warning, tool};

/// Names that say nothing of what a package provides.
const VAGUE: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

/// Folders whose commands nobody ships.
const UNSHIPPED: &[&str] =
    &["internal", "tools", "tool", "example", "examples", "hack", "scripts", "test", "tests", "testdata"];

/// go.mod as `go mod edit -json` gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ModFile {
    go: Option<String>,
    require: Option<Vec<Required>>,
    replace: Option<Vec<Replaced>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Required {
    path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Replaced {
    old: Required,
    new: Required,
}

/// What of the module's layout is unusual.
pub(super) fn layout(spec: &LintSpec, scope: &Scope<'_>) -> anyhow::Result<Vec<Warning>> {
    let command = tool::go(&spec.setting, None, scope).args(["mod", "edit", "-json"]).timeout(spec.timeout);
    let (code, output) = tool::finished(&command, scope.cancel)?;
    if code != 0 {
        return Err(tool::failure(&command, output));
    }
    let modfile: ModFile = serde_json::from_slice(&output.stdout)?;
    let folder = &spec.setting.module;
    let shown = scope.workspace.shown(folder);
    let mut warnings = module(&modfile, shown, folder.join("go.sum").is_file());
    for package in sources(spec, scope)? {
        let inside = package.dir.strip_prefix(folder).unwrap_or(&package.dir);
        warnings.extend(self::package(&package, inside, shown));
    }
    warnings.dedup();
    Ok(warnings)
}

fn module(modfile: &ModFile, shown: &Path, has_sums: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if modfile.go.is_none() {
        warnings.push(warning(
            format!("`{}` has no `go` line: Go takes it for Go 1.16", shown.join("go.mod").display()),
            "`go mod edit -go=VERSION` in the module's folder",
        ));
    }
    let local = |path: &str| {
        let replaced = modfile.replace.iter().flatten().find(|replace| replace.old.path == path);
        replaced.is_some_and(|replace| replace.new.path.starts_with('.'))
    };
    let remote = modfile.require.iter().flatten().any(|required| !local(&required.path));
    if remote && !has_sums {
        warnings.push(warning(
            format!(
                "`{}` requires modules, and there is no go.sum beside it",
                shown.join("go.mod").display()
            ),
            "`go mod tidy` in the module's folder, then commit go.sum",
        ));
    }
    warnings
}

fn package(package: &Sources, inside: &Path, module: &Path) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let names: Vec<&str> = inside.iter().filter_map(|name| name.to_str()).collect();
    let shown = module.join(inside).display().to_string();
    if names.first() == Some(&"src") {
        warnings.push(warning(
            format!("`{}`: a Go module has no `src` folder", module.join("src").display()),
            "move its packages to the module's root, `cmd` and `internal`",
        ));
    }
    // A command at the module's root is usual where it is the only one.
    let usual =
        names.is_empty() || names.contains(&"cmd") || names.iter().any(|name| UNSHIPPED.contains(name));
    if package.name == "main" && !usual {
        warnings.push(warning(
            format!("`{shown}`: a command outside `cmd`"),
            format!("move it to `{}`", module.join("cmd").join(names.last().unwrap_or(&"NAME")).display()),
        ));
    }
    if VAGUE.contains(&package.name.as_str()) {
        warnings.push(warning(
            format!("`{shown}`: the name `{}` says nothing of what the package provides", package.name),
            "name it for that, as `retry` or `money`",
        ));
    }
    if package.name.contains(|c: char| c == '_' || c.is_ascii_uppercase()) {
        warnings.push(warning(
            format!("`{shown}`: package `{}` has underscores or capitals in its name", package.name),
            "package names are short, lowercase words",
        ));
    }
    warnings
}

/// Services whose tags Go takes for versions of a module: a module in `DIR` has the tags `DIR/vX.Y.Z`
/// (go.dev/ref/mod#vcs-version). A service that is alone in that very module means them as both.
pub(super) fn tags(services: &[TaggedService], modules: &[PathBuf]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for service in services {
        let tag = service.tag.replace("{service}", &service.name);
        let Some(prefix) = tag.strip_suffix("/v{version}") else { continue };
        let Some(module) = modules.iter().find(|module| module.as_path() == Path::new(prefix)) else {
            continue;
        };
        let alone = services.iter().filter(|other| other.module == *module).count() == 1;
        if service.module == *module && alone {
            continue;
        }
        warnings.push(warning(
            format!(
                "the tags of service `{}`, as `{prefix}/v1.2.3`, are versions of the Go module in `{prefix}` too",
                service.name
            ),
            "rename the service, or give it a `tag` of its own, as `release/{service}/v{version}`",
        ));
    }
    warnings
}

fn warning(message: String, hint: impl Into<String>) -> Warning {
    Warning { message, hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, inside: &str) -> Vec<String> {
        let mut sources = Sources::default();
        name.clone_into(&mut sources.name);
        package(&sources, Path::new(inside), Path::new("services")).into_iter().map(|w| w.message).collect()
    }

    #[test]
    fn the_usual_layout_is_silent() {
        for (name, inside) in
            [("main", "cmd/gateway"), ("main", ""), ("money", "pkg/money"), ("main", "internal/tools/gen")]
        {
            assert_eq!(named(name, inside), Vec::<String>::new(), "{name} in {inside}");
        }
    }

    #[test]
    fn departures_are_named_with_their_folder() {
        assert_eq!(named("main", "gateway"), ["`services/gateway`: a command outside `cmd`"]);
        assert!(named("utils", "internal/utils")[0].contains("says nothing"));
        assert!(named("money", "src/money")[0].contains("no `src` folder"));
        assert!(named("my_money", "pkg/my_money")[0].contains("underscores"));
    }

    #[test]
    fn a_module_file_without_go_line_or_sums() {
        let text = r#"{"Module":{"Path":"x"},"Require":[{"Path":"example.com/a","Version":"v1.0.0"}]}"#;
        let modfile: ModFile = serde_json::from_str(text).unwrap();
        assert_eq!(module(&modfile, Path::new("services"), false).len(), 2);
        assert_eq!(module(&modfile, Path::new("services"), true).len(), 1);
    }

    #[test]
    fn a_module_replaced_by_a_folder_needs_no_sum() {
        let text = r#"{"Go":"1.26","Require":[{"Path":"example.com/a"}],
            "Replace":[{"Old":{"Path":"example.com/a"},"New":{"Path":"../a"}}]}"#;
        let modfile: ModFile = serde_json::from_str(text).unwrap();
        assert_eq!(module(&modfile, Path::new("services"), false), Vec::new());
    }

    fn service(name: &str, tag: &str, module: &str) -> TaggedService {
        TaggedService { name: name.to_owned(), tag: tag.to_owned(), module: module.into() }
    }

    #[test]
    fn a_tag_that_is_also_a_modules_version_is_told() {
        let form = "{service}/v{version}";
        let both = [service("services", form, "services"), service("orders", form, "services")];
        let found = tags(&both, &["services".into()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("service `services`"), "{found:?}");
        let elsewhere = [service("services", form, "")];
        assert_eq!(tags(&elsewhere, &["".into(), "services".into()]).len(), 1);
    }

    #[test]
    fn a_module_of_its_own_or_another_form_does_not_collide() {
        let form = "{service}/v{version}";
        assert!(tags(&[service("orders", form, "orders")], &["orders".into()]).is_empty());
        assert!(tags(&[service("services", "{service}-v{version}", "x")], &["services".into()]).is_empty());
        assert!(tags(&[service("services", "v{version}", "")], &["".into(), "services".into()]).is_empty());
    }
}
