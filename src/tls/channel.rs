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
//! | close_notify | the end of what is read; writing goes on | the same, as everybody does it |
//! | user_canceled; any warning in TLS 1.2 | passed over, [`IDLE`] times in a row | the same |
//! | any other alert | an error, nothing is written any more | the same |
//! | KeyUpdate | the next key to read by; when asked for, our next one before the next data | a fault |
//! | NewSessionTicket, from a server | passed over, [`IDLE`] times in a row | a fault |
//! | HelloRequest, from a server | a fault | passed over, [`IDLE`] times in a row |
//! | ClientHello: renegotiation | a fault | a fault, no_renegotiation |
//! | any other handshake message | a fault | a fault |
//! | change_cipher_spec, a kind that is not known | a fault | a fault |
//! | a record that does not open, or is too long | a fault | a fault |
//! | the socket ends without close_notify | the end, [`Channel::was_cut`] | the same |
//!
//! A fault ends the connection with a fatal alert, once what came before it has been read. Before its key is worn
//! out, what is written goes on with the next one (TLS 1.3), or ends with close_notify (TLS 1.2), which
//! [`Channel::is_worn`] says in time. When the socket takes nothing any more, what has come is still read.
//!
//! Promises: what was written is sealed once, in order, and [`Channel::poll_write`] says that it is written when
//! the socket has all of it; what is read is what the other side sealed, in order, each byte once. Holds no
//! buffer between records. What a peer can make it hold is bounded: twice what it has sent of one record, one
//! handshake message, and what was sealed in one space, with an alert. Sources: RFC 8446, sections 4.6, 5 and 6; RFC 5246,
//! sections 6 and 7.
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

/// The longest ticket that is waited for, to be passed over (BoringSSL: the same).
const TICKET: usize = 1 << 14;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

// Alerts (RFC 8446, section 6; RFC 5246, section 7.2).
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;

// Handshake messages (RFC 8446, section 4; RFC 5246, section 7.4).
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

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
    /// What the peer did behind what has been read.
    wrong: Option<Wrong>,
    /// Nothing can be read or written any more.
    broken: bool,
}

/// What the peer did wrong, with the alert that says so (RFC 8446, section 6.2).
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("TLS: {0}")]
    Record(#[from] Fault),
    #[error("TLS: an alert, number {0}")]
    Alert(u8),
    #[error("TLS: {1}")]
    Message(u8, &'static str),
}

impl Wrong {
    fn unexpected(what: &'static str) -> Wrong {
        Wrong::Message(UNEXPECTED_MESSAGE, what)
    }

    fn alert(&self) -> Option<u8> {
        match self {
            Wrong::Record(Fault::BadRecord) => Some(BAD_RECORD_MAC),
            Wrong::Record(Fault::TooLong) => Some(RECORD_OVERFLOW),
            Wrong::Record(Fault::NoContent) => Some(UNEXPECTED_MESSAGE),
            Wrong::Record(Fault::WornOut) => Some(INTERNAL_ERROR),
            Wrong::Message(alert, _) => Some(*alert),
            // It has the last word.
            Wrong::Alert(_) => None,
        }
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
            wrong: None,
            broken: false,
        })
    }

    /// Everything that it takes to [adopt](Channel::adopt) it; the names are for the caller to add. `None` of one that
    /// is broken.
    pub fn give_up(self) -> Option<Seal> {
        (!self.broken && self.wrong.is_none()).then(|| Seal {
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

    /// Whether something waits to be written to the socket.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether it is to end before long: its key is worn, and TLS 1.2 has no next one.
    pub fn is_worn(&self) -> bool {
        self.version == Version::Tls12 && self.write.is_worn()
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
            if let Some(wrong) = self.wrong.take() {
                return Poll::Ready(Err(self.break_off(wrong, io, cx)));
            }
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if self.ended || self.cut {
                return Poll::Ready(Ok(0));
            }
            if std::mem::take(&mut self.unopened) {
                let mut partial = std::mem::take(&mut self.partial);
                let taken = self.open(&mut partial, plain);
                self.keep(&partial[taken..]);
            } else {
                ready!(self.poll_read(io, plain, space, cx))?;
            }
            if plain.len() > before {
                return Poll::Ready(Ok(plain.len() - before));
            }
        }
    }

    /// Reads the socket once, and opens what has become whole.
    fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        plain: &mut BytesMut,
        space: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let held = self.partial.len();
        let mut buffer = ReadBuf::new(&mut space[held..]);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let end = held + buffer.filled().len();
        self.cut = end == held;
        let header = held.min(HEADER);
        space[..header].copy_from_slice(&self.partial[..header]);
        if self.length(&space[..end]).is_ok_and(|length| end < length) {
            // Only what is new: a record that comes byte by byte is not copied as often.
            self.partial.extend_from_slice(&space[held..end]);
        } else {
            space[header..held].copy_from_slice(&self.partial[header..]);
            let taken = self.open(&mut space[..end], plain);
            self.keep(&space[taken..end]);
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, partial: &[u8]) {
        if partial.is_empty() {
            self.partial = BytesMut::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(partial);
        }
    }

    /// How long the record is that begins like this, or at least is.
    fn length(&self, beginning: &[u8]) -> Result<usize, Wrong> {
        let [kind, _, _, high, low, ..] = *beginning else { return Ok(HEADER) };
        match (self.version, Content::of(kind)) {
            (_, Some(Content::Data)) | (Version::Tls12, Some(_)) => {}
            (Version::Tls13, Some(_)) => return Err(Wrong::unexpected("a record that is not encrypted")),
            (_, None) => return Err(Fault::NoContent.into()),
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > PLAIN + OVERHEAD { Err(Fault::TooLong.into()) } else { Ok(HEADER + length) }
    }

    /// Opens the whole records at the beginning of `sealed`: how much they are.
    fn open(&mut self, sealed: &mut [u8], plain: &mut BytesMut) -> usize {
        let mut taken = 0;
        while !self.ended && self.wrong.is_none() {
            match self.open_first(&mut sealed[taken..], plain) {
                Ok(0) => return taken,
                Ok(length) => taken += length,
                Err(wrong) => self.wrong = Some(wrong),
            }
        }
        // What comes behind the end is thrown away.
        sealed.len()
    }

    fn open_first(&mut self, sealed: &mut [u8], plain: &mut BytesMut) -> Result<usize, Wrong> {
        let length = self.length(sealed)?;
        let Some(record) = sealed.get_mut(..length) else { return Ok(0) };
        let (content, inner) = self.read.open(record)?;
        if content == Content::Data && !self.message.is_empty() {
            return Err(Wrong::unexpected("data in the middle of a handshake message"));
        }
        match content {
            Content::Data if inner.is_empty() => self.idles()?,
            Content::Data => {
                self.idle = 0;
                plain.extend_from_slice(inner);
            }
            Content::Alert => self.alerted(inner)?,
            Content::Handshake => self.told(inner)?,
            Content::ChangeCipherSpec => return Err(Wrong::unexpected("change_cipher_spec")),
        }
        Ok(length)
    }

    fn idles(&mut self) -> Result<(), Wrong> {
        self.idle += 1;
        if self.idle > IDLE { Err(Wrong::unexpected("too many records that carry nothing")) } else { Ok(()) }
    }

    fn alerted(&mut self, alert: &[u8]) -> Result<(), Wrong> {
        let (level, description) = match *alert {
            [level, description] => (level, description),
            [] => return Err(Wrong::unexpected("an empty alert")),
            _ => return Err(Wrong::Message(DECODE_ERROR, "an alert that is not one")),
        };
        match (self.version, level, description) {
            (_, _, CLOSE_NOTIFY) => self.ended = true,
            (Version::Tls13, _, USER_CANCELED) | (Version::Tls12, WARNING, _) => self.idles()?,
            _ => return Err(Wrong::Alert(description)),
        }
        Ok(())
    }

    /// A handshake message after the handshake, or a part of one, or several.
    fn told(&mut self, message: &[u8]) -> Result<(), Wrong> {
        if message.is_empty() {
            return Err(Wrong::unexpected("an empty handshake record"));
        }
        self.idles()?;
        self.message.extend_from_slice(message);
        while let Some(kind) = self.message.first() {
            let longest = match (self.version, self.role, *kind) {
                (Version::Tls13, _, KEY_UPDATE) => 1,
                (Version::Tls13, Role::Client, NEW_SESSION_TICKET) => TICKET,
                (Version::Tls12, Role::Client, HELLO_REQUEST) => 0,
                (Version::Tls12, Role::Server, CLIENT_HELLO) => {
                    return Err(Wrong::Message(NO_RENEGOTIATION, "a second handshake"));
                }
                _ => return Err(Wrong::unexpected("a handshake message after the handshake")),
            };
            let [kind, high, middle, low, ..] = self.message[..] else { return Ok(()) };
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if length > longest {
                return Err(Wrong::Message(DECODE_ERROR, "a handshake message that is too long"));
            }
            if self.message.len() < 4 + length {
                return Ok(());
            }
            let message = self.message.split_to(4 + length);
            if kind == KEY_UPDATE {
                self.update_read(&message[4..])?;
            }
        }
        self.message = BytesMut::new();
        Ok(())
    }

    /// RFC 8446, section 4.6.3; section 5.1 says where it must end.
    fn update_read(&mut self, body: &[u8]) -> Result<(), Wrong> {
        if !self.message.is_empty() {
            return Err(Wrong::unexpected("something behind KeyUpdate in its record"));
        }
        match body {
            [0] => {}
            [1] => self.update_owed = true,
            [] => return Err(Wrong::Message(DECODE_ERROR, "an empty KeyUpdate")),
            _ => return Err(Wrong::Message(ILLEGAL_PARAMETER, "a KeyUpdate that asks for something else")),
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
        self.unsent = BytesMut::new();
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
        let given = slices.iter().map(|slice| slice.len()).sum();
        if self.promised > 0 || given == 0 {
            let kept = self.promised.min(given);
            self.promised -= kept;
            return Poll::Ready(Ok(kept));
        }
        self.renew().map_err(Wrong::from)?;
        ready!(self.poll_unsent(io, cx))?;
        let (sealed, plain) = match self.seal(slices, given, space) {
            Ok(sealed) => sealed,
            Err(fault) => {
                // In order, and whoever shuts down next waits for it.
                let _ = self.poll_shutdown(io, cx);
                return Poll::Ready(Err(Wrong::from(fault).into()));
            }
        };
        let mut rest = &space[..sealed];
        while !rest.is_empty() {
            match self.poll_some(io, rest, cx) {
                Poll::Ready(written) => rest = &rest[written?..],
                Poll::Pending => {
                    self.unsent.extend_from_slice(rest);
                    self.promised = plain;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(plain))
    }

    /// Seals as much of `slices`, which are `given` bytes, as there is space for: how much it has become, and how much
    /// it was. Only the last record is a short one.
    fn seal(
        &mut self,
        slices: &[IoSlice<'_>],
        given: usize,
        space: &mut [u8],
    ) -> Result<(usize, usize), Fault> {
        let (at, overhead) = (self.write.plain_at(), self.write.overhead());
        let (mut sealed, mut plain) = (0, 0);
        let mut slices = slices.iter();
        let mut current: &[u8] = &[];
        while plain < given {
            let length = (given - plain).min(PLAIN);
            let Some(record) = space.get_mut(sealed..sealed + length + overhead) else { break };
            let mut room = &mut record[at..at + length];
            while !room.is_empty() {
                while current.is_empty() {
                    current = slices.next().expect("what is given is their sum");
                }
                let (now, later) = current.split_at(current.len().min(room.len()));
                let (into, behind) = room.split_at_mut(now.len());
                into.copy_from_slice(now);
                (current, room) = (later, behind);
            }
            match self.write.seal(Content::Data, record) {
                Ok(()) => {}
                // What was sealed before goes first.
                Err(_) if plain > 0 => break,
                Err(fault) => return Err(fault),
            }
            (sealed, plain) = (sealed + length + overhead, plain + length);
        }
        Ok((sealed, plain))
    }

    /// Takes the next key into use and says so, if that is due.
    fn renew(&mut self) -> Result<(), Fault> {
        if self.version == Version::Tls13 && (self.update_owed || self.write.is_worn()) {
            self.seal_to_unsent(Content::Handshake, &[KEY_UPDATE, 0, 0, 1, 0])?;
            self.write.update();
            self.update_owed = false;
        }
        Ok(())
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
        let mut unsent = std::mem::take(&mut self.unsent);
        while !unsent.is_empty() {
            match self.poll_some(io, &unsent, cx) {
                Poll::Ready(written) => unsent.advance(written?),
                Poll::Pending => {
                    self.unsent = unsent;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The socket takes some of what is sealed, and nothing any more once it has failed.
    fn poll_some(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        sealed: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(io).poll_write(cx, sealed)) {
            Ok(0) => Poll::Ready(Err(self.fall_silent(io::ErrorKind::WriteZero.into()))),
            Ok(written) => Poll::Ready(Ok(written)),
            Err(error) => Poll::Ready(Err(self.fall_silent(error))),
        }
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
        if !self.unsent.is_empty() || self.promised > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.renew().and_then(|()| self.seal_to_unsent(Content::Data, bytes)).map_err(Wrong::from)?;
        match write(&self.unsent) {
            Ok(written) => self.unsent.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(self.fall_silent(error)),
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
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

/// Without the bytes.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, reads {:?}, writes {:?}", self.role, self.read, self.write)
    }
}

#[cfg(test)]
mod tests;
