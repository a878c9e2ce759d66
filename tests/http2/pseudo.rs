//! Pseudo-fields: each once, before all others, and an authority that says one thing.

use crate::frames::*;
use crate::table::{Allowed, head, holds, row};

const SCHEME: Field = (":scheme", "http");
const METHOD: Field = (":method", "GET");
const PATH: Field = (":path", "/x");
const AUTHORITY: Field = (":authority", "a.test");

#[test]
fn every_pseudo_field_is_there_once_and_first() {
    let required = "RFC 9113, section 8.3.1";
    let order = "RFC 9113, section 8.3";
    holds(vec![
        row("no :method", required).asks(&[SCHEME, PATH, AUTHORITY]).malformed(),
        row("no :scheme", required).asks(&[METHOD, PATH, AUTHORITY]).malformed(),
        row("no :path", required).asks(&[METHOD, SCHEME, AUTHORITY]).malformed(),
        row("no pseudo-field at all", required).asks(&[("host", "a.test")]).malformed(),
        row("no field at all", required).asks(&[]).malformed(),
        row("two equal :method", order).asks(&[METHOD, METHOD, SCHEME, PATH, AUTHORITY]).malformed(),
        row("two different :method", order)
            .asks(&[METHOD, (":method", "POST"), SCHEME, PATH, AUTHORITY])
            .malformed(),
        row("two :path", order).asks(&[METHOD, SCHEME, PATH, (":path", "/y"), AUTHORITY]).malformed(),
        row("two :scheme", order).asks(&[METHOD, SCHEME, (":scheme", "https"), PATH, AUTHORITY]).malformed(),
        row("two :authority", order)
            .asks(&[METHOD, SCHEME, PATH, AUTHORITY, (":authority", "b.test")])
            .malformed(),
        row("two equal :authority", order).asks(&[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]).malformed(),
        row("an unknown pseudo-field", order)
            .asks(&[METHOD, SCHEME, PATH, AUTHORITY, (":x", "y")])
            .unreadable(),
        row("a name of a colon alone", order)
            .asks(&[METHOD, SCHEME, PATH, AUTHORITY, (":", "y")])
            .unreadable(),
        row(":status in a request", order)
            .asks(&[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")])
            .malformed(),
        row(":path after a field", order).asks(&[METHOD, SCHEME, AUTHORITY, ("x-a", "b"), PATH]).malformed(),
        row(":authority after a field", order)
            .asks(&[METHOD, SCHEME, PATH, ("x-a", "b"), AUTHORITY])
            .malformed(),
        row("an upper-case pseudo-field", order)
            .asks(&[(":Method", "GET"), SCHEME, PATH, AUTHORITY])
            .unreadable(),
        row("the pseudo-fields in another order", order)
            .asks(&[AUTHORITY, PATH, METHOD, SCHEME])
            .passes_with(&[]),
    ]);
}

#[test]
fn a_method_is_a_token_and_a_scheme_is_one() {
    let with_method = |method| [(":method", method), SCHEME, PATH, AUTHORITY];
    let with_scheme = |scheme| [METHOD, (":scheme", scheme), PATH, AUTHORITY];
    let method = "RFC 9110, section 9.1";
    let scheme = "RFC 9113, section 8.3.1; RFC 3986, section 3.1";
    let mut rows: Vec<_> = ["", "G ET", "GET\r\n", "GET\n", "GET\0", "G(T", "GET/", "G\u{e9}T", "\tGET"]
        .iter()
        .map(|bad| row(format!("the method {bad:?}"), method).asks(&with_method(bad)).unreadable())
        .collect();
    rows.extend(
        ["", "ht tp", "http\r\n", "1http", "http\0", "http:", "http://"]
            .iter()
            .map(|bad| row(format!("the scheme {bad:?}"), scheme).asks(&with_scheme(bad)).malformed()),
    );
    rows.extend([
        row("a method of its own", method)
            .asks(&with_method("X-ODD!"))
            .passes(&["X-ODD! /x HTTP/1.1", "host: a.test"]),
        // Methods are case-sensitive: this is not GET.
        row("a method in lower case", method)
            .asks(&with_method("get"))
            .allows(&[Allowed::Status(501), Allowed::Status(400)])
            .passes(&["get /x HTTP/1.1", "host: a.test"]),
        // A gateway behind one that ends TLS is asked for https.
        row("the scheme https without TLS", "RFC 9113, section 8.3.1; RFC 9110, section 7.4")
            .asks(&with_scheme("https"))
            .allows(&[Allowed::Status(421), Allowed::Status(400)])
            .passes_with(&[]),
        row("the scheme in upper case", scheme)
            .asks(&with_scheme("HTTP"))
            .allows(&[Allowed::Status(400), Allowed::Reset(1)])
            .passes_with(&[]),
    ]);
    holds(rows);
}

#[test]
fn an_authority_says_one_thing_and_host_says_the_same() {
    let authority = "RFC 9113, section 8.3.1";
    let host = "RFC 9110, section 7.2";
    let with = |authority| [METHOD, SCHEME, PATH, (":authority", authority)];
    let mut rows: Vec<_> = [
        "user@a.test",
        "user:secret@a.test",
        "@a.test",
        "a.test/x",
        "a.test?x",
        "a.test#x",
        "a.test\\x",
        "a test",
        " a.test",
        "a.test\r\nx-a: b",
        "a.test\n",
        "a.test\0",
        "a.test, b.test",
        "a.test:80:80",
        "a.test:port",
        "a.test:65536",
        "[::1",
        "\u{e9}.test",
        "%61.test",
        "http://a.test",
    ]
    .iter()
    .map(|bad| row(format!(":authority {bad:?}"), authority).asks(&with(bad)).malformed())
    .collect();
    rows.extend([
        row("no :authority and no Host", host).asks(&[METHOD, SCHEME, PATH]).malformed(),
        row("an empty :authority", "RFC 9110, section 4.2.1").asks(&with("")).malformed(),
        row("Host alone", authority).asks(&[METHOD, SCHEME, PATH, ("host", "a.test")]).passes_with(&[]),
        row("Host that is equal", authority).gets(&[("host", "a.test")]).passes_with(&[]),
        // They are compared after normalization by the scheme.
        row("Host in capitals", "RFC 9113, section 8.3.1; RFC 3986, section 6.2.2.1")
            .gets(&[("host", "A.TEST")])
            .passes_with(&[]),
        row(
            "Host with the port that the scheme has anyway",
            "RFC 9113, section 8.3.1; RFC 3986, section 6.2.3",
        )
        .gets(&[("host", "a.test:80")])
        .passes_with(&[]),
        row("Host that is different", authority).gets(&[("host", "b.test")]).malformed(),
        row("Host of another port", authority).gets(&[("host", "a.test:81")]).malformed(),
        row("an empty Host beside :authority", authority).gets(&[("host", "")]).malformed(),
        row("two Host fields", host)
            .asks(&[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "b.test")])
            .malformed(),
        row("two equal Host fields", host)
            .asks(&[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "a.test")])
            .malformed(),
        row("two Host fields, one of them equal to :authority", host)
            .gets(&[("host", "a.test"), ("host", "b.test")])
            .malformed(),
        row("Host with user information", "RFC 9110, sections 4.2.4 and 7.2")
            .asks(&[METHOD, SCHEME, PATH, ("host", "user@a.test")])
            .malformed(),
        row("Host with a path", host).asks(&[METHOD, SCHEME, PATH, ("host", "a.test/x")]).malformed(),
        row("an :authority with a port", authority)
            .asks(&with("a.test:8080"))
            .passes(&["GET /x HTTP/1.1", "host: a.test:8080"]),
        row("an :authority that nobody serves", "RFC 9110, section 15.5.20")
            .asks(&with("nobody.test"))
            .status(421),
        row("a Host in a request that has a better :authority", authority)
            .asks(&head("GET", "/x", &[("x-forwarded-host", "evil.test")]))
            .passes_with(&[]),
    ]);
    holds(rows);
}
