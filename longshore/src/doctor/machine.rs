//! The machine itself: what it can isolate, its disk, its network settings, its ports.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::{Check, State, ill, well};
use crate::host::environment::Environment;
use crate::workspace::Workspace;

/// Bytes below which a release is likely to fill the disk, and below which it can't start.
const LITTLE: u64 = 3 << 30;
const NONE: u64 = 300 << 20;

/// Whether an image can run in a root of its own. Only worth a word where there is no container runtime.
pub(super) fn isolation(container: bool) -> Option<Check> {
    if container || !cfg!(target_os = "linux") {
        return None;
    }
    let name = "own roots";
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    Some(match spaces(&read) {
        _ if is_root() => well(name, "chroot, as root"),
        Ok(()) => well(name, "user namespaces"),
        Err(why) => ill(
            name,
            State::Warn,
            why,
            "user namespaces or root, to run images without a container runtime",
            "start Docker, or allow user namespaces; else images are verified as plain processes",
        ),
    })
}

/// Whether an ordinary user may make user namespaces, by the kernel's settings.
fn spaces(read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    if read("/proc/sys/user/max_user_namespaces").is_some_and(|most| most == "0") {
        return Err("user.max_user_namespaces is 0".to_owned());
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone").is_some_and(|allowed| allowed == "0") {
        return Err("kernel.unprivileged_userns_clone is 0".to_owned());
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|is| is == "1") {
        return Err("kernel.apparmor_restrict_unprivileged_userns is 1".to_owned());
    }
    Ok(())
}

#[cfg(unix)]
fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// Under WSL2 the drives of Windows are slow.
pub(super) fn wsl(workspace: &Workspace) -> Option<Check> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    if !kernel.to_ascii_lowercase().contains("microsoft") {
        return None;
    }
    let slow = [&workspace.root, &workspace.cache].into_iter().find(|path| on_a_drive(path));
    Some(match slow {
        None => well("WSL", kernel.trim()),
        Some(path) => ill(
            "WSL",
            State::Warn,
            format!("`{}` is on a drive of Windows, many times slower", path.display()),
            "the Linux file system",
            "clone into your home folder, as `~/src`",
        ),
    })
}

/// `/mnt/c` and its like.
fn on_a_drive(path: &Path) -> bool {
    let mut parts = path.components().skip(1).map(|part| part.as_os_str());
    parts.next().is_some_and(|part| part == "mnt") && parts.next().is_some_and(|part| part.len() == 1)
}

pub(super) fn disk(workspace: &Workspace) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for (name, path) in [("disk of the repository", &workspace.root), ("disk of the cache", &workspace.cache)]
    {
        // The folder may not be there yet; the disk is.
        let Some(there) = path.ancestors().find(|path| path.is_dir()) else { continue };
        let Some(free) = free(there) else { continue };
        checks.push(space(name, free));
    }
    checks
}

fn space(name: &str, free: u64) -> Check {
    let found = format!("{:.1} GB free", free as f64 / 1e9);
    let remedy = "free some; `go clean -cache` and old images are large";
    match free {
        _ if free < NONE => ill(name, State::Missing, found, "0.3 GB at least", remedy),
        _ if free < LITTLE => ill(name, State::Warn, found, "3 GB", remedy),
        _ => well(name, found),
    }
}

#[cfg(unix)]
#[expect(clippy::useless_conversion, reason = "the types differ from system to system")]
fn free(path: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let blocks: u64 = stat.blocks_available().into();
    Some(blocks.saturating_mul(stat.fragment_size().into()))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// The proxies in force, without the credentials that may be in them.
pub(super) fn proxies(environment: &Environment) -> Option<Check> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];
    let shown: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let value = environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase()))?;
            Some(format!("{name}={}", redacted(value)))
        })
        .collect();
    (!shown.is_empty()).then(|| well("proxies", shown.join(" ")))
}

/// A URL without its user and password.
fn redacted(value: &str) -> String {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), value),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.rfind('@') {
        // A password may hold a slash: everything before the last `@` is taken for credentials.
        Some(at) if at < end || !rest[..at].contains(',') => format!("{scheme}***{}", &rest[at..]),
        _ => value.to_owned(),
    }
}

/// Ports that the services want, and that somebody else listens on.
pub(super) fn ports(ports: &[(String, u16)]) -> Vec<Check> {
    ports
        .iter()
        .filter(|(_, port)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|(service, port)| {
            ill(
                &format!("port {port}"),
                State::Warn,
                format!("taken; `{service}` listens on it"),
                "free, to deploy on this machine",
                "end what listens there, or deploy with another port; verification takes free ones",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_shown() {
        for (value, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://user:secret@proxy:3128/", "http://***@proxy:3128/"),
            ("http://user:se/cr@et@proxy:3128", "http://***@proxy:3128"),
            ("user:secret@proxy", "***@proxy"),
            ("localhost,10.0.0.0/8", "localhost,10.0.0.0/8"),
        ] {
            assert_eq!(redacted(value), shown);
        }
    }

    #[test]
    fn a_taken_port_is_said() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let checks = ports(&[("orders".to_owned(), port)]);
        assert_eq!(checks.len(), 1);
        assert!(checks[0].found.contains("orders"));
    }

    #[test]
    fn drives_of_windows_are_known_by_their_place() {
        assert!(on_a_drive(Path::new("/mnt/c/src/app")));
        assert!(!on_a_drive(Path::new("/mnt/data/src")));
        assert!(!on_a_drive(Path::new("/home/c")));
    }

    #[test]
    fn the_kernel_s_settings_decide_on_user_namespaces() {
        assert!(spaces(&|_| None).is_ok());
        let off = |path: &str| path.ends_with("unprivileged_userns_clone").then(|| "0".to_owned());
        assert!(spaces(&off).unwrap_err().contains("unprivileged_userns_clone"));
    }

    #[test]
    fn little_space_warns_and_none_stops() {
        for (free, state) in [(10 << 30, State::Ok), (1 << 30, State::Warn), (1 << 20, State::Missing)] {
            assert_eq!(space("disk", free).state, state);
        }
    }
}
