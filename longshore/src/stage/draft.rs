//! A plan in the making: what the stages' `jobs` functions work with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Action;
use crate::cache::{Bucket, Cache};
use crate::facts::go::Setting;
use crate::facts::go::inputs::Program;
use crate::fingerprint::{self, Hashes, Preimage};
use crate::host::environment::Environment;
use crate::plan::{Job, JobId, Plan, Stage, State};
use crate::platform::Platform;
use crate::release::Release;
use crate::stage::Passed;
use crate::stage::image::output::Target;
use crate::workspace::Workspace;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// They are built.
    Fresh,
    /// Another run's `dist/` (absolute).
    From(PathBuf),
    /// The `dist/` folders of runs that each built some platforms.
    Join(Vec<PathBuf>),
}

/// The name of the input that says for which of a module's services a gate runs.
pub const SELECTION: &str = "selection";

/// What the jobs are made of and where they go.
#[derive(Debug)]
pub struct Draft<'a> {
    pub release: &'a Release,
    pub workspace: &'a Workspace,
    pub cache: &'a Cache,
    pub hashes: &'a mut Hashes,
    pub source: Source,
    pub stages: BTreeSet<Stage>,
    pub environment: &'a Environment,
    pub offline: bool,
    /// Where images are copied to besides.
    pub outputs: Vec<Target>,
    plan: Plan<Action>,
    states: BTreeMap<JobId, State>,
}

/// A job as a stage describes it.
#[derive(Clone, Debug)]
pub struct Sketch {
    pub id: JobId,
    pub stage: Stage,
    pub service: Option<String>,
    pub platform: Option<Platform>,
    /// Whose it is: the stage goes before it, the platform behind it.
    pub title: String,
    pub needs: Vec<JobId>,
    /// Seconds, roughly.
    pub cost: u32,
    pub state: State,
    pub why: String,
    pub action: Action,
}

impl<'a> Draft<'a> {
    pub fn new(
        release: &'a Release,
        workspace: &'a Workspace,
        cache: &'a Cache,
        hashes: &'a mut Hashes,
        source: Source,
        stages: BTreeSet<Stage>,
        environment: &'a Environment,
    ) -> Self {
        Self {
            release,
            workspace,
            cache,
            hashes,
            source,
            stages,
            environment,
            offline: false,
            outputs: Vec::new(),
            plan: Plan { jobs: Vec::new() },
            states: BTreeMap::new(),
        }
    }

    /// Adds a job. It `depends` where one that it needs will run and it can't know its own inputs.
    pub fn add(&mut self, sketch: Sketch) {
        let Sketch { id, stage, service, platform, title, needs, cost, state, why, action } = sketch;
        let title = match &platform {
            Some(platform) => format!("{stage} {title} for {platform}"),
            None => format!("{stage} {title}"),
        };
        self.states.insert(id.clone(), state);
        self.plan.jobs.push(Job { id, stage, service, platform, title, needs, cost, state, why, action });
    }

    pub fn has(&self, id: &JobId) -> bool {
        self.states.contains_key(id)
    }

    /// The state of a job whose inputs are the outputs of `needs`: cached where all of them are and
    /// `known` says that its own result is there too.
    pub fn follows(&self, needs: &[JobId], known: impl FnOnce() -> bool) -> (State, String) {
        let waiting =
            needs.iter().find(|id| self.states.get(*id).is_some_and(|state| *state != State::Cached));
        match waiting {
            Some(id) => (State::Depends, format!("on {id}")),
            None if known() => (State::Cached, "nothing changed".to_owned()),
            None => (State::Run, "not there yet".to_owned()),
        }
    }

    pub fn action(&self, id: &JobId) -> Option<&Action> {
        self.plan.jobs.iter().find(|job| job.id == *id).map(|job| &job.action)
    }

    /// A module's folder from the root, `.` for the root itself.
    pub fn module_name(&self, setting: &Setting) -> String {
        let name = self.workspace.shown(&setting.module).display().to_string();
        if name.is_empty() { ".".to_owned() } else { name }
    }

    /// Everything in a module's folder, and the toolchain and dependencies of `program`, one of its own.
    pub fn module_inputs(&mut self, setting: &Setting, program: &Program) -> anyhow::Result<Preimage> {
        let mut inputs = fingerprint::of_toolchain(&program.toolchain, self.hashes)?;
        inputs.add(self.module_name(setting), self.hashes.tree(&setting.module)?);
        for platform in program.files.values() {
            inputs.merge(platform);
        }
        for (variable, value) in &setting.env {
            inputs.add(format!("variable {variable}"), value);
        }
        Ok(inputs)
    }

    /// How Go is run for a module, without where the repository lies.
    pub fn portable(&self, setting: &Setting) -> Setting {
        let mut setting = setting.clone();
        setting.module = self.workspace.shown(&setting.module).to_owned();
        setting.work = setting.work.map(|work| self.workspace.shown(&work).to_owned());
        setting
    }

    /// The key of work over `inputs`, whether the cache knows that it ended well, and why it must run.
    /// `name` is that of the file in which the inputs of the last run are kept.
    pub fn kept(&self, bucket: Bucket, inputs: &Preimage, name: &str) -> (Passed, State, String) {
        let passed = Passed { key: inputs.key(), name: name.replace('/', "-"), inputs: inputs.to_text() };
        if self.cache.get::<bool>(bucket, &passed.key) == Some(true) {
            return (passed, State::Cached, "nothing changed".to_owned());
        }
        let before = std::fs::read_to_string(passed.file(self.workspace)).ok();
        let why = match before.as_deref().and_then(Preimage::from_text) {
            None => "not run here before".to_owned(),
            Some(before) => inputs.difference(&before).unwrap_or_else(|| "it did not pass".to_owned()),
        };
        (passed, State::Run, why)
    }

    /// The jobs of the gates: what must have passed before anything leaves.
    pub fn gates(&self) -> Vec<JobId> {
        let is_gate = |stage| matches!(stage, Stage::Lint | Stage::Test | Stage::Scan | Stage::Verify);
        self.plan.jobs.iter().filter(|job| is_gate(job.stage)).map(|job| job.id.clone()).collect()
    }

    pub fn of(&self, stage: Stage) -> Vec<JobId> {
        self.plan.jobs.iter().filter(|job| job.stage == stage).map(|job| job.id.clone()).collect()
    }

    pub fn finish(self) -> Plan<Action> {
        self.plan
    }
}
