//! A Kubernetes of the tests' own: one for all of them, brought up by `tests/kubernetes` when the first asks.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::process::{command, succeed, text};
use crate::repository::Repository;
use crate::tool::{self, skip, tool};

/// Where its registry listens, in the cluster's network.
pub(crate) const REGISTRY: &str = "127.0.0.1:5000";

/// A cluster that ends with this process: its script reads the other end of a pipe.
#[derive(Debug)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    path: String,
    network: File,
    // Held open: what comes to its end takes the cluster down.
    _script: Child,
}

/// The cluster, with this thread (and what it starts) in its network. `None` where the machine has not what
/// it takes.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::start).as_ref();
    match cluster {
        Some(cluster) => setns(&cluster.network, CloneFlags::CLONE_NEWNET).unwrap(),
        None => skip("a cluster can't be brought up"),
    }
    cluster
}

impl Cluster {
    fn start() -> Option<Self> {
        for program in ["etcd", "containerd", "runc", "docker-registry", "iptables", "unshare"] {
            tool(program)?;
        }
        let built = tool::user_cache().join("longshore/test-tools/kubernetes-v1.34.1/complete");
        if !nix::unistd::geteuid().is_root() || !built.exists() {
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/kubernetes");
        let mut command = command(script);
        command.args(["run", "bash", "-c", "echo \"$KUBECONFIG\"; echo \"$PATH\"; exec cat"]);
        let mut script =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (kubeconfig, path) = (PathBuf::from(line()), line());
        // `unshare`, the script's child, is in the namespace that it has made.
        let id = script.id();
        let child = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let network = File::open(format!("/proc/{}/ns/net", child.trim())).unwrap();
        Some(Self { kubeconfig, path, network, _script: script })
    }

    /// A shop whose images go to the cluster's registry, and whose environment `name` is deployed to it.
    pub(crate) fn shop(&self, name: &str, environment: &str) -> Repository {
        let shop = Repository::new().env("KUBECONFIG", &self.kubeconfig).env("PATH", &self.path);
        shop.write("environments/local.toml", "");
        shop.write(
            &format!("environments/{name}.toml"),
            format!("registry = \"{REGISTRY}/{name}\"\n{environment}"),
        );
        shop.commit("ci: an environment");
        shop.remote();
        shop
    }

    /// Runs kubectl in a namespace and wants exit 0; gives stdout.
    #[track_caller]
    pub(crate) fn kubectl(&self, namespace: &str, args: &[&str]) -> String {
        succeed(&mut self.kubectl_command(namespace, args))
    }

    pub(crate) fn kubectl_command(&self, namespace: &str, args: &[&str]) -> std::process::Command {
        let program = std::env::split_paths(&self.path).map(|folder| folder.join("kubectl"));
        let mut command = command(program.into_iter().find(|path| path.is_file()).unwrap());
        command.env("KUBECONFIG", &self.kubeconfig).args(["--namespace", namespace]).args(args);
        command
    }

    /// An object as JSON.
    #[track_caller]
    pub(crate) fn get(&self, namespace: &str, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(namespace, &["get", object, "--output=json"])).unwrap()
    }

    /// Names of the objects of a kind.
    #[track_caller]
    pub(crate) fn names(&self, namespace: &str, kind: &str) -> Vec<String> {
        let listed = self.kubectl(namespace, &["get", kind, "--output=name"]);
        listed.lines().filter_map(|line| line.split('/').nth(1)).map(str::to_owned).collect()
    }

    /// The host and port of a Service.
    #[track_caller]
    pub(crate) fn address(&self, namespace: &str, service: &str) -> String {
        let service = self.get(namespace, &format!("service/{service}"));
        format!("{}:{}", service["spec"]["clusterIP"].as_str().unwrap(), service["spec"]["ports"][0]["port"])
    }

    /// Where one of the cluster's programs writes what it does.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.kubeconfig.with_file_name("log").join(program)
    }
}

/// The body of the answer to `GET /`, or why there is none.
pub(crate) fn ask(address: &str) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(text(&answer))
    };
    let answer = exchange().map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}

/// Constant load on an address, from threads that ask one request after the other.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(address: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = |_| {
            let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), address.to_owned());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match ask(&address) {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::SeqCst)),
                        Err(why) => failures.push(why),
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                failures
            })
        };
        let threads = (0..4).map(thread).collect();
        Self { stop, answered, threads }
    }

    /// How many were answered, and the failures.
    pub(crate) fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.answered.load(Ordering::SeqCst), failures)
    }
}
