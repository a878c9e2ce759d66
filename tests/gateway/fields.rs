//! What an endpoint is told, and what a client is told back.

use serde_json::Value;

use crate::byhand::{Door, Wire, seen};
use crate::daemon::{Daemon, Folder};
use crate::http2::{Http2, request};
use crate::sample::Sample;

fn passing(sample: &Sample, settings: &str) -> Daemon {
    let folder = Folder::listening_with(settings);
    folder.passing("shop", &sample.address);
    folder.start().ready()
}

/// What the endpoint saw of a request with these fields.
fn echo(daemon: &Daemon, fields: &str) -> Value {
    let mut client = Wire::to(&daemon.address());
    client.say(format!("GET /echo HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"));
    client.message().json()
}

const CLAIMS: &str = "Forwarded: for=192.0.2.1;proto=https\r\nX-Forwarded-For: 192.0.2.1\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 192.0.2.1\r\n\
    X_Forwarded_For: 192.0.2.1\r\n";

#[test]
fn an_unknown_client_cannot_speak_for_others() {
    let sample = Sample::tcp();
    let echo = echo(&passing(&sample, ""), CLAIMS);
    assert_eq!(seen(&echo, "forwarded"), ["for=127.0.0.1;host=shop.test;proto=http"]);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&echo, "x-forwarded-host"), ["shop.test"]);
    for gone in ["x-forwarded-port", "x-real-ip", "x_forwarded_for"] {
        assert!(seen(&echo, gone).is_empty(), "{echo}");
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_continued() {
    let sample = Sample::tcp();
    for trusted in ["127.0.0.0/8", "127.0.0.1"] {
        let daemon = passing(&sample, &format!("[forwarded]\ntrusted = [\"{trusted}\"]"));
        let echo = echo(&daemon, CLAIMS);
        let forwarded = "for=192.0.2.1;proto=https, for=127.0.0.1;host=shop.test;proto=http";
        assert_eq!(seen(&echo, "forwarded"), [forwarded]);
        assert_eq!(seen(&echo, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
        assert_eq!(seen(&echo, "x-forwarded-proto"), ["https"]);
        assert_eq!(seen(&echo, "x-forwarded-host"), ["evil.test"]);
        assert!(seen(&echo, "x_forwarded_for").is_empty(), "a disguise stays one");
    }
    let other = passing(&sample, "[forwarded]\ntrusted = [\"10.0.0.0/8\", \"unix\"]");
    assert_eq!(seen(&echo(&other, CLAIMS), "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn a_peer_of_a_unix_socket_is_trusted_when_that_is_configured() {
    let sample = Sample::tcp();
    let dir = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", dir.path().join("front.sock").display());
    for (trusted, addresses) in [("", vec![]), ("\"unix\"", vec!["192.0.2.1"])] {
        let folder = Folder::new(&format!(
            "[listener.http]\nlisten = [\"{path}\"]\n[forwarded]\ntrusted = [{trusted}]\n"
        ));
        folder.passing("shop", &sample.address);
        let mut daemon = folder.start().ready();
        let mut client = Wire::to(&path);
        client.say(format!("GET /echo HTTP/1.1\r\nHost: shop.test\r\n{CLAIMS}\r\n"));
        let echo = client.message().json();
        assert_eq!(seen(&echo, "x-forwarded-for"), addresses, "{echo}");
        assert!(seen(&echo, "forwarded")[0].ends_with("for=_unix;host=shop.test;proto=http"), "{echo}");
        daemon.signal(rustix::process::Signal::TERM);
        daemon.ends();
    }
}

#[test]
fn what_belongs_to_one_connection_goes_no_further() {
    let sample = Sample::tcp();
    let daemon = passing(&sample, "");
    let fields = "Connection: keep-alive, x-mine, TE\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
        Proxy: http://evil.test\r\nX-Other: stays\r\nVia: 1.0 before\r\n";
    let echo = echo(&daemon, fields);
    for gone in ["x-mine", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy"] {
        assert!(seen(&echo, gone).is_empty(), "{gone}: {echo}");
    }
    assert_eq!(seen(&echo, "te"), ["trailers"]);
    assert_eq!(seen(&echo, "x-other"), ["stays"]);
    let via = seen(&echo, "via");
    assert!(via.len() == 2 && via[0] == "1.0 before" && via[1].starts_with("1.1 hitless-"), "{via:?}");
    assert_eq!(seen(&echo, "host"), ["shop.test"]);
}

#[test]
fn connection_cannot_remove_what_the_gateway_says() {
    let sample = Sample::tcp();
    let listed = "Connection: x-forwarded-for, forwarded, x-request-id, traceparent, via, host\r\n";
    let echo = echo(&passing(&sample, ""), listed);
    for stays in ["x-forwarded-for", "forwarded", "x-request-id", "traceparent", "via", "host"] {
        assert_eq!(seen(&echo, stays).len(), 1, "{stays}: {echo}");
    }
}

#[test]
fn an_answer_loses_what_belongs_to_its_connection_and_gains_via() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &door.address);
    let daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    client.ask("shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nVia: 1.1 before\r\nServer: other\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = client.message();
    for gone in ["x-mine", "keep-alive", "connection"] {
        assert_eq!(answer.field(gone), None, "{answer:?}");
    }
    assert_eq!(answer.all("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.all("via"), ["1.1 before", "1.1 hitless"]);
    assert_eq!(answer.field("server"), Some("other"));
    assert!(answer.field("date").is_some());
}

#[test]
fn crumbs_of_a_cookie_arrive_as_one_field() {
    let sample = Sample::tcp();
    let daemon = passing(&sample, "");
    let mut asked = request("GET", "shop.test", "/echo", "");
    asked.headers_mut().append("cookie", "a=b".parse().unwrap());
    asked.headers_mut().append("cookie", "c=d".parse().unwrap());
    let echo = serde_json::from_slice(&Http2::to(&daemon.address()).send(asked).1).unwrap();
    assert_eq!(seen(&echo, "cookie"), ["a=b; c=d"]);
    assert_eq!(seen(&echo, "host"), ["shop.test"]);
    assert_eq!(seen(&echo, "forwarded"), ["for=127.0.0.1;host=shop.test;proto=http"]);
}

#[test]
fn a_request_that_goes_in_circles_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", dir.path().join("front.sock").display());
    let folder = Folder::new(&format!("[listener.http]\nlisten = [\"{path}\"]\n"));
    folder.passing("shop", &path);
    let mut daemon = folder.start().ready();
    let answer = Wire::to(&path).get("shop.test", "/");
    // RFC 9110, section 7.6.3.
    assert!(answer.first.starts_with("HTTP/1.1 508 "), "{answer:?}");
    assert_eq!(answer.all("via").len(), 9, "it came once and came back eight times: {answer:?}");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.ends();
}

#[test]
fn what_a_gateway_answers_for_itself() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &door.address);
    let daemon = folder.start().ready();
    let host = "Host: shop.test\r\n";
    let table = [
        // RFC 9110, section 7.6.2.
        (format!("OPTIONS * HTTP/1.1\r\n{host}Max-Forwards: 0\r\n\r\n"), 204, "allow"),
        (format!("OPTIONS / HTTP/1.1\r\n{host}Max-Forwards: 0\r\n\r\n"), 204, "allow"),
        (format!("TRACE / HTTP/1.1\r\n{host}Max-Forwards: 0\r\nCookie: a=b\r\n\r\n"), 405, "allow"),
        (format!("OPTIONS / HTTP/1.1\r\n{host}Max-Forwards: x\r\n\r\n"), 400, "date"),
        // RFC 9110, section 10.1.1.
        (format!("GET / HTTP/1.1\r\n{host}Expect: the-unexpected\r\n\r\n"), 417, "date"),
        // RFC 9112, section 3.2.
        ("GET http://shop.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(), 400, "date"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 400, "date"),
        ("CONNECT shop.test:0 HTTP/1.1\r\nHost: shop.test:0\r\n\r\n".to_owned(), 400, "date"),
    ];
    for (request, status, field) in table {
        let mut client = Wire::to(&daemon.address());
        let answer = client.say(&request).message();
        assert!(answer.first.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer:?}");
        assert!(answer.field(field).is_some() && answer.field("date").is_some(), "{request}: {answer:?}");
    }
    assert!(door.is_quiet(), "none of them was forwarded");
}

#[test]
fn an_options_goes_one_hop_less_far_and_keeps_its_asterisk() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &door.address);
    let daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    client.say("OPTIONS * HTTP/1.1\r\nHost: Shop.Test:80\r\nMax-Forwards: 7\r\n\r\n");
    let mut endpoint = door.accept();
    let request = endpoint.message();
    assert_eq!(request.first, "OPTIONS * HTTP/1.1");
    assert_eq!(request.field("max-forwards"), Some("6"));
    assert_eq!(request.field("host"), Some("Shop.Test:80"), "what was routed");
    endpoint.say("HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.message();
    // RFC 9110, section 15.3.6.
    assert_eq!((answer.field("content-length"), answer.content.len()), (Some("0"), 0), "{answer:?}");
    assert!(answer.field("date").is_some(), "RFC 9110, section 6.6.1");
}

#[test]
fn an_endpoint_cannot_switch_to_what_was_not_asked_for() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &door.address);
    let daemon = folder.start().ready();
    for switched in ["Upgrade: other\r\n", ""] {
        let mut client = Wire::to(&daemon.address());
        client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let mut endpoint = door.accept();
        endpoint.message();
        endpoint.say(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{switched}\r\n"));
        // RFC 9110, section 7.8.
        assert!(client.message().first.starts_with("HTTP/1.1 502 "), "{switched}");
    }
}
