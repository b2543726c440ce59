//! What each service is made of, as Go sees it: its closure for versions, its fingerprint for builds.
//! A listing is kept with the fingerprint of all that it was made from, so that Go is asked again only
//! when some of that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Listing, Package, Setting, Toolchain, list, module_of, toolchain, work_of};
use crate::cancel::Cancel;
use crate::closure::{Closure, ContextClosure, RepoPath};
use crate::facts::context;
use crate::fault::{Exit, Fault};
use crate::fingerprint::{self, Hashes, Preimage, Roots};
use crate::host::environment::Environment;
use crate::host::files;
use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::resolve::ServiceSettings;
use crate::workspace::Workspace;

/// One service as Go sees it.
#[derive(Clone, Debug)]
pub struct ServiceInputs {
    /// The main package's import path.
    pub package: String,
    /// The name that Go gives the executable, without `.exe`.
    pub executable: String,
    pub setting: Setting,
    pub toolchain: Toolchain,
    pub closure: Closure,
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
    for service in services.values() {
        let setting = setting(question.workspace, service)?;
        for platform in &service.platforms {
            let key = (setting.clone(), platform.clone(), service.build.tags.clone());
            groups.entry(key).or_default().push(service);
        }
    }
    let mut toolchains: BTreeMap<Setting, (Toolchain, Preimage)> = BTreeMap::new();
    let mut found: BTreeMap<String, ServiceInputs> = BTreeMap::new();
    for ((setting, platform, tags), members) in groups {
        if !toolchains.contains_key(&setting) {
            let chosen = toolchain(question.go, &setting, question.environment, question.cancel)?;
            let preimage = fingerprint::of_toolchain(&chosen, hashes)?;
            toolchains.insert(setting.clone(), (chosen, preimage));
        }
        let (chosen, programs) = &toolchains[&setting];
        let folders: Vec<PathBuf> =
            members.iter().map(|service| question.workspace.root.join(&service.package)).collect();
        let group = Group { setting: &setting, platform: &platform, tags: &tags, folders: &folders };
        let listing = Arc::new(listing(question, &group, chosen, programs, hashes)?);
        for (service, folder) in members.iter().zip(&folders) {
            let inputs = of_service(question, &group, service, folder, &listing, chosen, programs, hashes)?;
            match found.get_mut(&service.name) {
                None => {
                    found.insert(service.name.clone(), inputs);
                }
                Some(known) => {
                    known.closure.merge(inputs.closure);
                    known.files.extend(inputs.files);
                    known.listings.extend(inputs.listings);
                    known.pure_go &= inputs.pure_go;
                }
            }
        }
    }
    Ok(found)
}

/// Main packages that are listed together.
#[derive(Clone, Copy, Debug)]
struct Group<'a> {
    setting: &'a Setting,
    platform: &'a Platform,
    tags: &'a [String],
    folders: &'a [PathBuf],
}

fn setting(workspace: &Workspace, service: &ServiceSettings) -> anyhow::Result<Setting> {
    let folder = workspace.root.join(&service.package);
    let Some(module) = module_of(&workspace.root, &folder) else {
        let message = format!(
            "no `go.mod` at or above `{}`, the package of service `{}`",
            service.package.display(),
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

/// A listing with the fingerprint of everything that it was made from.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    made_from: Digest,
    listing: Listing,
}

fn listing(
    question: Question<'_>,
    group: &Group<'_>,
    chosen: &Toolchain,
    programs: &Preimage,
    hashes: &mut Hashes,
) -> anyhow::Result<Listing> {
    let mut name = Preimage::default();
    name.add("setting", serde_json::to_string(group.setting)?);
    name.add("platform", group.platform.to_string());
    name.add("tags", group.tags.join(","));
    name.add("packages", format!("{:?}", group.folders));
    let file = question.workspace.state.join("listings-v1").join(name.key().hex());
    if let Some(kept) = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok())
        // A folder that is gone is an error here, and a reason to ask Go again.
        && made_from(question, group, &kept.listing, chosen, programs, hashes)
            .is_ok_and(|found| found == kept.made_from)
    {
        return Ok(kept.listing);
    }
    let packages: Vec<String> = group
        .folders
        .iter()
        .map(|folder| {
            let below = folder.strip_prefix(&group.setting.module).unwrap_or(folder);
            if below.as_os_str().is_empty() { ".".to_owned() } else { format!("./{}", below.display()) }
        })
        .collect();
    let listing = list(
        question.go,
        group.setting,
        group.platform,
        group.tags,
        &packages,
        question.environment,
        question.cancel,
    )?;
    refuse_absolute_replacements(&listing)?;
    let made_from = made_from(question, group, &listing, chosen, programs, hashes)?;
    let kept = Kept { made_from, listing };
    files::write(&file, &serde_json::to_vec(&kept)?)?;
    Ok(kept.listing)
}

/// Everything that can change what Go lists.
fn made_from(
    question: Question<'_>,
    group: &Group<'_>,
    listing: &Listing,
    chosen: &Toolchain,
    programs: &Preimage,
    hashes: &mut Hashes,
) -> anyhow::Result<Digest> {
    let roots = Roots::new(&question.workspace.root, chosen);
    let all: Vec<&Package> = listing.packages.iter().collect();
    let mut preimage = fingerprint::of_packages(&all, &roots, hashes)?;
    preimage.merge(programs);
    preimage.merge(&modules(group, &roots, hashes)?);
    // A folder of the main module that appears may come before a dependency's package.
    for package in &listing.packages {
        if let Some(module) = &package.module
            && let Some(below) = package.import_path.strip_prefix(&format!("{}/", main_module(listing)))
            && !module.main
        {
            let folder = group.setting.module.join(below);
            preimage.add(roots.name(&folder), folder.exists().to_string());
        }
    }
    Ok(preimage.key())
}

fn main_module(listing: &Listing) -> &str {
    let mut modules = listing.packages.iter().filter_map(|package| package.module.as_ref());
    modules.find(|module| module.main).map_or("", |module| &module.path)
}

/// go.mod, go.sum, go.work and what they lead to in the repository.
fn modules(group: &Group<'_>, roots: &Roots, hashes: &mut Hashes) -> anyhow::Result<Preimage> {
    let mut preimage = Preimage::default();
    let module = &group.setting.module;
    let mut files =
        vec![module.join("go.mod"), module.join("go.sum"), module.join("vendor").join("modules.txt")];
    files.extend(group.setting.work.iter().flat_map(|work| [work.clone(), work.with_extension("work.sum")]));
    for folder in local_folders(&module.join("go.mod")) {
        files.push(folder.join("go.mod"));
    }
    if let Some(work) = &group.setting.work {
        files.extend(local_folders(work).into_iter().map(|folder| folder.join("go.mod")));
    }
    for file in files {
        preimage.add(roots.name(&file), hashes.file(&file)?);
    }
    Ok(preimage)
}

/// The folders that a go.mod's `replace` or a go.work's `use` lines name: words that begin with a dot.
fn local_folders(file: &Path) -> Vec<PathBuf> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let base = file.parent().unwrap_or(Path::new("."));
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches('"'))
        .filter(|word| word.starts_with('.'))
        .map(|word| base.join(word))
        .collect()
}

/// An absolute path would enter the binary, even with `-trimpath`.
fn refuse_absolute_replacements(listing: &Listing) -> anyhow::Result<()> {
    for module in listing.packages.iter().filter_map(|package| package.module.as_ref()) {
        if let Some(replace) = &module.replace
            && Path::new(&replace.path).is_absolute()
        {
            let message = format!("`{}` is replaced by the absolute path `{}`", module.path, replace.path);
            return Err(Fault::new(Exit::Usage, message)
                .hint(
                    "the path would become part of the binary: replace it by a relative one, or use go.work",
                )
                .into());
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one call, of a loop's body")]
fn of_service(
    question: Question<'_>,
    group: &Group<'_>,
    service: &ServiceSettings,
    folder: &Path,
    listing: &Arc<Listing>,
    chosen: &Toolchain,
    programs: &Preimage,
    hashes: &mut Hashes,
) -> anyhow::Result<ServiceInputs> {
    let Some(main) = listing.in_folder(folder) else {
        let message = format!("Go knows no package in `{}`", service.package.display());
        return Err(Fault::new(Exit::Usage, message).into());
    };
    if main.name != "main" {
        let message = format!(
            "the package of service `{}`, `{}`, is `package {}`",
            service.name,
            service.package.display(),
            main.name
        );
        return Err(Fault::new(Exit::Usage, message)
            .hint("a service's package must be `package main`")
            .into());
    }
    let packages = listing.closure(&main.import_path);
    let roots = Roots::new(&question.workspace.root, chosen);
    let mut files = fingerprint::of_packages(&packages, &roots, hashes)?;
    files.merge(programs);
    files.merge(&modules(group, &roots, hashes)?);
    let pure_go = !group.setting.cgo
        && packages.iter().all(|package| {
            package.standard || (package.cgo_files.is_empty() && package.swig_files.is_empty())
        });
    Ok(ServiceInputs {
        package: main.import_path.clone(),
        executable: executable(main),
        setting: group.setting.clone(),
        toolchain: chosen.clone(),
        closure: closure(question.workspace, service, group, &packages, chosen)?,
        files: BTreeMap::from([(group.platform.clone(), files)]),
        pure_go,
        listings: BTreeMap::from([(group.platform.clone(), Arc::clone(listing))]),
    })
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
    files.iter().map(|path| RepoPath::from_path(path)).collect()
}

fn context(workspace: &Workspace, service: &ServiceSettings) -> anyhow::Result<Option<ContextClosure>> {
    let Some(from) = &service.dockerfile else { return Ok(None) };
    let ignore = context::ignore(&workspace.root.join(&from.file), &workspace.root.join(&from.context))?;
    Ok(Some(ContextClosure { folder: RepoPath::from_path(&from.context), ignore: ignore.lines() }))
}

fn closure(
    workspace: &Workspace,
    service: &ServiceSettings,
    group: &Group<'_>,
    packages: &[&Package],
    chosen: &Toolchain,
) -> anyhow::Result<Closure> {
    let inside = |path: &Path| {
        // Toolchains and module caches can lie in a clone; they are no part of the repository.
        let foreign = path.starts_with(&chosen.goroot) || path.starts_with(&chosen.modcache);
        let below = path.strip_prefix(&workspace.root).ok()?;
        (!foreign).then(|| RepoPath::from_path(below))
    };
    let mut closure = Closure {
        main: RepoPath::from_path(&service.package),
        packages: Default::default(),
        embeds: Default::default(),
        modules: BTreeMap::new(),
        go_mod: inside(&group.setting.module).unwrap_or_else(|| RepoPath::from_path(Path::new(""))),
        ignored: Default::default(),
        extra_files: extra_files(workspace, service),
        settings: service.digest(chosen),
        go: chosen.version.trim_start_matches("go").to_owned(),
        context: context(workspace, service)?,
    };
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
    Ok(closure)
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

    #[test]
    fn local_folders_are_found_in_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go.mod");
        std::fs::write(&file, "replace a => ../a // ./no\nuse (\n\t./b\n\t.\n)\nrequire c v1\n").unwrap();
        let found = local_folders(&file);
        assert_eq!(found, ["../a", "./b", "."].map(|path| folder.path().join(path)));
    }
}
