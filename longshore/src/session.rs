//! A run's surroundings: the repository, its configuration, the chosen environment, the tools. Opened
//! once; every command starts from here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::cli::Global;
use crate::closure::RepoPath;
use crate::config::{self, Config, EffectiveEnvironment};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::git::Git;
use crate::facts::go::inputs::Question;
use crate::fault::{Exit, Fault};
use crate::fingerprint::Hashes;
use crate::gather::{self, Facts, Inquiry, remote_name};
use crate::host::environment::Environment;
use crate::host::process::Children;
use crate::ledger;
use crate::resolve::{self, ServiceSettings, StageSettings};
use crate::tools;
use crate::workspace::Workspace;

/// What every command works with.
#[derive(Debug)]
pub struct Session {
    pub environment: Environment,
    pub cancel: Cancel,
    pub git: Git,
    pub workspace: Workspace,
    pub config: Config,
    /// What the user should know of the configuration.
    pub warnings: Vec<Diagnostic>,
    /// The environment that the command is for.
    pub effective: EffectiveEnvironment,
    /// More of them, for which images are made in the same run.
    pub others: Vec<EffectiveEnvironment>,
    pub stages: StageSettings,
    pub settings: BTreeMap<String, ServiceSettings>,
    pub offline: bool,
    /// Nothing is kept of what is found out.
    pub read_only: bool,
    /// The pipeline's file, from the root.
    pub pipeline: PathBuf,
}

/// The repository that the options name, without a look at its configuration.
///
/// # Errors
/// [`Exit::Machine`] outside of a repository.
pub fn place(
    global: &Global,
    environment: &Environment,
    cancel: &Cancel,
) -> anyhow::Result<(Git, Workspace)> {
    let here = global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let here = std::path::absolute(&here)?;
    let git = Git::open(&here, cancel)?;
    let workspace = Workspace {
        root: git.root.clone(),
        dist: git.root.join("dist"),
        state: git.dir.join("longshore"),
        cache: cache(environment)?,
    };
    if let Some(children) = Children::open(&workspace.state) {
        cancel.record(children);
    }
    Ok((git, workspace))
}

/// The user's cache: where the platform's conventions put it.
///
/// # Errors
/// [`Exit::Machine`] where no variable says where.
pub fn cache(environment: &Environment) -> anyhow::Result<PathBuf> {
    let set = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || {
        set("HOME").map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }))
    };
    let base = if cfg!(windows) { set("LOCALAPPDATA") } else { set("XDG_CACHE_HOME").or_else(home) };
    base.map(|base| base.join("longshore")).ok_or_else(|| {
        Fault::new(Exit::Machine, "there is no folder for the cache: HOME is not set")
            .hint("set HOME, or XDG_CACHE_HOME to an absolute path")
            .into()
    })
}

impl Session {
    /// Reads everything that a command needs before it asks what is true.
    ///
    /// # Errors
    /// Faults of the configuration ([`Exit::Usage`]); no repository ([`Exit::Machine`]).
    pub fn open(global: &Global, environment: Environment, cancel: &Cancel) -> anyhow::Result<Self> {
        let (git, workspace) = place(global, &environment, cancel)?;
        let file = pipeline(global, &workspace)?;
        let (config, diagnostics) = config::check(&workspace.root, &file)?;
        let Some(config) = config else { return Err(Diagnostics(diagnostics).into()) };
        let name = match (global.environment(), &config.project.environment) {
            (Some(name), _) => name,
            (None, Some(name)) => &name.value,
            (None, None) => "local",
        };
        let effective = config::environment(&config, name)?;
        let others = others(&config, &effective, &global.environments)?;
        Ok(Self {
            environment,
            cancel: cancel.clone(),
            stages: resolve::stages(&effective.stages),
            settings: resolve::services(&config, &workspace.root),
            pipeline: file,
            git,
            workspace,
            warnings: diagnostics,
            effective,
            others,
            config,
            offline: global.offline,
            read_only: false,
        })
    }

    /// All that the command is for.
    pub fn environments(&self) -> impl Iterator<Item = &EffectiveEnvironment> {
        std::iter::once(&self.effective).chain(&self.others)
    }

    /// Which ledger counts: a registry that is a folder makes a rehearsal.
    pub fn scope(&self) -> ledger::Scope {
        if is_local(&self.effective) {
            return ledger::Scope::Local;
        }
        ledger::Scope::Remote(remote_name(&self.config).to_owned())
    }

    /// Where the ledger's refs lie.
    pub fn prefix(&self) -> &str {
        self.config.project.ledger.as_ref().map_or("refs/longshore", |prefix| &prefix.value)
    }

    pub fn hashes(&self) -> Hashes {
        crate::fingerprint::hashes(&self.workspace)
    }

    /// Everything that is true, asked now.
    ///
    /// # Errors
    /// As [`gather::facts`].
    pub fn facts(&mut self, since: Option<&str>, hashes: &mut Hashes) -> anyhow::Result<Facts> {
        let packages = self.settings.values().any(|service| service.package.is_some());
        let go = if packages { tools::go(&self.environment)? } else { PathBuf::new() };
        let (scope, prefix, pipeline) = (self.scope(), self.prefix().to_owned(), self.pipeline());
        let inquiry = Inquiry {
            config: &self.config,
            settings: &self.settings,
            question: Question {
                workspace: &self.workspace,
                go: &go,
                environment: &self.environment,
                cancel: &self.cancel,
                read_only: self.read_only,
            },
            scope: &scope,
            prefix: &prefix,
            offline: self.offline,
            since,
            pipeline: &pipeline,
        };
        let facts = gather::facts(&mut self.git, inquiry, hashes)?;
        if !self.read_only {
            // A failure costs only time in the next run.
            let _ = hashes.save();
        }
        Ok(facts)
    }

    /// The pipeline's file as Git names it.
    pub fn pipeline(&self) -> RepoPath {
        RepoPath::from_path(self.pipeline.strip_prefix(&self.workspace.root).unwrap_or(&self.pipeline))
    }
}

/// The environments of a command besides the first, each once.
///
/// # Errors
/// [`Exit::Usage`] where one may give a service another version than the first does.
fn others(
    config: &Config,
    first: &EffectiveEnvironment,
    names: &[String],
) -> anyhow::Result<Vec<EffectiveEnvironment>> {
    let mut others: Vec<EffectiveEnvironment> = Vec::new();
    for name in names.iter().skip(1) {
        if *name == first.name || others.iter().any(|other| other.name == *name) {
            continue;
        }
        let other = config::environment(config, name)?;
        if is_local(first) != is_local(&other) {
            let message = format!(
                "environments `{}` and `{name}` have their releases in different ledgers, so versions of their own",
                first.name
            );
            return Err(Fault::new(Exit::Usage, message)
                .hint(format!("make the images for `{name}` in a command of its own"))
                .into());
        }
        others.push(other);
    }
    Ok(others)
}

fn is_local(environment: &EffectiveEnvironment) -> bool {
    matches!(environment.registry, config::Registry::Layouts(_))
}

/// The file that the options name, else `pipeline.toml` at the root.
pub fn pipeline(global: &Global, workspace: &Workspace) -> anyhow::Result<PathBuf> {
    match &global.file {
        Some(file) => Ok(std::path::absolute(global.path(file))?),
        None => Ok(workspace.root.join(Path::new("pipeline.toml"))),
    }
}
