//! The messages about a configuration are the product: each broken one under `config/broken/` has
//! its messages beside it in `expected.txt`. `HITLESS_BLESS=1` writes what is said now, and what is
//! derived from the table of keys; the change is reviewed as a diff.

use std::fs;
use std::path::{Path, PathBuf};

use hitless::config::{self, Source, Sources};
use proptest::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blessing() -> bool {
    std::env::var_os("HITLESS_BLESS").is_some()
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.into() }
}

/// Errors or warnings of a folder, with paths relative to it.
fn said_about(folder: &Path) -> String {
    let said = match config::read(folder).and_then(|sources| config::parse(&sources)) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(errors) => errors.to_string(),
    };
    format!("{}\n", said.replace(&format!("{}/", folder.display()), ""))
}

fn is_as_written(path: &Path, now: &str) -> bool {
    if blessing() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, now).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    if written != now {
        println!("--- {}\n{written}+++ now\n{now}", path.display());
    }
    written == now
}

fn folders(of: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/config").join(of)).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_broken_configuration_is_explained_as_agreed() {
    let broken = folders("broken");
    assert!(broken.len() >= 20, "only {} broken configurations", broken.len());
    let wrong: Vec<_> = broken
        .iter()
        .filter(|folder| !is_as_written(&folder.join("expected.txt"), &said_about(folder)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?} say something else now; HITLESS_BLESS=1 writes it");
}

#[test]
fn every_error_says_where_what_is_allowed_and_what_to_do() {
    for folder in folders("broken") {
        let errors = config::read(&folder).and_then(|sources| config::parse(&sources)).unwrap_err();
        for error in &errors.0 {
            let whole = !error.found.is_empty() && !error.allowed.is_empty() && !error.remedy.is_empty();
            let shown = error.to_string();
            assert!(whole && !shown.contains('\n') && !shown.ends_with('.'), "{shown}");
        }
    }
}

#[test]
fn every_idle_key_is_warned_of_as_agreed() {
    for folder in folders("idle") {
        let loaded = config::read(&folder).and_then(|sources| config::parse(&sources)).unwrap();
        assert!(!loaded.warnings.is_empty(), "{}", folder.display());
        assert!(is_as_written(&folder.join("expected.txt"), &said_about(&folder)));
    }
}

#[test]
fn what_is_derived_from_the_table_of_keys_is_up_to_date() {
    let derived = [
        ("etc/hitless/hitless.toml", config::example()),
        ("etc/hitless/services.d/README", config::example_service()),
        ("man/hitless.toml.5", config::man()),
    ];
    for (path, now) in derived {
        assert!(
            is_as_written(&root().join(path), &now),
            "{path} is older than the table; HITLESS_BLESS=1 writes it"
        );
    }
}

#[test]
fn the_shipped_files_are_accepted_without_a_word() {
    let loaded =
        config::read(&root().join("etc/hitless")).and_then(|sources| config::parse(&sources)).unwrap();
    assert_eq!((loaded.warnings, loaded.settings.services.len()), (vec![], 0));
    let example =
        config::parse(&Sources(vec![source("services.d/shop.toml", &config::example_service())])).unwrap();
    assert_eq!((example.warnings, example.settings.services.len()), (vec![], 1));
}

#[test]
fn a_configuration_that_is_read_only_in_part_is_explained_whole() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("services.d")).unwrap();
    fs::write(dir.path().join("hitless.toml"), b"\xff").unwrap();
    let service = "[service.a]\nhosts = [\"a\"]\nendpoints = [\"b:1\"]\nlisteners = [\"https\"]\npaths = 1\n";
    fs::write(dir.path().join("services.d/a.toml"), service).unwrap();
    let errors = config::read(dir.path()).unwrap_err();
    assert_eq!(errors.0.len(), 2, "the listeners of an unreadable file are not called unknown: {errors}");
}

#[test]
fn a_great_many_services_are_read_in_a_moment() {
    let services = |n: usize| {
        let text =
            |i| format!("[service.s{i}]\nhosts = [\"s{i}.example.com\"]\nendpoints = [\"127.0.0.1:3000\"]\n");
        Sources(vec![source("hitless.toml", &(0..n).map(text).collect::<String>())])
    };
    // Something quadratic would not end before the runner's patience.
    let loaded = config::parse(&services(100_000)).unwrap();
    assert_eq!(loaded.settings.services.len(), 100_000);
}

#[test]
fn a_great_many_mistakes_are_reported_as_far_as_it_helps() {
    let list = |of: &str| (0..400).map(|i| format!("\"{of}{i}\", ")).collect::<String>();
    let text =
        format!("[service.a]\nendpoints = [\"a:1\"]\nhosts = [{}]\npath = [{}]\n", list("h"), list("/p"));
    let said = config::parse(&Sources(vec![source("hitless.toml", &text)])).unwrap_err().to_string();
    assert!(said.contains("too many combinations"), "{said}");
    let many: String = (0..5_000).map(|i| format!("k{i} = 1, ")).collect();
    let sources = Sources(vec![source("hitless.toml", &format!("drain = {{ {many} x = 1 }}"))]);
    assert_eq!(config::parse(&sources).unwrap_err().0.len(), 1000);
}

/// Texts made of the words of the language, which go deeper than arbitrary ones.
fn likely_text() -> impl Strategy<Value = String> {
    let words = config::KEYS.iter().flat_map(|key| {
        let names = key.at.iter().flat_map(|path| path.split('.')).map(str::to_owned);
        names.chain([key.example.to_owned()]).collect::<Vec<_>>()
    });
    let signs = [
        "\n",
        "=",
        " = ",
        ".",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "1",
        "\"x\"",
        "\"\\u0000\"",
        "[]",
    ];
    let pieces: Vec<String> =
        words.chain(signs.map(str::to_owned)).filter(|piece| !piece.is_empty()).collect();
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

/// A line that is right but for its value.
fn likely_line() -> impl Strategy<Value = String> {
    let keys: Vec<String> = config::KEYS
        .iter()
        .filter(|key| !key.example.is_empty())
        .flat_map(|key| key.at.iter())
        .map(|path| path.replace("NAME", "a"))
        .collect();
    let value = prop_oneof![
        "\\PC{0,20}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(config::KEYS).prop_map(|key| key.example.to_owned()),
        "[a-z0-9/:.*{}%\\[\\]-]{0,20}".prop_map(|text| format!("[{text:?}]")),
        "[a-z0-9/:.*{}%-]{0,20}".prop_map(|text| format!("{text:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
    ];
    (prop::sample::select(keys), value).prop_map(|(path, value)| match path.split_once("[].") {
        Some((list, key)) => format!("[[{list}]]\n{key} = {value}\n"),
        None => format!("{path} = {value}\n"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_parse_panic(text in any::<String>(), likely in likely_text(), line in likely_line()) {
        for text in [text, likely, line] {
            let sources = Sources(vec![source("hitless.toml", &text), source("services.d/a.toml", &text)]);
            match config::parse(&sources) {
                Ok(loaded) => prop_assert!(!config::show(&loaded).is_empty()),
                Err(errors) => prop_assert!(!errors.0.is_empty()),
            }
        }
    }

    #[test]
    fn what_is_shown_is_a_configuration_with_the_same_settings(lines in prop::collection::vec(likely_line(), 0..4)) {
        let least = "[service.a]\nhosts = [\"a.example\"]\nendpoints = [\"127.0.0.1:1\"]\n";
        let main = lines.iter().filter(|line| !line.contains("service.")).map(String::as_str).collect::<String>();
        let routes = lines.iter().filter(|line| line.starts_with("[[")).map(String::as_str).collect::<String>();
        let service = source("services.d/a.toml", &format!("{least}{routes}"));
        if let Ok(loaded) = config::parse(&Sources(vec![source("hitless.toml", &main), service])) {
            let shown = config::show(&loaded);
            let again = config::parse(&Sources(vec![source("hitless.toml", &shown)]));
            prop_assert_eq!(again.map(|again| again.settings), Ok(loaded.settings), "{}", shown);
        }
    }
}
