//! The jobs of the lint stage: one a module.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Check, LintSpec, TaggedService, golangci};
use crate::facts::go::Setting;
use crate::facts::go::inputs::Program;
use crate::plan::{JobId, Stage};
use crate::release::ServiceRelease;
use crate::stage::Action;
use crate::stage::draft::{Draft, SELECTION, Sketch};

/// A module's tools get this long each.
const TIMEOUT: Duration = Duration::from_secs(900);

/// One job a module of the subjects; found done where nothing in the module changed.
///
/// # Errors
/// A module whose files can't be read.
pub fn jobs(draft: &mut Draft<'_>) -> anyhow::Result<()> {
    let release = draft.release;
    let mut modules: BTreeMap<&Setting, Vec<(&String, &ServiceRelease, &Program)>> = BTreeMap::new();
    for (name, service) in release.subjects() {
        if let Some(program) = &service.inputs.program {
            modules.entry(&program.setting).or_default().push((name, service, program));
        }
    }
    let folders: BTreeSet<_> =
        modules.keys().map(|setting| draft.workspace.shown(&setting.module).to_owned()).collect();
    for (setting, services) in modules {
        let module = draft.module_name(setting);
        let mut checks = vec![Check::Gofmt, Check::Vet, Check::ModVerify, Check::ModTidy, Check::Layout];
        let lint_settings = golangci::settings(&draft.workspace.root, &setting.module);
        if let Some(version) = &release.golangci_lint {
            checks.push(Check::GolangciLint(golangci::Options {
                version: version.clone(),
                args: release.stages.golangci_args.clone(),
                settings: lint_settings.as_deref().map(|file| draft.workspace.shown(file).to_owned()),
            }));
        }
        checks.push(Check::Tags {
            services: services
                .iter()
                .map(|(name, service, _)| TaggedService {
                    name: (*name).clone(),
                    tag: service.form.to_string(),
                    module: draft.workspace.shown(&setting.module).to_owned(),
                })
                .collect(),
            modules: folders.iter().cloned().collect(),
        });
        let (_, first, program) = services[0];
        let tags = &first.settings.build.tags;
        let spec = LintSpec {
            setting: setting.clone(),
            packages: vec!["./...".to_owned()],
            flags: if tags.is_empty() { vec![] } else { vec![format!("-tags={}", tags.join(","))] },
            platform: first.image_platforms().next().cloned(),
            checks,
            timeout: TIMEOUT,
        };
        let mut inputs = draft.module_inputs(setting, program)?;
        if let Some(file) = lint_settings {
            inputs.add(draft.workspace.shown(&file).to_string_lossy(), draft.hashes.file(&file)?);
        }
        let (tags, checks): (Vec<Check>, Vec<Check>) =
            spec.checks.iter().cloned().partition(|check| matches!(check, Check::Tags { .. }));
        let options = LintSpec { setting: draft.portable(setting), checks, ..spec.clone() };
        inputs.add("lint", format!("{} {options:?}", super::VERSION));
        inputs.add(SELECTION, format!("{tags:?}"));
        let (key, state, why) = draft.kept(crate::cache::Bucket::Lint, &inputs, &format!("lint-{module}"));
        draft.add(Sketch {
            id: JobId::new(Stage::Lint, &[&module]),
            stage: Stage::Lint,
            service: None,
            platform: None,
            title: module,
            needs: Vec::new(),
            cost: 10,
            state,
            why,
            action: Action::Lint { spec, key },
        });
    }
    Ok(())
}
