//! What each service is made of, as Go sees it: its closure for versions, its fingerprint for builds.

mod listings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::Graph;
use super::{Listing, Package, Setting, Toolchain, module_of, toolchain, work_of};
use crate::cancel::Cancel;
use crate::closure::{Closure, ContextClosure, RepoPath};
use crate::config::Base;
use crate::facts::context;
use crate::fault::{Exit, Fault};
use crate::fingerprint::{self, Hashes, Preimage, Roots};
use crate::host::environment::Environment;
use crate::platform::Platform;
use crate::resolve::ServiceSettings;
use crate::workspace::Workspace;

/// What one service is made of.
#[derive(Clone, Debug)]
pub struct ServiceInputs {
    pub closure: Closure,
    /// Absent where a Dockerfile's service names no package.
    pub program: Option<Program>,
}

/// A service's main package as Go sees it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The package's import path.
    pub package: String,
    /// The name that Go gives the executable, without `.exe`.
    pub executable: String,
    pub setting: Setting,
    pub toolchain: Toolchain,
    /// Files and toolchain, for each platform.
    pub files: BTreeMap<Platform, Preimage>,
    /// No package of it needs a C compiler or SWIG, whose inputs are not known.
    pub pure_go: bool,
    /// What Go listed for each platform: of all services that were listed together.
    pub listings: BTreeMap<Platform, Arc<Listing>>,
}

/// What is asked of Go and of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub workspace: &'a Workspace,
    pub go: &'a Path,
    pub environment: &'a Environment,
    pub cancel: &'a Cancel,
    /// What Go lists is not kept.
    pub read_only: bool,
}

/// Looks at every service of `services`.
///
/// # Errors
/// No module above a package, packages that Go can't load, no such toolchain.
pub fn gather(
    question: Question<'_>,
    services: &BTreeMap<String, ServiceSettings>,
    hashes: &mut Hashes,
) -> anyhow::Result<BTreeMap<String, ServiceInputs>> {
    let mut groups: BTreeMap<(Setting, Platform, Vec<String>), Vec<&ServiceSettings>> = BTreeMap::new();
    let mut found: BTreeMap<String, ServiceInputs> = BTreeMap::new();
    for service in services.values() {
        let Some(package) = &service.package else {
            let closure = closure(question.workspace, service, None)?;
            found.insert(service.name.clone(), ServiceInputs { closure, program: None });
            continue;
        };
        let setting = setting(question.workspace, service, package)?;
        for platform in &service.platforms {
            let key = (setting.clone(), platform.clone(), service.build.tags.clone());
            groups.entry(key).or_default().push(service);
        }
    }
    let groups: Vec<(Group, Vec<&ServiceSettings>)> = groups
        .into_iter()
        .map(|((setting, platform, tags), members)| {
            let packages = members.iter().filter_map(|service| service.package.as_ref());
            let folders = packages.map(|package| question.workspace.root.join(package));
            (Group { folders: folders.collect(), setting, platform, tags }, members)
        })
        .collect();
    let mut toolchains: BTreeMap<Setting, Toolchain> = BTreeMap::new();
    for (group, _) in &groups {
        if !toolchains.contains_key(&group.setting) {
            let chosen = toolchain(question.go, &group.setting, question.environment, question.cancel)?;
            toolchains.insert(group.setting.clone(), chosen);
        }
    }
    let asked: Vec<&Group> = groups.iter().map(|(group, _)| group).collect();
    let (listed, programs) = listings::beside(question, &asked, || {
        let of = |(setting, chosen): (&Setting, &Toolchain)| {
            Ok((setting.clone(), fingerprint::of_toolchain(chosen, hashes)?))
        };
        toolchains.iter().map(of).collect::<anyhow::Result<BTreeMap<Setting, Preimage>>>()
    });
    let programs = programs?;
    for ((group, members), known) in groups.iter().zip(listed) {
        let (chosen, programs) = (&toolchains[&group.setting], &programs[&group.setting]);
        let listing = Arc::new(listings::settle(question, group, known?, chosen, programs, hashes)?);
        let roots = Roots::new(&question.workspace.root, chosen);
        let mut common = programs.clone();
        common.merge(&listings::modules(group, &roots, hashes)?);
        let listed = Listed { listing: &listing, graph: listing.graph(), chosen, roots, common };
        for (service, folder) in members.iter().zip(&group.folders) {
            let inputs = of_service(question, group, service, folder, &listed, hashes)?;
            match found.get_mut(&service.name) {
                None => {
                    found.insert(service.name.clone(), inputs);
                }
                Some(known) => known.merge(inputs),
            }
        }
    }
    Ok(found)
}

impl ServiceInputs {
    /// Takes in what the same service is made of for another platform.
    fn merge(&mut self, other: Self) {
        self.closure.merge(other.closure);
        if let (Some(known), Some(program)) = (&mut self.program, other.program) {
            known.files.extend(program.files);
            known.listings.extend(program.listings);
            known.pure_go &= program.pure_go;
        }
    }
}

/// Main packages that are listed together.
#[derive(Clone, Debug)]
struct Group {
    setting: Setting,
    platform: Platform,
    tags: Vec<String>,
    /// Of the packages, absolute.
    folders: Vec<PathBuf>,
}

fn setting(workspace: &Workspace, service: &ServiceSettings, package: &Path) -> anyhow::Result<Setting> {
    let folder = workspace.root.join(package);
    let Some(module) = module_of(&workspace.root, &folder) else {
        let message = format!(
            "no `go.mod` at or above `{}`, the package of service `{}`",
            package.display(),
            service.name
        );
        return Err(Fault::new(Exit::Usage, message)
            .hint("run `go mod init` where the module is to be")
            .into());
    };
    Ok(Setting {
        work: work_of(&workspace.root, &module),
        module,
        version: service.build.go.clone(),
        cgo: service.build.cgo,
        env: service.build.env.clone(),
    })
}

/// What the services that were listed together share.
struct Listed<'a> {
    listing: &'a Arc<Listing>,
    graph: Graph<'a>,
    chosen: &'a Toolchain,
    roots: Roots,
    /// Inputs of each of them: the toolchain's, and the module's own files.
    common: Preimage,
}

fn of_service(
    question: Question<'_>,
    group: &Group,
    service: &ServiceSettings,
    folder: &Path,
    listed: &Listed<'_>,
    hashes: &mut Hashes,
) -> anyhow::Result<ServiceInputs> {
    let Listed { listing, chosen, .. } = *listed;
    let Some(main) = listing.in_folder(folder) else {
        let message = format!("Go knows no package in `{}`", question.workspace.shown(folder).display());
        return Err(Fault::new(Exit::Usage, message).into());
    };
    if main.name != "main" {
        let message = format!(
            "the package of service `{}`, `{}`, is `package {}`",
            service.name,
            question.workspace.shown(folder).display(),
            main.name
        );
        return Err(Fault::new(Exit::Usage, message)
            .hint("a service's package must be `package main`")
            .into());
    }
    let packages = listed.graph.closure(&main.import_path);
    let mut files = fingerprint::of_packages(&packages, &listed.roots, hashes)?;
    files.merge(&listed.common);
    let pure_go = !group.setting.cgo
        && packages.iter().all(|package| {
            package.standard || (package.cgo_files.is_empty() && package.swig_files.is_empty())
        });
    let program = Program {
        package: main.import_path.clone(),
        executable: executable(main),
        setting: group.setting.clone(),
        toolchain: chosen.clone(),
        files: BTreeMap::from([(group.platform.clone(), files)]),
        pure_go,
        listings: BTreeMap::from([(group.platform.clone(), Arc::clone(listing))]),
    };
    let mut closure = closure(question.workspace, service, Some(chosen))?;
    add_packages(&mut closure, question.workspace, &group.setting, &packages, chosen);
    Ok(ServiceInputs { closure, program: Some(program) })
}

/// The base name that `go build` uses: the import path's last part that is no major version.
fn executable(package: &Package) -> String {
    if let Some(name) = package.target.as_deref().and_then(Path::file_name) {
        let name = name.to_string_lossy();
        return name.strip_suffix(".exe").unwrap_or(&name).to_owned();
    }
    let mut parts = package.import_path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    if is_version { parts.next().unwrap_or(last).to_owned() } else { last.to_owned() }
}

/// The files that are named one by one: the image's, the Dockerfile and what it ignores by.
fn extra_files(workspace: &Workspace, service: &ServiceSettings) -> BTreeSet<RepoPath> {
    let mut files: Vec<PathBuf> = service.image.files.values().cloned().collect();
    if let Some(from) = &service.dockerfile {
        let (file, context) = (workspace.root.join(&from.file), workspace.root.join(&from.context));
        files.push(from.file.clone());
        let ignore = context::ignore_file(&file, &context);
        files.extend(ignore.map(|file| workspace.shown(&file).to_owned()));
    }
    // A base in the repository that no digest pins is one of its files.
    files.extend(service.image.bases.values().filter_map(|base| match &base.value {
        Base::Layout { path, digest: None } if path.is_relative() => Some(path.clone()),
        _ => None,
    }));
    files.iter().map(|path| RepoPath::from_path(path)).collect()
}

fn context(workspace: &Workspace, service: &ServiceSettings) -> anyhow::Result<Option<ContextClosure>> {
    let Some(from) = &service.dockerfile else { return Ok(None) };
    let ignore = context::ignore(&workspace.root.join(&from.file), &workspace.root.join(&from.context))?;
    Ok(Some(ContextClosure { folder: RepoPath::from_path(&from.context), ignore: ignore.lines() }))
}

/// All of it but what Go lists.
fn closure(
    workspace: &Workspace,
    service: &ServiceSettings,
    chosen: Option<&Toolchain>,
) -> anyhow::Result<Closure> {
    Ok(Closure {
        main: service.package.as_deref().map(RepoPath::from_path),
        packages: Default::default(),
        embeds: Default::default(),
        modules: BTreeMap::new(),
        go_mod: None,
        ignored: Default::default(),
        extra_files: extra_files(workspace, service),
        settings: service.digest(chosen),
        go: chosen.map(|chosen| chosen.version.trim_start_matches("go").to_owned()),
        context: context(workspace, service)?,
    })
}

fn add_packages(
    closure: &mut Closure,
    workspace: &Workspace,
    setting: &Setting,
    packages: &[&Package],
    chosen: &Toolchain,
) {
    let inside = |path: &Path| {
        // Toolchains and module caches can lie in a clone; they are no part of the repository.
        let foreign = path.starts_with(&chosen.goroot) || path.starts_with(&chosen.modcache);
        let below = path.strip_prefix(&workspace.root).ok()?;
        (!foreign).then(|| RepoPath::from_path(below))
    };
    closure.go_mod = Some(inside(&setting.module).unwrap_or_else(|| RepoPath::from_path(Path::new(""))));
    for package in packages {
        if let Some(module) = &package.module
            && !module.main
        {
            closure.modules.insert(module.path.clone(), module.identity());
        }
        if package.dir.as_os_str().is_empty() {
            continue;
        }
        if let Some(folder) = inside(&package.dir) {
            closure.packages.insert(folder);
            closure
                .embeds
                .extend(package.embed_files.iter().filter_map(|file| inside(&package.dir.join(file))));
            let ignored = package.ignored_go_files.iter().chain(&package.ignored_other_files);
            closure.ignored.extend(ignored.filter_map(|file| inside(&package.dir.join(file))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_named_as_go_names_them() {
        let named = |path: &str, target: Option<&str>| {
            executable(&Package {
                import_path: path.to_owned(),
                target: target.map(PathBuf::from),
                ..Package::default()
            })
        };
        assert_eq!(named("ex.com/cmd/gateway", None), "gateway");
        assert_eq!(named("ex.com/tool/v2", None), "tool");
        assert_eq!(named("ex.com/tool/vault", None), "vault");
        assert_eq!(named("ex.com/x", Some("/go/bin/windows_amd64/y.exe")), "y");
    }
}
