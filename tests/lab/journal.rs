//! The journal of a host: read it, or wait for an entry in it.

use super::process::Running;
use super::{BOUND, Host};
use serde_json::{Map, Value};
use std::time::Instant;

/// One entry with its fields.
#[derive(Clone, Debug)]
pub struct Entry(pub Map<String, Value>);

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        serde_json::from_str(line).ok().map(Entry)
    }

    /// A field's text; empty when it is absent. journalctl(1) writes binary fields as numbers.
    pub fn field(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(bytes)) => {
                let bytes: Vec<u8> =
                    bytes.iter().filter_map(|byte| byte.as_u64()).map(|byte| byte as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => String::new(),
        }
    }

    pub fn message(&self) -> String {
        self.field("MESSAGE")
    }
}

/// A place in the journal.
#[derive(Clone, Debug)]
pub struct Cursor(String);

impl Host {
    /// The entries that `journalctl ARGUMENTS` selects.
    #[track_caller]
    pub fn journal<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Vec<Entry> {
        let words: Vec<&str> =
            ["journalctl", "--output=json", "--all"].into_iter().chain(arguments).collect();
        self.run(words).ok().lines().filter_map(Entry::parse).collect()
    }

    /// The journal's end as it is now, for [`Host::wait_journal`].
    #[track_caller]
    pub fn journal_end(&self) -> Cursor {
        let last = self.journal(["--lines=1"]);
        Cursor(last.last().expect("a booted host has a journal").field("__CURSOR"))
    }

    /// The entries of a unit since then.
    #[track_caller]
    pub fn journal_since(&self, cursor: &Cursor, unit: &str) -> Vec<Entry> {
        self.journal(["--unit", unit, "--after-cursor", &cursor.0])
    }

    /// Waits for the first entry since `cursor` that is `wanted`, from whatever unit.
    #[track_caller]
    pub fn wait_journal(&self, cursor: &Cursor, mut wanted: impl FnMut(&Entry) -> bool) -> Entry {
        let follow = self.follow(cursor);
        follow.wait_for(|line| Entry::parse(line).filter(|entry| wanted(entry)))
    }

    /// Waits until `holds` is true, looking again at each new journal entry: what changes in a
    /// host is logged. The slow beat beside it is for what is not.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + BOUND;
        while !holds() {
            assert!(Instant::now() < end, "not within {BOUND:?}: {what}");
            self.shell("timeout 0.2 journalctl --follow --lines=0 | head --lines=1").ok();
        }
    }

    fn follow(&self, cursor: &Cursor) -> Running {
        self.spawn([
            "journalctl",
            "--follow",
            "--no-tail",
            "--output=json",
            "--all",
            "--after-cursor",
            &cursor.0,
        ])
    }
}
