//! Debian's docker-registry, skopeo and umoci.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::*;
use crate::fault::exit_of;
use crate::reference::Tag;

/// A program of the machine; `None`, loudly, where it is missing, which CI doesn't allow.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
fn tool(name: &str) -> Option<PathBuf> {
    let found = which::which(name).ok();
    if found.is_none() {
        let ci = Environment::from_process().get("CI") == Some("true");
        assert!(!ci, "`{name}` is missing, and CI allows no skipped test");
        eprintln!("SKIPPED: `{name}` is not installed");
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "a server has to go on while the test talks to it")]
fn command(program: &Path) -> std::process::Command {
    std::process::Command::new(program)
}

fn run(program: &Path, args: &[&str]) -> String {
    let output = command(program).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Registry {
    process: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `extra`: more of its configuration; `http`: more of that part of it.
fn registry(folder: &Path, extra: &str) -> Option<Registry> {
    registry_with(folder, "", extra)
}

fn registry_with(folder: &Path, http: &str, extra: &str) -> Option<Registry> {
    let program = tool("docker-registry")?;
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let storage = folder.join("registry");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '{host}', secret: tests{http}}}\n{extra}",
        storage.display()
    );
    let config = folder.join("registry.yml");
    std::fs::write(&config, text).unwrap();
    let mut process = command(&program)
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let listens = lines.any(|line| line.unwrap().contains("listening on"));
    assert!(listens, "docker-registry ended at once");
    // Read on, so that it never waits for a full pipe.
    std::thread::spawn(move || lines.count());
    Some(Registry { process, host })
}

fn place(host: &str, path: &str, environment: &Environment, chunk: Option<u64>) -> Remote {
    let options = Options { chunk, limits: Limits::default(), ..options() };
    let client = Client::new(environment, options, &Cancel::default());
    client.repository(Repository::new(host, path).unwrap())
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = registry(folder.path(), "") else { return };
    let (layout, index) = sample(&folder.path().join("from"));
    let cancel = Cancel::default();
    for (path, chunk) in [("shop/gateway", None), ("shop/chunked", Some(1000))] {
        let remote = place(&server.host, path, &environment(&[]), chunk);
        let to = Destination::Registry(remote.clone());
        let tag: Tag = "1.0.0".parse().unwrap();
        assert!(remote.tags().unwrap().is_empty());
        assert_eq!(to.resolve(&tag).unwrap(), None);
        let copied = to.copy_image(&layout, &index, copying(&cancel)).unwrap();
        assert_eq!((copied.sent, copied.found), (4, 0));
        let copied = to.copy_image(&layout, &index, copying(&cancel)).unwrap();
        assert_eq!((copied.sent, copied.found), (0, 4));
        to.set_tag_once(&tag, &index.digest).unwrap();
        to.set_tag_once(&tag, &index.digest).unwrap();
        let other = layout.manifests(&index).unwrap().remove(0);
        let error = to.set_tag_once(&tag, &other.digest).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Conflict);
        for digest in [&index.digest, &other.digest] {
            assert!(error.to_string().contains(digest.as_str()), "{error}");
        }
        let latest: Tag = "latest".parse().unwrap();
        to.move_tag(&latest, &other.digest).unwrap();
        to.move_tag(&latest, &index.digest).unwrap();
        assert_eq!(to.tags().unwrap(), [tag, latest]);
    }
    let Some(skopeo) = tool("skopeo") else { return };
    let source = format!("docker://{}/shop/gateway:1.0.0", server.host);
    let raw = run(&skopeo, &["inspect", "--raw", "--tls-verify=false", &source]);
    assert_eq!(Digest::of(raw.as_bytes()), index.digest);
}

#[test]
fn a_blob_is_mounted_from_a_sibling() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = registry(folder.path(), "") else { return };
    let (file, digest, size) = blob(folder.path(), 50_000);
    let sent = Blob { file: &file, digest: &digest, size };
    let to = |path: &str| place(&server.host, path, &environment(&[]), None);
    assert_eq!(to("a").put_blob(sent, &["nowhere"], &|_| {}).unwrap(), Uploaded::Sent);
    assert_eq!(to("b").put_blob(sent, &["a"], &|_| {}).unwrap(), Uploaded::Mounted);
    assert!(to("b").has_blob(&digest, size).unwrap());
}

/// Forwards to `to`, and cuts one connection, once, after `after` bytes to the server.
fn cutting_proxy(to: &str, after: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (to, left) = (to.to_owned(), Arc::new(Mutex::new(Some(after))));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut back, mut front) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut front));
            let left = left.clone();
            std::thread::spawn(move || forward(client, server, &left));
        }
    });
    host
}

fn forward(mut client: TcpStream, mut server: TcpStream, left: &Mutex<Option<u64>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let mut left = left.lock().unwrap();
        if left.is_some_and(|left| left < read as u64) {
            *left = None;
            break;
        }
        *left = left.map(|left| left - read as u64);
        server.write_all(&buffer[..read]).unwrap();
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_cut_upload_ends_whole_in_a_real_registry() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = registry(folder.path(), "") else { return };
    let (file, digest, size) = blob(folder.path(), 5_000_000);
    for (path, chunk, after) in [("whole", None, 2_000_000), ("parts", Some(1_000_000), 2_500_000)] {
        let proxy = cutting_proxy(&server.host, after);
        let remote = place(&proxy, path, &environment(&[]), chunk);
        let sent = Blob { file: &file, digest: &digest, size };
        assert_eq!(remote.put_blob(sent, &[], &|_| {}).unwrap(), Uploaded::Sent);
        assert!(remote.has_blob(&digest, size).unwrap());
    }
}

#[test]
fn certificates_are_checked_and_ones_own_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(openssl) = tool("openssl") else { return };
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests \
                   -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let mut args: Vec<&str> = command.split_whitespace().collect();
    args.extend(["-keyout", key, "-out", certificate]);
    run(&openssl, &args);
    let http = format!(", tls: {{certificate: {certificate}, key: {key}}}");
    let Some(secure) = registry_with(folder.path(), &http, "") else { return };
    let second = tempfile::tempdir().unwrap();
    let Some(plain) = registry(second.path(), "") else { return };
    let get = |host: &str, roots: &str| {
        let environment = environment(&[("SSL_CERT_FILE", roots)]);
        let client =
            http::Client::new(&environment, http::Schemes::new(), options().limits, &Cancel::default());
        let url = format!("https://{host}/v2/");
        client.send(Request { method: Method::Get, url: &url, headers: Vec::new(), body: Body::Empty })
    };
    assert_eq!(get(&secure.host, certificate).unwrap().status, 200);
    let other = folder.path().join("other.pem");
    let system = other_authority(&other);
    for (host, roots) in [(&secure.host, system), (&plain.host, certificate)] {
        let error = get(host, roots).unwrap_err();
        assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
        assert_eq!(exit_of(&error.fault()), Exit::Machine);
    }
    assert_eq!(exit_of(&get(&secure.host, "/nonexistent").unwrap_err().fault()), Exit::Machine);
    assert_eq!(exit_of(&get(&secure.host, key).unwrap_err().fault()), Exit::Machine);
}

/// A file of authorities that know nothing of the tests'.
fn other_authority(path: &Path) -> &str {
    use base64::Engine as _;
    let der = webpki_root_certs::TLS_SERVER_ROOT_CERTS[0].as_ref();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    std::fs::write(path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
        .unwrap();
    path.to_str().unwrap()
}

#[test]
fn a_password_opens_a_registry_and_its_lack_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let Some(htpasswd) = tool("htpasswd") else { return };
    let users = folder.path().join("users");
    std::fs::write(&users, run(&htpasswd, &["-Bbn", "ada", "pass word"])).unwrap();
    let extra = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", users.display());
    let Some(server) = registry(folder.path(), &extra) else { return };
    let (layout, index) = sample(&folder.path().join("from"));
    let config = folder.path().join("auth.json");
    for (auth, good) in [("YWRhOnBhc3Mgd29yZA==", true), ("YWRhOndyb25n", false), ("", false)] {
        std::fs::write(&config, format!(r#"{{"auths":{{"{}/shop":{{"auth":"{auth}"}}}}}}"#, server.host))
            .unwrap();
        let environment = environment(&[("REGISTRY_AUTH_FILE", config.to_str().unwrap())]);
        let to = Destination::Registry(place(&server.host, "shop/gateway", &environment, None));
        let cancel = Cancel::default();
        match to.copy_image(&layout, &index, copying(&cancel)) {
            Ok(copied) => assert!(good && copied.sent == 4),
            Err(error) => {
                assert!(!good, "{error:#}");
                assert_eq!(exit_of(&error), Exit::Machine, "{error:#}");
                let hint = error.downcast_ref::<crate::fault::Fault>().unwrap().hint.clone().unwrap();
                assert!(hint.contains(config.to_str().unwrap()), "{hint}");
            }
        }
    }
}

#[test]
fn a_base_comes_from_a_registry_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = registry(folder.path(), "") else { return };
    let (layout, index) = sample(&folder.path().join("from"));
    let remote = place(&server.host, "base", &environment(&[]), None);
    let to = Destination::Registry(remote.clone());
    let cancel = Cancel::default();
    to.copy_image(&layout, &index, copying(&cancel)).unwrap();
    let tag: Tag = "3".parse().unwrap();
    to.move_tag(&tag, &index.digest).unwrap();
    let into = Layout::create(&folder.path().join("into")).unwrap();
    let base = |digest: &Digest| crate::declared::Base::Remote {
        repository: format!("{}/base", server.host),
        tag: Some("3".to_owned()),
        digest: digest.clone(),
    };
    let platform = "linux/arm64".parse().unwrap();
    let find = |digest: &Digest| {
        let environment = crate::host::environment::Environment::default();
        let places =
            crate::base::Places { root: folder.path(), client: remote.client(), environment: &environment };
        crate::base::find(&base(digest), places, &platform, crate::declared::Compression::Gzip(None), &into)
    };
    let found = find(&index.digest).unwrap();
    assert!(found.base.layers.iter().all(|layer| into.has_blob(&layer.digest, layer.size)));
    let other = layout.manifests(&index).unwrap().remove(1).digest;
    to.move_tag(&tag, &other).unwrap();
    let error = find(&index.digest).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Machine);
    assert!(error.to_string().contains(index.digest.as_str()) && error.to_string().contains(other.as_str()));
}

#[test]
fn other_tools_read_our_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, index) = sample(&folder.path().join("from"));
    let platform = layout.manifests(&index).unwrap().remove(0);
    layout.tag(&"amd64".parse().unwrap(), &platform).unwrap();
    let root = layout.root().display();
    if let Some(skopeo) = tool("skopeo") {
        let raw = run(&skopeo, &["inspect", "--raw", &format!("oci:{root}:1.0.0")]);
        assert_eq!(Digest::of(raw.as_bytes()), index.digest);
        let shown = run(&skopeo, &["inspect", &format!("oci:{root}:amd64")]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["Env"], serde_json::json!(["APP_ENV=development"]));
        assert_eq!(shown["Created"], "2023-11-14T22:13:20Z");
    }
    if let Some(umoci) = tool("umoci") {
        let bundle = folder.path().join("bundle");
        let image = format!("{root}:amd64");
        run(&umoci, &["unpack", "--rootless", "--image", &image, bundle.to_str().unwrap()]);
        let program = std::fs::read_to_string(bundle.join("rootfs/app")).unwrap();
        assert!(program.starts_with("program for linux/amd64\n"));
    }
}
