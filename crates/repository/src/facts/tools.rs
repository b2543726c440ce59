//! What the machine's tools say of themselves: where they are, which versions they are, what Docker's
//! server is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::process::Command;
use crate::tools::{self, Tool};

/// A program on the PATH of `environment`.
pub fn on_path(name: &str, environment: &Environment) -> Option<PathBuf> {
    which::which_in(name, Some(environment.get("PATH")?), "/").ok()
}

/// The version that a tool says it is, without a leading `v`.
///
/// # Errors
/// It can't be run, fails, or says something else.
pub fn version(tool: Tool, program: &Path, cancel: &Cancel) -> anyhow::Result<String> {
    let output = tools::version_command(tool, program).run(cancel)?;
    let text = String::from_utf8_lossy(&output.stdout);
    version_in(&text).with_context(|| format!("`{}` did not say its version", program.display()))
}

/// The first word that is a version.
fn version_in(text: &str) -> Option<String> {
    text.split_whitespace()
        .map(|word| word.trim_start_matches('v').trim_end_matches(','))
        .find(|word| semver::Version::parse(word).is_ok())
        .map(str::to_owned)
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    path: PathBuf,
    size: u64,
    modified: u128,
    version: String,
}

/// As [`version`], asked once for each state of the file: some tools take their time to say it.
///
/// # Errors
/// As [`version`].
pub fn remembered_version(
    tool: Tool,
    program: &Path,
    cache: &Path,
    cancel: &Cancel,
) -> anyhow::Result<String> {
    let path = program.canonicalize().with_context(|| format!("`{}` is not there", program.display()))?;
    let (size, modified) = tools::stamp(&path)?;
    let name = Digest::of(path.as_os_str().as_encoded_bytes());
    let file = cache.join("tools").join("versions").join(format!("{}.json", name.hex()));
    let known: Option<Remembered> =
        files::read_optional(&file)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(known) = known
        && (known.path.as_path(), known.size, known.modified) == (path.as_path(), size, modified)
    {
        return Ok(known.version);
    }
    let version = version(tool, &path, cancel)?;
    let now = Remembered { path, size, modified, version: version.clone() };
    files::write(&file, &serde_json::to_vec(&now)?)?;
    Ok(version)
}

/// Docker's server, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    pub version: String,
    /// `linux` or `windows`: which images it can run.
    pub os: String,
    pub architecture: String,
    pub rootless: bool,
}

/// Asks Docker's server, by the client's own rules (`DOCKER_HOST`, context, socket).
///
/// # Errors
/// No client, no answer: in its own words.
pub fn docker(environment: &Environment, cancel: &Cancel) -> anyhow::Result<Docker> {
    let program = on_path("docker", environment).context("`docker` is not on PATH")?;
    let run = |args: &[&str]| -> anyhow::Result<serde_json::Value> {
        let output = Command::new(&program)
            .args(args.iter().copied())
            .timeout(Duration::from_secs(10))
            .output(cancel)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        serde_json::from_slice(&output.stdout).map_err(|_| anyhow::anyhow!("{}", last_line(&said)))
    };
    let info = run(&["info", "--format", "{{json .}}"])?;
    docker_in(&info)
}

fn docker_in(info: &serde_json::Value) -> anyhow::Result<Docker> {
    let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
    let errors = info["ServerErrors"].as_array().into_iter().flatten().filter_map(|error| error.as_str());
    if let Some(error) = errors.into_iter().next() {
        anyhow::bail!("{}", last_line(error));
    }
    let options = info["SecurityOptions"].as_array().into_iter().flatten();
    let docker = Docker {
        version: text("ServerVersion"),
        os: text("OSType"),
        architecture: text("Architecture"),
        rootless: options.into_iter().any(|option| option.as_str() == Some("name=rootless")),
    };
    anyhow::ensure!(!docker.version.is_empty(), "the server does not answer");
    Ok(docker)
}

fn last_line(text: &str) -> &str {
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim(),
        None => "the server does not answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_tools_say() {
        for (text, version) in [
            ("Version: 0.69.3\n", Some("0.69.3")),
            ("Version: v0.69.3\nVulnerability DB:\n  Version: 2\n", Some("0.69.3")),
            ("2.5.0\n", Some("2.5.0")),
            ("golangci-lint has version 1.64.8 built with go1.24.1", Some("1.64.8")),
            ("Version: dev", None),
            ("", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version, "{text}");
        }
    }

    #[test]
    fn docker_s_answer_names_its_server() {
        let info = serde_json::json!({"ServerVersion": "26.1.5", "OSType": "linux",
            "Architecture": "x86_64", "SecurityOptions": ["name=seccomp", "name=rootless"]});
        let docker = docker_in(&info).unwrap();
        assert_eq!((docker.version.as_str(), docker.rootless), ("26.1.5", true));
        let down = serde_json::json!({"ServerErrors": ["Cannot connect to the Docker daemon"]});
        assert!(docker_in(&down).unwrap_err().to_string().contains("Cannot connect"));
        assert!(docker_in(&serde_json::json!({})).is_err());
    }
}
