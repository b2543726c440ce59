//! Whether services are what they should be: alive, healthy, and ended when they are asked to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::fault::{Exit, Fault};
use crate::host::process::Status;
use crate::stage::Scope;
use crate::stage::lint::tool::stopped;

use super::probe::{self, Answer};
use super::{ALIVE, Running, Task};

/// Between two looks at a service.
const TICK: Duration = Duration::from_millis(20);

/// Waits until the last of `running` is healthy, and sees that none of them ends meanwhile.
pub(super) fn healthy(
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
            let waited = began.elapsed().as_secs_f64();
            let message = format!("`{}` is not healthy after {waited:.1} s: {what} {answer}", task.service);
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

/// Waits until the last of `running` has ended with 0, and sees that none of the others ends meanwhile.
pub(super) fn ended(
    task: &Task,
    running: &mut [(String, Box<dyn Running>)],
    until: Instant,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    scope.progress.status(&format!("waiting for the end of {}", task.service));
    let Some(((name, command), others)) = running.split_last_mut() else {
        anyhow::bail!("internal: nothing ran");
    };
    loop {
        match command.ended(scope.cancel)? {
            Some(Status::Exited(0)) => return Ok(()),
            Some(status) => return Err(Fault::new(Exit::Gate, format!("`{name}` failed: {status}")).into()),
            None => {}
        }
        if Instant::now() >= until {
            return Err(Fault::new(Exit::Gate, format!("`{name}` has not ended in time"))
                .hint("`ends` says that it does; `[stages.verify] timeout` is the limit of all")
                .into());
        }
        pause(others, TICK, scope)?;
    }
}

fn alive(running: &mut [(String, Box<dyn Running>)], scope: &Scope<'_>) -> anyhow::Result<()> {
    if scope.cancel.is_set() {
        return Err(stopped(scope.cancel));
    }
    for (name, service) in running {
        if let Some(status) = service.ended(scope.cancel)? {
            let fault = Fault::new(Exit::Gate, format!("`{name}` ended by itself: {status}"));
            if status != Status::Exited(0) {
                return Err(fault.into());
            }
            let hint =
                format!("if it is a command and no server, write `ends = true` under `[services.{name}]`");
            return Err(fault.hint(hint).into());
        }
    }
    Ok(())
}

/// A clean stop: after SIGTERM it ends in time, with 0 or by that signal.
pub(super) fn stop(
    name: &str,
    service: &mut dyn Running,
    grace: Duration,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
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
