//! A kept connection that the endpoint has closed is never the client's trouble.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::byhand::{Door, Wire};
use crate::daemon::{Daemon, Folder};
use crate::sample::Sample;

fn in_front_of(endpoint: &str, lines: &str) -> Daemon {
    // One data thread, so that all requests share one pool.
    let folder = Folder::listening_with("[daemon]\nthreads = 1");
    folder.passing_with("blog", endpoint, lines);
    folder.start().ready()
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced_for_every_method() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let mut client = Wire::to(&daemon.address());
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let asked = format!("{method} / HTTP/1.1\r\nHost: blog.test\r\nContent-Length: 5\r\n\r\nhello");
        client.say(&asked);
        let mut first = door.accept();
        assert_eq!(first.message().text(), "hello");
        first.answer("one");
        assert_eq!(client.message().text(), "one");
        drop(first);
        client.say(&asked);
        let mut second = door.accept();
        assert_eq!(second.message().text(), "hello", "{method}");
        second.answer("two");
        assert_eq!(client.message().text(), "two", "{method}");
        drop(second);
        assert!(door.is_quiet(), "{method} came a third time");
    }
}

#[test]
fn an_idempotent_request_that_meets_a_closing_connection_is_sent_again() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let mut client = Wire::to(&daemon.address());
    client.ask("blog.test", "/");
    let mut kept = door.accept();
    kept.message();
    kept.answer("one");
    assert_eq!(client.message().text(), "one");
    // Taken by the kernel of a connection that closes instead of answering.
    client.ask("blog.test", "/");
    kept.message();
    drop(kept);
    let mut fresh = door.accept();
    fresh.message();
    fresh.answer("two");
    assert_eq!(client.message().text(), "two");
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_sent_twice() {
    let door = Door::tcp();
    let daemon = in_front_of(&door.address, "");
    let mut client = Wire::to(&daemon.address());
    client.say("POST / HTTP/1.1\r\nHost: blog.test\r\nContent-Length: 5\r\n\r\nhello");
    let mut acting = door.accept();
    assert_eq!(acting.message().text(), "hello");
    drop(acting);
    assert_eq!(client.message().status(), 502);
    assert!(door.is_quiet(), "it was sent twice");
}

#[test]
fn an_application_that_is_restarted_between_requests_is_not_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let tcp = Sample::tcp();
    let port = tcp.address.clone();
    let mut running = vec![tcp, Sample::unix(&path)];
    let folder = Folder::listening_with("[daemon]\nthreads = 1");
    for (at, protocol) in ["http1", "h2c"].iter().enumerate() {
        for (name, endpoint) in [("tcp", &running[0].address), ("unix", &running[1].address)] {
            folder.passing_with(&format!("{name}{at}"), endpoint, &format!("protocol = \"{protocol}\""));
        }
    }
    let daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    for life in 0..5 {
        for host in ["tcp0.test", "unix0.test", "tcp1.test", "unix1.test"] {
            for id in ["a", "b"] {
                let path = format!("/post?id={life}-{host}-{id}");
                let answer = client.post(host, &path, "hello");
                assert_eq!((answer.status(), &answer.json()["times"]), (200, &1.into()), "{answer:?}");
            }
        }
        running.drain(..).for_each(Sample::leave);
        running = vec![Sample::at(&port), Sample::unix(&path)];
    }
}

/// How often each POST came to an endpoint that closes each connection after three answers, without
/// a word.
#[test]
fn racing_with_an_endpoint_that_closes_no_get_fails_and_no_post_is_doubled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let posts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let received = Arc::clone(&posts);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let received = Arc::clone(&received);
            std::thread::spawn(move || closing_after_three(stream, &received));
        }
    });
    let daemon = in_front_of(&endpoint, "");
    let mut client = Wire::to(&daemon.address());
    for number in 0..500 {
        assert_eq!(client.get("blog.test", "/get").status(), 200, "GET {number}");
        client.post("blog.test", "/post", &number.to_string());
    }
    let posts = posts.lock().unwrap();
    let doubled: Vec<_> = posts.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    assert!(posts.len() >= 490, "only {} of 500 arrived", posts.len());
}

fn closing_after_three(stream: std::net::TcpStream, received: &Mutex<BTreeMap<String, usize>>) {
    let mut reader = std::io::BufReader::new(stream);
    for _ in 0..3 {
        let Some((first, content)) = request(&mut reader) else { return };
        if first.starts_with("POST") {
            *received.lock().unwrap().entry(content).or_default() += 1;
        }
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

fn request(reader: &mut impl std::io::BufRead) -> Option<(String, String)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        match () {
            () if line.is_empty() => break,
            () if first.is_empty() => first = line.to_ascii_uppercase(),
            () => {}
        }
    }
    let mut content = vec![0; length];
    reader.read_exact(&mut content).ok()?;
    Some((first, String::from_utf8(content).ok()?))
}
