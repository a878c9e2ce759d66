//! Field lines: names and values that mean the same to everybody, and nothing of a connection.

use crate::frames::*;
use crate::table::{Allowed, CALM, PROTOCOL, head, holds, row};

#[test]
fn a_name_is_a_token_in_lower_case() {
    let names = "RFC 9113, section 8.2.1";
    let mut rows: Vec<_> = [
        "X-A", "x-A", "", "x a", " x", "x ", "x\t", "x:", "x:y", "x\r\ny", "x\r", "x\n", "x\0", "x\u{7f}",
        "x\u{e9}", "x\u{1}",
    ]
    .iter()
    .map(|bad| row(format!("the name {bad:?}"), names).gets(&[(bad, "b")]).unreadable())
    .collect();
    rows.extend(["x(", "x/y", "x\"", "x,y", "x{", "x@y", "x=y", "x[0]"].iter().map(|bad| {
        row(format!("the name {bad:?}"), "RFC 9110, section 5.1").gets(&[(bad, "b")]).unreadable()
    }));
    rows.push(
        row("a name of every token character", "RFC 9110, section 5.6.2")
            .gets(&[("!#$%&'*+-.^_`|~09az", "b")])
            .passes_with(&["!#$%&'*+-.^_`|~09az: b"]),
    );
    holds(rows);
}

#[test]
fn a_value_has_no_line_in_it() {
    let values = "RFC 9113, section 8.2.1";
    let mut rows: Vec<_> = [
        "b\r\nx-c: d",
        "b\r",
        "b\n",
        "\r\n",
        "b\rc",
        "b\nc",
        "b\0c",
        "\0",
        " b",
        "b ",
        "\tb",
        "b\t",
        " ",
        "b\r\n\r\nGET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n",
    ]
    .iter()
    .map(|bad| row(format!("the value {bad:?}"), values).gets(&[("x-a", bad)]).unreadable())
    .collect();
    rows.extend(["b\u{1}", "b\u{7f}", "\u{1b}[m"].iter().map(|bad| {
        row(format!("the value {bad:?}"), "RFC 9110, section 5.5").gets(&[("x-a", bad)]).unreadable()
    }));
    let values = "RFC 9110, section 5.5";
    rows.extend([
        row("an empty value", values).gets(&[("x-a", "")]).passes_with(&["x-a: "]),
        row("a tab and spaces inside", values).gets(&[("x-a", "b\t c  d")]).passes_with(&["x-a: b\t c  d"]),
        row("octets beyond ASCII", values).gets(&[("x-a", "caf\u{e9}")]).passes_with(&["x-a: caf\u{e9}"]),
        row("what looks like framing", values)
            .gets(&[("x-a", "0;\"',:transfer-encoding: chunked")])
            .passes_with(&["x-a: 0;\"',:transfer-encoding: chunked"]),
        row("repeated fields keep their order", "RFC 9110, section 5.3")
            .gets(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3")])
            .passes_with(&["x-a: 1", "x-a: 3", "x-b: 2"]),
        row("crumbs of a cookie", "RFC 9113, section 8.2.3")
            .gets(&[("cookie", "a=b"), ("x-a", "1"), ("cookie", "c=d"), ("cookie", "e=f")])
            .passes_with(&["cookie: a=b; c=d; e=f", "x-a: 1"]),
        row("a field that is never indexed", "RFC 7541, section 6.2.3")
            .says(frame(HEADERS, 5, 1, &[block(&head("GET", "/x", &[])), literal(0x10, "x-a", "b")].concat()))
            .passes_with(&["x-a: b"]),
    ]);
    holds(rows);
}

#[test]
fn what_belongs_to_a_connection_is_malformed() {
    let hop = "RFC 9113, section 8.2.2";
    let mut rows: Vec<_> = [
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("connection", "x-a"),
        ("connection", ""),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", "trailers;q=0.5"),
        ("te", ""),
    ]
    .iter()
    .map(|field| row(format!("{} {:?}", field.0, field.1), hop).gets(&[*field]).malformed())
    .collect();
    rows.extend([
        row("te: trailers", "RFC 9113, section 8.2.2; RFC 9110, section 10.1.4")
            .gets(&[("te", "trailers")])
            .passes_with(&["connection: te", "te: trailers"]),
        row("two lines of te, one of them gzip", hop).gets(&[("te", "trailers"), ("te", "gzip")]).malformed(),
        row("connection and upgrade to h2c", "RFC 9113, sections 3.1 and 8.2.2")
            .gets(&[
                ("connection", "upgrade, http2-settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
            ])
            .malformed(),
    ]);
    holds(rows);
}

#[test]
fn fields_beyond_the_limits_are_refused() {
    let large = "RFC 6585, section 5; RFC 9113, section 10.5.1";
    let refused = [Allowed::Status(431), Allowed::Reset(CALM), Allowed::Reset(PROTOCOL)];
    let long = "v".repeat(10_000);
    let name = "n".repeat(300);
    let many: Vec<String> = (0..150).map(|number| format!("x-{number}")).collect();
    let some: Vec<Field> = many[..50].iter().map(|name| (name.as_str(), "1")).collect();
    let lines: Vec<String> = some.iter().map(|field| format!("{}: 1", field.0)).collect();
    let many: Vec<Field> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let in_pieces = |fields: &[Field]| {
        let block = block(&head("GET", "/x", fields));
        let mut pieces = block.chunks(16_384);
        let mut bytes = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
        let rest: Vec<_> = pieces.collect();
        for (index, piece) in rest.iter().enumerate() {
            let flags = if index + 1 == rest.len() { END_HEADERS } else { 0 };
            bytes.extend(frame(CONTINUATION, flags, 1, piece));
        }
        bytes
    };
    holds(vec![
        row("150 fields", large).gets(&many).allows(&refused),
        row("50 fields", "RFC 9110, section 5.4")
            .gets(&some)
            .passes_with(&lines.iter().map(String::as_str).collect::<Vec<_>>()),
        row("40,000 bytes of fields", large)
            .says(in_pieces(&[("x-a", &long), ("x-b", &long), ("x-c", &long), ("x-d", &long)]))
            .allows(&refused),
        row("40,000 bytes in fields of one name", large)
            .says(in_pieces(&[("x-a", &long), ("x-a", &long), ("x-a", &long), ("x-a", &long)]))
            .allows(&refused),
        row("20,000 bytes of fields", "RFC 9110, section 5.4")
            .says(in_pieces(&[("x-a", &long), ("x-b", &long)]))
            .passes_with(&[&format!("x-a: {long}"), &format!("x-b: {long}")]),
        row("a name of 300 bytes", "RFC 9110, section 5.1")
            .gets(&[(&name, "b")])
            .passes_with(&[&format!("{name}: b")]),
        row("a path of 20,000 bytes", "RFC 9110, section 4.1; RFC 9112, section 3")
            .says({
                let path = format!("/{long}{long}");
                let block = block(&head("GET", &path, &[]));
                let (one, other) = block.split_at(16_000);
                [frame(HEADERS, END_STREAM, 1, one), frame(CONTINUATION, END_HEADERS, 1, other)].concat()
            })
            .allows(&refused)
            .allows(&[Allowed::Status(414), Allowed::Status(400)]),
    ]);
}
