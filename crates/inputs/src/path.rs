//! Paths inside a repository, as Git has them.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path from the repository's root: bytes, `/` between names, empty for the root itself. It may hold
/// line breaks and need not be UTF-8. Shown and serialised with control characters, `%` and bytes that
/// are not UTF-8 as `%XX`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// From a relative path of this machine.
    pub fn from_path(path: &Path) -> Self {
        Self(native::bytes(path))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative path of this machine.
    pub fn to_path(&self) -> PathBuf {
        native::path(&self.0)
    }

    /// The folder (empty for the root) and the last name.
    pub fn split(&self) -> (Self, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (Self(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Self(Vec::new()), &self.0),
        }
    }

    /// Whether `path` is this folder or lies in it.
    pub fn contains(&self, path: &Self) -> bool {
        self.0.is_empty()
            || path.0.strip_prefix(self.0.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// `name` in this folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }
}

// By hand, since what is derived is compiled in the crates that use it, and those are not optimised.
impl Ord for RepoPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for RepoPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<&str> for RepoPath {
    /// The very bytes of `path`, nothing unescaped.
    fn from(path: &str) -> Self {
        Self(path.as_bytes().to_vec())
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.to_string()
    }
}

impl From<String> for RepoPath {
    /// The inverse of `Display`. A `%` without two hex digits stands for itself.
    fn from(text: String) -> Self {
        let text = text.as_bytes();
        let mut bytes = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
            match (text[at], digit(at + 1), digit(at + 2)) {
                (b'%', Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    at += 3;
                }
                (byte, ..) => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        Self(bytes)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '%' {
                    let mut buffer = [0; 4];
                    for byte in character.encode_utf8(&mut buffer).bytes() {
                        write!(f, "%{byte:02X}")?;
                    }
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(unix)]
mod native {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};

    pub(super) fn bytes(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }

    pub(super) fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(bytes))
    }
}

#[cfg(not(unix))]
mod native {
    use std::path::{Path, PathBuf};

    pub(super) fn bytes(path: &Path) -> Vec<u8> {
        path.to_string_lossy().replace('\\', "/").into_bytes()
    }

    pub(super) fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_survive_being_written_down(bytes: Vec<u8>) {
            let path = RepoPath::from_bytes(bytes);
            let control = path.to_string().contains(char::is_control);
            prop_assert!(!control);
            prop_assert_eq!(RepoPath::from(path.to_string()), path);
        }
    }

    #[test]
    fn a_folder_contains_its_own_and_no_neighbours() {
        let folder = RepoPath::from("pkg/a");
        assert!(folder.contains(&"pkg/a".into()));
        assert!(folder.contains(&"pkg/a/b.go".into()));
        assert!(!folder.contains(&"pkg/ab/b.go".into()));
        assert!(RepoPath::from("").contains(&"x".into()));
        assert_eq!(folder.join("go.mod"), "pkg/a/go.mod".into());
        assert_eq!(RepoPath::from("").join("go.mod"), "go.mod".into());
    }
}
