//! The requests of `verify`, asked of a pod of the new version through `kubectl port-forward`: what the
//! Service has before it, in the cluster or outside, is not asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::deploy::Step;
use crate::deploy::health::answers;
use crate::deploy::kubernetes::manifest::text;
use crate::deploy::kubernetes::rollout::{Seen, is_ready};
use crate::deploy::kubernetes::{Kubernetes, pause};
use crate::deploy::workload::Workload;
use crate::fault::{Exit, Fault, Tail};
use crate::host::background::Background;

/// How long a wrong answer is asked for again: the service has said that it is ready.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);

impl Kubernetes {
    /// Asks the workload's requests of one ready pod of a Deployment's newest version.
    pub(super) fn verify(&self, workload: &Workload, name: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let Some(port) = workload.port.filter(|_| !workload.verify.is_empty()) else { return Ok(()) };
        let seen = self.seen(&workload.service, step)?;
        let pods = seen.newest_pods(name);
        let Some(pod) = pods.iter().find(|pod| is_ready(pod)) else {
            let why = "has no pod that is ready".to_owned();
            return Err(self.unhealthy(workload, name, why, &seen, step));
        };
        let pod = format!("pod/{}", text(pod, "/metadata/name"));
        let command = self.kubectl.command([
            "port-forward",
            &pod,
            &format!(":{port}"),
            "--address=127.0.0.1",
            "--request-timeout=0",
        ]);
        let mut forward = Background::start(&command, step.cancel).map_err(|error| {
            anyhow::Error::from(error).context(Fault::new(Exit::Machine, "kubectl can't be run"))
        })?;
        let address = self.forwarded(&mut forward, step)?;
        for request in &workload.verify {
            step.progress.status(&format!("asking for {}", request.path));
            let until = (Instant::now() + PATIENCE).min(step.until);
            while let Err(why) = answers(&[address], request, workload.health.timeout) {
                if Instant::now() >= until {
                    return Err(self.wrong(workload, name, why, &seen, step));
                }
                pause(TICK * 4, step)?;
            }
        }
        Ok(())
    }

    fn wrong(
        &self,
        workload: &Workload,
        name: &str,
        why: String,
        seen: &Seen,
        step: &Step<'_>,
    ) -> anyhow::Error {
        self.unhealthy(workload, name, format!("is not what it should be: {why}"), seen, step)
    }

    /// The local address, once kubectl listens there.
    fn forwarded(&self, forward: &mut Background, step: &Step<'_>) -> anyhow::Result<SocketAddr> {
        loop {
            let log = forward.log();
            if let Some(port) = log.iter().find_map(|line| local_port(line)) {
                return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
            if forward.ended()?.is_some() || step.left().is_zero() {
                let fault = Fault::new(Exit::Machine, "the pod can't be asked through the cluster")
                    .hint("`kubectl port-forward` needs the right to `create` `pods/portforward`");
                return Err(anyhow::Error::from(Tail(forward.log())).context(fault));
            }
            pause(TICK, step)?;
        }
    }
}

/// Of `Forwarding from 127.0.0.1:40001 -> 8080`.
fn local_port(line: &str) -> Option<u16> {
    line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_what_kubectl_says() {
        assert_eq!(local_port("Forwarding from 127.0.0.1:40001 -> 8080"), Some(40001));
        assert_eq!(local_port("error: unable to listen"), None);
    }
}
