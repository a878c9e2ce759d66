//! What belongs to one connection only is taken out, in both directions; what hitless says about
//! itself is put into answers; what may not stand in a trailer section is taken out of it.
//!
//! Sources: RFC 9110, section 6.5.1 (what a trailer must not be), section 7.6.1 (`Connection` and the
//! fields that go with it whether listed or not), section 7.6.3 (`Via`) and section 15.2 (interim
//! answers); RFC 9112, appendix C.2.2 (`Proxy-Connection`).
//!
//! Promises: `Connection` cannot remove what frames a message, what names its authority, what is meant
//! for every recipient, or what proxies before and here say about it (these are end-to-end, so listing
//! them is an error of the sender: RFC 9110, section 7.6.1). `Proxy-Authorization` and
//! `Proxy-Authenticate` pass: they are for the first proxy that wants them (sections 11.7.1 and
//! 11.7.2), which a gateway is not, but the endpoint of a CONNECT may be. Trailers that pass cannot be
//! mistaken for fields of the head by who merges the two. Nothing is allocated unless `Connection`
//! lists a field by name, or a trailer is removed.
//! Must not know: whether a message is a request, or where it goes.

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

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
    // RFC 9112, section 6.3: a transfer coding overrides a length, which must not be passed on with it.
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
    let name = name.as_str();
    name.starts_with("content-")
        || is_origin(name)
        || matches!(
            name,
            "authorization" | "cache-control" | "cookie" | "date" | "expect" | "host" | "max-forwards"
                | "set-cookie" | "trailer"
        )
        // RFC 8586, section 2: it would not end loops if it could be removed.
        || name == "cdn-loop"
}

/// What proxies before and here say about a message.
fn is_origin(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "via" | "x-real-ip" | "x-request-id")
        || matches!(name, "traceparent" | "tracestate" | "traceresponse")
}

/// Whether an answer of this status without end may be passed on (RFC 9110, section 15.2): every one but
/// 101, which is no interim answer, and none to HTTP/1.0, which knows none.
pub fn passes_interim(status: StatusCode, client: Version) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS && client > Version::HTTP_10
}

/// Makes the fields of an interim answer ready for the client. It has no content, and is not told who it
/// went through: `Via` is optional for a gateway's answers (RFC 9110, section 7.6.3).
pub fn for_interim(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRAILER);
}

/// Whether this client can be sent trailers. Every recipient of a chunked message can read them (RFC
/// 9112, section 7.1.2), and HTTP/2 has them (RFC 9113, section 8.1). `TE: trailers` says only that they
/// are kept on the whole way (RFC 9110, section 6.5.1), so nobody is sent fewer for not saying it.
pub fn takes_trailers(client: Version) -> bool {
    client > Version::HTTP_10
}

/// Removes the trailers that must not be any, from requests and answers (RFC 9110, section 6.5.1).
pub fn trailers(trailers: &mut HeaderMap) {
    let refused: Vec<HeaderName> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
    for name in refused {
        trailers.remove(name);
    }
}

fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.contains('_') {
        // CGI and its heirs read `content_type` as the same field (RFC 3875, section 4.1.18).
        true => is_trailer(&name.replace('_', "-")),
        false => is_trailer(name),
    }
}

fn is_trailer(name: &str) -> bool {
    let refused = is_of_connection(name)
        || is_origin(name)
        // What the content is; its digest may follow it (RFC 9530, section 2).
        || (name.starts_with("content-") && name != "content-digest")
        // How the request is meant (RFC 9110, sections 10.1, 12.5, 13.1 and 14.2).
        || name.starts_with("if-")
        || name == "accept"
        || name.starts_with("accept-")
        || name.starts_with("access-control-")
        || name.starts_with("sec-")
        || matches!(name, "expect" | "host" | "max-forwards" | "origin" | "pragma" | "proxy" | "range" | "referer")
        // Who asks (section 11). `Authentication-Info` may be a trailer (section 11.6.3).
        || matches!(name, "authorization" | "proxy-authorization" | "www-authenticate" | "proxy-authenticate")
        || matches!(name, "cookie" | "set-cookie")
        // How the answer is used (sections 6.6.1, 10.2, 12.5.5; RFC 9111, section 5).
        || matches!(name, "age" | "cache-control" | "date" | "expires" | "vary" | "warning")
        || matches!(name, "location" | "retry-after" | "refresh" | "allow");
    !refused
}

/// What is about one connection, or about how a message is framed on it.
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
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
    fn connection_cannot_remove_what_is_for_every_recipient() {
        let stay = [
            "authorization",
            "cache-control",
            "cdn-loop",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "expect",
            "forwarded",
            "host",
            "max-forwards",
            "set-cookie",
            "traceparent",
            "tracestate",
            "trailer",
            "via",
            "x-forwarded-for",
            "x-forwarded-port",
            "x-real-ip",
            "x-request-id",
        ];
        for name in stay {
            let mut map = headers(&[("connection", name), (name, "1")]);
            strip(&mut map);
            assert!(map.contains_key(name), "RFC 9110, section 7.6.1: {name}");
        }
    }

    #[test]
    fn credentials_for_a_proxy_pass() {
        // RFC 9110, sections 11.7.1 and 11.7.2.
        let given = [("proxy-authenticate", "Basic"), ("proxy-authorization", "Basic eA==")];
        let mut map = headers(&given);
        strip(&mut map);
        assert_eq!(map, headers(&given));
    }

    #[test]
    fn fields_of_ranges_and_conditions_are_not_touched() {
        // RFC 9110, sections 13 and 14: they are the endpoint's and the client's.
        let given = [
            ("range", "bytes=0-1,5-"),
            ("if-range", "\"x\""),
            ("if-match", "*"),
            ("if-none-match", "W/\"x\", \"y\""),
            ("if-modified-since", "yesterday"),
            ("accept-ranges", "bytes"),
            ("content-range", "bytes 0-1/10"),
            ("etag", "W/\"x\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("content-encoding", "gzip"),
            ("content-length", "2"),
            ("x-empty", ""),
            ("x-empty", ""),
        ];
        assert_eq!(answer(&given, false), headers(&[&given[..], &SAID[..]].concat()));
    }

    #[test]
    fn what_may_not_be_a_trailer_is_removed() {
        // RFC 9110, section 6.5.1, and what a reader who merges trailers into the head would be fooled by.
        let refused = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "content-length",
            "content-type",
            "content-encoding",
            "content-range",
            "host",
            "cache-control",
            "expect",
            "max-forwards",
            "pragma",
            "range",
            "if-match",
            "if-none-match",
            "authorization",
            "proxy-authorization",
            "www-authenticate",
            "proxy-authenticate",
            "cookie",
            "set-cookie",
            "age",
            "date",
            "expires",
            "location",
            "retry-after",
            "vary",
            "via",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-real-ip",
            "x-request-id",
            "traceparent",
            "proxy",
            "content_length",
            "transfer_encoding",
            "accept-encoding",
            "sec-fetch-site",
            "access-control-allow-origin",
        ];
        for name in refused {
            let mut map = headers(&[(name, "1"), ("x-sum", "2"), (name, "3")]);
            trailers(&mut map);
            assert_eq!(map, headers(&[("x-sum", "2")]), "{name}");
        }
    }

    #[test]
    fn trailers_of_applications_pass_untouched() {
        let given = [
            ("grpc-status", "0"),
            ("grpc-message", ""),
            ("grpc-status-details-bin", "CAU="),
            ("x-empty", ""),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("accepted-rows", "3"),
            ("server-timing", "db;dur=3"),
            ("etag", "\"x\""),                      // RFC 9110, section 8.8.3
            ("authentication-info", "nextnonce=x"), // RFC 9110, section 11.6.3
            ("content-digest", "sha-256=:x=:"),     // RFC 9530, section 2
            ("repr-digest", "sha-256=:x=:"),
        ];
        let mut map = headers(&given);
        trailers(&mut map);
        assert_eq!(map, headers(&given));
    }

    #[test]
    fn trailers_are_for_those_who_can_read_them() {
        // RFC 9112, section 7.1.2; RFC 9113, section 8.1.
        for (client, takes) in [
            (Version::HTTP_09, false),
            (Version::HTTP_10, false),
            (Version::HTTP_11, true),
            (Version::HTTP_2, true),
        ] {
            assert_eq!(takes_trailers(client), takes, "{client:?}");
        }
    }

    #[test]
    fn interim_answers_are_for_those_who_know_them() {
        use Version as V;
        // RFC 9110, section 15.2; RFC 8297 (103); RFC 9113, section 8.6 (no 101).
        let table = [
            (100, V::HTTP_11, true),
            (102, V::HTTP_11, true),
            (103, V::HTTP_11, true),
            (103, V::HTTP_2, true),
            (199, V::HTTP_11, true),
            (199, V::HTTP_2, true),
            (100, V::HTTP_10, false),
            (103, V::HTTP_10, false),
            (101, V::HTTP_11, false), // the end of HTTP, not an interim answer
            (101, V::HTTP_2, false),
            (200, V::HTTP_11, false),
        ];
        for (status, client, passes) in table {
            assert_eq!(
                passes_interim(StatusCode::from_u16(status).unwrap(), client),
                passes,
                "{status} {client:?}"
            );
        }
        let mut map = headers(&[
            ("link", "</a.css>; rel=preload"),
            ("link", "</b.js>; rel=preload"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "3"), // RFC 9110, section 8.6
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
        ]);
        for_interim(&mut map);
        assert_eq!(map, headers(&[("link", "</a.css>; rel=preload"), ("link", "</b.js>; rel=preload")]));
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
