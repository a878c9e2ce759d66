//! Who a request is: told to the endpoint, to the client, and in every log line.

use crate::byhand::{Door, Message, Wire, seen};
use crate::daemon::{Daemon, Folder};
use crate::sample::Sample;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn telling(endpoint: &str) -> Daemon {
    let folder = Folder::listening_with("[log]\naccess = \"all\"");
    folder.passing_with("shop", endpoint, "timeout = { connect = \"200ms\" }");
    folder.start().ready()
}

fn asked(daemon: &Daemon, path: &str, fields: &str) -> Message {
    let mut client = Wire::to(&daemon.address());
    client.say(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"));
    client.message()
}

#[test]
fn an_identity_is_kept_told_to_both_sides_and_logged() {
    let sample = Sample::tcp();
    let daemon = telling(&sample.address);
    let parent = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\ntracestate: a=b\r\n");
    let answer = asked(&daemon, "/echo", &format!("X-Request-Id: order-17\r\n{parent}"));
    let echo = answer.json();
    assert_eq!(answer.field("x-request-id"), Some("order-17"));
    assert_eq!(seen(&echo, "x-request-id"), ["order-17"]);
    assert_eq!(seen(&echo, "tracestate"), ["a=b"]);
    let child = seen(&echo, "traceparent")[0].to_owned();
    assert!(child.starts_with(&format!("00-{TRACE}-")) && !child.contains("b7ad6b7169203331"), "{child}");
    assert_eq!(answer.field("traceresponse"), Some(child.as_str()));
    let line = daemon.access("order-17");
    for (name, value) in [
        ("trace_id", TRACE),
        ("service", "shop"),
        ("route", "shop[0]"),
        ("endpoint", &sample.address),
        ("method", "GET"),
        ("authority", "shop.test"),
        ("path", "/echo"),
        ("protocol", "HTTP/1.1"),
        ("client", "127.0.0.1"),
        ("code", "ok"),
        ("process", "gateway"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["status"], &line["sent_bytes"]), (&200.into(), &answer.content.len().into()), "{line}");
}

#[test]
fn an_identity_is_made_when_there_is_none_or_none_that_can_be_used() {
    let sample = Sample::tcp();
    let daemon = telling(&sample.address);
    for fields in ["", "X-Request-Id: a b\r\ntraceparent: 00-0-0-0\r\ntracestate: a=b\r\n"] {
        let answer = asked(&daemon, "/echo", fields);
        let (id, echo) = (answer.field("x-request-id").unwrap(), answer.json());
        assert_eq!((id.len(), seen(&echo, "x-request-id")), (32, vec![id]));
        assert_eq!(seen(&echo, "traceparent").len(), 1);
        assert!(seen(&echo, "tracestate").is_empty());
        let trace = daemon.access(id)["trace_id"].as_str().unwrap().to_owned();
        assert!(answer.field("traceresponse").unwrap().contains(&trace));
    }
}

#[test]
fn what_goes_wrong_carries_its_identity_fault_and_phase() {
    // Bound, and listening to nobody any more.
    let gone = Door::tcp().address;
    let daemon = telling(&gone);
    let answer = asked(&daemon, "/", "X-Request-Id: lost-1\r\nAccept: application/json\r\n");
    assert_eq!((answer.status(), answer.field("x-request-id")), (502, Some("lost-1")));
    assert_eq!(answer.json()["code"], "unreachable", "{answer:?}");
    let line = daemon.access("lost-1");
    assert_eq!((&line["fault"], &line["phase"]), (&"upstream".into(), &"connect".into()), "{line}");
    assert_eq!((&line["level"], &line["code"]), (&"warning".into(), &"unreachable".into()), "{line}");
    assert_eq!((&line["service"], &line["route"]), (&"shop".into(), &"shop[0]".into()), "{line}");
    let answer = asked(&daemon, "/", "X-Request-Id: lost-2\r\nX-Nothing: 1\r\nAccept: text/html\r\n");
    assert!(answer.text().contains("lost-2"), "a person finds it too: {answer:?}");
}

#[test]
fn answers_of_the_gateway_itself_carry_it_as_well() {
    let daemon = telling("127.0.0.1:1");
    daemon.folder.answering("blog", "hello");
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: nobody.test\r\nX-Request-Id: who\r\n\r\n");
    let answer = client.message();
    assert_eq!((answer.status(), answer.field("x-request-id")), (421, Some("who")));
    let line = daemon.access("who");
    assert_eq!((&line["fault"], &line["code"]), (&"client".into(), &"misdirected".into()), "{line}");
}
