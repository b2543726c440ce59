use proptest::prelude::*;

use super::*;
use crate::closure::tests::closure;
use crate::closure::{Closure, RepoPath};
use crate::version::known::base;
use crate::version::survey;

fn id(number: usize) -> CommitId {
    format!("{number:08x}{:032x}", 0).parse().unwrap()
}

/// A history in one line: its commits are numbered from 1, a later one follows the one before.
struct History {
    commits: Vec<Commit>,
    known: BTreeMap<String, Vec<Known>>,
    tags: Vec<(String, CommitId)>,
    closures: BTreeMap<String, Closure>,
    form: TagForm,
    pipeline: RepoPath,
}

impl History {
    /// `gateway` and `orders` share `pkg/shared`; `worker` is by itself.
    fn new() -> Self {
        let closures = [
            ("gateway", closure(&["cmd/gateway", "pkg/shared"])),
            ("orders", closure(&["cmd/orders", "pkg/shared"])),
            ("worker", closure(&["cmd/worker"])),
        ];
        Self {
            commits: vec![],
            known: BTreeMap::new(),
            tags: vec![],
            closures: closures.into_iter().map(|(name, closure)| (name.to_owned(), closure)).collect(),
            form: "{service}/v{version}".parse().unwrap(),
            pipeline: "pipeline.toml".into(),
        }
    }

    fn commit(mut self, message: &str, file: &str) -> Self {
        let number = self.commits.len() + 1;
        let parents = if number == 1 { vec![] } else { vec![id(number - 1)] };
        let files = vec![RepoPath::from(file)];
        self.commits.push(Commit {
            id: id(number),
            parents,
            time: 0,
            message: message.into(),
            files,
            modules: vec![],
        });
        self
    }

    /// Records a version of the newest commit.
    fn record(mut self, service: &str, version: &str) -> Self {
        let known = Known { version: version.parse().unwrap(), commit: id(self.commits.len()) };
        self.known.entry(service.into()).or_default().push(known);
        self
    }

    fn tag(mut self, name: &str) -> Self {
        self.tags.push((name.into(), id(self.commits.len())));
        self
    }

    fn decide(&self, change: impl FnOnce(&mut Request)) -> Result<BTreeMap<String, Decision>, VersionError> {
        let head = id(self.commits.len());
        let mut request = Request {
            head: head.clone(),
            mode: Mode::Plain,
            bump: None,
            named: BTreeSet::new(),
            other: OtherCommits::Patch,
        };
        change(&mut request);
        let tags: Vec<(&str, &CommitId)> =
            self.tags.iter().map(|(name, commit)| (name.as_str(), commit)).collect();
        let shared: Vec<Known> = self.known.values().flatten().cloned().collect();
        let mut surveys = Vec::new();
        for name in self.closures.keys() {
            let own = self.known.get(name).cloned().unwrap_or_default();
            let records = if self.form.is_per_service() { own } else { shared.clone() };
            let survey = survey(name, &self.form, &records, &tags, &head);
            if let Some(problem) = survey.problem {
                return Err(problem);
            }
            surveys.push((name, survey));
        }
        let ranges: Vec<(Option<&Known>, Vec<Commit>)> = surveys
            .iter()
            .map(|(_, survey)| {
                let base = base(&survey.known, |_| true);
                let since =
                    base.map_or(0, |base| self.commits.iter().position(|c| c.id == base.commit).unwrap() + 1);
                (base, self.commits[since..].iter().rev().cloned().collect())
            })
            .collect();
        let services: Vec<Service<'_>> = surveys
            .iter()
            .zip(&ranges)
            .map(|((name, survey), (base, commits))| Service {
                name,
                form: &self.form,
                known: &survey.known,
                requested: survey.requested.as_ref(),
                base: *base,
                inputs: Inputs {
                    previous: base.map(|_| &self.closures[*name]),
                    current: &self.closures[*name],
                    pipeline: &self.pipeline,
                },
                commits,
                reasons: None,
            })
            .collect();
        decide(&services, &request)
    }

    /// `gateway`'s outcome in a few letters.
    fn gateway(&self, change: impl FnOnce(&mut Request)) -> String {
        match self.decide(change) {
            Ok(decisions) => match &decisions["gateway"].outcome {
                Outcome::Release(version) => version.to_string(),
                Outcome::Recorded(version) => format!("recorded {version}"),
                Outcome::Snapshot(version) => format!("snapshot {version}"),
                Outcome::Unchanged => "unchanged".to_owned(),
            },
            Err(error) => format!("error: {error}"),
        }
    }
}

fn rc(request: &mut Request) {
    request.mode = Mode::Pre("rc".into());
}

fn released(version: &str) -> History {
    History::new().commit("feat: start", "cmd/gateway/main.go").record("gateway", version)
}

#[test]
fn commits_ask_for_levels() {
    let main = "cmd/gateway/main.go";
    for (version, message, next) in [
        ("1.2.3", "feat!: a", "2.0.0"),
        ("0.2.3", "feat!: a", "0.3.0"),
        ("0.2.3", "feat: a", "0.3.0"),
        ("1.2.3", "feat: a", "1.3.0"),
        ("1.2.3", "fix: a", "1.2.4"),
        ("1.2.3", "perf: a", "1.2.4"),
        ("1.2.3", "Revert \"feat: a\"", "1.2.4"),
        ("1.2.3", "refactor: a", "1.2.4"),
        ("1.2.3", "whatever", "1.2.4"),
    ] {
        assert_eq!(released(version).commit(message, main).gateway(|_| {}), next, "{message}");
    }
    assert_eq!(released("1.2.3").commit("feat!: a", "README.md").gateway(|_| {}), "unchanged");
    assert_eq!(released("1.2.3").commit("feat!: a", "cmd/gateway/main_test.go").gateway(|_| {}), "unchanged");
    assert_eq!(released("1.2.3").gateway(|_| {}), "recorded 1.2.3");
    assert_eq!(History::new().commit("docs: a", "README.md").gateway(|_| {}), "0.1.0");
}

#[test]
fn other_commits_follow_the_policy() {
    let history = released("1.2.3").commit("chore: a", "cmd/gateway/main.go");
    assert_eq!(history.gateway(|request| request.other = OtherCommits::None), "unchanged");
    let fault = history.gateway(|request| request.other = OtherCommits::Error);
    assert!(fault.contains("`chore: a`") && fault.contains("cmd/gateway/main.go"), "{fault}");
    let answered =
        |request: &mut Request| (request.other, request.bump) = (OtherCommits::Error, Some(Bump::Minor));
    assert_eq!(history.gateway(answered), "1.3.0");
    let mut merge = history;
    merge.commits[1].parents.push(id(99));
    assert_eq!(merge.gateway(|request| request.other = OtherCommits::Error), "1.2.4");
}

#[test]
fn a_given_bump_wins_but_only_where_there_is_something_or_the_service_is_named() {
    let major = |request: &mut Request| request.bump = Some(Bump::Major);
    let named = |request: &mut Request| {
        request.bump = Some(Bump::Major);
        request.named.insert("gateway".into());
    };
    assert_eq!(released("0.4.2").commit("fix: a", "cmd/gateway/main.go").gateway(major), "1.0.0");
    let idle = released("0.4.2").commit("docs: a", "README.md");
    assert_eq!(idle.gateway(major), "unchanged");
    assert_eq!(idle.gateway(named), "1.0.0");
    assert_eq!(idle.record("gateway", "1.0.0").gateway(named), "recorded 1.0.0", "run again");
    assert_eq!(History::new().commit("feat: a", "x").gateway(major), "1.0.0");
}

#[test]
fn pre_releases_count_up_and_graduate() {
    let main = "cmd/gateway/main.go";
    let history = released("1.2.3").commit("fix: a", main);
    assert_eq!(history.gateway(rc), "1.2.4-rc.1");
    let history = history.record("gateway", "1.2.4-rc.1");
    assert_eq!(history.gateway(rc), "recorded 1.2.4-rc.1");
    assert_eq!(history.gateway(|_| {}), "1.2.4", "the same commit graduates");
    let history = history.commit("docs: a", "README.md");
    assert_eq!(history.gateway(rc), "unchanged");
    assert_eq!(history.gateway(|request| request.mode = Mode::Pre("beta".into())), "1.2.4-beta.1");
    let history = history.commit("fix: b", main);
    assert_eq!(history.gateway(rc), "1.2.4-rc.2");
    let history = history.record("gateway", "1.2.4-rc.2").commit("feat: c", main);
    assert_eq!(history.gateway(rc), "1.3.0-rc.1");
    assert_eq!(history.gateway(|_| {}), "1.3.0");
    let history = history.record("gateway", "1.3.0");
    assert_eq!(history.gateway(rc), "recorded 1.3.0");
    assert_eq!(history.commit("fix: d", main).gateway(rc), "1.3.1-rc.1");
    assert_eq!(History::new().commit("feat: a", main).gateway(rc), "0.1.0-rc.1");
    let label =
        released("1.2.3").commit("fix: a", main).gateway(|request| request.mode = Mode::Pre("1".into()));
    assert!(label.starts_with("error: `1`"), "{label}");
}

#[test]
fn a_higher_pre_release_is_what_graduates() {
    let history = released("1.2.3").commit("fix: a", "cmd/gateway/main.go").record("gateway", "2.0.0-rc.1");
    assert_eq!(history.gateway(|_| {}), "2.0.0");
    assert_eq!(history.commit("fix: b", "cmd/gateway/main.go").gateway(rc), "2.0.0-rc.2");
}

#[test]
fn a_pushed_tag_asks() {
    let history = released("1.2.3").commit("docs: a", "README.md");
    assert_eq!(history.tag("gateway/v1.5.0").gateway(|_| {}), "1.5.0");
    let low = released("1.2.3").commit("fix: a", "x").tag("gateway/v1.2.0").gateway(|_| {});
    assert!(low.contains("not above 1.2.3"), "{low}");
    let taken = released("1.2.3").commit("fix: a", "x").tag("gateway/v1.2.3").gateway(|_| {});
    assert!(taken.contains(id(1).as_str()) && taken.contains(id(2).as_str()), "{taken}");
    let done = released("1.2.3").commit("fix: a", "x").tag("gateway/v1.5.0").record("gateway", "1.5.0");
    assert_eq!(done.gateway(|_| {}), "recorded 1.5.0");
    let adopted =
        History::new().commit("feat: a", "x").tag("gateway/v4.1.0").commit("fix: b", "cmd/gateway/main.go");
    assert_eq!(adopted.gateway(|_| {}), "4.1.1", "tags from before the ledger count");
}

#[test]
fn snapshots_count_the_commits_over_the_inputs() {
    let snapshot = |dirty: &[&str]| {
        let dirty = dirty.iter().map(|name| ((*name).to_owned(), Digest::of(b"x"))).collect();
        move |request: &mut Request| request.mode = Mode::Snapshot { dirty }
    };
    let main = "cmd/gateway/main.go";
    let history = released("1.2.3");
    assert_eq!(history.gateway(snapshot(&[])), "snapshot 1.2.4-dev.0.g00000001");
    let history = history.commit("feat: a", main).commit("fix: b", main).commit("docs: c", "README.md");
    let clean = history.gateway(snapshot(&["orders"]));
    assert_eq!(clean, "snapshot 1.3.0-dev.2.g00000003");
    let dirty = history.gateway(snapshot(&["gateway"]));
    assert_eq!(dirty, format!("{clean}.d{}", &Digest::of(b"x").hex()[..8]));
    let policy = released("1.2.3").commit("chore: a", main);
    let text = policy.gateway(|request| {
        request.mode = Mode::Snapshot { dirty: BTreeMap::new() };
        request.other = OtherCommits::Error;
    });
    assert_eq!(text, "snapshot 1.2.4-dev.1.g00000002");
}

#[test]
fn one_version_for_all_where_the_form_says_so() {
    let mut history = released("1.2.3").record("orders", "1.2.3").commit("feat: a", "cmd/worker/main.go");
    history.form = "v{version}".parse().unwrap();
    let decisions = history.decide(|_| {}).unwrap();
    for (name, decision) in &decisions {
        assert_eq!(decision.outcome, Outcome::Release(Version::new(1, 3, 0)), "{name}");
    }
    assert_eq!(decisions["worker"].reasons.len(), 1);
    assert_eq!(decisions["gateway"].reasons.len(), 0);
}

#[test]
fn a_version_of_another_line_of_history_is_taken() {
    let mut history = released("1.2.3").commit("fix: a", "cmd/gateway/main.go");
    let elsewhere = Known { version: Version::new(1, 2, 4), commit: id(77) };
    history.known.get_mut("gateway").unwrap().push(elsewhere);
    let known = history.known["gateway"].clone();
    let first = &known[..1];
    let closure = &history.closures["gateway"];
    let service = Service {
        name: "gateway",
        form: &history.form,
        known: &known,
        requested: None,
        base: base(first, |_| true),
        inputs: Inputs { previous: Some(closure), current: closure, pipeline: &history.pipeline },
        commits: &history.commits[1..],
        reasons: None,
    };
    let request = Request {
        head: id(2),
        mode: Mode::Plain,
        bump: None,
        named: BTreeSet::new(),
        other: OtherCommits::Patch,
    };
    let fault = crate::fault::Fault::from(decide(&[service], &request).unwrap_err());
    assert_eq!(fault.exit, crate::fault::Exit::Conflict);
    assert!(fault.message.contains(id(77).as_str()) && fault.message.contains(id(2).as_str()));
}

const MESSAGES: [&str; 6] =
    ["feat!: a", "feat: a", "fix: a", "docs: a", "odd", "fix: a\n\nBREAKING CHANGE: b"];
const FILES: [&str; 6] = [
    "cmd/gateway/main.go",
    "cmd/orders/main.go",
    "cmd/worker/main.go",
    "pkg/shared/a.go",
    "README.md",
    "pkg/unused/a.go",
];

fn build(changes: &[(usize, usize)]) -> History {
    let start = History::new().commit("feat: start", "cmd/gateway/main.go");
    let start =
        ["gateway", "orders", "worker"].iter().fold(start, |history, name| history.record(name, "1.2.3"));
    changes.iter().fold(start, |history, (message, file)| history.commit(MESSAGES[*message], FILES[*file]))
}

fn versions(history: &History) -> BTreeMap<String, Version> {
    let last = Version::new(1, 2, 3);
    let decisions = history.decide(|_| {}).unwrap().into_iter();
    decisions.map(|(name, decision)| (name, decision.outcome.version().unwrap_or(&last).clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn another_commit_never_lowers_a_version(
        changes in proptest::collection::vec((0..6usize, 0..6usize), 1..8),
    ) {
        let before = versions(&build(&changes[..changes.len() - 1]));
        for (name, version) in versions(&build(&changes)) {
            prop_assert!(version >= before[&name], "{}: {} after {}", name, version, before[&name]);
        }
    }

    #[test]
    fn the_order_of_commits_does_not_matter(
        (changes, shuffled) in proptest::collection::vec((0..6usize, 0..6usize), 1..8)
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
    ) {
        prop_assert_eq!(versions(&build(&changes)), versions(&build(&shuffled)));
    }

    #[test]
    fn a_shared_packages_feature_raises_its_importers_and_nobody_else(
        noise in proptest::collection::vec((0..6usize, 4..6usize), 0..4),
    ) {
        let mut changes = noise;
        changes.push((1, 3));
        let versions = versions(&build(&changes));
        prop_assert_eq!(&versions["gateway"], &Version::new(1, 3, 0));
        prop_assert_eq!(&versions["orders"], &Version::new(1, 3, 0));
        prop_assert_eq!(&versions["worker"], &Version::new(1, 2, 3));
    }
}
