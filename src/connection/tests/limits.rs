//! What a client may ask for, and what it gets when it asks for more.

use std::time::Duration;

use super::world::*;

#[test]
fn a_connection_ends_with_the_last_request_that_it_may_carry() {
    let mut settings = answering("hello");
    settings.limits.keep_alive_requests = Some(2);
    let gateway = gateway(settings);
    let mut client = gateway.ask(&GET.repeat(3));
    assert!(!client.answer().0.contains("connection: close"));
    assert!(client.answer().0.contains("connection: close\r\n"));
    assert_eq!(client.ended(), End::Closed);
    assert_eq!(gateway.until(|totals| totals.connections_open == 0).admitted, 2);
}

#[test]
fn limits_of_heads_are_those_of_the_newest_configuration() {
    let mut before = answering("hello");
    before.limits.request_line = 100;
    let gateway = gateway(before.clone());
    let get = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100));
    let (head, content) = gateway.ask(&get).answer();
    assert!(head.starts_with("http/1.1 414 ") && content.contains("100 bytes"), "{head}{content}");
    let mut client = gateway.ask(GET);
    client.answer();
    let mut after = before;
    after.limits.request_line = 200;
    gateway.install(2, after);
    client.send(get);
    assert_eq!(client.answer().1, "hello");
}

#[test]
fn content_that_is_too_long_is_a_413_before_or_while_it_comes() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].limits.content = Some(10);
    let gateway = gateway(settings(vec![app]));
    let mut declared = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    let (head, _) = declared.answer();
    assert!(head.starts_with("http/1.1 413 ") && head.contains("connection: close\r\n"), "{head}");
    assert!(!origin.was_called());
    let mut streamed =
        gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
    let (mut endpoint, _) = origin.request();
    endpoint.until("abcd");
    streamed.send("7\r\nefghijk\r\n0\r\n\r\n");
    let (head, _) = streamed.answer();
    assert!(head.starts_with("http/1.1 413 ") && head.contains("connection: close\r\n"), "{head}");
    assert!(!String::from_utf8_lossy(&endpoint.rest().0).contains("efg"));
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.refused, totals.failures.get("long-content")), (2, Some(&2)));
    let mut fits = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    let (mut endpoint, _) = origin.request();
    endpoint.until("0123456789");
    endpoint.send(OK);
    assert_eq!(fits.answer().1, "ok");
}

#[test]
fn content_that_comes_too_slowly_is_a_408_and_an_endpoint_that_takes_it_slowly_is_not_its_fault() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].limits.content_rate = Some(100);
    let gateway = gateway(settings(vec![app]));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let mut slow = gateway.ask(post);
    slow.send([b'x'; 300]);
    let (mut endpoint, _) = origin.request();
    endpoint.exactly(300);
    gateway.settle();
    // In its grace, and fast enough.
    gateway.later(Duration::from_secs(4));
    gateway.later(Duration::from_millis(5500 / 2));
    assert!(!slow.has_something());
    gateway.later(Duration::from_secs(6));
    let (head, content) = slow.answer();
    assert!(head.starts_with("http/1.1 408 ") && head.contains("connection: close\r\n"), "{head}");
    assert!(content.contains("too slowly"), "{content}");
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(totals.failures.get("slow-content"), Some(&1));
    // All of it came: that nothing more comes is no slowness.
    let mut whole = gateway.ask(post);
    whole.send([b'x'; 1000]);
    let (mut endpoint, _) = origin.request();
    endpoint.exactly(1000);
    gateway.later(Duration::from_secs(3600));
    endpoint.send(OK);
    assert_eq!(whole.answer().1, "ok");
}

#[test]
fn an_answer_that_is_read_too_slowly_is_broken_off_and_one_that_comes_slowly_is_not() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].limits.answer_rate = Some(1 << 30);
    let gateway = gateway(settings(vec![app]));
    let mut waits = gateway.ask(GET);
    let (mut slow, _) = origin.request();
    slow.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(waits.until("half").matches("half").count(), 1);
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    // As much as the kernels hold.
    let pushed = std::thread::spawn(move || endpoint.send_until_refused());
    while !pushed.is_finished() {
        gateway.later(Duration::from_secs(10));
    }
    pushed.join().unwrap();
    assert_eq!(client.rest().1, End::Reset);
    let totals = gateway.until(|totals| totals.client_gone == 1);
    assert_eq!(totals.failures.get("slow-reader"), Some(&1));
    slow.send("half");
    assert!(waits.until("half").ends_with("half"));
}

#[test]
fn there_are_no_more_tunnels_than_allowed_and_their_places_are_given_back() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start();
    let mut settings = only(&origin);
    settings.limits.tunnels = Some(1);
    let gateway = Gateway::start(2, settings, false);
    let mut first = gateway.ask(upgrade);
    let (mut endpoint, _) = origin.request();
    // It counts as soon as an endpoint is asked, on whichever thread the next one comes.
    for asked in 0..6 {
        let mut second = gateway.ask(upgrade);
        let (head, _) = second.answer();
        assert!(head.starts_with("http/1.1 503 ") && !head.contains("connection: close"), "{head}");
        second.send(GET);
        let (mut other, _) = origin.request();
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_eq!(second.answer().1, "ok");
        if asked == 2 {
            endpoint.send(switching);
            first.head();
        }
    }
    assert!(!origin.was_called());
    drop((first, endpoint));
    gateway.until(|totals| totals.tunnels_opened == 1 && totals.tunnels_open == 0);
    let mut third = gateway.ask(upgrade);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_eq!(third.answer().1, "no");
    third.send(upgrade);
    let (mut endpoint, _) = origin.request();
    endpoint.send(switching);
    assert!(third.head().starts_with("http/1.1 101 "));
}
