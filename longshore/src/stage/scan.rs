//! The scan: what a scanner knows of one platform's manifest, and whether that passes the gate.
//!
//! It fails closed. A scanner that is missing, crashes or says nothing, a report about another image or
//! without the binary's modules, a database that is old, damaged or of another form: each is "no verdict",
//! exit 4, and never a pass.

pub mod buildinfo;
pub mod database;
pub mod findings;
pub mod isolate;
pub mod jobs;
pub mod report;
pub mod sarif;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{OnUnavailable, Severity};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::process::{Command, Output as Printed, ProcessError, Status};
use crate::host::{clock, files};
use crate::oci::types::Digest;
use crate::plan::JobId;
use crate::platform::Platform;
use crate::resolve::ScanSettings;
use crate::stage::{Finish, ManifestOutput, Output, Scope};
use crate::verdict::{self, Record};

use database::{Database, State};
use findings::Judgement;
use isolate::Isolated;
use report::Report;

/// The version of what this stage does: part of every key.
pub const VERSION: u32 = 1;

/// What one scan job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSpec {
    pub service: String,
    pub platform: Platform,
    /// The job whose manifest is scanned.
    pub image: JobId,
    /// The Go binary in the image, as in its entrypoint: its modules must be in the report.
    /// Absent where it isn't known (a Dockerfile): any Go binary will do.
    pub executable: Option<String>,
    /// The version that `[tools]` pins: the report must come from it.
    pub scanner: String,
    pub options: Options,
    /// `--offline`: the database is used as it is, or not at all.
    pub offline: bool,
}

/// `[stages.scan]`, merged and with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// What fails the gate.
    pub severity: BTreeSet<Severity>,
    /// Let what has no fixed version pass.
    pub ignore_unfixed: bool,
    pub ignore: Vec<Ignore>,
    /// Without a database look for secrets only, warn, and say that no verdict exists. Only where the
    /// registry is an `oci:` folder.
    pub warn_unavailable: bool,
    /// The database's repository; absent: the scanner's own.
    pub database: Option<String>,
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            severity: BTreeSet::from([Severity::High, Severity::Critical]),
            ignore_unfixed: false,
            ignore: Vec::new(),
            warn_unavailable: false,
            database: None,
            timeout: Duration::from_secs(600),
        }
    }
}

impl From<&ScanSettings> for Options {
    fn from(settings: &ScanSettings) -> Self {
        let ignore = |given: &crate::config::Ignore| Ignore {
            id: given.id.value.clone(),
            reason: given.reason.value.clone(),
            until: given.until.as_ref().map(|until| until.value.clone()),
        };
        Self {
            severity: settings.severity.clone(),
            ignore_unfixed: settings.ignore_unfixed,
            ignore: settings.ignore.iter().map(ignore).collect(),
            warn_unavailable: settings.on_unavailable == OnUnavailable::Warn,
            database: settings.db_repository.clone(),
            timeout: settings.timeout,
        }
    }
}

/// A finding that somebody has looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ignore {
    pub id: String,
    pub reason: String,
    /// `YYYY-MM-DD`, the last day (UTC) on which it holds.
    pub until: Option<String>,
}

/// Findings as a table, the cause of a gate's no.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Table(pub Vec<String>);

/// Scans one manifest and leaves its verdict and its reports.
///
/// # Errors
/// [`Exit::Gate`] with a [`Table`] for findings, [`Exit::Machine`] where there is no verdict.
pub fn run(spec: &ScanSpec, scope: &Scope<'_>) -> anyhow::Result<Finish> {
    let manifest = scope.outputs.manifest(&spec.image)?;
    let Some(program) = scope.tools.trivy.as_deref() else {
        return Err(Fault::new(Exit::Machine, "no verdict: Trivy is not installed")
            .hint("run `cargo xtask setup`")
            .into());
    };
    let source = database::Source {
        program,
        folder: &scope.workspace.cache.join("trivy"),
        repository: spec.options.database.as_deref(),
        offline: spec.offline,
        environment: scope.environment,
        cancel: scope.cancel,
        progress: scope.progress,
    };
    let database = match database::ready(&source)? {
        State::Ready(database) => Some(database),
        State::Unavailable(why) => {
            unavailable(spec, scope, &why)?;
            None
        }
    };
    let now = clock::now();
    let key = key(spec, &manifest.digest, database.as_ref(), &clock::date(now));
    let verdicts = scope.workspace.verdicts();
    if let Some(finish) = remembered(&verdicts, &manifest.digest, &key, scope)? {
        return Ok(finish);
    }
    verdict::remove::<verdict::Scan>(&verdicts, &manifest.digest)?;
    let isolated = isolate::isolate(scope.workspace, &manifest, spec.executable.as_deref(), scope.cancel)?;
    scope.progress.status("scanning");
    let printed = scan(spec, program, &isolated, database.as_ref(), scope)?;
    let report = report::parse(&printed.stdout).map_err(|error| no_verdict(&error, &printed))?;
    check(spec, &manifest, &isolated, &report).map_err(|error| no_verdict(&error, &printed))?;
    let judgement = findings::judge(&report, &spec.options, &clock::date(now))
        .map_err(|error| no_verdict(&error, &printed))?;
    for warning in &judgement.warnings {
        scope.progress.warning(warning, None);
    }
    let folder = scope.workspace.reports().join(&spec.service).join(spec.platform.slug());
    write_reports(&folder, spec, &manifest, &printed.stdout, &judgement)?;
    let verdict = outcome(spec, database.is_some(), &judgement);
    let record = Record {
        schema: verdict::SCHEMA,
        digest: manifest.digest.clone(),
        service: spec.service.clone(),
        platform: spec.platform.clone(),
        verdict,
        tool: format!("trivy {}", spec.scanner),
        database: database.map(|database| database.updated_at.clone()),
        key: Some(key),
        note: judgement.note(),
        findings: Some(judgement.names()),
        warnings: judgement.warnings.clone(),
        at: clock::rfc3339(now),
    };
    verdict::write(&verdicts, &record)?;
    if verdict == verdict::Scan::Fail {
        return Err(refusal(spec, &judgement, scope.workspace.shown(&folder)));
    }
    Ok(Finish { output: Output::Scanned { verdict }, cached: false, note: note(&record) })
}

/// What the verdict follows from, as 64 hex digits. The same again, and the scan need not run.
///
/// An ignore that has expired is no part of it: on the day after its last the key is another one.
pub fn key(spec: &ScanSpec, digest: &Digest, database: Option<&Database>, today: &str) -> String {
    let active: BTreeSet<&Ignore> =
        spec.options.ignore.iter().filter(|ignore| findings::holds(ignore, today)).collect();
    let preimage = serde_json::json!({
        "stage": VERSION,
        "manifest": digest,
        "executable": spec.executable,
        "platform": spec.platform,
        "scanner": spec.scanner,
        "severity": spec.options.severity,
        "ignore_unfixed": spec.options.ignore_unfixed,
        "ignore": active,
        "database": database.map(|database| (&database.updated_at, &database.digest)),
    });
    Digest::of(preimage.to_string().as_bytes()).hex().to_owned()
}

fn outcome(spec: &ScanSpec, database: bool, judgement: &Judgement) -> verdict::Scan {
    if !judgement.failures().is_empty() {
        verdict::Scan::Fail
    } else if !database {
        verdict::Scan::None
    } else if spec.platform.os == "linux" {
        verdict::Scan::Pass
    } else {
        verdict::Scan::Unsupported
    }
}

fn note(record: &Record<verdict::Scan>) -> String {
    match record.verdict {
        verdict::Scan::None => format!("NO VULNERABILITY VERDICT, {}", record.note),
        verdict::Scan::Unsupported => format!("{} (the binary only)", record.note),
        verdict::Scan::Pass | verdict::Scan::Fail => record.note.clone(),
    }
}

/// Without a database: a warning where the environment allows it, else no verdict.
fn unavailable(spec: &ScanSpec, scope: &Scope<'_>, why: &str) -> anyhow::Result<()> {
    const HINT: &str = "bring the network back, or name a mirror in `[stages.scan] db-repository` or TRIVY_DB_REPOSITORY, or a copy in TRIVY_CACHE_DIR";
    if !spec.options.warn_unavailable {
        return Err(Fault::new(Exit::Machine, format!("no verdict: {why}")).hint(HINT).into());
    }
    // The same words for every image, so that a run says them once.
    let message =
        format!("the images are NOT scanned for vulnerabilities, only for secrets and configuration: {why}");
    scope.progress.warning(&message, Some(HINT));
    Ok(())
}

/// The finish of an earlier scan whose key is the same.
fn remembered(
    verdicts: &Path,
    digest: &Digest,
    key: &str,
    scope: &Scope<'_>,
) -> anyhow::Result<Option<Finish>> {
    // A verdict that can't be read is made again: it is this job that makes them.
    let Ok(Some(record)) = verdict::read::<verdict::Scan>(verdicts, digest) else { return Ok(None) };
    let usable = matches!(record.verdict, verdict::Scan::Pass | verdict::Scan::Unsupported);
    if !usable || record.key.as_deref() != Some(key) {
        return Ok(None);
    }
    for warning in &record.warnings {
        scope.progress.warning(warning, None);
    }
    let output = Output::Scanned { verdict: record.verdict };
    Ok(Some(Finish { output, cached: true, note: note(&record) }))
}

/// Runs the scanner over the temporary layout: from an empty folder, without the user's environment.
fn scan(
    spec: &ScanSpec,
    program: &Path,
    isolated: &Isolated,
    database: Option<&Database>,
    scope: &Scope<'_>,
) -> anyhow::Result<Printed> {
    if let Some(database) = database {
        isolated.link_database(&database.folder)?;
    }
    let scanners = if database.is_some() { "vuln,secret,misconfig" } else { "secret,misconfig" };
    let limit = spec.options.timeout;
    let command = trivy(program, &isolated.home, scope.environment)
        .args(["image", "--format", "json", "--exit-code", "0", "--quiet"])
        .args(["--scanners", scanners, "--image-config-scanners", "secret,misconfig"])
        .args(["--cache-backend", "memory", "--skip-db-update", "--skip-java-db-update"])
        .args(["--skip-check-update", "--skip-vex-repo-update", "--offline-scan"])
        .args(["--list-all-pkgs", "--skip-version-check", "--disable-telemetry"])
        .args(["--timeout", &format!("{}s", limit.as_secs().max(1))])
        .arg("--cache-dir")
        .arg(&isolated.cache)
        .arg("--input")
        .arg(&isolated.layout)
        .cwd(&isolated.empty)
        .timeout(limit + Duration::from_secs(15));
    run_trivy(&command, scope.cancel)
}

/// The scanner with nothing of the user's environment but what finds programs and libraries.
pub(crate) fn trivy(program: &Path, home: &Path, environment: &Environment) -> Command {
    let mut command =
        Command::new(program).clear().env("HOME", home).env("TMPDIR", home).env("NO_COLOR", "1");
    for name in ["PATH", "SYSTEMROOT", "SystemRoot"] {
        if let Some(value) = environment.get(name) {
            command = command.env(name, value);
        }
    }
    for name in ["TEMP", "TMP", "USERPROFILE", "LOCALAPPDATA"] {
        command = command.env(name, home);
    }
    command
}

/// Runs the scanner: any end but exit 0 is no verdict.
pub(crate) fn run_trivy(command: &Command, cancel: &crate::cancel::Cancel) -> anyhow::Result<Printed> {
    match command.run(cancel) {
        Ok(printed) => Ok(printed),
        Err(ProcessError::Failed { status: Status::Cancelled, .. }) => {
            let exit = if cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
            Err(Fault::new(exit, "stopped").into())
        }
        Err(error) => Err(error).fault_hint(
            Exit::Machine,
            "no verdict: the scanner failed",
            "`cargo xtask doctor` looks at Trivy and its database",
        ),
    }
}

/// The report must be about this image, from this scanner, and know the binary's modules.
fn check(
    spec: &ScanSpec,
    manifest: &ManifestOutput,
    isolated: &Isolated,
    report: &Report,
) -> anyhow::Result<()> {
    if report.trivy.version != spec.scanner {
        anyhow::bail!("the report is Trivy {}'s, `[tools]` pins {}", report.trivy.version, spec.scanner);
    }
    let image = report.metadata.image_id.as_deref().unwrap_or("nothing");
    if image != manifest.config.as_str() {
        anyhow::bail!("the report is about `{image}`, the image is `{}`", manifest.config);
    }
    match &isolated.modules {
        Some(modules) => {
            let missing = report::missing(report, modules);
            if !missing.is_empty() {
                anyhow::bail!(
                    "the report knows nothing of `{}`, which the binary holds",
                    missing.join("`, `")
                );
            }
        }
        None if report.binaries().next().is_none() => {
            anyhow::bail!(
                "the report names no Go binary; was it packed or stripped of its build information?"
            );
        }
        None => {}
    }
    Ok(())
}

fn no_verdict(error: &anyhow::Error, printed: &Printed) -> anyhow::Error {
    let text = String::from_utf8_lossy(&printed.stderr);
    let said = text.lines().rev().find(|line| !line.trim().is_empty());
    let said = said.map(|line| format!("; the scanner said: {}", line.trim())).unwrap_or_default();
    Fault::new(Exit::Machine, format!("no verdict: {error:#}{said}")).into()
}

fn refusal(spec: &ScanSpec, judgement: &Judgement, folder: &Path) -> anyhow::Error {
    let count = judgement.failures().len();
    let fault = Fault::new(
        Exit::Gate,
        format!(
            "{count} {} in `{}` for {}",
            if count == 1 { "finding fails the gate" } else { "findings fail the gate" },
            spec.service,
            spec.platform
        ),
    )
    .hint(format!(
        "take the fixed version, or say why not in `[[stages.scan.ignore]]` (id, reason, until); reports: `{}`",
        folder.display()
    ));
    anyhow::Error::new(Table(findings::table(&judgement.failures()))).context(fault)
}

fn write_reports(
    folder: &Path,
    spec: &ScanSpec,
    manifest: &ManifestOutput,
    raw: &[u8],
    judgement: &Judgement,
) -> anyhow::Result<PathBuf> {
    files::write(&folder.join("scan.json"), raw)?;
    let sarif = sarif::document(&spec.service, &spec.platform, &manifest.digest, &spec.scanner, judgement);
    let mut bytes = serde_json::to_vec_pretty(&sarif)?;
    bytes.push(b'\n');
    files::write(&folder.join("scan.sarif"), &bytes)?;
    let mut text = format!("{} for {}: {}\n", spec.service, spec.platform, judgement.note());
    let all: Vec<_> = judgement.findings.iter().collect();
    for line in findings::table(&all) {
        text.push_str(&line);
        text.push('\n');
    }
    for warning in &judgement.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    files::write(&folder.join("scan.txt"), text.as_bytes())?;
    Ok(folder.to_owned())
}
