//! Git's facts and the ledger against real Git: temporary repositories, a bare remote, several clones.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod git {
    pub(crate) mod repository;

    mod facts;
    mod ledger;
    mod race;
}
