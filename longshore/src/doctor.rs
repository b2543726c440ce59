//! What this machine has, what is missing, and the command that mends it. Data first: looking makes
//! [`Check`]s, rendering is pure.

mod engines;
mod machine;
mod programs;

pub use engines::Dockerfile;

use serde::Serialize;

use crate::config;
use crate::diagnostic::Diagnostics;
use crate::fault::{Exit, Fault};
use crate::tools::Setup;
use crate::workspace::Workspace;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    /// What is there, in a few words.
    pub found: String,
    /// What a release needs, in a few words; empty where it needs nothing.
    pub needed: String,
    pub state: State,
    /// What mends it; empty where nothing is to be mended.
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// A release runs, with less or slower.
    Warn,
    /// A release can't run.
    Missing,
}

/// What the pipeline needs of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub workspace: &'a Workspace,
    pub tools: &'a config::Tools,
    /// Go versions of services that pin their own.
    pub go: &'a [String],
    /// Service → port.
    pub ports: &'a [(String, u16)],
    /// A service has a Go package.
    pub packages: bool,
    pub dockerfiles: &'a [Dockerfile],
}

/// Looks at everything. A registry is [`registry`]'s: whoever holds its client asks it.
pub fn examine(needs: &Needs<'_>, setup: &Setup<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(programs::git(setup));
    if needs.packages {
        checks.extend(programs::go(needs, setup));
    }
    checks.extend(programs::tools(needs, setup));
    let docker = programs::docker(setup);
    let container = docker.state == State::Ok;
    checks.push(docker);
    checks.extend(engines::engines(needs, setup));
    checks.extend(machine::isolation(container));
    checks.extend(machine::wsl(needs.workspace));
    checks.push(programs::line_endings(needs.workspace, setup));
    checks.extend(machine::disk(needs.workspace));
    checks.extend(machine::proxies(setup.environment));
    checks.extend(machine::ports(needs.ports));
    checks.push(programs::clock(needs.workspace, setup));
    checks
}

/// What a registry said when it was asked whether it is there.
pub fn registry(name: &str, answer: &anyhow::Result<()>) -> Check {
    let needed = "answers".to_owned();
    match answer {
        Ok(()) => Check {
            name: format!("registry {name}"),
            found: "answers".to_owned(),
            needed,
            state: State::Ok,
            remedy: String::new(),
        },
        Err(error) => Check {
            name: format!("registry {name}"),
            found: format!("{error:#}"),
            needed,
            state: State::Missing,
            remedy: "check the address, the network and `docker login`".to_owned(),
        },
    }
}

/// What the Git remote said when it was asked whether it is there.
pub fn git_remote(name: &str, answer: &anyhow::Result<()>) -> Check {
    let name = format!("git remote {name}");
    match answer {
        Ok(()) => well(&name, "answers"),
        Err(error) => {
            let remedy = "add it with `git remote add`, or check its address, the network and your key";
            ill(&name, State::Missing, format!("{error:#}"), "answers", remedy)
        }
    }
}

/// What is not asked without a network.
pub fn unasked(name: &str) -> Check {
    ill(name, State::Warn, "not asked", "answers", "run it without `--offline`")
}

/// A part of the repository that can't be used, so that what depends on it is not looked at.
pub fn broken(name: &str, error: &anyhow::Error) -> Check {
    let (found, remedy) = match error.downcast_ref::<Diagnostics>() {
        Some(Diagnostics(faults)) => {
            let first = faults.first().map_or_else(String::new, |fault| fault.message.clone());
            let more = match faults.len() {
                0 | 1 => String::new(),
                count => format!(", and {} more", count - 1),
            };
            (format!("{first}{more}"), "`cargo xtask check` shows where".to_owned())
        }
        None => {
            let hint = error.downcast_ref::<Fault>().and_then(|fault| fault.hint.clone());
            (format!("{error:#}"), hint.unwrap_or_default())
        }
    };
    ill(name, State::Missing, found, "", &remedy)
}

/// 4 if a release can't run here, else `None`.
pub fn exit(checks: &[Check]) -> Option<Exit> {
    checks.iter().any(|check| check.state == State::Missing).then_some(Exit::Machine)
}

/// A line a check: a mark, the name, what was found, and what mends it on a line of its own.
pub fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let mark = match check.state {
            State::Ok => "ok     ",
            State::Warn => "warning",
            State::Missing => "MISSING",
        };
        let Check { name, found, needed, remedy, .. } = check;
        text.push_str(&format!("{mark}  {name:<width$}  {found}"));
        if check.state != State::Ok && !needed.is_empty() {
            text.push_str(&format!(" (needed: {needed})"));
        }
        text.push('\n');
        if !remedy.is_empty() {
            text.push_str(&format!("{:9}{:width$}  {remedy}\n", "", ""));
        }
    }
    let count = |state: State| checks.iter().filter(|check| check.state == state).count();
    let (warnings, missing) = (count(State::Warn), count(State::Missing));
    text.push_str(&match (missing, warnings) {
        (0, 0) => "a release can run here\n".to_owned(),
        (0, 1) => "a release can run here, with 1 warning\n".to_owned(),
        (0, _) => format!("a release can run here, with {warnings} warnings\n"),
        (_, _) => format!("a release can't run here: {missing} missing\n"),
    });
    text
}

/// `{"schema":1,"checks":[…]}`.
///
/// # Errors
/// None that is known.
pub fn json(checks: &[Check]) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&serde_json::json!({ "schema": 1, "checks": checks }))?)
}

/// A check that is well.
fn well(name: &str, found: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        found: found.into(),
        needed: String::new(),
        state: State::Ok,
        remedy: String::new(),
    }
}

/// A check that is not.
fn ill(name: &str, state: State, found: impl Into<String>, needed: &str, remedy: &str) -> Check {
    Check {
        name: name.to_owned(),
        found: found.into(),
        needed: needed.to_owned(),
        state,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            well("git", "2.47.3"),
            ill("docker", State::Warn, "no answer", "a server", "start it: `systemctl start docker`"),
        ]
    }

    #[test]
    fn the_text_says_what_is_wrong_and_what_mends_it() {
        assert_eq!(
            text(&checks()),
            "ok       git     2.47.3\n\
             warning  docker  no answer (needed: a server)\n\
             \x20                start it: `systemctl start docker`\n\
             a release can run here, with 1 warning\n"
        );
        assert_eq!(exit(&checks()), None);
    }

    #[test]
    fn what_is_broken_is_told_with_its_remedy() {
        let faults = ["no `[project]`", "unknown key `servces`"].map(crate::diagnostic::Diagnostic::error);
        let check = broken("configuration", &Diagnostics(faults.into()).into());
        assert_eq!((check.state, check.found.as_str()), (State::Missing, "no `[project]`, and 1 more"));
        assert!(check.remedy.contains("check"));
        let fault = Fault::new(Exit::Machine, "not in a Git repository").hint("run `git init`");
        let check = broken("repository", &fault.into());
        assert_eq!(
            (check.found.as_str(), check.remedy.as_str()),
            ("not in a Git repository", "run `git init`")
        );
    }

    #[test]
    fn one_missing_thing_stops_a_release() {
        let mut checks = checks();
        checks.push(registry("registry.example.com", &Err(anyhow::anyhow!("no route"))));
        assert_eq!(exit(&checks), Some(Exit::Machine));
        assert!(text(&checks).ends_with("a release can't run here: 1 missing\n"));
        let value: serde_json::Value = serde_json::from_str(&json(&checks).unwrap()).unwrap();
        assert_eq!(value["checks"][2]["state"], "missing");
    }
}
