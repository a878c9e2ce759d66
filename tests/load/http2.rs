//! The load client over HTTP/2, in front of servers that each misbehave in one way, and of one that does not.
//!
//! Must not know: hitless.

use std::collections::BTreeSet;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::tls::Scene;
use super::*;

/// Answers one request, told which one of its server it is.
type Deed = fn(Request<h2::RecvStream>, SendResponse<Bytes>, usize);

// ---- What a good client does ----

#[test]
fn a_sound_application_loses_nothing_over_http2() {
    for secure in [false, true] {
        let scene = Scene::new();
        let options = served(&scene, secure, |request, response, _| soundly(&request, response), |_, _| {});
        let report = offered(Options { http2_connections: 2, http2_streams: 4, ..options }, 100);
        assert_eq!((report.lost(), report.duplicate_posts), (0, Some(0)), "{report:?}");
        assert_eq!(report.details.shares[&What::Http2].requests, report.requests);
    }
}

#[test]
fn goaway_is_honoured_and_loses_nothing() {
    for secure in [false, true] {
        let scene = Scene::new();
        let options = served(
            &scene,
            secure,
            |request, response, _| soundly(&request, response),
            |connection, of_connection| {
                if of_connection == 10 {
                    connection.graceful_shutdown();
                }
            },
        );
        let report = offered(Options { http2_connections: 2, http2_streams: 4, ..options }, 200);
        assert_eq!(report.lost(), 0, "{report:?}");
    }
}

#[test]
fn a_request_that_was_refused_is_asked_again() {
    let scene = Scene::new();
    let deed: Deed = |request, mut response, place| match place % 3 {
        0 => response.send_reset(Reason::REFUSED_STREAM),
        _ => soundly(&request, response),
    };
    let options = served(&scene, false, deed, |_, _| {});
    assert_eq!(offered(Options { http2_connections: 1, http2_streams: 4, ..options }, 100).lost(), 0);
}

/// RFC 9113, section 6.8, to the byte: of three streams the first one is finished, the others are asked again.
#[test]
fn streams_up_to_the_last_one_finish_and_later_ones_go_to_a_new_connection() {
    let finished = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = finished.clone();
    let server = misbehaving(move |stream, place| {
        let mut waiting = BTreeSet::new();
        greet(stream);
        while let Some(id) = next_request(stream) {
            waiting.insert(id);
            if place > 0 {
                answer_stream(stream, id);
            } else if waiting.len() == 3 {
                let first = *waiting.first().unwrap();
                let _ = stream.write_all(&frame(7, 0, 0, &[&first.to_be_bytes()[..], &[0; 4]].concat()));
                answer_stream(stream, first);
                seen.lock().unwrap().push(first);
                return goodbye(stream);
            }
        }
    });
    let report = offered(page(Address::Tcp(server)), 30);
    assert_eq!((report.lost(), finished.lock().unwrap().len()), (0, 1), "{report:?}");
}

#[test]
fn a_stream_up_to_the_last_one_that_does_not_finish_is_lost() {
    let server = misbehaving(|stream, place| {
        let mut ids = Vec::new();
        greet(stream);
        while let Some(id) = next_request(stream) {
            ids.push(id);
            if place > 0 {
                answer_stream(stream, id);
            } else if ids.len() == 3 {
                let _ = stream.write_all(&frame(7, 0, 0, &[&ids[0].to_be_bytes()[..], &[0; 4]].concat()));
                return goodbye(stream);
            }
        }
    });
    let report = offered(page(Address::Tcp(server)), 30);
    assert_eq!((report.failed, report.failed_kinds[&Kind::Eof], report.idle_closed), (1, 1, 0), "{report:?}");
}

// ---- Requests lost, each in its way ----

#[test]
fn a_connection_that_ends_without_goaway_is_counted_with_its_streams() {
    let server = misbehaving(|stream, place| {
        greet(stream);
        let mut count = 0;
        while let Some(id) = next_request(stream) {
            count += 1;
            if place > 0 {
                answer_stream(stream, id);
            } else if count == 3 {
                return goodbye(stream);
            }
        }
    });
    let report = offered(page(Address::Tcp(server)), 30);
    assert_eq!((report.failed, report.failed_kinds[&Kind::Eof], report.idle_closed), (3, 3, 1), "{report:?}");
}

#[test]
fn an_answer_that_is_reset_within_its_content_is_truncated() {
    let server = misbehaving(|stream, _| {
        greet(stream);
        while let Some(id) = next_request(stream) {
            let begun = [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"only this")].concat();
            let _ = stream.write_all(&begun);
            until_read(stream);
            let _ = stream.write_all(&frame(3, 0, id, &2_u32.to_be_bytes()));
        }
    });
    let options = Options { http2_streams: 1, ..page(Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::Truncated);
}

#[test]
fn each_other_loss_of_a_stream_has_its_kind() {
    let deeds: [(Deed, Kind); 4] = [
        (|_, mut response, _| response.send_reset(Reason::INTERNAL_ERROR), Kind::Reset),
        (|_, response, _| respond(response, 503, "come back later"), Kind::BadStatus),
        (|_, response, _| respond(response, 200, "turn=999999999x"), Kind::DigestMismatch),
        (|_, mut response, _| response.send_reset(Reason::REFUSED_STREAM), Kind::Reset),
    ];
    let scene = Scene::new();
    for (deed, kind) in deeds {
        let options = served(&scene, true, deed, |_, _| {});
        let report = until_failed(Options { http2_connections: 1, http2_streams: 2, ..options });
        // Slow requests have no content to prove them.
        assert_eq!(report.failed_kinds.keys().collect::<Vec<_>>(), [&kind], "{report:?}");
    }
}

#[test]
fn nobody_listening_is_refused_over_http2_too() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(only_kind(until_failed(page(Address::Tcp(gone)))), Kind::Refused);
}

// ---- The language of these tests ----

/// What is asked of a server of the h2 crate that does `deed` to each request, and `then` after each, told how many
/// that connection has had.
fn served(
    scene: &Scene,
    secure: bool,
    deed: Deed,
    then: fn(&mut Connection<Box<dyn Wire>, Bytes>, usize),
) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut config = rustls::ServerConfig::clone(&scene.server());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = secure.then(|| TlsAcceptor::from(Arc::new(config)));
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let count = std::rc::Rc::new(std::cell::Cell::new(0));
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, count) = (acceptor.clone(), count.clone());
                tokio::task::spawn_local(async move {
                    let wire: Box<dyn Wire> = match acceptor {
                        Some(acceptor) => Box::new(acceptor.accept(socket).await.unwrap()),
                        None => Box::new(socket),
                    };
                    let mut connection = Builder::new().handshake::<_, Bytes>(wire).await.unwrap();
                    let mut of_connection = 0;
                    while let Some(Ok((request, response))) = connection.accept().await {
                        deed(request, response, count.replace(count.get() + 1));
                        of_connection += 1;
                        then(&mut connection, of_connection);
                    }
                });
            }
        });
    });
    let tls = secure.then(|| scene.tls());
    // Without the sample application's slow and large answers.
    Options { tls, think: millis(2), slow: millis(1), download_bytes: 8, ..silent(&Address::Tcp(address)) }
}

trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

fn soundly(request: &Request<h2::RecvStream>, response: SendResponse<Bytes>) {
    match request.uri().path() {
        "/download" => respond(response, 200, pattern::from(0, 8)),
        _ => respond(response, 200, sound(&request.uri().to_string())),
    }
}

fn respond(mut response: SendResponse<Bytes>, status: u16, content: impl AsRef<[u8]>) {
    let head = Response::builder().status(status).body(()).unwrap();
    // The client may be gone, as it is when the load ends.
    if let Ok(mut stream) = response.send_response(head, false) {
        let _ = stream.send_data(Bytes::copy_from_slice(content.as_ref()), true);
    }
}

/// Three requests at any time on one connection, for a page whose content is not looked at.
fn page(address: Address) -> Options {
    let subject = Subject::Page { path: "/".to_owned(), status: 200 };
    Options { subject, http2_connections: 1, http2_streams: 3, think: millis(2), ..silent(&address) }
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

/// The client's preface is read, the server's own one sent.
fn greet(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
}

/// The stream of the next request; settings and pings are answered meanwhile. `None` at the end.
fn next_request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut content = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut content).ok()?;
        match (kind, flags & 1) {
            (1, _) => return Some(u32::from_be_bytes(id)),
            (4, 0) => stream.write_all(&frame(4, 1, 0, &[])).ok()?,
            (6, 0) => stream.write_all(&frame(6, 1, 0, &content)).ok()?,
            _ => {}
        }
    }
}

/// `:status 200` is one byte, RFC 7541, appendix A.
fn answer_stream(stream: &mut TcpStream, id: u32) {
    let answer = [frame(1, 4, id, &[0x88]), frame(0, 1, id, b"whole")].concat();
    let _ = stream.write_all(&answer);
}

/// Ends so that all that was said is read, and what still comes is no reason for a reset.
fn goodbye(stream: &mut TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}
