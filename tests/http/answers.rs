//! Table: what an endpoint answers (RFC 9112, sections 2 to 8). What is wrong becomes 502 while
//! nothing has been passed on, and afterwards an answer that the client can see is cut short; a kept
//! connection that says more than it was asked is never asked again.

use crate::row::{
    Act, DELIMITERS, HOST, OK, Row, Step, Then, any_of, controls, get, post, row, say, status, want, with,
};
use crate::run::run;

#[test]
fn what_is_wrong_with_an_answer_is_told_and_never_looks_whole() {
    run("", rows());
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(status_lines());
    rows.extend(fields());
    rows.extend(framings());
    rows.extend(nothing());
    rows.extend(cut_short());
    rows.extend(broken_chunks());
    rows.extend(too_much());
    rows.extend(surplus());
    rows.extend(early());
    rows
}

const LINE: &str = "GET / HTTP/1.1";

fn asked(name: impl Into<String>, citation: &str) -> Row {
    row(name, citation).says(get("Accept: application/json\r\n")).arrives(want(LINE))
}

/// What is not an answer is 502, and the client's connection goes on.
fn refused(name: impl Into<String>, citation: &str, answer: impl AsRef<[u8]>) -> Row {
    asked(name, citation).answers_and_closes(answer).gets(status(502).code("bad-answer"))
}

fn status_lines() -> Vec<Row> {
    let lines = [
        "http/1.1 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/3.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1 200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/11.1 200 OK",
        "HTTP/1.1x 200 OK",
        "HTTPS/1.1 200 OK",
        "ICY 200 OK",
        "HTP/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 0200 OK",
        "HTTP/1.1 +200 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200.0 OK",
        "HTTP/1.1 0xc8 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 OK",
        "HTTP/1.1",
        "200 OK",
        "GET / HTTP/1.1",
        "garbage",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\u{1}K",
        "HTTP/1.1 200 O\u{7f}K",
        "HTTP/1.1 200 O\rK",
        "\u{feff}HTTP/1.1 200 OK",
        "\0HTTP/1.1 200 OK",
    ];
    let lines = lines.map(|line| {
        refused(
            format!("the status line {line:?}"),
            "RFC 9112, section 4; RFC 9110, section 15: three digits from 100 to 599",
            format!("{line}\r\nContent-Length: 2\r\n\r\nok"),
        )
    });
    let cite = "RFC 9112, section 2.2";
    let ends = [
        ("a status line that ends with LF", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"),
        ("a status line that ends with CR", "HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\nok"),
        ("an answer with LF alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        ("a head of an answer that ends with LF LF", "HTTP/1.1 200 OK\r\nContent-Length: 2\n\nok"),
        ("a head of an answer that ends with CRLF LF", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok"),
        ("two empty lines before an answer", "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("a bare LF before an answer", "\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ];
    let ends = ends.map(|(name, answer)| refused(name, cite, answer));
    let good = [
        ("an answer without words", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        ("an answer with words of any octet", "HTTP/1.1 200 Très bien\tok\r\nContent-Length: 2\r\n\r\nok"),
        ("an answer of HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ];
    let good = good.map(|(name, answer)| {
        let row = asked(name, "RFC 9112, section 4: the phrase may be empty; RFC 9110, section 2.5");
        row.answers(answer).gets(status(200).content("ok"))
    });
    lines.into_iter().chain(ends).chain(good).collect()
}

fn fields() -> Vec<Row> {
    let answer = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}Content-Length: 2\r\n\r\nok");
    let values = controls().map(|byte| {
        let name = format!("an answer with {} in a value", byte.escape_ascii());
        refused(name, "RFC 9110, section 5.5; response splitting", with(&answer("X-A: a{}b\r\n"), byte))
    });
    let names = controls().chain(DELIMITERS.iter().copied()).chain([b' ', b'\t', 0x80]).map(|byte| {
        let name = format!("an answer with {} in a name", byte.escape_ascii());
        refused(name, "RFC 9110, section 5.1", with(&answer("X{}A: b\r\n"), byte))
    });
    let lines = [
        ("a space before the colon", "X-A : b\r\n"),
        ("a tab before the colon", "X-A\t: b\r\n"),
        ("no colon", "X-A\r\n"),
        ("an empty name", ": b\r\n"),
        ("a folded line", "X-A: b\r\n c\r\n"),
        ("a line folded by a tab", "X-A: b\r\n\tc\r\n"),
        ("a bare CR in a value", "X-A: b\rc\r\n"),
        ("a bare CR at the end of a value", "X-A: b\r\r\n"),
        ("a bare LF in a value", "X-A: b\nX-B: c\r\n"),
        ("a space before the first name", " X-A: b\r\n"),
        ("a second status line", "HTTP/1.1 200 OK\r\n"),
    ];
    let lines = lines.map(|(name, line)| {
        let cite = "RFC 9112, sections 2.2, 5.1 and 5.2; CVE-2023-27522, CVE-2024-24795";
        refused(format!("an answer with {name}"), cite, answer(line))
    });
    values.chain(names).chain(lines).collect()
}

fn framings() -> Vec<Row> {
    let cite = "RFC 9112, sections 6.1 and 6.3: an answer that is framed ambiguously is 502";
    let answer = |lines: &str, content: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{content}");
    let lengths = [
        "",
        "+2",
        "-2",
        "2 2",
        "2,2",
        "2, 2",
        "2,",
        "0x2",
        "2x",
        "2.0",
        "two",
        "9223372036854775808",
        "18446744073709551618",
        "99999999999999999999999999999999",
    ];
    let lengths = lengths.map(|value| {
        refused(
            format!("an answer of the length {value:?}"),
            cite,
            answer(&format!("Content-Length: {value}\r\n"), "ok"),
        )
    });
    let codings = [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "cow",
    ];
    let codings = codings.map(|value| {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        refused(format!("an answer of the coding {value:?}"), cite, answer(&lines, "2\r\nok\r\n0\r\n\r\n"))
    });
    let lines = [
        ("two lengths that agree", "Content-Length: 2\r\nContent-Length: 2\r\n", "ok"),
        ("two lengths that do not agree", "Content-Length: 2\r\nContent-Length: 3\r\n", "ok"),
        (
            "a length before a coding",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "a coding before a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "a coding twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "a coding and another",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        ("a length with a space before its colon", "Content-Length : 2\r\n", "ok"),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
    ];
    let lines = lines.map(|(name, lines, content)| {
        refused(format!("an answer with {name}"), cite, answer(lines, content))
    });
    let old = refused(
        "an answer of HTTP/1.0 with a coding",
        "RFC 9112, section 6.1: faulty framing",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let good = ["Chunked", "CHUNKED", " chunked\t"].map(|value| {
        asked(format!("an answer of the coding {value:?} is chunked"), "RFC 9112, section 7")
            .answers(answer(&format!("Transfer-Encoding:{value}\r\n"), "2\r\nok\r\n0\r\n\r\n"))
            .gets(status(200).content("ok"))
    });
    lengths.into_iter().chain(codings).chain(lines).chain([old]).chain(good).collect()
}

fn nothing() -> Vec<Row> {
    let cite = "RFC 9110, section 15.6.3: an invalid answer is 502";
    let closed = [
        ("no answer", ""),
        ("one letter of an answer", "H"),
        ("half a status line", "HTTP/1.1 20"),
        ("a status line alone", "HTTP/1.1 200 OK\r\n"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("a head without its empty line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
        ("a head with half an empty line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r"),
        ("an interim answer alone", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("a content of HTTP/0.9", "<html>hello</html>"),
        ("the beginning of TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}"),
        ("a server's preface of HTTP/2", "\0\0\0\u{4}\0\0\0\0\0"),
        ("the greeting of another protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
    ];
    let closed = closed.into_iter().map(|(name, said)| {
        asked(format!("{name}, then the end"), cite).answers_and_closes(said).gets(status(502))
    });
    let reset = [("no answer", ""), ("half a head", "HTTP/1.1 200 OK\r\nContent-Le")].into_iter().map(
        |(name, said)| {
            asked(format!("{name}, then a reset"), cite)
                .acts(vec![Act::Whole, say(said), Act::Reset])
                .gets(status(502))
        },
    );
    closed.chain(reset).collect()
}

fn cut_short() -> Vec<Row> {
    let cite = "RFC 9112, sections 6.3 and 8: an incomplete answer must not look complete";
    let table = [
        ("a length without a content", "Content-Length: 9\r\n", "", ""),
        ("a part of a length", "Content-Length: 9\r\n", "abc", "abc"),
        ("all of a length but one", "Content-Length: 9\r\n", "abcdefgh", "abcdefgh"),
        ("chunks without any", "Transfer-Encoding: chunked\r\n", "", ""),
        ("a part of a chunk size", "Transfer-Encoding: chunked\r\n", "3", ""),
        ("a chunk size alone", "Transfer-Encoding: chunked\r\n", "3\r\n", ""),
        ("a part of a chunk", "Transfer-Encoding: chunked\r\n", "3\r\nab", "ab"),
        ("a chunk without its end", "Transfer-Encoding: chunked\r\n", "3\r\nabc", "abc"),
        ("a chunk without the last", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "abc"),
        ("a part of the last chunk", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0", "abc"),
        ("a last chunk without its end", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n", "abc"),
        ("a last chunk with half of its end", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r", "abc"),
        ("a part of a trailer", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-Su", "abc"),
        (
            "a trailer without an end",
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\nX-Sum: 1\r\n",
            "abc",
        ),
    ];
    table
        .into_iter()
        .flat_map(|(name, lines, said, seen)| {
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n{said}");
            let gets = || any_of(&[200, 502]).cut(seen);
            [
                asked(format!("{name}, then the end"), cite)
                    .answers_and_closes(&answer)
                    .gets(gets())
                    .then(Then::Any),
                asked(format!("{name}, then a reset"), cite)
                    .acts(vec![Act::Whole, say(&answer), Act::Reset])
                    .gets(gets())
                    .then(Then::Any),
            ]
        })
        .collect()
}

fn broken_chunks() -> Vec<Row> {
    let cite = "RFC 9112, sections 7.1 and 8: an answer with broken chunks must not look complete";
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(65_536));
    let table = [
        ("no chunk size", "\r\nabc\r\n0\r\n\r\n"),
        ("a letter for a chunk size", "g\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a negative chunk size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size after a space", " 3\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size with an underscore", "3_0\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size of seventeen digits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a chunk size that ends with LF", "3\nabc\r\n0\r\n\r\n"),
        ("a chunk size that ends with CR", "3\rabc\r\n0\r\n\r\n"),
        ("a chunk that ends with LF", "3\r\nabc\n0\r\n\r\n"),
        ("a chunk that ends with letters", "3\r\nabcXX0\r\n\r\n"),
        ("a chunk that is too long", "3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk that is too short", "4\r\nabc\r\n0\r\n\r\n"),
        ("an extension with a bare LF", "3;a\nabc\r\n0\r\n\r\n"),
        ("an extension with a bare CR", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("an extension with a NUL", "3;a\0b\r\nabc\r\n0\r\n\r\n"),
        ("an extension of 64 KiB", &long),
        ("no chunks but text", "hello, world"),
        ("a trailer without a colon", "3\r\nabc\r\n0\r\nX-Sum\r\n\r\n"),
        ("a trailer with a space before its colon", "3\r\nabc\r\n0\r\nX-Sum : 1\r\n\r\n"),
        ("a folded trailer", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n"),
        ("a trailer with a NUL", "3\r\nabc\r\n0\r\nX-Sum: \0\r\n\r\n"),
        ("a trailer that ends with LF", "3\r\nabc\r\n0\r\nX-Sum: 1\n\r\n"),
        (
            "an answer in the place of trailers",
            "3\r\nabc\r\n0\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    table
        .into_iter()
        .map(|(name, said)| {
            asked(format!("an answer with {name}"), cite)
                .answers_and_closes(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{said}"))
                .gets(any_of(&[200, 502]).cut(if said.starts_with('4') { "abc\r" } else { "abcdefgh" }))
                .then(Then::Any)
        })
        .collect()
}

/// More than a gateway can be asked to hold; one run is enough.
fn too_much() -> Vec<Row> {
    let cite = "the memory of a connection is bounded, whatever a peer does";
    let long = "a".repeat(1 << 20);
    let line = refused(
        "words of a status line of 1 MiB",
        cite,
        format!("HTTP/1.1 200 {long}\r\nContent-Length: 0\r\n\r\n"),
    );
    let endless = refused("a status line without an end", cite, format!("HTTP/1.1 200 {long}"));
    let value =
        refused("a field of 1 MiB in an answer", cite, format!("HTTP/1.1 200 OK\r\nX-A: {long}\r\n\r\n"));
    let name = refused("a name of 1 MiB in an answer", cite, format!("HTTP/1.1 200 OK\r\n{long}: b\r\n\r\n"));
    let many = refused(
        "20,000 fields in an answer",
        cite,
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(20_000)),
    );
    let interim = asked("20,000 interim answers", cite)
        .answers_and_closes(format!("{}{OK}", "HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000)))
        .gets(status(502))
        .then(Then::Any);
    let trailers = asked("trailers of 1 MiB in an answer", cite)
        .answers_and_closes(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: {long}\r\n\r\n"
        ))
        .gets(any_of(&[200, 502]).cut("abc"))
        .then(Then::Any);
    [line, endless, value, name, many, interim, trailers].map(Row::once).into()
}

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// What an endpoint says beyond its answer must never become the answer to another request.
fn surplus() -> Vec<Row> {
    let cite = "RFC 9112, section 9.2: an answer that nobody waits for ends the connection; response queue poisoning";
    let head = format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let at_once = [
        ("a second answer", format!("{OK}{POISON}"), 200, "ok"),
        (
            "a second answer behind chunks",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{POISON}"),
            200,
            "ok",
        ),
        (
            "a second answer behind trailers",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\n{POISON}"
            ),
            200,
            "ok",
        ),
        ("a second answer behind 304", format!("HTTP/1.1 304 Not Modified\r\n\r\n{POISON}"), 304, ""),
        (
            "a second answer behind an empty one",
            format!("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n{POISON}"),
            404,
            "",
        ),
        ("more than the length says", format!("{OK}surplus"), 200, "ok"),
        ("an empty line behind an answer", format!("{OK}\r\n"), 200, "ok"),
        (
            "a content of 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison".to_owned(),
            304,
            "",
        ),
    ];
    let at_once = at_once.map(|(name, said, code, content)| {
        asked(format!("{name} stays with nobody"), cite).answers(said).gets(status(code).content(content))
    });
    let bare = [
        ("a content of 204", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison"),
        (
            "chunks of 204",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
        ),
        (
            "a second answer behind 204",
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        ),
    ];
    let bare = bare.map(|(name, said)| {
        asked(format!("{name} stays with nobody"), "RFC 9110, sections 8.6 and 15.3.5; RFC 9112, section 6.3")
            .answers(said)
            .gets(any_of(&[204, 502]))
    });
    let heads = [
        ("a content of HEAD", OK.to_owned()),
        ("a second answer behind HEAD", format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{POISON}")),
        (
            "chunks of HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n".to_owned(),
        ),
    ];
    let heads = heads.map(|(name, said)| {
        row(format!("{name} stays with nobody"), cite)
            .says(&head)
            .answers(said)
            .gets(status(200).to("HEAD").content(""))
            .arrives(want("HEAD / HTTP/1.1"))
    });
    let later = [
        ("an answer that nobody asked for", POISON),
        ("an interim answer that nobody asked for", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        (
            "408 on a kept connection",
            "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        ("half an answer that nobody asked for", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("garbage on a kept connection", "garbage"),
        ("one byte on a kept connection", "\n"),
    ];
    let later = later.map(|(name, said)| {
        asked(format!("{name} stays with nobody"), cite)
            .acts(vec![Act::Whole, say(OK), Act::Await("got"), say(said), Act::Mark("said")])
            .does(Step::Answered(1))
            .does(Step::Mark("got"))
            .does(Step::Await("said"))
            .gets(status(200).content("ok"))
    });
    let framed = [
        ("an interim answer with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\n"),
        ("an interim answer with a coding", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    let framed = framed.map(|(name, head)| {
        asked(name, "RFC 9110, section 8.6; RFC 9112, section 6.1: neither in 1xx")
            .answers(format!("{head}{OK}"))
            .gets(any_of(&[200, 502]))
    });
    at_once.into_iter().chain(bare).chain(heads).chain(later).chain(framed).collect()
}

/// Answers before the request is whole.
fn early() -> Vec<Row> {
    let cite = "RFC 9112, sections 9.3 and 9.5; RFC 9110, section 7.5: an answer may come early";
    let line = "POST / HTTP/1.1";
    let large = "a".repeat(300_000);
    let length = format!("Content-Length: {}\r\n", large.len());
    let too_large = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let in_parts = |name: &str, answer: &str, code: u16, content: &str| {
        row(name, cite)
            .says(post("Content-Length: 6\r\n", "abc"))
            .acts(vec![Act::Heard("abc"), say(answer)])
            .does(Step::Answered(1))
            .gets(status(code).content(content))
            .then(Then::KeptAfter("def"))
            .arrives(want(line).content("abcdef").maybe_cut())
    };
    vec![
        row("a large content, answered at its head", cite)
            .says(post(&length, &large))
            .acts(vec![say(OK)])
            .gets(status(200).content("ok"))
            .then(Then::KeptOrClosed)
            .arrives(want(line).content(&large).maybe_cut())
            .once(),
        row("a large content in one chunk, answered at its head", cite)
            .says(post(
                "Transfer-Encoding: chunked\r\n",
                &format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
            ))
            .acts(vec![say(OK)])
            .gets(status(200).content("ok"))
            .then(Then::KeptOrClosed)
            .arrives(want(line).content(&large).maybe_cut())
            .once(),
        row("a large content, refused at its head", cite)
            .says(post(&length, &large))
            .acts(vec![say(too_large), Act::Close])
            .gets(status(413).content("no"))
            .then(Then::KeptOrClosed)
            .arrives(want(line).content(&large).maybe_cut())
            .once(),
        row(
            "a large content, refused and reset",
            "RFC 9112, section 9.6: a reset can destroy what was said before it",
        )
        .says(post(&length, &large))
        .acts(vec![say(too_large), Act::Reset])
        .gets(any_of(&[413, 502]))
        .then(Then::KeptOrClosed)
        .arrives(want(line).content(&large).maybe_cut())
        .once(),
        row("a large content that nobody reads", "RFC 9110, section 15.6.3")
            .says(post(&length, &large))
            .acts(vec![Act::Reset])
            .gets(status(502))
            .then(Then::KeptOrClosed)
            .arrives(want(line).content(&large).maybe_cut())
            .once(),
        in_parts("a content half sent, answered", OK, 200, "ok"),
        in_parts(
            "a content half sent, answered in chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            "ok",
        ),
        in_parts(
            "a content half sent, refused",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno",
            400,
            "no",
        ),
        in_parts(
            "a content half sent, answered with close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
        ),
        in_parts("a content half sent, answered twice", &format!("{OK}{POISON}"), 200, "ok"),
        row("a content half sent, answered with garbage", "RFC 9110, section 15.6.3")
            .says(post("Content-Length: 6\r\n", "abc"))
            .acts(vec![Act::Heard("abc"), say("garbage\r\n\r\n"), Act::Close])
            .gets(status(502))
            .then(Then::KeptAfter("def"))
            .arrives(want(line).content("abcdef").maybe_cut()),
        row("chunks half sent, answered", cite)
            .says(post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"))
            .acts(vec![Act::Heard("abc"), say(OK)])
            .does(Step::Answered(1))
            .gets(status(200).content("ok"))
            .then(Then::KeptAfter("3\r\ndef\r\n0\r\n\r\n"))
            .arrives(want(line).content("abcdef").maybe_cut()),
        row("chunks half sent, answered, then broken", "RFC 9112, section 7.1: the rest cannot be read")
            .says(post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"))
            .acts(vec![Act::Heard("abc"), say(OK)])
            .does(Step::Answered(1))
            .says(format!("xyz\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .gets(status(200).content("ok"))
            .then(Then::Closed)
            .arrives(want(line).content("abc").maybe_cut()),
        row("an answer that begins before the content ends", cite)
            .says(post("Content-Length: 6\r\n", "abc"))
            .acts(vec![
                Act::Heard("abc"),
                say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"),
                Act::Whole,
                say("ay"),
            ])
            .does(Step::Heard("\r\n\r\nok"))
            .says("def")
            .gets(status(200).content("okay"))
            .arrives(want(line).content("abcdef")),
    ]
}
