//! The target: what is asked of an endpoint of HTTP/1.1 is one request line.

use crate::frames::*;
use crate::table::{Allowed, head, holds, row};

#[test]
fn a_path_that_is_none_goes_nowhere() {
    let path = "RFC 9113, section 8.3.1; RFC 3986, section 3.3";
    let mut rows: Vec<_> = [
        "",
        "x",
        "?x",
        "#x",
        "*",
        "/a b",
        "/a?b c",
        "/a\tb",
        "/a\0b",
        "/a\r\nx-a: b",
        "/a\n",
        "/a\r",
        "/ HTTP/1.1\r\nhost: evil.test\r\n\r\nGET /evil",
        "/\u{e9}",
        "/a?\u{e9}",
        "/a\u{7f}",
        "/a\"b",
        "/a<b>",
        "/a\\b",
        "/a`b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%00b",
        "http://a.test/x",
        "http://evil.test/x",
        "a.test:80",
        "//\r\n",
    ]
    .iter()
    .map(|bad| row(format!("the path {bad:?}"), path).asks(&head("GET", bad, &[])).malformed())
    .collect();
    rows.extend(["/../x", "/a/../x", "/./x", "/a/%2e%2e/x", "/a/..", "/a/.%2E"].iter().map(|bad| {
        row(format!("the path {bad:?}"), "RFC 3986, section 6.2.2.3").asks(&head("GET", bad, &[])).malformed()
    }));
    rows.push(row("OPTIONS of a path without a slash", path).asks(&head("OPTIONS", "x", &[])).malformed());
    holds(rows);
}

#[test]
fn a_path_that_is_one_arrives_as_it_was_sent() {
    let path = "RFC 9112, section 3.2.1; RFC 9113, section 8.3.1";
    let good = [
        "/",
        "//a",
        "/a//b",
        "//evil.test/x",
        "/a?",
        "/a??b",
        "/a?b=/../c",
        "/a%20b",
        "/%41",
        "/a%2Fb",
        "/a;b=c",
        "/:a@b!$&'()*+,=~-._",
        "/a?b=http://evil.test/%0d%0a",
        "/...",
        "/a..b/.c",
        // What browsers leave as it is: the URL standard's sets for path and query.
        "/a^b",
        "/a{b}",
        "/a|b[c]",
        "/a?b=`\\{|}^",
        "/a?b=%zz",
    ];
    let mut rows: Vec<_> = good
        .iter()
        .map(|path_| {
            let line = format!("GET {path_} HTTP/1.1");
            row(format!("the path {path_:?}"), path)
                .asks(&head("GET", path_, &[]))
                .passes(&[&line, "host: a.test"])
        })
        .collect();
    // No fragment belongs here: `:path` is path and query. To refuse it is best; what is routed must be what is passed on.
    rows.extend([("/a#b", "GET /a HTTP/1.1"), ("/a?b#c", "GET /a?b HTTP/1.1")].iter().map(|(bad, line)| {
        row(format!("the path {bad:?}"), "RFC 9113, section 8.3.1; RFC 3986, section 3.5")
            .asks(&head("GET", bad, &[]))
            .malformed()
            .passes(&[line, "host: a.test"])
    }));
    rows.extend([
        row("OPTIONS *", "RFC 9113, section 8.3.1; RFC 9112, section 3.2.4")
            .asks(&head("OPTIONS", "*", &[]))
            .passes(&["OPTIONS * HTTP/1.1", "host: a.test"]),
        row("OPTIONS with Max-Forwards 0 is the gateway's to answer", "RFC 9110, section 7.6.2")
            .asks(&head("OPTIONS", "/x", &[("max-forwards", "0")]))
            .allows(&[Allowed::Status(200), Allowed::Status(204)]),
        row("OPTIONS with Max-Forwards 3 is passed on with 2", "RFC 9110, section 7.6.2")
            .asks(&head("OPTIONS", "/x", &[("max-forwards", "3")]))
            .passes(&["OPTIONS /x HTTP/1.1", "host: a.test", "max-forwards: 2"]),
        row("TRACE with Max-Forwards 0 is the gateway's to answer", "RFC 9110, sections 7.6.2 and 9.3.8")
            .asks(&head("TRACE", "/x", &[("max-forwards", "0")]))
            .allows(&[Allowed::Status(200), Allowed::Status(405), Allowed::Status(501)]),
        row("HEAD", "RFC 9110, section 9.3.2")
            .asks(&head("HEAD", "/x", &[]))
            .passes(&["HEAD /x HTTP/1.1", "host: a.test"])
            .with(|answer| answer.content.is_empty() && answer.field("content-length") == Some("2")),
        row("a literal that the dynamic table keeps, used by the next request", "RFC 7541, section 6.2.1")
            .says({
                let first = [block(&head("GET", "/x", &[])), literal(0x40, "x-a", "b")].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &first)
            })
            .after_end_of(1)
            .says({
                let second = [block(&head("GET", "/x", &[])), vec![0x80 | 62]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, 3, &second)
            })
            .of_stream(3)
            .passes_with(&["x-a: b"])
            .reaches(&["GET /x HTTP/1.1", "host: a.test", "x-a: b"]),
    ]);
    holds(rows);
}
