//! HTTP/2 with prior knowledge on one connection.
//!
//! hyper serves; each stream is a task of this thread that ends with its request.
//! Promises: in a drain the client learns by a GOAWAY for all streams that it shall not begin
//! another, one round trip later by a second one which were taken (RFC 9113, section 6.8; h2 sends
//! both); everything taken is answered. A tunnel is one stream among the others (RFC 8441). What windows and streams may hold is bounded.
//! Must not know: what a request is answered with.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::arriving::Arriving;
use super::body::Body;
use super::exchange::{self, Exchange, Gone};
use super::flight::Flight;
use super::local::Stage;
use super::seat::{Eviction, Seat};
use super::wire::Wire;

const STREAMS: u32 = 128;
/// What one client may send ahead of an endpoint that does not read: per stream, and in all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits per stream for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
const FIELDS: u32 = 64 * 1024;

/// After a cut, or with nothing in flight after a GOAWAY, until the connection is dropped.
const LAST_WORDS: Duration = Duration::from_millis(500);
const SILENT_CLIENT: Duration = Duration::from_secs(5);

type Connection = http2::Connection<TokioIo<Wire>, Streams, Streams>;

/// Serves until the connection ends.
pub(super) async fn serve(wire: Wire, seat: &Rc<Seat>) {
    seat.multiplex();
    let streams = Streams { seat: Rc::clone(seat), begun: Rc::default() };
    let mut connection = builder(streams.clone()).serve_connection(TokioIo::new(wire), streams);
    Served { connection: Pin::new(&mut connection), seat, asked: false, patience: None }.await;
}

fn builder(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(FIELDS)
        .enable_connect_protocol();
    builder
}

/// Admits the requests of one connection and runs their streams.
#[derive(Clone)]
struct Streams {
    seat: Rc<Seat>,
    /// The request admitted last; hyper hands over its stream right after.
    begun: Rc<RefCell<Option<Rc<Flight>>>>,
}

impl hyper::service::Service<Request<Incoming>> for Streams {
    type Response = Response<Body>;
    type Error = Gone;
    type Future = Exchange;

    fn call(&self, request: Request<Incoming>) -> Exchange {
        let guard = Flight::admit(&self.seat, &request);
        *self.begun.borrow_mut() = Some(Rc::clone(guard.flight()));
        exchange::begin(guard, request.map(Arriving::Hyper))
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let flight = self.begun.borrow_mut().take();
        tokio::task::spawn_local(Stream { stream: Box::pin(stream), flight });
    }
}

/// A stream that is reset when its request is stopped while the client does not read its answer.
struct Stream<F> {
    stream: Pin<Box<F>>,
    flight: Option<Rc<Flight>>,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(flight) = &self.flight {
            flight.attend(cx);
        }
        let polled = self.stream.as_mut().poll(cx);
        let stopped = self.flight.as_ref().is_some_and(|flight| flight.broke_off());
        if polled.is_pending() && stopped { Poll::Ready(()) } else { polled }
    }
}

/// Drives hyper, and watches for what ends a connection from outside.
struct Served<'a> {
    connection: Pin<&'a mut Connection>,
    seat: &'a Seat,
    /// GOAWAY has been asked for.
    asked: bool,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Future for Served<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.seat.attend(cx);
        let idle = match this.seat.eviction() {
            None => false,
            Some(Eviction::Idle) => true,
            Some(_) => return Poll::Ready(()),
        };
        if (idle || this.seat.local().is_leaving()) && !this.asked {
            this.asked = true;
            this.connection.as_mut().graceful_shutdown();
        }
        if this.connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(this.poll_patience(cx));
        Poll::Ready(())
    }
}

impl Served<'_> {
    /// Ready when a client that does not answer the GOAWAY has been waited for long enough.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let at = match self.seat.local().stage() {
                Stage::Serving => return Poll::Pending,
                Stage::Draining { since, .. } => since.max(self.seat.idle_since()) + SILENT_CLIENT,
                Stage::Cut { since } => since + LAST_WORDS,
            };
            let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
            if patience.deadline() != at.into() {
                patience.as_mut().reset(at.into());
            }
            ready!(patience.as_mut().poll(cx));
            if self.seat.is_idle() || matches!(self.seat.local().stage(), Stage::Cut { .. }) {
                return Poll::Ready(());
            }
            // Requests are in flight: their end begins a new wait.
            if Instant::now() >= at {
                return Poll::Pending;
            }
        }
    }
}
