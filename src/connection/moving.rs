//! Connections that go to another gateway, and those that come from one.
//!
//! ```text
//!   wire, seat ──depart──▶ Parcel ┄┄┄▶ Parcel ──adopt──▶ seat, wire, served on
//! ```
//! Promises: what was read there is read first here, once; nobody reads from a socket that has departed. Who
//! departs counts as moved, who is adopted as adopted: neither as closed or accepted. Whatever cannot be served
//! is closed and told.
//! Must not know: how parcels travel, when to depart.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::local::Local;
use super::seat::Seat;
use super::wire::{Kept, Wire};
use super::{contained, life, tunnel};
use crate::handover::record::{self, Parcel, Record};
use crate::tls::{Channel, Role};
use crate::upstream::{GivenUp, Upgraded};

/// The connection goes on in another gateway. It leaves its seat after that, so that a thread that is empty
/// has handed over everything.
pub(super) fn depart(wire: Wire, seat: &Seat) {
    match wire.give_up() {
        Ok((socket, unread, seal)) => {
            seat.moved();
            let record = Record::Connection(seat.record(unread, seal));
            seat.local().depart(Parcel { record, fds: vec![socket] });
        }
        Err(error) => tracing::error!("cannot hand over a connection, closing it: {error}"),
    }
}

/// Serves on what another gateway had, or what has come back. `listener` is called what its record says.
pub(crate) fn adopt(local: &Rc<Local>, parcel: Parcel, listener: Arc<str>, kept: Kept) {
    match parcel.record {
        Record::Connection(client) => adopt_connection(local, client, parcel.fds, listener, kept),
        Record::Tunnel(tunnel) => adopt_tunnel(local, *tunnel, parcel.fds, listener, kept),
        Record::Ledger(_) | Record::Tickets(_) | Record::Health(_) | Record::Unknown => {
            tracing::error!("cannot adopt what another version gave away, closing it");
            drop(kept);
            local.depart_in_vain();
        }
    }
}

fn adopt_connection(
    local: &Rc<Local>,
    mut client: record::Connection,
    fds: Vec<OwnedFd>,
    listener: Arc<str>,
    kept: Kept,
) {
    let seat = Seat::adopt(local, &client, listener);
    seat.keep(Some(kept));
    let (unread, seal) = (std::mem::take(&mut client.unread), client.seal.take());
    if client.greeting {
        seat.awaits_handshake(local.generation().blueprint.settings.tls.handshake_time);
    }
    if client.header {
        seat.awaits_header();
    }
    match exactly(fds).and_then(|[socket]| revive(socket, unread, seal.as_deref(), &seat)) {
        Ok(wire) => drop(tokio::task::spawn_local(life(seat, wire))),
        Err(error) => tracing::error!("cannot adopt a connection, closing it: {error}"),
    }
}

fn adopt_tunnel(
    local: &Rc<Local>,
    mut record: record::Tunnel,
    fds: Vec<OwnedFd>,
    listener: Arc<str>,
    kept: Kept,
) {
    let seat = Seat::adopt(local, &record.client, listener);
    seat.keep(Some(kept));
    let (unread, sealed) = (std::mem::take(&mut record.client.unread), record.client.seal.take());
    let (ahead, seal) = (std::mem::take(&mut record.ahead), record.seal.take());
    let sides = exactly(fds).and_then(|[client, socket]| {
        Ok((
            revive(client, unread, sealed.as_deref(), &seat)?,
            Upgraded::adopt(GivenUp { socket, seal, ahead })?,
        ))
    });
    match sides {
        Ok((client, endpoint)) => {
            let life = async move { contained(tunnel::resume(&seat, record, client, endpoint)).await };
            tokio::task::spawn_local(life);
        }
        Err(error) => tracing::error!("cannot adopt a tunnel, closing it: {error}"),
    }
}

fn exactly<const COUNT: usize>(fds: Vec<OwnedFd>) -> io::Result<[OwnedFd; COUNT]> {
    fds.try_into()
        .map_err(|fds: Vec<OwnedFd>| io::Error::other(format!("it came with {} descriptors", fds.len())))
}

/// The client's socket in this thread's reactor, with TLS around it if there was any.
fn revive(
    socket: OwnedFd,
    unread: Vec<u8>,
    seal: Option<&record::Seal>,
    seat: &Rc<Seat>,
) -> io::Result<Wire> {
    // Reading from one that waits would stop the whole thread.
    rustix::io::ioctl_fionbio(&socket, true)?;
    let wire = Wire::new(socket, unread, Rc::clone(seat))?;
    match seal.map(|seal| Channel::adopt(Role::Server, seal)) {
        None => Ok(wire),
        Some(Some(channel)) => wire.seal(channel),
        Some(None) => Err(io::Error::other("its TLS is not spoken by this version")),
    }
}

/// How long ago that was, as records say it.
pub(super) fn age(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The moment that is so long ago; a clock that does not reach back so far makes it later.
pub(super) fn ago(age_ms: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(age_ms)).unwrap_or(now)
}
