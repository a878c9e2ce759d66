//! Table: every limit of HTTP/1, reached; its status, its code and its name in the log (hitless.toml(5),
//! `[limits]`).
//!
//! A fault of the head has no code for the client to check where `Accept` may not have been read;
//! the log has it in any case.

use std::net::TcpStream;

use crate::daemon::{Daemon, Folder, eventually};
use crate::endpoint::Endpoint;
use crate::oracle;
use crate::peer::{Heard, Peer};
use crate::row::{Act, HOST, OK, Row, Step, Then, chunked, get, post, row, say, status, want};
use crate::run::run;

#[test]
fn a_limit_that_is_not_set_is_the_one_of_the_manual() {
    run("", by_default());
}

#[test]
fn a_limit_that_is_set_holds() {
    run(
        "[limits]\nkeep-alive-requests = 3\ncontent = \"1KiB\"\nrequest-line = \"256B\"\nfields = \"1KiB\"\nfield-count = 8\n",
        set(),
    );
}

#[test]
fn a_head_that_is_slow_is_told_so() {
    run("[limits]\nhead-time = \"2s\"\n", slow_heads());
}

#[test]
fn a_connection_without_a_request_ends_after_its_time() {
    run("[limits]\nkeep-alive = \"200ms\"\n", kept());
}

#[test]
fn a_kept_connection_is_not_kept_at_all_when_its_time_is_nothing() {
    run("[limits]\nkeep-alive = \"0s\"\n", never_kept());
}

#[test]
fn there_are_no_tunnels_where_none_are_allowed() {
    run("[limits]\ntunnels = 0\n", no_tunnels());
}

/// Every row, for counting.
pub fn rows() -> Vec<Row> {
    [by_default(), set(), slow_heads(), kept(), never_kept(), no_tunnels()].into_iter().flatten().collect()
}

const CITE: &str = "hitless.toml(5), [limits]";
const LINE: &str = "GET / HTTP/1.1";

fn fields(count: usize) -> String {
    (0..count).map(|number| format!("X-{number}: a\r\n")).collect()
}

fn by_default() -> Vec<Row> {
    let request_line = "limits.request-line";
    let long = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(length));
    let bytes = |count: usize| get(&format!("X-A: {}\r\n", "a".repeat(count)));
    let trailers = |lines: &str| chunked(&format!("3\r\nabc\r\n0\r\n{lines}\r\n"));
    let post_line = "POST / HTTP/1.1";
    [
        row("a request line of 8000 bytes", "RFC 9112, section 3: at least 8000")
            .says(long(7986))
            .served(&format!("GET /{} HTTP/1.1", "a".repeat(7986))),
        row("a request line of 9000 bytes", "RFC 9110, section 15.5.15")
            .says(long(8986))
            .refused(414)
            .logs(request_line),
        row("a query of 9000 bytes", "RFC 9110, section 15.5.15")
            .says(format!("GET /?{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(9000)))
            .refused(414)
            .logs(request_line),
        row("a request line without an end", "RFC 9110, section 15.5.15")
            .says(format!("GET /{}", "a".repeat(100_000)))
            .refused(414)
            .logs(request_line),
        row("a method without an end", "RFC 9112, section 3: 501 where the method is longer than any known")
            .says("A".repeat(100_000))
            .gets(crate::row::any_of(&[400, 414, 501]))
            .then(Then::Refused),
        row("fields of 30,000 bytes", CITE).says(bytes(30_000)).served(LINE),
        row("fields of 33,000 bytes", "RFC 6585, section 5")
            .says(bytes(33_000))
            .refused(431)
            .logs("limits.fields"),
        row("many fields of 33,000 bytes", "RFC 6585, section 5")
            .says(get(&format!("X-A: {}\r\n", "a".repeat(1000)).repeat(33)))
            .refused(431)
            .logs("limits.fields"),
        row("a field without an end", "RFC 6585, section 5")
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-A: {}", "a".repeat(100_000)))
            .refused(431)
            .logs("limits.fields"),
        row("a name without an end", "RFC 6585, section 5")
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{}", "a".repeat(100_000)))
            .refused(431)
            .logs("limits.fields"),
        row("white space without an end", "RFC 6585, section 5")
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-A:{}", " ".repeat(100_000)))
            .refused(431)
            .logs("limits.fields"),
        row("a hundred fields", CITE).says(get(&fields(99))).served(LINE),
        row("a hundred and one fields", "RFC 6585, section 5")
            .says(get(&fields(100)))
            .refused(431)
            .logs("limits.field-count"),
        row("a thousand fields", "RFC 6585, section 5")
            .says(get(&fields(1000)))
            .refused(431)
            .logs("limits.field-count"),
        row("a thousand empty fields of one name", "RFC 6585, section 5")
            .says(get(&"a:\r\n".repeat(1000)))
            .refused(431)
            .logs("limits.field-count"),
        row("a hundred and one trailers", "RFC 6585, section 5")
            .says(trailers(&fields(101)))
            .broken(431, post_line)
            .logs("limits.field-count"),
        row("trailers of 33,000 bytes", "RFC 6585, section 5")
            .says(trailers(&format!("X-A: {}\r\n", "a".repeat(33_000))))
            .broken(431, post_line)
            .logs("limits.fields"),
        row("a trailer without an end", "RFC 6585, section 5")
            .says(chunked(&format!("0\r\nX-A: {}", "a".repeat(100_000))))
            .broken(431, post_line)
            .logs("limits.fields"),
    ]
    .into()
}

const JSON: &str = "Accept: application/json\r\n";

fn set() -> Vec<Row> {
    // More than all buffers on the way take for a client that does not listen.
    let untaken = "x".repeat(16 << 20);
    let post_line = "POST / HTTP/1.1";
    let (all, more) = ("a".repeat(1024), "a".repeat(1025));
    let known = |content: &str| post(&format!("{JSON}Content-Length: {}\r\n", content.len()), content);
    let in_chunks = |content: &str| {
        post(
            &format!("{JSON}Transfer-Encoding: chunked\r\n"),
            &format!("{:x}\r\n{content}\r\n0\r\n\r\n", content.len()),
        )
    };
    let too_long = || status(413).code("long-content");
    let broken = || crate::row::Want { broken: true, ..want(post_line).any_content() };
    let none = "limits = { content = \"0B\" }\n";
    let large = "limits = { content = \"4KiB\" }\n";
    let logged = "limits.content";
    vec![
        row("a content as long as may be", CITE)
            .says(known(&all))
            .gets(status(200))
            .arrives(want(post_line).content(&all)),
        row("a content one byte too long", "RFC 9110, section 15.5.14")
            .says(known(&more))
            .gets(too_long())
            .then(Then::Refused)
            .logs(logged),
        row("a content that is announced too long and never sent", "RFC 9110, section 15.5.14")
            .says(post(&format!("{JSON}Content-Length: 9223372036854775807\r\n"), ""))
            .gets(too_long())
            .then(Then::Refused),
        row(
            "a content that is too long, with an expectation",
            "RFC 9110, section 10.1.1: no 100, no content",
        )
        .says(post(&format!("{JSON}Expect: 100-continue\r\nContent-Length: 1025\r\n"), ""))
        .gets(too_long().interim(&[]))
        .then(Then::Refused),
        row("chunks as long as may be", CITE)
            .says(in_chunks(&all))
            .gets(status(200))
            .arrives(want(post_line).content(&all)),
        row("chunks one byte too long", "RFC 9110, section 15.5.14")
            .says(in_chunks(&more))
            .gets(too_long())
            .then(Then::Refused)
            .arrives(broken())
            .logs(logged),
        row("a chunk that is announced too long", "RFC 9110, section 15.5.14")
            .says(post(&format!("{JSON}Transfer-Encoding: chunked\r\n"), "7fffffff\r\na"))
            .gets(too_long())
            .then(Then::Refused)
            .arrives(broken()),
        row("many chunks that are too long together", "RFC 9110, section 15.5.14")
            .says(post(
                &format!("{JSON}Transfer-Encoding: chunked\r\n"),
                &format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(1025)),
            ))
            .gets(too_long())
            .then(Then::Refused)
            .arrives(broken()),
        row("no content where none may be", CITE)
            .service(none)
            .says(known(""))
            .gets(status(200))
            .arrives(want(post_line)),
        row("a byte where none may be", "RFC 9110, section 15.5.14")
            .service(none)
            .says(known("a"))
            .gets(too_long())
            .then(Then::Refused),
        row("a service with more than the others", CITE)
            .service(large)
            .says(known(&more))
            .gets(status(200))
            .arrives(want(post_line).content(&more)),
        row("a route with less than its service", CITE)
            .service(
                "limits = { content = \"off\" }\n[[service.NAME.route]]\nlimits = { content = \"2B\" }\n",
            )
            .says(known("abc"))
            .gets(too_long())
            .then(Then::Refused),
        row("a request line that is too long for what is set", "RFC 9110, section 15.5.15")
            .says(format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(256)))
            .refused(414)
            .logs("limits.request-line"),
        row("fields that are too long for what is set", "RFC 6585, section 5")
            .says(get(&format!("X-A: {more}\r\n")))
            .refused(431)
            .logs("limits.fields"),
        row("fields that are too many for what is set", "RFC 6585, section 5")
            .says(get(&fields(8)))
            .refused(431)
            .logs("limits.field-count"),
        row("the last request of a connection", "RFC 9112, section 9.6: it says so beforehand")
            .says(get("").repeat(3))
            .gets(status(200).field("connection", &[]))
            .gets(status(200).field("connection", &[]))
            .gets(status(200).field("connection", &["close"]))
            .arrives(want(LINE))
            .arrives(want(LINE))
            .arrives(want(LINE))
            .then(Then::Refused),
        row("one request more than a connection may bring", "RFC 9112, section 9.6")
            .says(get("").repeat(4))
            .gets(status(200))
            .gets(status(200))
            .gets(status(200))
            .arrives(want(LINE))
            .arrives(want(LINE))
            .arrives(want(LINE))
            .then(Then::Refused),
        // The grace for the first bytes is the gateway's; the answer is the event that is waited for.
        row("a content that stops", "RFC 9110, section 15.5.9")
            .service("limits = { content-rate = \"1GiB\" }\n")
            .says(post(&format!("{JSON}Content-Length: 9\r\n"), "abc"))
            .gets(status(408).code("slow-content"))
            .then(Then::Refused)
            .arrives(broken())
            .logs("limits.content-rate")
            .once(),
        row("chunks that stop", "RFC 9110, section 15.5.9")
            .service("limits = { content-rate = \"1GiB\" }\n")
            .says(post(&format!("{JSON}Transfer-Encoding: chunked\r\n"), "3\r\nabc\r\n"))
            .gets(status(408).code("slow-content"))
            .then(Then::Refused)
            .arrives(broken())
            .logs("limits.content-rate")
            .once(),
        // The client does not listen before the endpoint has seen that nobody wants more.
        row("an answer that is not taken", "RFC 9110, section 15.2")
            .service("limits = { answer-rate = \"1GiB\" }\n")
            .says(get(""))
            .acts(vec![
                Act::Whole,
                say(format!("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{untaken}")),
                Act::Heard("what never comes"),
                Act::Mark("broken off"),
            ])
            .does(Step::Await("broken off"))
            .gets(status(200).cut(&untaken))
            .then(Then::Closed)
            .arrives(want(LINE))
            .logs("limits.answer-rate")
            .once(),
    ]
}

fn slow_heads() -> Vec<Row> {
    let late = "RFC 9110, section 15.5.9";
    let logged = "limits.head-time";
    [
        row("half a request line", late).says("GET / HT").refused(408).logs(logged),
        row("one byte", late).says("G").refused(408).logs(logged),
        row("a request line alone", late).says("GET / HTTP/1.1\r\n").refused(408).logs(logged),
        row("a head without its end", late)
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n"))
            .refused(408)
            .logs(logged),
        row("a head with half of its end", late)
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r"))
            .refused(408)
            .logs(logged),
        row("half a head behind a request", late)
            .says(get(""))
            .does(Step::Answered(1))
            .says("GET / HTTP/1.1\r\nHo")
            .gets(status(200))
            .gets(status(408))
            .arrives(want(LINE))
            .then(Then::Refused)
            .logs(logged),
        row("nothing at all", "RFC 9110, section 15.5.9: whoever says nothing is told nothing")
            .then(Then::Closed),
    ]
    .map(Row::once)
    .into()
}

fn kept() -> Vec<Row> {
    [row("a connection that says nothing more", "RFC 9112, section 9.5")
        .says(get(""))
        .gets(status(200))
        .arrives(want(LINE))
        .then(Then::Closed)]
    .map(Row::once)
    .into()
}

fn never_kept() -> Vec<Row> {
    let rows = [
        row("each answer is the last", "RFC 9112, section 9.6")
            .says(get(""))
            .gets(status(200).field("connection", &["close"]))
            .arrives(want(LINE))
            .then(Then::Refused),
        row("nothing behind the last answer is read", "RFC 9112, section 9.6")
            .says(get("").repeat(2))
            .gets(status(200).field("connection", &["close"]))
            .arrives(want(LINE))
            .then(Then::Refused),
    ];
    rows.into()
}

fn no_tunnels() -> Vec<Row> {
    [
        row("an upgrade where no tunnel may be", CITE)
            .says(get(&format!("{JSON}Connection: upgrade\r\nUpgrade: echo\r\n")))
            .gets(status(503).code("many-tunnels").field("retry-after", &["1"]))
            .then(Then::Any)
            .logs("limits.tunnels"),
        row("CONNECT where no tunnel may be", CITE)
            .service("[[service.NAME.route]]\nconnect = true\n")
            .says(format!("CONNECT a0000.test:443 HTTP/1.1\r\nHost: a0000.test:443\r\n{JSON}\r\n"))
            .gets(status(503).to("CONNECT").code("many-tunnels"))
            .then(Then::Any)
            .logs("limits.tunnels"),
        row("a request that is no tunnel", CITE).says(get("")).served(LINE),
    ]
    .into()
}

/// A gateway with one service in front of a raw endpoint, and a client of it.
fn alone(settings: &str, endpoint: &str) -> Daemon {
    let folder =
        Folder::listening_with(&format!("[log]\naccess = \"all\"\n[drain]\nidle-grace = \"0s\"\n{settings}"));
    folder.passing("a0000", endpoint);
    folder.start().ready()
}

fn client(daemon: &Daemon) -> Peer {
    Peer::new(TcpStream::connect(daemon.address()).unwrap(), Heard::default(), false)
}

fn hears(peer: &mut Peer, text: &str) {
    peer.hear(|bytes, _| oracle::find(bytes, text.as_bytes()).is_some()).unwrap();
    let heard = peer.heard.lock().unwrap();
    assert!(oracle::find(&heard, text.as_bytes()).is_some(), "{text:?}: {}", oracle::quote(&heard));
}

#[test]
fn a_tunnel_makes_room_for_another() {
    let (listener, port) = Endpoint::bind();
    let daemon = alone("[limits]\ntunnels = 1\n", &format!("127.0.0.1:{port}"));
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let upgrade = get(&format!("{JSON}Connection: upgrade\r\nUpgrade: echo\r\n"));
    let endpoint = || {
        let mut peer = Peer::new(listener.accept().unwrap().0, Heard::default(), false);
        hears(&mut peer, "\r\n\r\n");
        peer.say(switching.as_bytes()).unwrap();
        peer
    };
    let mut first = client(&daemon);
    first.say(upgrade.as_bytes()).unwrap();
    let application = endpoint();
    hears(&mut first, " 101 ");
    let mut second = client(&daemon);
    second.say(upgrade.as_bytes()).unwrap();
    hears(&mut second, "many-tunnels");
    // The log is written beside the answer, not before it.
    eventually(|| daemon.log().contains("limits.tunnels").then_some(()));
    drop((first, application));
    eventually(|| (daemon.status()["totals"]["tunnels_open"] == 0).then_some(()));
    let mut third = client(&daemon);
    third.say(upgrade.as_bytes()).unwrap();
    let _application = endpoint();
    hears(&mut third, " 101 ");
}

#[test]
fn a_connection_with_a_request_is_not_idle_however_long_it_takes() {
    let (listener, port) = Endpoint::bind();
    let daemon = alone("[limits]\nkeep-alive = \"200ms\"\n", &format!("127.0.0.1:{port}"));
    let ask = || {
        let mut asking = client(&daemon);
        asking.say(get("").as_bytes()).unwrap();
        let mut application = Peer::new(listener.accept().unwrap().0, Heard::default(), false);
        hears(&mut application, "\r\n\r\n");
        (asking, application)
    };
    let (mut slow, mut its) = ask();
    let (mut quick, mut other) = ask();
    other.say(OK.as_bytes()).unwrap();
    hears(&mut quick, "\r\n\r\nok");
    // Its end tells that the time has passed.
    quick.hear(|_, end| end.is_some()).unwrap();
    its.say(OK.as_bytes()).unwrap();
    hears(&mut slow, "\r\n\r\nok");
}

/// What is put into `Via` here is known again here. A route may lead back here on purpose: how often is
/// the gateway's affair, twenty times is a loop to everybody.
#[test]
fn a_request_that_comes_back_again_and_again_is_a_loop() {
    let (listener, port) = Endpoint::bind();
    let daemon = alone("", &format!("127.0.0.1:{port}"));
    let mut first = client(&daemon);
    first.say(get("").as_bytes()).unwrap();
    let mut application = Peer::new(listener.accept().unwrap().0, Heard::default(), false);
    hears(&mut application, "\r\n\r\n");
    let (request, _) = oracle::request(&application.heard.lock().unwrap(), false).unwrap().unwrap();
    application.say(OK.as_bytes()).unwrap();
    hears(&mut first, "\r\n\r\nok");
    let element = request.all("via").join(", ");
    let list = vec![element.as_str(); 20].join(", ");
    let lines = [
        format!("Via: {list}\r\n"),
        format!("Via: {}\r\n", list.to_uppercase()),
        format!("Via: 1.0 before, {list}, 1.1 after\r\n"),
        format!("Via: {element}\r\n").repeat(20),
        format!("Via: {}\r\n", vec![format!("{element} (a comment)"); 20].join(",")),
    ];
    for lines in lines {
        let mut again = client(&daemon);
        again.say(get(&format!("{JSON}{lines}")).as_bytes()).unwrap();
        again.hear(|bytes, _| oracle::find(bytes, b"\"code\"").is_some()).unwrap();
        let heard = again.heard.lock().unwrap().clone();
        let (answers, _) = oracle::answers(&heard, &["GET"], None).unwrap();
        assert_eq!(answers[0].status, 508, "RFC 9110, section 7.6.3; {lines:?}: {}", oracle::quote(&heard));
    }
    let arrived = application.heard.lock().unwrap();
    assert_eq!(oracle::requests(&arrived, false).unwrap().len(), 1, "{}", oracle::quote(&arrived));
}
