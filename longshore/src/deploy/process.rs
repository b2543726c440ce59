//! Services as processes of this machine and user, each under a supervisor ([`crate::host::supervisor`]): for
//! an environment that is this machine, with no daemon.
//!
//! The image's files are unpacked below the environment's folder, and its entrypoint runs there with the
//! image's variables and nothing else of it: paths of the image are not those that the process sees. Services
//! share the machine's ports: each keeps the one that it declares where it can, else, where a variable tells
//! it its port, a free one that it keeps from then on; addresses of others (`http://orders:8080`) in its
//! variables follow. Where one port is all there is, the old process ends before the new one starts.

mod ports;
mod root;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deploy::workload::Workload;
use crate::deploy::{Before, Condition, Driver, LogAsk, Observed, Step, Target, Unhealthy, health, image};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::supervisor::{self, Spec, State};
use crate::oci::types::Digest;
use crate::platform::Platform;
use crate::stage::verify::probe;

/// Between SIGTERM and the end.
const GRACE: Duration = Duration::from_secs(10);

/// Lines of its log that are told when it fails.
const TAIL: usize = 30;

/// What `run.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    digest: Digest,
    hash: String,
    port: Option<u16>,
    ready: Option<String>,
}

/// The processes of one environment.
#[derive(Debug)]
pub struct Processes {
    target: Target,
    /// A folder a service.
    folder: PathBuf,
    /// While ports are given away.
    ports: Mutex<()>,
}

impl Processes {
    pub fn new(target: Target) -> Self {
        let folder = target.workspace.state.join("deploy").join(&target.name);
        Self { target, folder, ports: Mutex::new(()) }
    }

    fn folder(&self, service: &str) -> PathBuf {
        self.folder.join("services").join(service)
    }

    fn note(&self, service: &str) -> Option<Note> {
        serde_json::from_slice(&supervisor::note(&self.folder(service))?).ok()
    }

    /// Every service that has something here.
    fn services(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("services")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn bring_up(&self, workload: &Workload, step: &Step<'_>) -> anyhow::Result<()> {
        let service = &workload.service;
        let folder = self.folder(service);
        let hash = workload.hash()?;
        let same = self.note(service).is_some_and(|note| note.hash == hash);
        let port = if same && supervisor::is_supervised(&folder) {
            self.note(service).and_then(|note| note.port)
        } else {
            self.start(workload, &hash, step)?
        };
        let addresses: Vec<SocketAddr> =
            port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).into_iter().collect();
        let before = supervisor::state(&folder).map_or(0, |state| state.restarts);
        let mut alive = || {
            let Some(state) = supervisor::state(&folder) else { return Ok(None) };
            let ended = state.child.is_none() || state.restarts > before;
            Ok(ended.then(|| format!("ended by itself: {}", state.ended.unwrap_or_default())))
        };
        match health::wait(workload, &addresses, step, &mut alive)? {
            None => Ok(()),
            Some(why) => {
                let log = supervisor::log(&folder, Some(TAIL));
                Err(Unhealthy { service: service.clone(), why, log }.into())
            }
        }
    }

    /// Starts it anew; gives its port.
    fn start(&self, workload: &Workload, hash: &str, step: &Step<'_>) -> anyhow::Result<Option<u16>> {
        let service = &workload.service;
        let folder = self.folder(service);
        let platform = here(workload)?;
        step.progress.status("unpacking");
        let image = image::fetch(&self.target, workload, &platform, step)?;
        let unpacked = root::unpack(&self.folder.join("roots").join(service), &image, step.cancel)?;
        let mut env = image.env();
        env.extend(workload.env.clone());
        let port = {
            let _one = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
            ports::give(&self.folder.join("ports.json"), workload, &mut env)?
        };
        for name in &workload.secrets {
            if let Some(value) = self.target.secrets.reveal(name) {
                env.insert(name.clone(), value.to_owned());
            }
        }
        if supervisor::is_supervised(&folder) && workload.port.is_some() {
            step.progress.status("stopping what ran: it answers again when the new one does");
        }
        supervisor::end(&folder, GRACE)?;
        if let Some(port) = port {
            ports::wait_until_free(service, port, step)?;
        }
        let spec = root::spec(&unpacked, &image, env, GRACE, service)?;
        let note = Note {
            digest: workload.image.digest.clone(),
            hash: hash.to_owned(),
            port,
            ready: workload.health.ready.clone(),
        };
        step.progress.status("starting");
        self.begin(&folder, &spec, &note)?;
        root::sweep(&self.folder.join("roots").join(service), &unpacked);
        Ok(port)
    }

    fn begin(&self, folder: &std::path::Path, spec: &Spec, note: &Note) -> anyhow::Result<()> {
        supervisor::begin(folder, spec, &serde_json::to_vec(note)?)
    }

    fn take_down(&self, service: &str) -> anyhow::Result<()> {
        let folder = self.folder(service);
        supervisor::end(&folder, GRACE)?;
        for folder in [folder, self.folder.join("roots").join(service)] {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .fault(Exit::Machine, format!("could not remove `{}`", folder.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn seen(&self, service: &str) -> Option<Observed> {
        let note = self.note(service)?;
        let folder = self.folder(service);
        let state = supervisor::state(&folder);
        let health = condition(&note, supervisor::is_supervised(&folder), state.as_ref());
        let address = note.port.map(|port| format!("127.0.0.1:{port}"));
        Some(Observed {
            digest: Some(note.digest),
            hash: Some(note.hash),
            ready: u32::from(health == Condition::Healthy),
            wanted: 1,
            restarts: state.as_ref().map_or(0, |state| state.restarts),
            since: state.map(|state| state.since),
            addresses: address.into_iter().collect(),
            drift: Vec::new(),
            health,
        })
    }
}

fn condition(note: &Note, supervised: bool, state: Option<&State>) -> Condition {
    let Some(state) = state.filter(|_| supervised) else {
        return Condition::Stopped("its supervisor is gone".to_owned());
    };
    let ended = || state.ended.clone().unwrap_or_default();
    if state.child.is_none() {
        return Condition::Unhealthy(format!("it ended ({}) and is started again", ended()));
    }
    let Some(port) = note.port else { return Condition::Healthy };
    let address = [SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let timeout = Duration::from_secs(2);
    let answer = match &note.ready {
        Some(path) => match probe::get(&address, path, timeout) {
            answer if answer.is_success() => return Condition::Healthy,
            answer => format!("`GET {path}` {answer}"),
        },
        None => match probe::listens(&address, timeout) {
            Ok(()) => return Condition::Healthy,
            Err(why) => format!("a connection got no answer: {why}"),
        },
    };
    Condition::Unhealthy(answer)
}

/// The platform whose image this machine runs as it is.
fn here(workload: &Workload) -> anyhow::Result<Platform> {
    let native = |platform: &&Platform| {
        crate::stage::verify::local::runs_natively(platform)
            && platform.architecture == Platform::host_architecture()
    };
    workload.image.platforms.keys().find(native).cloned().ok_or_else(|| {
        let has: Vec<String> = workload.image.platforms.keys().map(ToString::to_string).collect();
        let message = format!(
            "`{}` has no image whose program runs on this machine: it has {}",
            workload.service,
            has.join(", ")
        );
        Fault::new(Exit::Machine, message)
            .hint("release it for this machine's platform, or use `driver = \"docker\"`")
            .into()
    })
}

impl Driver for Processes {
    fn observe(&self, _: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        let seen = |service: String| Some((service.clone(), self.seen(&service)?));
        Ok(self.services().into_iter().filter_map(seen).collect())
    }

    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()> {
        workloads.iter().try_for_each(|workload| self.bring_up(workload, step))
    }

    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()> {
        before.iter().try_for_each(|before| match &before.workload {
            Some(workload) => self.bring_up(workload, step),
            None => self.take_down(&before.service),
        })
    }

    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        let mut told = BTreeMap::new();
        for service in services {
            let lines = supervisor::log(&self.folder(service), None);
            let first = ask.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            lines[first..].iter().for_each(|line| sink(service, line));
            told.insert(service, lines.len());
        }
        while ask.follow && !step.cancel.is_set() {
            for (service, count) in &mut told {
                let lines = supervisor::log(&self.folder(service), None);
                // Fewer than before: the older of the two files is gone.
                lines.iter().skip((*count).min(lines.len())).for_each(|line| sink(service, line));
                *count = lines.len();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn down(&self, services: &[String], _: &Step<'_>) -> anyhow::Result<()> {
        services.iter().try_for_each(|service| self.take_down(service))
    }
}
