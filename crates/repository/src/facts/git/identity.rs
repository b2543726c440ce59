//! Who is said to have released.

use std::fmt;

use super::Git;
use crate::host::process::{Command, Status};

/// A name and an address as Git writes them into commits and tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub email: String,
}

impl Default for Identity {
    /// Where Git knows nobody, as on a fresh machine.
    fn default() -> Self {
        Self { name: "longshore".to_owned(), email: "longshore@localhost".to_owned() }
    }
}

impl Identity {
    /// The inverse of `Display`; what can't be read, or can't stand in a Git object, is the default.
    pub fn parse(text: &str) -> Self {
        let parts = text.split_once(" <").and_then(|(name, rest)| Some((name, rest.split_once('>')?.0)));
        let fits = |part: &str| {
            !part.trim().is_empty() && !part.contains(|c: char| c.is_control() || "<>".contains(c))
        };
        match parts {
            Some((name, email)) if fits(name) && fits(email) => {
                Self { name: name.to_owned(), email: email.to_owned() }
            }
            _ => Self::default(),
        }
    }

    /// As author and committer of a commit at a time (seconds since 1970).
    pub(crate) fn sign(&self, command: Command, time: i64) -> Command {
        let date = format!("@{time} +0000");
        ["AUTHOR", "COMMITTER"].iter().fold(command, |command, role| {
            command
                .env(format!("GIT_{role}_NAME"), &self.name)
                .env(format!("GIT_{role}_EMAIL"), &self.email)
                .env(format!("GIT_{role}_DATE"), &date)
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

impl Git {
    /// The user's identity where one is configured (never one guessed from the machine's name), else
    /// the default.
    pub fn identity(&self) -> anyhow::Result<Identity> {
        let mut command = self.command("var").arg("GIT_COMMITTER_IDENT");
        command.args.splice(0..0, ["-c".into(), "user.useConfigOnly=true".into()]);
        let output = self.output(command)?;
        if output.status != Status::Exited(0) {
            return Ok(Identity::default());
        }
        Ok(Identity::parse(&String::from_utf8_lossy(&output.stdout)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_could_not_write_is_the_default() {
        let someone = Identity::parse("A. Person <a@example.com> 1700000000 +0100");
        assert_eq!(someone.to_string(), "A. Person <a@example.com>");
        assert_eq!(Identity::parse(&someone.to_string()), someone);
        for text in ["", "<>", "a <>", " <a@b>", "a\nb <a@b>", "a"] {
            assert_eq!(Identity::parse(text), Identity::default(), "{text:?}");
        }
    }
}
