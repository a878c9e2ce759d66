//! The client's end of a connection: its socket, TLS around it if there is any, and the bytes read from it that
//! nobody has taken yet.
//!
//! ```text
//!   socket ─▶ (channel) ─▶ unread ─▶ whoever reads          whoever writes ─▶ (channel) ─▶ socket
//! ```
//! Promises: what is unread is read first, in order; a read of nothing is remembered as the end.
//! Whoever holds a [`Wire`] holds all there is of the connection, so it can be served again, here or
//! elsewhere. A connection on which nothing moves holds no buffer. Nobody else sees whether there is a channel.
//! Must not know: HTTP, handshakes.

use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;

use super::scratch;
use super::seat::Seat;
use crate::handover::record::Seal;
use crate::telemetry::counters::Counters;
use crate::tls::{self, Channel};

/// How much room is made for a client that sends much.
const BULK: usize = 64 * 1024;

/// How much is moved for one step of a task's budget, of which it has 128 before it lets others go first. Counted
/// by calls alone, one connection would move 8 MiB at a time.
const STEP: usize = 4 * 1024;

/// How much may be unread when more is read only to see whether the end has come: one record of TLS.
const AHEAD: usize = 16 * 1024;

/// The work of a chunk, in bytes that are moved: with it, 8 Ki chunks are a turn as 512 KiB are.
const CHUNK: usize = 64;

/// A connection as it was accepted, before any thread has made it its own.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking.
    pub socket: OwnedFd,
    /// `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// What it takes up elsewhere.
    pub kept: Option<Kept>,
}

impl fmt::Debug for dyn Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim")
    }
}

/// Kept as long as its connection, and then dropped.
pub type Kept = Box<dyn Claim>;

/// What a connection takes up, as whoever counts knows it.
pub trait Claim: Any + Send {
    /// The connection turns out to be this client's; whether it may have one more.
    fn turns_out(&mut self, client: IpAddr, counters: &Counters) -> bool;
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The socket, as those who read from it and watch it share it. Each borrows it for the length of one
/// system call.
pub(super) struct Socket {
    stream: RefCell<Stream>,
    /// Boxed, so that a connection without TLS pays for a pointer.
    channel: Option<Box<RefCell<Channel>>>,
    /// Read, and not yet taken: plaintext.
    unread: RefCell<BytesMut>,
    seat: Rc<Seat>,
}

/// The one owner of a connection.
pub(super) struct Wire(Rc<Socket>);

/// How much shall be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gulp {
    /// By way of the thread's scratch: only what comes takes memory.
    Small,
    /// Into a buffer of its own, without a copy.
    Bulk,
}

impl Wire {
    /// Registers the socket, from which `unread` has been read, with this thread's reactor.
    pub(super) fn new(socket: OwnedFd, unread: Vec<u8>, seat: Rc<Seat>) -> io::Result<Wire> {
        let stream = if seat.address().is_some() && without_delay(&socket)? {
            Stream::Tcp(TcpStream::from_std(socket.into())?)
        } else {
            Stream::Unix(UnixStream::from_std(socket.into())?)
        };
        let (stream, unread) = (RefCell::new(stream), RefCell::new(BytesMut::from(&unread[..])));
        Ok(Wire(Rc::new(Socket { stream, channel: None, unread, seat })))
    }

    /// From now on what is read and written goes by way of `channel`. Of one that is sole.
    pub(super) fn seal(self, channel: Channel) -> io::Result<Wire> {
        let socket =
            Rc::into_inner(self.0).ok_or_else(|| io::Error::other("somebody still reads from it"))?;
        Ok(Wire(Rc::new(Socket { channel: Some(Box::new(RefCell::new(channel))), ..socket })))
    }

    /// Whether nobody else reads from it or watches it, so that it can be given up.
    pub(super) fn is_sole(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// The socket, of which this thread's reactor knows nothing any more, what is unread, and the TLS connection
    /// around it.
    pub(super) fn give_up(self) -> io::Result<(OwnedFd, Vec<u8>, Option<Seal>)> {
        // Who reads a request's content has let go of the socket when the request has ended.
        let Some(Socket { stream, channel, unread, .. }) = Rc::into_inner(self.0) else {
            return Err(io::Error::other("somebody still reads from it"));
        };
        let seal = match channel.map(|channel| channel.into_inner().give_up()) {
            Some(None) => return Err(io::Error::other("its TLS connection is broken")),
            Some(seal) => seal,
            None => None,
        };
        let socket = match stream.into_inner() {
            Stream::Tcp(stream) => stream.into_std()?.into(),
            Stream::Unix(stream) => stream.into_std()?.into(),
        };
        Ok((socket, unread.into_inner().into(), seal))
    }

    pub(super) fn share(&self) -> Rc<Socket> {
        Rc::clone(&self.0)
    }
}

impl Deref for Wire {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.0
    }
}

impl Socket {
    /// Whether the beginning of something is here that cannot be told yet.
    pub(super) fn holds_partial(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.borrow().has_partial())
    }

    /// What has been read and not been taken. Not to be held across a call that reads.
    pub(super) fn unread(&self) -> RefMut<'_, BytesMut> {
        self.unread.borrow_mut()
    }

    /// Nobody reads: if nothing is unread, no buffer is kept for it either.
    pub(super) fn rest(&self) {
        let mut unread = self.unread.borrow_mut();
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
    }

    /// Puts what is unread into `buffer`, as much as there is room for; whether there was something.
    fn take_unread(&self, buffer: &mut ReadBuf<'_>) -> bool {
        let mut unread = self.unread.borrow_mut();
        if unread.is_empty() {
            return false;
        }
        let count = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..count]);
        unread.advance(count);
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
        true
    }

    /// Reads more behind what is unread; how much, 0 at the end.
    pub(super) fn poll_fill(&self, gulp: Gulp, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(channel) = &self.channel {
            return self.poll_open(channel, usize::MAX, cx);
        }
        let mut unread = self.unread.borrow_mut();
        let stream = &mut *self.stream.borrow_mut();
        let read = match gulp {
            Gulp::Small => scratch::with(|space| {
                let mut buffer = ReadBuf::new(space);
                ready!(stream.poll_read(cx, &mut buffer))?;
                unread.extend_from_slice(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            }),
            Gulp::Bulk => {
                unread.reserve(BULK);
                let polled = match stream {
                    Stream::Tcp(stream) => pin!(stream.read_buf(&mut *unread)).poll(cx),
                    Stream::Unix(stream) => pin!(stream.read_buf(&mut *unread)).poll(cx),
                };
                if polled.is_pending() && unread.is_empty() {
                    // Not to be held while it is waited for.
                    *unread = BytesMut::new();
                }
                polled
            }
        };
        let read = ready!(read)?;
        charge(read, cx);
        self.noted(read);
        Poll::Ready(Ok(read))
    }

    /// The same by way of the channel, with so much of the space that is lent for it. What comes is plaintext, however
    /// much of it there is.
    fn poll_open(
        &self,
        channel: &RefCell<Channel>,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let (mut channel, mut unread) = (channel.borrow_mut(), self.unread.borrow_mut());
        let polled = tls::lend(|space| {
            let most = most.min(space.len());
            channel.poll_fill(&mut *self.stream.borrow_mut(), &mut unread, &mut space[..most], cx)
        });
        if unread.is_empty() {
            // Nor is what its last record was opened into to be held while more is waited for.
            *unread = BytesMut::new();
        }
        if polled.is_pending() && channel.has_partial() {
            // It has begun to send: a record has the time that a head has.
            self.seat.heard();
        }
        let read = ready!(polled)?;
        charge(read, cx);
        self.noted(read);
        Poll::Ready(Ok(read))
    }

    fn noted(&self, read: usize) {
        if read > 0 {
            self.seat.heard();
        } else {
            self.seat.saw_end();
        }
    }

    /// Whether something to read is here, unread or still in the socket, which is asked.
    pub(super) fn has_something(&self) -> bool {
        if let Some(channel) = &self.channel {
            return !self.unread.borrow().is_empty() || self.has_something_sealed(channel);
        }
        let mut unread = self.unread.borrow_mut();
        if !unread.is_empty() {
            return true;
        }
        let mut first = [0; 512];
        let received = rustix::net::recv(&*self.stream.borrow(), &mut first, RecvFlags::DONTWAIT);
        let Ok((_, read)) = received else { return false };
        self.noted(read);
        unread.extend_from_slice(&first[..read]);
        read > 0
    }

    /// A key update, or an end, is nothing.
    fn has_something_sealed(&self, channel: &RefCell<Channel>) -> bool {
        let (mut channel, mut unread) = (channel.borrow_mut(), self.unread.borrow_mut());
        let mut cx = Context::from_waker(Waker::noop());
        let polled = tls::lend(|space| {
            channel.poll_fill(&mut Now(&self.stream.borrow()), &mut unread, space, &mut cx)
        });
        match polled {
            Poll::Ready(Ok(read)) => self.noted(read),
            Poll::Ready(Err(_)) => return false,
            Poll::Pending if channel.has_partial() => self.seat.heard(),
            Poll::Pending => {}
        }
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
        !unread.is_empty() || channel.has_partial()
    }

    /// Ready with true when the client has sent its last byte and all of it has been read, with false
    /// when something is there, of which nothing more is read: then nobody will be woken for more.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(channel) = &self.channel {
            return self.poll_end_sealed(channel, cx);
        }
        let stream = self.stream.borrow();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.peek() {
                Ok(true) => return Poll::Ready(Ok(false)),
                Ok(false) => {
                    self.seat.saw_end();
                    return Poll::Ready(Ok(true));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Only a record that is opened says whether it is the end. What is not is unread from then on, where whoever wants
    /// it looks first; so that nobody has to be told.
    fn poll_end_sealed(&self, channel: &RefCell<Channel>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.unread.borrow().len() < AHEAD {
            if ready!(self.poll_open(channel, tls::SPACE, cx))? == 0 {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }

    /// After pending, the same bytes are to be given again, in front of whatever has come behind them.
    pub(super) fn poll_write(&self, slices: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = &mut *self.stream.borrow_mut();
        let written = ready!(match &self.channel {
            None => stream.poll_write_vectored(slices, cx),
            Some(channel) => {
                tls::lend(|space| channel.borrow_mut().poll_write(stream, slices, space, cx))
            }
        })?;
        charge(written, cx);
        self.seat.wrote();
        Poll::Ready(Ok(written))
    }

    /// Writes these bytes, as far as they go, past everything else: nothing else may wait to be written.
    pub(super) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream.borrow();
        match &self.channel {
            None => stream.send(bytes),
            Some(channel) => channel.borrow_mut().write_now(bytes, |sealed| stream.send(sealed)),
        }
    }

    /// Says that this side sends no more, as far as the socket takes that now. Without TLS closing says it.
    pub(super) fn say_end(&self) {
        if let Some(channel) = &self.channel {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = channel.borrow_mut().poll_shutdown(&mut Now(&self.stream.borrow()), &mut cx);
        }
    }

    /// Another descriptor of the socket.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.stream.borrow().as_fd().try_clone_to_owned()
    }

    /// The close of a TCP connection is a reset, so that an answer without framing that broke off
    /// does not look complete (RFC 9112, section 8).
    pub(super) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = &*self.stream.borrow() {
            // Not being able to set it leaves an ordinary close, which is all that is left to do.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Stream {
    fn poll_write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        Ok(rustix::net::send(self, bytes, flags)?)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether there is something to read; false at the end.
    fn peek(&self) -> io::Result<bool> {
        let mut byte = [0];
        let peek = || {
            let (_, read) = rustix::net::recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            Ok(read > 0)
        };
        match self {
            Stream::Tcp(stream) => stream.try_io(Interest::READABLE, peek),
            Stream::Unix(stream) => stream.try_io(Interest::READABLE, peek),
        }
    }
}

/// As a channel reads and writes it.
impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Stream::poll_read(self.get_mut(), cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_vectored(&[IoSlice::new(bytes)], cx)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self.get_mut(), cx)
    }
}

/// The socket as it is now: nobody is woken for what comes later.
struct Now<'a>(&'a Stream);

fn now<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl AsyncRead for Now<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = rustix::net::recv(self.0, buffer.initialize_unfilled(), RecvFlags::DONTWAIT);
        let (_, read) = ready!(now(received.map_err(Into::into)))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Now<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        now(self.0.send(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Has TCP send at once. False if it is no TCP: a client with an address may have come by a Unix socket from a load
/// balancer that told it.
fn without_delay(socket: &OwnedFd) -> io::Result<bool> {
    match SockRef::from(socket).set_tcp_nodelay(true) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        set => set.map(|()| true),
    }
}

/// Takes the work of so many chunks off the budget of the task.
pub(super) fn charge_chunks(count: usize, cx: &mut Context<'_>) {
    charge(count * CHUNK, cx);
}

/// Takes what has been moved off the budget of the task, beyond the call itself.
fn charge(bytes: usize, cx: &mut Context<'_>) {
    for _ in 0..bytes / STEP {
        match coop::poll_proceed(cx) {
            Poll::Ready(step) => step.made_progress(),
            // It is used up, and the task is woken for its next turn.
            Poll::Pending => return,
        }
    }
}

/// For what comes after HTTP/1, or instead of it.
impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.take_unread(buffer) {
            self.seat.heard();
            return Poll::Ready(Ok(()));
        }
        if let Some(channel) = &self.channel {
            ready!(self.poll_open(channel, usize::MAX, cx))?;
            self.take_unread(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(self.stream.borrow_mut().poll_read(cx, buffer))?;
        charge(buffer.filled().len() - before, cx);
        if buffer.remaining() > 0 || buffer.filled().len() > before {
            self.noted(buffer.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self, &[IoSlice::new(bytes)], cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self, slices, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self.stream.borrow_mut();
        if let Some(channel) = &self.channel {
            ready!(channel.borrow_mut().poll_shutdown(stream, cx))?;
        }
        stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rounds of this work one turn of a task has room for.
    fn rounds(work: impl Fn(&mut Context<'_>)) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut count = 0;
        runtime.block_on(std::future::poll_fn(|cx| {
            while coop::has_budget_remaining() {
                work(cx);
                count += 1;
            }
            Poll::Ready(())
        }));
        count
    }

    #[test]
    fn a_turn_is_half_a_mebibyte_or_eight_thousand_chunks() {
        assert_eq!(rounds(|cx| charge(64 * 1024, cx)), 8);
        assert_eq!(rounds(|cx| charge_chunks(1024, cx)), 8);
        // What a client of one-byte chunks has in one read is more than a turn: 10,922.
        assert_eq!(rounds(|cx| charge_chunks(BULK / 6, cx)), 1);
    }
}
