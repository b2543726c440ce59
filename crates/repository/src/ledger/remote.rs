//! What the remote has, and what it had when it was last asked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Ledger, Scope};
use crate::facts::git::{Ref, without_credentials};
use crate::fault::{Exit, Fault};
use crate::host::{clock, files};
use crate::version::CommitId;

/// The remote's tags and the ledger's refs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteState {
    /// When it was asked, in seconds since 1970.
    pub asked: u64,
    /// Tags by name, and the ledger's refs.
    pub refs: Vec<Ref>,
}

impl RemoteState {
    /// Name without `refs/tags/`, and commit.
    pub fn tags(&self) -> Vec<(&str, &CommitId)> {
        self.refs.iter().filter_map(|found| Some((found.tag()?, &found.peeled))).collect()
    }

    /// How old it is, in seconds.
    pub fn age(&self) -> u64 {
        clock::now().saturating_sub(self.asked)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    /// Its name without credentials.
    remote: String,
    asked: u64,
    /// Name, object, peeled.
    refs: Vec<(String, CommitId, CommitId)>,
}

impl Ledger<'_> {
    /// Asks the remote for its tags and its ledger, and mirrors the latter here: one request, and a
    /// fetch where something is new. In the local scope, the clone itself is asked.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the remote does not answer; [`Exit::Conflict`] where its ledger was
    /// rewritten.
    pub fn refresh(&self) -> anyhow::Result<RemoteState> {
        let Scope::Remote(remote) = &self.scope else { return self.here() };
        let refs = self.git.list_remote(remote, &["refs/tags/*", &format!("{}/*", self.prefix)])?;
        let own = format!("{}/", self.prefix);
        let ledger =
            refs.iter().filter(|found| found.name.starts_with(&own) && !found.name.starts_with(super::LOCAL));
        let ledger: Vec<(String, Option<CommitId>)> =
            ledger.map(|found| (found.name.clone(), Some(found.object.clone()))).collect();
        self.mirror(remote, &ledger)?;
        let state = RemoteState { asked: clock::now(), refs };
        self.store(remote, &state)?;
        Ok(state)
    }

    /// What the remote had when it was last asked.
    ///
    /// # Errors
    /// [`Exit::Machine`] where it never was.
    pub fn stored(&self) -> anyhow::Result<RemoteState> {
        let Scope::Remote(remote) = &self.scope else { return self.here() };
        let stored = files::read_optional(&self.file(remote))?;
        let stored = stored.and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
        let Some(stored) =
            stored.filter(|stored| stored.schema == 1 && stored.remote == without_credentials(remote))
        else {
            return Err(Fault::new(
                Exit::Machine,
                format!("nothing is stored of the Git remote `{}`", without_credentials(remote)),
            )
            .hint("run it once without `--offline`")
            .into());
        };
        let refs =
            stored.refs.into_iter().map(|(name, object, peeled)| Ref { name, object, peeled }).collect();
        Ok(RemoteState { asked: stored.asked, refs })
    }

    fn here(&self) -> anyhow::Result<RemoteState> {
        let mut refs = self.git.refs(&[super::LOCAL])?;
        // The rehearsals' version tags count as tags here.
        let tags = format!("{}/", self.reference("tags"));
        for found in &mut refs {
            if let Some(tag) = found.name.strip_prefix(&tags) {
                found.name = format!("refs/tags/{tag}");
            }
        }
        Ok(RemoteState { asked: clock::now(), refs })
    }

    fn store(&self, remote: &str, state: &RemoteState) -> anyhow::Result<()> {
        let refs =
            state.refs.iter().map(|found| (found.name.clone(), found.object.clone(), found.peeled.clone()));
        let stored = Stored {
            schema: 1,
            remote: without_credentials(remote),
            asked: state.asked,
            refs: refs.collect(),
        };
        files::write(&self.file(remote), &serde_json::to_vec(&stored)?)
    }

    fn file(&self, remote: &str) -> PathBuf {
        let name = crate::digest::Digest::of(remote.as_bytes());
        self.git.dir.join("longshore").join(format!("remote-{}.json", &name.hex()[..16]))
    }
}
