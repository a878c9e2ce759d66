//! `hitless check --explain KEY`: what one key, or one table, is about.
//!
//! Promises: derived from the table of keys; takes a key with its names in place
//! (`service.shop.hosts`), as the table has it (`service.NAME.hosts`), or just its end (`hosts`).
//! Must not know: files, values in effect.

use std::fmt;

use super::keys::{KEYS, Key, Unset, last, parent};
use super::kind::Kind;
use super::message::{closest, quote};

/// No key of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    key: String,
    near: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no key {}", quote(&self.key))?;
        match self.near {
            Some(near) => write!(f, "; did you mean '{near}'?"),
            None => f.write_str("; see hitless.toml(5) for all of them"),
        }
    }
}

impl std::error::Error for Unknown {}

/// The words about a key, or about a table and its keys.
pub fn explain(key: &str) -> Result<String, Unknown> {
    let key = key.trim_matches(['[', ']', '.', ' ']);
    let wanted: Vec<&str> = key.split('.').map(plain).collect();
    let whole: Vec<&Key> = KEYS.iter().filter(|row| row.at.iter().any(|path| fits(path, &wanted))).collect();
    let below: Vec<&Key> =
        KEYS.iter().filter(|row| row.at.iter().any(|path| begins(path, &wanted))).collect();
    let rows = if whole.is_empty() && below.is_empty() { ending(&wanted) } else { whole };
    if !rows.is_empty() {
        return Ok(rows.into_iter().map(about).collect::<Vec<_>>().join("\n"));
    }
    if !below.is_empty() {
        return Ok(below.into_iter().map(|row| format!("{}\n    {}\n", row.at[0], row.summary)).collect());
    }
    let candidates = KEYS.iter().flat_map(|row| row.at.iter().flat_map(|path| [*path, last(path)]));
    Err(Unknown { key: key.to_owned(), near: closest(key, candidates) })
}

/// `route[0]` and `route[]` → `route`.
fn plain(segment: &str) -> &str {
    segment.split('[').next().unwrap_or(segment)
}

fn fits(path: &str, wanted: &[&str]) -> bool {
    path.split('.').count() == wanted.len() && begins(path, wanted)
}

fn begins(path: &str, wanted: &[&str]) -> bool {
    let mut segments = path.split('.').map(plain);
    wanted.iter().all(|wanted| segments.next().is_some_and(|segment| segment == *wanted || segment == "NAME"))
}

fn ending(wanted: &[&str]) -> Vec<&'static Key> {
    let ends = |path: &str| {
        let segments: Vec<&str> = path.split('.').map(plain).collect();
        segments.ends_with(wanted)
    };
    KEYS.iter().filter(|row| row.at.iter().any(|path| ends(path))).collect()
}

fn about(row: &Key) -> String {
    let mut text = format!("{}\n    {}\n\n", row.at.join("\n"), row.summary);
    if !row.detail.is_empty() {
        text.push_str(&wrapped(row.detail, "    ", 100));
        text.push('\n');
    }
    for (word, value) in facts(row) {
        text.push_str(&format!("    {:9}{value}\n", format!("{word}:")));
    }
    for below in KEYS.iter().filter(|below| parent(below.at[0]) == row.at[0]) {
        text.push_str(&format!("    {:16} {}\n", last(below.at[0]), below.summary));
    }
    text
}

/// What is allowed, what holds otherwise, and an example.
pub(super) fn facts(row: &Key) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if row.kind != (Kind::Table { short: "" }) {
        facts.push(("allowed", row.kind.allowed()));
    }
    match row.unset {
        Unset::Default(text) => facts.push(("default", text.to_owned())),
        Unset::Required => facts.push(("default", "none, it has to be written".into())),
        Unset::Means("") => {}
        Unset::Means(words) => facts.push(("default", words.to_owned())),
    }
    // Tables of a list do not inherit.
    if row.at.len() > 1 && !row.example.is_empty() && !parent(row.at[0]).ends_with("[]") {
        let inherit = match row.at {
            [general, _, _] => {
                format!("a route takes it from its service, and that from [{}]", parent(general))
            }
            [general, _] if !general.starts_with("service.") => {
                format!("a service takes it from [{}]", parent(general))
            }
            _ => "a route takes it from its service".into(),
        };
        facts.push(("inherit", inherit));
    }
    if !row.example.is_empty() {
        facts.push(("example", format!("{} = {}", last(row.at[0]), row.example)));
    }
    facts
}

/// A paragraph in lines of at most so many characters, where its words allow.
pub(super) fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        let space = if line.is_empty() { "" } else { " " };
        line.push_str(space);
        line.push_str(word);
    }
    lines.push_str(&format!("{indent}{line}\n"));
    lines
}

/// A summary as the beginning of a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_explained_however_it_is_named() {
        let by_table = explain("service.NAME.hosts").unwrap();
        assert_eq!(explain("service.shop.hosts").unwrap(), by_table);
        assert_eq!(explain("service.shop.route[3].hosts").unwrap(), by_table);
        assert_eq!(explain("hosts").unwrap(), by_table);
        assert!(by_table.contains("example: hosts = [\"shop.example.com\"]"), "{by_table}");
    }

    #[test]
    fn every_row_can_be_explained() {
        for row in KEYS {
            for path in row.at {
                assert!(explain(path).unwrap().contains(row.summary), "{path}");
            }
        }
    }

    #[test]
    fn a_table_is_explained_with_its_keys() {
        let drain = explain("[drain]").unwrap();
        assert!(drain.contains("idle-grace") && drain.contains("SIGTERM"), "{drain}");
        assert!(explain("service").unwrap().contains("service.NAME.endpoints"));
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest_one() {
        let error = explain("drain.dead-line").unwrap_err();
        assert_eq!(error.to_string(), "there is no key 'drain.dead-line'; did you mean 'drain.deadline'?");
        assert_eq!(
            explain("nonsense").unwrap_err().to_string(),
            "there is no key 'nonsense'; see hitless.toml(5) for all of them"
        );
    }
}
