//! The stream of `go test -json` (`go doc test2json`), a line an event, and what it comes to. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;

/// Lines of output kept of one test: the first ones hold a panic's message, the last ones how it ended.
const FIRST: usize = 8;
const LAST: usize = 12;

/// Lines told of all failures together.
const TOLD: usize = 60;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    action: String,
    package: Option<String>,
    test: Option<String>,
    output: Option<String>,
    /// Of the events of a compile: the package, as `example.com/x [example.com/x.test]`.
    import_path: Option<String>,
    /// Of a package's failure: what could not be compiled.
    failed_build: Option<String>,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Summary {
    passed: usize,
    skipped: usize,
    /// Packages that have run tests.
    packages: usize,
    without_tests: usize,
    /// `(package, test)`; the test is empty for what a package itself printed.
    output: BTreeMap<(String, String), Kept>,
    failed: Vec<(String, String)>,
    builds: BTreeMap<String, Kept>,
    /// What Go said outside the stream.
    errors: Kept,
    /// Started and not ended.
    running: BTreeSet<(String, String)>,
}

#[derive(Debug, Default)]
struct Kept {
    first: Vec<String>,
    last: VecDeque<String>,
}

impl Summary {
    /// Takes one line of stdout; true where a test or package has ended.
    pub(super) fn line(&mut self, text: &str) -> bool {
        let Ok(line) = serde_json::from_str::<Line>(text) else {
            self.errors.keep(text);
            return false;
        };
        let package = line.package.unwrap_or_default();
        let test = line.test.unwrap_or_default();
        match line.action.as_str() {
            "run" => _ = self.running.insert((package.clone(), test.clone())),
            "pass" | "fail" | "skip" => _ = self.running.remove(&(package.clone(), test.clone())),
            _ => {}
        }
        let top = !test.is_empty() && !test.contains('/');
        match line.action.as_str() {
            "output" => {
                let text = line.output.unwrap_or_default();
                if !is_noise(&text) {
                    self.output.entry((package, test)).or_default().keep(&text);
                }
                return false;
            }
            "build-output" => {
                let path = line.import_path.unwrap_or_default();
                self.builds.entry(path).or_default().keep(&line.output.unwrap_or_default());
                return false;
            }
            "pass" if test.is_empty() => self.packages += 1,
            "pass" if top => self.passed += 1,
            "skip" if test.is_empty() => self.without_tests += 1,
            "skip" if top => self.skipped += 1,
            "fail" if test.is_empty() => self.package_failed(package, line.failed_build),
            "fail" => self.failed.push((package, test)),
            // The output of what did not fail is not needed again.
            _ => return false,
        }
        true
    }

    /// Takes one line of stderr. Downloads are no failures.
    pub(super) fn error_line(&mut self, text: &str) {
        if !text.starts_with("go: downloading") {
            self.errors.keep(text);
        }
    }

    fn package_failed(&mut self, package: String, build: Option<String>) {
        self.packages += 1;
        if self.failed.iter().any(|(of, _)| *of == package) {
            return;
        }
        // A time limit or an exit ends a test without a word of its own.
        let unended: Vec<_> = self.running.iter().filter(|(of, _)| *of == package).cloned().collect();
        if build.is_some() || unended.is_empty() {
            self.failed.push((package, String::new()));
        }
        self.failed.extend(unended);
    }

    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whether a test failed, and not only what a package is compiled and run with.
    pub(super) fn has_failed_tests(&self) -> bool {
        self.failed.iter().any(|(_, test)| !test.is_empty())
    }

    /// "42 passed in 12 packages".
    pub(super) fn note(&self) -> String {
        if self.packages == 0 && self.without_tests > 0 {
            return format!("no tests in {}", counted(self.without_tests, "package"));
        }
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        format!("{} passed{skipped} in {}", self.passed, counted(self.packages, "package"))
    }

    /// "2 tests failed", "1 package failed".
    pub(super) fn verdict(&self) -> String {
        let leaves = self.leaves();
        let tests = leaves.iter().filter(|(_, test)| !test.is_empty()).count();
        let packages = leaves.len() - tests;
        match (tests, packages) {
            (tests, 0) => format!("{} failed", counted(tests, "test")),
            (0, packages) => format!("{} failed", counted(packages, "package")),
            (tests, packages) => {
                format!("{} and {} failed", counted(tests, "test"), counted(packages, "package"))
            }
        }
    }

    /// The failed tests' names, each with its last lines, then what Go said beside the stream.
    pub(super) fn tail(&self) -> Vec<String> {
        let leaves = self.leaves();
        let each = (TOLD / leaves.len().max(1)).max(3);
        let mut told = Vec::new();
        for (package, test) in leaves {
            let name = if test.is_empty() { package.clone() } else { format!("{package}.{test}") };
            told.push(format!("FAIL {name}"));
            let key = (package.clone(), test.clone());
            let printed = self.output.get(&key).into_iter();
            // A failed build's own lines stand under the package that was compiled, which may be another.
            let builds = self.builds.iter().filter(|(path, _)| test.is_empty() && of(path, package));
            let lines: Vec<&String> =
                builds.map(|(_, kept)| kept).chain(printed).flat_map(Kept::lines).collect();
            // The start says what happened, the end how it went out.
            let (first, last) = (each / 2, each - each / 2);
            let cut = lines.len().saturating_sub(last);
            let shown = lines.iter().enumerate().filter(|(at, _)| *at < first || *at >= cut);
            told.extend(shown.map(|(_, line)| format!("    {line}")));
        }
        told.extend(self.errors.lines().cloned());
        told
    }

    /// Failed tests without those that failed only because of a subtest.
    fn leaves(&self) -> Vec<&(String, String)> {
        let parent = |of: &(String, String)| {
            let prefix = format!("{}/", of.1);
            !of.1.is_empty() && self.failed.iter().any(|(p, test)| *p == of.0 && test.starts_with(&prefix))
        };
        self.failed.iter().filter(|failed| !parent(failed)).collect()
    }
}

impl Kept {
    fn keep(&mut self, text: &str) {
        for line in text.lines().map(str::trim_end) {
            if self.first.len() < FIRST {
                self.first.push(line.to_owned());
                continue;
            }
            self.last.push_back(line.to_owned());
            if self.last.len() > LAST {
                self.last.pop_front();
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &String> {
        self.first.iter().chain(&self.last)
    }
}

/// Whether a build's import path (`p`, `p [p.test]`, `p_test [p.test]`) was compiled for `package`'s tests.
fn of(path: &str, package: &str) -> bool {
    let compiled = path.split(' ').next().unwrap_or(path);
    compiled == package || path.contains(&format!("[{package}.test]")) || !path.contains('[')
}

/// Lines of the test framework that say what the events say.
fn is_noise(text: &str) -> bool {
    let text = text.trim_start();
    ["=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- FAIL", "--- PASS", "--- SKIP", "FAIL\n", "FAIL\t"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(lines: &[&str]) -> Summary {
        let mut summary = Summary::default();
        for line in lines {
            summary.line(line);
        }
        summary
    }

    #[test]
    fn subtests_are_not_counted_and_their_parents_not_told() {
        let summary = summary(&[
            r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestA/one"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestA/two","Output":"    a_test.go:5: got 2\n"}"#,
            r#"{"Action":"fail","Package":"p","Test":"TestA/two"}"#,
            r#"{"Action":"fail","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestB"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
        ]);
        assert_eq!(summary.verdict(), "1 test failed");
        assert_eq!(summary.note(), "1 passed in 1 package");
        assert_eq!(summary.tail(), ["FAIL p.TestA/two", "        a_test.go:5: got 2"]);
    }

    #[test]
    fn a_package_that_does_not_compile_tells_the_place() {
        let summary = summary(&[
            r##"{"ImportPath":"p [p.test]","Action":"build-output","Output":"# p [p.test]\n"}"##,
            r#"{"ImportPath":"p [p.test]","Action":"build-output","Output":"./a_test.go:5:7: undefined: x\n"}"#,
            r#"{"ImportPath":"p [p.test]","Action":"build-fail"}"#,
            r#"{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}"#,
        ]);
        assert_eq!(summary.verdict(), "1 package failed");
        assert!(summary.tail().iter().any(|line| line.contains("a_test.go:5:7: undefined: x")));
    }

    #[test]
    fn a_panic_without_a_failed_test_is_the_packages() {
        let summary = summary(&[
            r#"{"Action":"output","Package":"p","Output":"panic: in init\n"}"#,
            r#"{"Action":"output","Package":"p","Output":"FAIL\tp\t0.01s\n"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
        ]);
        assert_eq!(summary.tail(), ["FAIL p", "    panic: in init"]);
    }

    #[test]
    fn a_test_that_never_ends_is_what_failed() {
        let summary = summary(&[
            r#"{"Action":"run","Package":"p","Test":"TestHangs"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestHangs","Output":"panic: test timed out after 1s\n"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
        ]);
        assert_eq!(summary.verdict(), "1 test failed");
        assert_eq!(summary.tail(), ["FAIL p.TestHangs", "    panic: test timed out after 1s"]);
    }

    #[test]
    fn notes_for_few_and_for_none() {
        let none = summary(&[r#"{"Action":"skip","Package":"p"}"#]);
        assert_eq!(none.note(), "no tests in 1 package");
        let skipped = summary(&[
            r#"{"Action":"skip","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p"}"#,
        ]);
        assert_eq!(skipped.note(), "0 passed, 1 skipped in 1 package");
    }

    #[test]
    fn output_is_bounded() {
        let mut summary = Summary::default();
        for n in 0..1000 {
            summary.line(&format!(r#"{{"Action":"output","Package":"p","Test":"T","Output":"{n}\n"}}"#));
        }
        summary.line(r#"{"Action":"fail","Package":"p","Test":"T"}"#);
        assert_eq!(summary.tail().len(), 1 + FIRST + LAST);
        assert_eq!(summary.tail()[1], "    0");
        assert_eq!(summary.tail()[FIRST + LAST], "    999");
    }
}
