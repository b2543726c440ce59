//! Whatever is done to a repository, what comes out of the cache is what a build without it makes.
//!
//! `LONGSHORE_PROPERTY_STEPS` says how many steps are tried (a few unless it is set), and
//! `LONGSHORE_PROPERTY_SEED` repeats a run: a failure names its seed.

#![expect(clippy::disallowed_methods, reason = "a seed, and the time of a touched file")]
#![expect(clippy::print_stderr, reason = "how far it went")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::repository::Repository;
use crate::tool::variable;

/// Numbers that look random and follow from a seed (xorshift64*, Vigna 2014).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |value| value.to_str().unwrap().parse().unwrap())
}

pub(crate) fn seed() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    number("LONGSHORE_PROPERTY_SEED", time.as_nanos() as u64 | 1)
}

/// A repository whose module lies in `svc/`, with two services, four packages, one of which embeds files, and
/// a module in a folder that `replace` names. Every file's number reaches the services' executables.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) shop: Repository,
    settings: BTreeMap<&'static str, &'static str>,
    /// Whole former states of `svc/` and `third/`.
    states: Vec<BTreeMap<PathBuf, Vec<u8>>>,
    random: Random,
}

impl Module {
    pub(crate) fn new(seed: u64) -> Self {
        let shop = Repository::empty();
        shop.write("svc/go.mod", "module example.com/svc\n\ngo 1.26.0\n\nrequire example.com/third v1.0.0\n\nreplace example.com/third => ../third\n");
        for folder in ["third", "other"] {
            shop.write(&format!("{folder}/go.mod"), "module example.com/third\n\ngo 1.26.0\n");
            shop.write(
                &format!("{folder}/third.go"),
                format!("package third\n\nvar Words = []string{{\"{folder}\"}}\n"),
            );
        }
        for (package, import) in [("p0", "p1"), ("p1", "p2"), ("p3", "p2")] {
            shop.write(
                &format!("svc/{package}/{package}.go"),
                source(package, &format!("example.com/svc/{import}"), 0),
            );
        }
        shop.write("svc/p2/p2.go", source("p2", "example.com/third", 0));
        shop.write(
            "svc/p2/embed.go",
            "package p2\n\nimport \"embed\"\n\n//go:embed data/*.txt\nvar Data embed.FS\n",
        );
        shop.write("svc/p2/data/one.txt", "1");
        for (service, import) in [("a", "p0"), ("b", "p3")] {
            shop.write(
                &format!("svc/cmd/{service}/main.go"),
                format!("package main\n\nimport \"example.com/svc/{import}\"\n\nfunc main() {{ println({import}.Words[0]) }}\n"),
            );
        }
        shop.write(".gitignore", "/dist\n*.gen.go\n");
        let module = Self { shop, settings: BTreeMap::new(), states: Vec::new(), random: Random(seed) };
        module.configure();
        module.shop.commit("feat: a module");
        module
    }

    fn configure(&self) {
        let lines: String = self.settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        self.shop.write(
            "pipeline.toml",
            format!(
                "version = 1\n\n[project]\nname = \"x\"\nplatforms = [\"linux/amd64\"]\n\n[build]\nldflags = [\"-s\", \"-w\"]\n{lines}\n\
                 [services.a]\npackage = \"svc/cmd/a\"\n\n[services.b]\npackage = \"svc/cmd/b\"\n"
            ),
        );
    }

    /// Paths of files below `svc/` and `third/` that match, in order.
    fn files(&self, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["svc", "third"] {
            walk(&self.shop.path(folder), &mut found);
        }
        found.retain(|path| wanted(path.strip_prefix(self.shop.root()).unwrap().to_str().unwrap()));
        found.sort();
        found
    }

    /// One random change; gives its name.
    pub(crate) fn step(&mut self) -> String {
        if self.random.below(4) == 0 {
            self.remember();
        }
        let operation = self.random.below(16);
        let package = *self.random.pick(&["svc/p0", "svc/p1", "svc/p2", "svc/p3", "svc/cmd/a", "third"]);
        let n = self.random.below(10);
        match operation {
            0 => self.edit(|text| text.replace("number 0", "number 1").replace("number 2", "number 0")),
            1 => self.edit(move |text| digits(&text, n)),
            2 => self.keeping_times(n),
            3 | 4 => {
                let ending = self.random.pick(&[
                    "x.go",
                    "x.gen.go",
                    "x_windows.go",
                    "x_test.go",
                    "_x.go",
                    "x.txt",
                    "x_amd64.s",
                ]);
                let name = package.rsplit('/').next().unwrap();
                let name = if package == "svc/cmd/a" { "main" } else { name };
                let path = format!("{package}/n{n}{ending}");
                let text = if ending.ends_with(".go") { extra(name, n) } else { format!("// {n}\n") };
                self.shop.write(&path, text);
                format!("add {path}")
            }
            5 => self.remove(),
            6 => self.rename(n),
            7 => self.constrain(),
            8 => self.touch(),
            9 => {
                let path = format!(
                    "svc/p2/data/{}",
                    self.random.pick(&["one.txt", "two.txt", ".hidden.txt", "three.md"])
                );
                self.shop.write(&path, n.to_string());
                format!("embed {path}")
            }
            10 => self.work(),
            11 => self.hide(n),
            12 | 13 => self.set(),
            14 => {
                self.shop.commit("chore: a state");
                "commit".to_owned()
            }
            _ => self.restore(),
        }
    }

    fn edit(&mut self, change: impl Fn(String) -> String) -> String {
        let files = self.files(|path| path.ends_with(".go"));
        let path = self.random.pick(&files);
        let Ok(text) = std::fs::read_to_string(path) else { return "nothing".to_owned() };
        std::fs::write(path, change(text)).unwrap();
        format!("edit {}", path.display())
    }

    /// An edit that keeps a file's size and its modification time.
    fn keeping_times(&mut self, n: usize) -> String {
        let files = self.files(|path| path.ends_with(".go") || path.ends_with(".txt"));
        let path = self.random.pick(&files);
        let Ok(text) = std::fs::read_to_string(path) else { return "nothing".to_owned() };
        let times = std::fs::metadata(path).unwrap().modified().unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        std::io::Write::write_all(&mut &file, digits(&text, n).as_bytes()).unwrap();
        file.set_modified(times).unwrap();
        format!("edit {} in secret", path.display())
    }

    fn added(&self) -> Vec<PathBuf> {
        self.files(|path| {
            let name = path.rsplit('/').next().unwrap();
            name.starts_with('n') || name.starts_with("two") || name.starts_with('.')
        })
    }

    fn remove(&mut self) -> String {
        let files = self.added();
        if files.is_empty() {
            return "nothing".to_owned();
        }
        let path = self.random.pick(&files);
        std::fs::remove_file(path).unwrap();
        format!("remove {}", path.display())
    }

    fn rename(&mut self, n: usize) -> String {
        let files = self.added();
        if files.is_empty() {
            return "nothing".to_owned();
        }
        let path = self.random.pick(&files);
        let target = path.with_file_name(format!("n{n}r.go"));
        std::fs::rename(path, &target).unwrap();
        format!("rename {} to {}", path.display(), target.display())
    }

    /// Sets, changes or takes away a build constraint.
    fn constrain(&mut self) -> String {
        let files = self.files(|path| path.ends_with(".go") && path.contains("/n"));
        if files.is_empty() {
            return "nothing".to_owned();
        }
        let path = self.random.pick(&files);
        let Ok(text) = std::fs::read_to_string(path) else { return "nothing".to_owned() };
        let bare =
            text.trim_start_matches("//go:build special\n\n").trim_start_matches("//go:build windows\n\n");
        let constraint = *self.random.pick(&["", "//go:build special\n\n", "//go:build windows\n\n"]);
        std::fs::write(path, format!("{constraint}{bare}")).unwrap();
        format!("constrain {} by {constraint:?}", path.display())
    }

    fn touch(&mut self) -> String {
        let files = self.files(|_| true);
        let path = self.random.pick(&files);
        if let Ok(file) = std::fs::File::options().write(true).open(path) {
            file.set_modified(std::time::SystemTime::now()).unwrap();
        }
        format!("touch {}", path.display())
    }

    /// A go.work above the module appears or goes; it takes the module of another folder.
    fn work(&mut self) -> String {
        let path = self.shop.path("go.work");
        if std::fs::remove_file(&path).is_err() {
            let folder = *self.random.pick(&["third", "other"]);
            self.shop.write("go.work", format!("go 1.26.0\n\nuse (\n\t./svc\n\t./{folder}\n)\n"));
            return format!("go.work with {folder}");
        }
        "no go.work".to_owned()
    }

    /// An edit that Git is told not to look at.
    fn hide(&mut self, n: usize) -> String {
        let path = *self.random.pick(&["svc/p0/p0.go", "svc/p3/p3.go"]);
        let mark = *self.random.pick(&[
            "--skip-worktree",
            "--assume-unchanged",
            "--no-skip-worktree",
            "--no-assume-unchanged",
        ]);
        self.shop.git(["update-index", mark, path]);
        if let Ok(text) = std::fs::read_to_string(self.shop.path(path)) {
            self.shop.write(path, digits(&text, n));
        }
        format!("{mark} {path}")
    }

    fn set(&mut self) -> String {
        let (name, value) = *self.random.pick(&[
            ("tags", "[\"special\"]"),
            ("flags", "[\"-gcflags=-l\"]"),
            ("flags", "[\"-gcflags=-N\"]"),
            ("env", "{ GOAMD64 = \"v2\" }"),
        ]);
        if self.settings.remove(name).is_none() {
            self.settings.insert(name, value);
        }
        self.configure();
        format!("settings {:?}", self.settings)
    }

    fn remember(&mut self) {
        let state = self
            .files(|_| true)
            .into_iter()
            .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)));
        self.states.push(state.collect());
    }

    /// Puts a former state back.
    fn restore(&mut self) -> String {
        if self.states.is_empty() {
            return "nothing".to_owned();
        }
        let which = self.random.below(self.states.len());
        for path in self.files(|_| true) {
            if !self.states[which].contains_key(&path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.states[which] {
            if std::fs::read(path).ok().as_ref() != Some(bytes) {
                std::fs::write(path, bytes).unwrap();
            }
        }
        format!("state {which} of {}", self.states.len())
    }

    /// What `build` leaves: the digest of each executable, or nothing where it fails.
    pub(crate) fn cached(&self) -> Option<BTreeMap<String, String>> {
        let run = self.shop.longshore(&["build", "--all", "--progress", "quiet"]);
        if run.code == 1 {
            return None;
        }
        let run = run.code(0);
        let artifacts = self.shop.artifacts();
        let digest = |service: &str| {
            let digest = &artifacts["services"][service]["binaries"]["linux/amd64"]["digest"];
            let digest = digest.as_str().unwrap_or_else(|| panic!("{run}\n{artifacts:#}")).to_owned();
            let file =
                std::fs::read(self.shop.path(&format!("dist/bin/{service}/linux_amd64/{service}"))).unwrap();
            assert_eq!(crate::registry::sha256(&file), digest, "what lies in dist/");
            (service.to_owned(), digest)
        };
        Some(["a", "b"].map(digest).into())
    }

    /// What `go build` alone makes.
    pub(crate) fn fresh(&self) -> Option<BTreeMap<String, String>> {
        let folder = tempfile::tempdir().unwrap();
        let mut go = self.shop.prepared("go");
        let work = self.shop.path("go.work");
        go.current_dir(self.shop.path("svc")).args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
        ]);
        go.env("GOWORK", if work.exists() { work.as_os_str() } else { "off".as_ref() });
        go.env("CGO_ENABLED", "0").env("GOENV", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
        for (name, value) in &self.settings {
            let inner = value.split('"').nth(1).unwrap();
            match *name {
                "tags" => drop(go.arg(format!("-tags={inner}"))),
                "flags" => drop(go.arg(inner)),
                _ => drop(go.env("GOAMD64", inner)),
            }
        }
        go.arg("-o").arg(format!("{}/", folder.path().display())).args(["./cmd/a", "./cmd/b"]);
        if !go.output().unwrap().status.success() {
            return None;
        }
        let digest = |service: &str| {
            (
                service.to_owned(),
                crate::registry::sha256(&std::fs::read(folder.path().join(service)).unwrap()),
            )
        };
        Some(["a", "b"].map(digest).into())
    }
}

fn source(package: &str, import: &str, number: usize) -> String {
    let imported = import.rsplit('/').next().unwrap();
    format!(
        "package {package}\n\nimport \"{import}\"\n\nvar Words = append([]string{{\"{package} number {number}\"}}, {imported}.Words...)\n"
    )
}

fn extra(package: &str, number: usize) -> String {
    if package == "main" {
        return format!("package main\n\nfunc init() {{ println(\"main number {number}\") }}\n");
    }
    format!("package {package}\n\nfunc init() {{ Words = append(Words, \"{package} number {number}\") }}\n")
}

/// The same text with other digits behind "number".
fn digits(text: &str, n: usize) -> String {
    if text.len() == 1 {
        return n.to_string();
    }
    let mut parts = text.split("number ");
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        changed.push_str(&format!("number {n}{}", &part[1..]));
    }
    changed
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

#[test]
fn what_the_cache_gives_is_what_a_fresh_build_makes() {
    let (seed, steps) = (seed(), number("LONGSHORE_PROPERTY_STEPS", 25));
    let mut module = Module::new(seed);
    let mut done = Vec::new();
    let mut built = 0;
    for step in 0..steps {
        done.push(module.step());
        let (cached, fresh) = (module.cached(), module.fresh());
        let last = &done[done.len().saturating_sub(12)..];
        assert_eq!(cached, fresh, "seed {seed}, step {step}, the last steps: {last:#?}");
        built += u64::from(fresh.is_some());
        // A state that does not compile teaches little: back to one that does.
        if fresh.is_none() {
            for path in module.added() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    assert!(built * 2 >= steps, "only {built} of {steps} states compile: seed {seed}");
    eprintln!("{steps} steps, {built} of them with executables, seed {seed}");
}
