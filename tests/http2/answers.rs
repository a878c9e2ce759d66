//! Answers of an HTTP/1.1 endpoint, as a client of HTTP/2 sees them, and what passes to and from an endpoint of HTTP/2.

use crate::frames::*;
use crate::table::{Allowed, head, head_at, holds, row};

#[test]
fn an_answer_is_translated_without_its_framing() {
    let hop = "RFC 9113, section 8.2.2; RFC 9112, section 7.1";
    let empty = "RFC 9110, section 6.4.1";
    let interim = "RFC 9110, section 15.2";
    holds(vec![
        row("chunks", hop)
            .scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .status(200)
            .with(|answer| answer.content == "ok" && answer.field("transfer-encoding").is_none()),
        row("chunks with extensions", "RFC 9112, section 7.1.1")
            .scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0;c\r\n\r\n")
            .status(200)
            .with(|answer| answer.content == "ok"),
        row("content until the connection closes", "RFC 9112, section 6.3")
            .scripted("HTTP/1.1 200 OK\r\n\r\nall of it")
            .status(200)
            .with(|answer| answer.content == "all of it" && answer.field("content-length").is_none()),
        row("HTTP/1.0", "RFC 9112, section 6.3")
            .scripted("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .status(200)
            .with(|answer| answer.content == "ok"),
        row("trailers", "RFC 9110, section 6.5; RFC 9113, section 8.1")
            .scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\n\r\n")
            .status(200)
            .with(|answer| answer.trailers == [("x-sum".to_owned(), "9".to_owned())]),
        row("trailers that may not be", "RFC 9110, section 6.5.1")
            .scripted(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\nX-Sum: 9\r\n\r\n",
            )
            .status(200)
            .with(|answer| answer.trailers == [("x-sum".to_owned(), "9".to_owned())]),
        row("fields of the connection", hop)
            .scripted(
                "HTTP/1.1 200 OK\r\nConnection: x-a, keep-alive\r\nX-A: b\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: x\r\nUpgrade: h2c\r\nX-C: d\r\nContent-Length: 0\r\n\r\n",
            )
            .status(200)
            .with(|answer| {
                let gone = ["connection", "x-a", "keep-alive", "proxy-connection", "upgrade"];
                gone.iter().all(|name| answer.field(name).is_none()) && answer.field("x-c") == Some("d")
            }),
        row("several cookies", "RFC 9110, section 5.3")
            .scripted("HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n")
            .status(200)
            .with(|answer| {
                let cookies = answer.fields.iter().filter(|field| field.0 == "set-cookie");
                cookies.map(|field| field.1.as_str()).eq(["a=b", "c=d"])
            }),
        row("names in lower case", "RFC 9113, section 8.2.1")
            .scripted("HTTP/1.1 200 OK\r\nX-CamelCase: Value\r\nContent-Length: 0\r\n\r\n")
            .status(200)
            .with(|answer| answer.field("x-camelcase") == Some("Value")),
        row("spaces around a value", "RFC 9112, section 5; RFC 9113, section 8.2.1")
            .scripted("HTTP/1.1 200 OK\r\nX-A: \t b \t\r\nContent-Length: 0\r\n\r\n")
            .status(200)
            .with(|answer| answer.field("x-a") == Some("b")),
        row("204", empty)
            .scripted("HTTP/1.1 204 No Content\r\n\r\n")
            .status(204)
            .with(|answer| answer.content.is_empty() && answer.field("content-length").is_none()),
        row("205", "RFC 9110, section 15.3.6")
            .scripted("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n")
            .status(205)
            .with(|answer| answer.content.is_empty()),
        row("206, untouched", "RFC 9110, section 15.3.7")
            .scripted(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nok",
            )
            .status(206)
            .with(|answer| answer.field("content-range") == Some("bytes 0-1/5") && answer.content == "ok"),
        row("304 with the length of what is not sent", empty)
            .scripted("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n")
            .status(304)
            .with(|answer| answer.content.is_empty() && answer.field("etag") == Some("\"x\"")),
        row("HEAD with the length of what is not sent", "RFC 9110, section 9.3.2")
            .asks(&head("HEAD", "/scripted", &[]))
            .scripted_only("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .passes(&["HEAD /scripted HTTP/1.1", "host: a.test"])
            .with(|answer| answer.content.is_empty() && answer.field("content-length") == Some("5")),
        row("103", "RFC 8297, section 2; RFC 9110, section 15.2")
            .scripted("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .status(200)
            .with(|answer| answer.interim == [103] && answer.content == "ok"),
        row("two 103 and a 102", interim)
            .scripted(
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            )
            .status(200)
            .with(|answer| answer.interim == [103, 102, 103]),
        row("an error is the endpoint's", "RFC 9110, section 15.6")
            .scripted("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")
            .status(503)
            .with(|answer| answer.content == "busy" && answer.field("retry-after") == Some("7")),
        row("a status nobody knows", "RFC 9110, section 15")
            .scripted("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")
            .status(299)
            .with(|answer| answer.content == "ok"),
    ]);
}

#[test]
fn an_answer_that_is_cut_short_has_no_end() {
    let short = "RFC 9112, section 8; RFC 9113, section 8.1.1";
    let cut = |name, script: &str| {
        row(name, short).scripted(script).allows(&[Allowed::Broken, Allowed::Status(502)])
    };
    holds(vec![
        cut("less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
        cut("inside of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        cut("between two chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        cut(
            "before the end of the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ),
        cut("inside of the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n"),
        cut(
            "a chunk of no size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n",
        ),
        cut(
            "a chunk longer than it says",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        ),
        cut(
            "a signed chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        ),
        cut(
            "chunks that end in LF alone",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        ),
    ]);
}

#[test]
fn an_answer_that_is_not_http_is_a_bad_gateway() {
    let bad = |name, citation, script: &str| row(name, citation).scripted(script).status(502);
    let (line, field, framing) = ("RFC 9112, section 4", "RFC 9112, section 5", "RFC 9112, section 6.3");
    holds(vec![
        bad("nothing like HTTP", line, "hello\r\n\r\n"),
        // A GET is sent again when a kept connection ends.
        bad("no answer", "RFC 9110, sections 9.2.2 and 15.6.3", "").whatever_reaches(),
        bad("HTTP/2.0 in the status line", line, "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a status of two digits", line, "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("a status of four digits", line, "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("the status 099", "RFC 9110, section 15", "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"),
        bad("the status 600", "RFC 9110, section 15", "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n")
            // A client treats it as a 5xx; so may a gateway pass it on.
            .status(600),
        bad("a bare LF", "RFC 9112, section 2.2", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        bad(
            "a bare CR in a value",
            "RFC 9112, section 2.2",
            "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "NUL in a value",
            "RFC 9110, section 5.5",
            "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("a space before the colon", field, "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n"),
        bad(
            "a folded line",
            "RFC 9112, section 5.2",
            "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("a pseudo-field", field, "HTTP/1.1 200 OK\r\n:status: 500\r\nContent-Length: 0\r\n\r\n"),
        bad("a line without a colon", field, "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n"),
        bad("an empty name", field, "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n"),
        bad(
            "two lengths that differ",
            framing,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok?",
        ),
        bad("a signed length", framing, "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
        bad("a list of lengths that differ", framing, "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok?"),
        bad(
            "a length and a coding",
            framing,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        bad(
            "a coding that was not asked for",
            "RFC 9112, section 6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "chunked twice",
            "RFC 9112, section 6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "101 that nobody asked for",
            "RFC 9110, section 15.2.2",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
        bad("an end inside of the head", "RFC 9112, section 8", "HTTP/1.1 200 OK\r\nContent-Le"),
    ]);
}

#[test]
fn an_endpoint_of_http2_is_asked_to_the_letter_too() {
    let asked = |path: &'static str, more: &[Field<'static>]| {
        headers(1, END_STREAM, &head_at("b.test", "GET", path, more))
    };
    let get = |name: &str, citation, path| row(name, citation).at_h2c().says(asked(path, &[]));
    let lines = |path: &str| {
        vec![format!("GET {path} HTTP/2"), ":authority: b.test".to_owned(), ":scheme: http".to_owned()]
    };
    let post = |more: &[Field<'static>]| headers(1, 0, &head_at("b.test", "POST", "/x", more));
    let reached = |row: crate::table::Row, path: &str| {
        row.reaches(&lines(path).iter().map(String::as_str).collect::<Vec<_>>())
    };
    let base = ["GET /x HTTP/2", ":authority: b.test", ":scheme: http"];
    let posted = ["POST /x HTTP/2", ":authority: b.test", ":scheme: http"];
    let malformed = "RFC 9113, section 8.1.1";
    holds(vec![
        get("a request", "RFC 9113, section 8.3.1", "/x").passes(&base),
        row("fields in their order", "RFC 9110, section 5.3")
            .at_h2c()
            .says(asked("/x", &[("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("te", "trailers")]))
            .passes(&[&base[..], &["te: trailers", "x-a: 1", "x-a: 3", "x-b: 2"]].concat()),
        row("content without a length, with trailers", "RFC 9113, section 8.1")
            .at_h2c()
            .says(post(&[]))
            .says(data(1, 0, b"hello"))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .passes(&[&posted[..], &["+ x-sum: 9", "= hello"]].concat()),
        row("a length that is not kept", malformed)
            .at_h2c()
            .says(post(&[("content-length", "9")]))
            .says(data(1, END_STREAM, b"hello"))
            .malformed()
            .nothing_whole(),
        row("a field of the connection", "RFC 9113, section 8.2.2")
            .at_h2c()
            .says(asked("/x", &[("transfer-encoding", "chunked")]))
            .malformed(),
        row("CR LF in a value", "RFC 9113, section 8.2.1")
            .at_h2c()
            .says(asked("/x", &[("x-a", "b\r\nc")]))
            .unreadable(),
        reached(get("trailers", "RFC 9113, section 8.1", "/trailers"), "/trailers")
            .status(200)
            .with(|answer| answer.trailers == [("x-sum".to_owned(), "9".to_owned())]),
        reached(get("103", "RFC 8297, section 2", "/early-hints"), "/early-hints")
            .status(200)
            .with(|answer| answer.interim == [103]),
        // A GET may be sent again (RFC 9110, section 9.2.2).
        get("a stream that is reset", "RFC 9113, section 5.4.2", "/reset").status(502).whatever_reaches(),
        reached(
            get("a stream that is reset in the content", "RFC 9113, section 5.4.2", "/broken"),
            "/broken",
        )
        .allows(&[Allowed::Broken]),
        reached(get("an answer shorter than its length", malformed, "/short"), "/short")
            .allows(&[Allowed::Broken, Allowed::Status(502)]),
        reached(get("an answer with a field of the connection", malformed, "/connection"), "/connection")
            // To drop the field is what a gateway may do (section 8.2.2).
            .status(502)
            .status(200)
            .with(|answer| answer.field("connection").is_none()),
        reached(get("an answer with a name in capitals", malformed, "/uppercase"), "/uppercase").status(502),
        reached(get("an answer with CR LF in a value", malformed, "/crlf"), "/crlf").status(502),
        reached(get("an answer without a status", malformed, "/no-status"), "/no-status").status(502),
        row("a stream given up during the upload", "RFC 9113, section 5.4.2")
            .at_h2c()
            .says(post(&[]))
            .says(data(1, 0, b"hel"))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&[&posted[..], &["! cut"]].concat()),
    ]);
}
