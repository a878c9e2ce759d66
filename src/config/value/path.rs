//! Paths of requests: the patterns of routes, the prefixes of rewrites, the targets of redirects.
//!
//! Promises: a pattern is in the one spelling that a request's path is compared with (RFC 3986,
//! section 3.3); a redirect target leads where it says, never to a host that a request's path names.
//! Must not know: how a path is looked up.

use super::super::message::{closest, either, quote};
use super::name::host_name;
use super::{Refusal, control};

/// What a redirect target may hold in braces.
pub const PLACEHOLDERS: [&str; 3] = ["host", "path", "query"];

/// A pattern: `/a/b`, `/users/{id}`, `/static/*`, `/*`.
pub fn pattern(text: &str) -> Result<String, Refusal> {
    let segments = segments(text)?;
    let mut names = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        if *segment == "*" && last {
            continue;
        }
        match parameter(segment) {
            Some(name) if names.contains(&name) => {
                let found = format!("found {}, with the parameter {} twice", quote(text), quote(name));
                return Err(Refusal::new(found, "give each parameter its own name"));
            }
            Some(name) => names.push(name),
            None => plain(text, segment, last)?,
        }
    }
    Ok(text.to_owned())
}

/// A prefix of whole segments without a slash at its end: `/api`, `/api/v2`.
pub fn prefix(text: &str) -> Result<String, Refusal> {
    let found = || format!("found {}", quote(text));
    let trimmed = text.trim_end_matches('*').trim_end_matches('/');
    if trimmed.is_empty() && text.starts_with('/') {
        return Err(Refusal::new(
            found(),
            "name at least one segment; strip-prefix alone takes a prefix away",
        ));
    }
    if trimmed != text && trimmed.starts_with('/') {
        return Err(Refusal::new(found(), format!("write \"{trimmed}\"")));
    }
    for segment in segments(text)? {
        if segment.contains(['*', '{', '}']) {
            return Err(Refusal::new(found(), "use a plain prefix, without '*' and '{'"));
        }
        characters(text, segment)?;
    }
    Ok(text.to_owned())
}

/// The part of a pattern before its first parameter and without its star: what every path that
/// fits begins with, in whole segments.
pub fn stem(pattern: &str) -> &str {
    let literal = pattern.find("/{").map_or(pattern, |at| &pattern[..at]);
    literal.strip_suffix("/*").unwrap_or(literal)
}

/// A pattern with its parameters' names left out and percent-encodings undone, as routes are compared:
/// two such that are equal fit the same paths.
pub fn anonymous(pattern: &str) -> String {
    let plain = |segment: &str| if parameter(segment).is_some() { "{}".into() } else { decoded(segment) };
    pattern.split('/').map(plain).collect::<Vec<_>>().join("/")
}

/// A segment with each encoded octet as the character of that number, but for the slash and the
/// percent sign, which mean something else when they are not encoded (RFC 3986, section 2.2).
fn decoded(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match u8::from_str_radix(hex, 16) {
            Ok(b'/' | b'%') | Err(_) => decoded.push_str(&format!("%{}", hex.to_ascii_uppercase())),
            Ok(octet) => decoded.push(char::from(octet)),
        }
        decoded.push_str(rest);
    }
    decoded
}

/// Where a redirect leads: `https://{host}{path}{query}`, `/new{path}`, `https://example.com/`.
pub fn location(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("found {}{why}", quote(text)), remedy));
    if let Some(control) = control(text) {
        return refuse(&format!(", with {control} in it"), "remove it");
    }
    if text.contains(' ') || !text.is_ascii() {
        return refuse(", with a space or a character beyond ASCII", "write it percent-encoded");
    }
    placeholders(text)?;
    // A request for //evil.example/ would make "{path}" or "/{path}" a link to that host.
    if text.starts_with("{path}") {
        return refuse(", which names no host", "write \"https://{host}{path}{query}\", or a path in front");
    }
    if text.starts_with("/{path}") || text.starts_with("//") {
        return refuse(", which a request could lead to any host", "begin with https://, or a path in front");
    }
    let scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match scheme {
        Some(rest) => authority(text, rest).map(|()| text.to_owned()),
        None if text.starts_with('/') => Ok(text.to_owned()),
        None => {
            let host = text.split('/').next().filter(|host| host.contains('.') && host_name(host).is_some());
            let remedy =
                host.map_or("begin with https:// or /".into(), |_| format!("write \"https://{text}\""));
            refuse(", which is neither a path nor a URL", &remedy)
        }
    }
}

/// The host must be whole before anything that comes from the request's path or query begins: those
/// bring their own slash and question mark.
fn authority(text: &str, rest: &str) -> Result<(), Refusal> {
    let rest = rest.replace("{host}", "host");
    let authority = rest.split(['/', '?', '#', '{']).next().unwrap_or_default();
    if authority.is_empty() || !authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b))
    {
        return Err(Refusal::new(
            format!("found {}, with no usable host", quote(text)),
            "write the host after ://",
        ));
    }
    Ok(())
}

fn placeholders(text: &str) -> Result<(), Refusal> {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = rest[at..].strip_prefix('{').and_then(|after| after.split_once('}'));
        let Some((name, after)) = inside else {
            return Err(Refusal::new(
                format!("found {}, with a lone brace", quote(text)),
                "write it as %7B or %7D",
            ));
        };
        if !PLACEHOLDERS.contains(&name) {
            let braced = |name: &str| format!("{{{name}}}");
            let known = PLACEHOLDERS.map(braced);
            let meant = closest(name, PLACEHOLDERS).map_or_else(
                || format!("use {}", either(known.iter().map(String::as_str))),
                |near| format!("did you mean {}?", braced(near)),
            );
            return Err(Refusal::new(format!("found {} in {}", quote(&braced(name)), quote(text)), meant));
        }
        rest = after;
    }
    Ok(())
}

fn segments(text: &str) -> Result<Vec<&str>, Refusal> {
    let refuse = |why: &str, remedy: String| Err(Refusal::new(format!("found {}{why}", quote(text)), remedy));
    if let Some(control) = control(text) {
        return refuse(&format!(", with {control} in it"), "remove it".into());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').map_or("/*", |at| &rest[at..]);
        return refuse(
            ", a URL where a path is needed",
            format!("write \"{path}\", and the host in 'hosts'"),
        );
    }
    let Some(rest) = text.strip_prefix('/') else {
        let remedy =
            if text.is_empty() || text == "*" { "write \"/*\"".into() } else { format!("write \"/{text}\"") };
        return refuse(", which does not begin with a slash", remedy);
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let (_, inner) = segments.split_last().unwrap_or((&"", &[]));
    if inner.iter().any(|segment| segment.is_empty()) {
        return refuse(", with an empty segment", "write single slashes".into());
    }
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return refuse(", with a relative segment", "write the path that '.' and '..' lead to".into());
    }
    Ok(segments)
}

/// `{name}` → `name`.
fn parameter(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (plain && !name.is_empty()).then_some(name)
}

fn plain(text: &str, segment: &str, last: bool) -> Result<(), Refusal> {
    let found = || format!("found {}", quote(text));
    if segment.contains('*') {
        let before = segment.trim_end_matches('*');
        return Err(match (last, before) {
            (true, "") => Refusal::new(found(), "write one star"),
            (true, _) if !before.contains('*') => {
                let prefix = text.trim_end_matches('*');
                Refusal::new(found(), format!("write \"{prefix}/*\" for the path and everything below it"))
            }
            _ => {
                Refusal::new(found(), "use the star only as the last segment, and {name} for one in between")
            }
        });
    }
    if segment.contains(['{', '}']) {
        return Err(Refusal::new(found(), "use a parameter only as a whole segment, as in \"/users/{id}\""));
    }
    characters(text, segment)
}

fn characters(text: &str, segment: &str) -> Result<(), Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("found {}, {why}", quote(text)), remedy));
    if segment.contains(['?', '#']) {
        return refuse("a path with a query or fragment", "leave out everything from '?' or '#' on");
    }
    // RFC 3986, section 3.3: pchar.
    if let Some(c) =
        segment.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:@%".contains(*c))
    {
        return refuse(&format!("a path with {}", quote(&c.to_string())), "write it percent-encoded");
    }
    let encoded = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !segment.split('%').skip(1).all(encoded) {
        return refuse("a path with a '%' that encodes nothing", "write %25 for the character itself");
    }
    let plain = decoded(segment);
    // No request with these is routed.
    if matches!(plain.as_str(), "." | "..") || plain.contains('\0') {
        return refuse("a path with an encoded dot segment or NUL", "write the path that is meant");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_exact_has_parameters_or_is_a_prefix() {
        for text in ["/", "/*", "/a", "/a/", "/a/b.html", "/users/{id}", "/users/{id}/*", "/a%20b", "/@a:b;c"]
        {
            assert_eq!(pattern(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_refused_pattern_comes_with_what_to_write() {
        let cases = [
            ("a", "write \"/a\""),
            ("", "write \"/*\""),
            ("*", "write \"/*\""),
            ("https://x/a", "write \"/a\", and the host in 'hosts'"),
            ("/a//b", "write single slashes"),
            ("//", "write single slashes"),
            ("/a/../b", "write the path that '.' and '..' lead to"),
            ("/static*", "write \"/static/*\" for the path and everything below it"),
            ("/**", "write one star"),
            ("/a/*/b", "use the star only as the last segment, and {name} for one in between"),
            ("/u{id}", "use a parameter only as a whole segment, as in \"/users/{id}\""),
            ("/{}", "use a parameter only as a whole segment, as in \"/users/{id}\""),
            ("/{a}/{a}", "give each parameter its own name"),
            ("/a?b=c", "leave out everything from '?' or '#' on"),
            ("/a b", "write it percent-encoded"),
            ("/é", "write it percent-encoded"),
            ("/100%", "write %25 for the character itself"),
            ("/a\r\nb", "remove it"),
            ("/a/%2e%2E/b", "write the path that is meant"),
            ("/a%00", "write the path that is meant"),
        ];
        for (text, remedy) in cases {
            assert_eq!(pattern(text).unwrap_err().remedy, remedy, "{text:?}");
        }
    }

    #[test]
    fn a_prefix_is_of_whole_plain_segments() {
        assert_eq!(prefix("/api/v2"), Ok("/api/v2".into()));
        assert_eq!(prefix("/api/*").unwrap_err().remedy, "write \"/api\"");
        assert_eq!(prefix("/api/").unwrap_err().remedy, "write \"/api\"");
        assert!(
            prefix("/").is_err() && prefix("").is_err() && prefix("/{a}").is_err() && prefix("/a b").is_err()
        );
    }

    #[test]
    fn a_stem_is_what_every_fitting_path_begins_with() {
        let stems =
            [("/*", ""), ("/api/*", "/api"), ("/users/{id}/x", "/users"), ("/a/b", "/a/b"), ("/{x}", "")];
        for (pattern, expected) in stems {
            assert_eq!(stem(pattern), expected, "{pattern}");
        }
        assert_eq!(anonymous("/a/{b}/*"), "/a/{}/*");
        assert_eq!(anonymous("/%61/b%2c/%2f%25%c3%a9"), "/a/b,/%2F%25Ã©");
    }

    #[test]
    fn a_redirect_leads_where_it_says() {
        let good = [
            "https://{host}{path}{query}",
            "https://example.com/",
            "https://example.com{path}",
            "https://example.com:8443?from={host}",
            "http://[::1]:80/",
            "/new{path}{query}",
            "/",
        ];
        for text in good {
            assert_eq!(location(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_redirect_that_a_request_could_bend_is_refused() {
        let cases = [
            ("{path}", "write \"https://{host}{path}{query}\", or a path in front"),
            ("/{path}", "begin with https://, or a path in front"),
            ("//example.com", "begin with https://, or a path in front"),
            ("example.com/", "write \"https://example.com/\""),
            ("https://{hots}/", "did you mean {host}?"),
            ("/{nonsense}", "use {host}, {path} or {query}"),
            ("/a{", "write it as %7B or %7D"),
            ("/a}", "write it as %7B or %7D"),
            ("/a b", "write it percent-encoded"),
            ("/a\r\nset-cookie: x", "remove it"),
            ("https://", "write the host after ://"),
            ("https:///a", "write the host after ://"),
            ("https://user@example.com/", "write the host after ://"),
            ("javascript:alert(1)", "begin with https:// or /"),
        ];
        for (text, remedy) in cases {
            assert_eq!(location(text).unwrap_err().remedy, remedy, "{text:?}");
        }
    }
}
