//! Errors in the operator's own words.

use std::fs;

use rustix::process::Signal;

use crate::byhand::Wire;
use crate::daemon::{Folder, get, stderr};

/// Two services without an application, one of them with a folder of its own.
fn folder() -> Folder {
    let folder = Folder::listening_with("[errors]\ndirectory = \"errors\"");
    for name in ["errors", "shop-errors"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    folder.write(
        "errors/error.html",
        "<h1>{status} {title}</h1><i>{request_id}</i><style>i{color:red}</style>",
    );
    folder.write("errors/421.txt", "nobody: {code}\n");
    folder.write("shop-errors/5xx.json", "{\"shop\": {status}, \"why\": \"{detail}\"}");
    // Nobody listens on port 1.
    folder.passing("blog", "127.0.0.1:1");
    folder.passing_with("shop", "127.0.0.1:1", "errors.directory = \"shop-errors\"");
    folder
}

fn body(client: &mut Wire, host: &str, accept: &str) -> String {
    let fields = format!("Host: {host}\r\nAccept: {accept}\r\nX-Request-Id: id-7\r\n");
    client.say(format!("GET / HTTP/1.1\r\n{fields}\r\n"));
    client.message().text()
}

#[test]
fn an_error_has_the_body_of_its_service_its_status_and_its_form() {
    let daemon = folder().start().ready();
    let mut client = Wire::to(&daemon.address());
    let blog = body(&mut client, "blog.test", "text/html");
    assert_eq!(blog, "<h1>502 Bad Gateway</h1><i>id-7</i><style>i{color:red}</style>");
    let shop = body(&mut client, "shop.test", "application/json");
    assert_eq!(shop, "{\"shop\": 502, \"why\": \"The application cannot be reached.\"}");
    let built_in = body(&mut client, "shop.test", "text/html");
    assert!(
        built_in.starts_with("<!doctype html>"),
        "a service with a folder takes nothing else: {built_in}"
    );
    assert_eq!(body(&mut client, "nobody.test", "text/plain"), "nobody: misdirected\n", "of no service");
}

#[test]
fn a_page_is_read_at_a_reload_and_a_broken_one_refuses_it() {
    let daemon = folder().start().ready();
    let mut client = Wire::to(&daemon.address());
    daemon.folder.write("errors/502.html", "two");
    assert!(body(&mut client, "blog.test", "text/html").starts_with("<h1>"), "not before the reload");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(0));
    assert_eq!(body(&mut client, "blog.test", "text/html"), "two");
    daemon.folder.write("errors/502.json", "{\"title\": {title}}");
    daemon.folder.write("errors/502.htm", "three");
    let output = daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("errors/502.json:1:1: not JSON") && said.contains("'502.htm'"), "{said}");
    assert_eq!(body(&mut client, "blog.test", "text/html"), "two");
}

#[test]
fn a_replacement_has_the_pages_that_were_accepted_whatever_the_files_say() {
    let mut daemon = folder().start().ready();
    daemon.folder.write("errors/502.txt", "accepted\n");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(0));
    daemon.told("generation 2");
    daemon.folder.write("errors/502.txt", "half an ed");
    fs::remove_file(daemon.folder.path().join("errors/error.html")).unwrap();
    daemon.gateway().signal(Signal::KILL);
    daemon.told("the gateway died once");
    let address = daemon.address();
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\naccepted\n"));
    assert!(body(&mut Wire::to(&address), "blog.test", "text/html").starts_with("<h1>502"));
}
