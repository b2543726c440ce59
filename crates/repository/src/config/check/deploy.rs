//! `[deploy]`: services and answers that its requests name, limits below what is asked for.

mod kubernetes;

use crate::config::check::Declared;
use crate::config::deploy::{Check, Deploy, ServiceDeploy, WorkloadOptions};
use crate::config::{Config, environment, values};
use crate::diagnostic::{Diagnostic, did_you_mean, quoted};
use crate::resolve;

pub(crate) fn check(config: &Config, declared: &Declared) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let environments = config.environments.values();
    let all = std::iter::once(&config.deploy).chain(environments.clone().map(|each| &each.deploy));
    for deploy in all {
        faults.extend(shared(config, deploy, declared));
        faults.extend(kubernetes::manifests(&deploy.kubernetes.manifests));
    }
    faults.extend(config.environments.keys().filter_map(|name| kubernetes::canary(config, name)));
    faults.extend(config.environments.keys().filter_map(|name| replicas(config, name)));
    let own = config.services.iter().map(|(name, service)| (name, &service.deploy));
    let theirs = environments.flat_map(|each| each.services.iter().map(|(name, own)| (name, &own.deploy)));
    for (name, deploy) in own.chain(theirs) {
        faults.extend(of_service(config, name, deploy));
        faults.extend(kubernetes::manifests(&deploy.kubernetes));
    }
    faults
}

/// The fault of an environment that asks for several where its driver runs one of each service. The word of
/// `pipeline.toml` is for those environments that can.
fn replicas(config: &Config, name: &str) -> Option<Diagnostic> {
    let environment = environment(config, name).ok()?;
    let driver = resolve::deploy(&environment).driver.filter(|driver| driver.is_single())?;
    let services = environment.services.values().map(|own| &own.deploy.workload.replicas);
    let of = |name: &String| Some(&config.environments.get(name)?.deploy.workload.replicas);
    // The nearest word counts.
    let own = environment.chain.iter().filter_map(of).find(|replicas| replicas.is_some());
    let wrong = services.chain(own).flatten().find(|replicas| replicas.value != 1)?;
    let mut fault = Diagnostic::error(format!("the driver `{driver}` runs one of each service"))
        .at(&wrong.place, format!("for environment `{name}`"))
        .hint("only `kubernetes` and `gitops` run more: leave it out, or write 1");
    if let Some(driver) = &environment.deploy.driver {
        fault = fault.related(&driver.place, "this driver");
    }
    Some(fault)
}

fn shared(config: &Config, deploy: &Deploy, declared: &Declared) -> Vec<Diagnostic> {
    let mut faults = options(&deploy.workload);
    for check in deploy.workload.verify.iter().flatten() {
        let Some(name) = &check.service else { continue };
        match config.services.get(&name.value) {
            Some(service) if service.port.is_some() => {}
            Some(_) => faults.push(without_port(check, &name.value)),
            None if declared.services => {
                let mut fault = Diagnostic::error(format!("there is no service {}", quoted(&name.value)))
                    .at(&name.place, "");
                fault.hint = did_you_mean(&name.value, config.services.keys().map(String::as_str));
                faults.push(fault);
            }
            None => {}
        }
    }
    faults
}

fn of_service(config: &Config, name: &str, deploy: &ServiceDeploy) -> Vec<Diagnostic> {
    let mut faults = options(&deploy.workload);
    for check in deploy.workload.verify.iter().flatten() {
        if let Some(other) = check.service.as_ref().filter(|other| other.value != name) {
            faults.push(
                Diagnostic::error(format!("a request of service `{name}` names {}", quoted(&other.value)))
                    .at(&other.place, "")
                    .hint("leave `service` out here, or write the request under `[deploy]`"),
            );
        } else if config.services.get(name).is_some_and(|service| service.port.is_none()) {
            faults.push(without_port(check, name));
        }
    }
    faults
}

fn without_port(check: &Check, name: &str) -> Diagnostic {
    Diagnostic::error(format!("service `{name}` has no port to be asked on"))
        .at(&check.path.place, "")
        .hint(format!("write `port` in `[services.{name}]`, or leave the request out"))
}

fn options(options: &WorkloadOptions) -> Vec<Diagnostic> {
    let mut faults = kubernetes::steps(&options.canary);
    for status in options.verify.iter().flatten().filter_map(|check| check.status.as_ref()) {
        if !(200..=599).contains(&status.value) {
            faults.push(
                Diagnostic::error(format!("{} is no status of an answer", status.value))
                    .at(&status.place, "expected 200 to 599"),
            );
        }
    }
    let resources = &options.resources;
    let cores = |cores: &str| values::millicores(cores).ok();
    if let (Some(asked), Some(limit)) = (&resources.cpu, &resources.cpu_limit)
        && let (Some(asked_cores), Some(limit_cores)) = (cores(&asked.value), cores(&limit.value))
        && asked_cores > limit_cores
    {
        faults.push(
            Diagnostic::error("more processors are asked for than there may be")
                .at(&asked.place, "more")
                .related(&limit.place, "than this"),
        );
    }
    if let (Some(asked), Some(limit)) = (&resources.memory, &resources.memory_limit)
        && asked.value > limit.value
    {
        faults.push(
            Diagnostic::error("more memory is asked for than there may be")
                .at(&asked.place, "more")
                .related(&limit.place, "than this"),
        );
    }
    faults
}
