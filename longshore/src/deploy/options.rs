//! What a service's driver has to know of it besides what every driver does: from the configuration, and from
//! files of the user's that it names, as they are now.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cancel::Cancel;
use crate::config::deploy::DriverName;
use crate::config::{self, Config};
use crate::deploy::{compose, kubernetes};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::resolve::{self, DeploySettings, WorkloadSettings};

/// The options of one service, in the driver's own form.
///
/// # Errors
/// [`Diagnostics`]: files that can't be read or say what can't be; [`crate::fault::Exit::Machine`] where
/// `kubectl kustomize` can't be run.
pub fn options(
    config: &Config,
    settings: &DeploySettings,
    own: &WorkloadSettings,
    cancel: &Cancel,
) -> anyhow::Result<Value> {
    match settings.driver {
        Some(DriverName::Kubernetes | DriverName::Gitops) => {}
        Some(DriverName::Compose) => {
            return Ok(serde_json::to_value(compose::options(&settings.compose, &config.root)?)?);
        }
        Some(DriverName::Process | DriverName::Docker) | None => return Ok(Value::Null),
    }
    let given = kubernetes::options::Given {
        manifests: &own.kubernetes,
        canary: &own.canary,
        own: &own.own_kubernetes,
        services: &config.services.keys().cloned().collect(),
        root: &config.root,
    };
    Ok(serde_json::to_value(kubernetes::options::options(given, cancel)?)?)
}

/// Every fault of the files of every environment, each told once.
///
/// # Errors
/// As [`options`], where it is no fault of a file.
pub fn faults(config: &Config, cancel: &Cancel) -> anyhow::Result<Vec<Diagnostic>> {
    let (mut faults, mut told) = (Vec::new(), BTreeSet::new());
    for name in config.environments.keys() {
        let environment = config::environment(config, name)?;
        let settings = resolve::deploy(&environment);
        for service in config.services.values() {
            let own = resolve::workload(&environment, service);
            let Err(error) = options(config, &settings, &own, cancel) else { continue };
            for fault in error.downcast::<Diagnostics>()?.0 {
                let place = fault.place.as_ref().map(|(place, _)| (&place.source.path, place.span.start));
                if told.insert(format!("{place:?} {}", fault.message)) {
                    faults.push(fault);
                }
            }
        }
    }
    Ok(faults)
}
