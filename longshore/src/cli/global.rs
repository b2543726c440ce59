//! The options of every command.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use crate::fault::{Exit, Fault};
use crate::platform::Platform;

/// Options of every command. Each has a variable: `--keep-going` is `LONGSHORE_KEEP_GOING`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work in the repository that DIR lies in, instead of this one; other paths are taken from DIR
    #[arg(short = 'C', long = "directory", global = true, value_name = "DIR", env = "LONGSHORE_DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// The pipeline's file, instead of pipeline.toml at the repository's root
    #[arg(short, long, global = true, value_name = "FILE", env = "LONGSHORE_FILE")]
    pub file: Option<PathBuf>,
    /// The environment, instead of the default one of pipeline.toml; for `image` may be repeated, or a
    /// list with commas
    #[arg(
        short,
        long = "env",
        global = true,
        value_name = "ENV",
        value_delimiter = ',',
        env = "LONGSHORE_ENV"
    )]
    pub environments: Vec<String>,
    /// Only these platforms, as linux/amd64 (may be repeated, or a list with commas)
    #[arg(long, global = true, value_name = "PLATFORM", value_delimiter = ',', env = "LONGSHORE_PLATFORM")]
    pub platform: Vec<Platform>,
    /// How many jobs run at once, instead of one a processor
    #[arg(short, long, global = true, value_name = "N", env = "LONGSHORE_JOBS")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// After a failure go on with everything that does not depend on it
    #[arg(long, global = true, env = "LONGSHORE_KEEP_GOING", value_parser = BoolishValueParser::new())]
    pub keep_going: bool,
    /// How progress is shown
    #[arg(long, global = true, value_name = "HOW", default_value = "auto", env = "LONGSHORE_PROGRESS")]
    pub progress: ProgressChoice,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "LONGSHORE_COLOR")]
    pub color: ColorChoice,
    /// Use no network: what the remote said last is used, and its age is said
    #[arg(long, global = true, env = "LONGSHORE_OFFLINE", value_parser = BoolishValueParser::new())]
    pub offline: bool,
    /// Show what the tools print
    #[arg(short, long, global = true, env = "LONGSHORE_VERBOSE", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
}

impl Global {
    /// The environment that the user named, the first of several.
    pub fn environment(&self) -> Option<&str> {
        self.environments.first().map(String::as_str)
    }

    /// What is released, deployed or gated is so in one environment.
    ///
    /// # Errors
    /// [`Exit::Usage`] where several are named.
    pub fn refuse_several(&self) -> anyhow::Result<()> {
        if self.environments.len() < 2 {
            return Ok(());
        }
        let message = format!("several environments are named: {}", self.environments.join(", "));
        Err(Fault::new(Exit::Usage, message)
            .hint("name one: `image` alone takes several, and not with --output, --context or --explain-size")
            .into())
    }

    /// A path that the user gave: from the folder that `-C` names, as cargo, make and git take it.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.directory.as_ref().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars
    Tty,
    /// Lines
    Plain,
    /// A line of JSON an event, on stdout
    Json,
    /// Failures and warnings alone
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// `None` leaves it to the terminal.
    pub fn asked(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}
