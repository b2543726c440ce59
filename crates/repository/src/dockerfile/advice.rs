//! What makes a Dockerfile's image larger, slower to build or less safe than it need be. Warnings, each at
//! its place; whether they fail anything is the lint stage's to say.

mod base;
mod copying;
mod running;

use std::ops::Range;

use parse_dockerfile::{Command, Instruction, Stage};

use super::{Dockerfile, words};
use crate::config::{is_named_secret, looks_like_secret};
use crate::diagnostic::Diagnostic;

/// What the pipeline knows of the service, besides its Dockerfile.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub target: Option<&'a str>,
    /// Its health is looked at by the pipeline.
    pub health: bool,
}

/// A stage, and what it inherits: its own instructions last.
struct Chain<'d, 'a> {
    stages: Vec<Stage<'a, 'd>>,
}

impl<'d, 'a> Chain<'d, 'a> {
    fn instructions(&self) -> impl Iterator<Item = &'d Instruction<'a>> {
        self.stages.iter().flat_map(|stage| stage.instructions)
    }
}

impl<'a> Dockerfile<'a> {
    /// Everything that is known to be better otherwise, in the order of the file.
    pub fn advice(&self, asked: Asked<'_>) -> Vec<Diagnostic> {
        let Some(last) = self.last(asked.target) else { return Vec::new() };
        let reachable = self.reachable(asked.target);
        let stages = self.stages();
        let mut found = Vec::new();
        for index in reachable {
            let chain = self.chain(index);
            let is_last = index == last;
            found.extend(self.base(index));
            found.extend(self.copies(&stages[index]));
            found.extend(self.builds(&stages[index], &chain, is_last));
            found.extend(self.secrets(&stages[index]));
        }
        let image = self.chain(last);
        for stage in &image.stages {
            found.extend(self.leftovers(stage));
        }
        found.extend(self.user(last, &image));
        found.extend(self.start(&image));
        if !asked.health && !image.instructions().any(|one| matches!(one, Instruction::Healthcheck(_))) {
            let from = stages[last].from;
            found.push(
                self.note(&from.from.span, "nobody looks at this image's health")
                    .hint("declare `health` of the service in pipeline.toml, or write `HEALTHCHECK`"),
            );
        }
        found.sort_by_key(|note| note.place.as_ref().map_or(0, |(place, _)| place.span.start));
        found
    }

    fn note(&self, span: &Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(message).at(&self.place(span.clone()), "")
    }

    /// A stage with those that it is `FROM`, the first of them first.
    fn chain(&self, index: usize) -> Chain<'_, 'a> {
        let mut stages = Vec::new();
        let mut next = Some(index);
        while let Some(index) = next {
            let Some(stage) = self.parsed.stages().nth(index) else { break };
            next = self.stage_index(&stage.from.image.value).filter(|earlier| *earlier < index);
            stages.push(stage);
        }
        stages.reverse();
        Chain { stages }
    }

    /// `ARG` and `ENV` stay in the image's history or its variables.
    fn secrets(&self, stage: &Stage<'_, '_>) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for instruction in stage.instructions {
            let (text, span, what) = match instruction {
                Instruction::Arg(arg) => (&arg.arguments.value, &arg.arguments.span, "ARG"),
                Instruction::Env(env) => (&env.arguments.value, &env.arguments.span, "ENV"),
                _ => continue,
            };
            for (word, range) in words::split(text) {
                let (name, value) = word.split_once('=').unwrap_or((&word, ""));
                if !is_named_secret(name) && looks_like_secret(value).is_none() {
                    continue;
                }
                let exact = text.len() == span.len();
                let at = if exact { span.start + range.start..span.start + range.end } else { span.clone() };
                let place = self.place(at.clone());
                found.push(
                    self.note(&at, format!("`{what} {name}` puts a secret into the image"))
                        .hiding(&crate::diagnostic::Place {
                            span: (at.start + name.len() + 1).min(at.end)..at.end,
                            ..place
                        })
                        .hint("mount it where a step needs it: `RUN --mount=type=secret,id=NAME`, with `build-secrets` in pipeline.toml"),
                );
            }
        }
        found
    }

    /// Who runs it.
    fn user(&self, last: usize, image: &Chain<'_, '_>) -> Option<Diagnostic> {
        let user = image.instructions().filter_map(|one| match one {
            Instruction::User(user) => Some(user),
            _ => None,
        });
        let first = image.stages.first()?;
        match user.last() {
            Some(user) => {
                let name = user.arguments.value.split(':').next().unwrap_or_default().to_lowercase();
                matches!(name.as_str(), "root" | "0" | "containeradministrator").then(|| {
                    self.note(&user.arguments.span, "the image runs as root")
                        .hint("write `USER 65532:65532` behind the steps that need root")
                })
            }
            // Some bases have a user of their own.
            None if ["nonroot", "nanoserver"].iter().any(|word| self.image_of(first).contains(word)) => None,
            None => {
                let from = self.parsed.stages().nth(last)?.from;
                Some(
                    self.note(&from.from.span, "the image runs as root: no `USER` is set")
                        .hint("write `USER 65532:65532` before its entrypoint"),
                )
            }
        }
    }

    /// How it starts, and who gets the signals.
    fn start(&self, image: &Chain<'_, '_>) -> Option<Diagnostic> {
        let mut entrypoint = None;
        let mut command = None;
        for instruction in image.instructions() {
            match instruction {
                Instruction::Entrypoint(found) => entrypoint = Some((&found.arguments, "ENTRYPOINT")),
                Instruction::Cmd(found) => command = Some((&found.arguments, "CMD")),
                _ => {}
            }
        }
        let (arguments, name) = entrypoint.or(command)?;
        let Command::Shell(text) = arguments else { return None };
        if text.value.trim_start().starts_with("exec ") {
            return None;
        }
        Some(self.note(&text.span, format!("`{name}` runs in a shell, which does not pass signals on")).hint(
            format!(
                "write it as a list, `{name} [\"/app\", \"argument\"]`: then SIGTERM reaches the program"
            ),
        ))
    }
}

/// Whether `text` has the words `wanted` one after the other, as words.
fn says(text: &str, wanted: &str) -> bool {
    let wanted: Vec<&str> = wanted.split(' ').collect();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || ";&|()\"'`".contains(c))
        .filter(|word| !word.is_empty() && *word != "\\")
        .map(|word| word.strip_prefix("/usr/local/go/bin/").unwrap_or(word))
        .collect();
    words.windows(wanted.len()).any(|window| window == wanted)
}

/// The text of a command, and the bytes where it stands.
fn text_of(command: &Command<'_>) -> (String, Range<usize>) {
    match command {
        Command::Exec(list) => {
            let list_words: Vec<&str> = list.value.iter().map(|word| &*word.value).collect();
            (list_words.join(" "), list.span.clone())
        }
        Command::Shell(text) => (text.value.to_owned(), text.span.clone()),
        _ => (String::new(), 0..0),
    }
}

#[cfg(test)]
mod tests;
