//! What Windows needs of a layer: the root in `Files/`, the registry's changes in `Hives/`, and in PAX
//! records of each entry what tar has no field for: attributes, and who may do what. Pure.

use std::sync::LazyLock;

use base64::Engine as _;

/// The root of the file system, and the registry.
pub const FILES: &str = "Files";
pub const HIVES: &str = "Hives";

/// Security identifiers (MS-DTYP, 2.4.2.4): authority 5, then these.
const SYSTEM: &[u32] = &[18];
const ADMINISTRATORS: &[u32] = &[32, 544];
const USERS: &[u32] = &[32, 545];

/// Access masks (MS-DTYP, 2.4.3): all of a file's rights; those to read and to execute it.
const ALL: u32 = 0x001f_01ff;
const READ_AND_EXECUTE: u32 = 0x0012_00a9;

/// An entry of an access list counts also for what is made in the folder, files and folders.
const INHERITED: u8 = 0x3;

/// The records of one entry.
pub(super) fn records(directory: bool) -> [(&'static str, &'static str); 2] {
    static FILE: LazyLock<String> = LazyLock::new(|| descriptor(0));
    static DIRECTORY: LazyLock<String> = LazyLock::new(|| descriptor(INHERITED));
    // MS-FSCC, 2.6: FILE_ATTRIBUTE_DIRECTORY and FILE_ATTRIBUTE_ARCHIVE.
    let (attributes, rights) = if directory { ("16", &DIRECTORY) } else { ("32", &FILE) };
    [("MSWINDOWS.fileattr", attributes), ("MSWINDOWS.rawsd", rights)]
}

/// A self-relative security descriptor (MS-DTYP, 2.4.6) in base64: of the administrators; system and
/// administrators may do all, users, as ContainerUser is one, read and execute.
fn descriptor(flags: u8) -> String {
    // Self-relative, with an access list.
    const CONTROL: u16 = 0x8004;
    const HEAD: u32 = 20;
    let (owner, group) = (identifier(ADMINISTRATORS), identifier(SYSTEM));
    let list = access_list(flags, &[(SYSTEM, ALL), (ADMINISTRATORS, ALL), (USERS, READ_AND_EXECUTE)]);
    let group_at = HEAD + length(&owner);
    let list_at = group_at + length(&group);
    let mut bytes = vec![1, 0];
    bytes.extend(CONTROL.to_le_bytes());
    for offset in [HEAD, group_at, 0, list_at] {
        bytes.extend(offset.to_le_bytes());
    }
    bytes.extend([owner, group, list].concat());
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn identifier(parts: &[u32]) -> Vec<u8> {
    let mut bytes = vec![1, u8::try_from(parts.len()).unwrap_or(u8::MAX), 0, 0, 0, 0, 0, 5];
    bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    bytes
}

/// MS-DTYP, 2.4.5, of entries that allow (2.4.4.2).
fn access_list(flags: u8, allowed: &[(&[u32], u32)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (who, what) in allowed {
        let who = identifier(who);
        let size = u16::try_from(8 + who.len()).unwrap_or(u16::MAX);
        entries.extend([0, flags]);
        entries.extend(size.to_le_bytes());
        entries.extend(what.to_le_bytes());
        entries.extend(who);
    }
    let size = u16::try_from(8 + entries.len()).unwrap_or(u16::MAX);
    let count = u16::try_from(allowed.len()).unwrap_or(u16::MAX);
    let head = [[2, 0], size.to_le_bytes(), count.to_le_bytes(), [0, 0]].concat();
    [head, entries].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_has_its_parts_where_it_says() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(descriptor(INHERITED)).unwrap();
        let offset = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(bytes[..4], [1, 0, 0x04, 0x80]);
        assert_eq!(bytes[offset(4)..][..16], [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]);
        assert_eq!(bytes[offset(8)..][..12], [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]);
        assert_eq!(offset(12), 0, "no system access list");
        let list = &bytes[offset(16)..];
        assert_eq!(usize::from(u16::from_le_bytes([list[2], list[3]])), list.len(), "to the end");
        assert_eq!(list[4], 3);
        assert_eq!(list[8..12], [0, 3, 20, 0]);
    }
}
