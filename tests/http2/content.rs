//! Content and trailers: a length that is kept, and an end that is one.

use crate::frames::*;
use crate::table::{Allowed, CLOSED, PROTOCOL, get, head, holds, post, row};

#[test]
fn a_content_length_that_is_not_kept_is_malformed() {
    let length = "RFC 9113, section 8.1.1";
    let length_is = |value: &'static str| [("content-length", value)];
    let mut rows: Vec<_> = [
        "+5",
        "-5",
        "5, 5",
        "5,5",
        "0x5",
        "",
        "5 5",
        "5;",
        "1e0",
        "five",
        "18446744073709551616",
        "9223372036854775808",
    ]
    .iter()
    .map(|bad| {
        row(format!("content-length {bad:?}"), "RFC 9110, section 8.6; RFC 9112, section 6.3")
            .posts(&length_is(bad), "hello")
            .malformed()
    })
    .collect();
    rows.extend([
        row("5, but the head is the end", length).gets(&length_is("5")).malformed(),
        row("5, but no content", length)
            .says(post("/x", &length_is("5")))
            .says(data(1, END_STREAM, b""))
            .malformed()
            .nothing_whole(),
        row("5, but 3 come", length).posts(&length_is("5"), "hel").malformed().nothing_whole(),
        row("5, but 7 come in one frame", length)
            .posts(&length_is("5"), "hello??")
            .malformed()
            .nothing_whole(),
        row("5, but 7 come in two frames", length)
            .says(post("/x", &length_is("5")))
            .says(data(1, 0, b"hell"))
            .says(data(1, END_STREAM, b"o??"))
            .malformed()
            .nothing_whole(),
        row("0, but 5 come", length).posts(&length_is("0"), "hello").malformed().nothing_whole(),
        row("5, but trailers come after 3", length)
            .says(post("/x", &length_is("5")))
            .says(data(1, 0, b"hel"))
            .says(headers(1, END_STREAM, &[("x-t", "1")]))
            .malformed()
            .nothing_whole(),
        row("two that differ", "RFC 9110, section 8.6")
            .posts(&[("content-length", "5"), ("content-length", "6")], "hello")
            .malformed(),
        row("two that are equal", "RFC 9110, section 8.6; RFC 9112, section 6.3")
            .posts(&[("content-length", "5"), ("content-length", "5")], "hello")
            .malformed(),
        row("one that is kept", length).posts(&length_is("5"), "hello").passes(&[
            "POST /x HTTP/1.1",
            "host: a.test",
            "content-length: 5",
            "= hello",
        ]),
        row("0 and the end", length)
            .says(headers(1, END_STREAM, &head("POST", "/x", &length_is("0"))))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "content-length: 0"]),
        row("0 and an empty frame", length).posts(&length_is("0"), "").passes(&[
            "POST /x HTTP/1.1",
            "host: a.test",
            "content-length: 0",
        ]),
    ]);
    holds(rows);
}

#[test]
fn content_arrives_as_it_was_sent() {
    const CHUNKED: [&str; 4] = ["POST /x HTTP/1.1", "host: a.test", "transfer-encoding: chunked", "= hello"];
    let framing = "RFC 9113, section 8.1";
    let padding = "RFC 9113, section 6.1";
    let split = "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n";
    holds(vec![
        row("without a length", framing).posts(&[], "hello").passes(&CHUNKED),
        row("a GET with content", "RFC 9110, section 9.3.1")
            .says(headers(1, 0, &head("GET", "/x", &[("content-length", "5")])))
            .says(data(1, END_STREAM, b"hello"))
            .passes(&["GET /x HTTP/1.1", "host: a.test", "content-length: 5", "= hello"]),
        row("in five frames, one of them empty", framing)
            .says(post("/x", &[]))
            .says([data(1, 0, b"he"), data(1, 0, b""), data(1, 0, b"l"), data(1, 0, b"lo")].concat())
            .says(data(1, END_STREAM, b""))
            .passes(&CHUNKED),
        row("what looks like the end of chunks", "RFC 9112, section 7.1").posts(&[], split).passes(&[
            "POST /x HTTP/1.1",
            "host: a.test",
            "transfer-encoding: chunked",
            &format!("= {split}"),
        ]),
        row("a POST without content", "RFC 9112, section 6.3")
            .asks(&head("POST", "/x", &[("content-length", "0")]))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "content-length: 0"]),
        row("with padding", padding)
            .says(post("/x", &[("content-length", "5")]))
            .says(frame(DATA, PADDED | END_STREAM, 1, b"\x03hello\0\0\0"))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "content-length: 5", "= hello"]),
        row("padding alone", padding)
            .says(post("/x", &[("content-length", "5")]))
            .says(frame(DATA, PADDED, 1, b"\x03\0\0\0"))
            .says(data(1, END_STREAM, b"hello"))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "content-length: 5", "= hello"]),
        row("padding as long as the frame", padding)
            .says(post("/x", &[]))
            .says(frame(DATA, PADDED | END_STREAM, 1, b"\x06hello"))
            .goes_away(PROTOCOL)
            .nothing_whole(),
        row("padding without its length", padding)
            .says(post("/x", &[]))
            .says(frame(DATA, PADDED | END_STREAM, 1, b""))
            .goes_away(PROTOCOL)
            .allows(&[Allowed::Goaway(6)])
            .nothing_whole(),
        row("a head with padding", "RFC 9113, section 6.2")
            .says({
                let block = [&[2][..], &block(&head("GET", "/x", &[])), &[0, 0]].concat();
                frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &block)
            })
            .passes_with(&[]),
        row("a head with too much padding", "RFC 9113, section 6.2")
            .says(frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\x09abc"))
            .goes_away(PROTOCOL),
        row("a head with a priority", "RFC 9113, section 6.2")
            .says({
                let block = [&[0, 0, 0, 0, 15][..], &block(&head("GET", "/x", &[]))].concat();
                frame(HEADERS, PRIORITISED | END_HEADERS | END_STREAM, 1, &block)
            })
            .passes_with(&[]),
    ]);
}

#[test]
fn trailers_pass_and_are_fields_like_others() {
    let trailers = "RFC 9113, section 8.1";
    let lines = ["POST /x HTTP/1.1", "host: a.test", "transfer-encoding: chunked", "= hello"];
    let with = |name: &str, citation, field: Field| {
        row(name, citation).says(post("/x", &[])).says(data(1, 0, b"hello")).says(headers(
            1,
            END_STREAM,
            &[field],
        ))
    };
    holds(vec![
        with("a trailer", "RFC 9110, section 6.5; RFC 9112, section 7.1.2", ("x-sum", "9"))
            .passes(&[&lines[..], &["+ x-sum: 9"]].concat()),
        row("a trailer that is announced", "RFC 9110, section 6.6.2")
            .says(post("/x", &[("trailer", "x-sum")]))
            .says(data(1, 0, b"hello"))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .passes(&[
                "POST /x HTTP/1.1",
                "host: a.test",
                "trailer: x-sum",
                "transfer-encoding: chunked",
                "= hello",
                "+ x-sum: 9",
            ]),
        row("a trailer that is announced, behind content of a known length", "RFC 9112, section 7.1.2")
            .says(post("/x", &[("trailer", "x-sum"), ("content-length", "5")]))
            .says(data(1, 0, b"hello"))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .passes(&[
                "POST /x HTTP/1.1",
                "host: a.test",
                "trailer: x-sum",
                "transfer-encoding: chunked",
                "= hello",
                "+ x-sum: 9",
            ]),
        row("an announced trailer behind less content than was said", "RFC 9113, section 8.1.1")
            .says(post("/x", &[("trailer", "x-sum"), ("content-length", "5")]))
            .says(data(1, 0, b"hel"))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .malformed()
            .nothing_whole(),
        row("less content than was said, and no announced trailer", "RFC 9113, section 8.1.1")
            .says(post("/x", &[("trailer", "x-sum"), ("content-length", "5")]))
            .says(data(1, END_STREAM, b"hel"))
            .malformed()
            .nothing_whole(),
        row("a trailer without content", "RFC 9110, section 6.5")
            .says(post("/x", &[]))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "transfer-encoding: chunked", "+ x-sum: 9"]),
        with("a pseudo-field in trailers", trailers, (":path", "/y")).malformed().nothing_whole(),
        with(":status in trailers", trailers, (":status", "200")).malformed().nothing_whole(),
        with("an upper-case name in trailers", "RFC 9113, section 8.2.1", ("X-Sum", "9"))
            .unreadable()
            .nothing_whole(),
        with("CR LF in trailers", "RFC 9113, section 8.2.1", ("x-sum", "9\r\nx-b: c"))
            .unreadable()
            .nothing_whole(),
        with("transfer-encoding in trailers", "RFC 9113, section 8.2.2", ("transfer-encoding", "chunked"))
            .malformed()
            .nothing_whole(),
        with("connection in trailers", "RFC 9113, section 8.2.2", ("connection", "close"))
            .malformed()
            .nothing_whole(),
        // Where a trailer is not allowed it may be dropped; to merge it would be the error.
        with("content-length in trailers", "RFC 9110, section 6.5.1", ("content-length", "9"))
            .malformed()
            .passes(&lines),
        with("host in trailers", "RFC 9110, section 6.5.1", ("host", "b.test")).malformed().passes(&lines),
        with("authorization in trailers", "RFC 9110, section 6.5.1", ("authorization", "x"))
            .malformed()
            .passes(&lines),
        row("trailers that do not end the stream", trailers)
            .says(post("/x", &[]))
            .says(data(1, 0, b"hello"))
            .says(headers(1, 0, &[("x-sum", "9")]))
            .malformed()
            .allows(&[Allowed::Goaway(PROTOCOL)])
            .nothing_whole(),
        row("content after trailers", "RFC 9113, section 5.1")
            .says(post("/hang", &[]))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .says(data(1, END_STREAM, b"hello"))
            .fails(CLOSED)
            .whatever_reaches(),
        row("a request after one with trailers", trailers)
            .says(post("/x", &[("trailer", "x-sum")]))
            .says(headers(1, END_STREAM, &[("x-sum", "9")]))
            .after_end_of(1)
            .says(headers(3, END_STREAM, &head("GET", "/x", &[])))
            .of_stream(3)
            .passes(&[
                "POST /x HTTP/1.1",
                "host: a.test",
                "trailer: x-sum",
                "transfer-encoding: chunked",
                "+ x-sum: 9",
            ])
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
    ]);
}

#[test]
fn a_stream_that_the_client_gives_up_is_given_up_upstream() {
    let cancel = "RFC 9113, section 5.4.2; RFC 9110, section 7.6";
    holds(vec![
        row("during the upload", cancel)
            .says(post("/x", &[]))
            .says(data(1, 0, b"hel"))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&["POST /x HTTP/1.1", "host: a.test", "transfer-encoding: chunked", "! cut"]),
        row("while the endpoint thinks", cancel)
            .says(get("/hang"))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&["GET /hang HTTP/1.1", "host: a.test", "! gone"]),
        row("during the download", cancel)
            .says(get("/stream"))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&["GET /stream HTTP/1.1", "host: a.test", "! gone"]),
    ]);
}
