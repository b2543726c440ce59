//! Facts first: everything that a release follows from is asked here, once, before anything is decided
//! (invariant 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod histories;

use crate::closure::{Closure, RepoPath};
use crate::config::Config;
use crate::digest::Digest;
use crate::facts::git::{Dirty, Git, Head};
use crate::facts::go::inputs::{self, Question, ServiceInputs};
use crate::fault::{Exit, Fault};
use crate::fingerprint::Hashes;
use crate::ledger::{Book, Ledger, ReleaseRecord, RemoteState, Scope};
use crate::resolve::ServiceSettings;
use crate::version::{self, Commit, CommitId, Known, Survey, TagForm};

use histories::Histories;

/// What is true of the repository, its remote and its services.
#[derive(Debug)]
pub struct Facts {
    pub head: Head,
    pub dirty: Dirty,
    /// `https://host/path`, where the remote's address tells it.
    pub source: Option<String>,
    pub services: BTreeMap<String, ServiceFacts>,
    pub book: Book,
    /// What affected services are compared with, where the user names a commit.
    pub since: Option<CommitId>,
    /// With `--offline`: the age in seconds of what is known of the remote.
    pub age: Option<u64>,
    /// The history is cut off and could not be had: everything counts as affected, and no version can
    /// be told.
    pub cut_off: bool,
}

/// What is true of one service.
#[derive(Debug)]
pub struct ServiceFacts {
    pub form: TagForm,
    pub inputs: ServiceInputs,
    pub survey: Survey,
    /// The version that the next one follows.
    pub base: Option<Known>,
    /// What it was made of then, where there is a record.
    pub base_closure: Option<Closure>,
    /// Since the base, newest first.
    pub commits: Arc<[Commit]>,
    /// Why it is affected; empty where it is not.
    pub affected: Vec<String>,
    /// The record of its newest version.
    pub newest: Option<ReleaseRecord>,
    /// That one, and those of its builds for other environments.
    pub builds: Vec<ReleaseRecord>,
    /// A hash of those of its inputs that are not committed.
    pub dirty: Option<Digest>,
}

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    pub config: &'a Config,
    pub settings: &'a BTreeMap<String, ServiceSettings>,
    pub question: Question<'a>,
    pub scope: &'a Scope,
    pub prefix: &'a str,
    pub offline: bool,
    /// Compare with this commit instead of each service's last release.
    pub since: Option<&'a str>,
    /// The pipeline's file, from the root.
    pub pipeline: &'a RepoPath,
}

/// Asks Git, its remote and Go.
///
/// # Errors
/// Those of the questions; see [`Git`], [`Ledger`] and [`inputs::gather`].
pub fn facts(git: &mut Git, inquiry: Inquiry<'_>, hashes: &mut Hashes) -> anyhow::Result<Facts> {
    let head = git.head()?;
    let cut_off = deepen(git, &inquiry);
    let git = &*git;
    let ledger = Ledger::new(git, inquiry.prefix, inquiry.scope.clone());
    // The remote answers while Go and the disk are asked.
    let (remote, dirty, inputs) = std::thread::scope(|threads| {
        let dirty = threads.spawn(|| git.dirty());
        let remote = threads.spawn(|| if inquiry.offline { ledger.stored() } else { ledger.refresh() });
        let inputs = inputs::gather(inquiry.question, inquiry.settings, hashes);
        let panicked = || anyhow::anyhow!("internal: it panicked");
        let dirty = dirty.join().unwrap_or_else(|_| Err(panicked()));
        (remote.join().unwrap_or_else(|_| Err(panicked())), dirty, inputs)
    });
    let (dirty, remote, inputs) = (dirty?, remote?, inputs?);
    let book = ledger.book()?;
    let surveys = surveys(git, &inquiry, &book, &remote, &head.commit)?;
    let newest = newest(&ledger, &book, inquiry.settings.keys())?;
    let bases = bases(git, &surveys, &head.commit)?;
    bring_bases(git, &inquiry, &surveys, &bases, &head.commit)?;
    let closures = base_closures(&ledger, &book, &bases)?;
    let since = inquiry.since.map(|name| git.since(name, &head.commit)).transpose()?;
    let mut histories = Histories::new(git, &inquiry, &inputs, &head.commit, &dirty, cut_off);
    let mut answers = BTreeMap::new();
    for (name, inputs) in &inputs {
        let compared = since.as_ref().or(bases[name].as_ref().map(|base| &base.commit));
        let reasons = match compared {
            _ if cut_off => vec!["the history is cut off".to_owned()],
            Some(commit) => histories.reasons(name, inputs, commit)?,
            None => vec!["never released".to_owned()],
        };
        let commits = histories.commits(bases[name].as_ref().map(|base| &base.commit))?;
        answers.insert(name.clone(), (reasons, commits));
    }
    let mut services = BTreeMap::new();
    for (name, inputs) in inputs {
        let (form, survey) = surveys[&name].clone();
        let base = bases[&name].clone();
        let (affected, commits) = answers.remove(&name).unwrap_or_default();
        let uncommitted: Vec<&RepoPath> = dirty
            .entries
            .iter()
            .map(|entry| &entry.path)
            .filter(|path| inputs.closure.touches(path))
            .collect();
        let service = ServiceFacts {
            dirty: if uncommitted.is_empty() { None } else { Some(git.content_hash(uncommitted)?) },
            form,
            inputs,
            survey,
            base,
            base_closure: closures.get(&name).cloned(),
            commits,
            affected,
            builds: match newest.get(&name) {
                Some(newest) => ledger.builds(&book, &name, &newest.version)?,
                None => Vec::new(),
            },
            newest: newest.get(&name).cloned(),
        };
        services.insert(name, service);
    }
    let source = git.remotes()?.get(remote_name(inquiry.config)).and_then(crate::facts::git::Remote::source);
    let age = inquiry.offline.then(|| remote.age());
    Ok(Facts { head, dirty, source, services, book, since, age, cut_off })
}

/// The Git remote's name.
pub fn remote_name(config: &Config) -> &str {
    config.project.remote.as_ref().map_or("origin", |remote| &remote.value)
}

/// Gets the whole history where the clone is shallow; says whether it stays cut off.
fn deepen(git: &mut Git, inquiry: &Inquiry<'_>) -> bool {
    git.shallow && (inquiry.offline || git.unshallow(remote_name(inquiry.config)).is_err())
}

/// Form and survey of each service. Where one version is for all, what exists is what exists of any.
fn surveys(
    git: &Git,
    inquiry: &Inquiry<'_>,
    book: &Book,
    remote: &RemoteState,
    head: &CommitId,
) -> anyhow::Result<BTreeMap<String, (TagForm, Survey)>> {
    // In a rehearsal the real tags are known too: its versions follow those.
    let here = match inquiry.scope {
        Scope::Local => git.refs(&["refs/tags"])?,
        Scope::Remote(_) => Vec::new(),
    };
    let mut tags = remote.tags();
    tags.extend(here.iter().filter_map(|found| Some((found.tag()?, &found.peeled))));
    let mut surveys = BTreeMap::new();
    for (name, settings) in inquiry.settings {
        let form: TagForm =
            settings.tag.parse().map_err(|error| Fault::new(Exit::Usage, format!("{error}")))?;
        let records: Vec<Known> = if form.is_per_service() {
            book.known(name)
        } else {
            inquiry.settings.keys().flat_map(|name| book.known(name)).collect()
        };
        let survey = version::survey(name, &form, &records, &tags, head);
        surveys.insert(name.clone(), (form, survey));
    }
    Ok(surveys)
}

fn bases(
    git: &Git,
    surveys: &BTreeMap<String, (TagForm, Survey)>,
    head: &CommitId,
) -> anyhow::Result<BTreeMap<String, Option<Known>>> {
    let commits: BTreeSet<&CommitId> =
        surveys.values().flat_map(|(_, survey)| &survey.known).map(|known| &known.commit).collect();
    let ancestors = git.ancestors(commits, head)?;
    let base = |survey: &Survey| version::base(&survey.known, |commit| ancestors.contains(commit)).cloned();
    Ok(surveys.iter().map(|(name, (_, survey))| (name.clone(), base(survey))).collect())
}

/// Another branch may have released, and this clone may not have its commits: they come with its tag.
///
/// # Errors
/// [`Exit::Conflict`] where they can't be had: what changed since can't be told.
fn bring_bases(
    git: &Git,
    inquiry: &Inquiry<'_>,
    surveys: &BTreeMap<String, (TagForm, Survey)>,
    bases: &BTreeMap<String, Option<Known>>,
    head: &CommitId,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::from([head]);
    for (name, base) in bases {
        let Some(base) = base.as_ref().filter(|base| seen.insert(&base.commit)) else { continue };
        if git.has(&base.commit)? {
            continue;
        }
        let tag = format!("refs/tags/{}", surveys[name].0.render(name, &base.version));
        if let (Scope::Remote(remote), false) = (inquiry.scope, inquiry.offline) {
            let _ = git.fetch(remote, &[&tag]);
        }
        if !git.has(&base.commit)? {
            let message = format!(
                "{name} {} is recorded for commit {}, which this clone of commit {} does not have",
                base.version,
                base.commit.short(),
                head.short()
            );
            return Err(Fault::new(Exit::Conflict, message)
                .hint("fetch the branch that it is of, and release from a commit that holds it")
                .into());
        }
    }
    Ok(())
}

fn base_closures(
    ledger: &Ledger<'_>,
    book: &Book,
    bases: &BTreeMap<String, Option<Known>>,
) -> anyhow::Result<BTreeMap<String, Closure>> {
    let wanted = bases.iter().filter_map(|(name, base)| Some((name.as_str(), &base.as_ref()?.version)));
    let records = ledger.records(book, wanted)?;
    Ok(records.into_iter().map(|record| (record.service, record.closure)).collect())
}

fn newest<'s>(
    ledger: &Ledger<'_>,
    book: &Book,
    services: impl Iterator<Item = &'s String>,
) -> anyhow::Result<BTreeMap<String, ReleaseRecord>> {
    let wanted = services.filter_map(|name| Some((name.as_str(), book.newest(name)?)));
    let records = ledger.records(book, wanted)?;
    Ok(records.into_iter().map(|record| (record.service.clone(), record)).collect())
}
