//! The ways to run an image, and which of them this machine has.

use std::path::PathBuf;

use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::platform::Platform;
use crate::stage::lint::tool::stopped;
use crate::stage::{ManifestOutput, Scope};
use crate::verdict::Verify;

use super::docker::{Containers, Docker};
use super::local::{self, Namespaces};
use super::session::Session;
use super::{Runner, Running, Task, VerifySpec};

/// The way that was found.
pub(super) enum Way {
    Docker(Docker),
    Chroot(Namespaces),
    Process,
}

pub(super) enum NoWay {
    /// An image of another platform, or a machine that runs none.
    Elsewhere(String),
    Fault(anyhow::Error),
}

impl From<Fault> for NoWay {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault.into())
    }
}

/// The way that the spec asks for, or the best there is.
pub(super) fn find(spec: &VerifySpec, manifest: &ManifestOutput, scope: &Scope<'_>) -> Result<Way, NoWay> {
    let platform = &manifest.platform;
    let here = Platform::host_images();
    let same = here.is_some_and(|here| here.os == platform.os && here.architecture == platform.architecture);
    if !same {
        return Err(NoWay::Elsewhere(format!("{platform} is not run on this machine")));
    }
    let (environment, cancel) = (scope.environment, scope.cancel);
    let missing = |what: &str, why: &str| {
        Fault::new(Exit::Machine, format!("no verdict: `runner = \"{what}\"` can't be used: {why}"))
            .hint("take it out of `[stages.verify]` for the best way that there is")
    };
    let found = match spec.runner {
        Runner::Docker => {
            Way::Docker(Docker::find(environment, platform, cancel).map_err(|why| missing("docker", &why))?)
        }
        Runner::Chroot => {
            Way::Chroot(Namespaces::find(environment, cancel).map_err(|why| missing("chroot", &why))?)
        }
        Runner::Process => Way::Process,
        Runner::Auto => match Docker::find(environment, platform, cancel) {
            Ok(docker) => Way::Docker(docker),
            Err(_) => Namespaces::find(environment, cancel).map_or(Way::Process, Way::Chroot),
        },
    };
    if cancel.is_set() {
        return Err(NoWay::Fault(stopped(cancel)));
    }
    if matches!(found, Way::Process) && !local::runs_natively(platform) {
        if spec.runner == Runner::Process {
            return Err(missing("process", &format!("this machine runs no {platform} programs")).into());
        }
        let message = format!("`{}` was not run: {platform} images need docker here", spec.instance.service);
        scope.progress.warning(&message, Some("start docker, then run it again"));
        return Err(NoWay::Elsewhere("no docker daemon answers".to_owned()));
    }
    Ok(found)
}

impl Way {
    /// For the verdict's record.
    pub(super) fn tool(&self) -> String {
        match self {
            Self::Docker(docker) => format!("docker {}", docker.version),
            Self::Chroot(_) => "chroot".to_owned(),
            Self::Process => "process".to_owned(),
        }
    }

    pub(super) fn verdict(&self) -> Verify {
        match self {
            Self::Docker(_) | Self::Chroot(_) => Verify::Container,
            Self::Process => Verify::Process,
        }
    }
}

/// Starts services one way.
pub(super) struct Starter<'a> {
    way: Started,
    folder: PathBuf,
    names: Vec<String>,
    scope: &'a Scope<'a>,
}

enum Started {
    Docker(Containers),
    Chroot(Namespaces),
    Process,
}

impl<'a> Starter<'a> {
    /// Makes what all of the session's services share.
    pub(super) fn new(
        way: &Way,
        session: &Session,
        tasks: &[Task],
        scope: &'a Scope<'a>,
    ) -> anyhow::Result<Self> {
        let way = match way {
            Way::Docker(docker) => {
                Started::Docker(docker.open(session.folder(), session.id(), scope.cancel)?)
            }
            Way::Chroot(namespaces) => Started::Chroot(namespaces.clone()),
            Way::Process => Started::Process,
        };
        let names = tasks.iter().map(|task| task.service.clone()).collect();
        Ok(Self { way, folder: session.folder().join("roots"), names, scope })
    }

    pub(super) fn start(&self, task: &Task) -> anyhow::Result<Box<dyn Running>> {
        let folder = self.folder.join(&task.service);
        let cancel = self.scope.cancel;
        Ok(match &self.way {
            Started::Docker(containers) => Box::new(containers.start(task, cancel)?),
            Started::Chroot(namespaces) => {
                Box::new(local::enter(namespaces, task, &folder, &self.names, cancel)?)
            }
            Started::Process => Box::new(local::plain(task, &folder, cancel)?),
        })
    }
}

/// A program of the user's PATH.
pub(super) fn program(program: &str, environment: &Environment) -> Option<PathBuf> {
    which::which_in(program, environment.get("PATH"), "/").ok()
}
