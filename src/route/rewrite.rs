//! What a route makes of a path: another path for the endpoint, or a `Location` for the client.
//!
//! Promises: whole segments are replaced, never half of one; the rest of the path and the query stay
//! octet by octet; a target begins with `/`; a `Location` holds only visible ASCII and never points to
//! another host because of what the client sent as a path.
//! Must not know: which route it belongs to.

use http::header::HeaderValue;
use http::uri::PathAndQuery;

use super::pattern;

/// One prefix for another.
#[derive(Debug)]
pub(super) struct Rewrite {
    /// The segments to take away, as they are compared.
    from: Vec<Box<[u8]>>,
    /// Empty, or begins with a slash and does not end in one.
    to: String,
}

impl Rewrite {
    pub(super) fn new(from: &str, to: &str) -> Rewrite {
        let from = from.trim_matches('/');
        let from = if from.is_empty() { vec![] } else { from.split('/').map(pattern::literally).collect() };
        let mut path = String::new();
        for segment in to.split('/').filter(|segment| !segment.is_empty()) {
            path.push('/');
            encode(segment, b"?#", &mut path);
        }
        Rewrite { from, to: path }
    }

    pub(super) fn apply(&self, original: &PathAndQuery) -> PathAndQuery {
        let Some(rest) = self.cut(original.path()) else { return original.clone() };
        // What was a path would be another authority to who reads `//name` as one (RFC 3986, section 4.2).
        let rest = if self.to.is_empty() { single_slash(rest) } else { rest };
        let slash = if self.to.is_empty() && rest.is_empty() { "/" } else { "" };
        let parts = match original.query() {
            Some(query) => [&self.to, rest, slash, "?", query],
            None => [&self.to, rest, slash, "", ""],
        };
        // Only a target beyond the 64 KiB that the `http` crate can hold fails here.
        PathAndQuery::from_maybe_shared(bytes::Bytes::from(parts.concat()))
            .unwrap_or_else(|_| original.clone())
    }

    /// What follows the prefix: empty, or with its leading slash.
    fn cut<'p>(&self, path: &'p str) -> Option<&'p str> {
        if !path.starts_with('/') {
            return None;
        }
        self.from.iter().try_fold(path, |rest, expected| {
            let rest = rest.strip_prefix('/')?;
            let (segment, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let same = segment.as_bytes() == &**expected || pattern::literally(segment) == *expected;
            same.then_some(rest)
        })
    }
}

/// The path with one of the slashes that it begins with.
fn single_slash(path: &str) -> &str {
    let slashes = path.len() - path.trim_start_matches('/').len();
    &path[slashes.saturating_sub(1)..]
}

/// A `Location` with places for what the request brought.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Scheme,
    Host,
    Path,
    Query,
}

const PLACES: [(&str, Piece); 4] = [
    ("{scheme}", Piece::Scheme),
    ("{host}", Piece::Host),
    ("{path}", Piece::Path),
    ("{query}", Piece::Query),
];

impl Template {
    pub(super) fn new(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let place = |(word, piece): (&str, Piece)| Some((rest.find(word)?, word.len(), piece));
            match PLACES.into_iter().filter_map(place).min_by_key(|(at, ..)| *at) {
                Some((at, length, piece)) => {
                    pieces.push(Piece::Text(rest[..at].to_owned()));
                    pieces.push(piece);
                    rest = &rest[at + length..];
                }
                None => {
                    pieces.push(Piece::Text(rest.to_owned()));
                    rest = "";
                }
            }
        }
        Template(pieces)
    }

    pub(super) fn fill(&self, scheme: &str, host: &str, original: &PathAndQuery) -> HeaderValue {
        let mut location = String::with_capacity(64 + original.as_str().len());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => encode(text, b"", &mut location),
                Piece::Scheme => encode(scheme, b"", &mut location),
                Piece::Host => encode(host, b"/?#@", &mut location),
                Piece::Path => push_path(original.path(), &mut location),
                Piece::Query => push_query(original.query(), &mut location),
            }
        }
        HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"))
    }
}

/// A path at the very beginning keeps one leading slash: `//evil.example` would be another host
/// (RFC 3986, section 4.2).
fn push_path(path: &str, location: &mut String) {
    let path = if path == "*" { "/" } else { path };
    match location.is_empty() {
        true => {
            location.push('/');
            encode(path.trim_start_matches(['/', '\\']), b"\\", location);
        }
        false => encode(path, b"\\", location),
    }
}

fn push_query(query: Option<&str>, location: &mut String) {
    if let Some(query) = query {
        location.push('?');
        encode(query, b"", location);
    }
}

/// Appends text with everything that is not visible ASCII, and the octets in `also`, percent-encoded.
fn encode(text: &str, also: &[u8], into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>') && !also.contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(DIGITS[usize::from(byte >> 4)]));
            into.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(from: &str, to: &str, original: &str) -> String {
        Rewrite::new(from, to).apply(&PathAndQuery::try_from(original).unwrap()).to_string()
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments_and_the_query_stays() {
        let table = [
            ("/api", "", "/api", "/"),
            ("/api", "", "/api?x=1", "/?x=1"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/api/a/b?c=/d", "/a/b?c=/d"),
            ("/api/", "/", "/api/a", "/a"),
            ("/api", "/v1", "/api", "/v1"),
            ("/api", "/v1/", "/api/", "/v1/"),
            ("/api", "v1", "/api/a", "/v1/a"),
            ("/a/b", "/c", "/a/b/d", "/c/d"),
            ("/", "/app", "/x", "/app/x"),
            ("", "/app", "/", "/app/"),
            ("/api", "", "/apis/a", "/apis/a"),
            ("/api", "", "/other?x", "/other?x"),
            ("/api", "", "/%61pi/%2561", "/%2561"),
            ("/api", "/a b?", "/api/c", "/a%20b%3F/c"),
            ("/api", "", "/api//x", "/x"),
            ("/api", "", "/api///", "/"),
            ("/api", "/v1", "/api//x", "/v1//x"),
            ("/api", "", "/api/x//y", "/x//y"),
            ("/api", "", "/api?", "/?"),
        ];
        for (from, to, original, expected) in table {
            assert_eq!(target(from, to, original), expected, "{from} -> {to}: {original}");
        }
    }

    #[test]
    fn the_asterisk_is_never_rewritten() {
        assert_eq!(target("/", "/app", "*"), "*");
    }

    fn location(template: &str, host: &str, original: &str) -> String {
        let original = PathAndQuery::try_from(original).unwrap();
        let location = Template::new(template).fill("http", host, &original);
        location.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_location_is_filled_from_the_request() {
        let table = [
            ("https://{host}{path}{query}", "/a?b=c", "https://example.com/a?b=c"),
            ("https://{host}{path}{query}", "/a", "https://example.com/a"),
            ("{scheme}://www.{host}/new", "/a?b", "http://www.example.com/new"),
            ("/new{path}", "/a", "/new/a"),
            ("{path}", "/a", "/a"),
            ("/{unknown}", "/a", "/{unknown}"),
            ("/fixed", "/a?b", "/fixed"),
        ];
        for (template, original, expected) in table {
            assert_eq!(location(template, "example.com", original), expected, "{template}");
        }
    }

    #[test]
    fn a_location_is_never_turned_by_what_a_client_sent() {
        let table = [
            ("{path}", "example.com", "//evil.example/x", "/evil.example/x"),
            ("{path}", "example.com", "/\\evil.example", "/evil.example"),
            ("/a{path}", "example.com", "/\\evil.example", "/a/%5Cevil.example"),
            ("//{host}{path}", "a@evil/..", "/", "//a%40evil%2F../"),
            ("/x{host}", "a\r\nset-cookie: b", "/", "/xa%0D%0Aset-cookie:%20b"),
            ("/\r\n{path}", "example.com", "/a", "/%0D%0A/a"),
        ];
        for (template, host, original, expected) in table {
            assert_eq!(location(template, host, original), expected, "{template} {host} {original}");
        }
    }
}
