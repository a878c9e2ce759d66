//! The answers that hitless gives itself: failures, redirects and fixed answers.
//!
//! Promises: an error is said in the form that the client prefers (RFC 9110, section 12.5.1): plain
//! text, problem details (RFC 9457) or a small page; it carries the request id, so that a user can
//! quote it, and is never stored. The body of a form may be the operator's own. Causes, addresses and file names stay in the log. The body of an
//! answer to `HEAD` is left out by the connection, which knows the method.
//! Must not know: routes, or how bytes are written.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::failure::{Deadline, Failure, Quota};
use super::hygiene::tokens;
use crate::config::settings::{ErrorPage, ErrorPages, Fallback, Form, Piece};

/// The answer to a request that failed before its answer began. `pages` are those of its service.
pub fn error(
    failure: &Failure,
    request_id: &HeaderValue,
    accept: Option<&HeaderValue>,
    pages: &ErrorPages,
) -> Response<Bytes> {
    let status = status_of(failure);
    let page = Page {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: detail(failure),
        code: failure.verdict().code,
        request_id: request_id.to_str().unwrap_or_default(),
    };
    let form = Form::preferred(accept);
    let own = pages.find(form, page.status);
    let content = own.map_or_else(|| form.write(&page), |own| form.fill(own, &page));
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, request_id.clone());
    require(status, headers);
    if let Failure::ManyRequests(quota) = failure {
        tell(quota, headers);
    }
    answer
}

/// A configured answer. Where the status allows no content (RFC 9110, sections 15.3.5, 15.3.6 and
/// 15.4.5), there is none.
pub fn fixed(status: u16, content_type: &str, body: &str) -> Response<Bytes> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let bare =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let mut answer = Response::new(if bare { Bytes::new() } else { Bytes::copy_from_slice(body.as_bytes()) });
    *answer.status_mut() = status;
    if !answer.body().is_empty()
        && let Ok(content_type) = HeaderValue::from_str(content_type)
    {
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    answer
}

/// A configured answer in place of an error; it is not for keeping.
pub fn fallback(fallback: &Fallback) -> Response<Bytes> {
    let Fallback { status, content_type, body } = fallback;
    let mut answer = fixed(*status, content_type, body);
    let status = answer.status();
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    require(status, answer.headers_mut());
    answer
}

/// A configured redirect.
pub fn redirect(status: u16, location: HeaderValue) -> Response<Bytes> {
    let mut answer = fixed(status, "", "");
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// The answer to OPTIONS and TRACE that may go no further (RFC 9110, section 7.6.2). `methods` are the
/// route's; none: any. TRACE is not supported: what it would reflect (section 9.3.8), credentials among
/// it, is not for scripts to read, and nobody needs it of a gateway.
pub fn last_hop(method: &Method, methods: &[String]) -> Response<Bytes> {
    let status = if *method == Method::OPTIONS { 204 } else { 405 };
    let allowed: Vec<&str> = methods.iter().map(String::as_str).filter(|method| *method != "TRACE").collect();
    let allowed = if allowed.is_empty() { METHODS.to_owned() } else { allowed.join(", ") };
    let mut answer = fixed(status, "", "");
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// What may be tried of any application.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The status to send. 499 is a word for logs only: its client is gone.
fn status_of(failure: &Failure) -> StatusCode {
    match failure.verdict().status {
        499 => StatusCode::BAD_REQUEST,
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The fields that a status demands or makes useful.
fn require(status: StatusCode, headers: &mut HeaderMap) {
    match status {
        // RFC 9110, section 15.5.6. Only CONNECT is answered 405, and everything else may be tried.
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        // RFC 9110, section 10.2.3. What is away for a reload or restart is back within a second.
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
}

/// RFC 6585, section 4, and draft-ietf-httpapi-ratelimit-headers-10: section 3 says what is let through, section 4 what is left
/// of it. A time that is no whole number of seconds cannot be said, and is left out.
fn tell(quota: &Quota, headers: &mut HeaderMap) {
    let Quota { by, count, per, wait } = quota;
    let wait = wait.as_millis().div_ceil(1000).max(1);
    let window = match (per.as_secs(), per.subsec_nanos()) {
        (seconds, 0) => format!(";w={seconds}"),
        _ => String::new(),
    };
    let fields = [
        (RETRY_AFTER, wait.to_string()),
        (RATELIMIT_POLICY, format!("\"{by}\";q={count}{window}")),
        (RATELIMIT, format!("\"{by}\";r=0;t={wait}")),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// What a user is told: no address, no cause of an operating system, no file.
fn detail(failure: &Failure) -> Cow<'static, str> {
    let text = match failure {
        Failure::BadRequest(reason) => return format!("The request cannot be understood: {reason}.").into(),
        Failure::Late(deadline, limit) => return late(*deadline, *limit).into(),
        Failure::NoRoute => "Nothing is served at this address.",
        Failure::Misdirected => "This host is not served here.",
        Failure::WrongName => "This connection was made for another host; it takes one of its own.",
        Failure::PlainHttp => "This port speaks TLS: ask it by https.",
        Failure::ConnectRefused => "Tunnels are not allowed here.",
        Failure::UnsupportedVersion => "This version of HTTP is not spoken here.",
        Failure::UnknownCoding => "The transfer coding of the request is not known here.",
        Failure::UnknownExpectation => "The expectation of the request is not known here.",
        Failure::Loop => "The request has passed through here before.",
        Failure::LongRequestLine(limit) => {
            return format!("The request line is longer than {limit} bytes.").into();
        }
        Failure::LongFields(limit) => return format!("The fields are longer than {limit} bytes.").into(),
        Failure::ManyFields(limit) => return format!("There are more than {limit} fields.").into(),
        Failure::LongContent(limit) => return format!("The content is longer than {limit} bytes.").into(),
        Failure::SlowHead(_) => "The head of the request did not arrive in time.",
        Failure::SlowContent(_) => "The content of the request arrives too slowly.",
        Failure::SlowReader(_) => "The answer was read too slowly.",
        Failure::ManyTunnels(_) => "There are too many tunnels at the moment.",
        Failure::HeldTooLong(_) => "The application is away, and was waited for in vain.",
        Failure::HoldFull(_) => "The application is away, and too many requests wait for it.",
        Failure::ManyRequests(_) => "There were too many requests; try again a little later.",
        Failure::NoPlace(_) | Failure::LongQueue(_) | Failure::Shed => {
            "The application has as many requests as it can take; try again a little later."
        }
        Failure::Fault(_) => "The request was failed on purpose, for a drill.",
        Failure::ClientGone => "The client closed the request.",
        Failure::ClientSilent => "The rest of the request did not arrive in time.",
        Failure::NoEndpoint => "The application is not running.",
        Failure::NobodyUp | Failure::BreakerOpen => "The application is not able to answer at the moment.",
        Failure::Unreachable(_) => "The application cannot be reached.",
        Failure::Untrusted(_) | Failure::Handshake(_) => "The application cannot be reached safely.",
        Failure::Unsent(_) | Failure::NoAnswer(_) => {
            "The application closed the connection without an answer."
        }
        Failure::BadAnswer(_) => "The application gave an answer that cannot be understood.",
        Failure::Truncated(_) => "The application's answer broke off.",
        Failure::BadUpgrade => {
            "The application answered a change of protocol in a way that cannot be passed on."
        }
        Failure::NoDescriptor => "The gateway has too many connections open at the moment.",
        Failure::Drained => "The gateway is stopping and could not wait any longer for this request.",
        Failure::Panicked => "The gateway failed while serving this request.",
    };
    text.into()
}

fn late(deadline: Deadline, limit: Duration) -> String {
    match deadline {
        Deadline::Connect => format!("The application could not be reached within {limit:?} (connect)."),
        Deadline::FirstByte => {
            format!("The application did not begin to answer within {limit:?} (first-byte).")
        }
        Deadline::Idle => format!("Nothing was received for {limit:?} (idle)."),
        Deadline::Request => format!("The request took longer than {limit:?} (request)."),
    }
}

/// An error as it is shown; the order is that of the problem details.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    code: &'static str,
    request_id: &'a str,
}

impl Form {
    /// The acceptable form of the highest quality, then of the most specific range, then listed first.
    fn preferred(accept: Option<&HeaderValue>) -> Form {
        let Some(accept) = accept else { return Form::Text };
        let forms = [Form::Text, Form::Problem, Form::Html].into_iter();
        let rated = forms.filter_map(|form| Some((form.rating(accept)?, form)));
        // `max_by_key` would give a tie to the last.
        rated
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map_or(Form::Text, |(_, form)| form)
    }

    /// Quality in thousandths, specificity and place of the most specific range that has this form.
    fn rating(self, accept: &HeaderValue) -> Option<(u16, u8, Reverse<usize>)> {
        let ranges = tokens(accept).enumerate().filter_map(|(place, range)| {
            let mut parts = range.split(';').map(str::trim);
            let specificity = self.matches(&parts.next()?.to_ascii_lowercase())?;
            Some((specificity, Reverse(place), quality(parts)))
        });
        let (specificity, place, quality) = ranges.max()?;
        (quality > 0).then_some((quality, specificity, place))
    }

    /// How specific a media range (in lower case) is for this form; `None`: not this form.
    fn matches(self, range: &str) -> Option<u8> {
        let (kind, subtype) = range.split_once('/')?;
        let named = match self {
            Form::Text => range == "text/plain",
            // Who wants any JSON is best served by the JSON of problems.
            Form::Problem => kind == "application" && (subtype == "json" || subtype.ends_with("+json")),
            Form::Html => range == "text/html",
        };
        let family = if self == Form::Problem { "application" } else { "text" };
        match (named, subtype) {
            (true, _) => Some(2),
            (_, "*") if kind == family => Some(1),
            (_, "*") if kind == "*" => Some(0),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Text => "text/plain; charset=utf-8",
            Form::Problem => "application/problem+json",
            Form::Html => "text/html; charset=utf-8",
        }
    }

    fn write(self, page: &Page<'_>) -> Bytes {
        match self {
            Form::Text => text(page).into(),
            // INVARIANT: a struct of strings and numbers can always be written as JSON.
            Form::Problem => serde_json::to_vec(page).unwrap_or_default().into(),
            Form::Html => html(page).into(),
        }
    }

    /// The operator's page; what is filled in cannot end the string or the element in which it stands.
    fn fill(self, own: &ErrorPage, page: &Page<'_>) -> Bytes {
        let safe = |text: &str| match self {
            Form::Text => text.to_owned(),
            Form::Problem => in_json(text),
            Form::Html => escape(text),
        };
        let filled = own.fill(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Status => page.status.to_string(),
            Piece::Title => safe(page.title),
            Piece::Detail => safe(&page.detail),
            Piece::Code => safe(page.code),
            Piece::RequestId => safe(page.request_id),
        });
        filled.into()
    }
}

/// `q=` of a range in thousandths (RFC 9110, section 12.4.2); 1 when there is none.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> u16 {
    let mut weights = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
    });
    // A cast of a float that is no number gives 0.
    (weights.next().unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16
}

fn text(page: &Page<'_>) -> String {
    let Page { status, title, detail, request_id, .. } = page;
    format!("{status} {title}\n\n{detail}\n\nrequest id: {request_id}\n")
}

fn html(page: &Page<'_>) -> String {
    let Page { status, title, detail, request_id, .. } = page;
    let (detail, request_id) = (escape(detail), escape(request_id));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {title}</title>\n\
         <h1>{status} {title}</h1>\n<p>{detail}</p>\n<p><small>request id: <code>{request_id}</code></small></p>\n"
    )
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// The inside of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::PageFor;
    use crate::response::failure::every_failure;

    fn say(failure: &Failure, accept: &'static str) -> Response<Bytes> {
        let accept = (!accept.is_empty()).then(|| HeaderValue::from_static(accept));
        error(failure, &HeaderValue::from_static("id-1"), accept.as_ref(), &ErrorPages::default())
    }

    fn pages(of: &[(Form, PageFor, &str)]) -> ErrorPages {
        let pieces = |text: &str| {
            ErrorPage(vec![
                Piece::Text(text.into()),
                Piece::Detail,
                Piece::Text(" ".into()),
                Piece::RequestId,
            ])
        };
        ErrorPages(of.iter().map(|(form, which, text)| ((*form, *which), pieces(text))).collect())
    }

    #[test]
    fn the_operators_page_for_a_status_goes_before_that_for_its_class_and_that_before_the_one_for_all() {
        let (html, id) = (HeaderValue::from_static("text/html"), HeaderValue::from_static("id-1"));
        let pages = pages(&[
            (Form::Html, PageFor::Any, "any "),
            (Form::Html, PageFor::Class(5), "class "),
            (Form::Html, PageFor::Status(503), "status "),
        ]);
        for (failure, begins) in [
            (Failure::NoEndpoint, "status "),
            (Failure::BadAnswer(String::new()), "class "),
            (Failure::NoRoute, "any "),
        ] {
            let answer = error(&failure, &id, Some(&html), &pages);
            assert!(body(&answer).starts_with(begins) && body(&answer).ends_with(" id-1"), "{failure:?}");
            assert_eq!(answer.status(), failure.verdict().status);
            assert_eq!(field(&answer, "content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(field(&answer, "cache-control"), Some("no-store"));
            let text = error(&failure, &id, None, &pages);
            assert_eq!(text.body(), say(&failure, "").body(), "a form without a page stays built in");
        }
    }

    #[test]
    fn what_is_filled_in_cannot_break_out() {
        let id = HeaderValue::from_static("\"'<i>&\\");
        for (form, accept, expected) in [
            (Form::Html, "text/html", "&quot;&#39;&lt;i&gt;&amp;\\"),
            (Form::Problem, "application/json", "\\\"'<i>&\\\\"),
            (Form::Text, "text/plain", "\"'<i>&\\"),
        ] {
            let accept = HeaderValue::from_static(accept);
            let answer = error(&Failure::NoRoute, &id, Some(&accept), &pages(&[(form, PageFor::Any, "")]));
            assert_eq!(body(&answer).split_once(". ").map(|(_, id)| id), Some(expected));
        }
    }

    fn body(answer: &Response<Bytes>) -> &str {
        std::str::from_utf8(answer.body()).unwrap()
    }

    fn field<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_error_is_plain_text_by_default() {
        let answer = say(&Failure::NoRoute, "");
        assert_eq!(answer.status(), 404);
        assert_eq!(field(&answer, "content-type"), Some("text/plain; charset=utf-8"));
        let expected = "404 Not Found\n\nNothing is served at this address.\n\nrequest id: id-1\n";
        assert_eq!(body(&answer), expected);
    }

    #[test]
    fn an_error_is_a_problem_for_programs() {
        let answer =
            say(&Failure::Late(Deadline::FirstByte, Duration::from_millis(1500)), "application/json");
        assert_eq!(field(&answer, "content-type"), Some("application/problem+json")); // RFC 9457, section 3
        assert_eq!(
            body(&answer),
            r#"{"type":"about:blank","title":"Gateway Timeout","status":504,"detail":"The application did not begin to answer within 1.5s (first-byte).","code":"late-first-byte","request_id":"id-1"}"#
        );
    }

    #[test]
    fn an_error_is_a_page_for_browsers() {
        let answer = say(&Failure::BadRequest("<b>"), "text/html,application/xhtml+xml,*/*;q=0.8");
        assert_eq!(field(&answer, "content-type"), Some("text/html; charset=utf-8"));
        assert!(body(&answer).contains("<title>400 Bad Request</title>"));
        assert!(body(&answer).contains("<code>id-1</code>"));
        assert!(body(&answer).contains("&lt;b&gt;") && !body(&answer).contains("<b>"));
    }

    #[test]
    fn the_form_that_the_client_prefers_is_chosen() {
        // RFC 9110, section 12.5.1.
        let table = [
            ("*/*", Form::Text),
            ("text/*", Form::Text),
            ("text/html", Form::Html),
            ("TEXT/HTML", Form::Html),
            ("application/*", Form::Problem),
            ("application/json, text/plain, */*", Form::Problem),
            ("application/vnd.api+json", Form::Problem),
            ("text/plain;q=0.5, text/html;q=0.9, application/json;q=0.1", Form::Html),
            ("text/html;q=0.1, */*;q=0.8", Form::Text),
            ("text/plain;q=0, */*", Form::Problem),
            ("text/*;q=0.2, application/problem+json ; q=0.3", Form::Problem),
            ("image/png", Form::Text),
            ("text/html;q=nan", Form::Text),
            ("garbage", Form::Text),
            (",", Form::Text),
        ];
        for (accept, form) in table {
            assert_eq!(Form::preferred(Some(&HeaderValue::from_static(accept))), form, "{accept}");
        }
    }

    #[test]
    fn every_error_can_be_quoted_and_is_never_stored() {
        for failure in every_failure() {
            for accept in ["text/plain", "application/json", "text/html"] {
                let answer = say(&failure, accept);
                let verdict = failure.verdict();
                assert!(verdict.status == 499 || answer.status() == verdict.status, "{failure:?}");
                assert_ne!(answer.status(), 499);
                assert_eq!(field(&answer, "cache-control"), Some("no-store"));
                assert_eq!(field(&answer, "x-request-id"), Some("id-1"));
                assert!(body(&answer).contains("id-1"), "{failure:?}");
                assert!(!body(&answer).contains("secret"), "a cause is for the log only: {failure:?}");
                let again = matches!(answer.status().as_u16(), 429 | 503);
                assert_eq!(field(&answer, "retry-after").is_some(), again);
                assert_eq!(field(&answer, "allow").is_some(), answer.status() == 405);
            }
        }
    }

    #[test]
    fn who_asks_too_often_is_told_how_often_is_enough_and_when_to_ask_again() {
        let quota = |per, wait| {
            let per = Duration::from_millis(per);
            Failure::ManyRequests(Quota { by: "address", count: 20, per, wait: Duration::from_millis(wait) })
        };
        for (per, wait, policy, limit, after) in [
            (60_000, 2400, "\"address\";q=20;w=60", "\"address\";r=0;t=3", "3"),
            (1000, 1, "\"address\";q=20;w=1", "\"address\";r=0;t=1", "1"),
            (1500, 0, "\"address\";q=20", "\"address\";r=0;t=1", "1"),
        ] {
            let answer = say(&quota(per, wait), "text/plain");
            assert_eq!(answer.status(), 429);
            assert_eq!(field(&answer, "ratelimit-policy"), Some(policy));
            assert_eq!(field(&answer, "ratelimit"), Some(limit));
            assert_eq!(field(&answer, "retry-after"), Some(after));
        }
    }

    #[test]
    fn a_fixed_answer_is_given_as_configured() {
        let answer = fixed(200, "text/html", "hello");
        assert_eq!((answer.status().as_u16(), body(&answer)), (200, "hello"));
        assert_eq!(field(&answer, "content-type"), Some("text/html"));
    }

    #[test]
    fn a_status_without_content_has_none() {
        for status in [204, 205, 304] {
            let answer = fixed(status, "text/plain", "hello");
            assert_eq!((answer.status().as_u16(), body(&answer)), (status, ""));
            assert_eq!(field(&answer, "content-type"), None);
        }
    }

    #[test]
    fn a_redirect_has_a_location() {
        let answer = redirect(308, HeaderValue::from_static("https://example.com/"));
        assert_eq!(answer.status(), 308);
        assert_eq!(field(&answer, "location"), Some("https://example.com/"));
    }

    #[test]
    fn the_last_hop_answers_for_itself() {
        // RFC 9110, sections 7.6.2, 9.3.7, 9.3.8 and 15.5.6.
        let any: &[String] = &[];
        let some = &["GET".to_owned(), "TRACE".to_owned()];
        for (method, methods, status, allow) in [
            (Method::OPTIONS, any, 204, METHODS),
            (Method::OPTIONS, some, 204, "GET"),
            (Method::TRACE, any, 405, METHODS),
            (Method::TRACE, some, 405, "GET"),
        ] {
            let answer = last_hop(&method, methods);
            assert_eq!(
                (answer.status().as_u16(), field(&answer, "allow")),
                (status, Some(allow)),
                "{method}"
            );
            assert!(answer.body().is_empty());
        }
    }
}
