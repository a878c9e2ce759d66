//! Tunnels that go from one gateway to another, with everything that is on its way.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, SockRef, Socket, Type};

use super::world::*;
use crate::config::settings::{AccessLog, AccessSink, Address, LogLevel, Protocol, Settings};
use crate::connection::{Blueprint, websocket};
use crate::handover::record::{Parcel, Record, Tunnel};
use crate::telemetry::access;
use crate::telemetry::log::{self, Output};

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Only guards against waiting for ever.
const FOR_EVER: Duration = Duration::from_secs(120);

fn open(gateway: &Gateway, origin: &Origin) -> (Peer, Peer) {
    let mut client = gateway.ask(UPGRADE);
    let (mut endpoint, _) = origin.request();
    endpoint.send(SWITCHING);
    assert!(client.head().starts_with("http/1.1 101 "));
    (client, endpoint)
}

/// Everything that the gateway has, which then serves on without it.
fn depart(from: &Gateway) -> Vec<Parcel> {
    let mut departures = from.hand_over();
    from.until(|totals| totals.connections_open == 0);
    from.take_back();
    departures.rest()
}

fn record(parcel: &mut Parcel) -> &mut Tunnel {
    let Record::Tunnel(tunnel) = &mut parcel.record else { panic!("no tunnel") };
    tunnel
}

/// Moves everything, and says what it was.
fn move_over(from: &Gateway, to: &Gateway) -> Vec<Tunnel> {
    let moved = depart(from).into_iter().map(|mut parcel| {
        let tunnel = record(&mut parcel).clone();
        to.adopt(parcel);
        tunnel
    });
    moved.collect()
}

/// Moves the only tunnel.
fn move_one(from: &Gateway, to: &Gateway) -> Tunnel {
    let mut moved = move_over(from, to);
    assert_eq!(moved.len(), 1);
    moved.remove(0)
}

#[test]
fn a_tunnel_moves_to_and_fro_and_neither_side_notices() {
    let origin = Origin::start();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let (mut client, mut endpoint) = open(&one, &origin);
    for turn in 0..6 {
        let (from, to) = if turn % 2 == 0 { (&one, &other) } else { (&other, &one) };
        client.send(format!("ping {turn}"));
        endpoint.until(&format!("ping {turn}"));
        // What comes in between waits in the socket.
        let parcels = depart(from);
        endpoint.send(format!("pong {turn}"));
        client.send("and on");
        for parcel in parcels {
            to.adopt(parcel);
        }
        client.until(&format!("pong {turn}"));
        endpoint.until("and on");
    }
    client.end();
    assert_eq!(endpoint.ended(), End::Closed);
    drop(endpoint);
    assert_eq!(client.ended(), End::Closed);
    let (one, other) =
        (one.until(|totals| totals.tunnels_open == 0), other.until(|totals| totals.tunnels_open == 0));
    assert_eq!(
        (one.tunnels_opened, one.tunnels_adopted, one.tunnels_moved, one.tunnels_closed),
        (1, 3, 3, 1)
    );
    assert_eq!((other.tunnels_opened, other.tunnels_adopted, other.tunnels_moved), (0, 3, 3));
    assert_eq!((one.connections_moved, other.connections_adopted, one.connections_open), (3, 3, 0));
    assert_eq!((one.admitted, one.answered, other.admitted), (1, 1, 0));
    assert_eq!(one.bytes_received + other.bytes_received, 6 * 12);
    assert_eq!(one.bytes_sent + other.bytes_sent, 6 * 6);
}

#[test]
fn what_a_slow_reader_has_not_taken_moves_too_and_then_the_end() {
    let origin = Origin::start();
    for ends in [false, true] {
        let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
        let (mut client, mut endpoint) = open(&one, &origin);
        let down = endpoint.send_until_stuck();
        let up = client.send_until_stuck();
        if ends {
            endpoint.end();
            client.end();
        }
        let moved = move_one(&one, &other);
        assert!(!moved.down.pending.is_empty() && !moved.up.pending.is_empty());
        // Once more, with nothing taken meanwhile.
        let again = move_one(&other, &one);
        assert_eq!((again.down.pending, again.up.pending), (moved.down.pending, moved.up.pending));
        assert!(client.exactly(down).iter().chain(&endpoint.exactly(up)).all(|byte| *byte == b'x'));
        if ends {
            assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
        } else {
            client.send("on");
            endpoint.until("on");
        }
    }
}

#[test]
fn a_tunnel_of_which_one_side_has_ended_moves_with_the_other() {
    let origin = Origin::start();
    for client_ends in [true, false] {
        let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
        let (mut client, mut endpoint) = open(&one, &origin);
        let (ended, talking) = match client_ends {
            true => (&mut client, &mut endpoint),
            false => (&mut endpoint, &mut client),
        };
        ended.send("all");
        talking.until("all");
        ended.end();
        assert_eq!(talking.ended(), End::Closed);
        talking.send("still");
        ended.until("still");
        let moved = move_one(&one, &other);
        let (over, open) = if client_ends { (&moved.up, &moved.down) } else { (&moved.down, &moved.up) };
        assert!(over.ended && over.shut && !open.ended && !open.shut);
        talking.send("talking");
        ended.until("talking");
        move_one(&other, &one);
        talking.send("to the end");
        ended.until("to the end");
        talking.end();
        assert_eq!(ended.ended(), End::Closed);
        let totals = one.until(|totals| totals.tunnels_open == 0);
        assert_eq!((totals.tunnels_closed, totals.residue()), (1, 0));
    }
}

#[test]
fn bytes_that_came_with_the_heads_move_when_the_tunnel_begins_in_a_handover() {
    let origin = Origin::start();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let mut client = one.ask(&format!("{UPGRADE}early"));
    let (mut endpoint, _) = origin.request();
    let mut departures = one.hand_over();
    endpoint.send(format!("{SWITCHING}soon"));
    let mut parcel = departures.next().unwrap();
    let moved = record(&mut parcel);
    assert_eq!((&moved.client.unread[..], &moved.ahead[..]), (&b"early"[..], &b"soon"[..]));
    assert_eq!((moved.up.carried, moved.down.carried), (0, 0));
    other.adopt(parcel);
    assert!(client.head().starts_with("http/1.1 101 "));
    client.until("soon");
    endpoint.until("early");
}

/// Whoever is done with its content has let go of the connection.
#[test]
fn a_tunnel_that_began_with_content_moves() {
    let origin = Origin::start();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let head = UPGRADE.replace("GET", "POST").replace("Host", "Content-Length: 7\r\nHost");
    let mut client = one.ask(&format!("{head}contentand"));
    let (mut endpoint, _) = origin.request();
    endpoint.until("content");
    endpoint.send(SWITCHING);
    client.head();
    endpoint.until("and");
    let moved = move_one(&one, &other);
    assert_eq!((moved.story.received, moved.up.carried), (7, 3));
    client.send("on");
    endpoint.until("on");
}

/// Whether what comes next is a close frame of a client, or of a server.
fn is_closed(peer: &mut Peer, by_client: bool) {
    if by_client {
        let close = peer.exactly(8);
        assert_eq!(close[..2], [0x88, 0x82]);
        assert_eq!([close[6] ^ close[2], close[7] ^ close[3]], 1001u16.to_be_bytes());
    } else {
        assert_eq!(peer.exactly(4), websocket::close_from_server());
    }
}

/// Before it, inside its header, inside its payload, behind it.
#[test]
fn a_websocket_that_moved_anywhere_in_a_frame_is_closed_with_1001_at_the_end_of_it() {
    let origin = Origin::start();
    let one = gateway(only(&origin));
    let short = [0x82, 0x80 | 3, 1, 2, 3, 4, b'a', b'b', b'c'].to_vec();
    let long = [&[0x01, 126, 0, 130][..], &[7; 130]].concat();
    for (upward, frame) in [(true, &short), (true, &long), (false, &short), (false, &long)] {
        for cut in 0..=9 {
            let other = gateway(only(&origin));
            let (mut client, mut endpoint) = open(&one, &origin);
            let (sender, receiver) =
                if upward { (&mut client, &mut endpoint) } else { (&mut endpoint, &mut client) };
            let before = [&short[..], &frame[..cut]].concat();
            sender.send(&before);
            assert_eq!(receiver.exactly(before.len()), before);
            move_one(&one, &other);
            other.drain(AT_ONCE);
            // The other direction is between two frames: from then on the drain is known to be heeded.
            is_closed(sender, !upward);
            // The frame is finished first, the one behind it is not begun.
            let rest = if cut == 0 { &[] } else { &frame[cut..] };
            sender.send([rest, &[0x82, 1]].concat());
            assert_eq!(receiver.exactly(rest.len()), rest);
            is_closed(receiver, upward);
            // Each side finishes what it had begun, and closes in its turn.
            sender.send([b"x", &websocket::close_from_server()[..]].concat());
            receiver.send(websocket::close_from_client([1, 2, 3, 4]));
            assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
            assert_eq!(other.finish().tunnels_adopted, 1);
        }
    }
}

/// A close frame that has gone by is not followed by another one, wherever the tunnel moved.
#[test]
fn a_websocket_that_moved_inside_its_close_frame_is_not_closed_again() {
    let origin = Origin::start();
    let one = gateway(only(&origin));
    let bye = websocket::close_from_server();
    for cut in [1, 2, 3, 4] {
        let other = gateway(only(&origin));
        let (mut client, mut endpoint) = open(&one, &origin);
        endpoint.send(&bye[..cut]);
        assert_eq!(client.exactly(cut), &bye[..cut]);
        move_one(&one, &other);
        endpoint.send(&bye[cut..]);
        assert_eq!(client.exactly(4 - cut), &bye[cut..]);
        other.drain(AT_ONCE);
        assert_eq!(endpoint.exactly(8)[..2], [0x88, 0x82]);
        client.send(websocket::close_from_client([1, 2, 3, 4]));
        assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
        other.finish();
    }
}

#[test]
fn a_tunnel_over_http2_stays_until_the_drain_and_is_closed_then() {
    let mut app = service("app", &Origin::start());
    app.routes[0].connect = true;
    app.protocol = Protocol::H2c;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    app.endpoints = vec![Address::Ip(listener.local_addr().unwrap()).into()];
    let gateway = gateway(settings(vec![app]));
    let echo = std::thread::spawn(move || block_on(echo_over_h2(listener)));
    let mut client = gateway.ask("CONNECT db.example:1 HTTP/1.1\r\nHost: db.example:1\r\n\r\n");
    assert!(client.head().starts_with("http/1.1 200 "));
    gateway.until(|totals| totals.tunnels_open == 1);
    let mut departures = gateway.hand_over();
    client.send("still here");
    client.until("still here");
    assert!(departures.rest().is_empty());
    gateway.drain(AT_ONCE);
    client.send("until the cut");
    client.until("until the cut");
    gateway.cut();
    client.rest();
    gateway.finish();
    echo.join().unwrap();
}

/// One stream, until it ends.
async fn echo_over_h2(listener: TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let (socket, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let echo = async move {
        let mut sender = respond.send_response(http::Response::new(()), false).unwrap();
        let mut receiver = request.into_body();
        while let Some(Ok(bytes)) = receiver.data().await {
            receiver.flow_control().release_capacity(bytes.len()).unwrap();
            if sender.send_data(bytes, false).is_err() {
                return;
            }
        }
    };
    tokio::join!(echo, async { while connection.accept().await.is_some() {} });
}

#[test]
fn a_tunnel_that_nobody_wants_comes_back_and_is_closed_by_the_drain() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut client, mut endpoint) = open(&gateway, &origin);
    let parcel = gateway.hand_over().next().unwrap();
    gateway.adopt(parcel);
    client.send([0x82, 1, b'x']);
    assert_eq!(endpoint.exactly(3), [0x82, 1, b'x']);
    gateway.drain(AT_ONCE);
    assert_eq!(client.exactly(4), websocket::close_from_server());
    assert_eq!(endpoint.exactly(8)[..2], [0x88, 0x82]);
    client.send(websocket::close_from_client([1, 2, 3, 4]));
    endpoint.send(websocket::close_from_server());
    assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
    gateway.finish();
}

#[test]
fn a_tunnel_that_moved_is_cut_and_found_silent_like_any_other() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].timeout.tunnel_idle = Some(Duration::from_secs(60));
    let settings = settings(vec![app]);
    let (one, cutting) = (gateway(settings.clone()), gateway(settings.clone()));
    let (mut client, mut endpoint) = open(&one, &origin);
    move_one(&one, &cutting);
    cutting.until(|totals| totals.tunnels_open == 1);
    cutting.cut();
    assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));

    let other = gateway(settings);
    let (mut client, mut endpoint) = open(&one, &origin);
    let mut parcels = depart(&one);
    // It has been silent for some time already.
    record(&mut parcels[0]).client.idle_ms += 30_000;
    other.adopt(parcels.remove(0));
    other.until(|totals| totals.tunnels_open == 1);
    other.later(Duration::from_secs(10));
    client.send("still here");
    endpoint.until("still here");
    move_one(&other, &one);
    one.until(|totals| totals.tunnels_open == 1);
    one.later(Duration::from_secs(40));
    client.send("still here");
    endpoint.until("still here");
    let mut parcels = depart(&one);
    record(&mut parcels[0]).client.idle_ms += 30_000;
    other.adopt(parcels.remove(0));
    other.until(|totals| totals.tunnels_open == 1);
    other.later(Duration::from_secs(31));
    assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
    other.until(|totals| totals.tunnels_open == 0);
}

/// Broke: what came through a tunnel that had moved was taken for the beginning of a head, whose time was over ten seconds
/// later.
#[test]
fn what_comes_through_a_tunnel_that_moved_is_no_head() {
    let origin = Origin::start();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let (mut client, mut endpoint) = open(&one, &origin);
    client.send("before");
    endpoint.until("before");
    move_one(&one, &other);
    for turn in 0..3 {
        client.send(format!("ping {turn}"));
        endpoint.until(&format!("ping {turn}"));
        other.later(Duration::from_secs(60));
    }
    endpoint.send("after");
    client.until("after");
}

#[test]
fn a_tunnel_that_moves_takes_a_place_whatever_the_limit() {
    let origin = Origin::start();
    let mut settings = only(&origin);
    settings.limits.tunnels = Some(1);
    let (one, other) = (gateway(settings.clone()), gateway(settings));
    let (mine, theirs) = (open(&one, &origin), open(&other, &origin));
    move_one(&one, &other);
    other.until(|totals| totals.tunnels_open == 2);
    // Its place where it was is free.
    let third = open(&one, &origin);
    drop(mine);
    other.until(|totals| totals.tunnels_open == 1);
    assert!(other.ask(UPGRADE).head().starts_with("http/1.1 503 "));
    drop(theirs);
    other.until(|totals| totals.tunnels_open == 0);
    open(&other, &origin);
    drop(third);
}

#[test]
fn a_tunnel_counts_at_its_endpoint_where_that_is_still_known() {
    let origin = Origin::start();
    let (one, other, stranger) =
        (gateway(only(&origin)), gateway(only(&origin)), gateway(settings(Vec::new())));
    let in_flight = |gateway: &Gateway| {
        let (sender, receiver) = std::sync::mpsc::channel();
        gateway.threads.run(0, move |local| {
            let generation = local.generation();
            let surveys = generation.upstreams.iter().flat_map(|upstream| upstream.survey());
            sender.send(surveys.map(|survey| survey.in_flight).sum::<usize>()).unwrap();
        });
        receiver.recv().unwrap()
    };
    let (mut client, mut endpoint) = open(&one, &origin);
    assert_eq!(in_flight(&one), 1);
    move_one(&one, &other);
    other.until(|totals| totals.tunnels_open == 1);
    assert_eq!((in_flight(&one), in_flight(&other)), (0, 1));
    move_one(&other, &stranger);
    stranger.until(|totals| totals.tunnels_open == 1);
    assert_eq!(in_flight(&other), 0);
    client.send("ping");
    endpoint.until("ping");
}

/// Everything is written to this file.
fn telling(gateway: &Gateway, settings: Settings, file: &File) -> log::Handle {
    let told = OwnedFd::from(file.try_clone().unwrap());
    let (log, _events) = log::open("gateway", LogLevel::Error, Output::Json(told));
    let settings = Settings {
        log: crate::config::settings::Log {
            level: LogLevel::Error,
            access: AccessLog::All,
            access_to: AccessSink::Journal { namespace: None },
        },
        ..settings
    };
    let blueprint = Arc::into_inner(blueprint(2, settings)).unwrap();
    let access = access::AccessLog::new(&blueprint.settings.log, &log);
    let blueprint = Blueprint { access, ..blueprint };
    block_on(gateway.threads.install(Arc::new(blueprint)));
    log
}

#[test]
fn a_tunnel_is_told_once_at_its_end_with_everything_that_went_through_it_anywhere() {
    let origin = Origin::start();
    let path = tempfile::NamedTempFile::new().unwrap();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let logs = [
        telling(&one, only(&origin), path.as_file()),
        // Its service is not known there.
        telling(&other, settings(Vec::new()), path.as_file()),
    ];
    let began = Instant::now();
    let mut client = one.ask(&UPGRADE.replace("Host", "X-Request-Id: r-77\r\nHost"));
    let (mut endpoint, _) = origin.request();
    endpoint.send(SWITCHING);
    client.head();
    for turn in 0..5 {
        client.send("four");
        endpoint.until("four");
        endpoint.send("seven77");
        client.until("seven77");
        if turn % 2 == 0 {
            move_one(&one, &other)
        } else {
            move_one(&other, &one)
        };
    }
    drop((client, endpoint));
    other.until(|totals| totals.tunnels_open == 0 && totals.tunnels_closed == 1);
    assert!(logs.iter().all(|log| log.flush(FOR_EVER)));
    let told = std::fs::read_to_string(path.path()).unwrap();
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{told}");
    let wanted = [
        ("request_id", "r-77"),
        ("service", "app"),
        ("route", "app[0]"),
        ("method", "GET"),
        ("authority", "a.example"),
        ("path", "/ws"),
        ("protocol", "HTTP/1.1"),
        ("code", "ok"),
        ("client", "127.0.0.1"),
    ];
    for (name, value) in wanted {
        assert_eq!(lines[0][name], value, "{told}");
    }
    assert_eq!(lines[0]["endpoint"], origin.address.to_string());
    assert_eq!(lines[0]["trace_id"].as_str().unwrap().len(), 32);
    let number = |name: &str| lines[0][name].as_u64().unwrap();
    assert_eq!((number("status"), number("received_bytes"), number("sent_bytes")), (101, 20, 35));
    assert!(u128::from(number("duration_us")) <= began.elapsed().as_micros());
}

#[test]
fn what_cannot_be_a_tunnel_is_closed_and_counts_nowhere() {
    let origin = Origin::start();
    let (one, other) = (gateway(only(&origin)), gateway(only(&origin)));
    let (mut client, mut endpoint) = open(&one, &origin);
    let mut parcels = depart(&one);
    parcels[0].fds.truncate(1);
    other.adopt(parcels.remove(0));
    assert_eq!((client.ended(), endpoint.ended()), (End::Closed, End::Closed));
    other.drain(AT_ONCE);
    other.finish();
}

/// Bytes that say where they belong.
fn byte(key: u64, at: u64) -> u8 {
    let mixed = ((at / 8) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (8 * (at % 8))) as u8
}

/// How much whoever is slow may move; more comes with each move of the tunnels.
#[derive(Default)]
struct Allowance {
    left: Mutex<usize>,
    more: Condvar,
}

impl Allowance {
    fn grant(&self, count: usize) {
        let mut left = self.left.lock().unwrap();
        *left = left.saturating_add(count);
        self.more.notify_all();
    }

    /// At most so much, once there is some.
    fn take(&self, most: usize) -> usize {
        let left = self.left.lock().unwrap();
        let (mut left, waited) = self.more.wait_timeout_while(left, FOR_EVER, |left| *left == 0).unwrap();
        assert!(!waited.timed_out());
        let taken = most.min(*left);
        *left -= taken;
        taken
    }
}

fn sends(to: &OwnedFd, key: u64, total: u64, pace: Option<&Allowance>, mut random: fastrand::Rng) {
    let mut sent = 0;
    while sent < total {
        let largest = if random.bool() { 50 } else { 60_000 };
        let most = random.usize(1..=largest).min((total - sent) as usize);
        let count = pace.map_or(most, |pace| pace.take(most)) as u64;
        let piece: Vec<u8> = (sent..sent + count).map(|at| byte(key, at)).collect();
        let mut rest = &piece[..];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(to, rest).unwrap()..];
        }
        sent += count;
    }
    shutdown(to, Shutdown::Write).unwrap();
}

fn takes(from: &OwnedFd, key: u64, total: u64, pace: Option<&Allowance>, mut random: fastrand::Rng) {
    let mut space = vec![0; 70_000];
    let mut seen = 0;
    loop {
        let most = random.usize(1..=space.len());
        let count = pace.map_or(most, |pace| pace.take(most));
        let read = rustix::io::read(from, &mut space[..count]).unwrap();
        if read == 0 {
            return assert_eq!(seen, total);
        }
        for (at, got) in (seen..).zip(&space[..read]) {
            assert_eq!(*got, byte(key, at), "at {at} of {total}");
        }
        seen += read as u64;
    }
}

/// Up to the end of a head.
fn head(from: &OwnedFd) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(rustix::io::read(from, &mut byte).unwrap(), 1);
        head.push(byte[0]);
    }
    head
}

/// So little lies in the kernel that a slow reader is felt.
const SMALL: usize = 32 * 1024;

/// Tunnels between Unix sockets, or between those of TCP.
fn storm(unix: bool) {
    const TUNNELS: u64 = 8;
    let seed = std::env::var("HITLESS_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endpoint.sock");
    let (local, remote) = (UnixListener::bind(&path).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    // What is accepted here has it from the listener.
    SockRef::from(&remote).set_recv_buffer_size(SMALL).unwrap();
    let mut app = service("app", &Origin::start());
    app.endpoints =
        vec![if unix { Address::Unix(path) } else { Address::Ip(remote.local_addr().unwrap()) }.into()];
    let settings = settings(vec![app]);
    let worlds = [Gateway::start(2, settings.clone(), true), Gateway::start(2, settings, true)];
    let tunnels: Vec<(OwnedFd, OwnedFd)> = (0..TUNNELS)
        .map(|number| {
            let client: OwnedFd = match unix {
                true => UnixStream::connect(worlds[0].unix_path()).unwrap().into(),
                false => {
                    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                    socket.set_recv_buffer_size(SMALL).unwrap();
                    socket.connect(&worlds[0].address().into()).unwrap();
                    socket.into()
                }
            };
            let upgrade =
                if number % 2 == 0 { UPGRADE.to_owned() } else { UPGRADE.replace("websocket", "else") };
            rustix::io::write(&client, upgrade.as_bytes()).unwrap();
            let endpoint: OwnedFd = match unix {
                true => local.accept().unwrap().0.into(),
                false => remote.accept().unwrap().0.into(),
            };
            let asked = head(&endpoint);
            let answer =
                if number % 2 == 0 { SWITCHING.to_owned() } else { SWITCHING.replace("websocket", "else") };
            rustix::io::write(&endpoint, answer.as_bytes()).unwrap();
            assert!(head(&client).starts_with(b"HTTP/1.1 101 "), "{asked:?}");
            for side in [&client, &endpoint] {
                SockRef::from(side).set_read_timeout(Some(FOR_EVER)).unwrap();
                SockRef::from(side).set_write_timeout(Some(FOR_EVER)).unwrap();
            }
            (client, endpoint)
        })
        .collect();
    for parcel in depart(&worlds[0]) {
        for fd in &parcel.fds {
            SockRef::from(fd).set_send_buffer_size(SMALL).unwrap();
        }
        worlds[0].adopt(parcel);
    }
    let pace = Allowance::default();
    let (mut moves, mut pending, mut half_closed, mut bytes) = (0, 0, 0, (0, 0));
    std::thread::scope(|scope| {
        let mut sides = Vec::new();
        for (number, (client, endpoint)) in (0..).zip(&tunnels) {
            // One of them is soon done, so that the tunnel is half closed from then on.
            let mut totals = [random.u64(200_000..900_000), random.u64(200_000..900_000)];
            if let Some(soon) = totals.get_mut(random.usize(..4)) {
                *soon /= 50;
            }
            bytes = (bytes.0 + totals[0], bytes.1 + totals[1]);
            for ((from, to), (key, total)) in
                [(client, endpoint), (endpoint, client)].into_iter().zip((number * 2..).zip(totals))
            {
                // Either may be slow, or both.
                let slow = random.u8(1..4);
                let paced = |bit: u8| (slow & bit != 0).then_some(&pace);
                let (writing, reading) = (random.fork(), random.fork());
                let (writer, reader) = (paced(1), paced(2));
                sides.push(scope.spawn(move || sends(from, key, total, writer, writing)));
                sides.push(scope.spawn(move || takes(to, key, total, reader, reading)));
            }
        }
        let began = Instant::now();
        while sides.iter().any(|side| !side.is_finished()) && began.elapsed() < FOR_EVER {
            let (from, to) = (&worlds[moves % 2], &worlds[(moves + 1) % 2]);
            for tunnel in move_over(from, to) {
                let directions = [tunnel.up, tunnel.down];
                pending += usize::from(directions.iter().any(|direction| !direction.pending.is_empty()));
                half_closed += usize::from(directions.iter().any(|direction| direction.shut));
            }
            moves += 1;
            pace.grant(random.usize(..400_000));
        }
        pace.grant(usize::MAX / 2);
    });
    drop(tunnels);
    let [one, other] = worlds;
    let over = |gateway: Gateway| {
        gateway.until(|totals| totals.tunnels_open == 0);
        gateway.drain(AT_ONCE);
        gateway.finish()
    };
    let (one, other) = (over(one), over(other));
    let seen = format!("seed {seed}: {moves} moves, {pending} with bytes pending, {half_closed} half closed");
    assert_eq!(one.tunnels_closed + other.tunnels_closed, TUNNELS, "{seen}");
    let (moved, adopted) =
        (one.tunnels_moved + other.tunnels_moved, one.tunnels_adopted + other.tunnels_adopted);
    assert_eq!(moved, adopted, "{seen}");
    assert_eq!(one.bytes_received + other.bytes_received, bytes.0, "{seen}");
    assert_eq!(one.bytes_sent + other.bytes_sent, bytes.1, "{seen}");
    println!("{seen}");
    assert!(moves > 3 && pending > 0 && half_closed > 0, "nothing was tested; {seen}");
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_however_often_tunnels_move() {
    storm(false);
}

#[test]
fn nor_between_unix_sockets() {
    storm(true);
}

#[test]
fn five_hundred_tunnels_move_at_once() {
    const TUNNELS: usize = 500;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let origin = Origin::start();
    let worlds = [0, 1].map(|_| Gateway::start(2, only(&origin), false));
    let mut tunnels: Vec<_> = (0..TUNNELS).map(|_| open(&worlds[0], &origin)).collect();
    for moves in 0..4 {
        for (number, (client, endpoint)) in tunnels.iter_mut().enumerate() {
            client.send(format!("up {number} {moves};"));
            endpoint.send(format!("down {number} {moves};"));
        }
        assert_eq!(move_over(&worlds[moves % 2], &worlds[(moves + 1) % 2]).len(), TUNNELS);
        for (number, (client, endpoint)) in tunnels.iter_mut().enumerate() {
            assert_eq!(endpoint.until(";"), format!("up {number} {moves};"));
            assert_eq!(client.until(";"), format!("down {number} {moves};"));
        }
    }
    drop(tunnels);
    for world in &worlds {
        let totals = world.until(|totals| totals.tunnels_open == 0 && totals.connections_open == 0);
        assert_eq!((totals.tunnels_moved, totals.tunnels_adopted), (1000, 1000), "{totals:?}");
    }
}
