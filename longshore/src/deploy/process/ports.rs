//! Which port each service of an environment has on this machine: given once, kept from then on.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::deploy::Step;
use crate::deploy::workload::Workload;
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files;
use crate::stage::lint::tool::stopped;
use crate::stage::verify::ports::{free, move_needed, move_own, told};

/// `ports.json`: by service.
type Ports = BTreeMap<String, Given>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    declared: u16,
    port: u16,
}

/// The port of a workload, put into its variables with those of the others that it names.
///
/// # Errors
/// [`Exit::Machine`] where its port is another's and no variable tells it a port.
pub(super) fn give(
    path: &Path,
    workload: &Workload,
    env: &mut BTreeMap<String, String>,
) -> anyhow::Result<Option<u16>> {
    let mut ports: Ports = match files::read_optional(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        None => Ports::new(),
    };
    let mut own = None;
    if let Some(declared) = workload.port {
        let given = match ports.get(&workload.service) {
            Some(given) if given.declared == declared => *given,
            _ => Given { declared, port: choose(&workload.service, declared, &ports, env)? },
        };
        if given.port != declared {
            move_own(env, declared, given.port);
        }
        ports.insert(workload.service.clone(), given);
        files::write(path, &serde_json::to_vec_pretty(&ports)?)?;
        own = Some(given.port);
    }
    for (name, given) in &ports {
        move_needed(env, name, given.declared, given.port);
    }
    Ok(own)
}

fn choose(
    service: &str,
    declared: u16,
    ports: &Ports,
    env: &BTreeMap<String, String>,
) -> anyhow::Result<u16> {
    let taken = ports.iter().find(|(other, given)| *other != service && given.port == declared);
    if taken.is_none() && is_free(declared) {
        return Ok(declared);
    }
    if told(env, declared) {
        return free().fault(Exit::Machine, "there is no free port");
    }
    let whose = taken.map_or_else(|| "another program's".to_owned(), |(other, _)| format!("`{other}`'s"));
    Err(Fault::new(Exit::Machine, format!("port {declared} of `{service}` is {whose}"))
        .hint("declare a build-arg or variable that holds the port, so that another one can be given")
        .into())
}

/// On every address, as services listen.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Waits until what has just ended has left its port.
///
/// # Errors
/// [`Exit::Machine`] where somebody else listens there.
pub(super) fn wait_until_free(service: &str, port: u16, step: &Step<'_>) -> anyhow::Result<()> {
    while !is_free(port) {
        if step.cancel.is_set() {
            return Err(stopped(step.cancel));
        }
        if step.left().is_zero() {
            return Err(Fault::new(Exit::Machine, format!("port {port} of `{service}` is not free"))
                .hint("end what listens there; `ss -ltnp` names it")
                .into());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::workload::tests::workload;

    #[test]
    fn a_port_is_given_once_and_others_follow_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports.json");
        let declared = free().unwrap();
        let mut api = workload("api");
        api.port = Some(declared);
        let mut env = BTreeMap::from([("PORT".to_owned(), declared.to_string())]);
        assert_eq!(give(&path, &api, &mut env).unwrap(), Some(declared), "as declared");
        let mut web = workload("web");
        web.port = Some(declared);
        let mut env = BTreeMap::from([
            ("PORT".to_owned(), format!(":{declared}")),
            ("API".to_owned(), format!("http://api:{declared}/")),
        ]);
        let given = give(&path, &web, &mut env).unwrap().unwrap();
        assert_ne!(given, declared, "api's");
        assert_eq!(env["PORT"], format!(":{given}"));
        assert_eq!(env["API"], format!("http://127.0.0.1:{declared}/"));
        let mut again = BTreeMap::from([("PORT".to_owned(), format!(":{declared}"))]);
        assert_eq!(give(&path, &web, &mut again).unwrap(), Some(given), "kept");
        web.service = "third".to_owned();
        let error = give(&path, &web, &mut BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("is `api`'s"), "{error}");
    }
}
