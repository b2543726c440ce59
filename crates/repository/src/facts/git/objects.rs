//! Objects by id: read in one batch, written without filters.

use std::collections::{BTreeMap, BTreeSet};

use super::Git;

impl Git {
    /// The content of `objects` (any ids, or `REF:PATH` without line breaks), by what was asked for.
    /// One that this clone does not have is left out. One process, whatever their number.
    pub fn objects<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let wanted: BTreeSet<&str> = objects.into_iter().collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut asked = Vec::new();
        for object in &wanted {
            asked.extend_from_slice(object.as_bytes());
            asked.push(b'\n');
        }
        let output = self.run(self.command("cat-file").arg("--batch").stdin(asked))?;
        let contents = parse_batch(&output)?;
        anyhow::ensure!(
            contents.len() == wanted.len(),
            "internal: `git cat-file` answered {} of {}",
            contents.len(),
            wanted.len()
        );
        let pairs = wanted.into_iter().zip(contents);
        Ok(pairs.filter_map(|(object, content)| Some((object.to_owned(), content?))).collect())
    }

    /// Writes an object of a kind (`blob`, `tag`) and gives its id. Git checks its form.
    pub(crate) fn write_object(&self, kind: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Result<String> {
        let command = self.command("hash-object").args(["-w", "--no-filters", "-t", kind, "--stdin"]);
        self.line(command.stdin(bytes))
    }
}

/// `git help cat-file`, "BATCH OUTPUT": `ID KIND SIZE`, the content, a line break; `… missing` alone.
fn parse_batch(mut bytes: &[u8]) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
    let mut contents = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let header = String::from_utf8_lossy(&bytes[..end]);
        let words: Vec<&str> = header.split(' ').collect();
        let rest = &bytes[end + 1..];
        let size = match words[..] {
            [_, "commit" | "tag" | "tree" | "blob", size] => size.parse::<usize>().ok(),
            _ => None,
        };
        match size {
            Some(size) if size < rest.len() => {
                contents.push(Some(rest[..size].to_vec()));
                bytes = &rest[size + 1..];
            }
            Some(_) => anyhow::bail!("internal: `git cat-file` stopped in the middle"),
            None => {
                contents.push(None);
                bytes = rest;
            }
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_counted_not_searched() {
        let contents = parse_batch(b"aa blob 7\nx\ny\n z\n\nbb missing\ncc blob 0\n\n").unwrap();
        assert_eq!(contents, [Some(b"x\ny\n z\n".to_vec()), None, Some(vec![])]);
        assert!(parse_batch(b"aa blob 7\nx").is_err());
    }
}
