//! The client's address, as far as it can be believed: that of the connection, or, when a trusted proxy is there, the one
//! that it names (RFC 7239; `X-Forwarded-For`).
//!
//! Promises: an address that a client could have made up is never taken: the list is read from its end, each trusted
//! address believed about the one before it; what cannot be read ends the search at who said it. As in
//! [`crate::policy::fields`] `Forwarded` goes before `X-Forwarded-For`.
//! Must not know: what it is for.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName};

use super::fields::address_of;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `peer`: that of the connection, `None` for a Unix socket. `trusts`: who is believed about others.
pub fn origin(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trusts: impl Fn(Option<IpAddr>) -> bool,
) -> Option<IpAddr> {
    if !trusts(peer) {
        return peer;
    }
    let mut believed = peer;
    for node in nodes(headers).iter().rev() {
        let Some(address) = address_of(node) else { break };
        believed = Some(address.to_canonical());
        if !trusts(believed) {
            break;
        }
    }
    believed
}

/// Who is named, the first client first. What is not visible text names nobody.
fn nodes(headers: &HeaderMap) -> Vec<&str> {
    let lines = |name| headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?"));
    let forwarded: Vec<&str> =
        lines(FORWARDED).flat_map(|line| split(line, ',')).filter(|element| !element.is_empty()).collect();
    if forwarded.is_empty() {
        let addresses = lines(X_FORWARDED_FOR).flat_map(|line| line.split(',')).map(str::trim);
        return addresses.filter(|node| !node.is_empty()).collect();
    }
    forwarded.into_iter().map(|element| node_of(element).unwrap_or("?")).collect()
}

/// The value of `for` in an element of `Forwarded` (RFC 7239, section 4).
fn node_of(element: &str) -> Option<&str> {
    split(element, ';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case("for").then_some(bare)
    })
}

/// Parts between separators that are not quoted (RFC 9110, section 5.6.4).
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            char if char == separator && !quoted => {
                parts.push(text[start..index].trim());
                start = index + char.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn found(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusts = |address: Option<IpAddr>| match address {
            None => true,
            Some(IpAddr::V4(address)) => address.octets()[0] == 10,
            Some(IpAddr::V6(address)) => address.segments()[0] == 0xfd00,
        };
        origin(&headers, peer.parse().ok(), trusts).map_or("unix".into(), |address| address.to_string())
    }

    #[test]
    fn who_is_not_trusted_is_taken_for_itself() {
        let claims = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.2")];
        assert_eq!(found("192.0.2.1", &claims), "192.0.2.1");
    }

    #[test]
    fn of_a_list_the_last_one_that_is_not_trusted_counts() {
        for (peer, name, value, client) in [
            ("10.0.0.1", "x-forwarded-for", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "x-forwarded-for", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "x-forwarded-for", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "x-forwarded-for", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "x-forwarded-for", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "x-forwarded-for", "", "10.0.0.1"),
            ("", "x-forwarded-for", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "x-forwarded-for", "::ffff:198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "forwarded", "for=198.51.100.1;proto=https", "198.51.100.1"),
            ("10.0.0.1", "forwarded", "proto=https;FOR=\"[2001:db8::1]:80\"", "2001:db8::1"),
            (
                "10.0.0.1",
                "forwarded",
                "for=203.0.113.9, for=198.51.100.1;host=\"a,for=1.1.1.1\"",
                "198.51.100.1",
            ),
            ("10.0.0.1", "forwarded", "for=203.0.113.9, for=_hidden", "10.0.0.1"),
            ("10.0.0.1", "forwarded", "for=203.0.113.9, proto=http", "10.0.0.1"),
        ] {
            assert_eq!(found(peer, &[(name, value)]), client, "{peer} {value}");
        }
    }

    #[test]
    fn forwarded_goes_before_the_older_field_and_lines_are_one_list() {
        let both = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(found("10.0.0.1", &both), "198.51.100.1");
        let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.7")];
        assert_eq!(found("10.0.0.1", &lines), "203.0.113.9");
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_it_panic(text in "[ -~]{0,80}") {
            let _ = found("10.0.0.1", &[("forwarded", &text)]);
            let _ = found("10.0.0.1", &[("x-forwarded-for", &text)]);
        }
    }
}
