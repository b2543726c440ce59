//! What is copied, and when.

use parse_dockerfile::{Instruction, Source, Stage};

use super::{says, text_of};
use crate::diagnostic::Diagnostic;
use crate::dockerfile::Dockerfile;

const ARCHIVES: &[&str] = &[".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst"];

impl Dockerfile<'_> {
    /// `ADD` where `COPY` would do, and everything copied before the modules are there.
    pub(super) fn copies(&self, stage: &Stage<'_, '_>) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut whole = None;
        let mut modules = false;
        for instruction in stage.instructions {
            match instruction {
                Instruction::Add(add) => {
                    let local =
                        |source: &Source<'_>| matches!(source, Source::Path(path) if is_local(&path.value));
                    if add.src.iter().any(local) {
                        found.push(
                            self.note(
                                &add.add.span,
                                "`ADD` of a local file: it would also unpack, or fetch, what it is given",
                            )
                            .hint("write `COPY`"),
                        );
                    }
                    whole = whole.or(add.src.iter().any(is_whole).then_some(&add.add.span));
                }
                Instruction::Copy(copy) => {
                    let local = copy.options.iter().all(|flag| flag.name.value != "from");
                    let takes_all = local && copy.src.iter().any(is_whole);
                    whole = whole.or(takes_all.then_some(&copy.copy.span));
                }
                Instruction::Run(run) => {
                    let (text, _) = text_of(&run.arguments);
                    let cached = run.options.iter().any(|flag| {
                        let value = flag.value.as_ref().map_or("", |value| &*value.value);
                        flag.name.value == "mount"
                            && value.contains("type=cache")
                            && (value.contains("/pkg/mod") || value.contains("/go"))
                    });
                    let downloads = says(&text, "go mod download");
                    let builds = ["go build", "go install", "go test"].iter().any(|word| says(&text, word));
                    if let (Some(span), false) = (whole, modules || cached)
                        && (downloads || builds)
                    {
                        found.push(
                            self.note(span, "everything is copied before the modules are downloaded: each change of a file downloads them again")
                                .hint("first `COPY go.mod go.sum ./` and `RUN go mod download`, then copy the rest"),
                        );
                    }
                    modules |= downloads || builds;
                }
                _ => {}
            }
        }
        found
    }
}

fn is_local(path: &str) -> bool {
    let remote = ["http://", "https://", "git@", "ssh://"].iter().any(|scheme| path.starts_with(scheme));
    let lower = path.to_lowercase();
    !remote && !path.ends_with(".git") && !ARCHIVES.iter().any(|ending| lower.ends_with(ending))
}

fn is_whole(source: &Source<'_>) -> bool {
    matches!(source, Source::Path(path) if matches!(&*path.value, "." | "./" | "/" | "*"))
}
