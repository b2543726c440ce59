//! A registry in memory, on a free loopback port, with faults on demand.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::types::Digest;

/// A request without its body.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) method: String,
    /// With its query.
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
}

impl Head {
    pub(super) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }

    fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What happens to a request.
pub(super) enum Fault {
    None,
    Reply(u16, Vec<(&'static str, String)>, String),
    /// The connection is closed without an answer.
    Cut,
    /// That many bytes of the body arrive and are kept, then the connection is closed.
    CutAfter(usize),
    /// No answer ever.
    Hang,
    /// The right answer, but only so many bytes of its body.
    Truncate(usize),
    /// The right answer with one byte changed.
    Damage,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// By digest or tag: media type and bytes.
    pub(super) manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<usize, Vec<u8>>,
    begun: usize,
    pub(super) log: Vec<Head>,
    /// Bytes of upload bodies that arrived.
    pub(super) received: usize,
}

type Hook = Box<dyn FnMut(&Head, &State) -> Fault + Send>;

pub(super) struct Server {
    pub(super) host: String,
    pub(super) state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start(hook: impl FnMut(&Head, &State) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let hook: Arc<Mutex<Hook>> = Arc::new(Mutex::new(Box::new(hook)));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, hook) = (shared.clone(), hook.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &state, &hook));
            }
        });
        Self { host, state }
    }

    /// How often a request of this kind came.
    pub(super) fn count(&self, method: &str, part: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|head| head.is(method, part)).count()
    }
}

fn head(reader: &mut BufReader<&TcpStream>) -> Option<Head> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Some(Head { method, target, headers }),
        };
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, hook: &Mutex<Hook>) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = head(&mut reader) {
        let fault = {
            let mut state = state.lock().unwrap();
            state.log.push(head.clone());
            hook.lock().unwrap()(&head, &state)
        };
        let length: usize = head.headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; if let Fault::CutAfter(bytes) = fault { bytes.min(length) } else { length }];
        match fault {
            Fault::Cut => return,
            Fault::Hang => loop {
                std::thread::park();
            },
            _ => {}
        }
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut state = state.lock().unwrap();
        let (status, mut headers, mut answer) = match &fault {
            Fault::CutAfter(_) => {
                keep(&mut state, &head, &body);
                return;
            }
            Fault::Reply(status, headers, text) => (*status, headers.clone(), text.clone().into_bytes()),
            _ => answer(&mut state, &head, &body),
        };
        let length = answer.len();
        let mut closed = false;
        match fault {
            Fault::Truncate(bytes) if length > 0 => {
                answer.truncate(bytes);
                closed = true;
            }
            Fault::Damage if length > 0 => answer[length / 2] ^= 1,
            _ => {}
        }
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            headers.push(("content-length", length.to_string()));
        }
        let mut text = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut out = stream;
        let _ = out.write_all(format!("{text}\r\n").as_bytes());
        if head.method != "HEAD" {
            let _ = out.write_all(&answer);
        }
        if closed {
            return;
        }
    }
}

fn number(target: &str) -> Option<usize> {
    target.split_once("/uploads/")?.1.split('?').next()?.parse().ok()
}

fn keep(state: &mut State, head: &Head, body: &[u8]) {
    if let Some(upload) = number(&head.target).and_then(|number| state.uploads.get_mut(&number)) {
        upload.extend_from_slice(body);
        state.received += body.len();
    }
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn refused(status: u16, code: &str) -> Answer {
    (status, Vec::new(), format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#).into_bytes())
}

fn answer(state: &mut State, head: &Head, body: &[u8]) -> Answer {
    let path = head.target.split('?').next().unwrap_or_default().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    match head.method.as_str() {
        "GET" if path == "/v2/" => (200, Vec::new(), b"{}".to_vec()),
        "POST" => {
            state.begun += 1;
            let number = state.begun;
            state.uploads.insert(number, Vec::new());
            (202, vec![("location", format!("/v2/x/blobs/uploads/{number}?_state=secret"))], Vec::new())
        }
        _ if path.contains("/blobs/uploads/") => upload(state, head, body),
        "GET" | "HEAD" if path.contains("/blobs/") => match state.blobs.get(&last) {
            Some(bytes) => {
                let start = head.headers.get("range").map(|range| {
                    range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
                });
                match start {
                    Some(start) => {
                        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                        (206, vec![("content-range", range)], bytes[start..].to_vec())
                    }
                    None => (200, Vec::new(), bytes.clone()),
                }
            }
            None => refused(404, "BLOB_UNKNOWN"),
        },
        "PUT" => {
            let kind = head.headers["content-type"].clone();
            state.manifests.insert(Digest::of(body).to_string(), (kind.clone(), body.to_vec()));
            state.manifests.insert(last, (kind, body.to_vec()));
            (201, Vec::new(), Vec::new())
        }
        _ => match state.manifests.get(&last) {
            Some((kind, bytes)) => (200, vec![("content-type", kind.clone())], bytes.clone()),
            None => refused(404, "MANIFEST_UNKNOWN"),
        },
    }
}

fn upload(state: &mut State, head: &Head, body: &[u8]) -> Answer {
    let Some(number) = number(&head.target).filter(|number| state.uploads.contains_key(number)) else {
        return refused(404, "BLOB_UPLOAD_UNKNOWN");
    };
    let stands = state.uploads[&number].len();
    if let Some(range) = head.headers.get("content-range")
        && !range.starts_with(&format!("{stands}-"))
    {
        return refused(416, "RANGE_INVALID");
    }
    keep(state, head, body);
    let stands = state.uploads[&number].len();
    let place = vec![
        ("location", format!("/v2/x/blobs/uploads/{number}?_state=secret{stands}")),
        ("range", format!("0-{}", stands.saturating_sub(1))),
    ];
    match head.method.as_str() {
        "GET" => (204, place, Vec::new()),
        "PATCH" => (202, place, Vec::new()),
        _ => {
            let bytes = state.uploads.remove(&number).unwrap();
            let digest = head.query("digest").unwrap().to_owned();
            if Digest::of(&bytes).as_str() != digest {
                return refused(400, "DIGEST_INVALID");
            }
            state.blobs.insert(digest, bytes);
            (201, Vec::new(), Vec::new())
        }
    }
}
