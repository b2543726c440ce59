//! A proxy before a registry that spoils what a test picks: refusals, cut connections, silence.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::repository::Repository;

/// What happens to one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is handed on.
    None,
    /// The proxy answers itself: a status line's words, and headers as `Name: value`.
    Answer(&'static str, Vec<String>),
    /// The connection ends when so many bytes of the request's body have been handed on.
    CutRequest(u64),
    /// The connection ends when so many bytes of the answer, head included, have been handed on.
    CutAnswer(u64),
    /// Nothing comes back, until the client gives up.
    Silence,
}

/// `METHOD /path`, in the order in which they came, and what was done to each.
type Seen = Arc<Mutex<Vec<(String, Fault)>>>;
type Rule = Box<dyn FnMut(&str, usize) -> Fault + Send>;

/// A proxy on a free loopback port.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    seen: Seen,
}

impl Proxy {
    /// Before `127.0.0.1:upstream`. `rule` gets `METHOD /path` and how many requests came before.
    pub(crate) fn before(upstream: u16, rule: impl FnMut(&str, usize) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let (rule, shared) = (Arc::new(Mutex::new(Box::new(rule) as Rule)), seen.clone());
        // It waits for a connection as long as the process lives, and holds nothing meanwhile.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rule, seen) = (rule.clone(), shared.clone());
                std::thread::spawn(move || {
                    // A connection that ends is what these tests are about.
                    let _ = serve(client, upstream, &rule, &seen);
                });
            }
        });
        Self { port, seen }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The requests so far whose `METHOD /path` has `part` in it.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(request, _)| request.contains(part)).count()
    }

    /// How many requests were spoilt.
    pub(crate) fn spoilt(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, fault)| !matches!(fault, Fault::None)).count()
    }
}

/// One request of one connection: the answer says that it is the last.
fn serve(mut client: TcpStream, upstream: u16, rule: &Mutex<Rule>, seen: &Seen) -> std::io::Result<()> {
    let Some((head, body)) = head(&mut client)? else { return Ok(()) };
    let line = head.lines().next().unwrap_or_default();
    let request = line.rsplit_once(' ').map_or(line, |(request, _)| request).to_owned();
    let fault = {
        let mut seen = seen.lock().unwrap();
        let fault = (rule.lock().unwrap())(&request, seen.len());
        seen.push((request, fault.clone()));
        fault
    };
    let (mut up, mut down) = (u64::MAX, u64::MAX);
    match fault {
        Fault::None => {}
        Fault::Answer(status, headers) => {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            write!(client, "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")?;
            client.shutdown(Shutdown::Write)?;
            // What the client still sends is read: else it may see a reset instead of the answer.
            client.set_read_timeout(Some(Duration::from_secs(5)))?;
            std::io::copy(&mut client, &mut std::io::sink())?;
            return Ok(());
        }
        Fault::CutRequest(bytes) => up = bytes,
        Fault::CutAnswer(bytes) => down = bytes,
        Fault::Silence => {
            std::io::copy(&mut client, &mut std::io::sink())?;
            return Ok(());
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    let head = head.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
    server.write_all(head.as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let sending = std::thread::spawn(move || {
        let first = body.len().min(usize::try_from(up).unwrap_or(usize::MAX));
        let whole = to.write_all(&body[..first]).is_ok() && copy(&mut from, &mut to, up - first as u64);
        if !whole {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    });
    copy(&mut server, &mut client, down);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    let _ = sending.join();
    Ok(())
}

/// The head of a request, without a `Connection` of its own, and what was read of the body with it.
fn head(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let own = |line: &&str| !line.to_lowercase().starts_with("connection:");
            let lines: Vec<&str> = text.trim_end().split("\r\n").filter(own).collect();
            return Ok(Some((lines.join("\r\n") + "\r\n\r\n", body)));
        }
    }
}

/// Copies until the end, or until `limit` bytes; says whether it was the end.
fn copy(from: &mut TcpStream, to: &mut TcpStream, limit: u64) -> bool {
    let mut left = limit;
    let mut buffer = [0; 16384];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => left -= read as u64,
            _ => return true,
        }
    }
    false
}

#[test]
fn files_that_a_deploy_is_made_of_are_checked_with_the_rest() {
    let shop = Repository::new();
    shop.write("environments/prod.toml", "registry = \"r.example.com/x\"\n[deploy]\ndriver = \"kubernetes\"\n[deploy.kubernetes]\noverlays = [\"deploy/all.yaml\", \"deploy/gone.yaml\"]\n");
    shop.write(
        "environments/local.toml",
        "[deploy]\ndriver = \"compose\"\ncompose = { files = [\"gone.yaml\"] }\n",
    );
    shop.write("deploy/all.yaml", "kind: Deployment\nspec: [\n");
    let run = shop
        .longshore(&["check"])
        .code(2)
        .stderr_has("deploy/all.yaml:3:1")
        .stderr_has("could not read `deploy/gone.yaml`")
        .stderr_has("could not read `gone.yaml`");
    assert_eq!(run.stderr.matches("could not read").count(), 2, "each once: {run}");
    if crate::tool::tool("kubectl").is_none() {
        return;
    }
    // A folder of Kustomize, and one that can't be built.
    shop.write("deploy/kustomization.yaml", "resources: [quota.yaml]\nnamePrefix: my-\n");
    shop.write(
        "deploy/quota.yaml",
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: quota}\nspec: {hard: {pods: 4}}\n",
    );
    let own = "[services.api.deploy.kubernetes]\nkustomize = \"deploy\"\n";
    shop.write(
        "environments/prod.toml",
        format!("registry = \"r.example.com/x\"\n[deploy]\ndriver = \"kubernetes\"\n{own}"),
    );
    shop.write("environments/local.toml", "");
    shop.longshore(&["check"]).code(0);
    shop.edit("deploy/kustomization.yaml", "quota.yaml", "gone.yaml");
    shop.longshore(&["check"])
        .code(2)
        .stderr_has("`deploy` can't be built")
        .stderr_has("environments/prod.toml:5:13");
    shop.edit("deploy/kustomization.yaml", "gone.yaml", "quota.yaml");
    shop.edit("deploy/quota.yaml", "kind: ResourceQuota", "kind: [");
    shop.longshore(&["check"]).code(2);
}
