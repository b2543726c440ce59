//! What a gate said of a digest, as a file by that digest under `dist/verdicts/`. (To be filled in.)

use serde::{Deserialize, Serialize};

/// What the scanner said of one platform's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scan {
    Pass,
    Fail,
    /// Only the binary could be judged: no scanner knows Windows' own packages.
    Unsupported,
    /// No vulnerability verdict exists (secrets were looked for).
    None,
}

/// How an image was seen to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// As a container, or in a root of its own with nothing of the host's in it.
    Container,
    /// The binary as a plain process.
    Process,
    /// Not run: another platform's, or the stage was skipped.
    None,
    Fail,
}
