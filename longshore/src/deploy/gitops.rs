//! A Git repository that a cluster follows: the manifests of [`crate::deploy::kubernetes`], committed into an
//! environment's folder. All services of a deploy go in one commit, on top of whatever the branch has become;
//! a lost race is run again a few times, and nothing is ever forced.
//!
//! What the cluster makes of it is the controller's. Where the cluster can be asked, its rollout is waited for;
//! else that is said.

pub mod controllers;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::deploy::gitops::Controller;
use crate::deploy::gitops::controllers::Place;
use crate::deploy::kubernetes::manifest::{self, APPLIED, DIGEST, Live, MANAGER, WORKLOAD, text};
use crate::deploy::kubernetes::options::Options;
use crate::deploy::kubernetes::{Kubernetes, frame, pullable, yaml};
use crate::deploy::workload::Workload;
use crate::deploy::{Before, Condition, Driver, LogAsk, Observed, Step, Target};
use crate::diagnostic::Source;
use crate::facts::git::{Edits, Git, Pushed, Update, without_credentials};
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::oci::types::Digest;
use crate::version::CommitId;

/// How often a lost race is run again: repositories of this kind have many writers.
const ATTEMPTS: u32 = 20;

/// The driver `gitops`.
#[derive(Debug)]
pub struct Gitops {
    /// As it is given to Git.
    remote: String,
    place: Place,
    controllers: Vec<Controller>,
    environment: String,
    repository: std::path::PathBuf,
    cluster: Kubernetes,
    frame: manifest::Frame,
}

/// The environment's folder as the branch has it.
struct Tip {
    git: Git,
    commit: Option<CommitId>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Gitops {
    /// # Errors
    /// [`Exit::Usage`]: no repository is named, or its folder is none.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let options = &target.settings.gitops;
        let Some(remote) = &options.repository else {
            return Err(Fault::new(Exit::Usage, "it is not said which repository the cluster follows")
                .hint(format!(
                    "write `repository` under `[deploy.gitops]` in `environments/{}.toml`",
                    target.name
                ))
                .into());
        };
        let remote = located(&remote.value, &target.workspace.root);
        let given = options.path.as_ref().map(|path| path.value.trim_matches('/').to_owned());
        let path = given.unwrap_or_else(|| format!("environments/{}", target.name));
        let odd = |part: &str| part.is_empty() || part.starts_with('.') || part.contains(['\\', '\n', '\0']);
        if path.split('/').any(odd) {
            let message = format!("`{path}` is no folder in a repository");
            return Err(Fault::new(Exit::Usage, message).hint("write names with `/` between them").into());
        }
        let name = Digest::of(remote.as_bytes());
        let controllers = options.controllers.as_ref();
        Ok(Self {
            place: Place {
                repository: without_credentials(&remote),
                branch: options
                    .branch
                    .as_ref()
                    .map_or_else(|| "main".to_owned(), |branch| branch.value.clone()),
                path,
            },
            controllers: controllers.map_or_else(
                || vec![Controller::ArgoCd, Controller::Flux],
                |list| list.iter().map(|controller| controller.value).collect(),
            ),
            environment: target.name.clone(),
            repository: target.workspace.state.join("gitops").join(format!(
                "{}-{}.git",
                target.name,
                &name.hex()[..16]
            )),
            frame: frame(&target),
            remote,
            cluster: Kubernetes::new(target),
        })
    }

    fn tip(&self, step: &Step<'_>) -> anyhow::Result<Tip> {
        let git = Git::bare(&self.repository, step.cancel)?;
        let reference = format!("refs/gitops/{}", self.frame.instance);
        let commit = git.follow(&self.remote, &self.place.branch, &reference)?;
        let files = match &commit {
            Some(commit) => {
                let own =
                    self.controllers.iter().map(|it| controllers::objects(*it, &self.place, &self.frame).0);
                let paths: Vec<String> = own.chain([format!("{}/", self.place.path)]).collect();
                git.files(commit, &paths.iter().map(String::as_str).collect::<Vec<_>>())?
            }
            None => BTreeMap::new(),
        };
        Ok(Tip { git, commit, files })
    }

    fn file(&self, service: &str) -> String {
        format!("{}/{service}.yaml", self.place.path)
    }

    /// What a change of services makes of the files: their manifests, or nothing of them.
    fn edits(&self, changes: &[(&str, Option<&Workload>)], tip: &Tip) -> anyhow::Result<Edits> {
        let mut wanted = Edits::new();
        for (service, workload) in changes {
            let content = match workload {
                Some(workload) => Some(written(&self.rendered(workload)?)),
                None => None,
            };
            wanted.insert(self.file(service), content);
        }
        if changes.iter().any(|(_, workload)| workload.is_some()) {
            let namespace = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": self.frame.namespace, "labels": { "app.kubernetes.io/managed-by": MANAGER } },
            });
            wanted.insert(format!("{}/namespace.yaml", self.place.path), Some(written(&[namespace])));
            for controller in &self.controllers {
                let (path, objects) = controllers::objects(*controller, &self.place, &self.frame);
                // Once there it is the user's.
                if !tip.files.contains_key(&path) {
                    wanted.insert(path, Some(written(&objects)));
                }
            }
        }
        wanted.retain(|path, content| tip.files.get(path) != content.as_ref());
        Ok(wanted)
    }

    /// The objects of a workload, as they are committed: without the notes that are for live ones.
    fn rendered(&self, workload: &Workload) -> anyhow::Result<Vec<Value>> {
        let options = Options::of(workload)?;
        pullable(workload)?;
        if !workload.secrets.is_empty() && options.secret.is_none() {
            let message = format!("the secrets of `{}` can't be committed", workload.service);
            return Err(Fault::new(Exit::Usage, message)
                .hint("name a secret of the cluster that holds them: `secret` under `[deploy.kubernetes]`")
                .into());
        }
        let mut objects = manifest::render(workload, &options, &self.frame, &Live::default())?;
        for object in &mut objects {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
                && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
            {
                annotations.remove(APPLIED);
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
            // The autoscaler's, and no controller's to put back.
            if options.autoscale.is_some()
                && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
            {
                spec.remove("replicas");
            }
        }
        Ok(objects)
    }

    /// Commits and pushes, on top of what is there then.
    fn push(&self, changes: &[(&str, Option<&Workload>)], step: &Step<'_>) -> anyhow::Result<()> {
        let mut lost = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                crate::deploy::kubernetes::pause(delay(attempt), step)?;
            }
            step.progress.status("asking the repository");
            let tip = self.tip(step)?;
            let edits = self.edits(changes, &tip)?;
            if edits.is_empty() {
                return Ok(());
            }
            step.progress.status("pushing the manifests");
            let tree = tip.git.edited(tip.commit.as_ref(), &edits)?;
            let (message, by) = (self.message(changes), tip.git.identity()?);
            let time = i64::try_from(clock::now()).unwrap_or(i64::MAX);
            let commit = tip.git.commit_tree(&tree, tip.commit.as_ref(), &message, &by, time)?;
            let update = Update {
                name: format!("refs/heads/{}", self.place.branch),
                object: commit.to_string(),
                expected: tip.commit.as_ref().map(CommitId::to_string),
            };
            match tip.git.push(&self.remote, &[update])?.pop() {
                Some(Pushed::Done) => return Ok(()),
                Some(Pushed::Lost(why)) => lost = why,
                Some(Pushed::Refused(why)) => {
                    let message = format!(
                        "`{}` refuses the branch `{}`: {why}",
                        self.place.repository, self.place.branch
                    );
                    return Err(Fault::new(Exit::Machine, message)
                        .hint("whoever deploys must be allowed to push there")
                        .into());
                }
                None => anyhow::bail!("internal: a push without an answer"),
            }
        }
        let message =
            format!("`{}` moved each time in {ATTEMPTS} attempts to push: {lost}", self.place.branch);
        Err(Fault::new(Exit::Conflict, message).hint("others push there now; run it again").into())
    }

    fn message(&self, changes: &[(&str, Option<&Workload>)]) -> String {
        let title = |(service, workload): &(&str, Option<&Workload>)| match workload {
            Some(workload) => format!("{service} {}", workload.version),
            None => format!("{service} away"),
        };
        let titles: Vec<String> = changes.iter().map(title).collect();
        let mut message = format!("deploy({}): {}\n\n", self.environment, titles.join(", "));
        for (service, workload) in changes {
            if let Some(workload) = workload {
                message.push_str(&format!("{service} {} {}\n", workload.version, workload.image.digest));
            }
        }
        message
    }

    /// Waits until the cluster runs what was committed, where it can be asked.
    fn wait(&self, workloads: &[&Workload], step: &Step<'_>) -> anyhow::Result<()> {
        for workload in workloads {
            match self.cluster.synced(workload, step) {
                Err(error) if is_unreachable(&error) => {
                    let message =
                        "the manifests are committed; the cluster can't be asked whether it runs them";
                    step.progress.warning(message, Some(&format!("{error:#}")));
                    return Ok(());
                }
                other => other?,
            }
        }
        Ok(())
    }
}

impl Driver for Gitops {
    fn is_whole(&self) -> bool {
        true
    }

    fn observe(&self, step: &Step<'_>) -> anyhow::Result<BTreeMap<String, Observed>> {
        let tip = self.tip(step)?;
        let live = self.cluster.observed(step);
        let folder = format!("{}/", self.place.path);
        let mut observed = BTreeMap::new();
        for (path, bytes) in &tip.files {
            let Some(service) = path.strip_prefix(&folder).and_then(|name| name.strip_suffix(".yaml")) else {
                continue;
            };
            let Some(deployment) = deployment(path, bytes, service) else { continue };
            let note = |key: &str| {
                let note = text(&deployment, &format!("/metadata/annotations/{}", key.replace('/', "~1")));
                (!note.is_empty()).then(|| note.to_owned())
            };
            let (digest, hash) = (note(DIGEST).and_then(|digest| digest.parse().ok()), note(WORKLOAD));
            let mut seen = match &live {
                Ok(live) => live.get(service).cloned().unwrap_or_else(|| unseen(Condition::Starting)),
                Err(error) => unseen(Condition::Unknown(format!("{error:#}"))),
            };
            if live.is_ok() && seen.hash != hash {
                seen.health = Condition::Starting;
            }
            observed.insert(service.to_owned(), Observed { digest, hash, ..seen });
        }
        Ok(observed)
    }

    fn difference(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<Vec<String>> {
        let tip = self.tip(step)?;
        let changes: Vec<_> = workloads.iter().map(|it| (it.service.as_str(), Some(it))).collect();
        let edits = self.edits(&changes, &tip)?;
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        let tree = tip.git.edited(tip.commit.as_ref(), &edits)?;
        tip.git.difference(tip.commit.as_ref(), &tree)
    }

    fn apply(&self, workloads: &[Workload], step: &Step<'_>) -> anyhow::Result<()> {
        let changes: Vec<_> = workloads.iter().map(|it| (it.service.as_str(), Some(it))).collect();
        self.push(&changes, step)?;
        self.wait(&workloads.iter().collect::<Vec<_>>(), step)
    }

    fn restore(&self, before: &[Before], step: &Step<'_>) -> anyhow::Result<()> {
        let changes: Vec<_> = before.iter().map(|it| (it.service.as_str(), it.workload.as_ref())).collect();
        self.push(&changes, step)?;
        self.wait(&changes.iter().filter_map(|(_, workload)| *workload).collect::<Vec<_>>(), step)
    }

    fn logs(
        &self,
        services: &[String],
        ask: &LogAsk,
        step: &Step<'_>,
        sink: &(dyn Fn(&str, &str) + Sync),
    ) -> anyhow::Result<()> {
        self.cluster.logs(services, ask, step, sink)
    }

    fn down(&self, services: &[String], step: &Step<'_>) -> anyhow::Result<()> {
        let changes: Vec<_> = services.iter().map(|service| (service.as_str(), None)).collect();
        self.push(&changes, step)
    }
}

/// A path as one from the root, whatever the folder in which Git is run.
fn located(remote: &str, root: &Path) -> String {
    let is_url = remote.contains("://") || remote.split('/').next().is_some_and(|host| host.contains(':'));
    if is_url { remote.to_owned() } else { root.join(remote).display().to_string() }
}

/// One document an object, in their order.
fn written(objects: &[Value]) -> Vec<u8> {
    let documents: Vec<String> = objects.iter().map(yaml::write::document).collect();
    documents.join("---\n").into_bytes()
}

/// The Deployment of a service in its file.
fn deployment(path: &str, bytes: &[u8], service: &str) -> Option<Value> {
    let text_of_it = String::from_utf8_lossy(bytes).into_owned();
    let source = Arc::new(Source { path: path.into(), text: text_of_it });
    let documents = yaml::documents(&source).ok()?;
    let mut objects = documents.into_iter().map(|document| document.value);
    objects.find(|object| text(object, "/kind") == "Deployment" && text(object, "/metadata/name") == service)
}

fn unseen(health: Condition) -> Observed {
    Observed {
        digest: None,
        hash: None,
        health,
        ready: 0,
        wanted: 0,
        restarts: 0,
        since: None,
        addresses: Vec::new(),
        drift: Vec::new(),
    }
}

/// Whether nobody can say how the cluster is: no kubectl, no cluster, no right.
fn is_unreachable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit == Exit::Machine)
}

/// Longer at each attempt, and never the same as another writer's.
fn delay(attempt: u32) -> Duration {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Duration::from_millis(random % (50 * u64::from(attempt)))
}
