//! The value of `Date` (RFC 9110, sections 5.6.7 and 6.6.1).
//!
//! Promises: a value is written once a second at most, and shared until the next.
//! Must not know: a clock.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// What one thread wrote last.
#[derive(Debug, Default)]
pub struct Dates {
    last: RefCell<Option<(u64, HeaderValue)>>,
}

impl Dates {
    /// `now` as an IMF-fixdate. `None`: a clock before 1970 or after 9999 is no clock (section 6.6.1).
    pub fn at(&self, now: SystemTime) -> Option<HeaderValue> {
        let second = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((written, value)) if *written == second => Some(value.clone()),
            _ => {
                let value = written(second)?;
                *last = Some((second, value.clone()));
                Some(value)
            }
        }
    }
}

fn written(second: u64) -> Option<HeaderValue> {
    let time = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_is_an_imf_fixdate() {
        let table = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // RFC 9110, section 5.6.7
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ];
        let dates = Dates::default();
        for (second, text) in table {
            assert_eq!(dates.at(UNIX_EPOCH + Duration::from_secs(second)).unwrap(), text);
        }
        assert_eq!(dates.at(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(dates.at(UNIX_EPOCH + Duration::from_secs(1 << 40)), None);
    }

    #[test]
    fn a_date_is_written_once_a_second() {
        let dates = Dates::default();
        let at = |milliseconds| dates.at(UNIX_EPOCH + Duration::from_millis(milliseconds)).unwrap();
        let (first, again, next) = (at(5_000), at(5_999), at(6_000));
        assert_eq!(first.as_bytes().as_ptr(), again.as_bytes().as_ptr());
        assert_ne!(first, next);
    }
}
