//! TLS at the front: handshakes, what is served by them, and connections that move with it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use tempfile::TempDir;

use self::pki::{Authority, Pair};
use super::world::{self, *};
use crate::config::settings::{self, Clients, HostPattern, Place, Settings};
use crate::handover::record::{Parcel, Record};
use crate::tls::handshake::Protocol;
use crate::tls::{Around, Directory, Kept};

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../../../tests/tls/pki.rs"]
mod pki;

type Version = &'static SupportedProtocolVersion;

const VERSIONS: [Version; 2] = [&version::TLS12, &version::TLS13];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("one"));
static ALICE: LazyLock<Pair> = LazyLock::new(|| AUTHORITY.client("alice").pair());
/// With the files of the authority and of one pair.
static FOLDER: LazyLock<(TempDir, PathBuf, settings::Pair)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let authority = AUTHORITY.write(folder.path(), "authority");
    let pair = AUTHORITY.leaf(&["app.example", "b.example", "closed.example"]).pair();
    let (chain, key) = pair.write(folder.path(), "pair");
    let pair = settings::Pair { chain: Place::File(chain), key: Place::File(key) };
    (folder, authority, pair)
});

/// What a gateway of these tests answers handshakes by.
pub(super) fn directory(settings: &Settings) -> Arc<Directory> {
    let (kept, tickets) = (Kept::default(), Arc::default());
    let around = Around { before: None, kept: &kept, tickets: &tickets, now: SystemTime::now() };
    Arc::new(Directory::load(settings, &around).unwrap().0)
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(AUTHORITY.certificate()).unwrap();
    roots
}

fn config(version: Version, protocol: Option<Protocol>, who: Option<&Pair>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots());
    let mut config = match who {
        Some(pair) => config.with_client_auth_cert(pair.certificates(), pair.private_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocol.iter().map(|protocol| protocol.name().to_vec()).collect();
    config
}

fn client(gateway: &Gateway, name: &'static str, config: ClientConfig) -> Peer {
    let name = ServerName::try_from(name).unwrap();
    Peer::tls(gateway.address(), ClientConnection::new(Arc::new(config), name).unwrap())
}

pub(super) fn connect(gateway: &Gateway, version: Version) -> Peer {
    client(gateway, "app.example", config(version, Some(Protocol::Http1), None))
}

/// The same with TLS on its listener, for `app.example` and `b.example`. Clients of `closed.example` prove who they are.
pub(super) fn secure(mut settings: Settings) -> Settings {
    settings.listeners[0].tls = true;
    let (_, authority, pair) = &*FOLDER;
    let mut open = settings::Service::clone(&settings.services[0]);
    open.tls.certificates = vec![pair.clone()];
    let mut closed = open.clone();
    open.routes[0].hosts = ["app.example", "b.example"].map(|host| HostPattern::Exact(host.into())).to_vec();
    closed.name = "closed".into();
    closed.routes[0].hosts = vec![HostPattern::Exact("closed.example".into())];
    closed.tls.clients = Clients::Required;
    closed.tls.client_ca = Some(Place::File(authority.clone()));
    settings.services = vec![Arc::new(open), Arc::new(closed)];
    settings
}

#[test]
fn requests_over_tls_are_served_and_the_endpoint_is_told() {
    for version in VERSIONS {
        let origin = Origin::start();
        let gateway = gateway(secure(only(&origin)));
        let mut client = connect(&gateway, version);
        client.send(GET);
        let (mut endpoint, head) = origin.request();
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
        assert!(head.contains("proto=https"), "{head}");
        endpoint.send(OK);
        assert_eq!(client.answer().1, "ok");
        client.send(GET);
        endpoint.head();
        endpoint.send(OK);
        assert_eq!(client.answer().1, "ok");
        gateway.drain(AT_ONCE);
        assert_eq!(client.ended(), End::Closed, "close_notify");
        let totals = gateway.finish();
        assert_eq!((totals.handshakes, totals.handshakes_refused, totals.answered), (1, 0, 2));
    }
}

#[test]
fn content_of_any_length_goes_both_ways() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for version in VERSIONS {
        let origin = Origin::start();
        let gateway = gateway(secure(only(&origin)));
        let mut client = connect(&gateway, version);
        let head =
            format!("POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: {}\r\n\r\n", content.len());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut endpoint, _) = origin.request();
                assert!(endpoint.exactly(content.len()) == content);
                endpoint.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()));
                endpoint.send(&content);
            });
            client.send(head);
            client.send(&content);
            client.head();
            assert!(client.exactly(content.len()) == content);
        });
        drop(client);
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
}

#[test]
fn who_does_not_speak_tls_is_told_and_nobody_else_notices() {
    let gateway = gateway(secure(answering("secret")));
    let mut plain = gateway.ask(GET);
    let (head, content) = plain.answer();
    assert!(head.starts_with("http/1.1 400 "), "{head}");
    assert!(content.contains("This port speaks TLS"), "{content}");
    plain.end();
    assert_eq!(plain.ended(), End::Closed);
    let mut noise = gateway.ask("\x00\x01\x02\x03");
    noise.end();
    assert_eq!(noise.ended(), End::Closed);
    let mut stranger = client(&gateway, "c.example", config(&version::TLS13, None, None));
    let refused = stranger.within().flush().and_then(|()| stranger.within().read(&mut [0])).unwrap_err();
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    drop(stranger);
    gateway.until(|totals| totals.connections_open == 0);
    gateway.drain(AT_ONCE);
    let totals = gateway.finish();
    assert_eq!((totals.handshakes, totals.handshakes_refused), (0, 2));
    assert_eq!((totals.refused, totals.failures["plain-http"]), (1, 1));
}

#[test]
fn only_what_was_agreed_on_is_spoken() {
    let gateway = gateway(secure(answering("secret")));
    for protocol in [Some(Protocol::Http1), None] {
        let mut one = client(&gateway, "app.example", config(&version::TLS13, protocol, None));
        one.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert!(one.head().starts_with("http/1.1 505 "));
    }
    let mut two = client(&gateway, "app.example", config(&version::TLS13, Some(Protocol::Http2), None));
    two.send(GET);
    let (came, _) = two.rest();
    assert!(!came.starts_with(b"HTTP/1.1"), "{}", String::from_utf8_lossy(&came));
    gateway.drain(AT_ONCE);
    assert_eq!(gateway.finish().answered, 0);
}

#[test]
fn http2_is_served_when_it_was_agreed_on() {
    let gateway = gateway(secure(answering("by h2")));
    let mut config = config(&version::TLS13, Some(Protocol::Http2), None);
    config.enable_sni = true;
    let address = gateway.address();
    block_on(async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("app.example").unwrap(), socket).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        for (host, status) in [("app.example", 200), ("b.example", 200), ("closed.example", 421)] {
            let request = http::Request::get(format!("https://{host}/")).body(()).unwrap();
            let (answer, _) = client.send_request(request, true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), status, "{host}");
        }
        drop(client);
        driver.await.unwrap().unwrap();
    });
    gateway.drain(AT_ONCE);
    assert_eq!(gateway.finish().failures["wrong-name"], 1);
}

#[test]
fn the_application_is_told_who_the_client_is_and_believes_nobody_else() {
    let origin = Origin::start();
    let mut told = service("app", &origin);
    told.tls.client_field = Some("client-cert".into());
    let gateway = gateway(secure(world::settings(vec![told])));
    let ask = |host: &str| {
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nClient-Cert: :bWU=:\r\nClient_Cert: me\r\n\r\n")
    };
    let mut alice = client(&gateway, "closed.example", config(&version::TLS13, None, Some(&ALICE)));
    alice.send(ask("closed.example"));
    let (mut endpoint, head) = origin.request();
    assert_eq!(head.matches("client-cert: alice; sha256=").count(), 1, "{head}");
    assert!(!head.contains("bwu=") && !head.contains("client_cert"), "{head}");
    endpoint.send(OK);
    assert_eq!(alice.answer().1, "ok");
    alice.send(ask("app.example"));
    assert!(alice.answer().0.starts_with("http/1.1 421 "));
    let mut nobody = connect(&gateway, &version::TLS13);
    nobody.send(ask("app.example"));
    // It is another service, with connections of its own.
    let (mut endpoint, head) = origin.request();
    assert!(!head.contains("client-cert") && !head.contains("client_cert"), "{head}");
    endpoint.send(OK);
    assert_eq!(nobody.answer().1, "ok");
    nobody.send(ask("closed.example"));
    assert!(nobody.answer().0.starts_with("http/1.1 421 "));
    drop((alice, nobody));
    gateway.drain(AT_ONCE);
    gateway.finish();
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let gateway = gateway(secure(answering("never")));
    let mut silent = gateway.connect();
    let mut half = gateway.ask("\x16\x03\x01\x02\x00\x01");
    gateway.until(|totals| totals.connections_open == 2);
    gateway.later(Duration::from_secs(9));
    gateway.later(Duration::from_secs(11));
    assert_eq!(silent.ended(), End::Closed);
    half.rest();
    gateway.drain(AT_ONCE);
    assert_eq!(gateway.finish().handshakes_refused, 2);
}

/// Everything that the gateway has goes to the other one.
pub(super) fn move_over(from: &Gateway, to: &Gateway) -> Vec<Parcel> {
    let mut departures = from.hand_over();
    from.until(|totals| totals.connections_open == 0);
    from.take_back();
    let parcels = departures.rest();
    let told = parcels.iter().map(|parcel| Parcel { record: parcel.record.clone(), fds: vec![] }).collect();
    parcels.into_iter().for_each(|parcel| to.adopt(parcel));
    told
}

#[test]
fn an_idle_connection_moves_to_and_fro_fifty_times() {
    for version in VERSIONS {
        let gateways = [gateway(secure(answering("0"))), gateway(secure(answering("1")))];
        let mut client = connect(&gateways[0], version);
        client.send(GET);
        client.answer();
        for turn in 0..50 {
            let (from, to) = (turn % 2, (turn + 1) % 2);
            // Now and then the client takes its next key into use.
            if turn % 7 == 0 && *version == version::TLS13 {
                client.within().conn.refresh_traffic_keys().unwrap();
            }
            let moved = move_over(&gateways[from], &gateways[to]);
            let Record::Connection(record) = &moved[0].record else { panic!() };
            let seal = record.seal.as_ref().unwrap();
            assert_eq!((seal.name.as_deref(), record.unread.len()), (Some("app.example"), 0));
            client.send(GET);
            let (head, content) = client.answer();
            assert!(!head.contains("connection: close"), "{head}");
            assert_eq!(content, to.to_string());
        }
        drop(client);
        for gateway in gateways {
            gateway.drain(AT_ONCE);
            gateway.finish();
        }
    }
}

/// The ciphertext of what a client says, without sending it.
fn sealed(client: &mut Peer, bytes: &[u8]) -> Vec<u8> {
    let within = client.within();
    within.conn.writer().write_all(bytes).unwrap();
    let mut sealed = Vec::new();
    while within.conn.wants_write() {
        within.conn.write_tls(&mut sealed).unwrap();
    }
    sealed
}

#[test]
fn half_a_record_and_half_a_head_move_wherever_they_are_cut() {
    for version in VERSIONS {
        let gateways = [gateway(secure(answering("0"))), gateway(secure(answering("1")))];
        let mut client = connect(&gateways[0], version);
        client.send(GET);
        client.answer();
        let (first, second) = GET.as_bytes().split_at(20);
        for at in [1, 4, 5, 6, 20, 40] {
            let whole = [sealed(&mut client, first), sealed(&mut client, second)].concat();
            client.within().sock.write_all(&whole[..at]).unwrap();
            let moved = move_over(&gateways[0], &gateways[1]);
            assert_eq!(moved.len(), 1);
            move_over(&gateways[1], &gateways[0]);
            client.within().sock.write_all(&whole[at..]).unwrap();
            let (head, content) = client.answer();
            assert!(head.starts_with("http/1.1 200 ") && content == "0", "{head}");
        }
        drop(client);
        for gateway in gateways {
            gateway.drain(AT_ONCE);
            gateway.finish();
        }
    }
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_tunnel_moves_in_the_middle_of_a_frame_and_of_a_record() {
    for version in VERSIONS {
        let origin = Origin::start();
        let gateways = [gateway(secure(only(&origin))), gateway(secure(only(&origin)))];
        let mut client = connect(&gateways[0], version);
        client.send(UPGRADE);
        let (mut endpoint, _) = origin.request();
        endpoint.send(SWITCHING);
        assert!(client.head().starts_with("http/1.1 101 "));
        for turn in 0..12 {
            let (from, to) = (&gateways[turn % 2], &gateways[(turn + 1) % 2]);
            // A frame of six bytes, of which the endpoint has got three when the tunnel moves.
            let frame = [b"\x82\x04" as &[u8], &[turn as u8; 4]].concat();
            client.send(&frame[..3]);
            assert_eq!(endpoint.exactly(3), &frame[..3]);
            let rest = sealed(&mut client, &frame[3..]);
            client.within().sock.write_all(&rest[..7]).unwrap();
            endpoint.send(&frame[..4]);
            assert_eq!(client.exactly(4), &frame[..4]);
            move_over(from, to);
            client.within().sock.write_all(&rest[7..]).unwrap();
            assert_eq!(endpoint.exactly(3), &frame[3..]);
            endpoint.send(&frame[4..]);
            assert_eq!(client.exactly(2), &frame[4..]);
        }
        client.end();
        assert_eq!(endpoint.ended(), End::Closed);
        drop(endpoint);
        assert_eq!(client.ended(), End::Closed);
        for gateway in gateways {
            gateway.drain(AT_ONCE);
            gateway.finish();
        }
    }
}

#[test]
fn what_a_slow_reader_has_not_taken_of_a_tunnel_moves_too() {
    for version in VERSIONS {
        let origin = Origin::start();
        let gateways = [gateway(secure(only(&origin))), gateway(secure(only(&origin)))];
        let mut client = connect(&gateways[0], version);
        client.send(UPGRADE);
        let (mut endpoint, _) = origin.request();
        endpoint.send(SWITCHING);
        client.head();
        let stuck = endpoint.send_until_stuck();
        let moved = move_over(&gateways[0], &gateways[1]);
        let Record::Tunnel(tunnel) = &moved[0].record else { panic!() };
        let seal = tunnel.client.seal.as_ref().unwrap();
        assert!(!seal.unsent.is_empty() && seal.promised > 0);
        assert!(tunnel.down.pending.len() >= seal.promised);
        drop(endpoint);
        let (came, end) = client.rest();
        assert_eq!((came.len(), end), (stuck, End::Closed));
        assert!(came.iter().all(|byte| *byte == b'x'));
        drop(client);
        for gateway in gateways {
            gateway.drain(AT_ONCE);
            gateway.finish();
        }
    }
}

#[test]
fn a_connection_before_its_hello_moves_as_it_is() {
    let gateways = [gateway(secure(answering("0"))), gateway(secure(answering("1")))];
    let mut clients = [connect(&gateways[0], &version::TLS13), connect(&gateways[0], &version::TLS13)];
    // One has said half of its hello, the other one nothing.
    let mut hello = Vec::new();
    clients[1].within().conn.write_tls(&mut hello).unwrap();
    clients[1].within().sock.write_all(&hello[..50]).unwrap();
    gateways[0].until(|totals| totals.connections_open == 2);
    for parcel in move_over(&gateways[0], &gateways[1]) {
        let Record::Connection(record) = &parcel.record else { panic!() };
        assert!(record.greeting && record.seal.is_none());
    }
    clients[1].within().sock.write_all(&hello[50..]).unwrap();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.answer().1, "1");
    }
    drop(clients);
    for gateway in gateways {
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
}

#[test]
fn where_tls_does_not_move_it_is_drained() {
    let mut settings = secure(answering("0"));
    settings.tls.moves = false;
    let gateway = gateway(settings);
    let mut client = connect(&gateway, &version::TLS13);
    client.send(GET);
    client.answer();
    let departures = gateway.hand_over();
    assert_eq!(client.ended(), End::Closed);
    gateway.until(|totals| totals.connections_open == 0);
    drop(departures);
    let totals = gateway.finish();
    assert_eq!((totals.connections_moved, totals.connections_closed), (0, 1));
}

/// What it may be charged for: its socket, its seat, its task and its keys.
#[test]
fn an_idle_connection_holds_no_buffer_and_little_else() {
    let gateways = [gateway(secure(answering("0"))), gateway(secure(answering("1")))];
    let mut client = connect(&gateways[0], &version::TLS13);
    client.send(GET);
    client.answer();
    let moved = move_over(&gateways[0], &gateways[1]);
    let Record::Connection(record) = &moved[0].record else { panic!() };
    let seal = record.seal.as_ref().unwrap();
    assert_eq!((seal.partial.len(), seal.message.len(), seal.unsent.len()), (0, 0, 0));
    let size = std::mem::size_of::<crate::tls::Channel>();
    assert!(size <= 1600, "{size} bytes");
    drop(client);
    for gateway in gateways {
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
}
