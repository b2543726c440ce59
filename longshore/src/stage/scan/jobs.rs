//! The jobs of the scan stage: one a subject's platform.

use super::{Options, ScanSpec};
use crate::plan::{JobId, Stage, State};
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::image::binary_path;
use crate::stage::image::jobs::platform_job;

/// One job an image that is to leave. An image's verdict expires with the database, so what a job finds
/// done is only known when it starts.
pub fn jobs(draft: &mut Draft<'_>) {
    let release = draft.release;
    for (name, service) in release.subjects() {
        for platform in service.image_platforms() {
            let image = platform_job(name, platform);
            if !draft.has(&image) {
                continue;
            }
            let spec = ScanSpec {
                service: name.clone(),
                platform: platform.clone(),
                image: image.clone(),
                // Where a Dockerfile puts its binaries is its own affair.
                executable: service
                    .settings
                    .dockerfile
                    .is_none()
                    .then(|| format!("/{}", binary_path(name, platform))),
                scanner: release.trivy.clone().unwrap_or_default(),
                options: Options::from(&release.stages.scan),
                offline: draft.offline,
            };
            draft.add(Sketch {
                id: JobId::new(Stage::Scan, &[name, &platform.to_string()]),
                stage: Stage::Scan,
                service: Some(name.clone()),
                platform: Some(platform.clone()),
                title: name.clone(),
                needs: vec![image.clone()],
                cost: 3,
                state: State::Depends,
                why: format!("on {image} and the database of advisories"),
                action: Action::Scan(spec),
            });
        }
    }
}
