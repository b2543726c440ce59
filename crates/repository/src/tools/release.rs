//! The official release of a tool: an archive whose checksum is known here.

use std::io::{Read, Write as _};
use std::path::Path;
use std::time::Duration;

use super::catalogue::Archive;
use super::{Setup, Tool};
use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::files::Draft;
use crate::host::http::{Body, Client, HttpError, Limits, Method, Request, Schemes};

/// Bytes of an archive, and of an executable in it.
const LIMIT: u64 = 1 << 30;

/// Short, because there is another way where nobody answers.
const LIMITS: Limits = Limits { connect: Duration::from_secs(5), idle: Duration::from_secs(30), total: None };

/// What came of asking for a release.
pub(super) enum Answer {
    /// It lies there now: from where.
    Installed(String),
    /// Another way may do: why, in a few words.
    Unreachable(String),
}

/// Fetches the release of this machine's platform into `program`.
///
/// # Errors
/// [`Exit::Machine`] where what came is not what was released: no other way is tried then, somebody is to
/// look at it. An interruption.
pub(super) fn fetch(tool: Tool, version: &str, program: &Path, setup: &Setup<'_>) -> anyhow::Result<Answer> {
    let Some(archive) = tool.archive(version) else {
        return Ok(Answer::Unreachable("no checksum of its release is known here".to_owned()));
    };
    setup.progress.status(&format!("downloading {tool} {version}"));
    let folder = program.parent().unwrap_or(Path::new("."));
    let mut draft = Draft::new(folder)?;
    match download(archive, &mut draft, setup) {
        Ok(()) => {}
        Err(HttpError::Stopped) => {
            let exit = if setup.cancel.signal() == Some(15) { Exit::Terminated } else { Exit::Interrupted };
            return Err(Fault::new(exit, "stopped").into());
        }
        Err(error) => return Ok(Answer::Unreachable(error.to_string())),
    }
    setup.progress.status(&format!("unpacking {tool} {version}"));
    unpack(tool, version, draft.path(), archive.sha256, program)
        .fault(Exit::Machine, format!("could not install {tool} {version}"))?;
    Ok(Answer::Installed(archive.url.to_owned()))
}

fn download(archive: Archive, draft: &mut Draft, setup: &Setup<'_>) -> Result<(), HttpError> {
    let client = Client::new(setup.environment, Schemes::new(), LIMITS, setup.cancel);
    let request = Request { method: Method::Get, url: archive.url, headers: Vec::new(), body: Body::Empty };
    let response = client.send(request)?;
    let host = archive.url.split('/').nth(2).unwrap_or_default().to_owned();
    if response.status != 200 {
        return Err(HttpError::Protocol { host, reason: format!("status {}", response.status) });
    }
    let total = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let cut = |source| HttpError::Connection { host: host.clone(), source };
    let mut reader = response.reader();
    let mut buffer = vec![0; 1 << 17];
    let mut done = 0;
    loop {
        if setup.cancel.is_set() {
            return Err(HttpError::Stopped);
        }
        let read = reader.read(&mut buffer).map_err(cut)?;
        if read == 0 {
            break;
        }
        done += read as u64;
        if done > LIMIT {
            return Err(HttpError::Protocol { host, reason: format!("more than {LIMIT} bytes") });
        }
        draft.write_all(&buffer[..read]).map_err(|error| HttpError::Setup(error.to_string()))?;
        setup.progress.bytes(done, total);
    }
    draft.flush().map_err(|error| HttpError::Setup(error.to_string()))
}

/// Checks an archive, and writes the executable that it holds.
fn unpack(
    tool: Tool,
    version: &str,
    archive: &Path,
    expected: &str,
    program: &Path,
) -> Result<(), anyhow::Error> {
    let found = super::receipt::digest(archive)?;
    if found.hex() != expected {
        let message = format!("the official release of {tool} {version} has the checksum {}", found.hex());
        return Err(Fault::new(Exit::Machine, message)
            .hint(format!("{expected} is pinned: don't use it, and find out who changed it"))
            .into());
    }
    let file = std::fs::File::open(archive)?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if entry.header().entry_type().is_file()
            && path.file_name().is_some_and(|name| name.to_str() == Some(&tool.file()))
        {
            let mut target = std::fs::File::create(program)?;
            std::io::copy(&mut entry.take(LIMIT), &mut target)?;
            return executable(program);
        }
    }
    anyhow::bail!("the archive of {tool} {version} holds no `{}`", tool.file())
}

#[cfg(unix)]
fn executable(program: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(not(unix))]
fn executable(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn archive(names: &[&str]) -> Vec<u8> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &b"tool"[..]).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn an_archive_of_another_checksum_is_never_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let (file, program) = (folder.path().join("a.tar.gz"), folder.path().join("program"));
        let name = Tool::Trivy.file();
        let bytes = archive(&["LICENSE", &name]);
        std::fs::write(&file, &bytes).unwrap();
        let wrong = unpack(Tool::Trivy, "0.69.3", &file, Digest::of(b"").hex(), &program).unwrap_err();
        assert!(wrong.to_string().contains("has the checksum"), "{wrong}");
        assert!(!program.exists());
        unpack(Tool::Trivy, "0.69.3", &file, Digest::of(&bytes).hex(), &program).unwrap();
        assert_eq!(std::fs::read(&program).unwrap(), b"tool");
    }

    #[test]
    fn an_archive_without_the_tool_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar.gz");
        let bytes = archive(&["LICENSE"]);
        std::fs::write(&file, &bytes).unwrap();
        let program = folder.path().join("program");
        let fault = unpack(Tool::Trivy, "0.69.3", &file, Digest::of(&bytes).hex(), &program).unwrap_err();
        assert!(fault.to_string().contains("holds no `trivy"), "{fault}");
    }
}
