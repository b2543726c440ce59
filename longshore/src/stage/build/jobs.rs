//! The jobs of the build stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{BuildSpec, Target, VERSION, cached_digest, why};
use crate::config::template::expand;
use crate::facts::go::Setting;
use crate::facts::go::inputs::Program;
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::{Release, ServiceRelease};
use crate::stage::Action;
use crate::stage::draft::{Draft, Sketch};
use crate::stage::image::BinaryLayer;

/// What one `go build` has in common.
type Group = (Setting, Platform, Vec<String>, Vec<String>);

/// One job a module, platform, toolchain and flags set. Main packages whose executables have one name
/// would overwrite each other without a word, so they go into jobs of their own. Gives the job of each
/// service and platform that is `wanted`.
///
/// # Errors
/// A flag's file that can't be read.
pub fn jobs(
    draft: &mut Draft<'_>,
    wanted: impl Fn(&str, &Platform) -> bool,
) -> anyhow::Result<BTreeMap<(String, Platform), JobId>> {
    let mut groups: BTreeMap<Group, Vec<Target>> = BTreeMap::new();
    for (name, service) in &draft.release.services {
        let build = &service.settings.build;
        let Some(program) = &service.inputs.program else { continue };
        for platform in service.settings.platforms.iter().filter(|platform| wanted(name, platform)) {
            let group = (program.setting.clone(), platform.clone(), build.flags.clone(), build.tags.clone());
            let target = target(draft, name, service, program, platform)?;
            groups.entry(group).or_default().push(target);
        }
    }
    let mut made = BTreeMap::new();
    for ((setting, platform, flags, tags), targets) in groups {
        for targets in apart(targets) {
            let spec = BuildSpec {
                setting: setting.clone(),
                platform: platform.clone(),
                flags: flags.clone(),
                tags: tags.clone(),
                targets,
            };
            let id = add(draft, spec);
            let Some(Action::Build(spec)) = draft.action(&id) else { continue };
            for target in &spec.targets {
                made.insert((target.service.clone(), platform.clone()), id.clone());
            }
        }
    }
    Ok(made)
}

/// Targets in lists in which no executable's name comes twice.
fn apart(targets: Vec<Target>) -> Vec<Vec<Target>> {
    let mut lists: Vec<(BTreeSet<String>, Vec<Target>)> = Vec::new();
    for target in targets {
        let name = target.executable.to_lowercase();
        match lists.iter_mut().find(|(names, _)| !names.contains(&name)) {
            Some((names, list)) => {
                names.insert(name);
                list.push(target);
            }
            None => lists.push((BTreeSet::from([name]), vec![target])),
        }
    }
    lists.into_iter().map(|(_, list)| list).collect()
}

fn add(draft: &mut Draft<'_>, spec: BuildSpec) -> JobId {
    let module = draft.workspace.shown(&spec.setting.module).display().to_string();
    let module = if module.is_empty() { "." } else { &module };
    let platform = spec.platform.to_string();
    let mut id = JobId::new(Stage::Build, &[module, &platform]);
    let mut number = 2;
    while draft.has(&id) {
        id = JobId::new(Stage::Build, &[module, &platform, &number.to_string()]);
        number += 1;
    }
    let missing: Vec<&Target> =
        spec.targets.iter().filter(|target| cached_digest(target, draft.cache).is_none()).collect();
    let (state, why) = match missing.first() {
        None => (State::Cached, "nothing changed".to_owned()),
        Some(first) => (State::Run, why(first, &spec.platform, draft.workspace)),
    };
    let names: Vec<&str> = spec.targets.iter().map(|target| target.service.as_str()).collect();
    draft.add(Sketch {
        id: id.clone(),
        stage: Stage::Build,
        service: (names.len() == 1).then(|| names[0].to_owned()),
        platform: Some(spec.platform.clone()),
        title: names.join(", "),
        needs: Vec::new(),
        cost: 20,
        state,
        why,
        action: Action::Build(spec),
    });
    id
}

fn target(
    draft: &mut Draft<'_>,
    name: &str,
    service: &ServiceRelease,
    program: &Program,
    platform: &Platform,
) -> anyhow::Result<Target> {
    let ldflags = ldflags(draft.release, name, service)?;
    let build = &service.settings.build;
    let known = program.pure_go && build.flags.iter().all(|flag| is_known(flag)) && !redirects(build);
    let mut inputs = None;
    if known && let Some(files) = program.files.get(platform) {
        let mut all = files.clone();
        all.add("build stage", VERSION.to_string());
        all.add("main package", &program.package);
        all.add("build flags", build.flags.join(" "));
        all.add("linker flags", ldflags.join(" "));
        all.add("build tags", build.tags.join(","));
        for (variable, value) in platform.go_env() {
            all.add(variable, value);
        }
        for (variable, value) in &build.env {
            all.add(format!("variable {variable}"), value);
        }
        for file in build.flags.iter().filter_map(|flag| profile(flag)) {
            let path = program.setting.module.join(file);
            all.add(draft.workspace.shown(&path).to_string_lossy(), draft.hashes.file(&path)?);
        }
        inputs = Some(Arc::new(all));
    }
    Ok(Target {
        service: name.to_owned(),
        package: program.package.clone(),
        executable: program.executable.clone(),
        ldflags,
        inputs,
        layer: layer(draft.release, name, service, platform),
    })
}

fn layer(
    release: &Release,
    name: &str,
    service: &ServiceRelease,
    platform: &Platform,
) -> Option<BinaryLayer> {
    let wanted = release.runs(Stage::Image)
        && service.settings.dockerfile.is_none()
        && service.image_platforms().any(|other| other == platform);
    wanted.then(|| {
        BinaryLayer::new(name, platform, service.settings.image.compression, release.epoch.unwrap_or(0))
    })
}

fn ldflags(release: &Release, name: &str, service: &ServiceRelease) -> anyhow::Result<Vec<String>> {
    let version = service.version.to_string();
    let values = [("version", version.as_str()), ("service", name), ("commit", release.commit.as_str())];
    service.settings.build.ldflags.iter().map(|flag| expand(flag, &values)).collect()
}

/// Flags whose every input a key holds. With any other, Go always runs.
fn is_known(flag: &str) -> bool {
    let (name, value) = flag.trim_start_matches('-').split_once('=').unwrap_or((flag, ""));
    match name {
        "gcflags" | "asmflags" | "pgo" | "p" | "v" => true,
        "buildmode" => matches!(value, "exe" | "pie" | "default"),
        "mod" => matches!(value, "readonly" | "vendor"),
        _ => false,
    }
}

/// The file of `-pgo=FILE`.
fn profile(flag: &str) -> Option<&str> {
    flag.trim_start_matches('-').strip_prefix("pgo=").filter(|value| !matches!(*value, "auto" | "off"))
}

/// Whether a variable leads Go to inputs that no key holds.
fn redirects(build: &crate::resolve::BuildSettings) -> bool {
    build.env.keys().any(|name| matches!(name.as_str(), "GOFLAGS" | "GOROOT" | "GOWORK" | "CC" | "CXX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_of_one_name_are_built_apart() {
        let target = |service: &str, executable: &str| Target {
            service: service.into(),
            package: service.into(),
            executable: executable.into(),
            ldflags: vec![],
            inputs: None,
            layer: None,
        };
        let lists = apart(vec![target("a", "server"), target("b", "worker"), target("c", "Server")]);
        let services: Vec<Vec<&str>> =
            lists.iter().map(|list| list.iter().map(|t| t.service.as_str()).collect()).collect();
        assert_eq!(services, [vec!["a", "b"], vec!["c"]]);
    }

    #[test]
    fn flags_with_inputs_of_their_own_are_not_known() {
        for (flag, known) in [
            ("-gcflags=all=-l", true),
            ("-pgo=off", true),
            ("-buildmode=pie", true),
            ("-buildmode=plugin", false),
            ("-overlay=o.json", false),
            ("-modfile=x.mod", false),
            ("-mod=mod", false),
            ("-toolexec=x", false),
        ] {
            assert_eq!(is_known(flag), known, "{flag}");
        }
        assert_eq!(profile("-pgo=cpu.pprof"), Some("cpu.pprof"));
        assert_eq!(profile("--pgo=auto"), None);
    }
}
