//! What is known of each tool: its module, its official releases and their checksums. Pure data.

use std::fmt;

use crate::fault::{Exit, Fault};

/// A tool that `[tools]` can pin, apart from Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Trivy,
    GolangciLint,
}

/// An archive of an official release: `tar.gz`, with the executable in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Archive {
    pub(super) url: &'static str,
    /// Of the archive, 64 hex digits, from the release's own checksum file.
    pub(super) sha256: &'static str,
}

/// Versions that must never run, and why.
const REFUSED: &[(Tool, &str, &str)] =
    &[(Tool::Trivy, "0.69.4", "was a malicious release (GHSA-69fq-xp46-6x23)")];

/// Tool, version, OS and architecture in Rust's words, archive.
const ARCHIVES: &[(Tool, &str, &str, &str, Archive)] = &[
    (
        Tool::Trivy,
        "0.69.3",
        "linux",
        "x86_64",
        Archive {
            url: "https://github.com/aquasecurity/trivy/releases/download/v0.69.3/trivy_0.69.3_Linux-64bit.tar.gz",
            sha256: "1816b632dfe529869c740c0913e36bd1629cb7688bd5634f4a858c1d57c88b75",
        },
    ),
    (
        Tool::Trivy,
        "0.69.3",
        "linux",
        "aarch64",
        Archive {
            url: "https://github.com/aquasecurity/trivy/releases/download/v0.69.3/trivy_0.69.3_Linux-ARM64.tar.gz",
            sha256: "7e3924a974e912e57b4a99f65ece7931f8079584dae12eb7845024f97087bdfd",
        },
    ),
    (
        Tool::Trivy,
        "0.69.3",
        "macos",
        "x86_64",
        Archive {
            url: "https://github.com/aquasecurity/trivy/releases/download/v0.69.3/trivy_0.69.3_macOS-64bit.tar.gz",
            sha256: "fec4a9f7569b624dd9d044fca019e5da69e032700edbb1d7318972c448ec2f4e",
        },
    ),
    (
        Tool::Trivy,
        "0.69.3",
        "macos",
        "aarch64",
        Archive {
            url: "https://github.com/aquasecurity/trivy/releases/download/v0.69.3/trivy_0.69.3_macOS-ARM64.tar.gz",
            sha256: "a2f2179afd4f8bb265ca3c7aefb56a666bc4a9a411663bc0f22c3549fbc643a5",
        },
    ),
    (
        Tool::GolangciLint,
        "2.11.4",
        "linux",
        "x86_64",
        Archive {
            url: "https://github.com/golangci/golangci-lint/releases/download/v2.11.4/golangci-lint-2.11.4-linux-amd64.tar.gz",
            sha256: "200c5b7503f67b59a6743ccf32133026c174e272b930ee79aa2aa6f37aca7ef1",
        },
    ),
    (
        Tool::GolangciLint,
        "2.11.4",
        "linux",
        "aarch64",
        Archive {
            url: "https://github.com/golangci/golangci-lint/releases/download/v2.11.4/golangci-lint-2.11.4-linux-arm64.tar.gz",
            sha256: "3bcfa2e6f3d32b2bf5cd75eaa876447507025e0303698633f722a05331988db4",
        },
    ),
    (
        Tool::GolangciLint,
        "2.11.4",
        "macos",
        "x86_64",
        Archive {
            url: "https://github.com/golangci/golangci-lint/releases/download/v2.11.4/golangci-lint-2.11.4-darwin-amd64.tar.gz",
            sha256: "c900d4048db75d1edfd550fd11cf6a9b3008e7caa8e119fcddbc700412d63e60",
        },
    ),
    (
        Tool::GolangciLint,
        "2.11.4",
        "macos",
        "aarch64",
        Archive {
            url: "https://github.com/golangci/golangci-lint/releases/download/v2.11.4/golangci-lint-2.11.4-darwin-arm64.tar.gz",
            sha256: "02db2a2dae8b26812e53b0688a6f617e3ef1f489790e829ea22862cf76945675",
        },
    ),
];

impl Tool {
    pub const ALL: [Self; 2] = [Self::Trivy, Self::GolangciLint];

    /// The command's name, and that of its folder in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trivy => "trivy",
            Self::GolangciLint => "golangci-lint",
        }
    }

    /// The executable's file name on this machine.
    pub fn file(self) -> String {
        format!("{}{}", self.name(), std::env::consts::EXE_SUFFIX)
    }

    /// The variable that names another executable to use.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Trivy => "LONGSHORE_TRIVY",
            Self::GolangciLint => "LONGSHORE_GOLANGCI_LINT",
        }
    }

    pub(super) fn version_args(self) -> &'static [&'static str] {
        match self {
            Self::Trivy => &["--version"],
            Self::GolangciLint => &["version", "--short"],
        }
    }

    /// The Go module and main package of a version.
    pub(super) fn package(self, version: &str) -> (&'static str, &'static str) {
        match self {
            Self::Trivy => ("github.com/aquasecurity/trivy", "github.com/aquasecurity/trivy/cmd/trivy"),
            Self::GolangciLint if version.starts_with("0.") || version.starts_with("1.") => {
                ("github.com/golangci/golangci-lint", "github.com/golangci/golangci-lint/cmd/golangci-lint")
            }
            Self::GolangciLint => (
                "github.com/golangci/golangci-lint/v2",
                "github.com/golangci/golangci-lint/v2/cmd/golangci-lint",
            ),
        }
    }

    /// The linker's flags: what makes the tool say its version.
    pub(super) fn ldflags(self, version: &str) -> String {
        match self {
            Self::Trivy => {
                format!("-s -w -X github.com/aquasecurity/trivy/pkg/version/app.ver={version}")
            }
            // Without a date it would take the version of the module that it is built in.
            Self::GolangciLint => format!("-s -w -X main.version={version} -X main.date=unknown"),
        }
    }

    /// Variables of its build.
    pub(super) fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Trivy => &[("GOEXPERIMENT", "jsonv2"), ("CGO_ENABLED", "0")],
            Self::GolangciLint => &[("CGO_ENABLED", "0")],
        }
    }

    /// The official archive for this machine, where its checksum is known.
    pub(super) fn archive(self, version: &str) -> Option<Archive> {
        archive(self, version, std::env::consts::OS, std::env::consts::ARCH)
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trivy => "Trivy",
            Self::GolangciLint => "golangci-lint",
        })
    }
}

fn archive(tool: Tool, version: &str, os: &str, architecture: &str) -> Option<Archive> {
    ARCHIVES
        .iter()
        .find(|(of, is, on, by, _)| (*of, *is, *on, *by) == (tool, version, os, architecture))
        .map(|(.., archive)| *archive)
}

/// Refuses a version that must never run, and text that is no exact version.
pub(super) fn accept(tool: Tool, version: &str) -> anyhow::Result<()> {
    if let Some((.., why)) = REFUSED.iter().find(|(of, is, _)| (*of, *is) == (tool, version)) {
        return Err(Fault::new(Exit::Usage, format!("{tool} {version} is refused: it {why}"))
            .hint("pin another version under `[tools]` in pipeline.toml")
            .into());
    }
    if semver::Version::parse(version).is_err() {
        return Err(Fault::new(Exit::Usage, format!("`{version}` is not an exact version of {tool}"))
            .hint("write MAJOR.MINOR.PATCH, without a leading `v`")
            .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_malicious_release_and_ranges_are_refused() {
        for version in ["0.69.4", "v0.69.3", "0.69", "latest", "../../x", ""] {
            let fault = accept(Tool::Trivy, version).unwrap_err();
            assert_eq!(crate::fault::exit_of(&fault), Exit::Usage, "{version}");
        }
        accept(Tool::Trivy, "0.69.3").unwrap();
        accept(Tool::GolangciLint, "0.69.4").unwrap();
    }

    #[test]
    fn archives_are_pinned_by_whole_checksums() {
        for (tool, version, _, _, archive) in ARCHIVES {
            assert!(archive.sha256.len() == 64 && archive.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(archive.url.starts_with("https://") && archive.url.contains(version), "{tool}");
            assert!(archive.url.ends_with(".tar.gz"));
        }
        for (tool, version) in [(Tool::Trivy, "0.69.3"), (Tool::GolangciLint, "2.11.4")] {
            for (os, by) in
                [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "x86_64"), ("macos", "aarch64")]
            {
                assert!(archive(tool, version, os, by).is_some(), "{tool} {os} {by}");
            }
        }
        assert!(archive(Tool::Trivy, "0.70.0", "linux", "x86_64").is_none());
        assert!(archive(Tool::Trivy, "0.69.3", "windows", "x86_64").is_none());
    }

    #[test]
    fn the_major_version_is_in_the_module_s_path() {
        assert_eq!(Tool::GolangciLint.package("1.64.8").0, "github.com/golangci/golangci-lint");
        assert_eq!(Tool::GolangciLint.package("2.5.0").0, "github.com/golangci/golangci-lint/v2");
    }
}
