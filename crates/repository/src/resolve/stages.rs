//! The options of the stages, with their defaults.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{value, values};
use crate::config::{Advice, Ignore, OnUnavailable, OtherCommits, PlainOptions, Runner, Severity, Stages};
use crate::stage::Stage;

/// Every stage's options for one environment.
#[derive(Clone, Debug)]
pub struct StageSettings {
    /// Switched off by `enabled = false`.
    pub disabled: BTreeSet<Stage>,
    pub other_commits: OtherCommits,
    pub golangci_args: Vec<String>,
    pub dockerfile_advice: Advice,
    pub test: TestSettings,
    pub scan: ScanSettings,
    pub verify: VerifySettings,
    pub push: PushSettings,
}

#[derive(Clone, Debug)]
pub struct TestSettings {
    pub race: bool,
    pub timeout: Duration,
    pub inputs: Vec<String>,
    pub env: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ScanSettings {
    pub severity: BTreeSet<Severity>,
    pub ignore_unfixed: bool,
    pub ignore: Vec<Ignore>,
    pub on_unavailable: OnUnavailable,
    pub db_repository: Option<String>,
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct VerifySettings {
    pub runner: Runner,
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct PushSettings {
    pub chunk: Option<u64>,
    pub retries: u32,
}

/// The options of an environment, as [`crate::config`] merged them over pipeline.toml's.
pub fn stages(given: &Stages) -> StageSettings {
    StageSettings {
        disabled: disabled(given),
        other_commits: value(&given.versions.other).unwrap_or(OtherCommits::Patch),
        golangci_args: given.lint.golangci_args.as_deref().map(values).unwrap_or_default(),
        dockerfile_advice: value(&given.lint.dockerfile).unwrap_or(Advice::Warn),
        test: TestSettings {
            race: value(&given.test.race).unwrap_or(false),
            timeout: value(&given.test.timeout).unwrap_or(Duration::from_secs(600)),
            inputs: given.test.inputs.as_deref().map(values).unwrap_or_default(),
            env: given.test.env.as_deref().map(values).unwrap_or_default(),
        },
        scan: ScanSettings {
            severity: match &given.scan.severity {
                Some(severities) => severities.iter().map(|severity| severity.value).collect(),
                None => [Severity::Critical, Severity::High].into(),
            },
            ignore_unfixed: value(&given.scan.ignore_unfixed).unwrap_or(false),
            ignore: given.scan.ignore.clone().unwrap_or_default(),
            on_unavailable: value(&given.scan.on_unavailable).unwrap_or(OnUnavailable::Error),
            db_repository: value(&given.scan.db_repository),
            timeout: value(&given.scan.timeout).unwrap_or(Duration::from_secs(300)),
        },
        verify: VerifySettings {
            runner: value(&given.verify.runner).unwrap_or(Runner::Auto),
            timeout: value(&given.verify.timeout).unwrap_or(Duration::from_secs(60)),
        },
        push: PushSettings {
            chunk: value(&given.push.chunk),
            retries: value(&given.push.retries).unwrap_or(5),
        },
    }
}

fn disabled(given: &Stages) -> BTreeSet<Stage> {
    let options: [(Stage, &PlainOptions); 8] = [
        (Stage::Lint, &given.lint.plain),
        (Stage::Test, &given.test.plain),
        (Stage::Build, &given.build),
        (Stage::Image, &given.image),
        (Stage::Scan, &given.scan.plain),
        (Stage::Verify, &given.verify.plain),
        (Stage::Push, &given.push.plain),
        (Stage::Tag, &given.tag),
    ];
    options
        .into_iter()
        .filter(|(_, options)| value(&options.enabled) == Some(false))
        .map(|(stage, _)| stage)
        .collect()
}
