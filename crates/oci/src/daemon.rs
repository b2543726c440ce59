//! A Docker daemon as a place of images, reached through its client program: images go in and come out
//! as archives. It runs nothing; that is verify's and deploy's.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::host::process::{Command, Status};

/// Variables of the user's that lead to the daemon.
pub const VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USERPROFILE",
    "SYSTEMROOT",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_API_VERSION",
];

/// Of one call: an image of gigabytes goes over a socket.
const LIMIT: Duration = Duration::from_secs(900);

/// The daemon that the user's environment leads to.
#[derive(Clone, Debug)]
pub struct Daemon {
    client: Command,
}

impl Daemon {
    /// # Errors
    /// [`Exit::Machine`] where its client is not installed. Whether the daemon answers is seen by asking.
    pub fn find(environment: &Environment) -> anyhow::Result<Self> {
        let program = which::which_in("docker", environment.get("PATH"), "/").map_err(|_| {
            Fault::new(Exit::Machine, "`docker` is not installed or not on PATH")
                .hint("install Docker's client, or use `docker-archive:FILE`, which needs none")
        })?;
        let client = Command::new(program).clear().timeout(LIMIT);
        let given = VARIABLES.iter().filter_map(|name| Some((*name, environment.get(name)?)));
        let client = given.fold(client, |client, (name, value)| client.env(name, value));
        Ok(Self { client })
    }

    /// Loads an archive ([`super::archive`]).
    ///
    /// # Errors
    /// [`Exit::Machine`] where the daemon does not answer or refuses; an interruption.
    pub fn load(&self, archive: &Path, cancel: &Cancel) -> anyhow::Result<()> {
        self.call(&["load", "--quiet", "--input", &archive.to_string_lossy()], cancel).map(|_| ())
    }

    /// Writes the archive of the image `reference` to `path`.
    ///
    /// # Errors
    /// As [`Daemon::load`]; also where there is no such image.
    pub fn save(&self, reference: &str, path: &Path, cancel: &Cancel) -> anyhow::Result<()> {
        self.call(&["save", "--output", &path.to_string_lossy(), "--", reference], cancel).map(|_| ())
    }

    fn call(&self, args: &[&str], cancel: &Cancel) -> anyhow::Result<Vec<u8>> {
        super::stop_if_asked(cancel)?;
        let command = self.client.clone().args(args);
        let failed = || {
            Fault::new(Exit::Machine, "docker refused").hint("`docker info` says whether its daemon answers")
        };
        let output = command.output(cancel).map_err(|error| anyhow!(error).context(failed()))?;
        if output.status == Status::Cancelled {
            return Err(super::stopped(cancel));
        }
        let output = command.checked(output).map_err(|error| anyhow!(error).context(failed()))?;
        Ok(output.stdout)
    }
}
