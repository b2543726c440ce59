//! Machines that lack something or tell the wrong time, edits that hide, runs that meet.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::process::{command, succeed};
use crate::repository::{Repository, exit_code};
use crate::shop::QUICK;
use crate::tool::{skip, tool};

/// A small file system of its own over a folder, as long as this lives.
pub(crate) struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// `None`, loudly, where only root may.
    pub(crate) fn over(folder: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size}");
        let mounted =
            command("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder).output().unwrap();
        if !mounted.status.success() {
            skip("nothing can be mounted: that needs root and CAP_SYS_ADMIN");
            return None;
        }
        Some(Self(folder))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = command("umount").arg("--lazy").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_is_the_machines_and_the_next_run_goes_on() {
    let shop = Repository::new();
    let space = "No space left on device";
    let full = |shop: &Repository| {
        let run = shop.quick(&[]).code(4).stderr_has("hint: free some space");
        assert!(run.stderr.to_lowercase().contains(&space.to_lowercase()), "{run}");
        assert!(shop.refs().is_empty(), "{run}");
    };
    // For results: the executables, then the layers, don't fit.
    let dist = shop.path("dist");
    for size in ["1m", "16m"] {
        let Some(_small) = Small::over(&dist, size) else { return };
        full(&shop);
    }
    // For Go's tests, which says so itself; what is compiled has its place beside the clone's state.
    let shop = Repository::new();
    let temporary = shop.path("../tmp");
    let shop = shop.env("TMPDIR", &temporary);
    {
        let Some(_small) = Small::over(&temporary, "1m") else { return };
        shop.longshore(&["build"]).code(0);
        shop.write(
            "pkg/store/store_test.go",
            "package store\n\nimport \"testing\"\n\nfunc TestNothing(*testing.T) {}\n",
        );
        let run = shop.longshore(&["test"]).code(4);
        assert!(run.stderr.contains("no verdict") || run.stderr.contains("no space"), "{run}");
        std::fs::remove_file(shop.path("pkg/store/store_test.go")).unwrap();
    }
    // For the state of the clone.
    let shop = Repository::new();
    let state = shop.path(".git/longshore");
    {
        let Some(_small) = Small::over(&state, "1m") else { return };
        full(&shop);
        let fill = format!("of={}", state.join("fill").display());
        let _ = command("dd").args(["if=/dev/zero", "bs=1k", &fill]).output().unwrap();
        full(&shop);
    }
    let whole = shop.quick(&[]).code(0);
    assert!(whole.stderr.contains("2 recorded"), "{whole}");
}

#[test]
fn few_open_files_are_enough_or_the_machine_is_said_to_lack_them() {
    let Some(prlimit) = tool("prlimit") else { return };
    let shop = Repository::new();
    let limited = |files: &str| {
        let limit = format!("--nofile={files}");
        shop.behind(
            &[prlimit.as_os_str(), OsStr::new(&limit), OsStr::new("--")],
            &["release", "--skip", QUICK],
        )
    };
    limited("12")
        .code(4)
        .stderr_has("too many files are open")
        .stderr_has("ulimit -n")
        .stderr_lacks("install Git");
    // Go needs more than we do, or fewer: how much of it runs at once is its own affair.
    let run = limited("16");
    assert!(run.code == 0 || (run.code == 4 && run.stderr.contains("ulimit -n")), "{run}");
    limited("64").code(0);
}

#[test]
fn a_clock_ten_years_off_gives_the_same_digests() {
    let Some(faketime) = tool("faketime") else { return };
    let shop = Repository::new();
    shop.remote();
    shop.quick(&[]).code(0);
    for off in ["+10y", "-10y"] {
        let clone = shop.clone_of_remote();
        let program = [faketime.as_os_str(), OsStr::new("-f"), OsStr::new(off)];
        clone.behind(&program, &["release", "--skip", QUICK]).code(0);
        assert_eq!(
            (shop.digest("api"), shop.digest("web")),
            (clone.digest("api"), clone.digest("web")),
            "{off}"
        );
        // And the other way round: what was made then is found now.
        clone.quick(&[]).code(0).stderr_has("nothing to release");
    }
}

#[test]
fn edits_that_hide_are_built_and_not_released() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let released = shop.digest("api");
    let words = |shop: &Repository| {
        shop.longshore(&["build", "api"]).code(0);
        let text = std::fs::read(shop.path("dist/bin/api/linux_amd64/api")).unwrap();
        text.windows(5).any(|bytes| bytes == b"edits")
    };
    let edit = || shop.edit("pkg/store/store.go", "\"store\"", "\"edits\"");
    for option in ["--skip-worktree", "--assume-unchanged"] {
        shop.git(["update-index", option, "pkg/store/store.go"]);
        edit();
        assert_eq!(shop.git(["status", "--porcelain"]), "", "Git looks away");
        shop.quick(&[]).code(4).stderr_has("pkg/store/store.go");
        assert!(words(&shop), "what is built is what lies there");
        shop.edit("pkg/store/store.go", "\"edits\"", "\"store\"");
        shop.git(["update-index", &option.replacen("--", "--no-", 1), "pkg/store/store.go"]);
    }
    // Of the same size and the same time, where Git is told to believe those.
    shop.git(["config", "core.trustctime", "false"]);
    shop.git(["config", "core.checkStat", "minimal"]);
    let file = shop.path("pkg/store/store.go");
    let old = ["-d", "2020-01-01 00:00:00"];
    succeed(command("touch").args(old).arg(&file));
    shop.git(["add", "pkg/store/store.go"]);
    assert!(!words(&shop));
    // Git compares whole seconds: the edit comes in another one than the file's last change.
    let changed = std::os::unix::fs::MetadataExt::ctime(&file.metadata().unwrap());
    let now = || std::fs::File::create(shop.path("../now")).unwrap().metadata().unwrap();
    while std::os::unix::fs::MetadataExt::ctime(&now()) <= changed {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    edit();
    succeed(command("touch").args(old).arg(&file));
    assert_eq!(shop.git(["status", "--porcelain"]), "", "Git looks away");
    shop.quick(&[]).code(4).stderr_has("pkg/store/store.go");
    assert!(words(&shop));
    shop.edit("pkg/store/store.go", "\"edits\"", "\"store\"");
    shop.quick(&[]).code(0).stderr_has("nothing to release");
    assert_eq!(shop.digest("api"), released);
}

#[test]
fn a_workspace_file_above_the_repository_is_not_its_own() {
    let shop = Repository::new();
    shop.quick(&[]).code(0);
    let digest = shop.digest("api");
    shop.write("../go.work", "go 1.26.0\n\nuse ./other\n");
    shop.quick(&[]).code(0).stderr_has("nothing to release");
    std::fs::remove_dir_all(shop.cache().join("longshore/store")).unwrap();
    std::fs::remove_dir_all(shop.path("dist")).unwrap();
    shop.quick(&[]).code(0);
    assert_eq!(shop.digest("api"), digest);
    // One of its own counts, and Go's words about it are shown.
    shop.write("go.work", "go 1.26.0\n\nuse ./other\n").commit("build: a workspace");
    let run = shop.longshore(&["plan"]).code(1);
    assert!(run.stderr.contains("go.work:3") || run.stderr.contains("other"), "{run}");
}

#[test]
fn a_second_run_waits_for_the_first_and_names_it() {
    let shop = Repository::new();
    // The first run stays in a test until a file is there.
    let flag = shop.path("../go-on");
    let test = format!(
        "package store\n\nimport (\n\t\"os\"\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestWaits(*testing.T) {{\n\t\
         for {{\n\t\tif _, err := os.Stat({:?}); err == nil {{\n\t\t\treturn\n\t\t}}\n\t\ttime.Sleep(10 * time.Millisecond)\n\t}}\n}}\n",
        flag
    );
    shop.write("pkg/store/store_test.go", test).commit("test: waits");
    let mut first = shop.start(&["--progress", "json", "test"]);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("job-started")), "it began");
    let mut second = shop.start(&["release", "--skip", QUICK]);
    let mut said = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let holder = format!("(process {}, since ", first.id());
    assert!(line.contains("waiting for `") && line.contains(" test` ") && line.contains(&holder), "{line}");
    std::fs::write(flag, "").unwrap();
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let mut more = String::new();
    said.read_to_string(&mut more).unwrap();
    assert_eq!(exit_code(second.wait().unwrap()), 0, "{more}");
    let mut errors = String::new();
    first.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(exit_code(first.wait().unwrap()), 0, "{errors}");
    rest.join().unwrap();
    assert_eq!(shop.artifacts()["services"]["api"]["version"], "0.1.0");
}
