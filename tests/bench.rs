//! The command line of `bench`. What it measures takes minutes, and is nobody's test.

use crate::process::{command, succeed, text};

#[test]
fn bench_says_what_it_measures_and_refuses_what_it_does_not_know() {
    let bench = |arguments: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_xtask"));
        command.arg("bench").args(arguments);
        command
    };
    let help = succeed(&mut bench(&["--help"]));
    for work in
        ["cold", "compiled", "nothing", "command", "shared", "platforms", "environments", "push", "plan-cold"]
    {
        assert!(help.contains(&format!("- {work}:")), "{work}: {help}");
    }
    for (option, value) in [("--only", "nonsense"), ("--services", "0"), ("--warm", "0")] {
        let output = bench(&[option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(text(&output.stderr).contains(option), "{}", text(&output.stderr));
    }
}
