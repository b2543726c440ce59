//! Who agrees to a promotion where the target asks for it: somebody before, in the ledger, or the user of this
//! run, on a terminal.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::mpsc;
use std::time::Duration;

use crate::deploy::record::State;
use crate::deploy::site::{Site, Wanted};
use crate::fault::{Exit, Fault};
use crate::oci::types::Digest;
use crate::report;
use crate::stage::lint::tool::stopped;

/// Between two looks whether the run is to stop, while a user thinks.
const LOOK: Duration = Duration::from_millis(50);

/// What this run's user has agreed to, of what nobody else has.
#[derive(Debug)]
pub(super) struct Granted {
    /// Neutral images, by service.
    images: BTreeSet<(String, Digest)>,
    /// Somebody must agree to each.
    needed: bool,
}

impl Granted {
    /// For what changes nothing.
    pub(super) fn dry_run() -> Self {
        Self { images: BTreeSet::new(), needed: false }
    }

    /// Asks for what is still open, before the environment is taken: nobody else waits while a user thinks.
    ///
    /// # Errors
    /// [`Exit::Gate`] where the user does not agree, or there is none to ask; an interruption.
    pub(super) fn ask(site: &Site<'_>, from: &str, wanted: &[Wanted]) -> anyhow::Result<Self> {
        let mut granted = Self { images: BTreeSet::new(), needed: site.settings.require_approval };
        if !granted.needed {
            return Ok(granted);
        }
        let open = granted.open(&site.book().here()?, wanted);
        if open.is_empty() {
            return Ok(granted);
        }
        if !is_attended(site) {
            return Err(unattended(site, &open));
        }
        let mut text = format!("promotion from `{from}` to `{}`, which asks for approval:\n", site.name());
        for wanted in &open {
            let workload = &wanted.workload;
            text.push_str(&format!(
                "  {} {} {}\n",
                workload.service, workload.version, workload.image.neutral
            ));
        }
        report::note(&format!("{text}do you agree? Write `yes`; anything else is a no:"));
        if answer(site)?.trim() != "yes" {
            let message = format!("{} not promoted to `{}`: not agreed to", shown(&open), site.name());
            return Err(Fault::new(Exit::Gate, message).into());
        }
        granted.images = open.into_iter().map(key).collect();
        Ok(granted)
    }

    /// # Errors
    /// [`Exit::Gate`] where there is something that nobody has agreed to.
    pub(super) fn check(&self, site: &Site<'_>, there: &State, wanted: &[Wanted]) -> anyhow::Result<()> {
        let open = self.open(there, wanted);
        if self.needed && !open.is_empty() { Err(unattended(site, &open)) } else { Ok(()) }
    }

    /// Who agreed to it.
    pub(super) fn by(&self, site: &Site<'_>, there: &State, wanted: &Wanted) -> Option<String> {
        let recorded = there.approvals.get(&wanted.workload.service);
        let recorded = recorded.filter(|approval| approval.digest == wanted.workload.image.neutral);
        let own = || self.images.contains(&key(wanted)).then(|| site.by.clone());
        recorded.map(|approval| approval.by.clone()).or_else(own)
    }

    /// What neither runs there, nor was agreed to.
    fn open<'w>(&self, there: &State, wanted: &'w [Wanted]) -> Vec<&'w Wanted> {
        let is_open = |wanted: &&Wanted| {
            let (service, neutral) = (&wanted.workload.service, &wanted.workload.image.neutral);
            let runs = there.services.get(service).and_then(|standing| standing.current.as_ref());
            let runs = runs.is_some_and(|running| running.workload.image.neutral == *neutral);
            let approved = there.approvals.get(service).is_some_and(|approval| approval.digest == *neutral);
            !runs && !approved && !self.images.contains(&key(wanted))
        };
        wanted.iter().filter(is_open).collect()
    }
}

fn key(wanted: &Wanted) -> (String, Digest) {
    (wanted.workload.service.clone(), wanted.workload.image.neutral.clone())
}

/// Whether a person sees the question and can answer it: no job of a CI system does, whatever it is given.
fn is_attended(site: &Site<'_>) -> bool {
    let ci = site.session.environment.get("CI").is_some();
    !ci && std::io::stdin().is_terminal() && report::is_terminal()
}

fn unattended(site: &Site<'_>, open: &[&Wanted]) -> anyhow::Error {
    let message = format!("`{}` asks for somebody's approval of {}", site.name(), shown(open));
    Fault::new(Exit::Gate, message).hint("`promote --approve` with the same arguments writes it down").into()
}

/// `api 0.1.0, web 0.2.0`
fn shown(open: &[&Wanted]) -> String {
    let names = open.iter().map(|wanted| format!("{} {}", wanted.workload.service, wanted.workload.version));
    names.collect::<Vec<_>>().join(", ")
}

/// A line from the terminal; empty at its end.
fn answer(site: &Site<'_>) -> anyhow::Result<String> {
    let (sender, receiver) = mpsc::channel();
    // Reading can't be cut short: the thread ends with the process.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).map(|_| line);
        let _ = sender.send(read);
    });
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(read) => return Ok(read?),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(String::new()),
            Err(mpsc::RecvTimeoutError::Timeout) if site.session.cancel.is_set() => {
                return Err(stopped(&site.session.cancel));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}
