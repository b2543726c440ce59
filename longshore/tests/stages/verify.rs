//! The verify stage, each way, with a real service in real images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use longshore::cancel::Cancel;
use longshore::config::Compression;
use longshore::event::JobFailure;
use longshore::fault::{Exit, exit_of};
use longshore::host::background::{Background, kill};
use longshore::host::environment::Environment;
use longshore::host::process::Command;
use longshore::oci::image::{Base, Settings, assemble};
use longshore::oci::layer::{Entries, Entry};
use longshore::oci::layout::Layout;
use longshore::plan::JobId;
use longshore::platform::Platform;
use longshore::resolve::HealthSettings;
use longshore::stage::verify::{self, Instance, Runner, VerifySpec};
use longshore::stage::{Finish, ManifestOutput, Output};
use longshore::verdict::{self, Verify};

use crate::harness::{Repository, chain, lacks, which};

/// The service's program, compiled once.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.go"), include_str!("service/main.go")).unwrap();
        std::fs::write(folder.path().join("go.mod"), "module example.com/service\n\ngo 1.24\n").unwrap();
        Command::new("go")
            .args(["build", "-buildvcs=false", "-o", "app", "."])
            .cwd(folder.path())
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .run(&Cancel::default())
            .unwrap();
        let path = folder.path().join("app");
        (folder, path)
    });
    path.clone()
}

/// An image whose program behaves as `mode` says, as the output of the job `image:SERVICE`.
fn image(repository: &Repository, service: &str, env: &[(&str, &str)], compression: Compression) {
    let cancel = Cancel::default();
    let layout = Layout::create(&repository.workspace.layout(service)).unwrap();
    let mut entries = Entries::new();
    entries.insert("/app", Entry::file(program(), 0o755)).unwrap();
    entries.insert("/data/greeting", Entry::bytes("hello").mode(0o600).owner(65532, 65532)).unwrap();
    entries.insert("/etc/passwd", Entry::bytes("nonroot:x:65532:65532::/home/nonroot:/none\n")).unwrap();
    let layer = layout.put_layer(&entries, compression, 0, &cancel).unwrap();
    let mut settings = Settings::new(Platform::host_images().unwrap(), 0);
    settings.entrypoint = vec!["/app".to_owned()];
    settings.user = "nonroot".to_owned();
    settings.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    save(repository, service, &layout, &assemble(&Base::default(), &[layer], &settings).unwrap());
}

fn save(repository: &Repository, service: &str, layout: &Layout, image: &longshore::oci::image::Image) {
    let config = layout.put_document(&image.config).unwrap();
    let manifest = layout.put_document(&image.manifest).unwrap();
    let output = ManifestOutput {
        layout: layout.root().to_owned(),
        platform: Platform::host_images().unwrap(),
        digest: manifest.digest,
        config: config.digest,
        size: image.layers_size,
    };
    repository.outputs.set(job(service), Output::Manifest(output));
}

fn job(service: &str) -> JobId {
    JobId(format!("image:{service}"))
}

fn instance(service: &str, port: Option<u16>) -> Instance {
    let path = |path: &str| port.map(|_| path.to_owned());
    Instance {
        service: service.to_owned(),
        image: job(service),
        port,
        ends: false,
        health: HealthSettings {
            startup: None,
            ready: path("/readyz"),
            live: path("/healthz"),
            delay: None,
            period: Duration::from_millis(100),
            timeout: Duration::from_secs(2),
        },
        env: BTreeMap::new(),
    }
}

fn spec(service: &str, runner: Runner) -> VerifySpec {
    VerifySpec {
        version: "1.0.0".to_owned(),
        instance: instance(service, Some(8080)),
        needs: Vec::new(),
        runner,
        timeout: Duration::from_secs(30),
        grace: Duration::from_secs(10),
    }
}

/// Runs a service that behaves as `mode` says, on the port that SERVER_PORT names.
fn verified(repository: &Repository, mode: &str, runner: Runner) -> anyhow::Result<Finish> {
    image(repository, "orders", &[("MODE", mode), ("SERVER_PORT", "8080")], Compression::Gzip(None));
    let mut spec = spec("orders", runner);
    match mode {
        // Long enough for a busy machine to start it.
        "unready" | "redirect" if runner == Runner::Docker => spec.timeout = Duration::from_secs(6),
        "unready" | "redirect" => spec.timeout = Duration::from_secs(3),
        "deaf" => spec.grace = Duration::from_secs(1),
        "worker" | "plain" => {
            spec.instance = instance("orders", None);
            spec.instance.health.delay = Some(Duration::from_millis(300));
        }
        _ => {}
    }
    verify::run(&spec, &repository.scope())
}

fn verdict_of(repository: &Repository, service: &str) -> Option<Verify> {
    let digest = repository.outputs.manifest(&job(service)).unwrap().digest;
    let record = verdict::read::<Verify>(&repository.workspace.verdicts(), &digest).unwrap();
    record.map(|record| record.verdict)
}

/// A gate's no: its message, and the lines under it.
fn refusal(repository: &Repository, result: anyhow::Result<Finish>) -> (String, String) {
    let error = result.unwrap_err();
    assert_eq!(exit_of(&error), Exit::Gate, "{}", chain(&error));
    assert_eq!(verdict_of(repository, "orders"), Some(Verify::Fail));
    let failure = JobFailure::of(&error);
    (failure.messages.join("\n"), failure.tail.join("\n"))
}

/// Processes that run below the repository: none may be left.
fn processes(repository: &Repository) -> Vec<u32> {
    let folder = repository.root().join("cache/verify");
    let below = |link: PathBuf| std::fs::read_link(link).is_ok_and(|path| path.starts_with(&folder));
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| below(entry.path().join("root")) || below(entry.path().join("exe")))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn nothing_is_left(repository: &Repository) {
    assert_eq!(processes(repository), Vec::<u32>::new());
    let folder = repository.root().join("cache/verify");
    let left: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lock" && !name.starts_with("port-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
}

/// Everything that the gate has to tell apart, one way.
fn every_behaviour(repository: &Repository, runner: Runner, expected: Verify) {
    for mode in ["good", "worker", "plain"] {
        let finish =
            verified(repository, mode, runner).unwrap_or_else(|error| panic!("{mode}: {}", chain(&error)));
        assert_eq!(finish.output, Output::Verified { verdict: expected }, "{mode}");
        assert_eq!(verdict_of(repository, "orders"), Some(expected));
        nothing_is_left(repository);
    }
    for (mode, message, line) in [
        ("crash", "`orders` ended by itself: exit status 3", "orders | the store can't be reached"),
        ("unready", "`GET /readyz` answered 503", "orders | starting as unready"),
        ("redirect", "`GET /readyz` answered 302", "orders | starting as redirect"),
        ("deaf", "`orders` did not end within 1s of SIGTERM", "orders | starting as deaf"),
        (
            "rude",
            "`orders` did not stop cleanly after SIGTERM: exit status 9",
            "orders | the queue is not empty",
        ),
    ] {
        let (messages, tail) = refusal(repository, verified(repository, mode, runner));
        assert!(messages.contains(message), "{mode}: {messages}");
        assert!(tail.contains(line), "{mode}: {tail}");
        nothing_is_left(repository);
    }
}

/// A service that asks another one by its name and port.
fn with_needs(repository: &Repository, runner: Runner) {
    image(repository, "orders", &[("MODE", "good"), ("SERVER_PORT", "8080")], Compression::Zstd(None));
    let env = [("MODE", "good"), ("SERVER_PORT", "8080"), ("ORDERS_URL", "http://orders:8080")];
    image(repository, "gateway", &env, Compression::Gzip(None));
    let mut spec = spec("gateway", runner);
    spec.needs.push(instance("orders", Some(8080)));
    let finish = verify::run(&spec, &repository.scope()).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(finish.note.starts_with("healthy after "), "{}", finish.note);
    nothing_is_left(repository);

    image(repository, "orders", &[("MODE", "crash"), ("SERVER_PORT", "8080")], Compression::Gzip(None));
    let error = verify::run(&spec, &repository.scope()).unwrap_err();
    assert!(chain(&error).contains("`orders` ended by itself"), "{}", chain(&error));
    nothing_is_left(repository);
}

fn has_namespaces() -> bool {
    let tried = which("unshare").filter(|unshare| {
        let mut args = vec!["--mount", "--pid", "--fork", "true"];
        if !nix::unistd::geteuid().is_root() {
            args.splice(0..0, ["--user", "--map-root-user"]);
        }
        Command::new(unshare).args(args).run(&Cancel::default()).is_ok()
    });
    !lacks("unshare, and leave to use it", tried)
}

#[test]
fn as_processes() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = Repository::new();
    every_behaviour(&repository, Runner::Process, Verify::Process);
    with_needs(&repository, Runner::Process);
}

#[test]
fn in_a_root_of_its_own() {
    if lacks("go", which("go")) || !has_namespaces() {
        return;
    }
    let repository = Repository::new();
    every_behaviour(&repository, Runner::Chroot, Verify::Container);
    with_needs(&repository, Runner::Chroot);
    verified(&repository, "alone", Runner::Chroot).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let (message, tail) = refusal(&repository, verified(&repository, "alone", Runner::Process));
    assert!(message.contains("exit status 4"), "{message}\n{tail}");
}

#[test]
fn a_child_that_left_its_group_is_ended_too() {
    if lacks("go", which("go")) || !has_namespaces() {
        return;
    }
    let repository = Repository::new();
    verified(&repository, "parent", Runner::Chroot).unwrap_or_else(|error| panic!("{}", chain(&error)));
    nothing_is_left(&repository);
}

#[test]
fn a_program_that_is_missing_from_its_image_is_the_gates_to_tell() {
    if !has_namespaces() {
        return;
    }
    let repository = Repository::new();
    let layout = Layout::create(&repository.workspace.layout("orders")).unwrap();
    let mut settings = Settings::new(Platform::host_images().unwrap(), 0);
    settings.entrypoint = vec!["/app".to_owned()];
    save(&repository, "orders", &layout, &assemble(&Base::default(), &[], &settings).unwrap());
    for runner in [Runner::Process, Runner::Chroot] {
        let result = verify::run(&spec("orders", runner), &repository.scope());
        let (message, tail) = refusal(&repository, result);
        assert!(format!("{message}{tail}").contains("/app"), "{message}\n{tail}");
    }
}

#[test]
fn a_declared_port_that_no_variable_tells_must_be_free() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = Repository::new();
    image(&repository, "orders", &[("MODE", "good")], Compression::Gzip(None));
    let mut spec = spec("orders", Runner::Process);
    spec.instance.port = Some(18431);
    verify::run(&spec, &repository.scope()).unwrap_or_else(|error| panic!("{}", chain(&error)));

    let _held = std::net::TcpListener::bind("127.0.0.1:18431").unwrap();
    let error = verify::run(&spec, &repository.scope()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(chain(&error).contains("port 18431 of `orders` is not free"), "{}", chain(&error));
    assert_eq!(verdict_of(&repository, "orders"), None);
}

#[test]
fn an_image_of_another_platform_is_not_run() {
    let repository = Repository::new();
    let layout = Layout::create(&repository.workspace.layout("orders")).unwrap();
    let other: Platform = "linux/riscv64".parse().unwrap();
    let settings = Settings::new(other.clone(), 0);
    save(&repository, "orders", &layout, &assemble(&Base::default(), &[], &settings).unwrap());
    let mut output = repository.outputs.manifest(&job("orders")).unwrap();
    output.platform = other;
    repository.outputs.set(job("orders"), Output::Manifest(output));
    let finish = verify::run(&spec("orders", Runner::Auto), &repository.scope()).unwrap();
    assert_eq!(finish.output, Output::Verified { verdict: Verify::None });
    assert_eq!(verdict_of(&repository, "orders"), Some(Verify::None));
}

#[test]
fn damaged_layers_are_no_verdict() {
    if lacks("go", which("go")) {
        return;
    }
    let repository = Repository::new();
    image(&repository, "orders", &[("MODE", "good"), ("SERVER_PORT", "8080")], Compression::Gzip(None));
    let output = repository.outputs.manifest(&job("orders")).unwrap();
    let layout = Layout::open(&output.layout).unwrap();
    let (manifest, _) = layout.read_image(&output.digest).unwrap();
    let blob = layout.blob_path(&manifest.layers[0].digest);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&blob, bytes).unwrap();
    let error = verify::run(&spec("orders", Runner::Process), &repository.scope()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine, "{}", chain(&error));
    assert_eq!(verdict_of(&repository, "orders"), None);
    nothing_is_left(&repository);
}

#[test]
fn a_run_that_is_told_to_stop_ends_its_services() {
    if lacks("go", which("go")) || !has_namespaces() {
        return;
    }
    let repository = Repository::new();
    let began = Instant::now();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // `unready` waits: it runs as soon as its process is there.
            while processes(&repository).is_empty() && began.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(10));
            }
            repository.cancel.set(15);
        });
        image(
            &repository,
            "orders",
            &[("MODE", "unready"), ("SERVER_PORT", "8080")],
            Compression::Gzip(None),
        );
        let error = verify::run(&spec("orders", Runner::Chroot), &repository.scope()).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Terminated, "{}", chain(&error));
    });
    assert_eq!(verdict_of(&repository, "orders"), None);
    nothing_is_left(&repository);
}

#[test]
fn a_container_verdict_is_used_again_while_nothing_changed() {
    if lacks("go", which("go")) || !has_namespaces() {
        return;
    }
    let repository = Repository::new();
    assert!(!verified(&repository, "good", Runner::Chroot).unwrap().cached);
    assert!(verified(&repository, "good", Runner::Chroot).unwrap().cached);
    let mut changed = spec("orders", Runner::Chroot);
    changed.instance.env.insert("OTHER".to_owned(), "1".to_owned());
    assert!(!verify::run(&changed, &repository.scope()).unwrap().cached);
}

/// Not a test of its own: the process that the next ones kill, in the repository that FOLDER names.
#[test]
#[ignore = "started by others"]
fn killed() {
    let environment = Environment::from_process();
    let repository = Repository::at(Path::new(environment.get("FOLDER").unwrap()));
    let runner = match environment.get("RUNNER") {
        Some("docker") => Runner::Docker,
        Some("process") => Runner::Process,
        _ => Runner::Chroot,
    };
    image(&repository, "orders", &[("MODE", "unready"), ("SERVER_PORT", "8080")], Compression::Gzip(None));
    let mut spec = spec("orders", runner);
    spec.timeout = Duration::from_secs(120);
    let _ = verify::run(&spec, &repository.scope());
}

/// Starts [`killed`], waits until `there`, and kills it.
fn kill_one(repository: &Repository, runner: &str, there: impl Fn() -> bool) {
    let environment = repository.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let mut command = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "verify::killed", "--ignored"])
        .clear();
    command.env = environment.collect();
    let command = command.env("FOLDER", repository.root()).env("RUNNER", runner);
    let mut run = Background::start(&command, &Cancel::default()).unwrap();
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", run.log());
        assert_eq!(run.ended().unwrap(), None, "{:?}", run.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its own process only: what it started is for the next run to find.
    kill(run.pid());
    while run.ended().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_next_run_ends_what_a_killed_one_left() {
    if lacks("go", which("go")) || !has_namespaces() {
        return;
    }
    for runner in ["chroot", "process"] {
        let repository = Repository::new();
        kill_one(&repository, runner, || !processes(&repository).is_empty());
        assert!(!processes(&repository).is_empty(), "a killed run leaves its service");
        verified(&repository, "good", Runner::Process).unwrap_or_else(|error| panic!("{}", chain(&error)));
        nothing_is_left(&repository);
    }
}

/// A daemon of the test's own.
struct Daemon {
    _child: Background,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let command = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("docker.sock"))])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--default-address-pool",
                "base=10.211.0.0/16,size=24",
            ]);
        let mut child = Background::start(&command, &Cancel::default()).unwrap();
        let began = Instant::now();
        while !child.log().iter().any(|line| line.contains("API listen on")) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", child.log());
            assert_eq!(child.ended().unwrap(), None, "{:?}", child.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { _child: child, folder }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    fn docker(&self, args: &[&str]) -> String {
        let output =
            Command::new("docker").env("DOCKER_HOST", self.host()).args(args).run(&Cancel::default());
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    fn is_empty(&self) -> bool {
        self.docker(&["ps", "--all", "--quiet"]).is_empty()
            && self.docker(&["image", "ls", "--all", "--quiet"]).is_empty()
            && self.docker(&["network", "ls", "--quiet", "--filter", "label=dev.longshore.run"]).is_empty()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has to end by itself, or its mounts stay.
        longshore::host::background::terminate(self._child.pid());
        let until = Instant::now() + Duration::from_secs(20);
        while self._child.ended().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn as_containers() {
    let root = nix::unistd::geteuid().is_root();
    if lacks("go", which("go")) || lacks("docker", which("docker")) {
        return;
    }
    if lacks("dockerd, and root to start it", which("dockerd").filter(|_| root)) {
        return;
    }
    let daemon = Daemon::start();
    let mut repository = Repository::new();
    let variables = repository.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    repository.environment = variables.chain([("DOCKER_HOST".to_owned(), daemon.host())]).collect();

    every_behaviour(&repository, Runner::Docker, Verify::Container);
    assert!(daemon.is_empty());
    with_needs(&repository, Runner::Docker);
    verified(&repository, "alone", Runner::Auto).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(daemon.is_empty());

    let layout = Layout::create(&repository.workspace.layout("orders")).unwrap();
    let mut settings = Settings::new(Platform::host_images().unwrap(), 0);
    settings.entrypoint = vec!["/missing".to_owned()];
    let mut entries = Entries::new();
    entries.insert("/data", Entry::directory()).unwrap();
    let layer = layout.put_layer(&entries, Compression::Gzip(None), 0, &Cancel::default()).unwrap();
    save(&repository, "orders", &layout, &assemble(&Base::default(), &[layer], &settings).unwrap());
    let (message, _) =
        refusal(&repository, verify::run(&spec("orders", Runner::Docker), &repository.scope()));
    assert!(message.contains("/missing"), "{message}");
    assert!(daemon.is_empty());

    kill_one(&repository, "docker", || !daemon.docker(&["ps", "--quiet"]).is_empty());
    assert!(!daemon.is_empty());
    verified(&repository, "good", Runner::Process).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(daemon.is_empty());
    nothing_is_left(&repository);
}

#[test]
fn a_way_that_is_asked_for_and_missing_is_no_verdict() {
    let mut repository = Repository::new();
    let layout = Layout::create(&repository.workspace.layout("orders")).unwrap();
    let settings = Settings::new(Platform::host_images().unwrap(), 0);
    save(&repository, "orders", &layout, &assemble(&Base::default(), &[], &settings).unwrap());
    repository.environment = [("PATH".to_owned(), "/nonexistent".to_owned())].into_iter().collect();
    for runner in [Runner::Docker, Runner::Chroot] {
        let error = verify::run(&spec("orders", runner), &repository.scope()).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Machine, "{}", chain(&error));
        assert!(chain(&error).contains("can't be used"), "{}", chain(&error));
    }
    assert_eq!(verdict_of(&repository, "orders"), None);
}
