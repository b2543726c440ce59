//! What happened since a commit: answers that several services share, each asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Inquiry;
use crate::affected::{self, Changes};
use crate::closure::RepoPath;
use crate::config;
use crate::facts::git::{Dirty, Git};
use crate::facts::go::inputs::ServiceInputs;
use crate::resolve;
use crate::version::modfile::{ModFile, differences};
use crate::version::{Commit, CommitId};

#[derive(Debug)]
pub(super) struct Histories<'a> {
    git: &'a Git,
    inquiry: &'a Inquiry<'a>,
    inputs: &'a BTreeMap<String, ServiceInputs>,
    head: &'a CommitId,
    dirty: &'a Dirty,
    cut_off: bool,
    changes: BTreeMap<CommitId, Changes>,
    commits: BTreeMap<Option<CommitId>, Arc<[Commit]>>,
}

impl<'a> Histories<'a> {
    pub(super) fn new(
        git: &'a Git,
        inquiry: &'a Inquiry<'a>,
        inputs: &'a BTreeMap<String, ServiceInputs>,
        head: &'a CommitId,
        dirty: &'a Dirty,
        cut_off: bool,
    ) -> Self {
        let (changes, commits) = (BTreeMap::new(), BTreeMap::new());
        Self { git, inquiry, inputs, head, dirty, cut_off, changes, commits }
    }

    /// Why a service is affected by what differs between `base` and the work tree.
    pub(super) fn reasons(
        &mut self,
        service: &str,
        inputs: &ServiceInputs,
        base: &CommitId,
    ) -> anyhow::Result<Vec<String>> {
        if !self.changes.contains_key(base) {
            let changes = self.changes(base)?;
            self.changes.insert(base.clone(), changes);
        }
        let changes = &self.changes[base];
        if *changes == Changes::default() {
            return Ok(Vec::new());
        }
        // Without the chains first: most services are not affected.
        if affected::reasons(service, &inputs.closure, &[], changes).is_empty() && changes.gone.is_empty() {
            return Ok(Vec::new());
        }
        let imports = inputs.imports(&self.git.root);
        Ok(affected::reasons(service, &inputs.closure, &imports, changes))
    }

    fn changes(&self, base: &CommitId) -> anyhow::Result<Changes> {
        if base == self.head && self.dirty.is_clean() {
            return Ok(Changes::default());
        }
        let files = self.git.changed_since(base, self.dirty)?;
        let gone = |path: &&RepoPath| std::fs::symlink_metadata(self.git.root.join(path.to_path())).is_err();
        let mut changes =
            Changes { gone: files.iter().filter(gone).cloned().collect(), ..Changes::default() };
        let pipeline = self.inquiry.pipeline;
        let is_read = |path: &&RepoPath| {
            matches!(path.split().1, b"go.mod" | b"go.sum" | b"go.work" | b"go.work.sum") || *path == pipeline
        };
        let read: Vec<(&RepoPath, String)> =
            files.iter().filter(is_read).map(|path| (path, format!("{base}:{path}"))).collect();
        let before = self.git.objects(read.iter().map(|(_, object)| object.as_str()))?;
        for (path, object) in read {
            let then = before.get(&object).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let now = std::fs::read(self.git.root.join(path.to_path())).ok();
            let now = now.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            if path == pipeline {
                changes.settings = self.settings(then.as_deref());
            } else if path.split().1.ends_with(b".sum") {
                changes.sums.insert(path.clone(), sums(&then.unwrap_or_default(), &now.unwrap_or_default()));
            } else {
                let read = |text: &Option<String>| text.as_deref().map(ModFile::parse);
                changes.modules.extend(differences(path, read(&then).as_ref(), read(&now).as_ref()));
            }
        }
        changes.files = files;
        Ok(changes)
    }

    /// The services whose settings were others when the pipeline's file was `then`: all of them where it
    /// can't be read.
    fn settings(&self, then: Option<&str>) -> BTreeSet<String> {
        let root = &self.git.root;
        let path = root.join(self.inquiry.pipeline.to_path());
        let then = then.and_then(|text| config::earlier(root, &path, text));
        let then = then.map(|config| resolve::services(&config, root)).unwrap_or_default();
        let differs = |name: &&String| {
            let chosen = self.inputs[*name].program.as_ref().map(|program| &program.toolchain);
            let now = &self.inquiry.settings[*name];
            then.get(*name)
                .is_none_or(|then| then.digest(chosen) != now.digest(chosen) || then.package != now.package)
        };
        self.inputs.keys().filter(differs).cloned().collect()
    }

    pub(super) fn commits(&mut self, base: Option<&CommitId>) -> anyhow::Result<Arc<[Commit]>> {
        if self.cut_off {
            return Ok(Arc::default());
        }
        let key = base.cloned();
        if let Some(known) = self.commits.get(&key) {
            return Ok(Arc::clone(known));
        }
        let commits: Arc<[Commit]> = self.git.commits(base, self.head)?.into();
        self.commits.insert(key, Arc::clone(&commits));
        Ok(commits)
    }
}

/// The modules whose lines differ between two states of a go.sum: `MODULE VERSION[/go.mod] HASH`.
fn sums(then: &str, now: &str) -> BTreeSet<String> {
    let (then, now): (BTreeSet<&str>, BTreeSet<&str>) = (then.lines().collect(), now.lines().collect());
    then.symmetric_difference(&now)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_name_their_modules() {
        let found = sums("a v1 h1:x\nb v1 h1:x\n", "b v1 h1:x\na v2 h1:y\nc v1/go.mod h1:z\n");
        assert_eq!(found, ["a", "c"].map(str::to_owned).into());
    }
}
