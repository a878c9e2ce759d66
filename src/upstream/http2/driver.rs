//! What moves a connection, and asks whether the endpoint's machine is still there.
//!
//! Promises: while requests wait on it, a connection on which nothing has come for [`PING`] is asked by a
//! PING (RFC 9113, section 6.7), and ends when nothing comes for as long again. Without requests it has
//! no timer. Must not know: requests and answers.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::upstream::line::Line;

pub(super) const PING: Duration = Duration::from_secs(10);

pub(super) struct Driver {
    connection: Connection<Line, Bytes>,
    pings: Option<PingPong>,
    /// How long nothing may come.
    patience: Duration,
    line: Line,
    /// Requests that have not ended.
    streams: Rc<Cell<usize>>,
    /// While there are any.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes received when it was looked last, and when the last of them were seen.
    received: u64,
    heard: Instant,
    asked: bool,
}

impl Driver {
    pub(super) fn new(
        mut connection: Connection<Line, Bytes>,
        line: Line,
        streams: Rc<Cell<usize>>,
        patience: Duration,
    ) -> Driver {
        let pings = connection.ping_pong();
        let heard = Instant::now();
        Driver { connection, pings, patience, line, streams, timer: None, received: 0, heard, asked: false }
    }

    /// Ready when the endpoint is not there any more.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.streams.get() == 0 {
            self.timer = None;
            return Poll::Pending;
        }
        let received = self.line.received();
        if received != self.received || self.timer.is_none() {
            self.received = received;
            self.heard = Instant::now();
            self.asked = false;
        }
        loop {
            let due = self.heard + if self.asked { 2 * self.patience } else { self.patience };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if due > Instant::now() {
                timer.as_mut().reset(due);
            } else if self.asked {
                return Poll::Ready(());
            } else {
                self.ask(cx);
            }
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        self.asked = true;
        if let Some(pings) = &mut self.pings {
            // The answer to the one before makes room for this one. Anything that comes will do for an
            // answer, so one that is still on its way is no error.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Its error is told to its requests.
        if Pin::new(&mut this.connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let asked = this.asked;
        if this.poll_silence(cx).is_ready() {
            tracing::debug!("an endpoint of HTTP/2 does not answer a PING, closing its connection");
            return Poll::Ready(());
        }
        if this.asked && !asked {
            // Sends it.
            return Pin::new(&mut this.connection).poll(cx).map(drop);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::upstream::line::Socket;

    const SHORT: Duration = Duration::from_millis(10);

    /// A connection on which requests wait, and the endpoint's end of it.
    async fn waiting() -> (Line, Driver, h2::client::SendRequest<Bytes>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let line = Line::new(Socket::Tcp(socket));
        let (sender, connection) = h2::client::handshake(line.clone()).await.unwrap();
        let driver = Driver::new(connection, line.clone(), Rc::new(Cell::new(1)), SHORT);
        (line, driver, sender, peer)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guarded = async { tokio::time::timeout(Duration::from_secs(60), test).await };
        runtime.block_on(guarded).expect("the test hangs");
    }

    #[test]
    fn an_endpoint_that_does_not_answer_a_ping_is_given_up() {
        run(async {
            let (line, driver, _sender, peer) = waiting().await;
            driver.await;
            assert_eq!(line.received(), 0);
            drop(peer);
        });
    }

    #[test]
    fn an_endpoint_that_answers_pings_is_waited_for() {
        run(async {
            let (line, mut driver, _sender, peer) = waiting().await;
            let (mut asked, mut received) = (0, 0);
            let endpoint = async {
                let mut connection = h2::server::handshake(peer).await.unwrap();
                while connection.accept().await.is_some() {}
            };
            let mut endpoint = Box::pin(endpoint);
            std::future::poll_fn(|cx| {
                assert!(endpoint.as_mut().poll(cx).is_pending());
                // The endpoint runs first; a machine that stops this test for longer gives it up.
                let given_up = Pin::new(&mut driver).poll(cx).is_ready();
                if line.received() > received {
                    (asked, received) = (asked + 1, line.received());
                }
                if asked > 4 || given_up { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(received > 0);
        });
    }
}
