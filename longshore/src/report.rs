//! What is shown.

pub mod plan;
