//! The authority of a request, and the host of it.
//!
//! Promises: a request has one authority or is refused; what comes out as a host is a DNS-like name, an
//! IPv4 address or a bracketed IPv6 address, and can be put into a field value or a list without
//! quoting. Percent-encoded and sub-delimiter octets, which RFC 3986 allows in a registered name and no
//! client sends, are refused: `%65xample.com` would dodge `example.com`, and a comma would forge an
//! element of `X-Forwarded-Host`. So are IPv6 zones and future literals (RFC 3986, section 3.2.2).
//! Must not know: which hosts are served.

use std::net::Ipv6Addr;

use http::header::{HOST, HeaderMap};
use http::{Method, Uri, Version};

use crate::response::Failure;

/// Refuses a request that does not say, or says in two ways, whom it is for (RFC 9110, section 7.2; RFC
/// 9112, sections 3.2 and 3.3; RFC 9113, section 8.3.1):
/// - HTTP/1.1 without `Host`, whatever the form of its target; HTTP/2 without `:authority` and `Host`;
/// - several `Host`, one that is no authority, an empty one (but of HTTP/1.0, which needs none);
/// - an absolute form or `:authority` that differs from `Host`. RFC 9112, section 3.2.2, has a server
///   ignore `Host` then; who differs wants two servers to disagree.
/// - CONNECT to no port or port 0 (RFC 9110, section 9.3.6), or with a path.
pub fn check_authority(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let host = host_field(version, headers)?;
    let named = uri.authority().map(http::uri::Authority::as_str);
    if host.is_none() && (version == Version::HTTP_11 || (named.is_none() && version > Version::HTTP_11)) {
        return Err(Failure::BadRequest("no authority"));
    }
    if let Some(host) = host {
        parts_of(host).ok_or(Failure::BadRequest("the authority is not a host"))?;
    }
    let Some(named) = named else { return Ok(()) };
    let (_, port) = parts_of(named).ok_or(Failure::BadRequest("the authority is not a host"))?;
    let port_of_scheme = match (method == Method::CONNECT, uri.scheme_str()) {
        (true, _) => connect_port(uri, port)?,
        (false, Some("https")) => Some(443),
        (false, _) => Some(80),
    };
    match host.is_none_or(|host| same(named, host, port_of_scheme)) {
        true => Ok(()),
        false => Err(Failure::BadRequest("the target and the Host field name different authorities")),
    }
}

/// The one `Host`; that of HTTP/1.0 may be empty, which says nothing.
fn host_field(version: Version, headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let mut lines = headers.get_all(HOST).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(Failure::BadRequest("more than one Host field"));
    }
    let host = line.to_str().map_err(|_| Failure::BadRequest("the Host field is not text"))?;
    match host.is_empty() {
        true if version <= Version::HTTP_10 => Ok(None),
        true => Err(Failure::BadRequest("the Host field is empty")),
        false => Ok(Some(host)),
    }
}

/// What `Host` may leave out beside a CONNECT: clients do that with the ports of the web.
fn connect_port(uri: &Uri, port: &str) -> Result<Option<u16>, Failure> {
    // With a path it is an extended one (RFC 8441, section 4), which has a scheme.
    if uri.scheme().is_some() {
        return Ok(Some(if uri.scheme_str() == Some("https") { 443 } else { 80 }));
    }
    match port.parse() {
        Err(_) | Ok(0) => Err(Failure::BadRequest("CONNECT needs a port")),
        Ok(port) => Ok(matches!(port, 80 | 443).then_some(port)),
    }
}

/// RFC 9110, section 4.2.3: in any case, with or without the port of the scheme.
fn same(one: &str, other: &str, port_of_scheme: Option<u16>) -> bool {
    let read = |authority| {
        let (host, port) = parts_of(authority)?;
        Some((host, if port.is_empty() { port_of_scheme } else { port.parse().ok() }))
    };
    match (read(one), read(other)) {
        (Some((host, port)), Some((other, its))) => host.eq_ignore_ascii_case(other) && port == its,
        _ => false,
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 3986, section 3.2.2), brackets kept;
/// `None` when it has user information, an empty or invalid host, or an invalid port.
pub fn host_of(authority: &str) -> Option<&str> {
    Some(parts_of(authority)?.0)
}

/// Host and port, the latter without its colon.
fn parts_of(authority: &str) -> Option<(&str, &str)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    (is_host(host) && is_port(port)).then_some((host, port.trim_start_matches(':')))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => {
            let name = host.strip_suffix('.').unwrap_or(host);
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~');
            name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && label.bytes().all(allowed))
        }
    }
}

/// Empty, or `:` and at most five digits that are a port (`:` alone is legal, RFC 3986 section 3.2.3).
fn is_port(port: &str) -> bool {
    let Some(digits) = port.strip_prefix(':') else { return port.is_empty() };
    digits.len() <= 5
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_is_found_without_its_port() {
        let table: &[(&str, Option<&str>)] = &[
            ("example.com", Some("example.com")),
            ("Example.COM:8080", Some("Example.COM")),
            ("example.com.", Some("example.com.")),
            ("example.com:", Some("example.com")),
            ("my_host-1:80", Some("my_host-1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]")),
            ("h:0", Some("h")),
            ("h:65535", Some("h")),
            ("h:00080", Some("h")),
            ("[::ffff:192.0.2.1]", Some("[::ffff:192.0.2.1]")),
        ];
        for (authority, host) in table {
            assert_eq!(host_of(authority), *host, "{authority}");
        }
    }

    #[test]
    fn an_authority_that_is_not_a_plain_host_is_refused() {
        for authority in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "user@example.com", // RFC 9110, section 4.2.4
            "user:secret@example.com",
            "example.com:port",
            "example.com:65536",
            "example.com:+80",
            "example.com:000080",
            "example.com: 80",
            "[::1]:x",
            "[1.2.3.4]",
            "[::::]",
            "[v1.x]", // no use for it has been found
            "*",
            "example.com:80:80",
            "2001:db8::1",
            "[2001:db8::1",
            "[]",
            "[::1]x",
            "[fe80::1%25eth0]",
            "%65xample.com",
            "a,b",
            "a b",
            "a/b",
            "a\\b",
            "b\u{fc}cher.example",
        ] {
            assert_eq!(host_of(authority), None, "{authority}");
        }
    }

    fn checked(method: Method, uri: &str, version: Version, hosts: &[&str]) -> Result<(), Failure> {
        let values = hosts.iter().map(|host| http::HeaderValue::from_bytes(host.as_bytes()).unwrap());
        let headers: HeaderMap = values.map(|value| (HOST, value)).collect();
        check_authority(&method, &uri.parse().unwrap(), version, &headers)
    }

    #[test]
    fn a_request_that_says_whom_it_is_for_is_accepted() {
        use Method as M;
        use Version as V;
        let table: &[(Method, &str, Version, &[&str])] = &[
            (M::GET, "/", V::HTTP_11, &["h"]),
            (M::GET, "/", V::HTTP_11, &["H.:8080"]),
            (M::OPTIONS, "*", V::HTTP_11, &["h"]),
            (M::GET, "/", V::HTTP_10, &[]), // RFC 9112, section 3.3: no Host before 1.1
            (M::GET, "/", V::HTTP_10, &[""]),
            (M::GET, "http://h/", V::HTTP_10, &[]),
            // RFC 9110, section 4.2.3: normalised before they are compared.
            (M::GET, "http://Example.com/", V::HTTP_11, &["example.COM"]),
            (M::GET, "http://h/", V::HTTP_11, &["h:80"]),
            (M::GET, "http://h:80/", V::HTTP_11, &["h:"]),
            (M::GET, "http://h:080/", V::HTTP_11, &["h"]),
            (M::GET, "https://h/", V::HTTP_11, &["h:443"]),
            (M::GET, "http://[::1]/", V::HTTP_11, &["[::1]:80"]),
            // RFC 9113, section 8.3.1.
            (M::GET, "http://h/", V::HTTP_2, &[]),
            (M::GET, "/", V::HTTP_2, &["h"]),
            (M::GET, "http://h/", V::HTTP_2, &["h"]),
            (M::CONNECT, "https://h/chat", V::HTTP_2, &[]), // RFC 8441, section 4
            (M::CONNECT, "h:80", V::HTTP_11, &["h:80"]),
            (M::CONNECT, "h:80", V::HTTP_11, &["h"]),
            (M::CONNECT, "h:443", V::HTTP_11, &["h"]),
            (M::CONNECT, "h:8080", V::HTTP_2, &[]),
        ];
        for (method, uri, version, hosts) in table {
            assert_eq!(checked(method.clone(), uri, *version, hosts), Ok(()), "{method} {uri} {hosts:?}");
        }
    }

    #[test]
    fn a_request_that_says_it_in_no_or_two_ways_is_refused() {
        use Method as M;
        use Version as V;
        let table: &[(Method, &str, Version, &[&str])] = &[
            // RFC 9112, section 3.2.
            (M::GET, "/", V::HTTP_11, &[]),
            (M::GET, "http://h/", V::HTTP_11, &[]),
            (M::GET, "/", V::HTTP_11, &["h", "h"]),
            (M::GET, "/", V::HTTP_10, &["h", "other"]),
            (M::GET, "/", V::HTTP_2, &["h", "h"]),
            (M::GET, "/", V::HTTP_11, &["h/x"]),
            (M::GET, "/", V::HTTP_11, &["h, other"]),
            (M::GET, "/", V::HTTP_11, &["u@h"]), // RFC 9110, section 4.2.4
            (M::GET, "/", V::HTTP_11, &["\u{e9}"]),
            (M::GET, "/", V::HTTP_11, &["h:99999"]),
            (M::GET, "http://h/", V::HTTP_10, &["h h"]),
            // RFC 9110, section 4.2.1: `http` needs a host.
            (M::GET, "/", V::HTTP_11, &[""]),
            (M::OPTIONS, "*", V::HTTP_11, &[""]),
            (M::GET, "http://h/", V::HTTP_11, &[""]),
            (M::GET, "/", V::HTTP_2, &[]),
            (M::GET, "http://h/", V::HTTP_2, &[""]),
            // RFC 9112, section 3.2.2; RFC 9113, section 8.3.1.
            (M::GET, "http://h/", V::HTTP_11, &["other"]),
            (M::GET, "http://h/", V::HTTP_11, &["h:81"]),
            (M::GET, "http://h/", V::HTTP_11, &["h:443"]),
            (M::GET, "https://h/", V::HTTP_11, &["h:80"]),
            (M::GET, "http://h/", V::HTTP_11, &["h."]),
            (M::GET, "http://h/", V::HTTP_10, &["other"]),
            (M::GET, "http://h/", V::HTTP_2, &["other"]),
            (M::GET, "http://u@h/", V::HTTP_11, &["h"]),
            (M::GET, "http://u:p@h/", V::HTTP_2, &[]),
            // RFC 9110, section 9.3.6.
            (M::CONNECT, "h", V::HTTP_11, &["h"]),
            (M::CONNECT, "h:0", V::HTTP_11, &["h:0"]),
            (M::CONNECT, "h:", V::HTTP_2, &[]),
            (M::CONNECT, "h:80", V::HTTP_11, &[]),
            (M::CONNECT, "h:80", V::HTTP_11, &["other:80"]),
            (M::CONNECT, "h:8080", V::HTTP_11, &["h"]),
            (M::CONNECT, "u@h:80", V::HTTP_11, &["h:80"]),
        ];
        for (method, uri, version, hosts) in table {
            let refused = checked(method.clone(), uri, *version, hosts);
            assert!(matches!(refused, Err(Failure::BadRequest(_))), "{method} {uri} {hosts:?}: {refused:?}");
        }
    }
}
