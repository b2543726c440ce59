//! What the sample services promise to the pipeline's tests: who imports what.

use std::collections::BTreeSet;
use std::path::Path;

use crate::process::{command, succeed};

const MODULE: &str = "example.com/storefront/";

/// The services whose main imports a package, directly or not.
fn importers(package: &str) -> BTreeSet<&'static str> {
    let imports = |service: &&'static str| {
        let listed = succeed(
            command("go")
                .args(["list", "-deps", &format!("./cmd/{service}")])
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../services"))
                .env("GOFLAGS", "-mod=readonly"),
        );
        listed.lines().any(|line| line.strip_prefix(MODULE).unwrap_or(line) == package)
    };
    ["gateway", "orders", "worker"].into_iter().filter(imports).collect()
}

#[test]
fn the_samples_share_what_their_documentation_says() {
    for (package, services) in [
        ("pkg/order", &["gateway", "orders", "worker"][..]),
        ("pkg/client", &["gateway", "worker"]),
        ("pkg/backoff", &["worker"]),
        ("pkg/money", &[]),
        ("internal/httpserver", &["gateway", "orders"]),
        ("internal/service", &["gateway", "orders", "worker"]),
        ("github.com/google/uuid", &["orders"]),
        ("golang.org/x/sync/errgroup", &["worker"]),
        ("golang.org/x/time/rate", &["gateway"]),
    ] {
        assert_eq!(importers(package), services.iter().copied().collect(), "{package}");
    }
}
