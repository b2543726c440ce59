//! Which words are whose, which modules are pure, which files may be long: with the reasons.

/// Words that are another module's.
pub(crate) struct Rule {
    pub(crate) what: &'static str,
    pub(crate) words: &'static [&'static str],
    /// Beginnings of [`Source::path`]s: whom it is for; empty for all.
    pub(crate) of: &'static [&'static str],
    /// Beginnings of paths that may.
    pub(crate) doors: &'static [&'static str],
    /// Files that may, and why.
    pub(crate) exceptions: &'static [(&'static str, &'static str)],
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        what: "writes a file: `host::files` does, whole or not at all",
        words: &[
            "fs::write(",
            "fs::create_dir",
            "fs::remove_",
            "fs::rename(",
            "fs::copy(",
            "fs::hard_link(",
            "fs::symlink(",
            "set_permissions(",
            "File::create",
            "File::options",
            "OpenOptions",
            "tempfile::Builder",
        ],
        of: &[],
        doors: &["host/"],
        exceptions: &[
            ("cache.rs", "a copy is hashed on the way, whatever its size"),
            ("cache/trim.rs", "what was not used for longest is removed"),
            ("deploy/process.rs", "a service's folder goes with it"),
            ("deploy/process/root.rs", "an image's root is a folder that changes by a rename"),
            ("journal.rs", "a line is appended an event: there is nothing to rename"),
            ("ledger/store.rs", "a folder for a Git index that is not the user's"),
            ("oci/base.rs", "a folder aside, in which a base is fetched"),
            ("oci/layout.rs", "the folders of a layout, and its lock"),
            ("oci/layout/copy.rs", "a blob is linked where the file system can"),
            ("stage/build.rs", "the folder that `go build` writes into"),
            ("stage/image/dockerfile.rs", "the folder that an engine exports into"),
            ("stage/scan/database.rs", "the database is a folder that changes by a rename"),
            ("stage/scan/isolate.rs", "the scanner's own folder, with links to what it reads"),
            ("stage/verify/local.rs", "working folders and devices of an image's root"),
            ("stage/verify/root.rs", "an image's root is a folder of many files and modes"),
            ("stage/verify/session.rs", "the folder and the lock of a verification"),
            ("tools.rs", "a tool's folder changes by a rename"),
            ("tools/module.rs", "a temporary module"),
            ("tools/release.rs", "a program is unpacked from an archive"),
            ("verdict.rs", "an old verdict is taken away before its gate looks again"),
        ],
    },
    Rule {
        what: "opens a connection or a port: `host::http` does",
        words: &["TcpStream", "TcpListener", "UdpSocket", "ureq::"],
        of: &[],
        doors: &["host/http"],
        exceptions: &[
            ("deploy/process/ports.rs", "looks which ports are free"),
            ("doctor/machine.rs", "looks which ports are taken"),
            ("stage/verify/ports.rs", "looks which ports are free"),
            ("stage/verify/probe.rs", "asks one status of a service on the loopback address"),
        ],
    },
    Rule {
        what: "starts or signals a process: `host::process` does",
        words: &[
            "process::Command::new",
            "std::process::{",
            "Stdio",
            "signal::kill",
            "killpg",
            "xshell::",
            ".spawn()",
        ],
        of: &[],
        doors: &["host/process", "host/background.rs", "host/supervisor.rs"],
        exceptions: &[],
    },
    Rule {
        what: "reads the process's environment: `host::environment` does",
        words: &["env::var", "env::current_dir", "env::home_dir", "env::args", "env::temp_dir"],
        of: &[],
        doors: &["host/environment.rs"],
        exceptions: &[
            ("cli/deploy.rs", "the command line, for the ledger"),
            ("cli/pipeline.rs", "the command line, for the lock and the journal"),
            ("cli/doctor.rs", "a stand-in for the cache where no home is set"),
            ("doctor/programs.rs", "a folder without a go.mod to ask Go in"),
        ],
    },
    Rule {
        what: "prints: `report` does",
        words: &["io::stdout", "io::stderr", "println!", "eprintln!", "print!("],
        of: &[],
        doors: &["report.rs", "report/"],
        exceptions: &[],
    },
    Rule {
        what: "asks Git: `facts::git` does",
        words: &["Command::new(\"git\")"],
        of: &[],
        doors: &["facts/git"],
        exceptions: &[("doctor/programs.rs", "Git may be missing, or no repository be here")],
    },
    Rule {
        what: "knows what a job does: the execution only runs it",
        words: &["Action", "crate::release", "crate::ledger", "crate::config", "crate::oci", "crate::facts"],
        of: &["execute.rs", "execute/"],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "looks behind the plan and the events: a reporter draws nothing else",
        words: &[
            "Action",
            "crate::release",
            "crate::ledger",
            "crate::config",
            "crate::oci",
            "crate::facts",
            "crate::session",
        ],
        of: &["report.rs", "report/"],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "does something while the plan is made",
        words: &[
            "host::process",
            "host::http",
            "oci::registry",
            "oci::destination",
            "ledger.record",
            "files::write",
        ],
        of: &[
            "stage/plan.rs",
            "stage/draft.rs",
            "stage/lint/jobs.rs",
            "stage/test/jobs.rs",
            "stage/build/jobs.rs",
            "stage/image/jobs.rs",
            "stage/scan/jobs.rs",
            "stage/verify/jobs.rs",
        ],
        doors: &[],
        exceptions: &[],
    },
    Rule {
        what: "could force a push or rewrite the ledger",
        words: &["\"--force\"", "\"-f\"", "\"--mirror\"", "\"--delete\""],
        of: &["facts/", "ledger", "stage/tag.rs", "stage/push.rs"],
        doors: &[],
        exceptions: &[],
    },
];

/// What no pure module holds.
pub(crate) const IMPURE: &[&str] = &[
    "host::",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::io::std",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".canonicalize(",
    ".read_dir(",
    "symlink_metadata",
];

/// Pure without saying so in a sentence of its own. The others are those whose head says "Pure".
pub(crate) const PURE: &[&str] =
    &["plan.rs", "config/values.rs", "config/graph.rs", "resolve/stages.rs", "inputs/path.rs"];

/// What must say so: the path from facts to a plan, and the specifications' words.
pub(crate) const SAY_PURE: &[&str] = &[
    "version.rs",
    "affected.rs",
    "closure.rs",
    "resolve.rs",
    "release.rs",
    "release/decide.rs",
    "oci/types.rs",
    "reference.rs",
    "declared.rs",
    "digest.rs",
    "oci/image.rs",
    "event.rs",
    "report/plan.rs",
    "report/summary.rs",
];

pub(crate) const NOT_QUITE_PURE: &[(&str, &str)] = &[
    ("event.rs", "a failure is told from the error that a process's door gives"),
    ("oci/image.rs", "seconds as RFC 3339: a function of the clock's module that asks nothing"),
    ("oci/registry/retry.rs", "it sleeps, and says so"),
];

pub(crate) const LINES: usize = 500;

pub(crate) const LONG: &[(&str, &str)] = &[
    (
        "crates/repository/src/config/read.rs",
        "one macro: a table's struct, reader, merging and schema side by side",
    ),
    ("crates/repository/src/config/values.rs", "one short implementation a kind of value"),
    ("longshore/tests/stages/scanner.rs", "every way in which a scanner can fail"),
    ("longshore/tests/stages/verify.rs", "the same questions to each way to run an image"),
];
