//! The jobs of the image stage.

use std::collections::BTreeMap;

use super::{ImageSpec, IndexSpec, VariantSpec, dockerfile};
use crate::host::clock;
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::{Release, ServiceRelease};
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};

/// The image of one platform.
pub fn platform_job(service: &str, platform: &Platform) -> JobId {
    JobId::new(Stage::Image, &[service, &platform.to_string()])
}

/// The index over all of them.
pub fn index_job(service: &str) -> JobId {
    JobId::new(Stage::Image, &[service])
}

/// One job a service and platform, one for the index, one for the environment's variant. `builds`: the
/// jobs that leave the binaries.
pub fn jobs(draft: &mut Draft<'_>, builds: &BTreeMap<(String, Platform), JobId>) {
    let release = draft.release;
    for (name, service) in &release.services {
        for platform in service.image_platforms() {
            if let Some(settings) = &service.settings.dockerfile {
                // What another run left need not be built.
                if !draft.has(&platform_job(name, platform)) {
                    let labels = labels(release, name, service);
                    dockerfile::jobs::add(draft, name, service, settings, platform, labels);
                }
            } else if let Some(build) = builds.get(&(name.clone(), platform.clone())) {
                add_image(draft, name, service, platform, build);
            }
        }
        index(draft, name, service);
    }
}

fn add_image(
    draft: &mut Draft<'_>,
    name: &str,
    service: &ServiceRelease,
    platform: &Platform,
    build: &JobId,
) {
    let image = &service.settings.image;
    let files = image.files.iter().map(|(to, from)| (to.clone(), draft.workspace.root.join(from))).collect();
    let spec = ImageSpec {
        service: name.to_owned(),
        platform: platform.clone(),
        build: build.clone(),
        base: image.base(platform).clone(),
        base_place: image.bases.get(platform).map(|base| base.place.clone()),
        user: image.user.clone(),
        compression: image.compression,
        labels: labels(draft.release, name, service),
        created: draft.release.created(),
        file_time: draft.release.epoch.unwrap_or(0),
        env: image.env.clone(),
        port: service.settings.port,
        files,
    };
    let needs = vec![build.clone()];
    // The layers come from the cache; what is left are two small documents, written each time.
    let (state, why) = draft.follows(&needs, || false);
    draft.add(Sketch {
        id: platform_job(name, platform),
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: Some(platform.clone()),
        title: name.to_owned(),
        needs,
        cost: 2,
        state,
        why,
        action: Action::Image(spec),
    });
}

/// The index and, where the release asks for it, the variant, over the platforms' jobs that the draft
/// has.
fn index(draft: &mut Draft<'_>, name: &str, service: &ServiceRelease) {
    let manifests: Vec<JobId> = service
        .image_platforms()
        .map(|platform| platform_job(name, platform))
        .filter(|id| draft.has(id))
        .collect();
    if manifests.is_empty() {
        return;
    }
    let spec = IndexSpec {
        service: name.to_owned(),
        manifests: manifests.clone(),
        version: service.version.clone(),
        annotations: labels(draft.release, name, service),
        size_budget: service.settings.image.size_budget.clone(),
    };
    let (state, why) = draft.follows(&manifests, || false);
    let id = index_job(name);
    draft.add(Sketch {
        id: id.clone(),
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: None,
        title: format!("{name} index"),
        needs: manifests,
        cost: 1,
        state,
        why,
        action: Action::Index(spec),
    });
    let Some(variant) = &service.variant else { return };
    let environment = &draft.release.environment;
    draft.add(Sketch {
        id: JobId::new(Stage::Image, &[name, environment]),
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: None,
        title: format!("{name} for {environment}"),
        needs: vec![id.clone()],
        cost: 1,
        state: State::Depends,
        why: format!("on {id}"),
        action: Action::Variant(VariantSpec {
            service: name.to_owned(),
            environment: environment.clone(),
            index: id,
            env: variant.env.clone(),
            tag: variant.tag.clone(),
        }),
    });
}

/// What an image says of itself (OCI image-spec, annotations.md), the user's own labels last, and the
/// health checks as data, since an image from scratch has no program that could make them.
fn labels(release: &Release, name: &str, service: &ServiceRelease) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut set = |key: &str, value: String| labels.insert(format!("org.opencontainers.image.{key}"), value);
    set("title", name.to_owned());
    set("version", service.version.to_string());
    set("revision", release.commit.to_string());
    set("created", clock::rfc3339(release.created()));
    if let Some(source) = &release.source {
        set("source", source.clone());
    }
    let health = &service.settings.health;
    for (kind, path) in [("startup", &health.startup), ("ready", &health.ready), ("live", &health.live)] {
        if let Some(path) = path {
            labels.insert(format!("dev.longshore.health.{kind}"), path.clone());
        }
    }
    labels.extend(service.settings.image.labels.clone());
    labels
}
