//! The modules that a Go binary says it was built from (Go's `debug/buildinfo`, the inline form of
//! Go 1.18 and later). Pure. Read here so that a scanner's silence about a binary can't pass for health.

/// What a report must know of one binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Its path in the image.
    pub executable: String,
    /// Each module by the names that it may go under: its own, and that of its replacement.
    pub names: Vec<Vec<String>>,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The header's length: magic, pointer size, flags, padding.
const HEADER: usize = 32;
const ALIGN: usize = 16;
const INLINE: u8 = 0x2;

/// The modules of a binary's dependencies, and `stdlib`; `None` where the bytes hold no build information.
pub fn modules(binary: &[u8], executable: &str) -> Option<Modules> {
    // A program that reads build information holds the magic as a constant too: the first place that
    // parses is taken.
    let info = binary
        .chunks_exact(ALIGN)
        .enumerate()
        .filter(|(_, chunk)| chunk.starts_with(MAGIC))
        .find_map(|(index, _)| info_at(&binary[index * ALIGN..]))?;
    Some(Modules { executable: executable.to_owned(), names: names(info) })
}

fn info_at(bytes: &[u8]) -> Option<&str> {
    if bytes.get(15)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = string(bytes.get(HEADER..)?)?;
    let plausible = version.starts_with(b"go") || version.starts_with(b"devel");
    if !plausible {
        return None;
    }
    let (info, _) = string(rest)?;
    // The text stands between two markers of 16 bytes.
    std::str::from_utf8(info.get(16..info.len().checked_sub(16)?)?).ok()
}

/// A length (unsigned varint) and that many bytes.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = bytes.get(index + 1..)?;
            return rest.split_at_checked(length);
        }
    }
    None
}

/// Lines are `dep\tPATH\tVERSION\tSUM`, a replacement follows as `=>\tPATH\tVERSION\tSUM`.
fn names(info: &str) -> Vec<Vec<String>> {
    let mut names = vec![vec!["stdlib".to_owned()]];
    for line in info.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next()) {
            (Some("dep"), Some(path)) => names.push(vec![path.to_owned()]),
            (Some("=>"), Some(path)) if names.len() > 1 => {
                if let Some(last) = names.last_mut() {
                    last.push(path.to_owned());
                }
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(version: &str, info: &str) -> Vec<u8> {
        let marked = [&[1u8; 16][..], info.as_bytes(), &[2u8; 16][..]].concat();
        let mut bytes = vec![0u8; 64];
        // The constant of a program that reads build information, and one that is not aligned.
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0u8; 19]);
        bytes.extend_from_slice(MAGIC);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[8, INLINE]);
        bytes.extend_from_slice(&[0u8; 16]);
        for text in [version.as_bytes(), &marked] {
            assert!(text.len() < 128 * 128);
            bytes.extend_from_slice(&[(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8]);
            bytes.extend_from_slice(text);
        }
        bytes.extend_from_slice(&[0u8; 100]);
        bytes
    }

    #[test]
    fn dependencies_and_replacements_are_read() {
        let info = "path\tex/a/cmd\nmod\tex/a\t(devel)\t\ndep\tex/b\tv1.0.0\th1:x=\ndep\tex/c\tv1.0.0\n=>\tex/d\tv2.0.0\th1:y=\nbuild\t-trimpath=true\n";
        let modules = modules(&binary("go1.26.8", info), "/a").unwrap();
        assert_eq!(modules.names, [vec!["stdlib"], vec!["ex/b"], vec!["ex/c", "ex/d"]]);
        assert_eq!(modules.executable, "/a");
    }

    #[test]
    fn other_bytes_are_not_believed() {
        assert_eq!(modules(b"#!/bin/sh\n", "/a"), None);
        assert_eq!(modules(&binary("zero", "dep\tex/b\tv1\n"), "/a"), None);
        let whole = binary("go1.26.8", "dep\tex/b\tv1.0.0\t\n");
        assert_eq!(modules(&whole[..whole.len() - 130], "/a"), None);
        assert_eq!(modules(MAGIC, "/a"), None);
    }
}
