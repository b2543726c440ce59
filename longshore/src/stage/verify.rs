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
pub mod jobs;
mod local;
mod ports;
mod probe;
mod root;
mod session;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _, Tail, exit_of};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::host::process::Status;
use crate::oci::types::Digest;
use crate::plan::JobId;
use crate::platform::Platform;
use crate::resolve::HealthSettings;
use crate::stage::lint::tool::stopped;
use crate::stage::{Finish, ManifestOutput, Output, Scope};
use crate::verdict::{self, Verify};

use local::Namespaces;
use probe::Answer;
use root::Image;
use session::Session;

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

/// Between two looks at a service.
const TICK: Duration = Duration::from_millis(20);

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

/// The way that was found.
enum Way {
    Docker(docker::Docker),
    Chroot(Namespaces),
    Process,
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
            warnings: Vec::new(),
            at: clock::rfc3339(clock::now()),
        };
        verdict::write(&verdicts, &record)
    };
    let way = match way(spec, &manifest, scope) {
        Ok(way) => way,
        Err(NoWay::Fault(error)) => return Err(error),
        Err(NoWay::Elsewhere(note)) => {
            record(Verify::None, "none".to_owned(), note.clone())?;
            return Ok(finish(Verify::None, note, false));
        }
    };
    let (tool, verdict) = (way.tool(), way.verdict());
    match judge(spec, way, scope) {
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

enum NoWay {
    /// An image of another platform, or a machine that runs none.
    Elsewhere(String),
    Fault(anyhow::Error),
}

impl From<Fault> for NoWay {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault.into())
    }
}

fn way(spec: &VerifySpec, manifest: &ManifestOutput, scope: &Scope<'_>) -> Result<Way, NoWay> {
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
        Runner::Docker => Way::Docker(
            docker::Docker::find(environment, platform, cancel).map_err(|why| missing("docker", &why))?,
        ),
        Runner::Chroot => {
            Way::Chroot(Namespaces::find(environment, cancel).map_err(|why| missing("chroot", &why))?)
        }
        Runner::Process => Way::Process,
        Runner::Auto => match docker::Docker::find(environment, platform, cancel) {
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
    fn tool(&self) -> String {
        match self {
            Self::Docker(docker) => format!("docker {}", docker.version),
            Self::Chroot(_) => "chroot".to_owned(),
            Self::Process => "process".to_owned(),
        }
    }

    fn verdict(&self) -> Verify {
        match self {
            Self::Docker(_) | Self::Chroot(_) => Verify::Container,
            Self::Process => Verify::Process,
        }
    }
}

/// Starts everything, waits for health, stops the service under verification. What it made is gone when it
/// returns.
fn judge(spec: &VerifySpec, way: Way, scope: &Scope<'_>) -> anyhow::Result<String> {
    let mut tasks = Vec::new();
    for instance in spec.needs.iter().chain([&spec.instance]) {
        tasks.push(task(instance, scope)?);
    }
    let mut session = Session::begin(scope)?;
    if !matches!(way, Way::Docker(_)) {
        let fixed = settle_ports(&mut tasks)?;
        session.reserve(fixed.clone(), scope.cancel)?;
        for port in fixed {
            if let Some(error) = ports::taken(port) {
                return Err(anyhow::Error::from(error).context(port_taken(port, &tasks)));
            }
        }
    }
    let starter = Starter::new(way, &session, &tasks, scope)?;
    // Declared after the session, so that what runs ends before its folder goes.
    let mut running: Vec<(String, Box<dyn Running>)> = Vec::new();
    let until = Instant::now() + spec.timeout;
    let began = Instant::now();
    let result = (|| {
        for task in &tasks {
            scope.progress.status(&format!("starting {}", task.service));
            running.push((task.service.clone(), starter.start(task)?));
            healthy(task, &mut running, until, scope)?;
        }
        let healthy = began.elapsed();
        scope.progress.status(&format!("stopping {}", spec.instance.service));
        let (name, service) = running.last_mut().ok_or_else(|| anyhow::anyhow!("internal: nothing ran"))?;
        stop(name, service.as_mut(), spec.grace, scope)?;
        let state = if spec.instance.port.is_some() { "healthy" } else { "alive" };
        Ok(format!("{state} after {:.1} s", healthy.as_secs_f64()))
    })();
    result.map_err(|error| with_logs(error, &mut running, scope))
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
        env,
    })
}

/// Gives each service a free port where a variable can tell it; returns the declared ports that stay.
fn settle_ports(tasks: &mut [Task]) -> anyhow::Result<Vec<u16>> {
    let mut moved = Vec::new();
    let mut fixed: Vec<u16> = Vec::new();
    for task in &mut *tasks {
        let Some(port) = task.port else { continue };
        if ports::told(&task.env, port) {
            let new = ports::free().fault(Exit::Machine, "no verdict: there is no free port")?;
            ports::move_own(&mut task.env, port, new);
            task.port = Some(new);
            moved.push((task.service.clone(), port, new));
        } else {
            if fixed.contains(&port) {
                return Err(port_taken(port, tasks).into());
            }
            fixed.push(port);
            moved.push((task.service.clone(), port, port));
        }
    }
    for task in tasks {
        for (name, port, new) in &moved {
            ports::move_needed(&mut task.env, name, *port, *new);
        }
    }
    Ok(fixed)
}

fn port_taken(port: u16, tasks: &[Task]) -> Fault {
    let services = tasks.iter().filter(|task| task.port == Some(port));
    let names: Vec<String> = services.map(|task| format!("`{}`", task.service)).collect();
    Fault::new(Exit::Machine, format!("no verdict: port {port} of {} is not free", names.join(" and "))).hint(
        "declare a build-arg or variable that holds the port, so that another one can be given; or end what \
         listens there",
    )
}

/// Starts services one way.
struct Starter<'a> {
    way: Started,
    folder: PathBuf,
    names: Vec<String>,
    scope: &'a Scope<'a>,
}

enum Started {
    Docker(docker::Containers),
    Chroot(Namespaces),
    Process,
}

impl<'a> Starter<'a> {
    fn new(way: Way, session: &Session, tasks: &[Task], scope: &'a Scope<'a>) -> anyhow::Result<Self> {
        let way = match way {
            Way::Docker(docker) => {
                Started::Docker(docker.open(session.folder(), session.id(), scope.cancel)?)
            }
            Way::Chroot(namespaces) => Started::Chroot(namespaces),
            Way::Process => Started::Process,
        };
        let names = tasks.iter().map(|task| task.service.clone()).collect();
        Ok(Self { way, folder: session.folder().join("roots"), names, scope })
    }

    fn start(&self, task: &Task) -> anyhow::Result<Box<dyn Running>> {
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

/// Waits until the last of `running` is healthy, and sees that none of them ends meanwhile.
fn healthy(
    task: &Task,
    running: &mut [(String, Box<dyn Running>)],
    until: Instant,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    let health = &task.health;
    let delay = health.delay.unwrap_or(if task.port.is_some() { Duration::ZERO } else { ALIVE });
    scope.progress.status(&format!("waiting for {}", task.service));
    pause(running, delay, scope)?;
    if task.port.is_none() {
        return alive(running, scope);
    }
    let mut paths: Vec<&str> = Vec::new();
    for path in [&health.startup, &health.ready, &health.live].into_iter().flatten() {
        if !paths.contains(&path.as_str()) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return until_success(task, "a connection", running, until, scope, |addresses| match probe::listens(
            addresses,
            health.timeout,
        ) {
            Ok(()) => Answer::Status(200),
            Err(why) => Answer::Nothing(why),
        });
    }
    for path in paths {
        let what = format!("`GET {path}`");
        until_success(task, &what, running, until, scope, |addresses| {
            probe::get(addresses, path, health.timeout)
        })?;
    }
    Ok(())
}

fn until_success(
    task: &Task,
    what: &str,
    running: &mut [(String, Box<dyn Running>)],
    until: Instant,
    scope: &Scope<'_>,
    ask: impl Fn(&[SocketAddr]) -> Answer,
) -> anyhow::Result<()> {
    let began = Instant::now();
    // A service is ready in a moment as a rule: ask often at first, then at its own pace.
    let mut wait = TICK.min(task.health.period);
    loop {
        let answer = match running.last() {
            Some((_, service)) => ask(service.addresses()),
            None => Answer::Nothing("it does not run".to_owned()),
        };
        alive(running, scope)?;
        if answer.is_success() {
            return Ok(());
        }
        if Instant::now() >= until {
            let waited = humantime::format_duration(Duration::from_secs(began.elapsed().as_secs()));
            let message = format!("`{}` is not healthy after {waited}: {what} {answer}", task.service);
            return Err(Fault::new(Exit::Gate, message)
                .hint("`health` has its paths and times; `[stages.verify] timeout` is the limit of all")
                .into());
        }
        pause(running, wait.min(until.saturating_duration_since(Instant::now())), scope)?;
        wait = (wait * 2).min(task.health.period).max(TICK);
    }
}

/// Lets time pass, and looks meanwhile whether something ends or the run is to stop.
fn pause(
    running: &mut [(String, Box<dyn Running>)],
    time: Duration,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
        alive(running, scope)?;
    }
}

fn alive(running: &mut [(String, Box<dyn Running>)], scope: &Scope<'_>) -> anyhow::Result<()> {
    if scope.cancel.is_set() {
        return Err(stopped(scope.cancel));
    }
    for (name, service) in running {
        if let Some(status) = service.ended(scope.cancel)? {
            return Err(Fault::new(Exit::Gate, format!("`{name}` ended by itself: {status}")).into());
        }
    }
    Ok(())
}

/// A clean stop: after SIGTERM it ends in time, with 0 or by that signal.
fn stop(name: &str, service: &mut dyn Running, grace: Duration, scope: &Scope<'_>) -> anyhow::Result<()> {
    service.terminate(scope.cancel)?;
    let until = Instant::now() + grace;
    let status = loop {
        if let Some(status) = service.ended(scope.cancel)? {
            break status;
        }
        if scope.cancel.is_set() {
            return Err(stopped(scope.cancel));
        }
        if Instant::now() >= until {
            let grace = humantime::format_duration(grace);
            return Err(Fault::new(Exit::Gate, format!("`{name}` did not end within {grace} of SIGTERM"))
                .hint("handle SIGTERM: `signal.NotifyContext`, then `http.Server.Shutdown`")
                .into());
        }
        std::thread::sleep(TICK);
    };
    if ended_cleanly(status, &service.log()) {
        return Ok(());
    }
    Err(Fault::new(Exit::Gate, format!("`{name}` did not stop cleanly after SIGTERM: {status}"))
        .hint("exit 0 after a shutdown that was asked for")
        .into())
}

/// 0, or the signal's end in each of its forms. Go without a handler, as process 1 of a namespace, can't die of
/// the signal and exits with 2, as it also does after a panic: the log tells these apart.
fn ended_cleanly(status: Status, log: &[String]) -> bool {
    if !cfg!(unix) {
        return true;
    }
    let panicked = || log.iter().any(|line| line.starts_with("panic: ") || line.starts_with("fatal error: "));
    match status {
        Status::Exited(0 | 143) | Status::Signalled(15) => true,
        Status::Exited(2) => !panicked(),
        _ => false,
    }
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

/// A program of the user's PATH.
fn find(program: &str, environment: &Environment) -> Option<PathBuf> {
    which::which_in(program, environment.get("PATH"), "/").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_clean_stop_is_zero_or_the_signal() {
        let quiet = [String::new()];
        let panic = ["panic: runtime error".to_owned()];
        for (status, log, clean) in [
            (Status::Exited(0), &quiet[..], true),
            (Status::Signalled(15), &quiet, true),
            (Status::Exited(143), &quiet, true),
            (Status::Exited(2), &quiet, true),
            (Status::Exited(2), &panic, false),
            (Status::Exited(1), &quiet, false),
            (Status::Signalled(9), &quiet, false),
            (Status::Signalled(11), &quiet, false),
        ] {
            assert_eq!(ended_cleanly(status, log), clean, "{status:?}");
        }
    }
}
