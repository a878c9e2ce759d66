//! One line of a log, in the three forms it can take.
//!
//! Promises: whatever a value contains, it stays the value of its own field: a line break in a
//! path makes neither another field of a journal entry nor another line of JSON or text.
//! Must not know: where lines go.
//!
//! - *Journal*: the native protocol (systemd, "Native Journal Protocol"). `NAME=value\n`, or, where
//!   the value contains a line break, `NAME\n`, its length as 64 bits little endian, value, `\n`.
//! - *JSON*: one object on one line.
//! - *Text*: for a human at a terminal; control characters are shown, not sent.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;

use jiff::Timestamp;

/// The form of the lines that a destination takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Journal,
    Json,
    Text,
}

/// As in syslog(3). error: a human must act; warning: degraded, going on; notice: lifecycle;
/// info: facts and requests; debug: per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// What every line has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub process: &'a str,
    pub priority: Priority,
    pub message: &'a str,
    /// One of [`super::event`].
    pub message_id: Option<&'a str>,
}

/// A line under construction: a head, then fields.
#[derive(Debug)]
pub(super) struct Line {
    format: Format,
    bytes: Vec<u8>,
}

impl Line {
    pub fn new(format: Format, head: &Head<'_>) -> Line {
        let mut line = Line { format, bytes: Vec::with_capacity(512) };
        match format {
            Format::Journal => line.journal_head(head),
            Format::Json => line.json_head(head),
            Format::Text => line.text_head(head),
        }
        line
    }

    /// A field with a text for a value. `name` in lower case.
    pub fn text(&mut self, name: &str, value: &str) {
        match self.format {
            Format::Journal => {
                self.journal_name(name);
                self.journal_value(value.as_bytes());
            }
            Format::Json => {
                self.json_name(name);
                self.json_text(value);
            }
            Format::Text => {
                let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=';
                match !value.is_empty() && value.chars().all(plain) {
                    true => self.put(format_args!(" {name}={value}")),
                    false => self.put(format_args!(" {name}={value:?}")),
                }
            }
        }
    }

    /// A field with a value that is written without quotes: a finite number or a truth value.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        match self.format {
            Format::Journal => {
                self.journal_name(name);
                self.put(format_args!("={value}\n"));
            }
            Format::Json => {
                self.json_name(name);
                self.put(value);
            }
            Format::Text => self.put(format_args!(" {name}={value}")),
        }
    }

    /// The line as it is sent, with its end.
    pub fn finish(mut self) -> Vec<u8> {
        match self.format {
            Format::Journal => {}
            Format::Json => self.bytes.extend_from_slice(b"}\n"),
            Format::Text => self.bytes.push(b'\n'),
        }
        self.bytes
    }

    fn journal_head(&mut self, head: &Head<'_>) {
        self.bytes.extend_from_slice(b"MESSAGE");
        self.journal_value(head.message.as_bytes());
        self.put(format_args!("PRIORITY={}\nSYSLOG_IDENTIFIER=hitless\n", head.priority as u8));
        if let Some(id) = head.message_id {
            self.bytes.extend_from_slice(b"MESSAGE_ID");
            self.journal_value(id.as_bytes());
        }
        self.bytes.extend_from_slice(b"HITLESS_PROCESS");
        self.journal_value(head.process.as_bytes());
    }

    /// journald takes names of at most 64 of `A-Z`, `0-9` and `_`.
    fn journal_name(&mut self, name: &str) {
        self.bytes.extend_from_slice(b"HITLESS_");
        let upper = name.bytes().map(|byte| match byte.to_ascii_uppercase() {
            valid @ (b'A'..=b'Z' | b'0'..=b'9') => valid,
            _ => b'_',
        });
        self.bytes.extend(upper.take(64 - "HITLESS_".len()));
    }

    fn journal_value(&mut self, value: &[u8]) {
        if value.contains(&b'\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    fn json_head(&mut self, head: &Head<'_>) {
        let (now, level) = (Timestamp::now(), head.priority);
        self.put(format_args!("{{\"time\":\"{now:.6}\",\"level\":\"{level}\",\"process\":"));
        self.json_text(head.process);
        self.bytes.extend_from_slice(b",\"message\":");
        self.json_text(head.message);
        if let Some(id) = head.message_id {
            self.bytes.extend_from_slice(b",\"message_id\":");
            self.json_text(id);
        }
    }

    /// A field never hides one of the head.
    fn json_name(&mut self, name: &str) {
        self.bytes.push(b',');
        match name {
            "time" | "level" | "process" | "message" | "message_id" => self.json_text(&format!("{name}_")),
            _ => self.json_text(name),
        }
        self.bytes.push(b':');
    }

    fn json_text(&mut self, value: &str) {
        // INVARIANT: a str serializes, and a Vec takes it.
        serde_json::to_writer(&mut self.bytes, value).expect("a text becomes JSON");
    }

    /// The time of day in UTC: the date is known to who sits there, the time zone is not to us.
    fn text_head(&mut self, head: &Head<'_>) {
        let seconds = Timestamp::now().as_second().rem_euclid(86_400);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        self.put(format_args!("{hour:02}:{minute:02}:{second:02}Z {}: ", head.process));
        if head.priority <= Priority::Warning || head.priority == Priority::Debug {
            self.put(format_args!("{}: ", head.priority));
        }
        self.put(Shown(head.message));
    }

    fn put(&mut self, value: impl Display) {
        // INVARIANT: a Vec takes every byte; an error could only come from the Display itself.
        write!(self.bytes, "{value}").expect("a value can be displayed");
    }
}

impl Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Priority::Error => "error",
            Priority::Warning => "warning",
            Priority::Notice => "notice",
            Priority::Info => "info",
            Priority::Debug => "debug",
        })
    }
}

/// A message for a terminal. Its further lines are indented, so that none looks like another's.
struct Shown<'a>(&'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("\n    ")?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Takes a journal entry apart as journald does.
    pub(in crate::telemetry) fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|b| *b == b'\n').unwrap();
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            if let Some(equals) = line.iter().position(|b| *b == b'=') {
                fields.push((text(&line[..equals]), text(&line[equals + 1..])));
                entry = rest;
            } else {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                fields.push((text(line), text(&rest[8..8 + length])));
                assert_eq!(rest[8 + length], b'\n');
                entry = &rest[9 + length..];
            }
        }
        fields
    }

    /// The value of the only field of this name.
    pub(in crate::telemetry) fn only(entry: &[u8], name: &str) -> Option<String> {
        let mut found = fields(entry).into_iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    fn line(format: Format, message: &str, name: &str, value: &str) -> Vec<u8> {
        let head = Head { process: "gateway", priority: Priority::Notice, message, message_id: Some("0f") };
        let mut line = Line::new(format, &head);
        line.text(name, value);
        line.plain("duration_us", 12);
        line.finish()
    }

    const FORGERY: &str = "/a\nPRIORITY=0\nMESSAGE=forged\n\"},{\x1b[31m\u{0}";

    #[test]
    fn a_journal_entry_has_its_fields() {
        let entry = line(Format::Journal, "ready", "request_id", "abc");
        assert_eq!(
            String::from_utf8(entry).unwrap(),
            "MESSAGE=ready\nPRIORITY=5\nSYSLOG_IDENTIFIER=hitless\nMESSAGE_ID=0f\nHITLESS_PROCESS=gateway\n\
             HITLESS_REQUEST_ID=abc\nHITLESS_DURATION_US=12\n"
        );
    }

    #[test]
    fn a_line_break_in_a_value_forges_no_journal_field() {
        let entry = line(Format::Journal, FORGERY, "path", FORGERY);
        assert_eq!(only(&entry, "MESSAGE").as_deref(), Some(FORGERY));
        assert_eq!(only(&entry, "HITLESS_PATH").as_deref(), Some(FORGERY));
        assert_eq!(only(&entry, "PRIORITY").as_deref(), Some("5"));
        assert_eq!(fields(&entry).len(), 7);
    }

    #[test]
    fn a_journal_field_has_a_name_that_journald_takes() {
        let long = "x".repeat(100);
        let names = [("http.status-code", "HITLESS_HTTP_STATUS_CODE"), ("r#type", "HITLESS_R_TYPE")];
        for (name, expected) in names {
            assert_eq!(only(&line(Format::Journal, "m", name, "v"), expected).as_deref(), Some("v"));
        }
        assert!(fields(&line(Format::Journal, "m", &long, "v")).iter().all(|(name, _)| name.len() <= 64));
    }

    #[test]
    fn json_is_one_object_on_one_line_whatever_the_values() {
        let bytes = line(Format::Json, FORGERY, "path", FORGERY);
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["message"], FORGERY);
        assert_eq!(value["path"], FORGERY);
        assert_eq!(value["level"], "notice");
        assert_eq!(value["process"], "gateway");
        assert_eq!(value["message_id"], "0f");
        assert_eq!(value["duration_us"], 12);
        value["time"].as_str().unwrap().parse::<Timestamp>().unwrap();
    }

    #[test]
    fn a_json_field_hides_none_of_the_head() {
        let value: serde_json::Value =
            serde_json::from_slice(&line(Format::Json, "said", "message", "m")).unwrap();
        assert_eq!((&value["message"], &value["message_"]), (&"said".into(), &"m".into()));
    }

    #[test]
    fn text_shows_control_characters_and_indents_further_lines() {
        let shown = String::from_utf8(line(Format::Text, FORGERY, "path", FORGERY)).unwrap();
        assert!(!shown.contains('\x1b') && !shown.contains('\0'), "{shown}");
        assert!(shown.lines().skip(1).all(|line| line.starts_with("    ")), "{shown}");
        assert!(shown.contains("Z gateway: /a\n    PRIORITY=0"), "{shown}");
        assert!(shown.ends_with(" duration_us=12\n"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_out_as_it_went_in(message: String, value: String) {
            let entry = line(Format::Journal, &message, "value", &value);
            assert_eq!(only(&entry, "MESSAGE"), Some(message.clone()));
            assert_eq!(only(&entry, "HITLESS_VALUE"), Some(value.clone()));
            let json = line(Format::Json, &message, "value", &value);
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!((&json["message"], &json["value"]), (&message.into(), &value.into()));
        }
    }
}
