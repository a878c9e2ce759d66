//! Which route serves a request, end to end.

use crate::byhand::{Message, Wire};
use crate::daemon::{Daemon, Folder};
use crate::http2::Http2;
use crate::sample::Sample;

/// Every route answers with its name.
const TABLE: &str = r#"
[service.shop]
hosts = ["shop.test"]
[[service.shop.route]]
answer = { body = "everything" }
[[service.shop.route]]
path = "/a/*"
answer = { body = "prefix a" }
[[service.shop.route]]
path = "/a/b/*"
answer = { body = "prefix a b" }
[[service.shop.route]]
path = "/a/{id}"
answer = { body = "parameter" }
[[service.shop.route]]
path = "/a/b"
answer = { body = "exact" }
[[service.shop.route]]
path = "/a/b"
methods = ["POST", "PUT"]
answer = { body = "exact, written" }
[[service.shop.route]]
path = "/a/b"
methods = ["POST"]
fields = { x-canary = "yes" }
answer = { body = "exact, written by a canary" }
[[service.shop.route]]
path = "/only"
methods = ["GET"]
answer = { body = "read only" }

[service.below]
hosts = ["*.shop.test"]
[[service.below.route]]
answer = { body = "below shop" }

[service.deep]
hosts = ["*.eu.shop.test"]
[[service.deep.route]]
answer = { body = "below eu" }

[service.exact]
hosts = ["de.eu.shop.test"]
[[service.exact.route]]
path = "/here"
answer = { body = "exact host" }

[service.writer]
hosts = ["writer.test"]
[[service.writer.route]]
path = "/"
methods = ["POST"]
answer = { body = "written" }
"#;

fn asked(client: &mut Wire, method: &str, host: &str, path: &str, more: &str) -> Message {
    client.say(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{more}\r\n"));
    client.message()
}

#[test]
fn the_most_specific_host_then_path_then_condition_wins() {
    let folder = Folder::listening_with(TABLE);
    let daemon = folder.start().ready();
    let address = daemon.address();
    let (mut client, http2) = (Wire::to(&address), Http2::to(&address));
    for (host, path, wanted) in [
        ("shop.test", "/", "everything"),
        ("SHOP.test:8080", "/", "everything"),
        ("shop.test.", "/", "everything"),
        ("shop.test", "/ab", "everything"),
        ("shop.test", "/a", "prefix a"),
        ("shop.test", "/a/", "prefix a"),
        ("shop.test", "/a/x", "parameter"),
        ("shop.test", "/a/x/y", "prefix a"),
        ("shop.test", "/a/b", "exact"),
        ("shop.test", "/a/b?c=/d", "exact"),
        ("shop.test", "/a/b/", "prefix a b"),
        ("shop.test", "/a/b/c/d", "prefix a b"),
        ("shop.test", "/only", "read only"),
        ("fr.shop.test", "/a/b", "below shop"),
        ("a.b.shop.test", "/", "below shop"),
        ("fr.eu.shop.test", "/", "below eu"),
        ("de.eu.shop.test", "/here", "exact host"),
        ("de.eu.shop.test", "/elsewhere", "below eu"),
    ] {
        let answer = asked(&mut client, "GET", host, path, "");
        assert_eq!((answer.status(), answer.text().as_str()), (200, wanted), "{host}{path}");
        if !host.ends_with('.') {
            assert_eq!(http2.get(host, path).1, wanted, "{host}{path} over HTTP/2");
        }
    }
}

#[test]
fn methods_and_fields_are_conditions_and_without_them_the_next_route_serves() {
    let daemon = Folder::listening_with(TABLE).start().ready();
    let mut client = Wire::to(&daemon.address());
    for (method, more, wanted) in [
        ("GET", "", "exact"),
        ("POST", "", "exact, written"),
        ("PUT", "X-Canary: yes\r\n", "exact, written"),
        ("POST", "X-Canary: no\r\n", "exact, written"),
        ("POST", "X-Canary: yes\r\n", "exact, written by a canary"),
    ] {
        assert_eq!(asked(&mut client, method, "shop.test", "/a/b", more).text(), wanted, "{method} {more}");
    }
    assert_eq!(asked(&mut client, "DELETE", "shop.test", "/only", "").text(), "everything");
}

#[test]
fn what_is_not_served_is_404_on_a_known_host_and_421_on_another() {
    let daemon = Folder::listening_with(TABLE).start().ready();
    let address = daemon.address();
    let (mut client, http2) = (Wire::to(&address), Http2::to(&address));
    for (host, path, status) in [
        ("writer.test", "/elsewhere", 404),
        ("writer.test", "/", 404),
        ("test", "/", 421),
        ("other.test", "/", 421),
        ("xshop.test", "/", 421),
    ] {
        assert_eq!(asked(&mut client, "GET", host, path, "").status(), status, "{host}{path}");
        assert_eq!(http2.get(host, path).0.status(), status, "{host}{path} over HTTP/2");
    }
}

#[test]
fn a_prefix_is_stripped_or_replaced_before_the_endpoint_sees_the_path() {
    let sample = Sample::tcp();
    let folder = Folder::listening();
    folder.passing_with(
        "shop",
        &sample.address,
        r#"
        [[service.shop.route]]
        path = "/api/*"
        strip-prefix = "/api"
        [[service.shop.route]]
        path = "/old/*"
        replace-prefix = { from = "/old", to = "/echo" }
        [[service.shop.route]]
        path = "/echo"
        "#,
    );
    let daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    for (path, wanted) in [
        ("/api/echo?a=b%20c", "/echo?a=b%20c"),
        ("/old?x", "/echo?x"),
        ("/echo?%41=%2f", "/echo?%41=%2f"),
        ("/api//echo", "/echo"), // `//echo` would name an authority (RFC 3986, section 4.2)
    ] {
        let answer = client.get("shop.test", path);
        match answer.status() {
            200 => assert_eq!(answer.json()["target"], wanted),
            _ => assert_eq!(answer.text(), "no such path\n", "{path}: {answer:?}"),
        }
    }
    assert_eq!(client.get("shop.test", "/api").text(), "sample application test, version 1\n");
}

#[test]
fn redirects_fill_in_their_template_and_answers_are_as_written() {
    let folder = Folder::listening_with(
        r#"
        [service.shop]
        hosts = ["shop.test"]
        [[service.shop.route]]
        path = "/tls/*"
        redirect = "https://{host}{path}{query}"
        [[service.shop.route]]
        path = "/new"
        redirect = { to = "/moved{path}", status = 303 }
        [[service.shop.route]]
        path = "/gone"
        answer = { status = 410, content-type = "application/json", body = "{}" }
        "#,
    );
    let daemon = folder.start().ready();
    let address = daemon.address();
    let mut client = Wire::to(&address);
    for (path, status, location) in [
        ("/tls/a%20b?c=d&e", 308, "https://shop.test/tls/a%20b?c=d&e"),
        ("/tls", 308, "https://shop.test/tls"),
        ("/new?lost", 303, "/moved/new"),
    ] {
        let answer = client.get("shop.test:8080", path);
        assert_eq!((answer.status(), answer.field("location")), (status, Some(location)));
    }
    let gone = client.get("shop.test", "/gone");
    assert_eq!((gone.status(), gone.field("content-type")), (410, Some("application/json")));
    assert_eq!(gone.text(), "{}");
    client.say("HEAD /gone HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.field("content-length")), (410, Some("2")));
    assert_eq!(client.get("shop.test", "/gone").text(), "{}", "nothing followed the answer to HEAD");
}

fn on_two_listeners() -> Daemon {
    let folder = Folder::new(
        r#"
        [listener.public]
        listen = ["127.0.0.1:0"]
        [listener.internal]
        listen = ["127.0.0.1:0", "127.0.0.2:0"]
        [service.shop]
        hosts = ["shop.test"]
        [[service.shop.route]]
        answer = { body = "shop" }
        [[service.shop.route]]
        listeners = ["internal"]
        path = "/metrics"
        answer = { body = "metrics" }
        [service.admin]
        hosts = ["admin.test"]
        listeners = ["internal"]
        [[service.admin.route]]
        answer = { body = "admin" }
        "#,
    );
    folder.start().ready()
}

#[test]
fn a_route_of_one_listener_is_not_served_on_another() {
    let daemon = on_two_listeners();
    let (mut public, mut internal) =
        (Wire::to(&daemon.address_of("public")), Wire::to(&daemon.address_of("internal")));
    assert_eq!(public.get("shop.test", "/metrics").text(), "shop");
    assert_eq!(internal.get("shop.test", "/metrics").text(), "metrics");
    assert_eq!(internal.get("shop.test", "/").text(), "shop");
    assert_eq!(public.get("admin.test", "/").status(), 421);
    assert_eq!(internal.get("admin.test", "/").text(), "admin");
    assert_eq!(daemon.status()["listeners"].as_array().unwrap().len(), 3, "both addresses of one name");
}

/// That a lookup does not look at all of them is counted in `src/route/tests.rs`.
#[test]
fn of_ten_thousand_routes_each_is_found() {
    let folder = Folder::listening();
    let mut text = String::from("[service.big]\nhosts = [\"big.test\"]\n");
    for number in 0..10_000 {
        text +=
            &format!("[[service.big.route]]\npath = \"/{number}/x/*\"\nanswer = {{ body = \"{number}\" }}\n");
    }
    folder.write("services.d/big.toml", &text);
    let daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    for number in (0..10_000).step_by(37).chain([9_999]) {
        let answer = client.get("big.test", &format!("/{number}/x/y"));
        assert_eq!(answer.text(), number.to_string());
    }
    assert_eq!(client.get("big.test", "/10000/x/y").status(), 404);
}
