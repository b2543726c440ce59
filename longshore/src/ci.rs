//! What a CI system runs and is told: workflow files that call the stages one by one, and the outputs,
//! summaries and annotations of a run. The files are the user's once they are written: they hold no logic,
//! only the order of commands that run the same on any machine.

mod github;
mod gitlab;
pub mod told;

use std::collections::BTreeSet;

use crate::config::deploy::DriverName;
use crate::config::{Config, EffectiveEnvironment, Registry, SecretSource, environment};
use crate::fault::{Exit, Fault};
use crate::resolve;

/// Whose workflow file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// .github/workflows/release.yml
    Github,
    /// .gitlab-ci.yml
    Gitlab,
}

/// What a workflow does: one environment is released to by itself, others are promoted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub released: Place,
    /// In their order, each from the one before it.
    pub promoted: Vec<Place>,
    /// Of all services.
    pub platforms: Vec<String>,
    /// Git tags that ask for a version, as a pattern.
    pub tags: String,
}

/// An environment as a workflow sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    /// The registry's host.
    pub host: String,
    /// Variables that hold secrets.
    pub secrets: BTreeSet<String>,
    /// Whether anything can be deployed there.
    pub deployed: bool,
    /// Whether its driver asks a cluster.
    pub cluster: bool,
}

impl Provider {
    /// From the repository's root.
    pub fn path(self) -> &'static str {
        match self {
            Self::Github => ".github/workflows/release.yml",
            Self::Gitlab => ".gitlab-ci.yml",
        }
    }

    /// The workflow file.
    pub fn text(self, flow: &Flow) -> String {
        match self {
            Self::Github => github::text(flow),
            Self::Gitlab => gitlab::text(flow),
        }
    }
}

/// What the configuration asks of a workflow: `named` (else `staging`, else the only one) is released to, and
/// those that ask for approval are promoted to.
///
/// # Errors
/// [`Exit::Usage`] where no environment has a registry that other machines reach, or it is not plain which.
pub fn flow(config: &Config, named: Option<&str>) -> anyhow::Result<Flow> {
    let mut places: Vec<(Place, bool)> = Vec::new();
    for name in config.environments.keys() {
        let effective = environment(config, name)?;
        let approval = resolve::deploy(&effective).require_approval;
        places.extend(place(&effective).map(|place| (place, approval)));
    }
    let (promoted, open): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|(place, approval)| *approval && Some(place.name.as_str()) != named);
    let open: Vec<Place> = open.into_iter().map(|(place, _)| place).collect();
    let names: Vec<&str> = open.iter().map(|place| place.name.as_str()).collect();
    let wanted = named.or_else(|| names.iter().copied().find(|name| *name == "staging"));
    let released = match (wanted, open.as_slice()) {
        (Some(name), _) => open.iter().find(|place| place.name == name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let Some(released) = released else {
        let message = "it is not plain which environment CI releases to";
        let hint = match names.as_slice() {
            [] => "give one a `registry` that is no folder, in `environments/NAME.toml`".to_owned(),
            names => format!("name it with `--env`: {}", names.join(", ")),
        };
        return Err(Fault::new(Exit::Usage, message).hint(hint).into());
    };
    let services = config.services.values();
    let form = config.project.tag.as_ref().map_or(resolve::DEFAULT_TAG, |tag| &tag.value);
    let platforms: BTreeSet<String> = services
        .flat_map(|service| service.platforms.iter().chain(&config.project.platforms))
        .flatten()
        .map(|platform| platform.value.to_string())
        .collect();
    let default = || ["linux/amd64", "linux/arm64"].map(str::to_owned).to_vec();
    Ok(Flow {
        released: released.clone(),
        promoted: promoted.into_iter().map(|(place, _)| place).collect(),
        platforms: if platforms.is_empty() { default() } else { platforms.into_iter().collect() },
        tags: form.replace("{service}", "*").replace("{version}", "*"),
    })
}

/// `None` for one whose registry is a folder.
fn place(effective: &EffectiveEnvironment) -> Option<Place> {
    let Registry::Remote { host, .. } = &effective.registry else { return None };
    let driver = resolve::deploy(effective).driver;
    let variable = |source: &SecretSource| match source {
        SecretSource::Variable(name) => Some(name.clone()),
        _ => None,
    };
    Some(Place {
        name: effective.name.clone(),
        host: host.clone(),
        secrets: effective.secrets.values().filter_map(|source| variable(&source.value)).collect(),
        deployed: driver.is_some(),
        cluster: matches!(driver, Some(DriverName::Kubernetes | DriverName::Gitops)),
    })
}
