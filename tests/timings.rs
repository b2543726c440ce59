//! `--timings`: the files in `dist/`, and spans to collectors of every temper.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;

use crate::deploy::Shop;
use crate::repository::Repository;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SECRET: &str = "hunter2-of-the-collector";

/// What a collector does with a request that it has read.
#[derive(Clone, Copy)]
enum Temper {
    Answers(&'static str),
    /// Takes the request and says nothing, until the other side goes.
    Hangs,
}

/// A request: its first line and its headers, lowercase, and its body.
struct Request {
    head: Vec<String>,
    body: Value,
}

/// A collector on a free port of the loopback address, for as many requests as come.
struct Collector {
    port: u16,
    requests: Receiver<Request>,
}

impl Collector {
    fn start(temper: Temper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::channel();
        // Ends with the process: it waits for nothing but requests.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&stream) else { continue };
                if sender.send(request).is_err() {
                    return;
                }
                match temper {
                    Temper::Answers(answer) => drop(stream.write_all(answer.as_bytes())),
                    Temper::Hangs => drop(stream.read(&mut [0])),
                }
            }
        });
        Self { port, requests }
    }

    /// A shop whose runs send their spans here.
    fn shop(&self) -> Repository {
        Repository::new()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}/otlp/", self.port))
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={SECRET},x-team=a%20b"))
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body: serde_json::from_slice(&body).ok()? })
}

const TAKEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

#[test]
fn a_run_leaves_its_times_and_sends_them_as_spans() {
    let collector = Collector::start(Temper::Answers(TAKEN));
    let shop = collector.shop().env("TRACEPARENT", PARENT).env("OTEL_SERVICE_NAME", "the-shop");
    shop.longshore(&["build", "--timings"]).code(0).stderr_has("dist/timings.html").stderr_lacks("warning");

    let timings: Value = serde_json::from_str(&shop.read("dist/timings.json")).unwrap();
    let jobs = timings["jobs"].as_array().unwrap();
    let builds: Vec<&Value> = jobs.iter().filter(|job| job["stage"] == "build").collect();
    assert_eq!(builds.len(), 1, "{timings:#}");
    assert_eq!(builds[0]["result"], "done");
    assert_eq!(timings["critical"].as_array().unwrap().last().unwrap()["job"], builds[0]["id"]);
    let page = shop.read("dist/timings.html");
    assert!(page.contains(builds[0]["id"].as_str().unwrap()) && page.contains("on-path"), "{page}");

    let request = collector.requests.try_recv().unwrap();
    assert_eq!(request.head[0], "post /otlp/v1/traces http/1.1");
    for header in ["content-type: application/json", &format!("x-api-key: {SECRET}"), "x-team: a b"] {
        assert!(request.head.iter().any(|line| line == header), "{header}: {:?}", request.head);
    }
    let sent = &request.body["resourceSpans"][0];
    let name = &sent["resource"]["attributes"][0];
    assert_eq!((&name["key"], &name["value"]["stringValue"]), (&"service.name".into(), &"the-shop".into()));
    let spans = sent["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1 + jobs.len());
    assert!(spans.iter().all(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
    assert!(collector.requests.try_recv().is_err(), "one run, one request");

    // A second run says what the cache had; one without the option says and sends nothing.
    shop.longshore(&["build", "--all", "--timings"]).code(0);
    let again: Value = serde_json::from_str(&shop.read("dist/timings.json")).unwrap();
    let cached = |job: &Value| job["stage"] == "build" && job["result"] == "cached";
    assert!(again["jobs"].as_array().unwrap().iter().any(cached), "{again:#}");
    assert!(collector.requests.try_recv().is_ok());
    std::fs::remove_file(shop.path("dist/timings.json")).unwrap();
    shop.longshore(&["build", "--all"]).code(0);
    assert!(!shop.path("dist/timings.json").exists());
    assert!(collector.requests.try_recv().is_err());
}

#[test]
fn a_collector_that_takes_nothing_costs_a_warning_and_shows_no_secret() {
    let elsewhere = Collector::start(Temper::Answers(TAKEN));
    let redirect = format!(
        "HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        elsewhere.port
    );
    let rejects =
        "{\"partialSuccess\":{\"rejectedSpans\":\"2\",\"errorMessage\":\"hunter2-of-the-collector\"}}";
    let rejects = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{rejects}", rejects.len());
    let refuses = format!("HTTP/1.1 401 {SECRET}\r\ncontent-length: 0\r\n\r\n");
    for (temper, said) in [
        (Temper::Answers(refuses.leak()), "answered 401"),
        (Temper::Answers(redirect.leak()), "answered 307"),
        (Temper::Answers(rejects.leak()), "refused 2"),
        (Temper::Answers("hunter2-of-the-collector\r\n\r\n"), "answered what is not HTTP"),
        (Temper::Answers(""), "127.0.0.1"),
        (Temper::Hangs, "in time"),
    ] {
        let collector = Collector::start(temper);
        let shop = collector.shop().env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
        let run = shop.longshore(&["lint", "api", "--timings"]).code(0);
        let run = run.stderr_has("warning: the spans of this run are not sent").stderr_has(said);
        run.stderr_lacks(SECRET);
        assert!(collector.requests.try_recv().is_ok(), "{said}");
        for left in ["dist/timings.json", "dist/timings.html"] {
            assert!(!shop.read(left).contains(SECRET), "{left}");
        }
    }
    assert!(elsewhere.requests.try_recv().is_err(), "the headers are not sent on");
}

#[test]
fn nothing_that_the_times_need_fails_a_run() {
    let collector = Collector::start(Temper::Answers(TAKEN));
    let shop = collector.shop().env("LONGSHORE_TIMINGS", "true");
    shop.longshore(&["lint", "api", "--offline"]).code(0).stderr_has("`--offline` uses no network");
    assert!(collector.requests.try_recv().is_err());
    // A folder is in the way of a file.
    std::fs::remove_file(shop.path("dist/timings.html")).unwrap();
    std::fs::create_dir_all(shop.path("dist/timings.html/in-the-way")).unwrap();
    shop.longshore(&["lint", "api"]).code(0).stderr_has("warning: the timings are not written");
    let shop = shop.env("OTEL_EXPORTER_OTLP_HEADERS", SECRET);
    shop.longshore(&["lint", "api"]).code(0).stderr_has("OTEL_EXPORTER_OTLP_HEADERS").stderr_lacks(SECRET);
    // A run that fails leaves its times too.
    let shop = shop.env("OTEL_SDK_DISABLED", "true");
    std::fs::remove_dir_all(shop.path("dist/timings.html")).unwrap();
    shop.write("cmd/api/main.go", "package main\n\nfunc main() { undefined() }\n");
    shop.longshore(&["build", "api"]).code(1);
    let timings: Value = serde_json::from_str(&shop.read("dist/timings.json")).unwrap();
    assert_eq!(timings["exit"], 1);
    assert!(timings["jobs"].as_array().unwrap().iter().any(|job| job["result"] == "failed"), "{timings:#}");
}

#[test]
fn a_deploy_and_its_way_back_leave_their_times_too() {
    let (shop, _) = Shop::new();
    let timings = || -> Value { serde_json::from_str(&shop.0.read("dist/timings.json")).unwrap() };
    shop.next("\"api\", version", "\"next\", version");
    let _ = std::fs::remove_file(shop.0.path("dist/timings.json"));
    shop.run(&["deploy", "api@0.1.0"]).code(0).stderr_lacks("timings");
    assert!(!shop.0.path("dist/timings.json").exists());
    for args in [&["deploy", "--timings"][..], &["rollback", "--timings"]] {
        shop.run(args).code(0).stderr_has("timings: `dist/timings.html`");
        let told = timings();
        let jobs = told["jobs"].as_array().unwrap();
        assert_eq!((jobs.len(), &jobs[0]["stage"]), (1, &"deploy".into()), "{told:#}");
        assert_eq!(jobs[0]["id"], "deploy:api", "{told:#}");
        std::fs::remove_file(shop.0.path("dist/timings.json")).unwrap();
    }
    shop.run(&["deploy", "--timings", "--dry-run"]).code(0);
    assert!(!shop.0.path("dist/timings.json").exists());
}
