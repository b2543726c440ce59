//! OCI images: types, layers, layouts, registries.
//!
//! Reading order: [`types`] and [`reference`] are the specification's words, pure. [`layer`] makes a
//! blob of files, [`image`] a manifest of blobs, [`layout`] keeps both in a folder, [`registry`] speaks
//! to those that keep them elsewhere; [`destination`] is either, [`base`] what an image stands on,
//! [`archive`] an image as one file, [`daemon`] who runs it, [`saved`] what
//! it gives back, [`difference`] where two images part.

pub mod archive;
pub mod base;
pub mod daemon;
pub mod destination;
pub mod difference;
pub mod image;
pub mod layer;
pub mod layout;
pub mod registry;
pub mod saved;
pub mod types;

pub use longshore_base::reference;

use longshore_base::{cancel, declared, digest, fault, host, platform};
use longshore_inputs as inputs;

use crate::cancel::Cancel;
use crate::fault::{Exit, Fault};

/// Ends a loop that the run was told to leave.
pub fn stop_if_asked(cancel: &Cancel) -> anyhow::Result<()> {
    if cancel.is_set() { Err(stopped(cancel)) } else { Ok(()) }
}

fn stopped(cancel: &Cancel) -> anyhow::Error {
    let exit = if cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
    Fault::new(exit, "stopped").into()
}
