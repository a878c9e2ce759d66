//! Deadlines of requests, and who is told about them.

use std::time::Duration;

use super::world::*;

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_request_that_takes_too_long_is_a_504_that_says_so() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.request = Some(SHORT);
    let gateway = gateway(settings(vec![app]));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 504 "), "{head}");
    assert!(content.contains("(request)"), "{content}");
    endpoint.ended();
}

#[test]
fn an_endpoint_that_falls_silent_in_its_answer_breaks_it_off() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.idle = Some(SHORT);
    let gateway = gateway(settings(vec![app]));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    client.head();
    assert_eq!(client.rest().0, b"half");
    endpoint.ended();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.broken_off, totals.failures.get("late-idle")), (1, Some(&1)));
}

#[test]
fn a_client_that_does_not_read_for_the_idle_time_is_given_up() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.idle = Some(Duration::from_millis(400));
    let gateway = gateway(settings(vec![app]));
    let client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    // The endpoint pushes until the gateway lets go of it.
    endpoint.send_until_refused();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.client_gone, totals.residue()), (1, 0));
    drop(client);
}

#[test]
fn a_client_that_falls_silent_in_its_upload_is_a_408() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.idle = Some(SHORT);
    let gateway = gateway(settings(vec![app]));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhalf");
    let (mut endpoint, _) = origin.request();
    endpoint.until("half");
    let (head, _) = client.answer();
    assert!(head.starts_with("http/1.1 408 ") && head.contains("connection: close\r\n"), "{head}");
}

/// Each direction had an idle time of its own, which cut long uploads to an endpoint that answers early,
/// and streams whose client only listens.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is time that passes between two bytes")]
fn an_exchange_in_which_either_direction_moves_is_not_idle() {
    const IDLE: Duration = Duration::from_secs(2);
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.idle = Some(IDLE);
    let gateway = gateway(settings(vec![app]));
    for upward in [true, false] {
        let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n");
        let (mut endpoint, _) = origin.request();
        endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        client.head();
        let began = std::time::Instant::now();
        let (mut up, mut down) = (0, 0);
        while began.elapsed() < IDLE * 2 {
            // What is tested is time: bytes with pauses that are each far shorter than the idle limit.
            std::thread::sleep(IDLE / 20);
            let (from, to, sent) = match upward {
                true => (&mut client, &mut endpoint, &mut up),
                false => (&mut endpoint, &mut client, &mut down),
            };
            from.send("x");
            to.exactly(1);
            *sent += 1;
        }
        client.send("y".repeat(100 - up));
        endpoint.exactly(100 - up);
        endpoint.send("y".repeat(100 - down));
        client.exactly(100 - down);
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.answered, totals.residue()), (2, 0));
}

#[test]
fn a_head_that_does_not_come_in_time_is_a_408_and_silence_an_end() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut slow = gateway.ask("GET / HTTP/1.1\r\nHost: a.exa");
    let mut silent = gateway.connect();
    gateway.until(|totals| totals.connections_open == 2);
    gateway.later(Duration::from_secs(9));
    slow.send("mple\r\n");
    gateway.later(Duration::from_secs(11));
    let (head, content) = slow.answer();
    assert!(head.starts_with("http/1.1 408 ") && head.contains("connection: close\r\n"), "{head}");
    assert!(head.contains("x-request-id: ") && content.contains("request id: "), "{head}{content}");
    assert_eq!((slow.ended(), silent.ended()), (End::Closed, End::Closed));
    let totals = gateway.until(|totals| totals.connections_open == 0);
    assert_eq!((totals.admitted, totals.refused, totals.residue()), (1, 1, 0));
    assert_eq!(totals.failures.get("slow-head"), Some(&1));
}

#[test]
fn an_empty_line_alone_is_no_head_and_gets_no_answer() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut waiting = gateway.ask("\r\n");
    let mut ending = gateway.ask("\r\n");
    ending.end();
    assert_eq!(ending.ended(), End::Closed);
    gateway.until(|totals| totals.connections_open == 1);
    gateway.later(Duration::from_secs(11));
    assert_eq!(waiting.ended(), End::Closed);
    assert_eq!(gateway.until(|totals| totals.connections_open == 0).admitted, 0);
}

#[test]
fn an_idle_connection_is_closed_after_its_time_unless_a_request_is_there() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    client.answer();
    gateway.until(|totals| totals.in_flight == 0);
    gateway.later(Duration::from_secs(74));
    // The thread sees the request and the end of the time in the same turn.
    let release = gateway.threads.wedge(0);
    client.send(GET);
    gateway.threads.run(0, |local| local.sweep(std::time::Instant::now() + Duration::from_secs(76)));
    drop(release);
    endpoint.head();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    gateway.until(|totals| totals.in_flight == 0);
    gateway.later(Duration::from_secs(76));
    assert_eq!(client.ended(), End::Closed);
    assert_eq!(gateway.until(|totals| totals.connections_open == 0).admitted, 2);
}

#[test]
fn a_kept_connection_may_be_idle_but_its_next_head_has_a_deadline() {
    let origin = Origin::start();
    let mut settings = only(&origin);
    settings.limits.keep_alive = None;
    let gateway = gateway(settings);
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    client.answer();
    gateway.later(Duration::from_secs(3600));
    client.send(GET);
    endpoint.head();
    gateway.later(Duration::from_secs(3600));
    endpoint.send(OK);
    client.answer();
    client.send("GET ");
    // Until the thread has read it, the connection is an idle one.
    let mut answered = false;
    while !answered {
        gateway.later(Duration::from_secs(11));
        answered = client.has_something();
    }
    assert!(client.head().starts_with("http/1.1 408 "));
}
