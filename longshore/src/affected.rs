//! Inputs × changed files → services, with reasons. Pure.
//!
//! Affected is what lint, test and build look at; whether it is released is [`crate::version`]'s.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::{Closure, RepoPath};

/// Why a service is affected: the path, and how it is an input. In the order of paths.
pub fn reasons(closure: &Closure, changed: &BTreeSet<RepoPath>) -> Vec<String> {
    let mut reasons = Vec::new();
    for path in changed {
        if closure.touches(path) {
            reasons.push(format!("{path} changed"));
        } else if is_test_input(closure, path) {
            reasons.push(format!("{path} changed (tests)"));
        } else {
            let (folder, name) = path.split();
            if matches!(name, b"go.mod" | b"go.sum") && closure.in_module(&folder) {
                reasons.push(format!("{path} changed"));
            }
        }
    }
    reasons
}

/// A test file, or test data below a package.
fn is_test_input(closure: &Closure, path: &RepoPath) -> bool {
    let (folder, name) = path.split();
    if closure.packages.contains(&folder) {
        return name.ends_with(b"_test.go");
    }
    closure.packages.iter().any(|package| package.join("testdata").contains(path))
}

/// What is affected: every service of `closures` with at least one reason. `changed` is what differs
/// from that service's own base; a service without one (never released) is affected as a whole.
pub fn affected(
    closures: &BTreeMap<String, Closure>,
    changed: &BTreeMap<String, Option<BTreeSet<RepoPath>>>,
) -> BTreeMap<String, Vec<String>> {
    let mut affected = BTreeMap::new();
    for (service, closure) in closures {
        let reasons = match changed.get(service) {
            Some(Some(changed)) => reasons(closure, changed),
            Some(None) | None => vec!["never released".to_owned()],
        };
        if !reasons.is_empty() {
            affected.insert(service.clone(), reasons);
        }
    }
    affected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::tests::closure;

    fn paths(paths: &[&str]) -> BTreeSet<RepoPath> {
        paths.iter().map(|path| RepoPath::from(*path)).collect()
    }

    #[test]
    fn tests_and_their_data_affect_and_a_readme_does_not() {
        let closure = closure(&["cmd/a", "internal/x"]);
        let found = reasons(
            &closure,
            &paths(&[
                "README.md",
                "cmd/a/README.md",
                "cmd/b/main.go",
                "internal/x/x.go",
                "internal/x/x_test.go",
                "internal/x/testdata/in.json",
                "go.sum",
                "tools/go.mod",
            ]),
        );
        assert_eq!(
            found,
            [
                "go.sum changed",
                "internal/x/testdata/in.json changed (tests)",
                "internal/x/x.go changed",
                "internal/x/x_test.go changed (tests)",
            ]
        );
    }

    #[test]
    fn each_service_is_compared_with_its_own_base() {
        let closures = BTreeMap::from([
            ("a".to_owned(), closure(&["cmd/a"])),
            ("b".to_owned(), closure(&["cmd/b"])),
            ("new".to_owned(), closure(&["cmd/new"])),
        ]);
        let changed = BTreeMap::from([
            ("a".to_owned(), Some(paths(&["cmd/a/main.go"]))),
            ("b".to_owned(), Some(paths(&["cmd/a/main.go"]))),
            ("new".to_owned(), None),
        ]);
        let found = affected(&closures, &changed);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "new"]);
        assert_eq!(found["new"], ["never released"]);
    }
}
