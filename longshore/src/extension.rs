//! What a repository adds to the command line in its own `xtask`: commands of its own, in Rust, beside the
//! engine's. They are listed in `--help`, take the global options, and end by the same exit codes.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args};

use crate::cancel::Cancel;
use crate::cli;
use crate::host::environment::{self, Environment};
use crate::host::process::Command;

/// The command line, with what a repository adds to it.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     longshore::Longshore::new()
///         .command("seed", "Fill the development database", |context| {
///             let seed = context.run("go").args(["run", "./cmd/seed"]).args(&context.args);
///             seed.run(&context.cancel)?;
///             Ok(())
///         })
///         .main()
/// }
/// ```
#[derive(Debug, Default)]
pub struct Longshore {
    pub(crate) commands: Vec<Extension>,
}

/// What a command does.
type Work = dyn Fn(&Context, &ArgMatches) -> anyhow::Result<()>;

/// A command of a repository's own.
pub(crate) struct Extension {
    pub(crate) name: &'static str,
    pub(crate) definition: clap::Command,
    pub(crate) work: Box<Work>,
}

/// The words of a command that declares none.
const WORDS: &str = "words";

/// What a command of a repository's own works with.
#[derive(Debug)]
pub struct Context {
    /// The repository's root: absolute.
    pub root: PathBuf,
    /// What the user wrote after the command's name, where it has no options of its own.
    pub args: Vec<OsString>,
    /// The variables of this process.
    pub environment: Environment,
    /// Set by an interrupt: what runs ends with it.
    pub cancel: Cancel,
    /// `--env`, where the user gave it.
    pub target: Option<String>,
}

impl Longshore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the command `name`, one word that is none of the engine's own. An error of `work` is shown with its
    /// causes; its exit code is that of its [`crate::fault::Fault`], else 1.
    #[must_use]
    pub fn command(
        mut self,
        name: &'static str,
        about: &'static str,
        work: impl Fn(&Context) -> anyhow::Result<()> + 'static,
    ) -> Self {
        let words = clap::Arg::new(WORDS).value_name("WORD").num_args(0..).trailing_var_arg(true);
        let words = words.allow_hyphen_values(true).value_parser(clap::value_parser!(OsString));
        let definition = clap::Command::new(name).about(about).arg(words);
        self.commands.push(Extension { name, definition, work: Box::new(move |context, _| work(context)) });
        self
    }

    /// As [`Longshore::command`], with options of its own, which `--help` says: a type that derives `clap::Args`.
    #[must_use]
    pub fn command_with<T: Args>(
        mut self,
        name: &'static str,
        about: &'static str,
        work: impl Fn(&Context, T) -> anyhow::Result<()> + 'static,
    ) -> Self {
        let definition = T::augment_args(clap::Command::new(name)).about(about);
        let work = move |context: &Context, matches: &ArgMatches| {
            // What does not fit was refused when the words were read.
            work(context, T::from_arg_matches(matches)?)
        };
        self.commands.push(Extension { name, definition, work: Box::new(work) });
        self
    }

    /// Runs the command line of this process and returns its exit code.
    pub fn main(self) -> ExitCode {
        ExitCode::from(self.run(environment::words()))
    }

    /// As [`Longshore::main`], with other words; the first is the program's name.
    pub fn run(self, words: impl IntoIterator<Item = OsString>) -> u8 {
        cli::run::run(&self.commands, words)
    }
}

impl Context {
    /// A program that will run in the repository's root, with its output shown where it fails. Without a shell:
    /// each argument is one.
    pub fn run(&self, program: &str) -> Command {
        Command::new(program).cwd(&self.root)
    }
}

impl Extension {
    /// What the user wrote after the command's name, where it declares nothing.
    pub(crate) fn words(matches: &ArgMatches) -> Vec<OsString> {
        let words = matches.try_get_many::<OsString>(WORDS).ok().flatten();
        words.unwrap_or_default().cloned().collect()
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extension").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::fault::{Exit, Fault};

    #[derive(Args)]
    struct Count {
        /// How far
        #[arg(long)]
        to: u8,
    }

    fn run(words: &[&str]) -> (u8, Vec<String>) {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&seen);
        let ended = Longshore::new()
            .command("greet", "Say hello", move |context| {
                assert!(context.root.join("Cargo.toml").is_file());
                let words = context.args.iter().map(|word| word.to_string_lossy().into_owned());
                told.borrow_mut().extend(context.target.iter().cloned().chain(words));
                Ok(())
            })
            .command_with("count", "Count", |_, count: Count| match count.to {
                3 => Ok(()),
                _ => Err(Fault::new(Exit::Gate, "not three").into()),
            })
            .command("refuse", "Say no", |_| Err(Fault::new(Exit::Gate, "no").into()))
            .run(["xtask"].iter().chain(words).map(OsString::from));
        let seen = seen.borrow().clone();
        (ended, seen)
    }

    #[test]
    fn a_command_gets_its_words_and_the_global_options() {
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(run(&["-C", here, "-e", "dev", "greet", "a", "--loud"]).1, ["dev", "a", "--loud"]);
        assert_eq!(run(&["-C", here, "greet"]), (0, vec![]));
        assert_eq!(run(&["-C", here, "refuse"]).0, 3);
        assert_eq!(run(&["-C", here, "gret"]).0, 2);
        assert_eq!(["3", "4", "x"].map(|to| run(&["-C", here, "count", "--to", to]).0), [0, 3, 2]);
        assert_eq!(run(&["count", "--help"]).0, 0);
        assert_eq!(run(&["-C", "/", "greet"]).0, 4, "outside of a repository");
    }

    #[test]
    fn commands_are_in_the_help_and_never_hide_the_engines() {
        let extended = Longshore::new().command("greet", "Say hello", |_| Ok(()));
        let environment = Environment::default();
        let help = cli::command(&environment, &extended.commands).render_help().to_string();
        assert!(help.contains("greet") && help.contains("Say hello") && help.contains("release"), "{help}");
        let twice = Longshore::new().command("release", "Mine", |_| Ok(()));
        assert_eq!(twice.run(["xtask", "release"].map(OsString::from)), 2);
    }
}
