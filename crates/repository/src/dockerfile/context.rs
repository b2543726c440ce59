//! What is sent to a build: how much of it, and what of it somebody will regret. Pure over the entries and
//! the beginnings of their files.

use crate::closure::RepoPath;
use crate::config::secret_in;
use crate::facts::context::{Entry, Kind};

/// Bytes of a file that are looked at; of a longer one than [`LONG`] none: it is no script and no key.
pub const BEGINNING: u64 = 64 << 10;
const LONG: u64 = 1 << 20;

/// How much is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub files: usize,
    pub bytes: u64,
    /// The largest first.
    pub largest: Vec<(RepoPath, u64)>,
}

/// Something about one entry that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub path: RepoPath,
    pub message: String,
    pub hint: &'static str,
}

/// Counts; keeps the `largest` files.
pub fn size(entries: &[Entry], largest: usize) -> Size {
    let mut files: Vec<(RepoPath, u64)> = entries
        .iter()
        .filter_map(|entry| match entry.kind {
            Kind::File { size, .. } => Some((entry.path.clone(), size)),
            _ => None,
        })
        .collect();
    let (count, bytes) = (files.len(), files.iter().map(|(_, size)| size).sum());
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    files.truncate(largest);
    Size { files: count, bytes, largest: files }
}

const SECRET: &str =
    "whoever has the image may read it: put it into `.dockerignore`, and give it to a step as a secret";
const REPOSITORY: &str = "put `.git` into `.dockerignore`: it holds everything that was ever committed";
const LINE_ENDINGS: &str =
    "its interpreter will not be found: write `*.sh text eol=lf` into .gitattributes, and check it out again";
const EXECUTABLE: &str = "it will not start: `git update-index --chmod=+x` it, or write `COPY --chmod=755`";
const LINK: &str = "in the image it leads elsewhere, or nowhere: copy what it leads to";
const SPECIAL: &str = "put it into `.dockerignore`";

/// Everything to be told, in the order of the paths. `beginning` gives the first [`BEGINNING`] bytes of a file.
pub fn notices(entries: &[Entry], beginning: impl Fn(&RepoPath) -> Vec<u8>) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut history = false;
    for entry in entries {
        let path = entry.path.to_string();
        let mut note = |message: String, hint: &'static str| {
            notices.push(Notice { path: entry.path.clone(), message, hint });
        };
        if path == ".git" || path.starts_with(".git/") {
            if !std::mem::replace(&mut history, true) {
                note("the repository's history is sent".to_owned(), REPOSITORY);
            }
            continue;
        }
        match &entry.kind {
            Kind::Folder => {}
            Kind::Special(what) => note(format!("a {what} is sent"), SPECIAL),
            Kind::Link(target) => {
                if leads_out(&path, &target.to_string_lossy()) {
                    note(format!("a link leads out of the context, to `{}`", target.display()), LINK);
                }
            }
            Kind::File { size, executable } => {
                let bytes = if *size <= LONG { beginning(&entry.path) } else { Vec::new() };
                if let Some(what) = secret(&path, &bytes) {
                    note(format!("{what} is sent"), SECRET);
                }
                if bytes.starts_with(b"#!") {
                    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    if line.ends_with(b"\r") {
                        note("a script whose first line ends in CRLF is sent".to_owned(), LINE_ENDINGS);
                    }
                    if !executable {
                        note("a script that is not executable is sent".to_owned(), EXECUTABLE);
                    }
                }
            }
        }
    }
    notices
}

const IGNORED: &str = "another checkout has another one, or none, so that the image can't be made again from its commit: put it into `.dockerignore`, or commit it";

/// What Git ignores, and is sent all the same. `ignored`: files from the context, and folders that are ignored
/// as a whole, with a slash at their end.
pub fn ignored(entries: &[Entry], ignored: &[RepoPath]) -> Vec<Notice> {
    let is_sent = |path: &RepoPath| {
        let bytes = path.as_bytes();
        entries.iter().any(|entry| {
            let sent = entry.path.as_bytes();
            sent == bytes || (bytes.ends_with(b"/") && sent.starts_with(bytes))
        })
    };
    let notice =
        |path: &RepoPath| Notice { path: path.clone(), message: "Git ignores it".to_owned(), hint: IGNORED };
    ignored.iter().filter(|path| is_sent(path)).map(notice).collect()
}

/// Names of files that hold nothing but secrets.
const NAMES: &[&str] = &[
    ".dockercfg",
    ".env",
    ".git-credentials",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
    "secrets.env",
    "secrets.yaml",
    "secrets.yml",
];
const ENDINGS: &[&str] = &[".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx"];

fn secret(path: &str, bytes: &[u8]) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    if NAMES.contains(&name.as_str()) || path.ends_with(".docker/config.json") {
        return Some(format!("`{name}`, where secrets lie,"));
    }
    if let Some(ending) = ENDINGS.iter().find(|ending| name.ends_with(**ending)) {
        return Some(format!("a key or certificate (`*{ending}`)"));
    }
    // What is no text holds keys by chance.
    if bytes.contains(&0) {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().find_map(secret_in).map(|what| format!("a file that holds {what}"))
}

/// Whether a link at `path` leads above the context, or names a place from the root.
fn leads_out(path: &str, target: &str) -> bool {
    if target.starts_with('/') || target.as_bytes().get(1) == Some(&b':') {
        return true;
    }
    let mut depth = path.matches('/').count() as i64;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, executable: bool) -> Entry {
        Entry { path: path.into(), kind: Kind::File { size: 10, executable } }
    }

    fn told(entries: &[Entry], bytes: &[u8]) -> Vec<String> {
        let notices = notices(entries, |_| bytes.to_vec());
        notices.iter().map(|notice| format!("{}: {}", notice.path, notice.message)).collect()
    }

    #[test]
    fn what_is_regretted_is_told_by_name_and_content() {
        for (path, bytes, message) in [
            ("a/secrets.env", &b""[..], "`secrets.env`, where secrets lie, is sent"),
            ("tls/server.pem", b"", "a key or certificate (`*.pem`) is sent"),
            ("run.sh", b"#!/bin/sh\r\necho\r\n", "a script whose first line ends in CRLF is sent"),
        ] {
            assert_eq!(told(&[file(path, true)], bytes), [format!("{path}: {message}")]);
        }
        assert_eq!(told(&[file("run.sh", false)], b"#!/bin/sh\n").len(), 1);
        assert_eq!(told(&[file("run.sh", true), file("main.go", false)], b"package main\n").len(), 0);
        let key = b"x\n-----BEGIN OPENSSH PRIVATE KEY-----\n";
        assert!(
            told(&[file("x.txt", false)], key)[0].contains("holds"),
            "{:?}",
            told(&[file("x.txt", false)], key)
        );
        assert_eq!(told(&[file(".git/HEAD", false), file(".git/config", false)], b"").len(), 1);
    }

    #[test]
    fn what_git_ignores_is_told_once_where_it_is_sent() {
        let entries = [file("a/x", false), file("build/one", false), file("build/two", false)];
        let listed = ["build/", "gone/", "a/x", "a/y", "a"].map(RepoPath::from);
        let told: Vec<String> =
            ignored(&entries, &listed).iter().map(|notice| notice.path.to_string()).collect();
        assert_eq!(told, ["build/", "a/x"]);
    }

    #[test]
    fn links_are_followed_by_their_words() {
        for (path, target, out) in [
            ("a", "b", false),
            ("a/b", "../c", false),
            ("a/b", "../../c", true),
            ("a", "..", true),
            ("a", "/etc/passwd", true),
            ("a", "C:/x", true),
            ("a/b/c", "../x/../../../y", true),
        ] {
            assert_eq!(leads_out(path, target), out, "{path} -> {target}");
        }
    }

    #[test]
    fn the_largest_come_first() {
        let sized =
            |path: &str, size| Entry { path: path.into(), kind: Kind::File { size, executable: false } };
        let size = size(&[sized("a", 1), sized("b", 5), sized("c", 5)], 2);
        assert_eq!((size.files, size.bytes), (3, 11));
        assert_eq!(size.largest, [("b".into(), 5), ("c".into(), 5)]);
    }
}
