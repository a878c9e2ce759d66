//! The measuring instrument is itself measured: the load client sees every kind of loss, and no other.
//!
//! On the other side stand the sample application, which loses nothing, and servers that each misbehave in one
//! way. Must not know: hitless; a gateway in between has its own tests.

#[path = "load/http2.rs"]
mod http2;
#[allow(dead_code, reason = "the sample's program uses more of it")]
#[path = "../examples/sample/service/mod.rs"]
mod service;
#[path = "load/tls.rs"]
mod tls;
#[path = "../examples/wire/mod.rs"]
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hitless::prove::{Address, Ended, Kind, Load, Options, Report, Subject, What, try_out};
use tokio::sync::oneshot;
use wire::numbered::{self, Order};
use wire::pattern;
use wire::websocket::{Frame, Opcode, accept};

// ---- The sound application ----

#[test]
fn a_sound_application_loses_nothing_of_any_kind() {
    let sample = Sample::start();
    let report = offered(Options { idle: 5, tunnels: 3, ..Options::new(sample.address(), hosts()) }, 600);
    assert_eq!(lost(&report), (0, 0, 0, 0, Some(0)), "{report:?}");
    assert!(report.details.shares.len() == 11, "every kind of client took part: {:?}", report.details.shares);
    assert_eq!(report.tunnels, 3);
}

#[test]
fn an_application_that_is_gone_for_a_moment_is_an_outage_with_its_failures() {
    let mut sample = Sample::start();
    let options =
        Options { kept_alive: 4, think: millis(2), fresh_per_second: 100, ..silent(&sample.address()) };
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().answered > 50);
    sample.crash();
    let failed = load.so_far().failed;
    eventually(|| load.so_far().failed > failed + 150);
    sample.again();
    let answered = load.so_far().answered;
    eventually(|| load.so_far().answered > answered + 50);
    let report = load.finish().unwrap();
    assert!(report.failed_kinds[&Kind::Refused] >= 100, "{report:?}");
    let others = report.failed_kinds.keys().filter(|kind| **kind != Kind::Refused);
    assert!(others.clone().all(|kind| matches!(kind, Kind::Reset | Kind::Eof)), "{report:?}");
    assert!(report.outage_ms > 10, "{report:?}");
}

#[test]
fn an_application_that_leaves_properly_drops_its_tunnels_with_1001() {
    let mut sample = Sample::start();
    let load = Load::start(Options { tunnels: 2, ..silent(&sample.address()) }, || Ok(())).unwrap();
    eventually(|| load.so_far().answered == 2);
    sample.leave();
    eventually(|| load.so_far().failed > 0);
    let report = load.finish().unwrap();
    assert_eq!(report.tunnels_dropped, 2);
    assert_eq!(report.details.tunnel_kinds["closed 1001"], 2);
    assert_eq!(report.tunnels_gap, 0);
}

// ---- Requests lost, each in its way ----

#[test]
fn nobody_listening_is_refused() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(only_kind(asking(gone)), Kind::Refused);
}

#[test]
fn a_connection_reset_before_the_answer_is_a_reset() {
    let server = misbehaving(|stream, _| {
        head(stream);
        reset(stream);
    });
    assert_eq!(only_kind(asking(server)), Kind::Reset);
}

#[test]
fn a_connection_closed_before_the_answer_is_an_eof() {
    let server = misbehaving(|stream, _| {
        head(stream);
    });
    assert_eq!(only_kind(asking(server)), Kind::Eof);
}

#[test]
fn an_answer_that_breaks_off_is_truncated_wherever_it_does() {
    for begun in [
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly ",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n",
    ] {
        let server = misbehaving(move |stream, _| {
            head(stream);
            stream.write_all(begun.as_bytes()).unwrap();
        });
        assert_eq!(only_kind(asking(server)), Kind::Truncated, "{begun}");
    }
}

/// An upload that looked at its connection before it sent more took the reset for an end: "closed
/// before the answer".
#[test]
fn a_reset_while_content_is_sent_is_a_reset() {
    let server = misbehaving(|stream, _| {
        head(stream);
        reset(stream);
    });
    let uploads =
        Options { uploads_per_second: 50, upload_pause: millis(5), ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(uploads)), Kind::Reset);
}

#[test]
fn a_reset_within_the_answer_is_truncated_too() {
    let server = misbehaving(|stream, _| {
        head(stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly").unwrap();
        until_read(stream);
        reset(stream);
    });
    // One client: to look whether it has read takes longer than to read.
    let options = Options { kept_alive: 1, think: millis(1), ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::Truncated);
}

#[test]
fn another_status_is_a_failure_and_its_connection_is_still_good() {
    let server = misbehaving(|stream, _| {
        while head(stream).is_some() {
            answer(stream, "503 Service Unavailable", "", "come back later");
        }
    });
    let report = asking(server);
    assert!(report.details.failures[0].detail.contains("503 come back later"), "{report:?}");
    assert_eq!(report.idle_closed, 0);
    assert_eq!(only_kind(report), Kind::BadStatus);
}

#[test]
fn an_answer_that_belongs_to_another_request_is_a_mismatch() {
    let server = misbehaving(|stream, _| {
        while head(stream).is_some() {
            answer(stream, "200 OK", "", "turn=999999999x");
        }
    });
    assert_eq!(only_kind(asking(server)), Kind::DigestMismatch);
}

#[test]
fn a_download_with_two_pieces_swapped_is_a_mismatch() {
    let server = misbehaving(|stream, _| {
        head(stream);
        let mut bytes = Vec::new();
        for offset in [4_096, 0] {
            bytes.extend_from_slice(&pattern::from(offset, 4_096)[..4_096]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n").unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let options =
        Options { downloads_per_second: 100, download_bytes: 8_192, ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::DigestMismatch);
}

#[test]
fn an_upload_that_did_not_arrive_whole_is_a_mismatch() {
    let server = misbehaving(|stream, _| {
        head(stream);
        let mut line = Vec::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while reader.read_until(b'\n', &mut line).unwrap() > 0 && !line.ends_with(b"\r\n0\r\n") {}
        answer(stream, "200 OK", "", r#"{"sha256":"0123","bytes":1}"#);
    });
    let options =
        Options { uploads_per_second: 100, upload_pause: millis(1), ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::DigestMismatch);
}

#[test]
fn an_upload_refused_early_counts_for_what_the_refusal_says() {
    let server = misbehaving(|stream, _| {
        head(stream);
        answer(stream, "413 Content Too Large", "Connection: close\r\n", "too much");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let options =
        Options { uploads_per_second: 100, upload_pause: millis(5), ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::BadStatus);
}

#[test]
fn a_missing_event_of_a_stream_is_a_mismatch() {
    let server = misbehaving(|stream, _| {
        head(stream);
        answer(stream, "200 OK", "", "id: 0\ndata: a\n\nid: 2\ndata: c\n\n");
    });
    let options = Options { streams_per_second: 100, stream_events: 3, ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::DigestMismatch);
}

#[test]
fn no_answer_at_all_is_a_timeout_after_the_clients_patience() {
    let server = misbehaving(|stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let options =
        Options { kept_alive: 1, think: millis(1), patience: millis(50), ..silent(&Address::Tcp(server)) };
    assert_eq!(only_kind(until_failed(options)), Kind::Timeout);
}

#[test]
fn a_late_answer_is_a_stall_and_no_failure() {
    let server = misbehaving(|stream, _| {
        let Some(asked) = head(stream) else { return };
        // The application under test is slow by nature.
        std::thread::park_timeout(millis(120));
        answer(stream, "200 OK", "Connection: close\r\n", &sound(&asked));
    });
    let options = Options { fresh_per_second: 100, ..silent(&Address::Tcp(server)) };
    let report = offered(options, 1);
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.worst_stall_ms >= 120, "{report:?}");
}

// ---- Connections that end between requests ----

#[test]
fn a_connection_that_ends_after_connection_close_is_opened_anew_in_silence() {
    let server = misbehaving(|stream, _| {
        let Some(asked) = head(stream) else { return };
        answer(stream, "200 OK", "Connection: close\r\n", &sound(&asked));
    });
    let options = Options { kept_alive: 2, think: millis(2), ..silent(&Address::Tcp(server)) };
    let report = offered(options, 40);
    assert_eq!(lost(&report), (0, 0, 0, 0, Some(0)), "{report:?}");
}

#[test]
fn a_kept_alive_connection_that_ends_unannounced_is_counted_but_loses_no_request() {
    let server = misbehaving(|stream, _| {
        let Some(asked) = head(stream) else { return };
        // The end comes in one segment with the answer, so that the next request never meets it.
        socket2::SockRef::from(&*stream).set_tcp_cork(true).unwrap();
        answer(stream, "200 OK", "", &sound(&asked));
        let _ = stream.shutdown(std::net::Shutdown::Write);
    });
    let options = Options { kept_alive: 1, think: millis(20), ..silent(&Address::Tcp(server)) };
    let report = offered(options, 5);
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.idle_closed >= 3, "{report:?}");
}

#[test]
fn a_silent_connection_that_is_closed_is_counted_once() {
    let close = Arc::new(AtomicBool::new(false));
    let closing = close.clone();
    let server = misbehaving(move |stream, _| {
        let Some(asked) = head(stream) else { return };
        answer(stream, "200 OK", "", &sound(&asked));
        eventually(|| closing.load(Ordering::Relaxed));
    });
    let load = Load::start(Options { idle: 3, ..silent(&Address::Tcp(server)) }, || Ok(())).unwrap();
    eventually(|| load.so_far().answered == 3);
    close.store(true, Ordering::Relaxed);
    eventually(|| load.so_far().idle_closed == 3);
    let report = load.finish().unwrap();
    assert_eq!((report.idle_closed, report.failed, report.requests), (3, 0, 3), "{report:?}");
    assert_eq!(report.details.idle_kinds[&Kind::Eof], 3);
}

#[test]
fn a_silent_connection_is_asked_at_the_end_whether_it_works() {
    let server = misbehaving(|stream, _| {
        let Some(asked) = head(stream) else { return };
        answer(stream, "200 OK", "", &sound(&asked));
        head(stream);
        reset(stream);
    });
    let report = offered(Options { idle: 2, ..silent(&Address::Tcp(server)) }, 2);
    assert_eq!((report.failed, report.requests), (2, 4), "{report:?}");
}

// ---- POSTs and tunnels ----

#[test]
fn a_post_that_reached_two_endpoints_came_twice() {
    let (one, other) = (Sample::start(), Sample::start());
    let endpoints = [one.port, other.port];
    let relay = misbehaving(move |stream, _| {
        while let Some(head) = head(stream) {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let id = path.split('=').nth(1).unwrap();
            for endpoint in endpoints {
                let mut connection = TcpStream::connect(endpoint).unwrap();
                write!(connection, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                connection.read_to_end(&mut Vec::new()).unwrap();
            }
            answer(stream, "200 OK", "", id);
        }
    });
    let options = Options {
        posting: 1,
        posts_per_second: 100,
        posts_from: endpoints.map(Address::Tcp).to_vec(),
        ..silent(&Address::Tcp(relay))
    };
    let report = offered(options, 5);
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.duplicate_posts, Some(report.requests), "{report:?}");
}

#[test]
fn duplicates_that_cannot_be_counted_are_unknown_and_not_zero() {
    let server = misbehaving(|stream, _| {
        while let Some(head) = head(stream) {
            let id = head.split([' ', '=']).nth(2).unwrap().to_owned();
            answer(stream, "200 OK", "", &id);
        }
    });
    let options = Options { posting: 1, posts_per_second: 100, ..silent(&Address::Tcp(server)) };
    let report = offered(options, 1);
    assert_eq!(report.duplicate_posts, None);
    assert!(report.details.posts_unknown.is_some());
}

/// What the load client says of tunnels whose messages suffer from one fault each: missing, doubled, reordered, changed.
fn faults(fault: impl Fn(&mut Numbered, Frame) -> Vec<Frame> + Clone + Send + Sync + 'static) -> [u64; 4] {
    let server = misbehaving(move |stream, _| {
        let mut numbered = Numbered::default();
        let fault = fault.clone();
        converse(stream, |frame| Some(fault(&mut numbered, frame)));
    });
    let options = Options { tunnels: 1, tunnel_pause: millis(2), ..silent(&Address::Tcp(server)) };
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().messages >= 8);
    let report = load.finish().unwrap();
    assert_eq!((report.failed, report.tunnels_dropped), (0, 0), "{report:?}");
    [report.tunnels_gap, report.tunnels_doubled, report.tunnels_reordered, report.tunnels_changed]
}

#[test]
fn a_sound_tunnel_has_no_fault() {
    assert_eq!(faults(|numbered, frame| vec![numbered.answer(&frame)]), [0; 4]);
}

#[test]
fn a_message_that_never_comes_is_a_gap_whichever_way_it_went() {
    let on_the_way_there = |numbered: &mut Numbered, frame| {
        if numbered.is_third() { vec![] } else { vec![numbered.answer(&frame)] }
    };
    assert_eq!(faults(on_the_way_there), [1, 0, 0, 0]);
    let on_the_way_back = |numbered: &mut Numbered, frame| {
        let (third, answer) = (numbered.is_third(), numbered.answer(&frame));
        if third { vec![] } else { vec![answer] }
    };
    assert_eq!(faults(on_the_way_back), [1, 0, 0, 0]);
}

#[test]
fn a_message_that_comes_twice_is_doubled_whichever_way_it_went() {
    let on_the_way_there = |numbered: &mut Numbered, frame| {
        let third = numbered.is_third();
        let answer = numbered.answer(&frame);
        if third { vec![answer, numbered.answer(&frame)] } else { vec![answer] }
    };
    assert_eq!(faults(on_the_way_there), [0, 1, 0, 0]);
    let on_the_way_back = |numbered: &mut Numbered, frame| {
        let (third, answer) = (numbered.is_third(), numbered.answer(&frame));
        if third { vec![answer.clone(), answer] } else { vec![answer] }
    };
    assert_eq!(faults(on_the_way_back), [0, 1, 0, 0]);
}

#[test]
fn messages_that_change_places_are_reordered_whichever_way_they_went() {
    let on_the_way_there = |numbered: &mut Numbered, frame: Frame| {
        if numbered.is_third() {
            numbered.held = Some(frame);
            return vec![];
        }
        let answer = numbered.answer(&frame);
        let held = numbered.held.take();
        [Some(answer), held.map(|frame| numbered.answer(&frame))].into_iter().flatten().collect()
    };
    assert_eq!(faults(on_the_way_there), [0, 0, 1, 0]);
    let on_the_way_back = |numbered: &mut Numbered, frame: Frame| {
        let (third, answer) = (numbered.is_third(), numbered.answer(&frame));
        if third {
            numbered.held = Some(answer);
            return vec![];
        }
        [Some(answer), numbered.held.take()].into_iter().flatten().collect()
    };
    assert_eq!(faults(on_the_way_back), [0, 0, 1, 0]);
}

#[test]
fn a_message_with_other_content_is_changed() {
    let changed = |numbered: &mut Numbered, frame: Frame| {
        let third = numbered.is_third();
        let answer = numbered.answer(&frame);
        vec![if third { Frame::text([&answer.payload[..], b"!"].concat()) } else { answer }]
    };
    assert_eq!(faults(changed), [0, 0, 0, 1]);
}

/// What the client says is always answered in time, but the application speaks of its own accord too.
#[test]
fn a_word_of_the_application_that_is_lost_is_a_gap() {
    let own_accord = |numbered: &mut Numbered, frame: Frame| {
        let third = numbered.is_third();
        let word = numbered.say("");
        let answer = numbered.answer(&frame);
        if third { vec![answer] } else { vec![word, answer] }
    };
    assert_eq!(faults(own_accord), [1, 0, 0, 0]);
}

#[test]
fn an_answer_on_a_tunnel_that_is_late_is_a_stall_and_no_fault() {
    let server = misbehaving(|stream, _| {
        let mut numbered = Numbered::default();
        converse(stream, |frame| {
            if numbered.is_third() {
                // The application under test is slow by nature.
                std::thread::park_timeout(millis(120));
            }
            Some(vec![numbered.answer(&frame)])
        });
    });
    let options = Options { tunnels: 1, tunnel_pause: millis(2), ..silent(&Address::Tcp(server)) };
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().messages >= 8);
    let report = load.finish().unwrap();
    assert_eq!(report.lost(), 0, "{report:?}");
    assert!(report.worst_stall_ms >= 115, "{report:?}");
}

#[test]
fn a_tunnel_that_breaks_is_dropped_and_opened_anew() {
    let server = misbehaving(|stream, place| {
        let mut numbered = Numbered::default();
        converse(stream, |frame| {
            let breaks = place == 0 && numbered.is_third();
            if breaks { None } else { Some(vec![numbered.answer(&frame)]) }
        });
    });
    let options = Options { tunnels: 1, tunnel_pause: millis(2), ..silent(&Address::Tcp(server)) };
    let report = offered(options, 2);
    assert_eq!((report.requests, report.failed, report.tunnels_dropped), (2, 0, 1), "{report:?}");
    assert!(report.details.tunnel_kinds.contains_key("eof"), "{report:?}");
    assert_eq!(report.tunnels_gap, 0, "what was on its way is part of the drop: {report:?}");
    assert_eq!(report.details.endings[0].what, Ended::Tunnel);
}

// ---- Connections that must last ----

#[test]
fn a_connection_that_lasts_keeps_its_port_and_works_to_the_end() {
    let sample = Sample::start();
    let report = offered(Options { lasting: 2, think: millis(2), ..silent(&sample.address()) }, 50);
    assert_eq!((report.lost(), report.lasting.len()), (0, 2), "{report:?}");
    for lasting in &report.lasting {
        assert!(lasting.answered > 5 && lasting.opened_at.is_some(), "{report:?}");
        assert_eq!(lasting.opened_at, lasting.ended_at);
    }
}

#[test]
fn a_connection_that_was_to_last_is_lost_whether_its_end_is_announced_or_not() {
    for (fields, how) in [("Connection: close\r\n", "its end was announced"), ("", "eof")] {
        let server = misbehaving(move |stream, _| {
            let Some(asked) = head(stream) else { return };
            answer(stream, "200 OK", fields, &sound(&asked));
        });
        let options = Options { lasting: 1, think: millis(20), ..silent(&Address::Tcp(server)) };
        let load = Load::start(options, || Ok(())).unwrap();
        eventually(|| load.so_far().lost > 0);
        let report = load.finish().unwrap();
        assert_eq!((report.lasting_lost, report.lasting[0].lost.as_deref()), (1, Some(how)), "{report:?}");
        assert_eq!((report.failed, report.requests), (0, 1), "it is not opened anew: {report:?}");
    }
}

// ---- Any application ----

#[test]
fn one_page_of_any_application_is_asked_for_with_its_status() {
    let server = misbehaving(|stream, _| {
        while let Some(asked) = head(stream) {
            assert!(asked.starts_with("GET /page?x=1 HTTP/1.1\r\n"), "{asked}");
            answer(stream, "302 Found", "Location: /\r\n", "there");
        }
    });
    let address = Address::Tcp(server);
    let trial = try_out(&address, None, "x.example", "/page?x=1", Duration::from_secs(20)).unwrap();
    assert_eq!((trial.status, trial.bytes), (302, 5));
    let page = |status| Subject::Page { path: "/page?x=1".to_owned(), status };
    let sound = Options { subject: page(302), kept_alive: 1, think: millis(1), idle: 1, ..silent(&address) };
    assert_eq!(offered(sound.clone(), 5).lost(), 0);
    assert_eq!(only_kind(until_failed(Options { subject: page(200), ..sound })), Kind::BadStatus);
}

#[test]
fn an_application_that_is_not_there_is_told_before_any_load() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(try_out(&Address::Tcp(gone), None, "x", "/", Duration::from_secs(20)).is_err());
}

// ---- Thousands ----

#[test]
fn thousands_of_tunnels_and_silent_connections_fit_into_one_client() {
    let sample = Sample::start();
    let options = Options {
        tunnels: 500,
        tunnel_pause: Duration::from_secs(1),
        idle: 1_000,
        ..silent(&sample.address())
    };
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().tunnels == 500 && load.so_far().resting == 1_000);
    let messages = load.so_far().messages;
    eventually(|| load.so_far().messages >= messages + 500);
    let report = load.finish().unwrap();
    assert_eq!((report.lost(), report.requests), (0, 2_500), "{report:?}");
}

// ---- The language of these tests ----

/// The sample application on a thread of its own.
struct Sample {
    port: SocketAddr,
    leave: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Sample {
    fn start() -> Sample {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut sample = Sample { port, leave: None, stop: None };
        sample.again();
        sample
    }

    fn again(&mut self) {
        let (leave, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, serving) = std::sync::mpsc::channel();
        let address = service::sockets::Address::Tcp(self.port);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = service::sockets::bind(&address).unwrap();
                let identity = service::Identity { name: "test".to_owned(), version: "1".to_owned() };
                let serving =
                    service::serve(vec![socket], service::App::new(identity), async { drop(told.await) });
                ready.send(()).unwrap();
                tokio::select! {
                    _ = serving.within(Duration::from_secs(5)) => {}
                    _ = stopped => {}
                }
            });
        });
        serving.recv().unwrap();
        (self.leave, self.stop) = (Some(leave), Some(stop));
    }

    /// All its connections and its socket are closed in whatever state they are.
    fn crash(&mut self) {
        self.stop = None;
    }

    fn leave(&mut self) {
        self.leave = None;
    }

    fn address(&self) -> Address {
        Address::Tcp(self.port)
    }
}

/// A server that does to each connection what `deed` does, told which one it is; then closes it.
fn misbehaving(deed: impl Fn(&mut TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let deed = Arc::new(deed);
    std::thread::spawn(move || {
        for (place, stream) in listener.incoming().enumerate() {
            let (deed, mut stream) = (deed.clone(), stream.unwrap());
            std::thread::spawn(move || deed(&mut stream, place));
        }
    });
    address
}

/// The next request's head, and its content when it says its length; `None` at the end.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    stream.read_exact(&mut vec![0; length.map_or(0, |length| length.parse().unwrap())]).ok()?;
    Some(head)
}

fn answer(stream: &mut impl Write, status: &str, fields: &str, content: &str) {
    let length = content.len();
    // The client may be gone, as it is when the load ends.
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{content}");
}

/// Waits until the client has read all that was said: a reset throws away what has not been read.
/// proc_pid_net(5), "/proc/net/tcp": what the client's own socket still holds.
fn until_read(stream: &TcpStream) {
    let here = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let (client, server) = (here(stream.peer_addr().unwrap()), here(stream.local_addr().unwrap()));
    let queues = |local: &str, remote: &str| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let mut rows = rows.filter(|row| row[1] == local && row[2] == remote);
        rows.next().map(|row| row[4].to_owned())
    };
    // What is not acknowledged is on the way; what is acknowledged is at the client, until it is read.
    eventually(|| {
        queues(&server, &client).is_none_or(|queues| queues.starts_with("00000000:"))
            && queues(&client, &server).is_none_or(|queues| queues.ends_with(":00000000"))
    });
}

/// What a sound application would have answered, near enough.
fn sound(head: &str) -> String {
    format!("sample application, asked: {head}")
}

/// A close that is a reset: nothing lingers (socket(7)).
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An application's side of a numbered tunnel.
#[derive(Default)]
struct Numbered {
    order: Order,
    messages: u64,
    next: u64,
    held: Option<Frame>,
}

impl Numbered {
    /// Whether this is the third message that came.
    fn is_third(&mut self) -> bool {
        self.messages += 1;
        self.messages == 3
    }

    fn answer(&mut self, frame: &Frame) -> Frame {
        self.order.came(numbered::number(&frame.payload).unwrap());
        self.say(std::str::from_utf8(&frame.payload).unwrap())
    }

    fn say(&mut self, answered: &str) -> Frame {
        let answer = numbered::Answer { number: self.next, noticed: self.order.faults, answered };
        self.next += 1;
        Frame::text(answer.text())
    }
}

/// A WebSocket that says what `voice` makes of each message, and breaks off when that is `None`.
fn converse(stream: &mut (impl Read + Write), mut voice: impl FnMut(Frame) -> Option<Vec<Frame>>) {
    let Some(asked) = head(stream) else { return };
    let key = asked.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let agreed = accept(key);
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {agreed}\r\n\r\n"
    )
    .unwrap();
    let mut buffer = BytesMut::new();
    let mut some = [0; 4_096];
    loop {
        while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
            let closing = frame.opcode == Opcode::Close;
            let Some(frames) = (if closing { Some(vec![frame]) } else { voice(frame) }) else { return };
            for frame in frames {
                stream.write_all(&frame.encode(None)).unwrap();
            }
            if closing {
                return;
            }
        }
        match stream.read(&mut some) {
            Ok(count) if count > 0 => buffer.extend_from_slice(&some[..count]),
            _ => return,
        }
    }
}

fn silent(address: &Address) -> Options {
    Options::silent(address.clone())
}

fn hosts() -> Vec<String> {
    vec!["sample.example".to_owned()]
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The report of a load that was offered until so many requests were answered.
fn offered(options: Options, answered: u64) -> Report {
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().answered >= answered);
    load.finish().unwrap()
}

fn until_failed(options: Options) -> Report {
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().failed > 0);
    load.finish().unwrap()
}

/// Plain requests on kept-alive and fresh connections, until some failed.
fn asking(server: SocketAddr) -> Report {
    let options =
        Options { kept_alive: 2, think: millis(2), fresh_per_second: 50, ..silent(&Address::Tcp(server)) };
    let load = Load::start(options, || Ok(())).unwrap();
    eventually(|| load.so_far().failed > 5);
    load.finish().unwrap()
}

/// The one kind of failure; that everything failed with.
fn only_kind(report: Report) -> Kind {
    let kinds: Vec<_> = report.failed_kinds.keys().copied().collect();
    assert_eq!((kinds.len(), report.failed), (1, report.requests), "{report:?}");
    kinds[0]
}

fn lost(report: &Report) -> (u64, u64, u64, u64, Option<u64>) {
    let tunnels = (report.tunnels_dropped, report.tunnels_gap);
    let others = report.lost() - report.failed - report.idle_closed - tunnels.0 - tunnels.1;
    assert_eq!(others, 0, "{report:?}");
    (report.failed, report.idle_closed, tunnels.0, tunnels.1, report.duplicate_posts)
}

fn eventually(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "still not so after 120 s");
        std::thread::park_timeout(millis(2));
    }
}
