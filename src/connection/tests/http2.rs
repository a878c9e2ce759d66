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

#[test]
fn a_drain_lets_streams_finish_and_then_ends_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, connection) = connect(&gateway).await;
        let answer = tokio::spawn(client.send_request(get()));
        let (mut endpoint, _) = tokio::task::spawn_blocking(move || origin.request()).await.unwrap();
        gateway.drain(GRACE);
        // GOAWAY arrives: no other request can be sent on this connection.
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        endpoint.send(OK);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        connection.await.unwrap().unwrap();
    });
    assert_eq!(gateway.finish().answered, 1);
}

#[test]
fn a_stream_that_is_reset_ends_its_attempt_and_no_other() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, _connection) = connect(&gateway).await;
        let gone = tokio::spawn(client.send_request(get()));
        let (mut first, origin) = tokio::task::spawn_blocking(move || (origin.request().0, origin)).await.unwrap();
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
        let answer = answer.await.unwrap().unwrap();
        assert!(answer.into_body().collect().await.is_err());
    });
}

#[test]
fn the_cut_answers_503_or_resets_and_the_connection_goes() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    block_on(async {
        let (mut client, connection) = connect(&gateway).await;
        let begun = tokio::spawn(client.send_request(get()));
        let (mut first, origin) = tokio::task::spawn_blocking(move || (origin.request().0, origin)).await.unwrap();
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
