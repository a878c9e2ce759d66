//! What a channel does about everything that can come, row by row, at once and byte by byte.

use super::oracle::Oracle;
use super::*;

const DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CCS: u8 = 20;

#[derive(Clone)]
enum Sent {
    /// Sealed: a kind, its content, and how many zeros behind it.
    Padded(u8, Vec<u8>, usize),
    /// Sealed, and then this byte of the record is another one.
    Flipped(usize),
    Raw(Vec<u8>),
    /// The peer goes on by its next key.
    Updates,
    /// The socket ends.
    Ends,
}
use Sent::{Ends, Flipped, Padded, Raw, Updates};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// More may come.
    Open,
    /// close_notify.
    Closed,
    Cut,
    /// An error, and this is said by a fatal alert.
    Alert(u8),
    /// An error, and nothing is said.
    Silence,
}

struct Row {
    what: &'static str,
    suites: &'static [u16],
    role: Role,
    sent: Vec<Sent>,
    read: Vec<u8>,
    then: Then,
}

fn sealed(kind: u8, content: &[u8]) -> Sent {
    Padded(kind, content.to_vec(), 0)
}

fn data(content: &[u8]) -> Sent {
    sealed(DATA, content)
}

fn row(what: &'static str, suites: &'static [u16], sent: Vec<Sent>, read: &[u8], then: Then) -> Row {
    Row { what, suites, role: Role::Server, sent, read: read.to_vec(), then }
}

fn as_client(what: &'static str, suites: &'static [u16], sent: Vec<Sent>, read: &[u8], then: Then) -> Row {
    Row { role: Role::Client, ..row(what, suites, sent, read, then) }
}

const BOTH: &[u16] = &[0x1301, 0x1302, 0x1303, 0xc02b, 0xc030, 0xcca8];
const NEW: &[u16] = &TLS13;
const OLD: &[u16] = &TLS12;
const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const ASKS: [u8; 5] = [24, 0, 0, 1, 1];

fn times(count: usize, sent: Sent) -> Vec<Sent> {
    vec![sent; count]
}

fn with(mut sent: Vec<Sent>, last: Sent) -> Vec<Sent> {
    sent.push(last);
    sent
}

fn ticket(length: usize) -> Vec<u8> {
    let length_of = u32::try_from(length).unwrap().to_be_bytes();
    [&[4], &length_of[1..], &vec![9; length]].concat()
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let full = pattern(PLAIN);
    vec![
        row("nothing", BOTH, vec![], b"", Then::Open),
        row("data", BOTH, vec![data(b"one"), data(b"two")], b"onetwo", Then::Open),
        row("a record of full size (5.1)", BOTH, vec![data(&full)], &full, Then::Open),
        row("an empty record of data is traffic analysis' enemy (5.1)", BOTH, vec![data(b""), data(b"a"), data(b"")], b"a", Then::Open),
        row("32 empty records", BOTH, with(times(32, data(b"")), data(b"a")), b"a", Then::Open),
        row("33 empty records", BOTH, times(33, data(b"")), b"", Then::Alert(10)),
        row("data begins the count again", BOTH, [times(32, data(b"")), vec![data(b"a")], times(32, data(b""))].concat(), b"a", Then::Open),

        row("padding (5.4)", NEW, vec![Padded(DATA, b"a".to_vec(), 1), Padded(DATA, b"b".to_vec(), 1000)], b"ab", Then::Open),
        row("only padding and a kind (5.4)", NEW, vec![Padded(DATA, vec![], PLAIN)], b"", Then::Open),
        row("padding to 2^14 + 1 (5.4)", NEW, vec![Padded(DATA, pattern(PLAIN - 9), 9)], &pattern(PLAIN - 9), Then::Open),
        row("padding past 2^14 + 1 (5.4)", NEW, vec![Padded(DATA, pattern(PLAIN - 9), 10)], b"", Then::Alert(22)),
        row("no byte that is not zero (5.4)", NEW, vec![Padded(0, vec![0; 7], 3)], b"", Then::Alert(10)),
        row("zeros in data are not padding (5.4)", NEW, vec![Padded(DATA, vec![0; 7], 3)], &[0; 7], Then::Open),
        row("data past 2^14 (5.2; RFC 5246, 6.2.1)", BOTH, vec![data(&pattern(PLAIN + 1))], b"", Then::Alert(22)),
        row("a length past 2^14 + 256 (5.2; RFC 5246, 6.2.3)", BOTH, vec![Raw(vec![23, 3, 3, 0x41, 1])], b"", Then::Alert(22)),
        row("a length of 2^16 - 1", BOTH, vec![Raw(vec![23, 3, 3, 0xff, 0xff])], b"", Then::Alert(22)),
        row("a length that may be", BOTH, vec![Raw(vec![23, 3, 3, 0x41, 0])], b"", Then::Open),
        row("no room for a tag (5.2)", BOTH, vec![Raw(vec![23, 3, 3, 0, 1, 0])], b"", Then::Alert(20)),
        row("an empty record on the wire (5.2)", BOTH, vec![Raw(vec![23, 3, 3, 0, 0])], b"", Then::Alert(20)),
        row("a tag alone", BOTH, vec![Raw([&[23, 3, 3, 0, 24][..], &[0; 24]].concat())], b"", Then::Alert(20)),

        row("another version than in the seal (5.2; RFC 5246, 6.2.3.3)", BOTH, vec![data(b"a"), Flipped(1)], b"a", Then::Alert(20)),
        row("another minor version", BOTH, vec![Flipped(2)], b"", Then::Alert(20)),
        row("another byte of text", BOTH, vec![data(b"a"), Flipped(14)], b"a", Then::Alert(20)),
        row("another byte of the tag", BOTH, vec![Flipped(usize::MAX)], b"", Then::Alert(20)),
        row("another kind than was sealed (RFC 5246, 6.2.3.3)", OLD, vec![Flipped(0)], b"", Then::Alert(20)),
        row("another kind outside (5.2)", NEW, vec![Flipped(0)], b"", Then::Alert(10)),
        row("plaintext of another protocol", BOTH, vec![Raw(b"GET / HTTP/1.1\r\n\r\n".to_vec())], b"", Then::Alert(10)),
        row("plaintext of TLS 1.3: an alert (5.2)", NEW, vec![Raw(vec![21, 3, 3, 0, 2, 2, 40])], b"", Then::Alert(10)),
        row("plaintext of TLS 1.2: an alert", OLD, vec![Raw(vec![21, 3, 3, 0, 2, 2, 40])], b"", Then::Alert(20)),
        row("data first, then what is wrong", BOTH, vec![data(b"a"), Raw(vec![0; 5]), data(b"b")], b"a", Then::Alert(10)),
        row("a kind that is not known (5)", BOTH, vec![sealed(24, b"a")], b"", Then::Alert(10)),
        row("a kind that is not known, 255", BOTH, vec![sealed(255, b"a")], b"", Then::Alert(10)),

        row("change_cipher_spec in the clear after the handshake (5)", NEW, vec![Raw(vec![20, 3, 3, 0, 1, 1])], b"", Then::Alert(10)),
        row("change_cipher_spec sealed (5)", BOTH, vec![sealed(CCS, &[1])], b"", Then::Alert(10)),

        row("close_notify (6.1)", BOTH, vec![data(b"a"), sealed(ALERT, &[1, 0])], b"a", Then::Closed),
        row("close_notify, said to be fatal (6: the level is ignored)", BOTH, vec![sealed(ALERT, &[2, 0])], b"", Then::Closed),
        row("data behind close_notify is ignored (6.1)", BOTH, vec![sealed(ALERT, &[1, 0]), data(b"a")], b"", Then::Closed),
        row("anything behind close_notify is ignored (6.1)", BOTH, vec![sealed(ALERT, &[1, 0]), Raw(vec![7; 40])], b"", Then::Closed),
        row("the socket ends behind close_notify", BOTH, vec![sealed(ALERT, &[1, 0]), Ends], b"", Then::Closed),
        row("the socket ends (6.1)", BOTH, vec![data(b"a"), Ends], b"a", Then::Cut),
        row("the socket ends in a record", BOTH, vec![Raw(vec![23, 3, 3, 0]), Ends], b"", Then::Cut),
        row("user_canceled (6.1)", BOTH, vec![sealed(ALERT, &[1, 90]), data(b"a")], b"a", Then::Open),
        row("user_canceled, said to be fatal, in TLS 1.3 (6)", NEW, vec![sealed(ALERT, &[2, 90]), data(b"a")], b"a", Then::Open),
        row("user_canceled, fatal, in TLS 1.2 (RFC 5246, 7.2)", OLD, vec![sealed(ALERT, &[2, 90])], b"", Then::Silence),
        row("user_canceled 33 times", BOTH, times(33, sealed(ALERT, &[1, 90])), b"", Then::Alert(10)),
        row("a warning in TLS 1.2 (RFC 5246, 7.2)", OLD, vec![sealed(ALERT, &[1, 100]), data(b"a")], b"a", Then::Open),
        row("33 warnings in TLS 1.2", OLD, times(33, sealed(ALERT, &[1, 100])), b"", Then::Alert(10)),
        row("an error alert, said to be a warning (6.2)", NEW, vec![sealed(ALERT, &[1, 20])], b"", Then::Silence),
        row("an error alert (6.2: nothing is sent any more)", BOTH, vec![data(b"a"), sealed(ALERT, &[2, 20])], b"a", Then::Silence),
        row("an alert that is not known (6.2)", BOTH, vec![sealed(ALERT, &[2, 250])], b"", Then::Silence),
        row("a level that is not known (RFC 5246, 7.2)", OLD, vec![sealed(ALERT, &[3, 100])], b"", Then::Silence),
        row("an empty alert (5.1)", BOTH, vec![sealed(ALERT, &[])], b"", Then::Alert(10)),
        row("half an alert (5.1)", BOTH, vec![sealed(ALERT, &[1])], b"", Then::Alert(50)),
        row("two alerts in a record (5.1)", BOTH, vec![sealed(ALERT, &[1, 90, 1, 0])], b"", Then::Alert(50)),

        row("KeyUpdate (4.6.3)", NEW, vec![data(b"a"), sealed(HANDSHAKE, &UPDATE), Updates, data(b"b")], b"ab", Then::Open),
        row("KeyUpdate twice", NEW, vec![sealed(HANDSHAKE, &UPDATE), Updates, sealed(HANDSHAKE, &UPDATE), Updates, data(b"b")], b"b", Then::Open),
        row("KeyUpdate in two records (5.1)", NEW, vec![sealed(HANDSHAKE, &UPDATE[..2]), sealed(HANDSHAKE, &UPDATE[2..]), Updates, data(b"b")], b"b", Then::Open),
        row("KeyUpdate, and on by the old key (4.6.3)", NEW, vec![sealed(HANDSHAKE, &UPDATE), data(b"b")], b"", Then::Alert(20)),
        row("33 KeyUpdates without data", NEW, (0..33).flat_map(|_| [sealed(HANDSHAKE, &UPDATE), Updates]).collect(), b"", Then::Alert(10)),
        row("KeyUpdate that asks for 2 (4.6.3)", NEW, vec![sealed(HANDSHAKE, &[24, 0, 0, 1, 2])], b"", Then::Alert(47)),
        row("an empty KeyUpdate", NEW, vec![sealed(HANDSHAKE, &[24, 0, 0, 0])], b"", Then::Alert(50)),
        row("a long KeyUpdate", NEW, vec![sealed(HANDSHAKE, &[24, 0, 0, 2, 0, 0])], b"", Then::Alert(50)),
        row("something behind KeyUpdate in its record (5.1)", NEW, vec![sealed(HANDSHAKE, &[UPDATE, UPDATE].concat())], b"", Then::Alert(10)),
        row("the beginning of something behind KeyUpdate (5.1)", NEW, vec![sealed(HANDSHAKE, &[&UPDATE[..], &[24]].concat())], b"", Then::Alert(10)),
        row("data in the middle of a handshake message (5.1)", NEW, vec![sealed(HANDSHAKE, &UPDATE[..2]), data(b"a")], b"", Then::Alert(10)),
        row("no data in the middle of a handshake message (5.1)", NEW, vec![sealed(HANDSHAKE, &UPDATE[..2]), data(b"")], b"", Then::Alert(10)),
        row("close_notify in the middle of a handshake message", NEW, vec![sealed(HANDSHAKE, &UPDATE[..2]), sealed(ALERT, &[1, 0])], b"", Then::Closed),
        row("an empty handshake record (5.1)", BOTH, vec![sealed(HANDSHAKE, &[])], b"", Then::Alert(10)),
        row("KeyUpdate in TLS 1.2", OLD, vec![sealed(HANDSHAKE, &UPDATE)], b"", Then::Alert(10)),

        row("ClientHello again (4.1.2)", NEW, vec![sealed(HANDSHAKE, &[1, 0, 0, 2, 3, 3])], b"", Then::Alert(10)),
        row("ClientHello again: renegotiation (RFC 5246, 7.2.2)", OLD, vec![sealed(HANDSHAKE, &[1, 0, 0, 2, 3, 3])], b"", Then::Alert(100)),
        row("a ticket from a client (4.6.1)", NEW, vec![sealed(HANDSHAKE, &ticket(40))], b"", Then::Alert(10)),
        row("a certificate that nobody asked for (4.6.2)", NEW, vec![sealed(HANDSHAKE, &[11, 0, 0, 0])], b"", Then::Alert(10)),
        row("EndOfEarlyData (4.5)", NEW, vec![sealed(HANDSHAKE, &[5, 0, 0, 0])], b"", Then::Alert(10)),
        row("a HelloRequest from a client", BOTH, vec![sealed(HANDSHAKE, &[0, 0, 0, 0])], b"", Then::Alert(10)),

        as_client("a ticket (4.6.1)", NEW, vec![sealed(HANDSHAKE, &ticket(200)), data(b"a")], b"a", Then::Open),
        as_client("two tickets in a record", NEW, vec![sealed(HANDSHAKE, &[ticket(200), ticket(100)].concat()), data(b"a")], b"a", Then::Open),
        as_client("a ticket in pieces, the next one behind it", NEW, vec![sealed(HANDSHAKE, &ticket(200)[..50]), sealed(HANDSHAKE, &[&ticket(200)[50..], &ticket(3)[..2]].concat()), sealed(HANDSHAKE, &ticket(3)[2..]), data(b"a")], b"a", Then::Open),
        as_client("a ticket and a KeyUpdate in a record", NEW, vec![sealed(HANDSHAKE, &[&ticket(9)[..], &UPDATE].concat()), Updates, data(b"a")], b"a", Then::Open),
        as_client("a ticket of 2^14", NEW, vec![sealed(HANDSHAKE, &ticket(PLAIN)[..PLAIN]), sealed(HANDSHAKE, &ticket(PLAIN)[PLAIN..]), data(b"a")], b"a", Then::Open),
        as_client("a ticket past 2^14", NEW, vec![sealed(HANDSHAKE, &ticket(PLAIN + 1)[..10])], b"", Then::Alert(50)),
        as_client("33 tickets without data", NEW, times(33, sealed(HANDSHAKE, &ticket(10))), b"", Then::Alert(10)),
        as_client("CertificateRequest after the handshake, not offered (4.6.2)", NEW, vec![sealed(HANDSHAKE, &[13, 0, 0, 0])], b"", Then::Alert(10)),
        as_client("HelloRequest (RFC 5246, 7.4.1.1: may be ignored)", OLD, vec![sealed(HANDSHAKE, &[0, 0, 0, 0]), data(b"a")], b"a", Then::Open),
        as_client("HelloRequest in pieces", OLD, vec![sealed(HANDSHAKE, &[0, 0]), sealed(HANDSHAKE, &[0, 0]), data(b"a")], b"a", Then::Open),
        as_client("33 HelloRequests", OLD, times(33, sealed(HANDSHAKE, &[0, 0, 0, 0])), b"", Then::Alert(10)),
        as_client("HelloRequest with something in it", OLD, vec![sealed(HANDSHAKE, &[0, 0, 0, 1, 0])], b"", Then::Alert(50)),
        as_client("HelloRequest in TLS 1.3", NEW, vec![sealed(HANDSHAKE, &[0, 0, 0, 0])], b"", Then::Alert(10)),
        as_client("ServerHello", BOTH, vec![sealed(HANDSHAKE, &[2, 0, 0, 2, 3, 3])], b"", Then::Alert(10)),
        as_client("a ticket in TLS 1.2, where it is of the handshake (RFC 5077, 3.3)", OLD, vec![sealed(HANDSHAKE, &ticket(10))], b"", Then::Alert(10)),
        as_client("close_notify", BOTH, vec![sealed(ALERT, &[1, 0])], b"", Then::Closed),
    ]
}

/// A side, and what its peer seals and opens by.
fn side(suite: u16, role: Role) -> (Side, Oracle, Oracle) {
    let (client, server) = seals(suite, 0, 0);
    let seal = if role == Role::Client { client } else { server };
    (Side::new(role, &seal), Oracle::new(suite, &seal.read), Oracle::new(suite, &seal.write))
}

fn wire(peer: &mut Oracle, sent: &[Sent]) -> Pipe {
    let mut pipe = Pipe::default();
    for sent in sent {
        match sent {
            Padded(kind, content, padding) => pipe.bytes.extend(peer.seal(*kind, content, *padding)),
            Flipped(at) => {
                let mut record = peer.seal(DATA, b"some text", 0);
                let at = (*at).min(record.len() - 1);
                record[at] ^= 1;
                pipe.bytes.extend(record);
            }
            Raw(bytes) => pipe.bytes.extend(bytes),
            Updates => peer.update(),
            Ends => pipe.ended = true,
        }
    }
    pipe
}

#[test]
fn whatever_comes_has_the_end_that_its_row_says() {
    for Row { what, suites, role, sent, read, then } in rows() {
        for (suite, gives) in suites.iter().flat_map(|suite| [(suite, usize::MAX), (suite, 1), (suite, 7)]) {
            let context = format!("{what}, suite {suite:x}, {gives} bytes at once");
            let (mut side, mut speaks, mut hears) = side(*suite, role);
            side.incoming = wire(&mut speaks, &sent);
            side.gives = gives;
            let (plain, end) = side.read();
            assert_eq!(plain, read, "{context}");
            let said = hears.listen(side.outgoing.bytes.make_contiguous());
            side.outgoing.bytes.clear();
            let verdict = match (end, &said[..]) {
                (Poll::Pending, []) => Then::Open,
                (Poll::Ready(Ok(0)), []) if side.channel.was_cut() => Then::Cut,
                (Poll::Ready(Ok(0)), []) => Then::Closed,
                (Poll::Ready(Err(_)), []) => Then::Silence,
                (Poll::Ready(Err(_)), [(ALERT, alert)]) if alert[0] == FATAL => Then::Alert(alert[1]),
                (end, said) => panic!("{context}: {end:?} {said:?}"),
            };
            assert_eq!(verdict, then, "{context}");
            goes_on_as_it_should(side, hears, then, &context);
        }
    }
}

/// What is written after it, and whether it may move.
fn goes_on_as_it_should(mut side: Side, mut hears: Oracle, then: Then, context: &str) {
    match then {
        Then::Open | Then::Closed | Then::Cut => {
            side.write_all(b"after all");
            assert!(side.shutdown().is_ready());
            let said = hears.listen(side.outgoing.bytes.make_contiguous());
            assert_eq!(said, [(DATA, b"after all".to_vec()), (ALERT, vec![1, 0])], "{context}");
            assert!(matches!(side.write(b"late"), Poll::Ready(Err(_))), "{context}");
            assert!(side.channel.give_up().is_some(), "{context}");
        }
        Then::Alert(_) | Then::Silence => {
            assert!(matches!(side.write(b"late"), Poll::Ready(Err(_))), "{context}");
            assert!(matches!(side.shutdown(), Poll::Ready(Ok(()))), "{context}");
            assert!(matches!(side.read().1, Poll::Ready(Err(_))), "{context}");
            assert!(side.outgoing.bytes.is_empty() && !side.channel.has_unsent(), "{context}");
            assert!(side.channel.give_up().is_none(), "{context}");
        }
    }
}

#[test]
fn a_key_update_that_asks_is_answered_once_before_the_next_data() {
    for suite in TLS13 {
        let (mut side, mut speaks, mut hears) = side(suite, Role::Server);
        let asks = [sealed(HANDSHAKE, &ASKS), Updates];
        side.incoming = wire(&mut speaks, &[&asks[..], &asks, &[data(b"a")]].concat());
        assert_eq!(side.read().0, b"a"[..]);
        assert!(side.outgoing.bytes.is_empty(), "not before there is something to say");
        side.moves();
        side.write_all(b"b");
        side.write_all(b"c");
        let said = hears.listen(side.outgoing.bytes.make_contiguous());
        let expected = [(HANDSHAKE, UPDATE.to_vec()), (DATA, b"b".to_vec()), (DATA, b"c".to_vec())];
        assert_eq!(said, expected, "{suite:x}");
    }
}

#[test]
fn what_is_written_past_everything_is_behind_the_key_that_is_owed() {
    let (mut side, mut speaks, mut hears) = side(0x1301, Role::Server);
    side.incoming = wire(&mut speaks, &[sealed(HANDSHAKE, &ASKS), Updates]);
    assert!(side.read().1.is_pending());
    let written = std::cell::RefCell::new(Vec::new());
    let take = |bytes: &[u8]| {
        written.borrow_mut().extend_from_slice(&bytes[..bytes.len() - 3]);
        Ok(bytes.len() - 3)
    };
    assert_eq!(side.channel.write_now(b"H", take).unwrap(), 1);
    assert!(side.channel.write_now(b"T", take).is_err(), "not past what is unsent");
    side.write_all(b"TTP");
    let mut written = written.into_inner();
    written.extend(side.outgoing.bytes.drain(..));
    let expected = [(HANDSHAKE, UPDATE.to_vec()), (DATA, b"H".to_vec()), (DATA, b"TTP".to_vec())];
    assert_eq!(hears.listen(&written), expected);
}

#[test]
fn no_alert_follows_close_notify() {
    for suite in BOTH {
        let (mut side, mut speaks, mut hears) = side(*suite, Role::Server);
        assert!(side.shutdown().is_ready());
        side.incoming = wire(&mut speaks, &[data(b"a"), Flipped(20)]);
        let (plain, end) = side.read();
        assert!(plain == b"a"[..] && matches!(end, Poll::Ready(Err(_))));
        assert_eq!(hears.listen(side.outgoing.bytes.make_contiguous()), [(ALERT, vec![1, 0])]);
    }
}

#[test]
fn a_seal_that_is_not_understood_is_not_adopted() {
    let (client, _) = seals(0x1301, 0, 0);
    let with = |change: fn(&mut Seal)| {
        let mut seal = client.clone();
        change(&mut seal);
        Channel::adopt(Role::Client, &seal)
    };
    assert!(with(|_| {}).is_some());
    assert!(with(|seal| seal.suite = 0).is_none());
    assert!(with(|seal| seal.suite = 0x1302).is_none(), "a secret that is too short");
    assert!(with(|seal| seal.suite = 0xcca8).is_none(), "no iv");
    assert!(with(|seal| seal.write.secret = Secret::default()).is_none());
}

#[test]
fn a_number_that_is_the_last_one_is_not_used() {
    for suite in BOTH {
        let (client, server) = seals(*suite, u64::MAX, u64::MAX);
        let mut side = Side::new(Role::Server, &server);
        assert!(matches!(side.write(b"a"), Poll::Ready(Err(_))), "{suite:x}");
        side.incoming.bytes =
            Oracle::new(*suite, &record::Half { number: 0, ..client.write }).seal(DATA, b"a", 0).into();
        assert!(matches!(side.read().1, Poll::Ready(Err(_))), "{suite:x}");
    }
}

#[test]
fn neither_secrets_nor_bytes_are_shown() {
    let (mut client, _) = pair(0x1301);
    client.takes = 3;
    assert!(client.write(b"hello").is_pending());
    let shown = format!("{:?}", client.channel);
    assert_eq!(shown, "Client, reads Tls13 Aes128Gcm at record 0, writes Tls13 Aes128Gcm at record 1");
}
