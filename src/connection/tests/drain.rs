//! What a drain and a cut do to connections.

use std::time::Duration;

use super::world::*;
use crate::config::settings::Action;
use crate::connection::DrainOrder;

#[test]
fn a_request_in_flight_is_answered_with_connection_close() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    gateway.drain(AT_ONCE);
    endpoint.send(OK);
    let (head, content) = client.answer();
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!((content.as_str(), client.ended()), ("ok", End::Closed));
    let totals = gateway.finish();
    assert_eq!((totals.answered, totals.cut), (1, 0));
}

#[test]
fn an_idle_connection_is_served_in_its_grace_and_its_answer_is_the_last() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut kept = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    kept.answer();
    let mut fresh = gateway.connect();
    gateway.until(|totals| totals.connections_open == 2);
    gateway.drain(GRACE);
    for client in [&mut kept, &mut fresh] {
        client.send(GET);
        endpoint.head();
        endpoint.send(OK);
        let (head, content) = client.answer();
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!((content.as_str(), client.ended()), ("ok", End::Closed));
    }
    assert_eq!(gateway.finish().answered, 3);
}

#[test]
fn http_1_0_is_told_close_in_a_drain_even_if_it_asked_to_be_kept() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let (mut endpoint, _) = origin.request();
    gateway.drain(GRACE);
    endpoint.send(OK);
    let (head, _) = client.answer();
    assert!(!head.contains("keep-alive"), "{head}");
    assert_eq!(client.ended(), End::Closed);
}

#[test]
fn idle_connections_are_closed_when_the_grace_is_over() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut kept = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    kept.answer();
    let mut silent = gateway.connect();
    gateway.until(|totals| totals.connections_open == 2);
    gateway.drain(AT_ONCE);
    assert_eq!((kept.ended(), silent.ended()), (End::Closed, End::Closed));
    drop((kept, silent));
    gateway.finish();
}

/// The naive way loses this one: the request is on its way while the connection is closed for
/// being idle.
#[test]
fn a_request_that_races_the_end_of_the_grace_is_served() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut kept = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    kept.answer();
    let mut fresh = gateway.connect();
    gateway.until(|totals| totals.connections_open == 2);
    // The thread sees the requests and the order in the same turn.
    let release = gateway.threads.wedge(0);
    kept.send(GET);
    fresh.send(GET);
    gateway.threads.drain(AT_ONCE);
    drop(release);
    let (mut one, mut two) = (endpoint, origin.accept());
    for endpoint in [&mut one, &mut two] {
        endpoint.head();
        endpoint.send(OK);
    }
    for client in [&mut kept, &mut fresh] {
        let (head, content) = client.answer();
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!(content, "ok");
        client.ended();
    }
    assert_eq!(gateway.finish().answered, 3);
}

/// The deadline of a head did not begin when its first half had come behind another request: the drain
/// waited for the rest until its own deadline.
#[test]
fn half_a_head_behind_another_request_does_not_hold_up_a_drain_for_ever() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&[GET, "GET / HTTP/1.1\r\nHo"].concat());
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    client.answer();
    gateway.until(|totals| totals.in_flight == 0);
    gateway.drain(AT_ONCE);
    // Until the grace is over, the connection is an idle one.
    let began = std::time::Instant::now();
    while !client.has_something() && began.elapsed() < Duration::from_secs(10) {
        gateway.later(Duration::from_secs(11));
    }
    assert!(client.answer().0.starts_with("http/1.1 408 "));
    assert_eq!(client.ended(), End::Closed);
    gateway.finish();
}

#[test]
fn half_a_head_that_came_before_the_end_of_the_grace_may_be_completed() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (start, rest) = GET.split_at(20);
    let mut kept = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    kept.answer();
    let release = gateway.threads.wedge(0);
    kept.send(start);
    gateway.threads.drain(AT_ONCE);
    drop(release);
    gateway.settle();
    kept.send(rest);
    endpoint.head();
    endpoint.send(OK);
    let (head, content) = kept.answer();
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(content, "ok");
}

#[test]
fn a_draining_gateway_accepts_nothing() {
    let origin = Origin::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept_elsewhere = listener.try_clone().unwrap();
    let first = Gateway::on(listener, only(&origin));
    first.drain(AT_ONCE);
    // It waits in the kernel for whoever comes next.
    let mut waiting = Peer::connect(address);
    waiting.send(GET);
    assert_eq!(first.finish().connections_accepted, 0);
    let second = Gateway::on(kept_elsewhere, only(&origin));
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(waiting.answer().1, "ok");
    drop(second);
}

/// Clients that keep their connections, and open a new one only when told so, notice nothing while
/// one gateway after the other takes over the listening socket.
#[test]
fn no_request_is_lost_while_gateways_replace_each_other() {
    let origin = Origin::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || Gateway::on(listener.try_clone().unwrap(), fixed(&origin));
    let over = std::sync::atomic::AtomicBool::new(false);
    let mut answered = 0;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| ask_until(&over, address))).collect();
        let mut serving = start();
        for _ in 0..5 {
            let before = serving.until(|totals| totals.answered > 200).answered;
            assert!(before > 200);
            let next = start();
            serving.drain(DrainOrder { idle_grace: Duration::from_millis(500), ..AT_ONCE });
            answered += serving.finish().answered;
            serving = next;
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let asked: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        serving.drain(AT_ONCE);
        assert_eq!(answered + serving.finish().answered, asked);
    });
}

fn fixed(origin: &Origin) -> crate::config::settings::Settings {
    let mut app = service("app", origin);
    app.routes[0].action =
        Action::Answer { status: 200, content_type: "text/plain".into(), body: "ok".into() };
    settings(vec![app])
}

/// Asks and is answered, without a single failure; returns how often.
fn ask_until(over: &std::sync::atomic::AtomicBool, address: std::net::SocketAddr) -> u64 {
    let mut client = Peer::connect(address);
    for count in 1.. {
        client.send(GET);
        let (head, content) = client.answer();
        assert_eq!(content, "ok");
        if over.load(std::sync::atomic::Ordering::Relaxed) {
            return count;
        }
        if head.contains("connection: close") {
            assert_eq!(client.ended(), End::Closed);
            client = Peer::connect(address);
        }
    }
    unreachable!("the clients are told to stop")
}

#[test]
fn what_has_not_been_answered_at_the_deadline_is_a_503() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    gateway.drain(AT_ONCE);
    gateway.cut();
    let (head, _) = client.answer();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("connection: close\r\n"), "{head}");
    client.ended();
    endpoint.ended();
    let totals = gateway.finish();
    assert_eq!((totals.cut, totals.failures.get("drained")), (1, Some(&1)));
}

#[test]
fn an_answer_that_has_begun_is_broken_off_at_the_deadline() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    client.head();
    client.until("half");
    gateway.drain(AT_ONCE);
    gateway.cut();
    assert_eq!(client.rest().0, b"");
    endpoint.ended();
    assert_eq!(gateway.finish().cut, 1);
}

#[test]
fn a_client_that_does_not_read_does_not_outlive_the_deadline() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    endpoint.send_until_stuck();
    gateway.drain(AT_ONCE);
    gateway.cut();
    assert_eq!(gateway.finish().cut, 1);
    drop(client);
}

#[test]
fn an_answer_is_not_destroyed_by_what_the_client_still_sends() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 60000\r\n\r\n");
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    gateway.until(|totals| totals.answered == 1);
    client.send([b'x'; 60000]);
    assert_eq!(client.answer().1, "no");
}

#[test]
fn who_waits_when_the_doors_close_is_served_and_who_comes_later_is_refused() {
    for threads in [1, 2] {
        let gateway = Gateway::start(threads, answering("hello"), true);
        gateway.drain(GRACE);
        // What nobody accepts any more: in the queue, with and without a request.
        let mut waiting =
            [gateway.ask(GET), gateway.connect(), gateway.connect_unix(), gateway.connect_unix()];
        block_on(gateway.threads.refuse(false));
        assert!(Peer::come(gateway.address()).is_err());
        assert!(Peer::come_by_unix(&gateway.unix_path()).is_err());
        waiting[2].send(GET);
        for client in [0, 2] {
            let (head, content) = waiting[client].answer();
            assert!(head.contains("connection: close\r\n"), "{head}");
            assert_eq!((content.as_str(), waiting[client].ended()), ("hello", End::Closed));
        }
        gateway.cut();
        assert_eq!((waiting[1].ended(), waiting[3].ended()), (End::Closed, End::Closed));
        let totals = gateway.finish();
        assert_eq!((totals.connections_accepted, totals.answered), (4, 2), "{totals:?}");
    }
}

#[test]
fn nobody_is_lost_while_the_doors_close_on_a_crowd() {
    let gateway = Gateway::start(2, answering("hello"), true);
    let crowd: Vec<_> = (0..4)
        .map(|client| {
            let (tcp, unix) = (gateway.address(), gateway.unix_path());
            std::thread::spawn(move || {
                let come = || if client % 2 == 0 { Peer::come(tcp) } else { Peer::come_by_unix(&unix) };
                let mut served = 0;
                while let Ok(mut visitor) = come() {
                    visitor.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                    assert_eq!(visitor.answer().1, "hello");
                    served += 1;
                }
                served
            })
        })
        .collect();
    gateway.until(|totals| totals.answered > 200);
    gateway.threads.drain(GRACE);
    block_on(gateway.threads.refuse(false));
    // Each of them was answered until it was refused.
    let served: u64 = crowd.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(gateway.finish().answered, served);
}

#[test]
fn a_drain_is_not_over_while_somebody_may_still_be_accepted() {
    let gateway = Gateway::start(1, answering("hello"), false);
    gateway.drain(GRACE);
    let refusing = gateway.threads.refuse(false);
    let mut finished = Box::pin(gateway.threads.finished());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(finished.as_mut().poll(&mut cx).is_pending());
    block_on(refusing);
    assert!(finished.as_mut().poll(&mut cx).is_ready());
}

/// It was noticed by the watchdog only, half a minute later, and the whole daemon was killed for it.
#[test]
fn a_thread_that_dies_is_noticed_at_once_and_the_others_serve_on() {
    let gateway = Gateway::start(2, answering("hello"), false);
    gateway.threads.run(0, |_| panic!("a thread of a test"));
    block_on(gateway.threads.one_died());
    let mut client = gateway.ask(GET);
    assert_eq!(client.answer().1, "hello");
    gateway.drain(AT_ONCE);
    client.ended();
    block_on(gateway.threads.finished());
}
