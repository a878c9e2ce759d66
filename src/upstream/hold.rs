//! Content that is held back until the endpoint says 100.
//!
//! Promises: an expectation is not waited for indefinitely (RFC 9110, section 10.1.1).
//! Must not know: which protocol is spoken.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use http::header::EXPECT;
use tokio::time::Sleep;

use crate::response::hygiene;

/// How long content waits for a 100 that may never come.
const GO_AHEAD: Duration = Duration::from_secs(1);

/// Until the endpoint's word, at most as long as the timer.
pub(super) struct Hold(Option<Pin<Box<Sleep>>>);

impl Hold {
    /// Nothing is waited for.
    pub(super) fn none() -> Hold {
        Hold(None)
    }

    /// What a request with these fields waits for; an endpoint that takes nothing for `idle` is given up.
    pub(super) fn asked_by(fields: &HeaderMap, idle: Option<Duration>) -> Hold {
        if !hygiene::lists(fields, EXPECT, "100-continue") {
            return Hold::none();
        }
        let time = idle.map_or(GO_AHEAD, |idle| GO_AHEAD.min(idle / 2));
        // The bound of the wait for 100 (Continue), which ends it at once (RFC 9110, section 10.1.1).
        Hold(Some(Box::pin(tokio::time::sleep(time))))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The endpoint wants the content, or will not get it.
    pub(super) fn lift(&mut self) {
        self.0 = None;
    }

    /// Ready when the content may go.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.0 {
            ready!(timer.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}
