//! Which engines are here, for `doctor`.

use super::{Choice, Engine, Kind, program_of, programs};
use crate::cancel::Cancel;
use crate::host::environment::Environment;

/// What an engine of this kind says of itself, with this builder where it is buildx's; else why none can be
/// used.
pub fn look(
    choice: Choice,
    builder: Option<&str>,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<String, String> {
    let mut reasons = Vec::new();
    for program in programs(program_of(choice), environment) {
        match Engine::probe(choice, program, builder, environment, cancel) {
            Ok(engine) => return Ok(engine.described(cancel)),
            Err(why) => reasons.push(why),
        }
    }
    if reasons.is_empty() {
        reasons.push(format!("`{}` is not on PATH", program_of(choice)));
    }
    reasons.dedup();
    Err(reasons.join("; "))
}

impl Engine {
    fn described(&self, cancel: &Cancel) -> String {
        let words: &[&str] = match self.kind {
            Kind::Buildx | Kind::BuildxDocker => &["buildx", "version"],
            Kind::Docker => &["version", "--format", "{{.Server.Version}}"],
            Kind::Buildah => &["--version"],
        };
        let said = self.said(words, cancel).unwrap_or_default();
        let version = said
            .split_whitespace()
            .find(|word| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()));
        format!("{} in `{}`", version.unwrap_or("here"), self.program.display())
    }
}
