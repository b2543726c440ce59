//! Inheritance, composed values, neutral images and variants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PIPELINE, Repository};
use crate::config::{OnUnavailable, Registry, Severity, check, environment, variant_hash};
use crate::diagnostic::{render_all, render_error};
use crate::fault::{Exit, exit_of};
use crate::style::Colour;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn repository() -> Repository {
    let pipeline = PIPELINE.replace("DB_HOST = {}", "DB_HOST = {}, DB_URL = {}");
    let more = "[services.orders]\npackage = \"cmd/orders\"\nbuild-args = { DB_HOST = \"db\", DB_URL = \"mysql://{DB_HOST}/shop\" }\n[stages.scan]\nignore-unfixed = true\ntimeout = \"5m\"\n";
    Repository::new()
        .file("pipeline.toml", pipeline + more)
        .file("environments/local.toml", "[stages.scan]\non-unavailable = \"warn\"\n")
        .file(
            "environments/dev.toml",
            "registry = \"127.0.0.1:5000/shop\"\n[build-args]\nAPP_ENV = \"dev\"\nDB_HOST = \"db.dev\"\nDB_URL = \"mysql://{DB_HOST}/{{shop}}\"\n[env]\nLEVEL = \"debug\"\nA = \"a\"\n[services.gateway.env]\nLEVEL = \"info\"\n[stages.scan]\ntimeout = \"1m\"\n",
        )
        .file(
            "environments/prod.toml",
            "inherits = \"dev\"\n[build-args]\nDB_HOST = \"db.prod\"\n[services.orders.build-args]\nDB_HOST = \"orders.prod\"\n[env]\nA = \"b\"\n[stages.scan]\nseverity = [\"LOW\"]\n",
        )
}

#[test]
fn a_child_is_over_its_parent_and_a_service_over_both() {
    let config = repository().config();
    let prod = environment(&config, "prod").unwrap();
    assert_eq!(prod.chain, ["prod", "dev"]);
    let registry = Registry::Remote { host: "127.0.0.1:5000".into(), path: "shop".into(), tls: None };
    assert_eq!(prod.registry, registry);
    let (gateway, orders) = (&config.services["gateway"], &config.services["orders"]);
    assert_eq!(
        prod.variant_build_args(gateway),
        map(&[("APP_ENV", "dev"), ("DB_HOST", "db.prod"), ("DB_URL", "mysql://db.prod/{shop}")])
    );
    assert_eq!(
        prod.variant_build_args(orders),
        map(&[("DB_HOST", "orders.prod"), ("DB_URL", "mysql://orders.prod/{shop}")])
    );
    assert_eq!(prod.runtime_env("gateway"), map(&[("A", "b"), ("LEVEL", "info")]));
    assert_eq!(prod.runtime_env("orders"), map(&[("A", "b"), ("LEVEL", "debug")]));
    let scan = &prod.stages.scan;
    assert_eq!(scan.severity.as_ref().unwrap()[0].value, Severity::Low);
    assert_eq!(scan.timeout.as_ref().unwrap().value, Duration::from_secs(60));
    assert!(scan.ignore_unfixed.as_ref().unwrap().value, "from pipeline.toml");
    assert!(scan.on_unavailable.is_none(), "local's own");
}

#[test]
fn a_neutral_image_holds_defaults_only() {
    let config = repository().config();
    assert_eq!(config.services["gateway"].neutral_build_args(), map(&[("APP_ENV", "development")]));
    assert_eq!(
        config.services["orders"].neutral_build_args(),
        map(&[("DB_HOST", "db"), ("DB_URL", "mysql://db/shop")])
    );
}

#[test]
fn a_required_build_arg_is_a_fault_of_the_environment_that_is_used() {
    let config = repository().config();
    assert!(environment(&config, "prod").unwrap().missing_build_args(&config).is_empty());
    let missing = environment(&config, "local").unwrap().missing_build_args(&config);
    let text = render_all(&missing, Colour::Off);
    assert_eq!(missing.len(), 2, "DB_HOST and DB_URL of gateway: {text}");
    assert!(
        text.contains("environment `local` does not set build-arg `DB_HOST` of service `gateway`"),
        "{text}"
    );
    assert!(text.contains("pipeline.toml:7:41"), "{text}");
}

#[test]
fn an_unknown_environment_is_named_with_what_is_meant() {
    let error = environment(&repository().config(), "prd").unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
    assert_eq!(
        render_error(&error, Colour::Off),
        "error: there is no environment `prd`\nhint: did you mean `prod`?\n"
    );
}

#[test]
fn only_a_folder_may_do_without_a_verdict() {
    let registry = "registry = \"registry.example.com/shop\"\n";
    let warn = "[stages.scan]\non-unavailable = \"warn\"\n";
    Repository::new().file("environments/local.toml", format!("{registry}{warn}")).says(&[
        "environment `local` pushes to `registry.example.com/shop`",
        "local.toml:3:18",
        "local.toml:1:12",
    ]);
    // Inherited, or said for all: the environment with a registry is the one at fault.
    Repository::new()
        .file("environments/local.toml", warn)
        .file("environments/prod.toml", format!("inherits = \"local\"\n{registry}"))
        .says(&["environment `prod` pushes to", "local.toml:2:18", "prod.toml:2:12"]);
    Repository::with(warn)
        .file("environments/local.toml", registry)
        .says(&["pipeline.toml:9:18", "local.toml:1:12"]);
    let config = Repository::with(warn).config();
    let local = environment(&config, "local").unwrap();
    assert_eq!(local.stages.scan.on_unavailable.unwrap().value, OnUnavailable::Warn);
    assert_eq!(local.registry, Registry::Layouts(PathBuf::from("dist/oci")));
}

#[test]
fn an_environment_does_not_change_the_release() {
    let local = |text: &str| Repository::new().file("environments/local.toml", text);
    local("[stages.versions]\nother = \"none\"\n").says(&["an environment can't change `[stages.versions]`"]);
    local("[stages.image]\nversion = 1\n").says(&["an environment can't change `[stages.image]`"]);
    local("[stages.build]\nenabled = false\n").says(&["an environment can't change `[stages.build]`"]);
    local("[env]\nA = \"x\"\n[secrets]\nA = \"env\"\n").says(&["both in `[env]` and in `[secrets]`"]);
}

#[test]
fn composed_values_have_an_end() {
    let mut text = String::from(
        "[services.orders]\npackage = \"cmd/orders\"\n[services.orders.build-args]\nA0 = \"0123456789\"\n",
    );
    for n in 1..40 {
        text += &format!("A{n} = \"{{A{0}}}{{A{0}}}\"\n", n - 1);
    }
    let said = Repository::with(&text).faults();
    assert!(said.contains("becomes longer than"), "{said}");
    assert_eq!(said.matches("error:").count(), 1, "what holds it is not told again: {said}");
}

#[test]
fn a_variant_is_known_by_its_values() {
    let hash = variant_hash(&map(&[("A", "1"), ("B", "2")]));
    assert_eq!(hash.len(), 8);
    assert_eq!(hash, variant_hash(&map(&[("B", "2"), ("A", "1")])));
    for other in [map(&[("A", "1")]), map(&[("A", "12"), ("B", "")]), map(&[("A", "1B=2")]), map(&[])] {
        assert_ne!(hash, variant_hash(&other));
    }
    // Written into tags and promised there: it never changes.
    assert_eq!(variant_hash(&map(&[("APP_ENV", "prod")])), "ec699c83");
}

#[test]
fn the_files_of_this_repository_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (config, diagnostics) = check(&root, Path::new("pipeline.toml")).unwrap();
    assert!(diagnostics.is_empty(), "{}", render_all(&diagnostics, Colour::Off));
    let config = config.unwrap();
    assert_eq!(config.environments.keys().collect::<Vec<_>>(), ["dev", "local", "prod", "staging"]);
    for name in config.environments.keys() {
        assert!(environment(&config, name).unwrap().missing_build_args(&config).is_empty(), "{name}");
    }
    let prod = environment(&config, "prod").unwrap();
    let worker = prod.variant_build_args(&config.services["worker"]);
    assert_eq!(worker["ORDERS_URL"], "http://orders.prod.svc:8080");
    assert!(PIPELINE.starts_with("version = 1"));
}
