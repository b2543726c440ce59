//! What the tests of releases share: the quick stages, the results, the environments.

use serde_json::Value;

use crate::database;
use crate::registry::Registry;
use crate::repository::{Repository, Run};
use crate::tool;

/// The gates that a test of something else leaves out.
pub(crate) const QUICK: &str = "lint,test,scan,verify";

impl Repository {
    /// Releases through the quick stages only, with more arguments.
    pub(crate) fn quick(&self, args: &[&str]) -> Run {
        self.longshore(&[&["release", "--skip", QUICK], args].concat())
    }

    /// `dist/artifacts.json`
    #[track_caller]
    pub(crate) fn artifacts(&self) -> Value {
        serde_json::from_str(&self.read("dist/artifacts.json")).unwrap()
    }

    /// Of a service's index.
    #[track_caller]
    pub(crate) fn digest(&self, service: &str) -> String {
        let artifacts = self.artifacts();
        artifacts["services"][service]["digest"]
            .as_str()
            .unwrap_or_else(|| panic!("{artifacts:#}"))
            .to_owned()
    }

    /// `api 0.1.0, web 0.1.0`: what a release would make, of the services that change.
    #[track_caller]
    pub(crate) fn planned(&self, args: &[&str]) -> String {
        let run = self.longshore(&[&["plan", "--format", "json", "--skip", QUICK], args].concat()).code(0);
        let plan = run.stdout_json();
        let services = plan["services"].as_object().unwrap();
        let changed: Vec<String> = services
            .iter()
            .filter(|(_, service)| service["changed"] == true)
            .map(|(name, service)| format!("{name} {}", service["version"].as_str().unwrap()))
            .collect();
        changed.join(", ")
    }

    /// The refs here with their objects, without branches.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let listed = self.git(["for-each-ref"]);
        listed.lines().filter(|line| !line.contains("refs/heads/")).map(str::to_owned).collect()
    }

    /// The names of the refs here, without branches.
    pub(crate) fn refs(&self) -> Vec<String> {
        let listed = self.git(["for-each-ref", "--format=%(refname)"]);
        let other = |name: &&str| !name.starts_with("refs/heads/") && !name.starts_with("refs/remotes/");
        listed.lines().filter(other).map(str::to_owned).collect()
    }

    /// An environment `dev` whose images go to a registry, committed.
    pub(crate) fn dev(&self, host: &str) -> &Self {
        self.dev_below(host, "team")
    }

    /// As [`Self::dev`], with this path in the registry.
    fn dev_below(&self, host: &str, path: &str) -> &Self {
        self.write("environments/local.toml", "");
        self.write("environments/dev.toml", format!("registry = \"{host}/{path}\"\n"));
        self.commit("ci: an environment");
        self
    }

    /// With the scanner and its database; `None` where the machine has none.
    pub(crate) fn scanner(self) -> Option<Self> {
        let database = database::scanner()?;
        Some(self.env("LONGSHORE_TRIVY", tool::trivy()?).env("TRIVY_CACHE_DIR", database))
    }
}

/// A shop with a bare remote and the environment `dev`, whose registry this is.
pub(crate) fn shop_with(registry: &Registry) -> Repository {
    shop_below(registry, "team")
}

/// As [`shop_with`], with this path in the registry.
pub(crate) fn shop_below(registry: &Registry, path: &str) -> Repository {
    let repository = Repository::new();
    repository.dev_below(&registry.host(), path);
    repository.remote();
    repository
}
