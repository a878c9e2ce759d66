//! HTTP/2 with prior knowledge (RFC 9113, section 3.3): one connection to an endpoint, shared by its
//! requests.
//!
//! ```text
//!   Shelf ──▶ Link ──▶ Exchange, one for each stream ─▶ h2 ─▶ Driver ─▶ line
//! ```
//! Promises: at most one connection is open for new requests, and one being dialled; all who need it
//! wait for the same dial. A connection that the endpoint closes, or takes no more requests on
//! (GOAWAY), is replaced by the next request; what is in flight on it ends in peace. Unused for the
//! pool's idle time, it is closed. Must not know: how to choose an endpoint, deadlines, when to send
//! again.

mod carried;
mod driver;
mod exchange;
mod sending;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use h2::client::{Builder, SendRequest};
use http::request::Parts;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

pub(super) use self::carried::Carried;
pub(super) use self::exchange::{Exchange, prepare};

use self::driver::{Driver, PING};
use super::Asker;
use super::attempt::{Broken, Reply};
use super::content::Content;
use super::dial::dial;
use super::endpoint::{undialled, unreachable};
use super::line::Line;
use crate::config::settings::Address;
use crate::response::Failure;

/// What one slow reader may hold back of an answer.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What all slow readers together may hold back before they stall the others: 128 of them.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const HEAD: u32 = 64 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Requests before the endpoint has said how many it takes at once.
const STREAMS: usize = 100;

/// One connection.
pub(super) struct Link {
    sender: RefCell<SendRequest<Bytes>>,
    pub(super) line: Line,
    submitted: Cell<u32>,
    /// Requests that have not ended.
    streams: Rc<Cell<usize>>,
    used: Cell<Instant>,
}

/// The connection to one endpoint.
pub(super) struct Shelf {
    address: Address,
    idle: Duration,
    current: RefCell<Option<Rc<Link>>>,
    /// Only as long as somebody waits for it: a dial that nobody drives would be found half done.
    dialling: RefCell<Option<WeakShared<LocalBoxFuture<'static, Dialled>>>>,
    sweeper: RefCell<Option<AbortHandle>>,
}

type Dialled = Result<Rc<Link>, Failure>;
type Dialling = Shared<LocalBoxFuture<'static, Dialled>>;

impl Link {
    async fn open(address: Address) -> Result<Rc<Link>, Failure> {
        let line = dial(&address).await.map_err(|error| undialled(&error))?;
        let (sender, connection) =
            builder().handshake(line.clone()).await.map_err(|error| unreachable(&error))?;
        let streams = Rc::<Cell<usize>>::default();
        tokio::task::spawn_local(Driver::new(connection, line.clone(), Rc::clone(&streams), PING));
        Ok(Rc::new(Link {
            sender: RefCell::new(sender),
            line,
            submitted: Cell::new(0),
            streams,
            used: Cell::new(Instant::now()),
        }))
    }

    /// Whether it has carried a request before the one that was submitted last.
    pub(super) fn reused(&self) -> bool {
        self.submitted.get() > 0
    }

    /// Sends a request and waits for the head of its answer. `idle` bounds how long content is held back
    /// for the endpoint's 100.
    pub(super) async fn ask(
        &self,
        head: &Parts,
        content: Content,
        idle: Option<Duration>,
        asker: &dyn Asker,
    ) -> Result<Reply, Broken> {
        self.submitted.set(self.submitted.get().saturating_add(1));
        // h2 lets one handle wait when there are too many streams; with one each, they wait in h2.
        let sender = self.sender.borrow().clone();
        Exchange::ask(sender, head, content, idle, asker).await
    }

    pub(super) fn begun(&self) {
        self.streams.set(self.streams.get() + 1);
        self.used.set(Instant::now());
    }

    pub(super) fn ended(&self) {
        self.streams.set(self.streams.get() - 1);
        self.used.set(Instant::now());
    }

    fn is_open(&self) -> bool {
        // It has nothing to wait for: only whether the connection takes requests is said.
        let ready = self.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(ready, Poll::Ready(Err(_))) && self.line.usable()
    }
}

impl Shelf {
    pub(super) fn new(address: Address, idle: Duration) -> Rc<Shelf> {
        Rc::new(Shelf {
            address,
            idle,
            current: RefCell::new(None),
            dialling: RefCell::new(None),
            sweeper: RefCell::new(None),
        })
    }

    /// The open connection, if there is one and (for a request that may not be sent twice) its socket
    /// says that it is alive.
    pub(super) fn take(&self, repeatable: bool) -> Option<Rc<Link>> {
        let mut current = self.current.borrow_mut();
        let link = current.as_ref()?;
        if link.is_open() && (repeatable || !link.line.is_dead()) {
            return Some(Rc::clone(link));
        }
        current.take();
        None
    }

    /// A new connection, shared by all who ask while it is dialled.
    pub(super) async fn open(self: &Rc<Self>) -> Result<Rc<Link>, Failure> {
        let dialling = self.dial();
        let opened = dialling.clone().await;
        let mut slot = self.dialling.borrow_mut();
        if slot.as_ref().and_then(WeakShared::upgrade).is_some_and(|other| other.ptr_eq(&dialling)) {
            slot.take();
            if let Ok(link) = &opened {
                *self.current.borrow_mut() = Some(Rc::clone(link));
                self.start_sweeping();
            }
        }
        opened
    }

    /// The dial that others wait for, or a new one.
    fn dial(&self) -> Dialling {
        let mut slot = self.dialling.borrow_mut();
        slot.as_ref().and_then(WeakShared::upgrade).unwrap_or_else(|| {
            let dialling = Link::open(self.address.clone()).boxed_local().shared();
            *slot = dialling.downgrade();
            dialling
        })
    }

    /// No more requests on `link`.
    pub(super) fn retire(&self, link: &Rc<Link>) {
        self.current.borrow_mut().take_if(|current| Rc::ptr_eq(current, link));
    }

    /// Who waited for the dial does not wait any longer: the next one dials anew.
    pub(super) fn gave_up_dialling(&self) {
        self.dialling.borrow_mut().take();
    }

    /// How many connections are unused.
    pub(super) fn idle(&self) -> usize {
        usize::from(self.current.borrow().as_ref().is_some_and(|link| link.streams.get() == 0))
    }

    fn start_sweeping(self: &Rc<Self>) {
        let mut sweeper = self.sweeper.borrow_mut();
        if sweeper.is_none() {
            let task = tokio::task::spawn_local(sweep(Rc::downgrade(self)));
            *sweeper = Some(task.abort_handle());
        }
    }

    /// Closes the connection when it was not used for too long; when to look again.
    fn evict(&self) -> Option<Instant> {
        let mut current = self.current.borrow_mut();
        let link = current.as_ref()?;
        let now = Instant::now();
        let due = link.used.get() + self.idle;
        if !link.is_open() || (link.streams.get() == 0 && due <= now) {
            current.take();
            return None;
        }
        Some(if link.streams.get() == 0 { due } else { now + self.idle })
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.take() {
            sweeper.abort();
        }
    }
}

async fn sweep(shelf: Weak<Shelf>) {
    while let Some(alive) = shelf.upgrade() {
        let Some(next) = alive.evict() else {
            alive.sweeper.take();
            return;
        };
        drop(alive);
        sleep_until(next).await;
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(STREAMS)
        // h2 never forgives a malformed answer, so that a connection would end after a thousand.
        .max_local_error_reset_streams(None)
        .enable_push(false);
    builder
}
