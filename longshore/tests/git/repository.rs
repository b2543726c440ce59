//! A temporary repository, deaf to the configuration of the user who runs the tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore::cancel::Cancel;
use longshore::closure::Closure;
use longshore::facts::git::Git;
use longshore::host::process::Command;
use longshore::ledger::{Ledger, PlatformRecord, ReleaseRecord, SCHEMA, Scope};
use longshore::oci::types::Digest;
use longshore::verdict::{Scan, Verify};
use longshore::version::CommitId;
use tempfile::TempDir;

/// A clone; the folder that holds it and its siblings goes with the last of them.
#[derive(Clone)]
pub(crate) struct Repository {
    pub path: PathBuf,
    folder: Arc<TempDir>,
}

pub(crate) const AMBIENT: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"];

pub(crate) fn environment() -> BTreeMap<OsString, OsString> {
    let pairs = [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("EMAIL", ""),
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
    ];
    pairs.map(|(name, value)| (name.into(), value.into())).into()
}

impl Repository {
    /// Without a commit.
    pub(crate) fn empty() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let path = folder.path().canonicalize().unwrap().join("first");
        std::fs::create_dir(&path).unwrap();
        let repository = Self { path, folder };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// With one commit.
    pub(crate) fn new() -> Self {
        let repository = Self::empty();
        repository.commit("feat: start", &[("README.md", "hello")]);
        repository
    }

    /// With a bare remote called `origin`, that has all of it.
    pub(crate) fn with_remote() -> Self {
        let repository = Self::new();
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", "../remote"]);
        repository.git(&["remote", "add", "origin", repository.remote().to_str().unwrap()]);
        repository.git(&["push", "--quiet", "origin", "main"]);
        repository
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.path.with_file_name("remote")
    }

    pub(crate) fn clone_as(&self, name: &str, options: &[&str]) -> Self {
        let url = format!("file://{}", self.remote().display());
        self.git(&[&["clone", "--quiet"], options, &[&url, &format!("../{name}")]].concat());
        Self { path: self.path.with_file_name(name), folder: self.folder.clone() }
    }

    /// Runs Git with an identity, and gives what it printed.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut command =
            Command::new("git").args(["-c", "user.name=Tester", "-c", "user.email=t@example.com"]);
        command = command.args(args).cwd(&self.path);
        // A test that a hook starts must not work on the hook's repository.
        for name in AMBIENT {
            command = command.unset(name);
        }
        for (name, value) in environment() {
            command = command.env(name, value);
        }
        let output = command.run(&Cancel::default()).unwrap_or_else(|error| panic!("{error:?}"));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> CommitId {
        for (path, text) in files {
            self.write(path, text);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.head()
    }

    pub(crate) fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(crate) fn facts(&self) -> Git {
        Git::open_with(&self.path, environment(), &Cancel::default()).unwrap()
    }
}

pub(crate) fn remote_ledger(git: &Git) -> Ledger<'_> {
    Ledger::new(git, "refs/longshore", Scope::Remote("origin".into()))
}

pub(crate) fn local_ledger(git: &Git) -> Ledger<'_> {
    Ledger::new(git, "refs/longshore", Scope::Local)
}

pub(crate) fn record(service: &str, version: &str, commit: &CommitId) -> ReleaseRecord {
    let digest = Digest::of(format!("{service} {version}").as_bytes());
    let image = PlatformRecord {
        database: None,
        findings: None,
        digest: digest.clone(),
        config: digest.clone(),
        size: 1234,
        scan: Scan::Pass,
        verify: Verify::Container,
    };
    let closure = serde_json::json!({
        "main": "cmd/x", "packages": ["cmd/x"], "embeds": [], "modules": {"example.com/a": "v1.0.0"},
        "go_mod": "", "ignored": [], "extra_files": [], "settings": digest, "go": "1.26.8",
    });
    let closure: Closure = serde_json::from_value(closure).unwrap();
    ReleaseRecord {
        schema: SCHEMA,
        service: service.into(),
        version: version.parse().unwrap(),
        commit: commit.clone(),
        commit_time: 1_700_000_000,
        released_at: "2026-01-02T03:04:05Z".into(),
        released_by: "A. Person <a@example.com>".into(),
        environment: "local".into(),
        repository: format!("registry.example.com/shop/{service}"),
        digest,
        platforms: [("linux/amd64".parse().unwrap(), image)].into(),
        skips: vec![],
        closure,
        tags: vec![],
        git_tag: format!("{service}/v{version}"),
        notes: format!("{service} {version}\n\nFeatures\n- a thing\n"),
        arguments: None,
    }
}
