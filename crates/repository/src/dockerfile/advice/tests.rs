use std::sync::Arc;

use super::*;
use crate::diagnostic::Source;
use crate::dockerfile::parse;

/// `LINE:COLUMN: message`, a line each.
fn told(text: &str, health: bool) -> Vec<String> {
    let source = Arc::new(Source { path: "Dockerfile".into(), text: text.to_owned() });
    let file = parse(&source).unwrap();
    let line = |note: Diagnostic| {
        let (line, column) = note.place.as_ref().unwrap().0.line_and_column();
        assert!(note.hint.is_some(), "{}", note.message);
        format!("{line}:{column}: {}", note.message)
    };
    file.advice(Asked { target: None, health }).into_iter().map(line).collect()
}

const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn everything_that_is_wrong_is_told_at_its_place() {
    let text = "FROM golang:latest
ARG DB_PASSWORD
ADD . /src
RUN apt-get update && apt-get -y install git
RUN cd /src && go build -o /app ./cmd/api
ENTRYPOINT /app --port 80
";
    let expected = [
        "1:1: the image holds the compiler and the sources: it is built in one stage",
        "1:1: the image runs as root: no `USER` is set",
        "1:1: nobody looks at this image's health",
        "1:6: the base `golang:latest` is whatever `latest` is that day",
        "2:5: `ARG DB_PASSWORD` puts a secret into the image",
        "3:1: `ADD` of a local file: it would also unpack, or fetch, what it is given",
        "3:1: everything is copied before the modules are downloaded: each change of a file downloads them again",
        "4:5: what the package manager has downloaded stays in the layer",
        "5:5: `go build` without `-trimpath`: the build's paths are in the binary",
        "5:5: the binary may need the C library of the stage that builds it",
        "6:12: `ENTRYPOINT` runs in a shell, which does not pass signals on",
    ];
    assert_eq!(told(text, false), expected);
}

#[test]
fn a_good_one_gets_no_advice() {
    let text = format!(
        "ARG GO=1.26
FROM --platform=$BUILDPLATFORM golang:${{GO}}{DIGEST} AS build
WORKDIR /src
ENV CGO_ENABLED=0
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/cache/go-build go build -trimpath -ldflags=\"-s -w\" -o /app ./cmd/api
FROM alpine:3.22{DIGEST} AS base
RUN apk add --no-cache tzdata
FROM base
COPY --from=build /app /app
USER 65532:65532
ENTRYPOINT [\"/app\"]
"
    );
    assert_eq!(told(&text, true), Vec::<String>::new());
    assert_eq!(told(&text, false).len(), 1, "the health");
    let healthy = text.replace("USER", "HEALTHCHECK CMD [\"/app\", \"-health\"]\nUSER");
    assert_eq!(told(&healthy, false), Vec::<String>::new());
}

#[test]
fn bases_are_named_as_they_are() {
    for (from, told_of) in [
        ("FROM scratch", None),
        ("FROM alpine", Some("neither tag nor digest")),
        ("FROM alpine:3.22", Some("its tag may move")),
        ("FROM localhost:5000/team/base", Some("neither tag nor digest")),
        ("ARG B=alpine:latest\nFROM $B", Some("`alpine:latest`")),
        ("ARG B\nFROM $B", None),
        ("FROM gcr.io/distroless/static:nonroot", Some("its tag may move")),
    ] {
        let lines = told(&format!("{from}\nUSER 1\n"), true);
        match told_of {
            None => assert_eq!(lines, Vec::<String>::new(), "{from}"),
            Some(words) => assert!(lines.len() == 1 && lines[0].contains(words), "{from}: {lines:?}"),
        }
    }
    let distroless = format!("FROM gcr.io/distroless/static:nonroot{DIGEST}\n");
    assert_eq!(told(&distroless, true), Vec::<String>::new(), "it has a user of its own");
    assert_eq!(told("FROM scratch\nUSER root\n", true), ["2:6: the image runs as root"]);
}

#[test]
fn a_stage_that_takes_no_part_gets_no_advice() {
    let text = "FROM golang:latest AS unused\nRUN apt-get install x\nFROM scratch\nUSER 1\n";
    assert_eq!(told(text, true), Vec::<String>::new());
}

#[test]
fn words_are_words() {
    assert!(says("cd x && CGO_ENABLED=0 go build .", "go build"));
    assert!(says("[\"go\", \"build\"]".replace([',', '[', ']'], " ").as_str(), "go build"));
    assert!(!says("cargo build", "go build"));
    assert!(!says("echo go-build", "go build"));
}

proptest::proptest! {
    #[test]
    fn no_dockerfile_panics(lines in proptest::collection::vec(
        "(FROM|ARG|ENV|RUN|COPY|ADD|USER|CMD|ENTRYPOINT|HEALTHCHECK|LABEL) [ -~é]{0,24}", 0..8)) {
        let text = format!("FROM scratch AS a\n{}\n", lines.join("\n"));
        let source = Arc::new(Source { path: "Dockerfile".into(), text });
        if let Ok(file) = parse(&source) {
            let notes = file.advice(Asked { target: None, health: false });
            let _ = crate::diagnostic::render_all(&notes, crate::style::Colour::Off);
            let _ = file.faults("a", None, &std::collections::BTreeSet::new());
        }
    }
}
