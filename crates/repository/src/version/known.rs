//! Versions that exist already: in the ledger, or as Git tags of the project's form. Pure.

use semver::Version;

use crate::version::form::Tagged;
use crate::version::{CommitId, TagForm, VersionError};

/// A version of a service and the commit that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub version: Version,
    pub commit: CommitId,
}

/// What exists of a service, and what a pushed tag asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Recorded versions, and tags of other commits that have no record (from before the ledger).
    pub known: Vec<Known>,
    /// The highest tag at HEAD without a record: release that version. With the tag's name.
    pub requested: Option<(String, Version)>,
    /// Why no version can be told: a tag at HEAD that is no version, or that is recorded for another commit.
    pub problem: Option<VersionError>,
}

/// Sorts `tags` (name without `refs/tags/`, and commit) into what exists and what is asked for at `head`.
/// A tag at `head` that asks for what can't be is the survey's problem.
pub fn survey(
    service: &str,
    form: &TagForm,
    records: &[Known],
    tags: &[(&str, &CommitId)],
    head: &CommitId,
) -> Survey {
    let mut survey = Survey { known: records.to_vec(), requested: None, problem: None };
    for (tag, commit) in tags {
        match form.parse(service, tag) {
            None => {}
            Some(Tagged::Invalid(text)) if *commit == head => {
                survey.problem = Some(VersionError::Invalid { tag: (*tag).to_owned(), text });
            }
            Some(Tagged::Invalid(_)) => {}
            Some(Tagged::Version(version)) => {
                let record = records.iter().find(|known| known.version == version);
                match record {
                    Some(known) if *commit == head && known.commit != *head => {
                        survey.problem = Some(VersionError::Taken {
                            service: service.to_owned(),
                            version,
                            recorded: known.commit.clone(),
                            here: head.clone(),
                        });
                    }
                    Some(_) => {}
                    None if *commit == head => {
                        if survey.requested.as_ref().is_none_or(|(_, highest)| *highest < version) {
                            survey.requested = Some(((*tag).to_owned(), version));
                        }
                    }
                    None => survey.known.push(Known { version, commit: (*commit).clone() }),
                }
            }
        }
    }
    // A request below what HEAD already has was answered by it, as rc.1 by the 1.0.0 of the same commit.
    if let Some((_, version)) = &survey.requested
        && records.iter().any(|known| known.commit == *head && known.version > *version)
    {
        survey.requested = None;
    }
    survey
}

/// The version that the next one follows: the highest stable one in HEAD's history. Where there are
/// only others (history was rewritten), the highest stable one: never 0.1.0 again.
pub fn base(known: &[Known], is_ancestor: impl Fn(&CommitId) -> bool) -> Option<&Known> {
    let stable = || known.iter().filter(|known| known.version.pre.is_empty());
    let highest = |known: &&Known| known.version.clone();
    stable()
        .filter(|known| is_ancestor(&known.commit))
        .max_by_key(highest)
        .or_else(|| stable().max_by_key(highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> CommitId {
        std::iter::repeat_n(digit, 40).collect::<String>().parse().unwrap()
    }

    fn known(version: &str, commit: char) -> Known {
        Known { version: version.parse().unwrap(), commit: id(commit) }
    }

    fn look(records: &[Known], tags: &[(&str, char)]) -> Survey {
        let form = "{service}/v{version}".parse().unwrap();
        let commits: Vec<CommitId> = tags.iter().map(|(_, commit)| id(*commit)).collect();
        let tags: Vec<(&str, &CommitId)> =
            tags.iter().zip(&commits).map(|((tag, _), id)| (*tag, id)).collect();
        survey("gateway", &form, records, &tags, &id('a'))
    }

    #[test]
    fn tags_ask_at_head_and_count_elsewhere() {
        let tags = [
            ("gateway/v1.0.0", 'b'),
            ("gateway/v1.1.0", 'a'),
            ("gateway/v1.2.0-rc.1", 'a'),
            ("orders/v9.0.0", 'a'),
        ];
        let found = look(&[], &tags);
        assert_eq!(found.known, [known("1.0.0", 'b')]);
        assert_eq!(found.requested, Some(("gateway/v1.2.0-rc.1".into(), "1.2.0-rc.1".parse().unwrap())));
        let recorded = [known("1.1.0", 'a')];
        assert_eq!(look(&recorded, &[("gateway/v1.1.0", 'a'), ("gateway/v1.1.0-rc.1", 'a')]).requested, None);
    }

    #[test]
    fn a_tag_at_head_that_another_commit_has_is_a_conflict() {
        let fault = look(&[known("1.1.0", 'b')], &[("gateway/v1.1.0", 'a')]).problem.unwrap();
        let message = fault.to_string();
        assert!(message.contains(id('a').as_str()) && message.contains(id('b').as_str()), "{message}");
        let invalid = look(&[], &[("gateway/v1.0.0+x", 'a')]).problem;
        assert!(matches!(invalid, Some(VersionError::Invalid { .. })));
        assert_eq!(look(&[], &[("gateway/v1.0.0+x", 'b')]).problem, None);
    }

    #[test]
    fn the_base_is_in_heads_history_if_any_is() {
        let all = [known("1.4.0", 'b'), known("2.0.0", 'c'), known("2.1.0-rc.1", 'b')];
        assert_eq!(base(&all, |commit| *commit == id('b')).unwrap().version, Version::new(1, 4, 0));
        assert_eq!(base(&all, |_| true).unwrap().version, Version::new(2, 0, 0));
        assert_eq!(base(&all, |_| false).unwrap().version, Version::new(2, 0, 0));
        assert_eq!(base(&all[2..], |_| true), None);
    }
}
