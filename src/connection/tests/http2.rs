//! HTTP/2 with prior knowledge on the port of HTTP/1.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::world::*;

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
