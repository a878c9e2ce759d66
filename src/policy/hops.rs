//! How far a request may still go: `Max-Forwards` of OPTIONS and TRACE (RFC 9110, section 7.6.2).
//!
//! Promises: a request that may go no further is not forwarded; one that may is forwarded with a smaller
//! number; of other methods the field is left alone.
//! - A number that is none, or several of them, are refused: two gateways could read them in two ways.
//! - A number beyond [`MOST`] is lowered to it ("the recipient's maximum supported value").
//! - TRACE with content is refused (section 9.3.8: a client must not send any).
//!
//! Must not know: what is answered at the end of the way.

use http::Method;
use http::header::{HeaderMap, HeaderValue, MAX_FORWARDS};

use crate::response::Failure;

/// No way is longer.
const MOST: u32 = 255;

/// Whether a request goes on from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    On,
    /// This gateway is the last one, and answers.
    Last,
}

/// Takes one off the hops that are left. `content`: whether the request has any.
pub fn count(method: &Method, headers: &mut HeaderMap, content: bool) -> Result<Hop, Failure> {
    if *method == Method::TRACE && content {
        return Err(Failure::BadRequest("TRACE with content"));
    }
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return Ok(Hop::On);
    }
    match left(headers)? {
        None => Ok(Hop::On),
        Some(0) => Ok(Hop::Last),
        Some(hops) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(hops.min(MOST + 1) - 1));
            Ok(Hop::On)
        }
    }
}

/// `1*DIGIT`.
fn left(headers: &HeaderMap) -> Result<Option<u32>, Failure> {
    let mut lines = headers.get_all(MAX_FORWARDS).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let digits =
        line.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match (digits, lines.next()) {
        // Only a number that is too long for its type is no number here.
        (Some(digits), None) => Ok(Some(digits.parse().unwrap_or(u32::MAX))),
        _ => Err(Failure::BadRequest("Max-Forwards is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: &Method, lines: &[&'static str]) -> (Result<Hop, Failure>, Vec<String>) {
        let value = |text: &&'static str| (MAX_FORWARDS, HeaderValue::from_static(text));
        let mut headers: HeaderMap = lines.iter().map(value).collect();
        let hop = count(method, &mut headers, false);
        let left = headers.get_all(MAX_FORWARDS).iter().map(|line| line.to_str().unwrap().to_owned());
        (hop, left.collect())
    }

    #[test]
    fn hops_are_counted_down_to_the_last() {
        // RFC 9110, section 7.6.2.
        let table: &[(&[&'static str], Hop, &[&str])] = &[
            (&[], Hop::On, &[]),
            (&["10"], Hop::On, &["9"]),
            (&["1"], Hop::On, &["0"]),
            (&["0"], Hop::Last, &["0"]),
            (&["000"], Hop::Last, &["000"]),
            (&["007"], Hop::On, &["6"]),
            (&["256"], Hop::On, &["255"]),
            (&["257"], Hop::On, &["255"]),
            (&["99999999999999999999999"], Hop::On, &["255"]),
        ];
        for method in [Method::OPTIONS, Method::TRACE] {
            for (given, hop, left) in table {
                let left: Vec<String> = left.iter().map(|&text| text.to_owned()).collect();
                assert_eq!(counted(&method, given), (Ok(*hop), left), "{method} {given:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_of_hops_is_refused() {
        for given in
            [&[""][..], &["-1"], &["+1"], &["1.5"], &["0x1"], &["1, 2"], &["1 2"], &["1", "1"], &["x"]]
        {
            let (refused, _) = counted(&Method::OPTIONS, given);
            assert!(matches!(refused, Err(Failure::BadRequest(_))), "{given:?}");
        }
    }

    #[test]
    fn other_methods_are_not_counted() {
        for method in [Method::GET, Method::POST, Method::CONNECT, Method::from_bytes(b"PROPFIND").unwrap()] {
            assert_eq!(counted(&method, &["0"]), (Ok(Hop::On), vec!["0".to_owned()]), "{method}");
            assert_eq!(counted(&method, &["x"]).0, Ok(Hop::On), "{method}");
        }
    }

    #[test]
    fn a_trace_has_no_content() {
        // RFC 9110, section 9.3.8.
        let with_content = |method| count(&method, &mut HeaderMap::new(), true);
        assert!(with_content(Method::TRACE).is_err());
        assert_eq!(with_content(Method::OPTIONS), Ok(Hop::On));
    }
}
