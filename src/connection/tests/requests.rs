//! What happens to one request.

use super::world::*;
use crate::config::settings::{Action, HostPattern, PathPattern};

#[test]
fn a_request_is_answered_by_its_endpoint_and_the_connection_is_kept() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, head) = origin.request();
    assert!(head.starts_with("get / http/1.1\r\n") && head.contains("host: app.example\r\n"), "{head}");
    assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n") && head.contains("traceparent: 00-"), "{head}");
    endpoint.send(OK);
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 200 ok\r\n") && head.contains("x-request-id: "), "{head}");
    assert!(!head.contains("connection: close"), "{head}");
    assert_eq!(content, "ok");
    // Again, on the same connections on both sides.
    client.send(GET);
    endpoint.head();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    assert!(!origin.was_called());
    drop(client);
    gateway.drain(AT_ONCE);
    let totals = gateway.finish();
    assert_eq!((totals.admitted, totals.answered, totals.connections_accepted), (2, 2, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&[GET, GET, GET].concat());
    let mut endpoint = origin.accept();
    for content in ["1", "2", "3"] {
        endpoint.head();
        endpoint.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{content}"));
    }
    let answers: Vec<String> = (0..3).map(|_| client.answer().1).collect();
    assert_eq!(answers, ["1", "2", "3"]);
}

#[test]
fn a_unix_listener_serves_like_tcp() {
    let origin = Origin::start();
    let gateway = Gateway::start(2, only(&origin), true);
    let mut client = gateway.connect_unix();
    client.send(GET);
    let (mut endpoint, head) = origin.request();
    assert!(!head.contains("x-forwarded-for: 127"), "{head}");
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
}

#[test]
fn a_request_without_or_with_two_authorities_is_400() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n",
    ] {
        let (answer, _) = gateway.ask(head).answer();
        assert!(answer.starts_with("http/1.1 400 "), "{head:?}: {answer}");
    }
    assert!(!origin.was_called());
}

#[test]
fn the_authority_of_an_absolute_form_routes_and_must_not_differ_from_host() {
    let (one, two) = (Origin::start(), Origin::start());
    let mut services = vec![service("one", &one), service("two", &two)];
    services[0].routes[0].hosts = vec![HostPattern::Exact("one.example".into())];
    services[1].routes[0].hosts = vec![HostPattern::Exact("two.example".into())];
    let gateway = gateway(settings(services));
    let mut client = gateway.ask("GET http://two.example/path HTTP/1.1\r\nHost: Two.Example:80\r\n\r\n");
    let (mut endpoint, head) = two.request();
    assert!(head.starts_with("get /path http/1.1\r\n") && head.contains("host: two.example\r\n"), "{head}");
    endpoint.send(OK);
    client.answer();
    let (refused, _) = gateway.ask("GET http://two.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n").answer();
    assert!(refused.starts_with("http/1.1 400 "), "{refused}");
    let (misdirected, _) = gateway.ask("GET / HTTP/1.1\r\nHost: three.example\r\n\r\n").answer();
    assert!(misdirected.starts_with("http/1.1 421 "), "{misdirected}");
}

#[test]
fn http_1_0_is_served_without_a_host_and_closed_unless_kept() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("GET / HTTP/1.0\r\n\r\n");
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    let (head, content) = client.answer();
    // RFC 9110, section 6.2: the version is the gateway's.
    assert!(head.starts_with("http/1.1 200 ") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(content, "ok");
    assert_eq!(client.ended(), End::Closed);
    let mut kept = gateway.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    endpoint.head();
    endpoint.send(OK);
    assert!(kept.answer().0.contains("connection: keep-alive"));
}

#[test]
fn redirects_and_fixed_answers_ask_no_endpoint() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].path = PathPattern("/old/*".into());
    app.routes[0].action = Action::Redirect { to: "https://{host}{path}{query}".into(), status: 308 };
    let mut fixed = route("app");
    fixed.action = Action::Answer { status: 200, content_type: "text/plain".into(), body: "hello".into() };
    app.routes.push(fixed);
    let gateway = gateway(settings(vec![app]));
    let mut client = gateway.ask("GET /old/x?y HTTP/1.1\r\nHost: app.example\r\n\r\n");
    let (redirect, _) = client.answer();
    assert!(redirect.starts_with("http/1.1 308 "), "{redirect}");
    assert!(redirect.contains("location: https://app.example/old/x?y\r\n"), "{redirect}");
    client.send(GET);
    assert_eq!(client.answer().1, "hello");
    client.send(GET.replace("GET", "HEAD"));
    assert!(client.head().contains("content-length: 5\r\n"));
    client.send(GET);
    assert_eq!(client.answer().1, "hello");
    gateway.drain(AT_ONCE);
    assert_eq!(gateway.finish().answered, 4);
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_a_502_with_the_request_id() {
    let gone = Origin::start();
    let settings = only(&gone);
    drop(gone);
    let gateway = gateway(settings);
    let mut client = gateway.ask("GET / HTTP/1.1\r\nHost: app.example\r\nX-Request-Id: mine\r\n\r\n");
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 502 ") && head.contains("x-request-id: mine\r\n"), "{head}");
    assert!(content.contains("mine"), "{content}");
    let totals = gateway.until(|totals| totals.refused == 1);
    assert_eq!(totals.failures.get("unreachable"), Some(&1));
}

#[test]
fn a_panic_in_one_request_is_a_500_and_the_next_request_is_served() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client =
        gateway.ask("GET / HTTP/1.1\r\nHost: a.example\r\nX-Request-Id: the-one\r\nX-Test-Panic: 1\r\n\r\n");
    let (head, _) = client.answer();
    assert!(head.starts_with("http/1.1 500 ") && head.contains("x-request-id: the-one\r\n"), "{head}");
    client.send(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    let totals = gateway.threads.totals();
    assert_eq!(totals.failures.get("panicked"), Some(&1));
}

#[test]
fn a_client_that_goes_away_ends_the_attempt_upstream_at_once() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    drop(client);
    endpoint.ended();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.residue()), (1, 0));
}

/// An end of what the client sends was taken for its departure: `nc -N` got nothing.
#[test]
fn a_client_that_only_says_that_it_has_sent_everything_gets_its_answers() {
    let origin = Origin::start();
    let gateway = Gateway::start(1, only(&origin), true);
    for mut client in [gateway.connect(), gateway.connect_unix()] {
        client.send([GET, GET].concat());
        client.end();
        let (mut endpoint, _) = origin.request();
        // The first byte of the answer asks whether somebody is there.
        assert_eq!(client.exactly(1), b"H");
        endpoint.send(OK);
        assert!(client.until("ok").starts_with("TTP/1.1 200 OK\r\n"));
        endpoint.head();
        assert_eq!(client.exactly(1), b"H");
        endpoint.send(OK);
        assert!(client.until("ok").starts_with("TTP/1.1 200 OK\r\n"));
        assert_eq!(client.ended(), End::Closed);
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.answered, totals.client_gone, totals.residue()), (4, 0, 0));
}

#[test]
fn a_client_that_ends_its_side_within_an_answer_gets_all_of_it() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    client.until("half");
    client.end();
    gateway.settle();
    endpoint.send("more");
    assert_eq!(client.rest(), (b"more".to_vec(), End::Closed));
}

#[test]
fn a_client_that_closes_within_a_silent_answer_ends_the_attempt_too() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    client.until("data: 1");
    drop(client);
    endpoint.ended();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.residue()), (1, 0));
}

#[test]
fn connections_are_spread_over_the_threads() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].action =
        Action::Answer { status: 200, content_type: "text/plain".into(), body: "ok".into() };
    let gateway = Gateway::start(3, settings(vec![app]), false);
    let mut clients: Vec<Peer> = (0..30).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.answer().1, "ok");
    }
    let loads = gateway.threads.loads();
    assert_eq!(loads.iter().sum::<u64>(), 30);
    assert!(loads.iter().all(|load| (8..=12).contains(load)), "{loads:?}");
}

#[test]
fn a_wedged_thread_does_not_beat_and_the_others_do() {
    let origin = Origin::start();
    let gateway = Gateway::start(2, only(&origin), false);
    gateway.settle();
    let release = gateway.threads.wedge(1);
    gateway.threads.beat(100);
    assert!(!gateway.threads.beaten(100));
    drop(release);
    gateway.threads.beat(101);
    while !gateway.threads.beaten(101) {
        std::thread::yield_now();
    }
}
