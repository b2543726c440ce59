//! An environment as a command finds it: its ledger, its driver, its images, and what its services are to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use semver::Version;

use crate::config::deploy::DriverName;
use crate::config::{self, EffectiveEnvironment, Registry, SecretSource};
use crate::deploy::book::Book;
use crate::deploy::compose::Compose;
use crate::deploy::docker::Docker;
use crate::deploy::gitops::Gitops;
use crate::deploy::image::{Made, Store};
use crate::deploy::kubernetes::Kubernetes;
use crate::deploy::options;
use crate::deploy::process::Processes;
use crate::deploy::record::{Holder, Origin};
use crate::deploy::workload::Workload;
use crate::deploy::{Driver, SecretValues, Target};
use crate::diagnostic::{Diagnostics, did_you_mean};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::host::process::ProcessId;
use crate::ledger::{self, Ledger, ReleaseRecord};
use crate::resolve::{self, DeploySettings, ServiceSettings, WorkloadSettings};
use crate::session::Session;

/// Longer than a push of a commit takes, beside the time of the deploy itself.
const MARGIN: Duration = Duration::from_secs(15);

/// One environment.
#[derive(Debug)]
pub struct Site<'a> {
    pub session: &'a Session,
    pub ledger: Ledger<'a>,
    pub settings: DeploySettings,
    pub store: Store,
    /// `Name <address>`
    pub by: String,
    releases: ledger::Book,
    workloads: BTreeMap<String, WorkloadSettings>,
}

/// A service as it is to run, and what is needed for it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub workload: Workload,
    pub made: Made,
    pub origin: Origin,
    pub timeout: Duration,
}

impl<'a> Site<'a> {
    /// Asks the Git remote what is released and what is recorded; with `--offline` believes this clone.
    ///
    /// # Errors
    /// [`Exit::Outside`] where it does not answer; required build-args that are not set.
    pub fn open(session: &'a Session) -> anyhow::Result<Self> {
        let ledger = Ledger::new(&session.git, session.prefix(), session.scope());
        if !session.offline {
            ledger.refresh()?;
        }
        let environments = session.config.environments.keys();
        let registries: Vec<Registry> = environments
            .filter_map(|name| config::environment(&session.config, name).ok())
            .map(|environment| environment.registry)
            .collect();
        let (root, cache) = (&session.workspace.root, &session.workspace.cache);
        let store = Store::open(&registries, root, cache, &session.environment, &session.cancel)?;
        let workloads = session.config.services.iter();
        Ok(Self {
            by: session.git.identity()?.to_string(),
            settings: resolve::deploy(&session.effective),
            workloads: workloads
                .map(|(name, service)| (name.clone(), resolve::workload(&session.effective, service)))
                .collect(),
            releases: ledger.book()?,
            session,
            ledger,
            store,
        })
    }

    /// The environment's name.
    pub fn name(&self) -> &str {
        &self.session.effective.name
    }

    pub fn book(&self) -> Book<'_> {
        Book::new(&self.ledger, self.name())
    }

    /// Services of which `pipeline.toml` asks for another number than the one that the driver runs.
    pub fn singles(&self) -> Vec<(&str, u32, DriverName)> {
        let Some(driver) = self.settings.driver.filter(|driver| driver.is_single()) else {
            return Vec::new();
        };
        let others = self.workloads.iter().filter(|(_, own)| own.replicas != 1);
        others.map(|(service, own)| (service.as_str(), own.replicas, driver)).collect()
    }

    /// What brings its services up.
    ///
    /// # Errors
    /// [`Exit::Usage`] where none is named, or a secret has no value.
    pub fn driver(&self) -> anyhow::Result<Box<dyn Driver>> {
        let secrets = secret_values(self.session)?;
        self.driver_with(secrets)
    }

    /// As [`Site::driver`], for what starts nothing.
    ///
    /// # Errors
    /// [`Exit::Usage`] where none is named.
    pub fn looker(&self) -> anyhow::Result<Box<dyn Driver>> {
        self.driver_with(SecretValues::default())
    }

    fn driver_with(&self, secrets: SecretValues) -> anyhow::Result<Box<dyn Driver>> {
        driver(self.session, &self.session.effective, secrets)
    }

    /// Names that a command was given must be services.
    ///
    /// # Errors
    /// [`Exit::Usage`] with what is meant.
    pub fn known(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> anyhow::Result<()> {
        for name in names {
            let name = name.as_ref();
            if !self.session.settings.contains_key(name) {
                let mut fault = Fault::new(Exit::Usage, format!("there is no service `{name}`"));
                fault.hint = did_you_mean(name, self.session.settings.keys().map(String::as_str));
                return Err(fault.into());
            }
        }
        Ok(())
    }

    /// The newest release of a service; `None` where there is none.
    pub fn newest(&self, service: &str) -> Option<&Version> {
        self.releases.newest(service)
    }

    /// The record of a version.
    ///
    /// # Errors
    /// [`Exit::Usage`] where it was never released.
    pub fn release(&self, service: &str, version: &Version) -> anyhow::Result<ReleaseRecord> {
        let builds = self.ledger.builds(&self.releases, service, version)?;
        if !builds.is_empty() {
            return self.fitting(service, builds).ok_or_else(|| self.unbuilt(service, version).into());
        }
        let known: Vec<String> = self
            .releases
            .known(service)
            .iter()
            .rev()
            .take(5)
            .map(|known| known.version.to_string())
            .collect();
        let hint = match known.is_empty() {
            true => "nothing of it is released: run `release` first".to_owned(),
            false => format!("released are {}", known.join(", ")),
        };
        Err(Fault::new(Exit::Usage, format!("{service} {version} was never released")).hint(hint).into())
    }

    /// It is released, and not as this environment needs it.
    fn unbuilt(&self, service: &str, version: &Version) -> Fault {
        let name = self.name();
        let message = format!(
            "{service} {version} was not built for `{name}`: the `ARG`s of its Dockerfile differ there"
        );
        Fault::new(Exit::Usage, message)
            .hint(format!("run `release --env {name} {service}` where that version's commit is checked out"))
    }

    /// As [`Site::release`]; `None` where it is released, and not as this environment needs it.
    ///
    /// # Errors
    /// As [`Site::release`].
    pub fn build(&self, service: &str, version: &Version) -> anyhow::Result<Option<ReleaseRecord>> {
        match self.ledger.builds(&self.releases, service, version)? {
            builds if builds.is_empty() => self.release(service, version).map(Some),
            builds => Ok(self.fitting(service, builds)),
        }
    }

    /// Of the builds of a version the one for this environment: a Dockerfile's `ARG`s are in its layers.
    fn fitting(&self, service: &str, builds: Vec<ReleaseRecord>) -> Option<ReleaseRecord> {
        let declared = self.session.config.services.get(service);
        let dockerfile = declared.is_some_and(|declared| declared.dockerfile.is_some());
        let arguments = declared.and_then(|declared| self.session.effective.arguments(declared));
        builds.into_iter().find(|build| !dockerfile || build.arguments == arguments)
    }

    /// `REGISTRY/SERVICE` of this environment.
    pub fn repository(&self, service: &str) -> String {
        repository(&self.session.effective.registry, service)
    }

    /// A version of a service as it is to run here. Nothing is sent yet.
    ///
    /// # Errors
    /// Required build-args that are not set; [`Exit::Outside`] where the registry lacks the image.
    pub fn wanted(&self, record: &ReleaseRecord) -> anyhow::Result<Wanted> {
        let service = record.service.as_str();
        let repository = self.repository(service);
        if repository != record.repository {
            let message = format!(
                "{service} {} was released to `{}`, and environment `{}` has `{repository}`",
                record.version,
                record.repository,
                self.name()
            );
            return Err(Fault::new(Exit::Usage, message)
                .hint(format!(
                    "bring it here with `promote --from {} --to {}`",
                    record.environment,
                    self.name()
                ))
                .into());
        }
        self.wanted_from(record, &repository)
    }

    /// As [`Site::wanted`], of an image that lies in `repository`, and is to run from this environment's own.
    ///
    /// # Errors
    /// As [`Site::wanted`].
    pub fn wanted_from(&self, record: &ReleaseRecord, repository: &str) -> anyhow::Result<Wanted> {
        let service = record.service.as_str();
        let session = self.session;
        let missing = session.effective.missing_build_args(&session.config);
        if !missing.is_empty() {
            return Err(Diagnostics(missing).into());
        }
        let (Some(declared), Some(settings), Some(own)) = (
            session.config.services.get(service),
            session.settings.get(service),
            self.workloads.get(service),
        ) else {
            anyhow::bail!("internal: `{service}` is no service")
        };
        let env = match declared.dockerfile {
            Some(_) => BTreeMap::new(),
            None => session.effective.variant_build_args(declared),
        };
        let mut made = self.store.variant(repository, &record.digest, &env)?;
        made.image.repository = self.repository(service);
        made.version = record.version.to_string();
        if made.image.digest != record.digest {
            let hash = config::variant_hash(&env);
            made.tag = Some(format!("{}_{}_{hash}", record.version, self.name()));
        }
        let workload = self.workload(record, &made, settings, own)?;
        let origin = Origin {
            committed: Some(record.commit_time),
            released_by: Some(record.released_by.clone()),
            ..Origin::default()
        };
        Ok(Wanted { workload, made, origin, timeout: own.timeout })
    }

    fn workload(
        &self,
        record: &ReleaseRecord,
        made: &Made,
        settings: &ServiceSettings,
        own: &WorkloadSettings,
    ) -> anyhow::Result<Workload> {
        let effective = &self.session.effective;
        Ok(Workload {
            service: record.service.clone(),
            version: record.version.clone(),
            image: made.image.clone(),
            port: settings.port,
            publish: own.publish,
            health: settings.health.clone(),
            verify: own.verify.clone(),
            env: effective.runtime_env(&record.service),
            secrets: own.secrets.clone(),
            needs: settings.needs.clone(),
            replicas: if self.settings.driver.is_some_and(DriverName::is_single) { 1 } else { own.replicas },
            resources: own.resources.clone(),
            labels: own.labels.clone(),
            options: options::options(&self.session.config, &self.settings, own, &self.session.cancel)?,
        })
    }

    /// Until a service is healthy and verified.
    pub fn timeout(&self, service: &str) -> Duration {
        self.workloads.get(service).map_or(Duration::from_secs(120), |own| own.timeout)
    }

    /// This run, as it takes the environment.
    pub fn holder(&self, command: &str) -> Holder {
        let longest = self.workloads.values().map(|own| own.timeout).max().unwrap_or_default();
        let now = clock::now_precise();
        Holder {
            id: format!("{}-{:x}", std::process::id(), now.as_nanos()),
            by: self.by.clone(),
            host: crate::host::environment::host(),
            process: i32::try_from(std::process::id()).ok().and_then(ProcessId::of),
            command: command.to_owned(),
            at: clock::rfc3339(now.as_secs()),
            // What is brought up and put back again.
            patience: (longest * 2 + MARGIN).as_secs(),
        }
    }
}

/// What brings an environment's services up.
///
/// # Errors
/// [`Exit::Usage`] where none is named.
pub fn driver(
    session: &Session,
    environment: &EffectiveEnvironment,
    secrets: SecretValues,
) -> anyhow::Result<Box<dyn Driver>> {
    let settings = resolve::deploy(environment);
    let Some(name) = settings.driver else {
        let message = format!("environment `{}` does not say how it is deployed to", environment.name);
        return Err(Fault::new(Exit::Usage, message)
            .hint(format!("write `driver` under `[deploy]` in `environments/{}.toml`", environment.name))
            .into());
    };
    let target = Target {
        project: session.config.project.name.value.clone(),
        name: environment.name.clone(),
        settings,
        workspace: session.workspace.clone(),
        environment: session.environment.clone(),
        secrets,
        offline: session.offline,
        schemes: crate::oci::destination::declared_schemes([&environment.registry]),
    };
    match name {
        DriverName::Process => Ok(Box::new(Processes::new(target))),
        DriverName::Docker => Ok(Box::new(Docker::new(target)?)),
        DriverName::Compose => Ok(Box::new(Compose::new(target)?)),
        DriverName::Kubernetes => Ok(Box::new(Kubernetes::new(target))),
        DriverName::Gitops => Ok(Box::new(Gitops::new(target)?)),
    }
}

/// `REGISTRY/SERVICE`
pub fn repository(registry: &Registry, service: &str) -> String {
    match registry {
        Registry::Layouts(folder) => format!("oci:{}", folder.join(service).display()),
        Registry::Remote { host, path, .. } if path.is_empty() => format!("{host}/{service}"),
        Registry::Remote { host, path, .. } => format!("{host}/{path}/{service}"),
    }
}

/// The values of the environment's secrets.
///
/// # Errors
/// [`Exit::Usage`] naming all that have none.
fn secret_values(session: &Session) -> anyhow::Result<SecretValues> {
    let (mut values, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for (name, source) in &session.effective.secrets {
        match value(&session.environment, &session.workspace.root, &source.value)? {
            Some(value) => {
                values.insert(name.clone(), value);
            }
            None => {
                missing.insert(format!("`{name}` ({})", shown(&source.value)));
            }
        }
    }
    if missing.is_empty() {
        return Ok(SecretValues::new(values));
    }
    let names: Vec<String> = missing.into_iter().collect();
    let message =
        format!("secrets of environment `{}` have no value: {}", session.effective.name, names.join(", "));
    Err(Fault::new(Exit::Usage, message).into())
}

fn value(
    environment: &Environment,
    root: &std::path::Path,
    source: &SecretSource,
) -> anyhow::Result<Option<String>> {
    match source {
        SecretSource::Variable(name) => Ok(environment.get(name).map(str::to_owned)),
        SecretSource::File(path) => {
            let path = root.join(path);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error)
                    .fault(Exit::Machine, format!("could not read the secret's file `{}`", path.display())),
            }
        }
    }
}

fn shown(source: &SecretSource) -> String {
    match source {
        SecretSource::Variable(name) => format!("the variable {name}"),
        SecretSource::File(path) => format!("the file {}", path.display()),
    }
}
