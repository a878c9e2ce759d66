//! PROXY headers: whom they name is the client, for everything that depends on who it is.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::version;

use super::tls::{connect, move_over, secure};
use super::world::*;
use crate::config::settings::{Network, Settings};
use crate::handover::record::{Connection, Parcel, Record};

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb\x04\0\0";

fn block(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').unwrap();
    Network::Block { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

/// Whoever comes from these has a header in front.
fn introduced(mut settings: Settings, sources: &[Network]) -> Settings {
    settings.listeners[0].proxy = sources.to_vec();
    settings
}

fn here(settings: Settings) -> Settings {
    introduced(settings, &[block("127.0.0.0/8")])
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn record(parcel: &Parcel) -> &Connection {
    let Record::Connection(connection) = &parcel.record else { panic!("{parcel:?}") };
    connection
}

#[test]
fn the_client_is_whom_the_header_names_and_that_one_is_trusted_or_not() {
    const CLAIM: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    for (trusted, told) in [
        ("127.0.0.0/8", "x-forwarded-for: 192.0.2.7\r\n"),
        ("192.0.2.0/24", "x-forwarded-for: 203.0.113.9, 192.0.2.7\r\n"),
    ] {
        let origin = Origin::start();
        let mut settings = here(only(&origin));
        settings.trusted_proxies = vec![block(trusted)];
        let gateway = gateway(settings);
        let mut client = gateway.connect();
        client.send([BINARY, CLAIM.as_bytes()].concat());
        let (mut endpoint, head) = origin.request();
        assert!(head.contains(told), "{head}");
        endpoint.send(OK);
        assert_eq!(client.answer().1, "ok");
        drop(client);
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
}

#[test]
fn a_client_has_as_many_connections_as_it_may_whoever_brings_them() {
    let mut settings = here(answering("hello"));
    settings.limits.connections_per_address = Some(1);
    let gateway = gateway(settings);
    // Before they have said whose they are they count for nobody.
    let mut clients: Vec<Peer> = (0..3).map(|_| gateway.connect()).collect();
    gateway.until(|totals| totals.connections_open == 3);
    for (client, name) in clients.iter_mut().zip(["192.0.2.1", "192.0.2.2"]) {
        client.send(format!("PROXY TCP4 {name} 198.51.100.1 4711 443\r\n{GET}"));
        assert_eq!(client.answer().1, "hello");
    }
    clients[2].send(format!("PROXY TCP4 192.0.2.2 198.51.100.1 4711 443\r\n{GET}"));
    assert_eq!(clients[2].ended(), End::Reset);
    assert_eq!(
        gateway.until(|totals| totals.connections_open == 2).limits["limits.connections-per-address"],
        1
    );
    // One that is gone makes room, and the load balancer's own count for itself.
    clients.truncate(1);
    gateway.until(|totals| totals.connections_open == 1);
    for header in ["PROXY TCP4 192.0.2.2 198.51.100.1 4711 443\r\n", "PROXY UNKNOWN\r\n"] {
        let mut client = gateway.ask(&format!("{header}{GET}"));
        assert_eq!(client.answer().1, "hello");
        clients.push(client);
    }
    assert_eq!(gateway.ask(&format!("PROXY UNKNOWN\r\n{GET}")).ended(), End::Reset);
    drop(clients);
    gateway.drain(AT_ONCE);
    gateway.finish();
}

#[test]
fn a_header_moves_wherever_it_is_cut() {
    for header in [LINE.as_bytes(), BINARY] {
        let gateways = [gateway(here(answering("0"))), gateway(answering("1"))];
        let mut clients: Vec<Peer> = (0..header.len()).map(|_| gateways[0].connect()).collect();
        clients.iter_mut().zip(0..).for_each(|(client, at)| client.send(&header[..at]));
        gateways[0].until(|totals| totals.connections_open == header.len() as u64);
        let moved = move_over(&gateways[0], &gateways[1]);
        assert_eq!(moved.len(), header.len());
        for parcel in &moved {
            let record = record(parcel);
            assert!(record.header && !record.greeting && header.starts_with(&record.unread), "{record:?}");
            assert_eq!(record.address, address("127.0.0.1"));
        }
        // The other gateway wants headers from nobody; but these were to have one.
        for (client, at) in clients.iter_mut().zip(0..) {
            client.send([&header[at..], GET.as_bytes()].concat());
            assert_eq!(client.answer().1, "1");
        }
        for parcel in &move_over(&gateways[1], &gateways[0]) {
            let record = record(parcel);
            assert_eq!((record.header, record.address), (false, address("192.0.2.7")));
        }
        // Here they would be, if they were new.
        for client in &mut clients {
            client.send(GET);
            assert_eq!(client.answer().1, "0");
        }
        drop(clients);
        for gateway in gateways {
            gateway.drain(AT_ONCE);
            gateway.finish();
        }
    }
}

#[test]
fn a_header_in_front_of_a_handshake_moves_too() {
    let gateways = [gateway(secure(here(answering("0")))), gateway(secure(answering("1")))];
    for at in [0, 5, 20, LINE.len()] {
        let mut client = connect(&gateways[0], &version::TLS13);
        client.within().sock.write_all(&LINE.as_bytes()[..at]).unwrap();
        gateways[0].until(|totals| totals.connections_open == 1);
        let moved = move_over(&gateways[0], &gateways[1]);
        let record = record(&moved[0]);
        assert!(record.greeting && record.seal.is_none(), "{record:?}");
        client.within().sock.write_all(&LINE.as_bytes()[at..]).unwrap();
        client.send(GET);
        assert_eq!(client.answer().1, "1");
    }
    for gateway in gateways {
        gateway.drain(AT_ONCE);
        assert_eq!(gateway.finish().handshakes_refused, 0);
    }
}

#[test]
fn a_unix_socket_that_is_trusted_names_its_clients_and_their_connections_move() {
    let gateways = [
        Gateway::start(1, introduced(answering("0"), &[Network::Unix]), true),
        Gateway::start(1, answering("1"), false),
    ];
    let mut named = gateways[0].connect_unix();
    named.send(format!("{LINE}{GET}"));
    assert_eq!(named.answer().1, "0");
    let mut local = gateways[0].connect_unix();
    local.send(format!("PROXY UNKNOWN\r\n{GET}"));
    assert_eq!(local.answer().1, "0");
    // A network that is not in the list: no header.
    assert_eq!(gateways[0].ask(GET).answer().1, "0");
    assert!(gateways[0].ask(&format!("{LINE}{GET}")).answer().0.starts_with("http/1.1 400 "));
    gateways[0].until(|totals| totals.connections_open == 2);
    let mut told: Vec<_> =
        move_over(&gateways[0], &gateways[1]).iter().map(|one| record(one).address).collect();
    told.sort();
    assert_eq!(told, [None, address("192.0.2.7")]);
    for client in [&mut named, &mut local] {
        client.send(GET);
        assert_eq!(client.answer().1, "1");
    }
    drop((named, local));
    for gateway in gateways {
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
}

#[test]
fn a_header_has_the_time_of_a_head_or_of_the_handshake_behind_it() {
    for (settings, time) in [(answering("never"), 30), (secure(answering("never")), 10)] {
        let mut settings = here(settings);
        settings.limits.head_time = Duration::from_secs(30);
        let gateway = gateway(settings);
        let (mut silent, mut half) = (gateway.connect(), gateway.ask(&LINE[..9]));
        gateway.until(|totals| totals.connections_open == 2);
        gateway.later(Duration::from_secs(time - 1));
        assert_eq!(gateway.threads.totals().connections_open, 2);
        gateway.later(Duration::from_secs(time + 1));
        assert_eq!(silent.ended(), End::Closed);
        half.rest();
        gateway.drain(AT_ONCE);
        let totals = gateway.finish();
        assert_eq!((totals.handshakes_refused, totals.admitted), (2, 0));
    }
}

#[test]
fn a_head_has_its_own_time_behind_a_header() {
    let mut settings = answering("never");
    settings.limits.head_time = Duration::from_secs(30);
    let gateway = gateway(settings);
    let (client, socket) = UnixStream::pair().unwrap();
    let record = Connection {
        listener: "http".into(),
        header: true,
        unread: format!("{LINE}GET / HT").into(),
        idle_ms: 29_000,
        ..Connection::default()
    };
    gateway.adopt(Parcel { record: Record::Connection(record), fds: vec![socket.into()] });
    gateway.until(|totals| totals.connections_open == 1);
    gateway.settle();
    gateway.later(Duration::from_secs(2));
    gateway.settle();
    assert_eq!(gateway.threads.totals().admitted, 0);
    gateway.later(Duration::from_secs(31));
    assert!(Peer::of(client).head().starts_with("http/1.1 408 "));
    gateway.drain(AT_ONCE);
    gateway.finish();
}

#[test]
fn a_drain_waits_for_a_header_that_has_begun_and_for_no_other() {
    let gateway = gateway(here(answering("hello")));
    let (mut silent, mut half) = (gateway.connect(), gateway.ask(&LINE[..9]));
    gateway.until(|totals| totals.connections_open == 2);
    gateway.drain(AT_ONCE);
    assert_eq!(silent.ended(), End::Closed);
    half.send(format!("{}{GET}", &LINE[9..]));
    let (head, content) = half.answer();
    assert!(head.contains("connection: close\r\n") && content == "hello", "{head}");
    gateway.finish();
}

#[test]
fn who_has_to_have_a_header_is_a_matter_of_the_newest_configuration() {
    let gateway = gateway(answering("hello"));
    let mut before = gateway.ask(GET);
    assert_eq!(before.answer().1, "hello");
    gateway.install(2, here(answering("hello")));
    before.send(GET);
    assert_eq!(before.answer().1, "hello");
    assert_eq!(gateway.ask(&format!("{LINE}{GET}")).answer().1, "hello");
    let (came, _) = gateway.ask(GET).rest();
    assert!(came.is_empty());
    gateway.install(3, answering("hello"));
    assert_eq!(gateway.ask(GET).answer().1, "hello");
    drop(before);
    gateway.drain(AT_ONCE);
    assert_eq!(gateway.finish().handshakes_refused, 1);
}
