//! An entry as a server of Bazel's protocol keeps it under `/ac/`: an `ActionResult` (Remote Execution API
//! v2, `remote_execution.proto`), because such servers check its form, and keep the files that it names as
//! long as the entry itself. Its text is the result's raw stdout. Pure.

use crate::oci::types::Digest;

// Field numbers, each with its wire type: 2 is a length and bytes.
const OUTPUT_FILES: u64 = 2 << 3 | 2;
const STDOUT_RAW: u64 = 5 << 3 | 2;
const FILE_PATH: u64 = 1 << 3 | 2;
const FILE_DIGEST: u64 = 2 << 3 | 2;
const DIGEST_HASH: u64 = 1 << 3 | 2;
const DIGEST_SIZE: u64 = 2 << 3;

/// An entry's text, and the files that it is about with their bytes.
pub(super) fn encode(text: &str, files: &[(Digest, u64)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (digest, size) in files {
        let mut inner = Vec::new();
        field(&mut inner, DIGEST_HASH, digest.hex().as_bytes());
        number(&mut inner, DIGEST_SIZE);
        number(&mut inner, *size);
        let mut file = Vec::new();
        field(&mut file, FILE_PATH, digest.hex().as_bytes());
        field(&mut file, FILE_DIGEST, &inner);
        field(&mut message, OUTPUT_FILES, &file);
    }
    field(&mut message, STDOUT_RAW, text.as_bytes());
    message
}

/// The text of an entry; `None` for what is none of ours.
pub(super) fn decode(mut message: &[u8]) -> Option<String> {
    while !message.is_empty() {
        let key = take_number(&mut message)?;
        match key & 7 {
            0 => {
                take_number(&mut message)?;
            }
            2 => {
                let length = usize::try_from(take_number(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                if key == STDOUT_RAW {
                    return String::from_utf8(value.to_vec()).ok();
                }
                message = rest;
            }
            1 => message = message.get(8..)?,
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    None
}

fn field(message: &mut Vec<u8>, key: u64, value: &[u8]) {
    number(message, key);
    number(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Seven bits a byte, the lowest first.
fn number(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn take_number(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_from_behind_its_files() {
        let text = "x".repeat(300);
        let message = encode(&text, &[(Digest::of(b"a"), 1 << 40), (Digest::of(b"b"), 0)]);
        assert_eq!(decode(&message).as_deref(), Some(text.as_str()));
        // Fields that others write are passed over: `exit_code`, `stdout_digest`.
        let mut foreign = vec![4 << 3, 1, 6 << 3 | 2, 2, 9, 9];
        foreign.extend_from_slice(&message);
        assert_eq!(decode(&foreign).as_deref(), Some(text.as_str()));
    }

    #[test]
    fn what_is_no_message_is_none() {
        let message = encode("text", &[(Digest::of(b"a"), 7)]);
        for end in 0..message.len() {
            assert_eq!(decode(&message[..end]), None, "cut after {end}");
        }
        for hostile in [&b"<html>"[..], &[0xff; 32], &[STDOUT_RAW as u8, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(decode(hostile), None);
        }
    }
}
