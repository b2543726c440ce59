//! Git's facts and the ledger against real Git: temporary repositories, a bare remote, several clones.

mod git {
    pub(crate) mod repository;

    mod facts;
    mod ledger;
    mod race;
}
