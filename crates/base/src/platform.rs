//! Platforms: what Go can build for and what an image index names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]` in OCI's words, which for Go are GOOS, GOARCH and GOARM or GOAMD64.
/// Only constructed from the table of [`Platform::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
    /// Windows' build, or how it begins: `10.0.20348` of `windows(10.0.20348)/amd64`. Binaries don't differ
    /// by it; images do.
    pub os_version: Option<String>,
}

/// GOOS, its GOARCHs (`go tool dist list`; those that a service image or binary is shipped for).
const TABLE: &[(&str, &[&str])] = &[
    ("linux", &["amd64", "arm64", "386", "arm", "ppc64le", "s390x", "riscv64", "loong64", "mips64le"]),
    ("windows", &["amd64", "arm64", "386"]),
    ("darwin", &["amd64", "arm64"]),
    ("freebsd", &["amd64", "arm64", "386", "arm", "riscv64"]),
];

/// GOARCH, its variants, and the one that goes without saying.
const VARIANTS: &[(&str, &[&str], Option<&str>)] = &[
    ("arm", &["v5", "v6", "v7"], Some("v7")),
    ("arm64", &["v8"], Some("v8")),
    ("amd64", &["v1", "v2", "v3", "v4"], Some("v1")),
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => {
                return Err(PlatformError(format!(
                    "`{text}` is not a platform: write os/architecture, as `linux/amd64`"
                )));
            }
        };
        let (os, os_version) = match os.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
            Some((os, version)) => (os, Some(os_version(os, version, text)?)),
            None => (os, None),
        };
        let Some((_, architectures)) = TABLE.iter().find(|(name, _)| *name == os) else {
            let known: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
            return Err(PlatformError(format!(
                "`{os}` in `{text}` is not a known operating system: one of {}",
                known.join(", ")
            )));
        };
        if !architectures.contains(&architecture) {
            return Err(PlatformError(format!(
                "`{architecture}` in `{text}` is not an architecture of {os}: one of {}",
                architectures.join(", ")
            )));
        }
        let (variants, default) = VARIANTS
            .iter()
            .find(|(name, ..)| *name == architecture)
            .map_or((&[][..], None), |(_, variants, default)| (*variants, *default));
        if let Some(variant) = variant
            && !variants.contains(&variant)
        {
            return Err(PlatformError(format!(
                "`{variant}` in `{text}` is not a variant of {architecture}: {}",
                if variants.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("one of {}", variants.join(", "))
                }
            )));
        }
        // The variant that goes without saying is kept only where clients expect it: arm.
        let variant = match (architecture, variant) {
            ("arm", None) => default,
            ("arm", given) => given,
            (_, given) if given == default => None,
            (_, given) => given,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version,
        })
    }
}

fn os_version(os: &str, version: &str, text: &str) -> Result<String, PlatformError> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if os == "windows" && version.len() <= 40 && version.split('.').all(number) {
        return Ok(version.to_owned());
    }
    Err(PlatformError(format!(
        "`{text}` is not a platform: only Windows has versions, as `windows(10.0.20348)/amd64`"
    )))
}

impl Platform {
    /// The Go environment that selects this platform: GOOS, GOARCH and the variant's variable.
    pub fn go_env(&self) -> Vec<(&'static str, String)> {
        let mut env = vec![("GOOS", self.os.clone()), ("GOARCH", self.architecture.clone())];
        if let Some(variant) = &self.variant {
            match self.architecture.as_str() {
                "arm" => env.push(("GOARM", variant.trim_start_matches('v').to_owned())),
                "amd64" => env.push(("GOAMD64", variant.clone())),
                _ => {}
            }
        }
        env
    }

    /// For a file's name: `linux_arm_v7`.
    pub fn slug(&self) -> String {
        self.to_string().replace(['/', '('], "_").replace(')', "")
    }

    /// Without a version of the system: what a binary is built for.
    #[must_use]
    pub fn unversioned(&self) -> Self {
        Self { os_version: None, ..self.clone() }
    }

    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// `.exe` on Windows, else empty.
    pub fn executable_suffix(&self) -> &'static str {
        if self.os == "windows" { ".exe" } else { "" }
    }

    /// This machine's architecture in OCI's words.
    pub fn host_architecture() -> &'static str {
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        }
    }

    /// The platform of the images that run here: Linux of this machine's architecture.
    pub fn host_images() -> Option<Self> {
        format!("linux/{}", Self::host_architecture()).parse().ok()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Self, PlatformError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_normalise_to_what_clients_expect() {
        for (given, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("windows(10.0.20348)/amd64", "windows(10.0.20348)/amd64"),
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn faults_name_the_part_and_the_choice() {
        for (given, part) in [
            ("linux", "is not a platform"),
            ("plan9/amd64", "`plan9`"),
            ("windows/mips", "`mips`"),
            ("linux/arm/v9", "one of v5, v6, v7"),
            ("linux/386/v2", "it has none"),
            ("linux(6)/amd64", "only Windows"),
            ("windows(..)/amd64", "only Windows has versions"),
        ] {
            let fault = given.parse::<Platform>().unwrap_err().to_string();
            assert!(fault.contains(part), "{given}: {fault}");
        }
    }
}
