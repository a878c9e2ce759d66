//! Whether a failed attempt may be followed by another.
//!
//! Promises: a request that may have been acted on is sent again only when that is harmless by its
//! method (RFC 9110, section 9.2.2), and one whose content is partly gone never.
//! Must not know: why it failed beyond the verdict, or where the next attempt goes.

use http::Method;

use crate::response::{Retry, Verdict};

/// A pooled connection that was dead, one more that was dead too, and a fresh one.
pub const MOST_ATTEMPTS: u32 = 3;

/// Whether another attempt may follow. `attempt` counts those made, from 1; `content_untouched`: no
/// octet of the request's content has been taken from the client yet.
pub fn may_retry(verdict: &Verdict, method: &Method, content_untouched: bool, attempt: u32) -> bool {
    let harmless = match verdict.retry {
        Retry::Never => false,
        Retry::Unsent => true,
        Retry::Safe => method.is_idempotent(),
    };
    harmless && content_untouched && attempt < MOST_ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Failure;

    #[test]
    fn a_request_is_sent_again_only_when_that_is_harmless() {
        let unsent = || Failure::Unsent("reset".into());
        let no_answer = || Failure::NoAnswer("reset".into());
        let table = [
            (unsent(), Method::POST, true, 1, true),
            (unsent(), Method::POST, true, 2, true),
            (unsent(), Method::POST, true, 3, false),
            (unsent(), Method::GET, false, 1, false),
            (Failure::Unreachable("refused".into()), Method::PATCH, true, 1, true),
            // RFC 9110, section 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT and DELETE are idempotent.
            (no_answer(), Method::GET, true, 1, true),
            (no_answer(), Method::HEAD, true, 1, true),
            (no_answer(), Method::PUT, true, 1, true),
            (no_answer(), Method::DELETE, true, 1, true),
            (no_answer(), Method::PUT, false, 1, false),
            (no_answer(), Method::POST, true, 1, false),
            (no_answer(), Method::PATCH, true, 1, false),
            (no_answer(), Method::CONNECT, true, 1, false),
            (no_answer(), Method::from_bytes(b"PURGE").unwrap(), true, 1, false),
            (Failure::BadAnswer("garbage".into()), Method::GET, true, 1, false),
            (Failure::ClientGone, Method::GET, true, 1, false),
        ];
        for (failure, method, untouched, attempt, expected) in table {
            let allowed = may_retry(&failure.verdict(), &method, untouched, attempt);
            assert_eq!(allowed, expected, "{failure:?} {method} untouched={untouched} attempt={attempt}");
        }
    }
}
