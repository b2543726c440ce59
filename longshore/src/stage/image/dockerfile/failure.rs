//! Why a build ended: a step of the user's, the machine, or something outside. Pure but for the last
//! question, whether the engine still answers.

use crate::fault::{Exit, Fault};

const DISK: &[&str] = &["no space left on device", "disk quota exceeded", "read-only file system"];

/// What the engines say when their daemon goes away.
const GONE: &[&str] = &[
    "cannot connect to the docker daemon",
    "error reading from server: eof",
    "error during connect",
    "failed to receive status",
    "transport is closing",
    "code = unavailable",
    "connection refused",
    "connection reset by peer",
    "use of closed network connection",
];

/// What they say of a base that can't be had just now.
const OUTSIDE: &[&str] = &[
    "i/o timeout",
    "tls handshake timeout",
    "no such host",
    "server misbehaving",
    "too many requests",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "failed to do request",
    "failed to resolve source metadata",
    "error initializing source docker://",
];

/// The fault of a build that ended badly; `said` is all that it printed, `answers` asks the engine.
pub(super) fn of(service: &str, said: &str, answers: impl Fn() -> bool) -> Fault {
    // A step may print anything: only what the engine says at its end counts.
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = |count: usize| lines[lines.len().saturating_sub(count)..].join("\n").to_lowercase();
    let last = end(12);
    let says = |words: &[&str]| words.iter().any(|word| last.contains(word));
    // What a step said of the disk stands above the excerpt of the Dockerfile.
    let above = end(40);
    if DISK.iter().any(|word| above.contains(word)) {
        return Fault::new(Exit::Machine, format!("the build of `{service}` found no room on the disk"))
            .hint("make room (`docker builder prune` gives up the build cache), then run it again");
    }
    if !answers() {
        return Fault::new(Exit::Machine, format!("the engine went away in the build of `{service}`"))
            .hint("start it, then run it again: the steps that it finished are in its cache");
    }
    // The answer of a command in a step has its exit code beside it.
    let of_step = ["did not complete successfully", "executor failed running", "while running runtime"]
        .iter()
        .any(|word| last.contains(word));
    if !of_step && says(GONE) {
        return Fault::new(Exit::Machine, format!("the engine broke off the build of `{service}`"))
            .hint("look at its log, then run it again");
    }
    if !of_step && says(OUTSIDE) {
        return Fault::new(Exit::Outside, format!("a base or a cache of `{service}` can't be had"))
            .hint("it is safe to run it again");
    }
    Fault::new(Exit::Failed, format!("the Dockerfile of `{service}` does not build"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_a_machine_and_the_outside_are_told_apart() {
        for (said, exit) in [
            ("executor failed running [/bin/sh -c go build]: exit code: 1", Exit::Failed),
            (
                "process \"/bin/sh -c curl x\" did not complete successfully: exit code: 7\nconnection refused",
                Exit::Failed,
            ),
            ("failed to solve: failed to compute cache key: \"/nope\": not found", Exit::Failed),
            ("write /var/lib/docker/x: no space left on device", Exit::Machine),
            ("error reading from server: EOF", Exit::Machine),
            (
                "#5 dd: error writing '/big': No space left on device\n#5 ERROR\n---\n>\n---\nDockerfile:3\n---\n1\n2\n3\n4\n---\nERROR: did not complete successfully: exit code: 1",
                Exit::Machine,
            ),
            ("failed to do request: Head \"https://r/v2/\": dial tcp: lookup r: no such host", Exit::Outside),
        ] {
            assert_eq!(of("api", said, || true).exit, exit, "{said}");
        }
        assert_eq!(of("api", "whatever", || false).exit, Exit::Machine);
    }
}
