//! Commits → versions. Pure: nothing here asks Git, the clock or the disk.

pub mod commit;
pub mod modfile;

pub use commit::{Commit, CommitId};
