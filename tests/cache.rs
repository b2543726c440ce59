//! The cache that a team shares: servers that mean well, and servers that do not.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::process::{Server, free_port, listens};
use crate::registry::Registry;
use crate::repository::{Repository, Run};
use crate::tool::tool;

/// A shop of one quick service whose environment writes to the cache at `url`, with a key of its own.
fn shop(url: &str) -> Repository {
    let shop = Repository::empty();
    shop.write("svc/go.mod", "module example.com/shop\n\ngo 1.26.0\n");
    shop.write("svc/cmd/api/main.go", "package main\n\nfunc main() { println(\"api\") }\n");
    shop.write("environments/local.toml", "[cache]\nwrite = true\n");
    shop.write(".gitignore", "/dist\n");
    let key = shop.cache().join("key");
    let (public, shop) = with_key(shop, "key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions()) & 0o77, 0);
    let pipeline = format!(
        "version = 1\n\n[project]\nname = \"shop\"\nplatforms = [\"linux/amd64\"]\n\n\
         [cache]\nremote = \"{url}\"\ntrust = [\"{public}\"]\n\n[services.api]\npackage = \"svc/cmd/api\"\n"
    );
    shop.write("pipeline.toml", pipeline);
    shop.commit("feat: a shop");
    shop
}

/// Makes a key, and hands it to the runs that follow; gives the public one.
fn with_key(shop: Repository, name: &str) -> (String, Repository) {
    let key = shop.cache().join(name);
    shop.write("pipeline.toml", "version = 1\n[project]\nname = \"shop\"\n");
    let made = shop.longshore(&["cache", "key", key.to_str().unwrap()]).code(0);
    shop.longshore(&["cache", "key", key.to_str().unwrap()]).code(2).stderr_has("is there already");
    (made.stdout.trim().to_owned(), shop.env("LONGSHORE_CACHE_KEY_FILE", key))
}

/// As on another machine: nothing of this user's own store is there, nor what the run before has left.
fn elsewhere(shop: &Repository) {
    for folder in [shop.cache().join("longshore/store"), shop.path("dist"), shop.path(".git/longshore")] {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn image(shop: &Repository) -> Run {
    shop.longshore(&["image", "--snapshot", "--all"]).code(0)
}

/// nginx as it comes with Debian, with DAV: as most such caches are.
fn nginx(folder: &std::path::Path) -> Option<(u16, Server)> {
    let program = tool("nginx")?;
    let port = free_port();
    let here = folder.display();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    let config = format!(
        "{user}\ndaemon off;\nworker_processes 1;\npid {here}/pid;\nevents {{}}\nhttp {{\n{temporary}\
         access_log {here}/access;\nclient_max_body_size 0;\nserver {{\nlisten 127.0.0.1:{port};\n\
         location / {{\nroot {here}/data;\ndav_methods PUT;\ncreate_full_put_path on;\n}}\n}}\n}}\n"
    );
    std::fs::create_dir(folder.join("data")).unwrap();
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    let error = folder.join("error");
    let args = ["-c", path.to_str().unwrap(), "-e", error.to_str().unwrap()];
    Some((port, Server::start(&program, &args, &[], folder.join("log")).wait(|| listens(port))))
}

#[test]
fn what_one_machine_has_built_tested_and_linted_another_takes_from_nginx() {
    let folder = tempfile::tempdir().unwrap();
    let Some((port, _server)) = nginx(folder.path()) else { return };
    let shop = shop(&format!("http://127.0.0.1:{port}/team/longshore"));
    shop.longshore(&["release", "--snapshot", "--all", "--skip", "scan,verify"])
        .code(0)
        .stderr_lacks("warning: the shared");
    let digest = shop.digest("api");
    let access = || std::fs::read_to_string(folder.path().join("access")).unwrap();
    assert_eq!(access().matches("\"PUT /team/longshore/ac/").count(), 5, "{}", access());
    elsewhere(&shop);
    // No Go that could compile is here: all of it comes from the cache. And nobody writes.
    shop.write("environments/local.toml", "");
    let puts = access().matches("PUT").count();
    let run = shop.longshore(&["release", "--snapshot", "--all", "--skip", "scan,verify"]).code(0);
    for job in ["cached lint", "cached test", "cached build"] {
        assert!(run.stderr.contains(job), "{job}: {run}");
    }
    assert_eq!(shop.digest("api"), digest);
    assert_eq!(access().matches("PUT").count(), puts);
    // Offline nobody is asked.
    elsewhere(&shop);
    let asked = access().lines().count();
    shop.longshore(&["build", "--snapshot", "--all", "--offline"]).code(0).stderr_lacks("cached build");
    assert_eq!(access().lines().count(), asked);
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Takes a request and says nothing.
    Silent,
    /// Ends in the middle of a file.
    Cut,
    /// Another byte in each file.
    Tampers,
    /// Another byte in each entry.
    Forges,
    /// Each entry under the key of another.
    Swaps,
    /// Never ends.
    Endless,
    Garbage,
    /// To whatever is asked.
    Answers(u16),
    /// Reads go well, writes do not.
    Full(u16),
}

type Kept = Arc<Mutex<(Manner, BTreeMap<String, Vec<u8>>)>>;

/// A server of the protocol that keeps all in memory.
fn server() -> (String, Kept) {
    let kept: Kept = Arc::new(Mutex::new((Manner::Honest, BTreeMap::new())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shared = kept.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            std::thread::spawn(move || answer(stream, &shared));
        }
    });
    (url, kept)
}

fn answer(mut stream: TcpStream, kept: &Kept) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let manner = kept.lock().unwrap().0;
    let entry = path.starts_with("/ac/");
    let found = kept.lock().unwrap().1.get(&path).cloned();
    let mut end = |status: u16, body: &[u8]| {
        let head =
            format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(if method == "HEAD" { b"" } else { body })
    };
    match (manner, method, found) {
        (Manner::Silent, ..) => {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            Ok(())
        }
        (Manner::Garbage, ..) => stream.write_all(b"\0\0\xff SMTP ready\r\n\r\n"),
        (Manner::Answers(status), ..) => end(status, b"no"),
        (Manner::Full(status), "PUT", _) => end(status, b"full"),
        (_, "PUT", _) => {
            kept.lock().unwrap().1.insert(path, body);
            end(201, b"")
        }
        (_, _, None) => end(404, b""),
        (Manner::Cut, "GET", Some(body)) if !entry => {
            write!(stream, "HTTP/1.1 200 x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
            stream.write_all(&body[..body.len() / 2])
        }
        (Manner::Endless, "GET", Some(_)) => {
            write!(stream, "HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")?;
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            Ok(())
        }
        (Manner::Tampers, _, Some(mut body)) if !entry => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            end(200, &body)
        }
        (Manner::Forges, _, Some(mut body)) if entry => {
            // The last byte of the value.
            let last = body.len() - 2;
            body[last] ^= 1;
            end(200, &body)
        }
        (Manner::Swaps, _, Some(_)) if entry => {
            let other = kept
                .lock()
                .unwrap()
                .1
                .iter()
                .find(|(key, _)| key.starts_with("/ac/") && **key != path)
                .unwrap()
                .1
                .clone();
            end(200, &other)
        }
        (_, _, Some(body)) => end(200, &body),
    }
}

#[test]
fn a_cache_that_lies_hangs_or_is_full_costs_a_warning_and_nothing_else() {
    let (url, kept) = server();
    let shop = shop(&url);
    image(&shop).stderr_lacks("warning");
    let digest = shop.digest("api");
    let good = kept.lock().unwrap().1.clone();
    assert!(good.keys().any(|key| key.starts_with("/cas/")), "{:?}", good.keys());
    let unread = "warning: the shared cache can't be read: ";
    let unwritten = "warning: the shared cache can't be written to: it has no room: it answered ";
    let unsigned = "warning: the shared cache has entries that no trusted writer signed";
    for (manner, warning) in [
        (Manner::Honest, ""),
        (Manner::Silent, "did not answer in time"),
        (Manner::Cut, unread),
        (Manner::Tampers, "warning: the shared cache gave a file of another digest"),
        (Manner::Forges, unsigned),
        (Manner::Swaps, unsigned),
        (Manner::Endless, unread),
        (Manner::Garbage, unread),
        (Manner::Answers(500), unread),
        (Manner::Answers(403), unread),
        (Manner::Answers(302), unread),
        (Manner::Full(507), unwritten),
        (Manner::Full(413), unwritten),
    ] {
        let kept_now = if matches!(manner, Manner::Full(_)) { BTreeMap::new() } else { good.clone() };
        *kept.lock().unwrap() = (manner, kept_now);
        elsewhere(&shop);
        let run = image(&shop);
        assert_eq!(shop.digest("api"), digest, "{manner:?}");
        let warnings: Vec<&str> = run.stderr.lines().filter(|line| line.contains("shared cache")).collect();
        assert_eq!(warnings.len(), usize::from(!warning.is_empty()), "{manner:?}: {run}");
        assert!(warnings.iter().all(|line| line.contains(warning)), "{manner:?}: {run}");
        assert_eq!(run.stderr.contains("cached build"), manner == Manner::Honest, "{manner:?}: {run}");
        // What was refused is in no store of ours.
        let again = image(&shop);
        assert!(again.stderr.contains("cached build"), "{manner:?}: {again}");
        assert_eq!(shop.digest("api"), digest, "{manner:?}");
    }
    // And nobody at all.
    elsewhere(&shop);
    let port = free_port();
    shop.edit("pipeline.toml", &url, &format!("http://127.0.0.1:{port}"));
    image(&shop).stderr_has(unread);
}

#[test]
fn who_may_not_write_does_not_and_an_entry_of_a_strangers_key_does_not_count() {
    let (url, kept) = server();
    let shop = shop(&url);
    let entries = || kept.lock().unwrap().1.len();
    // Outside of CI nobody writes unless the environment says so.
    let environment = shop.read("environments/local.toml");
    shop.write("environments/local.toml", "");
    image(&shop).stderr_lacks("warning");
    assert_eq!(entries(), 0);
    shop.write("environments/local.toml", environment);
    let pipeline = shop.read("pipeline.toml");
    let own = pipeline.split('"').find(|word| word.starts_with("ed25519:")).unwrap().to_owned();
    // A key that nobody trusts: said, and nothing is put there.
    let (stranger, shop) = with_key(shop, "stranger");
    shop.write("pipeline.toml", &pipeline);
    elsewhere(&shop);
    image(&shop).stderr_has("`[cache] trust` does not name its key").stderr_has(&stranger);
    assert_eq!(entries(), 0);
    // Where the stranger is trusted and writes, it counts for those alone who trust him.
    shop.edit("pipeline.toml", &own, &stranger);
    elsewhere(&shop);
    image(&shop).stderr_lacks("warning");
    assert!(entries() > 0);
    shop.edit("pipeline.toml", &stranger, &own);
    elsewhere(&shop);
    let run = image(&shop);
    assert!(run.stderr.contains("no trusted writer signed") && !run.stderr.contains("cached build"), "{run}");
    // Nonsense for a key is a warning; nobody's trust is a fault of the configuration.
    let shop = shop.env("LONGSHORE_CACHE_KEY", "hunter2-hunter2");
    let run = image(&shop).stderr_has("LONGSHORE_CACHE_KEY holds no key");
    assert!(!run.stderr.contains("hunter2"), "{run}");
    shop.edit("pipeline.toml", &format!("trust = [\"{own}\"]"), "");
    shop.longshore(&["check"])
        .code(2)
        .stderr_has("nobody's entries in the shared cache are trusted")
        .stderr_has("pipeline.toml:8");
}

#[test]
fn a_caches_password_goes_to_its_host_and_into_no_message() {
    let (url, kept) = server();
    let shop = shop(&url);
    let secret = "correct-horse-battery";
    let shop = shop.env("LONGSHORE_CACHE_AUTHORIZATION", format!("Bearer {secret}"));
    let run = shop.longshore(&["image", "--snapshot", "--all", "--verbose"]).code(0);
    assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "{run}");
    assert!(!shop.read(".git/longshore/journal.jsonl").contains(secret));
    let stored: Vec<PathBuf> = kept.lock().unwrap().1.keys().map(PathBuf::from).collect();
    assert!(!stored.is_empty());
    shop.edit("pipeline.toml", "http://", "http://ada:hunter2@");
    let fault = shop.longshore(&["check"]).code(2).stderr_has("holds no password");
    assert!(fault.stderr.contains("LONGSHORE_CACHE_AUTHORIZATION"), "{fault}");
}

#[test]
fn a_registry_is_a_shared_cache() {
    let Some(registry) = Registry::with_password() else { return };
    let shop = shop("http://127.0.0.1:1");
    let line = "remote = \"http://127.0.0.1:1\"";
    shop.edit("pipeline.toml", line, &format!("registry = \"{}/team/cache\"", registry.host()));
    // Without a password nobody gets in, and nothing fails.
    image(&shop).stderr_has("warning: the shared cache can't be read: ");
    let digest = shop.digest("api");
    registry.log_in(&shop.docker_config());
    elsewhere(&shop);
    image(&shop).stderr_lacks("warning");
    assert_eq!(registry.tags("team/cache").len(), 3, "{:?}", registry.tags("team/cache"));
    elsewhere(&shop);
    shop.write("environments/local.toml", "");
    image(&shop).stderr_has("cached build").stderr_lacks("warning");
    assert_eq!(shop.digest("api"), digest);
    // The registry goes away, or was never there.
    drop(registry);
    elsewhere(&shop);
    image(&shop).stderr_has("warning: the shared cache can't be read: ");
    assert_eq!(shop.digest("api"), digest);
    shop.edit("pipeline.toml", "registry = \"127", "remote = \"http://127.0.0.1:1\"\nregistry = \"127");
    shop.longshore(&["check"]).code(2).stderr_has("there are two shared caches");
}

#[test]
fn gos_own_cache_lies_in_the_store_and_what_is_harmed_there_is_compiled_again() {
    let shop = shop("http://127.0.0.1:1");
    image(&shop);
    let digest = shop.digest("api");
    let pipeline = shop.read("pipeline.toml");
    let remote = pipeline.lines().filter(|line| !line.starts_with("remote") && !line.starts_with("trust"));
    shop.write(
        "pipeline.toml",
        remote.collect::<Vec<_>>().join("\n").replace("[cache]", "[cache]\ngo = true"),
    );
    let own = tempfile::tempdir().unwrap();
    let store = shop.cache().join("longshore/store");
    let shop = shop.env("GOCACHE", own.path());
    let files = |folder: &str| -> Vec<PathBuf> {
        let below = std::fs::read_dir(store.join(folder)).into_iter().flatten().flatten();
        below
            .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
            .flatten()
            .flatten()
            .map(|file| file.path())
            .collect()
    };
    // All of it is compiled, the standard library too, and kept in the store alone.
    elsewhere(&shop);
    image(&shop);
    assert_eq!(shop.digest("api"), digest);
    let archive =
        |path: &std::path::Path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"!<arch>"));
    let archives = || files("sha256").iter().filter(|path| archive(path)).count();
    let kept = archives();
    assert!(kept > 20 && files("go-v1").len() >= kept, "{kept}");
    // Beside its index of sources, of which no key is made, Go keeps nothing itself.
    let own = std::fs::read_dir(own.path()).unwrap().flatten();
    let own = own.filter_map(|entry| std::fs::read_dir(entry.path()).ok()).flatten().flatten();
    assert_eq!(own.filter(|file| archive(&file.path())).count(), 0);
    // Nothing but the linking is done again; what Go knows of folders that were new is kept only now.
    let forget = || {
        std::fs::remove_dir_all(store.join("build-v2")).unwrap();
        std::fs::remove_dir_all(shop.path("dist")).unwrap();
    };
    forget();
    image(&shop).stderr_has("done build");
    assert_eq!(shop.digest("api"), digest);
    assert_eq!(archives(), kept);
    // Whatever was harmed is compiled again.
    for file in files("sha256") {
        std::fs::write(file, "harmed").unwrap();
    }
    forget();
    image(&shop).stderr_has("done build");
    assert_eq!(shop.digest("api"), digest);
    let left = std::fs::read_dir(shop.cache().join("longshore")).unwrap().flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("gocache-")));
}
