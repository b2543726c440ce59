//! Debian's docker-registry on a free loopback port: open, with passwords, or with a token server of
//! the tests' own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::process::{Server, command, free_port, listens, run, succeed};
use crate::tool::tool;

pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "correct horse";

/// A registry that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Registry {
    port: u16,
    tokens: Option<TokenServer>,
    // Ended before its folder goes.
    server: Server,
    folder: tempfile::TempDir,
}

impl Registry {
    /// One that asks for nothing; `None` where the machine has no docker-registry.
    pub(crate) fn start() -> Option<Self> {
        let program = tool("docker-registry")?;
        let folder = tempfile::tempdir().unwrap();
        Some(Self::serve(&program, folder, "", None))
    }

    /// One that wants [`USER`] and [`PASSWORD`].
    pub(crate) fn with_password() -> Option<Self> {
        let (program, htpasswd) = (tool("docker-registry")?, tool("htpasswd")?);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        // The cheapest bcrypt: the registry checks it at every request.
        std::fs::write(&path, run(htpasswd, ["-nbB", "-C", "4", USER, PASSWORD])).unwrap();
        let auth = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", path.display());
        Some(Self::serve(&program, folder, &auth, None))
    }

    /// One that wants a bearer token of [`TokenServer`], which gives them to [`USER`] with [`PASSWORD`].
    pub(crate) fn with_tokens() -> Option<Self> {
        let (program, openssl) = (tool("docker-registry")?, tool("openssl")?);
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenServer::start(folder.path(), openssl);
        let auth = format!(
            "auth:\n  token:\n    realm: {}\n    service: tests\n    issuer: tests\n    rootcertbundle: {}\n",
            tokens.realm(),
            folder.path().join("cert.pem").display()
        );
        Some(Self::serve(&program, folder, &auth, Some(tokens)))
    }

    /// One that speaks TLS, with the certificate [`Registry::certificate`].
    pub(crate) fn with_tls() -> Option<Self> {
        let (program, openssl) = (tool("docker-registry")?, tool("openssl")?);
        let folder = tempfile::tempdir().unwrap();
        let [key, certificate] = ["key.pem", "cert.pem"].map(|name| folder.path().join(name));
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests \
                       -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        let command = &mut command(&openssl);
        succeed(
            command.args(request.split_whitespace()).arg("-keyout").arg(&key).arg("-out").arg(&certificate),
        );
        let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        Some(Self::serve(&program, folder, &tls, None))
    }

    /// One that lists referrers, which Debian's does not: `fixtures/referrers`. It keeps all in memory.
    pub(crate) fn with_referrers() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("registry");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/referrers");
        let mut build = command("go");
        build.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&program).arg(".");
        succeed(build.current_dir(source).env("GOFLAGS", "-mod=readonly").env("GOWORK", "off"));
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let log = folder.path().join("log");
        let server = Server::start(&program, &["-address", &address], &[], log).wait(|| listens(port));
        Self { port, tokens: None, server, folder }
    }

    /// Whom to trust, of [`Registry::with_tls`]: for SSL_CERT_FILE.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// `more`: what stands below `http`, then keys of their own.
    fn serve(program: &Path, folder: tempfile::TempDir, more: &str, tokens: Option<TokenServer>) -> Self {
        let port = free_port();
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\n  level: warn\nstorage:\n  delete:\n    enabled: true\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: tests\n{more}",
            data.display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let log = folder.path().join("log");
        let server =
            Server::start(program, &["serve", path.to_str().unwrap()], &[], log).wait(|| listens(port));
        Self { port, tokens, server, folder }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Who gives the tokens, where that is asked for.
    pub(crate) fn tokens(&self) -> Option<&TokenServer> {
        self.tokens.as_ref()
    }

    /// Its log: a line a request.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// The repositories that have a manifest, as its storage has them.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let path = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags");
        let Ok(entries) = std::fs::read_dir(self.folder.path().join(path)) else { return Vec::new() };
        let mut tags: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        tags.sort();
        tags
    }

    /// Takes one tag away, which the protocol can't: the manifest stays.
    pub(crate) fn remove_tag(&self, repository: &str, tag: &str) {
        let path = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}");
        std::fs::remove_dir_all(self.folder.path().join(path)).unwrap();
    }

    /// Writes a `config.json` of docker's with [`USER`] and [`PASSWORD`] for this registry.
    pub(crate) fn log_in(&self, docker_config: &Path) {
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let config = json!({ "auths": { self.host(): { "auth": auth } } });
        std::fs::create_dir_all(docker_config).unwrap();
        std::fs::write(docker_config.join("config.json"), config.to_string()).unwrap();
    }
}

/// Gives bearer tokens as the distribution specification has it: `GET /token?service=…&scope=…`, signed
/// with a key that only these tests know.
#[derive(Debug)]
pub(crate) struct TokenServer {
    port: u16,
    state: Arc<TokenState>,
}

#[derive(Debug)]
struct TokenState {
    openssl: PathBuf,
    key: PathBuf,
    certificate: String,
    given: AtomicUsize,
    lifetime: AtomicU64,
}

impl TokenServer {
    fn start(folder: &Path, openssl: PathBuf) -> Self {
        let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
        succeed(
            command(&openssl)
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tests"])
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        );
        let pem = std::fs::read_to_string(&certificate).unwrap();
        let certificate = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let state = TokenState {
            openssl,
            key,
            certificate,
            given: AtomicUsize::new(0),
            lifetime: AtomicU64::new(300),
        };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = state.clone();
        // It waits for a connection as long as the process lives, and holds nothing meanwhile.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = shared.answer(stream);
            }
        });
        Self { port, state }
    }

    fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// How many tokens it has given.
    pub(crate) fn given(&self) -> usize {
        self.state.given.load(Ordering::SeqCst)
    }

    /// How many seconds the next tokens hold.
    pub(crate) fn set_lifetime(&self, seconds: u64) {
        self.state.lifetime.store(seconds, Ordering::SeqCst);
    }
}

impl TokenState {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let wanted = format!("basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let mut known = false;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let (scheme, rest) = value.trim().split_once(' ').unwrap_or_default();
            let value = format!("{} {rest}", scheme.to_lowercase());
            known |= name.eq_ignore_ascii_case("authorization") && value == wanted;
        }
        let (status, body) = if known {
            self.given.fetch_add(1, Ordering::SeqCst);
            let lifetime = self.lifetime.load(Ordering::SeqCst);
            let token = self.token(&scopes(&request), lifetime);
            ("200 OK", json!({ "token": token, "expires_in": lifetime }).to_string())
        } else {
            ("401 Unauthorized", json!({ "errors": [{ "code": "UNAUTHORIZED" }] }).to_string())
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()
    }

    /// A JSON Web Token, RS256, its certificate in `x5c` (RFC 7515, distribution's token specification).
    fn token(&self, scopes: &[String], lifetime: u64) -> String {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let access: Vec<_> = scopes
            .iter()
            .filter_map(|scope| {
                let mut parts = scope.split(':');
                let (kind, rest) = (parts.next()?, parts.collect::<Vec<_>>());
                let (actions, name) = rest.split_last()?;
                let actions: Vec<_> = actions.split(',').collect();
                Some(json!({ "type": kind, "name": name.join(":"), "actions": actions }))
            })
            .collect();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": "tests", "sub": USER, "aud": "tests", "access": access, "jti": self.given.load(Ordering::SeqCst).to_string(),
            "iat": now, "nbf": now - 5, "exp": now + lifetime,
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.sign(token.as_bytes());
        write!(token, ".{}", URL_SAFE_NO_PAD.encode(signature)).unwrap();
        token
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let mut command = command(&self.openssl);
        command
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }
}

/// `sha256:…` of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    longshore::digest::Digest::of(bytes).to_string()
}

/// The scopes that a request's query asks for; one `scope` may name several, apart by spaces.
fn scopes(request: &str) -> Vec<String> {
    let target = request.split(' ').nth(1).unwrap_or_default();
    let (_, query) = target.split_once('?').unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    values.flat_map(|value| decoded(value).split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Undoes percent encoding.
fn decoded(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
