//! How a service's name in the network passes from the old container to the new one.
//!
//! A network's alias can't be taken from a container that runs, and while two have it each is answered with.
//! A container's own name can: Docker's DNS follows a rename at once, and connections go on. So the container
//! that serves is *named* `SERVICE.NETWORK`, which each service of the environment finds first when it asks
//! for `SERVICE`: its search domain is the network. Whoever else is in the network has the alias `SERVICE`.

use std::time::{Duration, Instant};

use super::Docker;
use crate::deploy::Step;
use crate::deploy::docker::client::Container;
use crate::deploy::workload::Workload;

/// Until whoever has asked for the name before has connected, too.
const DRAIN: Duration = Duration::from_secs(2);

impl Docker {
    /// `SERVICE.NETWORK`
    pub(super) fn full_name(&self, service: &str) -> String {
        format!("{service}.{}", self.network)
    }

    /// Which of a service's containers serves it: by its full name, by the alias alone, or not.
    pub(super) fn rank(&self, container: &Container, service: &str) -> u8 {
        match self.serves(container, service) {
            true if container.name() == self.full_name(service) => 0,
            true => 1,
            false => 2,
        }
    }

    /// Whether a container has the service's alias in the network.
    pub(super) fn serves(&self, container: &Container, service: &str) -> bool {
        let attached = container.network_settings.networks.get(&self.network);
        attached
            .and_then(|attached| attached.aliases.as_ref())
            .is_some_and(|aliases| aliases.iter().any(|alias| alias == service))
    }

    /// From now on the service's alias in the network means this container too. It has left the network for a
    /// moment, so it is asked again.
    pub(super) fn take_the_alias(
        &self,
        workload: &Workload,
        name: &str,
        step: &Step<'_>,
    ) -> anyhow::Result<()> {
        let service = &workload.service;
        if self.serves(&self.inspect(name, step)?, service) {
            return Ok(());
        }
        step.progress.status("taking over");
        self.client.run(&["network", "disconnect", &self.network, name], step.cancel)?;
        self.client.run(&["network", "connect", "--alias", service, &self.network, name], step.cancel)?;
        self.wait(workload, name, step)
    }

    /// The full name passes to this container, what is on its way to the others arrives, and they end.
    pub(super) fn take_over(
        &self,
        workload: &Workload,
        name: &str,
        found: &[Container],
        step: &Step<'_>,
    ) -> anyhow::Result<()> {
        let others: Vec<&Container> = found.iter().filter(|other| other.name() != name).collect();
        self.take_the_name(&workload.service, name, step)?;
        if others.iter().any(|other| other.runs() && self.serves(other, &workload.service)) {
            step.progress.status("draining what ran before");
            let until = Instant::now() + DRAIN;
            while Instant::now() < until && !step.cancel.is_set() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.remove(others.into_iter(), step)
    }

    /// Between the two renames the alias answers.
    fn take_the_name(&self, service: &str, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let full = self.full_name(service);
        if name == full {
            return Ok(());
        }
        if let Some(holder) = self.client.inspect(&[&full], step.cancel)?.pop() {
            let labels = &holder.config.labels;
            let is_ours = self.labels(Some(service)).iter().all(|label| {
                label
                    .split_once('=')
                    .is_some_and(|(key, value)| labels.get(key).is_some_and(|is| is == value))
            });
            if !is_ours {
                let message = format!("`{full}` is the name of a container that is not this environment's");
                step.progress.warning(&message, Some("`deploy.docker.network` is shared: give each its own"));
                return Ok(());
            }
            let aside =
                format!("{}-{service}-{}", self.target.slug(), holder.id.get(..12).unwrap_or(&holder.id));
            self.client.run(&["rename", &holder.id, &aside], step.cancel)?;
        }
        self.client.run(&["rename", name, &full], step.cancel).map(|_| ())
    }
}
