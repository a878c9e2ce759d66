//! What an idle connection costs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use super::world::*;
use crate::connection::local::Local;
use crate::connection::seat::Seat;
use crate::connection::wire::{Gulp, Wire};
use crate::connection::{Places, life};
use crate::handover::record;
use crate::telemetry::counters::Counters;

fn pair() -> (UnixStream, OwnedFd) {
    let (client, server) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    (client, server.into())
}

fn local() -> Rc<Local> {
    Local::new(blueprint(1, settings(Vec::new())), Counters::new(), Arc::new(Places::default()), || {})
}

/// Everything beside the future is a socket in the reactor, a seat and a shared pointer.
#[test]
fn the_future_of_a_connection_is_small() {
    block_on(async {
        let (_client, socket) = pair();
        let seat = Seat::take(&local(), None, Arc::from("http"));
        let wire = Wire::new(socket, Vec::new(), Rc::clone(&seat)).unwrap();
        let size = std::mem::size_of_val(&life(seat, wire));
        assert!(size <= 448, "{size} bytes");
    });
    assert!(std::mem::size_of::<Seat>() <= 320, "{} bytes", std::mem::size_of::<Seat>());
}

/// Its future is of the same type, too.
#[test]
fn an_adopted_connection_keeps_nothing_that_an_accepted_one_does_not() {
    block_on(async {
        let (local, listener) = (local(), Arc::<str>::from("http"));
        let record = record::Connection { listener: "http".into(), ..record::Connection::default() };
        let seat = Seat::adopt(&local, &record, Arc::clone(&listener));
        let wire = Wire::new(pair().1, record.unread, Rc::clone(&seat)).unwrap();
        assert!(Arc::ptr_eq(seat.listener(), &listener));
        assert_eq!(wire.unread().capacity(), 0);
    });
}

#[test]
fn a_connection_whose_bytes_are_all_taken_holds_no_buffer() {
    block_on(async {
        let local = local();
        let (mut client, socket) = pair();
        let seat = Seat::take(&local, None, Arc::from("http"));
        let wire = Wire::new(socket, Vec::new(), Rc::clone(&seat)).unwrap();
        for gulp in [Gulp::Small, Gulp::Bulk] {
            std::io::Write::write_all(&mut client, GET.as_bytes()).unwrap();
            let read = std::future::poll_fn(|cx| wire.poll_fill(gulp, cx)).await.unwrap();
            assert_eq!(read, GET.len());
            if gulp == Gulp::Small {
                assert!(wire.unread().capacity() < 2 * GET.len(), "{}", wire.unread().capacity());
            }
            wire.rest();
            assert_eq!(&wire.unread()[..], GET.as_bytes());
            let taken = wire.unread().split();
            wire.rest();
            assert_eq!((taken.len(), wire.unread().capacity()), (GET.len(), 0));
        }
    });
}

/// One that came from elsewhere holds no more than one that began here: its future, and no buffer.
#[test]
fn the_future_of_an_adopted_tunnel_is_small() {
    use crate::connection::tunnel;
    use crate::handover::record;
    use crate::upstream::{GivenUp, Upgraded};

    block_on(async {
        let ((_client, socket), (_endpoint, other)) = (pair(), pair());
        let client = record::Connection { listener: "http".into(), ..record::Connection::default() };
        let seat = Seat::adopt(&local(), &client, Arc::from("http"));
        let record = record::Tunnel {
            client,
            ahead: Vec::new(),
            up: record::Direction::default(),
            down: record::Direction::default(),
            websocket: true,
            idle_ms: None,
            story: record::Story::default(),
            seal: None,
        };
        let wire = Wire::new(socket, Vec::new(), Rc::clone(&seat)).unwrap();
        let endpoint = Upgraded::adopt(GivenUp { socket: other, seal: None, ahead: Vec::new() }).unwrap();
        let size = std::mem::size_of_val(&tunnel::resume(&seat, record, wire, endpoint));
        assert!(size <= 3072, "{size} bytes");
    });
}
