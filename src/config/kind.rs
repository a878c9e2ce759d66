//! What kind of value a key takes: how it is read, and how that is said in words and as a schema.
//!
//! Promises: the check, the words for what is allowed and the JSON schema of a kind stand next to
//! each other and are the only ones.
//! Must not know: which keys there are, where a value stands.

use std::time::Duration;

use serde_json::json;
use toml::de::{DeInteger, DeTable, DeValue};

use super::message::{bare, closest, either, quote};
use super::value::{Refusal, Value, address, balance, literal, name, path, quantity, rate};

/// The kind of a key's value. Bounds are inclusive; a `word` is accepted besides, unless empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Keys below it; a plain string stands for the key `short`, unless that is empty.
    Table {
        short: &'static str,
    },
    Flag,
    Count {
        least: u64,
        most: u64,
        word: &'static str,
    },
    OneOf(&'static [u64]),
    /// A share of a whole.
    Share,
    /// The same with its sign, such as "20%".
    Percent,
    /// The same, more than nothing, or "off".
    Percents,
    /// Bounds in milliseconds.
    Duration {
        least: u64,
        most: u64,
        word: &'static str,
    },
    /// Bounds in bytes.
    Size {
        least: u64,
        most: u64,
        word: &'static str,
    },
    Word(&'static [&'static str]),
    Socket,
    SocketFile,
    Folder,
    /// A file whose content is read later than the configuration, or a credential.
    Place,
    /// A certificate chain and its key.
    Pair,
    Endpoint,
    /// What the same endpoint is chosen by.
    HashKey,
    /// The name of a cookie.
    Token,
    /// A path with its query, as it is asked for.
    Target,
    /// A status, or from one to another.
    Statuses,
    Network,
    Sink,
    Host,
    ListenerName,
    /// A service unit of systemd.
    Unit,
    Method,
    Pattern,
    Prefix,
    Location,
    MediaType,
    /// Content, at most so many bytes.
    Body(usize),
    /// Field names with the value that each must have.
    Fields,
    /// The name of a field that hitless sets.
    OwnField,
    /// The name of a field that is read.
    Field,
    /// So many in so much time.
    Rate,
    /// Whose requests are counted together.
    RateBy,
    /// What a certificate can be for.
    Certified,
    List(&'static Kind),
    /// At least one.
    Some(&'static Kind),
    /// One without brackets, or at least one in a list.
    OneOrMore(&'static Kind),
}

impl Kind {
    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Table { short: "" } => "a table".into(),
            Kind::Table { short } => format!("a table, or a plain string for its key '{short}'"),
            Kind::Flag => "true or false".into(),
            Kind::Count { least, most, word } => {
                or_word(format!("a whole number from {least} to {most}"), word)
            }
            Kind::OneOf(numbers) => {
                either(numbers.iter().map(u64::to_string).collect::<Vec<_>>().iter().map(String::as_str))
            }
            Kind::Share => "a number from 0.0 to 1.0".into(),
            Kind::Percent => "a share from \"0%\" to \"100%\"".into(),
            Kind::Percents => "a share from \"1%\" to \"100%\", or \"off\"".into(),
            Kind::Duration { least, most, word } => {
                let [least, most] =
                    [least, most].map(|millis| quantity::in_words(Duration::from_millis(*millis)));
                or_word(
                    format!("a duration with its unit (ms, s, m, h, d) from \"{least}\" to \"{most}\""),
                    word,
                )
            }
            Kind::Size { least, most, word } => {
                let [least, most] = [least, most].map(|bytes| quantity::size_in_words(*bytes));
                let range = format!("a size with its unit (B, KiB, MiB, GiB) from \"{least}\" to \"{most}\"");
                or_word(range, word)
            }
            Kind::Word(words) => either(
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().iter().map(String::as_str),
            ),
            Kind::Socket => "IP:PORT, [IPv6]:PORT or unix:/path".into(),
            Kind::SocketFile => "an absolute path of at most 107 bytes".into(),
            Kind::Folder => {
                "a folder, by an absolute path or one below the folder of the configuration".into()
            }
            Kind::Place => {
                "a file, by an absolute path or one below the folder of the configuration, or \"credential:NAME\"".into()
            }
            Kind::Pair => "{ chain = a file, key = a file }".into(),
            Kind::Endpoint => {
                "IP:PORT, [IPv6]:PORT, NAME:PORT or unix:/path, and after a space perhaps weight=NUMBER".into()
            }
            Kind::HashKey => "\"address\", \"field:NAME\" or \"cookie:NAME\"".into(),
            Kind::Token => "the name of a cookie".into(),
            Kind::Target => "a path such as \"/healthz\"".into(),
            Kind::Statuses => "a status such as \"200\", or a range such as \"200-399\"".into(),
            Kind::Network => "an address, a block such as \"10.0.0.0/8\", or \"unix\"".into(),
            Kind::Sink => "\"journal\", \"journal:NAMESPACE\" or \"file:/path\"".into(),
            Kind::Host => {
                "a name such as \"example.com\", \"*.example.com\" for all names below it, or \"*\"".into()
            }
            Kind::ListenerName => "the name of a listener".into(),
            Kind::Unit => "the name of a service unit, such as \"shop.service\" or \"shop@1.service\"".into(),
            Kind::Method => "a method in upper case, such as \"GET\"".into(),
            Kind::Pattern => "\"/exact/path\", \"/with/{parameter}\" or \"/prefix/*\"".into(),
            Kind::Prefix => "a path of whole segments such as \"/api\"".into(),
            Kind::Location => "a URL or a path, with {host}, {path} and {query} filled in".into(),
            Kind::MediaType => "a media type such as \"text/html; charset=utf-8\"".into(),
            Kind::Body(most) => format!("a text of at most {most} bytes"),
            Kind::Fields => "a table of field names and the values they must have".into(),
            Kind::Certified => "a host name or an IP address".into(),
            Kind::OwnField => "the name of a field that hitless does not set already".into(),
            Kind::Field => "the name of a field".into(),
            Kind::Rate => {
                "a number and a time such as \"100/s\", \"20/m\" or \"5/10s\", up to 1000000 and a day".into()
            }
            Kind::RateBy => "\"all\", \"address\" or \"field:NAME\"".into(),
            Kind::List(kind) => format!("a list, each {}", kind.allowed()),
            Kind::Some(kind) => format!("a list of at least one, each {}", kind.allowed()),
            Kind::OneOrMore(kind) => format!("one or a list, each {}", kind.allowed()),
        }
    }

    /// Whether several values are given, each on its own.
    pub fn element(&self) -> Option<&'static Kind> {
        match self {
            Kind::List(kind) | Kind::Some(kind) | Kind::OneOrMore(kind) => Some(kind),
            _ => None,
        }
    }

    /// Reads a value that is neither a list nor a table.
    pub fn read(&self, value: &DeValue<'_>) -> Result<Value, Refusal> {
        match (self, value) {
            (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Kind::Count { least, most, .. }, DeValue::Integer(number)) => count(number, *least, *most),
            (Kind::OneOf(numbers), DeValue::Integer(number)) => {
                let known = whole(number).filter(|n| numbers.contains(n)).map(Value::Count);
                known.ok_or_else(|| Refusal::new(format!("found {}", bare(number.as_str())), ""))
            }
            (Kind::Share, DeValue::Integer(number)) => share(number.as_str()),
            (Kind::Share, DeValue::Float(number)) => share(number.as_str()),
            (Kind::Pair, DeValue::Table(table)) => pair(table),
            (Kind::Percent | Kind::Percents, DeValue::Integer(number)) => {
                let number = bare(&number.to_string());
                Err(Refusal::new(
                    format!("found {number}, a number without %"),
                    format!("write \"{number}%\""),
                ))
            }
            (Kind::Statuses, DeValue::Integer(number)) => balance::statuses(&number.to_string()),
            (_, DeValue::String(text)) => self.read_text(text),
            (Kind::Duration { .. }, DeValue::Integer(number)) => {
                let number = bare(&number.to_string());
                let found = format!("found {number}, a number without a unit");
                Err(Refusal::new(found, format!("write \"{number}s\"")))
            }
            (Kind::Size { .. }, DeValue::Integer(number)) => {
                let number = bare(&number.to_string());
                let found = format!("found {number}, a number without a unit");
                Err(Refusal::new(found, format!("write \"{number}B\"")))
            }
            _ => Err(wrong(value)),
        }
    }

    fn read_text(&self, text: &str) -> Result<Value, Refusal> {
        match self {
            Kind::Count { word, .. } if text == *word && !word.is_empty() => Ok(Value::Word(word)),
            Kind::Count { .. } | Kind::OneOf(_) | Kind::Share | Kind::Flag => Err(quoted(text)),
            Kind::Duration { word, .. } if text == *word && !word.is_empty() => Ok(Value::Word(word)),
            Kind::Duration { least, most, .. } => duration(text, *least, *most),
            Kind::Size { word, .. } if text == *word && !word.is_empty() => Ok(Value::Word(word)),
            Kind::Size { least, most, .. } => size(text, *least, *most),
            Kind::Word(words) => word(text, words),
            Kind::Socket => address::socket(text).map(Value::Address),
            Kind::SocketFile => address::unix_path(text).map(|_| Value::Text(text.to_owned())),
            Kind::Folder => address::folder(text).map(Value::Text),
            Kind::Place => address::place(text).map(Value::Text),
            Kind::OwnField => name::own_field(text).map(Value::Text),
            Kind::Field => name::field(text).map(Value::Text),
            Kind::Rate => rate::rate(text).map(|(count, per)| Value::Rate(count, per)),
            Kind::RateBy => rate::by(text).map(Value::RateBy),
            Kind::Certified => name::certified(text).map(Value::Text),
            Kind::Percent => balance::percent(text).map(Value::Percent),
            Kind::Percents if text == "off" => Ok(Value::Word("off")),
            Kind::Percents => balance::some_percent(text).map(Value::Percent),
            Kind::Endpoint => balance::endpoint(text).map(Value::Endpoint),
            Kind::HashKey => balance::hash_key(text).map(Value::Text),
            Kind::Token => balance::token(text).map(Value::Text),
            Kind::Target => balance::target(text).map(Value::Text),
            Kind::Statuses => balance::statuses(text),
            Kind::Network => address::network(text).map(Value::Network),
            Kind::Sink => address::sink(text).map(Value::Sink),
            Kind::Host => name::host(text).map(Value::Host),
            Kind::ListenerName => Ok(Value::Text(text.to_owned())),
            Kind::Unit => name::unit(text).map(Value::Text),
            Kind::Method => name::method(text).map(Value::Text),
            Kind::Pattern => path::pattern(text).map(Value::Text),
            Kind::Prefix => path::prefix(text).map(Value::Text),
            Kind::Location => path::location(text).map(Value::Text),
            Kind::MediaType => name::media_type(text).map(Value::Text),
            Kind::Body(most) => body(text, *most),
            Kind::List(_) | Kind::Some(_) => {
                let remedy = format!("write [{}]", literal(text));
                Err(Refusal::new(format!("found {}, a string", quote(text)), remedy))
            }
            Kind::Table { .. } | Kind::Fields | Kind::Pair | Kind::OneOrMore(_) => {
                Err(Refusal::new(format!("found {}, a string", quote(text)), ""))
            }
        }
    }

    /// This kind as a JSON schema.
    pub fn schema(&self) -> serde_json::Value {
        let with_word = |schema: serde_json::Value, word: &str| match word {
            "" => schema,
            word => json!({ "anyOf": [schema, { "const": word }] }),
        };
        match self {
            Kind::Table { .. } => json!({ "type": "object" }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Count { least, most, word } => {
                with_word(json!({ "type": "integer", "minimum": least, "maximum": most }), word)
            }
            Kind::OneOf(numbers) => json!({ "enum": numbers }),
            Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            Kind::Percent => json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9])?%$" }),
            Kind::Percents => json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9])?%|off)$" }),
            Kind::HashKey => json!({ "type": "string", "pattern": "^(address|field:.+|cookie:.+)$" }),
            Kind::Target => json!({ "type": "string", "pattern": "^/" }),
            Kind::Statuses => json!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" }),
            Kind::Duration { word, .. } => {
                with_word(json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }), word)
            }
            Kind::Size { word, .. } => {
                with_word(json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }), word)
            }
            Kind::Word(words) => json!({ "enum": words }),
            Kind::SocketFile => json!({ "type": "string", "pattern": "^/", "maxLength": 107 }),
            Kind::Sink => json!({ "type": "string", "pattern": "^(journal|journal:.+|file:/.+)$" }),
            Kind::Unit => json!({ "type": "string", "pattern": "^[A-Za-z0-9:_.@\\\\-]+\\.service$" }),
            Kind::Method => json!({ "type": "string", "pattern": "^[^a-z\\s]+$" }),
            Kind::Pattern | Kind::Prefix => json!({ "type": "string", "pattern": "^/[^\\s?#]*$" }),
            Kind::Location => json!({ "type": "string", "pattern": "^(https?://|/)[^\\s]*$" }),
            Kind::Body(most) => json!({ "type": "string", "maxLength": most }),
            Kind::Fields => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Kind::Pair => json!({
                "type": "object",
                "properties": { "chain": Kind::Place.schema(), "key": Kind::Place.schema() },
                "required": ["chain", "key"],
                "additionalProperties": false,
            }),
            Kind::Rate => json!({ "type": "string", "pattern": "^[0-9]+/([0-9]+(ms|s|m|h|d)|s|m|h|d)$" }),
            Kind::RateBy => json!({ "type": "string", "pattern": "^(all|address|field:.+)$" }),
            Kind::Socket
            | Kind::Folder
            | Kind::Place
            | Kind::OwnField
            | Kind::Field
            | Kind::Certified
            | Kind::Endpoint
            | Kind::Token
            | Kind::Network
            | Kind::Host
            | Kind::ListenerName
            | Kind::MediaType => {
                json!({ "type": "string", "minLength": 1 })
            }
            Kind::List(kind) => json!({ "type": "array", "items": kind.schema() }),
            Kind::Some(kind) => json!({ "type": "array", "items": kind.schema(), "minItems": 1 }),
            Kind::OneOrMore(kind) => json!({ "anyOf": [kind.schema(), Kind::Some(kind).schema()] }),
        }
    }
}

/// A value of the wrong type.
pub(super) fn wrong(value: &DeValue<'_>) -> Refusal {
    let found = match value {
        DeValue::String(text) => format!("found {}, a string", quote(text)),
        DeValue::Integer(number) => format!("found {}, a number", bare(&number.to_string())),
        DeValue::Float(number) => format!("found {}, a number with a fraction", bare(number.as_str())),
        DeValue::Boolean(flag) => format!("found {flag}, a boolean"),
        DeValue::Datetime(date) => format!("found {date}, a date or time"),
        DeValue::Array(_) => "found a list".into(),
        DeValue::Table(_) => "found a table".into(),
    };
    Refusal::new(found, "")
}

fn or_word(range: String, word: &str) -> String {
    if word.is_empty() { range } else { format!("{range}, or \"{word}\"") }
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn count(number: &DeInteger<'_>, least: u64, most: u64) -> Result<Value, Refusal> {
    let found = format!("found {}", bare(&number.to_string()));
    match whole(number) {
        Some(count) if count > most => Err(Refusal::new(found, format!("write at most {most}"))),
        Some(count) if count >= least => Ok(Value::Count(count)),
        Some(_) => Err(Refusal::new(found, format!("write at least {least}"))),
        None => Err(Refusal::new(found, "")),
    }
}

/// A number or boolean that someone put into quotes.
fn quoted(text: &str) -> Refusal {
    let plain = matches!(text, "true" | "false") || text.parse::<f64>().is_ok_and(f64::is_finite);
    let remedy = if plain { format!("write {text} without quotes") } else { String::new() };
    Refusal::new(format!("found {}, a string", quote(text)), remedy)
}

fn share(text: &str) -> Result<Value, Refusal> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.map(Value::Share).ok_or_else(|| {
        let percent = text.parse::<f64>().ok().filter(|percent| (1.0..=100.0).contains(percent));
        let remedy =
            percent.map_or_else(String::new, |percent| format!("write {} for {percent} %", percent / 100.0));
        Refusal::new(format!("found {}", bare(text)), remedy)
    })
}

fn duration(text: &str, least: u64, most: u64) -> Result<Value, Refusal> {
    let duration = quantity::duration(text)?;
    let bound = |millis| quantity::in_words(Duration::from_millis(millis));
    if duration < Duration::from_millis(least) {
        return Err(Refusal::new(
            format!("found {}", quote(text)),
            format!("write at least \"{}\"", bound(least)),
        ));
    }
    if duration > Duration::from_millis(most) {
        return Err(Refusal::new(
            format!("found {}", quote(text)),
            format!("write at most \"{}\"", bound(most)),
        ));
    }
    Ok(Value::Duration(duration))
}

fn size(text: &str, least: u64, most: u64) -> Result<Value, Refusal> {
    let bytes = quantity::size(text)?;
    let refusal = |bound, bytes| {
        let remedy = format!("write {bound} \"{}\"", quantity::size_in_words(bytes));
        Refusal::new(format!("found {}", quote(text)), remedy)
    };
    match bytes {
        _ if bytes < least => Err(refusal("at least", least)),
        _ if bytes > most => Err(refusal("at most", most)),
        _ => Ok(Value::Size(bytes)),
    }
}

fn word(text: &str, words: &'static [&'static str]) -> Result<Value, Refusal> {
    words.iter().find(|word| **word == text).map(|word| Value::Word(word)).ok_or_else(|| {
        let near = closest(text, words.iter().copied());
        let remedy = near.map_or_else(String::new, |near| format!("did you mean \"{near}\"?"));
        Refusal::new(format!("found {}", quote(text)), remedy)
    })
}

fn pair(table: &DeTable<'_>) -> Result<Value, Refusal> {
    let remedy = "write { chain = \"shop.crt\", key = \"shop.key\" }";
    let mut files = [None, None];
    for (key, value) in table.iter() {
        let file = match key.get_ref().as_ref() {
            "chain" => &mut files[0],
            "key" => &mut files[1],
            other => return Err(Refusal::new(format!("found {} in it", quote(other)), remedy)),
        };
        *file = match value.get_ref() {
            DeValue::String(text) => Some(address::place(text)?),
            other => return Err(Refusal::new(wrong(other).found, remedy)),
        };
    }
    match files {
        [Some(chain), Some(key)] => Ok(Value::Pair { chain, key }),
        [None, _] => Err(Refusal::new("found no 'chain' in it", remedy)),
        [_, None] => Err(Refusal::new("found no 'key' in it", remedy)),
    }
}

fn body(text: &str, most: usize) -> Result<Value, Refusal> {
    if text.len() <= most {
        return Ok(Value::Text(text.to_owned()));
    }
    let found = format!("found a text of {} bytes", text.len());
    Err(Refusal::new(found, "serve longer content from an application"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, toml: &str) -> Result<Value, Refusal> {
        kind.read(DeValue::parse(toml).unwrap().get_ref())
    }

    const TIME: Kind = Kind::Duration { least: 1, most: 3_600_000, word: "off" };

    #[test]
    fn a_word_stands_beside_a_range() {
        assert_eq!(read(TIME, "\"off\""), Ok(Value::Word("off")));
        assert_eq!(read(TIME, "\"1h\""), Ok(Value::Duration(Duration::from_secs(3600))));
        assert_eq!(read(TIME, "\"2h\"").unwrap_err().remedy, "write at most \"1h\"");
        assert_eq!(read(TIME, "\"0s\"").unwrap_err().remedy, "write at least \"1ms\"");
        assert_eq!(read(TIME, "3").unwrap_err().remedy, "write \"3s\"");
        assert!(read(TIME, "\"\"").is_err());
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let count = Kind::Count { least: 1, most: 1024, word: "auto" };
        assert_eq!(read(count, "0x10"), Ok(Value::Count(16)));
        assert_eq!(read(count, "\"auto\""), Ok(Value::Word("auto")));
        for toml in ["0", "-1", "1025", "99999999999999999999", "1.0", "true", "\"4\"", "\"\"", "[1]"] {
            assert!(read(count, toml).is_err(), "{toml}");
        }
        assert_eq!(read(count, "\"4\"").unwrap_err().remedy, "write 4 without quotes");
        assert_eq!(read(Kind::Share, "1"), Ok(Value::Share(1.0)));
        assert_eq!(read(Kind::Share, "5").unwrap_err().remedy, "write 0.05 for 5 %");
        for toml in ["-0.1", "nan", "inf", "1e3", "\"0.1\""] {
            assert!(read(Kind::Share, toml).is_err(), "{toml}");
        }
    }

    #[test]
    fn a_word_slightly_wrong_comes_with_the_right_one() {
        let level = Kind::Word(&["error", "warning", "info"]);
        assert_eq!(read(level, "\"warn\"").unwrap_err().remedy, "did you mean \"warning\"?");
        assert_eq!(read(level, "\"loud\"").unwrap_err().remedy, "");
        assert_eq!(read(level, "\"Info\"").unwrap_err().remedy, "did you mean \"info\"?");
        assert_eq!(level.allowed(), "\"error\", \"warning\" or \"info\"");
    }

    #[test]
    fn a_size_stays_in_its_range() {
        let size = Kind::Size { least: 1024, most: 1 << 30, word: "" };
        assert_eq!(read(size, "\"64KiB\""), Ok(Value::Size(65_536)));
        assert_eq!(read(size, "\"1B\"").unwrap_err().remedy, "write at least \"1KiB\"");
        assert_eq!(read(size, "\"2GiB\"").unwrap_err().remedy, "write at most \"1GiB\"");
        assert_eq!(read(size, "64").unwrap_err().remedy, "write \"64B\"");
        assert!(read(size, "\"off\"").is_err() && read(size, "\"\"").is_err());
        let word = Kind::Size { least: 0, most: 1 << 30, word: "off" };
        assert_eq!(read(word, "\"off\""), Ok(Value::Word("off")));
        assert_eq!(read(word, "\"0B\""), Ok(Value::Size(0)));
        assert_eq!(size.allowed(), "a size with its unit (B, KiB, MiB, GiB) from \"1KiB\" to \"1GiB\"");
    }
}
