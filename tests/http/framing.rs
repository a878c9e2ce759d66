//! Tables: where a request ends (RFC 9112, sections 6 and 7), and every published way to make two
//! readers disagree about it.
//!
//! What must come of an ambiguous message is one thing: 400 and the end of the connection (501 where the
//! coding is real but not spoken), so that no byte behind it is ever read as a request. Where the
//! fault lies behind the head, the head may have been forwarded by then; what arrived must look
//! unfinished.

use crate::row::{
    Act, HOST, OK, Row, Step, Then, any_of, chunked, controls, get, post, row, say, status, want, with,
};
use crate::run::run;

#[test]
fn the_end_of_a_request_is_beyond_doubt_or_the_connection_ends() {
    run("", rows());
}

#[test]
fn no_published_smuggling_brings_a_request_that_nobody_meant() {
    run("", smuggling());
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(lengths());
    rows.extend(codings());
    rows.extend(both());
    rows.extend(chunks());
    rows.extend(broken_chunks());
    rows.extend(trailers());
    rows
}

const LINE: &str = "POST / HTTP/1.1";
/// What an attacker would like to arrive.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a0000.test\r\n\r\n";

fn lengths() -> Vec<Row> {
    let values = [
        "",
        " ",
        "+3",
        "-3",
        "-0",
        "3 3",
        "3,3",
        "3, 3",
        "3,",
        ",3",
        "3;",
        "3;a=b",
        "0x3",
        "3x",
        "x3",
        "3.0",
        "3.",
        "1e1",
        "3_0",
        "\"3\"",
        "'3'",
        "3\u{b}",
        "\u{b}3",
        "3\u{c}",
        "3\0",
        "\u{a0}3",
        "\u{ff13}",
        "three",
        "NaN",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551619",
        "4294967296000000000000",
        "-9223372036854775808",
        "99999999999999999999999999999999999999999999",
    ];
    let values = values.map(|value| {
        let cite =
            "RFC 9110, section 8.6: 1*DIGIT; CVE-2021-32715, CVE-2022-24801, CVE-2023-40167, CVE-2023-40225";
        let row = row(format!("Content-Length: {:?}", value), cite);
        row.says(post(&format!("Content-Length: {value}\r\n"), "abc")).refused(400)
    });
    let lines = [
        ("two lengths that agree", "Content-Length: 3\r\nContent-Length: 3\r\n"),
        ("two lengths that do not agree", "Content-Length: 3\r\nContent-Length: 4\r\n"),
        ("a length of nothing before another", "Content-Length: 0\r\nContent-Length: 3\r\n"),
        ("a length of nothing after another", "Content-Length: 3\r\nContent-Length: 0\r\n"),
        ("an empty length and another (CVE-2023-40225)", "Content-Length:\r\nContent-Length: 3\r\n"),
        ("two lengths in different cases", "Content-Length: 3\r\ncontent-length: 3\r\n"),
        ("two lengths with fields between", "Content-Length: 3\r\nX-A: b\r\nContent-Length: 3\r\n"),
        ("three lengths", "Content-Length: 3\r\nContent-Length: 3\r\nContent-Length: 3\r\n"),
        ("a space before the colon of a length (CVE-2024-27982)", "Content-Length : 3\r\n"),
        ("a space before the name of a length (CVE-2024-27982)", " Content-Length: 3\r\n"),
        ("a folded length", "Content-Length:\r\n 3\r\n"),
        ("a length that goes on in a folded line", "Content-Length: 3\r\n 0\r\n"),
        ("a length behind a bare CR", "X-A: b\rContent-Length: 3\r\n"),
        ("a length behind a bare LF", "X-A: b\nContent-Length: 3\r\n"),
        ("a length and one behind a bare LF", "Content-Length: 0\r\nX-A: b\nContent-Length: 3\r\n"),
        ("a length with a vertical tab behind its name", "Content-Length\u{b}: 3\r\n"),
        ("a length with a NUL in its name", "Content\0-Length: 3\r\n"),
    ];
    let lines = lines.map(|(name, lines)| {
        row(name, "RFC 9112, section 6.3; RFC 9110, section 8.6").says(post(lines, "abc")).refused(400)
    });
    let good = [("3", "abc"), ("0", ""), ("003", "abc"), ("0000000000000000000000003", "abc")].map(
        |(length, content)| {
            let row = row(format!("a length of {length}"), "RFC 9110, section 8.6");
            row.says(post(&format!("Content-Length: {length}\r\n"), content))
                .gets(status(200))
                .arrives(want(LINE).content(content))
        },
    );
    let others = [
        row("no length at all", "RFC 9112, section 6.3, rule 7").says(post("", "")).served(LINE),
        row("a length of nothing and bytes behind it", "RFC 9112, section 6.3; CL.0")
            .says(post("Content-Length: 0\r\n", "abc\r\n\r\n"))
            .gets(status(200))
            .arrives(want(LINE))
            .gets(status(400))
            .then(Then::Refused),
        row("more bytes than the length says", "RFC 9112, section 6.3")
            .says(post("Content-Length: 3\r\n", "abcdef\r\n\r\n"))
            .gets(status(200))
            .arrives(want(LINE).content("abc"))
            .gets(status(400))
            .then(Then::Refused),
        row("a content of every byte", "RFC 9110, section 6.4")
            .says(post("Content-Length: 14\r\n", "a\0\r\n\r\n\u{7f}GET / \n"))
            .gets(status(200))
            .arrives(want(LINE).content("a\0\r\n\r\n\u{7f}GET / \n")),
        row("a content that looks like a request is a content", "RFC 9112, section 6.3")
            .says(post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED))
            .gets(status(200))
            .arrives(want(LINE).content(SMUGGLED)),
    ];
    let methods = ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "FOO"].map(|method| {
        let to = if method == "HEAD" { "HEAD" } else { "GET" };
        let answer = if method == "HEAD" { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" } else { OK };
        row(
            format!("a content of {method}"),
            "RFC 9112, section 6: framing does not depend on the method; CL.0",
        )
        .says(format!(
            "{method} / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
            SMUGGLED.len()
        ))
        .answers(answer)
        .gets(status(200).to(to))
        .arrives(want(&format!("{method} / HTTP/1.1")).content(SMUGGLED))
    });
    values.into_iter().chain(lines).chain(good).chain(others).chain(methods).collect()
}

const EMPTY_CHUNKS: &str = "3\r\nabc\r\n0\r\n\r\n";

/// Codings that are not the one coding `chunked`, as whole field lines.
fn obfuscated() -> Vec<(String, String)> {
    let values = [
        "",
        "xchunked",
        "x-chunked",
        "chunkedx",
        "chunke",
        "chunk",
        "cow",
        "identity",
        "gzip",
        "\"chunked\"",
        "'chunked'",
        "(chunked)",
        "[chunked]",
        "chunked;",
        "chunked; a=b",
        "chunked;q=1",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked, chunked",
        "chunked,chunked",
        "chunked chunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, gzip",
        "chunked, cow",
        "cow, chunked",
        "chunked\u{b}",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked\u{c}",
        "chunked\0",
        "\0chunked",
        "chun\tked",
        "chun ked",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "\u{ff}chunked",
        "chunked/1",
        "chunked=1",
        "chunked:",
        ": chunked",
        "=chunked",
        "chunked\u{7f}",
        "chunked\rfoo",
        "chu\u{212a}ed",
        "chunked\\r",
        "chunked,\u{b}",
        "0",
        "true",
    ];
    let values = values
        .map(|value| (format!("Transfer-Encoding: {value:?}"), format!("Transfer-Encoding: {value}\r\n")));
    let lines = [
        ("a coding twice (CVE-2020-8287)", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("a coding and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("identity and a coding", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        ("a coding and nonsense", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n"),
        ("nonsense and a coding", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n"),
        ("an empty coding and another", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
        ("a coding and an empty one", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
        ("two codings in different cases", "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ("a space before the colon of a coding", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon of a coding", "Transfer-Encoding\t: chunked\r\n"),
        ("a space before the name of a coding", " Transfer-Encoding: chunked\r\n"),
        ("a vertical tab behind the name of a coding", "Transfer-Encoding\u{b}: chunked\r\n"),
        ("a NUL before the name of a coding", "\0Transfer-Encoding: chunked\r\n"),
        ("a folded coding (CVE-2022-32215)", "Transfer-Encoding:\r\n chunked\r\n"),
        ("a coding folded by a tab", "Transfer-Encoding:\r\n\tchunked\r\n"),
        ("a coding folded by a bare LF", "Transfer-Encoding:\n chunked\r\n"),
        ("a coding that goes on in a folded line", "Transfer-Encoding: chunked\r\n , identity\r\n"),
        ("a coding behind a bare LF", "X-A: b\nTransfer-Encoding: chunked\r\n"),
        ("a coding behind a bare CR", "X-A: b\rTransfer-Encoding: chunked\r\n"),
        ("a coding that ends with a bare LF", "Transfer-Encoding: chunked\nX-A: b\r\n"),
        ("a coding that ends with a bare CR", "Transfer-Encoding: chunked\rX-A: b\r\n"),
        ("a coding without a colon", "Transfer-Encoding chunked\r\n"),
        ("a coding with a space in its name", "Transfer Encoding: chunked\r\n"),
    ];
    values.into_iter().chain(lines.map(|(name, line)| (name.to_owned(), line.to_owned()))).collect()
}

fn codings() -> Vec<Row> {
    let cite = "RFC 9112, sections 6.1 and 6.3; TE.TE; CVE-2019-18277, CVE-2022-1705, CVE-2022-32213";
    let wrong = obfuscated().into_iter().map(|(name, line)| {
        // RFC 9112, section 6.1: 501 for a coding that is not understood, where the message can be told.
        let statuses: &[u16] = if line.contains("cow, chunked") { &[400, 501] } else { &[400] };
        row(name, cite).says(post(&line, EMPTY_CHUNKS)).says(SMUGGLED).refused_with(statuses)
    });
    let unknown =
        ["gzip, chunked", "deflate, chunked", "compress, chunked", "GZIP,chunked", "gzip, deflate, chunked"]
            .map(|value| {
                row(format!("the coding {value}"), "RFC 9112, section 6.1: 501")
                    .says(post(&format!("Transfer-Encoding: {value}\r\n"), EMPTY_CHUNKS))
                    .refused(501)
            });
    let good = [
        "chunked",
        "Chunked",
        "CHUNKED",
        "cHuNkEd",
        " chunked",
        "\tchunked",
        "chunked ",
        "chunked\t",
        " \t chunked \t ",
    ]
    .map(|value| {
        row(
            format!("the coding {value:?} is chunked"),
            "RFC 9112, section 7: names are case-insensitive; RFC 9110, section 5.5",
        )
        .says(post(&format!("Transfer-Encoding:{value}\r\n"), EMPTY_CHUNKS))
        .gets(status(200))
        .arrives(want(LINE).content("abc"))
    });
    let old = [
        row("a coding of HTTP/1.0", "RFC 9112, section 6.1: faulty framing; CVE-2021-33037")
            .says(format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{EMPTY_CHUNKS}"))
            .refused(400),
        row("a coding of HTTP/1.0 that stays", "RFC 9112, section 6.1")
            .says(format!(
                "POST / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{EMPTY_CHUNKS}{SMUGGLED}"
            ))
            .refused(400),
        row("a coding and a length of HTTP/1.0", "RFC 9112, section 6.1")
            .says(format!(
                "POST / HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{EMPTY_CHUNKS}"
            ))
            .refused(400),
    ];
    wrong.chain(unknown).chain(good).chain(old).collect()
}

/// A length and a coding at once, the coding good or obfuscated.
fn both() -> Vec<Row> {
    let cite = "RFC 9112, section 6.1: a length with a coding is an error; CVE-2005-2088, CVE-2020-10109, CVE-2024-47220";
    let plain = [
        ("a length before a coding", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        ("a coding before a length", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        ("a length of nothing with a coding", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        ("the true length with a coding", "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n"),
        ("a length with identity", "Content-Length: 3\r\nTransfer-Encoding: identity\r\n"),
        ("a length with two codings", "Content-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n"),
        (
            "two lengths with a coding",
            "Content-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    let plain = plain.map(|(name, lines)| (name.to_owned(), lines.to_owned()));
    let hidden = obfuscated().into_iter().map(|(name, line)| {
        (format!("a length with {name}"), format!("Content-Length: {}\r\n{line}", EMPTY_CHUNKS.len()))
    });
    plain
        .into_iter()
        .chain(hidden)
        .map(|(name, lines)| {
            let statuses: &[u16] = if lines.contains("gzip, chunked") { &[400, 501] } else { &[400] };
            row(name, cite).says(post(&lines, EMPTY_CHUNKS)).says(SMUGGLED).refused_with(statuses)
        })
        .collect()
}

fn chunks() -> Vec<Row> {
    let cite = "RFC 9112, sections 7.1 and 7.1.1";
    let long_name = "a".repeat(100);
    let table = [
        ("no chunk but the last", "0\r\n\r\n".to_owned(), ""),
        ("one chunk", "3\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("several chunks", "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n".to_owned(), "abcdef"),
        ("a chunk size in lower case", "a\r\n0123456789\r\n0\r\n\r\n".to_owned(), "0123456789"),
        ("a chunk size in upper case", "A\r\n0123456789\r\n0\r\n\r\n".to_owned(), "0123456789"),
        ("a chunk size with zeros before", "0003\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("a chunk size of sixteen digits", "0000000000000003\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("a last chunk of several zeros", "3\r\nabc\r\n000\r\n\r\n".to_owned(), "abc"),
        ("CRLF in a chunk", "6\r\na\r\n\r\nb\r\n0\r\n\r\n".to_owned(), "a\r\n\r\nb"),
        ("the end of chunks in a chunk", "9\r\n0\r\n\r\nGET \r\n0\r\n\r\n".to_owned(), "0\r\n\r\nGET "),
        ("an extension", "3;a\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension with a value", "3;a=b\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension with a quoted value", "3;a=\"b c;d\"\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension with an escape", "3;a=\"b\\\"c\"\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("two extensions", "3;a=b;c\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension after a space", "3 ;a\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension among white space", "3\t; a = b ;c\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("an extension of the last chunk", "3\r\nabc\r\n0;a=b\r\n\r\n".to_owned(), "abc"),
        ("a long extension", format!("3;{long_name}={long_name}\r\nabc\r\n0\r\n\r\n"), "abc"),
    ];
    table
        .into_iter()
        .map(|(name, content, arrives)| {
            let row = row(format!("{name}: the content arrives, framed anew"), cite);
            row.says(chunked(&content)).gets(status(200)).arrives(want(LINE).content(arrives))
        })
        .collect()
}

fn broken_chunks() -> Vec<Row> {
    let sizes = [
        "",
        "g",
        "x",
        "0x3",
        "0X3",
        "x3",
        "+3",
        "-3",
        "-0",
        " 3",
        "\t3",
        "3 ",
        "3\t",
        "3 3",
        "3_0",
        "3,",
        "3.",
        "3h",
        "\"3\"",
        "3\0",
        "\u{0}3",
        "\u{ff13}",
        "3\u{b}",
        "00000000000000003",
        "10000000000000003",
        "100000000000000000000000000000003",
        "ffffffffffffffffffff",
        "FFFFFFFFFFFFFFFFF",
        "-ffffffffffffffff",
    ];
    let cite = "RFC 9112, section 7.1: 1*HEXDIG, no more than a reader can hold; CVE-2013-2028, CVE-2021-32714, CVE-2022-24801";
    let sizes = sizes.map(|size| {
        row(format!("the chunk size {size:?}"), cite)
            .says(chunked(&format!("{size}\r\nabc\r\n0\r\n\r\n")))
            .says(SMUGGLED)
            .broken(400, LINE)
    });
    let extensions: Vec<(String, String)> = [
        ("an extension without a name", "3;"),
        ("an extension of a space", "3; "),
        ("an extension with a value and no name", "3;=b"),
        ("an extension without its value", "3;a="),
        ("an extension with two equal signs", "3;a==b"),
        ("an extension with an open quote", "3;a=\"b"),
        ("an extension with bytes behind its quote", "3;a=\"b\"c"),
        ("an extension behind a comma", "3,a=b"),
        ("an extension with a bare LF (CVE-2024-52304)", "3;a\nb"),
        ("an extension with a bare CR (CVE-2025-55315)", "3;a\rb"),
        ("an extension with a quoted bare LF", "3;a=\"b\nc\""),
        ("an extension with a quoted bare CR", "3;a=\"b\rc\""),
        ("an extension with a quoted CRLF", "3;a=\"b\r\nc\""),
        ("an extension that is a delimiter", "3;(a)"),
    ]
    .map(|(name, line)| (name.to_owned(), line.to_owned()))
    .into();
    let long = [
        ("an extension of 300 bytes (CVE-2023-39326)".to_owned(), format!("3;{}", "a".repeat(300))),
        ("an extension of 64 KiB (CVE-2024-22019)".to_owned(), format!("3;{}", "a".repeat(65_536))),
        ("three hundred extensions (CVE-2024-21647)".to_owned(), format!("3{}", ";a".repeat(300))),
    ];
    let extensions = extensions.into_iter().chain(long).map(|(name, line)| {
        row(name, "RFC 9112, section 7.1.1; the limit is 256 bytes of a chunk")
            .says(chunked(&format!("{line}\r\nabc\r\n0\r\n\r\n")))
            .says(SMUGGLED)
            .broken(400, LINE)
    });
    let octets = controls().map(|byte| {
        row(
            format!("an extension with {}", byte.escape_ascii()),
            "RFC 9112, section 7.1.1; RFC 9110, section 5.6",
        )
        .says(with(&chunked("3;a{}b\r\nabc\r\n0\r\n\r\n"), byte))
        .broken(400, LINE)
    });
    let table = [
        ("a size that ends with LF (CVE-2025-22871)", "3\nabc\r\n0\r\n\r\n"),
        ("a size that ends with CR", "3\rabc\r\n0\r\n\r\n"),
        ("a size that ends with CR CR LF", "3\r\r\nabc\r\n0\r\n\r\n"),
        ("a size that ends with LF CR", "3\n\rabc\r\n0\r\n\r\n"),
        ("an extension that ends with LF", "3;a\nabc\r\n0\r\n\r\n"),
        ("a chunk that ends with LF", "3\r\nabc\n0\r\n\r\n"),
        ("a chunk that ends with CR", "3\r\nabc\r0\r\n\r\n"),
        ("a chunk that ends with LF CR", "3\r\nabc\n\r0\r\n\r\n"),
        ("a chunk that ends with two spaces", "3\r\nabc  0\r\n\r\n"),
        ("a chunk that ends with two letters (CVE-2025-43859)", "3\r\nabcXX0\r\n\r\n"),
        ("a chunk without an end", "3\r\nabc0\r\n\r\n"),
        ("a chunk that is longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk that is shorter than its size", "4\r\nabc\r\n0\r\n\r\n"),
        ("an empty line between chunks", "3\r\nabc\r\n\r\n0\r\n\r\n"),
        ("an empty line before the first chunk", "\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("a last chunk that ends with LF", "3\r\nabc\r\n0\n\r\n"),
        ("a last chunk that ends with LF LF", "3\r\nabc\r\n0\n\n"),
        ("a last chunk and a bare LF", "3\r\nabc\r\n0\r\n\n"),
        ("a last chunk and a bare CR", "3\r\nabc\r\n0\r\n\rX"),
        ("a last chunk that ends with CR", "3\r\nabc\r\n0\r\r\n"),
        ("a last chunk with a sign", "3\r\nabc\r\n-0\r\n\r\n"),
        ("a last chunk with a prefix", "3\r\nabc\r\n0x0\r\n\r\n"),
        ("a last chunk with a space", "3\r\nabc\r\n0 \r\n\r\n"),
        ("a request in the place of trailers", "0\r\nGET /smuggled HTTP/1.1\r\nHost: a0000.test\r\n\r\n"),
        ("no chunk at all", "GET /smuggled HTTP/1.1\r\nHost: a0000.test\r\n\r\n"),
    ];
    let cite =
        "RFC 9112, section 7.1; CVE-2022-35256, CVE-2025-58056; TERM.EXT, EXT.TERM, TERM.SPILL, SPILL.TERM";
    let table =
        table.map(|(name, content)| row(name, cite).says(chunked(content)).says(SMUGGLED).broken(400, LINE));
    sizes.into_iter().chain(extensions).chain(octets).chain(table).collect()
}

fn trailers() -> Vec<Row> {
    let with_trailers = |lines: &str| {
        post("Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n", &format!("3\r\nabc\r\n0\r\n{lines}\r\n"))
    };
    type Lines<'a> = &'a [(&'a str, &'a str)];
    let kept: [(&str, &str, Lines<'_>); 5] = [
        ("one trailer", "X-Sum: 1\r\n", &[("x-sum", "1")]),
        ("repeated trailers", "X-Sum: 1\r\nX-Sum: 2\r\n", &[("x-sum", "1"), ("x-sum", "2")]),
        ("an empty trailer", "X-Sum:\r\n", &[("x-sum", "")]),
        ("white space around a trailer", "X-Sum: \t 1 \t\r\n", &[("x-sum", "1")]),
        ("a trailer that Trailer does not name", "X-Other: 1\r\n", &[("x-other", "1")]),
    ];
    let kept = kept.map(|(name, lines, arrive)| {
        row(format!("{name} goes through"), "RFC 9112, section 7.1.2; RFC 9110, section 6.5")
            .says(with_trailers(lines))
            .gets(status(200))
            .arrives(want(LINE).content("abc").trailers(arrive))
    });
    let forbidden = [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: b.test",
        "Connection: close",
        "Trailer: x",
        "TE: trailers",
        "Upgrade: websocket",
        "Authorization: Basic YTpi",
        "Proxy-Authorization: Basic YTpi",
        "Content-Type: text/html",
        "Content-Encoding: gzip",
        "Content-Range: bytes 0-1/2",
        "Cookie: a=b",
        "Expect: 100-continue",
        "Max-Forwards: 1",
        "Range: bytes=0-1",
        "If-Match: \"a\"",
        "Cache-Control: no-cache",
        "X-Forwarded-For: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "Keep-Alive: timeout=5",
        "Proxy: http://b.test",
        "X-Request-Id: forged",
    ];
    let forbidden = forbidden.map(|line| {
        row(
            format!("the trailer {line} is dropped"),
            "RFC 9110, section 6.5.1: framing, routing, authentication, modifiers, content",
        )
        .says(with_trailers(&format!("X-Sum: 1\r\n{line}\r\n")))
        .gets(status(200))
        .arrives(want(LINE).content("abc").trailers(&[("x-sum", "1")]))
    });
    let broken = [
        ("a trailer without a colon", "X-Sum 1\r\n"),
        ("a trailer with a space before its colon", "X-Sum : 1\r\n"),
        ("a trailer without a name", ": 1\r\n"),
        ("a trailer with a space before its name", " X-Sum: 1\r\n"),
        ("a folded trailer", "X-Sum: 1\r\n 2\r\n"),
        ("a trailer with a NUL", "X-Sum: 1\0\r\n"),
        ("a trailer with a bare CR", "X-Sum: 1\r2\r\n"),
        ("a trailer with a bare LF", "X-Sum: 1\nX-B: 2\r\n"),
        ("a trailer that ends with LF", "X-Sum: 1\n"),
        ("a trailer with a control character", "X-Sum: \u{1}\r\n"),
        ("a trailer with a delimiter in its name", "X(Sum): 1\r\n"),
        (
            "a request in the trailers (CVE-2023-46589)",
            "X-Sum: 1\r\nGET /smuggled HTTP/1.1\r\nHost: a0000.test\r\n",
        ),
    ];
    let broken = broken.map(|(name, lines)| {
        row(name, "RFC 9112, sections 5 and 7.1.2")
            .says(with_trailers(lines))
            .says(SMUGGLED)
            .broken(400, LINE)
    });
    kept.into_iter().chain(forbidden).chain(broken).collect()
}

/// Published attacks, whole.
pub fn smuggling() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(classes());
    rows.extend(expectations());
    rows.extend(unread_contents());
    rows
}

/// The same as one chunk, whose size is wrong by so much.
fn in_chunks(surplus: usize) -> String {
    format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len() + surplus)
}

fn classes() -> Vec<Row> {
    let refused = [
        (
            "CL.TE",
            "PortSwigger: HTTP request smuggling, CL.TE",
            post("Content-Length: 48\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
        ),
        (
            "TE.CL",
            "PortSwigger: HTTP request smuggling, TE.CL",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &in_chunks(0)),
        ),
        (
            "TE.TE",
            "PortSwigger: HTTP request smuggling, TE.TE",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n",
                &in_chunks(0),
            ),
        ),
        (
            "0.CL",
            "Kettle 2025: HTTP/1.1 must die, 0.CL by a hidden length",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length:\n 43\r\n\r\n{SMUGGLED}"),
        ),
        (
            "0.CL by a folded length",
            "Kettle 2025: V-H and H-V discrepancies",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: y\r\n Content-Length: 43\r\n\r\n{SMUGGLED}"),
        ),
        (
            "a hidden Host",
            "Kettle 2025: V-H discrepancy by a leading space",
            format!("GET / HTTP/1.1\r\n Host: b.test\r\nHost: {HOST}\r\n\r\n"),
        ),
        (
            "a request in a header that ends with LF",
            "CVE-2019-16785",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: y\n\n{SMUGGLED}"),
        ),
        (
            "a length and the same length as a list",
            "CVE-2021-39214, CVE-2020-10108",
            post("Content-Length: 43\r\nContent-Length: 43, 43\r\n", SMUGGLED),
        ),
        (
            "a preface of HTTP/2 behind a request line",
            "RFC 9113, section 3.3: only at the very beginning",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ),
    ];
    let refused = refused.map(|(name, cite, text)| row(name, cite).says(text).refused(400));
    let harmless = [
        // These are two requests, or one content, to everybody.
        row("TE.0: a content in chunks of OPTIONS", "Bookshelf 2024: TE.0; RFC 9112, section 6.3")
            .says(format!(
                "OPTIONS / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                in_chunks(0)
            ))
            .gets(status(200))
            .arrives(want("OPTIONS / HTTP/1.1").content(SMUGGLED)),
        row("CL.0: a content of GET", "Kettle 2022: browser-powered desync, CL.0")
            .says(format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
                SMUGGLED.len()
            ))
            .gets(status(200))
            .arrives(want("GET / HTTP/1.1").content(SMUGGLED)),
        row("CL.0: an endpoint that does not read the content", "Kettle 2022: CL.0; RFC 9112, section 9.3")
            .says(post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED))
            .acts(vec![say(OK)])
            .gets(status(200))
            .then(Then::KeptAfter(""))
            .arrives(want(LINE).content(SMUGGLED).maybe_cut()),
        row("a field that only looks like a framing", "RFC 9110, section 5.1; Content_Length")
            .says(post("Content_Length: 3\r\nX-Transfer-Encoding: chunked\r\n", ""))
            .served(LINE),
        row("a request behind chunks is a request of its own", "RFC 9112, section 9.3.2")
            .says(format!("{}{}", chunked("0\r\n\r\n"), SMUGGLED))
            .gets(status(200))
            .gets(status(200))
            .arrives(want(LINE))
            .arrives(want("GET /smuggled HTTP/1.1")),
    ];
    refused.into_iter().chain(harmless).collect()
}

/// Kettle 2025: 0.CL and CL.0 by `Expect`; CVE-2025-32094.
fn expectations() -> Vec<Row> {
    let cite = "Kettle 2025: HTTP/1.1 must die, Expect-based desync; RFC 9110, section 10.1.1";
    let length = format!("Content-Length: {}\r\n", SMUGGLED.len());
    let unknown = [
        "y 100-continue",
        "100-continuex",
        "x100-continue",
        "100 continue",
        "100",
        "200-ok",
        "100-continue; a=b",
        "\"100-continue\"",
        "y, 100-continue",
        "100-continue, y",
    ];
    let unknown = unknown.map(|value| {
        let row = row(format!("Expect: {value}"), cite);
        row.says(post(&format!("Expect: {value}\r\n{length}"), SMUGGLED)).refused(417)
    });
    let broken = [
        "Expect : 100-continue\r\n",
        "Expect:\r\n 100-continue\r\n",
        "Expect\u{b}: 100-continue\r\n",
        "Expect: 100-continue\0\r\n",
    ];
    let broken = broken.map(|line| {
        let row = row(format!("{line:?}"), cite);
        row.says(post(&format!("{line}{length}"), SMUGGLED)).refused(400)
    });
    let early = ["GET", "POST", "OPTIONS", "HEAD"].map(|method| {
        let to = if method == "HEAD" { "HEAD" } else { "GET" };
        // The content may follow or not: what comes is this, and it is no request.
        let answer = if method == "HEAD" { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" } else { OK };
        row(format!("{method} with an expectation, answered at once"), cite)
            .says(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\n{length}\r\n"))
            .acts(vec![say(answer)])
            .gets(status(200).to(to))
            .then(Then::KeptAfter(SMUGGLED))
            .arrives(want(&format!("{method} / HTTP/1.1")).content(SMUGGLED).maybe_cut())
    });
    let sent = row("a content that does not wait, answered at once", cite)
        .says(post(&format!("Expect: 100-continue\r\n{length}"), SMUGGLED))
        .acts(vec![say(OK)])
        .gets(status(200))
        .then(Then::KeptAfter(""))
        .arrives(want(LINE).content(SMUGGLED).maybe_cut());
    let refused = row("an expectation that the endpoint refuses", cite)
        .says(post(&format!("Expect: 100-continue\r\n{length}"), ""))
        .acts(vec![say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")])
        .gets(status(417))
        .then(Then::KeptAfter(SMUGGLED))
        .arrives(want(LINE).content(SMUGGLED).maybe_cut());
    let without = row("an expectation without a content", "RFC 9110, section 10.1.1")
        .says(get("Expect: 100-continue\r\n"))
        .served("GET / HTTP/1.1");
    let twice = row("two interim answers and a content", "Kettle 2025: double 100-continue desync")
        .says(post(&format!("Expect: 100-continue\r\n{length}"), ""))
        .acts(vec![say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"), Act::Whole, say(OK)])
        .does(Step::Interim(100))
        .says(SMUGGLED)
        .gets(status(200))
        .arrives(want(LINE).content(SMUGGLED));
    unknown.into_iter().chain(broken).chain(early).chain([sent, refused, without, twice]).collect()
}

/// Client-side desync: an answer of the gateway's own must not leave the content to be read as requests.
fn unread_contents() -> Vec<Row> {
    let cite =
        "Kettle 2022: client-side desync; RFC 9112, section 9.3: read the content or end the connection";
    let length = SMUGGLED.len();
    let wrong_host = |framing: &str, content: &str| {
        format!("POST / HTTP/1.1\r\nHost: b0000.test\r\n{framing}\r\n{content}")
    };
    let no_route = "path = \"/only\"\n";
    [
        row("the content of a misdirected request", cite)
            .says(wrong_host(&format!("Content-Length: {length}\r\n"), SMUGGLED))
            .gets(status(421))
            .then(Then::Any),
        row("the chunks of a misdirected request", cite)
            .says(wrong_host("Transfer-Encoding: chunked\r\n", &in_chunks(0)))
            .gets(status(421))
            .then(Then::Any),
        row("the content of a request without a route", cite)
            .says(post(&format!("Content-Length: {length}\r\n"), SMUGGLED))
            .gets(status(404))
            .service(no_route)
            .then(Then::Any),
        row("the content of a path that is refused", cite)
            .says(format!("POST /../ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"))
            .gets(status(400))
            .then(Then::Any),
        row("the content of CONNECT that is refused", cite)
            .says(format!("CONNECT a0000.test:443 HTTP/1.1\r\nHost: a0000.test:443\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"))
            .gets(any_of(&[400, 405]).to("CONNECT"))
            .then(Then::Any),
        row("the content of a redirect", cite)
            .says(post(&format!("Content-Length: {length}\r\n"), SMUGGLED))
            .gets(status(308).field("location", &["/else"]))
            .service("[[service.NAME.route]]\nredirect = { to = \"/else\" }\n")
            .then(Then::Any),
        row("the content of a fixed answer", cite)
            .says(post(&format!("Content-Length: {length}\r\n"), SMUGGLED))
            .gets(status(200).content("fixed"))
            .service("[[service.NAME.route]]\nanswer = { body = \"fixed\" }\n")
            .then(Then::Any),
        row("the chunks of a fixed answer", cite)
            .says(chunked(&in_chunks(0)))
            .gets(status(200).content("fixed"))
            .service("[[service.NAME.route]]\nanswer = { body = \"fixed\" }\n")
            .then(Then::Any),
        row("broken chunks of a fixed answer", cite)
            .says(chunked(&in_chunks(1)))
            .gets(any_of(&[200, 400]))
            .service("[[service.NAME.route]]\nanswer = { body = \"fixed\" }\n")
            .then(Then::Any),
    ]
    .into()
}
