//! Durations and sizes, which always carry their unit.
//!
//! Promises: nothing overflows, and what is written back reads as the same quantity.
//! Must not know: which durations are sensible where.

use std::time::Duration;

use super::super::message::quote;
use super::Refusal;

/// In milliseconds, the largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// In bytes, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// What people write elsewhere, and what it is called here.
const ELSEWHERE: [(&str, &str); 27] = [
    ("msec", "ms"),
    ("millis", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("k", "KiB"),
    ("ki", "KiB"),
    ("kb", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mi", "MiB"),
    ("mb", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gi", "GiB"),
    ("gb", "GiB"),
    ("gib", "GiB"),
];

/// Reads `250ms`, `2s`, `5m`, `1h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, Refusal> {
    quantity(text, &TIMES, "s").map(Duration::from_millis)
}

/// Reads `512B`, `64KiB`, `10MiB`, `1GiB`; in bytes.
pub fn size(text: &str) -> Result<u64, Refusal> {
    quantity(text, &SIZES, "B")
}

/// A duration as `duration` reads it, in the largest unit that fits exactly.
pub fn in_words(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match millis {
        0 => "0s".into(),
        // The usual way to write it.
        60_000 => "60s".into(),
        _ => words(millis, &TIMES),
    }
}

/// A size as `size` reads it.
pub fn size_in_words(bytes: u64) -> String {
    if bytes == 0 { "0B".into() } else { words(bytes, &SIZES) }
}

fn words(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, unit)| amount.is_multiple_of(*unit));
    fits.map_or_else(|| amount.to_string(), |(name, unit)| format!("{}{name}", amount / unit))
}

fn quantity(text: &str, units: &[(&str, u64)], usual: &str) -> Result<u64, Refusal> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Refusal::new(format!("found {}", quote(text)), ""));
    }
    if unit.is_empty() {
        return Err(Refusal::new(
            format!("found {}, a number without a unit", quote(text)),
            format!("write \"{number}{usual}\""),
        ));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(misspelt(text, number, unit, units));
    };
    let amount = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*scale));
    amount.ok_or_else(|| Refusal::new(format!("found {}, which is out of range", quote(text)), ""))
}

fn misspelt(text: &str, number: &str, unit: &str, units: &[(&str, u64)]) -> Refusal {
    let wanted = unit.trim().to_ascii_lowercase();
    let known = |meant: &str| units.iter().find(|(name, _)| name.eq_ignore_ascii_case(meant));
    let elsewhere = || ELSEWHERE.iter().filter(|(word, _)| *word == wanted).find_map(|(_, name)| known(name));
    let known = known(&wanted).or_else(elsewhere);
    let found = format!("found {}", quote(text));
    match known {
        Some((name, _)) => Refusal::new(found, format!("write \"{number}{name}\"")),
        None if unit.starts_with('.') => Refusal::new(found, "use a smaller unit instead of a fraction"),
        None => Refusal::new(found, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_carries_its_unit() {
        for (text, millis) in
            [("250ms", 250), ("2s", 2000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(in_words(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_size_carries_its_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("10MiB", 10 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size_in_words(bytes), text);
        }
        for (text, remedy) in
            [("64kb", "write \"64KiB\""), ("10M", "write \"10MiB\""), ("1G", "write \"1GiB\"")]
        {
            assert_eq!(size(text).unwrap_err().remedy, remedy, "{text}");
        }
    }

    #[test]
    fn a_refused_duration_comes_with_what_was_probably_meant() {
        let remedies = [
            ("75", "write \"75s\""),
            ("5min", "write \"5m\""),
            ("2 s", "write \"2s\""),
            ("2S", "write \"2s\""),
            ("5M", "write \"5m\""),
            ("1.5s", "use a smaller unit instead of a fraction"),
            ("", ""),
            ("soon", ""),
            ("-1s", ""),
            ("99999999999999999999s", ""),
            ("18446744073709551615d", ""),
        ];
        for (text, remedy) in remedies {
            assert_eq!(duration(text).unwrap_err().remedy, remedy, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_in_words_reads_back(millis in 0..u64::MAX / 2) {
            let duration_ = Duration::from_millis(millis);
            prop_assert_eq!(duration(&in_words(duration_)), Ok(duration_));
        }

        #[test]
        fn a_size_in_words_reads_back(bytes in any::<u64>()) {
            prop_assert_eq!(size(&size_in_words(bytes)), Ok(bytes));
        }
    }
}
