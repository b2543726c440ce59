//! `[deploy]`: whose word counts, and what is wrong in it.

use std::time::Duration;

use super::Repository;
use crate::config::deploy::{DriverName, Gap};
use crate::config::environment;
use crate::resolve;

#[test]
fn the_nearest_word_counts_and_the_rest_has_defaults() {
    let config = Repository::with(
        "[services.gateway.deploy]\nreplicas = 2\n[deploy]\nreplicas = 3\ntimeout = \"1m\"\nlabels = { team = \"a\" }\n[services.orders]\npackage = \"cmd/orders\"\n",
    )
    .file(
        "environments/dev.toml",
        "registry = \"127.0.0.1:5000/shop\"\n[build-args]\nDB_HOST = \"x\"\n[deploy]\ndriver = \"gitops\"\naccept = [\"verify-none\"]\nverify = [{ path = \"/a\" }]\nresources = { cpu = \"0.5\", memory-limit = \"64MiB\" }\nkubernetes = { namespace = \"one\", drain = \"1s\" }\n",
    )
    .file(
        "environments/prod.toml",
        "inherits = \"dev\"\n[deploy]\nreplicas = 9\nrequire-approval = true\n[services.gateway.deploy]\ntimeout = \"5s\"\nverify = [{ path = \"/b\", status = 404, body = \"x\" }]\nlabels = { tier = \"web\" }\nkubernetes = { drain = \"2s\" }\n",
    )
    .file("environments/local.toml", "")
    .config();
    let local = environment(&config, "local").unwrap();
    let settings = resolve::deploy(&local);
    assert_eq!(settings.driver, Some(DriverName::Process), "a folder's default");
    assert_eq!(settings.max_age, Duration::from_secs(7 * 86_400));
    let prod = environment(&config, "prod").unwrap();
    let settings = resolve::deploy(&prod);
    assert_eq!(settings.driver, Some(DriverName::Gitops));
    assert!(settings.require_approval);
    assert_eq!(settings.accept, [Gap::VerifyNone].into());
    let gateway = resolve::workload(&prod, &config.services["gateway"]);
    assert_eq!((gateway.replicas, gateway.timeout), (2, Duration::from_secs(5)), "the service's over all");
    assert_eq!(gateway.verify.len(), 1);
    assert_eq!((gateway.verify[0].path.as_str(), gateway.verify[0].status), ("/b", 404));
    assert_eq!(gateway.labels.len(), 2);
    assert_eq!((gateway.resources.cpu, gateway.resources.memory_limit), (Some(500), Some(64 << 20)));
    assert_eq!(gateway.kubernetes.drain.unwrap().value, Duration::from_secs(2));
    let orders = resolve::workload(&prod, &config.services["orders"]);
    assert_eq!((orders.replicas, orders.timeout), (9, Duration::from_secs(60)));
    assert!(orders.verify.is_empty(), "it has no port to be asked on");
    assert_eq!(orders.kubernetes.drain.unwrap().value, Duration::from_secs(1));
    assert_eq!(settings.kubernetes.namespace.as_ref().unwrap().value, "one");
    let remote = environment(&config, "dev").unwrap();
    assert_eq!(resolve::deploy(&remote).driver, Some(DriverName::Gitops));
}

#[test]
fn faults_of_deploy_are_located() {
    let text = Repository::with(
        "[deploy]\ndriver = \"dokcer\"\nverify = [{ path = \"x\" }, { service = \"gatway\", path = \"/\" }, { path = \"/\", status = 42 }]\nlabels = { \"a b\" = \"c\" }\n[deploy.resources]\ncpu = \"1.5\"\ncpu-limit = \"500m\"\nmemory = \"2MiB\"\nmemory-limit = \"1MiB\"\n[services.orders]\npackage = \"cmd/orders\"\n[services.orders.deploy]\nverify = [{ path = \"/\" }]\nresources = { cpu = \"x\" }\n[services.gateway.deploy]\nverify = [{ service = \"orders\", path = \"/\" }]\n",
    )
    .faults();
    for part in [
        "did you mean `docker`?",
        "is not an HTTP path",
        "did you mean `gateway`?",
        "42 is no status",
        "is not a label's key",
        "more processors are asked for",
        "more memory is asked for",
        "service `orders` has no port",
        "`x` is not a number of processors",
        "a request of service `gateway` names `orders`",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn faults_of_canaries_and_autoscalers_are_located() {
    let text = Repository::with(
        "[deploy]\nreplicas = 3\n[deploy.canary]\nsteps = [10, 5, 100]\n[deploy.kubernetes]\nautoscale = { min = 5, max = 2, cpu = 0 }\n",
    )
    .file("environments/dev.toml", "registry = \"127.0.0.1:5000/shop\"\n[deploy]\ndriver = \"docker\"\nreplicas = 2\n")
    .file("environments/qa.toml", "inherits = \"dev\"\n[deploy]\ndriver = \"compose\"\nreplicas = 1\n")
    .file("environments/local.toml", "[services.gateway.deploy]\nreplicas = 0\n")
    .faults();
    assert!(!text.contains("the driver `compose` runs one"), "{text}");
    for part in [
        "the steps of a canary rise",
        "100 is no part of the requests",
        "more replicas at least than at most",
        "nothing can be scaled by 0",
        "the driver `docker` does no canaries",
        "the driver `docker` runs one of each service",
        "the driver `process` runs one of each service",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}
