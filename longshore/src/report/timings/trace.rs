//! A run as OpenTelemetry spans, in OTLP's JSON: one of the run, one of each job that was started. Pure.
//!
//! Attributes are those of the semantic conventions for CI/CD, and `longshore.*`. Ids are hexadecimal, and
//! 64-bit numbers are strings, as OTLP's JSON has them.

use crate::digest::Hasher;
use serde_json::{Value, json};

use super::{Timing, Timings};
use crate::fault::Exit;

/// Spans of one request: a collector bounds what it takes at once.
const BATCH: usize = 1000;

/// Span kinds and status codes of OTLP.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const ERROR: u8 = 2;

/// The span that a run is a part of: `TRACEPARENT` (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: String,
    span: String,
    /// Whoever began the trace decides whether it is recorded.
    pub sampled: bool,
}

impl Parent {
    /// Of `00-TRACE-SPAN-FLAGS`; `None` where it is none, and a later version is read as far as it is known.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let some = |text: &str| text.bytes().any(|byte| byte != b'0');
        let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !known || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) || !some(trace) || !some(span) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace: trace.to_owned(), span: span.to_owned(), sampled })
    }
}

/// What is said of the one who sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// `service.name` first.
    pub attributes: Vec<(String, String)>,
    /// `tracestate`, sent on as it came.
    pub state: String,
    pub parent: Option<Parent>,
    /// What no other run has: ids are made of it.
    pub seed: Vec<u8>,
}

/// The bodies of the requests to a collector, and the id of the trace.
pub fn requests(timings: &Timings, resource: &Resource) -> (String, Vec<Value>) {
    let trace = match &resource.parent {
        Some(parent) => parent.trace.clone(),
        None => id(&resource.seed, "trace", 16),
    };
    let spans = Spans { timings, resource, trace: &trace };
    let all: Vec<Value> = std::iter::once(spans.run())
        .chain(timings.jobs.iter().filter_map(|job| Some(spans.job(job, job.start?))))
        .collect();
    let attributes: Vec<Value> =
        resource.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let requests = all.chunks(BATCH).map(|spans| {
        json!({ "resourceSpans": [{
            "resource": { "attributes": attributes },
            "scopeSpans": [{
                "scope": { "name": "longshore", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }] })
    });
    (trace.clone(), requests.collect())
}

struct Spans<'a> {
    timings: &'a Timings,
    resource: &'a Resource,
    trace: &'a str,
}

impl Spans<'_> {
    fn run(&self) -> Value {
        let timings = self.timings;
        let result = match timings.exit {
            0 => "success",
            code if code >= Exit::Interrupted as u8 => "cancellation",
            code if code == Exit::Machine as u8 || code == Exit::Outside as u8 => "error",
            _ => "failure",
        };
        let mut attributes = vec![
            attribute("cicd.pipeline.name", "longshore"),
            attribute("cicd.pipeline.run.id", &timings.run),
            attribute("cicd.pipeline.result", result),
            attribute("longshore.command", &timings.command),
            number("longshore.exit", u64::from(timings.exit)),
            number("longshore.jobs", timings.jobs.len() as u64),
            number("longshore.cached", timings.count("cached") as u64),
        ];
        let well = timings.exit == 0;
        if !well {
            attributes.push(attribute("error.type", &format!("exit {}", timings.exit)));
        }
        let command = timings.command.split(' ').next().unwrap_or_default();
        let mut span = json!({
            "traceId": self.trace,
            "spanId": self.span("run"),
            "name": format!("longshore {command}"),
            "kind": SERVER,
            "startTimeUnixNano": self.nanoseconds(0),
            "endTimeUnixNano": self.nanoseconds(timings.milliseconds),
            "attributes": attributes,
            "status": status(well, ""),
        });
        if let Some(parent) = &self.resource.parent {
            span["parentSpanId"] = parent.span.clone().into();
        }
        if !self.resource.state.is_empty() {
            span["traceState"] = self.resource.state.clone().into();
        }
        span
    }

    fn job(&self, job: &Timing, start: u64) -> Value {
        let result = match job.result {
            "done" | "cached" => "success",
            "failed" => "failure",
            _ => "cancellation",
        };
        let critical = self.timings.critical.iter().any(|step| step.job == job.id);
        let mut attributes = vec![
            attribute("cicd.pipeline.task.name", &job.title),
            attribute("cicd.pipeline.task.run.id", &job.id.0),
            attribute("cicd.pipeline.task.run.result", result),
            attribute("longshore.stage", job.stage.name()),
            attribute("longshore.result", job.result),
            flag("longshore.cached", job.result == "cached"),
            flag("longshore.critical", critical),
            number("longshore.waited_ms", job.waited),
        ];
        attributes.extend(job.service.iter().map(|service| attribute("longshore.service", service)));
        attributes.extend(
            job.platform.iter().map(|platform| attribute("longshore.platform", &platform.to_string())),
        );
        if job.result == "failed" {
            attributes.push(attribute("error.type", "failed"));
        }
        // Only spans that there are.
        let needs =
            job.needs.iter().filter(|need| self.timings.job(need).is_some_and(|job| job.start.is_some()));
        let links: Vec<Value> =
            needs.map(|need| json!({ "traceId": self.trace, "spanId": self.span(&need.0) })).collect();
        json!({
            "traceId": self.trace,
            "spanId": self.span(&job.id.0),
            "parentSpanId": self.span("run"),
            "name": job.id.0,
            "kind": INTERNAL,
            "startTimeUnixNano": self.nanoseconds(start),
            "endTimeUnixNano": self.nanoseconds(start + job.milliseconds),
            "attributes": attributes,
            "links": links,
            "status": status(job.result != "failed", &job.note),
        })
    }

    fn span(&self, of: &str) -> String {
        id(&self.resource.seed, &format!("span {of}"), 8)
    }

    /// Since 1970.
    fn nanoseconds(&self, milliseconds: u64) -> String {
        (u128::from(self.timings.started + milliseconds) * 1_000_000).to_string()
    }
}

fn status(well: bool, message: &str) -> Value {
    if well { json!({}) } else { json!({ "code": ERROR, "message": message }) }
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

fn number(name: &str, value: u64) -> Value {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}

fn flag(name: &str, value: bool) -> Value {
    json!({ "key": name, "value": { "boolValue": value } })
}

/// `length` bytes in hexadecimal, that follow from the seed.
fn id(seed: &[u8], of: &str, length: usize) -> String {
    Hasher::new().chain(seed).chain([0]).chain(of).finish().hex().chars().take(2 * length).collect()
}
