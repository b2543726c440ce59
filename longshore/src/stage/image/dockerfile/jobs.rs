//! The job of one platform of a service with a Dockerfile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DockerfileSpec, inputs, kept};
use crate::diagnostic::Source;
use crate::dockerfile;
use crate::dockerfile::arguments::{REVISION, VERSION};
use crate::plan::{JobId, Stage};
use crate::platform::Platform;
use crate::release::ServiceRelease;
use crate::resolve::DockerfileSettings;
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::image::jobs::labels;

/// What tells a build from the service's others.
#[derive(Debug)]
pub struct Work<'a> {
    pub id: JobId,
    pub title: String,
    pub args: &'a BTreeMap<String, String>,
    pub needs: Vec<JobId>,
}

/// Adds it.
pub fn add(
    draft: &mut Draft<'_>,
    name: &str,
    service: &ServiceRelease,
    settings: &DockerfileSettings,
    platform: &Platform,
    work: Work<'_>,
) {
    let root = &draft.workspace.root;
    let mut args = work.args.clone();
    for (arg, value) in [(VERSION, service.version.to_string()), (REVISION, draft.release.commit.to_string())]
    {
        if settings.declared.contains(arg) {
            args.entry(arg.to_owned()).or_insert(value);
        }
    }
    let moving = moving(settings, &args);
    let mut spec = DockerfileSpec {
        service: name.to_owned(),
        platform: platform.clone(),
        file: root.join(&settings.file),
        context: root.join(&settings.context),
        target: settings.target.clone(),
        args,
        labels: labels(draft.release, name, service),
        created: draft.release.created(),
        compression: service.settings.image.compression,
        engine: settings.engine,
        builder: settings.builder.clone(),
        cache_from: settings.cache_from.clone(),
        cache_to: settings.cache_to.clone(),
        cache_place: settings.cache_place.clone(),
        secrets: settings.secrets.clone(),
        inputs: Err(moving.clone().unwrap_or_default()),
    };
    if moving.is_none() {
        spec.inputs = inputs::of(&spec, draft.workspace, draft.hashes);
    }
    let (state, why) = kept::state(&spec, draft.workspace, draft.cache);
    draft.add(Sketch {
        id: work.id,
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: Some(platform.clone()),
        title: work.title,
        needs: work.needs,
        cost: 60,
        state,
        why,
        action: Action::Dockerfile(Box::new(spec)),
    });
}

/// What keeps a build from being known beforehand.
fn moving(settings: &DockerfileSettings, args: &BTreeMap<String, String>) -> Option<String> {
    let source = Arc::new(Source { path: settings.file.clone(), text: settings.text.clone() });
    // One that can't be parsed is a fault of the configuration, and never comes here.
    dockerfile::parse(&source).ok()?.moving(settings.target.as_deref(), args)
}
