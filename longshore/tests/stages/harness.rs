//! What the tests of stages share: a temporary repository with a Go module, and a scope to run in.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use longshore::cache::Cache;
use longshore::cancel::Cancel;
use longshore::facts::go::Setting;
use longshore::host::environment::Environment;
use longshore::plan::JobId;
use longshore::progress::Progress;
use longshore::stage::{Outputs, Scope};
use longshore::tools::ToolPaths;
use longshore::workspace::Workspace;

/// A temporary repository.
#[derive(Debug)]
pub(crate) struct Repository {
    _folder: Option<tempfile::TempDir>,
    pub(crate) workspace: Workspace,
    pub(crate) environment: Environment,
    pub(crate) tools: ToolPaths,
    pub(crate) cancel: Cancel,
    pub(crate) outputs: Outputs,
    pub(crate) told: Told,
    cache: Cache,
    job: JobId,
}

/// What a job has said.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl Progress for Told {
    fn status(&self, _: &str) {}
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn line(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }
    fn warning(&self, message: &str, _: Option<&str>) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
}

impl Told {
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap().clone()
    }
}

impl Repository {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = Self::at(folder.path());
        Self { _folder: Some(folder), ..at }
    }

    /// One that is there, and stays.
    pub(crate) fn at(folder: &Path) -> Self {
        let root = folder.canonicalize().unwrap();
        let workspace = Workspace {
            dist: root.join("dist"),
            state: root.join(".git/longshore"),
            cache: root.join("cache"),
            root,
        };
        let tools = ToolPaths { go: "go".into(), ..ToolPaths::default() };
        Self {
            _folder: None,
            cache: Cache::new(&workspace.cache),
            workspace,
            environment: Environment::from_process(),
            tools,
            cancel: Cancel::default(),
            outputs: Outputs::default(),
            told: Told::default(),
            job: JobId("a:job".to_owned()),
        }
    }

    /// Writes a file, by its path from the root.
    #[must_use]
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.workspace.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn root(&self) -> &Path {
        &self.workspace.root
    }

    /// The installed Go, in a module's folder.
    pub(crate) fn setting(&self, module: &str) -> Setting {
        Setting {
            module: if module.is_empty() { self.root().to_owned() } else { self.root().join(module) },
            version: None,
            work: None,
            cgo: false,
            env: std::collections::BTreeMap::new(),
        }
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            workspace: &self.workspace,
            job: &self.job,
            cancel: &self.cancel,
            outputs: &self.outputs,
            tools: &self.tools,
            cache: &self.cache,
            environment: &self.environment,
            keep_going: false,
            progress: &self.told,
        }
    }
}

/// An error and its causes, outermost first, a line each.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Whether a test that needs `tool` has to be left out: said on stderr, and a failure where `CI=true`.
pub(crate) fn lacks(tool: &str, found: Option<PathBuf>) -> bool {
    if found.is_some() {
        return false;
    }
    let ci = Environment::from_process().get("CI") == Some("true");
    assert!(!ci, "`{tool}` is missing, and under CI that is a failure");
    eprintln!("SKIPPED: `{tool}` is missing");
    true
}

/// Found on PATH.
pub(crate) fn which(tool: &str) -> Option<PathBuf> {
    which::which(tool).ok()
}

pub(crate) const MINUTES: Duration = Duration::from_secs(300);
