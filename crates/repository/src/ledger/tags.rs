//! Git tags of recorded versions. The record is the truth: a tag is made from it, the same on every
//! machine, and a tag that is there already counts if it is of the record's commit, however it was made.

use std::collections::BTreeMap;

use super::{Ledger, ReleaseRecord, Scope};
use crate::facts::git::{Pushed, Ref, Update, without_credentials};
use crate::fault::{Exit, Fault};

/// More than this many in one push raise no CI events on some hosts.
const TAGS_A_PUSH: usize = 3;

/// A tag may be pushed by another machine between the look and the push; then one more look tells.
const ATTEMPTS: u32 = 3;

impl Ledger<'_> {
    /// Makes the Git tags of `records` where they are missing, and gives the names of those made.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where a tag is of another commit; [`Exit::Outside`] where the remote does not
    /// answer.
    pub fn tag(&self, records: &[ReleaseRecord]) -> anyhow::Result<Vec<String>> {
        let mut made = Vec::new();
        for _ in 0..ATTEMPTS {
            let wanted: BTreeMap<String, &ReleaseRecord> =
                records.iter().map(|record| (self.tag_reference(&record.git_tag), record)).collect();
            let there = self.look(wanted.keys())?;
            let mut missing = Vec::new();
            for (name, record) in &wanted {
                match there.iter().find(|found| found.name == *name) {
                    None => missing.push((name.as_str(), *record)),
                    Some(found) if found.peeled == record.commit => {}
                    Some(found) => return Err(self.moved(record, found).into()),
                }
            }
            if missing.is_empty() {
                return Ok(made);
            }
            for chunk in missing.chunks(TAGS_A_PUSH) {
                made.extend(self.make(chunk)?);
            }
        }
        Err(Fault::new(Exit::Conflict, "other processes make and remove the same Git tags")
            .hint("run it again when they are done")
            .into())
    }

    /// Whether the Git tags of `records` are all there.
    pub fn tagged(&self, records: &[ReleaseRecord]) -> anyhow::Result<bool> {
        let names: Vec<String> = records.iter().map(|record| self.tag_reference(&record.git_tag)).collect();
        let there = self.look(names.iter())?;
        Ok(names.iter().all(|name| there.iter().any(|found| found.name == *name)))
    }

    fn tag_reference(&self, tag: &str) -> String {
        match self.scope {
            Scope::Local => self.reference(&format!("tags/{tag}")),
            Scope::Remote(_) => format!("refs/tags/{tag}"),
        }
    }

    fn look<'n>(&self, names: impl Iterator<Item = &'n String>) -> anyhow::Result<Vec<Ref>> {
        match &self.scope {
            Scope::Local => self.git.refs(&[super::LOCAL]),
            Scope::Remote(remote) => {
                // The second pattern asks for what an annotated tag is of.
                let patterns: Vec<String> =
                    names.flat_map(|name| [name.clone(), format!("{name}^{{}}")]).collect();
                let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
                self.git.list_remote(remote, &patterns)
            }
        }
    }

    /// One push; the names that it made.
    fn make(&self, chunk: &[(&str, &ReleaseRecord)]) -> anyhow::Result<Vec<String>> {
        let mut updates = Vec::new();
        for (name, record) in chunk {
            let object = self.git.write_object("tag", record.tag_object())?;
            updates.push(Update { name: (*name).to_owned(), object, expected: None });
        }
        let answers = match &self.scope {
            Scope::Local => updates
                .iter()
                .map(|update| {
                    let made = self.git.set_ref(&update.name, &update.object, None)?;
                    Ok(if made { Pushed::Done } else { Pushed::Lost(String::new()) })
                })
                .collect::<anyhow::Result<Vec<_>>>()?,
            Scope::Remote(remote) => self.git.push(remote, &updates)?,
        };
        let mut made = Vec::new();
        for ((update, answer), (_, record)) in updates.iter().zip(answers).zip(chunk) {
            match answer {
                Pushed::Done => {
                    if matches!(self.scope, Scope::Remote(_)) {
                        // This clone sees it too; one of the same name that is already here stays.
                        self.git.set_ref(&update.name, &update.object, None)?;
                    }
                    made.push(record.git_tag.clone());
                }
                Pushed::Lost(_) => {}
                Pushed::Refused(why) => {
                    return Err(Fault::new(
                        Exit::Machine,
                        format!("the Git remote takes no tag `{}`: {why}", record.git_tag),
                    )
                    .hint("give this user the right to push tags, then run it again: the release is recorded")
                    .into());
                }
            }
        }
        Ok(made)
    }

    fn moved(&self, record: &ReleaseRecord, found: &Ref) -> Fault {
        let place = match &self.scope {
            Scope::Local => "this clone".to_owned(),
            Scope::Remote(remote) => format!("`{}`", without_credentials(remote)),
        };
        Fault::new(
            Exit::Conflict,
            format!(
                "the tag `{}` in {place} is of commit {}, and {} {} is recorded for commit {}",
                record.git_tag, found.peeled, record.service, record.version, record.commit
            ),
        )
        .hint("somebody moved it: put it back, or delete it and run this again")
    }
}
