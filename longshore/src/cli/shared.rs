//! The cache that a team shares, as the configuration and the environment's variables have it; and the keys
//! that its writers sign with.
//!
//! Must never fail a run that builds something: what is wrong costs a warning, and the cache is done without.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Global;
use crate::cache::Cache;
use crate::cache::go;
use crate::cache::http::Server;
use crate::cache::registry::Repository as InRegistry;
use crate::cache::remote::{Remote, Store};
use crate::cancel::Cancel;
use crate::config::Registry;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;
use crate::host::files;
use crate::host::http::{Client, Limits, Origin, Scheme, Schemes};
use crate::key::{PublicKey, SigningKey};
use crate::oci::destination::declared_schemes;
use crate::oci::reference::Repository;
use crate::oci::registry::auth::{Credentials, Secret};
use crate::oci::registry::retry::Policy;
use crate::oci::registry::{self, Options};
use crate::report;
use crate::session::Session;
use crate::stage::build::quoted;

/// What no compile is worth waiting longer for.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    idle: Duration::from_secs(10),
    total: Some(Duration::from_secs(60)),
};

const KEY: &str = "LONGSHORE_CACHE_KEY";
const KEY_FILE: &str = "LONGSHORE_CACHE_KEY_FILE";
const AUTHORIZATION: &str = "LONGSHORE_CACHE_AUTHORIZATION";

/// `local` leaves the shared cache alone.
pub(super) const CACHE: &str = "LONGSHORE_CACHE";

/// The user's cache, with the shared one behind it where there is one and it may be asked.
pub(super) fn cache(session: &Session) -> Cache {
    let cache = Cache::new(&session.workspace.cache);
    if session.offline || session.environment.get(CACHE) == Some("local") {
        return cache;
    }
    let Some(store) = store(session) else { return cache };
    let trust = trusted(session);
    let writer = writer(session, &trust);
    cache.behind(Some(Arc::new(Remote::new(store, trust, writer))))
}

fn trusted(session: &Session) -> Vec<PublicKey> {
    let trust = session.config.cache.trust.iter().flatten();
    trust.filter_map(|key| PublicKey::parse(&key.value)).collect()
}

/// Whether each of the environments lets this run put anything there.
fn may_write(session: &Session) -> bool {
    let by_itself = session.environment.get("CI").is_some();
    session
        .environments()
        .all(|environment| environment.cache.write.as_ref().map_or(by_itself, |write| write.value))
}

fn store(session: &Session) -> Option<Box<dyn Store>> {
    let registry = session.config.cache.registry.as_ref().map(|registry| &registry.value);
    if let Some(registry @ Registry::Remote { host, path, .. }) = registry {
        let once = Policy { retries: 0, ..Policy::default() };
        let schemes = declared_schemes([registry]);
        let options = Options { policy: once, schemes, limits: LIMITS, ..Options::default() };
        let client = registry::Client::new(&session.environment, options, &session.cancel);
        let repository = Repository { host: host.clone(), path: path.clone() };
        return Some(Box::new(InRegistry::new(client.repository(repository))));
    }
    let url = &session.config.cache.remote.as_ref()?.value;
    let origin = Origin::of(url)?;
    // Who writes `http://` has said that the way is safe enough.
    let scheme = if origin.secure { Scheme::Https } else { Scheme::Http };
    let schemes = Schemes::from([(origin.host.clone(), scheme)]);
    let client = Client::new(&session.environment, schemes, LIMITS, &session.cancel);
    let authorization = authorization(session, url, &origin.host);
    Some(Box::new(Server::new(client, url, authorization)))
}

/// The variable's value, else what `docker login` has left for that host.
fn authorization(session: &Session, url: &str, host: &str) -> Option<Secret> {
    if let Some(value) = session.environment.get(AUTHORIZATION) {
        return Some(Secret::new(value));
    }
    let path = url.splitn(4, '/').nth(3).unwrap_or_default().trim_end_matches('/');
    let repository = Repository { host: host.to_owned(), path: path.to_owned() };
    let found = Credentials::load(&session.environment)
        .and_then(|credentials| credentials.find(&repository, &session.cancel));
    match found {
        Ok(credential) => credential.and_then(|credential| credential.basic()),
        Err(error) => {
            warn(&format!("the shared cache is asked without credentials: {error:#}"));
            None
        }
    }
}

/// The key that this run signs with, where its environment lets it write.
fn writer(session: &Session, trust: &[PublicKey]) -> Option<SigningKey> {
    let said = session.effective.cache.write.as_ref().map(|write| write.value);
    if !may_write(session) {
        return None;
    }
    let file = session.environment.get(KEY_FILE);
    let text = match (session.environment.get(KEY), file) {
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => match std::fs::read_to_string(session.workspace.root.join(file)) {
            Ok(text) => text,
            Err(error) => {
                warn(&format!("nothing is put into the shared cache: `{file}` can't be read: {error}"));
                return None;
            }
        },
        (None, None) => {
            if said == Some(true) {
                warn(&format!("nothing is put into the shared cache: neither {KEY} nor {KEY_FILE} is set"));
            }
            return None;
        }
    };
    let Some(key) = SigningKey::parse(&text) else {
        warn(&format!("nothing is put into the shared cache: {KEY} holds no key of `cache key`"));
        return None;
    };
    if !trust.contains(&key.public()) {
        let public = key.public();
        warn(&format!(
            "nothing is put into the shared cache: `[cache] trust` does not name its key, `{public}`"
        ));
        return None;
    }
    Some(key)
}

fn warn(what: &str) {
    report::note(&format!("warning: {what}"));
}

/// The value of `GOCACHEPROG`, where the configuration wants it: this program again. Go sees no secret, so that
/// one only reads the shared cache unless the key is in a file.
pub(super) fn gocache_command(session: &Session) -> anyhow::Result<Option<String>> {
    if session.config.cache.go.as_ref().is_none_or(|go| !go.value) {
        return Ok(None);
    }
    let program = std::env::current_exe().fault(Exit::Machine, "could not find this program's own file")?;
    let path = |path: &Path| path.display().to_string();
    let mut words = vec![path(&program), "-C".to_owned(), path(&session.workspace.root)];
    words.extend([
        "--file".to_owned(),
        path(&session.pipeline),
        "--env".to_owned(),
        session.effective.name.clone(),
    ]);
    if session.offline || session.environment.get(CACHE) == Some("local") {
        words.push("--offline".to_owned());
    }
    words.push("gocache".to_owned());
    if let (true, Some(file)) = (may_write(session), session.environment.get(KEY_FILE)) {
        words.extend(["--key".to_owned(), path(&session.workspace.root.join(file))]);
    }
    let words = words.iter().map(|word| quoted(word)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Some(words.join(" ")))
}

/// Serves one Go command: what `GOCACHEPROG` names.
///
/// # Errors
/// As [`go::serve`].
pub(super) fn gocache(
    global: &Global,
    environment: Environment,
    cancel: &Cancel,
    key: Option<&Path>,
) -> anyhow::Result<()> {
    let session = Session::open(global, environment, cancel)?;
    let own = Cache::new(&session.workspace.cache);
    let trust = trusted(&session);
    let text = key.and_then(|key| std::fs::read_to_string(key).ok());
    let writer = text.and_then(|text| SigningKey::parse(&text)).filter(|key| trust.contains(&key.public()));
    let store = if session.offline { None } else { store(&session) };
    let cache = own.behind(store.map(|store| Arc::new(Remote::new(store, trust, writer))));
    let folder = go::folder(&session.workspace.cache)?;
    let served = go::serve(&cache, folder.path(), std::io::stdin().lock(), report::speech());
    cache.warnings().iter().for_each(|warning| warn(warning));
    served
}

/// What must never be shown.
pub(super) fn secrets(environment: &Environment) -> Vec<String> {
    let values = [KEY, AUTHORIZATION].into_iter().filter_map(|name| environment.get(name));
    values
        .flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest)])
        .flatten()
        .map(str::to_owned)
        .collect()
}

/// `cache key`: writes a new private key into a file that is not there yet, and prints the public one.
///
/// # Errors
/// [`Exit::Usage`] where the file is there; [`Exit::Machine`] where it can't be written.
pub(super) fn key(global: &Global, file: &Path) -> anyhow::Result<u8> {
    let path = global.path(file);
    let (key, text) = SigningKey::generate()?;
    if !files::write_new_private(&path, format!("{text}\n").as_bytes())? {
        return Err(Fault::new(Exit::Usage, format!("`{}` is there already", path.display()))
            .hint("a key that is in use is not written over: name another file")
            .into());
    }
    report::result(&key.public().to_string());
    report::note(&format!(
        "name it in pipeline.toml: `[cache]`, `trust = [\"{}\"]`; hand the file to who may write, as {KEY_FILE} or {KEY}",
        key.public()
    ));
    Ok(0)
}
