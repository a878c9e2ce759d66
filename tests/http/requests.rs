//! Table: the request line and its target (RFC 9112, sections 2.2, 2.3 and 3; RFC 3986).

use crate::row::{DELIMITERS, HOST, Row, Then, controls, get, row, status, want, with};
use crate::run::run;

#[test]
fn a_request_line_is_one_or_the_connection_ends() {
    run("", rows());
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![];
    rows.extend(broken_lines());
    rows.extend(versions());
    rows.extend(line_ends());
    rows.extend(methods());
    rows.extend(octets_of_targets());
    rows.extend(paths());
    rows.extend(forms());
    rows
}

/// A head with this line first.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: {HOST}\r\n\r\n")
}

fn broken_lines() -> Vec<Row> {
    let table = [
        ("two spaces after the method", "GET  / HTTP/1.1"),
        ("two spaces before the version", "GET /  HTTP/1.1"),
        ("a tab after the method", "GET\t/ HTTP/1.1"),
        ("a tab before the version", "GET /\tHTTP/1.1"),
        ("a space before the method", " GET / HTTP/1.1"),
        ("a tab before the method", "\tGET / HTTP/1.1"),
        ("a space after the version", "GET / HTTP/1.1 "),
        ("a tab after the version", "GET / HTTP/1.1\t"),
        ("a method alone", "GET"),
        ("a method and a space alone", "GET "),
        ("an empty target", "GET HTTP/1.1"),
        ("a version alone", "HTTP/1.1"),
        ("a space in the target (CVE-2013-4547)", "GET /a b HTTP/1.1"),
        ("two versions", "GET / HTTP/1.1 HTTP/1.1"),
        ("a second target (CVE-2021-39241)", "GET /a /b HTTP/1.1"),
        ("a vertical tab as a separator (CVE-2016-8743)", "GET\x0b/ HTTP/1.1"),
        ("a form feed as a separator (CVE-2016-8743)", "GET\x0c/ HTTP/1.1"),
        ("a carriage return as a separator (CVE-2016-8743)", "GET\r/ HTTP/1.1"),
        ("a status line", "HTTP/1.1 200 OK"),
        ("a field line first", "Accept: */*"),
    ];
    table.map(|(name, text)| row(name, "RFC 9112, section 3").says(line(text)).refused(400)).into()
}

fn versions() -> Vec<Row> {
    let bad = [
        "http/1.1",
        "Http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/01.1",
        "HTTP/1.1x",
        "HTTP/ 1.1",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTP/1,1",
        "HTTP/1.1.1",
        "HTTP/a.b",
        "HTTP1.1",
        "HTP/1.1",
        "ICY/1.1",
        "HTTPS/1.1",
        "SIP/2.0",
        "HTTP/",
    ];
    let bad = bad.map(|version| {
        let row =
            row(format!("the version {version}"), "RFC 9112, section 2.3: HTTP-name \"/\" DIGIT \".\" DIGIT");
        row.says(line(&format!("GET / {version}"))).refused(400)
    });
    // RFC 9110, section 2.5: a higher minor version of a major one is read as the highest known.
    let minor = ["HTTP/1.2", "HTTP/1.9"].map(|version| {
        let row = row(format!("the version {version} is 1.1"), "RFC 9110, section 2.5");
        row.says(line(&format!("GET / {version}"))).served("GET / HTTP/1.1")
    });
    let major = ["HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9"].map(|version| {
        let row = row(format!("the version {version}"), "RFC 9110, section 15.6.6");
        row.says(line(&format!("GET / {version}"))).refused(505)
    });
    let old = [
        row("HTTP/0.9", "RFC 9112, section 3; CVE-2017-7656").says("GET /\r\n\r\n").refused(400),
        row("HTTP/0.9 with fields", "CVE-2017-7656: a request of HTTP/0.9 has none")
            .says(line("GET /"))
            .refused(400),
        row("HTTP/0.9 by its name", "RFC 9112, section 2.3")
            .says(line("GET / HTTP/0.9"))
            .refused_with(&[400, 505]),
        row("HTTP/0.0", "RFC 9112, section 2.3").says(line("GET / HTTP/0.0")).refused_with(&[400, 505]),
        row("a broken preface of HTTP/2", "RFC 9113, section 3.4")
            .says("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n")
            .refused_with(&[400, 505]),
    ];
    bad.into_iter().chain(minor).chain(major).chain(old).collect()
}

fn line_ends() -> Vec<Row> {
    let cite = "RFC 9112, section 2.2: a recipient may take a bare LF, and must not take a bare CR; both are refused";
    let host = format!("Host: {HOST}");
    let table = [
        ("a bare LF ends the request line", format!("GET / HTTP/1.1\n{host}\r\n\r\n")),
        ("a bare CR ends the request line", format!("GET / HTTP/1.1\r{host}\r\n\r\n")),
        ("CR CR LF ends the request line", format!("GET / HTTP/1.1\r\r\n{host}\r\n\r\n")),
        ("LF CR ends the request line", format!("GET / HTTP/1.1\n\r{host}\r\n\r\n")),
        ("a NUL ends the request line", format!("GET / HTTP/1.1\0{host}\r\n\r\n")),
        ("only bare LF", format!("GET / HTTP/1.1\n{host}\n\n")),
        ("two empty lines before the request line", format!("\r\n\r\nGET / HTTP/1.1\r\n{host}\r\n\r\n")),
        ("a bare LF before the request line", format!("\nGET / HTTP/1.1\r\n{host}\r\n\r\n")),
        ("a bare CR before the request line", format!("\rGET / HTTP/1.1\r\n{host}\r\n\r\n")),
        ("a space in the empty line before", format!(" \r\nGET / HTTP/1.1\r\n{host}\r\n\r\n")),
        ("a NUL before the request line", format!("\0GET / HTTP/1.1\r\n{host}\r\n\r\n")),
        ("a byte order mark before the request line", format!("\u{feff}GET / HTTP/1.1\r\n{host}\r\n\r\n")),
    ];
    let refused = table.into_iter().map(|(name, text)| row(name, cite).says(text).refused(400));
    let lenient =
        row("one empty line before the request line", "RFC 9112, section 2.2: at least one is ignored")
            .says(format!("\r\n{}", get("")))
            .served("GET / HTTP/1.1");
    let after =
        row("an empty line after a content", "RFC 9112, section 2.2: old clients send one after a POST")
            .says(crate::row::post("Content-Length: 3\r\n", "abc\r\n"))
            .says(get(""))
            .gets(status(200))
            .arrives(want("POST / HTTP/1.1").content("abc"))
            .served("GET / HTTP/1.1");
    refused.chain([lenient, after]).collect()
}

fn methods() -> Vec<Row> {
    let cite = "RFC 9110, section 9.1: a method is a token";
    let refused = |byte: u8| {
        let bytes = with(&line("G{}ET / HTTP/1.1"), byte);
        row(format!("a method with {}", byte.escape_ascii()), cite).says(bytes).refused(400)
    };
    let bytes = controls().chain(DELIMITERS.iter().copied()).chain([b':', 0x80, 0xa0, 0xff]);
    let odd = ["get", "FOO", "M-SEARCH", "PROPFIND", "!#$%&'*+-.^_`|~", "X", "0123"].map(|method| {
        let name = format!("the method {method} goes through as it is");
        let row = row(name, "RFC 9110, section 9.1: case-sensitive, extensible");
        row.says(line(&format!("{method} / HTTP/1.1"))).served(&format!("{method} / HTTP/1.1"))
    });
    bytes.map(refused).chain(odd).collect()
}

/// What browsers leave as it is goes through, though RFC 3986 would have it encoded; what a router and an
/// application could read in two ways does not.
fn octets_of_targets() -> Vec<Row> {
    let cite = "RFC 9112, section 3.2; RFC 3986, sections 3.3 and 3.4";
    let refused = |place: &str, text: &str, byte: u8| {
        let name = format!("{place} with {}", byte.escape_ascii());
        row(name, cite).says(with(&line(text), byte)).refused(400)
    };
    let wrong = || controls().chain(*b"\"<>#").chain([0x80, 0xff]);
    let paths = wrong().chain(*b"\\`").map(|byte| refused("a path", "GET /a{}b HTTP/1.1", byte));
    let queries = wrong().map(|byte| refused("a query", "GET /?a{}b HTTP/1.1", byte));
    let marks = *b"-._~!$&'()*+,=:@";
    let allowed = marks.map(|byte| {
        let target = format!("/a{0}b?c{0}d", char::from(byte));
        let row = row(format!("a target with {:?}", char::from(byte)), "RFC 3986, section 3.3: pchar");
        row.says(line(&format!("GET {target} HTTP/1.1"))).served(&format!("GET {target} HTTP/1.1"))
    });
    let browsers = [
        "/a[b]", "/a|b", "/a^b", "/a{b}", "/?a[b]", "/?a|b", "/?a^b", "/?a{b}", "/?a\\b", "/?a`b", "/?100%",
        "/?a=%zz",
    ];
    let browsers = browsers.map(|target| {
        let row = row(
            format!("the target {target} goes through as it is"),
            "URL Standard, path and query percent-encode sets",
        );
        row.says(line(&format!("GET {target} HTTP/1.1"))).served(&format!("GET {target} HTTP/1.1"))
    });
    paths.chain(queries).chain(allowed).chain(browsers).collect()
}

fn paths() -> Vec<Row> {
    let broken = ["/%", "/%4", "/%zz", "/%4g", "/%%41", "/%u0041", "/%00", "/a%00b"];
    let broken = broken.map(|target| {
        let row = row(
            format!("the target {target}"),
            "RFC 3986, section 2.1; an encoded NUL cuts the path of C programs",
        );
        row.says(line(&format!("GET {target} HTTP/1.1"))).refused(400)
    });
    let dots = [
        "/..",
        "/.",
        "/../a",
        "/./a",
        "/a/..",
        "/a/.",
        "/a/../b",
        "/%2e",
        "/%2e%2e/a",
        "/.%2e/a",
        "/%2E./a",
        "/a/..%2fb",
        "/a%2f../b",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/%2e%2e%2fb",
        "/..?a",
        "/a%5c..%5cb",
        "/%252e%252e/",
    ];
    let dots = dots.map(|target| {
        let row = row(
            format!("the dot segment in {target}"),
            "RFC 3986, section 5.2.4: removed before sending; CVE-2021-41773 and its kin",
        );
        // RFC 9110, section 15.5.1. Where the next request begins is known: it may keep the connection.
        row.says(line(&format!("GET {target} HTTP/1.1"))).gets(status(400)).then(Then::KeptAfter(""))
    });
    let kept = [
        "/",
        "//",
        "//a",
        "/a//b",
        "/a/",
        "/a;v=1/b",
        "/%61",
        "/a%2Fb",
        "/a%2fb",
        "/%7Euser",
        "/caf%C3%A9",
        "/a%20b",
        "/?",
        "/??",
        "/?a=b&c=d",
        "/?/../..",
        "/?a=http://b/",
        "/...",
        "/a..b",
        "/.well-known/x",
        "/a%0d%0aX:%20y",
        "/a+b",
        "/a:b@c",
        "/http://b.test/",
    ];
    let kept = kept.map(|target| {
        let cite = "RFC 9112, section 3.2.1: a proxy must not change the path and query (CVE-2023-25690)";
        let row = row(format!("the target {target} goes through as it is"), cite);
        row.says(line(&format!("GET {target} HTTP/1.1"))).served(&format!("GET {target} HTTP/1.1"))
    });
    broken.into_iter().chain(dots).chain(kept).collect()
}

fn forms() -> Vec<Row> {
    let refused = [
        ("a target without a slash", "GET foo HTTP/1.1"),
        ("a query alone", "GET ?a HTTP/1.1"),
        ("a host and a path without a scheme", "GET a0000.test/ HTTP/1.1"),
        ("an authority outside of CONNECT", "GET a0000.test:80 HTTP/1.1"),
        ("an asterisk outside of OPTIONS", "GET * HTTP/1.1"),
        ("an asterisk with POST", "POST * HTTP/1.1"),
        ("an asterisk and more", "OPTIONS *a HTTP/1.1"),
        ("a path that begins with an asterisk", "OPTIONS */ HTTP/1.1"),
        ("CONNECT with a path", "CONNECT / HTTP/1.1"),
        ("CONNECT without a port", "CONNECT a0000.test HTTP/1.1"),
        ("CONNECT with an empty port", "CONNECT a0000.test: HTTP/1.1"),
        ("CONNECT with a URI", "CONNECT http://a0000.test/ HTTP/1.1"),
        ("CONNECT with user information", "CONNECT u@a0000.test:443 HTTP/1.1"),
        ("CONNECT with a port that is none", "CONNECT a0000.test:65536 HTTP/1.1"),
        ("CONNECT with an asterisk", "CONNECT * HTTP/1.1"),
        ("a URI of FTP", "GET ftp://a0000.test/ HTTP/1.1"),
        ("a URI of files", "GET file:///etc/passwd HTTP/1.1"),
        ("a URI of WebSocket", "GET ws://a0000.test/ HTTP/1.1"),
        ("a URI with one slash", "GET http:/a0000.test/ HTTP/1.1"),
        ("a URI without slashes", "GET http:a0000.test HTTP/1.1"),
        ("a URI without a host", "GET http:///a HTTP/1.1"),
        ("a URI with a port and no host", "GET http://:80/a HTTP/1.1"),
        ("a URI with user information", "GET http://u@a0000.test/ HTTP/1.1"),
        ("a URI with a password", "GET http://u:p@a0000.test/ HTTP/1.1"),
        ("a URI with empty user information", "GET http://@a0000.test/ HTTP/1.1"),
        ("a URI of another host than Host", "GET http://b.test/ HTTP/1.1"),
        ("a URI of another port than Host", "GET http://a0000.test:81/ HTTP/1.1"),
        ("a URI with a port that is none", "GET http://a0000.test:65536/ HTTP/1.1"),
        ("a URI with letters as a port", "GET http://a0000.test:eighty/ HTTP/1.1"),
        ("a URI with an open bracket", "GET http://[::1/ HTTP/1.1"),
        ("a URI with a fragment", "GET http://a0000.test/#f HTTP/1.1"),
        ("a URI with a fragment behind its host (CVE-2021-27577)", "GET http://a0000.test#f HTTP/1.1"),
        ("a URI with an invalid encoding", "GET http://a0000.test/%zz HTTP/1.1"),
        ("a URI with an encoded host", "GET http://%610000.test/ HTTP/1.1"),
        ("a URI with a backslash behind its host", "GET http://a0000.test\\@b.test/ HTTP/1.1"),
    ];
    let cite = "RFC 9112, section 3.2; RFC 9110, sections 4.2.4 (user information) and 7.2";
    let refused = refused.map(|(name, text)| row(name, cite).says(line(text)).refused(400));
    let served = [
        ("a URI becomes a path", "GET http://a0000.test/a?b HTTP/1.1", "GET /a?b HTTP/1.1"),
        ("a URI without a path", "GET http://a0000.test HTTP/1.1", "GET / HTTP/1.1"),
        ("a URI with a query and no path", "GET http://a0000.test?a HTTP/1.1", "GET /?a HTTP/1.1"),
        ("a URI of any case", "GET HTTP://A0000.TEST/A HTTP/1.1", "GET /A HTTP/1.1"),
        ("a URI of https", "GET https://a0000.test/a HTTP/1.1", "GET /a HTTP/1.1"),
        ("an asterisk with OPTIONS", "OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("OPTIONS of a path", "OPTIONS /a HTTP/1.1", "OPTIONS /a HTTP/1.1"),
        ("OPTIONS of a URI without a path", "OPTIONS http://a0000.test HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ];
    let cite = "RFC 9112, sections 3.2.2 and 3.2.4";
    let served = served.map(|(name, text, arrives)| row(name, cite).says(line(text)).served(arrives));
    let others = [
        row("a URI without Host", "RFC 9112, section 3.2")
            .says("GET http://a0000.test/ HTTP/1.1\r\n\r\n")
            .refused(400),
        row("a URI of HTTP/1.0 without Host", "RFC 9112, section 3.2.2")
            .says("GET http://a0000.test/a HTTP/1.0\r\n\r\n")
            .served("GET /a HTTP/1.1")
            .then(Then::Closed),
        row("CONNECT where no route allows it", "RFC 9110, section 9.3.6")
            .says(line("CONNECT a0000.test:443 HTTP/1.1"))
            .gets(status(405).to("CONNECT"))
            .then(Then::Any),
    ];
    refused.into_iter().chain(served).chain(others).collect()
}
