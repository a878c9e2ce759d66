//! The PROXY protocol in front of a handshake: who the client is, said by whoever is trusted to know.
//!
//! The specification is haproxy's doc/proxy-protocol.txt.

use std::io::Write;

use crate::byhand::{Door, Wire};
use crate::dialogue::Secured;
use crate::site::{Gateway, Site};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Believes these; in front of an endpoint, with TLS and without.
fn believing(sources: &str, door: &Door) -> Gateway {
    let lines = format!("proxy-protocol = [{sources}]\n");
    let plain = format!("[listener.http]\nlisten = [\"127.0.0.1:0\"]\n{lines}");
    let site = Site::with(&format!("{lines}{plain}"));
    let pair = site.pair("shop", &site.root.leaf(&["shop.test"]).pair());
    site.folder.passing_with("shop", &door.address, &format!("certificates = [{pair}]"));
    site.start()
}

/// Version 2, section 2.2: a command (LOCAL is 0), a family with its transport, addresses and more.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

fn four() -> Vec<u8> {
    [&[192, 0, 2, 7][..], &[127, 0, 0, 1], &4711_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn six() -> Vec<u8> {
    let mut addresses = vec![0; 36];
    (addresses[0], addresses[1], addresses[2], addresses[3], addresses[15]) = (0x20, 0x01, 0x0d, 0xb8, 9);
    addresses
}

/// The listeners, and whether there is a handshake behind the header.
const LISTENERS: [(&str, bool); 2] = [("http", false), ("https", true)];

/// What the endpoint is told of the client, when the connection begins with this.
fn seen(
    gateway: &Gateway,
    door: &Door,
    (listener, secure): (&str, bool),
    header: &[u8],
    by_bytes: bool,
) -> String {
    let mut wire = Wire::to(&gateway.address_of(listener));
    let pieces = if by_bytes { 1 } else { header.len().max(1) };
    header.chunks(pieces).for_each(|piece| wire.socket.write_all(piece).unwrap());
    if secure {
        wire = wire.secured(gateway.client().tls(Some("shop.test"))).unwrap();
        assert_eq!(wire.protocol(), None);
    }
    wire.ask("shop.test", "/");
    let mut endpoint = door.accept();
    let head = endpoint.head();
    endpoint.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.message().status(), 200);
    head.field("x-forwarded-for").unwrap().to_owned()
}

#[test]
fn whoever_is_trusted_says_who_the_client_is() {
    let door = Door::tcp();
    let gateway = believing("\"127.0.0.0/8\"", &door);
    // A TLV of a kind that nobody knows behind the addresses (section 2.2.7).
    let more = [four(), vec![0xe0, 0, 3, 1, 2, 3]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\n".to_vec(), "2001:db8::9"),
        // Not told: the connection's own.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN ffff:f::f ffff:f::f 65535 65535\r\n".to_vec(), "127.0.0.1"),
        (binary(1, 0x11, &four()), "192.0.2.7"),
        (binary(1, 0x11, &more), "192.0.2.7"),
        (binary(1, 0x21, &six()), "2001:db8::9"),
        (binary(0, 0x00, &[]), "127.0.0.1"),
        (binary(0, 0x11, &four()), "127.0.0.1"),
        (binary(1, 0x31, &[0; 216]), "127.0.0.1"),
    ] {
        for (listener, by_bytes) in LISTENERS.iter().flat_map(|one| [(*one, false), (*one, true)]) {
            let seen = seen(&gateway, &door, listener, &header, by_bytes);
            assert_eq!(seen, client, "{listener:?} {:?}", String::from_utf8_lossy(&header));
        }
    }
}

#[test]
fn a_header_that_is_missing_or_wrong_ends_the_connection() {
    let door = Door::tcp();
    let gateway = believing("\"127.0.0.0/8\"", &door);
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let version = [SIGNATURE, &[0x31, 0x11, 0, 12], &four()].concat();
    for header in [
        request.as_bytes().to_vec(),
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.777 127.0.0.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 4711 443\r\n".to_vec(),
        b"proxy TCP4 192.0.2.7 127.0.0.1 4711 443\r\n".to_vec(),
        long,
        version,
        binary(2, 0x11, &four()),
        binary(1, 0x11, &four()[..8]),
    ] {
        for address in [gateway.address.clone(), gateway.address_of("http")] {
            let mut wire = Wire::to(&address);
            // What comes behind a wrong header may be cut by a reset.
            let _ = wire.socket.write_all(&[&header[..], request.as_bytes()].concat());
            assert_eq!(wire.drained(), 0, "{:?}", String::from_utf8_lossy(&header));
        }
    }
    assert!(door.is_quiet());
}

#[test]
fn who_is_not_trusted_says_nothing_about_the_client() {
    let door = Door::tcp();
    let gateway = believing("\"192.0.2.0/24\"", &door);
    for listener in LISTENERS {
        assert_eq!(seen(&gateway, &door, listener, b"", false), "127.0.0.1");
    }
    let mut wire = Wire::to(&gateway.address_of("http"));
    wire.say("PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(wire.message().status(), 400);
    let mut secure = Wire::to(&gateway.address);
    secure.say("PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n");
    assert!(secure.secured(gateway.client().tls(Some("shop.test"))).is_err());
    assert!(door.is_quiet());
}
