//! What is true, asked once and only here: typed queries of Git, Go, the remote and the tools.

pub mod git;
pub mod go;
pub mod tools;
