//! The attempts of one request: whom it was with, and whether there is another one.
//!
//! Promises: the law of [`super`] first, which costs nothing and is counted nowhere; then what the configuration allows
//! ([`Retry`]): only what the endpoint has certainly not seen, what may be repeated by its method, or what has an
//! `Idempotency-Key`; only within the attempts and the budget of the service; after a wait.
//! Must not know: connections, how an endpoint is chosen.

use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, header};

use super::attempt::Lost;
use super::budget::{Budget, Purse};
use super::content::{Content, ContentState};
use super::endpoint::{Endpoint, Wish};
use crate::config::settings::{self, RetryWay};
use crate::response::{Failure, Retry};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The attempts of one request.
pub(super) struct Search<'a> {
    /// Not to be asked while there is another one.
    pub(super) given_up: GivenUp,
    pub(super) last: Failure,
    /// A kept connection has failed this request: the next one is a fresh one.
    pub(super) stale: bool,
    terms: &'a settings::Retry,
    /// Attempts that were granted, the first one included.
    granted: u32,
}

/// Endpoints that a request has been with, by where they are in memory: there may be a thousand.
#[derive(Default)]
pub(super) struct GivenUp(Vec<Rc<Endpoint>>);

impl GivenUp {
    pub(super) fn insert(&mut self, endpoint: &Rc<Endpoint>) {
        if let Err(place) = self.place(endpoint) {
            self.0.insert(place, Rc::clone(endpoint));
        }
    }

    pub(super) fn has(&self, endpoint: &Rc<Endpoint>) -> bool {
        self.place(endpoint).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn place(&self, endpoint: &Rc<Endpoint>) -> Result<usize, usize> {
        self.0.binary_search_by_key(&Rc::as_ptr(endpoint), Rc::as_ptr)
    }
}

/// What comes after an attempt that failed.
pub(super) enum Next {
    /// At once.
    Again(Content),
    /// After the configuration, if there is a retry left.
    Perhaps(Content, Failure),
    Over(Failure),
}

impl<'a> Search<'a> {
    pub(super) fn new(content: &ContentState, terms: &'a settings::Retry) -> Search<'a> {
        debug_assert!(!content.touched(), "content is sent from its start");
        Search { given_up: GivenUp::default(), last: Failure::NoEndpoint, stale: false, terms, granted: 1 }
    }

    pub(super) fn wish(&self, request: &Parts, content: &ContentState, upgrades: bool) -> Wish {
        Wish {
            upgrades,
            repeatable: request.method.is_idempotent(),
            with_content: !content.is_empty(),
            fresh: self.stale || !(content.is_empty() || content.is_short()),
        }
    }

    pub(super) fn gave_up(&mut self, endpoint: &Rc<Endpoint>, failure: Failure) {
        self.given_up.insert(endpoint);
        self.last = failure;
    }

    /// It has waited for the application, which is another one now.
    pub(super) fn starts_again(&mut self) {
        self.given_up.clear();
        self.stale = false;
    }

    /// After an attempt that brought no answer.
    pub(super) fn again(
        &mut self,
        endpoint: &Rc<Endpoint>,
        reused: bool,
        request: &Parts,
        content: &Rc<ContentState>,
        lost: Lost,
    ) -> Next {
        // Whoever has not had all of an upload has not seen it, for whoever keeps uploads.
        let cut = lost.cut && !lost.begun && content.survives();
        let failure = match lost.failure {
            Failure::NoAnswer(told) if cut => Failure::Unsent(told),
            failure => failure,
        };
        let retry = failure.verdict().retry;
        let by_law = match retry {
            Retry::Never => false,
            Retry::Unsent => true,
            Retry::Safe => reused && !lost.begun && request.method.is_idempotent(),
        };
        let by_terms = self.terms.on.reset
            && match retry {
                Retry::Never => false,
                Retry::Unsent => true,
                Retry::Safe => !lost.begun && self.may_repeat(request),
            };
        if !by_law && !by_terms {
            return Next::Over(failure);
        }
        let Some(content) = content.again() else { return Next::Over(failure) };
        if !by_law {
            self.given_up.insert(endpoint);
            return Next::Perhaps(content, failure);
        }
        if reused && !self.stale {
            self.stale = true;
            self.last = failure;
        } else {
            self.gave_up(endpoint, failure);
        }
        Next::Again(content)
    }

    /// Whether an answer with this status may be asked for once more.
    pub(super) fn wants_other(&self, status: StatusCode, request: &Parts, content: &ContentState) -> bool {
        self.terms.on.status(status.as_u16())
            && self.granted < self.terms.attempts
            && self.may_repeat(request)
            && content.replayable()
    }

    /// Whether one whose connection could not be made may try again when all have been tried.
    pub(super) fn wants_connection(&self) -> bool {
        self.terms.on.connect && self.last.verdict().retry == Retry::Unsent
    }

    /// One more attempt, if there is one: after how long. `told` is what the endpoint has said.
    pub(super) fn granted(
        &mut self,
        told: Option<Duration>,
        purse: &Purse,
        budget: &Budget,
    ) -> Option<Duration> {
        let wait = wait(self.terms, self.granted, fastrand::f64()).max(told.unwrap_or_default());
        if self.granted >= self.terms.attempts
            || told.is_some_and(|told| told > self.terms.wait_most)
            || !purse.take(budget)
        {
            return None;
        }
        self.granted += 1;
        Some(wait)
    }

    /// By its method, or by what its client has said of it.
    fn may_repeat(&self, request: &Parts) -> bool {
        let keyed = || self.terms.idempotency_key && request.headers.contains_key(IDEMPOTENCY_KEY);
        request.method.is_idempotent() || keyed()
    }
}

/// How long to wait before the retry of this number, from 1.
fn wait(terms: &settings::Retry, number: u32, random: f64) -> Duration {
    let doubled = || terms.wait.saturating_mul(1_u32.checked_shl(number - 1).unwrap_or(u32::MAX));
    let wait = match terms.way {
        RetryWay::Fixed => terms.wait,
        RetryWay::Exponential => doubled(),
        RetryWay::Jitter => doubled().min(terms.wait_most).mul_f64(random),
    };
    wait.min(terms.wait_most)
}

/// How long the endpoint wants to be left alone (RFC 9110, section 10.2.3): a date is for ever.
pub(super) fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_as_it_is_told_and_no_longer_than_the_most() {
        let terms = settings::Retry::default();
        let millis =
            |way, number, random| wait(&settings::Retry { way, ..terms.clone() }, number, random).as_millis();
        assert_eq!([1, 2, 3].map(|number| millis(RetryWay::Fixed, number, 0.5)), [10; 3]);
        assert_eq!(
            [1, 2, 3, 6, 40].map(|number| millis(RetryWay::Exponential, number, 0.5)),
            [10, 20, 40, 250, 250]
        );
        assert_eq!([1, 2, 6].map(|number| millis(RetryWay::Jitter, number, 0.5)), [5, 10, 125]);
        assert_eq!([0.0, 1.0].map(|random| millis(RetryWay::Jitter, 100, random)), [0, 250]);
    }

    #[test]
    fn retry_after_is_seconds_or_too_long() {
        let told = |value: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&fields)
        };
        assert_eq!(told("0"), Some(Duration::ZERO));
        assert_eq!(told("120"), Some(Duration::from_secs(120)));
        for other in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "99999999999999999999", ""] {
            assert_eq!(told(other), Some(Duration::MAX), "{other}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
