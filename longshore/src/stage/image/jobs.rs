//! The jobs of the image stage.

use std::collections::BTreeMap;

use super::{ImageSpec, IndexSpec, VariantSpec, dockerfile};
use crate::host::clock;
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::{Release, ServiceRelease};
use crate::resolve::DockerfileSettings;
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

/// A service's variant for an environment.
pub fn variant_job(service: &str, environment: &str) -> JobId {
    JobId::new(Stage::Image, &[service, environment])
}

/// One job a service and platform, one for the index, one a variant; of a Dockerfile's service all of them for
/// each environment. `builds`: the jobs that leave the binaries.
pub fn jobs(draft: &mut Draft<'_>, builds: &BTreeMap<(String, Platform), JobId>) {
    for (name, service) in &draft.release.services {
        if let Some(settings) = &service.settings.dockerfile {
            add_builds(draft, name, service, settings);
            continue;
        }
        for platform in service.image_platforms() {
            if let Some(build) = builds.get(&(name.clone(), platform.clone())) {
                add_image(draft, name, service, platform, build);
            }
        }
        let index = index_job(name);
        let manifests: Vec<JobId> =
            service.image_platforms().map(|platform| platform_job(name, platform)).collect();
        let (title, tag) = (format!("{name} index"), service.version.to_string());
        add_index(draft, (name, service), index.clone(), title, tag, &manifests);
        if draft.has(&index) {
            add_variants(draft, name, service, &index);
        }
    }
}

/// One environment's build of a Dockerfile.
struct Build<'a> {
    /// `None` for that which the run is for.
    environment: Option<&'a str>,
    args: &'a BTreeMap<String, String>,
    tag: String,
}

impl Build<'_> {
    fn platform_job(&self, service: &str, platform: &Platform) -> JobId {
        let job = platform_job(service, platform);
        self.environment.map_or(job, |name| JobId::new(Stage::Image, &[service, &platform.to_string(), name]))
    }

    fn index_job(&self, service: &str) -> JobId {
        self.environment.map_or_else(|| index_job(service), |name| variant_job(service, name))
    }
}

/// A Dockerfile's image, then those of the environments whose `ARG`s differ: one after the other, as by runs of
/// their own, since most of their steps are the same.
fn add_builds(draft: &mut Draft<'_>, name: &str, service: &ServiceRelease, settings: &DockerfileSettings) {
    let first = Build { environment: None, args: &service.build_args, tag: service.version.to_string() };
    let others = service.variants.iter().map(|(environment, variant)| Build {
        environment: Some(environment),
        args: &variant.values,
        tag: variant.tag.clone(),
    });
    let mut before = Vec::new();
    for build in std::iter::once(first).chain(others) {
        let mut made = Vec::new();
        for platform in service.image_platforms() {
            let id = build.platform_job(name, platform);
            // What another run left need not be built.
            if !draft.has(&id) {
                let work = dockerfile::jobs::Work {
                    id: id.clone(),
                    title: title(name, build.environment),
                    args: build.args,
                    needs: before.clone(),
                };
                dockerfile::jobs::add(draft, name, service, settings, platform, work);
            }
            made.push(id);
        }
        let title = format!("{} index", title(name, build.environment));
        add_index(draft, (name, service), build.index_job(name), title, build.tag, &made);
        before = made;
    }
}

fn title(name: &str, environment: Option<&str>) -> String {
    environment.map_or_else(|| name.to_owned(), |environment| format!("{name} for {environment}"))
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

/// The index over those of the platforms' jobs that the draft has.
fn add_index(
    draft: &mut Draft<'_>,
    (name, service): (&str, &ServiceRelease),
    id: JobId,
    title: String,
    tag: String,
    manifests: &[JobId],
) {
    let manifests: Vec<JobId> = manifests.iter().filter(|job| draft.has(job)).cloned().collect();
    if manifests.is_empty() {
        return;
    }
    let spec = IndexSpec {
        service: name.to_owned(),
        manifests: manifests.clone(),
        tag,
        annotations: labels(draft.release, name, service),
        size_budget: service.settings.image.size_budget.clone(),
    };
    let (state, why) = draft.follows(&manifests, || false);
    draft.add(Sketch {
        id,
        stage: Stage::Image,
        service: Some(name.to_owned()),
        platform: None,
        title,
        needs: manifests,
        cost: 1,
        state,
        why,
        action: Action::Index(spec),
    });
}

/// The environments' variants of an index.
fn add_variants(draft: &mut Draft<'_>, name: &str, service: &ServiceRelease, index: &JobId) {
    for (environment, variant) in &service.variants {
        draft.add(Sketch {
            id: variant_job(name, environment),
            stage: Stage::Image,
            service: Some(name.to_owned()),
            platform: None,
            title: title(name, Some(environment)),
            needs: vec![index.clone()],
            cost: 1,
            state: State::Depends,
            why: format!("on {index}"),
            action: Action::Variant(VariantSpec {
                service: name.to_owned(),
                environment: environment.clone(),
                index: index.clone(),
                env: variant.values.clone(),
                tag: variant.tag.clone(),
            }),
        });
    }
}

/// What an image says of itself (OCI image-spec, annotations.md), the user's own labels last, and the
/// health checks as data, since an image from scratch has no program that could make them.
pub fn labels(release: &Release, name: &str, service: &ServiceRelease) -> BTreeMap<String, String> {
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
