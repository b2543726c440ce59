//! A registry of the benchmark's own, on a free port of the loopback address. It ends with its owner.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use longshore::cancel::Cancel;
use longshore::host::environment::Environment;
use longshore::host::http::{Body, Client, Limits, Method, Request, Schemes};
use serde_json::json;

use super::measure::command;

const START: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Registry {
    program: PathBuf,
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    client: Client,
}

impl Registry {
    /// An empty one; `None` where this machine has no `docker-registry`.
    pub(super) fn start(environment: &Environment) -> anyhow::Result<Option<Self>> {
        let Some(program) = find(environment) else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("longshore-bench-registry-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let client = Client::new(environment, Schemes::new(), Limits::default(), &Cancel::default());
        let child = serve(&program, &folder, port)?;
        let registry = Self { program, child, folder, port, client };
        registry.wait()?;
        Ok(Some(registry))
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Forgets everything, at the same address.
    pub(super) fn empty(&mut self) -> anyhow::Result<()> {
        end(&mut self.child);
        std::fs::remove_dir_all(self.folder.path().join("data")).or_else(|error| {
            if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
        self.child = serve(&self.program, &self.folder, self.port)?;
        self.wait()
    }

    fn wait(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.send(Method::Get, "/v2/", None, &[]).map_or(true, |(status, _)| status != 200) {
            if began.elapsed() > START {
                bail!("docker-registry does not answer");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The image without files that ko puts its layers on: `base:latest`, for two platforms.
    pub(super) fn put_base(&self) -> anyhow::Result<()> {
        let mut manifests = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let config = json!({
                "architecture": architecture, "os": "linux", "config": {},
                "rootfs": { "type": "layers", "diff_ids": [] },
            });
            let config = config.to_string();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest(&config), "size": config.len(),
                },
                "layers": [],
            });
            let manifest = manifest.to_string();
            self.put_blob(config.as_bytes(), &digest(&config))?;
            self.put_manifest(&digest(&manifest), "application/vnd.oci.image.manifest.v1+json", &manifest)?;
            manifests.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&manifest), "size": manifest.len(),
                "platform": { "os": "linux", "architecture": architecture },
            }));
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests }).to_string();
        self.put_manifest("latest", kind, &index)
    }

    fn put_blob(&self, bytes: &[u8], digest: &str) -> anyhow::Result<()> {
        let (status, location) = self.send(Method::Post, "/v2/base/blobs/uploads/", None, &[])?;
        let location = location.with_context(|| format!("an upload was answered with {status}"))?;
        let place = location.split_once("/v2/").map_or(location.as_str(), |(_, rest)| rest);
        let url = format!("/v2/{place}&digest={digest}");
        self.want(self.send(Method::Put, &url, Some("application/octet-stream"), bytes)?.0)
    }

    fn put_manifest(&self, name: &str, kind: &str, text: &str) -> anyhow::Result<()> {
        let url = format!("/v2/base/manifests/{name}");
        self.want(self.send(Method::Put, &url, Some(kind), text.as_bytes())?.0)
    }

    fn want(&self, status: u16) -> anyhow::Result<()> {
        if status == 201 { Ok(()) } else { bail!("docker-registry answered {status}") }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        bytes: &[u8],
    ) -> anyhow::Result<(u16, Option<String>)> {
        let url = format!("http://{}{path}", self.host());
        let headers = kind.map(|kind| ("content-type", kind.to_owned())).into_iter().collect();
        let body = if bytes.is_empty() { Body::Empty } else { Body::Bytes(bytes) };
        let response = self.client.send(Request { method, url: &url, headers, body })?;
        Ok((response.status, response.header("location").map(str::to_owned)))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// One that is gone already is no fault.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn find(environment: &Environment) -> Option<PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    std::env::split_paths(path).map(|folder| folder.join("docker-registry")).find(|path| path.is_file())
}

fn serve(program: &PathBuf, folder: &tempfile::TempDir, port: u16) -> anyhow::Result<Child> {
    let config = folder.path().join("config.yml");
    let data = folder.path().join("data");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data:?}}}}}\n\
         http: {{addr: '127.0.0.1:{port}'}}\n"
    );
    longshore::host::files::write(&config, text.as_bytes())?;
    let mut command = command(program);
    command.arg("serve").arg(&config).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("docker-registry could not be started")
}

fn digest(text: &str) -> String {
    longshore::digest::Digest::of(text.as_bytes()).to_string()
}
