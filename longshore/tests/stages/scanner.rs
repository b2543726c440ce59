//! The scan, with the real scanner, a database that the tests make, and scanners that misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use longshore::config::{Base, Compression, Severity};
use longshore::fault::{Exit, exit_of};
use longshore::host::environment::Environment;
use longshore::host::process::Command;
use longshore::oci::types::Digest;
use longshore::plan::JobId;
use longshore::platform::Platform;
use longshore::stage::image::{self, ImageSpec};
use longshore::stage::scan::{self, Ignore, Options, ScanSpec};
use longshore::stage::{Binary, Finish, Output};
use longshore::verdict::{self, Scan};

use crate::harness::{MINUTES, Repository, chain, lacks, which};

const VERSION: &str = "0.69.3";
const CRITICAL: &str = "CVE-2024-45337";
const UNFIXED: &str = "CVE-2020-26160";
const STANDARD: &str = "CVE-2025-61729";

/// What is made once for all tests of this file.
struct Made {
    folder: tempfile::TempDir,
    trivy: PathBuf,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// The real scanner of the pinned version: LONGSHORE_TRIVY, the user's cache, or PATH.
fn trivy() -> Option<PathBuf> {
    let environment = Environment::from_process();
    let home = environment.get("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = home.or_else(|| Some(Path::new(environment.get("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join(format!("longshore/tools/trivy/{VERSION}/trivy")));
    let named = environment.get("LONGSHORE_TRIVY").map(PathBuf::from);
    [named, installed, which("trivy")].into_iter().flatten().find(|path| path.is_file())
}

fn go(module: &str, out: &Path, variables: &[(&str, &str)]) {
    let command = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(out)
        .arg(".")
        .cwd(fixtures().join(module))
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .timeout(MINUTES);
    let command = variables.iter().fold(command, |command, (name, value)| command.env(*name, *value));
    command.run(&longshore::cancel::Cancel::default()).unwrap();
}

/// The tools of these tests, or `None` where the machine lacks one.
fn made() -> Option<&'static Made> {
    static MADE: OnceLock<Option<Made>> = OnceLock::new();
    MADE.get_or_init(|| {
        let trivy = trivy();
        if lacks("trivy", trivy.clone()) || lacks("go", which("go")) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // A toolchain with a known fault in its standard library.
        let old = ("GOTOOLCHAIN", "go1.25.3");
        go("vulnerable", &folder.path().join("linux"), &[old, ("GOOS", "linux"), ("GOARCH", "amd64")]);
        go("vulnerable", &folder.path().join("windows"), &[old, ("GOOS", "windows"), ("GOARCH", "amd64")]);
        go("trivy-db", &folder.path().join("make-db"), &[]);
        Some(Made { folder, trivy: trivy.unwrap() })
    })
    .as_ref()
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self, out: &Path, args: &[&str]) {
        let command = Command::new(self.path("make-db")).arg("-out").arg(out).args(args.iter().copied());
        command.run(&longshore::cancel::Cancel::default()).unwrap();
    }
}

/// A repository with an image of the fixture, ready to be scanned.
struct Case {
    repository: Repository,
    spec: ScanSpec,
    digest: Digest,
}

fn case(made: &Made) -> Case {
    image_of(made, "linux/amd64", &made.path("linux"), BTreeMap::new())
}

fn image_of(made: &Made, platform: &str, binary: &Path, files: BTreeMap<String, PathBuf>) -> Case {
    let mut repository = Repository::new();
    repository.tools.trivy = Some(made.trivy.clone());
    // Nothing of the machine that runs the tests, but what finds programs.
    repository.environment = [("PATH", std::env!("PATH"))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let platform: Platform = platform.parse().unwrap();
    let bytes = std::fs::read(binary).unwrap();
    let binary = Binary { path: binary.to_owned(), digest: Digest::of(&bytes), size: bytes.len() as u64 };
    let (build, job) = (JobId("build".to_owned()), JobId("image".to_owned()));
    let binaries = BTreeMap::from([("app".to_owned(), binary)]);
    repository.outputs.set(build.clone(), Output::Binaries { binaries, failures: BTreeMap::new() });
    let spec = ImageSpec {
        service: "app".to_owned(),
        platform: platform.clone(),
        build,
        base: Base::Scratch,
        base_place: None,
        user: "65532:65532".to_owned(),
        compression: Compression::Gzip(None),
        labels: BTreeMap::new(),
        created: 1_700_000_000,
        file_time: 0,
        env: BTreeMap::new(),
        port: None,
        files,
    };
    let finish = image::run(&spec, &repository.scope()).unwrap();
    let Output::Manifest(manifest) = &finish.output else { unreachable!("{finish:?}") };
    let digest = manifest.digest.clone();
    repository.outputs.set(job.clone(), finish.output.clone());
    let executable = format!("/{}", image::binary_path("app", &platform));
    let spec = ScanSpec {
        service: "app".to_owned(),
        platform,
        image: job,
        executable: Some(executable),
        scanner: VERSION.to_owned(),
        options: Options::default(),
        offline: true,
    };
    made.database(&repository.workspace.cache.join("trivy/db"), &[]);
    Case { repository, spec, digest }
}

impl Case {
    fn database(&self) -> PathBuf {
        self.repository.workspace.cache.join("trivy/db")
    }

    fn run(&self) -> anyhow::Result<Finish> {
        scan::run(&self.spec, &self.repository.scope())
    }

    fn verdict(&self) -> Option<Scan> {
        let verdicts = self.repository.workspace.verdicts();
        verdict::read::<Scan>(&verdicts, &self.digest).unwrap().map(|record| record.verdict)
    }

    /// Runs, and wants no verdict, with `part` in the message.
    fn no_verdict(&self, part: &str) {
        let error = self.run().unwrap_err();
        assert_eq!(exit_of(&error), Exit::Machine, "{}", chain(&error));
        assert!(chain(&error).contains(part), "{part}: {}", chain(&error));
        assert_eq!(self.verdict(), None, "{part}");
    }

    /// Runs, and wants the gate's no; gives what it says.
    fn refused(&self) -> String {
        let error = self.run().unwrap_err();
        assert_eq!(exit_of(&error), Exit::Gate, "{}", chain(&error));
        assert_eq!(self.verdict(), Some(Scan::Fail));
        chain(&error)
    }

    fn warnings(&self) -> String {
        self.repository.told.warnings().join("\n")
    }

    fn ignore(&mut self, id: &str, until: Option<&str>) {
        let until = until.map(str::to_owned);
        self.spec.options.ignore.push(Ignore { id: id.to_owned(), reason: "tried".to_owned(), until });
    }

    fn report(&self, name: &str) -> String {
        let folder = self.repository.workspace.reports().join("app").join(self.spec.platform.slug());
        std::fs::read_to_string(folder.join(name)).unwrap()
    }
}

#[test]
fn findings_fail_the_gate_and_say_what_brings_them_in() {
    let Some(made) = made() else { return };
    let case = case(made);
    let said = case.refused();
    assert!(said.starts_with("3 findings fail the gate in `app` for linux/amd64"), "{said}");
    for part in [
        "usr/local/bin/app > example.com/vulnerable > golang.org/x/crypto v0.30.0",
        "fixed in 0.31.0",
        "github.com/dgrijalva/jwt-go v3.2.0+incompatible",
        "no fixed version",
        "stdlib v1.25.3",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&case.report("scan.sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["properties"]["digest"], case.digest.as_str());
    assert!(case.report("scan.txt").contains(CRITICAL));
    assert!(case.report("scan.json").contains("\"ArtifactType\": \"container_image\""));
    // The same findings, the same bytes.
    let before = case.report("scan.sarif");
    case.refused();
    assert_eq!(before, case.report("scan.sarif"));
}

#[test]
fn ignores_hold_until_their_day_and_the_verdict_is_remembered() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    case.ignore(CRITICAL, None);
    case.ignore("GHSA-w73w-5m7g-f7qc", Some("2999-01-01"));
    case.ignore(STANDARD, Some("2020-01-01"));
    case.ignore("CVE-1999-0001", None);
    let said = case.refused();
    assert!(said.contains(STANDARD) && !said.contains(CRITICAL), "{said}");
    assert!(case.warnings().contains("`CVE-2025-61729` expired on 2020-01-01"), "{}", case.warnings());
    assert!(case.warnings().contains("`CVE-1999-0001` matches nothing"), "{}", case.warnings());
    case.ignore(STANDARD, None);
    let finish = case.run().unwrap();
    assert_eq!(finish.output, Output::Scanned { verdict: Scan::Pass });
    assert!(!finish.cached);
    assert_eq!(case.verdict(), Some(Scan::Pass));
    // The same key: it need not run, and says its warnings again.
    let told = case.repository.told.warnings().len();
    assert!(case.run().unwrap().cached);
    assert!(case.repository.told.warnings().len() > told);
    // Another database: it does run.
    let trivy = case.repository.workspace.cache.join("trivy");
    std::fs::remove_file(trivy.join("db.json")).unwrap();
    std::fs::remove_dir_all(trivy.join("db")).unwrap();
    made.database(&case.database(), &["-updated", "2026-01-01T00:00:00Z", "-next", "2999-01-01T00:00:00Z"]);
    assert!(!case.run().unwrap().cached);
}

#[test]
fn severity_and_unfixed_are_the_users() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    case.spec.options.severity = BTreeSet::from([Severity::Critical]);
    let said = case.refused();
    assert!(said.starts_with("1 finding fails the gate"), "{said}");
    case.spec.options.severity = Options::default().severity;
    case.spec.options.ignore_unfixed = true;
    let said = case.refused();
    assert!(said.contains(CRITICAL) && !said.contains(UNFIXED), "{said}");
}

#[test]
fn windows_is_judged_by_its_binary_only() {
    let Some(made) = made() else { return };
    let mut case = image_of(made, "windows/amd64", &made.path("windows"), BTreeMap::new());
    assert!(case.refused().contains(CRITICAL));
    for id in [CRITICAL, UNFIXED, STANDARD] {
        case.ignore(id, None);
    }
    assert_eq!(case.run().unwrap().output, Output::Scanned { verdict: Scan::Unsupported });
}

#[test]
fn a_secret_fails_whatever_else_is_allowed() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    // Put together here, so that no scanner of this repository takes it for one.
    let line = "MIIEpAIBAAKCAQEAxyzABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv\n".repeat(3);
    let (begin, end) = (["-----BEGIN RSA ", "PRIVATE KEY-----\n"], ["-----END RSA ", "PRIVATE KEY-----\n"]);
    std::fs::write(&key, format!("{}{line}{}", begin.concat(), end.concat())).unwrap();
    let files = BTreeMap::from([("/etc/key.pem".to_owned(), key)]);
    let mut case = image_of(made, "linux/amd64", &made.path("linux"), files);
    for id in [CRITICAL, UNFIXED, STANDARD] {
        case.ignore(id, None);
    }
    let said = case.refused();
    assert!(said.contains("private-key") && said.contains("/etc/key.pem:"), "{said}");
    assert!(!said.contains("MIIEpAIB") && !case.report("scan.txt").contains("MIIEpAIB"), "{said}");
    // Also where there is no database at all.
    std::fs::remove_dir_all(case.database()).unwrap();
    case.spec.options.warn_unavailable = true;
    assert!(case.refused().contains("private-key"));
}

#[test]
fn without_a_database_there_is_no_verdict_unless_a_warning_will_do() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    std::fs::remove_dir_all(case.database()).unwrap();
    case.no_verdict("there is no vulnerability database");
    made.database(&case.database(), &["-updated", "2019-12-31T00:00:00Z", "-next", "2020-01-01T00:00:00Z"]);
    case.no_verdict("stale");
    made.database(&case.database(), &["-updated", "2900-12-31T00:00:00Z", "-next", "2901-01-01T00:00:00Z"]);
    case.no_verdict("look at the clock");
    case.spec.options.warn_unavailable = true;
    let finish = case.run().unwrap();
    assert_eq!(finish.output, Output::Scanned { verdict: Scan::None });
    assert!(finish.note.contains("NO VULNERABILITY VERDICT"), "{}", finish.note);
    assert!(case.warnings().contains("are NOT scanned for vulnerabilities"), "{}", case.warnings());
    assert_eq!(case.verdict(), Some(Scan::None));
}

#[test]
fn a_database_that_is_not_what_it_should_be_gives_no_verdict_even_where_a_warning_would_do() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    case.spec.options.warn_unavailable = true;
    let file = case.database().join("trivy.db");
    let whole = std::fs::read(&file).unwrap();
    made.database(&case.database(), &["-schema", "3"]);
    case.no_verdict("has schema 3");
    made.database(&case.database(), &["-schema", "1"]);
    case.no_verdict("has schema 1");
    std::fs::remove_dir_all(case.database()).unwrap();
    made.database(&case.database(), &[]);
    case.refused();
    verdict::remove::<Scan>(&case.repository.workspace.verdicts(), &case.digest).unwrap();
    // One advisory less, and else a sound database.
    let text = b"CVE-2024-45337";
    let at = whole.windows(text.len()).position(|window| window == text).unwrap();
    let mut changed = whole.clone();
    changed[at + 4] = b'3';
    std::fs::write(&file, changed).unwrap();
    case.no_verdict("was changed after it was fetched");
    std::fs::write(&file, &whole[..20_000]).unwrap();
    case.no_verdict("no verdict");
    std::fs::write(&file, b"").unwrap();
    case.no_verdict("knows no Go advisories");
    std::fs::remove_file(&file).unwrap();
    case.no_verdict("has no `trivy.db`");
    std::fs::write(case.database().join("metadata.json"), "{").unwrap();
    case.no_verdict("metadata that can't be read");
}

#[test]
fn a_torn_database_that_nobody_has_seen_whole_makes_the_scanner_fail() {
    let Some(made) = made() else { return };
    let case = case(made);
    let file = case.database().join("trivy.db");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..20_000]).unwrap();
    case.no_verdict("no verdict");
}

#[test]
fn a_preset_database_is_used_and_left_as_it_is() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    std::fs::remove_dir_all(case.database()).unwrap();
    let preset = tempfile::tempdir().unwrap();
    made.database(&preset.path().join("db"), &[]);
    let variables = [("PATH", env!("PATH")), ("TRIVY_CACHE_DIR", preset.path().to_str().unwrap())];
    case.repository.environment =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(case.refused().contains(CRITICAL));
    let names: Vec<_> = walk(preset.path());
    assert_eq!(names, ["db/metadata.json", "db/trivy.db"]);
}

fn walk(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn a_scanner_that_misbehaves_gives_no_verdict() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    for (name, part) in [
        ("crashes", "it broke"),
        ("is-killed", "the scanner failed"),
        ("says-nothing", "printed no report"),
        ("says-no-json", "can't be read"),
        ("says-half", "can't be read"),
        ("says-other-schema", "schema version 3"),
        ("says-other-version", "Trivy 0.69.2's"),
        ("says-other-image", "the report is about `sha256:0000"),
        ("says-no-packages", "which the binary holds"),
    ] {
        case.repository.tools.trivy = Some(fixtures().join("scanners").join(name));
        let error = case.run().unwrap_err();
        assert_eq!(exit_of(&error), Exit::Machine, "{name}: {}", chain(&error));
        let mut said = chain(&error);
        if let Some(longshore::host::process::ProcessError::Failed { tail, .. }) = error.downcast_ref() {
            said.push_str(&tail.join("\n"));
        }
        assert!(said.contains(part), "{name}: {said}");
        assert_eq!(case.verdict(), None, "{name}");
    }
    case.repository.tools.trivy = Some(fixtures().join("scanners/absent"));
    case.no_verdict("absent");
    case.repository.tools.trivy = None;
    case.no_verdict("Trivy is not installed");
}

#[test]
fn a_failed_scan_takes_the_old_verdict_away() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    case.spec.options.severity = BTreeSet::new();
    case.run().unwrap();
    assert_eq!(case.verdict(), Some(Scan::Pass));
    // Another option, another key.
    case.spec.options.severity = BTreeSet::from([Severity::Low]);
    case.repository.tools.trivy = Some(fixtures().join("scanners/crashes"));
    case.no_verdict("the scanner failed");
}

#[test]
fn a_packed_binary_gives_no_verdict() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("packed");
    std::fs::write(&packed, [0x5a; 4096]).unwrap();
    let case = image_of(made, "linux/amd64", &packed, BTreeMap::new());
    case.no_verdict("holds no Go build information");
}

#[test]
fn a_user_s_files_do_not_reach_the_scanner() {
    let Some(made) = made() else { return };
    let case = case(made);
    for name in [".trivyignore", "trivy.yaml", "trivy-secret.yaml"] {
        case.repository.write(name, CRITICAL);
        case.repository.write(&format!("dist/{name}"), CRITICAL);
        case.repository.write(&format!("cache/trivy/{name}"), CRITICAL);
    }
    assert!(case.refused().contains(CRITICAL));
    let left: Vec<_> = walk(&case.repository.workspace.dist);
    assert!(!left.iter().any(|name| name.starts_with(".scan-")), "{left:?}");
}

#[test]
fn the_database_is_fetched_once_verified_and_kept() {
    let Some(made) = made() else { return };
    let mut case = case(made);
    std::fs::remove_dir_all(case.database()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    made.database(&folder.path().join("db"), &[]);
    let server = serve(&folder.path().join("db"));
    case.spec.offline = false;
    case.spec.options.database = Some(format!("{}/x/trivy-db:2", server.address));
    assert!(case.refused().contains(CRITICAL));
    let asked = server.asked();
    assert!(asked > 0);
    assert!(case.refused().contains(CRITICAL));
    assert_eq!(server.asked(), asked, "a fresh database is used as it is");
    // Old, and the server has nothing newer that could be reached.
    std::fs::remove_dir_all(case.database()).unwrap();
    made.database(&case.database(), &["-updated", "2019-12-31T00:00:00Z", "-next", "2020-01-01T00:00:00Z"]);
    case.spec.options.database = Some("127.0.0.1:1/x/trivy-db:2".to_owned());
    verdict::remove::<Scan>(&case.repository.workspace.verdicts(), &case.digest).unwrap();
    case.no_verdict("stale");
    // And it is replaced where it can be.
    case.spec.options.database = Some(format!("{}/x/trivy-db:2", server.address));
    assert!(case.refused().contains(CRITICAL));
    let left = walk(&case.repository.workspace.cache.join("trivy"));
    assert_eq!(left, ["db.json", "db/metadata.json", "db/trivy.db", "lock"]);
}

/// A registry with one artifact, on a free port of this machine, over plain HTTP.
struct Server {
    address: String,
    asked: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Server {
    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn serve(database: &Path) -> Server {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for name in ["trivy.db", "metadata.json"] {
        tar.append_path_with_name(database.join(name), name).unwrap();
    }
    let layer = tar.into_inner().unwrap().finish().unwrap();
    let config = b"{}".to_vec();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.aquasec.trivy.config.v1+json",
            "digest": Digest::of(&config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip",
            "digest": Digest::of(&layer), "size": layer.len(),
            "annotations": { "org.opencontainers.image.title": "db.tar.gz" } }],
    });
    let manifest = manifest.to_string().into_bytes();
    let blobs = BTreeMap::from([(Digest::of(&layer), layer), (Digest::of(&config), config)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    // It ends with the process: a test's thread that waits for a request holds nothing.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _ = answer(stream, &manifest, &blobs);
        }
    });
    Server { address, asked }
}

fn answer(
    mut stream: std::net::TcpStream,
    manifest: &[u8],
    blobs: &BTreeMap<Digest, Vec<u8>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines.by_ref() {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let last = path.rsplit('/').next().unwrap_or_default();
    let blob = last.parse::<Digest>().ok().and_then(|digest| blobs.get(&digest));
    let (status, kind, body) = match path {
        "/v2/" => ("200 OK", "application/json", &b"{}"[..]),
        _ if path.contains("/manifests/") => {
            ("200 OK", "application/vnd.oci.image.manifest.v1+json", manifest)
        }
        _ => match blob {
            Some(blob) => ("200 OK", "application/octet-stream", blob.as_slice()),
            None => ("404 Not Found", "text/plain", &b""[..]),
        },
    };
    let digest = Digest::of(body);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(body)?;
    }
    stream.flush()
}
