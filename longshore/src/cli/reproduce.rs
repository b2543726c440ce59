//! `verify-repro`: whether a commit gives the same digests when everything around it is another: a fresh
//! checkout in another folder, empty caches of this tool and of Go, another time zone, language and umask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pipeline as run_pipeline;
use super::run::image_order;
use super::{Global, ReproduceArgs};
use crate::artifacts::{Artifact, Artifacts};
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::files::{self, Umask};
use crate::host::lock::{Lock, Wait};
use crate::host::process::{Command, Status};
use crate::oci::difference;
use crate::oci::layout::Layout;
use crate::platform::Platform;
use crate::report;
use crate::report::measure::plural;
use crate::session::Session;
use crate::workspace::Workspace;

/// What the names of the second build's folders begin with, in the work tree's private one.
const FOLDER: &str = "reproduce-";

/// A cold build of everything.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Builds twice, compares and tells.
///
/// # Errors
/// A work tree with changes, and what keeps either build from being made.
pub fn reproduce(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &ReproduceArgs,
) -> anyhow::Result<u8> {
    let mut session = Session::open(global, environment, cancel)?;
    let services = services(&session, args)?;
    session
        .git
        .dirty()?
        .refuse()
        .map_err(|fault| fault.hint("commit or stash them: what is compared is a commit"))?;
    let commit = session.git.head()?.commit;
    let order = image_order(global, &services)?;
    let code = run_pipeline::run(&mut session, global, &order)?;
    if code != 0 {
        return Ok(code);
    }
    session.git.recheck(&commit)?;
    let state = session.workspace.state.clone();
    let waiting = &mut |message: &str| report::note(message);
    let _lock = Lock::take(&state.join("reproduce.lock"), "verify-repro", Wait::UntilFree, cancel, waiting)?;
    files::remove_folders(&state, FOLDER);
    let folder = files::folder_aside(&state, FOLDER)?;
    let second = folder.path().join("another/checkout");
    report::note(&format!("again, from nothing, in a fresh checkout of {}", commit.short()));
    session.git.copy_to(&second, &commit)?;
    build(&session, global, &services, folder.path(), &second)?;
    let told = compare(&session.workspace, &second, &services)?;
    report::result(&told.text);
    Ok(if told.same { 0 } else { Exit::Gate as u8 })
}

/// The services that are asked for, else all that have no Dockerfile: what its steps do is the user's.
fn services(session: &Session, args: &ReproduceArgs) -> anyhow::Result<Vec<String>> {
    let dockerfile = |name: &str| session.settings.get(name).is_some_and(|found| found.dockerfile.is_some());
    if let Some(name) = args.services.iter().find(|name| dockerfile(name)) {
        let message = format!("the image of `{name}` is built from a Dockerfile, which promises no digest");
        return Err(Fault::new(Exit::Usage, message).into());
    }
    if !args.services.is_empty() {
        return Ok(args.services.clone());
    }
    let (left, taken): (Vec<String>, Vec<String>) =
        session.settings.keys().cloned().partition(|name| dockerfile(name));
    if !left.is_empty() {
        report::note(&format!("left out, built from Dockerfiles: {}", left.join(", ")));
    }
    if taken.is_empty() {
        return Err(Fault::new(Exit::Usage, "every service is built from a Dockerfile").into());
    }
    Ok(taken)
}

/// The second build: this program again, with nothing but the commit in common.
fn build(
    session: &Session,
    global: &Global,
    services: &[String],
    folder: &Path,
    checkout: &Path,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().fault(Exit::Machine, "could not find this program's own file")?;
    let mut command = Command::new(program).arg("-C").arg(checkout).timeout(LIMIT);
    let pipeline = session.pipeline.strip_prefix(&session.workspace.root);
    let pipeline = pipeline.map_or(session.pipeline.clone(), |path| checkout.join(path));
    command = command.arg("--file").arg(pipeline).args(["--env", &session.effective.name]);
    for platform in &global.platform {
        command = command.args(["--platform", &platform.to_string()]);
    }
    if session.offline {
        command = command.arg("--offline");
    }
    for (name, _) in session.environment.iter().filter(|(name, _)| name.starts_with("LONGSHORE_")) {
        command = command.unset(name);
    }
    command = command.env(super::shared::CACHE, "local");
    for (name, value) in surroundings(session, folder)? {
        command = command.env(name, value);
    }
    command = command
        .args(["image", "--snapshot", "--all", "--progress", "plain", "--color", "never"])
        .args(services);
    let _umask = Umask::other();
    let output = command.stream(&session.cancel, &|_, line| report::note(&format!("  {line}")))?;
    match output.status {
        Status::Exited(0) => Ok(()),
        Status::Cancelled => Err(Fault::new(Exit::Interrupted, "stopped").into()),
        _ => Err(Fault::new(Exit::Failed, "a fresh checkout of the same commit can't be built")
            .hint(
                "what it lacks lies in this work tree, and is not committed: `git status --ignored` lists it",
            )
            .into()),
    }
}

/// The variables that are others: caches, time zone, language, folder of temporary files.
fn surroundings(session: &Session, folder: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let given = |name: &str| session.environment.get(name).unwrap_or_default();
    let mut found: Vec<(&str, PathBuf)> = Vec::new();
    for (name, below) in
        [("XDG_CACHE_HOME", "cache"), ("LOCALAPPDATA", "cache"), ("GOCACHE", "go"), ("TMPDIR", "tmp")]
    {
        let path = folder.join(below);
        files::make_folder(&path)?;
        found.push((name, path));
    }
    // Written as a rule, so that no database of zones is needed.
    let zone = if given("TZ") == "LGS-13:45" { "LGT+9:30" } else { "LGS-13:45" };
    let language = if given("LC_ALL").starts_with("tr") { "C" } else { "tr_TR.UTF-8" };
    found.extend([("TZ", zone.into()), ("LC_ALL", language.into()), ("LANG", language.into())]);
    Ok(found)
}

struct Told {
    same: bool,
    text: String,
}

/// What both builds made, a line or more a service.
fn compare(workspace: &Workspace, checkout: &Path, services: &[String]) -> anyhow::Result<Told> {
    let again = Workspace { root: checkout.to_owned(), dist: checkout.join("dist"), ..workspace.clone() };
    let (first, second) = (Artifacts::read(&workspace.dist)?, Artifacts::read(&again.dist)?);
    let mut told = Told { same: true, text: String::new() };
    for name in services {
        let (Some(one), Some(other)) = (first.services.get(name), second.services.get(name)) else {
            return Err(Fault::new(Exit::Machine, format!("no image of `{name}` was made")).into());
        };
        let lines = service(name, (workspace, one), (&again, other))?;
        told.same &= lines.is_empty();
        if lines.is_empty() {
            let digest = one.digest.as_ref().map_or_else(String::new, |digest| format!(" {digest}"));
            let all: BTreeSet<&Platform> = one.platforms.keys().chain(one.binaries.keys()).collect();
            let count = plural(all.len(), "platform");
            told.text.push_str(&format!("{name}{digest}: the same twice, {count}\n"));
        }
        lines.iter().for_each(|line| told.text.push_str(&format!("{name} {line}\n")));
    }
    told.text.truncate(told.text.trim_end().len());
    Ok(told)
}

/// What differs of one service.
fn service(
    name: &str,
    (here, one): (&Workspace, &Artifact),
    (there, other): (&Workspace, &Artifact),
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (platform, image) in &one.platforms {
        let Some(again) = other.platforms.get(platform) else {
            lines.push(format!("for {platform}: only in the first build"));
            continue;
        };
        let (a, b) = (Layout::open(&here.layout(name))?, Layout::open(&there.layout(name))?);
        if let Some(found) = difference::images((&a, &image.digest), (&b, &again.digest))? {
            lines.push(format!("for {platform} differs in {}\n  {}", found.part, found.detail));
        }
    }
    // An executable with an image was compared as its layer.
    let alone = one.binaries.iter().filter(|(platform, _)| !one.platforms.contains_key(platform));
    for (platform, binary) in alone {
        let Some(again) = other.binaries.get(platform) else {
            lines.push(format!("for {platform}: only in the first build"));
            continue;
        };
        let (a, b) = (here.dist.join(&binary.path), there.dist.join(&again.path));
        if let Some(found) = difference::files(&a, &b)? {
            lines.push(format!("for {platform} differs in its executable\n  {found}"));
        }
    }
    if lines.is_empty() && one.digest != other.digest {
        let shown =
            |artifact: &Artifact| artifact.digest.as_ref().map_or("none".to_owned(), ToString::to_string);
        lines.push(format!("differs in the index ({}, then {})", shown(one), shown(other)));
    }
    Ok(lines)
}
