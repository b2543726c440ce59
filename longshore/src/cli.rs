//! The command line: its types, and from them to the commands.

mod approval;
pub mod base;
pub mod check;
pub mod clean;
pub mod context;
pub mod deploy;
pub mod doctor;
pub mod explain;
pub mod global;
pub mod init;
pub mod pipeline;
pub mod promote;
pub mod reproduce;
pub mod rescan;
pub mod run;
pub mod setup;
pub mod shared;
pub mod size;
pub mod status;
pub mod timings;

use std::path::PathBuf;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::extension::Extension;
use crate::host::environment::Environment;
use crate::plan::Stage;
use crate::stage::image::output::Target;

pub use global::{ColorChoice, Global, ProgressChoice};

/// A declarative release pipeline for Go services.
///
/// Reads pipeline.toml and environments/*.toml, decides what changed, versions it, lints, tests,
/// compiles, builds images, scans, verifies, pushes and tags them. It can be stopped at any instant
/// and run again.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 a job failed, 2 usage or configuration, 3 a gate said no, 4 a tool or the \
                  machine is missing or broken, 5 conflict, 6 outside failure (safe to run again), 130/143 signal."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the services through every stage, and record what was released
    Release(ReleaseArgs),
    /// Check formatting, go vet and the module files
    Lint(StageArgs),
    /// Run the tests of the affected services' packages
    Test(StageArgs),
    /// Compile the services for each platform
    Build(StageArgs),
    /// Build images, and with --env the variants of that environment, or of several from one build
    Image(ImageArgs),
    /// Scan the images with Trivy
    Scan(ScanArgs),
    /// Run the images and wait for their health
    Verify(StageArgs),
    /// Send the images by digest, refusing any without its verdicts
    Push(StageArgs),
    /// Record the release, then set image tags and Git tags
    Tag(StageArgs),
    /// Show what a release would do
    Plan(PlanArgs),
    /// Say which inputs of a service's jobs changed since they last ran here
    Explain(ExplainArgs),
    /// Build twice, the second time from nothing, and compare: the same digests, or what differs
    VerifyRepro(ReproduceArgs),
    /// Keys of the cache that a team shares
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Remove dist/ and what this clone remembers of its runs, or shrink the user's store
    Clean(CleanArgs),
    /// Check pipeline.toml and environments/*.toml
    Check,
    /// Look up what the images' bases stand for now
    #[command(subcommand)]
    Base(BaseCommand),
    /// Show what is released, what a release would do now, and what runs in each environment
    Status(StatusArgs),
    /// Bring released versions into an environment, and put back what ran if they are not healthy
    Deploy(DeployArgs),
    /// Bring what one environment runs, verified, to another: the same digests, or the reasons why not
    Promote(PromoteArgs),
    /// Bring back what ran in an environment before
    Rollback(RollbackArgs),
    /// Print what an environment's services print
    Logs(LogsArgs),
    /// End services of an environment, and take away what was made for them
    Down(DownArgs),
    /// Keep one service running: started by `deploy` alone
    #[command(hide = true)]
    Supervise { folder: PathBuf },
    /// Go's compile cache: started by Go alone
    #[command(hide = true)]
    Gocache {
        /// The file of the key to sign with
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// Install the tools that pipeline.toml pins
    Setup,
    /// Write files that a repository starts with, never over one that is there
    Init(InitArgs),
    /// Say what this machine has, what is missing, and the command that mends it
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// The command line's definition, in which a variable that is set and empty counts as absent, as CI
/// leaves it for an input that nobody gave.
pub(crate) fn command(environment: &Environment, own: &[Extension]) -> clap::Command {
    let given = |arg: clap::Arg| {
        let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        match name {
            Some(name) if environment.iter().any(|(known, value)| known == name && value.is_empty()) => {
                arg.env(Resettable::Reset)
            }
            _ => arg,
        }
    };
    let own = own.iter().map(|own| own.definition.clone());
    Cli::command().mut_args(given).mut_subcommands(|command| command.mut_args(given)).subcommands(own)
}

/// Which services, and compared with what.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Services; without any, the affected ones
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// All services, affected or not
    #[arg(long, env = "LONGSHORE_ALL", value_parser = BoolishValueParser::new())]
    pub all: bool,
    /// Affected since HEAD left this commit, instead of since each service's last release
    #[arg(long, value_name = "REF", env = "LONGSHORE_SINCE", conflicts_with = "all")]
    pub since: Option<String>,
}

/// How versions are made.
#[derive(Clone, Debug, Default, Args)]
pub struct Versioning {
    /// Make a version of this very state, never recorded: X.Y.Z-dev.N.gSHA
    #[arg(long, env = "LONGSHORE_SNAPSHOT", value_parser = BoolishValueParser::new(), conflicts_with_all = ["pre", "bump"])]
    pub snapshot: bool,
    /// Make a pre-release: with NAME rc, X.Y.Z-rc.N
    #[arg(long, value_name = "NAME", env = "LONGSHORE_PRE")]
    pub pre: Option<String>,
    /// At least this step, whatever the commits say (major leaves 0.x)
    #[arg(long, value_name = "STEP", env = "LONGSHORE_BUMP")]
    pub bump: Option<BumpChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BumpChoice {
    Major,
    Minor,
    Patch,
}

#[derive(Clone, Debug, Default, Args)]
pub struct StageArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub versioning: Versioning,
    /// Take what another run left in its dist/ folder, instead of making it
    #[arg(long, value_name = "DIR", env = "LONGSHORE_FROM")]
    pub from: Option<PathBuf>,
    /// Show the plan and its commands, and run nothing
    #[arg(long, env = "LONGSHORE_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
    /// Write when each job ran, and what the end waited for, to dist/timings.html and dist/timings.json,
    /// and send it as spans to OTEL_EXPORTER_OTLP_ENDPOINT
    #[arg(long, env = "LONGSHORE_TIMINGS", value_parser = BoolishValueParser::new())]
    pub timings: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ImageArgs {
    #[command(flatten)]
    pub stage: StageArgs,
    /// Join the platforms that several runs built, each in its dist/ folder, into one index
    #[arg(long, value_name = "DIR", num_args = 1.., env = "LONGSHORE_JOIN", value_delimiter = ',', conflicts_with = "from")]
    pub join: Vec<PathBuf>,
    /// List what the build of this service's Dockerfile is sent, and build nothing
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["join", "from", "services"])]
    pub context: Option<String>,
    /// Make this service's image, and say what it is made of and how it differs from its last release
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["join", "services", "context", "dry_run"])]
    pub explain_size: Option<String>,
    /// Also copy each image to oci:DIR, oci-archive:FILE, docker-archive:FILE or docker-daemon: (may be
    /// repeated); `{service}` in a path is the service's name
    #[arg(long, value_name = "TARGET", env = "LONGSHORE_OUTPUT")]
    pub output: Vec<Target>,
}

#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub stage: StageArgs,
    /// Leave out stages (recorded; a skipped gate bars promotion)
    #[arg(long, value_name = "STAGE", value_delimiter = ',', env = "LONGSHORE_SKIP")]
    pub skip: Vec<Stage>,
}

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub versioning: Versioning,
    /// Leave out stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', env = "LONGSHORE_SKIP")]
    pub skip: Vec<Stage>,
    /// The form of the plan on stdout
    #[arg(long, value_name = "FORM", default_value = "text", env = "LONGSHORE_FORMAT")]
    pub format: PlanFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
    /// Graphviz
    Dot,
    Mermaid,
}

#[derive(Clone, Debug, Args)]
pub struct CleanArgs {
    /// Only of the user's store, shared by all repositories: what was not used for longest, until SIZE is left
    #[arg(long, value_name = "SIZE", env = "LONGSHORE_MAX_SIZE", value_parser = size)]
    pub max_size: Option<u64>,
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::values::size(text).map_err(|complaint| complaint.message)
}

#[derive(Clone, Debug, Subcommand)]
pub enum CacheCommand {
    /// Make a pair of keys: the private one into FILE, which is not there yet, the public one to stdout
    Key { file: PathBuf },
}

#[derive(Clone, Debug, Args)]
pub struct ReproduceArgs {
    /// Services; without any, all that are not built from a Dockerfile
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Only this stage
    #[arg(value_name = "STAGE")]
    pub stage: Option<Stage>,
    /// The form on stdout
    #[arg(long, value_name = "FORM", default_value = "text", env = "LONGSHORE_FORMAT")]
    pub format: Format,
}

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Services; without any, all
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Also what was done to each environment, and how often, how soon and how safely
    #[arg(long, env = "LONGSHORE_HISTORY", value_parser = BoolishValueParser::new())]
    pub history: bool,
    /// The form on stdout
    #[arg(long, value_name = "FORM", default_value = "text", env = "LONGSHORE_FORMAT")]
    pub format: Format,
}

/// How an environment is changed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ChangeArgs {
    /// Show what would change, and change nothing
    #[arg(long, env = "LONGSHORE_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
    /// Write when each service was brought up, and what the end waited for, as a release does
    #[arg(long, env = "LONGSHORE_TIMINGS", value_parser = BoolishValueParser::new())]
    pub timings: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DeployArgs {
    /// Services, each with a version by choice; without any, those that do not run as they are released
    #[arg(value_name = "SERVICE[@VERSION]")]
    pub services: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ScanArgs {
    #[command(flatten)]
    pub stage: StageArgs,
    /// Scan again what the environment runs, by digest, and record what is found
    #[arg(long, env = "LONGSHORE_DEPLOYED", value_parser = BoolishValueParser::new())]
    pub deployed: bool,
}

#[derive(Clone, Debug, Args)]
pub struct PromoteArgs {
    /// Services; without any, those that do not run as in --from
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The environment that runs them, verified
    #[arg(long, value_name = "ENV", env = "LONGSHORE_FROM")]
    pub from: String,
    /// The environment that they are to run in
    #[arg(long, value_name = "ENV", env = "LONGSHORE_TO")]
    pub to: String,
    /// Record that you agree, and change nothing else
    #[arg(long, env = "LONGSHORE_APPROVE", value_parser = BoolishValueParser::new())]
    pub approve: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct RollbackArgs {
    /// Services; without any, all that have something to go back to
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// This version, instead of the last one that ran before
    #[arg(long, value_name = "VERSION", env = "LONGSHORE_TO")]
    pub to: Option<semver::Version>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct DownArgs {
    /// Services; without any, all
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long, env = "LONGSHORE_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// Services; without any, all
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Only the last N lines of each
    #[arg(long, value_name = "N", env = "LONGSHORE_TAIL")]
    pub tail: Option<usize>,
    /// Go on with what comes, until interrupted
    #[arg(long, env = "LONGSHORE_FOLLOW", value_parser = BoolishValueParser::new())]
    pub follow: bool,
}

#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// A Dockerfile for this service, beside its main package
    #[arg(long, value_name = "SERVICE", required_unless_present = "ci")]
    pub dockerfile: Option<String>,
    /// The workflow of a CI system, for the environment that `--env` names
    #[arg(long, value_name = "PROVIDER", env = "LONGSHORE_CI")]
    pub ci: Option<crate::ci::Provider>,
    /// What its image stands on
    #[arg(long, value_name = "BASE", default_value = "distroless", env = "LONGSHORE_BASE")]
    pub base: crate::dockerfile::template::Base,
    /// Take golang and the base from below HOST/PATH instead of their own registries
    #[arg(long, value_name = "HOST/PATH", env = "LONGSHORE_MIRROR")]
    pub mirror: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The form on stdout
    #[arg(long, value_name = "FORM", default_value = "text", env = "LONGSHORE_FORMAT")]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum BaseCommand {
    /// Say which bases have moved since they were pinned; exit 3 where one has
    Check(BaseCheckArgs),
    /// Write the digests that the bases' tags stand for now into pipeline.toml, and nothing else
    Update,
}

#[derive(Clone, Debug, Args)]
pub struct BaseCheckArgs {
    /// The form on stdout
    #[arg(long, value_name = "FORM", default_value = "text", env = "LONGSHORE_FORMAT")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}
