//! Tunnels over HTTP/2: a stream is one, while the others of its connection go on (RFC 8441).

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::byhand::Door;
use crate::daemon::{Daemon, Folder, eventually};
use crate::http2::Http2;
use crate::sample::Sample;
use crate::wire::websocket::{Frame, Opcode};

fn in_front_of(endpoint: &str, lines: &str) -> (Daemon, Http2) {
    let folder = Folder::listening_with("[log]\naccess = \"all\"\n[drain]\ntunnel-jitter = \"0s\"");
    folder.passing_with("shop", endpoint, lines);
    let daemon = folder.start().ready();
    let client = Http2::to(&daemon.address());
    // The settings of the gateway, which offer it, come with the first answer at the latest.
    client.get("nobody.test", "/");
    (daemon, client)
}

fn connect(path: &str, protocol: &'static str) -> http::Request<Full<Bytes>> {
    let request = http::Request::connect(format!("http://shop.test{path}"));
    let request = request.extension(Protocol::from_static(protocol)).header("x-request-id", "stream");
    request.header("sec-websocket-version", "13").body(Full::default()).unwrap()
}

struct Tunnel<'a> {
    client: &'a Http2,
    stream: TokioIo<Upgraded>,
    buffer: BytesMut,
}

impl Tunnel<'_> {
    fn open(client: &Http2, request: http::Request<Full<Bytes>>) -> Tunnel<'_> {
        let mut sender = client.sender.clone();
        let stream = client.runtime.block_on(async {
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            for gone in ["upgrade", "connection", "sec-websocket-accept"] {
                assert!(!answer.headers().contains_key(gone), "{answer:?}");
            }
            TokioIo::new(hyper::upgrade::on(answer).await.unwrap())
        });
        Tunnel { client, stream, buffer: BytesMut::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.client.runtime.block_on(self.stream.write_all(bytes)).unwrap();
    }

    /// `None` at the end.
    fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let read = self.client.runtime.block_on(self.stream.read_buf(&mut self.buffer));
            if read.unwrap() == 0 {
                return None;
            }
        }
    }

    fn echoes(&mut self, frame: &Frame) {
        self.say(&frame.encode(Some([1, 2, 3, 4])));
        assert!(self.receive().as_ref() == Some(frame));
    }
}

#[test]
fn websockets_are_streams_among_others_and_end_by_themselves() {
    let sample = Sample::tcp();
    let (daemon, client) = in_front_of(&sample.address, "");
    let mut one = Tunnel::open(&client, connect("/ws", "websocket"));
    let mut two = Tunnel::open(&client, connect("/ws", "websocket"));
    for number in 0..100 {
        one.echoes(&Frame::text(format!("one {number}")));
        two.echoes(&Frame::text(format!("two {number}")));
    }
    one.echoes(&Frame { last: true, opcode: Opcode::Binary, payload: vec![7; 1 << 20] });
    assert!(client.get("shop.test", "/").1.starts_with(b"sample application"));
    let totals = &daemon.status()["totals"];
    assert_eq!((&totals["tunnels_open"], &totals["connections_open"]), (&2.into(), &1.into()));
    one.say(&Frame::close(1000).encode(Some([1; 4])));
    assert_eq!(one.receive().unwrap().close_code(), 1000);
    assert_eq!(one.receive(), None);
    drop(one);
    two.echoes(&Frame::text("still here"));
    let line = eventually(|| daemon.accesses().into_iter().find(|line| line["path"] == "/ws"));
    assert_eq!(
        (&line["status"], &line["method"], &line["code"]),
        (&200.into(), &"CONNECT".into(), &"ok".into())
    );
    assert!(line["sent_bytes"].as_u64() > Some(1 << 20), "{line}");
}

/// The end of a stream was counted as the end of its connection: the drain ended too early, or never.
#[test]
fn a_stream_survives_that_its_service_is_deleted_and_is_closed_1001_by_a_stop() {
    let sample = Sample::tcp();
    let (mut daemon, client) = in_front_of(&sample.address, "");
    let mut tunnel = Tunnel::open(&client, connect("/ws", "websocket"));
    std::fs::remove_file(daemon.folder.path().join("services.d/shop.toml")).unwrap();
    daemon.reloads();
    tunnel.echoes(&Frame::text("after its service was deleted"));
    daemon.signal(Signal::TERM);
    assert_eq!(tunnel.receive().unwrap().close_code(), 1001);
    tunnel.say(&Frame::close(1001).encode(Some([1; 4])));
    assert_eq!(tunnel.receive(), None);
    drop(tunnel);
    assert_eq!(daemon.ends().code(), Some(0));
    assert!(!daemon.log().contains("cut a "), "{}", daemon.log());
}

#[test]
fn a_client_that_ends_its_stream_or_is_gone_ends_the_tunnel_at_the_endpoint() {
    let door = Door::tcp();
    let (daemon, client) = in_front_of(&door.address, "");
    let mut endpoints = vec![];
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut endpoint = door.accept();
            let asked = endpoint.head();
            assert_eq!(asked.first, "GET /chat?a=b HTTP/1.1");
            assert_eq!((asked.field("upgrade"), asked.field("sec-websocket-key")), (Some("strange"), None));
            endpoint
                .say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: strange\r\n\r\n");
            endpoints.push(endpoint);
        }
        endpoints
    });
    let one = Tunnel::open(&client, connect("/chat?a=b", "strange"));
    let mut two = Tunnel::open(&client, connect("/chat?a=b", "strange"));
    let mut endpoints = answering.join().unwrap();
    // What hyper's client says when it is dropped is an end, after which the endpoint may go on.
    drop(one);
    assert!(endpoints[0].is_closed());
    drop(endpoints.remove(0));
    two.say(b"hello");
    assert_eq!(endpoints[0].exactly(5), b"hello");
    // A connection that is gone is an end in both directions.
    let Tunnel { stream, .. } = two;
    drop(client);
    assert!(endpoints[0].is_closed());
    drop(stream);
    eventually(|| (daemon.status()["totals"]["tunnels_open"] == 0).then_some(()));
}

#[test]
fn what_the_endpoint_refuses_is_refused_and_what_is_no_tunnel_is_never_called_one() {
    let sample = Sample::tcp();
    let (_daemon, client) = in_front_of(&sample.address, "");
    for (path, protocol, status) in [
        // The sample application speaks nothing but WebSocket there.
        ("/ws", "strange", 426),
        ("/missing", "websocket", 404),
        // It answers 200 and stays with HTTP.
        ("/", "websocket", 502),
        ("/", "h2c", 405),
    ] {
        assert_eq!(client.send(connect(path, protocol)).0.status(), status, "{path} {protocol}");
    }
    let plain = http::Request::connect("shop.test:443").body(Full::default()).unwrap();
    assert_eq!(client.send(plain).0.status(), 405);
}

#[test]
fn connect_opens_a_stream_where_the_route_allows_it() {
    let door = Door::tcp();
    let (_daemon, client) = in_front_of(&door.address, "[[service.shop.route]]\nconnect = true");
    let answering = std::thread::spawn(move || {
        let mut endpoint = door.accept();
        assert!(endpoint.head().first.starts_with("CONNECT shop.test:443 "));
        endpoint.say("HTTP/1.1 200 OK\r\n\r\n");
        endpoint
    });
    let plain = http::Request::connect("shop.test:443").body(Full::default()).unwrap();
    let mut tunnel = Tunnel::open(&client, plain);
    let mut endpoint = answering.join().unwrap();
    tunnel.say(b"ping");
    assert_eq!(endpoint.exactly(4), b"ping");
    endpoint.say("pong");
    let mut pong = [0; 4];
    client.runtime.block_on(tunnel.stream.read_exact(&mut pong)).unwrap();
    assert_eq!(&pong, b"pong");
    // Each direction ends by itself.
    client.runtime.block_on(tunnel.stream.shutdown()).unwrap();
    assert!(endpoint.is_closed());
    endpoint.say("last");
    drop(endpoint);
    let mut last = vec![];
    client.runtime.block_on(tunnel.stream.read_to_end(&mut last)).unwrap();
    assert_eq!(last, b"last");
}

#[test]
fn a_silent_stream_ends_after_its_idle_time_and_its_connection_stays() {
    let sample = Sample::tcp();
    let (_daemon, client) = in_front_of(&sample.address, "timeout = { tunnel-idle = \"300ms\" }");
    let mut tunnel = Tunnel::open(&client, connect("/ws", "websocket"));
    tunnel.echoes(&Frame::text("hello"));
    // An end or a reset, as the stream was not finished.
    let mut rest = vec![];
    let _ = client.runtime.block_on(tunnel.stream.read_to_end(&mut rest));
    assert!(rest.is_empty());
    assert!(client.get("shop.test", "/").1.starts_with(b"sample application"));
}
