//! One endpoint: where it is, how busy it is, and its connections.
//!
//! Promises: what is in flight is counted exactly, by a guard that counts down when it is dropped.
//! Must not know: the other endpoints, requests, when to send again.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::dial::dial;
use super::{http1, http2};
use crate::config::settings::{self, Address, Protocol};
use crate::response::{Deadline, Failure};

pub(super) struct Endpoint {
    /// The address as the operator wrote it.
    pub(super) label: Rc<str>,
    address: Address,
    in_flight: Cell<usize>,
    connections: Connections,
}

enum Connections {
    Http1(Rc<http1::Pool>),
    H2c(Rc<http2::Shelf>),
}

/// A connection that a request may be sent on.
pub(super) enum Connection {
    Http1(Rc<http1::Link>),
    H2c(Rc<http2::Link>, Rc<http2::Shelf>),
}

/// What a request asks of the connection it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// It may be sent again when nobody knows what became of it.
    pub(super) repeatable: bool,
    pub(super) with_content: bool,
    /// Only a connection that was never used will do.
    pub(super) fresh: bool,
}

impl Endpoint {
    pub(super) fn new(address: &Address, protocol: Protocol, pool: settings::Pool) -> Rc<Endpoint> {
        let connections = match protocol {
            Protocol::Http1 => Connections::Http1(http1::Pool::new(pool)),
            Protocol::H2c => Connections::H2c(http2::Shelf::new(address.clone(), pool.idle)),
        };
        Rc::new(Endpoint {
            label: address.to_string().into(),
            address: address.clone(),
            in_flight: Cell::new(0),
            connections,
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(super) fn idle(&self) -> usize {
        match &self.connections {
            Connections::Http1(pool) => pool.len(),
            Connections::H2c(shelf) => shelf.idle(),
        }
    }

    /// A kept connection, or a new one within `deadline`.
    pub(super) async fn connect(&self, wish: Wish, deadline: Duration) -> Result<Connection, Failure> {
        if let Some(kept) = self.kept(wish) {
            return Ok(kept);
        }
        match tokio::time::timeout(deadline, self.open()).await {
            Ok(opened) => opened,
            Err(_) => {
                if let Connections::H2c(shelf) = &self.connections {
                    shelf.gave_up_dialling();
                }
                Err(Failure::Late(Deadline::Connect, deadline))
            }
        }
    }

    fn kept(&self, wish: Wish) -> Option<Connection> {
        match &self.connections {
            Connections::Http1(pool) => {
                // On a Unix socket nothing tells apart a request that was read to its end from one
                // that was not, once content has followed it (see `line`); connecting is cheap there.
                let unprovable =
                    wish.with_content && !wish.repeatable && matches!(self.address, Address::Unix(_));
                if wish.fresh || unprovable {
                    return None;
                }
                pool.take(wish.repeatable).map(Connection::Http1)
            }
            // Fresh is what the shelf gives after the stale connection was retired from it.
            Connections::H2c(shelf) => {
                let link = shelf.take(wish.repeatable)?;
                Some(Connection::H2c(link, Rc::clone(shelf)))
            }
        }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        match &self.connections {
            Connections::Http1(pool) => {
                let line = dial(&self.address).await.map_err(|error| undialled(&error))?;
                Ok(Connection::Http1(http1::Link::open(line, pool)))
            }
            Connections::H2c(shelf) => {
                let link = shelf.open().await?;
                Ok(Connection::H2c(link, Rc::clone(shelf)))
            }
        }
    }
}

/// Running out of descriptors is no fault of the endpoint.
pub(super) fn undialled(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failure::NoDescriptor,
        _ => unreachable(error),
    }
}

/// No connection was made; the endpoint is named beside the failure.
pub(super) fn unreachable(error: &dyn std::error::Error) -> Failure {
    let cause = error.to_string();
    let cause = cause.split(" (os error").next().unwrap_or_default();
    Failure::Unreachable(cause.to_lowercase())
}

/// One request in flight at an endpoint.
pub(super) struct Occupancy {
    endpoint: Rc<Endpoint>,
    stream: Option<Rc<http2::Link>>,
}

impl Occupancy {
    pub(super) fn new(endpoint: &Rc<Endpoint>) -> Occupancy {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Occupancy { endpoint: Rc::clone(endpoint), stream: None }
    }

    /// Counts on the shared connection too, so that it is not taken for unused.
    pub(super) fn on(&mut self, connection: &Connection) {
        if let Connection::H2c(link, _) = connection {
            link.begun();
            self.stream = Some(Rc::clone(link));
        }
    }
}

impl Drop for Occupancy {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
        if let Some(link) = self.stream.take() {
            link.ended();
        }
    }
}
