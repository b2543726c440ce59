//! What work that takes its time says on the way.

/// Where a job says how it goes on; the execution behind it makes events of these.
pub trait Progress: Sync + std::fmt::Debug {
    fn status(&self, status: &str);
    fn bytes(&self, done: u64, total: Option<u64>);
    fn line(&self, line: &str);
    fn warning(&self, message: &str, hint: Option<&str>);
}
