//! HTTP/1.1 to one endpoint: its connections, one exchange at a time on each, and the pool of those
//! that wait for their next request.
//!
//! Promises: a connection carries one request at a time, in the future that asks it and then in the
//! content of the answer: there is no task behind it. It returns to the pool by itself when its answer
//! has been read to the end and its request was sent to the end; whatever else ends an exchange closes
//! it at once. While it waits it holds no memory but its own few words. Must not know: how to choose an
//! endpoint, deadlines, when to send again.
//!
//! ```text
//!            ask            head of the answer        read to the end
//!   Pool ──────────► Exchange ──────────► Incoming ──────────────────► Pool
//!    │                  │                    │
//!    └──────────────────┴────────────────────┴──► closed   by either side, failed, upgraded, dropped,
//!                                                          content not sent, bytes after the answer
//! ```

mod exchange;
mod pool;
mod sending;

pub(super) use exchange::Exchange;
#[cfg(test)]
pub(super) use pool::HASTE;
pub(super) use pool::Pool;

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::line::Line;
use crate::http1::AnswerHead;

/// One connection; closed when nobody has it any more.
pub(super) struct Link {
    pub(super) line: Line,
    /// Answers received on it.
    answers: Cell<u32>,
    /// When it became idle.
    since: Cell<Instant>,
    /// How long the endpoint said that it keeps an idle connection.
    announced: Cell<Option<Duration>>,
    home: Weak<Pool>,
}

impl Link {
    /// Speaks HTTP/1.1 on `line`.
    pub(super) fn open(line: Line, home: &Rc<Pool>) -> Rc<Link> {
        Rc::new(Link {
            line,
            answers: Cell::new(0),
            since: Cell::new(Instant::now()),
            announced: Cell::new(None),
            home: Rc::downgrade(home),
        })
    }

    /// Whether it has carried a request before.
    pub(super) fn reused(&self) -> bool {
        self.answers.get() > 0
    }

    /// Whether the endpoint's last answer was of HTTP/1.0, so that it may not know chunks (RFC 9112,
    /// section 6.1) nor expectations (RFC 9110, section 10.1.1).
    fn is_old(&self) -> bool {
        self.home.upgrade().is_some_and(|pool| pool.is_old())
    }

    /// The head of an answer is here.
    fn answered(&self, head: &AnswerHead) {
        self.answers.set(self.answers.get().saturating_add(1));
        self.announced.set(announced(&head.fields));
        if let Some(pool) = self.home.upgrade() {
            pool.speaks(head.version);
        }
    }

    /// Its exchange has ended and left nothing behind: it may carry another one.
    fn rest(self: Rc<Self>) {
        if let Some(pool) = self.home.upgrade()
            && self.line.usable()
        {
            pool.put(self);
        }
    }

    /// Its exchange has ended without an answer: perhaps the request came too late for it.
    fn lost(&self) {
        if let Some(pool) = self.home.upgrade()
            && self.reused()
            && self.line.ended()
        {
            pool.learn(self.age());
        }
    }

    fn age(&self) -> Duration {
        self.since.get().elapsed()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.goodbye();
    }
}

/// How long the endpoint keeps an idle connection (`Keep-Alive: timeout=5`, RFC 2068, section
/// 19.7.1), less a second for a request that is on its way when it closes.
fn announced(fields: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let value = fields.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds
        .trim()
        .parse::<u32>()
        .ok()
        .map(|seconds| Duration::from_secs(u64::from(seconds.saturating_sub(1))))
}
