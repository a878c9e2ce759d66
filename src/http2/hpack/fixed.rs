//! The static table (RFC 7541, appendix A).
//!
//! Promises: found by index and by name without a search.
//! Must not know: the dynamic table.

use std::sync::LazyLock;

use http::header::*;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode};

use super::OVERHEAD;
use super::field::{Field, Name, Pseudo};

/// How many there are; the first one has index 1.
pub(super) const COUNT: usize = 61;

/// The index of the first one that is no pseudo-field.
const FIRST: usize = 15;
const ACCEPT_ENCODING_INDEX: usize = 16;
const TRANSFER_ENCODING_INDEX: usize = 57;

/// The index of a name that encoders want.
pub(super) const STATUS_INDEX: u8 = 8;

/// From [`FIRST`] on.
static NAMES: [HeaderName; COUNT - FIRST + 1] = [
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ACCEPT_RANGES,
    ACCEPT,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    AGE,
    ALLOW,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    ETAG,
    EXPECT,
    EXPIRES,
    FROM,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    MAX_FORWARDS,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    REFERER,
    REFRESH,
    RETRY_AFTER,
    SERVER,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TRANSFER_ENCODING,
    USER_AGENT,
    VARY,
    VIA,
    WWW_AUTHENTICATE,
];

/// The same as text, which a constant can look into.
const TEXTS: [&str; NAMES_COUNT] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];
const NAMES_COUNT: usize = COUNT - FIRST + 1;

/// `http` reads a path anew for each one that is made of a text.
static ROOT: LazyLock<PathAndQuery> = LazyLock::new(|| PathAndQuery::from_static("/"));
static INDEX: LazyLock<PathAndQuery> = LazyLock::new(|| PathAndQuery::from_static("/index.html"));

/// A whole field, with its size.
pub(super) fn field(index: usize) -> Option<(Field, usize)> {
    let (pseudo, size) = match index {
        2 => (Pseudo::Method(Method::GET), 10),
        3 => (Pseudo::Method(Method::POST), 11),
        4 => (Pseudo::Path(ROOT.clone()), 6),
        5 => (Pseudo::Path(INDEX.clone()), 16),
        6 => (Pseudo::Scheme(Scheme::HTTP), 11),
        7 => (Pseudo::Scheme(Scheme::HTTPS), 12),
        8 => (Pseudo::Status(StatusCode::OK), 10),
        9 => (Pseudo::Status(StatusCode::NO_CONTENT), 10),
        10 => (Pseudo::Status(StatusCode::PARTIAL_CONTENT), 10),
        11 => (Pseudo::Status(StatusCode::NOT_MODIFIED), 10),
        12 => (Pseudo::Status(StatusCode::BAD_REQUEST), 10),
        13 => (Pseudo::Status(StatusCode::NOT_FOUND), 10),
        14 => (Pseudo::Status(StatusCode::INTERNAL_SERVER_ERROR), 10),
        _ => return regular(index),
    };
    Some((Field::Pseudo(pseudo), size + OVERHEAD))
}

fn regular(index: usize) -> Option<(Field, usize)> {
    if index == ACCEPT_ENCODING_INDEX {
        let value = HeaderValue::from_static("gzip, deflate");
        return Some((Field::Regular(ACCEPT_ENCODING, value), 28 + OVERHEAD));
    }
    let name = name(index)?;
    let size = name.len() + OVERHEAD;
    let field = match name {
        Name::Regular(name) => Field::Regular(name, HeaderValue::from_static("")),
        Name::Authority => Field::Malformed(name, "the authority is none"),
        name => Field::Malformed(name, "a field of the connection"),
    };
    Some((field, size))
}

pub(super) fn name(index: usize) -> Option<Name> {
    let name = match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        6 | 7 => Name::Scheme,
        8..=14 => Name::Status,
        TRANSFER_ENCODING_INDEX => {
            Name::Malformed("a field of the connection", TRANSFER_ENCODING.as_str().len())
        }
        _ => Name::Regular(NAMES.get(index.checked_sub(FIRST)?)?.clone()),
    };
    Some(name)
}

/// The index of this status, if it has one of its own.
pub(super) fn status(status: StatusCode) -> Option<u8> {
    match status.as_u16() {
        200 => Some(8),
        204 => Some(9),
        206 => Some(10),
        304 => Some(11),
        400 => Some(12),
        404 => Some(13),
        500 => Some(14),
        _ => None,
    }
}

/// The index of this name.
pub(super) fn index(name: &str) -> Option<u8> {
    let place = PLACES[hash(name.as_bytes())?];
    let found = TEXTS.get(usize::from(place).checked_sub(FIRST)?)?;
    (*found == name).then_some(place)
}

/// Where [`hash`] puts each name; 0 is nowhere.
static PLACES: [u8; 128] = places();

const fn places() -> [u8; 128] {
    let mut table = [0; 128];
    let mut at = 0;
    while at < NAMES_COUNT {
        let Some(place) = hash(TEXTS[at].as_bytes()) else { panic!("no name is empty") };
        assert!(table[place] == 0, "no two names share a place");
        table[place] = (at + FIRST) as u8;
        at += 1;
    }
    table
}

/// Perfect: the factor was searched for.
const fn hash(name: &[u8]) -> Option<usize> {
    let length = name.len();
    if length == 0 {
        return None;
    }
    let key = u32::from_le_bytes([length as u8, name[0], name[length - 1], name[length / 2]]);
    Some((key.wrapping_mul(0x784a_6e15) >> 25) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_where_it_stands() {
        for (at, text) in TEXTS.iter().enumerate() {
            let place = at + FIRST;
            assert_eq!(index(text), Some(place as u8), "{text}");
            assert_eq!(NAMES[at].as_str(), *text);
            let (_, size) = field(place).unwrap();
            let value = if place == ACCEPT_ENCODING_INDEX { "gzip, deflate" } else { "" };
            assert_eq!(size, text.len() + value.len() + OVERHEAD, "{text}");
        }
        for unknown in ["", "x", "accepu", "accept-charseu", "x-request-id"] {
            assert_eq!(index(unknown), None, "{unknown}");
        }
        assert!(field(0).is_none() && field(COUNT + 1).is_none() && name(0).is_none());
    }
}
