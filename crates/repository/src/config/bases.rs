//! The bases of a pipeline's file with their places, whether they have a digest yet or not: what `base
//! check` looks up and `base update` writes. All else of the file is left as it is, byte for byte. Pure.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::file::parse;
use crate::config::read::Faults;
use crate::config::values::unpinned_base;
use crate::declared::Unpinned;
use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use crate::digest::Digest;
use crate::fault::{Exit, Fault};

/// One base and where it stands.
#[derive(Clone, Debug)]
pub struct Written {
    /// `image.base`, `services.web.image.bases.windows`
    pub key: String,
    /// As in the file.
    pub text: String,
    pub base: Unpinned,
    /// With its quotes.
    pub place: Place,
}

/// Reads the file and its bases.
///
/// # Errors
/// As [`written`]; [`Exit::Usage`] where there is no such file.
pub fn read(root: &Path, file: &Path) -> anyhow::Result<(Arc<Source>, Vec<Written>)> {
    let shown = file.strip_prefix(root).unwrap_or(file);
    let source = match crate::config::file::read(file, shown) {
        Ok(Some(source)) => source,
        Ok(None) => {
            return Err(Fault::new(Exit::Usage, format!("there is no `{}`", shown.display())).into());
        }
        Err(fault) => return Err(Diagnostics(vec![*fault]).into()),
    };
    let found = written(&source).map_err(Diagnostics)?;
    Ok((source, found))
}

/// All bases of a pipeline's file but `scratch`, in the order of the file.
///
/// # Errors
/// What keeps them from being read; other faults of the file are no concern here.
pub fn written(source: &Arc<Source>) -> Result<Vec<Written>, Vec<Diagnostic>> {
    let mut faults = Faults::new(Arc::clone(source));
    let parsed = parse(&source.text, &mut faults);
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    let mut found = Vec::new();
    of_image(&parsed.table, "image", &mut found, &mut faults);
    let services = parsed.table.get("services").and_then(|services| services.get_ref().as_table());
    for (name, service) in services.into_iter().flatten() {
        if let Some(service) = service.get_ref().as_table() {
            of_image(service, &format!("services.{}.image", name.get_ref()), &mut found, &mut faults);
        }
    }
    found.sort_by_key(|written| written.place.span.start);
    if faults.found.is_empty() { Ok(found) } else { Err(faults.found) }
}

/// The bases of the table `image` in `table`, by their keys from `path`.
fn of_image(table: &DeTable<'_>, path: &str, found: &mut Vec<Written>, faults: &mut Faults) {
    let Some(image) = table.get("image").and_then(|image| image.get_ref().as_table()) else { return };
    if let Some(base) = image.get("base") {
        one(base, format!("{path}.base"), found, faults);
    }
    let bases = image.get("bases").and_then(|bases| bases.get_ref().as_table());
    for (platform, base) in bases.into_iter().flatten() {
        one(base, format!("{path}.bases.{}", platform.get_ref()), found, faults);
    }
}

fn one(value: &Spanned<DeValue<'_>>, key: String, found: &mut Vec<Written>, faults: &mut Faults) {
    let place = faults.place(value.span());
    let Some(text) = value.get_ref().as_str() else {
        faults.note(Diagnostic::error(format!("`{key}` must be a string")).at(&place, ""));
        return;
    };
    match unpinned_base(text) {
        Ok(Unpinned::Scratch) => {}
        Ok(base) => found.push(Written { key, text: text.to_owned(), base, place }),
        Err(complaint) => {
            let fault = Diagnostic::error(format!("`{key}`: {}", complaint.message)).at(&place, "");
            faults.note(Diagnostic { hint: complaint.hint, ..fault });
        }
    }
}

/// The file's text with these digests instead of those that are written, or where none is.
pub fn pinned(source: &Source, changes: &[(&Written, &Digest)]) -> String {
    let mut text = source.text.clone();
    let mut sorted: Vec<_> = changes.iter().collect();
    // From behind, so that the places before stay what they are.
    sorted.sort_by_key(|(written, _)| std::cmp::Reverse(written.place.span.start));
    for (written, digest) in sorted {
        let name = written.text.split_once('@').map_or(written.text.as_str(), |(name, _)| name);
        let span = written.place.span.clone();
        let old = text.get(span.clone()).unwrap_or_default();
        let quote = if old.starts_with('\'') && !name.contains('\'') { '\'' } else { '"' };
        let name = if quote == '"' { escaped(name) } else { name.to_owned() };
        text.replace_range(span, &format!("{quote}{name}@{digest}{quote}"));
    }
    text
}

/// For a basic string (TOML, "String").
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: "pipeline.toml".into(), text: text.to_owned() })
    }

    #[test]
    fn digests_are_written_and_nothing_else_changes() {
        let old = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            "version = 1 # one\r\n[image]\r\nbase   = \"example.com/a/b:1\"  # why\r\n\
             bases = {{ windows='docker-daemon:nano:2022@{old}',linux = \"scratch\" }}\r\n\
             [services.web]\r\n\timage.base = \"\"\"oci:a\\\"b\"\"\" # odd\r\n[unknown]\r\n"
        );
        let source = source(&text);
        let found = written(&source).unwrap();
        let keys: Vec<&str> = found.iter().map(|written| written.key.as_str()).collect();
        assert_eq!(keys, ["image.base", "image.bases.windows", "services.web.image.base"]);
        let digest = Digest::of(b"new");
        let changes: Vec<_> = found.iter().map(|written| (written, &digest)).collect();
        let after = pinned(&source, &changes);
        let expected = text
            .replace("b:1\"", &format!("b:1@{digest}\""))
            .replace(&old, digest.as_str())
            .replace("\"\"\"oci:a\\\"b\"\"\"", &format!("\"oci:a\\\"b@{digest}\""));
        assert_eq!(after, expected);
        let again = self::source(&after);
        assert!(written(&again).unwrap().iter().all(|written| written.base.digest() == Some(&digest)));
    }

    #[test]
    fn what_is_no_base_is_told_where_it_stands() {
        let faults =
            written(&source("[image]\nbase = 7\n[services.a.image]\nbase = \"alpine\"\n")).unwrap_err();
        let shown: Vec<String> =
            faults.iter().filter_map(|fault| Some(fault.place.as_ref()?.0.to_string())).collect();
        assert_eq!(shown, ["pipeline.toml:2:8", "pipeline.toml:4:8"]);
    }
}
