//! What goes to and comes from a remote. A fetch here writes refs and objects only: no FETCH_HEAD, no
//! tags, no submodules; a push never forces.

use std::time::Duration;

use super::{Git, Ref};
use crate::fault::{Exit, Fault};
use crate::host::process::{Output, Status};
use crate::version::CommitId;

/// A large fetch over a slow line; a server that says nothing must not hold a run for ever.
pub(super) const NETWORK: Duration = Duration::from_secs(600);

/// What became of one ref of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is there now.
    Done,
    /// Somebody else was faster, or it was never as expected: look again.
    Lost(String),
    /// The server's rules say no; another attempt changes nothing.
    Refused(String),
}

/// One ref to push: it must be `expected` there (`None`: absent), and becomes `object`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub name: String,
    pub object: String,
    pub expected: Option<String>,
}

impl Git {
    /// The remote's refs that match `patterns` (as `refs/tags/*`).
    ///
    /// # Errors
    /// [`Exit::Outside`] where the remote can't be reached.
    pub fn list_remote(&self, remote: &str, patterns: &[&str]) -> anyhow::Result<Vec<Ref>> {
        let command = self.command("ls-remote").arg("--quiet");
        let command =
            command.args(["--end-of-options", remote]).args(patterns.iter().copied()).timeout(NETWORK);
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            return Err(unreachable(remote, &output).into());
        }
        parse_list(&String::from_utf8_lossy(&output.stdout))
    }

    /// Brings refs of the remote into the refs of the same names, forwards only. Whether all came.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the remote can't be reached.
    pub fn fetch(&self, remote: &str, names: &[&str]) -> anyhow::Result<bool> {
        if names.is_empty() {
            return Ok(true);
        }
        let command = self
            .command("fetch")
            .args([
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-gc",
            ])
            .args(["--end-of-options", remote])
            .args(names.iter().map(|name| format!("{name}:{name}")))
            .timeout(NETWORK);
        let output = self.output(command)?;
        match output.status {
            Status::Exited(0) => Ok(true),
            // Git's own answer where a ref could not go forward.
            Status::Exited(1) => Ok(false),
            _ => Err(unreachable(remote, &output).into()),
        }
    }

    /// Pushes refs, each only from the value that is expected. In the order of `updates`.
    ///
    /// # Errors
    /// [`Exit::Outside`] where the remote gave no answer: it may have taken them or not.
    pub fn push(&self, remote: &str, updates: &[Update]) -> anyhow::Result<Vec<Pushed>> {
        let command = self
            .command("push")
            .args([
                "--porcelain",
                "--no-verify",
                "--recurse-submodules=no",
                "--no-follow-tags",
                "--no-signed",
            ])
            .args(updates.iter().map(|update| {
                format!(
                    "--force-with-lease={}:{}",
                    update.name,
                    update.expected.as_deref().unwrap_or_default()
                )
            }))
            .args(["--end-of-options", remote])
            .args(updates.iter().map(|update| format!("{}:{}", update.object, update.name)))
            .timeout(NETWORK);
        let output = self.output(command)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<Option<Pushed>> =
            updates.iter().map(|update| said.lines().find_map(|line| answer(line, &update.name))).collect();
        answers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| unreachable(remote, &output).into())
    }

    /// Sets a ref of this clone from an expected value (`None`: absent). Whether it took.
    pub(crate) fn set_ref(&self, name: &str, object: &str, expected: Option<&str>) -> anyhow::Result<bool> {
        let zero = "0".repeat(object.len());
        // From stdin: a value that differs and a name that is bad exit alike, so both are read back.
        let line = format!("update {name}\0{object}\0{}\0", expected.unwrap_or(&zero));
        let output = self.output(self.command("update-ref").args(["-z", "--stdin"]).stdin(line))?;
        Ok(output.status == Status::Exited(0))
    }

    /// What a ref of this clone points to.
    pub(crate) fn ref_object(&self, name: &str) -> anyhow::Result<Option<CommitId>> {
        let command = self.command("rev-parse").args(["--verify", "--quiet", "--end-of-options", name]);
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).trim().parse()?))
    }
}

/// A line of `git push --porcelain`: `FLAG<TAB>FROM:TO<TAB>SUMMARY`.
fn answer(line: &str, name: &str) -> Option<Pushed> {
    let mut fields = line.split('\t');
    let (flag, refs, summary) = (fields.next()?, fields.next()?, fields.next()?);
    if refs.rsplit_once(':')?.1 != name {
        return None;
    }
    if flag != "!" {
        return Some(Pushed::Done);
    }
    // What Git and its servers say when a ref was not as expected, at whichever moment they noticed.
    const LOST: &[&str] = &[
        "stale info",
        "fetch first",
        "non-fast-forward",
        "already exists",
        "cannot lock ref",
        "failed to update ref",
        "failed to lock",
        "incorrect old value",
        "reference already exists",
        "needs force",
        "remote ref updated since checkout",
        "atomic push failed",
    ];
    let lost = LOST.iter().any(|words| summary.contains(words));
    Some(if lost { Pushed::Lost(summary.to_owned()) } else { Pushed::Refused(summary.to_owned()) })
}

/// `OBJECT<TAB>NAME`, an annotated tag's target after it as `NAME^{}`.
fn parse_list(text: &str) -> anyhow::Result<Vec<Ref>> {
    let mut refs: Vec<Ref> = Vec::new();
    for line in text.lines() {
        let Some((object, name)) = line.split_once('\t') else { continue };
        let object: CommitId = object.parse()?;
        match (name.strip_suffix("^{}"), refs.last_mut()) {
            (Some(name), Some(last)) if last.name == name => last.peeled = object,
            _ => refs.push(Ref { name: name.to_owned(), peeled: object.clone(), object }),
        }
    }
    Ok(refs)
}

/// Git's last words about a remote, without what could be a password in its address.
pub(super) fn unreachable(remote: &str, output: &Output) -> Fault {
    let said = String::from_utf8_lossy(&output.stderr);
    let telling =
        |line: &&str| line.starts_with("fatal:") || line.starts_with("error:") || line.starts_with("remote:");
    let line = said.lines().find(telling).or(said.lines().last()).unwrap_or("it said nothing");
    let (line, remote) = (without_credentials(line), without_credentials(remote));
    let how = match output.status {
        Status::Exited(_) => String::new(),
        other => format!(" ({other})"),
    };
    Fault::new(Exit::Outside, format!("the Git remote `{remote}` can't be used{how}: {line}"))
        .hint("it is safe to run again; `git ls-remote` shows whether it answers")
}

/// A line without `user:password@` in its addresses; a remote may be named by one.
pub fn without_credentials(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        text.push_str(head);
        let end = tail.find(|c: char| c == '/' || c == '\'' || c.is_whitespace()).unwrap_or(tail.len());
        let authority = &tail[..end];
        text.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = &tail[end..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_answers_are_told_apart() {
        let name = "refs/longshore/releases";
        for (line, expected) in [
            ("*\tabc:refs/longshore/releases\t[new reference]", Some(Pushed::Done)),
            (" \tabc:refs/longshore/releases\t1..2", Some(Pushed::Done)),
            ("=\tabc:refs/longshore/releases\t[up to date]", Some(Pushed::Done)),
            (
                "!\tabc:refs/longshore/releases\t[rejected] (stale info)",
                Some(Pushed::Lost("[rejected] (stale info)".into())),
            ),
            (
                "!\tabc:refs/longshore/releases\t[remote rejected] (deny updating a hidden ref)",
                Some(Pushed::Refused("[remote rejected] (deny updating a hidden ref)".into())),
            ),
            ("!\tabc:refs/other\t[rejected] (stale info)", None),
            ("To /srv/git", None),
            ("Done", None),
        ] {
            assert_eq!(answer(line, name), expected, "{line}");
        }
    }

    #[test]
    fn passwords_are_not_repeated() {
        assert_eq!(
            without_credentials("fatal: unable to access 'https://u:p@example.com/x/': no http://a@b"),
            "fatal: unable to access 'https://example.com/x/': no http://b"
        );
    }

    #[test]
    fn a_tags_target_is_its_own() {
        let [a, b] = ["a", "b"].map(|digit| digit.repeat(40));
        let text = format!("{a}\trefs/tags/-x\n{b}\trefs/tags/v1\n{a}\trefs/tags/v1^{{}}\n");
        let refs = parse_list(&text).unwrap();
        assert_eq!(
            refs.iter().map(|r| (r.tag().unwrap(), r.peeled.as_str())).collect::<Vec<_>>(),
            [("-x", a.as_str()), ("v1", a.as_str())]
        );
    }
}
