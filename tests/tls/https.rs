//! The way from http to https: redirects, and what browsers are told to remember.

use crate::byhand::{Door, Wire};
use crate::daemon::Folder;
use crate::site::{Gateway, Site};

/// A service on a plain listener and on one with TLS, with these lines; also the plain address.
fn both(lines: &str) -> (Gateway, String) {
    let site = Site::with("[listener.http]\nlisten = [\"127.0.0.1:0\"]");
    site.serves("blog", &["blog.test"], lines);
    let gateway = site.start();
    let plain = gateway.address_of("http");
    (gateway, plain)
}

#[test]
fn without_tls_a_request_is_sent_to_https_with_its_path_and_its_method() {
    let (gateway, plain) = both("https = { redirect = true }");
    for (request, location) in [
        ("GET /a/b?c=d&e=%2F HTTP/1.1\r\nHost: blog.test", "https://blog.test/a/b?c=d&e=%2F"),
        ("GET / HTTP/1.1\r\nHost: BLOG.test:8080", "https://blog.test/"),
        ("POST /form HTTP/1.1\r\nHost: blog.test\r\nContent-Length: 0", "https://blog.test/form"),
        ("GET http://blog.test/abs?x HTTP/1.1\r\nHost: blog.test", "https://blog.test/abs?x"),
    ] {
        let answer = Wire::to(&plain).say(format!("{request}\r\n\r\n")).message();
        // RFC 9110, section 15.4.9: the method stays.
        assert_eq!(answer.status(), 308, "{request}: {answer:?}");
        let came = answer.field("location").unwrap();
        assert!(came.eq_ignore_ascii_case(location), "{request}: {came}");
    }
    assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
}

/// What an authority asks for is asked without TLS (RFC 8555, section 8.3).
#[test]
fn a_challenge_of_an_authority_is_not_redirected() {
    let (_gateway, plain) = both("https = { redirect = true }");
    let answer = Wire::to(&plain).get("blog.test", "/.well-known/acme-challenge/token");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "blog"));
    let other = Wire::to(&plain).get("blog.test", "/.well-known/other");
    assert_eq!(other.status(), 308);
}

#[test]
fn browsers_are_told_to_come_by_tls_only_and_only_over_tls() {
    let (gateway, plain) = both("https = { hsts = \"365d\" }");
    let secure = gateway.client().to(&gateway.address, "blog.test").get("blog.test", "/");
    assert_eq!(secure.all("strict-transport-security"), ["max-age=31536000"]);
    // RFC 6797, section 7.2.
    assert_eq!(Wire::to(&plain).get("blog.test", "/").field("strict-transport-security"), None);
}

#[test]
fn what_is_told_to_browsers_takes_the_place_of_what_the_application_says() {
    let door = Door::tcp();
    let site = Site::new();
    let pair = site.pair("shop", &site.root.leaf(&["shop.test"]).pair());
    let lines = format!("certificates = [{pair}]\nhttps = {{ hsts = \"1h\", hsts-subdomains = true }}");
    site.folder.passing_with("shop", &door.address, &lines);
    let gateway = site.start();
    let mut wire = gateway.client().to(&gateway.address, "shop.test");
    wire.ask("shop.test", "/");
    let mut endpoint = door.accept();
    let head = endpoint.head();
    assert_eq!(head.field("x-forwarded-proto"), Some("https"));
    assert!(head.field("forwarded").unwrap().contains("proto=https"), "{head:?}");
    endpoint.say("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=5\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.message().all("strict-transport-security"), ["max-age=3600; includeSubDomains"]);
    // An answer of hitless itself as well.
    wire.say("GET /x HTTP/1.1\r\nHost: shop.test\r\nX-A : b\r\n\r\n");
    assert_eq!(wire.message().status(), 400);
}

#[test]
fn a_service_that_nobody_reaches_by_tls_cannot_redirect() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    folder.append("services.d/blog.toml", "[service.blog.https]\nredirect = true\n");
    let refused = folder.verb("check");
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
}
