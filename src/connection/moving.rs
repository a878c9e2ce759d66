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

use super::life;
use super::local::Local;
use super::seat::Seat;
use super::wire::{Kept, Wire};
use crate::handover::record::{self, Parcel, Record};

/// The connection goes on in another gateway. It leaves its seat after that, so that a thread that is empty
/// has handed over everything.
pub(super) fn depart(wire: Wire, seat: &Seat) {
    match wire.give_up() {
        Ok((socket, unread)) => {
            seat.moved();
            let record = Record::Connection(seat.record(unread));
            seat.local().depart(Parcel { record, fds: vec![socket] });
        }
        Err(error) => tracing::error!("cannot hand over a connection, closing it: {error}"),
    }
}

/// Serves on what another gateway had, or what has come back. `listener` is called what its record says.
pub(crate) fn adopt(local: &Rc<Local>, parcel: Parcel, listener: Arc<str>, kept: Kept) {
    match parcel.record {
        Record::Connection(client) => adopt_connection(local, client, parcel.fds, listener, kept),
        Record::Tunnel(_) | Record::Ledger(_) | Record::Unknown => {
            tracing::error!("cannot adopt a connection yet, closing it");
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
    let unread = std::mem::take(&mut client.unread);
    match only(fds).and_then(|socket| revive(socket, unread, &seat)) {
        Ok(wire) => drop(tokio::task::spawn_local(life(seat, wire))),
        Err(error) => tracing::error!("cannot adopt a connection, closing it: {error}"),
    }
}

fn only(fds: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    let [socket] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|fds| io::Error::other(format!("it came with {} descriptors", fds.len())))?;
    Ok(socket)
}

/// The client's socket in this thread's reactor.
fn revive(socket: OwnedFd, unread: Vec<u8>, seat: &Rc<Seat>) -> io::Result<Wire> {
    // Reading from one that waits would stop the whole thread.
    rustix::io::ioctl_fionbio(&socket, true)?;
    Wire::new(socket, unread, Rc::clone(seat))
}
