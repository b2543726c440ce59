//! The record of live process groups: a file a child, so that a run can end what a killed one left.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Command;

/// Where the children of this run are recorded: `STATE/children/PID`, a JSON object each.
#[derive(Clone, Debug)]
pub struct Children {
    folder: PathBuf,
    owner: ProcessId,
}

/// One child: its process id is its group's.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    child: ProcessId,
    /// The run that started it.
    owner: ProcessId,
    command: String,
}

/// A process for as long as the machine runs: a number is used again, a number with its start is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    started: u64,
    session: i32,
    /// The boot, and the namespace that the number counts in.
    world: String,
}

/// Removes the entry when the child has ended.
#[derive(Debug)]
pub(in crate::host) struct Entered(Option<PathBuf>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Children {
    /// The record in `state`, the run's private folder. `None` where the system can't say when a process
    /// started (that is everywhere but Linux): nothing could be ended safely.
    pub fn open(state: &Path) -> Option<Self> {
        let owner = ProcessId::of(i32::try_from(std::process::id()).ok()?)?;
        Some(Self { folder: state.join("children"), owner })
    }

    /// Best effort: a child without an entry only outlives a run that is killed.
    /// (Killed between the start and this entry, a run leaves such a child too.)
    pub(in crate::host) fn record(&self, pid: u32, command: &Command) -> Entered {
        let write = || -> Option<PathBuf> {
            let child = ProcessId::of(i32::try_from(pid).ok()?)?;
            let entry = Entry { child, owner: self.owner.clone(), command: command.to_string() };
            let path = self.folder.join(pid.to_string());
            let bytes = serde_json::to_vec(&entry).ok()?;
            if std::fs::write(&path, &bytes).is_err() {
                std::fs::create_dir_all(&self.folder).ok()?;
                std::fs::write(&path, &bytes).ok()?;
            }
            Some(path)
        };
        Entered(write())
    }
}

/// Kills the groups that a killed run left, by the record in `state`, and gives their commands.
/// A group is touched only if it is the recorded one, and its run is gone.
pub fn reap_stale(state: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(state.join("children")) else { return Vec::new() };
    let mut reaped = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let entry = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
        match entry {
            Some(entry) if entry.owner.is_alive() => continue,
            Some(entry) if end(&entry.child) => reaped.push(entry.command),
            Some(_) | None => {}
        }
        let _ = std::fs::remove_file(&path);
    }
    reaped
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;

    use super::ProcessId;

    /// What field 5, 6 and 22 of a process's stat say.
    struct Stat {
        group: i32,
        session: i32,
        started: u64,
        dead: bool,
    }

    fn stat(pid: &str) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may hold anything.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Stat {
            dead: matches!(*fields.first()?, "Z" | "X"),
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn world() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    }

    impl ProcessId {
        /// The process that has this number now.
        pub fn of(pid: i32) -> Option<Self> {
            let stat = stat(&pid.to_string())?;
            Some(Self { pid, started: stat.started, session: stat.session, world: world()? })
        }

        /// Whether it runs, on this very machine.
        pub fn is_alive(&self) -> bool {
            self.is_here()
                && stat(&self.pid.to_string()).is_some_and(|stat| stat.started == self.started && !stat.dead)
        }

        /// Whether it ran on this very machine and runs no more: of others nothing is known.
        pub fn is_gone(&self) -> bool {
            self.is_here() && !self.is_alive()
        }

        fn is_here(&self) -> bool {
            world().as_ref() == Some(&self.world)
        }
    }

    /// Kills the group that `leader` leads or led; false where there is none of it left.
    pub(in crate::host) fn end(leader: &ProcessId) -> bool {
        if leader.pid <= 1 || !leader.is_here() {
            return false;
        }
        let ours = match stat(&leader.pid.to_string()) {
            Some(stat) => stat.started == leader.started,
            // While a group has members, its number names no other: they are of the recorded one if they
            // are in its session and not older.
            None => members(leader.pid)
                .iter()
                .any(|stat| stat.session == leader.session && stat.started >= leader.started && !stat.dead),
        };
        ours && killpg(Pid::from_raw(leader.pid), Signal::SIGKILL).is_ok()
    }

    fn members(group: i32) -> Vec<Stat> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter_map(|name| stat(&name))
            .filter(|stat| stat.group == group)
            .collect()
    }
}

#[cfg(target_os = "linux")]
pub(in crate::host) use linux::end;

#[cfg(not(target_os = "linux"))]
impl ProcessId {
    /// Never: the system does not say when a process started.
    pub fn of(_pid: i32) -> Option<Self> {
        None
    }

    pub fn is_alive(&self) -> bool {
        true
    }

    pub fn is_gone(&self) -> bool {
        false
    }
}

#[cfg(not(target_os = "linux"))]
pub(in crate::host) fn end(_leader: &ProcessId) -> bool {
    false
}
