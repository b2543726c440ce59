//! What README.md says, against the command line: every command of its `console` blocks, every option
//! and command that it names, and the shortest pipeline.

use std::collections::BTreeSet;
use std::path::Path;

use crate::process::{command, succeed};
use crate::repository::Repository;

fn root() -> &'static Path {
    static ROOT: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    ROOT.get_or_init(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap())
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of a kind, as `toml`.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match &mut block {
            None if line.trim() == fence => block = Some((indent, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(block.take().map(|(_, text)| text)),
            Some((indent, text)) => {
                text.push_str(line.get(*indent..).unwrap_or_default());
                text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// The commands of the `console` blocks: lines that start with `$ `.
fn commands() -> Vec<String> {
    let blocks = blocks(&readme(), "console");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines.filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_readme_runs() {
    let commands = commands();
    assert!(commands.contains(&"cargo xtask release".to_owned()), "{commands:?}");
    for line in &commands {
        match line.strip_prefix("cargo xtask ") {
            Some(args) => {
                let Some(shop) = Repository::new().scanner() else { return };
                shop.longshore(&args.split(' ').collect::<Vec<_>>()).code(0);
            }
            // It runs this very test.
            None => assert_eq!(line, "tests/run"),
        }
    }
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&root().join("tests/run").metadata().unwrap().permissions());
    assert_ne!(mode & 0o111, 0);
}

#[test]
fn the_shortest_pipeline_is_valid() {
    let shop = Repository::new();
    let pipeline =
        blocks(&readme(), "toml").into_iter().find(|block| block.contains("[services.api]")).unwrap();
    shop.write("pipeline.toml", pipeline).commit("ci: the shortest pipeline");
    shop.longshore(&["check"]).code(0);
    assert_eq!(shop.planned(&[]), "api 0.1.0");
}

#[test]
fn a_repositorys_own_program_is_as_fast_as_this_one() {
    let section = |text: &str| {
        let lines = text.lines().skip_while(|line| *line != "[profile.dev.package]").skip(1);
        let lines = lines.take_while(|line| !line.is_empty()).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let ours = section(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap());
    let theirs =
        blocks(&readme(), "toml").into_iter().find(|block| block.contains("[dependencies]")).unwrap();
    assert!(ours.iter().any(|line| line == "zlib-rs.opt-level = 3"), "{ours:?}");
    assert_eq!(section(&theirs), ours);
}

#[test]
fn every_option_and_command_is_in_the_readme_and_no_other() {
    let help = |args: &[&str]| succeed(command(env!("CARGO_BIN_EXE_xtask")).args(args).arg("--help"));
    let readme = readme();
    let main = help(&[]);
    let list = main.split_once("Commands:").unwrap().1.split_once("\n\n").unwrap().0;
    let names: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.contains(&"release"), "{main}");
    let mut options = BTreeSet::new();
    for name in names {
        let named = [format!("| `{name}`"), format!("| `{name} ")].iter().any(|cell| readme.contains(cell));
        assert!(named, "README.md lacks the command {name}");
        options.extend(flags(&help(&[name])));
    }
    for known in ["--help", "--version"] {
        options.remove(known);
    }
    let written = flags(&readme);
    let absent: Vec<_> = options.iter().filter(|option| !written.contains(*option)).collect();
    assert!(absent.is_empty(), "README.md lacks {absent:?}");
    let foreign = ["--git", "--tags", "--help", "--manifest-path", "--mount", "--workspace"];
    let invented: Vec<_> =
        written.iter().filter(|flag| !options.contains(*flag) && !foreign.contains(&flag.as_str())).collect();
    assert!(invented.is_empty(), "README.md has {invented:?}");
}

/// Every `--word` of a text.
fn flags(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '-';
    text.match_indices("--")
        .filter(|(at, _)| !text[..*at].ends_with(['-', 'a', 'e']))
        .map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect::<String>())
        .filter(|flag| flag.len() > 3 && !flag[2..].starts_with('-'))
        .map(|flag| flag.trim_end_matches('-').to_owned())
        .collect()
}
