//! How an image is declared: what it stands on, where it goes, how its layers are packed. Pure.

use std::path::PathBuf;

use crate::digest::Digest;

/// What an image stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing below but what the embedded builder adds: CA certificates, tzdata, passwd, group, /tmp.
    Scratch,
    /// `oci:DIR`, with an optional `@sha256:…`.
    Layout { path: PathBuf, digest: Option<Digest> },
    /// `HOST/PATH[:TAG]@sha256:…`: a digest is required.
    Remote { repository: String, tag: Option<String>, digest: Digest },
    /// `docker-daemon:NAME[:TAG]@sha256:…`: an image of the daemon that the environment leads to, and the
    /// digest of its config, which is required.
    Daemon { name: String, digest: Digest },
}

/// A base as it may be written before it has a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpinned {
    Scratch,
    /// `oci:DIR[@sha256:…]`
    Layout {
        path: PathBuf,
        digest: Option<Digest>,
    },
    /// `HOST/PATH[:TAG][@sha256:…]`
    Remote {
        repository: String,
        tag: Option<String>,
        digest: Option<Digest>,
    },
    /// `docker-daemon:NAME[:TAG][@sha256:…]`, the digest of a config.
    Daemon {
        name: String,
        digest: Option<Digest>,
    },
}

impl Unpinned {
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Scratch => None,
            Self::Layout { digest, .. } | Self::Remote { digest, .. } | Self::Daemon { digest, .. } => {
                digest.as_ref()
            }
        }
    }
}

/// Where images go: a folder of OCI layouts, one a service, or a registry with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// `oci:DIR`, relative to the root.
    Layouts(PathBuf),
    /// `HOST[:PORT]/PATH`, images are `HOST/PATH/SERVICE`. `tls`: declared by `http://` or `https://` before it, for a
    /// host without TLS and for one on loopback that has it.
    Remote { host: String, path: String, tls: Option<bool> },
}

/// With a level; absent: the format's own here, or that of the engine which builds a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// 1 to 9.
    Gzip(Option<u8>),
    /// 1 to 19: the levels above need windows that not every reader takes.
    Zstd(Option<u8>),
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = self.level().map(|level| format!(":{level}"));
        write!(f, "{}{}", self.format(), level.unwrap_or_default())
    }
}

impl Compression {
    /// As BuildKit and buildah call the format.
    pub fn format(self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    pub fn level(self) -> Option<u8> {
        match self {
            Self::Gzip(level) | Self::Zstd(level) => level,
        }
    }
}
