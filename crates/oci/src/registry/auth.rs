//! Credentials for registries: the files that `docker login`, `podman login` and their kin write,
//! and the helper programs that those files name.
//!
//! A helper that fails is an error: going on as nobody would look like a missing permission, or
//! worse, work on the wrong image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::process::{Command, Status};
use crate::reference::Repository;

const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// Docker Hub's key in every credentials file.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A value that no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who we are to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Password {
        user: String,
        password: Secret,
    },
    /// A refresh token, to be changed for access tokens (`identitytoken`).
    Identity(Secret),
}

impl Credential {
    /// The value of an `Authorization` header, for a password.
    pub fn basic(&self) -> Option<Secret> {
        let Self::Password { user, password } = self else { return None };
        let pair = format!("{user}:{}", password.expose());
        Some(Secret(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))))
    }
}

/// A `config.json` of Docker or an `auth.json` of the containers tools.
#[derive(Clone, Debug, Default, Deserialize)]
struct CredentialsFile {
    #[serde(default)]
    auths: BTreeMap<String, FileEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Clone, Default, Deserialize)]
struct FileEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl std::fmt::Debug for FileEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// The files with credentials, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Credentials {
    files: Vec<CredentialsFile>,
    /// Paths, there or not: for messages.
    looked_in: Vec<PathBuf>,
    environment: Environment,
    helper_limit: Duration,
}

impl Credentials {
    /// Reads the file that REGISTRY_AUTH_FILE names, then Docker's (`DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`).
    ///
    /// # Errors
    /// [`Exit::Machine`] where a file is there and can't be read, or REGISTRY_AUTH_FILE names none.
    pub fn load(environment: &Environment) -> anyhow::Result<Self> {
        let mut credentials = Self {
            files: Vec::new(),
            looked_in: Vec::new(),
            environment: environment.clone(),
            helper_limit: HELPER_LIMIT,
        };
        if let Some(path) = environment.get("REGISTRY_AUTH_FILE") {
            let path = PathBuf::from(path);
            if !credentials.add(path.clone())? {
                let message = format!("`{}`, which REGISTRY_AUTH_FILE names, is not there", path.display());
                return Err(Fault::new(Exit::Machine, message)
                    .hint("log in once more, or unset REGISTRY_AUTH_FILE")
                    .into());
            }
        }
        let home = || environment.get("HOME").or_else(|| environment.get("USERPROFILE"));
        let folder = match environment.get("DOCKER_CONFIG") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => home().map(|home| PathBuf::from(home).join(".docker")),
        };
        if let Some(folder) = folder {
            credentials.add(folder.join("config.json"))?;
        }
        Ok(credentials)
    }

    fn add(&mut self, path: PathBuf) -> anyhow::Result<bool> {
        self.looked_in.push(path.clone());
        let message = format!("could not read the credentials in `{}`", path.display());
        let Some(bytes) = files::read_optional(&path).fault(Exit::Machine, &message)? else {
            return Ok(false);
        };
        // serde's messages quote no values of strings, so no secret can be in one.
        let mut file: CredentialsFile =
            serde_json::from_slice(&bytes).fault_hint(Exit::Machine, message, "log in once more")?;
        file.path = path;
        self.files.push(file);
        Ok(true)
    }

    /// Where credentials were looked for, for a message.
    pub fn looked_in(&self) -> String {
        let shown: Vec<String> = self.looked_in.iter().map(|path| format!("`{}`", path.display())).collect();
        if shown.is_empty() {
            "no file: neither HOME nor DOCKER_CONFIG is set".to_owned()
        } else {
            shown.join(", ")
        }
    }

    /// The credential for a repository: the longest matching key of the first file that has one.
    ///
    /// # Errors
    /// [`Exit::Machine`] where a helper program is missing, fails, is silent or hangs.
    pub fn find(&self, repository: &Repository, cancel: &Cancel) -> anyhow::Result<Option<Credential>> {
        for file in &self.files {
            if let Some(found) = self.find_in(file, repository, cancel)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_in(
        &self,
        file: &CredentialsFile,
        repository: &Repository,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<Credential>> {
        let keys = keys(repository);
        let matching = |key: &String| keys.iter().position(|wanted| *wanted == normal(key));
        let helper = file.helpers.iter().filter_map(|(key, name)| Some((matching(key)?, key, name))).min();
        if let Some((_, key, name)) = helper {
            return self.ask(file, name, key, cancel);
        }
        let entry = file.auths.iter().filter_map(|(key, entry)| Some((matching(key)?, key, entry)));
        let entry = entry.min_by_key(|(length, ..)| *length);
        if let Some((_, key, entry)) = entry
            && let Some(found) = entry.credential(&file.path, key)?
        {
            return Ok(Some(found));
        }
        match &file.store {
            Some(name) => {
                let host = &repository.host;
                let key = if is_hub(host) { HUB_KEY } else { host.as_str() };
                self.ask(file, name, key, cancel)
            }
            None => Ok(None),
        }
    }

    /// `docker-credential-NAME get`, the server on its stdin (docker-credential-helpers' protocol).
    fn ask(
        &self,
        file: &CredentialsFile,
        name: &str,
        server: &str,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<Credential>> {
        let program = format!("docker-credential-{name}");
        let failed = |what: String| -> anyhow::Error {
            let hint = format!(
                "`{}` names it for `{server}`: install it, or log in without it",
                file.path.display()
            );
            Fault::new(Exit::Machine, format!("the credential helper `{program}` {what}")).hint(hint).into()
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(failed("has a name that no program can have".to_owned()));
        }
        let path = self.environment.get("PATH").unwrap_or_default();
        let Ok(found) = which::which_in_global(&program, Some(path))
            .and_then(|mut found| found.next().ok_or(which::Error::CannotFindBinaryPath))
        else {
            return Err(failed("is not on PATH".to_owned()));
        };
        let command = Command::new(found).arg("get").stdin(server.as_bytes()).timeout(self.helper_limit);
        let output = match command.output(cancel) {
            Ok(output) => output,
            Err(_) => return Err(failed("could not be started".to_owned())),
        };
        // Helpers say what went wrong on stdout.
        let said = String::from_utf8_lossy(&output.stdout);
        match output.status {
            Status::Exited(0) => {}
            Status::Cancelled => return Err(super::super::stopped(cancel)),
            Status::TimedOut(_) => {
                return Err(failed(format!("did not answer within {} s", self.helper_limit.as_secs())));
            }
            _ if said.contains("credentials not found in native keychain") => return Ok(None),
            status => return Err(failed(format!("failed: {status}"))),
        }
        let Ok(answer) = serde_json::from_slice::<HelperAnswer>(&output.stdout) else {
            return Err(failed("gave no answer that can be read".to_owned()));
        };
        if answer.secret.is_empty() {
            return Err(failed("gave no secret".to_owned()));
        }
        let secret = Secret(answer.secret);
        Ok(Some(match answer.user.as_str() {
            "<token>" => Credential::Identity(secret),
            _ => Credential::Password { user: answer.user, password: secret },
        }))
    }
}

impl FileEntry {
    fn credential(&self, path: &std::path::Path, key: &str) -> anyhow::Result<Option<Credential>> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(&self.identitytoken))));
        }
        if self.auth.is_empty() {
            let named = !self.username.is_empty() && !self.password.is_empty();
            return Ok(named.then(|| Credential::Password {
                user: self.username.clone(),
                password: Secret::new(&self.password),
            }));
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.trim()).ok();
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
            let message = format!("the entry `{key}` in `{}` is not base64 of USER:PASSWORD", path.display());
            return Err(Fault::new(Exit::Machine, message).hint("log in once more").into());
        };
        let password = Secret::new(password.trim_end_matches('\0'));
        Ok(Some(Credential::Password { user: user.to_owned(), password }))
    }
}

/// The keys that fit a repository, the longest first (containers-auth.json(5)).
fn keys(repository: &Repository) -> Vec<String> {
    let host = if is_hub(&repository.host) { "docker.io" } else { repository.host.as_str() };
    let full = format!("{host}/{}", repository.path);
    let mut keys: Vec<String> = full.match_indices('/').map(|(at, _)| full[..at].to_owned()).collect();
    keys.push(full);
    keys.reverse();
    keys
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// A key without what older clients wrote around the host.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key.split_once('/') {
        None if is_hub(key) => "docker.io".to_owned(),
        Some((host, path)) if is_hub(host) => format!("docker.io/{path}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests;
