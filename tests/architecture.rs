//! The house keeps its plan: the imports written in ARCHITECTURE.md are the only ones, every
//! module says what it is, and no room is a drawer for odds and ends.
//!
//! Promises: the plan is read from the fenced block ` ```imports ` of ARCHITECTURE.md, one line
//! `room: allowed…` for each room, where an allowed word is a room or a `room::module`. Comments
//! and string literals are not code. Files of test modules (`tests.rs`, `tests/`) are exempt: a
//! test may drive its room through the one that stands before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn rooms_import_only_what_the_plan_allows() {
    let plan = plan();
    let rooms: BTreeSet<&str> = plan.keys().map(String::as_str).collect();
    let mut trespasses = Vec::new();
    for file in sources().into_iter().filter(|file| !is_test(file)) {
        let room = room_of(&file);
        let allowed = &plan[&room];
        for path in named_paths(&code(&file), depth_of(&file)) {
            let target = path.split("::").next().unwrap();
            let at_home = target == room || !rooms.contains(target);
            if !at_home && !allowed.iter().any(|word| covers(word, &path)) {
                trespasses.push(format!(
                    "{}: {path}; {room} may import: {}",
                    file.display(),
                    allowed.join(" ")
                ));
            }
        }
    }
    assert!(trespasses.is_empty(), "not in ARCHITECTURE.md's plan:\n{}", trespasses.join("\n"));
}

#[test]
fn the_plan_names_every_room_and_no_other() {
    let built: BTreeSet<String> = sources().iter().map(|file| room_of(file)).collect();
    let planned: BTreeSet<String> = plan().into_keys().collect();
    assert_eq!(built, planned, "left: rooms in src/, right: rooms in ARCHITECTURE.md");
}

#[test]
fn the_plan_has_no_circle() {
    let plan = plan();
    let mut open: BTreeSet<&str> = plan.keys().map(String::as_str).collect();
    loop {
        let leaf = |room: &&str| {
            let imports = plan[*room].iter().map(|word| word.split("::").next().unwrap());
            imports.into_iter().all(|target| target == *room || !open.contains(target))
        };
        let leaves: Vec<&str> = open.iter().copied().filter(leaf).collect();
        if leaves.is_empty() {
            break;
        }
        leaves.iter().for_each(|room| assert!(open.remove(room)));
    }
    assert!(open.is_empty(), "rooms that import each other in a circle: {open:?}");
}

#[test]
fn every_module_opens_with_what_it_is() {
    let silent = |file: &PathBuf| !fs::read_to_string(file).unwrap().starts_with("//! ");
    let silent: Vec<PathBuf> = all_rust().into_iter().filter(silent).collect();
    assert!(silent.is_empty(), "files that do not open with `//! …`: {silent:#?}");
}

#[test]
fn no_module_is_a_drawer_for_odds_and_ends() {
    const DRAWERS: [&str; 9] =
        ["utils", "util", "common", "helpers", "helper", "manager", "types", "core", "misc"];
    let is_drawer = |file: &PathBuf| {
        let stems = file.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
        stems.into_iter().any(|stem| DRAWERS.contains(&stem))
    };
    let drawers: Vec<PathBuf> = all_rust().into_iter().filter(is_drawer).collect();
    assert!(drawers.is_empty(), "name the one noun that it is about: {drawers:#?}");
}

/// What `make test` does not run it says, and this would be skipped in silence.
#[test]
fn no_test_is_ignored() {
    let ignored = |file: &PathBuf| code(&root().join(file)).contains("#[ignore");
    let files: Vec<_> = all_rust().into_iter().filter(ignored).collect();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn the_reader_of_paths_sees_what_the_compiler_sees() {
    let source = "use crate::config::settings::{Drain, Log};\n\
                  use crate::{route, upstream::{self, Answer}};\n\
                  fn f() -> crate::response::Verdict { super::super::policy::x() }\n\
                  // use crate::comment;\n/* crate::block */ const S: &str = \"crate::text\";\n\
                  const R: &str = r#\"crate::\"raw\"\"#; const C: char = '\"'; fn g<'a>(x: &'a crate::admin::A) {}";
    let found = named_paths(&strip(source), 2);
    let wanted = [
        "config::settings::Drain",
        "config::settings::Log",
        "route",
        "upstream",
        "upstream::Answer",
        "response::Verdict",
        "policy::x",
        "admin::A",
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted.into_iter().collect());
}

/// Room → what it may import.
fn plan() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = text.split("```imports\n").nth(1).expect("ARCHITECTURE.md has a block ```imports");
    let lines = block.split("```").next().unwrap().lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (room, allowed) = line.split_once(':').unwrap_or_else(|| panic!("not `room: …`: {line}"));
            (room.trim().to_owned(), allowed.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

/// Whether an allowed word, `room` or `room::module`, covers a path.
fn covers(word: &str, path: &str) -> bool {
    path == word || path.strip_prefix(word).is_some_and(|rest| rest.starts_with("::"))
}

/// The files of the rooms, `src/lib.rs` excepted: it is the tour.
fn sources() -> Vec<PathBuf> {
    let tour = root().join("src/lib.rs");
    rust_below(&root().join("src")).into_iter().filter(|file| *file != tour).collect()
}

fn all_rust() -> Vec<PathBuf> {
    let folders = ["src", "tests", "examples", "benches"].map(|name| root().join(name));
    let files = folders.iter().flat_map(|folder| rust_below(folder));
    files.map(|file| file.strip_prefix(root()).unwrap().to_owned()).collect()
}

fn rust_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names from `src/` down to the module of a file: `src/route/mod.rs` is `[route]`.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let names = inside.iter().map(|part| part.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod").collect()
}

fn is_test(file: &Path) -> bool {
    module_of(file).iter().any(|name| name == "tests")
}

fn room_of(file: &Path) -> String {
    module_of(file).swap_remove(0)
}

/// How many `super::` lead from a file to the root of the crate.
fn depth_of(file: &Path) -> usize {
    module_of(file).len()
}

fn code(file: &Path) -> String {
    strip(&fs::read_to_string(file).unwrap())
}

/// Every path from the root of the crate that the code names, without the leading `crate::`
/// (`hitless::` in main.rs), groups written out.
fn named_paths(code: &str, depth: usize) -> Vec<String> {
    let to_root = "super::".repeat(depth);
    let mut paths = Vec::new();
    for start in ["crate::", "hitless::", to_root.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let within_a_word =
                before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':');
            if !within_a_word {
                read_tree(&code[at + start.len()..], "", &mut paths);
            }
        }
    }
    paths
}

/// Reads one use tree and gives back what follows it.
fn read_tree<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = read_tree(inside, prefix, paths).trim_start();
            inside = match inside.strip_prefix(',') {
                Some(rest) if !rest.trim_start().starts_with('}') => rest,
                Some(rest) => return rest.trim_start().strip_prefix('}').unwrap_or(rest),
                None => return inside.strip_prefix('}').unwrap_or(inside),
            };
        }
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match (prefix, name) {
        (_, "self" | "") => prefix.to_owned(),
        ("", _) => name.to_owned(),
        _ => format!("{prefix}::{name}"),
    };
    match rest.strip_prefix("::") {
        Some(deeper)
            if deeper.starts_with(|letter: char| letter.is_alphabetic() || "{_*".contains(letter)) =>
        {
            read_tree(deeper, &path, paths)
        }
        _ => {
            paths.push(path);
            // `name as other` and `*`
            let rest = rest.trim_start_matches('*');
            rest.find([',', '}', ';', '\n']).map_or("", |at| &rest[at..])
        }
    }
}

/// The code alone: comments become nothing, literals become empty ones.
fn strip(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if letter == '"' {
            text_literal(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") || rest.starts_with("r##\"") {
            raw_literal(rest)
        } else if letter == '\'' {
            character_literal(rest)
        } else {
            0
        };
        let step = skipped.max(letter.len_utf8());
        code.push_str(if skipped == 0 { &rest[..step] } else { " " });
        rest = &rest[step..];
    }
    code
}

fn text_literal(rest: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_literal(rest: &str) -> usize {
    let opening = rest.find('"').unwrap() + 1;
    let closing = format!("\"{}", "#".repeat(opening - 2));
    rest[opening..].find(&closing).map_or(rest.len(), |at| opening + at + closing.len())
}

/// `'x'` and `'\n'` are literals, `'a` is a lifetime.
fn character_literal(rest: &str) -> usize {
    let body = if rest[1..].starts_with('\\') { 2 } else { 1 };
    let Some(letter) = rest[body..].chars().next() else { return 0 };
    let end = body + letter.len_utf8();
    match rest[end..].find('\'') {
        Some(0) => end + 1,
        Some(at) if body == 2 => end + at + 1,
        _ => 0,
    }
}
