//! Tunnels: bytes of another protocol, both ways, until both ends are done.

use bytes::BytesMut;

use crate::byhand::{Door, Wire};
use crate::daemon::{Daemon, Folder};
use crate::http2::curl;
use crate::sample::Sample;
use crate::wire::websocket::{Frame, Opcode, accept};

fn in_front_of(endpoint: &str, lines: &str) -> Daemon {
    let folder = Folder::listening_with("[log]\naccess = \"all\"");
    folder.passing_with("shop", endpoint, lines);
    folder.start().ready()
}

/// A WebSocket to `/ws` of the sample application.
struct WebSocket {
    wire: Wire,
    buffer: BytesMut,
}

impl WebSocket {
    fn open(address: &str) -> WebSocket {
        let mut wire = Wire::to(address);
        wire.say(
            "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Request-Id: ws-1\r\n\r\n",
        );
        let answer = wire.head();
        assert_eq!(answer.status(), 101, "{answer:?}");
        assert_eq!(answer.field("sec-websocket-accept"), Some(accept("dGhlIHNhbXBsZSBub25jZQ==").as_str()));
        assert_eq!(
            (answer.field("upgrade"), answer.field("connection")),
            (Some("websocket"), Some("upgrade"))
        );
        WebSocket { wire, buffer: BytesMut::new() }
    }

    fn send(&mut self, frame: &Frame) {
        self.wire.say(frame.encode(Some([1, 2, 3, 4])));
    }

    fn receive(&mut self) -> Frame {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).unwrap() {
                return frame;
            }
            let some = self.wire.some(65_536);
            assert!(!some.is_empty(), "the tunnel ended");
            self.buffer.extend_from_slice(&some);
        }
    }

    fn echoes(&mut self, text: &str) {
        self.send(&Frame::text(text));
        assert_eq!(self.receive().payload, text.as_bytes());
    }
}

#[test]
fn a_websocket_carries_many_frames_and_big_ones_in_order() {
    let sample = Sample::tcp();
    let daemon = in_front_of(&sample.address, "");
    let mut socket = WebSocket::open(&daemon.address());
    for number in 0..1000 {
        socket.echoes(&number.to_string());
    }
    // Many under way at once.
    let frames: Vec<u8> =
        (0..1000).flat_map(|number| Frame::text(number.to_string()).encode(Some([9; 4]))).collect();
    socket.wire.say(frames);
    for number in 0..1000 {
        assert_eq!(socket.receive().payload, number.to_string().into_bytes());
    }
    for _ in 0..8 {
        let big = Frame { last: true, opcode: Opcode::Binary, payload: vec![7; 1 << 20] };
        socket.send(&big);
        assert!(socket.receive() == big);
    }
    socket.send(&Frame::close(1000));
    assert_eq!(socket.receive().close_code(), 1000);
    socket.wire.end();
    assert!(socket.wire.is_closed());
    let line = daemon.access("ws-1");
    assert_eq!((&line["status"], &line["code"]), (&101.into(), &"ok".into()), "{line}");
    assert!(
        line["sent_bytes"].as_u64() > Some(8 << 20) && line["received_bytes"].as_u64() > Some(8 << 20),
        "{line}"
    );
    let totals = &daemon.status()["totals"];
    assert_eq!(totals["tunnels_opened"], 1, "{totals}");
}

/// Opens a tunnel of a protocol that nobody knows; the client's and the endpoint's end.
fn strange(address: &str, door: &Door) -> (Wire, Wire) {
    let mut client = Wire::to(address);
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
    let mut endpoint = door.accept();
    let asked = endpoint.head();
    assert_eq!((asked.field("upgrade"), asked.field("connection")), (Some("strange/1"), Some("upgrade")));
    endpoint
        .say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\nfirst");
    assert_eq!(client.head().field("upgrade"), Some("strange/1"));
    assert_eq!(client.exactly(5), b"first");
    (client, endpoint)
}

#[test]
fn any_other_protocol_is_relayed_and_each_direction_ends_by_itself() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let (mut client, mut endpoint) = strange(&daemon.address(), &door);
    client.say("\0\u{1}GET / HTTP/1.1\r\n\r\n");
    assert_eq!(endpoint.exactly(20), b"\0\x01GET / HTTP/1.1\r\n\r\n");
    client.end();
    assert!(endpoint.is_closed(), "the end of the client's direction is passed on");
    endpoint.say("more, although the client said its last");
    assert_eq!(client.exactly(39), b"more, although the client said its last");
    drop(endpoint);
    assert!(client.is_closed());
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_on_a_connection_that_goes_on() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.answer("no");
    assert_eq!(client.message().text(), "no");
    client.ask("shop.test", "/");
    endpoint.message();
    endpoint.answer("yes");
    assert_eq!(client.message().text(), "yes");
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_502() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let mut client = Wire::to(&daemon.address());
    client.ask("shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
    assert_eq!(client.message().status(), 502);
}

#[test]
fn connect_is_refused_unless_the_route_allows_it() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let connect = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n";
    let mut client = Wire::to(&daemon.address());
    client.say(connect);
    assert_eq!(client.message().status(), 405);
    assert!(door.is_quiet(), "the endpoint was not asked");
    let daemon = in_front_of(&door.address, "[[service.shop.route]]\nconnect = true");
    let mut client = Wire::to(&daemon.address());
    client.say(connect);
    let mut endpoint = door.accept();
    assert!(endpoint.head().first.starts_with("CONNECT shop.test:443 "));
    endpoint.say("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.say("ping");
    assert_eq!(endpoint.exactly(4), b"ping");
    endpoint.say("pong");
    assert_eq!(client.exactly(4), b"pong");
    let proxy = format!("http://{}", daemon.address());
    let refused = curl("", &["--proxy", &proxy, "--proxytunnel", "http://other.test/"]);
    assert!(refused.contains("response 421") || refused.contains("421"), "{refused}");
}

#[test]
fn a_silent_tunnel_ends_and_one_that_talks_does_not() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "timeout = { tunnel-idle = \"5s\" }");
    let address = daemon.address();
    // Before it is silent.
    let began = std::time::Instant::now();
    let (mut silent, _silent_endpoint) = strange(&address, &door);
    let (mut talking, mut talking_endpoint) = strange(&address, &door);
    let watching = std::thread::spawn(move || {
        assert!(silent.is_closed());
        std::time::Instant::now()
    });
    while !watching.is_finished() {
        // One direction is enough to keep it.
        talking_endpoint.say("beat");
        assert_eq!(talking.exactly(4), b"beat");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    assert!((watching.join().unwrap() - began).as_secs() >= 5);
    talking.say("still here");
    assert_eq!(talking_endpoint.exactly(10), b"still here");
}

#[test]
fn tunnels_survive_that_their_service_is_changed_and_then_deleted() {
    let sample = Sample::tcp();
    let mut daemon = in_front_of(&sample.address, "");
    let mut socket = WebSocket::open(&daemon.address());
    socket.echoes("before");
    let other = Door::tcp();
    daemon.folder.passing("shop", &other.address);
    daemon.reloads();
    socket.echoes("after its service was changed");
    std::fs::remove_file(daemon.folder.path().join("services.d/shop.toml")).unwrap();
    daemon.reloads();
    socket.echoes("after its service was deleted");
    assert_eq!(daemon.status()["totals"]["tunnels_open"], 1);
    let mut client = Wire::to(&daemon.address());
    assert_eq!(client.get("shop.test", "/").status(), 404);
}

#[test]
fn a_slow_reader_of_a_tunnel_holds_the_writer_back() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let gateway = daemon.gateway();
    let before = gateway.resident_kib();
    let (_client, mut endpoint) = strange(&daemon.address(), &door);
    endpoint.socket.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let (mut held, piece) = (0, [7; 65_536]);
    while let Ok(count) = std::io::Write::write(&mut endpoint.socket, &piece) {
        held += count;
    }
    assert!(held < 32 << 20, "{held} bytes");
    assert!(gateway.peak_kib() < before + 8 * 1024, "{before} KiB, then {}", gateway.peak_kib());
}

#[test]
fn an_upgrade_is_not_asked_of_an_endpoint_that_speaks_http2() {
    let sample = Sample::tcp();
    let daemon = in_front_of(&sample.address, "protocol = \"h2c\"");
    let mut client = Wire::to(&daemon.address());
    client.say("GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.message().status(), 426, "the application's own answer to a plain request");
    assert_eq!(client.get("shop.test", "/healthz").text(), "healthy\n");
}
