//! An environment's part of the ledger: who holds it, and every change by compare and swap.
//!
//! A holder is believed to live while its process is seen to, else for the time that it said it may take
//! between two commits, counted by the one who waits: clocks of two machines are never compared.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::deploy::record::{Ended, Entry, Holder, Pending, SCHEMA, State};
use crate::fault::{Exit, Fault};
use crate::host::clock;
use crate::ledger::{File, Ledger, Scope, Tree};
use crate::stage::lint::tool::stopped;
use crate::version::CommitId;

/// Between two looks at an environment that somebody holds: here, and in a remote.
const LOOK: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// One environment's records.
#[derive(Clone, Debug)]
pub struct Book<'a> {
    ledger: &'a Ledger<'a>,
    /// `env/ENV`
    name: String,
}

/// What a run is to change, as [`Book::begin`] writes it down.
pub type Changes = Vec<(String, Pending)>;

/// Changes a state, and gives the files beside it; `None`: nothing is to be written.
type Changing<'c> = dyn FnMut(&Tree, &mut State) -> anyhow::Result<Option<Vec<File>>> + 'c;

/// Why an environment can't be changed now.
#[derive(Debug, thiserror::Error)]
#[error("held")]
struct Held(Box<Holder>, Option<CommitId>);

impl<'a> Book<'a> {
    pub fn new(ledger: &'a Ledger<'a>, environment: &str) -> Self {
        Self { ledger, name: format!("env/{environment}") }
    }

    /// What is recorded, as the remote has it now.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the remote does not answer; [`Exit::Machine`] for a newer schema.
    pub fn look(&self) -> anyhow::Result<State> {
        self.read(&self.ledger.newest_tree(&self.name)?)
    }

    /// As this clone has it.
    ///
    /// # Errors
    /// [`Exit::Machine`] for a newer schema.
    pub fn here(&self) -> anyhow::Result<State> {
        self.read(&self.ledger.tree(&self.name)?)
    }

    /// Every change that has ended, the oldest first, as this clone has it.
    ///
    /// # Errors
    /// As [`Book::here`].
    pub fn history(&self) -> anyhow::Result<Vec<Entry>> {
        let tree = self.ledger.tree(&self.name)?;
        let files: Vec<&str> = tree.under("history/").map(|(_, blob)| blob).collect();
        let blobs = self.ledger.blobs(files.iter().copied())?;
        files.iter().filter_map(|blob| blobs.get(*blob)).map(|bytes| Entry::read(bytes)).collect()
    }

    fn read(&self, tree: &Tree) -> anyhow::Result<State> {
        let Some(blob) = tree.get("state.json") else { return Ok(State::default()) };
        let blobs = self.ledger.blobs([blob])?;
        match blobs.get(blob) {
            Some(bytes) => State::read(bytes),
            None => Err(Fault::new(Exit::Machine, format!("the ledger's blob {blob} is missing"))
                .hint("fetch the ledger again: its objects are incomplete")
                .into()),
        }
    }

    /// Takes the environment for `holder`, when no other has it, and writes down what `plan` makes of its
    /// state. `plan` is asked again where the state changes meanwhile. Nothing to change: nothing is taken.
    /// `waiting` is told of whoever holds it, once each.
    ///
    /// # Errors
    /// What `plan` says; an interruption; those of [`Ledger::append`].
    pub fn begin(
        &self,
        holder: &Holder,
        cancel: &Cancel,
        waiting: &dyn Fn(&str),
        plan: &mut dyn FnMut(&State) -> anyhow::Result<Changes>,
    ) -> anyhow::Result<()> {
        let mut seen: Option<(Holder, Option<CommitId>, Instant)> = None;
        let mut told = String::new();
        loop {
            let mut gone = seen.as_ref().and_then(|(other, tip, since)| {
                let patience = Duration::from_secs(other.patience);
                (since.elapsed() >= patience).then(|| (other.id.clone(), tip.clone()))
            });
            let message = format!("{} of {}", holder.command, holder.id);
            let result = self.append(holder, &message, &mut |tree, state| {
                if let Some(other) = &state.holder
                    && other.id != holder.id
                {
                    let dead = other.process.as_ref().is_some_and(crate::host::process::ProcessId::is_gone);
                    let silent = gone.as_ref().is_some_and(|(id, tip)| *id == other.id && *tip == tree.tip);
                    if !dead && !silent {
                        return Err(Held(Box::new(other.clone()), tree.tip.clone()).into());
                    }
                    let how = if dead { "was killed" } else { "has not been heard of for too long" };
                    waiting(&format!(
                        "`{}` by {} {how}: what it left is settled now",
                        other.command, other.by
                    ));
                }
                let changes = plan(state)?;
                if changes.is_empty() && state.services.values().all(|service| service.pending.is_none()) {
                    return Ok(None);
                }
                state.holder = (!changes.is_empty()).then(|| holder.clone());
                // What another left is in `changes`, or is given up for what stands.
                for standing in state.services.values_mut() {
                    standing.pending = None;
                }
                for (service, pending) in changes {
                    state.services.entry(service).or_default().pending = Some(pending);
                }
                Ok(Some(Vec::new()))
            });
            let held = match result {
                Ok(()) => return Ok(()),
                Err(error) => error.downcast::<Held>()?,
            };
            if told != held.0.id {
                told.clone_from(&held.0.id);
                waiting(&waits(&held.0));
            }
            match &seen {
                Some((other, tip, _)) if other.id == held.0.id && *tip == held.1 => {}
                _ => seen = Some((*held.0, held.1, Instant::now())),
            }
            gone.take();
            self.pause(cancel)?;
        }
    }

    fn pause(&self, cancel: &Cancel) -> anyhow::Result<()> {
        let look = match self.ledger.scope() {
            Scope::Local => LOOK[0],
            Scope::Remote(_) => LOOK[1],
        };
        let until = Instant::now() + look;
        while Instant::now() < until {
            if cancel.is_set() {
                return Err(stopped(cancel));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sees that the environment is still `holder`'s: before anything there is touched.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where it is another's.
    pub fn check(&self, holder: &Holder) -> anyhow::Result<()> {
        owned(&self.look()?, holder)
    }

    /// Writes down how a pending change ended. With the last one the environment is free again.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where it is another's; those of [`Ledger::append`].
    pub fn settle(&self, holder: &Holder, service: &str, ended: &Ended<'_>) -> anyhow::Result<()> {
        let outcome = serde_json::to_value(ended.outcome)?;
        let message = format!("{service} {}", outcome.as_str().unwrap_or_default());
        self.append(holder, &message, &mut |tree, state| {
            owned(state, holder)?;
            let Some(entry) = state.settle(service, ended)? else { return Ok(None) };
            Ok(Some(vec![history(tree, &entry)?]))
        })
    }

    /// Gives the environment back: what is still pending was not begun.
    ///
    /// # Errors
    /// Those of [`Ledger::append`].
    pub fn release(&self, holder: &Holder) -> anyhow::Result<()> {
        self.append(holder, "released", &mut |_, state| {
            if state.holder.as_ref().is_none_or(|other| other.id != holder.id) {
                return Ok(None);
            }
            state.holder = None;
            for standing in state.services.values_mut() {
                standing.pending = None;
            }
            Ok(Some(Vec::new()))
        })
    }

    /// Writes down something that needs no holder.
    ///
    /// # Errors
    /// Those of `change` and of [`Ledger::append`].
    pub fn note(
        &self,
        by: &str,
        message: &str,
        change: &mut dyn FnMut(&mut State) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.change(by, message, &mut |_, state| Ok(change(state)?.then(Vec::new)))
    }

    fn append(&self, holder: &Holder, message: &str, change: &mut Changing<'_>) -> anyhow::Result<()> {
        self.change(&holder.by, message, change)
    }

    fn change(&self, by: &str, message: &str, change: &mut Changing<'_>) -> anyhow::Result<()> {
        let time = i64::try_from(clock::now()).unwrap_or_default();
        self.ledger.append(&self.name, message, by, time, &mut |tree| {
            let mut state = self.read(tree)?;
            state.schema = SCHEMA;
            let Some(mut files) = change(tree, &mut state)? else { return Ok(Vec::new()) };
            files.push(File::blob("state.json", pretty(&state)?));
            Ok(files)
        })?;
        Ok(())
    }
}

fn owned(state: &State, holder: &Holder) -> anyhow::Result<()> {
    let message = match &state.holder {
        Some(now) if now.id == holder.id => return Ok(()),
        Some(now) => format!("`{}` by {} has taken the environment over", now.command, now.by),
        None => "the environment was taken over, and given back, by another run".to_owned(),
    };
    Err(Fault::new(Exit::Conflict, message)
        .hint("this run was silent for too long and changes nothing more; `status` says what runs")
        .into())
}

/// Numbered, so that their names are in the order of time.
fn history(tree: &Tree, entry: &Entry) -> anyhow::Result<File> {
    let number = tree.under("history/").count() + 1;
    Ok(File::blob(format!("history/{number:08}.json"), pretty(entry)?))
}

fn pretty<T: serde::Serialize>(value: &T) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn waits(holder: &Holder) -> String {
    format!(
        "waiting for `{}` by {} on {}, since {} (given up when nothing is heard of it for {})",
        holder.command,
        holder.by,
        holder.host,
        holder.at,
        humantime::format_duration(Duration::from_secs(holder.patience))
    )
}
