//! Headers of a tar: ustar, with PAX records only where ustar has no room.

use std::io::Write;

use crate::fault::{Exit, Fault, FaultContext as _};

/// What ustar's octal fields hold; past that come extensions that not every reader knows.
pub(super) const SIZE_LIMIT: u64 = 0o77_777_777_777;
pub(super) const ID_LIMIT: u64 = 0o7_777_777;

pub(super) fn write_padding(tar: &mut impl Write, size: u64) -> anyhow::Result<()> {
    let rest = (size % 512) as usize;
    if rest > 0 {
        tar.write_all(&[0; 512][rest..]).fault(Exit::Machine, "could not write a layer")?;
    }
    Ok(())
}

/// A ustar header, with PAX records before it: `extra`, and names that ustar has no room for.
pub(super) fn write_header(
    tar: &mut impl Write,
    header: &mut tar::Header,
    path: &str,
    target: Option<&str>,
    size: u64,
    extra: &[(&str, &str)],
) -> anyhow::Result<()> {
    if size > SIZE_LIMIT {
        return Err(Fault::new(Exit::Usage, "a file of 8 GiB or more doesn't fit into a layer").into());
    }
    let mut records: Vec<u8> = extra.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
    if !path.is_ascii() || !set_ustar_path(header, path) {
        records.extend(pax_record("path", path));
        set_ustar_path(header, &short(path));
    }
    if let Some(target) = target
        && (!target.is_ascii() || header.set_link_name_literal(target).is_err())
    {
        records.extend(pax_record("linkpath", target));
        let _ = header.set_link_name_literal(short(target));
    }
    let failed = "could not write a layer";
    if !records.is_empty() {
        let mut extension = tar::Header::new_ustar();
        extension.set_entry_type(tar::EntryType::XHeader);
        set_ustar_path(&mut extension, "PaxHeaders/entry");
        extension.set_mode(0o644);
        extension.set_uid(0);
        extension.set_gid(0);
        extension.set_mtime(0);
        extension.set_size(records.len() as u64);
        extension.set_cksum();
        tar.write_all(extension.as_bytes()).fault(Exit::Machine, failed)?;
        tar.write_all(&records).fault(Exit::Machine, failed)?;
        write_padding(tar, records.len() as u64)?;
    }
    header.set_size(size);
    header.set_cksum();
    tar.write_all(header.as_bytes()).fault(Exit::Machine, failed)
}

/// Writes `path` into ustar's name and prefix fields as bytes, on Windows too; false where it has
/// no room.
fn set_ustar_path(header: &mut tar::Header, path: &str) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    let split = if path.len() <= ustar.name.len() {
        Some(("", path))
    } else {
        path.match_indices('/')
            .map(|(at, _)| (&path[..at], &path[at + 1..]))
            .find(|(prefix, name)| prefix.len() <= 155 && !name.is_empty() && name.len() <= 100)
    };
    let Some((prefix, name)) = split else { return false };
    ustar.name = [0; 100];
    ustar.prefix = [0; 155];
    ustar.name[..name.len()].copy_from_slice(name.as_bytes());
    ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
    true
}

/// What a reader without PAX shows of a name.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '_' }).take(90).collect()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX pax, extended header).
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}
