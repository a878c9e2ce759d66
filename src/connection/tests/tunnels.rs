//! Tunnels: upgrades, CONNECT, and how they end.

use std::time::Duration;

use super::world::*;
use crate::connection::websocket;

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn open(gateway: &Gateway, origin: &Origin) -> (Peer, Peer) {
    let mut client = gateway.ask(UPGRADE);
    let (mut endpoint, head) = origin.request();
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    endpoint.send(SWITCHING);
    let head = client.head();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "{head}");
    (client, endpoint)
}

#[test]
fn bytes_go_both_ways_and_an_end_is_passed_on_as_an_end() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    client.send("ping");
    endpoint.until("ping");
    endpoint.send("pong");
    client.until("pong");
    gateway.until(|totals| totals.tunnels_open == 1 && totals.in_flight == 0);
    client.end();
    assert_eq!(endpoint.ended(), End::Closed);
    endpoint.send("still talking");
    client.until("still talking");
    drop(endpoint);
    assert_eq!(client.ended(), End::Closed);
    let totals = gateway.until(|totals| totals.tunnels_open == 0);
    assert_eq!((totals.tunnels_opened, totals.answered, totals.residue()), (1, 1, 0));
    assert_eq!((totals.bytes_received, totals.bytes_sent), (4, 17));
}

#[test]
fn bytes_that_came_together_with_the_heads_are_not_lost() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&format!("{UPGRADE}early"));
    let (mut endpoint, _) = origin.request();
    endpoint.send(format!("{SWITCHING}soon"));
    client.head();
    client.until("soon");
    endpoint.until("early");
}

#[test]
fn a_slow_reader_of_a_tunnel_holds_the_writer_back() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (client, mut endpoint) = open(&gateway, &origin);
    assert!(endpoint.send_until_stuck() < 64 * 1024 * 1024);
    drop(client);
    gateway.until(|totals| totals.tunnels_open == 0);
}

#[test]
fn a_tunnel_survives_reloads_even_when_its_service_is_gone() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    gateway.install(2, settings(Vec::new()));
    client.send("ping");
    endpoint.until("ping");
    endpoint.send("pong");
    client.until("pong");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(UPGRADE);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    client.send(GET);
    endpoint.head();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
}

#[test]
fn connect_is_refused_unless_the_route_allows_it() {
    let origin = Origin::start();
    let connect = "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n";
    let refusing = gateway(only(&origin));
    assert!(refusing.ask(connect).head().starts_with("http/1.1 405 "));
    let mut app = service("app", &origin);
    app.routes[0].connect = true;
    let allowing = gateway(settings(vec![app]));
    let mut client = allowing.ask(connect);
    let (mut endpoint, head) = origin.request();
    assert!(head.starts_with("connect db.example:5432 "), "{head}");
    endpoint.send("HTTP/1.1 200 OK\r\n\r\nhello");
    assert!(client.head().starts_with("http/1.1 200 "));
    client.until("hello");
    client.send("and back");
    endpoint.until("and back");
}

#[test]
fn a_silent_tunnel_ends_after_its_idle_time() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.tunnel_idle = Some(Duration::from_secs(60));
    let gateway = gateway(settings(vec![app]));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    gateway.until(|totals| totals.tunnels_open == 1);
    gateway.later(Duration::from_secs(50));
    client.send("still here");
    endpoint.until("still here");
    gateway.later(Duration::from_secs(61));
    client.ended();
    endpoint.ended();
    gateway.until(|totals| totals.tunnels_open == 0);
}

#[test]
fn a_websocket_is_closed_with_1001_at_a_frame_boundary_on_both_sides() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    // Half of a frame is on its way to the client when the drain begins.
    endpoint.send([0x82, 6, b'h', b'a', b'l']);
    assert_eq!(client.exactly(5), [0x82, 6, b'h', b'a', b'l']);
    gateway.drain(AT_ONCE);
    let close = endpoint.exactly(8);
    assert_eq!(close[..2], [0x88, 0x82]);
    assert_eq!([close[6] ^ close[2], close[7] ^ close[3]], 1001u16.to_be_bytes());
    // The frame is finished first, the one behind it is not begun.
    endpoint.send([b'f', b'e', b's', 0x82, 1, b'x']);
    assert_eq!(client.exactly(3), *b"fes");
    assert_eq!(client.exactly(4), websocket::close_from_server());
    // Each side closes in its turn, and then the connections end.
    client.send(websocket::close_from_client([1, 2, 3, 4]));
    endpoint.send(websocket::close_from_server());
    assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
    assert_eq!(gateway.finish().answered, 1);
}

#[test]
fn a_tunnel_of_another_protocol_stays_until_the_cut() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&UPGRADE.replace("websocket", "else"));
    let (mut endpoint, _) = origin.request();
    endpoint.send(SWITCHING.replace("websocket", "else"));
    client.head();
    gateway.until(|totals| totals.tunnels_open == 1);
    gateway.drain(AT_ONCE);
    client.send("still here");
    endpoint.until("still here");
    gateway.cut();
    client.ended();
    endpoint.ended();
    gateway.finish();
}

/// A WebSocket whose client had vanished held up each drain until its deadline.
#[test]
fn a_websocket_that_does_not_answer_its_close_is_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    gateway.until(|totals| totals.tunnels_open == 1);
    gateway.drain(AT_ONCE);
    assert_eq!(client.exactly(4), websocket::close_from_server());
    endpoint.exactly(8);
    gateway.later(Duration::from_secs(4));
    assert!(!client.has_something());
    gateway.later(Duration::from_secs(6));
    client.ended();
    endpoint.ended();
    gateway.finish();
}

/// What was meant for a tunnel that was refused was taken for the next request.
#[test]
fn what_is_sent_into_a_tunnel_that_is_refused_is_no_request() {
    let origin = Origin::start();
    let mut settings = only(&origin);
    for connect in [false, true] {
        let service = std::sync::Arc::make_mut(&mut settings.services[0]);
        service.routes[0].connect = connect;
        let gateway = gateway(settings.clone());
        let mut client =
            gateway.ask(&["CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n", GET].concat());
        if connect {
            let (mut endpoint, _) = origin.request();
            endpoint.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        let head = client.answer().0;
        assert!(head.contains("connection: close\r\n"), "{head}");
        client.ended();
        drop(client);
        gateway.drain(AT_ONCE);
        assert_eq!(gateway.finish().admitted, 1);
    }
}
