//! Content streams in both directions, and is never held whole.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::byhand::{Door, Wire};
use crate::daemon::{Daemon, Folder};
use crate::http2::{Http2, curl, request};
use crate::sample::Sample;
use crate::wire::pattern;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The most that passing on a body of any length may cost, buffers of the allocator included.
const BOUND_KIB: u64 = 32 * 1024;

fn in_front_of(endpoint: &str) -> Daemon {
    let folder = Folder::listening();
    folder.passing("shop", endpoint);
    folder.start().ready()
}

#[test]
fn each_event_arrives_before_the_next_one_is_sent() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.ask("shop.test", "/events");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().field("content-type"), Some("text/event-stream"));
    for number in 0..20 {
        let event = format!("id: {number}\n\n");
        endpoint.say(format!("{:x}\r\n{event}\r\n", event.len()));
        assert_eq!(client.chunk(), event.as_bytes());
    }
    endpoint.say("0\r\n\r\n");
    assert!(client.chunk().is_empty());
}

#[test]
fn each_event_arrives_before_the_next_one_over_http2_too() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let client = Http2::to(&daemon.address());
    let mut sender = client.sender.clone();
    let asking = client.runtime.spawn(sender.send_request(request("GET", "shop.test", "/", "")));
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    let answer = client.runtime.block_on(asking).unwrap().unwrap();
    let mut body = answer.into_body();
    for number in 0..20 {
        let event = format!("id: {number}\n\n");
        endpoint.say(&event);
        let frame = client.runtime.block_on(body.frame()).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
}

#[test]
fn an_upload_reaches_the_endpoint_piece_by_piece() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.say("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut endpoint = door.accept();
    assert_eq!(endpoint.head().field("transfer-encoding"), Some("chunked"));
    for piece in ["one", "three", "seven"] {
        client.say(format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(endpoint.chunk(), piece.as_bytes());
    }
    // An answer may come before the upload has ended.
    endpoint.answer("early");
    assert_eq!(client.message().text(), "early");
}

#[test]
fn a_known_length_stays_known_in_both_directions() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello");
    let mut endpoint = door.accept();
    let request = endpoint.message();
    assert_eq!((request.field("content-length"), request.field("transfer-encoding")), (Some("5"), None));
    endpoint.answer("goodbye");
    let answer = client.message();
    assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (Some("7"), None));
    client.ask("shop.test", "/");
    let request = endpoint.message();
    assert_eq!((request.field("content-length"), request.field("transfer-encoding")), (None, None));
    endpoint.answer("");
    assert_eq!(client.message().field("content-length"), Some("0"));
}

#[test]
fn answers_without_content_are_whole_and_the_connections_go_on() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.say("HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let mut endpoint = door.accept();
    assert!(endpoint.message().first.starts_with("HEAD "));
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Length: 1234567\r\n\r\n");
    assert_eq!(client.head().field("content-length"), Some("1234567"));
    for (said, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n", 304),
    ] {
        client.ask("shop.test", "/");
        endpoint.message();
        endpoint.say(said);
        let answer = client.head();
        assert_eq!((answer.status(), answer.field("transfer-encoding")), (status, None));
    }
    client.ask("shop.test", "/");
    endpoint.message();
    endpoint.answer("still here");
    assert_eq!(client.message().text(), "still here");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_passed_on_whole() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.ask("shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say("HTTP/1.1 200 OK\r\n\r\nall of it");
    drop(endpoint);
    assert_eq!(client.message().text(), "all of it");
}

#[test]
fn trailers_arrive_with_a_chunked_answer_and_break_nothing_in_a_request() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let mut client = Wire::to(&daemon.address());
    client.say(
        "POST / HTTP/1.1\r\nHost: shop.test\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let mut endpoint = door.accept();
    let request = endpoint.message();
    assert_eq!(request.text(), "hello");
    assert_eq!(request.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    endpoint.say(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    let answer = client.message();
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "2".to_owned())]);
    client.ask("shop.test", "/");
    endpoint.message();
    endpoint.answer("next");
    assert_eq!(client.message().text(), "next");
}

#[test]
fn a_broken_answer_never_looks_complete() {
    let sample = Sample::tcp();
    let daemon = in_front_of(&sample.address);
    let address = daemon.address();
    let mut client = Wire::to(&address);
    client.get("shop.test", "/switch?cut=2");
    client.ask("shop.test", "/");
    assert_eq!(client.head().field("content-length"), Some("1000"));
    client.until("this answer will be c");
    assert!(client.is_closed());
    let said = curl(&address, &["--http2-prior-knowledge", "http://shop.test/"]);
    assert!(said.contains("stream 1 was not closed cleanly"), "{said}");
}

#[test]
fn an_upload_that_expects_to_be_asked_for_is() {
    let sample = Sample::tcp();
    let daemon = in_front_of(&sample.address);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("upload");
    std::fs::write(&file, vec![7; 5 << 20]).unwrap();
    let from = format!("@{}", file.display());
    let arguments =
        ["--verbose", "--expect100-timeout", "50", "--data-binary", &from, "http://shop.test/upload"];
    let said = curl(&daemon.address(), &arguments);
    assert!(said.contains("> Expect: 100-continue") && said.contains("< HTTP/1.1 100 Continue"), "{said}");
    assert!(said.contains("\"bytes\":5242880"), "{said}");
}

/// An endpoint that answers with a gibibyte, tells when it could not go on for a while, and how far
/// it came.
fn flood() -> (String, mpsc::Receiver<u64>, Arc<AtomicU64>) {
    let door = Door::tcp();
    let (stall, stalled) = mpsc::channel();
    let sent = Arc::new(AtomicU64::new(0));
    let (address, progress) = (door.address.clone(), Arc::clone(&sent));
    std::thread::spawn(move || {
        let mut endpoint = door.accept();
        endpoint.message();
        endpoint.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n"));
        endpoint.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut offset = 0;
        while offset < GIB {
            let piece = pattern::from(offset, GIB - offset);
            match std::io::Write::write(&mut endpoint.socket, piece) {
                Ok(count) => offset += count as u64,
                Err(_) => drop(stall.send(offset)),
            }
            progress.store(offset, SeqCst);
        }
    });
    (address, stalled, sent)
}

#[test]
fn a_slow_reader_of_a_gibibyte_does_not_grow_the_gateway() {
    let (endpoint, stalled, sent) = flood();
    let daemon = in_front_of(&endpoint);
    let gateway = daemon.gateway();
    let before = gateway.resident_kib();
    let mut client = Wire::to(&daemon.address());
    client.ask("shop.test", "/");
    assert_eq!(client.head().field("content-length"), Some("1073741824"));
    // Nobody reads: what is on its way lies in the buffers of the kernel and of the gateway.
    let held = stalled.recv_timeout(crate::daemon::PATIENCE).unwrap();
    assert!(held < 32 * MIB, "{held} bytes were taken off the endpoint for a client that does not read");
    assert!(gateway.peak_kib() < before + BOUND_KIB, "{before} KiB, then {}", gateway.peak_kib());
    let mut offset = 0;
    while offset < GIB {
        let piece = client.some(1 << 20);
        assert!(!piece.is_empty() && pattern::matches(offset, &piece), "wrong bytes at {offset}");
        offset += piece.len() as u64;
    }
    assert_eq!(sent.load(SeqCst), GIB);
    assert!(gateway.peak_kib() < before + BOUND_KIB, "{before} KiB, then {}", gateway.peak_kib());
}

#[test]
fn a_slow_reader_over_http2_does_not_grow_the_gateway_and_other_streams_go_on() {
    let (endpoint, stalled, _) = flood();
    let sample = Sample::tcp();
    let folder = Folder::listening();
    folder.passing("flood", &endpoint);
    folder.passing("shop", &sample.address);
    let daemon = folder.start().ready();
    let gateway = daemon.gateway();
    let before = gateway.resident_kib();
    let client = Http2::to(&daemon.address());
    let mut sender = client.sender.clone();
    let answer = client.runtime.block_on(sender.send_request(request("GET", "flood.test", "/", ""))).unwrap();
    let held = stalled.recv_timeout(crate::daemon::PATIENCE).unwrap();
    assert!(held < 32 * MIB, "{held} bytes were taken off the endpoint for a client that does not read");
    assert!(client.get("shop.test", "/").1.starts_with(b"sample application"));
    assert!(gateway.peak_kib() < before + BOUND_KIB, "{before} KiB, then {}", gateway.peak_kib());
    drop(answer);
}

#[test]
fn a_chunked_upload_of_a_gibibyte_arrives_whole_and_does_not_grow_the_gateway() {
    let sample = Sample::tcp();
    let daemon = in_front_of(&sample.address);
    let gateway = daemon.gateway();
    let before = gateway.resident_kib();
    let mut client = Wire::to(&daemon.address());
    client.say("POST /upload HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (mut digest, mut offset) = (Sha256::new(), 0);
    while offset < GIB {
        let piece = pattern::from(offset, GIB - offset);
        digest.update(piece);
        client.say(format!("{:x}\r\n", piece.len())).say(piece).say("\r\n");
        offset += piece.len() as u64;
    }
    client.say("0\r\n\r\n");
    let answer = client.message().json();
    let sum: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&answer["bytes"], &answer["sha256"]), (&GIB.into(), &sum.into()));
    assert!(gateway.peak_kib() < before + BOUND_KIB, "{before} KiB, then {}", gateway.peak_kib());
}

#[test]
fn an_endpoint_that_does_not_read_holds_the_upload_back() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address);
    let gateway = daemon.gateway();
    let before = gateway.resident_kib();
    let mut client = Wire::to(&daemon.address());
    client.say(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {GIB}\r\n\r\n"));
    let _silent = door.accept();
    client.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut held, piece) = (0, [7; 65_536]);
    while let Ok(count) = std::io::Write::write(&mut client.socket, &piece) {
        held += count as u64;
    }
    assert!(held < 32 * MIB, "{held} bytes were taken off the client for an endpoint that does not read");
    assert!(gateway.peak_kib() < before + BOUND_KIB, "{before} KiB, then {}", gateway.peak_kib());
}
