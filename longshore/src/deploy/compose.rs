//! Services through Docker Compose: a generated file that pins images by digest, under files of the user's own.
//!
//! The generated file is JSON, which is YAML too, and has a part a service: what this clone has deployed. What
//! the user's files add (a database, a container that migrates it and ends) comes up with the service that
//! depends on it. Compose only makes containers: their health is asked here, and they are found again, told of
//! and taken away as [`super::docker`] does it. A service is replaced where it stands, so there is a gap.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cancel::Cancel;
use crate::config::deploy::{ComposeOptions, SecretForm};
use crate::deploy::docker::client::{self, Container};
use crate::deploy::docker::{Docker, HASH, create};
use crate::deploy::workload::Workload;
use crate::deploy::{Before, Driver, LogAsk, Observed, Step, Target, Unhealthy};
use crate::diagnostic::{Diagnostic, Diagnostics, quoted};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files;
use crate::host::process::Status;

/// What of the options goes with a workload, so that any clone describes it the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The texts of the user's files, in their order.
    files: Vec<String>,
    /// Secrets are variables, and not files.
    variables: bool,
}

/// The options of an environment, its files read.
///
/// # Errors
/// [`Diagnostics`]: files that can't be read.
pub fn options(given: &ComposeOptions, root: &Path) -> anyhow::Result<Options> {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for path in given.files.iter().flatten() {
        match std::fs::read_to_string(root.join(&path.value)) {
            Ok(text) => texts.push(text),
            Err(error) => {
                let message = format!("could not read {}", quoted(&path.value.display().to_string()));
                faults.push(Diagnostic::error(message).at(&path.place, error.to_string()));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults).into());
    }
    let variables = given.secrets.as_ref().is_some_and(|form| form.value == SecretForm::Variables);
    Ok(Options { files: texts, variables })
}

/// The Compose project of one environment.
#[derive(Debug)]
pub struct Compose {
    docker: Docker,
    /// `docker compose`, or `docker-compose`.
    program: Vec<OsString>,
    /// Everything that is written; paths in the user's files are from the repository's root all the same.
    folder: PathBuf,
    /// While the generated file is changed and read.
    file: Mutex<()>,
}

impl Compose {
    /// # Errors
    /// [`Exit::Machine`] where neither `docker compose` nor `docker-compose` is installed.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let folder = target.workspace.state.join("deploy").join(&target.name);
        let docker = Docker::new(target)?;
        let program = program(&docker)?;
        Ok(Self { docker, program, folder, file: Mutex::new(()) })
    }

    fn bring_up(&self, workload: &Workload, step: &Step<'_>) -> anyhow::Result<()> {
        let service = &workload.service;
        let options: Options = match &workload.options {
            Value::Null => Options::default(),
            value => serde_json::from_value(value.clone())
                .fault(Exit::Machine, format!("could not read how `{service}` is described"))?,
        };
        let image = create::image(&self.docker, workload, step)?;
        self.docker.ensure_network(step)?;
        let hash = workload.hash()?;
        let is_wanted = |container: &&Container| container.config.labels.get(HASH) == Some(&hash);
        let found = self.docker.containers(service, step)?;
        let status = match found.is_empty() || found.iter().any(|container| is_wanted(&container)) {
            true => "starting",
            false => "replacing what runs: it answers again when the new one does",
        };
        step.progress.status(status);
        self.up(workload, &image, &options, step)?;
        let found = self.docker.containers(service, step)?;
        let Some(container) = found.iter().find(is_wanted) else {
            let message = format!("Compose made no container of `{service}` as it is described");
            let hint = "does a file of `deploy.compose.files` replace its labels?";
            return Err(Fault::new(Exit::Machine, message).hint(hint).into());
        };
        self.docker.wait(workload, container.name(), step)?;
        self.docker.keep_up(container.name(), step)
    }

    /// One service, and what the user's files make it depend on; those of ours are up already.
    fn up(&self, workload: &Workload, image: &str, options: &Options, step: &Step<'_>) -> anyhow::Result<()> {
        let service = &workload.service;
        let _one = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (part, secrets) = self.describe(workload, image, options)?;
        self.write(service, Some((part, secrets)))?;
        let mut command = self.docker.client.command().timeout(step.left());
        if let [program, first @ ..] = self.program.as_slice() {
            command.program.clone_from(program);
            command = command.args(first);
        }
        // Paths in the user's files are from the root, wherever the first file lies.
        command = command
            .args(["--project-name", &self.docker.target.slug(), "--project-directory"])
            .arg(&self.docker.target.workspace.root)
            .arg("--file")
            .arg(self.path());
        for (number, text) in options.files.iter().enumerate() {
            let path = self.folder.join("files").join(service).join(format!("{number}.yaml"));
            files::write(&path, text.as_bytes())?;
            command = command.arg("--file").arg(path);
        }
        command = command.args(["up", "--detach", service]);
        if options.variables {
            for (name, value) in self.secrets(workload) {
                command = command.env(name, value);
            }
        }
        let output = client::call(&command, step.cancel)?;
        match output.status {
            Status::Exited(0) => Ok(()),
            Status::TimedOut(_) => {
                let log = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
                let why = "was not started in time by Compose".to_owned();
                Err(Unhealthy { service: service.clone(), why, log }.into())
            }
            _ => Err(self.failed(service, client::checked(&command, output), step)),
        }
    }

    /// Why Compose brought it not up: something that it depends on has ended, or Compose itself says no.
    fn failed(&self, service: &str, said: anyhow::Result<String>, step: &Step<'_>) -> anyhow::Error {
        let Err(error) = said else { return anyhow::anyhow!("internal: it ended well") };
        let project = [format!("com.docker.compose.project={}", self.docker.target.slug())];
        let all = self.docker.client.labelled(&project, &step.cancel.cleanup()).unwrap_or_default();
        let ended = all.iter().find(|other| other.state.status == "exited" && other.state.exit_code != 0);
        match ended {
            Some(other) => {
                let why = format!("needs `{}`, which ended by itself: {}", other.name(), other.ended());
                let log = self.docker.tail(other.name(), step);
                Unhealthy { service: service.to_owned(), why, log }.into()
            }
            None => error,
        }
    }

    fn secrets<'w>(&'w self, workload: &'w Workload) -> impl Iterator<Item = (&'w str, &'w str)> {
        let reveal = |name: &'w String| Some((name.as_str(), self.docker.target.secrets.reveal(name)?));
        workload.secrets.iter().filter_map(reveal)
    }

    /// A service as the file has it, and its secrets: name in the file → where it lies.
    fn describe(
        &self,
        workload: &Workload,
        image: &str,
        options: &Options,
    ) -> anyhow::Result<(Value, Map<String, Value>)> {
        // Compose replaces `$NAME` in values: a dollar of ours is one.
        let plain = |text: &str| Value::String(text.replace('$', "$$"));
        let mut variables: Map<String, Value> =
            workload.env.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        let (mut used, mut secrets) = (Vec::new(), Map::new());
        for (name, value) in self.secrets(workload) {
            if options.variables {
                variables.insert(name.to_owned(), Value::Null);
                continue;
            }
            let path = self.folder.join("secrets").join(&workload.service).join(name);
            self.on_this_machine()?;
            files::write_private(&path, value.as_bytes())?;
            let source = format!("{}.{name}", workload.service);
            used.push(json!({ "source": source, "target": name }));
            secrets.insert(source, json!({ "file": path }));
            variables.insert(format!("{name}_FILE"), json!(format!("/run/secrets/{name}")));
        }
        let labels = create::labels(&self.docker, workload)?;
        let mut service = json!({
            "image": image,
            "environment": variables,
            "labels": labels.iter().map(|label| plain(label)).collect::<Vec<_>>(),
            // While it is looked at, how it ends counts.
            "restart": "no",
        });
        if !used.is_empty() {
            service["secrets"] = Value::Array(used);
        }
        let ports = workload.publish.map_or(create::Ports::Free, create::Ports::Fixed);
        if let Some(published) = create::published(&self.docker, workload, ports) {
            service["ports"] = json!([published]);
        }
        let resources = &workload.resources;
        if let Some(cpu) = resources.cpu_limit {
            service["cpus"] = json!(f64::from(cpu) / 1000.0);
        }
        if let Some(cpu) = resources.cpu {
            service["cpu_shares"] = json!(create::shares(cpu));
        }
        if let Some(memory) = resources.memory_limit {
            service["mem_limit"] = json!(format!("{memory}b"));
        }
        if let Some(memory) = resources.memory {
            service["mem_reservation"] = json!(format!("{memory}b"));
        }
        Ok((service, secrets))
    }

    /// Secrets as files are mounted from where this runs.
    fn on_this_machine(&self) -> anyhow::Result<()> {
        if self.docker.client.is_here() {
            return Ok(());
        }
        let host = self.docker.client.env().get("DOCKER_HOST").map_or("", String::as_str);
        let message = format!("secrets are files of this machine, and the daemon is at `{host}`");
        Err(Fault::new(Exit::Usage, message)
            .hint("write `secrets = \"variables\"` in `[deploy.compose]`")
            .into())
    }

    /// Sets or takes away a service's part of the generated file.
    fn write(&self, service: &str, part: Option<(Value, Map<String, Value>)>) -> anyhow::Result<()> {
        let bytes = files::read_optional(&self.path())?.unwrap_or_default();
        let old: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let table = |key: &str| old[key].as_object().cloned().unwrap_or_default();
        let (mut services, mut secrets) = (table("services"), table("secrets"));
        services.remove(service);
        // A variable's name has no dot.
        secrets.retain(|name, _| name.rsplit_once('.').is_none_or(|(owner, _)| owner != service));
        if let Some((part, theirs)) = part {
            services.insert(service.to_owned(), part);
            secrets.extend(theirs);
        }
        let mut whole = json!({
            "services": services,
            "networks": { "default": { "name": self.docker.network, "external": true } },
        });
        if !secrets.is_empty() {
            whole["secrets"] = Value::Object(secrets);
        }
        files::write(&self.path(), &serde_json::to_vec_pretty(&whole)?)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("compose.json")
    }

    /// What the user's files brought up, once nothing of ours is left.
    fn sweep(&self, step: &Step<'_>) -> anyhow::Result<()> {
        if !self.docker.observe(step)?.is_empty() {
            return Ok(());
        }
        let project = [format!("com.docker.compose.project={}", self.docker.target.slug())];
        let left = self.docker.client.labelled(&project, step.cancel)?;
        self.docker.remove(left.iter(), step)?;
        files::remove(&self.path())
    }

    fn take_down(&self, service: &str, step: &Step<'_>) -> anyhow::Result<()> {
        self.docker.take_down(service, step)?;
        let _one = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        files::remove(&self.folder.join("secrets").join(service))?;
        files::remove(&self.folder.join("files").join(service))?;
        if self.path().is_file() { self.write(service, None) } else { Ok(()) }
    }
}

/// The plugin where the client has it, else the program of its own.
fn program(docker: &Docker) -> anyhow::Result<Vec<OsString>> {
    let plugin = docker.client.command().args(["compose", "version"]);
    if client::call(&plugin, &Cancel::default()).is_ok_and(|output| output.status == Status::Exited(0)) {
        return Ok(vec![plugin.program, "compose".into()]);
    }
    let found = which::which_in("docker-compose", docker.target.environment.get("PATH"), "/").fault_hint(
        Exit::Machine,
        "neither `docker compose` nor `docker-compose` is installed",
        "install Docker Compose, or use `driver = \"docker\"`",
    )?;
    Ok(vec![found.into()])
}

impl Driver for Compose {
    fn observe(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        self.docker.observe(step)
    }

    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()> {
        workloads.iter().try_for_each(|workload| self.bring_up(workload, step))
    }

    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()> {
        before.iter().try_for_each(|before| match &before.workload {
            Some(workload) => self.bring_up(workload, step),
            None => self.down(std::slice::from_ref(&before.service), step),
        })
    }

    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        self.docker.logs(services, ask, step, sink)
    }

    fn down(&self, services: &[String], step: &Step<'_>) -> anyhow::Result<()> {
        services.iter().try_for_each(|service| self.take_down(service, step))?;
        self.sweep(step)?;
        // The network, where it is ours.
        self.docker.down(&[], step)
    }
}
