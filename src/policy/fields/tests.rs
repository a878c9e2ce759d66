//! What leaves for an endpoint, line by line, for what came from a client.

use super::*;
use crate::policy::identity::identify;
use crate::policy::upgrade::asked;

const DIRECT: Client = Client {
    address: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
    unix: false,
    trusted: false,
    scheme: "http",
    version: Version::HTTP_11,
};
const PROXY: Client = Client { trusted: true, ..DIRECT };
const UNIX: Client = Client { address: None, unix: true, ..DIRECT };

type Lines<'a> = &'a [(&'a str, &'a str)];

fn map(lines: Lines<'_>) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    lines.iter().map(|(name, text)| (name.parse::<HeaderName>().unwrap(), value(text))).collect()
}

/// What leaves when `lines` came over `version` from `client` for `authority`.
fn leaves(
    client: Client,
    authority: &str,
    version: Version,
    protocol: Protocol,
    lines: Lines<'_>,
) -> HeaderMap {
    let mut headers = map(lines);
    let identity = identify(&headers, &mut || 1);
    let upgrade = asked(&http::Method::GET, version, &headers);
    let client = Client { version, ..client };
    for_upstream(&mut headers, &client, authority, &Via::new("0a"), &identity, upgrade.as_ref(), protocol);
    headers
}

fn plain(lines: Lines<'_>) -> HeaderMap {
    leaves(DIRECT, "example.com", Version::HTTP_11, Protocol::Http1, lines)
}

/// The lines of one field.
fn of(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

#[test]
fn an_ordinary_request_gets_its_origin_and_identity() {
    let expected = map(&[
        ("host", "example.com"),
        ("accept", "*/*"),
        ("via", "1.1 hitless-0a"),
        ("forwarded", "for=192.0.2.1;host=example.com;proto=http"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "example.com"),
        ("traceparent", "00-00000000000000010000000000000001-0000000000000001-01"),
        ("x-request-id", "00000000000000010000000000000001"),
    ]);
    assert_eq!(plain(&[("host", "example.com"), ("accept", "*/*")]), expected);
}

#[test]
fn fields_of_the_connection_stay_behind() {
    // RFC 9110, section 7.6.1; RFC 9112, appendix C.2.2; RFC 9113, section 3.1 (HTTP2-Settings).
    let left = plain(&[
        ("connection", "close, x-secret, HTTP2-Settings"),
        ("x-secret", "1"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy", "http://evil.example"),
        ("te", "gzip"),
    ]);
    for name in ["connection", "x-secret", "http2-settings", "keep-alive", "proxy-connection"] {
        assert!(!left.contains_key(name), "{name}");
    }
    for name in ["transfer-encoding", "upgrade", "proxy", "te"] {
        assert!(!left.contains_key(name), "{name}");
    }
}

#[test]
fn connection_cannot_remove_what_is_set_or_frames_the_message() {
    let listed = "host, content-length, x-forwarded-for, x-forwarded-host, x-forwarded-proto, forwarded, via, \
                  traceparent, x-request-id";
    let given = [("connection", listed), ("host", "example.com"), ("content-length", "3"), ("via", "1.0 a")];
    let left = plain(&given);
    for name in listed.split(", ") {
        assert!(left.contains_key(name), "{name}");
    }
    assert_eq!(of(&left, "via"), ["1.0 a", "1.1 hitless-0a"]);
    let given = [("connection", "x-forwarded-for, tracestate"), ("x-forwarded-for", "198.51.100.7")];
    let left = leaves(PROXY, "example.com", Version::HTTP_11, Protocol::Http1, &given);
    assert_eq!(of(&left, "x-forwarded-for"), ["198.51.100.7, 192.0.2.1"], "what a proxy before said is kept");
}

#[test]
fn only_trailers_are_asked_of_the_endpoint() {
    use {Protocol::*, Version as V};
    // RFC 9110, section 10.1.4: `TE` needs the connection option in HTTP/1.1; RFC 9113, section 8.2.2.
    let table = [
        (V::HTTP_11, Http1, "trailers", Some("trailers"), Some("te")),
        (V::HTTP_11, Http1, "gzip, Trailers;q=0.5", Some("trailers"), Some("te")),
        (V::HTTP_11, H2c, "trailers", Some("trailers"), None),
        (V::HTTP_2, Http1, "trailers", Some("trailers"), Some("te")),
        (V::HTTP_2, H2c, "trailers", Some("trailers"), None),
        (V::HTTP_11, Http1, "gzip", None, None),
        (V::HTTP_10, Http1, "trailers", None, None),
    ];
    for (version, protocol, given, te, connection) in table {
        let left = leaves(DIRECT, "h", version, protocol, &[("te", given), ("connection", "te")]);
        let of = |name| of(&left, name).pop();
        assert_eq!(
            (of("te").as_deref(), of("connection").as_deref()),
            (te, connection),
            "{version:?} {given}"
        );
    }
}

#[test]
fn an_upgrade_is_asked_of_an_http1_endpoint_only() {
    let given =
        [("connection", "keep-alive, Upgrade, te"), ("upgrade", "websocket, h2c"), ("te", "trailers")];
    let left = leaves(DIRECT, "h", Version::HTTP_11, Protocol::Http1, &given);
    assert_eq!(of(&left, "upgrade"), ["websocket"]);
    assert_eq!(of(&left, "connection"), ["upgrade, te"]);
    let left = leaves(DIRECT, "h", Version::HTTP_11, Protocol::H2c, &given);
    assert!(!left.contains_key("upgrade") && !left.contains_key("connection"));
}

#[test]
fn the_version_that_a_request_came_in_is_told() {
    // RFC 9110, section 7.6.3.
    for (version, via) in [
        (Version::HTTP_10, "1.0 hitless-0a"),
        (Version::HTTP_11, "1.1 hitless-0a"),
        (Version::HTTP_2, "2.0 hitless-0a"),
    ] {
        assert_eq!(of(&leaves(DIRECT, "h", version, Protocol::Http1, &[]), "via"), [via]);
    }
}

#[test]
fn a_strangers_word_about_others_is_replaced() {
    let left = plain(&[
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-real-ip", "10.0.0.1"),
    ]);
    assert_eq!(of(&left, "forwarded"), ["for=192.0.2.1;host=example.com;proto=http"]);
    assert_eq!(of(&left, "x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(of(&left, "x-forwarded-proto"), ["http"]);
    assert_eq!(of(&left, "x-forwarded-host"), ["example.com"]);
    assert!(!left.contains_key("x-forwarded-prefix") && !left.contains_key("x-real-ip"));
}

#[test]
fn a_word_about_others_in_disguise_is_removed_of_every_client() {
    let disguised =
        [("x_forwarded_for", "10.0.0.1"), ("X-Real_IP", "10.0.0.1"), ("x_request_id", "a"), ("x_mine", "1")];
    for client in [DIRECT, PROXY] {
        let left = leaves(client, "h", Version::HTTP_11, Protocol::Http1, &disguised);
        let names: Vec<_> = left.keys().map(HeaderName::as_str).filter(|name| name.contains('_')).collect();
        assert_eq!(names, ["x_mine"]);
    }
}

#[test]
fn a_trusted_clients_word_is_continued() {
    let left = leaves(
        PROXY,
        "example.com",
        Version::HTTP_11,
        Protocol::Http1,
        &[
            ("forwarded", "for=198.51.100.7;proto=https"),
            ("forwarded", "for=_hidden"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "203.0.113.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-prefix", "/shop"),
            ("x-real-ip", "198.51.100.7"),
        ],
    );
    let forwarded = "for=198.51.100.7;proto=https, for=_hidden, for=192.0.2.1;host=example.com;proto=http";
    assert_eq!(of(&left, "forwarded"), [forwarded]);
    assert_eq!(of(&left, "x-forwarded-for"), ["198.51.100.7, 203.0.113.4, 192.0.2.1"]);
    assert_eq!(of(&left, "x-forwarded-proto"), ["https"]);
    assert_eq!(of(&left, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(of(&left, "x-forwarded-prefix"), ["/shop"]);
    assert_eq!(of(&left, "x-real-ip"), ["198.51.100.7"]);
}

#[test]
fn a_trusted_clients_older_fields_are_told_in_forwarded_too() {
    // RFC 7239, section 7.4.
    let given = [
        ("x-forwarded-for", "198.51.100.7, 2001:db8::7"),
        ("x-forwarded-for", "[2001:db8::8]:443, 203.0.113.4:1234, nobody"),
        ("x-forwarded-proto", "https"),
    ];
    let left = leaves(PROXY, "h", Version::HTTP_11, Protocol::Http1, &given);
    let forwarded = "for=198.51.100.7;proto=https, for=\"[2001:db8::7]\", for=\"[2001:db8::8]\", for=203.0.113.4, \
                     for=unknown, for=192.0.2.1;host=h;proto=http";
    assert_eq!(of(&left, "forwarded"), [forwarded]);
}

#[test]
fn every_kind_of_client_has_a_node_identifier() {
    // RFC 7239, section 6: brackets and quotes for IPv6, `_unix` as an obfuscated identifier, `unknown`.
    let address = |text: &str| Client { address: text.parse().ok(), ..DIRECT };
    let table: [(Client, &str, &[&str]); 5] = [
        (address("192.0.2.1"), "192.0.2.1", &["192.0.2.1"]),
        (address("2001:db8::1"), "\"[2001:db8::1]\"", &["2001:db8::1"]),
        (address("::ffff:192.0.2.1"), "192.0.2.1", &["192.0.2.1"]),
        (UNIX, "_unix", &[]),
        (Client { unix: false, ..UNIX }, "unknown", &[]),
    ];
    for (client, node, list) in table {
        let left = leaves(client, "h", Version::HTTP_11, Protocol::Http1, &[("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(of(&left, "forwarded"), [format!("for={node};host=h;proto=http")]);
        assert_eq!(of(&left, "x-forwarded-for"), list);
    }
    let trusted = Client { trusted: true, ..UNIX };
    let left = leaves(trusted, "h", Version::HTTP_11, Protocol::Http1, &[("x-forwarded-for", "10.0.0.1")]);
    assert_eq!(of(&left, "x-forwarded-for"), ["10.0.0.1"], "a trusted proxy on a Unix socket has no address");
}

#[test]
fn an_authority_is_quoted_where_it_must_be_and_becomes_the_host() {
    let table = [
        ("example.com", "for=192.0.2.1;host=example.com;proto=http"),
        ("example.com:8080", "for=192.0.2.1;host=\"example.com:8080\";proto=http"),
        ("[2001:db8::1]:80", "for=192.0.2.1;host=\"[2001:db8::1]:80\";proto=http"),
        ("", "for=192.0.2.1;proto=http"),
    ];
    for (authority, forwarded) in table {
        let left = leaves(DIRECT, authority, Version::HTTP_11, Protocol::Http1, &[("host", "other")]);
        assert_eq!(of(&left, "forwarded"), [forwarded]);
        assert_eq!(of(&left, "host"), [authority]);
        assert_eq!(left.contains_key("x-forwarded-host"), !authority.is_empty());
    }
}

#[test]
fn cookie_crumbs_of_http2_are_one_field_again() {
    // RFC 9113, section 8.2.3.
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=\u{e9}")];
    let left = leaves(DIRECT, "h", Version::HTTP_2, Protocol::Http1, &crumbs);
    assert_eq!(of(&left, "cookie"), ["a=1; b=2; c=\u{e9}"]);
    assert_eq!(of(&leaves(DIRECT, "h", Version::HTTP_2, Protocol::Http1, &crumbs[..1]), "cookie"), ["a=1"]);
    assert!(!plain(&[]).contains_key("cookie"));
    let crumbs = [("cookie", ""), ("cookie", "b=2; c"), ("cookie", ""), ("cookie", "a=1"), ("cookie", "a=1")];
    let left = leaves(DIRECT, "h", Version::HTTP_2, Protocol::Http1, &crumbs);
    assert_eq!(of(&left, "cookie"), ["b=2; c; a=1; a=1"], "empty crumbs are none, the order is kept");
    // RFC 6265, section 5.4: nobody sends that, and nobody says what it means.
    let left = leaves(DIRECT, "h", Version::HTTP_11, Protocol::Http1, &crumbs[3..]);
    assert_eq!(of(&left, "cookie"), ["a=1", "a=1"]);
}

#[test]
fn tracestate_goes_with_a_continued_trace_only() {
    let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let left = plain(&[parent, ("tracestate", "a=1"), ("tracestate", "b=2")]);
    assert_eq!(of(&left, "tracestate"), ["a=1", "b=2"]);
    assert_eq!(of(&left, "traceparent"), ["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01"]);
    // W3C Trace Context, section 4.3: without a valid `traceparent` it is discarded.
    assert!(!plain(&[("traceparent", "garbage"), ("tracestate", "a=1")]).contains_key("tracestate"));
}

#[test]
fn fields_of_ranges_conditions_and_credentials_go_as_they_came() {
    // RFC 9110, sections 11.6.2, 11.7.2, 13.1 and 14.2; RFC 8586, section 2.
    let given = [
        ("range", "bytes=0-,-5"),
        ("if-range", "W/\"x\""),
        ("if-match", "\"x\", \"y\""),
        ("if-none-match", "*"),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if-unmodified-since", "never"),
        ("authorization", "Basic eA=="),
        ("proxy-authorization", "Basic eA=="),
        ("cdn-loop", "a; x, b"),
        ("max-forwards", "3"),
    ];
    let left = plain(&given);
    for (name, value) in given {
        assert_eq!(of(&left, name), [value]);
    }
}

#[test]
fn end_to_end_fields_keep_their_lines_and_order() {
    let given = [
        ("accept", "a"),
        ("x-empty", ""),
        ("accept", "b"),
        ("expect", "100-continue"),
        ("trailer", "x"),
        ("x-empty", ""),
    ];
    let left = plain(&given);
    for (name, value) in given {
        assert!(of(&left, name).contains(&value.to_owned()), "{name}");
    }
    assert_eq!(of(&left, "accept"), ["a", "b"]);
    assert_eq!(of(&left, "x-empty"), ["", ""]);
}

proptest::proptest! {
    #[test]
    fn no_client_can_undo_what_is_set(
        options in "[a-z, -]{0,40}|(x-forwarded-for|host|via|forwarded|x-request-id|traceparent)(, [a-z-]{1,9})?",
        claims in proptest::collection::vec(("x-forwarded-(for|proto|host)|forwarded|via|te|upgrade|connection|cookie", ".{0,20}"), 0..6),
    ) {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_str(&options).unwrap());
        for (name, text) in claims {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.append(name.parse::<HeaderName>().unwrap(), value);
            }
        }
        let identity = identify(&headers, &mut || 1);
        let client = Client { version: Version::HTTP_2, ..DIRECT };
        for_upstream(&mut headers, &client, "h", &Via::new("0a"), &identity, None, Protocol::H2c);
        assert_eq!(of(&headers, "host"), ["h"]);
        assert_eq!(of(&headers, "x-forwarded-for"), ["192.0.2.1"]);
        assert_eq!(of(&headers, "forwarded"), ["for=192.0.2.1;host=h;proto=http"]);
        assert_eq!(of(&headers, "via").last().map(String::as_str), Some("2.0 hitless-0a"));
        assert!(!headers.contains_key("connection") && !headers.contains_key("upgrade"));
    }
}
