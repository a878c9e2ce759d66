//! What belongs to one connection only is taken out, in both directions; what hitless says about
//! itself is put into answers.
//!
//! Sources: RFC 9110, section 7.6.1 (`Connection` and the fields that go with it whether listed or
//! not) and section 7.6.3 (`Via`); RFC 9112, appendix C.2.2 (`Proxy-Connection`).
//!
//! Promises: `Connection` cannot remove what frames a message, what names its authority, or what
//! proxies before and here say about it (these are end-to-end, so listing them is an error of the
//! sender: RFC 9110, section 7.6.1). Nothing is allocated unless `Connection` lists a field by name.
//! Must not know: whether a message is a request, or where it goes.

use http::Version;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::header::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Makes the fields of an endpoint's answer ready for the client. `version` is the one the answer came
/// in; `upgrade` keeps its `Upgrade` (a 101 to a client that asked, or a 426 to an HTTP/1.1 client).
pub fn for_client(
    headers: &mut HeaderMap,
    request_id: &HeaderValue,
    traceresponse: &HeaderValue,
    version: Version,
    upgrade: bool,
) {
    let protocols = headers.get(UPGRADE).filter(|_| upgrade).cloned();
    strip(headers);
    if let Some(protocols) = protocols {
        headers.insert(UPGRADE, protocols);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers.append(VIA, via(version));
    identify(headers, request_id, traceresponse);
}

/// Tells the client what its request is called; for answers of hitless itself too.
pub fn identify(headers: &mut HeaderMap, request_id: &HeaderValue, traceresponse: &HeaderValue) {
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.insert(TRACERESPONSE, traceresponse.clone());
}

/// Removes the fields of one connection and those that `Connection` lists.
pub fn strip(headers: &mut HeaderMap) {
    // RFC 9112, section 6.3: a transfer coding overrides a length, which must not be passed on with it;
    // hyper removes it from requests only.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in listed(headers) {
        headers.remove(name);
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// The fields that `Connection` lists, but those that are removed anyway or must not be.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers.get_all(CONNECTION).iter().flat_map(tokens);
    let fields = options.filter(|option| !is_known_option(option));
    fields.filter_map(|option| option.parse().ok()).filter(|name| !is_end_to_end(name)).collect()
}

/// Options that name no field, or one that is removed anyway.
fn is_known_option(option: &str) -> bool {
    ["keep-alive", "close", "upgrade", "te", "http2-settings"]
        .iter()
        .any(|known| option.eq_ignore_ascii_case(known))
}

fn is_end_to_end(name: &HeaderName) -> bool {
    let text = name.as_str();
    [HOST, CONTENT_LENGTH, VIA].contains(name)
        || matches!(text, "forwarded" | "x-request-id" | "traceparent" | "tracestate" | "traceresponse")
        || text.starts_with("x-forwarded-")
}

/// Whether the message has a transfer coding other than chunked, which cannot be taken off here.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(tokens);
    codings.any(|coding| !coding.eq_ignore_ascii_case("chunked"))
}

/// This gateway's element of `Via`: the version that the message came in, and a pseudonym.
pub fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_09 => "0.9 hitless",
        Version::HTTP_10 => "1.0 hitless",
        Version::HTTP_2 => "2.0 hitless",
        Version::HTTP_3 => "3.0 hitless",
        _ => "1.1 hitless",
    })
}

/// Whether a comma-separated field has this element, in any case; parameters are not looked at.
pub fn lists(headers: &HeaderMap, name: HeaderName, element: &str) -> bool {
    let name_of =
        |token: &str| token.split(';').next().unwrap_or_default().trim_end().eq_ignore_ascii_case(element);
    headers.get_all(name).iter().flat_map(tokens).any(name_of)
}

/// The elements of one line of a comma-separated field without quoted strings (RFC 9110, section
/// 5.6.1.2: empty ones do not count); an element that is not UTF-8 is none.
pub fn tokens(line: &HeaderValue) -> impl Iterator<Item = &str> {
    let elements = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty()).filter_map(|element| std::str::from_utf8(element).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        lines.iter().map(|(name, text)| (name.parse::<HeaderName>().unwrap(), value(text))).collect()
    }

    fn answer(lines: Lines<'_>, upgrade: bool) -> HeaderMap {
        let mut headers = headers(lines);
        let id = HeaderValue::from_static("id-1");
        let trace = HeaderValue::from_static("00-trace");
        for_client(&mut headers, &id, &trace, Version::HTTP_11, upgrade);
        headers
    }

    const SAID: [(&str, &str); 3] =
        [("via", "1.1 hitless"), ("x-request-id", "id-1"), ("traceresponse", "00-trace")];

    #[test]
    fn an_answer_leaves_without_the_fields_of_its_connection() {
        let table: &[(Lines<'_>, Lines<'_>)] = &[
            (&[("content-type", "text/plain")], &[("content-type", "text/plain")]),
            (&[("connection", "close"), ("a", "1")], &[("a", "1")]),
            (&[("connection", "x-hop, close"), ("x-hop", "1"), ("x-end", "2")], &[("x-end", "2")]),
            (&[("connection", "x-a"), ("connection", "X-B"), ("x-a", "1"), ("x-b", "2")], &[]),
            (&[("connection", "\u{e9}, x-a"), ("x-a", "1")], &[]),
            (&[("keep-alive", "timeout=5"), ("proxy-connection", "close")], &[]),
            (&[("transfer-encoding", "chunked"), ("te", "trailers"), ("upgrade", "h2c")], &[]),
            (&[("transfer-encoding", "chunked"), ("content-length", "3")], &[]),
            // End-to-end fields stay (RFC 9110, section 7.6.1).
            (&[("connection", "content-length"), ("content-length", "3")], &[("content-length", "3")]),
            (&[("trailer", "x-sum")], &[("trailer", "x-sum")]),
            (&[("set-cookie", "a"), ("set-cookie", "b")], &[("set-cookie", "a"), ("set-cookie", "b")]),
        ];
        for (given, left) in table {
            assert_eq!(answer(given, false), headers(&[left, &SAID[..]].concat()), "{given:?}");
        }
    }

    #[test]
    fn an_accepted_upgrade_keeps_its_protocol() {
        let given = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x")];
        let left = [("sec-websocket-accept", "x"), ("upgrade", "websocket"), ("connection", "upgrade")];
        assert_eq!(answer(&given, true), headers(&[&left[..], &SAID[..]].concat()));
    }

    #[test]
    fn what_hitless_says_follows_or_replaces_what_came() {
        let left = answer(&[("via", "1.0 app"), ("x-request-id", "other"), ("connection", "via")], false);
        let via: Vec<_> = left.get_all(VIA).iter().collect();
        assert_eq!(via, ["1.0 app", "1.1 hitless"]); // RFC 9110, section 7.6.3: appended
        assert_eq!(left.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), ["id-1"]);
    }

    #[test]
    fn a_coding_other_than_chunked_is_seen() {
        for (codings, coded) in [("chunked", false), ("Chunked", false), ("gzip, chunked", true), ("x", true)]
        {
            assert_eq!(is_coded(&headers(&[("transfer-encoding", codings)])), coded, "{codings}");
        }
        assert!(!is_coded(&headers(&[])));
    }

    #[test]
    fn a_list_is_read_without_regard_to_case_empty_elements_and_parameters() {
        let map = headers(&[("te", " , gzip;q=0.5,"), ("te", "Trailers ; x")]);
        assert!(lists(&map, TE, "trailers") && lists(&map, TE, "gzip"));
        assert!(!lists(&map, TE, "trail") && !lists(&map, TE, ""));
    }
}
