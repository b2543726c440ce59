//! `[deploy.kubernetes]` and `[deploy.canary]`: numbers that go together, a driver that can do it.

use crate::config::deploy::DriverName;
use crate::config::deploy::kubernetes::{CanaryOptions, ManifestOptions};
use crate::config::read::Field as _;
use crate::config::{Config, environment};
use crate::diagnostic::Diagnostic;

/// A fault of steps that don't rise, or are no part of a whole.
pub(super) fn steps(canary: &CanaryOptions) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut last = 0;
    for step in canary.steps.iter().flatten() {
        if !(1..=99).contains(&step.value) {
            let fault = Diagnostic::error(format!("{} is no part of the requests in percent", step.value));
            faults.push(fault.at(&step.place, "expected 1 to 99"));
        } else if step.value <= last {
            let fault = Diagnostic::error("the steps of a canary rise");
            faults.push(fault.at(&step.place, format!("not more than {last}")));
        }
        last = step.value;
    }
    faults
}

/// The fault of an environment whose driver can't try a version beside another.
pub(super) fn canary(config: &Config, name: &str) -> Option<Diagnostic> {
    let environment = environment(config, name).ok()?;
    let driver = environment.deploy.driver.as_ref()?;
    if driver.value == DriverName::Kubernetes {
        return None;
    }
    let services = config.services.values().map(|service| {
        let own = environment.services.get(&service.name.value).map(|own| own.deploy.clone());
        own.unwrap_or_default().over(&service.deploy).workload.canary
    });
    let all = services.chain(std::iter::once(environment.deploy.workload.canary.clone()));
    let first = all.filter_map(|canary| canary.steps).flatten().next()?;
    Some(
        Diagnostic::error(format!("the driver `{}` does no canaries", driver.value))
            .at(&driver.place, "this driver")
            .related(&first.place, "a step of a canary")
            .hint(format!("only `kubernetes` does; leave `steps` empty for environment `{name}`")),
    )
}

/// Faults of an autoscaler's numbers.
pub(super) fn manifests(options: &ManifestOptions) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let scale = &options.autoscale;
    if let (Some(min), Some(max)) = (&scale.min, &scale.max)
        && min.value > max.value
    {
        faults.push(
            Diagnostic::error("more replicas at least than at most")
                .at(&min.place, "more")
                .related(&max.place, "than this"),
        );
    }
    for number in [&scale.min, &scale.max, &scale.cpu, &scale.memory].into_iter().flatten() {
        if number.value == 0 {
            faults.push(
                Diagnostic::error("nothing can be scaled by 0").at(&number.place, "expected at least 1"),
            );
        }
    }
    faults
}
