//! A Docker daemon of the tests' own, beside any that the machine runs.

use std::path::PathBuf;

use crate::process::{Server, command, succeed};
use crate::tool::{skip, tool};

/// A daemon that lives as long as this value. It needs root.
#[derive(Debug)]
pub(crate) struct Dockerd {
    client: PathBuf,
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Dockerd {
    /// `None` where the machine has no dockerd, or the user is not root.
    pub(crate) fn start() -> Option<Self> {
        let (program, client) = (tool("dockerd")?, tool("docker")?);
        if !nix::unistd::geteuid().is_root() {
            skip("dockerd needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let args = [
            "--data-root".to_owned(),
            path("data"),
            "--exec-root".to_owned(),
            path("exec"),
            "--pidfile".to_owned(),
            path("pid"),
            "--host".to_owned(),
            format!("unix://{}", path("socket")),
            // The machine's own daemon may have the default bridge.
            "--bridge".to_owned(),
            "none".to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // Two that start at once make the same chains of iptables.
        static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let server = Server::start(&program, &args, &[], folder.path().join("log"));
        let mut dockerd = Self { client, server: None, folder };
        dockerd.server =
            Some(server.wait(|| dockerd.command(&["version"]).output().unwrap().status.success()));
        Some(dockerd)
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }

    /// Runs the client and wants exit 0; gives stdout.
    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        succeed(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = command(&self.client);
        command
            .args(args)
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.folder.path().join("config"));
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.server = None;
        // Containers with the host's network leave their namespace mounted.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let under = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|at| PathBuf::from(at).starts_with(self.folder.path()))
        };
        for line in mounts.lines().filter(under).collect::<Vec<_>>().into_iter().rev() {
            let _ = command("umount").arg(line.split(' ').nth(1).unwrap_or_default()).status();
        }
    }
}
