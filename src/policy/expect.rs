//! What a request expects before it sends its content (RFC 9110, section 10.1.1).
//!
//! Promises: nothing but `100-continue` is forwarded, and that as it came; what HTTP/1.0 expects is
//! taken out unread, since its clients cannot be told to continue.
//! Must not know: who tells the client to continue, and when.

use http::Version;
use http::header::{EXPECT, HeaderMap};

use crate::response::{Failure, hygiene};

/// Whether the client waits for a 100 before it sends its content; fails with `UnknownExpectation`.
pub fn awaits_continue(version: Version, headers: &mut HeaderMap) -> Result<bool, Failure> {
    if !headers.contains_key(EXPECT) {
        return Ok(false);
    }
    if version <= Version::HTTP_10 {
        headers.remove(EXPECT);
        return Ok(false);
    }
    let is_text = headers.get_all(EXPECT).iter().all(|line| line.to_str().is_ok());
    let mut expectations = headers.get_all(EXPECT).iter().flat_map(hygiene::tokens).peekable();
    let any = expectations.peek().is_some();
    let known = expectations.all(|expectation| expectation.eq_ignore_ascii_case("100-continue"));
    match is_text && known {
        true => Ok(any),
        false => Err(Failure::UnknownExpectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(version: Version, lines: &[&str]) -> (Result<bool, Failure>, usize) {
        let value = |text: &&str| (EXPECT, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        let mut headers: HeaderMap = lines.iter().map(value).collect();
        (awaits_continue(version, &mut headers), headers.get_all(EXPECT).iter().count())
    }

    #[test]
    fn only_100_continue_is_expected_here() {
        // RFC 9110, section 10.1.1: in any case, a list.
        let table: &[(&[&str], Option<bool>)] = &[
            (&[], Some(false)),
            (&["100-continue"], Some(true)),
            (&["100-Continue"], Some(true)),
            (&["100-continue, 100-CONTINUE"], Some(true)),
            (&["100-continue", "100-continue"], Some(true)),
            (&[""], Some(false)),
            (&[" ,"], Some(false)),
            (&["200-ok"], None),
            (&["100-continue, x"], None),
            (&["100-continue", "x"], None),
            (&["100-continue;x=y"], None),
            (&["100-continue=1"], None),
            (&["100 continue"], None),
            (&["\"100-continue\""], None),
            (&["100-continue\u{e9}"], None),
            (&["100-continue, \u{e9}"], None),
        ];
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for (lines, expected) in table {
                let expected = expected.ok_or(Failure::UnknownExpectation);
                assert_eq!(read(version, lines), (expected, lines.len()), "{version:?} {lines:?}");
            }
        }
    }

    #[test]
    fn what_http_1_0_expects_is_ignored_and_goes_no_further() {
        for lines in [&["100-continue"][..], &["x"], &["100-continue", "x"]] {
            assert_eq!(read(Version::HTTP_10, lines), (Ok(false), 0), "{lines:?}");
        }
    }
}
