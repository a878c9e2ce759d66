//! Parcels with real descriptors: eventfds whose count is their name, and sockets that speak.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use futures_util::FutureExt;
use proptest::prelude::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::io::unix::AsyncFd;

use super::super::record::{Connection, Direction, Story, Tunnel};
use super::*;
use crate::telemetry::ledger::{Ledger, Page};

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn ends() -> (Mailbox, Mailbox) {
    let (one, two) = mailbox::pair().unwrap();
    (Mailbox::new(one).unwrap(), Mailbox::new(two).unwrap())
}

fn post(to: Destination) -> (Dispatch, Intake) {
    let (one, two) = ends();
    (Dispatch::new(one, to), Intake::new(two))
}

/// A descriptor that can be told from others of its kind, wherever it is.
fn named(name: u32) -> OwnedFd {
    eventfd(name, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

fn name(fd: OwnedFd) -> u32 {
    let mut count = [0; 8];
    File::from(fd).read_exact(&mut count).unwrap();
    u64::from_ne_bytes(count).try_into().unwrap()
}

fn record(requests: u64) -> Connection {
    let address = Some("2001:db8:85a3::8a2e:370:7334".parse().unwrap());
    Connection {
        listener: "https".into(),
        address,
        requests,
        age_ms: 86_400_000,
        idle_ms: 59_999,
        unread: vec![],
        header: false,
        greeting: false,
        seal: None,
    }
}

fn connection(number: u32) -> Parcel {
    Parcel { record: Record::Connection(record(number.into())), fds: vec![named(number)] }
}

/// More letters than receipts find room, for each of which nobody asks.
#[test]
fn a_store_that_is_read_while_it_is_filled_takes_any_number_of_letters() {
    run(async {
        let (mut dispatch, mut intake) = post(Destination::Store);
        for number in 0..2000 {
            assert!(dispatch.send(vec![connection(number)]).await.unwrap().is_empty());
            assert_eq!(intake.next().await.unwrap().unwrap().len(), 1);
        }
        // What is in it is read yet, but nothing more is taken.
        dispatch.send(vec![connection(1)]).await.unwrap();
        intake.end();
        assert!(matches!(dispatch.send(vec![connection(2)]).await.unwrap_err().error, Error::Gone));
        assert_eq!(intake.next().await.unwrap().unwrap().len(), 1);
        assert!(intake.next().await.unwrap().is_none());
    });
}

/// As long as they are in life, with a little left over in each direction.
fn tunnel(number: u32) -> Parcel {
    let direction = Direction {
        pending: vec![7; 16],
        carried: 1 << 30,
        header: vec![0x82, 0xfe],
        ..Direction::default()
    };
    let story = Story {
        request_id: "01J9ZC5V7Q8RT3M6K2XWBN4YPH".into(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        service: Some("chat".into()),
        route: Some("chat.example.com/socket".into()),
        endpoint: Some("unix:/run/chat/chat.sock".into()),
        method: "GET".into(),
        authority: "chat.example.com".into(),
        path: "/socket?room=4711&token=2b1e6f0c".into(),
        protocol: "websocket".into(),
        status: 101,
        ..Story::default()
    };
    let tunnel = Tunnel {
        client: record(number.into()),
        ahead: vec![],
        up: direction.clone(),
        down: direction,
        websocket: true,
        idle_ms: Some(60_000),
        story,
        seal: None,
    };
    Parcel { record: Record::Tunnel(Box::new(tunnel)), fds: vec![named(number), named(number + 1)] }
}

fn unknown(number: u32) -> Parcel {
    Parcel { record: Record::Unknown, fds: vec![named(number)] }
}

fn requests(parcel: &Parcel) -> u64 {
    match &parcel.record {
        Record::Connection(connection) => connection.requests,
        Record::Tunnel(tunnel) => tunnel.client.requests,
        Record::Ledger(_) | Record::Tickets(_) | Record::Health(_) | Record::Unknown => {
            panic!("not of a client")
        }
    }
}

/// Each parcel has the record and the descriptors that it was sent with.
fn names(parcels: Vec<Parcel>) -> Vec<u32> {
    let name_of = |parcel: Parcel| {
        let number = requests(&parcel).try_into().unwrap();
        for (index, fd) in (0..).zip(parcel.fds) {
            assert_eq!(name(fd), number + index);
        }
        number
    };
    parcels.into_iter().map(name_of).collect()
}

/// Open descriptors of this process: nothing else opens any while a test of this file runs.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Everything until the other end is closed.
async fn take_all(intake: &mut Intake) -> Vec<Parcel> {
    let mut all = vec![];
    while let Some(parcels) = intake.next().await.unwrap() {
        all.extend(parcels);
    }
    all
}

#[test]
fn parcels_arrive_in_order_with_their_own_descriptors_and_close_at_the_sender() {
    run(async {
        let before = open_descriptors();
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        // Tunnels between connections, over several letters; numbers of tunnels are even, for they have two names.
        let parcels: Vec<Parcel> = (1..=600)
            .map(|number| if number % 3 == 0 { tunnel(2 * number) } else { connection(2 * number) })
            .collect();
        let send = async move {
            let refused = dispatch.send(parcels).await.unwrap();
            assert!(refused.is_empty());
        };
        let ((), taken) = tokio::join!(send, take_all(&mut intake));
        assert_eq!(intake.refused(), 0);
        drop(intake);
        assert_eq!(names(taken), (1..=600).map(|number| 2 * number).collect::<Vec<u32>>());
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn what_was_read_ahead_and_the_socket_itself_arrive() {
    run(async {
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"T / HTTP/1.1\r\n").unwrap();
        let record = Connection { unread: b"GE".to_vec(), ..record(3) };
        let parcel = Parcel { record: Record::Connection(record.clone()), fds: vec![server.into()] };
        let (refused, taken) = tokio::join!(dispatch.send(vec![parcel]), intake.next());
        assert!(refused.unwrap().is_empty());
        let mut taken = taken.unwrap().unwrap();
        assert_eq!(taken[0].record, Record::Connection(record));
        let mut adopted = UnixStream::from(taken.remove(0).fds.remove(0));
        let mut rest = [0; 14];
        adopted.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"T / HTTP/1.1\r\n");
        adopted.write_all(b"HTTP/1.1 200").unwrap();
        drop(adopted);
        // Nobody else holds it: the client sees the end.
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HTTP/1.1 200");
    });
}

#[test]
fn the_ledger_is_the_last_word_and_has_no_descriptors() {
    run(async {
        for to in [Destination::Gateway, Destination::Store] {
            let (mut dispatch, mut intake) = post(to);
            let ledger = Ledger { gateways: vec![Page { gateway: 7, ..Page::default() }] };
            let last = Parcel { record: Record::Ledger(Box::new(ledger.clone())), fds: vec![] };
            let send = async move {
                assert!(dispatch.send(vec![connection(1)]).await.unwrap().is_empty());
                assert!(dispatch.send(vec![last]).await.unwrap().is_empty());
            };
            let ((), mut taken) = tokio::join!(send, take_all(&mut intake));
            assert_eq!(taken.pop().unwrap().record, Record::Ledger(Box::new(ledger)));
            assert_eq!((names(taken), intake.refused()), (vec![1], 0));
        }
    });
}

#[test]
fn a_store_takes_ten_thousand_connections_and_four_thousand_tunnels_and_gives_all_of_them_back() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    // All are open at once, and beside them what the test has anyway.
    let share =
        |number: u64| (number * hard.unwrap_or(u64::MAX).saturating_sub(500).min(18_000) / 18_000) as u32;
    let (connections, tunnels) = (share(10_000), share(4_000));
    if connections < 10_000 {
        less(&format!(
            "only {connections} connections and {tunnels} tunnels: the hard limit of open files is {hard:?}"
        ));
    }
    run(async {
        let before = open_descriptors();
        let (mut dispatch, mut intake) = post(Destination::Store);
        let tunnel_at = |index| tunnel(connections + 1 + 2 * index);
        let parcels: Vec<Parcel> =
            (1..=connections).map(connection).chain((0..tunnels).map(tunnel_at)).collect();
        let numbers: Vec<u32> = parcels.iter().map(|parcel| requests(parcel) as u32).collect();
        println!("as JSON: {} bytes", parcels.iter().map(size).sum::<usize>());

        let begun = Instant::now();
        assert!(dispatch.send(parcels).await.unwrap().is_empty());
        println!("sent in {:?}", begun.elapsed());
        drop(dispatch);
        assert_eq!(open_descriptors(), before + 1, "all are in the mailbox");

        let begun = Instant::now();
        let taken = take_all(&mut intake).await;
        println!("read in {:?}", begun.elapsed());
        drop(intake);
        assert_eq!(names(taken), numbers);
        assert_eq!(open_descriptors(), before);
    });
}

fn size(parcel: &Parcel) -> usize {
    serde_json::to_vec(&Item { fds: parcel.fds.len(), record: &parcel.record }).unwrap().len()
}

/// As the tests on booted hosts do it: `make test` prints these lines at its end.
fn less(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    println!("skipped: {name}: {reason}");
    if let Some(path) = std::env::var_os("HITLESS_SKIPPED") {
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(format!("{name}: {reason}\n").as_bytes())).unwrap();
    }
}

#[test]
fn a_store_without_room_says_so_at_once_and_what_did_not_fit_comes_back() {
    run(async {
        let (one, two) = mailbox::pair().unwrap();
        // The least that the kernel allows.
        rustix::net::sockopt::set_socket_send_buffer_size(&one, 1).unwrap();
        let mut dispatch = Dispatch::new(Mailbox::new(one).unwrap(), Destination::Store);
        let mut intake = Intake::new(Mailbox::new(two).unwrap());
        let undelivered = dispatch.send((1..=5_000).map(connection).collect()).await.unwrap_err();
        assert!(matches!(undelivered.error, Error::Full), "{undelivered}");
        assert!(undelivered.error.is_final());
        drop(dispatch);
        let mut all = names(take_all(&mut intake).await);
        let sent = all.len();
        assert!(sent > 0 && sent.is_multiple_of(MOST_FDS), "{sent}");
        all.extend(names(undelivered.parcels));
        assert_eq!(all, (1..=5_000).collect::<Vec<u32>>());
    });
}

#[test]
fn too_many_descriptors_on_their_way_are_an_error_with_the_limit_in_it() {
    // Root may send as many as it likes (unix(7)): this thread gives that up.
    let mut mine = capabilities(None).unwrap();
    mine.effective -= CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE;
    set_capabilities(None, mine).unwrap();
    run(async {
        let file = named(7);
        let parcels = || -> Vec<Parcel> {
            let copy =
                || Parcel { record: Record::Connection(record(7)), fds: vec![file.try_clone().unwrap()] };
            std::iter::repeat_with(copy).take(MOST_FDS).collect()
        };
        let mut intakes = vec![];
        let (mut dispatch, mut intake) = post(Destination::Store);
        let error = loop {
            let Err(undelivered) = dispatch.send(parcels()).await else { continue };
            assert_eq!(names(undelivered.parcels.into_iter().take(1).collect()), [7]);
            // Take the name's place again: reading an eventfd empties it, and all are the same one.
            rustix::io::write(&file, &7_u64.to_ne_bytes()).unwrap();
            match undelivered.error {
                Error::Full => {
                    let next = post(Destination::Store);
                    intakes.push(std::mem::replace(&mut intake, next.1));
                    dispatch = next.0;
                }
                error => break error,
            }
        };
        let limit = getrlimit(Resource::Nofile).current;
        assert!(matches!(error, Error::TooMany(found) if found == limit), "{error}");
        assert!(error.to_string().contains(&limit.unwrap().to_string()));
        assert!(error.is_final());
    });
}

#[test]
fn a_record_of_an_unknown_kind_is_refused_by_itself_and_still_open_at_the_sender() {
    run(async {
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        let parcels = vec![connection(1), unknown(2), connection(3), unknown(4)];
        let (refused, taken) = tokio::join!(dispatch.send(parcels), intake.next());
        assert_eq!(names(taken.unwrap().unwrap()), [1, 3]);
        assert_eq!(intake.refused(), 2);
        let back: Vec<u32> =
            refused.unwrap().into_iter().map(|mut parcel| name(parcel.fds.remove(0))).collect();
        assert_eq!(back, [2, 4]);
    });
}

#[test]
fn a_parcel_that_fits_into_no_letter_comes_back_alone() {
    run(async {
        let before = open_descriptors();
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        let wide = Parcel { record: Record::Unknown, fds: (0..253).map(named).collect() };
        let send = async move { dispatch.send(vec![connection(1), wide, connection(2)]).await };
        let (refused, taken) = tokio::join!(send, take_all(&mut intake));
        assert_eq!(names(taken), [1, 2]);
        let refused = refused.unwrap();
        assert_eq!(refused.iter().map(|parcel| parcel.fds.len()).collect::<Vec<_>>(), [253]);
        drop((refused, intake));
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_letter_is_as_full_as_its_limits_allow() {
    let mut parcels: VecDeque<Parcel> = [connection(1), connection(2), tunnel(4), connection(6)].into();
    let whole = pack(&parcels, MOST_BYTES).unwrap();
    assert_eq!(whole.0, 4);
    assert_eq!(pack(&parcels, whole.1.len()).unwrap(), whole);
    assert_eq!(pack(&parcels, whole.1.len() - 1).unwrap().0, 3);
    assert_eq!(pack(&parcels, whole.1.len() - size(&parcels[3]) - size(&parcels[2]) - 2).unwrap().0, 2);
    assert_eq!(pack(&parcels, 100).unwrap().0, 0);
    parcels.extend((0..130).map(|number| tunnel(2 * number)));
    // 5 descriptors, then 2 each, and 252 are the most.
    assert_eq!(pack(&parcels, MOST_BYTES).unwrap().0, 4 + 123);
}

/// What a foreign sender may put into a letter, and what is said about it.
fn letter(content: &[u8], parcels: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let mut fds = vec![sealed::seal(c"x", content).unwrap()];
    fds.extend(parcels);
    fds
}

fn json(fds: usize, record: &str) -> String {
    format!(r#"{{"version":{VERSION},"parcels":[{{"fds":{fds},"record":{record}}}]}}"#)
}

const CONNECTION: &str =
    r#"{"kind":"connection","listener":"http","address":null,"requests":1,"age_ms":5,"idle_ms":2}"#;

#[test]
fn a_letter_that_cannot_be_trusted_is_refused_as_a_whole_and_says_why_and_the_next_one_is_read() {
    let unsealed = || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(json(1, CONNECTION).as_bytes()).unwrap();
        vec![file.into(), named(1)]
    };
    let valid = json(1, CONNECTION);
    let later = r#"{"version":7,"parcels":{"many":"yes"}}"#;
    let tunnel = CONNECTION.replace("connection", "tunnel");
    let table: Vec<(Vec<OwnedFd>, u64, &str)> = vec![
        (vec![], 0, "it has no descriptor"),
        (unsealed(), 1, "the file in it is not sealed"),
        (vec![named(1)], 0, "the file in it is not sealed"),
        (letter(&vec![b' '; MOST_BYTES + 1], vec![named(1)]), 1, "the file in it is too large"),
        (
            letter(b"GET / HTTP/1.1\r\n", vec![named(1)]),
            1,
            "cannot read it: expected value at line 1 column 1",
        ),
        (letter(b"", vec![]), 0, "cannot read it: EOF"),
        (letter(br#"{"version":1}"#, vec![named(1)]), 1, "missing field `parcels`"),
        (
            letter(later.as_bytes(), vec![named(1), named(2)]),
            2,
            "refused a letter of version 7: this is version 1",
        ),
        (letter(valid.as_bytes(), vec![]), 0, "it has 0 descriptors of parcels, and says 1"),
        (
            letter(valid.as_bytes(), vec![named(1), named(2)]),
            2,
            "it has 2 descriptors of parcels, and says 1",
        ),
        (letter(json(usize::MAX, CONNECTION).as_bytes(), vec![named(1)]), 1, "and says 18446744073709551615"),
        (
            letter(json(2, CONNECTION).as_bytes(), vec![named(1), named(2)]),
            2,
            "parcel 0 has 2 descriptors, and its kind has 1",
        ),
        (letter(json(0, CONNECTION).as_bytes(), vec![]), 0, "parcel 0 has 0 descriptors"),
        (letter(json(1, &tunnel).as_bytes(), vec![named(1)]), 1, "missing field `client`"),
    ];
    run(async {
        for (fds, refused, reason) in table {
            let before = open_descriptors() - fds.len();
            let (sender, receiver) = ends();
            let mut intake = Intake::new(receiver);
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            sender.send(HEADING, &borrowed).await.unwrap();
            drop(fds);
            let error = intake.next().await.unwrap_err();
            assert!(error.to_string().contains(reason), "{reason}: {error}");
            assert!(!error.is_final());
            assert_eq!(intake.refused(), refused, "{reason}");
            let receipt = sender.receive().await.unwrap().unwrap();
            assert!(serde_json::from_slice::<Receipt>(&receipt.content).unwrap().refuses(0), "{reason}");
            // The mailbox goes on, and nothing of the letter is open any more.
            let mut dispatch = Dispatch::new(sender, Destination::Gateway);
            let (refused, taken) = tokio::join!(dispatch.send(vec![connection(5)]), intake.next());
            assert!(refused.unwrap().is_empty());
            assert_eq!(names(taken.unwrap().unwrap()), [5]);
            drop((dispatch, intake));
            assert_eq!(open_descriptors(), before, "{reason}");
        }
    });
}

#[test]
fn another_version_that_refuses_everything_is_understood_whatever_else_it_says() {
    run(async {
        let (sender, reader) = ends();
        let mut dispatch = Dispatch::new(sender, Destination::Gateway);
        let answer = async {
            let letter = reader.receive().await.unwrap().unwrap();
            assert_eq!(letter.fds.len(), 3);
            reader.send(br#"{"version":2,"all":true,"hint":"teleport"}"#, &[]).await.unwrap();
        };
        let (refused, ()) = tokio::join!(dispatch.send(vec![connection(1), connection(2)]), answer);
        assert_eq!(names(refused.unwrap()), [1, 2]);
    });
}

#[test]
fn a_receipt_that_cannot_be_read_gives_everything_back_and_is_the_end() {
    run(async {
        let (sender, reader) = ends();
        let mut dispatch = Dispatch::new(sender, Destination::Gateway);
        let answer = async {
            reader.receive().await.unwrap().unwrap();
            reader.send(b"thanks", &[]).await.unwrap();
        };
        let (undelivered, ()) = tokio::join!(dispatch.send(vec![connection(1)]), answer);
        let undelivered = undelivered.unwrap_err();
        assert!(undelivered.error.is_final());
        assert_eq!(undelivered.to_string(), "cannot read a receipt: expected ident at line 1 column 2");
        assert_eq!(names(undelivered.parcels), [1]);
    });
}

#[test]
fn a_receiver_that_dies_before_its_receipt_leaves_every_parcel_usable_where_it_was() {
    // Before the letter, with the letter unread, and with the letter read.
    for reads in [None, Some(false), Some(true)] {
        run(async {
            let (sender, reader) = mailbox::pair().unwrap();
            let mut dispatch = Dispatch::new(Mailbox::new(sender).unwrap(), Destination::Gateway);
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(b"GET").unwrap();
            // A second letter's worth behind it.
            let mut parcels =
                vec![Parcel { record: Record::Connection(record(1)), fds: vec![server.into()] }];
            parcels.extend((2..400).map(connection));
            let die = async {
                let Some(reads) = reads else { return };
                // SAFETY: an OwnedFd names the same open socket until the AsyncFd that owns it is gone.
                let reader = unsafe { AsyncFd::register(reader) }.unwrap();
                let _ = reader.readable().await.unwrap();
                if reads {
                    Mailbox::new(reader.into_inner()).unwrap().receive().await.unwrap().unwrap();
                }
            };
            let ((), undelivered) = match reads {
                None => (die.await, dispatch.send(parcels).await),
                Some(_) => {
                    let (undelivered, ()) = tokio::join!(dispatch.send(parcels), die);
                    ((), undelivered)
                }
            };
            let undelivered = undelivered.unwrap_err();
            assert!(matches!(undelivered.error, Error::Gone), "{undelivered}");
            let mut parcels = undelivered.parcels;
            assert_eq!(parcels.len(), 399);
            let mut server = UnixStream::from(parcels.remove(0).fds.remove(0));
            let mut request = [0; 3];
            server.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"GET");
            assert_eq!(names(parcels), (2..400).collect::<Vec<u32>>());
        });
    }
}

#[test]
fn what_was_refused_before_the_receiver_died_comes_back_with_the_rest() {
    run(async {
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        let mut parcels = vec![unknown(1)];
        parcels.extend((2..400).map(connection));
        let take_one = async {
            let taken = intake.next().await.unwrap().unwrap();
            drop(intake);
            names(taken)
        };
        let (undelivered, taken) = tokio::join!(dispatch.send(parcels), take_one);
        assert_eq!(taken, (2..=252).collect::<Vec<u32>>());
        let undelivered = undelivered.unwrap_err();
        assert!(matches!(undelivered.error, Error::Gone), "{undelivered}");
        let mut parcels = undelivered.parcels;
        assert_eq!(name(parcels.remove(0).fds.remove(0)), 1);
        assert_eq!(names(parcels), (253..400).collect::<Vec<u32>>());
    });
}

#[test]
fn a_sender_that_dies_before_or_after_a_receipt_leaves_what_it_sent_to_the_receiver() {
    run(async {
        // Before: the letter lies there, its sender has gone, and nobody waits for the receipt.
        let (sender, reader) = ends();
        let mut intake = Intake::new(reader);
        let file = sealed::seal(c"x", json(1, CONNECTION).as_bytes()).unwrap();
        sender.send(HEADING, &[file.as_fd(), named(1).as_fd()]).await.unwrap();
        drop(sender);
        assert_eq!(names(intake.next().await.unwrap().unwrap()), [1]);
        assert!(intake.next().await.unwrap().is_none());

        // After: the receipt lies there unread, and another letter behind the one it is for.
        let (sender, reader) = ends();
        let mut intake = Intake::new(reader);
        for number in [1, 2] {
            let file = sealed::seal(c"x", json(1, CONNECTION).as_bytes()).unwrap();
            sender.send(HEADING, &[file.as_fd(), named(number).as_fd()]).await.unwrap();
        }
        assert_eq!(intake.next().await.unwrap().unwrap().len(), 1);
        drop(sender);
        let mut second = intake.next().await.unwrap().unwrap();
        assert_eq!(name(second.remove(0).fds.remove(0)), 2);
        assert!(intake.next().await.unwrap().is_none());
    });
}

#[test]
fn waiting_for_a_letter_can_be_cancelled() {
    run(async {
        let (mut dispatch, mut intake) = post(Destination::Gateway);
        assert!(intake.next().now_or_never().is_none());
        let (refused, taken) = tokio::join!(dispatch.send(vec![connection(1)]), intake.next());
        assert!(refused.unwrap().is_empty());
        assert_eq!(names(taken.unwrap().unwrap()), [1]);
    });
}

/// Bytes, or the beginnings, ends and numbers of a letter put together at random.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        r#"{"version":1,"parcels":["#,
        r#"{"version":2,"parcels":["#,
        r#"{"fds":1,"record":{"kind":"connection","listener":"http","address":null,"requests":1,"age_ms":5,"idle_ms":2}}"#,
        r#"{"fds":1,"record":{"kind":"teleport"}}"#,
        r#"{"fds":0,"record":{"kind":"teleport"}}"#,
        r#"{"fds":-1,"record":7}"#,
        ",",
        "]}",
        "]}",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(pieces, 0..7).prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn any_letter_is_taken_whole_or_refused_whole_and_nothing_stays_open(
        letters in prop::collection::vec((content(), any::<bool>(), 0..4_u32), 1..5),
    ) {
        let before = open_descriptors();
        run(async {
            let (sender, receiver) = ends();
            let mut intake = Intake::new(receiver);
            for (content, sealed, parcels) in &letters {
                let mut fds: Vec<OwnedFd> = (0..*parcels).map(named).collect();
                if *sealed {
                    fds.insert(0, sealed::seal(c"x", content).unwrap());
                }
                let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                sender.send(HEADING, &borrowed).await.unwrap();
                match intake.next().await {
                    Ok(taken) => {
                        let taken: usize = taken.unwrap().iter().map(|parcel| parcel.fds.len()).sum();
                        assert!(*sealed && taken <= *parcels as usize);
                    }
                    Err(error) => assert!(!error.is_final()),
                }
                let receipt = sender.receive().await.unwrap().unwrap();
                serde_json::from_slice::<Receipt>(&receipt.content).unwrap();
            }
            drop(sender);
            assert!(intake.next().await.unwrap().is_none());
        });
        prop_assert_eq!(open_descriptors(), before);
    }
}
