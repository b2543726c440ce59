//! Release → plan: the stages in their order, each adding its jobs. Nothing runs here; what is looked
//! at is whether work is already done.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::{Action, adopt, build, image, lint, push, scan, test, verify};
use crate::plan::{Plan, Stage};

/// What `stage` alone takes with it: the stages that make its inputs. A push and a tag take every gate.
pub fn closure(stage: Stage) -> BTreeSet<Stage> {
    match stage {
        Stage::Lint | Stage::Test | Stage::Build => [stage].into(),
        Stage::Image => [Stage::Build, Stage::Image].into(),
        Stage::Scan | Stage::Verify => [Stage::Build, Stage::Image, stage].into(),
        Stage::Push => Stage::ALL.into_iter().filter(|stage| *stage != Stage::Tag).collect(),
        Stage::Tag | Stage::Deploy => Stage::ALL.into(),
    }
}

/// The jobs of `draft.stages`; `last` adds what ends the run.
///
/// # Errors
/// Files that can't be read; results of another run that are not there.
pub fn plan(mut draft: Draft<'_>, last: impl FnOnce(&mut Draft<'_>)) -> anyhow::Result<Plan<Action>> {
    let wanted = |draft: &Draft<'_>, stage| draft.stages.contains(&stage) && draft.release.runs(stage);
    if wanted(&draft, Stage::Lint) {
        lint::jobs::jobs(&mut draft)?;
        lint::dockerfile::jobs(&mut draft);
    }
    if wanted(&draft, Stage::Test) {
        test::jobs::jobs(&mut draft)?;
    }
    let adopted = adopt::jobs(&mut draft)?;
    let release = draft.release;
    let mut binaries = BTreeMap::new();
    if draft.stages.contains(&Stage::Build) {
        binaries = build::jobs::jobs(&mut draft, |service, platform| {
            let embedded = release.services[service].settings.dockerfile.is_none();
            embedded && !adopted.contains_key(&(service.to_owned(), platform.clone()))
        })?;
    }
    binaries.extend(
        adopted
            .into_iter()
            .filter(|(_, (_, what))| *what == adopt::What::Binary)
            .map(|(of, (id, _))| (of, id)),
    );
    if draft.stages.contains(&Stage::Image) {
        image::jobs::jobs(&mut draft, &binaries);
        let outputs = std::mem::take(&mut draft.outputs);
        image::output::jobs(&mut draft, &outputs)?;
    }
    if wanted(&draft, Stage::Scan) {
        scan::jobs::jobs(&mut draft);
    }
    if wanted(&draft, Stage::Verify) {
        verify::jobs::jobs(&mut draft);
    }
    if wanted(&draft, Stage::Push) {
        push::jobs(&mut draft);
    }
    last(&mut draft);
    Ok(draft.finish())
}
