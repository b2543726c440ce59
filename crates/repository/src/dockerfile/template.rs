//! A good Dockerfile for a service: modules first, caches mounted, a static binary, a user who is not root,
//! labels, no compiler in the image. Pure: text from what is known of the service.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the image stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Base {
    /// Nothing but the binary, certificates and a user
    Scratch,
    /// Certificates, time zones and a user, no shell
    Distroless,
    /// A shell and a package manager
    Alpine,
    /// The smallest for Windows
    Nanoserver,
    /// Windows with what older programs need
    Servercore,
}

/// An image that a Dockerfile starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub host: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
}

impl Base {
    pub fn is_windows(self) -> bool {
        matches!(self, Self::Nanoserver | Self::Servercore)
    }

    /// Absent for scratch.
    pub fn image(self) -> Option<Image> {
        let (host, path, tag) = match self {
            Self::Scratch => return None,
            Self::Distroless => ("gcr.io", "distroless/static-debian12", "nonroot"),
            Self::Alpine => ("docker.io", "library/alpine", "3.22"),
            Self::Nanoserver => ("mcr.microsoft.com", "windows/nanoserver", "ltsc2022"),
            Self::Servercore => ("mcr.microsoft.com", "windows/servercore", "ltsc2022"),
        };
        Some(Image { host, path, tag })
    }
}

/// What is known of the service.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    /// The main package from its module's folder, as `./cmd/api`.
    pub package: String,
    pub port: Option<u16>,
    /// The path of its live check.
    pub live: Option<String>,
    /// With their defaults.
    pub build_args: BTreeMap<String, Option<String>>,
    /// References, by digest where it could be had.
    pub golang: String,
    /// Absent for scratch.
    pub base: Option<String>,
}

/// What no build needs, and what no image should hold.
pub const IGNORE: &str = "# What is not sent to the build.
.git
**/.dockerignore
**/Dockerfile*
**/*_test.go
**/*.md
**/.env*
**/secrets.env
**/*.key
**/*.pem
bin
dist
node_modules
target
";

/// The Dockerfile.
pub fn dockerfile(service: &Service, base: Base) -> String {
    let mut text = build(service, base);
    let name = &service.name;
    match &service.base {
        Some(image) => {
            let _ = writeln!(text, "\nFROM {image}");
        }
        None => text.push_str(
            "\nFROM scratch\nCOPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n",
        ),
    }
    if base == Base::Alpine {
        text.push_str("RUN apk add --no-cache ca-certificates tzdata\n");
    }
    text.push_str("ARG VERSION=dev\nARG REVISION=unknown\n");
    let _ = writeln!(
        text,
        "LABEL org.opencontainers.image.title=\"{name}\" \\\n      org.opencontainers.image.version=\"$VERSION\" \\\n      org.opencontainers.image.revision=\"$REVISION\""
    );
    for (arg, default) in &service.build_args {
        let _ = match default {
            Some(default) => writeln!(text, "ARG {arg}={}", quoted(default)),
            None => writeln!(text, "ARG {arg}"),
        };
        let _ = writeln!(text, "ENV {arg}=${arg}");
    }
    let (path, entrypoint, user) = if base.is_windows() {
        (format!("C:/app/{name}.exe"), format!("C:\\\\app\\\\{name}.exe"), "ContainerUser")
    } else {
        let path = format!("/usr/local/bin/{name}");
        (path.clone(), path, "65532:65532")
    };
    let suffix = if base.is_windows() { ".exe" } else { "" };
    let _ = writeln!(text, "COPY --from=build /out/{name}{suffix} {path}\nUSER {user}");
    if let Some(port) = service.port {
        let _ = writeln!(text, "EXPOSE {port}");
    }
    match (base, &service.live, service.port) {
        (Base::Alpine, Some(live), Some(port)) => {
            let _ = writeln!(
                text,
                "HEALTHCHECK CMD [\"wget\", \"-q\", \"--spider\", \"http://127.0.0.1:{port}{live}\"]"
            );
        }
        (_, Some(_), _) => text.push_str("# Its health is asked from outside: pipeline.toml says where.\n"),
        _ => text.push_str("# It has nothing that could be asked for its health.\nHEALTHCHECK NONE\n"),
    }
    let _ = writeln!(text, "ENTRYPOINT [\"{entrypoint}\"]");
    text
}

fn build(service: &Service, base: Base) -> String {
    let Service { name, package, golang, .. } = service;
    let (os, suffix) = if base.is_windows() { ("windows", ".exe") } else { ("$TARGETOS", "") };
    format!(
        "# The image of {name}. Written by `cargo xtask init --dockerfile {name}`, and yours from here on.
FROM --platform=$BUILDPLATFORM {golang} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOCACHE=/cache/build GOMODCACHE=/cache/mod
# They change less often than the sources: until they do, nothing is downloaded again.
COPY go.mod go.su[m] ./
RUN --mount=type=cache,target=/cache/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=dev
RUN --mount=type=cache,target=/cache/mod --mount=type=cache,target=/cache/build \\
    GOOS={os} GOARCH=$TARGETARCH \\
    go build -trimpath -ldflags=\"-s -w -X main.version=$VERSION\" -o /out/{name}{suffix} {package}
"
    )
}

/// A value as an `ARG`'s default.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Source;
    use crate::dockerfile::{advice::Asked, parse};

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_is_written_gets_no_advice_of_ours() {
        for base in [Base::Scratch, Base::Distroless, Base::Alpine, Base::Nanoserver, Base::Servercore] {
            for health in [true, false] {
                let service = Service {
                    name: "api".to_owned(),
                    package: "./cmd/api".to_owned(),
                    port: health.then_some(8080),
                    live: health.then(|| "/healthz".to_owned()),
                    build_args: [("A".to_owned(), Some("x y$".to_owned())), ("B".to_owned(), None)].into(),
                    golang: format!("golang:1.26.8{DIGEST}"),
                    base: base.image().map(|image| format!("{}:{}{DIGEST}", image.path, image.tag)),
                };
                let text = dockerfile(&service, base);
                let source = Arc::new(Source { path: "Dockerfile".into(), text: text.clone() });
                let file = parse(&source).unwrap();
                let advice = file.advice(Asked { target: None, health });
                let messages: Vec<&String> = advice.iter().map(|note| &note.message).collect();
                assert!(messages.is_empty(), "{base:?}: {messages:?}\n{text}");
                assert!(file.unset(None, &BTreeSet::from(["A", "B"])).is_empty(), "{text}");
                assert!(file.declared().contains("A") && file.declared().contains("B"));
            }
        }
    }
}
