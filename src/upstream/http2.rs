//! HTTP/2 with prior knowledge (RFC 9113, section 3.3): one connection to an endpoint, shared by its
//! requests.
//!
//! Promises: at most one connection is open for new requests, and one being dialled; all who need it
//! wait for the same dial. A connection that the endpoint closes, or takes no more requests on
//! (GOAWAY), is replaced by the next request; what is in flight on it ends in peace. Unused for the
//! pool's idle time, it is closed. Must not know: how to choose an endpoint, deadlines, when to send
//! again.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use http::request::Parts;
use http::{Method, Request};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Broken, Reply};
use super::content::Content;
use super::dial::dial;
use super::endpoint::{undialled, unreachable};
use super::incoming::Incoming;
use super::line::{Line, Pulse};
use super::upgraded::Upgraded;
use crate::config::settings::Address;
use crate::response::Failure;

/// What one slow reader may hold back of an answer.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What all slow readers together may hold back before they stall the others: 128 of them.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const HEAD: u32 = 64 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// A connection to a machine that vanished is noticed after twice this, while requests wait on it.
const PING: Duration = Duration::from_secs(10);

/// One connection.
pub(super) struct Link {
    sender: SendRequest<Content>,
    pub(super) line: Line,
    submitted: Cell<u32>,
    /// Requests that have not ended.
    streams: Cell<usize>,
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
        let handshake = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(line.clone()));
        let (sender, connection) = handshake.await.map_err(|error| unreachable(&error))?;
        tokio::task::spawn_local(connection.map(drop));
        let now = Instant::now();
        Ok(Rc::new(Link {
            sender,
            line,
            submitted: Cell::new(0),
            streams: Cell::new(0),
            used: Cell::new(now),
        }))
    }

    /// Whether it has carried a request before the one that was submitted last.
    pub(super) fn reused(&self) -> bool {
        self.submitted.get() > 0
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) fn ask(
        &self,
        head: &Parts,
        content: Content,
    ) -> impl Future<Output = Result<Reply, Broken>> + use<> {
        self.submitted.set(self.submitted.get().saturating_add(1));
        let connect = head.method == Method::CONNECT;
        let answer = self.sender.clone().try_send_request(Request::from_parts(head.clone(), content));
        async move {
            let mut response = answer.await.map_err(|mut error| {
                // What hyper gives back was not written.
                let unsent = error.take_message().is_some();
                broken(&error.into_error(), unsent)
            })?;
            let upgraded = if connect && response.status().is_success() {
                let stream = hyper::upgrade::on(&mut response).await;
                Some(Upgraded::http2(stream.map_err(|error| Broken::Closed(told(&error)))?))
            } else {
                None
            };
            Ok(Reply { response: response.map(Incoming::http2), upgraded })
        }
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
        !self.sender.is_closed() && self.line.usable()
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
        if link.is_open() && (repeatable || link.line.pulse() != Pulse::Dead) {
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

/// Spawns hyper's tasks on this thread.
#[derive(Clone)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

fn broken(error: &hyper::Error, unsent: bool) -> Broken {
    if error.is_parse() {
        Broken::Failure(Failure::BadAnswer(told(error)))
    } else if unsent || refused(error) {
        Broken::Failure(Failure::Unsent(told(error)))
    } else {
        Broken::Closed(told(error))
    }
}

/// What an error of an answer's body means.
pub(super) fn failure_of(error: &hyper::Error) -> Failure {
    if error.is_parse() { Failure::BadAnswer(told(error)) } else { Failure::Truncated(told(error)) }
}

/// Whether the endpoint says that it has not acted on the request: REFUSED_STREAM, or a GOAWAY whose
/// last stream is an earlier one (RFC 9113, section 8.7). h2 gives a GOAWAY of the endpoint to those
/// streams only; streams that may have been processed end with an I/O error.
fn refused(error: &hyper::Error) -> bool {
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
        return false;
    };
    cause.is_remote()
        && (cause.is_go_away() || cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The error with its causes.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
