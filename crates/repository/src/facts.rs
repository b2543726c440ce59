//! What is true, asked once and only here: typed queries of Git, Go, the remote, the tools and a
//! build's context.

pub mod context;
pub mod git;
pub mod go;
pub mod tools;
