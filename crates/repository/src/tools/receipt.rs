//! The receipt beside an installed tool: what it was when it was proved.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::Tool;
use crate::digest::Digest;
use crate::fault::{Exit, FaultContext as _};
use crate::host::files;

const FILE: &str = "receipt.json";
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    schema: u32,
    tool: String,
    version: String,
    /// Of the executable.
    digest: Digest,
    size: u64,
    /// Nanoseconds since 1970: with the size, what saves hashing it in every run.
    modified: u128,
    /// From where it came: a URL, or a module with its version.
    source: String,
}

/// Writes the receipt of the tool in `folder`.
pub(super) fn write(folder: &Path, tool: Tool, version: &str, source: &str) -> anyhow::Result<()> {
    let program = folder.join(tool.file());
    let shown = || format!("could not read `{}`", program.display());
    let (size, modified) = stamp(&program).fault(Exit::Machine, shown())?;
    let receipt = Receipt {
        schema: SCHEMA,
        tool: tool.name().to_owned(),
        version: version.to_owned(),
        digest: digest(&program).fault(Exit::Machine, shown())?,
        size,
        modified,
        source: source.to_owned(),
    };
    files::write(&folder.join(FILE), &serde_json::to_vec_pretty(&receipt)?)
}

/// The tool in `folder`, if it is there and is what it was when it was installed; else what is wrong.
pub(super) fn check(folder: &Path, tool: Tool, version: &str) -> Result<Option<PathBuf>, String> {
    let program = folder.join(tool.file());
    let shown = program.display();
    let Ok(bytes) = std::fs::read(folder.join(FILE)) else { return Ok(None) };
    let receipt: Receipt = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the receipt of `{shown}` can't be read ({error})"))?;
    if (receipt.schema, receipt.tool.as_str(), receipt.version.as_str()) != (SCHEMA, tool.name(), version) {
        return Err(format!("the receipt of `{shown}` is another's"));
    }
    let Ok((size, modified)) = stamp(&program) else { return Err(format!("`{shown}` is gone")) };
    if (size, modified) == (receipt.size, receipt.modified) {
        return Ok(Some(program));
    }
    match digest(&program) {
        Ok(found) if found == receipt.digest => Ok(Some(program)),
        _ => Err(format!("`{shown}` is not what was installed")),
    }
}

pub(super) fn digest(path: &Path) -> std::io::Result<Digest> {
    use crate::digest::Hasher;
    let mut hasher = Hasher::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

/// Size in bytes and time of change, in nanoseconds since 1970.
pub(crate) fn stamp(path: &Path) -> std::io::Result<(u64, u128)> {
    let metadata = path.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), modified.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_used_only_as_it_was_installed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(Tool::Trivy.file());
        assert_eq!(check(folder.path(), Tool::Trivy, "0.69.3"), Ok(None));
        std::fs::write(&program, b"a tool").unwrap();
        assert_eq!(check(folder.path(), Tool::Trivy, "0.69.3"), Ok(None));
        write(folder.path(), Tool::Trivy, "0.69.3", "test").unwrap();
        assert_eq!(check(folder.path(), Tool::Trivy, "0.69.3"), Ok(Some(program.clone())));
        assert!(check(folder.path(), Tool::Trivy, "0.70.0").is_err());
        assert!(check(folder.path(), Tool::GolangciLint, "0.69.3").is_err());
        // Touched, the same bytes: hashed, and used.
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&program).unwrap().set_modified(later).unwrap();
        assert_eq!(check(folder.path(), Tool::Trivy, "0.69.3"), Ok(Some(program.clone())));
        std::fs::write(&program, b"b tool").unwrap();
        assert!(
            check(folder.path(), Tool::Trivy, "0.69.3").unwrap_err().contains("is not what was installed")
        );
        std::fs::remove_file(&program).unwrap();
        assert!(check(folder.path(), Tool::Trivy, "0.69.3").unwrap_err().contains("is gone"));
    }
}
