//! Connections that go on in another gateway: two of them in one process, with real sockets between.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::world::*;
use crate::handover::record::{self, Parcel, Record};

const MINUTE: Duration = Duration::from_secs(60);

fn moved(parcel: &Parcel) -> &record::Connection {
    assert_eq!(parcel.fds.len(), 1);
    let Record::Connection(connection) = &parcel.record else { panic!("{parcel:?}") };
    connection
}

fn is_kept(head: &str) {
    assert!(head.starts_with("http/1.1 200 ") && !head.contains("connection: close"), "{head}");
}

/// A record of a connection whose other end is given too.
fn made(change: impl FnOnce(&mut record::Connection)) -> (Parcel, std::os::unix::net::UnixStream) {
    let (client, socket) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut record = record::Connection { listener: "http".into(), ..record::Connection::default() };
    change(&mut record);
    (Parcel { record: Record::Connection(record), fds: vec![socket.into()] }, client)
}

#[test]
fn an_idle_connection_moves_and_is_served_on() {
    let (outgoing, incoming) = (gateway(answering("first")), gateway(answering("second")));
    let mut client = outgoing.ask(GET);
    assert_eq!(client.answer().1, "first");
    let mut departures = outgoing.hand_over();
    let parcel = departures.next().unwrap();
    let record = moved(&parcel).clone();
    assert_eq!((record.listener.as_str(), record.requests, record.unread.len()), ("http", 1, 0));
    assert_eq!(record.address, Some("127.0.0.1".parse().unwrap()));
    let totals = outgoing.finish();
    assert_eq!((totals.connections_moved, totals.connections_closed), (1, 0));
    incoming.adopt(parcel);
    for _ in 0..2 {
        client.send(GET);
        let (head, content) = client.answer();
        is_kept(&head);
        assert_eq!(content, "second");
    }
    drop(client);
    incoming.drain(AT_ONCE);
    let totals = incoming.finish();
    assert_eq!((totals.connections_adopted, totals.connections_accepted, totals.answered), (1, 0, 2));
}

#[test]
fn half_a_head_moves_wherever_it_is_cut() {
    let (outgoing, incoming) = (gateway(answering("first")), gateway(answering("second")));
    // The half comes with the request before it, so that it has been read when that is answered.
    let mut clients: Vec<_> =
        (1..GET.len()).map(|at| (outgoing.ask(&[GET, &GET[..at]].concat()), at)).collect();
    for (client, _) in &mut clients {
        is_kept(&client.answer().0);
    }
    let mut departures = outgoing.hand_over();
    block_on(outgoing.threads.finished());
    let parcels = departures.rest();
    let mut unread: Vec<_> = parcels.iter().map(|parcel| moved(parcel).unread.clone()).collect();
    unread.sort_by_key(Vec::len);
    assert!(unread.iter().map(Vec::as_slice).eq((1..GET.len()).map(|at| &GET.as_bytes()[..at])));
    parcels.into_iter().for_each(|parcel| incoming.adopt(parcel));
    for (client, at) in &mut clients {
        client.send(&GET[*at..]);
        let (head, content) = client.answer();
        is_kept(&head);
        assert_eq!(content, "second");
    }
    drop(clients);
    incoming.drain(AT_ONCE);
    assert_eq!(incoming.finish().answered, GET.len() as u64 - 1);
    outgoing.finish();
}

#[test]
fn a_request_in_flight_is_answered_first_and_what_is_behind_it_moves() {
    let origin = Origin::start();
    let (outgoing, incoming) = (gateway(only(&origin)), gateway(answering("second")));
    let mut client = outgoing.ask(&[GET, GET, &GET[..30]].concat());
    let (mut endpoint, _) = origin.request();
    let mut departures = outgoing.hand_over();
    assert!(departures.rest().is_empty());
    endpoint.send(OK);
    let (head, content) = client.answer();
    is_kept(&head);
    assert_eq!(content, "ok");
    let parcel = departures.next().unwrap();
    assert_eq!(moved(&parcel).unread, [GET, &GET[..30]].concat().as_bytes());
    assert_eq!(outgoing.finish().answered, 1);
    assert!(!origin.was_called());
    incoming.adopt(parcel);
    assert_eq!(client.answer().1, "second");
    client.send(&GET[30..]);
    assert_eq!(client.answer().1, "second");
}

#[test]
fn content_that_is_thrown_away_is_thrown_away_here() {
    let (outgoing, incoming) = (gateway(answering("first")), gateway(answering("second")));
    let mut client = outgoing.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 60000\r\n\r\n");
    is_kept(&client.answer().0);
    let mut departures = outgoing.hand_over();
    assert!(departures.rest().is_empty(), "the rest of the content is awaited");
    client.send([vec![b'x'; 60_000], GET.into()].concat());
    incoming.adopt(departures.next().unwrap());
    assert_eq!(client.answer().1, "second");
    assert_eq!(outgoing.finish().answered, 1);
}

#[test]
fn a_client_that_has_sent_its_end_is_served_to_its_end_here() {
    let origin = Origin::start();
    let outgoing = gateway(only(&origin));
    let mut client = outgoing.ask(&[GET, GET].concat());
    client.end();
    let (mut endpoint, _) = origin.request();
    // The H of the answer, which tells that its end has been seen.
    client.exactly(1);
    let mut departures = outgoing.hand_over();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    endpoint.head();
    endpoint.send(OK);
    client.until("ok");
    assert_eq!(client.ended(), End::Closed);
    let totals = outgoing.finish();
    assert_eq!((totals.answered, totals.connections_moved, totals.connections_closed), (2, 0, 1));
    assert!(departures.rest().is_empty());
}

#[test]
fn an_end_that_nobody_has_seen_yet_is_seen_by_who_adopts() {
    let (outgoing, incoming) = (gateway(answering("first")), gateway(answering("second")));
    let mut client = outgoing.ask(GET);
    client.answer();
    let parcel = outgoing.hand_over().next().unwrap();
    client.send(GET);
    client.end();
    incoming.adopt(parcel);
    assert_eq!(client.answer().1, "second");
    assert_eq!(client.ended(), End::Closed);
    assert_eq!(incoming.until(|totals| totals.connections_open == 0).connections_closed, 1);
}

#[test]
fn a_unix_socket_moves_too_and_so_does_who_has_said_nothing_yet() {
    let (outgoing, incoming) = (Gateway::start(1, answering("first"), true), gateway(answering("second")));
    let mut clients = [outgoing.connect_unix(), outgoing.connect_unix(), outgoing.connect()];
    clients[0].send(GET);
    clients[0].answer();
    outgoing.until(|totals| totals.connections_open == 3);
    let mut departures = outgoing.hand_over();
    outgoing.finish();
    let parcels = departures.rest();
    let mut known: Vec<_> =
        parcels.iter().map(moved).map(|record| (record.requests, record.address.is_some())).collect();
    known.sort_unstable();
    assert_eq!(known, [(0, false), (0, true), (1, false)]);
    parcels.into_iter().for_each(|parcel| incoming.adopt(parcel));
    for client in &mut clients {
        client.send(GET);
        let (head, content) = client.answer();
        is_kept(&head);
        assert_eq!(content, "second");
    }
}

#[test]
fn the_first_bytes_of_http2_move_wherever_they_are_cut() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let (outgoing, incoming) = (gateway(answering("first")), gateway(answering("second")));
    let mut clients: Vec<_> = (1..PREFACE.len()).map(|at| (outgoing.connect(), at)).collect();
    for (client, at) in &mut clients {
        client.send(&PREFACE[..*at]);
    }
    outgoing.until(|totals| totals.connections_open == clients.len() as u64);
    let mut departures = outgoing.hand_over();
    assert_eq!(outgoing.finish().connections_moved, clients.len() as u64);
    departures.rest().into_iter().for_each(|parcel| incoming.adopt(parcel));
    for (client, at) in &mut clients {
        client.send(&settings[*at..]);
        assert_eq!(client.exactly(9)[3], 4, "it was answered with SETTINGS");
    }
    // And so does what was read of them for certain.
    for at in 0..=PREFACE.len() {
        let (parcel, client) = made(|record| record.unread = PREFACE[..at].into());
        incoming.adopt(parcel);
        let mut client = Peer::of(client);
        client.send(&settings[at..]);
        assert_eq!(client.exactly(9)[3], 4, "{at}");
    }
}

/// Whoever asks again reaches the endpoint on another connection.
const LAST_OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_handover_that_is_taken_back_leaves_everything_as_it_was() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut busy, mut idle) = (gateway.ask(GET), gateway.connect());
    let (mut endpoint, _) = origin.request();
    gateway.until(|totals| totals.connections_open == 2);
    let mut departures = gateway.hand_over();
    let parcel = departures.next().unwrap();
    // It waits in the kernel, and nobody knows of it.
    let mut newcomer = gateway.ask(GET);
    gateway.settle();
    assert!(!origin.was_called());
    gateway.take_back();
    assert!(departures.next().is_none(), "nobody departs any more");
    gateway.adopt(parcel);
    let (mut second, _) = origin.request();
    for (client, endpoint) in [(&mut newcomer, &mut second), (&mut busy, &mut endpoint)] {
        endpoint.send(LAST_OK);
        is_kept(&client.answer().0);
    }
    for client in [&mut busy, &mut idle, &mut newcomer] {
        client.send(GET);
        origin.request().0.send(LAST_OK);
        is_kept(&client.answer().0);
    }
}

#[test]
fn what_comes_back_while_its_thread_hands_over_goes_as_in_a_drain() {
    let mut settings = answering("first");
    settings.drain.idle_grace = 10 * MINUTE;
    let gateway = gateway(settings.clone());
    let mut clients = [gateway.ask(GET), gateway.ask(GET)];
    for client in &mut clients {
        is_kept(&client.answer().0);
    }
    let mut departures = gateway.hand_over();
    for parcel in [departures.next().unwrap(), departures.next().unwrap()] {
        gateway.adopt(parcel);
    }
    gateway.settle();
    assert!(departures.rest().is_empty());
    clients[0].send(GET);
    let (head, _) = clients[0].answer();
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(clients[0].ended(), End::Closed);
    // Taken back, it is kept; and a later handover moves it again.
    gateway.take_back();
    clients[1].send(GET);
    is_kept(&clients[1].answer().0);
    let mut departures = gateway.hand_over();
    let parcel = departures.next().unwrap();
    // A grace that is over is over here too.
    settings.drain.idle_grace = Duration::ZERO;
    gateway.install(2, settings);
    gateway.adopt(parcel);
    assert_eq!(clients[1].ended(), End::Closed);
    let totals = gateway.finish();
    assert_eq!((totals.connections_moved, totals.connections_adopted, totals.answered), (3, 3, 4));
}

#[test]
fn a_drain_ends_what_a_handover_has_left_and_what_comes_back_then() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let (mut busy, mut idle) = (gateway.ask(GET), gateway.connect());
    let (mut endpoint, _) = origin.request();
    gateway.until(|totals| totals.connections_open == 2);
    let mut departures = gateway.hand_over();
    let parcel = departures.next().unwrap();
    gateway.drain(GRACE);
    assert!(departures.next().is_none(), "nobody departs any more");
    gateway.take_back();
    gateway.adopt(parcel);
    endpoint.send(LAST_OK);
    let mut newcomer = gateway.ask(GET);
    idle.send(GET);
    (endpoint, _) = origin.request();
    endpoint.send(LAST_OK);
    for client in [&mut busy, &mut idle] {
        let (head, _) = client.answer();
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!(client.ended(), End::Closed);
    }
    assert_eq!(gateway.finish().connections_accepted, 2, "a drain is not taken back");
    assert_eq!(newcomer.ended(), End::Reset);
}

#[test]
fn limits_go_on_where_they_were() {
    let mut settings = answering("hello");
    settings.limits.head_time = MINUTE;
    settings.limits.keep_alive = Some(MINUTE);
    settings.limits.keep_alive_requests = Some(3);
    let gateway = gateway(settings);
    let old = |record: &mut record::Connection| (record.requests, record.idle_ms) = (2, 59_000);
    let adopt = |change: &dyn Fn(&mut record::Connection)| {
        let (parcel, client) = made(|record| change(record));
        gateway.adopt(parcel);
        Peer::of(client)
    };
    let mut last = adopt(&|record| old(record));
    let mut idle = adopt(&|record| old(record));
    let mut slow = adopt(&|record| (old(record), record.unread = GET[..9].into()).1);
    let mut silent = adopt(&|record| (record.requests, record.idle_ms) = (0, 59_000));
    let mut young = adopt(&|record| record.requests = 1);
    let mut ancient = adopt(&|record| (old(record), record.idle_ms = u64::MAX, record.age_ms = u64::MAX).0);
    last.send(GET);
    assert!(last.answer().0.contains("connection: close\r\n"), "it was the third one");
    gateway.settle();
    gateway.later(MINUTE / 2);
    assert!(slow.answer().0.starts_with("http/1.1 408 "));
    for client in [&mut idle, &mut silent, &mut ancient] {
        assert_eq!(client.ended(), End::Closed);
    }
    young.send(GET);
    is_kept(&young.answer().0);
}

#[test]
fn what_cannot_be_served_is_closed_and_counted() {
    let gateway = gateway(answering("hello"));
    let (mut none, client) = made(|_| {});
    none.fds.clear();
    gateway.adopt(none);
    assert_eq!(Peer::of(client).ended(), End::Closed);
    let (mut many, client) = made(|_| {});
    many.fds.push(made(|_| {}).0.fds.remove(0));
    gateway.adopt(many);
    assert_eq!(Peer::of(client).ended(), End::Closed);
    // epoll(7) does not watch files.
    let (mut file, client) = made(|_| {});
    file.fds[0] = tempfile::tempfile().unwrap().into();
    gateway.adopt(file);
    assert_eq!(Peer::of(client).ended(), End::Closed);
    let unknown = Parcel { record: Record::Unknown, fds: Vec::new() };
    assert!(gateway.threads.adopt(unknown).is_err());
    gateway.drain(AT_ONCE);
    let totals = gateway.finish();
    assert_eq!((totals.connections_adopted, totals.connections_closed), (3, 3));
}

#[test]
fn a_socket_that_would_block_does_not_stop_its_thread() {
    let gateway = gateway(answering("hello"));
    let (parcel, client) = made(|record| record.requests = 1);
    rustix::io::ioctl_fionbio(&parcel.fds[0], false).unwrap();
    gateway.adopt(parcel);
    gateway.settle();
    let mut client = Peer::of(client);
    client.send(GET);
    assert_eq!(client.answer().1, "hello");
}

#[test]
fn who_is_adopted_counts_for_its_address() {
    let mut settings = answering("hello");
    settings.limits.connections_per_address = Some(1);
    let (outgoing, incoming) = (gateway(settings.clone()), gateway(settings));
    let mut client = outgoing.ask(GET);
    client.answer();
    incoming.adopt(outgoing.hand_over().next().unwrap());
    incoming.until(|totals| totals.connections_adopted == 1);
    // The reset may be there before the connection is.
    match Peer::come(incoming.address()) {
        Ok(mut refused) => assert_eq!(refused.ended(), End::Reset),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    client.send(GET);
    is_kept(&client.answer().0);
    drop(client);
    incoming.until(|totals| totals.connections_open == 0);
    let mut next = incoming.ask(GET);
    is_kept(&next.answer().0);
}

/// Hands everything over; what `refuses` says comes back.
pub(super) fn move_all(from: &Gateway, to: &Gateway, mut refuses: impl FnMut() -> bool) {
    let mut departures = from.hand_over();
    let mut adopt = |parcel| if refuses() { from.adopt(parcel) } else { to.adopt(parcel) };
    block_on(async {
        let mut finished = pin!(from.threads.finished());
        loop {
            tokio::select! {
                biased;
                Some(parcel) = departures.0.recv() => adopt(parcel),
                () = &mut finished => break,
            }
        }
    });
    // Who is finished has handed over everything.
    departures.rest().into_iter().for_each(|parcel| to.adopt(parcel));
    assert_eq!(from.threads.totals().connections_open, 0);
    from.take_back();
    // A newcomer that one thread has accepted again meets another one that does not know yet.
    while let Some(parcel) = departures.next() {
        from.adopt(parcel);
    }
}

const CROWD: u64 = 2000;
const MOVES: u64 = 4;

#[test]
fn a_crowd_that_moves_back_and_forth_is_answered_every_time_and_nobody_is_closed() {
    let seed = std::env::var("HITLESS_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let gateways = [(); 2].map(|()| Gateway::start(2, answering("hello"), false));
    let over = Arc::new(AtomicBool::new(false));
    let crowd = {
        let (over, address) = (Arc::clone(&over), gateways[0].address());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(crowd(address, seed, over))
        })
    };
    gateways[0].until(|totals| totals.connections_open == CROWD);
    for turn in 0..MOVES {
        let (from, to) =
            if turn % 2 == 0 { (&gateways[0], &gateways[1]) } else { (&gateways[1], &gateways[0]) };
        let before = to.threads.totals().answered;
        move_all(from, to, || false);
        to.until(|totals| totals.answered > before + CROWD / 4 && totals.connections_open == CROWD);
    }
    over.store(true, SeqCst);
    let asked = crowd.join().unwrap();
    let ends = gateways.map(|gateway| {
        gateway.drain(AT_ONCE);
        gateway.finish()
    });
    let sum = |count: fn(&crate::telemetry::counters::Totals) -> u64| ends.iter().map(count).sum::<u64>();
    assert_eq!(sum(|totals| totals.answered), asked);
    assert_eq!(sum(|totals| totals.connections_accepted), CROWD);
    assert_eq!(sum(|totals| totals.connections_adopted), CROWD * MOVES);
    assert_eq!(sum(|totals| totals.connections_closed), CROWD, "each by its client");
}

/// How often all of them have asked.
async fn crowd(address: SocketAddr, seed: u64, over: Arc<AtomicBool>) -> u64 {
    let mut streams = Vec::new();
    for _ in 0..CROWD {
        // One after the other: all at once are more than the kernel's queue takes.
        let mut stream = BufReader::new(tokio::net::TcpStream::connect(address).await.unwrap());
        stream.write_all(GET.as_bytes()).await.unwrap();
        is_answered(&mut stream).await;
        streams.push(stream);
    }
    let clients = (0..).zip(streams).map(|(number, stream): (u64, _)| {
        let (over, random) = (Arc::clone(&over), fastrand::Rng::with_seed(seed ^ (number << 32)));
        tokio::spawn(one(stream, random, over))
    });
    let mut asked = CROWD;
    for client in clients.collect::<Vec<_>>() {
        asked += client.await.unwrap();
    }
    asked
}

async fn is_answered(stream: &mut BufReader<tokio::net::TcpStream>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "closed: {head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("close"), "{head}");
    let mut content = [0; 5];
    stream.read_exact(&mut content).await.unwrap();
    assert_eq!(&content, b"hello");
}

/// One, two or three requests at a time, cut somewhere; returns how many.
async fn one(
    mut stream: BufReader<tokio::net::TcpStream>,
    mut random: fastrand::Rng,
    over: Arc<AtomicBool>,
) -> u64 {
    let mut asked = 0;
    while !over.load(SeqCst) {
        let many = random.usize(1..=3);
        let text = GET.repeat(many);
        let (start, rest) = text.split_at(random.usize(..text.len()));
        stream.write_all(start.as_bytes()).await.unwrap();
        if random.bool() {
            tokio::task::yield_now().await;
        }
        stream.write_all(rest.as_bytes()).await.unwrap();
        for _ in 0..many {
            is_answered(&mut stream).await;
            asked += 1;
        }
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "an answer too many");
    asked
}
