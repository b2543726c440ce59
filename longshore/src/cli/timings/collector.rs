//! Where spans go, by OpenTelemetry's variables, and the way there: OTLP over HTTP, in JSON.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cancel::Cancel;
use crate::host::environment::Environment;
use crate::host::http::{Body, Client, HttpError, Limits, Method, Origin, Request, Scheme, Schemes};
use crate::report::timings::Timings;
use crate::report::timings::trace::{self, Parent, Resource};

/// What a collector says of what it took is short.
const ANSWER: u64 = 64 * 1024;

/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// A collector of spans.
pub(super) struct Collector {
    url: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
    resource: Resource,
}

impl Collector {
    /// The one that the variables name; none where they name none, or the trace is not recorded.
    ///
    /// # Errors
    /// A variable that can't be read, by its name.
    pub(super) fn of(environment: &Environment) -> Result<Option<Self>, String> {
        let signal = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let url = match (signal, environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(url), _) => url.to_owned(),
            (None, Some(base)) => of_signal(base),
            (None, None) => return Ok(None),
        };
        let disabled =
            environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || environment.get("OTEL_TRACES_EXPORTER") == Some("none") {
            return Ok(None);
        }
        let named = |name: &str| environment.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
        let either =
            |name: &str| named(name).or_else(|| environment.get(&format!("OTEL_EXPORTER_OTLP_{name}")));
        if either("PROTOCOL") == Some("grpc") {
            return Err("OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`, and only `http/json` is spoken".to_owned());
        }
        if Origin::of(&url).is_none() {
            return Err("OTEL_EXPORTER_OTLP_ENDPOINT is no URL as http://HOST:4318".to_owned());
        }
        let timeout = either("TIMEOUT").map_or(Ok(10_000), str::parse::<u64>);
        let timeout = timeout.map_err(|_| "OTEL_EXPORTER_OTLP_TIMEOUT is no number of milliseconds")?;
        let parent = match environment.get("TRACEPARENT") {
            Some(text) => {
                Some(Parent::parse(text).ok_or("TRACEPARENT is not of the form of W3C Trace Context")?)
            }
            None => None,
        };
        if parent.as_ref().is_some_and(|parent| !parent.sampled) {
            return Ok(None);
        }
        let resource = Resource {
            attributes: attributes(environment)?,
            state: environment.get("TRACESTATE").unwrap_or_default().to_owned(),
            parent,
            seed: seed(),
        };
        let timeout = Duration::from_millis(timeout.max(1));
        Ok(Some(Self { url, headers: headers(environment)?, timeout, resource }))
    }

    /// Sends the spans of a run, within the time that the collector is given, or until `cancel`.
    ///
    /// # Errors
    /// Why it did not take them, without what it said.
    pub(super) fn send(
        &self,
        timings: &Timings,
        environment: &Environment,
        cancel: &Cancel,
    ) -> Result<(), String> {
        let (_, bodies) = trace::requests(timings, &self.resource);
        let host = Origin::of(&self.url).map(|origin| origin.host).unwrap_or_default();
        let limits = Limits { connect: self.timeout, idle: self.timeout, total: None };
        // Who writes `http://` there has said that the way is safe enough.
        let client = Client::new(environment, Schemes::from([(host.clone(), Scheme::Http)]), limits, cancel);
        let until = Instant::now() + self.timeout;
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let post = || bodies.iter().try_for_each(|body| self.post(&client, &host, body));
            scope.spawn(move || sender.send(post()));
            loop {
                match receiver.recv_timeout(LOOK) {
                    Ok(sent) => return sent,
                    Err(RecvTimeoutError::Disconnected) => return Err(format!("`{host}`: stopped")),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if cancel.is_set() || Instant::now() >= until {
                    client.shut_down();
                    return Err(format!("`{host}` did not take them in time"));
                }
            }
        })
    }

    fn post(&self, client: &Client, host: &str, body: &Value) -> Result<(), String> {
        let body = body.to_string();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
        // As a stream: it is never sent on to where a redirect says, nor are the headers.
        let mut source = body.as_bytes();
        let size = source.len() as u64;
        let body = Body::Stream { source: &mut source, size };
        let request = Request { method: Method::Post, url: &self.url, headers, body };
        let said = |error: HttpError| error.to_string();
        let response = client.send(request).map_err(said)?;
        let status = response.status;
        if !(200..300).contains(&status) {
            return Err(format!("`{host}` answered {status}"));
        }
        let answer: Value =
            serde_json::from_slice(&response.bytes(ANSWER).map_err(said)?).unwrap_or_default();
        // A 64-bit number: a string, or from a careless collector a number.
        let rejected = &answer["partialSuccess"]["rejectedSpans"];
        let count = rejected.as_str().and_then(|text| text.parse().ok()).or_else(|| rejected.as_u64());
        match count {
            Some(count) if count > 0 => Err(format!("`{host}` refused {count} of them")),
            _ => Ok(()),
        }
    }
}

/// The values that must not be shown: those of the headers, and what follows a scheme as `Bearer`. Short ones
/// are names, which occur everywhere, rather than credentials.
pub fn secrets(environment: &Environment) -> Vec<String> {
    const SHORTEST: usize = 8;
    let given = HEADERS.iter().filter_map(|name| environment.get(name));
    let mut values: Vec<String> = given.map(str::to_owned).collect();
    for (_, value) in headers(environment).into_iter().flatten() {
        values.extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
        values.push(value);
    }
    values.retain(|value| value.len() >= SHORTEST);
    values
}

/// The URL of the spans, below that of all signals.
fn of_signal(base: &str) -> String {
    let (path, query) = base.split_at(base.find('?').unwrap_or(base.len()));
    format!("{}/v1/traces{query}", path.trim_end_matches('/'))
}

fn headers(environment: &Environment) -> Result<Vec<(String, String)>, String> {
    let Some((variable, text)) = HEADERS.iter().find_map(|name| Some((*name, environment.get(name)?))) else {
        return Ok(Vec::new());
    };
    let pairs = pairs(text).ok_or_else(|| format!("{variable} is no list of NAME=VALUE"))?;
    let token = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let visible = |value: &str| value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    if pairs.iter().all(|(name, value)| token(name) && visible(value)) {
        return Ok(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect());
    }
    Err(format!("{variable} holds what can't be a header"))
}

/// `service.name`, then the others that OTEL_RESOURCE_ATTRIBUTES gives.
fn attributes(environment: &Environment) -> Result<Vec<(String, String)>, String> {
    let given = environment.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut pairs = pairs(given).ok_or("OTEL_RESOURCE_ATTRIBUTES is no list of NAME=VALUE")?;
    let place = pairs.iter().position(|(name, _)| name == "service.name");
    let named = place.map(|place| pairs.remove(place).1);
    let name = environment.get("OTEL_SERVICE_NAME").map(str::to_owned).or(named);
    pairs.insert(0, ("service.name".to_owned(), name.unwrap_or_else(|| "longshore".to_owned())));
    Ok(pairs)
}

/// `NAME=VALUE,…`, values percent-encoded; a part without `=` is wrong, an empty one is none.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((decoded(name.trim())?, decoded(value.trim())?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The standard library's hash keys are random, for each process.
fn seed() -> Vec<u8> {
    let words = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Collector::of(&variables.iter().map(pair).collect())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318/");

    #[test]
    fn the_variables_say_where_to_and_as_whom() {
        let collector = of(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b%3Dc, X-Team = one"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=red,service.name=other"),
            ("OTEL_SERVICE_NAME", "shop"),
        ]);
        let collector = collector.unwrap().unwrap();
        assert_eq!(collector.url, "http://collector.example:4318/v1/traces");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(collector.headers, [pair("api-key", "a b=c"), pair("x-team", "one")]);
        assert_eq!(collector.resource.attributes, [pair("service.name", "shop"), pair("team", "red")]);
        assert_eq!(of_signal("https://c.example/otlp?k=v"), "https://c.example/otlp/v1/traces?k=v");
        let traces = of(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/x")]);
        assert_eq!(traces.unwrap().unwrap().url, "http://other/x");
    }

    #[test]
    fn nothing_is_sent_where_nobody_wants_it() {
        let not_sampled = ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        assert!(of(&[]).unwrap().is_none());
        for variable in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), not_sampled] {
            assert!(of(&[ENDPOINT, variable]).unwrap().is_none(), "{variable:?}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named_without_its_value() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "user:hunter2@collector"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2%0d%0ahost: other"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2%ff"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
            ("TRACEPARENT", "hunter2"),
        ] {
            let Err(message) = of(&[ENDPOINT, (name, value)]) else { panic!("{name}={value}") };
            assert!(message.contains(name) && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn the_values_of_headers_are_secrets() {
        let variable =
            ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "authorization=Bearer%20hunter2-9,x=one".to_owned());
        let secrets = secrets(&[variable].into_iter().collect());
        assert_eq!(secrets, ["authorization=Bearer%20hunter2-9,x=one", "hunter2-9", "Bearer hunter2-9"]);
    }
}
