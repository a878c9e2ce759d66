//! The idle connections to one endpoint.
//!
//! Promises: the last one in is the first one out; one leaves when the endpoint closes it or says
//! something unasked, when it has been idle for too long, or when the endpoint said
//! (`Keep-Alive: timeout=`) that it will close it. One task and one timer for all of them, which run
//! only when one of these happens. Must not know: requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Version;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::super::line::Pulse;
use super::Link;
use crate::config::settings;

/// How long an endpoint that closed idle connections unannounced is remembered for it.
const MEMORY: Duration = Duration::from_secs(60);

/// An endpoint that closes sooner than this after an answer may close at any moment.
pub(in crate::upstream) const HASTE: Duration = Duration::from_millis(100);

pub(in crate::upstream) struct Pool {
    idle: RefCell<VecDeque<Rc<Link>>>,
    settings: settings::Pool,
    /// The shortest time after which the endpoint closed an idle connection, and when that was seen.
    patience: Cell<Option<(Duration, Instant)>>,
    /// A connection was seen open longer than [`HASTE`] after an answer.
    trusted: Cell<bool>,
    /// The endpoint's last answer was of HTTP/1.0.
    old: Cell<bool>,
    keeper: RefCell<Option<AbortHandle>>,
    /// Wakes the keeper when something is to be read from an idle connection.
    waker: RefCell<Option<Waker>>,
}

impl Pool {
    pub(in crate::upstream) fn new(settings: settings::Pool) -> Rc<Pool> {
        Rc::new(Pool {
            idle: RefCell::new(VecDeque::new()),
            settings,
            patience: Cell::new(None),
            trusted: Cell::new(false),
            old: Cell::new(false),
            keeper: RefCell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// The most recently used idle connection.
    ///
    /// The socket is asked, not the reactor: what the endpoint said unasked since the reactor was asked last
    /// would be taken for the answer to this request. For a request that may not be sent twice
    /// (`repeatable` false) none is given when it is [`Pool::doubtful`].
    pub(in crate::upstream) fn take(&self, repeatable: bool) -> Option<Rc<Link>> {
        loop {
            let link = self.idle.borrow_mut().pop_back()?;
            if self.expired(&link) {
                continue;
            }
            if !repeatable && self.doubtful(&link) {
                self.idle.borrow_mut().push_back(link);
                return None;
            }
            match link.line.pulse() {
                Pulse::Quiet => return Some(link),
                // Bytes without a request are no answer to the next one (a 408 before closing).
                Pulse::Talking | Pulse::Dead => self.learn(link.age()),
            }
        }
    }

    /// How many are idle.
    pub(in crate::upstream) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether the endpoint's last answer was of HTTP/1.0.
    pub(super) fn is_old(&self) -> bool {
        self.old.get()
    }

    /// The version of its last answer.
    pub(super) fn speaks(&self, version: Version) {
        self.old.set(version == Version::HTTP_10);
    }

    pub(super) fn put(self: &Rc<Self>, link: Rc<Link>) {
        link.since.set(Instant::now());
        if self.settings.max_idle == 0 || !self.attends(&link) {
            return;
        }
        let crowded_out = {
            let mut idle = self.idle.borrow_mut();
            idle.push_back(link);
            (idle.len() > self.settings.max_idle).then(|| idle.pop_front()).flatten()
        };
        drop(crowded_out);
        self.start_keeping();
    }

    /// Has the keeper woken when something is to be read; false when it is there already.
    fn attends(&self, link: &Link) -> bool {
        // Without a waker the keeper is about to begin, and looks at everything then.
        let waker = self.waker.borrow();
        let Some(waker) = &*waker else { return true };
        match link.line.poll_pulse(&mut Context::from_waker(waker)) {
            Poll::Pending => true,
            Poll::Ready(_) => {
                self.learn(link.age());
                false
            }
        }
    }

    /// Lets go of every idle connection that the endpoint has ended, or talks on unasked.
    fn look(&self, cx: &mut Context<'_>) {
        if !self.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker.replace(Some(cx.waker().clone()));
        }
        self.idle.borrow_mut().retain(|link| {
            let quiet = link.line.poll_pulse(cx).is_pending();
            if !quiet {
                self.learn(link.age());
            }
            quiet
        });
    }

    /// The endpoint closed a connection unannounced that was idle for `age`.
    pub(super) fn learn(&self, age: Duration) {
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

    fn start_keeping(self: &Rc<Self>) {
        let mut keeper = self.keeper.borrow_mut();
        if keeper.is_none() {
            let task = tokio::task::spawn_local(keep(Rc::downgrade(self)));
            *keeper = Some(task.abort_handle());
        }
    }

    /// Closes what has been idle for too long; when to look again, if anything is left.
    fn evict(&self) -> Option<Instant> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|link| !self.expired(link));
        idle.iter().map(|link| link.since.get() + self.lifetime(link)).min()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
    }
}

/// Looks after the idle connections of a pool until there are none when it is time to look for
/// expired ones.
async fn keep(pool: Weak<Pool>) {
    let mut timer = pin!(sleep_until(Instant::now()));
    std::future::poll_fn(|cx| {
        let Some(pool) = pool.upgrade() else { return Poll::Ready(()) };
        pool.look(cx);
        while timer.as_mut().poll(cx).is_ready() {
            let Some(next) = pool.evict() else {
                pool.keeper.take();
                pool.waker.take();
                return Poll::Ready(());
            };
            timer.as_mut().reset(next);
        }
        Poll::Pending
    })
    .await;
}
