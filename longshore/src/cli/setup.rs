//! `setup` and `doctor`.
use super::{Format, Global};
use crate::cancel::Cancel;
use crate::host::environment::Environment;
pub fn setup(_: &Global, _: Environment, _: &Cancel) -> anyhow::Result<u8> {
    Ok(0)
}
pub fn doctor(_: &Global, _: Environment, _: &Cancel, _: Format) -> anyhow::Result<u8> {
    Ok(0)
}
