//! The load client over TLS, in front of rustls servers that each misbehave in one way, and of one that does not.
//!
//! Must not know: hitless.

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../tls/pki.rs"]
mod pki;

use rustls::server::{NoServerSessionStorage, ServerConfig, ServerConnection};
use rustls::{StreamOwned, version};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::*;
use hitless::prove::{Tls, Trust};
use pki::Authority;

type Secure = StreamOwned<ServerConnection, TcpStream>;

// ---- The sound application ----

/// How a server ends a connection.
type End = fn(&mut Secure);

#[test]
fn a_sound_application_loses_nothing_of_any_kind_over_tls() {
    let scene = Scene::new();
    let sample = Sample::start();
    let front = scene.front(scene.server(), sample.port);
    let tls = Tls { old_every: 4, ..scene.tls() };
    let options = Options {
        tls: Some(tls),
        posts_from: vec![sample.address()],
        ..Options::new(Address::Tcp(front), hosts())
    };
    let report = offered(Options { idle: 5, tunnels: 3, ..options }, 600);
    assert_eq!(lost(&report), (0, 0, 0, 0, Some(0)), "{report:?}");
    assert!(report.details.shares.len() == 11, "every kind of client took part: {:?}", report.details.shares);
    assert_eq!(report.handshakes, report.details.shares[&What::Fresh].requests, "{report:?}");
    assert!(report.resumed > 0, "{report:?}");
}

#[test]
fn a_page_is_tried_out_over_tls() {
    let scene = Scene::new();
    let server = scene.misbehaving(|stream, _| {
        head(stream);
        answer(stream, "302 Found", "", "there");
        goodbye(stream);
    });
    let ask = |tls: &Tls, host: &str| try_out(&Address::Tcp(server), Some(tls), host, "/", millis(20_000));
    assert_eq!(ask(&scene.tls(), "sample.example:443").unwrap().status, 302);
    assert!(ask(&scene.tls(), "other.example").unwrap_err().contains("not valid for name"));
    let named = Tls { name: Some("sample.example".to_owned()), ..scene.tls() };
    assert_eq!(ask(&named, "other.example").unwrap().status, 302);
    let stranger = Scene::new();
    assert!(ask(&stranger.tls(), "sample.example").is_err());
    assert_eq!(ask(&Tls { trust: Trust::Anyone, ..Tls::default() }, "other.example").unwrap().status, 302);
}

// ---- Requests lost, each in its way ----

#[test]
fn a_connection_that_ends_before_the_answer_says_how_it_ended() {
    let scene = Scene::new();
    let ends: [(End, Kind); 3] =
        [(|_| {}, Kind::Unclosed), (goodbye, Kind::Eof), (|stream| reset(&stream.sock), Kind::Reset)];
    for (end, kind) in ends {
        let server = scene.misbehaving(move |stream, _| {
            head(stream);
            end(stream);
        });
        assert_eq!(only_kind(scene.asking(server)), kind);
    }
}

#[test]
fn an_answer_that_breaks_off_says_how_it_ended_wherever_it_does() {
    let scene = Scene::new();
    for begun in [
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly ",
    ] {
        let ends: [(End, Kind); 3] = [
            (|_| {}, Kind::Unclosed),
            (goodbye, Kind::Truncated),
            (|stream| until_read_then_reset(&stream.sock), Kind::Truncated),
        ];
        for (end, kind) in ends {
            let server = scene.misbehaving(move |stream, _| {
                head(stream);
                stream.write_all(begun.as_bytes()).unwrap();
                end(stream);
            });
            let options = Options { kept_alive: 1, think: millis(1), ..scene.silent(server) };
            assert_eq!(only_kind(until_failed(options)), kind, "{begun}");
        }
    }
}

/// Without its close_notify nobody knows whether the whole of such an answer has come.
#[test]
fn an_answer_that_ends_with_its_connection_needs_close_notify() {
    let scene = Scene::new();
    for says_goodbye in [true, false] {
        let server = scene.misbehaving(move |stream, _| {
            let Some(asked) = head(stream) else { return };
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n{}", sound(&asked)).unwrap();
            if says_goodbye {
                goodbye(stream);
            }
        });
        if says_goodbye {
            let options = Options { kept_alive: 2, think: millis(2), ..scene.silent(server) };
            assert_eq!(offered(options, 20).lost(), 0);
        } else {
            assert_eq!(only_kind(scene.asking(server)), Kind::Unclosed);
        }
    }
}

#[test]
fn records_that_cannot_be_opened_are_told_apart_from_wrong_answers() {
    let scene = Scene::new();
    let spoilt = scene.misbehaving(|stream, _| {
        head(stream);
        let mut record = Vec::new();
        stream.conn.writer().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        stream.sock.write_all(&record).unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    assert_eq!(only_kind(scene.asking(spoilt)), Kind::Tls);
    let plaintext = scene.misbehaving(|stream, _| {
        head(stream);
        stream.sock.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    assert_eq!(only_kind(scene.asking(plaintext)), Kind::Tls);
    let of_another = scene.misbehaving(|stream, _| {
        while head(stream).is_some() {
            answer(stream, "200 OK", "", "turn=999999999x");
        }
    });
    assert_eq!(only_kind(scene.asking(of_another)), Kind::DigestMismatch);
}

#[test]
fn a_handshake_that_fails_is_a_request_that_failed() {
    let scene = Scene::new();
    let server = scene.misbehaving(|stream, _| {
        head(stream);
    });
    let stranger = Scene::new();
    assert_eq!(only_kind(stranger.asking(server)), Kind::Tls, "an unknown authority");
    let closes = misbehaving(|stream, _| {
        stream.read_exact(&mut [0]).unwrap();
        // What the client has said is read, so that the close is not a reset.
        stream.set_nonblocking(true).unwrap();
        while stream.read(&mut [0; 4_096]).is_ok_and(|count| count > 0) {}
    });
    assert_eq!(only_kind(scene.asking(closes)), Kind::Eof);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(only_kind(scene.asking(gone)), Kind::Refused);
}

// ---- Connections that end between requests ----

#[test]
fn a_silent_connection_that_ends_is_counted_with_how_it_ended() {
    let scene = Scene::new();
    for (says_goodbye, kind) in [(true, Kind::Eof), (false, Kind::Unclosed)] {
        let close = Arc::new(AtomicBool::new(false));
        let closing = close.clone();
        let server = scene.misbehaving(move |stream, _| {
            let Some(asked) = head(stream) else { return };
            answer(stream, "200 OK", "", &sound(&asked));
            eventually(|| closing.load(Ordering::Relaxed));
            if says_goodbye {
                goodbye(stream);
            }
        });
        let load = Load::start(Options { idle: 3, ..scene.silent(server) }, || Ok(())).unwrap();
        eventually(|| load.so_far().resting == 3);
        close.store(true, Ordering::Relaxed);
        eventually(|| load.so_far().idle_closed == 3);
        let report = load.finish().unwrap();
        assert_eq!((report.idle_closed, report.failed, report.requests), (3, 0, 3), "{report:?}");
        assert_eq!(report.details.idle_kinds[&kind], 3);
    }
}

#[test]
fn a_kept_alive_connection_that_ends_between_requests_is_counted_with_how_it_ended() {
    let scene = Scene::new();
    for (says_goodbye, kind) in [(true, Kind::Eof), (false, Kind::Unclosed)] {
        let server = scene.misbehaving(move |stream, _| {
            let Some(asked) = head(stream) else { return };
            // The end comes in one segment with the answer, so that the next request never meets it.
            socket2::SockRef::from(&stream.sock).set_tcp_cork(true).unwrap();
            answer(stream, "200 OK", "", &sound(&asked));
            if says_goodbye {
                goodbye(stream);
            }
            let _ = stream.sock.shutdown(std::net::Shutdown::Write);
        });
        let options = Options { kept_alive: 1, think: millis(20), ..scene.silent(server) };
        let report = offered(options, 5);
        assert_eq!(report.failed, 0, "{report:?}");
        assert!(report.idle_closed >= 3, "{report:?}");
        assert_eq!(report.details.idle_kinds.keys().collect::<Vec<_>>(), [&kind], "{report:?}");
    }
}

/// RFC 8446, section 4.6: tickets and key updates may come at any time.
#[test]
fn a_server_that_changes_its_keys_at_rest_has_not_ended_the_connection() {
    let scene = Scene::new();
    let server = scene.misbehaving(|stream, _| {
        while let Some(asked) = head(stream) {
            answer(stream, "200 OK", "", &sound(&asked));
            stream.conn.refresh_traffic_keys().unwrap();
            let _ = stream.flush();
        }
    });
    let options = Options { kept_alive: 2, think: millis(2), idle: 2, lasting: 1, ..scene.silent(server) };
    assert_eq!(offered(options, 40).lost(), 0);
}

#[test]
fn a_tunnel_that_breaks_over_tls_is_dropped_and_opened_anew() {
    let scene = Scene::new();
    let server = scene.misbehaving(|stream, place| {
        let mut numbered = Numbered::default();
        converse(stream, |frame| {
            let breaks = place == 0 && numbered.is_third();
            if breaks { None } else { Some(vec![numbered.answer(&frame)]) }
        });
    });
    let options = Options { tunnels: 1, tunnel_pause: millis(2), ..scene.silent(server) };
    let report = offered(options, 2);
    assert_eq!((report.requests, report.failed, report.tunnels_dropped), (2, 0, 1), "{report:?}");
    assert!(report.details.tunnel_kinds.contains_key("unclosed"), "{report:?}");
}

#[test]
fn a_connection_that_was_to_last_is_lost_however_it_ends_over_tls() {
    let scene = Scene::new();
    for (says_goodbye, how) in [(true, "eof"), (false, "unclosed")] {
        let server = scene.misbehaving(move |stream, _| {
            let Some(asked) = head(stream) else { return };
            answer(stream, "200 OK", "", &sound(&asked));
            if says_goodbye {
                goodbye(stream);
            }
        });
        let options = Options { lasting: 1, think: millis(20), ..scene.silent(server) };
        let load = Load::start(options, || Ok(())).unwrap();
        eventually(|| load.so_far().lost > 0);
        let report = load.finish().unwrap();
        assert_eq!((report.lasting_lost, report.lasting[0].lost.as_deref()), (1, Some(how)), "{report:?}");
    }
}

// ---- Sessions and certificates ----

#[test]
fn sessions_are_resumed_as_long_as_the_server_knows_its_tickets() {
    let scene = Scene::new();
    for old_every in [0, 1] {
        let knows = scene.fresh(scene.server(), Tls { old_every, ..scene.tls() });
        let full = knows.details.handshakes.iter().filter(|one| !one.resumed).count();
        assert_eq!(full as u64 + knows.resumed, knows.handshakes);
        assert!(knows.resumed > knows.handshakes / 2, "{knows:?}");
        let mut forgets = ServerConfig::clone(&scene.server());
        forgets.session_storage = Arc::new(NoServerSessionStorage {});
        let forgot = scene.fresh(Arc::new(forgets), Tls { old_every, ..scene.tls() });
        assert_eq!((forgot.resumed, forgot.failed), (0, 0), "{forgot:?}");
        assert!(forgot.handshakes >= 20, "{forgot:?}");
    }
    let never = scene.fresh(scene.server(), Tls { resume: false, ..scene.tls() });
    assert_eq!(never.resumed, 0, "{never:?}");
}

#[test]
fn every_so_many_th_connection_speaks_tls_1_2() {
    let scene = Scene::new();
    let olds = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = olds.clone();
    let server = scene.misbehaving(move |stream, _| {
        let asked = head(stream);
        let old = stream.conn.protocol_version() == Some(version::TLS12.version);
        seen.lock().unwrap().push(old);
        answer(stream, "200 OK", "Connection: close\r\n", &sound(&asked.unwrap_or_default()));
    });
    let tls = Some(Tls { old_every: 3, ..scene.tls() });
    let report = offered(Options { tls, fresh_per_second: 200, ..scene.silent(server) }, 30);
    let olds = olds.lock().unwrap();
    assert_eq!(olds.iter().filter(|old| **old).count(), report.requests as usize / 3);
}

#[test]
fn another_certificate_is_seen_by_the_first_handshake_that_gets_it() {
    let scene = Scene::new();
    let swapped = Arc::new(AtomicBool::new(false));
    let (before, after) = (scene.server(), scene.server());
    let other = swapped.clone();
    let server = misbehaving(move |stream, _| {
        let config = if other.load(Ordering::Relaxed) { &after } else { &before };
        let mut stream =
            StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.try_clone().unwrap());
        let Some(asked) = head(&mut stream) else { return };
        answer(&mut stream, "200 OK", "Connection: close\r\n", &sound(&asked));
        goodbye(&mut stream);
    });
    let tls = Some(Tls { resume: false, ..scene.tls() });
    let load =
        Load::start(Options { tls, fresh_per_second: 200, ..scene.silent(server) }, || Ok(())).unwrap();
    eventually(|| load.so_far().handshakes >= 10);
    let first = load.so_far().certificate;
    swapped.store(true, Ordering::Relaxed);
    let moment = load.elapsed();
    eventually(|| load.so_far().certificate != first);
    let report = load.finish().unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
    let certificate = |late: bool| {
        let mut some = report
            .details
            .handshakes
            .iter()
            .filter(|one| if late { one.began >= moment } else { one.ended < moment });
        let one = some.next().unwrap();
        assert!(some.all(|other| other.certificate == one.certificate));
        one.certificate.clone()
    };
    assert_ne!(certificate(false), certificate(true));
}

// ---- The language of these tests ----

/// An authority, with its file.
pub struct Scene {
    authority: Authority,
    folder: TempDir,
}

impl Scene {
    pub fn new() -> Scene {
        let scene = Scene { authority: Authority::new("load"), folder: tempfile::tempdir().unwrap() };
        scene.authority.write(scene.folder.path(), "ca");
        scene
    }

    pub fn tls(&self) -> Tls {
        Tls { trust: Trust::File(self.folder.path().join("ca.pem")), ..Tls::default() }
    }

    /// Each with a certificate of its own.
    pub fn server(&self) -> Arc<ServerConfig> {
        let pair = self.authority.leaf(&["sample.example"]).pair();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        Arc::new(config.with_single_cert(pair.certificates(), pair.private_key()).unwrap())
    }

    /// As in plaintext, but what is said goes through rustls. Nothing says goodbye for a deed.
    fn misbehaving(&self, deed: impl Fn(&mut Secure, usize) + Send + Sync + 'static) -> SocketAddr {
        let config = self.server();
        misbehaving(move |stream, place| {
            let session = ServerConnection::new(config.clone()).unwrap();
            deed(&mut StreamOwned::new(session, stream.try_clone().unwrap()), place);
        })
    }

    /// A front door that ends TLS and passes everything on.
    fn front(&self, config: Arc<ServerConfig>, behind: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let acceptor = TlsAcceptor::from(config);
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    client.set_nodelay(true).unwrap();
                    let acceptor = acceptor.clone();
                    tokio::task::spawn_local(async move {
                        let mut client = acceptor.accept(client).await.unwrap();
                        let mut endpoint = tokio::net::TcpStream::connect(behind).await.unwrap();
                        endpoint.set_nodelay(true).unwrap();
                        // Either may be gone by then.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
                    });
                }
            });
        });
        address
    }

    fn silent(&self, server: SocketAddr) -> Options {
        Options { tls: Some(self.tls()), ..silent(&Address::Tcp(server)) }
    }

    fn asking(&self, server: SocketAddr) -> Report {
        let options =
            Options { kept_alive: 2, think: millis(2), fresh_per_second: 50, ..self.silent(server) };
        let load = Load::start(options, || Ok(())).unwrap();
        eventually(|| load.so_far().failed > 5);
        load.finish().unwrap()
    }

    /// Fresh connections to a sound server, one after the other.
    fn fresh(&self, config: Arc<ServerConfig>, tls: Tls) -> Report {
        let server = misbehaving(move |stream, _| {
            let session = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(session, stream.try_clone().unwrap());
            let Some(asked) = head(&mut stream) else { return };
            answer(&mut stream, "200 OK", "Connection: close\r\n", &sound(&asked));
            goodbye(&mut stream);
        });
        let tls = Some(tls);
        offered(Options { tls, fresh_per_second: 100, ..silent(&Address::Tcp(server)) }, 30)
    }
}

/// RFC 8446, section 6.1.
fn goodbye(stream: &mut Secure) {
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn until_read_then_reset(stream: &TcpStream) {
    until_read(stream);
    reset(stream);
}
