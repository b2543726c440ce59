//! Images for other tools: `image --output`. A copy of what the image stage has made, in one of the forms
//! that skopeo names. Never into the release registry: only push sends there, after the gates.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::config::Registry;
use crate::fault::{Exit, Fault};
use crate::host::files::Draft;
use crate::oci::archive::{self, Form, Name};
use crate::oci::daemon::Daemon;
use crate::oci::layout::Layout;
use crate::oci::types::Descriptor;
use crate::plan::{JobId, Stage, State};
use crate::platform::Platform;
use crate::release::ServiceRelease;
use crate::stage::draft::{Draft as Plan, Sketch};
use crate::stage::image::jobs::{index_job, variant_job};
use crate::stage::{Action, Finish, Output, Scope};

/// Stands for the service's name in a path, so that each has its own.
const SERVICE: &str = "{service}";

/// Where an image goes, as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `oci:DIR`: a layout, with all platforms; images that are in it already stay.
    Layout(PathBuf),
    /// `oci-archive:FILE`: a layout as a tar.
    OciArchive(PathBuf),
    /// `docker-archive:FILE`: what `docker save` writes, of one platform.
    DockerArchive(PathBuf),
    /// `docker-daemon:`: into the daemon that the environment leads to, one platform.
    DockerDaemon,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = "`oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE` or `docker-daemon:`";
        let (form, rest) = text.split_once(':').ok_or_else(|| format!("write {forms}"))?;
        let path = || {
            let unknown = rest.replace(SERVICE, "");
            if unknown.contains(['{', '}']) {
                return Err(format!("only `{SERVICE}` can stand between braces"));
            }
            if rest.is_empty() { Err(format!("a path is missing: write {forms}")) } else { Ok(rest.into()) }
        };
        match form {
            "oci" => path().map(Self::Layout),
            "oci-archive" => path().map(Self::OciArchive),
            "docker-archive" => path().map(Self::DockerArchive),
            "docker-daemon" if rest.is_empty() => Ok(Self::DockerDaemon),
            "docker-daemon" => {
                Err("write `docker-daemon:` alone: images keep their names and tags".to_owned())
            }
            _ => Err(format!("`{form}` is no form of an image: write {forms}")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self {
            Self::Layout(_) => "oci",
            Self::OciArchive(_) => "oci-archive",
            Self::DockerArchive(_) => "docker-archive",
            Self::DockerDaemon => "docker-daemon",
        };
        write!(f, "{form}:{}", self.path().unwrap_or(Path::new("")).display())
    }
}

impl Target {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Layout(path) | Self::OciArchive(path) | Self::DockerArchive(path) => Some(path),
            Self::DockerDaemon => None,
        }
    }

    /// The same with another path, where it has one.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&Path) -> PathBuf) -> Self {
        match self {
            Self::Layout(path) => Self::Layout(change(path)),
            Self::OciArchive(path) => Self::OciArchive(change(path)),
            Self::DockerArchive(path) => Self::DockerArchive(change(path)),
            Self::DockerDaemon => Self::DockerDaemon,
        }
    }

    fn of_service(&self, service: &str) -> Self {
        self.with(|path| PathBuf::from(path.to_string_lossy().replace(SERVICE, service)))
    }

    /// Whether it holds one platform only.
    fn is_dockers(&self) -> bool {
        matches!(self, Self::DockerArchive(_) | Self::DockerDaemon)
    }
}

/// One service's image on its way to one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    pub service: String,
    /// The job that leaves the index.
    pub index: JobId,
    pub target: Target,
    /// The one that docker's forms hold.
    pub platform: Option<Platform>,
    pub name: Name,
}

/// A job a service and target. `targets` have absolute paths.
///
/// # Errors
/// [`Exit::Usage`] where two services would share a path, where no platform can be chosen, or where the
/// path lies in the release registry or among the results of the image stage.
pub fn jobs(draft: &mut Plan<'_>, targets: &[Target]) -> anyhow::Result<()> {
    let release = draft.release;
    let subjects: Vec<(&String, &ServiceRelease)> =
        release.subjects().filter(|(name, _)| draft.has(&index_job(name))).collect();
    for target in targets {
        refuse_shared(target, &subjects)?;
        for (name, service) in &subjects {
            let own = target.of_service(name);
            refuse_release(&own, draft)?;
            let platform = if target.is_dockers() { Some(platform(target, name, service)?) } else { None };
            let (index, tag) = match service.variants.get(&release.environment) {
                Some(variant) => (variant_job(name, &release.environment), variant.tag.clone()),
                None => (index_job(name), service.version.to_string()),
            };
            let repository = match &release.registry {
                Registry::Layouts(_) => (*name).clone(),
                Registry::Remote { .. } => release.repository(name),
            };
            let spec = OutputSpec {
                service: (*name).clone(),
                index: index.clone(),
                target: own.clone(),
                platform,
                name: Name { repository, tag },
            };
            draft.add(Sketch {
                id: JobId::new(Stage::Image, &[name, &own.to_string()]),
                stage: Stage::Image,
                service: Some((*name).clone()),
                platform: None,
                title: format!("{name} to {own}"),
                needs: vec![index.clone()],
                cost: 1,
                state: State::Depends,
                why: format!("on {index}"),
                action: Action::Output(spec),
            });
        }
    }
    Ok(())
}

fn refuse_shared(target: &Target, subjects: &[(&String, &ServiceRelease)]) -> anyhow::Result<()> {
    let Some(path) = target.path().filter(|path| !path.to_string_lossy().contains(SERVICE)) else {
        return Ok(());
    };
    if subjects.len() < 2 {
        return Ok(());
    }
    let names: Vec<&str> = subjects.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("`{}` would hold the images of {}", path.display(), names.join(", "));
    Err(Fault::new(Exit::Usage, message)
        .hint(format!("write `{SERVICE}` where the service's name belongs, or name one service"))
        .into())
}

/// What is written here would be a release without its gates, or be taken for the image stage's own.
fn refuse_release(target: &Target, draft: &Plan<'_>) -> anyhow::Result<()> {
    let Some(path) = target.path() else { return Ok(()) };
    let workspace = draft.workspace;
    let mut kept = vec![workspace.dist.join("images"), workspace.state.clone(), workspace.cache.clone()];
    if let Registry::Layouts(folder) = &draft.release.registry {
        kept.push(workspace.root.join(folder));
    }
    let path = resolved(path);
    if !kept.iter().any(|kept| path.starts_with(resolved(kept))) {
        return Ok(());
    }
    let message = format!("`{target}` lies where only the stages write");
    Err(Fault::new(Exit::Usage, message)
        .hint("name another place; `push` is what sends to the release registry")
        .into())
}

/// `path` with `.` and `..` taken out, and with the links followed of as much of it as exists.
fn resolved(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
        if let Ok(real) = plain.canonicalize() {
            plain = real;
        }
    }
    plain
}

/// The only platform, or this machine's.
fn platform(target: &Target, name: &str, service: &ServiceRelease) -> anyhow::Result<Platform> {
    let platforms: Vec<&Platform> = service.image_platforms().collect();
    let host = Platform::host_images();
    let own = platforms.iter().find(|platform| Some(**platform) == host.as_ref());
    if let Some(platform) = own.or(platforms.first().filter(|_| platforms.len() == 1)) {
        return Ok((*platform).clone());
    }
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let message = format!("`{target}` holds one platform, and {name} has {}", names.join(", "));
    Err(Fault::new(Exit::Usage, message).hint("name one with `--platform`").into())
}

/// Writes or loads it.
///
/// # Errors
/// [`Exit::Machine`] where the place can't be written, or the daemon does not answer or refuses.
pub fn run(spec: &OutputSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let from = Layout::open(&scope.workspace.layout(&spec.service))?;
    let index = crate::stage::index(scope, &spec.index)?;
    let what = match &spec.platform {
        None => index,
        Some(platform) => of_platform(&from, &index, platform)?,
    };
    let name = Some(&spec.name);
    let mut note = spec.name.reference();
    match &spec.target {
        Target::Layout(path) => {
            let layout = empty_or_layout(path)?;
            layout.take(&from, &what, scope.cancel)?;
            layout.tag(&spec.name.tag.parse()?, &what)?;
        }
        Target::OciArchive(path) => note = file(path, (&from, &what), Form::Oci, name, scope)?,
        Target::DockerArchive(path) => note = file(path, (&from, &what), Form::Docker, name, scope)?,
        Target::DockerDaemon => {
            let mut draft = Draft::new(&scope.workspace.state)?;
            archive::write(&mut draft, (&from, &what), Form::Docker, name, scope.cancel)?;
            scope.progress.status("docker load");
            Daemon::find(scope.environment)?.load(draft.path(), scope.cancel)?;
        }
    }
    Ok(Finish { output: Output::Nothing, cached: false, note })
}

fn of_platform(from: &Layout, index: &Descriptor, platform: &Platform) -> anyhow::Result<Descriptor> {
    let fits = |found: &Descriptor| found.platform.as_ref().is_some_and(|of| of.is(platform));
    let manifest = from.manifests(index)?.into_iter().find(fits);
    manifest.ok_or_else(|| anyhow::anyhow!("internal: the index `{}` lacks {platform}", index.digest))
}

fn file(
    path: &Path,
    image: (&Layout, &Descriptor),
    form: Form,
    name: Option<&Name>,
    scope: &Scope<'_>,
) -> anyhow::Result<String> {
    if path.is_dir() {
        let message = format!("`{}` is a folder, and an archive is a file", path.display());
        return Err(Fault::new(Exit::Usage, message).into());
    }
    let mut draft = Draft::new(path.parent().unwrap_or(Path::new(".")))?;
    archive::write(&mut draft, image, form, name, scope.cancel)?;
    let size = std::fs::metadata(draft.path()).map_or(0, |found| found.len());
    draft.keep(path)?;
    Ok(crate::report::measure::bytes(size))
}

/// A layout's folder; one with other things in it is somebody else's.
fn empty_or_layout(path: &Path) -> anyhow::Result<Layout> {
    let other = |mut listing: std::fs::ReadDir| listing.next().is_some();
    if !path.join("oci-layout").exists() && (path.is_file() || std::fs::read_dir(path).is_ok_and(other)) {
        let message = format!("`{}` is there and is no OCI layout", path.display());
        return Err(Fault::new(Exit::Usage, message).hint("name a new folder, or a layout to add to").into());
    }
    Layout::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_skopeo_writes_them() {
        for text in ["oci:a/b", "oci-archive:/x/{service}.tar", "docker-archive:a:b.tar", "docker-daemon:"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("dir:x", "is no form"),
            ("oci", "write `oci:DIR`"),
            ("oci:", "a path is missing"),
            ("oci:{name}", "only `{service}`"),
            ("docker-daemon:x", "alone"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let own = "oci:x/{service}".parse::<Target>().unwrap().of_service("web");
        assert_eq!(own, Target::Layout("x/web".into()));
    }
}
