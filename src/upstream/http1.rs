//! HTTP/1.1 connections to one endpoint, and the pool of those that wait for their next request.
//!
//! Promises: a connection carries one request at a time; it returns to the pool by itself when its
//! answer has been read to the end, and leaves it when the endpoint closes it, when it has been idle
//! for too long, or when the endpoint said (`Keep-Alive: timeout=`) that it will close it. One timer
//! per pool, and only while something is idle. Must not know: how to choose an endpoint, deadlines,
//! when to send again.
//!
//! ```text
//!            submit           answered            read to the end
//!   Idle ──────────► Busy ──────────► Answered ──────────────────► Idle
//!    │                 │                  │
//!    └─────────────────┴──────────────────┴──► Over   closed by either side, failed, upgraded
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::content::Content;
use super::line::{Line, Pulse};
use crate::config::settings;

/// The most that is buffered of one answer, and so the longest head of one.
const BUFFER: usize = 64 * 1024;

/// How long an endpoint that closed idle connections unannounced is remembered for it.
const MEMORY: Duration = Duration::from_secs(60);

/// An endpoint that closes sooner than this after an answer may close at any moment.
pub(super) const HASTE: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Link {
    sender: RefCell<Option<SendRequest<Content>>>,
    pub(super) line: Line,
    stage: Cell<Stage>,
    /// Answers received on it.
    answers: Cell<u32>,
    /// When it became idle.
    since: Cell<Instant>,
    /// How long the endpoint said that it keeps an idle connection.
    announced: Cell<Option<Duration>>,
    home: Weak<Pool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Busy,
    Answered,
    Over,
}

/// The idle connections to one endpoint; the last one in is the first one out.
pub(super) struct Pool {
    idle: RefCell<VecDeque<Rc<Link>>>,
    settings: settings::Pool,
    /// The shortest time after which the endpoint closed an idle connection, and when that was seen.
    patience: Cell<Option<(Duration, Instant)>>,
    /// A connection was seen open longer than [`HASTE`] after an answer.
    trusted: Cell<bool>,
    sweeper: RefCell<Option<AbortHandle>>,
}

/// What hyper gives back for a request.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Content>>>;

impl Link {
    /// Speaks HTTP/1.1 on `line`.
    pub(super) async fn open(line: Line, home: &Rc<Pool>) -> hyper::Result<Rc<Link>> {
        let handshake = Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(line.clone()));
        let (sender, connection) = handshake.await?;
        let link = Rc::new(Link {
            sender: RefCell::new(Some(sender)),
            line,
            stage: Cell::new(Stage::Idle),
            answers: Cell::new(0),
            since: Cell::new(Instant::now()),
            announced: Cell::new(None),
            home: Rc::downgrade(home),
        });
        let driver = Driver { connection: connection.with_upgrades(), link: Rc::clone(&link) };
        tokio::task::spawn_local(driver);
        Ok(link)
    }

    /// Whether it has carried a request before.
    pub(super) fn reused(&self) -> bool {
        self.answers.get() > 0
    }

    /// Hands a request to the connection; back it comes when the connection has ended.
    #[expect(clippy::result_large_err, reason = "the request itself is what is handed back")]
    pub(super) fn submit(
        &self,
        request: Request<Content>,
    ) -> Result<impl Future<Output = Outcome> + use<>, Request<Content>> {
        match self.sender.borrow_mut().as_mut() {
            Some(sender) => {
                self.stage.set(Stage::Busy);
                Ok(sender.try_send_request(request))
            }
            None => Err(request),
        }
    }

    /// The head of the answer is here.
    pub(super) fn answered(self: &Rc<Self>, method: &Method, response: &Response<Incoming>) {
        self.answers.set(self.answers.get().saturating_add(1));
        let status = response.status();
        let tunnel =
            status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success());
        if tunnel || self.stage.get() == Stage::Over {
            return;
        }
        self.announced.set(announced(response.headers()));
        self.stage.set(Stage::Answered);
        self.settle();
    }

    /// Closes it as soon as nothing is in flight on it.
    fn close(&self) {
        self.stage.set(Stage::Over);
        self.sender.borrow_mut().take();
    }

    /// Returns it to its pool when its answer has been read to the end.
    fn settle(self: &Rc<Self>) {
        if self.stage.get() != Stage::Answered || !self.is_free() {
            return;
        }
        match self.home.upgrade() {
            Some(pool) if self.line.usable() => pool.put(self),
            _ => self.close(),
        }
    }

    fn is_free(&self) -> bool {
        self.sender.borrow().as_ref().is_some_and(SendRequest::is_ready)
    }

    /// The connection has ended.
    fn over(self: &Rc<Self>) {
        let was = self.stage.replace(Stage::Over);
        self.sender.borrow_mut().take();
        self.line.become_tunnel();
        let Some(pool) = self.home.upgrade() else { return };
        if was == Stage::Idle {
            pool.remove(self);
        }
        // Ended while idle, or under a request that came too late for it.
        let unannounced = was == Stage::Idle || (was == Stage::Busy && self.reused());
        if unannounced && self.line.ended() {
            pool.learn(self.age());
        }
    }

    fn age(&self) -> Duration {
        self.since.get().elapsed()
    }
}

impl Pool {
    pub(super) fn new(settings: settings::Pool) -> Rc<Pool> {
        Rc::new(Pool {
            idle: RefCell::new(VecDeque::new()),
            settings,
            patience: Cell::new(None),
            trusted: Cell::new(false),
            sweeper: RefCell::new(None),
        })
    }

    /// The most recently used idle connection.
    ///
    /// For a request that may not be sent twice (`repeatable` false) the socket is asked whether it
    /// is still alive, and none is given when it is [`Pool::doubtful`].
    pub(super) fn take(&self, repeatable: bool) -> Option<Rc<Link>> {
        loop {
            let link = self.idle.borrow_mut().pop_back()?;
            if self.expired(&link) {
                link.close();
                continue;
            }
            if repeatable {
                return Some(link);
            }
            if self.doubtful(&link) {
                self.idle.borrow_mut().push_back(link);
                return None;
            }
            match link.line.pulse() {
                Pulse::Quiet => return Some(link),
                // Bytes without a request are no answer to the next one (a 408 before closing).
                Pulse::Talking | Pulse::Dead => {
                    self.learn(link.age());
                    link.close();
                }
            }
        }
    }

    /// How many are idle.
    pub(super) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    fn put(self: &Rc<Self>, link: &Rc<Link>) {
        if self.settings.max_idle == 0 {
            return link.close();
        }
        link.since.set(Instant::now());
        link.stage.set(Stage::Idle);
        let crowded_out = {
            let mut idle = self.idle.borrow_mut();
            idle.push_back(Rc::clone(link));
            (idle.len() > self.settings.max_idle).then(|| idle.pop_front()).flatten()
        };
        if let Some(oldest) = crowded_out {
            oldest.close();
        }
        self.start_sweeping();
    }

    fn remove(&self, link: &Rc<Link>) {
        self.idle.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
    }

    /// The endpoint closed a connection unannounced that was idle for `age`.
    fn learn(&self, age: Duration) {
        let now = Instant::now();
        let shortest = match self.patience.get() {
            Some((known, seen)) if now - seen < MEMORY => known.min(age),
            _ => age,
        };
        self.patience.set(Some((shortest, now)));
        self.trusted.set(false);
    }

    /// Whether the endpoint may be about to close `link`, or the other idle ones: `link` was idle for
    /// more than half of what the endpoint was lately seen to close after, or that was hardly any
    /// time, or it is not known yet to keep a connection open after an answer at all.
    fn doubtful(&self, link: &Link) -> bool {
        match self.patience.get() {
            Some((patience, seen)) if seen.elapsed() < MEMORY => {
                patience < HASTE || link.age() > patience / 2
            }
            _ => link.age() < HASTE && !self.trusts(),
        }
    }

    fn trusts(&self) -> bool {
        if !self.trusted.get() {
            let idle = self.idle.borrow();
            let proof = idle
                .front()
                .is_some_and(|oldest| oldest.age() >= HASTE && oldest.line.pulse() == Pulse::Quiet);
            self.trusted.set(proof);
        }
        self.trusted.get()
    }

    fn expired(&self, link: &Link) -> bool {
        !link.line.usable() || link.age() >= self.lifetime(link)
    }

    fn lifetime(&self, link: &Link) -> Duration {
        link.announced.get().map_or(self.settings.idle, |announced| announced.min(self.settings.idle))
    }

    fn start_sweeping(self: &Rc<Self>) {
        let mut sweeper = self.sweeper.borrow_mut();
        if sweeper.is_none() {
            let task = tokio::task::spawn_local(sweep(Rc::downgrade(self)));
            *sweeper = Some(task.abort_handle());
        }
    }

    /// Closes what has been idle for too long; when to look again, if anything is left.
    fn evict(&self) -> Option<Instant> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|link| {
            let keep = !self.expired(link);
            if !keep {
                link.close();
            }
            keep
        });
        idle.iter().map(|link| link.since.get() + self.lifetime(link)).min()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.take() {
            sweeper.abort();
        }
        for link in self.idle.take() {
            link.close();
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    while let Some(alive) = pool.upgrade() {
        let Some(next) = alive.evict() else {
            alive.sweeper.take();
            return;
        };
        drop(alive);
        sleep_until(next).await;
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

/// Runs a connection, and looks after each step whether it has become idle.
struct Driver<C> {
    connection: C,
    link: Rc<Link>,
}

impl<C: Future<Output = hyper::Result<()>> + Unpin> Future for Driver<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        match polled {
            Poll::Pending => {
                self.link.settle();
                Poll::Pending
            }
            // An error is told to the request that it broke; on an idle connection it is nobody's.
            Poll::Ready(_) => {
                self.link.over();
                Poll::Ready(())
            }
        }
    }
}
