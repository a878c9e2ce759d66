//! Deadlines: each one is a 504 that says which, and a client that goes away ends the attempt.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::byhand::{Door, Message, Wire};
use crate::daemon::{Daemon, Folder, eventually};
use crate::http2::{Http2, curl, request};

fn in_front_of(endpoint: &str, timeout: &str) -> Daemon {
    let folder = Folder::listening_with("[log]\naccess = \"all\"");
    folder.passing_with("shop", endpoint, &format!("timeout = {{ {timeout} }}"));
    folder.start().ready()
}

/// Asks, and tells what came and what the log says about it.
fn asked(daemon: &Daemon) -> (Message, serde_json::Value) {
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Request-Id: late\r\nAccept: application/json\r\n\r\n");
    let answer = client.message();
    (answer, daemon.access("late"))
}

fn is_504(answer: &Message, line: &serde_json::Value, deadline: &str) {
    assert_eq!(answer.status(), 504, "{answer:?}");
    let code = format!("late-{deadline}");
    assert_eq!(answer.json()["code"], code.as_str(), "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains(deadline), "{answer:?}");
    assert_eq!((&line["code"], &line["fault"]), (&code.into(), &"upstream".into()), "{line}");
    assert_eq!(line["status"], 504);
}

#[test]
fn an_endpoint_that_takes_no_connection_is_late_to_connect() {
    // The kernel takes connections for it until its queue is full, and then none.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    // listen(2): a backlog of 0 is full with the first that waits; from then on the kernel drops each SYN.
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], None).unwrap();
    let daemon = in_front_of(&address.to_string(), "connect = \"300ms\"");
    let (answer, line) = asked(&daemon);
    is_504(&answer, &line, "connect");
    assert_eq!(line["phase"], "connect");
}

#[test]
fn an_endpoint_that_says_nothing_is_late_with_the_first_byte() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "first-byte = \"300ms\"");
    let (answer, line) = asked(&daemon);
    is_504(&answer, &line, "first-byte");
    let mut endpoint = door.accept();
    endpoint.head();
    assert!(endpoint.is_closed(), "the attempt is given up");
    assert!(door.is_quiet(), "it was tried again");
}

#[test]
fn the_whole_request_has_its_deadline_before_and_within_the_answer() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "request = \"400ms\"");
    let (answer, line) = asked(&daemon);
    is_504(&answer, &line, "request");
    drop(door.accept());
    // Long enough for an endpoint that shares its processor with many.
    let daemon = in_front_of(&door.address, "request = \"5s\"");
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Request-Id: within\r\n\r\n");
    let mut endpoint = door.accept();
    endpoint.head();
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    // It never falls silent, and is too slow all the same.
    let trickle = std::thread::spawn(move || {
        while std::io::Write::write(&mut endpoint.socket, b"x").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    client.drained();
    trickle.join().unwrap();
    assert_eq!(daemon.access("within")["code"], "late-request");
}

#[test]
fn an_answer_that_falls_silent_breaks_off_and_is_logged_as_idle() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "idle = \"300ms\"");
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Request-Id: silent\r\n\r\n");
    let mut endpoint = door.accept();
    endpoint.head();
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    client.until("half");
    assert!(client.is_closed() && endpoint.is_closed());
    let line = daemon.access("silent");
    assert_eq!((&line["code"], &line["phase"]), (&"late-idle".into(), &"body".into()), "{line}");
}

#[test]
fn an_endpoint_that_stops_reading_an_upload_is_late_and_so_is_a_client_that_stops_sending() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "idle = \"300ms\"");
    let mut client = Wire::to(&daemon.address());
    client.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000000\r\n\r\n");
    let _endpoint = door.accept();
    let mut writer = client.socket.try_clone().unwrap();
    // Never ends by itself: the client cannot be the one who is late.
    let sending =
        std::thread::spawn(move || while std::io::Write::write(&mut writer, &[7; 65_536]).is_ok() {});
    assert_eq!(client.head().status(), 504);
    let _ = client.socket.shutdown(std::net::Shutdown::Both);
    sending.join().unwrap();
    let mut client = Wire::to(&daemon.address());
    client.say("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.head().status(), 408);
}

#[test]
fn a_route_has_its_own_deadlines() {
    let door = Door::tcp();
    let route = "first-byte = \"1h\" }\n[[service.shop.route]]\n[[service.shop.route]]\npath = \"/quick\"\n\
        timeout = { first-byte = \"200ms\"";
    let daemon = in_front_of(&door.address, route);
    let mut slow = Wire::to(&daemon.address());
    slow.ask("shop.test", "/report");
    let mut endpoint = door.accept();
    endpoint.message();
    let mut quick = Wire::to(&daemon.address());
    assert_eq!(quick.get("shop.test", "/quick").status(), 504);
    endpoint.answer("at last");
    assert_eq!(slow.message().text(), "at last");
}

#[test]
fn a_client_that_goes_away_ends_the_attempt_at_once() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "first-byte = \"1h\"");
    let address = daemon.address();
    // Before the answer, within it, and within the upload.
    for (asked, answered) in [
        ("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        ("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100\r\n\r\nhalf", ""),
    ] {
        let mut client = Wire::to(&address);
        client.say(asked);
        let mut endpoint = door.accept();
        endpoint.head();
        if asked.ends_with("half") {
            endpoint.until("half");
        }
        if !answered.is_empty() {
            endpoint.say(answered);
            client.until("half");
        }
        drop(client);
        assert!(endpoint.is_closed(), "{asked}");
    }
    let gone = || daemon.accesses().iter().filter(|line| line["code"] == "client-gone").count();
    eventually(|| (gone() == 3).then_some(()));
    assert!(door.is_quiet(), "nothing was tried again");
}

#[test]
fn a_stream_that_is_reset_ends_its_attempt_at_once_and_no_other() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "first-byte = \"1h\"");
    let client = Http2::to(&daemon.address());
    let ask = |path: &str| {
        let mut sender = client.sender.clone();
        client.runtime.spawn(sender.send_request(request("GET", "shop.test", path, "")))
    };
    let (stays, goes) = (ask("/stays"), ask("/goes"));
    let endpoints = [door.accept(), door.accept()];
    let mut endpoints = endpoints.map(|mut wire| (wire.message().first, wire));
    endpoints.sort_by(|one, other| one.0.cmp(&other.0));
    let [(_, mut gone), (_, mut staying)] = endpoints;
    goes.abort();
    assert!(gone.is_closed());
    staying.answer("here");
    let answer = client.runtime.block_on(stays).unwrap().unwrap();
    assert_eq!(client.runtime.block_on(crate::http2::whole(answer)).1, "here");
    assert!(door.is_quiet());
}

#[test]
fn a_deadline_is_said_to_curl_as_well() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "first-byte = \"200ms\"");
    let said = curl(&daemon.address(), &["--http2-prior-knowledge", "--include", "http://shop.test/"]);
    assert!(said.starts_with("HTTP/2 504") && said.contains("first-byte"), "{said}");
}
