//! Health over HTTP: one `GET`, its status code, nothing followed. HTTP/1.1 (RFC 9112) by hand, because a
//! status line is all that is read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of an answer that are read: its status line is in the first of them.
const LIMIT: usize = 1024;

/// Bytes of a whole answer that are read.
pub(crate) const BODY: usize = 1 << 20;

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// No answer, and why: "connection refused".
    Nothing(String),
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Status(200..=299))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Nothing(why) => write!(f, "got no answer: {why}"),
        }
    }
}

/// `GET path` at the first of the addresses that takes the connection.
pub(crate) fn get(addresses: &[SocketAddr], path: &str, timeout: Duration) -> Answer {
    let until = Instant::now() + timeout;
    let mut stream = match connect(addresses, timeout) {
        Ok(stream) => stream,
        Err(why) => return Answer::Nothing(why),
    };
    match exchange(&mut stream, path, until) {
        Ok(status) => Answer::Status(status),
        Err(error) => Answer::Nothing(words(&error)),
    }
}

/// Whether something takes connections there.
pub(crate) fn listens(addresses: &[SocketAddr], timeout: Duration) -> Result<(), String> {
    connect(addresses, timeout).map(drop)
}

/// The whole answer to `GET path`: its status and its body, of which at most [`BODY`] bytes are read.
pub(crate) fn fetch(
    addresses: &[SocketAddr],
    path: &str,
    timeout: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let until = Instant::now() + timeout;
    let mut stream = connect(addresses, timeout)?;
    whole(&mut stream, path, until).map_err(|error| words(&error))
}

/// HTTP/1.0: its body ends with the connection, in no chunks.
fn whole(stream: &mut TcpStream, path: &str, until: Instant) -> std::io::Result<(u16, Vec<u8>)> {
    let host = stream.peer_addr()?;
    stream.set_write_timeout(Some(left(until)?))?;
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: longshore\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while answer.len() < BODY {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    let status = status(&answer).ok_or_else(|| std::io::Error::other("it is no HTTP"))?;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    Ok((status, answer.split_off(head)))
}

fn connect(addresses: &[SocketAddr], timeout: Duration) -> Result<TcpStream, String> {
    let mut why = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = words(&error),
        }
    }
    Err(why)
}

fn exchange(stream: &mut TcpStream, path: &str, until: Instant) -> std::io::Result<u16> {
    let host = stream.peer_addr()?;
    stream.set_write_timeout(Some(left(until)?))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: longshore\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    while answer.len() < LIMIT && !answer.contains(&b'\n') {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    status(&answer).ok_or_else(|| std::io::Error::other("it is no HTTP"))
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(std::io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The code of `HTTP/1.1 200 OK` (RFC 9112, section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = line.split_ascii_whitespace().nth(1)?;
    (code.len() == 3).then(|| code.parse().ok()).flatten()
}

/// An error in words that are the same on every system.
fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused".to_owned(),
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof => "connection closed".to_owned(),
        Kind::TimedOut | Kind::WouldBlock => "time is up".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that says `answer` once.
    fn server(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (address, thread)
    }

    #[test]
    fn the_status_is_what_the_first_line_says() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nfine", Answer::Status(200)),
            ("HTTP/1.0 503\r\n\r\n", Answer::Status(503)),
            ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", Answer::Status(302)),
            ("SSH-2.0-OpenSSH\r\n", Answer::Nothing("it is no HTTP".to_owned())),
            ("HTTP/1.1 20000 OK\r\n", Answer::Nothing("it is no HTTP".to_owned())),
        ] {
            let (address, thread) = server(answer);
            assert_eq!(get(&[address], "/healthz", Duration::from_secs(5)), expected);
            assert!(thread.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
        }
    }

    #[test]
    fn nobody_there_and_nobody_answering() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silent = get(&[address], "/", Duration::from_millis(100));
        assert_eq!(silent, Answer::Nothing("time is up".to_owned()));
        assert_eq!(listens(&[address], Duration::from_secs(1)), Ok(()));
        drop(listener);
        let refused = get(&[address], "/", Duration::from_secs(1));
        assert_eq!(refused, Answer::Nothing("connection refused".to_owned()));
    }

    #[test]
    fn only_2xx_is_success() {
        assert!(Answer::Status(204).is_success());
        assert!(!Answer::Status(302).is_success());
        assert!(!Answer::Nothing(String::new()).is_success());
    }
}
