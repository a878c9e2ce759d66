//! How long a request may still take: told to the application, and believed of a trusted proxy.
//!
//! A field of the operator's choice has milliseconds. gRPC has its own, `grpc-timeout`: up to eight digits and a unit
//! (gRPC over HTTP2, "Timeout"), which is used for requests whose content is gRPC.
//!
//! Promises: what is believed only ever shortens; what is told never is more than what is left; what cannot be read counts for nothing.
//! Must not know: clocks, where the time comes from.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The most that eight digits hold (gRPC over HTTP2: "TimeoutValue").
const MOST: u128 = 99_999_999;

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    kind.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// What the sender says is left.
pub fn told(headers: &HeaderMap, field: &str) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    if is_grpc(headers) {
        return headers.get(GRPC_TIMEOUT).and_then(text).and_then(|text| grpc(&text));
    }
    headers.get(field).and_then(text).and_then(|text| number(&text)).map(Duration::from_millis)
}

/// Tells what is left; `None`: nobody knows an end. `believed`: what the sender has said there stays, when there is nothing to tell.
pub fn tell(headers: &mut HeaderMap, field: &str, left: Option<Duration>, believed: bool) {
    let grpc = is_grpc(headers);
    let Ok(own) = HeaderName::from_bytes(field.as_bytes()) else { return };
    let Some(left) = left else {
        if !believed {
            headers.remove(own);
        }
        return;
    };
    let (millis, seconds) = (left.as_millis(), left.as_secs());
    let (name, value) = match grpc {
        false => (own, millis.to_string()),
        true if millis <= MOST => (GRPC_TIMEOUT, format!("{millis}m")),
        true => (GRPC_TIMEOUT, format!("{}S", u128::from(seconds).min(MOST))),
    };
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn grpc(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (digits, unit) = (text.get(..unit)?, text.get(unit..)?);
    let count = number(digits).filter(|count| u128::from(*count) <= MOST)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field =
            |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        fields.iter().map(field).collect()
    }

    #[test]
    fn milliseconds_are_read_from_the_field_and_of_grpc_its_own() {
        let ms = Duration::from_millis;
        for (text, left) in
            [("250", Some(ms(250))), ("0", Some(ms(0))), ("", None), ("1s", None), ("-1", None), ("+1", None)]
        {
            assert_eq!(told(&headers(&[("request-timeout", text)]), "request-timeout"), left, "{text}");
        }
        for (text, left) in [
            ("2H", Some(ms(7_200_000))),
            ("3M", Some(ms(180_000))),
            ("5S", Some(ms(5000))),
            ("99999999m", Some(ms(99_999_999))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("999999999m", None),
            ("5", None),
            ("S", None),
            ("", None),
            ("5s", None),
        ] {
            let grpc =
                headers(&[("content-type", "application/grpc+proto"), ("grpc-timeout", text), ("t", "1")]);
            assert_eq!(told(&grpc, "t"), left, "{text}");
        }
        let other = headers(&[("content-type", "application/grpc-web"), ("grpc-timeout", "1S")]);
        assert_eq!(told(&other, "t"), None);
    }

    #[test]
    fn what_is_left_is_told_in_the_same_field() {
        let tell = |mut headers: HeaderMap, left: Option<u64>, believed| {
            super::tell(&mut headers, "t", left.map(Duration::from_millis), believed);
            let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (text("t"), text("grpc-timeout"))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(tell(headers(&[("t", "9")]), Some(250), false), (some("250"), None));
        assert_eq!(tell(headers(&[("t", "9")]), None, false), (None, None));
        assert_eq!(tell(headers(&[("t", "9")]), None, true), (some("9"), None));
        let grpc = || headers(&[("content-type", "application/grpc"), ("grpc-timeout", "1H")]);
        assert_eq!(tell(grpc(), Some(1500), true), (None, some("1500m")));
        assert_eq!(tell(grpc(), Some(100_000_000), true), (None, some("100000S")));
        assert_eq!(tell(grpc(), None, true), (None, some("1H")));
    }
}
