//! What a user sees of a run: reporters draw events, and know no stage. The only place that prints.
//!
//! What is for eyes goes to stderr; stdout carries the result alone. A reader that went away (`| head`)
//! ends nothing.

pub mod explain;
mod json;
pub mod lines;
pub mod measure;
mod plain;
pub mod plan;
mod progress;
mod quiet;
pub mod status;
pub mod summary;
pub mod table;
pub mod timings;

use std::io::{IsTerminal as _, Write};

use crate::cli::{ColorChoice, ProgressChoice};
use crate::event::{Event, Summary};
use crate::host::environment::Environment;
use crate::style::Colour;

/// Draws a run as it goes on, then what it came to.
pub trait Reporter {
    fn event(&mut self, event: &Event);
    fn finish(&mut self, summary: &Summary);
}

/// What a reporter shows of what the tools print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// The last lines of those that fail.
    Failures,
    /// Every line.
    Everything,
}

/// Where a reporter writes.
pub type Writer = Box<dyn Write>;

/// Whether what is for eyes goes to a terminal.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// How what is written to this process's stderr is painted.
pub fn colour(choice: ColorChoice, environment: &Environment) -> Colour {
    Colour::choose(choice.asked(), environment, is_terminal())
}

/// The reporter that the user asked for, on this process's stderr (JSON: stdout).
pub fn open(
    choice: ProgressChoice,
    color: ColorChoice,
    tools: Tools,
    environment: &Environment,
) -> Box<dyn Reporter> {
    let terminal = is_terminal();
    let colour = Colour::choose(color.asked(), environment, terminal);
    let stderr = || Box::new(std::io::stderr());
    match settled(choice, environment, terminal) {
        ProgressChoice::Tty => Box::new(progress::Bars::new(
            indicatif::ProgressDrawTarget::stderr(),
            stderr(),
            colour,
            tools,
            progress::Glyphs::of(environment),
        )),
        ProgressChoice::Json => Box::new(json::Json::new(Box::new(std::io::stdout()))),
        ProgressChoice::Quiet => Box::new(quiet::Quiet::new(stderr(), colour)),
        ProgressChoice::Plain | ProgressChoice::Auto => Box::new(plain::Plain::new(stderr(), colour, tools)),
    }
}

/// `auto` is bars on a terminal that can draw them, and that a person looks at: CI's log is a file.
fn settled(choice: ProgressChoice, environment: &Environment, terminal: bool) -> ProgressChoice {
    let watched = terminal && environment.get("CI").is_none() && environment.get("TERM") != Some("dumb");
    match choice {
        ProgressChoice::Auto if watched => ProgressChoice::Tty,
        ProgressChoice::Auto => ProgressChoice::Plain,
        other => other,
    }
}

/// Writes a command's result to stdout.
pub fn result(text: &str) {
    tell(&mut std::io::stdout().lock(), text);
}

/// Stdout, for a program that is spoken to over it.
pub fn speech() -> impl Write + Send {
    std::io::stdout()
}

/// Writes what is for eyes to stderr. Not while a reporter draws: that has its own events.
pub fn note(text: &str) {
    tell(&mut std::io::stderr().lock(), text);
}

/// Writes all of it at once, so that no other process writes between its lines.
fn tell(writer: &mut dyn Write, text: &str) {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    // Nobody reads: there is nobody to tell it to either.
    let _ = writer.write_all(format!("{text}{end}").as_bytes()).and_then(|()| writer.flush());
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn bars_are_for_people_at_a_terminal() {
        let auto = |variables, terminal| settled(ProgressChoice::Auto, &environment(variables), terminal);
        assert_eq!(auto(&[("TERM", "xterm")], true), ProgressChoice::Tty);
        assert_eq!(auto(&[("CI", "true")], true), ProgressChoice::Plain);
        assert_eq!(auto(&[("TERM", "dumb")], true), ProgressChoice::Plain);
        assert_eq!(auto(&[], false), ProgressChoice::Plain);
        assert_eq!(settled(ProgressChoice::Tty, &environment(&[]), false), ProgressChoice::Tty);
    }

    #[test]
    fn a_closed_pipe_ends_nothing() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        tell(&mut writer, "nobody reads this");
    }
}
