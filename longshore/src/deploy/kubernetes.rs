//! A Kubernetes cluster as a place to run.

pub mod manifest;
pub mod merge;
pub mod options;
pub mod yaml;
