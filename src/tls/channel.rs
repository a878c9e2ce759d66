//! An established TLS connection without its socket: what it takes to go on reading and writing it, here or in
//! another process. The handshake is rustls'; the records from then on are ours, because only so can a connection
//! move at any moment, also in the middle of a record.
//!
//! ```text
//!   socket ──▶ partial ─open─▶ plaintext                  read
//!   socket ◀── unsent ◀─seal── plaintext                  written
//! ```
//! | what comes | in TLS 1.3 | in TLS 1.2 |
//! |---|---|---|
//! | data | read; [`IDLE`] empty records in a row are a fault | the same |
//! | close_notify | the end of what is read; writing goes on | the same |
//! | user_canceled, a warning (TLS 1.2) | passed over, [`IDLE`] times in a row | the same |
//! | any other alert | an error, nothing is written any more | the same |
//! | KeyUpdate | the next key to read by; our next one before the next record, when asked for | a fault |
//! | NewSessionTicket, from a server | passed over | a fault |
//! | HelloRequest, from a server | a fault | passed over, [`IDLE`] times in a row |
//! | any other handshake message: renegotiation | a fault | a fault |
//! | change_cipher_spec, a kind that is not known | a fault | a fault |
//! | a record that does not open, or is too long | a fault | a fault |
//! | the socket ends without close_notify | the end, [`Channel::was_cut`] | the same |
//!
//! A fault ends the connection with a fatal alert. A key that is worn out is replaced (TLS 1.3) or ends the
//! connection in order (TLS 1.2).
//!
//! Promises: what was written is sealed once, in order, and [`Channel::poll_write`] says that it is written when
//! the socket has all of it; what is read is what the other side sealed, in order, each byte once. Holds no
//! buffer between records. What a peer can make it hold is bounded by two records. Sources: RFC 8446, sections 4.6,
//! 5 and 6; RFC 5246, sections 6 and 7.
//! Must not know: HTTP, handshakes, certificates.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::keys::{Content, Fault, HEADER, Half, OVERHEAD, PLAIN, Suite, Version};
use crate::handover::record::Seal;

/// The space that reading and writing borrow: room for a whole record, at least.
pub const SPACE: usize = HEADER + PLAIN + OVERHEAD;

/// How many records in a row may come that carry nothing (BoringSSL, OpenSSL: 32).
const IDLE: u32 = 32;

/// The most of a handshake message after the handshake that is kept until the rest comes: a ticket is short.
const MESSAGE: usize = 1 << 14;

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// Whoever keeps the tickets of a server, for later connections: called with each, without the header of its message.
/// They come before the first data, if at all.
pub type Tickets = Box<dyn FnMut(&[u8]) + Send>;

#[derive(Debug)]
pub struct Channel {
    role: Role,
    version: Version,
    suite: u16,
    read: Half,
    write: Half,
    /// Read, and not a whole record yet.
    partial: BytesMut,
    /// The beginning of a handshake message.
    message: BytesMut,
    /// Sealed, and not yet taken by the socket.
    unsent: BytesMut,
    /// How much plaintext in `unsent` whoever writes has not been told of.
    promised: usize,
    /// Records in a row that carried nothing.
    idle: u32,
    ended: bool,
    cut: bool,
    shut: bool,
    update_owed: bool,
    /// `partial` came with the connection, and may hold whole records.
    unopened: bool,
    /// Nothing can be read or written any more.
    broken: bool,
    /// Until there is data.
    tickets: Option<Taker>,
}

struct Taker(Tickets);

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a taker of tickets")
    }
}

/// What the peer did wrong, with the alert that says so (RFC 8446, section 6.2).
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("TLS: {0}")]
    Record(#[from] Fault),
    #[error("TLS: an alert, number {0}")]
    Alert(u8),
    #[error("TLS: {0}")]
    Unexpected(&'static str),
}

impl Wrong {
    fn alert(&self) -> Option<u8> {
        match self {
            Wrong::Record(Fault::BadRecord) => Some(20),
            Wrong::Record(Fault::TooLong) => Some(22),
            Wrong::Record(Fault::NoContent) | Wrong::Unexpected(_) => Some(10),
            Wrong::Record(Fault::WornOut) => Some(80),
            // It has the last word.
            Wrong::Alert(_) => None,
        }
    }
}

/// The alert that was the end of a connection, if it was one of the other side.
pub fn alert_in(error: &io::Error) -> Option<u8> {
    match error.get_ref()?.downcast_ref()? {
        Wrong::Alert(number) => Some(*number),
        Wrong::Record(_) | Wrong::Unexpected(_) => None,
    }
}

impl From<Wrong> for io::Error {
    fn from(wrong: Wrong) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, wrong)
    }
}

impl Channel {
    /// As another process, or a handshake here, has left it; `None` if this version cannot go on with it.
    pub fn adopt(role: Role, seal: &Seal) -> Option<Channel> {
        let (version, suite) = Suite::of(seal.suite)?;
        Some(Channel {
            role,
            version,
            suite: seal.suite,
            read: Half::adopt(version, suite, &seal.read)?,
            write: Half::adopt(version, suite, &seal.write)?,
            partial: BytesMut::from(&seal.partial[..]),
            message: BytesMut::from(&seal.message[..]),
            unsent: BytesMut::from(&seal.unsent[..]),
            promised: seal.promised,
            idle: 0,
            ended: seal.ended,
            cut: false,
            shut: seal.shut,
            update_owed: seal.update_owed,
            unopened: !seal.partial.is_empty(),
            broken: false,
            tickets: None,
        })
    }

    /// The tickets of the server are given to `tickets`, as long as it stays in this process.
    pub fn keep_tickets(&mut self, tickets: Tickets) {
        self.tickets = Some(Taker(tickets));
    }

    /// Everything that it takes to [adopt](Channel::adopt) it; the names are for the caller to add. `None` of one that
    /// is broken.
    pub fn give_up(self) -> Option<Seal> {
        (!self.broken).then(|| Seal {
            suite: self.suite,
            read: self.read.record(),
            write: self.write.record(),
            partial: self.partial.into(),
            message: self.message.into(),
            unsent: self.unsent.into(),
            promised: self.promised,
            ended: self.ended,
            shut: self.shut,
            update_owed: self.update_owed,
            name: None,
            identity: None,
        })
    }

    /// Whether the socket ended without a word of TLS, so that something may be missing (RFC 8446, section 6.1).
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Whether a record has begun to come that is not whole, or has not been looked at.
    pub fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Whether something waits to be written to the socket.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads the socket once or more often, until there is plaintext: puts that behind `plain`. Ready with how much,
    /// 0 at the end. `space` is at least [`SPACE`], and lent for the call; a larger one is more records at once.
    pub fn poll_fill(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        plain: &mut BytesMut,
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = plain.len();
        loop {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if self.ended || self.cut {
                return Poll::Ready(Ok(0));
            }
            if std::mem::take(&mut self.unopened) {
                let mut partial = std::mem::take(&mut self.partial);
                match self.open(&partial, plain) {
                    Ok(taken) => partial.advance(taken),
                    Err(wrong) => return Poll::Ready(Err(self.break_off(wrong, io, cx))),
                }
                self.partial = partial;
                if plain.len() > before || self.ended {
                    return Poll::Ready(Ok(plain.len() - before));
                }
            }
            let held = self.partial.len();
            space[..held].copy_from_slice(&self.partial);
            let mut buffer = ReadBuf::new(&mut space[held..]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                self.cut = true;
                continue;
            }
            let taken = self.open(&space[..held + read], plain);
            let taken = match taken {
                Ok(taken) => taken,
                Err(wrong) => return Poll::Ready(Err(self.break_off(wrong, io, cx))),
            };
            self.partial = BytesMut::from(&space[taken..held + read]);
            if plain.len() > before {
                return Poll::Ready(Ok(plain.len() - before));
            }
        }
    }

    /// Opens the whole records at the beginning of `sealed`; how much they are.
    fn open(&mut self, sealed: &[u8], plain: &mut BytesMut) -> Result<usize, Wrong> {
        let mut rest = sealed;
        while let [_, _, _, high, low, ..] = rest
            && !self.ended
        {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > PLAIN + OVERHEAD {
                return Err(Fault::TooLong.into());
            }
            let Some((record, behind)) = rest.split_at_checked(HEADER + length) else { break };
            self.open_one(record, plain)?;
            rest = behind;
        }
        // What comes behind close_notify is thrown away.
        Ok(if self.ended { sealed.len() } else { sealed.len() - rest.len() })
    }

    fn open_one(&mut self, record: &[u8], plain: &mut BytesMut) -> Result<(), Wrong> {
        if self.version == Version::Tls13 && record[0] != Content::Data as u8 {
            return Err(Wrong::Unexpected("a record that is not encrypted"));
        }
        let begin = plain.len();
        let content = self.read.open(record, plain)?;
        if content != Content::Handshake && !self.message.is_empty() {
            return Err(Wrong::Unexpected("another record in the middle of a handshake message"));
        }
        match content {
            Content::Data if plain.len() > begin => {
                self.idle = 0;
                self.tickets = None;
            }
            Content::Data => self.idles()?,
            Content::Alert | Content::Handshake => {
                let message = plain.split_off(begin);
                if content == Content::Alert { self.alerted(&message)? } else { self.told(&message)? }
            }
            Content::ChangeCipherSpec => return Err(Wrong::Unexpected("change_cipher_spec")),
        }
        Ok(())
    }

    fn idles(&mut self) -> Result<(), Wrong> {
        self.idle += 1;
        if self.idle > IDLE { Err(Wrong::Unexpected("too many records that carry nothing")) } else { Ok(()) }
    }

    fn alerted(&mut self, message: &[u8]) -> Result<(), Wrong> {
        let &[level, description] = message else { return Err(Wrong::Unexpected("half an alert")) };
        match description {
            CLOSE_NOTIFY => {
                self.ended = true;
                Ok(())
            }
            USER_CANCELED => self.idles(),
            _ if level == WARNING && self.version == Version::Tls12 => self.idles(),
            _ => Err(Wrong::Alert(description)),
        }
    }

    /// A handshake message after the handshake, or a part of one, or several.
    fn told(&mut self, message: &[u8]) -> Result<(), Wrong> {
        if message.is_empty() {
            return Err(Wrong::Unexpected("an empty handshake record"));
        }
        self.idles()?;
        self.message.extend_from_slice(message);
        while let [kind, high, middle, low, ..] = self.message[..] {
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if length > MESSAGE {
                return Err(Wrong::Unexpected("a long handshake message"));
            }
            if self.message.len() < 4 + length {
                break;
            }
            let message = self.message.split_to(4 + length);
            match (self.version, self.role, kind) {
                (Version::Tls13, _, KEY_UPDATE) => self.update_read(&message[4..])?,
                (Version::Tls13, Role::Client, NEW_SESSION_TICKET) => {
                    if let Some(Taker(take)) = &mut self.tickets {
                        take(&message[4..]);
                    }
                }
                (Version::Tls12, Role::Client, HELLO_REQUEST) if length == 0 => {}
                _ => return Err(Wrong::Unexpected("a handshake message after the handshake")),
            }
        }
        if self.message.is_empty() {
            self.message = BytesMut::new();
        }
        Ok(())
    }

    /// RFC 8446, section 4.6.3.
    fn update_read(&mut self, body: &[u8]) -> Result<(), Wrong> {
        if !self.message.is_empty() {
            return Err(Wrong::Unexpected("something behind KeyUpdate in its record"));
        }
        match body {
            [0] => {}
            [1] => self.update_owed = true,
            _ => return Err(Wrong::Unexpected("a KeyUpdate that asks for something else")),
        }
        self.read.update();
        Ok(())
    }

    /// Ends the connection by an alert, as far as the socket takes it.
    fn break_off(
        &mut self,
        wrong: Wrong,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Error {
        if let Some(alert) = wrong.alert()
            && !self.shut
            && self.seal_to_unsent(Content::Alert, &[FATAL, alert]).is_ok()
        {
            // Nobody waits for it: a peer that does not read has lost it.
            let _ = self.poll_unsent(io, cx);
        }
        self.broken = true;
        wrong.into()
    }

    /// Ready when `slices`, or as much of their beginning as is said, have been taken by the socket as records. After
    /// pending, the same bytes are to be given again, at the same place or another. Without any it is a flush.
    pub fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        slices: &[IoSlice<'_>],
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.broken || self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_unsent(io, cx))?;
        if self.promised > 0 {
            return Poll::Ready(Ok(std::mem::take(&mut self.promised)));
        }
        let (sealed, plain) = self.seal(slices, space)?;
        let mut rest = &space[..sealed];
        while !rest.is_empty() {
            let written = match Pin::new(&mut *io).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fall_silent(error))),
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    self.promised = plain;
                    return Poll::Pending;
                }
            };
            rest = &rest[written..];
        }
        Poll::Ready(Ok(plain))
    }

    /// Seals as much of `slices` as there is space for: how much it has become, and how much it was.
    fn seal(&mut self, slices: &[IoSlice<'_>], space: &mut [u8]) -> io::Result<(usize, usize)> {
        let mut slices = slices.iter().map(|slice| &slice[..]).filter(|slice| !slice.is_empty()).peekable();
        if slices.peek().is_none() {
            return Ok((0, 0));
        }
        let (mut sealed, mut plain) = (self.renew(space)?, 0);
        let mut current: &[u8] = &[];
        loop {
            let room = (space.len() - sealed).saturating_sub(self.write.overhead()).min(PLAIN);
            let at = sealed + self.write.plain_at();
            let mut length = 0;
            while length < room {
                if current.is_empty() {
                    match slices.next() {
                        Some(slice) => current = slice,
                        None => break,
                    }
                }
                let (now, later) = current.split_at(current.len().min(room - length));
                space[at + length..at + length + now.len()].copy_from_slice(now);
                (current, length) = (later, length + now.len());
            }
            if length == 0 {
                return Ok((sealed, plain));
            }
            let end = sealed + length + self.write.overhead();
            match self.write.seal(Content::Data, &mut space[sealed..end]) {
                Ok(()) => {}
                // What was sealed before goes first.
                Err(_) if plain > 0 => return Ok((sealed, plain)),
                Err(fault) => return Err(Wrong::from(fault).into()),
            }
            (sealed, plain) = (end, plain + length);
        }
    }

    /// Takes the next key into use, if that is due, and says so: how much of `space` that takes.
    fn renew(&mut self, space: &mut [u8]) -> Result<usize, Wrong> {
        if self.version == Version::Tls12 || !(self.update_owed || self.write.is_worn()) {
            return Ok(0);
        }
        let message = [KEY_UPDATE, 0, 0, 1, 0];
        let at = self.write.plain_at();
        space[at..at + message.len()].copy_from_slice(&message);
        let length = message.len() + self.write.overhead();
        self.write.seal(Content::Handshake, &mut space[..length])?;
        self.write.update();
        self.update_owed = false;
        Ok(length)
    }

    fn seal_to_unsent(&mut self, content: Content, message: &[u8]) -> Result<(), Fault> {
        let mut record = vec![0; message.len() + self.write.overhead()];
        let at = self.write.plain_at();
        record[at..at + message.len()].copy_from_slice(message);
        self.write.seal(content, &mut record)?;
        self.unsent.extend_from_slice(&record);
        Ok(())
    }

    /// Ready when everything that is sealed has been taken by the socket.
    fn poll_unsent(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.unsent)) {
                Ok(written) => self.unsent.advance(written),
                Err(error) => return Poll::Ready(Err(self.fall_silent(error))),
            }
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Seals these few bytes, past everything that is being written, and keeps them for [`Channel::poll_write`] if the
    /// socket does not take them now.
    pub fn write_now(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.broken || self.shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.unsent.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.seal_to_unsent(Content::Data, bytes).map_err(Wrong::from)?;
        match write(&self.unsent) {
            Ok(written) => self.unsent.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(self.fall_silent(error)),
        }
        Ok(bytes.len())
    }

    /// The socket takes nothing any more. What the other side has sent before is still read.
    fn fall_silent(&mut self, error: io::Error) -> io::Error {
        self.shut = true;
        self.unsent = BytesMut::new();
        error
    }

    /// Ready when close_notify has been taken by the socket, which may then be shut down. Reading goes on.
    pub fn poll_shutdown(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.broken && !self.shut {
            self.shut = true;
            self.seal_to_unsent(Content::Alert, &[WARNING, CLOSE_NOTIFY]).map_err(Wrong::from)?;
        }
        if self.broken { Poll::Ready(Ok(())) } else { self.poll_unsent(io, cx) }
    }
}

#[cfg(test)]
mod tests;
