//! Table: field lines (RFC 9110, section 5; RFC 9112, section 5).

use crate::row::{DELIMITERS, HOST, Row, controls, get, row, status, want, with};
use crate::run::run;

#[test]
fn a_field_line_is_one_or_the_connection_ends() {
    run("", rows());
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(octets());
    rows.extend(broken_lines());
    rows.extend(line_ends());
    rows.extend(kept());
    rows.extend(of_the_connection());
    rows
}

fn octets() -> Vec<Row> {
    let lines = |text: &str, byte: u8| with(&get(text), byte);
    let values = controls().map(|byte| {
        let row = row(format!("a value with {}", byte.escape_ascii()), "RFC 9110, section 5.5");
        row.says(lines("X-A: a{}b\r\n", byte)).refused(400)
    });
    let first = controls().map(|byte| {
        let row = row(format!("a value that begins with {}", byte.escape_ascii()), "RFC 9110, section 5.5");
        row.says(lines("X-A: {}\r\n", byte)).refused(400)
    });
    // A space and a tab in a name have rows of their own; a colon ends it.
    let names = controls().chain(DELIMITERS.iter().copied()).chain([0x80, 0xe9, 0xff]).map(|byte| {
        let row = row(format!("a name with {}", byte.escape_ascii()), "RFC 9110, sections 5.1 and 5.6.2");
        row.says(lines("X{}A: b\r\n", byte)).refused(400)
    });
    let ends = controls().map(|byte| {
        let cite = "RFC 9110, section 5.1; CVE-2019-16789 and CVE-2019-18277: characters that others take for white space";
        let row = row(format!("a name that ends with {}", byte.escape_ascii()), cite);
        row.says(lines("X-A{}: b\r\n", byte)).refused(400)
    });
    let allowed = [0x80, 0xa0, 0xe9, 0xff].map(|byte: u8| {
        let value = format!("a{}b", char::from(byte));
        let row = row(
            format!("a value with {} goes through", byte.escape_ascii()),
            "RFC 9110, section 5.5: obs-text",
        );
        row.says(lines("X-A: a{}b\r\n", byte))
            .gets(status(200))
            .arrives(want("GET / HTTP/1.1").exactly(&[("x-a", &value)]))
    });
    values.chain(first).chain(names).chain(ends).chain(allowed).collect()
}

fn broken_lines() -> Vec<Row> {
    let table = [
        ("a space before the colon", "X-A : b\r\n", "RFC 9112, section 5.1; CVE-2019-16276"),
        ("a tab before the colon", "X-A\t: b\r\n", "RFC 9112, section 5.1; CVE-2021-22959"),
        ("two spaces before the colon", "X-A  : b\r\n", "RFC 9112, section 5.1"),
        ("a space in a name", "X A: b\r\n", "RFC 9110, section 5.1"),
        ("a tab in a name", "X\tA: b\r\n", "RFC 9110, section 5.1"),
        ("no colon", "X-A\r\n", "RFC 9112, section 5; CVE-2019-20444"),
        ("no colon but a value", "X-A b\r\n", "RFC 9112, section 5; CVE-2019-20444"),
        ("an empty name", ": b\r\n", "RFC 9110, section 5.1; CVE-2023-25725"),
        ("an empty name and value", ":\r\n", "RFC 9110, section 5.1; CVE-2023-25725"),
        ("a space as a name", " : b\r\n", "RFC 9110, section 5.1"),
        ("obs-fold by a space", "X-A: b\r\n c\r\n", "RFC 9112, section 5.2"),
        ("obs-fold by a tab", "X-A: b\r\n\tc\r\n", "RFC 9112, section 5.2"),
        ("obs-fold of an empty value", "X-A:\r\n b\r\n", "RFC 9112, section 5.2; CVE-2022-32215"),
        ("obs-fold to an empty line", "X-A: b\r\n \r\n", "RFC 9112, section 5.2"),
        ("obs-fold twice", "X-A: b\r\n c\r\n d\r\n", "RFC 9112, section 5.2"),
        ("obs-fold that hides a field", "X-A: b\r\n Content-Length: 5\r\n", "RFC 9112, section 5.2"),
        ("a bare CR in a value", "X-A: b\rc\r\n", "RFC 9112, section 2.2"),
        (
            "a bare CR that hides a field",
            "X-A: b\rContent-Length: 5\r\n",
            "RFC 9112, section 2.2; CVE-2023-30589",
        ),
        ("a bare CR at the end of a value", "X-A: b\r\r\n", "RFC 9112, section 2.2"),
        ("a bare CR at the start of a value", "X-A: \rb\r\n", "RFC 9112, section 2.2"),
        ("a bare CR in a name", "X\rA: b\r\n", "RFC 9112, section 2.2"),
        ("a bare CR before a name", "\rX-A: b\r\n", "RFC 9112, section 2.2"),
        ("a bare LF in a value", "X-A: b\nc\r\n", "RFC 9112, section 2.2"),
        (
            "a bare LF that hides a field",
            "X-A: b\nContent-Length: 5\r\n",
            "RFC 9112, section 2.2; CVE-2019-16785",
        ),
        ("a bare LF before a name", "\nX-A: b\r\n", "RFC 9112, section 2.2"),
        ("LF CR between fields", "X-A: b\n\rX-B: c\r\n", "RFC 9112, section 2.2"),
        ("a NUL that ends a value", "X-A: b\0\r\n", "RFC 9110, section 5.5"),
    ];
    let lines = table.map(|(name, lines, cite)| row(name, cite).says(get(lines)).refused(400));
    let first = [
        ("a space before the first field", format!(" X-A: b\r\nHost: {HOST}\r\n")),
        ("a tab before the first field", format!("\tX-A: b\r\nHost: {HOST}\r\n")),
        ("an empty folded line before the first field", format!(" \r\nHost: {HOST}\r\n")),
        ("a host hidden by a space", format!(" Host: b.test\r\nHost: {HOST}\r\n")),
    ];
    let first = first.map(|(name, lines)| {
        let row =
            row(name, "RFC 9112, section 2.2: white space between the request line and the first field");
        row.says(format!("GET / HTTP/1.1\r\n{lines}\r\n")).refused(400)
    });
    lines.into_iter().chain(first).collect()
}

fn line_ends() -> Vec<Row> {
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}");
    let table = [
        ("a head that ends with LF LF", format!("{head}\n\n"), "RFC 9112, section 2.2; CVE-2022-35256"),
        ("a head that ends with CRLF LF", format!("{head}\r\n\n"), "RFC 9112, section 2.2"),
        ("a head that ends with LF CRLF", format!("{head}\n\r\n"), "RFC 9112, section 2.2"),
        (
            "a head that ends with CR CR",
            format!("{head}\r\rGET / HTTP/1.1\r\n\r\n"),
            "RFC 9112, section 2.2; CVE-2023-30589",
        ),
        (
            "a head that ends with CRLF CR",
            format!("{head}\r\n\rX\r\n\r\n"),
            "RFC 9112, section 2.2; CVE-2025-23167",
        ),
        ("a head that ends with CRLF CR CRLF", format!("{head}\r\n\r\r\n"), "RFC 9112, section 2.2"),
        ("a head that ends with CR CRLF", format!("{head}\r\r\n\r\n"), "RFC 9112, section 2.2"),
        (
            "a field that ends with LF",
            format!("{head}\nX-A: b\r\n\r\n"),
            "RFC 9112, section 2.2; CVE-2022-32214",
        ),
        (
            "a field that ends with CR",
            format!("{head}\rX-A: b\r\n\r\n"),
            "RFC 9112, section 2.2; CVE-2022-32214",
        ),
        (
            "the last field ends with LF",
            format!("{head}\r\nX-A: b\n\r\n"),
            "RFC 9112, section 2.2; CVE-2021-41136",
        ),
    ];
    table.map(|(name, text, cite)| row(name, cite).says(text).refused(400)).into()
}

type Lines<'a> = &'a [(&'a str, &'a str)];

fn kept() -> Vec<Row> {
    let table: &[(&str, &str, Lines<'_>)] = &[
        (
            "every character of a token in a name",
            "!#$%&'*+-.^_`|~09azAZ: b\r\n",
            &[("!#$%&'*+-.^_`|~09azaz", "b")],
        ),
        ("a name of one letter", "a: b\r\n", &[("a", "b")]),
        ("a name of digits", "123: b\r\n", &[("123", "b")]),
        ("an empty value", "X-A:\r\n", &[("x-a", "")]),
        ("a value of white space", "X-A: \t \r\n", &[("x-a", "")]),
        ("a value without a space before", "X-A:b\r\n", &[("x-a", "b")]),
        ("white space around a value", "X-A: \t b \t \r\n", &[("x-a", "b")]),
        ("white space in a value", "X-A: b \t c\r\n", &[("x-a", "b \t c")]),
        ("colons in a value", "X-A: b: c:d\r\n", &[("x-a", "b: c:d")]),
        ("a value of one colon", "X-A::\r\n", &[("x-a", ":")]),
        ("quotes and commas in a value", "X-A: \"b, c\\\"\", d\r\n", &[("x-a", "\"b, c\\\"\", d")]),
        (
            "every visible character in a value",
            "X-A: !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~\r\n",
            &[("x-a", "!\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~")],
        ),
        (
            "repeated fields in their order",
            "X-A: 1\r\nX-B: 2\r\nX-A: 3\r\nX-A: 1\r\n",
            &[("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("x-a", "1")],
        ),
        (
            "an empty field among repeated ones",
            "X-A: 1\r\nX-A:\r\nX-A: 3\r\n",
            &[("x-a", "1"), ("x-a", ""), ("x-a", "3")],
        ),
        (
            "repeated fields in different cases",
            "x-a: 1\r\nX-A: 2\r\nX-a: 3\r\n",
            &[("x-a", "1"), ("x-a", "2"), ("x-a", "3")],
        ),
        (
            "two cookie lines stay two",
            "Cookie: a=1\r\nCookie: b=2\r\n",
            &[("cookie", "a=1"), ("cookie", "b=2")],
        ),
        (
            "a range",
            "Range: bytes=0-4,7-\r\nIf-Range: \"e\"\r\n",
            &[("range", "bytes=0-4,7-"), ("if-range", "\"e\"")],
        ),
        (
            "conditions",
            "If-None-Match: \"a\", W/\"b\"\r\nIf-Modified-Since: Sat, 21 Nov 2026 00:00:00 GMT\r\n",
            &[("if-none-match", "\"a\", W/\"b\""), ("if-modified-since", "Sat, 21 Nov 2026 00:00:00 GMT")],
        ),
        ("credentials", "Authorization: Basic YTpi\r\n", &[("authorization", "Basic YTpi")]),
        ("Accept-Encoding", "Accept-Encoding: gzip, br;q=0.5\r\n", &[("accept-encoding", "gzip, br;q=0.5")]),
    ];
    let row_of = |(name, lines, fields): &(&str, &str, Lines<'_>)| {
        row(format!("{name} go through"), "RFC 9110, sections 5.1 to 5.5; RFC 9112, section 5")
            .says(get(lines))
            .gets(status(200))
            .arrives(want("GET / HTTP/1.1").exactly(fields))
    };
    // CVE-2021-40346: a name of 270 bytes overflowed into one that frames.
    let long = format!("Content-Length0{}", "a".repeat(255));
    let overflow = row("a name of 270 bytes is only a name", "RFC 9110, section 5.1; CVE-2021-40346")
        .says(get(&format!("{long}:\r\nContent-Length: 0\r\n")))
        .gets(status(200))
        .arrives(want("GET / HTTP/1.1").exactly(&[(&long.to_lowercase(), "")]));
    table.iter().map(row_of).chain([overflow]).collect()
}

/// RFC 9110, section 7.6.1, and what must never pass.
fn of_the_connection() -> Vec<Row> {
    let table: &[(&str, &str, Lines<'_>, &str)] = &[
        (
            "Connection takes what it lists",
            "Connection: x-a, X-B\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n",
            &[("x-c", "3")],
            "RFC 9110, section 7.6.1",
        ),
        (
            "two Connection lines",
            "Connection: x-a\r\nConnection: x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n",
            &[("x-c", "3")],
            "RFC 9110, section 7.6.1",
        ),
        (
            "Connection with empty elements",
            "Connection: , ,x-a,,\r\nX-A: 1\r\n",
            &[],
            "RFC 9110, sections 5.6.1 and 7.6.1",
        ),
        (
            "Connection that lists nothing there is",
            "Connection: x-a\r\nX-B: 1\r\n",
            &[("x-b", "1")],
            "RFC 9110, section 7.6.1",
        ),
        (
            "Keep-Alive",
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
            &[],
            "RFC 9112, appendix C.2.2",
        ),
        (
            "Keep-Alive that Connection does not list",
            "Keep-Alive: timeout=5\r\n",
            &[],
            "RFC 9110, section 7.6.1",
        ),
        ("Proxy-Connection", "Proxy-Connection: keep-alive\r\n", &[], "RFC 9112, appendix C.2.2"),
        (
            "Upgrade to h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            &[],
            "RFC 9113, section 3.1; h2c smuggling",
        ),
        (
            "Upgrade to h2c in capitals",
            "Connection: Upgrade\r\nUpgrade: H2C\r\n",
            &[],
            "RFC 9113, section 3.1; h2c smuggling",
        ),
        (
            "Upgrade to h2c that Connection does not list",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            &[],
            "RFC 9110, section 7.8; h2c smuggling",
        ),
        ("Upgrade to HTTP/2.0", "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n", &[], "RFC 9110, section 7.8"),
        ("Upgrade that Connection does not list", "Upgrade: websocket\r\n", &[], "RFC 9110, section 7.8"),
        (
            "Proxy, which CGI reads as HTTP_PROXY",
            "Proxy: http://b.test\r\n",
            &[],
            "CVE-2016-5385, CVE-2016-5387",
        ),
        ("TE without trailers", "Connection: TE\r\nTE: gzip;q=0.5\r\n", &[], "RFC 9110, section 10.1.4"),
        (
            "TE with trailers",
            "Connection: TE\r\nTE: trailers, deflate;q=0.5\r\n",
            &[("te", "trailers")],
            "RFC 9110, section 10.1.4",
        ),
        (
            "X-Forwarded-For with an underscore",
            "X_Forwarded_For: 192.0.2.1\r\n",
            &[],
            "RFC 3875, section 4.1.18: CGI reads both alike",
        ),
        (
            "X-Real-IP of a stranger",
            "X-Real-IP: 192.0.2.1\r\n",
            &[],
            "hitless(8): only trusted proxies speak for others",
        ),
    ];
    let gone = table.iter().map(|(name, lines, fields, cite)| {
        let row = row(format!("{name}: what is left of it"), *cite);
        row.says(get(lines)).gets(status(200)).arrives(want("GET / HTTP/1.1").exactly(fields))
    });
    let stays = ["host", "via", "forwarded", "x-forwarded-for", "x-request-id", "traceparent"].map(|name| {
        let cite =
            "RFC 9110, section 7.6.1: these are not for one connection; CVE-2022-31813, CVE-2021-33197";
        let row = row(format!("Connection cannot take {name}"), cite);
        let line =
            want("GET / HTTP/1.1").field("x-forwarded-for", &["127.0.0.1"]).field("via", &["1.1 hitless"]);
        row.says(get(&format!("Connection: close, {name}\r\n")))
            .gets(status(200))
            .then(crate::row::Then::Closed)
            .arrives(line)
    });
    let framing = row(
        "Connection cannot take Content-Length",
        "RFC 9110, section 7.6.1; smuggling by hop-by-hop removal",
    )
    .says(crate::row::post("Connection: content-length\r\nContent-Length: 3\r\n", "abc"))
    .gets(status(200))
    .arrives(want("POST / HTTP/1.1").field("content-length", &["3"]).content("abc"));
    let coding = row(
        "Connection cannot take Transfer-Encoding",
        "RFC 9110, section 7.6.1; smuggling by hop-by-hop removal",
    )
    .says(crate::row::post(
        "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
    ))
    .gets(status(200))
    .arrives(want("POST / HTTP/1.1").content("abc"));
    gone.chain(stays).chain([framing, coding]).collect()
}
