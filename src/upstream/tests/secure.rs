//! TLS to endpoints, against servers of rustls.

use std::net::Ipv4Addr;
use std::path::Path;

use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::config::settings::{self as configured, EndpointTls, Place};
use crate::config::{self, Sources};
use crate::tls::pki::{Authority, Pair};

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
const H1: &[&str] = &["http/1.1"];
const H2: &[&str] = &["h2", "http/1.1"];

/// An authority of its own, and a folder for its files.
struct Inside {
    authority: Authority,
    folder: TempDir,
}

impl Inside {
    fn new() -> Inside {
        Inside { authority: Authority::new("inside"), folder: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What trusts this authority, for endpoints called `shop.test`.
    fn trusting(&self) -> EndpointTls {
        let ca = Some(Place::File(self.authority.write(self.folder(), "ca")));
        EndpointTls { ca, name: Some("shop.test".into()), ..EndpointTls::default() }
    }

    fn shop(&self) -> Pair {
        self.authority.leaf(&["shop.test"]).pair()
    }

    fn pair(&self, pair: &Pair, name: &str) -> Option<configured::Pair> {
        let (chain, key) = pair.write(self.folder(), name);
        Some(configured::Pair { chain: Place::File(chain), key: Place::File(key) })
    }
}

fn secure(endpoints: &[Address], endpoint_tls: EndpointTls) -> Rc<Upstream> {
    let service = settings::Service { protocol: Protocol::Https, endpoint_tls, ..service(endpoints) };
    let service = Arc::new(service);
    let mut settings = (*config::parse(&Sources::default()).unwrap().settings).clone();
    settings.services = vec![Arc::clone(&service)];
    let (mut outward, wrong) = crate::tls::outward(&settings);
    assert!(wrong.is_empty(), "{wrong:?}");
    Upstream::new(Lineup::new(&service, None), outward.remove(0), None)
}

fn server(
    pair: &Pair,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = builder.with_single_cert(pair.certificates(), pair.private_key()).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

type Secure = Peer<TlsStream<TcpStream>>;

async fn accept_tls(listener: &TcpListener, server: &TlsAcceptor) -> Secure {
    let (socket, _) = listener.accept().await.unwrap();
    // An answer must not wait behind tickets that are not acknowledged: closing would throw it away.
    socket.set_nodelay(true).unwrap();
    Peer::new(server.accept(socket).await.unwrap())
}

/// Answers every request on every connection, `per_connection` times; counts connections, and requests by content.
#[derive(Clone, Default)]
struct Seen {
    connections: Rc<Cell<usize>>,
    resumed: Rc<Cell<usize>>,
    requests: Rc<RefCell<HashMap<String, u32>>>,
}

async fn serving(listener: TcpListener, server: TlsAcceptor, per_connection: usize, seen: Seen) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (server, seen) = (server.clone(), seen.clone());
        tokio::task::spawn_local(async move {
            let Ok(stream) = server.accept(socket).await else { return };
            seen.connections.set(seen.connections.get() + 1);
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                seen.resumed.set(seen.resumed.get() + 1);
            }
            let mut peer = Peer::new(stream);
            for _ in 0..per_connection {
                let Some((_, content)) = peer.request().await else { return };
                *seen.requests.borrow_mut().entry(content).or_default() += 1;
                peer.say(OK).await;
            }
        });
    }
}

async fn ok(upstream: &Rc<Upstream>) {
    let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
    assert_eq!(body(answer).await.unwrap(), "ok");
}

async fn failure(upstream: &Rc<Upstream>) -> Failure {
    upstream.send(get(), &PATIENT, &Nobody).await.err().unwrap()
}

#[test]
fn a_connection_of_either_version_is_kept_although_tickets_and_new_keys_come() {
    on_one_thread(async {
        let place = Inside::new();
        for version in BOTH {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let server = server(&place.shop(), H1, &[version], None);
            let endpoint = async {
                let mut peer = accept_tls(&listener, &server).await;
                for round in 0..4 {
                    let (head, _) = peer.request().await.unwrap();
                    assert!(head.starts_with("GET /thing HTTP/1.1\r\nhost: shop.example\r\n"), "{head}");
                    peer.say(OK).await;
                    if version.version == rustls::ProtocolVersion::TLSv1_3 && round > 0 {
                        peer.stream.get_mut().1.refresh_traffic_keys().unwrap();
                        peer.stream.flush().await.unwrap();
                    }
                }
                peer
            };
            let client = async {
                for _ in 0..4 {
                    ok(&upstream).await;
                    // What came with the answer, or behind it, is looked at by the pool.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    assert_eq!(upstream.survey()[0].idle, 1, "{version:?}");
                }
            };
            let (peer, ()) = tokio::join!(endpoint, client);
            drop(peer);
            until(|| upstream.survey()[0].idle == 0).await;
        }
    });
}

#[test]
fn an_endpoint_is_told_when_a_connection_is_not_kept() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let server = server(&place.shop(), &[], &BOTH, None);
        let endpoint = async {
            let mut peer = accept_tls(&listener, &server).await;
            peer.request().await.unwrap();
            peer.say(OK).await;
            // Without close_notify this is an error of rustls.
            assert_eq!(peer.stream.read(&mut [0; 8]).await.unwrap(), 0);
        };
        let client = async {
            ok(&upstream).await;
            drop(upstream);
        };
        tokio::join!(endpoint, client);
    });
}

#[test]
fn sessions_are_resumed() {
    on_one_thread(async {
        let place = Inside::new();
        for version in BOTH {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let seen = Seen::default();
            let server = server(&place.shop(), H1, &[version], None);
            tokio::task::spawn_local(serving(listener, server, 1, seen.clone()));
            for _ in 0..5 {
                ok(&upstream).await;
                until(|| upstream.survey()[0].idle == 0).await;
            }
            assert_eq!((seen.connections.get(), seen.resumed.get()), (5, 4), "{version:?}");
        }
    });
}

/// Answers every request of HTTP/2 with its scheme.
async fn serving_http2(listener: TcpListener, server: TlsAcceptor, connections: Rc<Cell<usize>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (server, connections) = (server.clone(), Rc::clone(&connections));
        tokio::task::spawn_local(async move {
            let stream = server.accept(socket).await.unwrap();
            connections.set(connections.get() + 1);
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                let mut peer = Peer::new(stream);
                while peer.request().await.is_some() {
                    peer.say(
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                    )
                    .await;
                    let said = peer.up_to("\n").await;
                    peer.say(&said).await;
                }
                return;
            }
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                let scheme = request.uri().scheme_str().unwrap().to_owned();
                let mut sender = answer.send_response(Response::new(()), false).unwrap();
                sender.send_data(Bytes::from(scheme), true).unwrap();
            }
        });
    }
}

#[test]
fn http2_is_spoken_where_the_handshake_agrees_on_it_and_by_all_on_one_connection() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let connections = Rc::default();
        let server = server(&place.shop(), H2, &BOTH, None);
        tokio::task::spawn_local(serving_http2(listener, server, Rc::clone(&connections)));
        for _ in 0..3 {
            let asked = (0..20).map(|_| async {
                let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
                assert_eq!(answer.response.version(), Version::HTTP_2);
                assert_eq!(body(answer).await.unwrap(), "https");
            });
            futures_util::future::join_all(asked).await;
        }
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn an_upgrade_gets_a_connection_of_http1_beside_one_of_http2() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let connections = Rc::default();
        let server = server(&place.shop(), H2, &BOTH, None);
        tokio::task::spawn_local(serving_http2(listener, server, Rc::clone(&connections)));
        let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "https");
        let mut asks = get();
        asks.headers_mut().insert("connection", "upgrade".parse().unwrap());
        asks.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let answer = upstream.send(asks, &PATIENT, &Nobody).await.unwrap();
        assert_eq!(answer.response.status(), 101);
        let mut tunnel = answer.upgraded.unwrap();
        tunnel.write_all(b"hello\n").await.unwrap();
        let mut echo = [0; 6];
        tunnel.read_exact(&mut echo).await.unwrap();
        assert_eq!((&echo, connections.get()), (b"hello\n", 2));
        let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
        assert_eq!((body(answer).await.unwrap().as_ref(), connections.get()), (&b"https"[..], 2));
    });
}

#[test]
fn many_who_wait_for_the_first_connection_are_all_served_by_an_endpoint_of_http1() {
    on_one_thread(async {
        let place = Inside::new();
        for alpn in [H1, &[]] {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let seen = Seen::default();
            let server = server(&place.shop(), alpn, &BOTH, None);
            tokio::task::spawn_local(serving(listener, server, usize::MAX, seen.clone()));
            futures_util::future::join_all((0..6).map(|_| ok(&upstream))).await;
            assert_eq!(seen.requests.borrow()[""], 6);
            assert!(seen.connections.get() <= 6);
        }
    });
}

/// What the one endpoint is answered with, whose certificate this is.
async fn asked(pair: &Pair, address: Option<&str>, endpoint_tls: EndpointTls) -> Result<Bytes, Failure> {
    let (listener, ip) = listen().await;
    let Address::Ip(ip) = ip else { unreachable!() };
    let address = match address {
        Some(name) => Address::Name { host: name.into(), port: ip.port() },
        None => Address::Ip(ip),
    };
    let upstream = secure(&[address], endpoint_tls);
    let serving =
        tokio::task::spawn_local(serving(listener, server(pair, H1, &BOTH, None), 1, Seen::default()));
    let answer = upstream.send(get(), &PATIENT, &Nobody).await;
    let answer = match answer {
        Ok(answer) => body(answer).await,
        Err(failure) => Err(failure),
    };
    serving.abort();
    answer
}

#[test]
fn an_endpoint_is_asked_only_when_its_certificate_proves_who_it_is() {
    on_one_thread(async {
        let place = Inside::new();
        let trusting = || EndpointTls { name: None, ..place.trusting() };
        let named = |name: &str| EndpointTls { name: Some(name.into()), ..place.trusting() };
        let leaf = |names: &[&str]| place.authority.leaf(names);
        let local = Ipv4Addr::LOCALHOST.to_string();
        let whole = Ok(Bytes::from_static(b"ok"));
        // By the name of the endpoint, its address, and by what is written.
        assert_eq!(asked(&leaf(&["localhost"]).pair(), Some("localhost"), trusting()).await, whole);
        assert_eq!(asked(&leaf(&[&local]).pair(), None, trusting()).await, whole);
        assert_eq!(asked(&leaf(&["*.shop.test"]).pair(), None, named("a.shop.test")).await, whole);
        assert_eq!(asked(&leaf(&[&local]).pair(), Some("localhost"), named(&local)).await, whole);
        assert_eq!(asked(&leaf(&["a.test"]).rsa().pair(), None, named("a.test")).await, whole);
        let between = place.authority.intermediate("between");
        assert_eq!(asked(&between.leaf(&["a.test"]).pair(), None, named("a.test")).await, whole);

        let told = async |pair: Pair, tls: EndpointTls| match asked(&pair, None, tls).await {
            Err(Failure::Untrusted(told)) => told,
            other => panic!("{other:?}"),
        };
        let said = told(Authority::new("inside").leaf(&["shop.test"]).pair(), place.trusting()).await;
        assert!(
            said.contains("from nobody who is trusted; write the file of its authority into endpoint-tls.ca"),
            "{said}"
        );
        let said = told(leaf(&["other.test", "www.other.test"]).pair(), place.trusting()).await;
        let expected = "its certificate is for 'other.test', 'www.other.test' and not for 'shop.test'; write one of its names \
                        into endpoint-tls.name of the service";
        assert_eq!(said, expected);
        let said = told(leaf(&["localhost"]).pair(), trusting()).await;
        assert!(said.contains("is for 'localhost' and not for '127.0.0.1'"), "{said}");
        let said = told(leaf(&["shop.test"]).expired().pair(), place.trusting()).await;
        assert_eq!(said, "its certificate has expired on 2021-01-01; renew it");
        let said = told(leaf(&["shop.test"]).not_yet_valid().pair(), place.trusting()).await;
        assert_eq!(said, "its certificate is not valid before 2110-01-01; look at the clocks of both sides");

        let anybody = || EndpointTls { verify: false, ..EndpointTls::default() };
        let strange = Authority::new("strange").leaf(&["other.test"]).expired().pair();
        assert_eq!(asked(&strange, None, anybody()).await, whole);
    });
}

#[test]
fn who_is_not_trusted_gets_nothing_and_another_endpoint_is_asked() {
    on_one_thread(async {
        let place = Inside::new();
        let (bad, bad_address) = listen().await;
        let (good, good_address) = listen().await;
        let upstream = secure(&[bad_address, good_address], place.trusting());
        let [from_bad, from_good] = [Seen::default(), Seen::default()];
        let expired = place.authority.leaf(&["shop.test"]).expired().pair();
        tokio::task::spawn_local(serving(bad, server(&expired, H1, &BOTH, None), 1, from_bad.clone()));
        tokio::task::spawn_local(serving(good, server(&place.shop(), H1, &BOTH, None), 9, from_good.clone()));
        for _ in 0..4 {
            let answer = upstream.send(post("order"), &PATIENT, &Nobody).await.unwrap();
            assert_eq!(body(answer).await.unwrap(), "ok");
        }
        assert_eq!(from_bad.requests.borrow().len(), 0);
        assert_eq!(from_good.requests.borrow()["order"], 4);
    });
}

#[test]
fn an_endpoint_that_wants_to_know_who_asks_is_shown_a_certificate() {
    on_one_thread(async {
        let place = Inside::new();
        for version in BOTH {
            let (listener, address) = listen().await;
            let server = server(&place.shop(), H1, &[version], Some(&place.authority));
            tokio::task::spawn_local(serving(listener, server, 1, Seen::default()));
            let pair = place.pair(&place.authority.client("gateway").pair(), "gateway");
            ok(&secure(std::slice::from_ref(&address), EndpointTls { pair, ..place.trusting() })).await;
            let strange = place.pair(&Authority::new("strange").client("gateway").pair(), "strange");
            for pair in [None, strange] {
                let upstream =
                    secure(std::slice::from_ref(&address), EndpointTls { pair, ..place.trusting() });
                let Failure::Handshake(told) = failure(&upstream).await else { panic!("{version:?}") };
                let remedy = "write one that it accepts into endpoint-tls.certificate and endpoint-tls.key of the service";
                assert!(told.ends_with(remedy), "{told}");
                // Nothing of it was looked at there.
                assert_eq!(Failure::Handshake(told).verdict().retry, Retry::Unsent);
            }
        }
    });
}

#[test]
fn what_is_no_tls_or_has_no_protocol_in_common_is_said_to_be() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let mut peer = accept(&listener).await;
            peer.more().await;
            peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            drop(peer);
            let mut peer = accept(&listener).await;
            peer.more().await;
        });
        let upstream = secure(&[address], place.trusting());
        let Failure::Handshake(told) = failure(&upstream).await else { panic!() };
        assert_eq!(told, "it does not speak TLS; write protocol = \"http1\" if that is meant");
        let Failure::Handshake(told) = failure(&upstream).await else { panic!() };
        assert_eq!(told, "it closed the connection in the middle of the handshake");

        let (listener, address) = listen().await;
        let server = server(&place.shop(), &["h3"], &BOTH, None);
        tokio::task::spawn_local(serving(listener, server, 1, Seen::default()));
        let Failure::Handshake(told) = failure(&secure(&[address], place.trusting())).await else { panic!() };
        assert_eq!(told, "no protocol in common; it speaks neither h2 nor http/1.1");
    });
}

#[test]
fn the_deadline_of_connecting_covers_the_handshake() {
    on_one_thread(async {
        let place = Inside::new();
        let (_listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let timeout = Timeout { connect: SHORT, ..PATIENT };
        let failed = upstream.send(get(), &timeout, &Nobody).await.err().unwrap();
        assert_eq!(failed, Failure::Late(Deadline::Connect, SHORT));
    });
}

#[test]
fn an_endpoint_on_a_unix_socket_is_verified_by_the_name_that_is_written() {
    on_one_thread(async {
        let place = Inside::new();
        let path = place.folder().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = server(&place.shop(), H1, &BOTH, None);
        tokio::task::spawn_local(async move {
            loop {
                let mut peer = Peer::new(server.accept(listener.accept().await.unwrap().0).await.unwrap());
                tokio::task::spawn_local(async move {
                    while peer.request().await.is_some() {
                        peer.say(OK).await;
                    }
                });
            }
        });
        let upstream = secure(&[Address::Unix(path.clone())], place.trusting());
        ok(&upstream).await;
        ok(&upstream).await;
        ok(&secure(&[Address::Unix(path)], EndpointTls { verify: false, ..EndpointTls::default() })).await;
    });
}

#[test]
fn an_answer_before_the_end_of_the_content_comes_through() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let server = server(&place.shop(), H1, &BOTH, None);
        let (mut client, content) = streamed("content-length: 10000000", Some(LONG)).await;
        tokio::task::spawn_local(async move {
            let piece = vec![b'x'; 100_000];
            while client.write_all(&piece).await.is_ok() {}
        });
        let endpoint = async {
            let mut peer = accept_tls(&listener, &server).await;
            while find(&peer.seen, b"xxxx").is_none() {
                peer.more().await.unwrap();
            }
            peer.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
                .await;
            // Closed with content unread, so that writing fails before the answer is read.
        };
        let client = async {
            let answer = upstream.send(request("POST", content), &PATIENT, &Nobody).await.unwrap();
            assert_eq!(answer.response.status(), 413);
            assert_eq!(body(answer).await.unwrap(), "big");
        };
        let ((), ()) = tokio::join!(endpoint, client);
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_only_if_tls_says_so() {
    on_one_thread(async {
        let place = Inside::new();
        for says_so in [true, false] {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let server = server(&place.shop(), H1, &BOTH, None);
            let endpoint = async {
                let mut peer = accept_tls(&listener, &server).await;
                peer.request().await.unwrap();
                peer.say("HTTP/1.1 200 OK\r\n\r\nall of it").await;
                if says_so {
                    peer.stream.shutdown().await.unwrap();
                }
            };
            let client = async { body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await };
            let ((), answer) = tokio::join!(endpoint, client);
            match says_so {
                true => assert_eq!(answer.unwrap(), "all of it"),
                false => assert!(matches!(answer, Err(Failure::Truncated(_))), "{answer:?}"),
            }
        }
    });
}

#[test]
fn closing_kept_connections_unannounced_fails_no_request_and_doubles_none_over_tls() {
    on_one_thread(async {
        let place = Inside::new();
        let server = server(&place.shop(), H1, &BOTH, None);
        for per_connection in [1, 2, 7] {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let seen = Seen::default();
            tokio::task::spawn_local(serving(listener, server.clone(), per_connection, seen.clone()));
            for number in 0..200 {
                let (method, content) = if number % 3 == 0 { ("GET", "") } else { ("POST", "order") };
                let content = Bytes::from(format!("{content}{number}"));
                let answer = upstream.send(request(method, Content::whole(content)), &PATIENT, &Nobody).await;
                assert_eq!(body(answer.unwrap()).await.unwrap(), "ok");
            }
            assert_eq!(seen.requests.borrow().len(), 200);
            assert!(seen.requests.borrow().values().all(|times| *times == 1));
        }
    });
}

#[test]
fn a_post_whose_endpoint_dies_with_it_is_not_sent_again() {
    on_one_thread(async {
        let place = Inside::new();
        let (listener, address) = listen().await;
        let upstream = secure(&[address], place.trusting());
        let server = server(&place.shop(), H1, &BOTH, None);
        let endpoint = async {
            let mut peer = accept_tls(&listener, &server).await;
            peer.request().await.unwrap();
            // Read, and never answered: with and without a word of TLS.
            drop(peer);
            let mut peer = accept_tls(&listener, &server).await;
            peer.request().await.unwrap();
            peer.stream.shutdown().await.unwrap();
            drop(peer);
            listener
        };
        let client = async {
            for _ in 0..2 {
                let failed = upstream.send(post("order"), &PATIENT, &Nobody).await.err().unwrap();
                assert!(matches!(failed, Failure::NoAnswer(_)), "{failed:?}");
            }
        };
        let (listener, ()) = tokio::join!(endpoint, client);
        assert!(listener.accept().now_or_never().is_none());
    });
}

#[test]
fn a_tunnel_goes_elsewhere_with_its_keys_in_the_middle_of_a_record_too() {
    on_one_thread(async {
        let place = Inside::new();
        for version in BOTH {
            let (listener, address) = listen().await;
            let upstream = secure(&[address], place.trusting());
            let server = server(&place.shop(), H1, &[version], None);
            let endpoint = tokio::task::spawn_local(async move {
                let mut peer = accept_tls(&listener, &server).await;
                peer.request().await.unwrap();
                let switched =
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
                peer.say(&format!("{switched}ahead")).await;
                let mut bytes = vec![0; 40_000];
                loop {
                    let count = peer.stream.read(&mut bytes).await.unwrap();
                    if count == 0 {
                        return peer.stream.shutdown().await.unwrap();
                    }
                    peer.stream.write_all(&bytes[..count]).await.unwrap();
                    peer.stream.flush().await.unwrap();
                }
            });
            let mut asks = get();
            asks.headers_mut().insert("connection", "upgrade".parse().unwrap());
            asks.headers_mut().insert("upgrade", "echo".parse().unwrap());
            let answer = upstream.send(asks, &PATIENT, &Nobody).await.unwrap();
            let mut tunnel = answer.upgraded.unwrap();
            for round in 0..20 {
                assert!(tunnel.is_whole());
                let given = tunnel.give_up().unwrap();
                assert!(given.seal.is_some());
                tunnel = Upgraded::adopt(given).unwrap();
                let said: Vec<u8> = (0..30_000_usize).map(|at| (at + round) as u8).collect();
                if round == 0 {
                    let mut ahead = [0; 5];
                    tunnel.read_exact(&mut ahead).await.unwrap();
                    assert_eq!(&ahead, b"ahead");
                }
                tunnel.write_all(&said).await.unwrap();
                let mut echo = vec![0; said.len()];
                let (first, rest) = echo.split_at_mut(10);
                tunnel.read_exact(first).await.unwrap();
                // Records are read ahead now, and perhaps half of one.
                tunnel = Upgraded::adopt(tunnel.give_up().unwrap()).unwrap();
                tunnel.read_exact(rest).await.unwrap();
                assert!(echo == said);
            }
            tunnel.shutdown().await.unwrap();
            assert_eq!(tunnel.read(&mut [0; 8]).await.unwrap(), 0);
            endpoint.await.unwrap();
        }
    });
}

#[test]
fn what_cannot_be_used_is_said_with_its_key() {
    let place = Inside::new();
    let file = |name: &str, text: &str| {
        let path = place.folder().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Place::File(path)
    };
    let (one, other) = (place.authority.client("one").pair(), place.authority.client("other").pair());
    let mixed = configured::Pair { chain: file("one.pem", &one.chain), key: file("other.key", &other.key) };
    let keyless = configured::Pair { chain: file("b.pem", &one.chain), key: file("b.key", &one.chain) };
    let open = configured::Pair { chain: file("c.pem", &one.chain), key: file("c.key", &one.key) };
    let Place::File(path) = &open.key else { unreachable!() };
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let with = |pair| EndpointTls { pair: Some(pair), ..place.trusting() };
    let from = |ca| EndpointTls { ca: Some(ca), ..place.trusting() };
    let table = [
        (
            with(mixed),
            "certificate: it is not the certificate of endpoint-tls.key; write the two that belong together",
        ),
        (
            with(keyless),
            "key: 'DIR/b.key' holds no key; write it in PEM, without a passphrase, beginning with BEGIN PRIVATE KEY",
        ),
        (with(open), "key: 'DIR/c.key' can be read by everybody (mode 644); chmod 640 DIR/c.key"),
        (
            from(file("empty", "")),
            "ca: 'DIR/empty' holds no certificate; write it in PEM, beginning with BEGIN CERTIFICATE",
        ),
        (
            from(Place::File(place.folder().join("none"))),
            "ca: cannot read 'DIR/none': no such file or directory; write it, or name another one",
        ),
        (
            from(Place::File(place.folder().into())),
            "ca: cannot read 'DIR': it is no file; write it, or name another one",
        ),
    ];
    for (endpoint_tls, expected) in table {
        let service = settings::Service { protocol: Protocol::Https, endpoint_tls, ..service(&[]) };
        let mut settings = (*config::parse(&Sources::default()).unwrap().settings).clone();
        settings.services = vec![Arc::new(service)];
        let (outward, wrong) = crate::tls::outward(&settings);
        let said = wrong.join("\n").replace(place.folder().to_str().unwrap(), "DIR");
        assert_eq!(said, format!("service.shop.endpoint-tls.{expected}"));
        assert!(outward[0].is_none());
    }
}

#[test]
fn connections_outlive_a_reload_unless_a_file_says_something_else() {
    let place = Inside::new();
    let service =
        |endpoint_tls| settings::Service { protocol: Protocol::Https, endpoint_tls, ..service(&[]) };
    let outward = |service: settings::Service| {
        let mut settings = (*config::parse(&Sources::default()).unwrap().settings).clone();
        settings.services = vec![Arc::new(service)];
        crate::tls::outward(&settings).0.remove(0).unwrap()
    };
    on_one_thread(async {
        let before = service(place.trusting());
        let upstream = begin(before.clone(), Some(outward(before.clone())));
        assert!(upstream.speaks_as(&before, Some(&outward(before.clone()))));
        let other = service(EndpointTls { name: Some("other.test".into()), ..place.trusting() });
        assert!(!upstream.speaks_as(&other, Some(&outward(other.clone()))));
        Authority::new("another").write(place.folder(), "ca");
        assert!(!upstream.speaks_as(&before, Some(&outward(before.clone()))));
    });
}
