//! What becomes two requests when HTTP/2 is translated carelessly.
//!
//! The classes are those of James Kettle, "HTTP/2: The Sequel is Always Worse" (2021): a length or a coding that
//! HTTP/2 does not need, and text of HTTP/1.1 in every place that a translator copies.

use crate::frames::*;
use crate::table::{Allowed, head, holds, row};

const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn one_request_stays_one() {
    let framing = "RFC 9113, sections 8.1.1 and 10.3";
    let injection = "RFC 9113, sections 8.2.1 and 10.3";
    let smuggled = format!("0\r\n\r\n{EVIL}");
    let h2_te = |name: &str, field: Field| {
        row(name, "RFC 9113, sections 8.2.2 and 10.3").posts(&[field], &smuggled).unreadable()
    };
    let asks = |name: &str, fields: &[Field]| row(name, injection).asks(fields).unreadable();
    let with = |name: &str, value: &str| {
        row(format!("injected: {name:?}: {value:?}"), injection)
            .posts(&[(name, value)], &smuggled)
            .unreadable()
    };
    holds(vec![
        // H2.CL
        row("H2.CL: length 0 before another request", framing)
            .posts(&[("content-length", "0")], EVIL)
            .malformed()
            .nothing_whole(),
        row("H2.CL: a length short of the content", framing)
            .posts(&[("content-length", "3")], &format!("x=1{EVIL}"))
            .malformed()
            .nothing_whole(),
        row("H2.CL: a length beyond the content", framing)
            .posts(&[("content-length", "300")], "x=1")
            .malformed()
            .nothing_whole(),
        row("H2.CL: a GET with length 0 and content", framing)
            .says(headers(1, 0, &head("GET", "/x", &[("content-length", "0")])))
            .says(data(1, END_STREAM, EVIL.as_bytes()))
            .malformed()
            .nothing_whole(),
        // H2.TE
        h2_te("H2.TE", ("transfer-encoding", "chunked")),
        h2_te("H2.TE in capitals", ("Transfer-Encoding", "chunked")),
        h2_te("H2.TE with a space behind", ("transfer-encoding", "chunked ")),
        h2_te("H2.TE with a tab before", ("transfer-encoding", "\tchunked")),
        h2_te("H2.TE with a list", ("transfer-encoding", "identity, chunked")),
        h2_te("H2.TE with a space in the name", ("transfer-encoding ", "chunked")),
        h2_te("H2.TE with a colon in the name", ("transfer-encoding: chunked", "")),
        h2_te("H2.TE behind another field", ("x: y\r\ntransfer-encoding", "chunked")),
        row("H2.TE and H2.CL", framing)
            .posts(&[("transfer-encoding", "chunked"), ("content-length", "5")], &smuggled)
            .malformed(),
        row("a coding that is only announced by its name", "RFC 9112, section 7.1")
            .posts(&[("x-transfer-encoding", "chunked"), ("transfer_encoding", "chunked")], &smuggled)
            .passes(&[
                "POST /x HTTP/1.1",
                "host: a.test",
                "transfer-encoding: chunked",
                "transfer_encoding: chunked",
                "x-transfer-encoding: chunked",
                &format!("= {smuggled}"),
            ]),
        // Header injection
        with("foo", "b\r\ntransfer-encoding: chunked"),
        with("foo", "b\ntransfer-encoding: chunked"),
        with("foo", "b\rtransfer-encoding: chunked"),
        with("foo", "b\r\nhost: evil.test"),
        with("foo", "b\r\n\r\nGET /evil HTTP/1.1\r\nhost: a.test"),
        with("foo\r\ntransfer-encoding", "chunked"),
        with("foo: b\r\nhost", "evil.test"),
        with("foo\r\n\r\n", "b"),
        with("content-length", "0\r\n\r\nGET /evil HTTP/1.1"),
        with("cookie", "a=b\r\nx: y"),
        with("host", "a.test\r\nx: y"),
        with("te", "trailers\r\ntransfer-encoding: chunked"),
        // Request line injection
        asks(
            ":method with a request",
            &[
                (":method", "GET / HTTP/1.1\r\nhost: a.test\r\n\r\nGET"),
                (":scheme", "http"),
                (":path", "/x"),
                (":authority", "a.test"),
            ],
        ),
        asks(
            ":method with a target",
            &[
                (":method", "GET /evil HTTP/1.1\r\nx:"),
                (":scheme", "http"),
                (":path", "/x"),
                (":authority", "a.test"),
            ],
        ),
        asks(":method with a space", &head("GET /evil", "/x", &[])),
        asks(":path with a request", &head("GET", "/ HTTP/1.1\r\nhost: a.test\r\n\r\nGET /evil", &[])),
        asks(":path with a version", &head("GET", "/x HTTP/1.0", &[])),
        asks(
            ":path with a version and a field",
            &head("GET", "/x HTTP/1.1\r\ntransfer-encoding: chunked\r\nx:", &[]),
        ),
        asks(
            ":authority with a field",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/x"),
                (":authority", "a.test\r\ntransfer-encoding: chunked"),
            ],
        ),
        asks(
            ":scheme with a URL",
            &[
                (":method", "GET"),
                (":scheme", "http://a.test/evil?"),
                (":path", "/x"),
                (":authority", "a.test"),
            ],
        ),
        asks(
            ":scheme with a line",
            &[(":method", "GET"), (":scheme", "http\r\nx: y"), (":path", "/x"), (":authority", "a.test")],
        ),
        // Ambiguity
        asks("two :path", &head("GET", "/x", &[(":path", "/evil")])),
        asks("two :method", &head("GET", "/x", &[(":method", "POST")])),
        asks(":authority and another Host", &head("GET", "/x", &[("host", "evil.test")])),
        asks(
            ":authority with user information",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/x"),
                (":authority", "a.test:80@evil.test"),
            ],
        ),
        // What follows a request that says it wants the connection for something else.
        row("an upgrade that HTTP/2 does not have", "RFC 9113, section 8.6")
            .posts(&[("upgrade", "websocket"), ("connection", "upgrade")], EVIL)
            .malformed(),
        row("an upgrade without its option", "RFC 9113, section 8.2.2")
            .posts(&[("upgrade", "h2c")], EVIL)
            .malformed(),
        row("an expectation that is not known", "RFC 9110, section 10.1.1")
            .posts(&[("expect", "100-continue, x")], EVIL)
            .allows(&[Allowed::Status(417), Allowed::Status(400)]),
    ]);
}
