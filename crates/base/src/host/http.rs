//! HTTP: the only door for it. Redirects are followed by hand, so that an `Authorization` never
//! reaches another host; every read and write has a time limit; plain HTTP goes to loopback, or
//! where the user has declared it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};

use super::environment::Environment;
use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};

mod outside;
mod url;

pub use url::{Origin, joined, with_query};

/// Time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To resolve a name, connect and shake hands.
    pub connect: Duration,
    /// Without any byte moving, either way.
    pub idle: Duration,
    /// From the first byte to the last; absent: as long as it goes on.
    pub total: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), idle: Duration::from_secs(60), total: None }
    }
}

/// Sends requests. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    environment: Environment,
    schemes: Schemes,
    cancel: Cancel,
    /// To loopback: no proxy, no certificates to be read.
    near: OnceLock<ureq::Agent>,
    far: OnceLock<Result<ureq::Agent, String>>,
}

/// With TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// How hosts (`HOST[:PORT]`) were declared to be spoken to; the others by rule: loopback without TLS, all else
/// with it.
pub type Schemes = BTreeMap<String, Scheme>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
}

/// What a request carries.
pub enum Body<'a> {
    Empty,
    Bytes(&'a [u8]),
    /// Exactly `size` bytes, read once: such a request is never sent twice, nor redirected.
    Stream {
        source: &'a mut dyn Read,
        size: u64,
    },
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("no body"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream { size, .. } => write!(f, "a stream of {size} bytes"),
        }
    }
}

impl std::fmt::Debug for Request<'_> {
    /// Without headers and path: both may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} with {:?}", self.method.name(), host_of(self.url), self.body)
    }
}

/// One request. Header names are lowercase.
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: Vec<(&'a str, String)>,
    pub body: Body<'a>,
}

/// An answer, whatever its status. Its body is not read yet.
pub struct Response {
    pub status: u16,
    /// After redirects.
    pub url: String,
    headers: HeaderMap,
    body: ureq::Body,
}

/// Why there is no answer. No message holds a URL's path or query: an upload's is a secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no connection to `{host}`, or it was cut")]
    Connection {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("`{host}` did not answer in time")]
    Timeout { host: String },
    #[error("no secure connection to `{host}`: {reason}")]
    Tls { host: String, reason: String },
    #[error("`{host}` was asked for over plain HTTP, which would show what is sent to anybody on the way")]
    Plain { host: String },
    #[error("`{host}` redirected too often")]
    Redirects { host: String },
    #[error("`{host}` answered what is not HTTP: {reason}")]
    Protocol { host: String, reason: String },
    #[error("`{0}` is no URL of HTTP")]
    Url(String),
    #[error("{0}")]
    Setup(String),
    /// The run was told to stop.
    #[error("stopped")]
    Stopped,
}

const REDIRECTS: usize = 8;

impl Client {
    pub fn new(environment: &Environment, schemes: Schemes, limits: Limits, cancel: &Cancel) -> Self {
        Self(Arc::new(Shared {
            limits,
            environment: environment.clone(),
            schemes,
            cancel: cancel.clone(),
            near: OnceLock::new(),
            far: OnceLock::new(),
        }))
    }

    /// `http` or `https`: how a host is spoken to by rule.
    pub fn scheme(&self, host: &str) -> &'static str {
        if self.may_be_plain(host) { "http" } else { "https" }
    }

    fn may_be_plain(&self, host: &str) -> bool {
        self.0.schemes.get(host).map_or_else(|| is_loopback(host), |scheme| *scheme == Scheme::Http)
    }

    /// Sends, and follows redirects where the body can be sent again. Any status is an answer.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        let Request { mut method, url, mut headers, mut body } = request;
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let again = match &body {
                Body::Empty => Some(Body::Empty),
                Body::Bytes(bytes) => Some(Body::Bytes(bytes)),
                Body::Stream { .. } => None,
            };
            let response = self.exchange(method, &url, &headers, body)?;
            let redirects = match response.status {
                307 | 308 => true,
                301..=303 => matches!(method, Method::Get | Method::Head),
                _ => false,
            };
            let (Some(location), Some(again), true) = (response.header("location"), again, redirects) else {
                return Ok(response);
            };
            let next = joined(&url, location).ok_or_else(|| HttpError::Url(url::without_query(location)))?;
            if Origin::of(&next) != Origin::of(&url) {
                headers.retain(|(name, _)| !matches!(*name, "authorization" | "cookie"));
            }
            if response.status == 303 {
                method = Method::Get;
            }
            (url, body) = (next, again);
        }
        Err(HttpError::Redirects { host: host_of(&url) })
    }

    fn exchange(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, String)],
        body: Body<'_>,
    ) -> Result<Response, HttpError> {
        if self.0.cancel.is_set() {
            return Err(HttpError::Stopped);
        }
        let bad = || HttpError::Url(url::without_query(url));
        let origin = Origin::of(url).ok_or_else(bad)?;
        if !origin.secure && !self.may_be_plain(&origin.host) {
            return Err(HttpError::Plain { host: origin.host });
        }
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let mut request = ureq::http::Request::builder().method(method.name()).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let agent = self.agent(&origin)?;
        let sent = match body {
            Body::Empty if matches!(method, Method::Get | Method::Head) => {
                agent.run(request.body(()).map_err(|_| bad())?)
            }
            Body::Empty => agent.run(request.body(&[][..]).map_err(|_| bad())?),
            Body::Bytes(bytes) => agent.run(request.body(bytes).map_err(|_| bad())?),
            Body::Stream { source, size } => {
                let request = request.header("content-length", size);
                agent.run(request.body(ureq::SendBody::from_reader(source)).map_err(|_| bad())?)
            }
        };
        let response = sent.map_err(|error| self.error(&origin.host, error))?;
        let (parts, body) = response.into_parts();
        Ok(Response { status: parts.status.as_u16(), url: url.to_owned(), headers: parts.headers, body })
    }

    fn agent(&self, origin: &Origin) -> Result<ureq::Agent, HttpError> {
        let shared = &*self.0;
        if is_loopback(&origin.host) && !origin.secure {
            return Ok(shared.near.get_or_init(|| config(shared.limits).build().new_agent()).clone());
        }
        let far = || {
            let roots = outside::roots(&shared.environment).map_err(|error| format!("{error:#}"))?;
            let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
            let proxy = outside::proxy(&shared.environment)?;
            Ok(config(shared.limits).tls_config(tls).proxy(proxy).build().new_agent())
        };
        shared.far.get_or_init(far).clone().map_err(HttpError::Setup)
    }

    /// Cuts every connection, so that whoever waits on one returns at once. For good.
    pub fn shut_down(&self) {
        if let Some(near) = self.0.near.get() {
            near.clone().shutdown();
        }
        if let Some(Ok(far)) = self.0.far.get() {
            far.clone().shutdown();
        }
    }

    fn error(&self, host: &str, error: ureq::Error) -> HttpError {
        let host = host.to_owned();
        if self.0.cancel.is_set() {
            return HttpError::Stopped;
        }
        match error {
            ureq::Error::Timeout(_) => HttpError::Timeout { host },
            ureq::Error::Rustls(error) => HttpError::Tls { host, reason: error.to_string() },
            ureq::Error::Tls(reason) => HttpError::Tls { host, reason: reason.to_owned() },
            // What rustls makes of a handshake that it can't accept.
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                HttpError::Tls { host, reason: error.to_string() }
            }
            ureq::Error::Io(source) => HttpError::Connection { host, source },
            ureq::Error::HostNotFound => {
                HttpError::Connection { host, source: io::Error::other("the host's name is not known") }
            }
            ureq::Error::ConnectionFailed => {
                HttpError::Connection { host, source: io::Error::other("the connection failed") }
            }
            other => HttpError::Protocol { host, reason: other.to_string() },
        }
    }
}

impl HttpError {
    /// Whether the same request may go well a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Timeout { .. } | Self::Protocol { .. })
    }

    /// As a [`Fault`]: transient ones are outside failures, the rest are the machine's.
    pub fn fault(self) -> anyhow::Error {
        let fault = match &self {
            Self::Stopped => return Fault::new(Exit::Interrupted, "stopped").into(),
            Self::Tls { host, .. } => Fault::new(Exit::Machine, format!("`{host}` can't be reached safely")).hint(
                "if its certificate is of an authority of your own, name the authority's file in SSL_CERT_FILE; \
                 if it speaks plain HTTP, declare it as `http://HOST/PATH`",
            ),
            Self::Plain { host } => Fault::new(Exit::Machine, format!("`{host}` can't be reached safely"))
                .hint("declare it as `http://HOST/PATH` if the network on the way is yours"),
            Self::Connection { host, .. }
            | Self::Timeout { host }
            | Self::Protocol { host, .. }
            | Self::Redirects { host } => {
                Fault::new(Exit::Outside, format!("`{host}` can't be reached")).hint("it is safe to run it again")
            }
            Self::Url(_) | Self::Setup(_) => Fault::new(Exit::Machine, "a request could not be made"),
        };
        anyhow::Error::new(self).context(fault)
    }
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

impl Response {
    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`HttpError::Protocol`] where it is longer than `limit` bytes; a cut connection.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>, HttpError> {
        let host = host_of(&self.url);
        let mut bytes = Vec::new();
        let read = self.reader().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| HttpError::Connection { host: host.clone(), source })?;
        if bytes.len() as u64 > limit {
            return Err(HttpError::Protocol { host, reason: format!("more than {limit} bytes") });
        }
        Ok(bytes)
    }

    /// The body as it comes; who reads bounds it.
    pub fn reader(self) -> impl Read {
        self.body.into_with_config().limit(u64::MAX).reader()
    }
}

impl std::fmt::Debug for Response {
    /// Without headers and path: both may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("host", &host_of(&self.url)).finish()
    }
}

fn host_of(url: &str) -> String {
    Origin::of(url).map_or_else(|| "?".to_owned(), |origin| origin.host)
}

/// Whether `HOST[:PORT]` is this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn config(limits: Limits) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_per_read(Some(limits.idle))
        .timeout_per_write(Some(limits.idle))
        .timeout_global(limits.total)
}
