//! OCI images: types, layers, layouts, registries.
//!
//! Reading order: [`types`] and [`reference`] are the specification's words, pure. [`layer`] makes a
//! blob of files, [`image`] a manifest of blobs, [`layout`] keeps both in a folder.

pub mod image;
pub mod layer;
pub mod layout;
pub mod reference;
pub mod types;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};

/// Ends a loop that the run was told to leave.
fn stop_if_asked(cancel: &Cancel) -> anyhow::Result<()> {
    match cancel.signal() {
        None => Ok(()),
        Some(15) => Err(Fault::new(Exit::Terminated, "stopped").into()),
        Some(_) => Err(Fault::new(Exit::Interrupted, "stopped").into()),
    }
}
