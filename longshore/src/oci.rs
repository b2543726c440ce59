//! OCI images: types, layers, layouts, registries.

pub mod types;
