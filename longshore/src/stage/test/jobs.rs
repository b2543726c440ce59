//! The jobs of the test stage: one a module, beside the builds and not before them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Race, TestSpec};
use crate::closure::RepoPath;
use crate::facts::go::Setting;
use crate::facts::go::inputs::Program;
use crate::plan::{JobId, Stage};
use crate::release::ServiceRelease;
use crate::stage::Action;
use crate::stage::draft::{Draft, SELECTION, Sketch};

/// One job a module, over the packages of it that its subjects are made of; found done where nothing in
/// the module, nor in the files and variables that its tests are said to read, changed.
///
/// # Errors
/// A file that can't be read.
pub fn jobs(draft: &mut Draft<'_>) -> anyhow::Result<()> {
    let release = draft.release;
    let mut modules: BTreeMap<&Setting, Vec<(&ServiceRelease, &Program)>> = BTreeMap::new();
    for (_, service) in release.subjects() {
        if let Some(program) = &service.inputs.program {
            modules.entry(&program.setting).or_default().push((service, program));
        }
    }
    for (setting, services) in modules {
        let module = draft.module_name(setting);
        let settings = &release.stages.test;
        let (first, program) = services[0];
        let tags = &first.settings.build.tags;
        let spec = TestSpec {
            setting: setting.clone(),
            packages: packages(draft, setting, &services),
            flags: if tags.is_empty() { vec![] } else { vec![format!("-tags={}", tags.join(","))] },
            race: if settings.race { Race::On } else { Race::Off },
            timeout: settings.timeout,
            env: settings.env.clone(),
            inputs: settings.inputs.clone(),
        };
        let mut inputs = draft.module_inputs(setting, program)?;
        let options = TestSpec { setting: draft.portable(setting), packages: Vec::new(), ..spec.clone() };
        inputs.add("test", format!("{} {options:?}", super::VERSION));
        inputs.add(SELECTION, spec.packages.join(" "));
        for name in &settings.env {
            let value = draft.environment.get(name).unwrap_or_default();
            // Only a digest of it: a variable may be a secret.
            inputs
                .add(format!("variable {name}"), crate::oci::types::Digest::of(value.as_bytes()).to_string());
        }
        for path in &settings.inputs {
            let path = draft.workspace.root.join(path);
            let value = if path.is_dir() { draft.hashes.tree(&path)? } else { draft.hashes.file(&path)? };
            inputs.add(draft.workspace.shown(&path).display().to_string(), value);
        }
        let (key, state, why) = draft.kept(crate::cache::Bucket::Test, &inputs, &format!("test-{module}"));
        draft.add(Sketch {
            id: JobId::new(Stage::Test, &[&module]),
            stage: Stage::Test,
            service: None,
            platform: None,
            title: module,
            needs: Vec::new(),
            cost: 30,
            state,
            why,
            action: Action::Test { spec, key },
        });
    }
    Ok(())
}

/// The packages of the module that the services are made of, as `./internal/price`.
fn packages(draft: &Draft<'_>, setting: &Setting, services: &[(&ServiceRelease, &Program)]) -> Vec<String> {
    let module = RepoPath::from_path(draft.workspace.shown(&setting.module));
    let folders: BTreeSet<&RepoPath> = services
        .iter()
        .flat_map(|(service, _)| &service.inputs.closure.packages)
        .filter(|folder| module.contains(folder))
        .collect();
    folders
        .into_iter()
        .map(|folder| draft.workspace.root.join(folder.to_path()))
        // A module below this one has tests of its own.
        .filter(|folder| {
            crate::facts::go::module_of(&draft.workspace.root, folder).as_ref() == Some(&setting.module)
        })
        .filter_map(|folder| Some(format!("./{}", folder.strip_prefix(&setting.module).ok()?.display())))
        .collect()
}
