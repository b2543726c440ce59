//! The `ARG`s of a Dockerfile, against the build-args that its service declares.

use std::collections::BTreeSet;
use std::ops::Range;

use parse_dockerfile::{ArgInstruction, Instruction};

use super::{Dockerfile, words};
use crate::diagnostic::Diagnostic;

/// What a release sets where a Dockerfile declares it and the service does not: its version and commit.
pub const VERSION: &str = "VERSION";
pub const REVISION: &str = "REVISION";

/// What builders set by themselves (Dockerfile reference, "Predefined ARGs" and "Automatic platform ARGs").
const PREDEFINED: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "SOURCE_DATE_EPOCH",
    VERSION,
    REVISION,
];

/// One declared name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub default: Option<String>,
    pub span: Range<usize>,
}

pub(super) fn of(instruction: &ArgInstruction<'_>) -> Vec<Argument> {
    let arguments = &instruction.arguments;
    let exact = arguments.span.len() == arguments.value.len();
    let argument = |(word, range): (String, Range<usize>)| {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => (word, None),
        };
        let start = arguments.span.start + range.start;
        let span = if exact { start..start + name.len() } else { arguments.span.clone() };
        Argument { name, default, span }
    };
    words::split(&arguments.value).into_iter().map(argument).collect()
}

fn is_predefined(name: &str) -> bool {
    name.starts_with("BUILDKIT_") || PREDEFINED.contains(&name.to_uppercase().as_str())
}

impl Dockerfile<'_> {
    /// Every name that an `ARG` declares, before the first `FROM` or in a stage.
    pub fn declared(&self) -> BTreeSet<String> {
        let arguments = self.parsed.instructions.iter().filter_map(|instruction| match instruction {
            Instruction::Arg(arg) => Some(of(arg)),
            _ => None,
        });
        arguments.flatten().map(|argument| argument.name).collect()
    }

    /// The `ARG`s that take part in `target`, have no default, and are neither in `given` nor set by the
    /// builder or the release.
    pub fn unset(&self, target: Option<&str>, given: &BTreeSet<&str>) -> Vec<Argument> {
        let is_unset = |argument: &Argument| {
            argument.default.is_none()
                && !given.contains(argument.name.as_str())
                && !is_predefined(&argument.name)
        };
        let mut unset: Vec<Argument> = self.parsed.global_args().flat_map(of).filter(is_unset).collect();
        let global: BTreeSet<String> =
            self.parsed.global_args().flat_map(of).map(|global| global.name).collect();
        let reachable = self.reachable(target);
        let mut set_before = BTreeSet::new();
        for (index, stage) in self.stages().into_iter().enumerate() {
            if !reachable.contains(&index) {
                continue;
            }
            for argument in stage.instructions.iter().filter_map(|instruction| match instruction {
                Instruction::Arg(arg) => Some(of(arg)),
                _ => None,
            }) {
                for argument in argument {
                    if argument.default.is_some() {
                        set_before.insert((index, argument.name.clone()));
                    }
                    // One of before the first FROM is taken over, and said there where it is unset.
                    let known = global.contains(&argument.name)
                        || set_before.contains(&(index, argument.name.clone()));
                    if !known && is_unset(&argument) {
                        unset.push(argument);
                    }
                }
            }
        }
        unset
    }

    /// A fault for each `ARG` that nobody sets.
    pub fn faults(&self, service: &str, target: Option<&str>, given: &BTreeSet<&str>) -> Vec<Diagnostic> {
        let fault = |argument: Argument| {
            let name = &argument.name;
            Diagnostic::error(format!("nobody sets `ARG {name}`, which has no default"))
                .at(&self.place(argument.span.clone()), "")
                .hint(format!(
                    "declare `{name}` under `build-args` of service `{service}` in pipeline.toml, or write `ARG {name}=` for an empty one"
                ))
        };
        self.unset(target, given).into_iter().map(fault).collect()
    }
}
