//! Waiting until a workload that can be reached over TCP is healthy and answers as it must.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::deploy::Step;
use crate::deploy::workload::Workload;
use crate::resolve::Request;
use crate::stage::lint::tool::stopped;
use crate::stage::verify::ALIVE;
use crate::stage::verify::probe::{self, Answer};

/// Between two looks, at first.
const TICK: Duration = Duration::from_millis(20);

/// Whether it still runs; `Some`: why it does not.
pub type Alive<'a> = dyn FnMut() -> anyhow::Result<Option<String>> + 'a;

/// Waits for the health paths (startup, ready, live), then asks the requests. `None`: all is well; else why it
/// is not, once that is known: it ended, or the time is up.
///
/// # Errors
/// An interruption; those of `alive`.
pub fn wait(
    workload: &Workload,
    addresses: &[SocketAddr],
    step: &Step<'_>,
    alive: &mut Alive<'_>,
) -> anyhow::Result<Option<String>> {
    let health = &workload.health;
    let delay = health.delay.unwrap_or(if workload.port.is_some() { Duration::ZERO } else { ALIVE });
    step.progress.status(&format!("waiting for {}", workload.service));
    if let Some(why) = pause(delay, step, alive)? {
        return Ok(Some(why));
    }
    if workload.port.is_none() {
        return Ok(None);
    }
    let mut paths: Vec<&str> = Vec::new();
    for path in [&health.startup, &health.ready, &health.live].into_iter().flatten() {
        if !paths.contains(&path.as_str()) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let listens = || match probe::listens(addresses, health.timeout) {
            Ok(()) => Ok(()),
            Err(why) => Err(format!("a connection got no answer: {why}")),
        };
        if let Some(why) = until(workload, step, alive, &listens)? {
            return Ok(Some(why));
        }
    }
    for path in paths {
        let ask = || match probe::get(addresses, path, health.timeout) {
            answer if answer.is_success() => Ok(()),
            answer @ (Answer::Status(_) | Answer::Nothing(_)) => Err(format!("`GET {path}` {answer}")),
        };
        if let Some(why) = until(workload, step, alive, &ask)? {
            return Ok(Some(why));
        }
    }
    for request in &workload.verify {
        step.progress.status(&format!("asking for {}", request.path));
        let ask = || answers(addresses, request, health.timeout);
        if let Some(why) = until(workload, step, alive, &ask)? {
            return Ok(Some(why));
        }
    }
    alive()
}

/// Whether a request has the answer that it must have; else what it has.
///
/// # Errors
/// The answer, in words.
pub fn answers(addresses: &[SocketAddr], request: &Request, timeout: Duration) -> Result<(), String> {
    let Request { path, status, body } = request;
    let (found, bytes) =
        probe::fetch(addresses, path, timeout).map_err(|why| format!("`GET {path}` got no answer: {why}"))?;
    if found != *status {
        return Err(format!("`GET {path}` answered {found}, not {status}"));
    }
    match body {
        Some(body) if !String::from_utf8_lossy(&bytes).contains(body) => {
            Err(format!("the answer to `GET {path}` does not hold {body:?}"))
        }
        _ => Ok(()),
    }
}

fn until(
    workload: &Workload,
    step: &Step<'_>,
    alive: &mut Alive<'_>,
    ask: &dyn Fn() -> Result<(), String>,
) -> anyhow::Result<Option<String>> {
    let began = Instant::now();
    // A service is ready in a moment as a rule: ask often at first, then at its own pace.
    let mut wait = TICK.min(workload.health.period);
    loop {
        let answer = ask();
        if let Some(why) = alive()? {
            return Ok(Some(why));
        }
        let Err(why) = answer else { return Ok(None) };
        if step.left().is_zero() {
            let waited = began.elapsed().as_secs_f64();
            return Ok(Some(format!("is not healthy after {waited:.1} s: {why}")));
        }
        if let Some(why) = pause(wait.min(step.left()), step, alive)? {
            return Ok(Some(why));
        }
        wait = (wait * 2).min(workload.health.period).max(TICK);
    }
}

/// Lets time pass, and looks meanwhile whether it ends or the run is to stop.
fn pause(time: Duration, step: &Step<'_>, alive: &mut Alive<'_>) -> anyhow::Result<Option<String>> {
    let until = Instant::now() + time;
    loop {
        if step.cancel.is_set() {
            return Err(stopped(step.cancel));
        }
        if let Some(why) = alive()? {
            return Ok(Some(why));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(left.min(TICK));
    }
}
