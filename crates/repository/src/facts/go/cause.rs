//! What a failure of Go's means, which has one exit code for all of them. Pure.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `GOPROXY=off` and the module cache lacks something.
    Offline,
    Network,
    /// go.mod, go.sum and the imports don't fit together.
    Sources,
    Unknown,
}

/// What Go's own words mean: it has one exit code for all of it.
pub fn cause(stderr: &str) -> Cause {
    const OFFLINE: &[&str] = &["GOPROXY=off", "module lookup disabled"];
    const NETWORK: &[&str] = &[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "TLS handshake",
        "connection refused",
        "connection reset",
        "server misbehaving",
        "unexpected EOF",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway",
        "429 Too Many",
        "500 Internal Server Error",
    ];
    const SOURCES: &[&str] = &[
        "missing go.sum entry",
        "no required module provides package",
        "updates to go.mod needed",
        "inconsistent vendoring",
        "is not in std",
        "checksum mismatch",
        "errors parsing go.mod",
        "cannot find module providing package",
        "build constraints exclude all Go files",
        "import cycle not allowed",
        "use of internal package",
    ];
    let any = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    if any(OFFLINE) {
        Cause::Offline
    } else if any(SOURCES) {
        Cause::Sources
    } else if any(NETWORK) {
        Cause::Network
    } else {
        Cause::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_of_a_failure_are_told_apart() {
        let dial = "go: example.com/a@v1.0.0: Get \"https://proxy\": dial tcp: lookup proxy: no such host";
        assert_eq!(cause(dial), Cause::Network);
        let sum = "main.go:3:8: missing go.sum entry for module providing package example.com/a";
        assert_eq!(cause(sum), Cause::Sources);
        let off = "go: example.com/a@v1.0.0: module lookup disabled by GOPROXY=off";
        assert_eq!(cause(off), Cause::Offline);
        assert_eq!(cause("signal: killed"), Cause::Unknown);
    }
}
