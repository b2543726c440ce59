//! BuildKit apart from docker's daemon: buildx as a plugin of the client, and a builder on a port.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::process::{Server, free_port, listens, succeed};
use crate::repository::Repository;
use crate::tool::{skip, tool, user_cache};

/// A builder that lives as long as this value. It needs root.
#[derive(Debug)]
pub(crate) struct Builder {
    server: Server,
    port: u16,
    folder: tempfile::TempDir,
}

/// What `tests/run` has built of BuildKit.
pub(crate) fn built(path: &str) -> Option<PathBuf> {
    let program = user_cache().join("longshore/ci").join(path);
    if program.is_file() {
        return Some(program);
    }
    skip(&format!("`{}` is not there", program.display()));
    None
}

impl Builder {
    /// `None` where the machine has none, or the user is not root.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// As [`Builder::start`], with its state in this folder.
    pub(crate) fn start_in(folder: tempfile::TempDir) -> Option<Self> {
        let (program, _) = (built("buildkit-0.29.0/buildkitd")?, tool("runc")?);
        if !nix::unistd::geteuid().is_root() {
            skip("buildkitd needs root");
            return None;
        }
        let port = free_port();
        let (root, address) = (folder.path().join("root"), format!("tcp://127.0.0.1:{port}"));
        let args = ["--root", root.to_str().unwrap(), "--addr", &address, "--config", "/dev/null"];
        let server = Server::start(&program, &args, &[], folder.path().join("log")).wait(|| listens(port));
        Some(Self { server, port, folder })
    }

    /// Makes it known to the repository's buildx under `name`.
    pub(crate) fn join(&self, shop: &Repository, name: &str) {
        let address = format!("tcp://127.0.0.1:{}", self.port);
        succeed(
            shop.prepared("docker")
                .args(["buildx", "create", "--name", name, "--driver", "remote", &address]),
        );
    }

    /// Ends it at once, as a machine that goes away.
    pub(crate) fn kill(&self) {
        self.server.signal(Signal::SIGKILL);
    }
}

/// Gives the repository's docker client buildx; `None` where the machine has none.
pub(crate) fn buildx(shop: &Repository) -> Option<()> {
    let plugin = built("buildx-0.33.0/docker-buildx")?;
    tool("docker")?;
    let folder = shop.docker_config().join("cli-plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(plugin, folder.join("docker-buildx")).unwrap();
    Some(())
}
