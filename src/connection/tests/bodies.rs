//! Content on its way, in both directions.

use super::world::*;

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n";

#[test]
fn each_event_arrives_before_the_next_one_is_sent() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(CHUNKED);
    assert!(client.head().contains("transfer-encoding: chunked"));
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        endpoint.send(format!("{:x}\r\n{event}\r\n", event.len()));
        assert!(client.until("\n\n").ends_with(event));
    }
    endpoint.send("0\r\n\r\n");
    client.until("0\r\n\r\n");
}

/// Bytes were counted at the end of a request, so a drain took a long answer for a standstill.
#[test]
fn bytes_are_counted_while_a_request_is_under_way() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 6\r\n\r\nabc");
    let (mut endpoint, _) = origin.request();
    endpoint.until("abc");
    endpoint.send(CHUNKED);
    endpoint.send("4\r\nfour\r\n");
    client.until("four");
    gateway.later(std::time::Duration::from_secs(1));
    let totals = gateway.threads.totals();
    assert_eq!((totals.bytes_received, totals.bytes_sent, totals.in_flight), (3, 4, 1));
    client.send("def");
    endpoint.until("def");
    endpoint.send("0\r\n\r\n");
    client.until("0\r\n\r\n");
    let totals = gateway.until(|totals| totals.answered == 1);
    assert_eq!((totals.bytes_received, totals.bytes_sent), (6, 4));
}

#[test]
fn an_upload_reaches_the_endpoint_piece_by_piece() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client =
        gateway.ask("POST / HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (mut endpoint, head) = origin.request();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for piece in ["first", "second"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        endpoint.until(piece);
    }
    client.send("0\r\n\r\n");
    endpoint.until("0\r\n\r\n");
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    let totals = gateway.until(|totals| totals.answered == 1);
    assert_eq!((totals.bytes_received, totals.bytes_sent), (11, 2));
}

#[test]
fn a_slow_reader_holds_its_answer_back_at_the_endpoint() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let taken = endpoint.send_until_stuck();
    // What is in flight is in the four socket buffers; the kernel lets each grow to a few MiB.
    assert!(taken < 64 * 1024 * 1024, "{taken}");
    assert!(client.head().starts_with("http/1.1 200 "));
    drop(client);
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(totals.client_gone, 1);
}

#[test]
fn a_truncated_answer_never_looks_complete() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    for head in ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", CHUNKED] {
        let mut client = gateway.ask(GET);
        let (mut endpoint, _) = origin.request();
        endpoint.send(head);
        endpoint.send(if head == CHUNKED { "4\r\nhalf\r\n" } else { "half" });
        client.head();
        client.until("half");
        drop(endpoint);
        let (rest, end) = client.rest();
        // A reset could overtake what was sent before it.
        assert_eq!(end, End::Closed);
        assert!(!rest.windows(5).any(|window| window == b"0\r\n\r\n"), "{rest:?}");
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(totals.broken_off, 2);
}

#[test]
fn a_truncated_answer_without_framing_ends_in_a_reset() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("GET / HTTP/1.0\r\n\r\n");
    let (mut endpoint, _) = origin.request();
    endpoint.send(CHUNKED);
    endpoint.send("4\r\nhalf\r\n");
    client.head();
    client.until("half");
    drop(endpoint);
    assert_eq!(client.ended(), End::Reset);
}

#[test]
fn answers_without_content_are_whole() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&GET.replace("GET", "HEAD"));
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    assert!(client.head().contains("content-length: 1000\r\n"));
    for status in ["204 No Content", "304 Not Modified"] {
        client.send(GET);
        endpoint.head();
        endpoint.send(format!("HTTP/1.1 {status}\r\n\r\n"));
        assert!(client.head().starts_with(&format!("http/1.1 {}", status.to_lowercase())));
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.answered, totals.residue()), (3, 0));
}

#[test]
fn an_early_answer_arrives_although_the_upload_goes_on() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client =
        gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\nfirst");
    let (mut endpoint, _) = origin.request();
    endpoint.until("first");
    endpoint.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much");
    drop(endpoint);
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert_eq!(content, "too much");
}

#[test]
fn a_client_that_goes_away_in_its_upload_is_counted_as_gone() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhalf");
    let (mut endpoint, _) = origin.request();
    endpoint.until("half");
    client.end();
    endpoint.ended();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.residue()), (1, 0));
}

/// The connection did not watch the socket any more once it had seen content in it, and its consumer had
/// read that without waiting.
#[test]
fn a_client_that_goes_away_after_its_upload_ends_the_attempt() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    for length in [10, 300_000] {
        let mut client =
            gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n"));
        let (mut endpoint, _) = origin.request();
        // Both are there when the thread looks.
        let release = gateway.threads.wedge(0);
        client.send("x".repeat(length));
        drop(release);
        endpoint.exactly(length);
        drop(client);
        endpoint.ended();
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.residue()), (2, 0));
}

#[test]
fn what_comes_behind_a_request_waits_at_the_client() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    // The kernel's buffers grow to a few MiB each; here it is a head's worth.
    let sent = client.send_until_stuck();
    assert!(sent < 32 * 1024 * 1024, "{sent}");
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    assert!(client.answer().0.starts_with("http/1.1 414 "));
}

/// The first byte was written ahead, and again with what there was of an answer that broke off at once.
#[test]
fn an_answer_that_breaks_off_at_once_begins_once() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    client.end();
    client.until("H");
    endpoint.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    let told = client.head();
    assert!(told.starts_with("ttp/1.1 200 ok\r\n"), "{told}");
    assert_eq!(client.rest().0, b"");
}
