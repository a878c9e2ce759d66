//! What no honest client says, at the door and behind it.

use std::io::Write;

use crate::byhand::Wire;
use crate::client::{Client, TLS12, TLS13};
use crate::movers::SClient;
use crate::site::Site;

/// The first words of a client.
fn hello(name: &str) -> Vec<u8> {
    let mut said = vec![];
    Client::trusting_anybody().tls(Some(name)).write_tls(&mut said).unwrap();
    said
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_others_are_not() {
    let site = Site::with("[tls]\nhandshake-time = \"300ms\"");
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let hello = hello("blog.test");
    let mut stalled: Vec<Wire> = [0, 1, 5, 50, hello.len() - 1, hello.len()]
        .iter()
        .map(|&sent| {
            let mut wire = Wire::to(&gateway.address);
            wire.say(&hello[..sent]);
            wire
        })
        .collect();
    let mut kept = gateway.client().to(&gateway.address, "blog.test");
    for wire in &mut stalled {
        wire.drained();
    }
    // A connection that is done with its handshake has all the time that a connection has.
    assert_eq!(kept.get("blog.test", "/").text(), "blog");
}

#[test]
fn a_client_hello_may_come_in_single_bytes_and_in_many_records() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    for size in [1, 2, 7, 100] {
        for versions in [TLS12, TLS13] {
            let mut tls = gateway.client().speaking(versions).tls(Some("blog.test"));
            let mut said = vec![];
            tls.write_tls(&mut said).unwrap();
            let mut wire = Wire::to(&gateway.address);
            // RFC 8446, section 5.1: a message may be spread over records.
            for piece in said[5..].chunks(size) {
                let header = [&said[..3], &(piece.len() as u16).to_be_bytes()].concat();
                for byte in [&header[..], piece].concat() {
                    wire.socket.write_all(&[byte]).unwrap();
                }
            }
            let mut wire = wire.secured(tls).unwrap();
            assert_eq!(wire.get("blog.test", "/").text(), "blog");
        }
    }
}

#[test]
fn what_is_no_handshake_ends_the_connection() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let hello = hello("blog.test");
    let mut long = vec![22, 3, 1, 0xff, 0xff];
    long.extend([0; 70_000]);
    let old = [&[0x80, 0x2e, 1, 3, 1][..], &[0; 41]].concat();
    let mut damaged = hello.clone();
    damaged[9] = 0xff;
    for said in [
        vec![0; 64],
        vec![22, 3, 1, 0, 0],
        vec![23, 3, 3, 0, 1, 0],
        vec![20, 3, 3, 0, 1, 1, 20, 3, 3, 0, 1, 1],
        vec![21, 3, 3, 0, 2, 1, 0],
        long,
        old,
        damaged,
        [&hello[..], &hello[..]].concat(),
        [&hello[..], b"GET / HTTP/1.1\r\nHost: blog.test\r\n\r\n"].concat(),
    ] {
        let mut wire = Wire::to(&gateway.address);
        // It may be closed before all of it is taken.
        let _ = wire.socket.write_all(&said);
        let _ = wire.socket.shutdown(std::net::Shutdown::Write);
        wire.drained();
    }
    assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
}

/// RFC 5746 permits to refuse it, and TLS 1.3 has none.
#[test]
fn a_client_that_wants_to_renegotiate_is_left() {
    let site = Site::new();
    site.serves("shop", &["shop.test"], "");
    site.root.write(site.folder.path(), "root");
    let gateway = site.start();
    let root = gateway.folder.path().join("root.pem");
    let mut client = SClient::to(&gateway.address, &root, &["-tls1_2"]);
    client.hears("Verify return code: 0 (ok)");
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.hears("\r\n\r\nshop");
    client.say("R\n");
    client.hears("RENEGOTIATING");
    client.ends();
    assert_eq!(gateway.says(&gateway.client(), "shop.test"), "shop");
}

/// Without close_notify something may be missing, and a request whose end was never said is none.
#[test]
fn a_connection_that_is_cut_is_no_end_of_a_request() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    for versions in [TLS12, TLS13] {
        let mut wire = gateway.client().speaking(versions).to(&gateway.address, "blog.test");
        wire.say("GET / HTTP/1.1\r\nHost: blog.test\r\n");
        wire.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut space = [0; 4096];
        while let Ok(count @ 1..) = wire.read(&mut space) {
            assert!(!space[..count].starts_with(b"HTTP/1.1 200"));
        }
    }
}

/// RFC 8446, section 6.1: each side ends its own direction.
#[test]
fn a_connection_is_ended_by_close_notify() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    for versions in [TLS12, TLS13] {
        let mut wire = gateway.client().speaking(versions).to(&gateway.address, "blog.test");
        wire.say("GET / HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n");
        assert_eq!(wire.message().text(), "blog");
        assert_eq!(wire.read(&mut [0]).unwrap(), 0, "an end without close_notify would be an error");
        let mut wire = gateway.client().speaking(versions).to(&gateway.address, "blog.test");
        assert_eq!(wire.get("blog.test", "/").text(), "blog");
        wire.end();
        assert_eq!(wire.read(&mut [0]).unwrap(), 0);
    }
}
