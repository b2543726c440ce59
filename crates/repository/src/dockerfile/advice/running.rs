//! What `RUN` steps do: compile, and leave behind.

use parse_dockerfile::{Flag, Instruction, RunInstruction, Stage};

use super::{Chain, says, text_of};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::Dockerfile;

/// A package manager: how it installs, what cleans up after it, where its cache can be mounted.
const MANAGERS: &[(&[&str], &[&str], &str, &str)] = &[
    (
        &["apt-get install", "apt install"],
        &["/var/lib/apt/lists"],
        "/var/lib/apt",
        "end the step with `rm -rf /var/lib/apt/lists/*`, or mount a cache: `--mount=type=cache,target=/var/lib/apt`",
    ),
    (&["apk add"], &["--no-cache", "/var/cache/apk"], "/var/cache/apk", "write `apk add --no-cache`"),
    (
        &["dnf install", "yum install", "microdnf install"],
        &["clean all"],
        "/var/cache",
        "end the step with `dnf clean all`",
    ),
    (
        &["pip install", "pip3 install"],
        &["--no-cache-dir"],
        ".cache/pip",
        "write `pip install --no-cache-dir`",
    ),
];

impl Dockerfile<'_> {
    /// How the binary is made, and whether its compiler stays in the image.
    pub(super) fn builds(
        &self,
        stage: &Stage<'_, '_>,
        chain: &Chain<'_, '_>,
        is_last: bool,
    ) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let is_static = chain.instructions().any(|one| {
            matches!(one, Instruction::Env(env) if env.arguments.value.contains("CGO_ENABLED=0") || env.arguments.value.trim() == "CGO_ENABLED 0")
        });
        let flags = chain.instructions().any(
            |one| matches!(one, Instruction::Env(env) if env.arguments.value.contains("GOFLAGS") && env.arguments.value.contains("-trimpath")),
        );
        for run in runs(stage) {
            let (text, span) = text_of(&run.arguments);
            if !["go build", "go install"].iter().any(|word| says(&text, word)) {
                continue;
            }
            if !text.contains("-trimpath") && !flags {
                found.push(
                    self.note(&span, "`go build` without `-trimpath`: the build's paths are in the binary")
                        .hint("write `go build -trimpath -ldflags=\"-s -w\"`"),
                );
            }
            if !is_static && !text.contains("CGO_ENABLED=0") && !text.contains("CGO_ENABLED=1") {
                found.push(
                    self.note(&span, "the binary may need the C library of the stage that builds it")
                        .hint("write `CGO_ENABLED=0 go build …`: a static one runs on any base; or say `CGO_ENABLED=1`"),
                );
            }
            if is_last {
                let from = &stage.from.from.span;
                found.push(
                    self.note(from, "the image holds the compiler and the sources: it is built in one stage")
                        .hint("give this stage a name, `AS build`, and copy the binary into another: `FROM scratch`, `COPY --from=build …`"),
                );
            }
        }
        found
    }

    /// Package managers' caches that stay in a layer.
    pub(super) fn leftovers(&self, stage: &Stage<'_, '_>) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for run in runs(stage) {
            let (text, span) = text_of(&run.arguments);
            for (install, clean, cache, hint) in MANAGERS {
                let installs = install.iter().any(|words| {
                    // Options may stand between the two words: `apt-get -y install`.
                    let (program, verb) = words.split_once(' ').unwrap_or((words, ""));
                    says(&text, words)
                        || says(&text, &format!("{program} -y {verb}"))
                        || says(&text, &format!("{program} -qq {verb}"))
                });
                if installs && !clean.iter().any(|words| text.contains(words)) && !mounts(&run.options, cache)
                {
                    found.push(
                        self.note(&span, "what the package manager has downloaded stays in the layer")
                            .hint(*hint),
                    );
                }
            }
        }
        found
    }
}

fn runs<'d, 'a>(stage: &Stage<'a, 'd>) -> impl Iterator<Item = &'d RunInstruction<'a>> {
    stage.instructions.iter().filter_map(|one| match one {
        Instruction::Run(run) => Some(run),
        _ => None,
    })
}

fn mounts(options: &[Flag<'_>], target: &str) -> bool {
    options.iter().any(|flag| {
        let value = flag.value.as_ref().map_or("", |value| &*value.value);
        flag.name.value == "mount" && value.contains("type=cache") && value.contains(target)
    })
}
