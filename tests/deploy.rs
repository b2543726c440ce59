//! Environments that are this machine: services as supervised processes, brought up, put back, taken away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::machine::Small;
use crate::process::{free_port, text};
use crate::repository::{Repository, Run, exit_code};

/// A shop whose services leave no process behind.
pub(crate) struct Shop(pub(crate) Repository);

impl Drop for Shop {
    fn drop(&mut self) {
        self.0.longshore(&["down"]);
    }
}

impl Shop {
    /// Only `api`, on a free port, released as 0.1.0 into the environment `local`.
    pub(crate) fn new() -> (Self, u16) {
        let repository = Repository::new();
        let port = free_port();
        let pipeline = repository.read("pipeline.toml").replace("8080", &port.to_string());
        let pipeline = pipeline.split("[services.web]").next().unwrap().to_owned();
        repository.write("pipeline.toml", pipeline + "[services.api.deploy]\ntimeout = \"20s\"\n");
        repository.commit("ci: one service");
        repository.quick(&[]).code(0);
        (Self(repository), port)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.0.longshore(args)
    }

    /// Releases a change of `api`'s program.
    pub(crate) fn next(&self, from: &str, to: &str) -> &Self {
        self.0.edit("cmd/api/main.go", from, to);
        self.0.commit("fix: another one");
        self.0.quick(&[]).code(0);
        self
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.run(&["status", "--format", "json"]).code(0).stdout_json()
    }
}

/// What a service answers on a port of this machine; empty where nobody does.
pub(crate) fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let _ = stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Waits for something that is to happen.
#[track_caller]
pub(crate) fn wait(what: &str, mut happens: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happens() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The handler of `/readyz`, as the shop's services have it.
const READY: &str = "mux.HandleFunc(\"/readyz\", func(http.ResponseWriter, *http.Request) {})";

impl Shop {
    /// Releases a version that is ready once a file is there; gives the file.
    fn gated(&self) -> PathBuf {
        let gate = self.0.root().parent().unwrap().join("gate");
        let handler = format!(
            "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {{\n\t\tif _, err := os.Stat({:?}); err != nil {{\n\t\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t\t}}\n\t}})",
            gate.to_str().unwrap()
        );
        self.next(READY, &handler);
        gate
    }

    /// What the environment's ledger says.
    fn record(&self) -> Value {
        serde_json::from_str(&self.0.git(["show", "refs/longshore/local/env/local:state.json"])).unwrap()
    }

    /// Starts a deploy and waits until its new process answers without being ready.
    fn begin(&self, port: u16) -> Child {
        let child = self.0.start(&["deploy"]);
        wait("the new version", || get(port, "/readyz").contains("503"));
        child
    }
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Exit code and stderr.
fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    (exit_code(output.status), text(&output.stderr))
}

#[test]
fn a_release_runs_outlives_its_command_and_goes_back() {
    let (shop, port) = Shop::new();
    shop.run(&["deploy", "--dry-run"]).code(0).stdout_has("api 0.1.0").stdout_has("is new here");
    assert_eq!(get(port, "/"), "", "a dry run starts nothing");
    shop.run(&["deploy"]).code(0);
    assert!(get(port, "/").contains("api 0.1.0 development"), "{}", get(port, "/"));
    shop.run(&["deploy"]).code(0).stderr_has("everything runs as it is released");
    let status = shop.status();
    let api = &status["environments"]["local"]["services"]["api"];
    assert_eq!(api["version"], "0.1.0");
    assert_eq!(api["observed"]["health"]["state"], "healthy");
    assert_eq!(api["drift"], serde_json::json!([]));
    shop.next("\"api\"", "\"again\"");
    shop.run(&["deploy", "--dry-run"]).code(0).stdout_has("api 0.1.0 → 0.1.1");
    shop.run(&["deploy"]).code(0);
    assert!(get(port, "/").contains("again 0.1.1"));
    shop.run(&["rollback", "--dry-run"]).code(0).stdout_has("0.1.1 → 0.1.0");
    shop.run(&["rollback", "api"]).code(0);
    assert!(get(port, "/").contains("api 0.1.0"));
    shop.run(&["rollback", "api"]).code(2).stderr_has("nothing of `api` ran in `local` before");
    shop.run(&["rollback"]).code(0).stderr_has("nothing to go back to");
    shop.run(&["rollback", "api", "--to", "0.1.1"]).code(0);
    assert!(get(port, "/").contains("again 0.1.1"));
    let status = shop.run(&["status", "--history", "--format", "json"]).code(0).stdout_json();
    let history = &status["environments"]["local"]["history"];
    assert_eq!(history["entries"].as_array().unwrap().len(), 4);
    assert_eq!(history["metrics"]["deploys"], 2);
    assert_eq!(history["metrics"]["failure_rate"], 0.5);
    shop.run(&["status", "--history"])
        .code(0)
        .stdout_has("1/1 healthy at 127.0.0.1")
        .stdout_has("rollback  api 0.1.0  verified  ");
    shop.run(&["down"]).code(0);
    assert_eq!(get(port, "/"), "");
    shop.run(&["down"]).code(0).stderr_has("nothing runs there");
    shop.run(&["deploy", "api@9.9.9"])
        .code(2)
        .stderr_has("never released")
        .stderr_has("released are 0.1.1, 0.1.0");
    shop.run(&["deploy", "apy"]).code(2).stderr_has("did you mean `api`?");
}

#[test]
fn what_is_not_healthy_is_put_back_and_its_log_is_shown() {
    let (shop, port) = Shop::new();
    shop.0.edit("pipeline.toml", "timeout = \"20s\"", "timeout = \"3s\"");
    shop.0.commit("ci: less patience");
    shop.run(&["deploy"]).code(0);
    shop.next(
        READY,
        "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tfmt.Println(\"no database\")\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})",
    );
    shop.run(&["deploy"])
        .code(1)
        .stderr_has("`GET /readyz` answered 503; api 0.1.0 was put back")
        .stderr_has("api | no database");
    assert!(get(port, "/").contains("api 0.1.0"));
    // One that ends at once is known at once.
    shop.next(
        "\tport := os",
        "\tfmt.Println(\"no license\")\n\tif port := \"\"; port == \"\" {\n\t\tos.Exit(3)\n\t}\n\tport := os",
    );
    shop.run(&["deploy"])
        .code(1)
        .stderr_has("ended by itself: exit status 3; api 0.1.0 was put back")
        .stderr_has("no license");
    assert!(get(port, "/").contains("api 0.1.0"));
    let record = shop.record();
    assert_eq!(record["services"]["api"]["current"]["workload"]["version"], "0.1.0");
    assert!(record["holder"].is_null() && record["services"]["api"]["pending"].is_null(), "{record:#}");
    shop.run(&["status", "--history"]).code(0).stdout_has("0.1.1  restored").stdout_has("failure rate 67 %");
    // A first one that fails leaves nothing.
    shop.run(&["down"]).code(0);
    shop.run(&["deploy"]).code(1).stderr_has("api was taken away");
    assert_eq!(get(port, "/"), "");
}

#[test]
fn requests_must_be_answered_as_expected() {
    let (shop, port) = Shop::new();
    shop.0.append(
        "pipeline.toml",
        "verify = [{ path = \"/\", body = \"api\" }, { path = \"/readyz\", status = 200 }]\n",
    );
    shop.0.edit("pipeline.toml", "timeout = \"20s\"", "timeout = \"2s\"");
    shop.0.commit("ci: a request");
    shop.run(&["deploy"]).code(0);
    shop.next("\"api\", version", "\"other\", version");
    shop.run(&["deploy"]).code(1).stderr_has("the answer to `GET /` does not hold \"api\"");
    assert!(get(port, "/").contains("api 0.1.0"));
}

#[test]
fn a_killed_deploy_is_finished_or_put_back_by_the_next() {
    let (shop, port) = Shop::new();
    shop.run(&["deploy"]).code(0);
    let gate = shop.gated();
    // Killed while the new one starts: what ran before is gone, the new one is not ready.
    send(&shop.begin(port), Signal::SIGKILL);
    shop.run(&["status"])
        .code(0)
        .stdout_has("a deploy of 0.1.1 was stopped half-way: it is there, unhealthy");
    shop.run(&["deploy", "api@0.1.0"]).code(0).stderr_has("was killed: what it left is settled now");
    assert!(get(port, "/").contains("api 0.1.0"));
    assert!(shop.record()["holder"].is_null());
    send(&shop.begin(port), Signal::SIGKILL);
    // Another command that is not about this service settles it too: it is ready by now, so it is finished.
    std::fs::write(&gate, "").unwrap();
    shop.run(&["deploy"]).code(0);
    let record = shop.record();
    assert_eq!(record["services"]["api"]["current"]["workload"]["version"], "0.1.1");
    assert!(record["holder"].is_null() && record["services"]["api"]["pending"].is_null(), "{record:#}");
    assert!(get(port, "/").contains("api 0.1.1"));
    // An interrupt puts back at once.
    shop.next("\"api\", version", "\"third\", version");
    std::fs::remove_file(&gate).unwrap();
    let child = shop.begin(port);
    std::fs::write(&gate, "").unwrap();
    send(&child, Signal::SIGINT);
    let (code, stderr) = ended(child);
    // It may have been ready in the same moment.
    assert!(code == 130 || code == 0, "{stderr}");
    assert!(shop.record()["holder"].is_null());
}

/// Runs the command line until it has told of `events`, then kills it; whether it was still at work.
pub(crate) fn killed_after(repository: &Repository, args: &[&str], events: usize) -> bool {
    let mut child = repository.start(&[args, &["--progress", "json"]].concat());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.by_ref().take(events).count() == events && (events == 0 || lines.next().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    told || events == 0
}

#[test]
fn a_deploy_killed_at_any_of_its_steps_is_settled_by_the_next() {
    let (shop, port) = Shop::new();
    shop.next("\"api\", version", "\"next\", version");
    let settled = |step: usize, expected: &str| {
        let record = shop.record();
        let api = &record["services"]["api"];
        assert!(record["holder"].is_null() && api["pending"].is_null(), "killed after {step}: {record:#}");
        assert!(get(port, "/").contains(expected), "killed after {step}: {}", get(port, "/"));
    };
    let mut step = 0;
    // From nothing, then over what runs: finished by the same command, or left for what stands.
    while killed_after(&shop.0, &["deploy"], step) {
        shop.run(&["deploy"]).code(0);
        settled(step, "next 0.1.1");
        if step % 2 == 0 {
            shop.run(&["deploy", "api@0.1.0"]).code(0);
            settled(step, "api 0.1.0");
        } else {
            shop.run(&["down"]).code(0);
        }
        step += 1;
    }
    assert!(step > 4, "there are more steps than {step}");
    // While what ran before is put back.
    shop.run(&["deploy"]).code(0);
    shop.0.edit("pipeline.toml", "timeout = \"20s\"", "timeout = \"1s\"");
    shop.next(READY, "mux.HandleFunc(\"/readyz\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tw.WriteHeader(http.StatusServiceUnavailable)\n\t})");
    for event in step - 2..step + 4 {
        killed_after(&shop.0, &["deploy"], event);
        shop.run(&["deploy", "api@0.1.1"]).code(0);
        settled(event, "next 0.1.1");
    }
}

#[test]
fn a_full_disk_ends_a_deploy_and_what_runs_goes_on() {
    let (shop, port) = Shop::new();
    shop.run(&["deploy"]).code(0);
    shop.next("\"api\", version", "\"next\", version");
    let folder = shop.0.path(".git/longshore/deploy/local/roots");
    {
        let Some(_small) = Small::over(&folder, "1m") else { return };
        shop.run(&["deploy"]).code(4).stderr_has("hint: free some space");
        assert!(get(port, "/").contains("api 0.1.0"), "{}", get(port, "/"));
        let record = shop.record();
        assert_eq!(record["services"]["api"]["current"]["workload"]["version"], "0.1.0");
        assert!(record["holder"].is_null() && record["services"]["api"]["pending"].is_null(), "{record:#}");
    }
    shop.run(&["deploy"]).code(0);
    assert!(get(port, "/").contains("next 0.1.1"));
}

#[test]
fn of_two_deploys_the_second_waits_and_names_the_first() {
    let (shop, port) = Shop::new();
    let gate = shop.gated();
    let first = shop.begin(port);
    let second = shop.0.start(&["deploy"]);
    std::thread::sleep(Duration::from_millis(500));
    std::fs::write(&gate, "").unwrap();
    let (code, stderr) = ended(second);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("waiting for `-C ") && stderr.contains("deploy` by "), "{stderr}");
    assert!(stderr.contains("everything runs as it is released"), "{stderr}");
    assert_eq!(ended(first).0, 0);
}

#[test]
fn a_paused_holder_that_wakes_up_changes_nothing() {
    let (shop, port) = Shop::new();
    shop.0.edit("pipeline.toml", "timeout = \"20s\"", "timeout = \"4s\"");
    shop.0.commit("ci: less patience");
    shop.run(&["deploy"]).code(0);
    let gate = shop.gated();
    let first = shop.begin(port);
    send(&first, Signal::SIGSTOP);
    let second = shop.run(&["deploy", "api@0.1.0"]).code(0);
    assert!(second.stderr.contains("has not been heard of for too long"), "{second}");
    assert!(get(port, "/").contains("api 0.1.0"));
    std::fs::write(gate, "").unwrap();
    send(&first, Signal::SIGCONT);
    let (code, stderr) = ended(first);
    assert_eq!(code, 5, "{stderr}");
    assert!(get(port, "/").contains("api 0.1.0"), "{stderr}");
    assert_eq!(shop.record()["services"]["api"]["current"]["workload"]["version"], "0.1.0");
}

#[test]
fn drift_is_shown_and_the_next_deploy_ends_it() {
    let (shop, port) = Shop::new();
    shop.run(&["deploy"]).code(0);
    let folder = shop.0.path(".git/longshore/deploy/local/services/api");
    let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).unwrap()).unwrap();
    let child = i32::try_from(state["child"].as_i64().unwrap()).unwrap();
    // It is supervised: what ends is started again.
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    wait("a restart", || get(port, "/readyz").contains("200"));
    shop.run(&["status"]).code(0).stdout_has("1 restart");
    // Its supervisor is asked to end behind the ledger's back.
    std::fs::write(folder.join("stop"), "").unwrap();
    wait("an end", || get(port, "/").is_empty());
    shop.run(&["status"]).code(0).stdout_has("local: api drifts").stdout_has("it has stopped");
    shop.run(&["deploy"]).code(0);
    assert!(get(port, "/").contains("api 0.1.0"));
    shop.run(&["logs", "--tail", "5"]).code(0);
}

#[test]
fn secrets_reach_the_process_and_nothing_else() {
    let (shop, port) = Shop::new();
    shop.0.write(
        "environments/local.toml",
        "[secrets]\nTOKEN = \"env\"\nKEY = { file = \"../key\" }\n[env]\nAPP_ENV = \"here\"\n",
    );
    shop.next(
        "os.Getenv(\"APP_ENV\")",
        "os.Getenv(\"APP_ENV\"), len(os.Getenv(\"TOKEN\")), len(os.Getenv(\"KEY\"))",
    );
    shop.0.edit(
        "cmd/api/main.go",
        "\tport := os",
        "\tfmt.Println(\"token\", os.Getenv(\"TOKEN\"))\n\tport := os",
    );
    shop.0.commit("fix: talkative");
    shop.0.quick(&[]).code(0);
    shop.run(&["deploy"]).code(2).stderr_has("`KEY` (the file ../key), `TOKEN` (the variable TOKEN)");
    std::fs::write(shop.0.root().parent().unwrap().join("key"), "a-key-of-some-length\n").unwrap();
    let secret = "hunter2-correct-horse";
    let Shop(repository) = &shop;
    let mut command = repository.prepared(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["deploy"]).env("TOKEN", secret).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(get(port, "/").contains("here 21 20"), "{}", get(port, "/"));
    assert!(!shop.record().to_string().contains(secret));
    let mut logs = repository.prepared(env!("CARGO_BIN_EXE_xtask"));
    let output = logs.args(["logs"]).env("TOKEN", secret).output().unwrap();
    assert_eq!(text(&output.stdout), "token ***\n");
    let mut grep = crate::process::command("grep");
    let found = grep.args(["-rlF", secret]).arg(repository.path(".git/longshore")).output().unwrap();
    let found = text(&found.stdout);
    assert!(found.lines().all(|path| path.ends_with("/log")), "{found}");
}
