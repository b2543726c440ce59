//! A pipeline for GitLab CI. Pure.
//!
//! A matrix is fixed there before any job runs: it goes over the platforms, and each of its jobs makes the
//! services that are affected.

use std::fmt::Write as _;

use crate::ci::{Flow, Place};

const HEAD: &str = r#"# Written by `cargo xtask init --ci gitlab`. The commands are those of any machine: try them there.
# Variables that it needs: REGISTRY_USER and REGISTRY_PASSWORD, LEDGER_TOKEN (a token that may push), and what
# the jobs below name.
stages: [plan, check, image, release, deploy, promote]

workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
    - if: $CI_COMMIT_TAG

variables:
  GIT_DEPTH: "0"
  LONGSHORE_ENV: ENVIRONMENT
  CARGO_HOME: $CI_PROJECT_DIR/.cache/cargo
  XDG_CACHE_HOME: $CI_PROJECT_DIR/.cache
  GOCACHE: $CI_PROJECT_DIR/.cache/go-build
  GOMODCACHE: $CI_PROJECT_DIR/.cache/go-mod

default:
  # Rust, Go, Git, kubectl and the docker client.
  image: $LONGSHORE_IMAGE
  interruptible: false
  cache:
    key: longshore-$CI_JOB_NAME_SLUG
    fallback_keys: [longshore-plan]
    paths: [.cache/, target/]

.published:
  rules:
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
    - if: $CI_COMMIT_TAG

plan:
  stage: plan
  script:
    - cargo xtask plan
    - cargo xtask plan --format json >plan.json
  artifacts:
    paths: [plan.json]

lint:
  stage: check
  needs: [plan]
  script: cargo xtask lint

test:
  stage: check
  needs: [plan]
  script: cargo xtask test

"#;

pub(super) fn text(flow: &Flow) -> String {
    let mut text = HEAD.replace("ENVIRONMENT", &flow.released.name);
    let platforms: Vec<String> = flow.platforms.iter().map(|platform| format!("\"{platform}\"")).collect();
    let _ = write!(
        text,
        r"image:
  stage: image
  needs: [plan]
  parallel:
    matrix:
      - PLATFORM: [{}]
  script:
    - cargo xtask image --platform $PLATFORM
    - cargo xtask scan --from dist --platform $PLATFORM
    - cargo xtask verify --from dist --platform $PLATFORM
    - mkdir -p parts && mv dist parts/$CI_NODE_INDEX
  artifacts:
    paths: [parts/]
    expire_in: 1 week

release:
  stage: release
  extends: .published
  needs: [lint, test, image]
  resource_group: release
  script:
{}    - cargo xtask image --join parts/*
    - cargo xtask push --from dist
    - cargo xtask tag --from dist

",
        platforms.join(", "),
        login(&flow.released),
    );
    let mut last = "release".to_owned();
    if flow.released.deployed {
        let run = format!("cargo xtask deploy --env {}", flow.released.name);
        text.push_str(&deployed(&flow.released, "deploy", &last, &run, false));
        last = format!("deploy-{}", flow.released.name);
    }
    let mut from = &flow.released.name;
    for place in flow.promoted.iter().filter(|place| place.deployed && flow.released.deployed) {
        let run = format!("cargo xtask promote --from {from} --to {}", place.name);
        text.push_str(&deployed(place, "promote", &last, &run, true));
        last = format!("promote-{}", place.name);
        from = &place.name;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// With `asked`, only when somebody starts it: that is the approval.
fn deployed(place: &Place, verb: &str, needs: &str, run: &str, asked: bool) -> String {
    let rules = match asked {
        true => {
            "  rules:\n    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH\n      when: manual\n    - if: $CI_COMMIT_TAG\n      when: manual\n"
        }
        false => "  extends: .published\n",
    };
    format!(
        "{verb}-{name}:\n  stage: {verb}\n{rules}  needs: [{needs}]\n  environment: {name}\n  resource_group: {name}\n  script:\n{}    - {run}\n\n",
        login(place),
        name = place.name,
    )
}

/// The ledger is pushed with a token of its own: that of a job may not.
fn login(place: &Place) -> String {
    format!(
        r#"    - printf '%s' "$REGISTRY_PASSWORD" | docker login {} --username "$REGISTRY_USER" --password-stdin
    - git remote set-url --push origin "https://longshore:$LEDGER_TOKEN@$CI_SERVER_HOST/$CI_PROJECT_PATH.git"
"#,
        place.host
    )
}
