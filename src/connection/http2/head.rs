//! Which requests of HTTP/2 are refused before anything else is asked (RFC 9113, section 8).
//!
//! Streams are reset with PROTOCOL_ERROR for pseudo-fields that are unknown, repeated, late, missing or out
//! of place, for fields of one connection or that cannot be read (upper case, control characters), for a length that is
//! not what came: [`http2::head`](crate::http2::head). What is left is refused here with an answer, as section 8.1.1
//! allows, so that it has an id and is told.
//!
//! Promises: what is passed on could have been a request of HTTP/1.1 by the rules of
//! [`http1`](crate::http1); the limits are those of HTTP/1.1.
//! Must not know: who is asked.

use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use crate::config::settings::Limits;
use crate::http1::{head, syntax};
use crate::http2::Protocol;
use crate::response::Failure;

/// What a field line of HTTP/1.1 has besides its name and value.
const COLON_AND_END: u64 = 4;

/// The length that its content is said to have, or why it is refused.
pub fn check<B>(request: &Request<B>, limits: &Limits) -> Result<Option<u64>, Failure> {
    check_line(request, limits)?;
    check_target(request.method(), request.uri(), request.extensions().get::<Protocol>().is_some())?;
    check_fields(request.headers(), limits)?;
    match head::content_length(request.headers()) {
        Ok(length) if length.unwrap_or(0) > 0 && *request.method() == Method::CONNECT => {
            Err(Failure::BadRequest("CONNECT with content"))
        }
        Ok(length) => Ok(length),
        Err(_) => Err(Failure::BadRequest("Content-Length is not one number")),
    }
}

/// Trailers keep to the same rules and limits.
pub fn check_fields(fields: &HeaderMap, limits: &Limits) -> Result<(), Failure> {
    if fields.len() as u64 > limits.field_count {
        return Err(Failure::ManyFields(limits.field_count));
    }
    let lengths =
        fields.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64 + COLON_AND_END);
    if lengths.sum::<u64>() > limits.fields {
        return Err(Failure::LongFields(limits.fields));
    }
    head::can_be_said(fields).map_err(Failure::BadRequest)
}

/// Its pseudo-fields are as long as its request line would be.
fn check_line<B>(request: &Request<B>, limits: &Limits) -> Result<(), Failure> {
    let uri = request.uri();
    let lengths = [
        request.method().as_str().len(),
        uri.scheme_str().map_or(0, str::len),
        uri.authority().map_or(0, |authority| authority.as_str().len()),
        uri.path_and_query().map_or(0, |target| target.as_str().len()),
    ];
    if lengths.iter().sum::<usize>() as u64 > limits.request_line {
        return Err(Failure::LongRequestLine(limits.request_line));
    }
    if !syntax::is_token(request.method().as_str().as_bytes()) {
        return Err(Failure::BadRequest("the method is not a token"));
    }
    Ok(())
}

/// RFC 9113, sections 8.3.1 and 8.5; RFC 8441, section 4.
fn check_target(method: &Method, uri: &Uri, extended: bool) -> Result<(), Failure> {
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Failure::BadRequest("the scheme is not one of HTTP"));
    }
    let path = uri.path_and_query().filter(|target| !is_missing(target)).map_or("", PathAndQuery::as_str);
    let fits = match path {
        // One that is not alone has been refused.
        _ if *method == Method::CONNECT && !extended => uri.authority().is_some(),
        "*" => *method == Method::OPTIONS,
        _ => path.starts_with('/'),
    };
    if !fits {
        return Err(Failure::BadRequest("the form of the target does not fit the method"));
    }
    if !path.is_empty() && !syntax::is_target(path.as_bytes()) {
        return Err(Failure::BadRequest("the target has a byte that it must not have"));
    }
    Ok(())
}

/// `http` calls a target that is not there `/`, but does not take it for the same.
fn is_missing(target: &PathAndQuery) -> bool {
    target.as_str() == "/" && *target != PathAndQuery::from_static("/")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn request(method: &str, uri: Uri, fields: &[(&str, &[u8])]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
        for (name, value) in fields {
            let name = http::HeaderName::from_lowercase(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        request
    }

    fn uri(authority: Option<&str>, path: Option<&str>) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.authority = authority.map(|text| text.parse().unwrap());
        parts.path_and_query = path.map(|text| text.parse().unwrap());
        if authority.is_some() && path.is_some() {
            parts.scheme = Some(http::uri::Scheme::HTTP);
        }
        Uri::from_parts(parts).unwrap()
    }

    #[test]
    fn the_target_has_the_form_that_fits_the_method() {
        let table = [
            ("GET", Some("a"), Some("/"), true),
            ("GET", None, Some("/x?y=/"), true),
            ("GET", Some("a"), Some("/[x]|{y}^?`\\"), true),
            ("OPTIONS", Some("a"), Some("*"), true),
            ("CONNECT", Some("a:443"), None, true),
            ("GET", None, None, false),
            ("GET", Some("a"), Some("*"), false),
            ("GET", Some("a"), Some("/\"x\""), false),
            ("GET", Some("a"), Some("/\\"), false),
            ("GET", Some("a"), Some("/\u{e9}"), false),
            ("CONNECT", None, None, false),
        ];
        for (method, authority, path, fits) in table {
            let checked = check(&request(method, uri(authority, path), &[]), &Limits::default());
            assert_eq!(checked.is_ok(), fits, "{method} {authority:?} {path:?}");
        }
    }

    #[test]
    fn fields_that_http_1_would_not_take_are_refused() {
        let target = || uri(Some("a"), Some("/"));
        let taken: &[&[(&str, &[u8])]] = &[
            &[],
            &[("x", b"a b\tc")],
            &[("x", b"")],
            &[("x", b"\xe9")],
            &[("content-length", b"5")],
            &[("te", b"trailers")],
        ];
        for fields in taken {
            let checked = check(&request("POST", target(), fields), &Limits::default());
            assert!(checked.is_ok(), "{fields:?}");
        }
        let refused: &[&[(&str, &[u8])]] = &[
            &[("x\"", b"a")],
            &[("x", b" a")],
            &[("x", b"a\t")],
            &[("x", b" ")],
            &[("content-length", b"")],
            &[("content-length", b"+1")],
            &[("content-length", b"5, 5")],
            &[("content-length", b"5"), ("content-length", b"5")],
            &[("content-length", b"9223372036854775808")],
        ];
        for fields in refused {
            let checked = check(&request("POST", target(), fields), &Limits::default());
            assert!(matches!(checked, Err(Failure::BadRequest(_))), "{fields:?}");
        }
    }

    #[test]
    fn the_limits_are_those_of_http_1() {
        let limits = Limits { request_line: 20, fields: 20, field_count: 2, ..Limits::default() };
        let check = |path: &str, fields: &[(&str, &[u8])]| {
            check(&request("GET", uri(Some("a"), Some(path)), fields), &limits)
        };
        // GET, http, a and 12 bytes.
        assert_eq!(check("/12345678901", &[]), Ok(None));
        assert_eq!(check("/123456789012", &[]), Err(Failure::LongRequestLine(20)));
        assert_eq!(check("/", &[("a", b"1"), ("b", b"2")]), Ok(None));
        assert_eq!(check("/", &[("a", b"1"), ("a", b"2"), ("a", b"")]), Err(Failure::ManyFields(2)));
        assert_eq!(check("/", &[("name", b"123456789012")]), Ok(None));
        assert_eq!(check("/", &[("name", b"1234567890123")]), Err(Failure::LongFields(20)));
    }
}
