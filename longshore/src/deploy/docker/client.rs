//! Docker's client program: calls of it, and what a container's inspection says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::cancel::Cancel;
use crate::deploy::Target;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::process::{Command, Output, Status};
use crate::oci::daemon::VARIABLES;
use crate::stage::lint::tool::stopped;

/// Of one call; pulling an image has its own.
const CALL: Duration = Duration::from_secs(60);

/// The client with the way to its daemon.
#[derive(Clone, Debug)]
pub(in crate::deploy) struct Client {
    program: PathBuf,
    env: BTreeMap<String, String>,
}

/// Of `docker container inspect`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Container {
    pub id: String,
    /// With a `/` before it.
    pub name: String,
    pub state: State,
    #[serde(default)]
    pub restart_count: u32,
    pub config: Config,
    pub network_settings: NetworkSettings,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct State {
    /// `running`, `restarting`, `exited`…
    pub status: String,
    pub exit_code: i32,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub started_at: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Config {
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct NetworkSettings {
    #[serde(default)]
    pub ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(default)]
    pub networks: BTreeMap<String, Attached>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::deploy) struct Binding {
    #[serde(default)]
    pub host_ip: String,
    pub host_port: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::deploy) struct Attached {
    #[serde(rename = "IPAddress", default)]
    pub address: String,
    #[serde(rename = "Aliases", default)]
    pub aliases: Option<Vec<String>>,
}

impl Container {
    pub(in crate::deploy) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    pub(in crate::deploy) fn runs(&self) -> bool {
        self.state.status == "running"
    }

    /// Why it does not run.
    pub(in crate::deploy) fn ended(&self) -> String {
        if self.state.error.is_empty() {
            format!("exit status {}", self.state.exit_code)
        } else {
            self.state.error.clone()
        }
    }

    /// Where its port can be reached: published, on the daemon's host; and inside its network, for one who is
    /// in a container of the same daemon.
    pub(in crate::deploy) fn addresses(&self, host: &str) -> Vec<SocketAddr> {
        let settings = &self.network_settings;
        let bindings =
            settings.ports.iter().flatten().filter_map(|(_, bindings)| bindings.as_ref()).flatten();
        let mut addresses: Vec<SocketAddr> = bindings
            .filter(|binding| !binding.host_ip.contains(':'))
            .filter_map(|binding| Some((host, binding.host_port.parse().ok()?)))
            .filter_map(|address: (&str, u16)| address.to_socket_addrs().ok()?.next())
            .collect();
        let inside = settings
            .ports
            .iter()
            .flatten()
            .filter_map(|(port, _)| port.split('/').next()?.parse::<u16>().ok());
        let inside: Vec<u16> = inside.collect();
        for address in settings.networks.values().filter_map(|at| at.address.parse::<IpAddr>().ok()) {
            addresses.extend(inside.iter().map(|port| SocketAddr::new(address, *port)));
        }
        addresses
    }
}

impl Client {
    /// The client, and the host of the daemon that `host`, else the user's environment, leads to.
    ///
    /// # Errors
    /// [`Exit::Machine`] where it is not installed.
    pub(in crate::deploy) fn find(target: &Target, host: Option<&str>) -> anyhow::Result<(Self, String)> {
        let environment = &target.environment;
        let program = which::which_in("docker", environment.get("PATH"), "/").map_err(|_| {
            Fault::new(Exit::Machine, "`docker` is not installed or not on PATH")
                .hint("install Docker's client; its daemon may be on another machine: `DOCKER_HOST`")
        })?;
        let mut env: BTreeMap<String, String> = VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())))
            .collect();
        if let Some(host) = host {
            env.insert("DOCKER_HOST".to_owned(), host.to_owned());
            env.remove("DOCKER_CONTEXT");
        }
        let host = env.get("DOCKER_HOST").map_or("", String::as_str);
        Ok((Self { program, env: env.clone() }, machine(host)))
    }

    pub(in crate::deploy) fn command(&self) -> Command {
        let command = Command::new(&self.program).clear().timeout(CALL);
        self.env.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Whether the daemon is this machine's.
    pub(in crate::deploy) fn is_here(&self) -> bool {
        let host = self.env.get("DOCKER_HOST").map_or("", String::as_str);
        host.is_empty() || host.starts_with("unix://") || host.starts_with("npipe://")
    }

    pub(in crate::deploy) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Runs the client; any end but exit 0 is [`Exit::Machine`] with what it said.
    pub(in crate::deploy) fn run(&self, args: &[&str], cancel: &Cancel) -> anyhow::Result<String> {
        ok(&self.command().args(args), cancel)
    }

    /// As [`Client::run`]; `None` where it says that there is no such thing.
    pub(in crate::deploy) fn find_one(
        &self,
        args: &[&str],
        cancel: &Cancel,
    ) -> anyhow::Result<Option<String>> {
        let command = self.command().args(args);
        let output = call(&command, cancel)?;
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        if output.status != Status::Exited(0) && (said.contains("no such") || said.contains("not found")) {
            return Ok(None);
        }
        checked(&command, output).map(Some)
    }

    pub(in crate::deploy) fn inspect(
        &self,
        names: &[&str],
        cancel: &Cancel,
    ) -> anyhow::Result<Vec<Container>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let command = self.command().args(["container", "inspect"]).args(names.iter().copied());
        // One may have gone since it was listed: the others are told of all the same.
        let output = call(&command, cancel)?;
        serde_json::from_slice(&output.stdout)
            .fault(Exit::Machine, "`docker container inspect` did not answer in JSON")
    }

    /// Containers that have all of these labels.
    pub(in crate::deploy) fn labelled(
        &self,
        labels: &[String],
        cancel: &Cancel,
    ) -> anyhow::Result<Vec<Container>> {
        let mut command = self.command().args(["container", "ls", "--all", "--quiet", "--no-trunc"]);
        for label in labels {
            command = command.arg("--filter").arg(format!("label={label}"));
        }
        let listed = ok(&command, cancel)?;
        self.inspect(&listed.lines().collect::<Vec<_>>(), cancel)
    }
}

/// The domains in which this machine looks a plain name up (resolv.conf(5)), of which the first are taken.
pub(in crate::deploy) fn domains() -> Vec<String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let search = text.lines().rev().find_map(|line| line.strip_prefix("search "));
    // `.` is for none.
    let named = search.unwrap_or_default().split_whitespace().filter(|domain| *domain != ".");
    named.take(5).map(str::to_owned).collect()
}

/// The machine of a daemon's address, as this one reaches it.
fn machine(host: &str) -> String {
    let rest =
        ["tcp://", "http://", "https://", "ssh://"].iter().find_map(|scheme| host.strip_prefix(scheme));
    let Some(rest) = rest else { return "127.0.0.1".to_owned() };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split('/').next().unwrap_or(rest);
    let name = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => rest.split(':').next().unwrap_or(rest),
    };
    name.to_owned()
}

pub(in crate::deploy) fn call(command: &Command, cancel: &Cancel) -> anyhow::Result<Output> {
    if cancel.is_set() {
        return Err(stopped(cancel));
    }
    let output = command.output(cancel).fault(Exit::Machine, "docker's client could not be run")?;
    if output.status == Status::Cancelled { Err(stopped(cancel)) } else { Ok(output) }
}

pub(in crate::deploy) fn ok(command: &Command, cancel: &Cancel) -> anyhow::Result<String> {
    let output = call(command, cancel)?;
    checked(command, output)
}

pub(in crate::deploy) fn checked(command: &Command, output: Output) -> anyhow::Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let fault =
        if said.contains("Cannot connect to the Docker daemon") || said.contains("error during connect") {
            Fault::new(Exit::Machine, "no docker daemon answers")
                .hint("start it, or say where it is: `DOCKER_HOST`")
        } else {
            Fault::new(Exit::Machine, "docker refused")
        };
    let output = command.checked(output).map_err(|error| anyhow::Error::from(error).context(fault))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_machine_is_in_its_address() {
        for (host, expected) in [
            ("", "127.0.0.1"),
            ("unix:///var/run/docker.sock", "127.0.0.1"),
            ("tcp://10.0.0.1:2375", "10.0.0.1"),
            ("ssh://user@host", "host"),
            ("ssh://user@host:22/x", "host"),
            ("tcp://[::1]:2375", "::1"),
        ] {
            assert_eq!(machine(host), expected, "{host}");
        }
    }
}
