//! The services that are built from a Dockerfile: its syntax, its stages and its `ARG`s against what the
//! service declares.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::services::path;
use crate::config::paths::Facts;
use crate::config::{Config, Engine, Image, Located, Service};
use crate::diagnostic::{Diagnostic, Place, Source, did_you_mean, quoted};
use crate::dockerfile;

pub(crate) fn check(config: &Config, facts: &Facts) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for service in config.services.values() {
        match &service.dockerfile {
            Some(file) => faults.extend(of_service(config, service, file, facts)),
            None => faults.extend(stray(service)),
        }
    }
    faults.extend(engine(&config.image, None));
    faults
}

/// What says something to a Dockerfile only.
fn stray(service: &Service) -> Vec<Diagnostic> {
    let keys: [(&str, Option<&Place>); 3] = [
        ("context", service.context.as_ref().map(|context| &context.place)),
        ("target", service.target.as_ref().map(|target| &target.place)),
        ("build-secrets", service.build_secrets.values().next().map(|secret| &secret.place)),
    ];
    let fault = |(key, place): (&str, Option<&Place>)| {
        Some(
            Diagnostic::error(format!("service `{}` has `{key}` and no `dockerfile`", service.name.value))
                .at(place?, "")
                .hint("write `dockerfile`, or take it out: the embedded builder has no use for it"),
        )
    };
    keys.into_iter().filter_map(fault).collect()
}

fn of_service(config: &Config, service: &Service, file: &Located<PathBuf>, facts: &Facts) -> Vec<Diagnostic> {
    let name = &service.name.value;
    let mut faults = Vec::new();
    faults.extend(path(&format!("dockerfile of service `{name}`"), file, facts, Some(false)));
    if let Some(context) = &service.context {
        faults.extend(path(&format!("context of service `{name}`"), context, facts, Some(true)));
    }
    let own = [
        ("files", service.files.values().next().map(|file| &file.place)),
        ("image.base", service.image.base.as_ref().map(|base| &base.place)),
        ("image.bases", service.image.bases.values().next().map(|base| &base.place)),
        ("image.user", service.image.user.as_ref().map(|user| &user.place)),
    ];
    for (key, place) in own.into_iter().filter_map(|(key, place)| Some((key, place?))) {
        let message = format!("service `{name}` has `dockerfile`, to which `{key}` says nothing");
        faults.push(
            Diagnostic::error(message)
                .at(place, "")
                .hint("write it into the Dockerfile: `COPY`, `FROM`, `USER`"),
        );
    }
    faults.extend(engine(&service.image, config.image.engine.as_ref()));
    faults.extend(caches(service, &config.image));
    match facts.dockerfiles.get(&file.value) {
        Some(Ok(source)) => faults.extend(text(service, source)),
        Some(Err(why)) => {
            faults.push(
                Diagnostic::error(format!("dockerfile of service `{name}`: {why}")).at(&file.place, ""),
            );
        }
        None => {}
    }
    faults
}

fn text(service: &Service, source: &Arc<Source>) -> Vec<Diagnostic> {
    let file = match dockerfile::parse(source) {
        Ok(file) => file,
        Err(fault) => return vec![*fault],
    };
    let name = &service.name.value;
    let mut faults = Vec::new();
    let target = service.target.as_ref();
    if let Some(target) = target.filter(|target| !file.has_stage(&target.value)) {
        let mut fault =
            Diagnostic::error(format!("`{}` has no stage {}", source.path.display(), quoted(&target.value)))
                .at(&target.place, "");
        let names = file.stage_names();
        fault.hint = did_you_mean(&target.value, names.iter().map(String::as_str));
        faults.push(fault);
        return faults;
    }
    let declared = file.declared();
    for (arg, build_arg) in service.build_args.iter().filter(|(arg, _)| !declared.contains(*arg)) {
        let message =
            format!("build-arg `{arg}` of service `{name}` is no `ARG` of `{}`", source.path.display());
        let mut fault = Diagnostic::error(message).at(&build_arg.place, "");
        fault.hint = Some(match crate::diagnostic::meant(arg, declared.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!(
                "write `ARG {arg}` into the stage that uses it; what a service reads when it runs goes under `[env]`"
            ),
        });
        faults.push(fault);
    }
    let given: BTreeSet<&str> = service.build_args.keys().map(String::as_str).collect();
    faults.extend(file.faults(name, target.map(|target| target.value.as_str()), &given));
    faults
}

/// A builder is one of buildx.
fn engine(image: &Image, shared: Option<&Located<Engine>>) -> Option<Diagnostic> {
    let builder = image.builder.as_ref()?;
    let engine = image.engine.as_ref().or(shared)?;
    if matches!(engine.value, Engine::Auto | Engine::Buildx) {
        return None;
    }
    Some(
        Diagnostic::error(format!("`builder` {} needs the engine `buildx`", quoted(&builder.value)))
            .at(&builder.place, "")
            .related(&engine.place, "another one here")
            .hint("write `engine = \"buildx\"`, or leave `builder` out"),
    )
}

/// What the engine that is named can't do with the caches.
fn caches(service: &Service, shared: &Image) -> Vec<Diagnostic> {
    let own = &service.image;
    let Some(engine) = own.engine.as_ref().or(shared.engine.as_ref()) else { return Vec::new() };
    let from = own.cache_from.as_ref().or(shared.cache_from.as_ref()).into_iter().flatten();
    let to = own.cache_to.as_ref().or(shared.cache_to.as_ref()).into_iter().flatten();
    let caches = from.map(|cache| ("cache-from", cache)).chain(to.map(|cache| ("cache-to", cache)));
    let fault = |(key, cache): (&str, &Located<String>)| {
        let lacks = engine.value.lacks(key, &cache.value, !service.build_args.is_empty())?;
        Some(
            Diagnostic::error(format!("{lacks}, and service `{}` has `{key}`", service.name.value))
                .at(&cache.place, "")
                .related(&engine.place, "the engine")
                .hint("write `engine = \"buildx\"`, or leave the cache out"),
        )
    };
    caches.filter_map(fault).collect()
}
