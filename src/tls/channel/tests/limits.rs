//! Worn keys, sockets that fail or take nothing, and what may be held.

use super::oracle::Oracle;
use super::*;

const LIMIT: u64 = 1 << 24;
const WORN: u64 = LIMIT - (1 << 16);

#[test]
fn a_worn_key_is_replaced_in_tls_13() {
    for (suite, worn) in [(0x1301, WORN), (0x1302, WORN), (0x1303, (1 << 48) - (1 << 16))] {
        let (client, server) = seals(suite, worn - 1, 0);
        let mut hears = Oracle::new(suite, &client.write);
        let (mut client, mut server) = (Side::new(Role::Client, &client), Side::new(Role::Server, &server));
        client.write_all(b"last");
        assert!(!client.channel.is_worn());
        client.write_all(b"first");
        carry(&mut client, &mut server);
        let said = hears.listen(server.incoming.bytes.make_contiguous());
        let update = (22, vec![24, 0, 0, 1, 0]);
        assert_eq!(said, [(23, b"last".to_vec()), update, (23, b"first".to_vec())], "{suite:x}");
        assert_eq!(server.read().0, b"lastfirst"[..]);
        assert_eq!(client.channel.give_up().unwrap().write.number, 1);
    }
}

#[test]
fn a_worn_key_ends_the_connection_in_order_in_tls_12() {
    for (suite, limit) in [(0xc02b, LIMIT), (0xc030, LIMIT), (0xcca8, 1 << 48)] {
        let (client, _) = seals(suite, limit - (1 << 16) - 1, 0);
        let mut early = Side::new(Role::Client, &client);
        assert!(!early.channel.is_worn());
        early.write_all(b"a");
        assert!(early.channel.is_worn(), "65,536 records before the end");

        let (client, server) = seals(suite, limit - 1, 0);
        let (mut client, mut server) = (Side::new(Role::Client, &client), Side::new(Role::Server, &server));
        client.space = vec![0; 4 * SPACE];
        let content = pattern(2 * PLAIN);
        let Poll::Ready(Ok(written)) = client.write(&content) else { panic!() };
        assert_eq!(written, PLAIN, "the last record");
        assert!(matches!(client.write(&content[PLAIN..]), Poll::Ready(Err(_))));
        assert!(client.shutdown().is_ready());
        carry(&mut client, &mut server);
        let (plain, end) = server.read();
        assert!(plain == content[..PLAIN] && matches!(end, Poll::Ready(Ok(0))));
        assert!(!server.channel.was_cut(), "close_notify came");
        server.write_all(b"still read");
        carry(&mut server, &mut client);
        assert_eq!(client.read().0, b"still read"[..]);
    }
}

#[test]
fn a_flush_keeps_what_the_writer_has_not_been_told() {
    let (mut client, mut server) = pair(0x1301);
    client.takes = 10;
    assert!(client.write(b"hello world").is_pending());
    client.takes = usize::MAX;
    assert!(client.channel.has_unsent());
    assert!(matches!(client.write(b""), Poll::Ready(Ok(0))));
    assert!(!client.channel.has_unsent());
    client.moves();
    // By other pieces than before.
    assert!(matches!(client.write(b"hello"), Poll::Ready(Ok(5))));
    assert!(client.channel.write_now(b"no", |_| panic!("before its turn")).is_err());
    assert!(matches!(client.write(b" world, and on"), Poll::Ready(Ok(6))));
    client.write_all(b", and on");
    carry(&mut client, &mut server);
    assert_eq!(server.read().0, b"hello world, and on"[..]);
}

#[test]
fn close_notify_goes_behind_what_is_unsent_wherever_that_is_sent_from() {
    for suite in TLS13.into_iter().chain(TLS12) {
        let (mut client, mut server) = pair(suite);
        client.takes = 0;
        assert!(client.write(b"hello").is_pending());
        assert!(client.shutdown().is_pending());
        client.moves();
        client.takes = usize::MAX;
        assert!(client.shutdown().is_ready());
        carry(&mut client, &mut server);
        let (plain, end) = server.read();
        assert!(plain == b"hello"[..] && matches!(end, Poll::Ready(Ok(0))));
    }
}

/// Takes nothing, and says that it has failed.
struct Failing<'a>(&'a mut Pipe, io::Result<usize>);

impl AsyncRead for Failing<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes: Vec<u8> = self.0.bytes.drain(..).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Failing<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.1.as_ref().map(|taken| *taken).map_err(|error| error.kind().into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_came_before_the_socket_failed_is_read() {
    for failure in [Err(io::ErrorKind::ConnectionReset.into()), Ok(0)] {
        let (mut client, mut server) = pair(0x1301);
        server.write_all(b"the answer");
        let mut socket = Failing(&mut server.outgoing, failure);
        let (mut space, mut plain) = (vec![0; SPACE], BytesMut::new());
        let mut cx = Context::from_waker(Waker::noop());
        let channel = &mut client.channel;
        for _ in 0..2 {
            let written =
                channel.poll_write(&mut socket, &[IoSlice::new(b"a question")], &mut space, &mut cx);
            assert!(matches!(written, Poll::Ready(Err(_))));
        }
        assert!(!channel.has_unsent());
        assert!(matches!(channel.poll_shutdown(&mut socket, &mut cx), Poll::Ready(Ok(()))));
        let read = channel.poll_fill(&mut socket, &mut plain, &mut space, &mut cx);
        assert!(matches!(read, Poll::Ready(Ok(10))) && plain == b"the answer"[..]);
    }
}

#[test]
fn what_a_peer_makes_it_hold_is_bounded() {
    for suite in TLS13.into_iter().chain(TLS12) {
        let (mut client, mut server) = pair(suite);
        client.write_all(&pattern(PLAIN));
        let record: Vec<u8> = client.outgoing.bytes.drain(..).collect();
        for (at, byte) in record.iter().enumerate() {
            server.incoming.bytes.push_back(*byte);
            if at + 1 < record.len() {
                assert!(server.read().1.is_pending());
                assert!(server.channel.partial.capacity() <= 2 * (at + 1).max(32));
            }
        }
        assert_eq!(server.read().0, pattern(PLAIN));
        let Channel { partial, message, unsent, .. } = &server.channel;
        assert_eq!((partial.capacity(), message.capacity(), unsent.capacity()), (0, 0, 0), "at rest");
    }
}

#[test]
fn key_updates_that_ask_do_not_pile_up_behind_a_socket_that_takes_nothing() {
    let (client, server) = seals(0x1301, 0, 0);
    let mut speaks = Oracle::new(0x1301, &client.write);
    let mut side = Side::new(Role::Server, &server);
    side.takes = 0;
    let content = pattern(3 * PLAIN);
    for _ in 0..1000 {
        assert!(side.write(&content).is_pending());
        side.incoming.bytes.extend(speaks.seal(22, &[24, 0, 0, 1, 1], 0));
        speaks.update();
        side.incoming.bytes.extend(speaks.seal(23, b"a", 0));
        assert_eq!(side.read().0, b"a"[..]);
        assert!(side.channel.unsent.len() <= SPACE);
    }
}

#[test]
fn a_big_write_is_full_records_and_a_rest() {
    let (mut client, mut server) = pair(0x1301);
    client.space = vec![0; 4 * SPACE];
    let content = pattern(3 * PLAIN + 5);
    client.write_all(&content);
    assert_eq!(client.outgoing.bytes.len(), content.len() + 4 * (HEADER + 1 + 16));
    carry(&mut client, &mut server);
    assert_eq!(server.read().0, content);
}

#[test]
fn slices_are_one_text_and_empty_ones_are_nothing() {
    let (mut client, mut server) = pair(0xc030);
    let (long, empty) = (pattern(PLAIN), []);
    let slices = [&empty[..], b"head", &empty, &long, &empty].map(IoSlice::new);
    let written = client.call(|channel, socket, space, cx| channel.poll_write(socket, &slices, space, cx));
    assert!(matches!(written, Poll::Ready(Ok(length)) if length == 4 + PLAIN));
    carry(&mut client, &mut server);
    assert_eq!(server.read().0, [b"head", &long[..]].concat());
}
