//! Images and containers are made.

use std::time::Duration;

use crate::deploy::docker::client::{self, ok};
use crate::deploy::docker::{DIGEST, Docker, HASH, READY};
use crate::deploy::workload::Workload;
use crate::deploy::{Step, image};
use crate::fault::{Exit, Fault};
use crate::host::files::Draft;
use crate::oci::archive::{self, Form};
use crate::oci::types::{Descriptor, Digest, media_type};
use crate::platform::Platform;

/// An image of gigabytes comes over a network.
const PULL: Duration = Duration::from_secs(900);

/// Which port of the daemon's host is a container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deploy) enum Ports {
    Free,
    Fixed(u16),
}

/// The image in the daemon, by a name that stands for its digest.
///
/// # Errors
/// [`Exit::Machine`] where the daemon refuses, [`Exit::Outside`] where the registry lacks it.
pub(in crate::deploy) fn image(
    docker: &Docker,
    workload: &Workload,
    step: &Step<'_>,
) -> anyhow::Result<String> {
    if workload.image.repository.starts_with("oci:") {
        return load(docker, workload, step);
    }
    let reference = workload.image.reference();
    let inspect = ["image", "inspect", "--format", "{{.Id}}", reference.as_str()];
    if docker.client.find_one(&inspect, step.cancel)?.is_none() {
        step.progress.status("pulling the image");
        let command = docker.client.command().args(["pull", "--quiet", &reference]).timeout(PULL);
        ok(&command, step.cancel).map_err(|error| {
            let fault = Fault::new(Exit::Outside, format!("the daemon could not pull `{reference}`")).hint(
                "the daemon must reach the registry, and its client be logged in there: `docker login`",
            );
            error.context(fault)
        })?;
    }
    Ok(reference)
}

/// From a folder: the platform's image is loaded, and known by its config's or manifest's digest.
fn load(docker: &Docker, workload: &Workload, step: &Step<'_>) -> anyhow::Result<String> {
    let platform = platform(docker, workload, step)?;
    let local = image::fetch(&docker.target, workload, &platform, step)?;
    let image = &local.image;
    let ids: [&Digest; 2] = [&image.manifest.config.digest, &image.manifest_digest];
    let present = || -> anyhow::Result<Option<String>> {
        for id in ids {
            let inspect = ["image", "inspect", "--format", "{{.Id}}", id.as_str()];
            if docker.client.find_one(&inspect, step.cancel)?.as_deref() == Some(id.as_str()) {
                return Ok(Some(id.to_string()));
            }
        }
        Ok(None)
    };
    if let Some(found) = present()? {
        return Ok(found);
    }
    step.progress.status("loading the image");
    let mut draft = Draft::new(&docker.target.workspace.state)?;
    let target = Descriptor::of(media_type::MANIFEST, &image.layout.read(&image.manifest_digest)?);
    archive::write(&mut draft, (&image.layout, &target), Form::Docker, None, step.cancel)?;
    let command =
        docker.client.command().args(["load", "--quiet", "--input"]).arg(draft.path()).timeout(PULL);
    ok(&command, step.cancel)?;
    present()?.ok_or_else(|| {
        let message = format!("docker loaded another image than `{}`", image.manifest.config.digest);
        Fault::new(Exit::Machine, message).into()
    })
}

/// The daemon's platform, of those that the image has.
fn platform(docker: &Docker, workload: &Workload, step: &Step<'_>) -> anyhow::Result<Platform> {
    let args = ["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"];
    let said = docker.client.run(&args, step.cancel)?;
    let fits = |platform: &&Platform| format!("{}/{}", platform.os, platform.architecture) == said;
    workload.image.platforms.keys().find(fits).cloned().ok_or_else(|| {
        let message = format!("`{}` has no image for the daemon, which runs {said}", workload.service);
        Fault::new(Exit::Machine, message).into()
    })
}

/// Makes a container and starts it. While it is looked at, how it ends counts: it is not started again yet.
///
/// # Errors
/// [`Exit::Machine`] where the daemon refuses: a program that is not there among it.
pub(super) fn container(
    docker: &Docker,
    workload: &Workload,
    name: &str,
    image: &str,
    ports: Ports,
    step: &Step<'_>,
) -> anyhow::Result<()> {
    let mut command = docker
        .client
        .command()
        .args(["create", "--pull", "never", "--name", name])
        .args(["--network", &docker.network])
        // A plain name is one of the network's first: see `names`.
        .args(["--dns-option", "ndots:1", "--dns-search", &docker.network]);
    if docker.client.is_here() {
        // As the daemon would have it without the line above.
        for domain in client::domains() {
            command = command.arg("--dns-search").arg(domain);
        }
    }
    for label in labels(docker, workload)? {
        command = command.arg("--label").arg(label);
    }
    if let Some(published) = published(docker, workload, ports) {
        command = command.arg("--publish").arg(published);
    }
    let resources = &workload.resources;
    if let Some(cpu) = resources.cpu_limit {
        command = command.arg("--cpus").arg(format!("{}.{:03}", cpu / 1000, cpu % 1000));
    }
    if let Some(cpu) = resources.cpu {
        command = command.arg("--cpu-shares").arg(shares(cpu).to_string());
    }
    if let Some(memory) = resources.memory_limit {
        command = command.arg("--memory").arg(format!("{memory}b"));
    }
    if let Some(memory) = resources.memory {
        command = command.arg("--memory-reservation").arg(format!("{memory}b"));
    }
    let command = variables(command, docker, workload)?.arg(image);
    ok(&command, step.cancel)?;
    docker.client.run(&["start", name], step.cancel)?;
    Ok(())
}

/// What a container is found by again, and what it was made of: `KEY=VALUE`.
pub(in crate::deploy) fn labels(docker: &Docker, workload: &Workload) -> anyhow::Result<Vec<String>> {
    let mut labels = docker.labels(Some(&workload.service));
    labels.push(format!("{HASH}={}", workload.hash()?));
    labels.push(format!("{DIGEST}={}", workload.image.digest));
    labels.extend(workload.health.ready.iter().map(|path| format!("{READY}={path}")));
    labels.extend(workload.labels.iter().map(|(key, value)| format!("{key}={value}")));
    Ok(labels)
}

/// `ADDRESS:PORT:PORT/tcp`
pub(in crate::deploy) fn published(docker: &Docker, workload: &Workload, ports: Ports) -> Option<String> {
    let inside = workload.port?;
    let address = docker.target.settings.docker.address.as_ref();
    let address = address.map_or("127.0.0.1", |address| address.value.as_str());
    let outside = match ports {
        Ports::Free => String::new(),
        Ports::Fixed(port) => port.to_string(),
    };
    Some(format!("{address}:{outside}:{inside}/tcp"))
}

/// Of a processor's thousandths: 1024 shares are one.
pub(in crate::deploy) fn shares(cpu: u32) -> u64 {
    (u64::from(cpu) * 1024 / 1000).max(2)
}

/// Values never enter argv: those of one line come as a file on stdin, the others in the client's own
/// environment.
fn variables(
    mut command: crate::host::process::Command,
    docker: &Docker,
    workload: &Workload,
) -> anyhow::Result<crate::host::process::Command> {
    let secrets =
        workload.secrets.iter().filter_map(|name| Some((name, docker.target.secrets.reveal(name)?)));
    let plain = workload.env.iter().map(|(name, value)| (name, value.as_str()));
    let mut lines = String::new();
    for (name, value) in plain.chain(secrets) {
        if value.contains(['\n', '\r']) {
            if docker.client.env().contains_key(name) {
                let message =
                    format!("`{name}` of `{}` has several lines, and is docker's own", workload.service);
                return Err(Fault::new(Exit::Usage, message).into());
            }
            command = command.env(name, value).arg("--env").arg(name);
        } else {
            lines.push_str(&format!("{name}={value}\n"));
        }
    }
    Ok(if lines.is_empty() { command } else { command.arg("--env-file").arg("/dev/stdin").stdin(lines) })
}
