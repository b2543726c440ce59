//! A client of registries (distribution-spec v1.1, API v2).
//!
//! What a registry says is computed again, never believed: digests are of the bytes that came.
//! Whatever may go better a little later is tried again, with bounds; an upload goes on where the
//! server stands. An upload's URL is a secret: no message and no log holds one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::reference::Repository;
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::host::environment::Environment;
use crate::host::http::{self, Body, HttpError, Limits, Method, Origin, Request, Response};

pub mod auth;
mod challenge;
mod manifest;
mod pull;
pub mod retry;
mod token;
mod upload;

pub use upload::{Blob, Uploaded};

use auth::{Credentials, Secret};
use retry::Policy;
use token::Tokens;

/// How a client behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes a request of an upload; absent: a whole blob in one.
    pub chunk: Option<u64>,
    pub policy: Policy,
    pub schemes: http::Schemes,
    pub limits: Limits,
}

/// Connections, credentials and tokens, for all registries. Making one asks nobody for anything.
/// Clones share all of it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    http: http::Client,
    environment: Environment,
    options: Options,
    credentials: OnceLock<Credentials>,
    tokens: Tokens,
    cancel: Cancel,
}

/// One repository of a registry.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    repository: Repository,
}

/// What a token must allow: distribution's scopes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scopes(BTreeSet<String>);

/// Why a request came to nothing.
#[derive(Debug)]
enum Failure {
    /// May go well later. `asked`: the server's own wish.
    Transient {
        error: anyhow::Error,
        asked: Option<Duration>,
    },
    /// A clean no.
    Status(Refusal),
    Final(anyhow::Error),
}

/// A registry's no, with its reasons (distribution-spec, "Error Codes").
#[derive(Clone, Debug, thiserror::Error)]
#[error("the registry answered {status}{}", self.shown())]
struct Refusal {
    status: u16,
    codes: Vec<String>,
    message: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

const ERROR_LIMIT: u64 = 64 << 10;

impl Client {
    pub fn new(environment: &Environment, options: Options, cancel: &Cancel) -> Self {
        let http = http::Client::new(environment, options.schemes.clone(), options.limits, cancel);
        Self(Arc::new(Shared {
            http,
            environment: environment.clone(),
            options,
            credentials: OnceLock::new(),
            tokens: Tokens::default(),
            cancel: cancel.clone(),
        }))
    }

    pub fn repository(&self, repository: Repository) -> Remote {
        Remote { client: self.clone(), repository }
    }

    /// Cuts every connection at once, for good: for a run that is told to stop.
    pub fn shut_down(&self) {
        self.0.http.shut_down();
    }

    pub fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }

    fn credentials(&self) -> anyhow::Result<&Credentials> {
        if let Some(credentials) = self.0.credentials.get() {
            return Ok(credentials);
        }
        let loaded = Credentials::load(&self.0.environment)?;
        Ok(self.0.credentials.get_or_init(|| loaded))
    }
}

impl Remote {
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks whether the registry is there and lets us read this repository.
    ///
    /// # Errors
    /// [`Exit::Machine`] without the permission or a safe connection, [`Exit::Outside`] otherwise.
    pub fn ping(&self) -> anyhow::Result<()> {
        let url = format!("{}/v2/", self.origin());
        self.patiently("could not reach the registry", |remote| {
            let response = remote.send(&remote.pull_scope(), Method::Get, &url, Vec::new(), Body::Empty)?;
            remote.accept(response, &[200]).map(|_| ())
        })
    }

    fn shared(&self) -> &Shared {
        &self.client.0
    }

    /// `https://HOST`
    fn origin(&self) -> String {
        let host = match self.repository.host.as_str() {
            // Docker Hub's images are named after another host than its registry's.
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        format!("{}://{host}", self.shared().http.scheme(host))
    }

    /// `https://HOST/v2/PATH/REST`
    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.origin(), self.repository.path)
    }

    fn pull_scope(&self) -> Scopes {
        Scopes(BTreeSet::from([format!("repository:{}:pull", self.repository.path)]))
    }

    /// With what a mount from these paths needs: pull on each of them.
    fn push_scope(&self, sources: &[&str]) -> Scopes {
        let mut scopes = BTreeSet::from([format!("repository:{}:pull,push", self.repository.path)]);
        scopes.extend(sources.iter().map(|path| format!("repository:{path}:pull")));
        Scopes(scopes)
    }

    /// Runs `attempt` until it goes well, says a clean no, or the policy's attempts are used up.
    fn patiently<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> anyhow::Result<T> {
        let mut number = 0;
        loop {
            match attempt(self) {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait_after(failure, number, what)?,
            }
            number += 1;
        }
    }

    /// Waits after a transient failure; an error where it was final or the retries are used up.
    fn wait_after(&self, failure: Failure, number: u32, what: &str) -> anyhow::Result<()> {
        let cancel = &self.shared().cancel;
        super::stop_if_asked(cancel)?;
        let policy = self.shared().options.policy;
        match failure {
            Failure::Transient { asked, .. } if number < policy.retries => {
                retry::sleep(policy.wait(number, asked), cancel);
                super::stop_if_asked(cancel)
            }
            failure => Err(self.fault(failure, what)),
        }
    }

    /// A failure that stays, with its exit code. `what`: "could not …".
    fn fault(&self, failure: Failure, what: &str) -> anyhow::Error {
        if self.shared().cancel.is_set() {
            return super::stopped(&self.shared().cancel);
        }
        let message = format!("{what}: `{}`", self.repository);
        match failure {
            Failure::Transient { error, .. } => error.context(
                Fault::new(Exit::Outside, message)
                    .hint("the registry is at fault; it is safe to run it again"),
            ),
            Failure::Status(refusal) => {
                let fault = match refusal.status {
                    401 | 403 => Fault::new(Exit::Machine, message).hint(self.where_credentials()),
                    _ => Fault::new(Exit::Failed, message),
                };
                anyhow::Error::new(refusal).context(fault)
            }
            Failure::Final(error) => error.context(message),
        }
    }

    fn where_credentials(&self) -> String {
        let looked_in = self.client.credentials().map(Credentials::looked_in).unwrap_or_default();
        format!(
            "credentials for `{}` were looked for in {looked_in}; log in with `docker login {}`, or ask for the \
             permission",
            self.repository, self.repository.host
        )
    }

    /// One request with what lets us in; negotiated where the registry asks for it. A stream is sent
    /// once: where it was refused for an old token, the next attempt has a new one.
    fn send<'b>(
        &self,
        scopes: &Scopes,
        method: Method,
        url: &'b str,
        headers: Vec<(&'static str, String)>,
        body: Body<'b>,
    ) -> Result<Response, Failure> {
        let ours = Origin::of(url) == Origin::of(&self.origin());
        let again = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Bytes(bytes) => Some(Body::Bytes(bytes)),
            Body::Stream { .. } => None,
        };
        let used = if ours { self.shared().tokens.get(&self.repository.host, scopes) } else { None };
        let response = self.send_as(used.as_ref(), method, url, &headers, body)?;
        if response.status != 401 || !ours {
            return Ok(response);
        }
        let challenges = challenge::parse(&response.headers("www-authenticate"));
        let Some(fresh) = self.negotiate(&challenges, scopes, used.as_ref())? else {
            return Ok(response);
        };
        match again {
            Some(body) => self.send_as(Some(&fresh), method, url, &headers, body),
            None => Err(Failure::Transient {
                error: anyhow::anyhow!("the registry asked for a new token"),
                asked: Some(Duration::ZERO),
            }),
        }
    }

    fn send_as<'b>(
        &self,
        authorization: Option<&Secret>,
        method: Method,
        url: &'b str,
        headers: &[(&'static str, String)],
        body: Body<'b>,
    ) -> Result<Response, Failure> {
        let mut headers = headers.to_vec();
        headers.extend(authorization.map(|value| ("authorization", value.expose().to_owned())));
        Ok(self.shared().http.send(Request { method, url, headers, body })?)
    }

    /// Sorts an answer: one of `good`, a clean no, or something that may pass.
    fn accept(&self, response: Response, good: &[u16]) -> Result<Response, Failure> {
        let status = response.status;
        if good.contains(&status) {
            return Ok(response);
        }
        let asked = response.header("retry-after").and_then(|text| retry::retry_after(text, clock::now()));
        let refusal = Refusal::read(response);
        if matches!(status, 408 | 425 | 429) || status >= 500 || (200..400).contains(&status) {
            return Err(Failure::Transient { error: refusal.into(), asked });
        }
        Err(Failure::Status(refusal))
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        if error.is_transient() {
            Self::Transient { error: error.into(), asked: None }
        } else {
            Self::Final(error.fault())
        }
    }
}

impl Refusal {
    fn read(response: Response) -> Self {
        let status = response.status;
        let body = response.bytes(ERROR_LIMIT).unwrap_or_default();
        let errors = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.errors).unwrap_or_default();
        let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        Self {
            status,
            message: messages.join("; ").chars().filter(|c| !c.is_control()).take(300).collect(),
            codes: errors.into_iter().map(|error| error.code).collect(),
        }
    }

    fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|found| found == code)
    }

    fn shown(&self) -> String {
        match (self.codes.is_empty(), self.message.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!(": {}", self.message),
            (false, true) => format!(": {}", self.codes.join(", ")),
            (false, false) => format!(": {}: {}", self.codes.join(", "), self.message),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
