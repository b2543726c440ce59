//! The verify stage: an image is run, and seen to start, to answer its health paths and to stop.
//!
//! Only images of this machine's platform are run; of the others the verdict is `none`. The services that it
//! needs are started first, in order. The best way there is, or the one that is asked for:
//!
//! 1. docker, where a local daemon answers: a container of that very image in a network of its own;
//! 2. on Linux, namespaces and a root of its own, in which there is nothing but the image;
//! 3. a plain process of this user with the image's variables and nothing else of it proven.
//!
//! The first two give the verdict `container`, the third `process`.
//!
//! In 2 and 3 there is no network of their own, so each service gets a free port of 127.0.0.1: where one of
//! its variables is its declared port (`SERVER_PORT=8080`, `ADDR=:8080`), the free one is put there, and where
//! a variable of another names it with that port (`http://orders:8080`), `127.0.0.1` and the free one. A
//! service that no variable tells its port listens on the declared one, which must then be free.
//!
//! A service without a port has to be alive after its `delay`, or after two seconds. Health paths are asked in
//! the order startup, ready, live, each until it answers 2xx; redirects are not followed.

mod docker;
mod health;
pub mod jobs;
pub(crate) mod local;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod root;
mod session;
mod way;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, Tail, exit_of};
use crate::host::clock;
use crate::host::process::Status;
use crate::oci::types::Digest;
use crate::plan::JobId;
use crate::resolve::HealthSettings;
use crate::stage::{Finish, ManifestOutput, Output, Scope};
use crate::verdict::{self, Verify};

use root::Image;
use session::Session;
use way::{NoWay, Starter, Way};

/// The version of this stage's behaviour, for `[stages.verify] version`.
pub const VERSION: u32 = 1;

/// How long a service without a port has to live, where it has no `delay`.
pub const ALIVE: Duration = Duration::from_secs(2);

/// How long a service may take to end after SIGTERM, as docker and Kubernetes' users know it.
pub const GRACE: Duration = Duration::from_secs(10);

/// Of the whole verification, where none is given.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Lines told of each service's log when the gate says no.
const TAIL: usize = 20;

/// One service's image to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySpec {
    pub version: String,
    pub instance: Instance,
    /// What it needs, in the order of their starts.
    pub needs: Vec<Instance>,
    pub runner: Runner,
    /// Until everything is healthy.
    pub timeout: Duration,
    /// Between SIGTERM and its end.
    pub grace: Duration,
}

/// A service as it is run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub service: String,
    /// The job whose output is the manifest.
    pub image: JobId,
    pub port: Option<u16>,
    pub health: HealthSettings,
    /// It ends by itself. Where it does not, it is no part of the key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// Set over the image's own variables.
    pub env: BTreeMap<String, String>,
}

/// Which way to run images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// The best there is.
    Auto,
    Docker,
    Chroot,
    Process,
}

impl From<crate::config::Runner> for Runner {
    fn from(runner: crate::config::Runner) -> Self {
        match runner {
            crate::config::Runner::Auto => Self::Auto,
            crate::config::Runner::Docker => Self::Docker,
            crate::config::Runner::Chroot => Self::Chroot,
            crate::config::Runner::Process => Self::Process,
        }
    }
}

/// One service, ready to start.
#[derive(Clone, Debug)]
struct Task {
    service: String,
    image: Image,
    /// The one that it listens on: in a container the declared one, else maybe a free one.
    port: Option<u16>,
    health: HealthSettings,
    ends: bool,
    /// The image's variables with those of the instance.
    env: BTreeMap<String, String>,
}

/// A started service, whichever way.
trait Running {
    /// Where it is asked; none without a port.
    fn addresses(&self) -> &[SocketAddr];
    fn ended(&mut self, cancel: &Cancel) -> anyhow::Result<Option<Status>>;
    /// SIGTERM.
    fn terminate(&mut self, cancel: &Cancel) -> anyhow::Result<()>;
    /// Its last lines.
    fn log(&mut self) -> Vec<String>;
}

/// Runs the image and writes the verdict of its digest.
///
/// # Errors
/// [`Exit::Gate`] with every involved service's last lines; [`Exit::Machine`] where the image could not be
/// tried, which is no verdict.
pub fn run(spec: &VerifySpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let manifest = scope.outputs.manifest(&spec.instance.image)?;
    let verdicts = scope.workspace.verdicts();
    let key = key(spec, scope)?;
    if let Some(record) = verdict::read::<Verify>(&verdicts, &manifest.digest)?
        && record.verdict == Verify::Container
        && record.key.as_ref() == Some(&key)
    {
        return Ok(finish(record.verdict, record.note, true));
    }
    verdict::remove::<Verify>(&verdicts, &manifest.digest)?;
    let record = |verdict: Verify, tool: String, note: String| {
        let record = verdict::Record {
            schema: verdict::SCHEMA,
            digest: manifest.digest.clone(),
            service: spec.instance.service.clone(),
            platform: manifest.platform.clone(),
            verdict,
            tool,
            database: None,
            key: Some(key.clone()),
            note,
            findings: None,
            warnings: Vec::new(),
            at: clock::rfc3339(clock::now()),
        };
        verdict::write(&verdicts, &record)
    };
    let way = match way::find(spec, &manifest, scope) {
        Ok(way) => way,
        Err(NoWay::Fault(error)) => return Err(error),
        Err(NoWay::Elsewhere(note)) => {
            record(Verify::None, "none".to_owned(), note.clone())?;
            return Ok(finish(Verify::None, note, false));
        }
    };
    let (tool, verdict) = (way.tool(), way.verdict());
    match judge_again(spec, &way, scope) {
        Ok(note) => {
            let note = format!("{note} ({tool})");
            record(verdict, tool, note.clone())?;
            Ok(finish(verdict, note, false))
        }
        Err(error) => {
            if exit_of(&error) == Exit::Gate {
                record(Verify::Fail, tool, error.to_string())?;
            }
            Err(error)
        }
    }
}

fn finish(verdict: Verify, note: String, cached: bool) -> Finish {
    Finish { output: Output::Verified { verdict }, cached, note }
}

/// Everything that the verdict follows from.
fn key(spec: &VerifySpec, scope: &Scope<'_>) -> anyhow::Result<String> {
    let images: Vec<ManifestOutput> = std::iter::once(&spec.instance)
        .chain(&spec.needs)
        .map(|instance| scope.outputs.manifest(&instance.image))
        .collect::<anyhow::Result<_>>()?;
    let digests: Vec<&Digest> = images.iter().map(|image| &image.digest).collect();
    Ok(Digest::of(&serde_json::to_vec(&(VERSION, spec, digests))?).to_string())
}

/// Judges, and once more where somebody else took a free port before its service did.
fn judge_again(spec: &VerifySpec, way: &Way, scope: &Scope<'_>) -> anyhow::Result<String> {
    const TRIES: usize = 3;
    for _ in 1..TRIES {
        match judge(spec, way, scope) {
            Err(error) if is_port_race(&error) => {}
            other => return other,
        }
    }
    judge(spec, way, scope)
}

fn is_port_race(error: &anyhow::Error) -> bool {
    let tail = error.chain().find_map(|cause| cause.downcast_ref::<Tail>());
    tail.is_some_and(|tail| tail.0.iter().any(|line| line.contains("address already in use")))
}

/// Starts everything, waits for health, stops the service under verification. What it made is gone when it
/// returns.
fn judge(spec: &VerifySpec, way: &Way, scope: &Scope<'_>) -> anyhow::Result<String> {
    let mut tasks = Vec::new();
    for instance in spec.needs.iter().chain([&spec.instance]) {
        tasks.push(task(instance, scope)?);
    }
    let mut session = Session::begin(scope)?;
    if !matches!(way, Way::Docker(_)) {
        let fixed = ports::settle(&mut tasks)?;
        session.reserve(fixed.clone(), scope.cancel)?;
        ports::ensure_free(&fixed, &tasks)?;
    }
    let starter = Starter::new(way, &session, &tasks, scope)?;
    // Declared after the session, so that what runs ends before its folder goes.
    let mut running: Vec<(String, Box<dyn Running>)> = Vec::new();
    let result = course(spec, &tasks, &starter, &mut running, scope);
    result.map_err(|error| with_logs(error, &mut running, scope))
}

fn course(
    spec: &VerifySpec,
    tasks: &[Task],
    starter: &Starter<'_>,
    running: &mut Vec<(String, Box<dyn Running>)>,
    scope: &Scope<'_>,
) -> anyhow::Result<String> {
    let began = Instant::now();
    let until = began + spec.timeout;
    for task in tasks {
        scope.progress.status(&format!("starting {}", task.service));
        running.push((task.service.clone(), starter.start(task)?));
        if task.ends {
            health::ended(task, running, until, scope)?;
            // What has ended is nothing that must stay alive; that of the service under verification is told of.
            if task.service != spec.instance.service {
                running.pop();
            }
        } else {
            health::healthy(task, running, until, scope)?;
        }
    }
    let healthy = began.elapsed();
    if spec.instance.ends {
        return Ok(format!("ended after {:.1} s", healthy.as_secs_f64()));
    }
    scope.progress.status(&format!("stopping {}", spec.instance.service));
    let (name, service) = running.last_mut().ok_or_else(|| anyhow::anyhow!("internal: nothing ran"))?;
    health::stop(name, service.as_mut(), spec.grace, scope)?;
    let state = if spec.instance.port.is_some() { "healthy" } else { "alive" };
    Ok(format!("{state} after {:.1} s", healthy.as_secs_f64()))
}

fn task(instance: &Instance, scope: &Scope<'_>) -> anyhow::Result<Task> {
    let image = Image::open(&scope.outputs.manifest(&instance.image)?)?;
    let mut env: BTreeMap<String, String> = image
        .config
        .config
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.extend(instance.env.clone());
    Ok(Task {
        service: instance.service.clone(),
        image,
        port: instance.port,
        health: instance.health.clone(),
        ends: instance.ends,
        env,
    })
}

/// A gate's no with what each service has printed; other failures as they are.
fn with_logs(
    error: anyhow::Error,
    running: &mut [(String, Box<dyn Running>)],
    scope: &Scope<'_>,
) -> anyhow::Error {
    if exit_of(&error) != Exit::Gate {
        return error;
    }
    let mut tail = Vec::new();
    for (name, service) in running.iter_mut() {
        let log = service.log();
        let first = log.len().saturating_sub(TAIL);
        tail.extend(log[first..].iter().map(|line| format!("{name} | {line}")));
    }
    for line in &tail {
        scope.progress.line(line);
    }
    let (message, hint) = match error.downcast_ref::<Fault>() {
        Some(fault) => (fault.message.clone(), fault.hint.clone()),
        None => (error.to_string(), None),
    };
    anyhow::Error::from(Tail(tail)).context(Fault { exit: Exit::Gate, message, hint })
}
