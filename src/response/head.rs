//! What the head of an answer says about its content and its time, whoever made it.
//!
//! Sources: RFC 9110, sections 6.4.1 (which answers have content), 6.6.1 (`Date`), 8.6
//! (`Content-Length`), 9.3.6 (CONNECT) and 15.3.6 (205); RFC 9112, section 6.1 (`Transfer-Encoding`).
//!
//! Promises: what a status or method forbids to say about content is not said, and what the endpoint
//! rightly says (the length that a HEAD or 304 would have had, ranges, validators) stays as it is. Of an
//! answer that has no content none is passed on, whatever the endpoint sends.
//! Must not know: how content is framed on the way to the client.

use http::header::{CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};

/// Whether an answer has content (RFC 9110, section 6.4.1).
pub fn has_content(method: &Method, status: StatusCode) -> bool {
    let bare =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    !bare && !status.is_informational() && *method != Method::HEAD && !is_tunnel(method, status)
}

/// Whether what follows is a tunnel (RFC 9110, section 9.3.6).
fn is_tunnel(method: &Method, status: StatusCode) -> bool {
    *method == Method::CONNECT && status.is_success()
}

/// Puts the head right for a client of this version. `now` is asked for when the answer has no date.
pub fn settle(
    headers: &mut HeaderMap,
    status: StatusCode,
    method: &Method,
    client: Version,
    now: impl FnOnce() -> Option<HeaderValue>,
) {
    // A coding belongs to one connection, and HTTP/1.0 and HTTP/2 know none.
    headers.remove(TRANSFER_ENCODING);
    match status {
        StatusCode::RESET_CONTENT => {
            // Clients of all versions find the end of it so (RFC 9110, section 15.3.6).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        _ if status.is_informational() || status == StatusCode::NO_CONTENT || is_tunnel(method, status) => {
            headers.remove(CONTENT_LENGTH);
        }
        _ => {}
    }
    // It announces what cannot come (RFC 9110, section 6.6.2).
    if client <= Version::HTTP_10 || !has_content(method, status) && *method != Method::HEAD {
        headers.remove(TRAILER);
    }
    // Who passes an answer on says when it came (RFC 9110, section 6.6.1); an interim one has no time.
    if !status.is_informational()
        && !headers.contains_key(DATE)
        && let Some(now) = now()
    {
        headers.insert(DATE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn map(lines: Lines) -> HeaderMap {
        let line = |(name, text): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(text))
        };
        lines.iter().map(line).collect()
    }

    fn settled(method: &Method, status: u16, client: Version, lines: Lines) -> HeaderMap {
        let mut headers = map(lines);
        let status = StatusCode::from_u16(status).unwrap();
        settle(&mut headers, status, method, client, || Some(HeaderValue::from_static("now")));
        headers.remove(DATE);
        headers
    }

    #[test]
    fn content_is_where_it_may_be() {
        // RFC 9110, sections 6.4.1, 9.3.2, 9.3.6, 15.2, 15.3.5, 15.3.6 and 15.4.5.
        let table = [
            (Method::GET, 200, true),
            (Method::GET, 206, true),
            (Method::GET, 404, true),
            (Method::GET, 416, true),
            (Method::POST, 201, true),
            (Method::HEAD, 200, false),
            (Method::HEAD, 404, false),
            (Method::GET, 101, false),
            (Method::GET, 103, false),
            (Method::GET, 204, false),
            (Method::POST, 205, false),
            (Method::GET, 304, false),
            (Method::CONNECT, 200, false),
            (Method::CONNECT, 299, false),
            (Method::CONNECT, 407, true),
        ];
        for (method, status, content) in table {
            assert_eq!(
                has_content(&method, StatusCode::from_u16(status).unwrap()),
                content,
                "{method} {status}"
            );
        }
    }

    #[test]
    fn a_length_is_said_where_it_may_be() {
        // RFC 9110, section 8.6.
        const THREE: Lines = &[("content-length", "3")];
        const ZERO: Lines = &[("content-length", "0")];
        let table: &[(Method, u16, Lines, Lines)] = &[
            (Method::GET, 200, THREE, THREE),
            (Method::HEAD, 200, THREE, THREE),
            (Method::HEAD, 200, &[], &[]),
            (Method::GET, 304, THREE, THREE),
            (Method::GET, 304, &[], &[]),
            (Method::HEAD, 304, THREE, THREE),
            (Method::GET, 204, THREE, &[]),
            (Method::GET, 204, ZERO, &[]),
            (Method::HEAD, 204, THREE, &[]),
            (Method::GET, 205, THREE, ZERO), // section 15.3.6
            (Method::GET, 205, &[], ZERO),
            (Method::GET, 101, ZERO, &[]),
            (Method::CONNECT, 200, THREE, &[]), // section 9.3.6
            (Method::CONNECT, 403, THREE, THREE),
            (Method::GET, 200, &[("transfer-encoding", "chunked")], &[]),
        ];
        for (method, status, given, left) in table {
            for client in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
                assert_eq!(settled(method, *status, client, given), map(left), "{method} {status} {given:?}");
            }
        }
    }

    #[test]
    fn trailers_are_announced_to_those_who_get_them() {
        // RFC 9110, section 6.6.2.
        const SUM: Lines = &[("trailer", "x-sum")];
        for (client, method, status, left) in [
            (Version::HTTP_11, Method::GET, 200, SUM),
            (Version::HTTP_2, Method::GET, 200, SUM),
            (Version::HTTP_11, Method::HEAD, 200, SUM),
            (Version::HTTP_10, Method::GET, 200, &[]),
            (Version::HTTP_11, Method::GET, 204, &[]),
        ] {
            assert_eq!(settled(&method, status, client, SUM), map(left), "{client:?} {method} {status}");
        }
    }

    #[test]
    fn an_answer_without_a_date_gets_one() {
        // RFC 9110, section 6.6.1.
        let dated = |status: u16, given: Lines| {
            let mut headers = map(given);
            let now = || Some(HeaderValue::from_static("now"));
            settle(&mut headers, StatusCode::from_u16(status).unwrap(), &Method::GET, Version::HTTP_11, now);
            headers.get_all(DATE).iter().map(|date| date.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(dated(200, &[]), ["now"]);
        assert_eq!(dated(500, &[]), ["now"]);
        assert_eq!(dated(304, &[]), ["now"]);
        assert_eq!(dated(200, &[("date", "then")]), ["then"], "the endpoint's stays, also when it is odd");
        assert!(dated(103, &[]).is_empty());
        let mut headers = HeaderMap::new();
        settle(&mut headers, StatusCode::OK, &Method::GET, Version::HTTP_11, || None);
        assert!(headers.is_empty(), "without a clock none is made up");
    }
}
