//! What a Dockerfile's build is sent: the files of a context, without what `.dockerignore` leaves out.

use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::closure::RepoPath;
use crate::dockerfile::ignore::Ignore;
use crate::fault::{Exit, Fault, FaultContext as _};

/// One context as it is sent.
#[derive(Debug)]
pub struct Context {
    /// Sorted by path.
    pub entries: Vec<Entry>,
    pub ignore: Ignore,
    /// The file that it was read from, absolute; absent: nothing is left out.
    pub ignore_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the context.
    pub path: RepoPath,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        /// Bytes.
        size: u64,
        executable: bool,
    },
    Folder,
    Link(PathBuf),
    /// What an image should not hold: `FIFO`, `socket`, `device`.
    Special(&'static str),
}

/// The ignore file of a Dockerfile: `NAME.dockerignore` beside it, else `.dockerignore` in the context.
pub fn ignore_file(dockerfile: &Path, context: &Path) -> Option<PathBuf> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    [PathBuf::from(own), context.join(".dockerignore")].into_iter().find(|file| file.is_file())
}

/// Looks at every entry of `context` (absolute) that would be sent to the build of `dockerfile`.
///
/// # Errors
/// [`Exit::Usage`] for an ignore file that no engine takes; [`Exit::Machine`] for what can't be read.
pub fn read(dockerfile: &Path, context: &Path) -> anyhow::Result<Context> {
    let ignore = ignore(dockerfile, context)?;
    let ignore_file = ignore_file(dockerfile, context);
    let mut entries = Vec::new();
    walk(context, "", &[], &ignore, &mut entries)?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Context { entries, ignore, ignore_file })
}

/// What a build leaves out of its context.
///
/// # Errors
/// As [`read`].
pub fn ignore(dockerfile: &Path, context: &Path) -> anyhow::Result<Ignore> {
    let Some(file) = ignore_file(dockerfile, context) else { return Ok(Ignore::default()) };
    let shown = file.display();
    let bytes = std::fs::read(&file).fault(Exit::Machine, format!("could not read `{shown}`"))?;
    Ignore::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        let message = format!("{shown}:{}:1: {}", error.line, error.message);
        Fault::new(Exit::Usage, message).hint("docker would refuse it: mend the line, or take it out").into()
    })
}

/// `below`: the folder from the context, with a slash at its end, empty at the top. Gives whether anything
/// in it is sent: then the folder itself is, even where it is left out.
fn walk(
    folder: &Path,
    below: &str,
    above: &[bool],
    ignore: &Ignore,
    entries: &mut Vec<Entry>,
) -> anyhow::Result<bool> {
    let shown = || format!("could not read `{}`, which is sent to the build", folder.display());
    let listing = std::fs::read_dir(folder).fault(Exit::Machine, shown())?;
    let mut any = false;
    for entry in listing {
        let entry = entry.fault(Exit::Machine, shown())?;
        let name = RepoPath::from_path(Path::new(&entry.file_name()));
        let text = format!("{below}{}", String::from_utf8_lossy(name.as_bytes()));
        let (left_out, matched) = ignore.look(&text, above);
        // What goes while it is looked at is not sent either.
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let mut sent = !left_out;
        if metadata.is_dir() && (sent || ignore.takes_back()) {
            sent |= walk(&entry.path(), &format!("{text}/"), &matched, ignore, entries)?;
        }
        if sent {
            let mut path = below.as_bytes().to_vec();
            path.extend_from_slice(name.as_bytes());
            entries.push(Entry { path: RepoPath::from_bytes(path), kind: kind(&entry.path(), &metadata) });
            any = true;
        }
    }
    Ok(any)
}

fn kind(path: &Path, metadata: &Metadata) -> Kind {
    if metadata.is_file() {
        return Kind::File { size: metadata.len(), executable: is_executable(metadata) };
    }
    if metadata.is_dir() {
        return Kind::Folder;
    }
    if metadata.is_symlink() {
        return Kind::Link(std::fs::read_link(path).unwrap_or_default());
    }
    Kind::Special(special(metadata))
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

/// Windows has no such bit: docker sets it for everything that it sends from there.
#[cfg(not(unix))]
fn is_executable(_metadata: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn special(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn special(_metadata: &Metadata) -> &'static str {
    "special file"
}

/// The bits of a mode that a build is sent.
#[cfg(unix)]
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.symlink_metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
pub fn mode(_path: &Path) -> u32 {
    0o755
}

/// The first bytes of a file, at most `limit`; none of what can't be read.
pub fn beginning(path: &Path, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    bytes
}
