//! One endpoint: where it is, how busy it is, and its connections.
//!
//! Promises: what is in flight is counted exactly, by a guard that counts down when it is dropped.
//! Must not know: the other endpoints, requests, when to send again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::board::{Board, Lineup, Row};
use super::breaker::Pass;
use super::dial::Number;
use super::http2::Opened;
use super::{http1, http2};
use crate::config::settings::{self, Protocol};
use crate::response::{Deadline, Failure};
use crate::tls::Outward;
use crate::tls::handshake::Protocol as Inside;

pub(super) struct Endpoint {
    /// What all threads know of it.
    row: Arc<Row>,
    board: Arc<Board>,
    /// As logs name it.
    pub(super) label: Rc<str>,
    number: Number,
    in_flight: Cell<usize>,
    protocol: Protocol,
    /// Both are empty where the endpoint does not speak so.
    pool: Rc<http1::Pool>,
    shelf: Rc<http2::Shelf>,
    /// What was agreed on last, where that is not known from the protocol.
    chose_http1: Cell<bool>,
}

/// A connection that a request may be sent on.
pub(super) enum Connection {
    Http1(Rc<http1::Link>),
    Http2(Rc<http2::Link>, Rc<http2::Shelf>),
}

/// What a request asks of the connection it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// It may be sent again when nobody knows what became of it.
    pub(super) repeatable: bool,
    pub(super) with_content: bool,
    /// Only a connection that was never used will do.
    pub(super) fresh: bool,
    /// It asks for another protocol on its connection (RFC 9110, section 7.8).
    pub(super) upgrades: bool,
}

impl Endpoint {
    pub(super) fn new(
        row: &Arc<Row>,
        lineup: &Lineup,
        outward: Option<&(Arc<ClientConfig>, Arc<Outward>)>,
    ) -> Rc<Endpoint> {
        let settings::Service { protocol, pool, .. } = **lineup.settings();
        let number = Number::new(row.address(), row.written(), outward);
        Rc::new(Endpoint {
            row: Arc::clone(row),
            board: Arc::clone(lineup.board()),
            label: (**row.label()).into(),
            in_flight: Cell::new(0),
            protocol,
            pool: http1::Pool::new(pool),
            shelf: http2::Shelf::new(number.clone(), protocol, pool.idle),
            number,
            chose_http1: Cell::new(false),
        })
    }

    pub(super) fn row(&self) -> &Arc<Row> {
        &self.row
    }

    /// Of this thread.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(super) fn idle(&self) -> usize {
        self.pool.len() + self.shelf.idle()
    }

    /// A kept connection, or a new one within `deadline`.
    pub(super) async fn connect(&self, wish: Wish, deadline: Duration) -> Result<Connection, Failure> {
        if let Some(kept) = self.kept(wish) {
            return Ok(kept);
        }
        match tokio::time::timeout(deadline, self.open(wish)).await {
            Ok(opened) => opened,
            Err(_) => {
                self.shelf.gave_up_dialling();
                Err(Failure::Late(Deadline::Connect, deadline))
            }
        }
    }

    fn kept(&self, wish: Wish) -> Option<Connection> {
        // Fresh is what the shelf gives after the stale connection was retired from it.
        if !self.needs_http1(wish)
            && let Some(link) = self.shelf.take(wish.repeatable)
        {
            return Some(Connection::Http2(link, Rc::clone(&self.shelf)));
        }
        // On a Unix socket nothing tells apart a request that was read to its end from one
        // that was not, once content has followed it (see `line`); connecting is cheap there.
        let unprovable = wish.with_content && !wish.repeatable && self.number.is_unix();
        if wish.fresh || unprovable {
            return None;
        }
        self.pool.take(wish.repeatable).map(Connection::Http1)
    }

    async fn open(&self, wish: Wish) -> Result<Connection, Failure> {
        if !self.needs_http1(wish) && !self.chose_http1.get() {
            match self.shelf.open().await? {
                Opened::Http2(link) => return Ok(Connection::Http2(link, Rc::clone(&self.shelf))),
                Opened::Http1(line) => {
                    self.chose_http1.set(true);
                    // There was one dial for all who waited for it, and it is of use to one of them.
                    if let Some(line) = line.take() {
                        return Ok(Connection::Http1(http1::Link::open(line, &self.pool)));
                    }
                }
            }
        }
        let both = [Inside::Http2, Inside::Http1];
        let inside = if self.needs_http1(wish) { &both[1..] } else { &both[..] };
        let (line, http2) = self.number.dial(self.protocol, inside).await?;
        if !http2 {
            return Ok(Connection::Http1(http1::Link::open(line, &self.pool)));
        }
        self.chose_http1.set(false);
        let link = self.shelf.put(line).await?;
        Ok(Connection::Http2(link, Rc::clone(&self.shelf)))
    }

    /// Whether HTTP/2 will not do: one of its streams can carry no other protocol that an endpoint of HTTP/1.1 would
    /// speak, so an upgrade is asked for on a connection of its own kind.
    fn needs_http1(&self, wish: Wish) -> bool {
        match self.protocol {
            Protocol::Http1 => true,
            Protocol::H2c => false,
            Protocol::Https => wish.upgrades,
        }
    }
}

/// One request in flight at an endpoint.
pub(super) struct Occupancy {
    endpoint: Rc<Endpoint>,
    stream: Option<Rc<http2::Link>>,
    /// Of the breaker, until it is told what came of it.
    pass: Option<Pass>,
}

impl Occupancy {
    pub(super) fn new(endpoint: &Rc<Endpoint>, pass: Option<Pass>) -> Occupancy {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        endpoint.row.enter();
        Occupancy { endpoint: Rc::clone(endpoint), stream: None, pass }
    }

    /// What came of it, as far as that says anything of the endpoint.
    pub(super) fn judged(&mut self, failed: Option<bool>) {
        if let Some(pass) = self.pass.take() {
            self.endpoint.board.ended(Some(&self.endpoint.row), pass, failed);
        }
    }

    /// Counts on the shared connection too, so that it is not taken for unused.
    pub(super) fn on(&mut self, connection: &Connection) {
        if let Connection::Http2(link, _) = connection {
            link.begun();
            self.stream = Some(Rc::clone(link));
        }
    }
}

impl Drop for Occupancy {
    fn drop(&mut self) {
        self.judged(None);
        self.endpoint.row.leave();
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
        if let Some(link) = self.stream.take() {
            link.ended();
        }
    }
}
