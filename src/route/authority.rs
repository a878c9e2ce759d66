//! The host of an authority.
//!
//! Promises: what comes out is a DNS-like name, an IPv4 address or a bracketed IP literal, and can
//! be put into a field value or a list without quoting. Percent-encoded and sub-delimiter octets,
//! which RFC 3986 allows in a registered name and no client sends, are refused: `%65xample.com` would
//! dodge `example.com`, and a comma would forge an element of `X-Forwarded-Host`.
//! Must not know: which hosts are served.

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 3986, section 3.2.2), brackets kept;
/// `None` when it has user information, an empty or invalid host, or an invalid port.
pub fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    (is_host(host) && is_port(port)).then_some(host)
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => {
            !literal.is_empty() && literal.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
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
    digits.bytes().all(|b| b.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::host_of;

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
}
