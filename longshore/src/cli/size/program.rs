//! The program that an image starts, in its parts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::facts::go::executable::{Executable, Part};
use crate::oci::layer::windows;
use crate::oci::types::ImageConfig;

/// Bytes of a larger file are not read into memory.
pub(super) const LIMIT: u64 = 1 << 30;

#[derive(Debug, Serialize)]
pub(super) struct Program {
    /// In its layer.
    pub(super) path: String,
    /// In bytes, as the sizes of its parts.
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<u64>,
    /// As `go1.26.8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) go: Option<String>,
    pub(super) functions: usize,
    /// The parts are the whole file; one that it has no longer has no size.
    pub(super) parts: Vec<Compared>,
}

#[derive(Debug, Serialize)]
pub(super) struct Compared {
    #[serde(flatten)]
    pub(super) part: Part,
    /// In the last release, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<u64>,
}

/// Where the program may lie in a layer: the first word of the start command, from the root.
pub(super) fn paths(config: &ImageConfig) -> BTreeSet<String> {
    let run = &config.config;
    let Some(word) = run.entrypoint.first().or(run.cmd.first()) else { return BTreeSet::new() };
    if config.os == "windows" {
        let path = word.strip_prefix("C:").unwrap_or(word).replace('\\', "/");
        return BTreeSet::from([format!("{}/{}", windows::FILES, path.trim_start_matches('/'))]);
    }
    let below = |folder: &str, name: &str| {
        format!("{}/{name}", folder.trim_matches('/')).trim_start_matches('/').to_owned()
    };
    let path = run.env.iter().find_map(|pair| pair.strip_prefix("PATH="));
    match word.strip_prefix("./").unwrap_or(word) {
        absolute if absolute.starts_with('/') => {
            BTreeSet::from([below("", absolute.trim_start_matches('/'))])
        }
        relative if word.contains('/') => BTreeSet::from([below(&run.working_dir, relative)]),
        name => path
            .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .split(':')
            .map(|folder| below(folder, name))
            .collect(),
    }
}

impl Program {
    pub(super) fn read(path: String, bytes: &[u8]) -> Option<Self> {
        let executable = Executable::read(bytes)?;
        let parts = executable.parts().into_iter().map(|part| Compared { part, previous: None }).collect();
        let functions = executable.functions();
        Some(Self { path, size: executable.size, previous: None, go: executable.toolchain, functions, parts })
    }

    /// Tells each part's size in an older one, and adds what that alone has.
    pub(super) fn compare(&mut self, old: &Self) {
        let name = |found: &Compared| (found.part.kind, found.part.name.clone());
        let mut before: BTreeMap<_, _> = old.parts.iter().map(|found| (name(found), &found.part)).collect();
        self.previous = Some(old.size);
        for found in &mut self.parts {
            found.previous = Some(before.remove(&name(found)).map_or(0, |part| part.size));
        }
        let gone = before.into_values();
        self.parts.extend(
            gone.map(|part| Compared { part: Part { size: 0, ..part.clone() }, previous: Some(part.size) }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_the_start_command_says() {
        let mut config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}"#,
        )
        .unwrap();
        assert!(paths(&config).is_empty());
        for (os, word, folder, expected) in [
            ("linux", "/usr/local/bin/web", "/", "usr/local/bin/web"),
            ("linux", "./web", "/srv/", "srv/web"),
            ("linux", "bin/web", "", "bin/web"),
            ("linux", "web", "/srv", "opt/bin/web"),
            ("windows", "C:\\app\\web.exe", "C:\\", "Files/app/web.exe"),
        ] {
            config.os = os.to_owned();
            config.config.cmd = vec![word.to_owned()];
            config.config.working_dir = folder.to_owned();
            config.config.env = vec!["PATH=/opt/bin".to_owned()];
            assert_eq!(paths(&config), BTreeSet::from([expected.to_owned()]), "{word}");
        }
    }
}
