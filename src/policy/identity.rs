//! Who a request is: its id and its place in a trace.
//!
//! Sources: W3C Trace Context (level 1, 2021, sections 3.2 and 4.3), and for `traceresponse` the
//! editor's draft of its next level.
//!
//! Promises: an identity is always complete and safe to put into a field, a log line or a page;
//! a valid `traceparent` keeps its trace id and gets a new span id, an invalid one counts as none.
//! Allocates twice per request, three times when it keeps a client's request id and must share it:
//! one buffer holds the made id and the `traceparent`, and every clone shares it.
//! Must not know: who is told about it.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is called in fields, logs and answers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// 1 to 128 octets of letters, digits and `-._~+/=:@,`.
    pub request_id: HeaderValue,
    pub trace: Trace,
}

/// The span of this gateway in a trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// `00-<trace id>-<span id>-<flags>`.
    header: HeaderValue,
    continued: bool,
}

/// The identity of the request with these fields; `entropy` gives uniformly random numbers.
pub fn identify(headers: &HeaderMap, entropy: &mut impl FnMut() -> u64) -> Identity {
    let parent = parent(headers);
    let mut buffer = BytesMut::with_capacity(TRACEPARENT_LENGTH + 32);
    push_traceparent(&mut buffer, parent, entropy);
    let kept = kept_id(headers);
    if kept.is_none() {
        push_hex(&mut buffer, &entropy().to_be_bytes());
        push_hex(&mut buffer, &entropy().to_be_bytes());
    }
    let mut header = buffer.freeze();
    let made = header.split_off(TRACEPARENT_LENGTH);
    Identity {
        request_id: kept.unwrap_or_else(|| value(made)),
        trace: Trace { header: value(header), continued: parent.is_some() },
    }
}

impl Trace {
    /// 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.part(3..35)
    }

    /// 16 lower-case hexadecimal digits.
    pub fn span_id(&self) -> &str {
        self.part(36..52)
    }

    /// The value of `traceparent` for the endpoint and of `traceresponse` for the client.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether the request came with a valid `traceparent`; its `tracestate` is worthless otherwise.
    pub fn is_continued(&self) -> bool {
        self.continued
    }

    fn part(&self, range: std::ops::Range<usize>) -> &str {
        self.header.to_str().ok().and_then(|text| text.get(range)).unwrap_or_default()
    }
}

/// The request id that the client sent, when it is exactly one and safe to repeat anywhere.
fn kept_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = only(headers, &X_REQUEST_ID)?;
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=:@,".contains(b);
    ((1..=128).contains(&id.len()) && id.as_bytes().iter().all(safe)).then(|| id.clone())
}

const TRACEPARENT_LENGTH: usize = 55;

/// What is continued of a trace: its id in hexadecimal digits, and its flags.
type Parent<'h> = (&'h [u8], u8);

/// The caller's span: `version "-" trace-id "-" parent-id "-" trace-flags` (section 3.2.2).
fn parent(headers: &HeaderMap) -> Option<Parent<'_>> {
    let value = only(headers, &TRACEPARENT)?.as_bytes();
    let (known, rest) = value.split_at_checked(TRACEPARENT_LENGTH)?;
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let (version, trace, span) = (&known[..2], &known[3..35], &known[36..52]);
    let valid = dashes && [version, trace, span].iter().all(|part| is_hex(part));
    // Version 00 has nothing more; a later one may, behind a dash (section 3.2.4). Version ff is invalid.
    let ends = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    let zero = |part: &[u8]| part.iter().all(|digit| *digit == b'0');
    if !valid || !ends || version == b"ff" || zero(trace) || zero(span) || !is_hex(&known[53..]) {
        return None;
    }
    let flags = std::str::from_utf8(&known[53..]).ok()?;
    Some((trace, u8::from_str_radix(flags, 16).ok()?))
}

/// The one line of this name; several are as good as none, since nobody can say which counts.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A begun trace is sampled: an application that follows its caller's decision, which is the default of
/// OpenTelemetry, would otherwise stop recording when a gateway is put before it. Of a continued one,
/// the flags that are defined stay: sampled, and random-trace-id of level 2 (section 4.3, "propagate").
fn push_traceparent(buffer: &mut BytesMut, parent: Option<Parent<'_>>, entropy: &mut impl FnMut() -> u64) {
    buffer.extend_from_slice(b"00-");
    match parent {
        Some((trace, _)) => buffer.extend_from_slice(trace),
        None => {
            push_hex(buffer, &nonzero(entropy).to_be_bytes());
            push_hex(buffer, &entropy().to_be_bytes());
        }
    }
    buffer.extend_from_slice(b"-");
    push_hex(buffer, &nonzero(entropy).to_be_bytes());
    buffer.extend_from_slice(b"-");
    push_hex(buffer, &[parent.map_or(0x01, |(_, flags)| flags & 0x03)]);
}

/// An id of zeros is invalid (sections 3.2.2.3 and 3.2.2.4).
fn nonzero(entropy: &mut impl FnMut() -> u64) -> u64 {
    entropy().max(1)
}

fn push_hex(buffer: &mut BytesMut, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for octet in octets {
        buffer.extend_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
}

fn value(octets: Bytes) -> HeaderValue {
    // INVARIANT: hexadecimal digits and dashes are a valid field value.
    HeaderValue::from_maybe_shared(octets).expect("hexadecimal digits are a field value")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        lines.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    fn identity(lines: &[(HeaderName, &str)]) -> Identity {
        let mut n = 0;
        identify(&headers(lines), &mut || {
            n += 1;
            n
        })
    }

    #[test]
    fn a_request_id_is_kept_when_it_is_safe_to_repeat() {
        let longest = "x".repeat(128);
        for id in ["a", "7b4e-01", "Root=1-67891233-abcdef012345678912345678", "a+b/c==", &longest] {
            assert_eq!(identity(&[(X_REQUEST_ID, id)]).request_id, id);
        }
    }

    #[test]
    fn an_unsafe_or_repeated_request_id_is_replaced() {
        let too_long = "x".repeat(129);
        for id in ["", " ", "a b", "<script>", "a\"b", "a\tb", "a\u{e9}", "a%0a", "a;b", &too_long] {
            assert_ne!(identity(&[(X_REQUEST_ID, id)]).request_id, id, "{id}");
        }
        let two = identity(&[(X_REQUEST_ID, "a"), (X_REQUEST_ID, "b")]).request_id;
        assert_eq!(two.len(), 32);
    }

    #[test]
    fn a_made_identity_is_complete_and_random() {
        let identity = identity(&[]);
        assert_eq!(identity.trace.header(), "00-00000000000000010000000000000002-0000000000000003-01");
        assert_eq!(identity.trace.trace_id(), "00000000000000010000000000000002");
        assert_eq!(identity.trace.span_id(), "0000000000000003");
        assert_eq!(identity.request_id, "00000000000000040000000000000005");
        assert!(!identity.trace.is_continued());
    }

    #[test]
    fn ids_are_never_all_zeros() {
        let identity = identify(&HeaderMap::new(), &mut || 0);
        assert_eq!(identity.trace.header(), "00-00000000000000010000000000000000-0000000000000001-01");
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_new_span() {
        let table = [
            (VALID, "01"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "00"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", "03"), // unknown flags are zeroed
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "01"), // section 3.2.4
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings", "01"),
        ];
        for (parent, flags) in table {
            let trace = identity(&[(TRACEPARENT, parent)]).trace;
            let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-{flags}");
            assert_eq!(trace.header(), expected.as_str(), "{parent}");
            assert!(trace.is_continued());
        }
    }

    #[test]
    fn an_invalid_trace_is_begun_anew() {
        for parent in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
        ] {
            let trace = identity(&[(TRACEPARENT, parent)]).trace;
            assert_eq!(trace.trace_id(), "00000000000000010000000000000002", "{parent}");
            assert!(!trace.is_continued());
        }
        let two = identity(&[(TRACEPARENT, VALID), (TRACEPARENT, VALID)]);
        assert!(!two.trace.is_continued());
    }

    proptest::proptest! {
        #[test]
        fn no_field_makes_an_identity_incomplete(parent in "(00-)?[0-9a-f-]{0,70}|.{0,60}", id in ".{0,140}") {
            let mut map = HeaderMap::new();
            for (name, text) in [(TRACEPARENT, parent), (X_REQUEST_ID, id)] {
                if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                    map.insert(name, value);
                }
            }
            let identity = identify(&map, &mut || 7);
            assert_eq!((identity.trace.trace_id().len(), identity.trace.span_id().len()), (32, 16));
            assert!((1..=128).contains(&identity.request_id.len()));
            assert!(identity.request_id.to_str().is_ok());
        }
    }
}
