//! Services without a daemon: in a root of their own on Linux, or as plain processes.
//!
//! The root is the image's and nothing else but what every runtime adds (`/proc`, a few devices,
//! `/etc/hosts`, `/etc/resolv.conf`), so it shows that the image is complete. util-linux's `unshare` enters
//! it: `longshore` itself needs no privilege and no unsafe code for that.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::background::{self, Background};
use crate::host::environment::Environment;
use crate::host::process::{Command, Status};
use crate::platform::Platform;
use crate::stage::lint::tool::machine;

use super::root::Root;
use super::{Running, Task};

/// What a container's PATH is where its image names none (docker's).
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a root is entered, as tried on this machine.
#[derive(Clone, Debug)]
pub(super) struct Namespaces {
    unshare: PathBuf,
    identity: Identity,
    /// `--mount-proc=/proc`, where the system lets us.
    proc: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// We are root and become the image's user.
    Change,
    /// In a user namespace, this user is called by the image's number.
    Map,
}

impl Namespaces {
    /// Tries to enter a root; says why where it can't be done.
    pub(super) fn find(environment: &Environment, cancel: &Cancel) -> Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err("a root of its own needs Linux".to_owned());
        }
        let unshare =
            super::way::program("unshare", environment).ok_or("util-linux's `unshare` is not installed")?;
        let program = super::way::program("true", environment).ok_or("`true` is not installed")?;
        let identity = if is_root() { Identity::Change } else { Identity::Map };
        for proc in [vec!["--mount-proc=/proc"], Vec::new()] {
            let found = Self { unshare: unshare.clone(), identity, proc };
            let command = found
                .command(Path::new("/"), "/", (65532, 65532))
                .arg(&program)
                .clear()
                .timeout(Duration::from_secs(10));
            if command.output(cancel).is_ok_and(|output| output.status == Status::Exited(0)) {
                return Ok(found);
            }
        }
        Err("this user may not make namespaces here".to_owned())
    }

    fn command(&self, root: &Path, folder: &str, (user, group): (u32, u32)) -> Command {
        let mut command = Command::new(&self.unshare);
        if self.identity == Identity::Map {
            command =
                command.arg("--user").arg(format!("--map-user={user}")).arg(format!("--map-group={group}"));
        }
        command = command.args(["--mount", "--pid", "--fork", "--kill-child=KILL"]).args(&self.proc);
        let mut option = std::ffi::OsString::from("--root=");
        option.push(root);
        command = command.arg(option).arg(format!("--wd={folder}"));
        if self.identity == Identity::Change {
            command = command.arg(format!("--setgid={group}")).arg(format!("--setuid={user}"));
        }
        command.arg("--")
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// Whether this system runs the images' programs as they are.
pub(crate) fn runs_natively(platform: &Platform) -> bool {
    let native = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    native == platform.os
}

/// One service's process.
#[derive(Debug)]
pub(super) struct Local {
    child: Background,
    addresses: Vec<SocketAddr>,
    /// The service is a child of the child that we have.
    inside: bool,
}

/// Starts a service in its own root, unpacked at `folder`.
pub(super) fn enter(
    namespaces: &Namespaces,
    task: &Task,
    folder: &Path,
    names: &[String],
    cancel: &Cancel,
) -> anyhow::Result<Local> {
    let root = task.image.unpack(folder, cancel)?;
    furnish(&root, names)
        .fault(Exit::Machine, format!("no verdict: could not prepare a root for `{}`", task.service))?;
    let settings = &task.image.config.config;
    let (user, group) = user(&root, &settings.user).map_err(|why| image_fault(task, &why))?;
    let wd = if settings.working_dir.is_empty() { "/" } else { &settings.working_dir };
    if !root.resolve(Path::new(wd))?.is_dir() {
        root.directory(wd)?;
    }
    let argv = argv(task)?;
    let command = namespaces.command(root.folder(), wd, (user, group)).args(argv);
    start(command, task, &environment(task, home(&root, user)), true, cancel)
}

/// Starts a service's program as this user's own process, from its image unpacked at `folder`.
pub(super) fn plain(task: &Task, folder: &Path, cancel: &Cancel) -> anyhow::Result<Local> {
    let root = task.image.unpack(folder, cancel)?;
    let env = environment(task, "/".to_owned());
    let argv = argv(task)?;
    let program = program(&root, &argv[0], &env)
        .ok_or_else(|| image_fault(task, &format!("there is no `{}` in it", argv[0])))?;
    let wd = root.resolve(Path::new(&task.image.config.config.working_dir))?;
    std::fs::create_dir_all(&wd).fault(Exit::Machine, "could not make a working folder")?;
    start(Command::new(program).args(&argv[1..]).cwd(wd), task, &env, false, cancel)
}

fn start(
    command: Command,
    task: &Task,
    env: &BTreeMap<String, String>,
    inside: bool,
    cancel: &Cancel,
) -> anyhow::Result<Local> {
    let mut command = command.clear();
    for (name, value) in env {
        command = command.env(name, value);
    }
    let child = Background::start(&command, cancel).map_err(machine)?;
    let addresses = task.port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).into_iter().collect();
    Ok(Local { child, addresses, inside })
}

impl Running for Local {
    fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn ended(&mut self, _: &Cancel) -> anyhow::Result<Option<Status>> {
        self.child.ended().fault(Exit::Machine, "could not look at a child process")
    }

    fn terminate(&mut self, _: &Cancel) -> anyhow::Result<()> {
        let pid = self.child.pid();
        let service = if self.inside { child_of(pid).unwrap_or(pid) } else { pid };
        if !background::terminate(service) && !cfg!(unix) {
            self.child.kill();
        }
        Ok(())
    }

    fn log(&mut self) -> Vec<String> {
        self.child.log()
    }
}

/// The only child of a process's first thread.
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn argv(task: &Task) -> anyhow::Result<Vec<String>> {
    let argv = task.image.argv();
    if argv.is_empty() { Err(image_fault(task, "it names no program to run")) } else { Ok(argv) }
}

fn image_fault(task: &Task, why: &str) -> anyhow::Error {
    Fault::new(Exit::Gate, format!("`{}` can't be started from its image: {why}", task.service)).into()
}

/// The task's variables, with those that every container has.
fn environment(task: &Task, home: String) -> BTreeMap<String, String> {
    let mut env = task.env.clone();
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    env.entry("HOME".to_owned()).or_insert(home);
    env.entry("HOSTNAME".to_owned()).or_insert_with(|| task.service.clone());
    env
}

/// A program as a container would find it, as a path of this machine.
pub(crate) fn program(root: &Root, name: &str, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let inside = |path: PathBuf| root.resolve(&path).ok().filter(|path| path.is_file());
    if name.contains('/') {
        return inside(PathBuf::from(name));
    }
    let folders = env.get("PATH").map(String::as_str).unwrap_or(PATH);
    folders.split(':').find_map(|folder| inside(Path::new(folder).join(name)))
}

/// The numbers of an image's `User`: `uid`, `uid:gid`, or names of its own passwd and group.
fn user(root: &Root, given: &str) -> Result<(u32, u32), String> {
    let (user, group) = given.split_once(':').unwrap_or((given, ""));
    let passwd = root.read("/etc/passwd").unwrap_or_default();
    let line = |text: &str, name: &str| -> Option<Vec<String>> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name))
    };
    let number = |fields: Option<Vec<String>>, at: usize| fields?.get(at)?.parse::<u32>().ok();
    let uid = if user.is_empty() {
        0
    } else {
        let unknown = || format!("its user `{user}` is not in its `/etc/passwd`");
        user.parse().ok().or_else(|| number(line(&passwd, user), 2)).ok_or_else(unknown)?
    };
    let gid = if group.is_empty() {
        let of_user = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
        of_user.and_then(|line| line.split(':').nth(3)?.parse().ok()).unwrap_or(0)
    } else {
        let groups = root.read("/etc/group").unwrap_or_default();
        let unknown = || format!("its group `{group}` is not in its `/etc/group`");
        group.parse().ok().or_else(|| number(line(&groups, group), 2)).ok_or_else(unknown)?
    };
    Ok((uid, gid))
}

fn home(root: &Root, user: u32) -> String {
    let passwd = root.read("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&user.to_string()));
    line.and_then(|line| line.split(':').nth(5)).filter(|home| !home.is_empty()).unwrap_or("/").to_owned()
}

/// What every runtime adds to an image.
fn furnish(root: &Root, names: &[String]) -> anyhow::Result<()> {
    for folder in ["/proc", "/sys", "/dev"] {
        root.directory(folder)?;
    }
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        device(root, &format!("/dev/{name}"), minor)?;
    }
    let hosts = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost\n", names.join(" "));
    root.write("/etc/hosts", &hosts)?;
    if let Ok(resolvers) = std::fs::read_to_string("/etc/resolv.conf") {
        root.write("/etc/resolv.conf", &resolvers)?;
    }
    Ok(())
}

/// A memory device (major 1). Where this user can't make one, an empty file: as `/dev/null` it does.
#[cfg(target_os = "linux")]
fn device(root: &Root, path: &str, minor: u64) -> anyhow::Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::os::unix::fs::PermissionsExt as _;
    root.write(path, "")?;
    let place = root.resolve(Path::new(path))?;
    let beside = place.with_extension("new");
    let made = mknod(&beside, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, minor));
    // A folder mounted without devices has them, and can't open them.
    if made.is_ok() && std::fs::File::open(&beside).is_ok() {
        std::fs::rename(&beside, &place)?;
    } else if made.is_ok() {
        std::fs::remove_file(&beside)?;
    }
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o666))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn device(_: &Root, _: &str, _: u64) -> anyhow::Result<()> {
    Ok(())
}
