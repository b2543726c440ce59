//! Processes that outlive the command that starts them: each has a supervisor, this same program in a session
//! of its own, that starts it again when it ends, keeps its last output in files, and ends it when asked.
//!
//! All that is between the two lies in a folder: `lock`, which the supervisor holds while it lives (so no
//! number of a process is ever believed), `run.json` of who started it, `state.json` of the supervisor, `log`
//! and `log.1`, and `stop`, whose presence asks it to end. What is to be run is handed over on stdin: it holds
//! secrets, and no file does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::{Command, ProcessId, start};
use super::{background, clock, files};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};

/// Between two looks at the process and at `stop`.
const LOOK: Duration = Duration::from_millis(50);

/// Before a process that ended is started again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// One that lived as long as this is started again at once.
const LIVED: Duration = Duration::from_secs(60);

/// Bytes of a log before the next one is begun.
const LOG: u64 = 8 << 20;

/// How long a supervisor may take to say that it is there.
const START: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// All of its environment.
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// In seconds, between the request to end and the end.
    pub grace: u64,
}

impl std::fmt::Debug for Spec {
    /// Its variables' names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("Spec")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &names)
            .finish()
    }
}

/// What is seen of a supervised process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Seconds since 1970.
    pub since: u64,
    pub restarts: u32,
    /// How it ended last, in words.
    pub ended: Option<String>,
    /// It runs now; absent between an end and the next start.
    pub child: Option<u32>,
    identity: Option<ProcessId>,
}

/// Starts a supervisor over `folder`, in which none may run. `note` is kept in `run.json`.
///
/// # Errors
/// [`Exit::Machine`] where it can't be started, or the disk says no.
pub fn begin(folder: &Path, spec: &Spec, note: &[u8]) -> anyhow::Result<()> {
    let shown = format!("could not write into `{}`", folder.display());
    std::fs::create_dir_all(folder).fault(Exit::Machine, &shown)?;
    for old in ["stop", "state.json"] {
        remove(&folder.join(old)).fault(Exit::Machine, &shown)?;
    }
    files::write(&folder.join("run.json"), note)?;
    let program = std::env::current_exe().fault(Exit::Machine, "could not find this program's own file")?;
    let command = Command::new(program).arg("supervise").arg(folder);
    let mut prepared = start::detached(&command, Stdio::piped());
    prepared.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    let mut child =
        start::spawn(&mut prepared, &command).fault(Exit::Machine, "could not start a supervisor")?;
    hand_over(child.stdin.take(), spec)?;
    let until = Instant::now() + START;
    while state(folder).is_none() {
        if let Ok(Some(status)) = child.try_wait() {
            let message = format!("the supervisor ended at once: {status}");
            return Err(Fault::new(Exit::Machine, message)
                .hint(format!("`{}` may say more", folder.join("log").display()))
                .into());
        }
        if Instant::now() > until {
            return Err(Fault::new(Exit::Machine, "the supervisor does not begin").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn hand_over(stdin: Option<ChildStdin>, spec: &Spec) -> anyhow::Result<()> {
    let mut stdin = stdin.ok_or_else(|| anyhow::anyhow!("internal: a supervisor without stdin"))?;
    stdin.write_all(&serde_json::to_vec(spec)?).fault(Exit::Machine, "could not speak to a supervisor")
}

/// Whether a supervisor lives there.
pub fn is_supervised(folder: &Path) -> bool {
    match File::open(folder.join("lock")) {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(_) => false,
    }
}

/// What the supervisor said last.
pub fn state(folder: &Path) -> Option<State> {
    serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()
}

/// What [`begin`] was told to keep.
pub fn note(folder: &Path) -> Option<Vec<u8>> {
    std::fs::read(folder.join("run.json")).ok()
}

/// Asks a supervisor to end its process and itself, and waits for it: as long as `grace`, in which it kills
/// the process itself, and a little more. What a supervisor that was killed has left is killed.
///
/// # Errors
/// [`Exit::Machine`] where it does not end.
pub fn end(folder: &Path, grace: Duration) -> anyhow::Result<()> {
    if is_supervised(folder) {
        files::write(&folder.join("stop"), b"")?;
        let until = Instant::now() + grace + START;
        while is_supervised(folder) {
            if Instant::now() > until {
                let message = format!("the supervisor over `{}` does not end", folder.display());
                return Err(Fault::new(Exit::Machine, message).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    } else if let Some(orphan) = state(folder).and_then(|state| state.identity) {
        super::process::end_group(&orphan);
    }
    for file in ["state.json", "stop"] {
        let _ = remove(&folder.join(file));
    }
    Ok(())
}

/// The last lines of what the process printed, over all its starts.
pub fn log(folder: &Path, lines: Option<usize>) -> Vec<String> {
    let mut all = Vec::new();
    for name in ["log.1", "log"] {
        if let Ok(bytes) = std::fs::read(folder.join(name)) {
            all.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
        }
    }
    let first = lines.map_or(0, |lines| all.len().saturating_sub(lines));
    all.split_off(first)
}

/// The supervisor itself: `spec` comes on stdin. Returns when it was asked to end.
///
/// # Errors
/// [`Exit::Conflict`] where one lives over this folder; [`Exit::Machine`] when the disk says no.
pub fn run(folder: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let spec: Spec =
        serde_json::from_slice(&input).fault(Exit::Usage, "this is started by `deploy` alone")?;
    drop(input);
    #[cfg(unix)]
    let _ = nix::unistd::setsid();
    let shown = format!("could not write into `{}`", folder.display());
    let lock = File::create(folder.join("lock")).fault(Exit::Machine, &shown)?;
    if lock.try_lock().is_err() {
        return Err(Fault::new(Exit::Conflict, "a supervisor is there").into());
    }
    let log = Arc::new(Mutex::new(Log::open(folder).fault(Exit::Machine, &shown)?));
    let mut state = State { since: clock::now(), ..State::default() };
    let mut wait = AGAIN.0;
    loop {
        let began = Instant::now();
        let asked = match once(&spec, folder, &mut state, &log, cancel) {
            Ok(asked) => asked,
            Err(why) => {
                state.ended = Some(why.to_string());
                false
            }
        };
        state.child = None;
        state.identity = None;
        write(folder, &state);
        if asked {
            return Ok(());
        }
        wait = if began.elapsed() > LIVED { AGAIN.0 } else { wait };
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if is_asked(folder, cancel) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        wait = (wait * 2).min(AGAIN.1);
        state.restarts += 1;
    }
}

/// Runs it once; true where it ended because that was asked for.
fn once(
    spec: &Spec,
    folder: &Path,
    state: &mut State,
    log: &Arc<Mutex<Log>>,
    cancel: &Cancel,
) -> anyhow::Result<bool> {
    let mut command = Command::new(&spec.program).args(&spec.args).clear().cwd(&spec.cwd);
    for (name, value) in &spec.env {
        command = command.env(name, value);
    }
    let mut child = start::spawn(&mut start::prepared(&command, Stdio::null()), &command)?;
    state.child = Some(child.id());
    state.identity = i32::try_from(child.id()).ok().and_then(ProcessId::of);
    write(folder, state);
    if let Some(stdout) = child.stdout.take() {
        copy(stdout, Arc::clone(log));
    }
    if let Some(stderr) = child.stderr.take() {
        copy(stderr, Arc::clone(log));
    }
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            state.ended = Some(start::words(status));
            return Ok(asked.is_some());
        }
        match asked {
            None if is_asked(folder, cancel) => {
                asked = Some(Instant::now());
                if !background::terminate(child.id()) {
                    child.kill()?;
                }
            }
            Some(at) if at.elapsed() > Duration::from_secs(spec.grace) => {
                background::kill_group(child.id());
                let _ = child.kill();
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

fn is_asked(folder: &Path, cancel: &Cancel) -> bool {
    // Without its folder there is nobody left who could ask.
    cancel.is_set() || folder.join("stop").exists() || !folder.is_dir()
}

fn write(folder: &Path, state: &State) {
    // A full disk ends no service.
    if let Ok(bytes) = serde_json::to_vec(state) {
        let _ = files::write(&folder.join("state.json"), &bytes);
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a process prints, in two files.
#[derive(Debug)]
struct Log {
    folder: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(folder: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(folder.join("log"))?;
        let size = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), file, size })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.size > LOG
            && std::fs::rename(self.folder.join("log"), self.folder.join("log.1")).is_ok()
            && let Ok(next) = Self::open(&self.folder)
        {
            *self = next;
        }
        if self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
    }
}

fn copy(mut stream: impl std::io::Read + Send + 'static, log: Arc<Mutex<Log>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => log.lock().unwrap_or_else(PoisonError::into_inner).write(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
}
