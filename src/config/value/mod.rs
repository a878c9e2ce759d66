//! Values as written in the files → values as meant.
//!
//! Promises: what is accepted here is safe to use as it is (no control character reaches a field,
//! a log line or a path); a refusal says what is wrong with the value and what to write instead.
//! Must not know: keys, files, positions.

pub mod address;
pub mod balance;
pub mod name;
pub mod path;
pub mod quantity;
pub mod rate;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::settings::{AccessSink, Address, Endpoint, HostPattern, Network, RateBy};

/// A checked value of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Flag(bool),
    Count(u64),
    Share(f64),
    /// In thousandths.
    Percent(u32),
    /// From and to, both included.
    Statuses(u16, u16),
    Duration(Duration),
    Size(u64),
    /// One of the words that a key knows, such as `auto` or `off`.
    Word(&'static str),
    Text(String),
    Pair {
        chain: String,
        key: String,
    },
    Address(Address),
    Endpoint(Endpoint),
    Host(HostPattern),
    Network(Network),
    Sink(AccessSink),
    /// So many in so much time.
    Rate(NonZeroU32, Duration),
    RateBy(RateBy),
    /// Field names in lower case with the value that each must have.
    Fields(BTreeMap<String, String>),
}

/// Why a value is refused. Either part may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub found: String,
    pub remedy: String,
}

impl Refusal {
    pub fn new(found: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal { found: found.into(), remedy: remedy.into() }
    }
}

/// The value as TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Count(count) => write!(f, "{count}"),
            Value::Share(share) => write!(f, "{share:?}"),
            Value::Percent(thousandths) => match thousandths % 10 {
                0 => write!(f, "\"{}%\"", thousandths / 10),
                tenth => write!(f, "\"{}.{tenth}%\"", thousandths / 10),
            },
            Value::Statuses(from, to) if from == to => write!(f, "\"{from}\""),
            Value::Statuses(from, to) => write!(f, "\"{from}-{to}\""),
            Value::Endpoint(endpoint) => f.write_str(&literal(&endpoint.to_string())),
            Value::Duration(duration) => write!(f, "\"{}\"", quantity::in_words(*duration)),
            Value::Size(size) => write!(f, "\"{}\"", quantity::size_in_words(*size)),
            Value::Word(word) => write!(f, "\"{word}\""),
            Value::Text(text) => f.write_str(&literal(text)),
            Value::Pair { chain, key } => {
                write!(f, "{{ chain = {}, key = {} }}", literal(chain), literal(key))
            }
            Value::Address(address) => f.write_str(&literal(&address.to_string())),
            Value::Host(host) => write!(f, "\"{host}\""),
            Value::Network(network) => write!(f, "\"{network}\""),
            Value::Sink(sink) => f.write_str(&literal(&address::sink_in_words(sink))),
            Value::Rate(count, per) => write!(f, "\"{}\"", rate::in_words(*count, *per)),
            Value::RateBy(RateBy::Field(name)) => f.write_str(&literal(&format!("field:{name}"))),
            Value::RateBy(by) => write!(f, "\"{}\"", by.word()),
            Value::Fields(fields) => {
                let entry =
                    |(name, value): (&String, &String)| format!("{} = {}", literal(name), literal(value));
                write!(f, "{{ {} }}", fields.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A text as a TOML string on one line.
pub fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The first control character in a text, said in words.
fn control(text: &str) -> Option<&'static str> {
    text.chars().find(|c| c.is_control()).map(|c| match c {
        '\n' | '\r' => "a line break",
        '\t' => "a tab",
        '\0' => "a NUL",
        _ => "a control character",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeValue;

    #[test]
    fn a_text_written_as_toml_reads_back_as_itself() {
        for text in ["", "plain", "a\"b\\c", "line\r\nbreak\ttab", "\0\u{7f}\u{85}é"] {
            let literal = literal(text);
            assert_eq!(DeValue::parse(&literal).unwrap().get_ref().as_str(), Some(text), "{literal}");
        }
    }
}
