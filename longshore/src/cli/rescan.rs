//! `scan --deployed`: what an environment runs is scanned again, by digest, with today's database.

use std::collections::{BTreeMap, BTreeSet};

use super::pipeline::{Stages, install, options, shown};
use super::{Global, StageArgs};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::deploy::record::Rescan;
use crate::deploy::site::Site;
use crate::event::Event;
use crate::execute;
use crate::fault::{Exit, Fault};
use crate::host::environment::Environment;
use crate::oci::types::Digest;
use crate::plan::{Job, JobId, Plan, Stage, State};
use crate::report;
use crate::session::Session;
use crate::stage::image::binary_path;
use crate::stage::scan::ScanSpec;
use crate::stage::{Action, Output, Outputs};
use crate::verdict::{self, Scan};

/// A manifest that runs.
#[derive(Debug)]
struct Scanned {
    /// `api 0.1.0 linux/amd64`
    title: String,
    digest: Digest,
    /// The neutral manifest that it is of.
    neutral: Digest,
    /// What was found when that was released.
    before: Option<BTreeSet<String>>,
}

/// Scans and writes down what was found.
///
/// # Errors
/// [`Exit::Usage`] where nothing runs there; those of the scan.
pub fn rescan(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    args: &StageArgs,
) -> anyhow::Result<u8> {
    let session = Session::open(global, environment, cancel)?;
    let site = Site::open(&session)?;
    site.known(&args.selection.services)?;
    let book = site.book();
    let state = if session.offline { book.here()? } else { book.look()? };
    let outputs = Outputs::default();
    let mut plan = Plan { jobs: Vec::new() };
    let mut scanned: Vec<Scanned> = Vec::new();
    for (service, standing) in &state.services {
        let Some(running) = &standing.current else { continue };
        let wanted = args.selection.services.is_empty() || args.selection.services.contains(service);
        if !wanted {
            continue;
        }
        let workload = &running.workload;
        let record = site.release(service, &workload.version)?;
        for platform in workload.image.platforms.keys() {
            let output = site.store.manifest(workload, platform)?;
            let released = record.platforms.get(platform);
            scanned.push(Scanned {
                title: format!("{service} {} {platform}", workload.version),
                digest: output.digest.clone(),
                neutral: released.map_or_else(|| output.digest.clone(), |released| released.digest.clone()),
                before: released.and_then(|released| released.findings.clone()),
            });
            let image = JobId::new(Stage::Image, &[service, &platform.to_string()]);
            outputs.set(image.clone(), Output::Manifest(output));
            let from_dockerfile =
                session.settings.get(service).is_some_and(|settings| settings.dockerfile.is_some());
            let spec = ScanSpec {
                service: service.clone(),
                platform: platform.clone(),
                image,
                executable: (!from_dockerfile).then(|| format!("/{}", binary_path(service, platform))),
                scanner: session
                    .config
                    .tools
                    .trivy
                    .as_ref()
                    .map(|trivy| trivy.value.clone())
                    .unwrap_or_default(),
                options: (&session.stages.scan).into(),
                offline: session.offline,
            };
            plan.jobs.push(Job {
                id: JobId::new(Stage::Scan, &[service, &platform.to_string()]),
                stage: Stage::Scan,
                service: Some(service.clone()),
                platform: Some(platform.clone()),
                title: format!("{service} {} in {}", workload.version, site.name()),
                needs: Vec::new(),
                cost: 3,
                state: State::Run,
                why: "it runs there".to_owned(),
                action: Action::Scan(spec),
            });
        }
    }
    if plan.jobs.is_empty() {
        return Err(Fault::new(Exit::Usage, format!("nothing runs in `{}`", site.name())).into());
    }
    let exit = run(&session, global, &plan, &outputs)?;
    note(&site, &scanned)?;
    Ok(exit)
}

fn run(session: &Session, global: &Global, plan: &Plan<Action>, outputs: &Outputs) -> anyhow::Result<u8> {
    let tools = install(session, global, plan)?;
    let mut reporter = report::open(global.progress, global.color, shown(global), &session.environment);
    let stages = Stages {
        workspace: &session.workspace,
        environment: &session.environment,
        tools,
        cache: Cache::new(&session.workspace.cache),
        keep_going: true,
        outputs,
    };
    let mut options = options(session, global);
    // What one of them has says nothing of the others.
    options.keep_going = true;
    let mut events = |event: &Event| reporter.event(event);
    let summary = execute::run(plan, &stages, &options, &session.cancel, &mut events);
    reporter.finish(&summary);
    Ok(summary.exit)
}

/// Writes the verdicts into the environment's ledger: a promotion asks for them.
fn note(site: &Site<'_>, scanned: &[Scanned]) -> anyhow::Result<()> {
    let mut scans = BTreeMap::new();
    for Scanned { title, digest, neutral, before } in scanned {
        let record = verdict::read::<Scan>(&site.session.workspace.verdicts(), digest)?;
        let Some(record) = record else { continue };
        report::note(&since(title, before.as_ref(), record.findings.as_ref()));
        let rescan = Rescan {
            verdict: record.verdict,
            database: record.database,
            at: record.at,
            by: site.by.clone(),
            note: record.note,
        };
        scans.insert(neutral.clone(), rescan);
    }
    site.book().note(&site.by, "scan", &mut |state| {
        let before = state.scans.clone();
        state.scans.extend(scans.clone());
        Ok(state.scans != before)
    })
}

/// What a scan found that the one of the release did not, for eyes.
fn since(title: &str, before: Option<&BTreeSet<String>>, now: Option<&BTreeSet<String>>) -> String {
    let (Some(before), Some(now)) = (before, now) else {
        return format!("{title}: what was found when it was released is not recorded");
    };
    let list = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let (new, gone) = (list(now, before), list(before, now));
    let mut text = match new.is_empty() {
        true => format!("{title}: nothing new since it was released"),
        false => format!("{title}: new since it was released: {new}"),
    };
    if !gone.is_empty() {
        text.push_str(&format!("; not found any more: {gone}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_apart_from_what_was_known() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let say = |before: &[&str], now: &[&str]| since("api", Some(&of(before)), Some(&of(now)));
        assert_eq!(say(&["A in x"], &["A in x"]), "api: nothing new since it was released");
        assert_eq!(say(&["A in x"], &["A in x", "B in y"]), "api: new since it was released: B in y");
        let gone = "api: nothing new since it was released; not found any more: A in x";
        assert_eq!(say(&["A in x"], &[]), gone);
        assert!(since("api", None, Some(&of(&[]))).contains("is not recorded"));
    }
}
