//! What a Dockerfile's build takes from elsewhere that may be something else tomorrow: then an image that was
//! built before is no answer. What a `RUN` step fetches is the user's, as it is with the engines' own caches.

use std::collections::BTreeMap;

use parse_dockerfile::{AddInstruction, Instruction, Source};

use super::{Dockerfile, sources};

impl Dockerfile<'_> {
    /// The first such thing that takes part in `target`, in a few words; `None` where all is pinned. `args`: the
    /// values of its `ARG`s.
    pub fn moving(&self, target: Option<&str>, args: &BTreeMap<String, String>) -> Option<String> {
        let syntax = self.parsed.parser_directives.syntax.as_ref().map(|syntax| syntax.value.value);
        if let Some(syntax) = syntax.filter(|syntax| !is_pinned(syntax)) {
            return Some(format!("its syntax `{syntax}` has no digest"));
        }
        let stages = self.stages();
        for index in self.reachable(target) {
            let stage = &stages[index];
            let earlier = |name: &str| self.stage_index(name).is_some_and(|other| other < index);
            let image = self.image_with(stage, args);
            if !earlier(&stage.from.image.value) && !is_pinned(&image) {
                return Some(format!("its base `{image}` has no digest"));
            }
            let found = stage.instructions.iter().find_map(|instruction| {
                let copied = sources(instruction).into_iter().find(|name| !earlier(name) && !is_pinned(name));
                let copied = copied.map(|name| format!("what it takes from `{name}` has no digest"));
                copied.or_else(|| match instruction {
                    Instruction::Add(add) => fetched(add),
                    _ => None,
                })
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

fn is_pinned(image: &str) -> bool {
    image == "scratch" || image.contains("@sha256:")
}

/// What an `ADD` fetches that no checksum pins.
fn fetched(add: &AddInstruction<'_>) -> Option<String> {
    let pinned = add.options.iter().any(|option| option.name.value == "checksum");
    let remote = |source: &Source<'_>| match source {
        Source::Path(path) if path.value.contains("://") || path.value.starts_with("git@") => {
            Some(format!("what it adds from `{}` has no checksum", path.value))
        }
        _ => None,
    };
    if pinned { None } else { add.src.iter().find_map(remote) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Source as File;

    #[test]
    fn whatever_may_be_another_thing_tomorrow_is_named() {
        let pinned = "alpine@sha256:aa";
        let args =
            BTreeMap::from([("TAG".to_owned(), "7".to_owned()), ("GIVEN".to_owned(), pinned.to_owned())]);
        for (text, told) in [
            ("FROM scratch", None),
            ("FROM alpine@sha256:aa", None),
            ("FROM alpine:3", Some("its base `alpine:3` has no digest")),
            ("ARG TAG=1\nFROM alpine:$TAG", Some("its base `alpine:7` has no digest")),
            ("ARG GIVEN=alpine\nFROM $GIVEN", None),
            ("FROM alpine:$TARGETARCH", Some("its base `alpine:$TARGETARCH` has no digest")),
            ("FROM scratch AS a\nFROM a", None),
            ("FROM alpine AS unused\nFROM scratch", None),
            (
                "FROM alpine AS used\nFROM scratch\nCOPY --from=used /a /",
                Some("its base `alpine` has no digest"),
            ),
            ("FROM scratch\nCOPY --from=alpine:3 /a /", Some("what it takes from `alpine:3` has no digest")),
            ("FROM scratch\nCOPY --from=alpine@sha256:aa /a /", None),
            (
                "FROM scratch\nRUN --mount=type=bind,from=go,target=/g x",
                Some("what it takes from `go` has no digest"),
            ),
            ("FROM scratch\nADD a.tar /", None),
            ("FROM scratch\nADD https://x/y /", Some("what it adds from `https://x/y` has no checksum")),
            ("FROM scratch\nADD --checksum=sha256:aa https://x/y /", None),
            (
                "# syntax=docker/dockerfile:1\nFROM scratch",
                Some("its syntax `docker/dockerfile:1` has no digest"),
            ),
        ] {
            let source = Arc::new(File { path: "Dockerfile".into(), text: text.to_owned() });
            let file = crate::dockerfile::parse(&source).unwrap();
            assert_eq!(file.moving(None, &args).as_deref(), told, "{text}");
        }
    }
}
