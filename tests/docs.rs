//! What docs/http.md promises is tested: every test that it names is there.
//!
//! Promises: a test that is renamed or removed is missed here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_table_of_http_names_exists() {
    let table = fs::read_to_string(root().join("docs/http.md")).unwrap();
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.ends_with(" test |")).collect();
    assert!(!rows.is_empty());
    let mut sources = String::new();
    ["src", "tests"].iter().for_each(|folder| read_below(&root().join(folder), &mut sources));
    let missing: BTreeSet<&str> =
        rows.into_iter().flat_map(named).filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/http.md names tests that do not exist: {missing:#?}");
}

/// The tests in the last cell of a row; a row without one promises what nobody checks.
fn named(row: &str) -> Vec<&str> {
    let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
    let names: Vec<&str> = cell.split(", ").map(|name| name.trim_matches('`')).collect();
    assert!(names.iter().all(|name| name.contains('_')), "a row without a test: {row}");
    names
}

fn read_below(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_below(&path, into),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                into.push_str(&fs::read_to_string(&path).unwrap());
            }
            false => {}
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
