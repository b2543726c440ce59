//! Dockerfiles: what one declares, where, and what is wrong with it. Pure over its text; building one is
//! the image stage's.

pub mod advice;
pub mod arguments;
pub mod context;
pub mod ignore;
pub mod moving;
pub mod template;
mod words;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use parse_dockerfile::Instruction;

use crate::diagnostic::{Diagnostic, Place, Source};

/// A Dockerfile that could be parsed.
#[derive(Debug)]
pub struct Dockerfile<'a> {
    source: &'a Arc<Source>,
    parsed: parse_dockerfile::Dockerfile<'a>,
}

/// Parses the text of `source`.
///
/// # Errors
/// The syntax error, located.
pub fn parse(source: &Arc<Source>) -> Result<Dockerfile<'_>, Box<Diagnostic>> {
    match parse_dockerfile::parse(&source.text) {
        Ok(parsed) => Ok(Dockerfile { source, parsed }),
        Err(error) => {
            let place = Place { source: Arc::clone(source), span: span_of(&source.text, &error) };
            let message = format!("{error:#}").replace('\'', "`");
            Err(Box::new(Diagnostic::error(message).at(&place, "").hint(
                "https://docs.docker.com/reference/dockerfile/ lists the instructions and their forms",
            )))
        }
    }
}

/// From the line that the parser names to its first word: its columns count from the file's start.
fn span_of(text: &str, error: &parse_dockerfile::Error) -> Range<usize> {
    let Some(before) = error.line().checked_sub(1) else { return 0..0 };
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let line = text[start..].lines().next().unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    let word = line.split_whitespace().next().unwrap_or_default();
    start + indent..start + indent + word.len()
}

impl<'a> Dockerfile<'a> {
    fn place(&self, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span }
    }

    /// Its stages with their instructions, `FROM` aside, in order.
    fn stages(&self) -> Vec<parse_dockerfile::Stage<'a, '_>> {
        self.parsed.stages().collect()
    }

    /// The stages by name, where they have one; lower case, as BuildKit compares them.
    pub fn stage_names(&self) -> Vec<String> {
        let name = |stage: parse_dockerfile::Stage<'_, '_>| {
            stage.from.as_.as_ref().map(|(_, name)| name.value.to_lowercase())
        };
        self.parsed.stages().filter_map(name).collect()
    }

    /// Which stage a name or number means.
    fn stage_index(&self, wanted: &str) -> Option<usize> {
        let wanted = wanted.to_lowercase();
        let named = self.parsed.stages().position(|stage| {
            stage.from.as_.as_ref().is_some_and(|(_, name)| name.value.to_lowercase() == wanted)
        });
        let stages = self.parsed.stages().len();
        named.or_else(|| wanted.parse::<usize>().ok().filter(|number| *number < stages))
    }

    /// The stage that makes the image.
    ///
    /// # Errors
    /// No stage of the name `target`.
    fn last(&self, target: Option<&str>) -> Option<usize> {
        match target {
            Some(target) => self.stage_index(target),
            None => self.parsed.stages().len().checked_sub(1),
        }
    }

    /// Whether `target` names a stage.
    pub fn has_stage(&self, target: &str) -> bool {
        self.stage_index(target).is_some()
    }

    /// The stages that take part in `target`: itself, what it is `FROM`, and what it copies or mounts from.
    fn reachable(&self, target: Option<&str>) -> BTreeSet<usize> {
        let stages = self.stages();
        let mut found = BTreeSet::new();
        let mut waiting: Vec<usize> = self.last(target).into_iter().collect();
        while let Some(index) = waiting.pop() {
            if !found.insert(index) {
                continue;
            }
            let stage = &stages[index];
            let earlier = |name: &str| self.stage_index(name).filter(|other| *other < index);
            waiting.extend(earlier(&stage.from.image.value));
            waiting.extend(stage.instructions.iter().flat_map(sources).filter_map(|name| earlier(&name)));
        }
        found
    }
}

/// The stages or images that an instruction takes files from.
fn sources(instruction: &Instruction<'_>) -> Vec<String> {
    let flags = match instruction {
        Instruction::Copy(copy) => &copy.options[..],
        Instruction::Add(add) => &add.options[..],
        Instruction::Run(run) => &run.options[..],
        _ => &[],
    };
    let mut names = Vec::new();
    for flag in flags {
        let Some(value) = &flag.value else { continue };
        match &*flag.name.value {
            "from" => names.push(value.value.to_string()),
            "mount" => names.extend(
                value.value.split(',').filter_map(|part| part.strip_prefix("from=")).map(str::to_owned),
            ),
            _ => {}
        }
    }
    names
}
