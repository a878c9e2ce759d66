//! Rates, such as 100 in a second, and whose requests they count.
//!
//! Promises: neither number is 0, nor so large that anything overflows; what is written back reads as the same rate.
//! Must not know: what is counted.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::message::{closest, quote};
use super::super::settings::RateBy;
use super::{Refusal, name, quantity};

/// The most in one period.
const MOST: u32 = 1_000_000;
/// The longest period.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `100/s`, `20/m`, `5/10s`.
pub fn rate(text: &str) -> Result<(NonZeroU32, Duration), Refusal> {
    let refused = |remedy: &str| Refusal::new(format!("found {}", quote(text)), remedy);
    let Some((count, per)) = text.split_once('/') else {
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return Err(refused(&if number { format!("write \"{text}/s\"") } else { String::new() }));
    };
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused("write a whole number before the '/'"));
    }
    let count = match count.parse().ok().filter(|count| *count <= MOST).map(NonZeroU32::new) {
        Some(Some(count)) => count,
        Some(None) => {
            return Err(refused("to refuse everything, answer by itself: answer = { status = 503 }"));
        }
        None => return Err(refused(&format!("write at most {MOST}"))),
    };
    let period = if per.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
        quantity::duration(per)
    } else {
        quantity::duration(&format!("1{per}"))
    };
    let per = period.map_err(|refusal| {
        let meant = refusal.remedy.strip_prefix("write \"").and_then(|rest| rest.strip_suffix('"'));
        refused(&meant.map_or(String::new(), |meant| format!("write \"{count}/{meant}\"")))
    })?;
    match per {
        Duration::ZERO => Err(refused("write a time after the '/', such as \"100/s\"")),
        per if per > LONGEST => Err(refused("write at most a day after the '/'")),
        per => Ok((count, per)),
    }
}

/// A rate as `rate` reads it.
pub fn in_words(count: NonZeroU32, per: Duration) -> String {
    let per = match per.as_millis() {
        1000 => "s".into(),
        60_000 => "m".into(),
        3_600_000 => "h".into(),
        86_400_000 => "d".into(),
        _ => quantity::in_words(per),
    };
    format!("{count}/{per}")
}

/// Reads `all`, `address`, `field:NAME`.
pub fn by(text: &str) -> Result<RateBy, Refusal> {
    match text {
        "all" => Ok(RateBy::All),
        "address" => Ok(RateBy::Address),
        _ => match text.split_once(':') {
            Some(("field", field)) => name::field(field).map(RateBy::Field),
            _ => {
                let found = format!("found {}", quote(text));
                let near = closest(text, ["all", "address"]);
                let header = matches!(text.split(':').next(), Some("header" | "key" | "cookie"));
                let remedy = match (near, header) {
                    (Some(near), _) => format!("did you mean \"{near}\"?"),
                    (None, true) => "write \"field:NAME\"".into(),
                    (None, false) => String::new(),
                };
                Err(Refusal::new(found, remedy))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        for (text, count, millis) in [
            ("100/s", 100, 1000),
            ("20/m", 20, 60_000),
            ("1/h", 1, 3_600_000),
            ("5/d", 5, 86_400_000),
            ("5/10s", 5, 10_000),
            ("5/1s", 5, 1000),
            ("1000000/1ms", 1_000_000, 1),
        ] {
            let read = rate(text).unwrap();
            assert_eq!((read.0.get(), read.1), (count, Duration::from_millis(millis)), "{text}");
            assert_eq!(rate(&in_words(read.0, read.1)).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn a_refused_rate_comes_with_what_was_probably_meant() {
        for (text, remedy) in [
            ("100", "write \"100/s\""),
            ("0/s", "to refuse everything, answer by itself: answer = { status = 503 }"),
            ("100/0s", "write a time after the '/', such as \"100/s\""),
            ("100/sec", "write \"100/1s\""),
            ("100/min", "write \"100/1m\""),
            ("100/10", "write \"100/10s\""),
            ("100/2d", "write at most a day after the '/'"),
            ("1000001/s", "write at most 1000000"),
            ("99999999999999999999/s", "write at most 1000000"),
            ("1.5/s", "write a whole number before the '/'"),
            ("-1/s", "write a whole number before the '/'"),
            ("/s", "write a whole number before the '/'"),
            ("100/", "write \"100/1s\""),
            ("100/s/s", ""),
            ("100 per second", ""),
            ("", ""),
            ("1/18446744073709551615d", ""),
        ] {
            assert_eq!(rate(text).unwrap_err().remedy, remedy, "{text}");
        }
    }

    #[test]
    fn requests_are_counted_by_what_there_is() {
        assert_eq!(by("all"), Ok(RateBy::All));
        assert_eq!(by("address"), Ok(RateBy::Address));
        assert_eq!(by("field:X-API-Key"), Ok(RateBy::Field("x-api-key".into())));
        assert_eq!(by("adress").unwrap_err().remedy, "did you mean \"address\"?");
        assert_eq!(by("header:x").unwrap_err().remedy, "write \"field:NAME\"");
        for text in ["", "field:", "field:a b", "field:x:y", "field"] {
            assert!(by(text).is_err(), "{text}");
        }
    }
}
