//! The table is what `docker build` did with these files and `COPY . /`; `tests/context.rs` asks it again.

use proptest::prelude::*;

use super::*;

fn sent(text: &str, paths: &[&str]) -> Vec<String> {
    let ignore = Ignore::parse(text).unwrap();
    paths.iter().filter(|path| !ignore.leaves_out(path)).map(|path| (*path).to_owned()).collect()
}

const PATHS: &[&str] =
    &[".git/HEAD", "a", "a.md", "b/a", "b/c/a", "b/c/d.go", "docs/x.md", "docs/y/x.md", "xa"];

#[test]
fn patterns_mean_what_dockers_mean() {
    for (text, left_out) in [
        ("a\n", &["a"][..]),
        ("/a\n", &["a"]),
        ("./b/../a\n", &["a"]),
        ("**/a\n", &["a", "b/a", "b/c/a"]),
        ("*/a\n", &["b/a"]),
        ("b\n", &["b/a", "b/c/a", "b/c/d.go"]),
        ("b/\n", &["b/a", "b/c/a", "b/c/d.go"]),
        ("b/**\n", &["b/a", "b/c/a", "b/c/d.go"]),
        ("b/**/a\n", &["b/a", "b/c/a"]),
        ("**\n", PATHS),
        ("*\n", PATHS),
        ("*.md\n", &["a.md"]),
        ("**/*.md\n", &["a.md", "docs/x.md", "docs/y/x.md"]),
        ("?a\n", &["xa"]),
        ("[w-y]a\n", &["xa"]),
        ("[^w-y]a\n", &[]),
        ("\\a\n", &[]),
        ("a\\.md\n", &["a.md"]),
        ("# a\n#\n  \n", &[]),
        ("\u{feff}a\r\n", &["a"]),
        ("  a  \n", &["a"]),
        ("docs\n!docs/y\n", &["docs/x.md"]),
        ("!docs/y\ndocs\n", &["docs/x.md", "docs/y/x.md"]),
        ("*\n!b\nb/c\n", &[".git/HEAD", "a", "a.md", "b/c/a", "b/c/d.go", "docs/x.md", "docs/y/x.md", "xa"]),
        ("*\n! b/c/*.go\n", &[".git/HEAD", "a", "a.md", "b/a", "b/c/a", "docs/x.md", "docs/y/x.md", "xa"]),
        ("../a\n", &[]),
        (".\n", &[]),
    ] {
        let wanted: Vec<&str> = PATHS.iter().filter(|path| !left_out.contains(path)).copied().collect();
        assert_eq!(sent(text, PATHS), wanted, "{text:?}");
    }
}

#[test]
fn what_docker_refuses_is_refused_with_its_line() {
    for (text, line) in [("a\n!\n", 2), ("[a\n", 1), ("x\\\n", 1), ("a\n\n[]a]\n", 3), ("[b-a]\n", 1)] {
        assert_eq!(Ignore::parse(text).unwrap_err().line, line, "{text:?}");
    }
}

#[test]
fn a_name_that_begins_with_an_exclamation_mark_stays_one() {
    let ignore = Ignore::parse("/!a\n").unwrap();
    assert!(ignore.leaves_out("!a"));
    assert!(Ignore::from_lines(&ignore.lines()).leaves_out("!a"));
}

proptest! {
    #[test]
    fn no_text_panics_and_lines_mean_the_same(text in "[a-c*?/!.\\[\\]^\\\\ \n-]{0,40}", path in "[a-c./]{1,12}") {
        let Ok(ignore) = Ignore::parse(&text) else { return Ok(()) };
        let again = Ignore::from_lines(&ignore.lines());
        prop_assert_eq!(ignore.leaves_out(&path), again.leaves_out(&path));
    }

    #[test]
    fn a_plain_name_leaves_out_itself_and_what_is_below(name in "[a-z]{1,6}", below in "[a-z]{1,6}(/[a-z]{1,6}){0,3}") {
        let ignore = Ignore::parse(&name).unwrap();
        prop_assert!(ignore.leaves_out(&name));
        let inside = format!("{}/{}", name, below);
        let beside = format!("{}x/{}", name, below);
        prop_assert!(ignore.leaves_out(&inside));
        prop_assert!(!ignore.leaves_out(&beside));
    }

    #[test]
    fn the_last_word_counts(path in "[a-z]{1,6}(/[a-z]{1,6}){0,3}") {
        let taken_back = Ignore::parse(&format!("**\n!{path}\n")).unwrap();
        prop_assert!(!taken_back.leaves_out(&path));
        let left_out = Ignore::parse(&format!("!{path}\n**\n")).unwrap();
        prop_assert!(left_out.leaves_out(&path));
    }
}
