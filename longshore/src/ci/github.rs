//! A workflow for GitHub Actions. Pure.

use std::fmt::Write as _;

use crate::ci::{Flow, Place};

const HEAD: &str = r#"# Written by `cargo xtask init --ci github`. The commands are those of any machine: try them there.
# Secrets that it needs: REGISTRY_USER and REGISTRY_PASSWORD (not for ghcr.io), and what the jobs below name.
name: release

on:
  push:
    branches: [main]
    tags: ["TAGS"]
  pull_request:

permissions:
  contents: read

concurrency:
  group: release-${{ github.ref }}
  cancel-in-progress: false

env:
  CARGO_TERM_COLOR: always
  LONGSHORE_ENV: ENVIRONMENT

jobs:
"#;

/// The beginning of every job: all of the history, because versions follow from it, and the caches.
const SETUP: &str = r"      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
      - uses: actions/cache@v4
        with:
          path: |
            ~/.cargo/registry
            ~/.cache/longshore
            ~/.cache/go-build
            ~/go/pkg/mod
            target
          key: ${{ runner.os }}-longshore-JOB-${{ github.sha }}
          restore-keys: |
            ${{ runner.os }}-longshore-JOB-
            ${{ runner.os }}-longshore-
      - uses: actions/setup-go@v5
        with:
          go-version: stable
          cache: false
";

/// When something is published: never for a pull request.
const PUBLISHED: &str = "    if: github.event_name == 'push'\n";

pub(super) fn text(flow: &Flow) -> String {
    let mut text = HEAD.replace("TAGS", &flow.tags).replace("ENVIRONMENT", &flow.released.name);
    text.push_str(&plan());
    for (job, title) in [("lint", "lint"), ("test", "test")] {
        let _ = write!(
            text,
            "  {job}:\n    needs: plan\n    if: needs.plan.outputs.changed == 'true'\n    runs-on: ubuntu-latest\n    steps:\n{}      - run: cargo xtask {title}\n\n",
            setup(job)
        );
    }
    text.push_str(&images());
    text.push_str(&release(&flow.released));
    let mut last = "release".to_owned();
    if flow.released.deployed {
        let run = format!("cargo xtask deploy --env {}", flow.released.name);
        text.push_str(&deployed(&flow.released, "deploy", &last, &run));
        last = format!("deploy-{}", flow.released.name);
    }
    let mut from = &flow.released.name;
    for place in flow.promoted.iter().filter(|place| place.deployed && flow.released.deployed) {
        // Nobody approves here: a person does, in the settings of the environment and by `--approve`.
        let run = format!("cargo xtask promote --from {from} --to {}", place.name);
        text.push_str(&deployed(place, "promote", &last, &run));
        last = format!("promote-{}", place.name);
        from = &place.name;
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn setup(job: &str) -> String {
    SETUP.replace("JOB", job)
}

fn plan() -> String {
    format!(
        r"  plan:
    runs-on: ubuntu-latest
    outputs:
      changed: ${{{{ steps.plan.outputs.changed }}}}
      matrix: ${{{{ steps.plan.outputs.matrix }}}}
    steps:
{}      - id: plan
        run: cargo xtask plan --format json

",
        setup("plan")
    )
}

/// A job a service and platform that is to be made.
fn images() -> String {
    format!(
        r"  image:
    needs: plan
    if: needs.plan.outputs.changed == 'true'
    runs-on: ubuntu-latest
    strategy:
      matrix: ${{{{ fromJSON(needs.plan.outputs.matrix) }}}}
    steps:
{}      - run: cargo xtask image --platform ${{{{ matrix.platform }}}} ${{{{ matrix.service }}}}
      - run: cargo xtask scan --from dist --platform ${{{{ matrix.platform }}}} ${{{{ matrix.service }}}}
      - run: cargo xtask verify --from dist --platform ${{{{ matrix.platform }}}} ${{{{ matrix.service }}}}
      - uses: actions/upload-artifact@v4
        with:
          name: dist-${{{{ matrix.service }}}}-${{{{ matrix.slug }}}}
          path: dist
          retention-days: 7

",
        setup("image")
    )
}

fn release(place: &Place) -> String {
    format!(
        r"  release:
    needs: [lint, test, image]
{PUBLISHED}    runs-on: ubuntu-latest
    permissions:
      contents: write
      packages: write
    steps:
{}      - uses: actions/download-artifact@v4
        with:
          path: parts
          pattern: dist-*
{}      - run: cargo xtask image --join parts/*
      - run: cargo xtask push --from dist
      - run: cargo xtask tag --from dist

",
        setup("release"),
        login(place)
    )
}

fn deployed(place: &Place, verb: &str, needs: &str, run: &str) -> String {
    let mut secrets: Vec<String> =
        place.secrets.iter().map(|name| format!("          {name}: ${{{{ secrets.{name} }}}}\n")).collect();
    if place.cluster {
        secrets.push("          KUBECONFIG: ${{ runner.temp }}/kubeconfig\n".to_owned());
    }
    let env = if secrets.is_empty() { String::new() } else { format!("        env:\n{}", secrets.concat()) };
    let kubeconfig = match place.cluster {
        true => {
            "      - run: printf '%s' \"$DATA\" >\"$RUNNER_TEMP/kubeconfig\"\n        env:\n          DATA: ${{ secrets.KUBECONFIG }}\n"
        }
        false => "",
    };
    format!(
        r"  {verb}-{name}:
    needs: {needs}
{PUBLISHED}    runs-on: ubuntu-latest
    environment: {name}
    permissions:
      contents: write
      packages: write
    steps:
{}{}{kubeconfig}      - run: {run}
{env}
",
        setup(verb),
        login(place),
        name = place.name,
    )
}

fn login(place: &Place) -> String {
    let (user, password) = match place.host.as_str() {
        "ghcr.io" => ("${{ github.actor }}", "${{ secrets.GITHUB_TOKEN }}"),
        _ => ("${{ secrets.REGISTRY_USER }}", "${{ secrets.REGISTRY_PASSWORD }}"),
    };
    format!(
        r#"      - run: printf '%s' "$REGISTRY_PASSWORD" | docker login {} --username "$REGISTRY_USER" --password-stdin
        env:
          REGISTRY_USER: {user}
          REGISTRY_PASSWORD: {password}
"#,
        place.host
    )
}
