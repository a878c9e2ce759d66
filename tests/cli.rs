//! The verbs that need no daemon.

use std::path::Path;
use std::process::{Command, Output};

fn hitless(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hitless")).args(arguments).output().unwrap()
}

#[test]
fn the_manual_in_the_tree_is_what_the_table_of_verbs_says() {
    let dir = tempfile::tempdir().unwrap();
    let output = hitless(&["generate", dir.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let now = std::fs::read_to_string(dir.path().join("hitless.8")).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/hitless.8");
    if std::env::var_os("HITLESS_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(now == then, "man/hitless.8 is older than the table; HITLESS_BLESS=1 writes it");
}

#[test]
fn everything_the_package_ships_from_the_tables_is_written() {
    let dir = tempfile::tempdir().unwrap();
    assert!(hitless(&["generate", dir.path().to_str().unwrap()]).status.success());
    for name in ["hitless.8", "hitless.toml.5", "hitless.toml", "hitless.bash", "_hitless", "hitless.fish"] {
        assert!(dir.path().join(name).metadata().unwrap().len() > 100, "{name}");
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hitless(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("reload"), "{shell}");
    }
}

#[test]
fn check_says_what_is_wrong_and_exits_78() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hitless.toml"), "[drain]\ndeadlin = \"5s\"\n").unwrap();
    let output = hitless(&["check", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("hitless.toml:2:1: drain.deadlin: ") && said.contains("deadline"), "{said}");
}

#[test]
fn check_accepts_explains_and_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = hitless(&["check", path]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration accepted: 0 services, 0 routes\n");
    let explained = hitless(&["check", "--explain", "drain.deadline"]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains("drain.deadline"));
    assert_eq!(hitless(&["check", "--explain", "drain.colour"]).status.code(), Some(64));
    let shown = hitless(&["check", "--show", path]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("deadline"));
    let schema = hitless(&["check", "--schema"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&schema.stdout).is_ok());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let shell = ["-c", "\"$0\" check --schema | head -c 1", env!("CARGO_BIN_EXE_hitless")];
    let output = Command::new("sh").args(shell).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
