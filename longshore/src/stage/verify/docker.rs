//! Services as containers of a local docker daemon, through its client program. A network for each
//! verification, in which services find each other by name; ports on free ones of 127.0.0.1.
//!
//! Everything made carries the label `dev.longshore.run=ID`, and goes by it. A daemon on another machine is
//! not used: its containers' ports would have to be opened to the network to be asked.

mod removal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::process::{Command, Output, Status};
use crate::oci::types::{Descriptor, Digest, media_type};
use crate::oci::{archive, daemon};
use crate::platform::Platform;
use crate::stage::lint::tool::{machine, settled, stopped};

use super::root::Image;
use super::{Running, Task};

pub(super) use removal::clean;

const LABEL: &str = "dev.longshore.run";

/// Of one call of the client; loading an image has its own.
const CALL: Duration = Duration::from_secs(60);
const LOAD: Duration = Duration::from_secs(600);

/// Between two looks at a container's state: each is a process.
const LOOK: Duration = Duration::from_millis(250);

/// Lines of its log that are told.
const TAIL: &str = "100";

/// The client, with what it needs: kept in the session's folder, so that a later run reaches the same daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Client {
    program: PathBuf,
    env: BTreeMap<String, String>,
}

/// A daemon that answers and runs this machine's images.
#[derive(Debug)]
pub(super) struct Docker {
    client: Client,
    pub(super) version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    version: String,
    os: String,
    arch: String,
}

/// Of `docker container inspect`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    exit_code: i32,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(default)]
    networks: BTreeMap<String, Attached>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

#[derive(Debug, Deserialize)]
struct Attached {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

impl Client {
    fn command(&self) -> Command {
        let command = Command::new(&self.program).clear().timeout(CALL);
        self.env.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Runs the client to its end; any exit but 0 is [`Exit::Machine`].
    fn run(&self, args: &[&str], cancel: &Cancel) -> anyhow::Result<String> {
        ok(&self.command().args(args), cancel)
    }

    /// As [`Client::run`], with its exit code.
    fn call(&self, args: &[&str], cancel: &Cancel) -> anyhow::Result<(i32, Output)> {
        call(&self.command().args(args), cancel)
    }
}

fn call(command: &Command, cancel: &Cancel) -> anyhow::Result<(i32, Output)> {
    if cancel.is_set() {
        return Err(stopped(cancel));
    }
    settled(command, command.output(cancel).map_err(machine)?, cancel)
}

fn ok(command: &Command, cancel: &Cancel) -> anyhow::Result<String> {
    let (_, output) = call(command, cancel)?;
    let output = checked(command, output)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn checked(command: &Command, output: Output) -> anyhow::Result<Output> {
    command.checked(output).map_err(|error| {
        anyhow::Error::from(error).context(Fault::new(Exit::Machine, "no verdict: docker refused"))
    })
}

impl Docker {
    /// The daemon that the user's environment leads to, if it can be used; else why not.
    pub(super) fn find(
        environment: &Environment,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<Self, String> {
        let program = super::way::program("docker", environment).ok_or("docker is not installed")?;
        let env = daemon::VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())))
            .collect();
        let client = Client { program, env };
        let host = match client.env.get("DOCKER_HOST") {
            Some(host) => host.clone(),
            None => client
                .run(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], cancel)
                .unwrap_or_default(),
        };
        if !is_local(&host) {
            return Err(format!("docker's daemon is on another machine (`{host}`)"));
        }
        let command = client.command().args(["version", "--format", "{{json .Server}}"]);
        let answered = command
            .timeout(Duration::from_secs(10))
            .run(cancel)
            .map_err(|_| "no docker daemon answers".to_owned())?;
        let server: Server =
            serde_json::from_slice(&answered.stdout).map_err(|_| "no docker daemon answers".to_owned())?;
        if server.os != platform.os || server.arch != platform.architecture {
            return Err(format!("docker's daemon runs {}/{} images", server.os, server.arch));
        }
        Ok(Self { client, version: server.version })
    }

    /// Makes the session's network.
    pub(super) fn open(&self, folder: &Path, id: &str, cancel: &Cancel) -> anyhow::Result<Containers> {
        files::write(&folder.join("docker.json"), &serde_json::to_vec(&self.client)?)?;
        let network = format!("longshore-{id}");
        let label = format!("{LABEL}={id}");
        self.client.run(&["network", "create", "--label", &label, &network], cancel)?;
        Ok(Containers { client: self.client.clone(), folder: folder.to_owned(), network, label })
    }
}

fn is_local(host: &str) -> bool {
    let tcp = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"));
    match tcp {
        Some(address) => ["127.", "localhost", "[::1]"].iter().any(|local| address.starts_with(local)),
        None => !host.starts_with("ssh://") && !host.starts_with("https://"),
    }
}

/// The containers of one session.
#[derive(Debug)]
pub(super) struct Containers {
    client: Client,
    folder: PathBuf,
    network: String,
    label: String,
}

impl Containers {
    /// Starts a service; its image is loaded first.
    pub(super) fn start(&self, task: &Task, cancel: &Cancel) -> anyhow::Result<Container> {
        let name = format!("{}-{}", self.network, task.service);
        // Another session may have removed the image that it had brought, since we saw it here.
        let mut tries = 3;
        loop {
            let image = self.image(&task.image, cancel)?;
            let command = self.create(task, &name, &image)?;
            let (code, output) = call(&command, cancel)?;
            if code == 0 {
                break;
            }
            tries -= 1;
            if tries == 0 || !String::from_utf8_lossy(&output.stderr).contains("No such image") {
                checked(&command, output)?;
            }
        }
        let (code, output) = self.client.call(&["start", &name], cancel)?;
        let mut container = Container {
            client: self.client.clone(),
            name,
            addresses: Vec::new(),
            status: None,
            looked: None,
        };
        let inspected = container.inspect(cancel)?;
        if code != 0 {
            return Err(refused(task, &inspected.state, &String::from_utf8_lossy(&output.stderr)));
        }
        if let Some(port) = task.port {
            container.addresses = addresses(&inspected, &self.network, port);
        }
        Ok(container)
    }

    fn create(&self, task: &Task, name: &str, image: &str) -> anyhow::Result<Command> {
        let mut command = self
            .client
            .command()
            .args(["create", "--pull", "never", "--name", name, "--label", &self.label])
            .args(["--network", &self.network, "--network-alias", &task.service]);
        if let Some(port) = task.port {
            command = command.arg("--publish").arg(format!("127.0.0.1::{port}/tcp"));
        }
        // Values may be secrets: never in argv. The file holds those of one line, a variable of the client's
        // the others.
        let mut lines = String::new();
        for (name, value) in &task.env {
            if value.contains(['\n', '\r']) {
                command = command.env(name, value).arg("--env").arg(name);
            } else {
                lines.push_str(&format!("{name}={value}\n"));
            }
        }
        let file = self.folder.join(format!("{}.env", task.service));
        files::write(&file, lines.as_bytes())?;
        Ok(command.arg("--env-file").arg(file).arg(image))
    }

    /// The image's ID in the daemon: its config's digest, or with the containerd store its manifest's.
    fn image(&self, image: &Image, cancel: &Cancel) -> anyhow::Result<String> {
        let ids = BTreeSet::from([&image.manifest.config.digest, &image.manifest_digest]);
        if let Some(found) = self.present(&ids, cancel)? {
            return Ok(found);
        }
        // Recorded before it is loaded: only what was not there before is removed.
        let record = self.folder.join(format!("image-{}", image.manifest.config.digest.hex()));
        files::write(&record, image.manifest_digest.as_str().as_bytes())?;
        let mut draft = files::Draft::new(&self.folder)?;
        let target = Descriptor::of(media_type::MANIFEST, &image.layout.read(&image.manifest_digest)?);
        archive::write(&mut draft, (&image.layout, &target), archive::Form::Docker, None, cancel)?;
        let command = self.client.command().arg("load").arg("--input").arg(draft.path()).timeout(LOAD);
        let said = ok(&command, cancel)?;
        drop(draft);
        self.present(&ids, cancel)?.ok_or_else(|| {
            let config = &image.manifest.config.digest;
            let message = format!("no verdict: docker loaded another image than `{config}`: {said}");
            Fault::new(Exit::Machine, message).into()
        })
    }

    fn present(&self, ids: &BTreeSet<&Digest>, cancel: &Cancel) -> anyhow::Result<Option<String>> {
        for id in ids {
            let (code, output) =
                self.client.call(&["image", "inspect", "--format", "{{.Id}}", id.as_str()], cancel)?;
            let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if code == 0 && found == id.as_str() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Why a container did not start: 126 and 127 are the image's fault (its program is missing or no program).
fn refused(task: &Task, state: &State, stderr: &str) -> anyhow::Error {
    let why = if state.error.is_empty() { stderr.trim() } else { &state.error };
    if matches!(state.exit_code, 126 | 127) {
        let message = format!("`{}` can't be started from its image: {why}", task.service);
        return Fault::new(Exit::Gate, message).into();
    }
    Fault::new(Exit::Machine, format!("no verdict: docker did not start `{}`: {why}", task.service)).into()
}

/// Where the service is asked: on its published port; in its network where this process is in a container of
/// the same daemon, whose 127.0.0.1 is another.
fn addresses(inspected: &Inspected, network: &str, port: u16) -> Vec<SocketAddr> {
    let settings = &inspected.network_settings;
    let bindings = settings.ports.iter().flatten().filter_map(|(_, bindings)| bindings.as_ref()).flatten();
    let published = bindings.filter_map(|binding| binding.host_port.parse().ok());
    let mut addresses: Vec<SocketAddr> =
        published.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect();
    let inside = settings.networks.get(network).and_then(|at| at.address.parse::<IpAddr>().ok());
    addresses.extend(inside.map(|address| SocketAddr::new(address, port)));
    addresses
}

/// One service's container.
#[derive(Debug)]
pub(super) struct Container {
    client: Client,
    name: String,
    addresses: Vec<SocketAddr>,
    status: Option<Status>,
    looked: Option<Instant>,
}

impl Container {
    fn inspect(&self, cancel: &Cancel) -> anyhow::Result<Inspected> {
        let text =
            self.client.run(&["container", "inspect", "--format", "{{json .}}", &self.name], cancel)?;
        serde_json::from_str(&text).fault(Exit::Machine, "`docker container inspect` did not answer in JSON")
    }
}

impl Running for Container {
    fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn ended(&mut self, cancel: &Cancel) -> anyhow::Result<Option<Status>> {
        let recent = self.looked.is_some_and(|at| at.elapsed() < LOOK);
        if self.status.is_none() && !recent {
            let state = self.inspect(cancel)?.state;
            self.looked = Some(Instant::now());
            self.status = (!state.running).then_some(Status::Exited(state.exit_code));
        }
        Ok(self.status)
    }

    fn terminate(&mut self, cancel: &Cancel) -> anyhow::Result<()> {
        self.looked = None;
        // It may have ended just now: then the state tells.
        let _ = self.client.call(&["kill", "--signal", "TERM", &self.name], cancel)?;
        Ok(())
    }

    fn log(&mut self) -> Vec<String> {
        let Ok((_, output)) = self.client.call(&["logs", "--tail", TAIL, &self.name], &Cancel::default())
        else {
            return Vec::new();
        };
        [output.stdout, output.stderr]
            .iter()
            .flat_map(|bytes| {
                String::from_utf8_lossy(bytes)
                    .lines()
                    .map(|line| line.trim_end().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_elsewhere_is_told_by_its_address() {
        for local in
            ["unix:///var/run/docker.sock", "npipe:////./pipe/docker_engine", "tcp://127.0.0.1:2375", ""]
        {
            assert!(is_local(local), "{local}");
        }
        for remote in ["tcp://docker:2376", "ssh://user@host", "tcp://10.0.0.1:2375"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
