//! The job of one platform of a service with a Dockerfile.

use std::collections::BTreeMap;

use super::DockerfileSpec;
use crate::dockerfile::arguments::{REVISION, VERSION};
use crate::plan::{Stage, State};
use crate::platform::Platform;
use crate::release::ServiceRelease;
use crate::resolve::DockerfileSettings;
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::image::jobs::platform_job;

/// Adds it. `labels`: what the image is to say of itself.
pub fn add(
    draft: &mut Draft<'_>,
    name: &str,
    service: &ServiceRelease,
    settings: &DockerfileSettings,
    platform: &Platform,
    labels: BTreeMap<String, String>,
) {
    let root = &draft.workspace.root;
    let mut args = service.build_args.clone();
    for (arg, value) in [(VERSION, service.version.to_string()), (REVISION, draft.release.commit.to_string())]
    {
        if settings.declared.contains(arg) {
            args.entry(arg.to_owned()).or_insert(value);
        }
    }
    let spec = DockerfileSpec {
        service: name.to_owned(),
        platform: platform.clone(),
        file: root.join(&settings.file),
        context: root.join(&settings.context),
        target: settings.target.clone(),
        args,
        labels,
        created: draft.release.created(),
        compression: service.settings.image.compression,
        engine: settings.engine,
        builder: settings.builder.clone(),
        cache_from: settings.cache_from.clone(),
        cache_to: settings.cache_to.clone(),
        secrets: settings.secrets.clone(),
    };
    draft.add(Sketch {
        id: platform_job(name, platform),
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: Some(platform.clone()),
        title: name.to_owned(),
        needs: Vec::new(),
        cost: 60,
        state: State::Run,
        why: format!("from {}", settings.file.display()),
        action: Action::Dockerfile(Box::new(spec)),
    });
}
