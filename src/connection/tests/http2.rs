//! HTTP/2 with prior knowledge on the port of HTTP/1.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::world::*;
use crate::config::settings::{Action, PathPattern, Settings};
use crate::http2::Reason;

type Client = SendRequest<Empty<Bytes>>;

async fn connect(gateway: &Gateway) -> (Client, JoinHandle<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (client, tokio::spawn(connection))
}

fn get() -> http::Request<Empty<Bytes>> {
    http::Request::get("http://app.example/").body(Empty::new()).unwrap()
}

#[test]
fn http2_and_http1_are_served_on_one_port() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        let answer = tokio::spawn(client.send_request(get()));
        tokio::task::yield_now().await;
        let (mut endpoint, head) = tokio::task::spawn_blocking(move || origin.request()).await.unwrap();
        assert!(head.starts_with("get / http/1.1\r\n") && head.contains("host: app.example\r\n"), "{head}");
        endpoint.send(OK);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    });
}

/// RFC 9113, section 6.8: the first GOAWAY takes back nothing, the second one, a round trip later,
/// says what was taken.
#[test]
fn a_drain_says_goaway_in_two_steps_and_answers_what_was_taken() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, &[]));
    client.send(request(1));
    let (mut first, _) = origin.request();
    gateway.drain(GRACE);
    assert_eq!(next(&mut client, GOAWAY).1, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // This one was on its way when the first GOAWAY was sent.
    client.send(request(3));
    let (_, ping) = next(&mut client, PING);
    let (mut second, _) = origin.request();
    client.send(frame(PING, ACK, 0, &ping));
    assert_eq!(next(&mut client, GOAWAY).1, [0, 0, 0, 3, 0, 0, 0, 0]);
    for (stream, endpoint) in [(1, &mut first), (3, &mut second)] {
        endpoint.send(OK);
        assert_eq!(next(&mut client, DATA), (stream, b"ok".to_vec()));
    }
    assert_eq!(client.rest().1, End::Closed);
    assert_eq!(gateway.finish().answered, 2);
}

/// It cannot move.
#[test]
fn a_handover_ends_http2_as_a_drain_does() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(request(1));
    let (mut endpoint, _) = origin.request();
    let mut departures = gateway.hand_over();
    assert_eq!(next(&mut client, GOAWAY).1, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let (_, ping) = next(&mut client, PING);
    client.send(frame(PING, ACK, 0, &ping));
    assert_eq!(next(&mut client, GOAWAY).1, [0, 0, 0, 1, 0, 0, 0, 0]);
    endpoint.send(OK);
    assert_eq!(next(&mut client, DATA), (1, b"ok".to_vec()));
    assert_eq!(client.rest().1, End::Closed);
    let totals = gateway.finish();
    assert_eq!((totals.answered, totals.connections_closed, totals.connections_moved), (1, 1, 0));
    assert!(departures.rest().is_empty());
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://a/`, a whole request: END_STREAM and END_HEADERS (RFC 7541, appendix A for the codes).
fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])
}

/// The next frame of this kind: its stream and payload.
fn next(client: &mut Peer, wanted: u8) -> (u32, Vec<u8>) {
    loop {
        let head = client.exactly(9);
        let payload = client.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize);
        if head[3] == wanted && !(wanted == PING && head[4] == ACK) {
            return (u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload);
        }
    }
}

#[test]
fn a_stream_that_is_reset_ends_its_attempt_and_no_other() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        let gone = tokio::spawn(client.send_request(get()));
        let (mut first, origin) =
            tokio::task::spawn_blocking(move || (origin.request().0, origin)).await.unwrap();
        let kept = tokio::spawn(client.send_request(get()));
        let mut second = tokio::task::spawn_blocking(move || origin.request().0).await.unwrap();
        gone.abort();
        tokio::task::spawn_blocking(move || first.ended()).await.unwrap();
        second.send(OK);
        assert_eq!(kept.await.unwrap().unwrap().status().as_u16(), 200);
    });
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.answered), (1, 1));
}

#[test]
fn a_truncated_answer_resets_its_stream() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        let answer = tokio::spawn(client.send_request(get()));
        let (mut endpoint, _) = tokio::task::spawn_blocking(move || origin.request()).await.unwrap();
        endpoint.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        drop(endpoint);
        // The reset may overtake the head of the answer.
        if let Ok(answer) = answer.await.unwrap() {
            assert!(answer.into_body().collect().await.is_err());
        }
    });
}

#[test]
fn the_cut_answers_503_or_resets_and_the_connection_goes() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, connection) = connect(&gateway).await;
        let begun = tokio::spawn(client.send_request(get()));
        let (mut first, origin) =
            tokio::task::spawn_blocking(move || (origin.request().0, origin)).await.unwrap();
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let begun = begun.await.unwrap().unwrap();
        let waiting = tokio::spawn(client.send_request(get()));
        let _second = tokio::task::spawn_blocking(move || origin.request()).await.unwrap();
        gateway.drain(AT_ONCE);
        gateway.cut();
        assert_eq!(waiting.await.unwrap().unwrap().status().as_u16(), 503);
        assert!(begun.into_body().collect().await.is_err());
        let _ = connection.await.unwrap();
    });
    assert_eq!(gateway.finish().cut, 2);
}

const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A connection of frames that has begun well.
fn begin(gateway: &Gateway) -> Peer {
    let mut client = gateway.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, &[]));
    client
}

/// Fields as they are (RFC 7541, section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// The next frame of a stream, or GOAWAY: its type, flags and payload.
fn next_of(client: &mut Peer, stream: u32) -> (u8, u8, Vec<u8>) {
    loop {
        let head = client.exactly(9);
        let payload = client.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize);
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if (of == stream && head[3] != WINDOW_UPDATE) || head[3] == GOAWAY {
            return (head[3], head[4], payload);
        }
    }
}

/// The code of the GOAWAY that ends a connection.
fn goaway(client: &mut Peer) -> Reason {
    let (_, payload) = next(client, GOAWAY);
    u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]).into()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &u32::from(Reason::CANCEL).to_be_bytes())
}

/// The whole answer of this stream is `200` and `ok`.
fn is_served(client: &mut Peer, stream: u32, endpoint: &mut Peer) {
    endpoint.send(OK);
    let (kind, flags, payload) = next_of(client, stream);
    assert_eq!((kind, flags & END_STREAM, payload[0]), (HEADERS, 0, 0x88));
    assert_eq!(next_of(client, stream), (DATA, END_STREAM, b"ok".to_vec()));
}

/// RFC 9110, section 10.1.1.
#[test]
fn a_client_that_waits_for_100_is_told_to_continue_before_its_content_and_once() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    let fields = [&POST[..], &[("expect", "100-continue"), ("content-length", "4")]].concat();
    client.send(head(1, 0, &fields));
    let (kind, flags, payload) = next_of(&mut client, 1);
    assert_eq!((kind, flags & END_STREAM), (HEADERS, 0));
    assert_ne!(payload[0], 0x88, "not the answer");
    client.send(frame(DATA, END_STREAM, 1, b"text"));
    let (mut endpoint, _) = origin.request();
    assert_eq!(endpoint.exactly(4), b"text");
    is_served(&mut client, 1, &mut endpoint);
    // Content that comes by itself is not asked for.
    client.send(head(3, 0, &fields));
    client.send(frame(DATA, END_STREAM, 3, b"text"));
    let (mut endpoint, _) = origin.request();
    endpoint.until("text");
    endpoint.send(OK);
    let mut frames = Vec::new();
    while frames.last() != Some(&DATA) {
        frames.push(next_of(&mut client, 3).0);
    }
    assert!(frames == [HEADERS, DATA] || frames == [HEADERS, HEADERS, DATA], "{frames:?}");
}

#[test]
fn trailers_are_passed_on_both_ways_without_those_that_must_not_be_any() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(head(1, 0, &[&POST[..], &[("trailer", "x-sum"), ("te", "trailers")]].concat()));
    client.send(frame(DATA, 0, 1, b"text"));
    client.send(head(1, END_STREAM, &[("x-sum", "7"), ("content-length", "9")]));
    let (mut endpoint, head) = origin.request();
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    let content = endpoint.until("\r\n\r\n").to_lowercase();
    assert_eq!(content, "4\r\ntext\r\n0\r\nx-sum: 7\r\n\r\n");
    endpoint.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
    endpoint.send("2\r\nok\r\n0\r\nX-Sum: 8\r\nVary: x\r\n\r\n");
    assert_eq!(next_of(&mut client, 1).0, HEADERS);
    assert_eq!(next_of(&mut client, 1), (DATA, 0, b"ok".to_vec()));
    let (kind, flags, _) = next_of(&mut client, 1);
    assert_eq!((kind, flags & END_STREAM), (HEADERS, END_STREAM));
}

#[test]
fn what_hitless_refuses_itself_has_an_id_and_is_counted() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let request = |path: &str, fields: &[(&str, &str)]| {
        let mut request = http::Request::get(format!("http://app.example{path}")).body(Empty::new()).unwrap();
        for (name, value) in fields {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request
    };
    let names: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "1")).collect();
    let long = "x".repeat(33 * 1024);
    let table: [(http::Request<Empty<Bytes>>, u16); 6] = [
        (request(&format!("/{}", "x".repeat(9000)), &[]), 414),
        (request("/", &many), 431),
        (request("/", &[("x", &long)]), 431),
        (request("/", &[("x", " padded")]), 400),
        (request("/", &[("host", "other.example")]), 400),
        (request("/", &[("expect", "miracles")]), 417),
    ];
    let refused = table.len() as u64;
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        for (request, status) in table {
            let told = format!("{:?}", request.headers().iter().next());
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{told:.80}");
            let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
            assert!(id.len() > 8, "{id}");
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&text).contains(&id));
        }
    });
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.refused, totals.attempts), (refused, 0), "{totals:?}");
}

/// RFC 9113, sections 8.1.1, 8.2 and 8.3.
#[test]
fn what_is_malformed_resets_its_stream_and_is_never_forwarded() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let path = |path| [&POST[..3], &[(":path", path)]].concat();
    let with = |fields: &[(&'static str, &'static str)]| [&POST[..], fields].concat();
    let streams = [
        with(&[("X", "1")]),
        with(&[(":new", "1")]),
        with(&[("x", "a\nb")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "5")]),
        with(&[("x", "1"), (":path", "/")]),
        with(&[(":path", "/again")]),
        with(&[(":status", "200")]),
        POST[1..].to_vec(),
        path(""),
        vec![(":method", "CONNECT"), (":scheme", "http"), (":authority", "a:1"), (":path", "/")],
    ];
    for fields in streams {
        let mut client = begin(&gateway);
        client.send(head(1, END_STREAM, &fields));
        let (kind, _, payload) = next_of(&mut client, 1);
        assert_eq!((kind, &payload[..]), (RST_STREAM, &[0, 0, 0, 1][..]), "{fields:?}");
    }
    for fields in [path("x"), path("*"), path("/\"x\""), POST[..3].to_vec(), vec![POST[0], POST[1]]] {
        let mut client = begin(&gateway);
        client.send(head(1, END_STREAM, &fields));
        let (kind, _, payload) = next_of(&mut client, 1);
        let refused = kind == RST_STREAM || (kind == HEADERS && payload[0] == 0x8c);
        assert!(refused, "{fields:?}: {kind} {payload:?}");
    }
    assert!(!origin.was_called());
}

/// RFC 9113, section 8.1.1.
#[test]
fn content_of_another_length_than_announced_is_not_whole() {
    for content in ["tex", "texts"] {
        let origin = Origin::start();
        let gateway = gateway(only(&origin));
        let mut client = begin(&gateway);
        client.send(head(1, 0, &[&POST[..], &[("content-length", "4")]].concat()));
        let (mut endpoint, _) = origin.request();
        client.send(frame(DATA, END_STREAM, 1, content.as_bytes()));
        assert_eq!(next_of(&mut client, 1), (RST_STREAM, 0, vec![0, 0, 0, 1]));
        assert!(endpoint.rest().0.len() < 4);
    }
}

/// RFC 9113, section 8.1.
#[test]
fn trailers_with_a_pseudo_field_make_a_request_malformed_and_hurt_no_other() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let mut client = begin(&gateway);
    client.send(head(1, 0, &POST));
    let (mut endpoint, _) = origin.request();
    client.send(head(1, END_STREAM, &[(":path", "/"), ("x-sum", "1")]));
    let (kind, _, payload) = next_of(&mut client, 1);
    assert!(kind == HEADERS && payload[0] == 0x8c, "{kind} {payload:?}");
    let sent = endpoint.rest().0;
    assert!(!String::from_utf8_lossy(&sent).ends_with("0\r\n\r\n"), "never as if it were whole");
    asks_and_is_served(&mut client, 3);
}

/// Of 100 clients that met a reset together with their answer, 39 lost it (curl 7.88).
#[test]
fn after_an_early_answer_what_still_comes_is_thrown_away_and_nothing_is_reset() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(head(1, 0, &POST));
    client.send(frame(DATA, 0, 1, b"begun"));
    let (mut endpoint, _) = origin.request();
    is_served(&mut client, 1, &mut endpoint);
    gateway.until(|totals| totals.in_flight == 0);
    // More than the window of a stream: it opens again.
    assert_eq!(uploads(&mut client, 1, 40), None);
    client.send(frame(DATA, END_STREAM, 1, b"the end"));
    client.send(head(3, END_STREAM, &POST));
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    let (kind, stream) = loop {
        let head = client.exactly(9);
        client.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize);
        if head[3] != WINDOW_UPDATE {
            break (head[3], head[8]);
        }
    };
    assert_eq!((kind, stream), (HEADERS, 3));
}

/// The stream was reset at once: 193 of 200 clients lost this answer (curl 7.88).
#[test]
fn after_an_answer_of_ours_what_still_comes_is_thrown_away_and_nothing_is_reset() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].limits.content = Some(10);
    let gateway = gateway(settings(vec![app]));
    let mut client = begin(&gateway);
    client.send(head(1, 0, &POST));
    let (_endpoint, _) = origin.request();
    client.send(frame(DATA, 0, 1, b"more than ten"));
    let (kind, _, _) = next_of(&mut client, 1);
    assert_eq!(kind, HEADERS);
    let (kind, flags, _) = next_of(&mut client, 1);
    assert_eq!((kind, flags & END_STREAM), (DATA, END_STREAM));
    gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(uploads(&mut client, 1, 40), None);
}

/// RFC 9113, section 8.1.
#[test]
fn after_an_early_answer_who_never_stops_is_reset_without_an_error() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(head(1, 0, &POST));
    let (mut endpoint, _) = origin.request();
    is_served(&mut client, 1, &mut endpoint);
    gateway.until(|totals| totals.in_flight == 0);
    // What it may send, and another window.
    assert_eq!(uploads(&mut client, 1, (4 + 1) * 16), Some((RST_STREAM, 0, vec![0, 0, 0, 0])));
}

/// Sends so many frames of 16 KiB as the windows allow; what came on the stream, if that ends it.
fn uploads(client: &mut Peer, stream: u8, frames: usize) -> Option<(u8, u8, Vec<u8>)> {
    const PIECE: usize = 16_384;
    // The first window of RFC 9113, section 6.9.2, less what a test has begun with.
    let mut window = 65_535 - PIECE;
    for _ in 0..frames {
        while window < PIECE {
            let head = client.exactly(9);
            let payload = client.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize);
            match (head[3], head[8]) {
                (WINDOW_UPDATE, of) if of == stream => {
                    window += u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
                }
                (kind, of) if of == stream => return Some((kind, head[4], payload)),
                _ => {}
            }
        }
        client.send(frame(DATA, 0, stream.into(), &[7; PIECE]));
        window -= PIECE;
    }
    None
}

#[test]
fn a_truncated_answer_is_reset_with_internal_error() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(request(1));
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    drop(endpoint);
    loop {
        match next_of(&mut client, 1) {
            (RST_STREAM, _, code) => break assert_eq!(code, [0, 0, 0, 2]),
            (_, flags, _) => assert_eq!(flags & END_STREAM, 0),
        }
    }
}

#[test]
fn head_204_and_304_end_with_their_head() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let answers = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n"),
    ];
    let mut client = begin(&gateway);
    let mut endpoint = None;
    for (stream, (method, answer)) in [1, 3, 5].into_iter().zip(answers) {
        client.send(head(stream, END_STREAM, &[&[(":method", method)], &POST[1..]].concat()));
        let endpoint = endpoint.get_or_insert_with(|| origin.accept());
        endpoint.head();
        endpoint.send(answer);
        let (kind, flags, _) = next_of(&mut client, stream);
        assert_eq!((kind, flags & END_STREAM), (HEADERS, END_STREAM), "{answer}");
    }
    drop(client);
    assert_eq!(gateway.until(|totals| totals.in_flight == 0).answered, 3);
}

#[test]
fn a_configured_answer_to_head_has_its_length_and_no_content() {
    let gateway = gateway(answering("configured"));
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        let request = http::Request::head("http://app.example/").body(Empty::new()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "10");
        assert!(answer.headers().contains_key("date"));
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    });
    assert_eq!(gateway.until(|totals| totals.in_flight == 0).answered, 1);
}

/// One service that never answers at `endpoint`, and another that is answered here at `/served`.
fn half_dead(endpoint: &Origin) -> Settings {
    let mut other = service("other", endpoint);
    other.routes[0].path = PathPattern("/served".into());
    other.routes[0].action =
        Action::Answer { status: 200, content_type: "text/plain".into(), body: "served".into() };
    settings(vec![service("app", endpoint), other])
}

fn asks_and_is_served(client: &mut Peer, stream: u32) {
    client.send(head(
        stream,
        END_STREAM,
        &[&[(":method", "GET"), (":path", "/served")], &POST[1..3]].concat(),
    ));
    let (kind, flags, payload) = next_of(client, stream);
    assert_eq!((kind, flags & END_STREAM, payload[0]), (HEADERS, 0, 0x88));
    assert_eq!(next_of(client, stream), (DATA, END_STREAM, b"served".to_vec()));
}

#[test]
fn each_storm_ends_its_connection_and_no_other() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let mut other = begin(&gateway);
    let malformed = |stream| head(stream, END_STREAM, &[("connection", "close")]);
    let cancelled = |stream| [request(stream), reset(stream)].concat();
    let storms: [&dyn Fn(u32) -> Vec<u8>; 9] = [
        &|_| frame(PING, 0, 0, &[0; 8]),
        &|_| frame(SETTINGS, 0, 0, &[]),
        &|stream| frame(2, 0, stream, &[0, 0, 0, 0, 16]),
        &|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        &|_| frame(0xee, 0, 0, b"grease"),
        &|stream| if stream == 1 { frame(HEADERS, 0, 1, &[0x82]) } else { frame(CONTINUATION, 0, 1, &[]) },
        &|stream| if stream == 1 { head(1, 0, &POST) } else { frame(DATA, 0, 1, &[]) },
        &cancelled,
        &malformed,
    ];
    for (number, storm) in storms.into_iter().enumerate() {
        let mut client = begin(&gateway);
        let bytes: Vec<u8> = (0..1500).flat_map(|count| storm(1 + 2 * count)).collect();
        client.send(&bytes);
        assert_eq!(goaway(&mut client), Reason::ENHANCE_YOUR_CALM, "storm {number}");
        asks_and_is_served(&mut other, 1 + 2 * u32::try_from(number).unwrap());
    }
    gateway.until(|totals| totals.in_flight == 0);
}

#[test]
fn the_first_frame_is_settings_or_it_is_no_http2() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(request(1));
    assert_eq!(goaway(&mut client), Reason::PROTOCOL_ERROR);
    assert!(!origin.was_called());
}

#[test]
fn a_page_that_is_left_cancels_its_requests_and_the_next_one_is_served() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let mut client = begin(&gateway);
    let cancelled: Vec<u8> = (0..100).flat_map(|n| [request(1 + 2 * n), reset(1 + 2 * n)].concat()).collect();
    client.send(&cancelled);
    asks_and_is_served(&mut client, 201);
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.answered), (100, 1), "{totals:?}");
}

#[test]
fn a_connection_without_requests_is_told_to_go_and_what_comes_meanwhile_is_served() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let mut client = begin(&gateway);
    asks_and_is_served(&mut client, 1);
    gateway.later(Duration::from_secs(60));
    asks_and_is_served(&mut client, 3);
    gateway.later(Duration::from_secs(76));
    assert_eq!(next(&mut client, GOAWAY).1, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    asks_and_is_served(&mut client, 5);
    client.send(frame(PING, ACK, 0, &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54]));
    assert_eq!(next(&mut client, GOAWAY).1, [0, 0, 0, 5, 0, 0, 0, 0]);
    assert_eq!(client.rest().1, End::Closed);
    drop(client);
    gateway.until(|totals| totals.connections_open == 0);
}

#[test]
fn a_request_in_flight_keeps_its_connection() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    client.send(request(1));
    let (mut endpoint, _) = origin.request();
    gateway.later(Duration::from_secs(3600));
    is_served(&mut client, 1, &mut endpoint);
}

#[test]
fn after_as_many_requests_as_are_allowed_a_connection_is_told_to_go() {
    let origin = Origin::start();
    let mut settings = half_dead(&origin);
    settings.limits.keep_alive_requests = Some(2);
    let gateway = gateway(settings);
    let mut client = begin(&gateway);
    asks_and_is_served(&mut client, 1);
    client.send(head(3, END_STREAM, &[&[(":method", "GET"), (":path", "/served")], &POST[1..3]].concat()));
    assert_eq!(next(&mut client, GOAWAY).1, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(next(&mut client, DATA), (3, b"served".to_vec()));
}

#[test]
fn a_head_that_does_not_end_and_settings_that_do_not_come_end_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let half = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_STREAM, 1, &block(&POST))].concat();
    // How many SETTINGS tell that it has been read: ours, and the acknowledgement of theirs.
    for (beginning, settings) in [(Vec::new(), 1), (half[..5].to_vec(), 1), (half, 2)] {
        let mut client = gateway.connect();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(&beginning);
        for _ in 0..settings {
            next(&mut client, SETTINGS);
        }
        gateway.settle();
        gateway.later(Duration::from_secs(11));
        assert_eq!(goaway(&mut client), Reason::ENHANCE_YOUR_CALM, "{beginning:?}");
    }
    let mut client = begin(&gateway);
    asks_and_is_served(&mut client, 1);
    gateway.later(Duration::from_secs(11));
    asks_and_is_served(&mut client, 3);
}

/// RFC 8441.
#[test]
fn a_websocket_is_one_stream_and_ends_as_one() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    let fields =
        [&[(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/ws")], &POST[1..3]].concat();
    for (stream, with_reset) in [(1, false), (3, true)] {
        client.send(head(stream, 0, &fields));
        let (mut endpoint, asked) = origin.request();
        assert!(
            asked.starts_with("get /ws http/1.1\r\n") && asked.contains("upgrade: websocket\r\n"),
            "{asked}"
        );
        endpoint
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let (kind, flags, payload) = next_of(&mut client, stream);
        assert_eq!((kind, flags & END_STREAM, payload[0]), (HEADERS, 0, 0x88));
        client.send(frame(DATA, 0, stream, b"ping"));
        endpoint.until("ping");
        endpoint.send("pong");
        assert_eq!(next_of(&mut client, stream), (DATA, 0, b"pong".to_vec()));
        client.send(frame(DATA, END_STREAM, stream, b"bye"));
        assert_eq!(endpoint.exactly(3), b"bye");
        if with_reset {
            client.send(reset(stream));
            endpoint.rest();
        } else {
            assert_eq!(endpoint.ended(), End::Closed);
            endpoint.send("last");
            assert_eq!(next_of(&mut client, stream), (DATA, 0, b"last".to_vec()));
            drop(endpoint);
            assert_eq!(next_of(&mut client, stream), (DATA, END_STREAM, Vec::new()));
        }
        let totals = gateway.until(|totals| totals.tunnels_open == 0);
        assert_eq!((totals.client_gone, totals.residue()), (0, 0), "{totals:?}");
    }
}

/// It cannot move alone.
#[test]
fn a_tunnel_on_a_stream_of_its_client_stays_until_the_drain_and_is_closed_then() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = begin(&gateway);
    let fields =
        [&[(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/ws")], &POST[1..3]].concat();
    client.send(head(1, 0, &fields));
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(next_of(&mut client, 1).0, HEADERS);
    gateway.until(|totals| totals.tunnels_open == 1);
    let mut departures = gateway.hand_over();
    endpoint.send([0x82, 1, b'x']);
    assert_eq!(next(&mut client, DATA).1, [0x82, 1, b'x']);
    gateway.drain(AT_ONCE);
    assert_eq!(next(&mut client, DATA).1, crate::connection::websocket::close_from_server());
    assert_eq!(endpoint.exactly(8)[..2], [0x88, 0x82]);
    client.send(frame(DATA, 0, 1, &crate::connection::websocket::close_from_client([1, 2, 3, 4])));
    endpoint.send(crate::connection::websocket::close_from_server());
    assert_eq!(endpoint.ended(), End::Closed);
    gateway.until(|totals| totals.tunnels_open == 0);
    drop(client);
    gateway.finish();
    assert!(departures.rest().is_empty());
}

/// RFC 9113, section 6.9: nothing of an answer goes out that there is no window for, and the rest when
/// there is.
#[test]
fn an_answer_waits_for_its_window() {
    let origin = Origin::start();
    let gateway = gateway(half_dead(&origin));
    let mut client = gateway.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 2]));
    client.send(head(1, END_STREAM, &[&[(":method", "GET"), (":path", "/served")], &POST[1..3]].concat()));
    assert_eq!(next_of(&mut client, 1).0, HEADERS);
    assert_eq!(next_of(&mut client, 1), (DATA, 0, b"se".to_vec()));
    client.send(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    assert_eq!(next_of(&mut client, 1), (DATA, 0, b"r".to_vec()));
    client.send(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]));
    assert_eq!(next_of(&mut client, 1), (DATA, END_STREAM, b"ved".to_vec()));
}

/// A window that is not opened holds its own answer only, also one that h2 has got the end of.
#[test]
fn an_answer_whose_window_stays_closed_is_cancelled_and_no_other() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].limits.answer_rate = Some(1 << 30);
    let gateway = gateway(settings(vec![app]));
    for content in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\npart",
    ] {
        let mut client = gateway.connect();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 2]));
        client.send(request(1));
        let (mut endpoint, _) = origin.request();
        endpoint.send(content);
        assert_eq!(next_of(&mut client, 1).0, HEADERS);
        assert_eq!(next_of(&mut client, 1).0, DATA);
        gateway.settle();
        gateway.later(Duration::from_secs(4));
        gateway.later(Duration::from_secs(10));
        assert_eq!(next_of(&mut client, 1), (RST_STREAM, 0, vec![0, 0, 0, 8]));
        client.send(request(3));
        let (mut endpoint, _) = origin.request();
        endpoint.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(next_of(&mut client, 3).0, HEADERS);
        assert_eq!(next_of(&mut client, 3).2, b"ok");
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.answered, totals.failures.get("slow-reader")), (2, Some(&2)));
}
