//! What every other crate of Longshore stands on.
//!
//! - the only doors to the outside: [`host`], with what ends a run in [`cancel`] and what a long one says in
//!   [`progress`];
//! - errors with an exit code: a [`fault`], and a [`diagnostic`] where it lies in a user's file, in [`style`];
//! - words: a [`platform`] of Go's, a content [`digest`], a [`reference`] to an image, how an image is
//!   [`declared`], the [`key`] that signs.

pub mod cancel;
pub mod declared;
pub mod diagnostic;
pub mod digest;
pub mod fault;
pub mod host;
pub mod key;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod style;
