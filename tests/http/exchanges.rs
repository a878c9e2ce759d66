//! Table: what a request and its answer mean, with peers that are odd but right (RFC 9110; RFC 9112).

use crate::row::{Act, HOST, OK, Row, Step, Then, any_of, get, post, row, say, status, want};
use crate::run::run;

#[test]
fn what_is_odd_but_right_goes_through_as_it_was_meant() {
    run("", rows());
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(without_content());
    rows.extend(ranges());
    rows.extend(old_clients());
    rows.extend(old_endpoints());
    rows.extend(pipelines());
    rows.extend(half_closed());
    rows.extend(expectations());
    rows.extend(interim());
    rows.extend(trailers());
    rows.extend(fields_of_answers());
    rows.extend(hops());
    rows.extend(tunnels());
    rows
}

const LINE: &str = "GET / HTTP/1.1";

/// Any request, by its method.
fn ask(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn without_content() -> Vec<Row> {
    let length = |name, values: &'static [&'static str]| (name, values);
    let table = [
        (
            "HEAD with a length",
            "HEAD",
            "200 OK",
            "Content-Length: 1234\r\n",
            length("content-length", &["1234"]),
        ),
        ("HEAD without a length", "HEAD", "200 OK", "", length("content-length", &[])),
        ("HEAD of nothing", "HEAD", "200 OK", "Content-Length: 0\r\n", length("content-length", &["0"])),
        (
            "HEAD with a type",
            "HEAD",
            "200 OK",
            "Content-Type: a/b\r\nContent-Length: 9\r\n",
            length("content-type", &["a/b"]),
        ),
        (
            "HEAD that is not found",
            "HEAD",
            "404 Not Found",
            "Content-Length: 9\r\n",
            length("content-length", &["9"]),
        ),
        ("204", "GET", "204 No Content", "X-A: b\r\n", length("x-a", &["b"])),
        ("204 to POST", "POST", "204 No Content", "", length("content-length", &[])),
        ("205", "GET", "205 Reset Content", "Content-Length: 0\r\n", length("content-length", &["0"])),
        ("304", "GET", "304 Not Modified", "ETag: \"a\"\r\n", length("etag", &["\"a\""])),
        (
            "304 with a length",
            "GET",
            "304 Not Modified",
            "Content-Length: 1234\r\n",
            length("content-length", &["1234"]),
        ),
        ("304 to HEAD", "HEAD", "304 Not Modified", "ETag: \"a\"\r\n", length("etag", &["\"a\""])),
    ];
    let table = table.map(|(name, method, line, fields, (field, values))| {
        let code: u16 = line[..3].parse().unwrap();
        let to = if method == "HEAD" { "HEAD" } else { "GET" };
        row(
            format!("{name} has no content"),
            "RFC 9112, section 6.3; RFC 9110, sections 8.6, 9.3.2, 15.3.5, 15.3.6, 15.4.5",
        )
        .says(ask(method))
        .answers(format!("HTTP/1.1 {line}\r\n{fields}\r\n"))
        .gets(status(code).to(to).content("").field(field, values))
        .arrives(want(&format!("{method} / HTTP/1.1")))
    });
    let coded =
        row("HEAD with a coding has no content", "RFC 9112, section 6.1: may be sent in an answer to HEAD")
            .says(ask("HEAD"))
            .answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .gets(status(200).to("HEAD").content(""))
            .arrives(want("HEAD / HTTP/1.1"));
    table.into_iter().chain([coded]).collect()
}

fn ranges() -> Vec<Row> {
    let multipart = "--x\r\nContent-Range: bytes 0-0/9\r\n\r\na\r\n--x--\r\n";
    [
        row("a part of a content", "RFC 9110, sections 14.2 and 15.3.7")
            .says(get("Range: bytes=2-3\r\n"))
            .answers("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/9\r\nContent-Length: 2\r\n\r\ncd")
            .gets(status(206).content("cd").field("content-range", &["bytes 2-3/9"]).field("content-length", &["2"]))
            .arrives(want(LINE).exactly(&[("range", "bytes=2-3")])),
        row("several parts of a content", "RFC 9110, section 15.3.7.2")
            .says(get("Range: bytes=0-0,8-8\r\n"))
            .answers(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: {}\r\n\r\n{multipart}",
                multipart.len()
            ))
            .gets(status(206).content(multipart).field("content-type", &["multipart/byteranges; boundary=x"]))
            .arrives(want(LINE)),
        row("a range that there is not", "RFC 9110, section 15.5.17")
            .says(get("Range: bytes=99-\r\n"))
            .answers("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n")
            .gets(status(416).content("").field("content-range", &["bytes */9"]))
            .arrives(want(LINE)),
        row("a range that the endpoint ignores", "RFC 9110, section 14.2")
            .says(get("Range: bytes=0-0\r\nIf-Range: \"a\"\r\n"))
            .gets(status(200).content("ok"))
            .arrives(want(LINE).exactly(&[("range", "bytes=0-0"), ("if-range", "\"a\"")])),
    ]
    .into()
}

/// The same over HTTP/1.0, with these field lines.
fn old(lines: &str) -> String {
    format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n{lines}\r\n")
}

fn old_clients() -> Vec<Row> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let rows = [
        row("HTTP/1.0 ends its connection", "RFC 9112, section 9.3")
            .says(old(""))
            .gets(status(200).content("ok")),
        row("HTTP/1.0 that says close", "RFC 9112, section 9.3")
            .says(old("Connection: close\r\n"))
            .gets(status(200).content("ok")),
        row("HTTP/1.0 gets no chunks", "RFC 9112, section 6.1")
            .says(old(""))
            .answers(chunked)
            .gets(status(200).content("ok").field("transfer-encoding", &[])),
        row("HTTP/1.0 that stays gets no chunks either", "RFC 9112, sections 6.1 and 9.3")
            .says(old("Connection: keep-alive\r\n"))
            .answers(chunked)
            .gets(status(200).content("ok").field("transfer-encoding", &[])),
        row("HTTP/1.0 gets no trailers", "RFC 9110, section 6.5.1")
            .says(old("TE: trailers\r\n"))
            .answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
            .gets(status(200).content("ok")),
        row("HTTP/1.0 gets the end of an answer without a length", "RFC 9112, section 6.3, rule 8")
            .says(old(""))
            .answers_and_closes("HTTP/1.1 200 OK\r\n\r\nok")
            .gets(status(200).content("ok")),
        row("HTTP/1.0 sees that an answer broke off", "RFC 9112, section 8: no clean end")
            .says(old(""))
            .answers_and_closes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            .gets(status(200).cut("ok")),
        row("HTTP/1.0 sees that a known length broke off", "RFC 9112, section 8")
            .says(old(""))
            .answers_and_closes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
            .gets(status(200).cut("ok")),
        row("HTTP/1.0 gets no 103", "RFC 9110, section 15.2")
            .says(old(""))
            .answers(format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{OK}"))
            .gets(status(200).interim(&[])),
        row("HTTP/1.0 gets no 100, whatever it expects", "RFC 9110, section 10.1.1")
            .says(old("Expect: 100-continue\r\n"))
            .answers(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))
            .gets(status(200).interim(&[])),
    ];
    let rows = rows.map(|row| row.arrives(want(LINE).field("via", &["1.0 hitless"])).then(Then::Closed));
    let others = [
        row("HTTP/1.0 that stays", "RFC 9112, appendix C.2.2")
            .says(old("Connection: keep-alive\r\n"))
            .gets(status(200).content("ok").field("connection", &["keep-alive"]))
            .arrives(want(LINE)),
        row("HTTP/1.0 that stays, in any case", "RFC 9110, section 7.6.1: options are case-insensitive")
            .says(old("Connection: Keep-Alive\r\n"))
            .gets(status(200).content("ok").field("connection", &["keep-alive"]))
            .arrives(want(LINE)),
        row("HTTP/1.0 that stays and says close", "RFC 9112, section 9.3: close wins")
            .says(old("Connection: keep-alive, close\r\n"))
            .gets(status(200).content("ok"))
            .arrives(want(LINE))
            .then(Then::Closed),
        row("HTTP/1.0 with a content", "RFC 9112, section 6.3")
            .says(format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"))
            .gets(status(200))
            .arrives(want("POST / HTTP/1.1").content("abc"))
            .then(Then::Closed),
        row("HTTP/1.0 that asks for an upgrade", "RFC 9110, section 7.8: ignored in HTTP/1.0")
            .says(old("Connection: upgrade\r\nUpgrade: websocket\r\n"))
            .gets(status(200))
            .arrives(want(LINE).exactly(&[]))
            .then(Then::Closed),
        row("HTTP/1.0 that hits HEAD", "RFC 9110, section 9.3.2")
            .says(format!("HEAD / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
            .answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
            .gets(status(200).to("HEAD").field("content-length", &["9"]))
            .arrives(want("HEAD / HTTP/1.1"))
            .then(Then::Closed),
    ];
    rows.into_iter().chain(others).collect()
}

fn old_endpoints() -> Vec<Row> {
    let table = [
        ("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "1.0 hitless"),
        ("HTTP/1.0 up to its end", "HTTP/1.0 200 OK\r\n\r\nok", "1.0 hitless"),
        (
            "HTTP/1.0 that says it stays",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            "1.0 hitless",
        ),
        ("HTTP/1.1 up to its end", "HTTP/1.1 200 OK\r\n\r\nok", "1.1 hitless"),
        (
            "HTTP/1.1 that says close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            "1.1 hitless",
        ),
        (
            "HTTP/1.1 that says close and nothing of its length",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
            "1.1 hitless",
        ),
    ];
    let cite = "RFC 9112, sections 6.3 and 9.3; RFC 9110, section 7.6.3";
    let closed = table.map(|(name, answer, via)| {
        row(format!("an endpoint of {name}"), cite)
            .says(get(""))
            .answers_and_closes(answer)
            .gets(status(200).content("ok").field("via", &[via]))
            .arrives(want(LINE))
    });
    let others = [
        row("an empty answer up to its end", cite)
            .says(get(""))
            .answers_and_closes("HTTP/1.1 200 OK\r\n\r\n")
            .gets(status(200).content(""))
            .arrives(want(LINE)),
        row("an answer up to its end that is reset", "RFC 9112, section 8: incomplete")
            .says(get(""))
            .acts(vec![Act::Whole, say("HTTP/1.1 200 OK\r\n\r\nok"), Act::Await("heard"), Act::Reset])
            .does(Step::Heard("ok"))
            .does(Step::Mark("heard"))
            .gets(status(200).cut("ok"))
            .arrives(want(LINE))
            .then(Then::Closed),
        row("an answer of HTTP/1.0 leaves no connection behind", "RFC 9112, section 9.3")
            .says(get(""))
            .answers("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .gets(status(200).content("ok"))
            .arrives(want(LINE)),
    ];
    closed.into_iter().chain(others).collect()
}

fn numbered(number: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")
}

fn pipelines() -> Vec<Row> {
    let at = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let arrives = |path: &str| want(&format!("GET /{path} HTTP/1.1"));
    let cite = "RFC 9112, section 9.3.2: answers in the order of requests";
    let ten = (0..10).fold(row("ten requests at once", cite), |row, number| {
        row.says(at(&number.to_string()))
            .answers(numbered(number))
            .gets(status(200).content(number.to_string()))
            .arrives(arrives(&number.to_string()))
    });
    let post_line = "POST / HTTP/1.1";
    [
        ten,
        row("three requests in one segment", cite)
            .says([at("0"), at("1"), at("2")].concat())
            .answers(numbered(0))
            .answers(numbered(1))
            .answers(numbered(2))
            .gets(status(200).content("0"))
            .gets(status(200).content("1"))
            .gets(status(200).content("2"))
            .arrives(arrives("0"))
            .arrives(arrives("1"))
            .arrives(arrives("2")),
        row("a request behind a content of known length", cite)
            .says(format!("{}{}", post("Content-Length: 3\r\n", "abc"), at("1")))
            .gets(status(200))
            .gets(status(200))
            .arrives(want(post_line).content("abc"))
            .arrives(arrives("1")),
        row("a request behind chunks", cite)
            .says(format!("{}{}", crate::row::chunked("3\r\nabc\r\n0\r\n\r\n"), at("1")))
            .gets(status(200))
            .gets(status(200))
            .arrives(want(post_line).content("abc"))
            .arrives(arrives("1")),
        row("a request behind trailers", cite)
            .says(format!("{}{}", crate::row::chunked("0\r\nX-Sum: 1\r\n\r\n"), at("1")))
            .gets(status(200))
            .gets(status(200))
            .arrives(want(post_line).trailers(&[("x-sum", "1")]))
            .arrives(arrives("1")),
        row("a request behind HEAD", cite)
            .says(format!("{}{}", ask("HEAD"), at("1")))
            .answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .gets(status(200).to("HEAD").content(""))
            .gets(status(200).content("ok"))
            .arrives(want("HEAD / HTTP/1.1"))
            .arrives(arrives("1")),
        row("a request behind 304", cite)
            .says([at("0"), at("1")].concat())
            .answers("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
            .gets(status(304).content(""))
            .gets(status(200).content("ok"))
            .arrives(arrives("0"))
            .arrives(arrives("1")),
        row("a request behind a slow one", cite)
            .says([at("0"), at("1")].concat())
            .acts(vec![
                Act::Whole,
                say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"),
                Act::Await("head"),
                say("0"),
            ])
            .answers(numbered(1))
            .does(Step::Heard("\r\n\r\n"))
            .does(Step::Mark("head"))
            .gets(status(200).content("0"))
            .gets(status(200).content("1"))
            .arrives(arrives("0"))
            .arrives(arrives("1")),
        row("a request behind one that fails", cite)
            .says([at("0"), at("1")].concat())
            .answers_and_closes("HTTP/9.9 what\r\n\r\n")
            .gets(status(502))
            .gets(status(200).content("ok"))
            .arrives(arrives("0"))
            .arrives(arrives("1")),
        row("a request behind one of another host", cite)
            .says(format!("GET / HTTP/1.1\r\nHost: b0000.test\r\n\r\n{}", at("1")))
            .gets(status(421))
            .gets(status(200).content("ok"))
            .arrives(arrives("1")),
        row("a broken request behind a good one", "RFC 9112, section 9.3.2; nothing behind it is read")
            .says(format!("{}GET / HTTP/1.1\r\n\r\n{}", at("0"), at("2")))
            .gets(status(200))
            .gets(status(400))
            .arrives(arrives("0"))
            .then(Then::Refused),
        row("a good request behind a broken one", "RFC 9112, section 9.3.2; nothing behind it is read")
            .says(format!("GET / HTTP/1.1\r\nHost : a\r\n\r\n{}", at("1")))
            .refused(400),
        row("nothing is read behind close", "RFC 9112, section 9.6")
            .says(format!("GET /0 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n{}", at("1")))
            .gets(status(200))
            .arrives(arrives("0"))
            .then(Then::Refused),
        row("Connection: close in a list, in any case", "RFC 9110, section 7.6.1; RFC 9112, section 9.6")
            .says(get("Connection: x-a, CLOSE\r\n"))
            .gets(status(200))
            .arrives(want(LINE))
            .then(Then::Refused),
        row("a connection option of HTTP/1.1 that says nothing new", "RFC 9112, section 9.3")
            .says(get("Connection: keep-alive\r\n"))
            .gets(status(200))
            .arrives(want(LINE)),
        row("an endpoint's close is not the client's", "RFC 9110, section 7.6.1")
            .says(get(""))
            .answers_and_closes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .gets(status(200).field("connection", &[]))
            .arrives(want(LINE)),
    ]
    .into()
}

fn half_closed() -> Vec<Row> {
    let cite = "RFC 9112, section 9.6; TCP half-close";
    let broken = || any_of(&[400, 408]).or_nothing();
    let part = |line: &str| crate::row::Want { broken: true, ..want(line).any_content() };
    [
        row("a request and the end", cite)
            .says(get(""))
            .does(Step::HalfClose)
            .gets(status(200).content("ok"))
            .arrives(want(LINE))
            .then(Then::Closed),
        row("two requests and the end", cite)
            .says(get("").repeat(2))
            .does(Step::HalfClose)
            .gets(status(200))
            .gets(status(200))
            .arrives(want(LINE))
            .arrives(want(LINE))
            .then(Then::Closed),
        row("a content and the end", cite)
            .says(post("Content-Length: 3\r\n", "abc"))
            .does(Step::HalfClose)
            .gets(status(200))
            .arrives(want("POST / HTTP/1.1").content("abc"))
            .then(Then::Closed),
        row("chunks and the end", cite)
            .says(crate::row::chunked("3\r\nabc\r\n0\r\n\r\n"))
            .does(Step::HalfClose)
            .gets(status(200))
            .arrives(want("POST / HTTP/1.1").content("abc"))
            .then(Then::Closed),
        row("half a request line and the end", "RFC 9112, section 8")
            .says("GET / HT")
            .does(Step::HalfClose)
            .gets(broken())
            .then(Then::Closed),
        row("half a head and the end", "RFC 9112, section 8")
            .says(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n"))
            .does(Step::HalfClose)
            .gets(broken())
            .then(Then::Closed),
        row("half a content and the end", "RFC 9112, sections 6.3 and 8: incomplete")
            .says(post("Content-Length: 9\r\n", "abc"))
            .does(Step::HalfClose)
            .gets(broken())
            .arrives(part("POST / HTTP/1.1"))
            .then(Then::Closed),
        row("half a chunk and the end", "RFC 9112, sections 7.1 and 8: incomplete")
            .says(crate::row::chunked("9\r\nabc"))
            .does(Step::HalfClose)
            .gets(broken())
            .arrives(part("POST / HTTP/1.1"))
            .then(Then::Closed),
        row("chunks without the last and the end", "RFC 9112, sections 7.1 and 8: incomplete")
            .says(crate::row::chunked("3\r\nabc\r\n"))
            .does(Step::HalfClose)
            .gets(broken())
            .arrives(part("POST / HTTP/1.1"))
            .then(Then::Closed),
        row("a last chunk without its end, and the end", "RFC 9112, sections 7.1 and 8: incomplete")
            .says(crate::row::chunked("3\r\nabc\r\n0\r\n"))
            .does(Step::HalfClose)
            .gets(broken())
            .arrives(part("POST / HTTP/1.1"))
            .then(Then::Closed),
        row("half trailers and the end", "RFC 9112, sections 7.1.2 and 8: incomplete")
            .says(crate::row::chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n"))
            .does(Step::HalfClose)
            .gets(broken())
            .arrives(part("POST / HTTP/1.1"))
            .then(Then::Closed),
        row("nothing and the end", cite).does(Step::HalfClose).then(Then::Closed),
    ]
    .into()
}

fn expectations() -> Vec<Row> {
    let cite = "RFC 9110, section 10.1.1";
    let asked = || post("Expect: 100-continue\r\nContent-Length: 3\r\n", "");
    let hundred = || say("HTTP/1.1 100 Continue\r\n\r\n");
    let line = "POST / HTTP/1.1";
    [
        row("an endpoint's 100 goes to the client", cite)
            .says(asked())
            .acts(vec![hundred(), Act::Whole, say(OK)])
            .does(Step::Interim(100))
            .says("abc")
            .gets(status(200).interim(&[100]).content("ok"))
            .arrives(want(line).field("expect", &["100-continue"]).content("abc")),
        row("an endpoint's 100 before chunks", cite)
            .says(post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", ""))
            .acts(vec![hundred(), Act::Whole, say(OK)])
            .does(Step::Interim(100))
            .says("3\r\nabc\r\n0\r\n\r\n")
            .gets(status(200).interim(&[100]))
            .arrives(want(line).content("abc")),
        row("100-continue in any case", "RFC 9110, section 10.1.1: case-insensitive")
            .says(post("Expect: 100-Continue\r\nContent-Length: 3\r\n", ""))
            .acts(vec![hundred(), Act::Whole, say(OK)])
            .does(Step::Interim(100))
            .says("abc")
            .gets(status(200).interim(&[100]))
            .arrives(want(line).content("abc")),
        row("a content that does not wait for 100", cite)
            .says(asked())
            .says("abc")
            .gets(status(200).content("ok"))
            .arrives(want(line).content("abc")),
        row("an endpoint that never says 100", "RFC 9110, section 10.1.1: a client does not wait for ever")
            .says(asked())
            .acts(vec![Act::Mark("asked"), Act::Whole, say(OK)])
            .does(Step::Await("asked"))
            .says("abc")
            .gets(status(200).content("ok"))
            .arrives(want(line).content("abc")),
        row("a final answer in place of 100", cite)
            .says(asked())
            .acts(vec![say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")])
            .gets(status(403).interim(&[]).content("no"))
            .then(Then::KeptAfter("abc"))
            .arrives(want(line).content("abc").maybe_cut()),
        row("a final answer in place of 100, and the end", cite)
            .says(asked())
            .acts(vec![
                say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"),
                Act::Close,
            ])
            .gets(status(413).interim(&[]).content("no"))
            .then(Then::KeptAfter("abc"))
            .arrives(want(line).content("abc").maybe_cut()),
        row("100 and then a final answer before the content", cite)
            .says(asked())
            .acts(vec![hundred(), say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")])
            .gets(status(401))
            .then(Then::KeptAfter("abc"))
            .arrives(want(line).content("abc").maybe_cut()),
        row("100 and 102 before the content", "RFC 9110, sections 10.1.1 and 15.2")
            .says(asked())
            .acts(vec![hundred(), say("HTTP/1.1 102 Processing\r\n\r\n"), Act::Whole, say(OK)])
            .does(Step::Interim(102))
            .says("abc")
            .gets(status(200).interim(&[100, 102]))
            .arrives(want(line).content("abc")),
        row("an expectation that is none of ours", "RFC 9110, section 10.1.1: 417")
            .says(get("Expect: tea\r\n"))
            .refused(417),
        row("an expectation with a value", "RFC 9110, section 10.1.1: 417")
            .says(get("Expect: 200-ok=yes\r\n"))
            .refused(417),
    ]
    .into()
}

fn interim() -> Vec<Row> {
    let cite = "RFC 9110, section 15.2: a proxy must forward interim answers";
    let with = |heads: &str| format!("{heads}{OK}");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let mut rows: Vec<Row> = [
        ("102", "HTTP/1.1 102 Processing\r\n\r\n".to_owned(), vec![102]),
        ("103", hints.to_owned(), vec![103]),
        ("two 103", hints.repeat(2), vec![103, 103]),
        ("102 and 103", format!("HTTP/1.1 102 Processing\r\n\r\n{hints}"), vec![102, 103]),
        (
            "104",
            "HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: 6\r\n\r\n".to_owned(),
            vec![104],
        ),
        ("199, which nobody knows", "HTTP/1.1 199 What\r\n\r\n".to_owned(), vec![199]),
    ]
    .into_iter()
    .map(|(name, heads, statuses)| {
        row(format!("{name} before the answer"), cite)
            .says(get(""))
            .answers(with(&heads))
            .gets(status(200).interim(&statuses).content("ok"))
            .arrives(want(LINE))
    })
    .collect();
    rows.push(
        row("103 comes before the answer does", "RFC 8297, section 2")
            .says(get(""))
            .acts(vec![Act::Whole, say(hints), Act::Await("hints"), say(OK)])
            .does(Step::Interim(103))
            .does(Step::Heard("link: </a>; rel=preload"))
            .does(Step::Mark("hints"))
            .gets(status(200).interim(&[103]))
            .arrives(want(LINE)),
    );
    rows.push(
        row("103 to HEAD", cite)
            .says(ask("HEAD"))
            .answers(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"))
            .gets(status(200).to("HEAD").interim(&[103]))
            .arrives(want("HEAD / HTTP/1.1")),
    );
    rows.push(
        row("103 and a failure", "RFC 9110, section 15.2")
            .says(get(""))
            .answers_and_closes(format!("{hints}garbage\r\n\r\n"))
            .gets(status(502).interim(&[103]))
            .arrives(want(LINE)),
    );
    rows.push(
        row("what belongs to the connection of 103 stays behind", "RFC 9110, section 7.6.1")
            .says(get(""))
            .acts(vec![
                Act::Whole,
                say("HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\n\r\n"),
                say(OK),
            ])
            .does(Step::Heard("x-end"))
            .gets(status(200).interim(&[103]).field("x-hop", &[]))
            .arrives(want(LINE)),
    );
    rows
}

fn trailers() -> Vec<Row> {
    let cite = "RFC 9110, section 6.5; RFC 9112, section 7.1.2";
    let answer = |lines: &str, trailers: &str| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{lines}\r\n2\r\nok\r\n0\r\n{trailers}\r\n")
    };
    let asked = || get("TE: trailers\r\nConnection: TE\r\n");
    let mut rows = vec![
        row("an answer's trailer", cite)
            .says(asked())
            .answers(answer("Trailer: x-sum\r\n", "X-Sum: 1\r\n"))
            .gets(status(200).content("ok").trailers(&[("x-sum", "1")]))
            .arrives(want(LINE).exactly(&[("te", "trailers")]).field("connection", &["te"])),
        row("an answer's trailers in their order", cite)
            .says(asked())
            .answers(answer("Trailer: x-sum\r\n", "X-Sum: 1\r\nX-Sum:\r\nX-Sum: 3\r\n"))
            .gets(status(200).content("ok").trailers(&[("x-sum", "1"), ("x-sum", ""), ("x-sum", "3")]))
            .arrives(want(LINE)),
        row("an answer's trailer that Trailer does not name", "RFC 9110, section 6.6.2: Trailer is a hint")
            .says(asked())
            .answers(answer("", "X-Sum: 1\r\n"))
            .gets(status(200).content("ok").trailers(&[("x-sum", "1")]))
            .arrives(want(LINE)),
        row("the trailers of gRPC", cite)
            .says(asked())
            .answers(answer("Content-Type: application/grpc\r\n", "grpc-status: 0\r\ngrpc-message: \r\n"))
            .gets(status(200).trailers(&[("grpc-status", "0"), ("grpc-message", "")]))
            .arrives(want(LINE)),
        row("trailers without a content", cite)
            .says(asked())
            .answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n")
            .gets(status(200).content("").trailers(&[("x-sum", "1")]))
            .arrives(want(LINE)),
        row("chunks of an answer with extensions", "RFC 9112, section 7.1.1")
            .says(get(""))
            .answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;c\r\n\r\n")
            .gets(status(200).content("ok"))
            .arrives(want(LINE)),
        row("trailers both ways", cite)
            .says(post(
                "Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n",
                "3\r\nabc\r\n0\r\nX-Ask: 1\r\n\r\n",
            ))
            .answers(answer("", "X-Sum: 1\r\n"))
            .gets(status(200).content("ok").trailers(&[("x-sum", "1")]))
            .arrives(want("POST / HTTP/1.1").content("abc").trailers(&[("x-ask", "1")])),
    ];
    let forbidden = [
        "Content-Length: 9",
        "Transfer-Encoding: gzip",
        "Set-Cookie: a=b",
        "Content-Type: a/b",
        "Connection: close",
        "Location: /b",
    ];
    rows.extend(forbidden.map(|line| {
        row(format!("the answer's trailer {line} is dropped"), "RFC 9110, section 6.5.1")
            .says(asked())
            .answers(answer("", &format!("{line}\r\nX-Sum: 1\r\n")))
            .gets(status(200).content("ok").trailers(&[("x-sum", "1")]))
            .arrives(want(LINE))
    }));
    rows
}

fn fields_of_answers() -> Vec<Row> {
    let answer = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    let table: &[(&str, &str, &str, &[&str], &str)] = &[
        (
            "Set-Cookie lines stay apart",
            "Set-Cookie: a=b\r\nSet-Cookie: c=d, e\r\n",
            "set-cookie",
            &["a=b", "c=d, e"],
            "RFC 9110, section 5.3",
        ),
        (
            "repeated and empty fields stay in order",
            "X-A: 1\r\nX-A:\r\nX-A: 3\r\n",
            "x-a",
            &["1", "", "3"],
            "RFC 9110, section 5.3",
        ),
        (
            "an endpoint's Date stays",
            "Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n",
            "date",
            &["Sat, 01 Jan 2000 00:00:00 GMT"],
            "RFC 9110, section 6.6.1",
        ),
        ("an endpoint's Server stays", "Server: other\r\n", "server", &["other"], "RFC 9110, section 10.2.4"),
        (
            "Via grows",
            "Via: 1.0 before\r\n",
            "via",
            &["1.0 before", "1.1 hitless"],
            "RFC 9110, section 7.6.3",
        ),
        (
            "Connection takes what it lists",
            "Connection: x-a\r\nX-A: 1\r\n",
            "x-a",
            &[],
            "RFC 9110, section 7.6.1",
        ),
        (
            "Connection stays behind",
            "Connection: keep-alive\r\n",
            "connection",
            &[],
            "RFC 9110, section 7.6.1",
        ),
        (
            "Keep-Alive stays behind",
            "Keep-Alive: timeout=5\r\n",
            "keep-alive",
            &[],
            "RFC 9110, section 7.6.1",
        ),
        (
            "Proxy-Connection stays behind",
            "Proxy-Connection: close\r\n",
            "proxy-connection",
            &[],
            "RFC 9112, appendix C.2.2",
        ),
        (
            "Upgrade without 101 stays behind",
            "Connection: upgrade\r\nUpgrade: h2c\r\n",
            "upgrade",
            &[],
            "RFC 9110, section 7.8; RFC 9113, section 3.1",
        ),
        (
            "an octet beyond ASCII goes through",
            "X-A: caf\u{e9}\r\n",
            "x-a",
            &["caf\u{c3}\u{a9}"],
            "RFC 9110, section 5.5: obs-text",
        ),
        (
            "WWW-Authenticate lines stay apart",
            "WWW-Authenticate: Basic\r\nWWW-Authenticate: Bearer\r\n",
            "www-authenticate",
            &["Basic", "Bearer"],
            "RFC 9110, section 11.6.1",
        ),
        (
            "Content-Encoding goes through",
            "Content-Encoding: gzip\r\n",
            "content-encoding",
            &["gzip"],
            "RFC 9110, section 7.7",
        ),
    ];
    let table = table.iter().map(|(name, lines, field, values, cite)| {
        row(format!("{name} (answer)"), *cite)
            .says(get(""))
            .answers(answer(lines))
            .gets(status(200).content("ok").field(field, values))
            .arrives(want(LINE))
    });
    let statuses = [
        201, 202, 203, 207, 226, 300, 301, 302, 303, 307, 308, 400, 401, 404, 408, 410, 418, 421, 429, 451,
        500, 501, 502, 503, 504, 599,
    ];
    let statuses = statuses.map(|code| {
        row(format!("the status {code} goes through"), "RFC 9110, section 15")
            .says(get(""))
            .answers(format!("HTTP/1.1 {code} Some Words\r\nContent-Length: 2\r\n\r\nok"))
            .gets(status(code).content("ok"))
            .arrives(want(LINE))
    });
    table.chain(statuses).collect()
}

fn hops() -> Vec<Row> {
    let options = |lines: &str| format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    let arrives = |value: &'static str| want("OPTIONS * HTTP/1.1").field("max-forwards", &[value]);
    [
        row("Max-Forwards of OPTIONS is counted down", "RFC 9110, section 7.6.2")
            .says(options("Max-Forwards: 5\r\n"))
            .gets(status(200))
            .arrives(arrives("4")),
        row("Max-Forwards of one", "RFC 9110, section 7.6.2")
            .says(options("Max-Forwards: 1\r\n"))
            .gets(status(200))
            .arrives(arrives("0")),
        row("Max-Forwards of OPTIONS has run out", "RFC 9110, section 7.6.2: answered here")
            .says(options("Max-Forwards: 0\r\n"))
            .gets(any_of(&[200, 204])),
        row("Max-Forwards of OPTIONS of a path has run out", "RFC 9110, section 7.6.2: answered here")
            .says(format!("OPTIONS /a HTTP/1.1\r\nHost: {HOST}\r\nMax-Forwards: 0\r\n\r\n"))
            .gets(any_of(&[200, 204])),
        row("Max-Forwards of TRACE has run out", "RFC 9110, sections 7.6.2 and 9.3.8: answered here")
            .says(format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\nMax-Forwards: 0\r\n\r\n"))
            .gets(any_of(&[200, 405, 501])),
        row("Max-Forwards of another method is only a field", "RFC 9110, section 7.6.2: may be ignored")
            .says(get("Max-Forwards: 0\r\n"))
            .gets(status(200))
            .arrives(want(LINE).field("max-forwards", &["0"])),
        row("Via of others", "RFC 9110, section 7.6.3")
            .says(get("Via: 1.0 one, 1.1 two (with a comment)\r\nVia: 2 three\r\n"))
            .gets(status(200))
            .arrives(want(LINE).field("via", &["1.0 one, 1.1 two (with a comment)", "2 three", "1.1 hitless"])),
        row("a name that only contains ours in Via", "RFC 9110, section 7.6.3")
            .says(get("Via: 1.1 hitless.example, 1.1 not-hitless\r\n"))
            .gets(status(200))
            .arrives(want(LINE)),
        row("a scheme and a host that the client may not claim", "RFC 7239, section 8.1")
            .says(get("Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: b.test\r\nX-Forwarded-Proto: https\r\n"))
            .gets(status(200))
            .arrives(
                want(LINE)
                    .field("x-forwarded-for", &["127.0.0.1"])
                    .field("x-forwarded-host", &[HOST])
                    .field("x-forwarded-proto", &["http"])
                    .field("forwarded", &["for=127.0.0.1;host=a0000.test;proto=http"]),
            ),
    ]
    .into()
}

fn tunnels() -> Vec<Row> {
    let upgrade = |protocol: &str| get(&format!("Connection: upgrade\r\nUpgrade: {protocol}\r\n"));
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let connect = "CONNECT a0000.test:443 HTTP/1.1\r\nHost: a0000.test:443\r\n\r\n";
    let allowed = "[[service.NAME.route]]\nconnect = true\n";
    [
        row("an upgrade becomes a tunnel", "RFC 9110, section 7.8")
            .says(upgrade("echo"))
            .acts(vec![Act::Whole, say(switching), Act::Heard("ping"), say("pong"), Act::Close])
            .does(Step::Heard("\r\n\r\n"))
            .says("ping")
            .does(Step::Heard("pong"))
            .gets(status(101).content("pong").field("upgrade", &["echo"]).field("connection", &["upgrade"]))
            .arrives(want(LINE).field("upgrade", &["echo"]).field("connection", &["upgrade"]).content("ping"))
            .then(Then::Any)
            .tunnels(),
        row("an upgrade to h2c beside another", "RFC 9110, section 7.8; h2c smuggling")
            .says(upgrade("h2c, echo"))
            .acts(vec![Act::Whole, say(switching), Act::Close])
            .gets(status(101).content(""))
            .arrives(want(LINE).field("upgrade", &["echo"]))
            .then(Then::Any)
            .tunnels(),
        row("an upgrade that the endpoint does not want", "RFC 9110, section 7.8")
            .says(upgrade("echo"))
            .gets(status(200).content("ok"))
            .arrives(want(LINE).field("upgrade", &["echo"])),
        row("426", "RFC 9110, section 15.5.22")
            .says(get(""))
            .answers("HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 0\r\n\r\n")
            .gets(status(426).field("upgrade", &["echo"]))
            .arrives(want(LINE)),
        row("101 that nobody asked for", "RFC 9110, section 15.2.2")
            .says(get(""))
            .answers(format!("{switching}{OK}"))
            .gets(status(502))
            .arrives(want(LINE)),
        row("101 to an upgrade that was not passed on", "RFC 9110, section 7.8; h2c smuggling")
            .says(get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"))
            .answers("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            .gets(status(502))
            .arrives(want(LINE).exactly(&[])),
        row("CONNECT becomes a tunnel", "RFC 9110, section 9.3.6")
            .service(allowed)
            .says(connect)
            .acts(vec![say("HTTP/1.1 200 OK\r\n\r\n"), Act::Heard("ping"), say("pong"), Act::Close])
            .does(Step::Heard("\r\n\r\n"))
            .says("ping")
            .does(Step::Heard("pong"))
            .gets(status(200).to("CONNECT").content("pong"))
            .arrives(want("CONNECT a0000.test:443 HTTP/1.1").content("ping"))
            .then(Then::Any)
            .tunnels(),
        row("a length in the answer to CONNECT is none", "RFC 9110, section 9.3.6: ignored by a client, sent by nobody")
            .service(allowed)
            .says(connect)
            .acts(vec![say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Act::Heard("ping"), say("pong"), Act::Close])
            .does(Step::Heard("\r\n\r\n"))
            .says("ping")
            .gets(any_of(&[200, 502]).to("CONNECT"))
            .arrives(want("CONNECT a0000.test:443 HTTP/1.1").any_content())
            .then(Then::Any)
            .tunnels(),
        row("CONNECT that the endpoint refuses", "RFC 9110, section 9.3.6")
            .service(allowed)
            .says(connect)
            .acts(vec![say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")])
            .gets(status(403).to("CONNECT").content("no"))
            .arrives(want("CONNECT a0000.test:443 HTTP/1.1"))
            .then(Then::Any)
            .tunnels(),
    ]
    .into()
}
