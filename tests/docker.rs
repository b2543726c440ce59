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
    bridge: String,
}

impl Dockerd {
    /// `None` where the machine has no dockerd, or the user is not root.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), "none")
    }

    /// With its state in this folder, and a bridge for its containers' network.
    pub(crate) fn start_in(folder: tempfile::TempDir, bridge: &str) -> Option<Self> {
        let client = tool("docker")?;
        if !nix::unistd::geteuid().is_root() {
            skip("dockerd needs root");
            return None;
        }
        let mut dockerd = Self { client, server: None, folder, bridge: bridge.to_owned() };
        dockerd.serve()?;
        Some(dockerd)
    }

    /// Ends the daemon at once, as a machine that loses its power.
    pub(crate) fn kill(&mut self) {
        if let Some(server) = &self.server {
            server.signal(nix::sys::signal::Signal::SIGKILL);
        }
        self.server = None;
        // Its containerd goes with it, and may be a zombie that the next daemon takes for one that runs.
        let pid = self.folder.path().join("exec/containerd/containerd.pid");
        if let Some(number) = std::fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse().ok()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = std::fs::remove_file(pid);
    }

    /// Starts it over what it left.
    pub(crate) fn serve(&mut self) -> Option<()> {
        let program = tool("dockerd")?;
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
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
            self.bridge.clone(),
            format!("--iptables={}", self.bridge == "none"),
            format!("--ip-masq={}", self.bridge == "none"),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // Two that start at once make the same chains of iptables.
        static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let server = Server::start(&program, &args, &[], self.folder.path().join("log"));
        self.server = Some(server.wait(|| self.command(&["version"]).output().unwrap().status.success()));
        Some(())
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
