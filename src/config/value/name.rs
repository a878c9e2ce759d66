//! Names: of hosts, of services and listeners, of methods and fields.
//!
//! Promises: a host is lower case without port and trailing dot; a method and a field name are
//! tokens (RFC 9110, section 5.6.2); a field value holds no control character.
//! Must not know: which key asks.

use std::net::IpAddr;

use super::super::message::quote;
use super::super::settings::HostPattern;
use super::{Refusal, control};

/// The longest name of a service or listener.
const LONGEST: usize = 64;

/// The word for what `own` accepts.
pub const OWN: &str =
    "a name of at most 64 letters, digits, '-', '_' and '.', beginning with a letter or digit";

/// The name that the operator gives to a service or a listener.
pub fn own(text: &str) -> Result<(), Refusal> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= LONGEST && text.bytes().all(allowed) {
        return Ok(());
    }
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    let remedy = if plain.is_empty() || plain.len() > LONGEST {
        "use a plain name".into()
    } else {
        format!("name it {}", quote(plain))
    };
    Err(Refusal::new(format!("found {} as a name", quote(text)), remedy))
}

/// A host of a service: `example.com`, `*.example.com`, `*`, `192.0.2.1`, `[2001:db8::1]`.
pub fn host(text: &str) -> Result<HostPattern, Refusal> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let (suffix, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
    match (host_name(name), suffix) {
        (Some(name), true) => Ok(HostPattern::Suffix(name)),
        (Some(name), false) => Ok(HostPattern::Exact(name)),
        (None, _) => bracketed(text).ok_or_else(|| misspelt(text)),
    }
}

/// A name or an IPv4 address in lower case; `None` when it is neither.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// A host name or an address that a certificate can be for, in lower case.
pub fn certified(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str, remedy: String| Err(Refusal::new(format!("found {}{why}", quote(text)), remedy));
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    match (plain.parse::<IpAddr>(), host_name(text)) {
        (Ok(address), _) if plain == text => Ok(address.to_string()),
        (Ok(address), _) => refuse("", format!("write \"{address}\"")),
        (_, Some(name)) => Ok(name.trim_end_matches('.').to_owned()),
        _ if text.starts_with("*.") => {
            refuse(", a wildcard", "write one name that the certificate's wildcard stands for".into())
        }
        _ => match text
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host_name(host)?, port.parse::<u16>().ok()?)))
        {
            Some((host, _)) => refuse(", with a port", format!("write \"{host}\"")),
            None => refuse("", String::new()),
        },
    }
}

/// A method as a route names it.
pub fn method(text: &str) -> Result<String, Refusal> {
    let upper = text.to_ascii_uppercase();
    if !is_token(text) {
        return Err(Refusal::new(format!("found {}", quote(text)), ""));
    }
    if upper == "CONNECT" {
        return Err(Refusal::new(
            format!("found {}", quote(text)),
            "write connect = true to let CONNECT through",
        ));
    }
    // Methods are case-sensitive (RFC 9110, section 9.1): "get" would never match.
    if upper != text {
        return Err(Refusal::new(format!("found {}", quote(text)), format!("write \"{upper}\"")));
    }
    Ok(upper)
}

/// The name of a field that a route asks for, in lower case.
pub fn field(text: &str) -> Result<String, Refusal> {
    if !is_token(text) {
        return Err(Refusal::new(
            format!("found {} as a field name", quote(text)),
            "use the plain name of the field",
        ));
    }
    let name = text.to_ascii_lowercase();
    if name == "host" {
        return Err(Refusal::new(format!("found {} as a field name", quote(text)), "use the key 'hosts'"));
    }
    Ok(name)
}

/// The name of a field that hitless sets in requests and takes from none.
pub fn own_field(text: &str) -> Result<String, Refusal> {
    let name = field(text)?;
    // Framing, the connection, and what has a meaning of its own already.
    let taken = [
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "authorization",
        "expect",
        "forwarded",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "traceparent",
        "tracestate",
        "upgrade",
        "via",
        "x-request-id",
    ];
    if taken.contains(&name.as_str()) || name.starts_with("x-forwarded-") {
        let found = format!("found {}, which has a meaning of its own", quote(text));
        return Err(Refusal::new(found, "use a name of your own, such as \"X-Client\""));
    }
    Ok(name)
}

/// A value that a field may carry.
pub fn field_value(text: &str) -> Result<String, Refusal> {
    if let Some(control) = control(text) {
        return Err(Refusal::new(format!("found {}, with {control} in it", quote(text)), "remove it"));
    }
    // The sender's surrounding spaces are no part of a field's value (RFC 9110, section 5.5).
    if text.trim() != text {
        let found = format!("found {}, with space around it", quote(text));
        return Err(Refusal::new(found, format!("write {}", super::literal(text.trim()))));
    }
    Ok(text.to_owned())
}

/// A media type such as `text/plain; charset=utf-8`.
pub fn media_type(text: &str) -> Result<String, Refusal> {
    let value = field_value(text)?;
    let essence = value.split(';').next().unwrap_or_default().trim_end();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) && value.is_ascii() => Ok(value),
        _ => Err(Refusal::new(format!("found {}", quote(text)), "")),
    }
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// An IPv6 address in brackets, as an authority has it, in its shortest form.
fn bracketed(text: &str) -> Option<HostPattern> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let address = inside.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
    Some(HostPattern::Exact(format!("[{address}]")))
}

fn misspelt(text: &str) -> Refusal {
    let refuse = |why: &str, remedy: String| Refusal::new(format!("found {}{why}", quote(text)), remedy);
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split(['/', ':']).next().unwrap_or_default();
        return refuse(", a URL where a host is needed", format!("write \"{authority}\""));
    }
    if let Some((host, _)) = text.split_once('/') {
        return refuse(", a host with a path", format!("write \"{host}\" and give the path by 'path'"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return refuse(", an IPv6 address without brackets", format!("write \"[{text}]\""));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return refuse(", a host with a port", format!("write \"{host}\"; a port is given by a listener"));
    }
    if text.contains('*') {
        return refuse("", "use the star only in front, as in \"*.example.com\"".into());
    }
    if !text.is_ascii() {
        return refuse(", a host with characters beyond ASCII", "write its ASCII form (xn--…)".into());
    }
    refuse("", String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lower_case_and_without_its_last_dot() {
        assert_eq!(host("Example.COM."), Ok(HostPattern::Exact("example.com".into())));
        assert_eq!(host("*.Example.com"), Ok(HostPattern::Suffix("example.com".into())));
        assert_eq!(host("*"), Ok(HostPattern::Any));
        assert_eq!(host("192.0.2.1"), Ok(HostPattern::Exact("192.0.2.1".into())));
        assert_eq!(host("[2001:DB8:0::1]"), Ok(HostPattern::Exact("[2001:db8::1]".into())));
    }

    #[test]
    fn a_refused_host_comes_with_what_to_write() {
        let cases = [
            ("https://example.com/", "write \"example.com\""),
            ("example.com:80", "write \"example.com\"; a port is given by a listener"),
            ("example.com/app", "write \"example.com\" and give the path by 'path'"),
            ("www.*.com", "use the star only in front, as in \"*.example.com\""),
            ("*example.com", "use the star only in front, as in \"*.example.com\""),
            ("bücher.example", "write its ASCII form (xn--…)"),
            ("::1", "write \"[::1]\""),
            ("a..b", ""),
            ("-a.example", ""),
            ("a b", ""),
            ("a\r\nb", ""),
            ("", ""),
            (".", ""),
        ];
        for (text, remedy) in cases {
            assert_eq!(host(text).unwrap_err().remedy, remedy, "{text:?}");
        }
        assert!(host(&"a".repeat(64)).is_err() && host(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn a_method_is_a_token_in_upper_case() {
        assert_eq!(method("PROPFIND"), Ok("PROPFIND".into()));
        assert_eq!(method("get").unwrap_err().remedy, "write \"GET\"");
        assert!(method("GET /").is_err() && method("").is_err() && method("CONNECT").is_err());
    }

    #[test]
    fn nothing_that_ends_a_line_gets_into_a_field() {
        for text in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\u{7f}", "a\u{85}b"] {
            assert!(
                field_value(text).is_err() && media_type(text).is_err() && field(text).is_err(),
                "{text:?}"
            );
        }
        assert_eq!(field_value("on"), Ok("on".into()));
        assert_eq!(field("X-Canary"), Ok("x-canary".into()));
        assert_eq!(media_type("text/html; charset=utf-8"), Ok("text/html; charset=utf-8".into()));
        assert!(media_type("html").is_err() && media_type("text/").is_err());
    }

    #[test]
    fn a_name_is_plain_or_comes_with_a_plain_one() {
        assert_eq!(own("shop-2.eu_west"), Ok(()));
        assert_eq!(own("my shop").unwrap_err().remedy, "name it 'my-shop'");
        assert_eq!(own("").unwrap_err().remedy, "use a plain name");
        assert!(own("..").is_err() && own("-a").is_err() && own(&"a".repeat(65)).is_err());
    }
}
