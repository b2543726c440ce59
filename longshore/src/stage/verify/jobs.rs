//! The jobs of the verify stage: one a subject, for the images of this machine's platform.

use super::{GRACE, Instance, VerifySpec};
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::Release;
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::image::jobs::platform_job;

/// One job a subject that has an image for this machine; the others' verdict is that none exists.
pub fn jobs(draft: &mut Draft<'_>) {
    let release = draft.release;
    let Some(host) = Platform::host_images() else { return };
    for (name, _) in release.subjects() {
        let image = platform_job(name, &host);
        if !draft.has(&image) {
            continue;
        }
        let needs: Vec<Instance> = start_order(release, name)
            .into_iter()
            .filter(|need| need != name)
            .filter_map(|need| instance(release, &need, &host))
            .filter(|need| draft.has(&need.image))
            .collect();
        let Some(instance) = instance(release, name, &host) else { continue };
        let mut waits = vec![image.clone()];
        waits.extend(needs.iter().map(|need| need.image.clone()));
        let settings = &release.stages.verify;
        let spec = VerifySpec {
            version: release.services[name].version.to_string(),
            instance,
            needs,
            runner: settings.runner.into(),
            timeout: settings.timeout,
            grace: GRACE,
        };
        draft.add(Sketch {
            id: JobId::new(Stage::Verify, &[name]),
            stage: Stage::Verify,
            service: Some(name.clone()),
            platform: Some(host.clone()),
            title: name.clone(),
            needs: waits,
            cost: 5,
            state: State::Depends,
            why: format!("on {image}"),
            action: Action::Verify(spec),
        });
    }
}

fn instance(release: &Release, name: &str, host: &Platform) -> Option<Instance> {
    let service = release.services.get(name)?;
    Some(Instance {
        service: name.to_owned(),
        image: platform_job(name, host),
        port: service.settings.port,
        health: service.settings.health.clone(),
        ends: service.settings.ends,
        env: service.run_env.clone(),
    })
}

/// A service and all that it needs, what is needed first. The configuration has no cycles.
fn start_order(release: &Release, name: &str) -> Vec<String> {
    let mut order = Vec::new();
    visit(release, name, &mut order);
    order
}

fn visit(release: &Release, name: &str, order: &mut Vec<String>) {
    if order.iter().any(|known| known == name) {
        return;
    }
    let needs = release.services.get(name).map(|service| service.settings.needs.clone());
    for need in needs.unwrap_or_default() {
        visit(release, &need, order);
    }
    order.push(name.to_owned());
}
