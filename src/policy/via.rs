//! Who a request has passed: this gateway's element of `Via`, and whether it has been here too often.
//!
//! Source: RFC 9110, section 7.6.3. The element of a request is `1.1 hitless-<pseudonym>`: a pseudonym
//! that each host has of its own, the same after a reload, a restart or a change of the data thread. That
//! of an answer is `1.1 hitless`, which tells clients nothing about how many hosts there are.
//!
//! A route may lead out of this gateway and back into it (one listener, an application, another
//! listener), so the first repetition is no loop. [`MOST_PASSAGES`] are allowed. The number also makes it
//! harmless that images of one virtual machine may share their pseudonym.
//!
//! Promises: a loop that only passes gateways and applications that keep `Via` ends. What a client says in
//! `Via` can only harm itself, and nothing else is decided by it. An element is found however lines were
//! joined, in any case, with or without a comment, also within one: RFC 9110 nests and quotes comments, and
//! a `(` that somebody left open would otherwise hide what follows. A loop through an application that
//! drops `Via` is not seen.
//! Must not know: where the pseudonym comes from.

use bytes::Bytes;
use http::Version;
use http::header::{HeaderMap, HeaderValue, VIA};

use crate::response::Failure;

/// How often a request may have passed here before.
pub const MOST_PASSAGES: usize = 8;

/// This gateway, as it is named in `Via`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    name: String,
    /// For requests of HTTP/1.0, HTTP/1.1 and HTTP/2.
    elements: [HeaderValue; 3],
}

impl Via {
    /// `pseudonym` is a token (RFC 9110, section 5.6.2); what is none in it is left out.
    pub fn new(pseudonym: &str) -> Via {
        let token: String = pseudonym.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let name = format!("hitless-{token}");
        let element = |version| {
            let text = Bytes::from(format!("{version} {name}"));
            // INVARIANT: letters, digits, dots, dashes and a space are a field value.
            HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("1.1 hitless"))
        };
        Via { elements: ["1.0", "1.1", "2.0"].map(element), name }
    }

    /// What is appended to a request that came in this version.
    pub fn element(&self, received: Version) -> HeaderValue {
        let index = match received {
            Version::HTTP_09 | Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            _ => 1,
        };
        self.elements[index].clone()
    }

    /// Refuses a request that has passed here too often.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        match self.passages(headers) > MOST_PASSAGES {
            true => Err(Failure::Loop),
            false => Ok(()),
        }
    }

    fn passages(&self, headers: &HeaderMap) -> usize {
        let elements =
            headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        elements.filter(|element| self.is_named(element)).count()
    }

    /// `received-protocol RWS received-by [ RWS comment ]`.
    fn is_named(&self, element: &[u8]) -> bool {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'(');
        let mut words = element.split(blank).filter(|word| !word.is_empty()).skip(1);
        words.next().is_some_and(|by| by.eq_ignore_ascii_case(self.name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages(lines: &[&str]) -> usize {
        let value = |text: &&str| (VIA, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        Via::new("0a1b").passages(&lines.iter().map(value).collect())
    }

    #[test]
    fn the_element_tells_the_version_that_came() {
        let via = Via::new("0a1b");
        for (version, element) in [
            (Version::HTTP_10, "1.0 hitless-0a1b"),
            (Version::HTTP_11, "1.1 hitless-0a1b"),
            (Version::HTTP_2, "2.0 hitless-0a1b"),
        ] {
            assert_eq!(via.element(version), element);
        }
        assert_eq!(Via::new("a b,(\r\n\u{e9}c").element(Version::HTTP_11), "1.1 hitless-abc");
        assert_eq!(Via::new("x"), Via::new("x"), "it is the same on every thread and after every restart");
    }

    #[test]
    fn passages_are_found_in_any_spelling() {
        // RFC 9110, section 7.6.3.
        let table: &[(&[&str], usize)] = &[
            (&[], 0),
            (&["1.1 hitless-0a1b"], 1),
            (&["1.0 before, 1.1 hitless-0a1b, 2.0 after"], 1),
            (&["1.1 hitless-0a1b", "2.0 hitless-0a1b,1.1 hitless-0a1b"], 3),
            (&["HTTP/1.1 hitless-0a1b"], 1),
            (&["1.1  \t hitless-0a1b (Debian)"], 1),
            (&["1.1 hitless-0a1b(Debian)"], 1),
            (&["1.1 HITLESS-0A1B"], 1),
            (&[" , ,1.1 hitless-0a1b , "], 1),
            // A comment that was left open hides nothing.
            (&["1.1 x (, 1.1 hitless-0a1b"], 1),
            (&["1.1 x (\\), 1.1 hitless-0a1b"], 1),
            (&["1.1 \u{e9}, 1.1 hitless-0a1b"], 1),
            // Others.
            (&["1.1 hitless"], 0),
            (&["1.1 hitless-ffff"], 0),
            (&["1.1 hitless-0a1b:80"], 0),
            (&["1.1 hitless-0a1bc"], 0),
            (&["hitless-0a1b"], 0),
            (&["1.1 x hitless-0a1b"], 0),
            (&["", "1.1", "1.1 ", ",", "("], 0),
        ];
        for (lines, count) in table {
            assert_eq!(passages(lines), *count, "{lines:?}");
        }
    }

    #[test]
    fn a_request_may_come_back_eight_times() {
        let via = Via::new("0a1b");
        let mut headers = HeaderMap::new();
        for _ in 0..MOST_PASSAGES {
            headers.append(VIA, via.element(Version::HTTP_11));
            assert_eq!(via.check(&headers), Ok(()));
            assert_eq!(Via::new("other").check(&headers), Ok(()));
        }
        headers.append(VIA, via.element(Version::HTTP_2));
        assert_eq!(via.check(&headers), Err(Failure::Loop));
        assert_eq!(Via::new("other").check(&headers), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_client_can_hide_that_a_request_was_here(before in "[ -~]{0,30}", after in "[ -~]{0,30}") {
            let (line, after) = (format!("{before}, 1.1 hitless-0a1b, {after}"), format!("{after},"));
            assert!(passages(&[&before, &line, &after]) >= 1);
        }
    }
}
