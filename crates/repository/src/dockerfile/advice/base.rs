//! What a stage stands on.

use std::collections::BTreeMap;

use parse_dockerfile::Stage;

use crate::diagnostic::Diagnostic;
use crate::dockerfile::{Dockerfile, arguments};

impl Dockerfile<'_> {
    /// A base that may be another one tomorrow.
    pub(super) fn base(&self, index: usize) -> Option<Diagnostic> {
        let stage = self.parsed.stages().nth(index)?;
        let image = self.image_of(&stage);
        let earlier = self.stage_index(&stage.from.image.value).is_some_and(|earlier| earlier < index);
        // What is left of a variable is set by nobody here.
        if earlier || image == "scratch" || image.contains('@') || image.contains('$') || image.is_empty() {
            return None;
        }
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
        let message = match tag {
            None => {
                format!("the base `{image}` has neither tag nor digest: it is whatever `latest` is that day")
            }
            Some("latest") => format!("the base `{image}` is whatever `latest` is that day"),
            Some(_) => format!("the base `{image}` has no digest: its tag may move"),
        };
        Some(
            self.note(&stage.from.image.span, message)
                .hint("write `NAME:TAG@sha256:…`: `docker buildx imagetools inspect NAME:TAG` says it"),
        )
    }

    /// A stage's base with the defaults of the file's first `ARG`s.
    pub(super) fn image_of(&self, stage: &Stage<'_, '_>) -> String {
        self.image_with(stage, &BTreeMap::new())
    }

    /// A stage's base with the values of the file's first `ARG`s, as far as they are known.
    pub(in crate::dockerfile) fn image_with(
        &self,
        stage: &Stage<'_, '_>,
        args: &BTreeMap<String, String>,
    ) -> String {
        let defaults: BTreeMap<String, String> = self
            .parsed
            .global_args()
            .flat_map(arguments::of)
            .filter_map(|arg| Some((args.get(&arg.name).cloned().or(arg.default)?, arg.name)))
            .map(|(value, name)| (name, value))
            .collect();
        let mut image = stage.from.image.value.to_string();
        // One default may hold another.
        for _ in 0..4 {
            for (name, value) in &defaults {
                image = image.replace(&format!("${{{name}}}"), value);
                let plain = format!("${name}");
                if let Some(at) = image.find(&plain) {
                    let after = image[at + plain.len()..].chars().next();
                    if after.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
                        image.replace_range(at..at + plain.len(), value);
                    }
                }
            }
        }
        image
    }
}
