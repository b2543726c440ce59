//! Values are data: nothing in them is ever run, cut or taken for an option.

use proptest::prelude::*;

use super::{PIPELINE, Repository};
use crate::diagnostic::render_all;
use crate::style::Colour;

#[test]
fn newlines_substitutions_and_dashes_pass_untouched() {
    let repository = Repository::with(
        "[services.orders]\npackage = \"cmd/orders\"\n[services.orders.build-args]\nA = \"line\\nline\"\nB = '$(id)'\nC = '-x'\nD = \"\"\nE = '`id`; rm -rf \"$HOME\" %PATH% é漢'\n",
    );
    let values = repository.config().services["orders"].neutral_build_args();
    let expected = [
        ("A", "line\nline"),
        ("B", "$(id)"),
        ("C", "-x"),
        ("D", ""),
        ("E", "`id`; rm -rf \"$HOME\" %PATH% é漢"),
    ];
    assert_eq!(values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    let text = format!("\u{feff}{}", PIPELINE.replace('\n', "\r\n"));
    let config = Repository::new().file("pipeline.toml", &text).config();
    assert_eq!(config.project.name.value, "shop");
    let text = text.replace("8080", "80800");
    Repository::new().file("pipeline.toml", &text).says(&[
        "pipeline.toml:6:8",
        "6 | port = 80800\n",
        "^^^^^",
    ]);
}

/// Pieces of which files are made, and some that never should be.
const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "=",
    ".",
    ",",
    "\n",
    "\r",
    "#",
    "{}",
    "[[",
    "]]",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "漢",
    "\t",
    "\u{1b}[31m",
    "name",
    "services",
    "gateway",
    "build-args",
    "version",
    "inherits",
    "needs",
    "1e999",
    "0x",
    "1979-05-27",
    "true",
    "[services.gateway]\n",
    "a.b.c = 1\n",
    "-",
    "..",
    "/",
];

fn edited(text: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let text = text.as_bytes().to_vec();
    let length = text.len();
    prop::collection::vec((0..=length, 0..12_usize, prop::sample::select(PIECES)), 1..6).prop_map(
        move |edits| {
            let mut text = text.clone();
            for (at, cut, piece) in edits {
                let at = at.min(text.len());
                let end = (at + cut).min(text.len());
                text.splice(at..end, piece.bytes());
            }
            text
        },
    )
}

fn told(pipeline: &[u8], environment: &[u8]) {
    let repository =
        Repository::new().file("pipeline.toml", pipeline).file("environments/local.toml", environment);
    let (config, diagnostics) = repository.check();
    assert!(config.is_some() || !diagnostics.is_empty());
    for colour in [Colour::Off, Colour::On] {
        let _ = render_all(&diagnostics, colour);
    }
    for (place, _) in diagnostics.iter().filter_map(|diagnostic| diagnostic.place.as_ref()) {
        let (line, column) = place.line_and_column();
        assert!(line >= 1 && column >= 1);
    }
}

const ENVIRONMENT: &str =
    "inherits = \"x\"\n[build-args]\nDB_HOST = \"db.{APP_ENV}\"\n[secrets]\nA = { env = \"B\" }\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        told(&bytes, &bytes);
    }

    #[test]
    fn no_edit_of_a_good_file_panics(
        pipeline in edited(include_str!("../../../../../pipeline.toml")),
        environment in edited(ENVIRONMENT),
    ) {
        told(&pipeline, &environment);
    }
}
