//! The values that are more than a string or a number, and the rules for strings: pure.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::config::read::{Complaint, Faults, Node, Rule, Value, integer};
use crate::config::{Base, BuildArg, Compression, Located, Registry, SecretSource, template};
use crate::declared::Unpinned;
use crate::diagnostic::{Diagnostic, Place, did_you_mean, quoted};
use crate::digest::Digest;
use crate::platform::Platform;
use toml::de::DeValue;

type Check = Result<(), Complaint>;

/// A version with all its numbers.
pub(crate) const VERSION: Rule = Rule { examples: &["0.69.3"], check: version };
/// A Go release, as `go version` names it.
pub(crate) const GO_VERSION: Rule = Rule { examples: &["1.26.8"], check: go_version };
/// Trivy's releases, without those that must not run.
pub(crate) const TRIVY_VERSION: Rule = Rule { examples: &["0.69.3"], check: trivy_version };
/// The name of a variable of a process environment.
pub(crate) const VARIABLE: Rule = Rule { examples: &["APP_ENV"], check: variable };
/// A service's name: a component of a repository's path (OCI distribution-spec, "Pulling manifests").
pub(crate) const SERVICE: Rule = Rule { examples: &["gateway"], check: service };
pub(crate) const USER: Rule = Rule { examples: &["65532:65532"], check: user };
pub(crate) const DATE: Rule = Rule { examples: &["2026-12-31"], check: date };
pub(crate) const TAG_FORM: Rule =
    Rule { examples: &["{service}/v{version}", "v{version}"], check: template::tag_form };
pub(crate) const LDFLAG: Rule =
    Rule { examples: &["-s", "-X main.version={version}"], check: template::ldflag };
pub(crate) const HTTP_PATH: Rule = Rule { examples: &["/healthz"], check: http_path };
/// An absolute path in an image.
pub(crate) const IMAGE_PATH: Rule = Rule { examples: &["/etc/app/config.yaml"], check: image_path };
/// Processors, as Kubernetes writes them.
pub(crate) const CPU: Rule =
    Rule { examples: &["500m", "0.5", "2"], check: |text| millicores(text).map(|_| ()) };
/// The key of a label: Docker's and Kubernetes' rules together.
pub(crate) const LABEL: Rule = Rule { examples: &["team", "example.com/team"], check: label };
/// What a base may be for: a platform, or an operating system.
pub(crate) const BASE_FOR: Rule = Rule { examples: &["windows", "linux/arm64"], check: base_for };
pub(crate) const NOT_EMPTY: Rule = Rule { examples: &[], check: not_empty };
/// A prefix of Git refs.
pub(crate) const REFS: Rule = Rule { examples: &["refs/longshore"], check: refs };
/// A repository of an OCI registry.
pub(crate) const REPOSITORY: Rule =
    Rule { examples: &["registry.example.com/mirror/trivy-db:2"], check: repository };

/// A cache of BuildKit's: `type=registry,ref=…`, or a repository alone.
pub(crate) const CACHE: Rule = Rule {
    examples: &["type=registry,ref=registry.example.com/team/cache", "type=local,src=.cache"],
    check: cache,
};
/// A server of Bazel's remote cache protocol.
pub(crate) const CACHE_URL: Rule =
    Rule { examples: &["https://cache.example.com/longshore"], check: cache_url };
/// A public key of who may write there.
pub(crate) const CACHE_KEY: Rule =
    Rule { examples: &["ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], check: cache_key };
/// The id of a secret that a build step mounts.
pub(crate) const SECRET_ID: Rule = Rule { examples: &["netrc", "GO_TOKEN"], check: secret_id };

/// Releases that are known to be malicious: `(tool, version, what to take instead)`.
const MALICIOUS: &[(&str, &str, &str)] = &[("trivy", "0.69.4", "0.69.3")];

fn version(text: &str) -> Check {
    if let Some(rest) = text.strip_prefix('v')
        && semver::Version::parse(rest).is_ok()
    {
        return Err(
            Complaint::new(format!("{} starts with `v`", quoted(text))).hint(format!("write `{rest}`"))
        );
    }
    match semver::Version::parse(text) {
        Ok(version) if version.build.is_empty() => Ok(()),
        Ok(_) => Err(Complaint::new(format!("{} has build metadata, which no release has", quoted(text)))),
        Err(_) => Err(Complaint::new(format!("{} is not an exact version", quoted(text)))
            .hint("write all three numbers, as `1.2.3`: no ranges, no `latest`")),
    }
}

fn go_version(text: &str) -> Check {
    if let Some(rest) = text.strip_prefix("go")
        && go_version(rest).is_ok()
    {
        return Err(
            Complaint::new(format!("{} starts with `go`", quoted(text))).hint(format!("write `{rest}`"))
        );
    }
    // `1.26rc1` is how Go names a release candidate.
    let candidate = ["rc", "beta"].into_iter().any(|kind| {
        text.split_once(kind).is_some_and(|(base, number)| {
            number.parse::<u16>().is_ok() && semver::Version::parse(&format!("{base}.0")).is_ok()
        })
    });
    if candidate { Ok(()) } else { version(text) }
}

fn trivy_version(text: &str) -> Check {
    version(text)?;
    match MALICIOUS.iter().find(|(tool, version, _)| *tool == "trivy" && *version == text) {
        None => Ok(()),
        Some((tool, version, instead)) => Err(Complaint::new(format!(
            "release {version} of {tool} is malicious: its supply chain was broken into"
        ))
        .hint(format!("write `{instead}`"))),
    }
}

fn variable(name: &str) -> Check {
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if valid {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a variable's name", quoted(name)))
        .hint("write letters, digits and `_`, and no digit first"))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component(text: &str) -> bool {
    let mut separator = true;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_lowercase() || first.is_ascii_digit() {
            separator = false;
            rest = &rest[1..];
            continue;
        }
        let run: usize = rest.bytes().take_while(|b| b"._-".contains(b)).count();
        let valid = match &rest[..run] {
            "." | "_" | "__" => true,
            dashes => !dashes.is_empty() && dashes.bytes().all(|b| b == b'-'),
        };
        if separator || !valid {
            return false;
        }
        separator = true;
        rest = &rest[run..];
    }
    !separator
}

fn service(name: &str) -> Check {
    if component(name) && name.len() <= 63 {
        return Ok(());
    }
    let lower = name.to_lowercase();
    let complaint =
        Complaint::new(format!("{} can't name a service: it is the name of its image", quoted(name)));
    Err(if component(&lower) && name.len() <= 63 {
        complaint.hint(format!("write `{lower}`"))
    } else {
        complaint.hint("write at most 63 lowercase letters and digits, with `-`, `_` or `.` between them")
    })
}

fn user(text: &str) -> Check {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u32>().is_ok();
    if number(uid) && number(gid) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a user", quoted(text)))
        .hint("write numbers, `UID` or `UID:GID`, as `65532:65532`: an image need not have names"))
}

fn date(text: &str) -> Check {
    let invalid = || {
        Complaint::new(format!("{} is not a date", quoted(text))).hint("write `YYYY-MM-DD`, as `2026-12-31`")
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return Err(invalid()) };
    let number = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return Err(invalid());
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(invalid()),
    };
    if (1..=days).contains(&day) { Ok(()) } else { Err(invalid()) }
}

fn http_path(text: &str) -> Check {
    if text.starts_with('/') && !text.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not an HTTP path", quoted(text)))
        .hint("write it from `/`, as `/healthz`"))
}

fn image_path(text: &str) -> Check {
    let inside = text.split('/').all(|part| part != ".." && part != ".");
    if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') && inside {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a file of an image", quoted(text)))
        .hint("write the file's path from `/`, without `..`, as `/etc/app/config.yaml`"))
}

/// Thousandths of a processor.
pub(crate) fn millicores(text: &str) -> Result<u32, Complaint> {
    let invalid = || {
        Complaint::new(format!("{} is not a number of processors", quoted(text)))
            .hint("write `500m` for half of one, or `0.5`, or `2`")
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let cores = match text.strip_suffix('m') {
        Some(millis) if digits(millis) => millis.parse::<u32>().map_err(|_| invalid())?,
        Some(_) => return Err(invalid()),
        None => {
            let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
            if !digits(whole) || !digits(rest) || rest.len() > 3 {
                return Err(invalid());
            }
            let whole = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1000));
            let rest = format!("{rest:0<3}").parse::<u32>().map_err(|_| invalid())?;
            whole.and_then(|whole| whole.checked_add(rest)).ok_or_else(invalid)?
        }
    };
    // A number that no machine has is a slip.
    if (1..=1_000_000).contains(&cores) { Ok(cores) } else { Err(invalid()) }
}

/// `[PREFIX/]NAME` (Kubernetes, "Labels and Selectors"), which Docker takes too.
fn label(key: &str) -> Check {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let ends = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let name_valid = name.len() <= 63
        && ends(name)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let prefix_valid = !key.contains('/')
        || prefix.len() <= 253
            && ends(prefix)
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    if name_valid && prefix_valid {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a label's key", quoted(key))).hint(
        "write letters, digits, `-`, `_` and `.`, at most 63, with a domain and `/` before them if you like",
    ))
}

fn base_for(text: &str) -> Check {
    // An operating system is one that has some platform.
    let known = if text.contains('/') { text.to_owned() } else { format!("{text}/amd64") };
    match known.parse::<Platform>() {
        Ok(platform) if text.contains('/') && platform.to_string() != text => {
            Err(Complaint::new(format!("{} is written `{platform}`", quoted(text))))
        }
        Ok(platform) if !matches!(platform.os.as_str(), "linux" | "windows") => {
            Err(Complaint::new(format!("there are no images for {}", quoted(&platform.os))))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Complaint::new(error.to_string())
            .hint("write a platform, as `windows/amd64`, or an operating system, as `windows`")),
    }
}

fn not_empty(text: &str) -> Check {
    if text.trim().is_empty() { Err(Complaint::new("must not be empty")) } else { Ok(()) }
}

fn refs(text: &str) -> Check {
    if text.starts_with("refs/") && !text.ends_with('/') && template::valid_ref(text) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a prefix of Git refs", quoted(text)))
        .hint("write it from `refs/`, as `refs/longshore` or `refs/heads/longshore`"))
}

fn cache_url(text: &str) -> Check {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.contains('@') {
        return Err(Complaint::new("a cache's address holds no password")
            .hint("set LONGSHORE_CACHE_AUTHORIZATION, or log in with `docker login HOST`"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:[]/%+".contains(c);
    if !host.is_empty() && text.chars().all(plain) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not the address of a cache", quoted(text)))
        .hint("write `https://HOST/PATH`, or `http://HOST/PATH` for one without TLS"))
}

fn cache_key(text: &str) -> Check {
    match crate::key::PublicKey::parse(text) {
        Some(_) => Ok(()),
        None => Err(Complaint::new(format!("{} is no public key", quoted(text)))
            .hint("write what `cache key` has printed, as `ed25519:BASE64`")),
    }
}

fn cache(text: &str) -> Check {
    let Some(attributes) = text.strip_prefix("type=") else { return repository(text) };
    let valid = |attribute: &str| {
        attribute.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    let (kind, rest) = attributes.split_once(',').unwrap_or((attributes, ""));
    if !kind.is_empty() && (rest.is_empty() || rest.split(',').all(valid)) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} is not a cache", quoted(text)))
        .hint("write `type=registry,ref=HOST/PATH`, or `type=local` with `src=DIR` or `dest=DIR`"))
}

fn secret_id(text: &str) -> Check {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(Complaint::new(format!("{} can't name a build's secret", quoted(text)))
        .hint("write letters, digits, `_`, `-` and `.`: the `id` of `RUN --mount=type=secret,id=…`"))
}

fn repository(text: &str) -> Check {
    let (name, _) = split_tag(text);
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    check_host(host)?;
    check_path(path)
}

/// `HOST/PATH` and, after the last colon that is not a port's, a tag.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && name.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn check_host(host: &str) -> Check {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let v6 = name.starts_with('[')
        && name.ends_with(']')
        && name[1..name.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !v6 && !name.split('.').all(label) {
        return Err(Complaint::new(format!("{} is not a registry's host", quoted(host)))
            .hint("write `HOST/PATH`, as `registry.example.com/team`, or `oci:DIR` for a folder"));
    }
    let number = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if port.is_some_and(|port| !number(port)) {
        return Err(Complaint::new(format!("{} has a bad port", quoted(host))).hint("write 1 to 65535"));
    }
    // `team/app` names no host: a client would ask Docker Hub for it.
    if !v6 && !name.contains('.') && port.is_none() && name != "localhost" {
        return Err(Complaint::new(format!("{} is not a registry's host", quoted(host)))
            .hint("write the host first, as `docker.io/team`, or `oci:DIR` for a folder"));
    }
    Ok(())
}

fn check_path(path: &str) -> Check {
    if path.is_empty() {
        return Err(Complaint::new("a path is missing after the host")
            .hint("write `HOST/PATH`, as `registry.example.com/team`"));
    }
    match path.split('/').find(|part| !component(part)) {
        None => Ok(()),
        Some(part) => Err(Complaint::new(format!("{} can't be a part of a repository's name", quoted(part)))
            .hint("write lowercase letters and digits, with `-`, `_` or `.` between them")),
    }
}

/// Why a path as it is written can't lie inside the repository.
pub(crate) fn inside(path: &Path) -> Check {
    let text = path.to_string_lossy();
    if text.is_empty() {
        return Err(
            Complaint::new("a path is missing").hint("write a path from the folder of `pipeline.toml`")
        );
    }
    if text.contains('\0') {
        return Err(Complaint::new("a path can't hold a NUL character"));
    }
    if text.contains('\\') {
        return Err(Complaint::new(format!("{} has a backslash", quoted(&text)))
            .hint(format!("write `{}`: paths have `/` on every system", text.replace('\\', "/"))));
    }
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if path.is_absolute() || drive {
        return Err(Complaint::new(format!("{} is absolute", quoted(&text)))
            .hint("write it from the folder of `pipeline.toml`, so that it holds on every machine"));
    }
    let mut depth = 0_i32;
    for component in path.components() {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        if depth < 0 {
            return Err(Complaint::new(format!("{} leads out of the repository", quoted(&text)))
                .hint("what is built must lie inside the repository"));
        }
    }
    Ok(())
}

/// The folder of `oci:DIR`: inside the repository, or absolute.
fn layout(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        inside(&path)?;
    }
    Ok(path)
}

pub(crate) fn registry(text: &str) -> Result<Registry, Complaint> {
    if let Some(folder) = text.strip_prefix("oci:") {
        return Ok(Registry::Layouts(layout(folder)?));
    }
    let schemes = [("http://", false), ("https://", true)];
    let declared = schemes.iter().find_map(|(scheme, tls)| Some((text.strip_prefix(scheme)?, Some(*tls))));
    let (rest, tls) = declared.unwrap_or((text, None));
    if rest.contains('@') || split_tag(rest).1.is_some() {
        return Err(Complaint::new(format!("{} has a tag, a digest or a user", quoted(text)))
            .hint("write `HOST/PATH` alone: versions are the tags, credentials come from docker's config"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    check_host(host)?;
    check_path(path)?;
    Ok(Registry::Remote { host: host.to_owned(), path: path.to_owned(), tls })
}

pub(crate) fn base(text: &str) -> Result<Base, Complaint> {
    let missing = || {
        Complaint::new(format!("{} has no digest", quoted(text))).hint(
            "`base update` writes the one that it stands for now: a tag may move, and the same inputs must make \
             the same image",
        )
    };
    Ok(match unpinned_base(text)? {
        Unpinned::Scratch => Base::Scratch,
        Unpinned::Layout { path, digest } => Base::Layout { path, digest },
        Unpinned::Remote { repository, tag, digest } => {
            Base::Remote { repository, tag, digest: digest.ok_or_else(missing)? }
        }
        Unpinned::Daemon { name, digest } => Base::Daemon { name, digest: digest.ok_or_else(missing)? },
    })
}

/// A base whose digest may still be missing.
pub(crate) fn unpinned_base(text: &str) -> Result<Unpinned, Complaint> {
    if text == "scratch" {
        return Ok(Unpinned::Scratch);
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => {
            let digest = digest
                .parse::<Digest>()
                .map_err(|error| Complaint::new(error.to_string()).part(name.len() + 1..text.len()))?;
            (name, Some(digest))
        }
        None => (text, None),
    };
    if let Some(folder) = name.strip_prefix("oci:") {
        return Ok(Unpinned::Layout { path: layout(folder)?, digest });
    }
    if let Some(name) = name.strip_prefix("docker-daemon:") {
        check_daemon_name(name)?;
        return Ok(Unpinned::Daemon { name: name.to_owned(), digest });
    }
    let (repository, tag) = split_tag(name);
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    check_host(host)?;
    check_path(path)?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    Ok(Unpinned::Remote { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
}

/// A name as the daemon has it: its images may lack a host.
fn check_daemon_name(name: &str) -> Check {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            check_host(host)?;
            check_path(rest)?;
        }
        _ => check_path(path)?,
    }
    tag.map_or(Ok(()), check_tag)
}

/// OCI distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(tag: &str) -> Check {
    let valid = tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !tag.starts_with(['.', '-'])
        && !tag.is_empty();
    if valid {
        return Ok(());
    }
    let complaint = Complaint::new(format!("{} is not an image tag", quoted(tag)));
    Err(if tag.contains('+') {
        complaint.hint("a `+`, which SemVer allows, is not allowed in a tag")
    } else {
        complaint.hint("write letters, digits, `_`, `.` and `-`, at most 128")
    })
}

/// Reads a string and makes a value of it.
fn parsed<T>(
    node: &Node<'_>,
    faults: &mut Faults,
    parse: impl Fn(&str) -> Result<T, Complaint>,
) -> Option<T> {
    let text = String::value(&Node { rule: None, ..*node }, faults)?;
    match parse(&text) {
        Ok(value) => Some(value),
        Err(complaint) => {
            faults.complain(complaint, node.value.span(), &text);
            None
        }
    }
}

macro_rules! string_value {
    ($type:ty, $examples:expr, $parse:expr) => {
        impl Value for $type {
            fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
                parsed(node, faults, $parse)
            }
            #[cfg(test)]
            fn schema(_: Option<&'static Rule>, _: &mut crate::config::read::Schemas) -> serde_json::Value {
                serde_json::json!({ "type": "string", "examples": $examples })
            }
        }
    };
}

string_value!(
    Registry,
    [
        "oci:dist/oci",
        "registry.example.com/team",
        "http://registry.lan:5000/team",
        "https://127.0.0.1:5000/team"
    ],
    registry
);
string_value!(
    Base,
    [
        "scratch",
        "oci:base",
        "gcr.io/distroless/static@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ],
    base
);
string_value!(Platform, ["linux/amd64", "linux/arm64", "linux/arm/v7", "windows/amd64"], |text: &str| {
    text.parse::<Platform>().map_err(|error| Complaint::new(error.to_string()))
});
string_value!(Duration, ["30s", "5m", "1h 30m"], duration);

fn duration(text: &str) -> Result<Duration, Complaint> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err(Complaint::new("must be longer than nothing")),
        // A year: longer is a slip, and sums of times must not overflow.
        Ok(duration) if duration > Duration::from_secs(31_536_000) => {
            Err(Complaint::new(format!("{} is longer than a year", quoted(text))))
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err(Complaint::new(format!("{} is not a duration", quoted(text)))
            .hint("write a number and a unit, as `30s`, `5m` or `1h 30m`")),
    }
}

/// `gzip` or `zstd`, with a level behind a colon.
impl Value for Compression {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        parsed(node, faults, compression)
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut crate::config::read::Schemas) -> serde_json::Value {
        serde_json::json!({
            "type": "string",
            "pattern": "^(gzip(:[1-9])?|zstd(:(1[0-9]|[1-9]))?)$",
            "examples": ["gzip", "zstd", "gzip:9", "zstd:19"]
        })
    }
}

/// A format's name, how a level makes it, and its highest level.
type Format = (&'static str, fn(Option<u8>) -> Compression, u8);

fn compression(text: &str) -> Result<Compression, Complaint> {
    const FORMATS: [Format; 2] = [("gzip", Compression::Gzip, 9), ("zstd", Compression::Zstd, 19)];
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let Some((name, made, highest)) = FORMATS.into_iter().find(|(format, ..)| *format == name) else {
        let mut complaint = Complaint::new(format!("{} is not one of `gzip`, `zstd`", quoted(name)));
        complaint.hint = crate::diagnostic::meant(name, FORMATS.map(|(format, ..)| format))
            .map(|word| format!("did you mean `{word}`?"));
        return Err(complaint.part(0..name.len()));
    };
    let Some(level) = level else { return Ok(made(None)) };
    // As written: `zstd:+3` and `zstd:03` would be other texts for the same.
    let number = level.parse::<u8>().ok().filter(|number| number.to_string() == level);
    let number = number.filter(|number| (1..=highest).contains(number)).ok_or_else(|| {
        Complaint::new(format!("{} is no level of {name}", quoted(level)))
            .hint(format!("write a number from 1 to {highest}, as `{name}:{highest}`"))
            .part(name.len() + 1..text.len())
    })?;
    Ok(made(Some(number)))
}

/// Bytes: a number, or a string with a unit.
impl Value for u64 {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        if matches!(node.value.get_ref(), DeValue::String(_)) {
            return parsed(node, faults, size);
        }
        integer(node, 1..=Self::MAX / 2, faults)
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut crate::config::read::Schemas) -> serde_json::Value {
        serde_json::json!({ "type": ["integer", "string"], "minimum": 1, "examples": ["8MiB", 8_388_608] })
    }
}

/// Bytes, from a number and a unit.
pub fn size(text: &str) -> Result<u64, Complaint> {
    const UNITS: &[(&str, u64)] = &[
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1000),
        ("B", 1),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, bytes)| text.strip_suffix(unit).map(|number| (number.trim_end(), bytes)));
    unit.filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|(number, bytes)| number.parse::<u64>().ok()?.checked_mul(*bytes))
        .filter(|bytes| (1..=u64::MAX / 2).contains(bytes))
        .ok_or_else(|| {
            Complaint::new(format!("{} is not a size", quoted(text)))
                .hint("write a number and a unit, as `8MiB` or `512KiB`")
        })
}

/// A default, or `{}`. Whatever it is, the build-arg is declared: its name counts for the other checks.
impl Value for BuildArg {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        let place = faults.place(node.key.map_or_else(|| node.value.span(), toml::Spanned::span));
        let default = match node.value.get_ref() {
            DeValue::Table(table) if table.is_empty() => None,
            DeValue::Table(_) => {
                let fault = Diagnostic::error(format!("`{}` must be a default or `{{}}`", faults.path()))
                    .at(&faults.place(node.value.span()), "")
                    .hint("write a string, its default, or `{}`: then an environment must set it");
                faults.note(fault);
                None
            }
            _ => Located::<String>::value(node, faults),
        };
        Some(Self { default, place })
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut crate::config::read::Schemas) -> serde_json::Value {
        serde_json::json!({ "oneOf": [
            { "type": "string", "description": "Its default." },
            { "type": "object", "additionalProperties": false, "description": "An environment must set it." },
        ]})
    }
}

impl Value for SecretSource {
    fn value(node: &Node<'_>, faults: &mut Faults) -> Option<Self> {
        const HINT: &str =
            "write `\"env\"`, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`: never the value itself";
        let place = faults.place(node.value.span());
        let name = node.key.map(|key| key.get_ref().to_string()).unwrap_or_default();
        let DeValue::Table(table) = node.value.get_ref() else {
            if node.value.get_ref().as_str() == Some("env") {
                return Some(Self::Variable(name));
            }
            // Whatever stands here may be the secret itself: it is not shown.
            let fault =
                Diagnostic::error(format!("`{}` does not say where the secret comes from", faults.path()));
            faults.note(fault.at(&place, "").hint(HINT).hiding(&place));
            return None;
        };
        let mut entries = table.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            let fault = Diagnostic::error(format!("`{}` must have one source", faults.path()));
            faults.note(fault.at(&place, "").hint(HINT).hiding(&place));
            return None;
        };
        let node = |rule| Node { key: Some(key), value, rule, keys: None };
        match &**key.get_ref() {
            "env" => String::value(&node(Some(&VARIABLE)), faults).map(Self::Variable),
            "file" => String::value(&node(Some(&NOT_EMPTY)), faults).map(|path| Self::File(path.into())),
            other => {
                let key_place: Place = faults.place(key.span());
                let mut fault =
                    Diagnostic::error(format!("unknown key {} in `[{}]`", quoted(other), faults.path()));
                fault.hint = did_you_mean(other, ["env", "file"]);
                faults.note(fault.at(&key_place, "").hiding(&faults.place(value.span())));
                None
            }
        }
    }
    #[cfg(test)]
    fn schema(_: Option<&'static Rule>, _: &mut crate::config::read::Schemas) -> serde_json::Value {
        let source = |key: &str, text: &str| {
            serde_json::json!({
                "type": "object", "additionalProperties": false, "required": [key],
                "properties": { key: { "type": "string", "description": text } },
            })
        };
        serde_json::json!({ "oneOf": [
            { "const": "env", "description": "The variable of the same name." },
            source("env", "The variable that holds it."),
            source("file", "The file that holds it."),
        ]})
    }
}
