//! Services as containers of a Docker daemon, here or elsewhere (`DOCKER_HOST`), in a network of the
//! environment's own where each is found by its name.
//!
//! A new container comes up beside the old one on a port of its own, is seen to be healthy, takes the service's
//! name in the network (see [`names`]), and only then the old one is told to end. A service that is `publish`ed on one fixed
//! port is tried out beside the old one too, and has a gap while the port changes hands. Everything made carries
//! labels, and goes by them; the daemon starts a container again that ends by itself.

pub(super) mod client;
pub(super) mod create;
mod names;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::deploy::workload::Workload;
use crate::deploy::{Before, Condition, Driver, LogAsk, Observed, Step, Target, Unhealthy, health};
use crate::fault::{Exit, Fault};
use crate::host::process::{ProcessError, Status};
use crate::stage::verify::probe;

use client::{Client, Container};

const PROJECT: &str = "dev.longshore.project";
const ENVIRONMENT: &str = "dev.longshore.environment";
const SERVICE: &str = "dev.longshore.service";
pub(super) const HASH: &str = "dev.longshore.hash";
const DIGEST: &str = "dev.longshore.digest";
const READY: &str = "dev.longshore.ready";

/// Between SIGTERM and the end, in seconds.
const GRACE: &str = "10";

/// Between two looks at a container: each is a process.
const LOOK: Duration = Duration::from_millis(250);

/// Lines of its log that are told when it fails.
const TAIL: &str = "40";

/// The containers of one environment.
#[derive(Debug)]
pub struct Docker {
    pub(super) target: Target,
    pub(super) client: Client,
    /// Where published ports are reached.
    host: String,
    pub(super) network: String,
}

impl Docker {
    /// # Errors
    /// [`Exit::Machine`] where Docker's client is not installed.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let options = &target.settings.docker;
        let given = options.host.as_ref().map(|host| host.value.as_str());
        let (client, machine) = Client::find(&target, given)?;
        let network = options.network.as_ref().map_or_else(|| target.slug(), |network| network.value.clone());
        let host = match &options.address {
            // Bound to all: reached by the machine's name.
            Some(address) if address.value != "0.0.0.0" => address.value.clone(),
            _ => machine,
        };
        Ok(Self { target, client, host, network })
    }

    fn labels(&self, service: Option<&str>) -> Vec<String> {
        let mut labels =
            vec![format!("{PROJECT}={}", self.target.project), format!("{ENVIRONMENT}={}", self.target.name)];
        labels.extend(service.map(|service| format!("{SERVICE}={service}")));
        labels
    }

    /// All containers of a service, the one that serves it first.
    pub(super) fn containers(&self, service: &str, step: &Step<'_>) -> anyhow::Result<Vec<Container>> {
        let mut found = self.client.labelled(&self.labels(Some(service)), step.cancel)?;
        found.sort_by_key(|container| self.rank(container, service));
        Ok(found)
    }

    fn bring_up(&self, workload: &Workload, step: &Step<'_>) -> anyhow::Result<()> {
        let hash = workload.hash()?;
        self.ensure_network(step)?;
        let found = self.containers(&workload.service, step)?;
        let wanted = |container: &&Container| container.config.labels.get(HASH) == Some(&hash);
        if let Some(there) = found.iter().find(wanted).filter(|there| self.serves(there, &workload.service)) {
            if !there.runs() {
                self.client.run(&["start", there.name()], step.cancel)?;
            }
            self.wait(workload, there.name(), step)?;
            self.keep_up(there.name(), step)?;
            return self.take_over(workload, there.name(), &found, step);
        }
        let image = create::image(self, workload, step)?;
        let name = format!("{}-{}-{}", self.target.slug(), workload.service, &hash[..8]);
        self.discard(&name, step)?;
        step.progress.status("starting");
        create::container(self, workload, &name, &image, create::Ports::Free, step)?;
        self.wait(workload, &name, step)?;
        let name = match workload.publish {
            Some(port) => self.hand_over(workload, (&name, &image), port, &found, step)?,
            None => name,
        };
        self.take_the_alias(workload, &name, step)?;
        self.keep_up(&name, step)?;
        self.take_over(workload, &name, &found, step)
    }

    /// A container on the one port that the old one has, too: there is a gap between the two.
    fn hand_over(
        &self,
        workload: &Workload,
        (tried, image): (&str, &str),
        port: u16,
        found: &[Container],
        step: &Step<'_>,
    ) -> anyhow::Result<String> {
        let service = &workload.service;
        if !found.is_empty() {
            step.progress.warning(
                &format!("`{service}` has a gap while port {port} changes hands"),
                Some("without `publish` the new container takes over beside the old one"),
            );
        }
        for old in found {
            self.client.run(&["stop", "--time", GRACE, old.name()], step.cancel)?;
        }
        let name = format!("{tried}-{port}");
        self.discard(&name, step)?;
        create::container(self, workload, &name, image, create::Ports::Fixed(port), step)?;
        self.wait(workload, &name, step)?;
        self.discard(tried, step)?;
        Ok(name)
    }

    /// From now on the daemon starts it again when it ends, and when the daemon itself does.
    pub(super) fn keep_up(&self, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        self.client.run(&["update", "--restart", "unless-stopped", name], step.cancel).map(|_| ())
    }

    pub(super) fn ensure_network(&self, step: &Step<'_>) -> anyhow::Result<()> {
        let inspect = ["network", "inspect", "--format", "{{.Name}}", self.network.as_str()];
        if self.client.find_one(&inspect, step.cancel)?.is_some() {
            return Ok(());
        }
        let mut args = vec!["network".to_owned(), "create".to_owned()];
        for label in self.labels(None) {
            args.extend(["--label".to_owned(), label]);
        }
        args.push(self.network.clone());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match self.client.run(&args, step.cancel) {
            // Another service of the same deploy was quicker.
            Err(_) if self.client.find_one(&inspect, step.cancel)?.is_some() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Waits until a container is healthy and answers as it must.
    pub(super) fn wait(&self, workload: &Workload, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let service = &workload.service;
        let first = self.inspect(name, step)?;
        let addresses = first.addresses(&self.host);
        if workload.port.is_some() && addresses.is_empty() && first.runs() {
            let message = format!("the port of `{service}` is not reached: it is not published");
            return Err(Fault::new(Exit::Machine, message).into());
        }
        let (mut looked, mut last) = (Instant::now(), first.clone());
        let mut alive = || {
            if looked.elapsed() > LOOK || !last.runs() {
                last = self.inspect(name, step)?;
                looked = Instant::now();
            }
            let again = last.restart_count > first.restart_count;
            Ok((!last.runs() || again).then(|| format!("ended by itself: {}", last.ended())))
        };
        match health::wait(workload, &addresses, step, &mut alive)? {
            None => Ok(()),
            Some(why) => {
                let log = self.tail(name, step);
                Err(Unhealthy { service: service.clone(), why, log }.into())
            }
        }
    }

    pub(super) fn inspect(&self, name: &str, step: &Step<'_>) -> anyhow::Result<Container> {
        let gone =
            || Fault::new(Exit::Machine, format!("the container `{name}` is gone: somebody removed it"));
        Ok(self.client.inspect(&[name], step.cancel)?.pop().ok_or_else(gone)?)
    }

    pub(super) fn tail(&self, name: &str, step: &Step<'_>) -> Vec<String> {
        let command = self.client.command().args(["logs", "--tail", TAIL, name]);
        let Ok(output) = client::call(&command, &step.cancel.cleanup()) else { return Vec::new() };
        [output.stdout, output.stderr]
            .iter()
            .flat_map(|bytes| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn remove<'c>(
        &self,
        containers: impl Iterator<Item = &'c Container>,
        step: &Step<'_>,
    ) -> anyhow::Result<()> {
        for container in containers {
            // By its id: it may have been renamed since it was seen.
            self.client.find_one(&["stop", "--time", GRACE, &container.id], step.cancel)?;
            self.discard(&container.id, step)?;
        }
        Ok(())
    }

    fn discard(&self, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        self.client.find_one(&["rm", "--force", "--volumes", name], step.cancel).map(|_| ())
    }

    pub(super) fn take_down(&self, service: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let found = self.containers(service, step)?;
        self.remove(found.iter(), step)
    }

    fn seen(&self, container: &Container) -> Observed {
        let labels = &container.config.labels;
        let addresses = container.addresses(&self.host);
        let health = self.condition(container, &addresses);
        Observed {
            digest: labels.get(DIGEST).and_then(|digest| digest.parse().ok()),
            hash: labels.get(HASH).cloned(),
            ready: u32::from(health == Condition::Healthy),
            wanted: 1,
            restarts: container.restart_count,
            since: humantime::parse_rfc3339_weak(
                container.state.started_at.split('.').next().unwrap_or_default(),
            )
            .ok()
            .and_then(|time| Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())),
            addresses: addresses.first().map(ToString::to_string).into_iter().collect(),
            drift: Vec::new(),
            health,
        }
    }

    fn condition(&self, container: &Container, addresses: &[std::net::SocketAddr]) -> Condition {
        if container.state.status == "restarting" {
            return Condition::Unhealthy(format!("it ended ({}) and is started again", container.ended()));
        }
        if !container.runs() {
            return Condition::Stopped(container.ended());
        }
        if addresses.is_empty() {
            return Condition::Healthy;
        }
        let timeout = Duration::from_secs(2);
        let answer = match container.config.labels.get(READY) {
            Some(path) => match probe::get(addresses, path, timeout) {
                answer if answer.is_success() => return Condition::Healthy,
                answer => format!("`GET {path}` {answer}"),
            },
            None => match probe::listens(addresses, timeout) {
                Ok(()) => return Condition::Healthy,
                Err(why) => format!("a connection got no answer: {why}"),
            },
        };
        Condition::Unhealthy(answer)
    }

    fn log(
        &self,
        service: &str,
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        for container in self.containers(service, step)?.iter().take(1) {
            let mut command = self.client.command().arg("logs");
            if let Some(tail) = ask.tail {
                command = command.arg("--tail").arg(tail.to_string());
            }
            if ask.follow {
                command = command.arg("--follow");
                command.timeout = None;
            }
            let command = command.arg(container.name());
            let said = command.stream(step.cancel, &|_, line| sink(service, line));
            match said.and_then(|output| match output.status {
                Status::Cancelled => Ok(output),
                _ => command.checked(output),
            }) {
                Ok(_) => {}
                Err(ProcessError::Failed { status: Status::Cancelled, .. }) => {}
                Err(error) => {
                    return Err(
                        anyhow::Error::from(error).context(Fault::new(Exit::Machine, "docker refused"))
                    );
                }
            }
        }
        Ok(())
    }
}

impl Driver for Docker {
    fn observe(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        let mut seen = BTreeMap::new();
        let mut all = self.client.labelled(&self.labels(None), step.cancel)?;
        all.sort_by_key(|container| {
            container.config.labels.get(SERVICE).map(|service| self.rank(container, service))
        });
        for container in all {
            let Some(service) = container.config.labels.get(SERVICE) else { continue };
            if !seen.contains_key(service) {
                seen.insert(service.clone(), self.seen(&container));
            }
        }
        Ok(seen)
    }

    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()> {
        workloads.iter().try_for_each(|workload| self.bring_up(workload, step))
    }

    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()> {
        before.iter().try_for_each(|before| match &before.workload {
            Some(workload) => self.bring_up(workload, step),
            None => self.take_down(&before.service, step),
        })
    }

    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        if !ask.follow {
            return services.iter().try_for_each(|service| self.log(service, ask, step, sink));
        }
        std::thread::scope(|scope| {
            let follow = |service: &'_ String| {
                let service = service.clone();
                scope.spawn(move || self.log(&service, ask, step, sink))
            };
            let threads: Vec<_> = services.iter().map(follow).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("internal: it panicked")))
            })
        })
    }

    fn down(&self, services: &[String], step: &Step<'_>) -> anyhow::Result<()> {
        services.iter().try_for_each(|service| self.take_down(service, step))?;
        let left = self.client.labelled(&self.labels(None), step.cancel)?;
        if left.is_empty() && self.target.settings.docker.network.is_none() {
            // Somebody else's container may be in it: then it stays.
            let _ = self.client.find_one(&["network", "rm", &self.network], step.cancel);
        }
        Ok(())
    }
}
