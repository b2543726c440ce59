//! What follows from the times of a run, and that no name can get out of the page.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fixture::{cached, done, everything, plan, record};
use super::trace::{Parent, Resource, requests};
use super::{After, Timings, page};
use crate::plan::Stage;

fn path(timings: &Timings) -> Vec<(&str, After)> {
    timings.critical.iter().map(|step| (step.job.0.as_str(), step.after)).collect()
}

#[test]
fn the_critical_path_goes_through_what_a_job_needs_and_whose_place_it_took() {
    let timings = everything();
    assert_eq!(
        path(&timings),
        [("build:amd64", After::Start), ("build:arm64", After::Place), ("image", After::Need)]
    );
    let waited: Vec<u64> = timings.jobs.iter().map(|job| job.waited).collect();
    assert_eq!(waited, [0, 0, 1001, 0, 3, 0]);
    assert_eq!((timings.preparation, timings.milliseconds, timings.exit), (100, 3600, 1));
    assert_eq!(["done", "cached", "failed", "skipped"].map(|result| timings.count(result)), [3, 1, 1, 1]);
}

#[test]
fn jobs_that_take_no_time_make_no_circle() {
    let plan = plan(&[(Stage::Lint, "a", &[]), (Stage::Lint, "b", &[]), (Stage::Lint, "c", &["a"])]);
    let timings = record(
        &plan,
        &[("a", 200, 200, cached()), ("b", 200, 200, cached()), ("c", 300, 300, cached())],
        300,
    );
    let mut names: Vec<&str> = path(&timings).iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), timings.critical.len());
    assert!(path(&record(&plan, &[], 100)).is_empty());
}

#[test]
fn no_name_gets_out_of_the_page() {
    let hostile = "</title><script>alert(1)</script>\"' onmouseover='x' \u{202e}gnp.exe";
    let plan = plan(&[(Stage::Build, hostile, &[]), (Stage::Push, "push", &[])]);
    let mut timings = record(&plan, &[(hostile, 100, 900, done())], 900);
    timings.command = hostile.to_owned();
    let text = page::render(&timings);
    assert!(!text.contains("<script") && !text.contains("\"'") && !text.contains("' on"), "{text}");
    // The only elements and attributes are the page's own.
    let tags: BTreeSet<&str> =
        text.split('<').skip(1).filter_map(|part| part.split([' ', '>', '\n']).next()).collect();
    assert!(!tags.contains("script") && tags.contains("bdi"), "{tags:?}");
    assert!(!text.contains('\u{202e}'));
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
}

#[test]
fn the_page_shows_every_job_and_marks_the_path() {
    let text = page::render(&everything());
    for shown in
        ["build:amd64", "because of test", "no &lt;b&gt;luck&lt;/b&gt;", "when the one above left its place"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(text.matches("class=\"row on-path\"").count(), 3);
    assert_eq!(text.matches("class=\"bar cached\"").count(), 1);
    assert_eq!(text.matches("class=\"bar failed\"").count(), 1);
    // A run of no time divides by nothing.
    let empty = page::render(&record(&plan(&[]), &[], 100));
    assert!(empty.contains("<dt>jobs</dt><dd>0</dd>"), "{empty}");
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn resource(parent: Option<Parent>) -> Resource {
    let attributes = vec![("service.name".to_owned(), "shop".to_owned())];
    Resource { attributes, state: "a=b".to_owned(), parent, seed: vec![1, 2, 3] }
}

fn spans(bodies: &[Value]) -> Vec<&Value> {
    bodies
        .iter()
        .flat_map(|body| body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap())
        .collect()
}

#[test]
fn spans_are_of_the_run_and_of_the_jobs_that_started() {
    let (trace, bodies) = requests(&everything(), &resource(Parent::parse(PARENT)));
    assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(bodies.len(), 1);
    let spans = spans(&bodies);
    assert_eq!(spans.len(), 6);
    let run = spans[0];
    assert_eq!(run["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(run["traceState"], "a=b");
    assert_eq!(run["startTimeUnixNano"], "1750000000000000000");
    assert_eq!(run["endTimeUnixNano"], "1750000003600000000");
    assert_eq!(run["status"]["code"], 2);
    let image = spans.iter().find(|span| span["name"] == "image").unwrap();
    assert_eq!(image["parentSpanId"], run["spanId"]);
    assert_eq!(image["links"].as_array().unwrap().len(), 2);
    assert_eq!(image["status"], serde_json::json!({}));
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| id.len() == 16));
    let said = |span: &Value, key: &str| {
        let attributes = span["attributes"].as_array().unwrap();
        attributes
            .iter()
            .find(|attribute| attribute["key"] == key)
            .map(|attribute| attribute["value"].clone())
    };
    let lint = spans.iter().find(|span| span["name"] == "lint").unwrap();
    assert_eq!(said(lint, "longshore.cached").unwrap()["boolValue"], true);
    assert_eq!(said(run, "longshore.exit").unwrap()["intValue"], "1");
    assert_eq!(said(run, "cicd.pipeline.result").unwrap()["stringValue"], "failure");
}

#[test]
fn many_spans_are_several_requests_of_one_trace() {
    let names: Vec<String> = (0..2500).map(|number| format!("build:{number}")).collect();
    let jobs: Vec<(Stage, &str, &[&str])> =
        names.iter().map(|name| (Stage::Build, name.as_str(), &[][..])).collect();
    let ran: Vec<_> = names.iter().map(|name| (name.as_str(), 100, 200, done())).collect();
    let (trace, bodies) = requests(&record(&plan(&jobs), &ran, 300), &resource(None));
    assert_eq!(
        bodies.iter().map(|body| spans(std::slice::from_ref(body)).len()).collect::<Vec<_>>(),
        [1000, 1000, 501]
    );
    assert!(spans(&bodies).iter().all(|span| span["traceId"] == trace.as_str()));
    assert_eq!(trace.len(), 32);
}

#[test]
fn only_a_trace_context_is_a_parent() {
    assert!(Parent::parse(PARENT).unwrap().sampled);
    assert!(!Parent::parse(&PARENT.replace("-01", "-00")).unwrap().sampled);
    assert!(Parent::parse(&format!("01{}-more", &PARENT[2..])).is_some());
    for wrong in [
        "",
        "x",
        "00-0-0-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert_eq!(Parent::parse(wrong), None, "{wrong}");
    }
}
