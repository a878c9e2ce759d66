//! The record layer against an oracle of its own, RFC 8448, rustls and itself, over sockets of any width.

mod interop;
mod limits;
mod moves;
mod oracle;
mod rows;
mod vectors;

use std::collections::VecDeque;
use std::task::Waker;

use super::*;
use crate::handover::record;
use crate::handover::secret::Secret;

const TLS13: [u16; 3] = [0x1301, 0x1302, 0x1303];
const TLS12: [u16; 3] = [0xc02b, 0xc030, 0xcca8];

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// One end of a connection, which gives and takes no more than this at once.
struct Socket<'a> {
    from: &'a mut Pipe,
    to: &'a mut Pipe,
    gives: usize,
    /// Until it takes no more.
    takes: usize,
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = buffer.remaining().min(self.gives).min(self.from.bytes.len());
        let bytes: Vec<u8> = self.from.bytes.drain(..length).collect();
        buffer.put_slice(&bytes);
        if length > 0 || self.from.ended { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.takes);
        self.takes -= length;
        self.to.bytes.extend(&bytes[..length]);
        if length > 0 { Poll::Ready(Ok(length)) } else { Poll::Pending }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A channel with its end of the connection.
struct Side {
    channel: Channel,
    incoming: Pipe,
    outgoing: Pipe,
    space: Vec<u8>,
    gives: usize,
    takes: usize,
}

impl Side {
    fn new(role: Role, seal: &Seal) -> Side {
        let channel = Channel::adopt(role, seal).unwrap();
        let (incoming, outgoing, space) = (Pipe::default(), Pipe::default(), vec![0; SPACE]);
        Side { channel, incoming, outgoing, space, gives: usize::MAX, takes: usize::MAX }
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Channel, &mut Socket<'_>, &mut [u8], &mut Context<'_>) -> T,
    ) -> T {
        let (gives, takes) = (self.gives, self.takes);
        let mut socket = Socket { from: &mut self.incoming, to: &mut self.outgoing, gives, takes };
        call(&mut self.channel, &mut socket, &mut self.space, &mut Context::from_waker(Waker::noop()))
    }

    fn fill(&mut self, plain: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.call(|channel, socket, space, cx| channel.poll_fill(socket, plain, space, cx))
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.call(|channel, socket, space, cx| channel.poll_write(socket, &[IoSlice::new(bytes)], space, cx))
    }

    fn write_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Poll::Ready(written) = self.write(bytes) else { panic!("the socket takes no more") };
            bytes = &bytes[written.unwrap()..];
        }
    }

    fn shutdown(&mut self) -> Poll<io::Result<()>> {
        self.call(|channel, socket, _, cx| channel.poll_shutdown(socket, cx))
    }

    /// To another process, and on there.
    fn moves(&mut self) {
        let role = self.channel.role;
        let nobody = Channel::adopt(role, &seals(0x1301, 0, 0).0).unwrap();
        let seal = std::mem::replace(&mut self.channel, nobody).give_up().unwrap();
        let text = serde_json::to_string(&seal).unwrap();
        self.channel = Channel::adopt(role, &serde_json::from_str(&text).unwrap()).unwrap();
    }

    /// What has come by now, up to this.
    fn read(&mut self) -> (BytesMut, Poll<io::Result<usize>>) {
        let mut plain = BytesMut::new();
        loop {
            let before = plain.len();
            match self.fill(&mut plain) {
                Poll::Ready(Ok(read)) if read > 0 => assert_eq!(plain.len(), before + read),
                other => return (plain, other),
            }
        }
    }
}

fn half(suite: u16, byte: u8, number: u64) -> record::Half {
    let (length, iv) = match suite {
        0x1301 | 0x1303 => (32, 0),
        0x1302 => (48, 0),
        0xc02b => (16, 12),
        _ => (32, 12),
    };
    let (secret, iv) = (Secret::from(&vec![byte; length][..]), Secret::from(&vec![byte ^ 7; iv][..]));
    record::Half { secret, iv, number }
}

/// The client's and the server's seal of a connection, at these records.
fn seals(suite: u16, up: u64, down: u64) -> (Seal, Seal) {
    let (up, down) = (half(suite, 1, up), half(suite, 2, down));
    let server = Seal { suite, read: up.clone(), write: down.clone(), ..Seal::default() };
    let client = Seal { suite, read: down, write: up, ..Seal::default() };
    (client, server)
}

/// The client's and the server's end of it.
fn pair(suite: u16) -> (Side, Side) {
    let (client, server) = seals(suite, 0, 0);
    (Side::new(Role::Client, &client), Side::new(Role::Server, &server))
}

/// What one side has written is what the other side reads next.
fn carry(from: &mut Side, to: &mut Side) {
    to.incoming.bytes.append(&mut from.outgoing.bytes);
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
