//! Table: `Host` (RFC 9110, section 7.2; RFC 9112, section 3.2; RFC 3986, section 3.2).

use crate::row::{HOST, Row, Then, controls, row, status, want, with};
use crate::run::run;

#[test]
fn a_host_is_one_or_the_connection_ends() {
    run("", rows());
}

fn request(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n")
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(numbers());
    rows.extend(values());
    rows.extend(octets());
    rows.extend(served());
    rows
}

fn numbers() -> Vec<Row> {
    let table = [
        ("no Host", ""),
        ("two Hosts that agree", "Host: a0000.test\r\nHost: a0000.test\r\n"),
        ("two Hosts that do not agree", "Host: a0000.test\r\nHost: b.test\r\n"),
        ("two Hosts, the other one first", "Host: b.test\r\nHost: a0000.test\r\n"),
        ("two Hosts in different cases", "Host: a0000.test\r\nhOST: a0000.test\r\n"),
        ("two Hosts with fields between", "Host: a0000.test\r\nX-A: b\r\nHost: b.test\r\n"),
        ("a second, empty Host", "Host: a0000.test\r\nHost:\r\n"),
        ("three Hosts", "Host: a0000.test\r\nHost: a0000.test\r\nHost: a0000.test\r\n"),
        ("a space before the colon of Host", "Host : a0000.test\r\n"),
        ("a tab before the colon of Host", "Host\t: a0000.test\r\n"),
        ("Host in a folded line", "X-A: b\r\n Host: a0000.test\r\n"),
        ("a folded Host", "Host:\r\n a0000.test\r\n"),
        ("a Host that goes on in a folded line", "Host: a0000.test\r\n .evil\r\n"),
        ("Host behind a bare LF", "X-A: b\nHost: a0000.test\r\n"),
        ("a second Host behind a bare LF", "Host: a0000.test\nHost: b.test\r\n"),
        ("a second Host behind a bare CR", "Host: a0000.test\rHost: b.test\r\n"),
        ("an X-Host is no Host", "X-Host: a0000.test\r\n"),
    ];
    let table = table.map(|(name, lines)| {
        row(name, "RFC 9112, section 3.2: more or less than one Host is 400")
            .says(request(lines))
            .refused(400)
    });
    let newer = row("no Host in HTTP/1.2", "RFC 9110, section 2.5; RFC 9112, section 3.2")
        .says("GET / HTTP/1.2\r\n\r\n")
        .refused(400);
    table.into_iter().chain([newer]).collect()
}

fn values() -> Vec<Row> {
    let long = format!("{}.{HOST}", "a.".repeat(130).trim_end_matches('.'));
    let table = [
        "",
        "a0000.test, b.test",
        "a0000.test,a0000.test",
        "a0000.test b.test",
        "a0000.test\tb.test",
        "u@a0000.test",
        "u:p@a0000.test",
        "@a0000.test",
        "a0000.test@b.test",
        "http://a0000.test",
        "a0000.test/",
        "a0000.test/path",
        "a0000.test?a",
        "a0000.test#a",
        "a0000.test\\b",
        "a0000.test;b",
        "\"a0000.test\"",
        "<a0000.test>",
        "[a0000.test]",
        ".a0000.test",
        "a..test",
        ".",
        ":80",
        "a0000.test:x",
        "a0000.test:8o",
        "a0000.test:-1",
        "a0000.test:+80",
        "a0000.test:65536",
        "a0000.test:99999999999999999999",
        "a0000.test:80:80",
        "a0000.test: 80",
        "a0000.test :80",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[]",
        "[fe80::1%25lo]",
        "%610000.test",
        "a0000.test%00",
        "a0000.test%0d%0aX:y",
        "a0000.test|b",
        "a0000.test^b",
        "{a0000.test}",
        "a0000.test`b",
        &long,
    ];
    let table = table.map(|value| {
        let short: String = value.chars().take(40).collect();
        let row = row(format!("the Host {short:?}"), "RFC 9112, section 3.2; RFC 3986, section 3.2");
        row.says(request(&format!("Host: {value}\r\n"))).refused(400)
    });
    table.into()
}

fn octets() -> Vec<Row> {
    let bytes = controls().chain([0x80, 0xc3, 0xff]);
    bytes
        .map(|byte| {
            let row = row(format!("a Host with {}", byte.escape_ascii()), "RFC 3986, section 3.2.2");
            row.says(with(&request("Host: a0000.test{}\r\n"), byte)).refused(400)
        })
        .collect()
}

fn served() -> Vec<Row> {
    let line = "GET / HTTP/1.1";
    let table = [
        ("in capitals", "HOST: A0000.TEST\r\n"),
        ("with a dot at its end", "Host: a0000.test.\r\n"),
        ("with an empty port", "Host: a0000.test:\r\n"),
        ("without a space", "Host:a0000.test\r\n"),
        ("between white space", "Host: \t a0000.test \t\r\n"),
        ("as the last field", "X-A: b\r\nHost: a0000.test\r\n"),
    ];
    let table = table.map(|(name, lines)| {
        row(format!("a Host {name}"), "RFC 9110, section 7.2; RFC 3986, sections 3.2.2 and 3.2.3")
            .says(request(lines))
            .served(line)
    });
    let others = [
        row("a Host with a port keeps it", "RFC 9110, section 7.2")
            .says(request("Host: a0000.test:8080\r\n"))
            .gets(status(200))
            .arrives(want(line).field("host", &["a0000.test:8080"])),
        row("a host that is not served", "RFC 9110, section 15.5.20")
            .says(request("Host: b0000.test\r\nAccept: application/json\r\n"))
            .gets(status(421).code("misdirected"))
            .then(Then::Kept),
        row("an address that is not served", "RFC 9110, section 15.5.20")
            .says(request("Host: 192.0.2.1\r\nAccept: application/json\r\n"))
            .gets(status(421).code("misdirected")),
        row("an IPv6 address that is not served", "RFC 9110, section 15.5.20; RFC 3986, section 3.2.2")
            .says(request("Host: [2001:db8::1]:80\r\nAccept: application/json\r\n"))
            .gets(status(421).code("misdirected")),
        row("a host of HTTP/1.0", "RFC 9112, section 3.2")
            .says(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
            .gets(status(200))
            .arrives(want(line).field("host", &[HOST]).field("via", &["1.0 hitless"]))
            .then(Then::Closed),
        row("two Hosts of HTTP/1.0", "RFC 9112, section 3.2: any request with more than one is 400")
            .says(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nHost: b.test\r\n\r\n"))
            .refused(400),
        row("no host of HTTP/1.0", "RFC 9110, section 7.2: nobody knows whom it is for")
            .says("GET / HTTP/1.0\r\n\r\n")
            .gets(crate::row::any_of(&[400, 404, 421]))
            .then(Then::Closed),
        row("an invalid host of HTTP/1.0", "RFC 9112, section 3.2")
            .says("GET / HTTP/1.0\r\nHost: a b\r\n\r\n")
            .refused(400),
    ];
    table.into_iter().chain(others).collect()
}
