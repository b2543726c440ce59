//! The works that are measured: who takes part in each, from which state, with which commands.

use std::cell::RefCell;
use std::process::Command;

use anyhow::Context as _;
use longshore::cancel::Cancel;
use longshore::host::environment::Environment;
use longshore::report;

use super::layers;
use super::measure::{Sample, measure};
use super::registry::Registry;
use super::table::{Row, Table};
use super::tools::{Peers, go_build, longshore};
use super::workload::{ENVIRONMENTS, Kind, Place, SERVER_FILE, Workload, service_name};

/// From sources to images in a layout, without the gates, which the peers don't have.
const SNAPSHOT: [&str; 4] = ["release", "--snapshot", "--skip", "lint,test"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Work {
    /// Nothing was ever compiled
    Cold,
    /// Go's compile cache is warm, and nothing else
    Compiled,
    /// Nothing changed
    Nothing,
    /// Nothing changed in a module that vendors more than a thousand packages
    Vendored,
    /// One line in one command
    Command,
    /// One line in a package that all share
    Shared,
    /// Two platforms, cold
    Platforms,
    /// Ten environments, cold
    Environments,
    /// To an empty registry, everything built
    Push,
    /// The plan, after a run
    Plan,
    /// The plan, in a new clone
    PlanCold,
    /// `--help`
    Start,
    /// 100 MB of an executable's bytes through the library
    Layers,
}

/// What a contender finds.
enum State {
    Cold,
    Compiled,
    /// As after a run of the same commands.
    Done,
    /// As [`State::Done`], then one line of this file was changed and committed.
    Edited(String),
    /// As [`State::Done`], and the registry is empty.
    Emptied,
}

struct Contender {
    name: &'static str,
    place: Place,
    commands: Vec<Command>,
    side_by_side: bool,
}

impl Work {
    pub(super) const ALL: [Self; 13] = [
        Self::Cold,
        Self::Compiled,
        Self::Nothing,
        Self::Vendored,
        Self::Command,
        Self::Shared,
        Self::Platforms,
        Self::Environments,
        Self::Push,
        Self::Plan,
        Self::PlanCold,
        Self::Start,
        Self::Layers,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Cold => "everything cold",
            Self::Compiled => "compile cache warm",
            Self::Nothing => "nothing changed",
            Self::Vendored => "nothing changed, vendored",
            Self::Command => "one line in a command",
            Self::Shared => "one line in a package shared by all",
            Self::Platforms => "two platforms, cold",
            Self::Environments => "ten environments, cold",
            Self::Push => "push to a registry on loopback",
            Self::Plan => "plan, graph known",
            Self::PlanCold => "plan, graph unknown",
            Self::Start => "start",
            Self::Layers => "layers of 100 MB",
        }
    }

    /// Whether its rounds take minutes.
    pub(super) fn is_cold(self) -> bool {
        matches!(self, Self::Cold | Self::Platforms | Self::Environments)
    }

    pub(super) fn kind(self) -> Kind {
        if self == Self::Vendored { Kind::Vendored } else { Kind::Plain }
    }

    fn state(self) -> State {
        match self {
            Self::Cold | Self::Platforms | Self::Environments => State::Cold,
            Self::Compiled | Self::PlanCold => State::Compiled,
            Self::Nothing | Self::Vendored | Self::Plan | Self::Start | Self::Layers => State::Done,
            Self::Command => State::Edited(format!("cmd/{}/main.go", service_name(0))),
            Self::Shared => State::Edited(SERVER_FILE.to_owned()),
            Self::Push => State::Emptied,
        }
    }

    /// Runs every contender `rounds` times, in turns, until `cancel`.
    pub(super) fn measure(
        self,
        workload: &Workload,
        peers: &Peers,
        rounds: u16,
        cancel: &Cancel,
    ) -> anyhow::Result<Table> {
        let registry = match self {
            Self::Push => Registry::start(&Environment::from_process())?,
            _ => None,
        };
        let contenders = self.contenders(workload, peers, registry.as_ref())?;
        let registry = RefCell::new(registry);
        let state = self.state();
        let mut rows: Vec<Row> = contenders.iter().map(|contender| Row::new(contender.name)).collect();
        if !matches!(state, State::Cold) {
            for contender in &contenders {
                contender.run().with_context(|| contender.name)?;
            }
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        for round in 0..usize::from(rounds) {
            for turn in 0..contenders.len() {
                let at = (round + turn) % contenders.len();
                let contender = &contenders[at];
                if cancel.is_set() {
                    anyhow::bail!("stopped");
                }
                state.make(&contender.place, round, &registry)?;
                let sample = contender.run().with_context(|| contender.name)?;
                report::note(&format!("  {}: {:.2} s", contender.name, sample.seconds));
                rows[at].samples.push(sample);
            }
        }
        Ok(Table { work: self, services: workload.services, rows, load, peers: peers.versions() })
    }

    fn contenders(
        self,
        workload: &Workload,
        peers: &Peers,
        registry: Option<&Registry>,
    ) -> anyhow::Result<Vec<Contender>> {
        let field = Field { workload, peers };
        let all = "./cmd/...";
        Ok(match self {
            Self::Cold | Self::Compiled | Self::Nothing | Self::Vendored | Self::Shared => {
                let mut found = vec![field.longshore(&SNAPSHOT)?, field.go(all, &["amd64"], false)?];
                found.extend(field.ko(&["amd64"], None)?);
                found.extend(field.goreleaser(&["amd64"])?);
                found
            }
            Self::Command => {
                let one = format!("./cmd/{}", service_name(0));
                let mut found = vec![field.longshore(&SNAPSHOT)?, field.go(&one, &["amd64"], false)?];
                found.extend(field.ko(&["amd64"], None)?);
                found.extend(field.goreleaser(&["amd64"])?);
                found
            }
            Self::Platforms => {
                let both = ["amd64", "arm64"];
                let words = [&SNAPSHOT[..], &["--file", "both.toml"]].concat();
                let mut found = vec![field.longshore(&words)?, field.go(all, &both, false)?];
                found.push(field.go(all, &both, true)?);
                found.extend(field.ko(&both, None)?);
                found.extend(field.goreleaser(&both)?);
                found
            }
            Self::Environments => {
                vec![
                    field.environments("ten environments", ENVIRONMENTS)?,
                    field.environments("one environment", 1)?,
                ]
            }
            Self::Push => match registry {
                Some(registry) => field.push(registry)?,
                None => Vec::new(),
            },
            Self::Plan | Self::PlanCold => {
                let place = workload.place("go")?;
                let mut list = place.command("go");
                list.args(["list", "-deps", "-json", all]).env("GOFLAGS", "-mod=readonly");
                vec![field.longshore(&["plan"])?, Contender::new("go list -deps", place, vec![list])]
            }
            Self::Start => {
                let place = workload.place("go")?;
                let mut git = place.command("git");
                git.arg("--version");
                vec![field.longshore(&["--help"])?, Contender::new("git --version", place, vec![git])]
            }
            Self::Layers => layers::commands(&workload.place("longshore")?)?
                .into_iter()
                .map(|(name, place, command)| Contender::new(name, place, vec![command]))
                .collect(),
        })
    }
}

impl State {
    /// Makes it so, before a measurement.
    fn make(&self, place: &Place, round: usize, registry: &RefCell<Option<Registry>>) -> anyhow::Result<()> {
        match self {
            Self::Cold => place.forget(),
            Self::Compiled => place.forget_tools(),
            Self::Done => Ok(()),
            Self::Edited(path) => place.edit(path, round),
            Self::Emptied => registry.borrow_mut().as_mut().map_or(Ok(()), Registry::empty),
        }
    }
}

impl Contender {
    fn new(name: &'static str, place: Place, commands: Vec<Command>) -> Self {
        Self { name, place, commands, side_by_side: false }
    }

    fn run(&self) -> anyhow::Result<Sample> {
        if !self.side_by_side {
            let samples = self.commands.iter().map(measure);
            return samples.reduce(|one, next| Ok(one?.then(next?))).unwrap_or_else(|| Ok(Sample::default()));
        }
        std::thread::scope(|scope| {
            let running: Vec<_> =
                self.commands.iter().map(|command| scope.spawn(|| measure(command))).collect();
            let samples = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))));
            samples.reduce(|one, other| Ok(one?.beside(other?))).unwrap_or_else(|| Ok(Sample::default()))
        })
    }
}

/// Who can take part.
struct Field<'a> {
    workload: &'a Workload,
    peers: &'a Peers,
}

impl Field<'_> {
    fn longshore(&self, words: &[&str]) -> anyhow::Result<Contender> {
        let place = self.workload.place("longshore")?;
        let command = longshore(&place, words)?;
        Ok(Contender::new("Longshore", place, vec![command]))
    }

    fn go(&self, packages: &str, architectures: &[&str], side_by_side: bool) -> anyhow::Result<Contender> {
        let place = self.workload.place("go")?;
        let commands =
            architectures.iter().map(|architecture| go_build(&place, packages, architecture)).collect();
        let name = match (architectures.len(), side_by_side, packages.ends_with("...")) {
            (1, _, true) => "one go build",
            (1, _, false) => "go build of that command",
            (_, false, _) => "two go builds, one after the other",
            (_, true, _) => "two go builds, side by side",
        };
        Ok(Contender { name, place, commands, side_by_side })
    }

    fn ko(&self, platforms: &[&str], registry: Option<&str>) -> anyhow::Result<Option<Contender>> {
        let place = self.workload.place("ko")?;
        let services: Vec<String> = (0..self.workload.services).map(service_name).collect();
        let command = self.peers.ko(&place, &services, platforms, registry);
        Ok(command.map(|command| Contender::new("ko build", place, vec![command])))
    }

    fn goreleaser(&self, platforms: &[&str]) -> anyhow::Result<Option<Contender>> {
        let place = self.workload.place("goreleaser")?;
        let command = self.peers.goreleaser(&place, platforms);
        Ok(command.map(|command| Contender::new("goreleaser build (no images)", place, vec![command])))
    }

    /// Each in a place of its own, so that both can be cold.
    fn environments(&self, name: &'static str, count: usize) -> anyhow::Result<Contender> {
        let place = self.workload.place(&format!("environments-{count}"))?;
        let names: Vec<String> = (0..count).map(|number| format!("e{number}")).collect();
        let command = longshore(&place, &["image", "--env", &names.join(",")])?;
        Ok(Contender::new(name, place, vec![command]))
    }

    fn push(&self, registry: &Registry) -> anyhow::Result<Vec<Contender>> {
        let ours = self.workload.place("longshore")?;
        ours.write("environments/loopback.toml", &format!("registry = \"{}/longshore\"\n", registry.host()))?;
        let words = [&SNAPSHOT[..], &["--env", "loopback"]].concat();
        let mut found = vec![self.longshore(&words)?];
        found.extend(self.ko(&["amd64"], Some(&format!("{}/ko", registry.host())))?);
        Ok(found)
    }
}
