//! A new version beside the one that runs: a second Deployment that the Service selects too, for a part of the
//! requests. The one that runs keeps all its replicas, so that putting back is taking away.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::Step;
use crate::deploy::kubernetes::manifest::{self, Live, WORKLOAD, canary_name, text};
use crate::deploy::kubernetes::options::Options;
use crate::deploy::kubernetes::{Kubernetes, pause};
use crate::deploy::workload::Workload;

/// How many replicas of the new version get `percent` of the requests beside `stable` of the old one.
fn replicas(stable: u64, percent: u32) -> u32 {
    let percent = u64::from(percent.clamp(1, 99));
    u32::try_from((stable * percent).div_ceil(100 - percent)).unwrap_or(u32::MAX).max(1)
}

impl Kubernetes {
    /// Goes through the steps of the canary, verified at each, where another version runs.
    pub(super) fn try_beside(
        &self,
        workload: &Workload,
        options: &Options,
        live: &Live,
        found: Option<&Value>,
        step: &Step<'_>,
    ) -> anyhow::Result<()> {
        let Some(found) = found.filter(|_| !options.canary.steps.is_empty()) else { return Ok(()) };
        let runs = text(found, &format!("/metadata/annotations/{}", WORKLOAD.replace('/', "~1")));
        if runs == workload.hash()? {
            return Ok(());
        }
        let stable = found.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1).max(1);
        for percent in &options.canary.steps {
            let count = replicas(stable, *percent);
            step.progress.status(&format!("{percent} % canary: {count} beside {stable}"));
            let objects = manifest::render_canary(workload, options, &self.frame, live, count)?;
            self.kubectl.apply(&objects, step.cancel)?;
            let name = canary_name(&workload.service);
            self.wait(workload, &name, step)?;
            self.verify(workload, &name, step)?;
            if options.canary.pause > 0 {
                self.hold(workload, &name, Duration::from_millis(options.canary.pause), step)?;
                self.verify(workload, &name, step)?;
            }
        }
        Ok(())
    }

    /// Lets the canary run for a while: that it stays up is looked at all the time.
    fn hold(&self, workload: &Workload, name: &str, time: Duration, step: &Step<'_>) -> anyhow::Result<()> {
        const LOOK: Duration = Duration::from_secs(1);
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            pause(left.min(LOOK), step)?;
            self.wait(workload, name, step)?;
        }
    }

    /// Takes the second Deployment away, if there is one; its pods drain.
    pub(super) fn remove_canary(&self, service: &str, step: &Step<'_>) -> anyhow::Result<()> {
        let object = format!("apps/v1/Deployment/{}", canary_name(service));
        self.delete(std::iter::once(object.as_str()), step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_requests_is_a_number_of_replicas() {
        for (stable, percent, expected) in
            [(3, 25, 1), (3, 50, 3), (9, 10, 1), (1, 1, 1), (10, 1, 1), (2, 99, 198)]
        {
            assert_eq!(replicas(stable, percent), expected, "{percent} % beside {stable}");
        }
    }
}
