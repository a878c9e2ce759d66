//! The client's end of a connection: its socket, and the bytes already read from it.
//!
//! Promises: bytes put back are read again first, in order; a read of nothing is remembered as the
//! end. Whoever holds a [`Wire`] holds all there is of the connection, so it can be served again,
//! here or elsewhere.
//! Must not know: HTTP.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::seat::Seat;

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

/// Kept as long as its connection, and then dropped.
pub type Kept = Box<dyn Any + Send>;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The socket, as its wire and whoever watches it share it. They run in one task and borrow it for
/// the length of one system call.
struct Shared {
    stream: RefCell<Stream>,
    /// Everything that was to be written has been.
    flushed: Cell<bool>,
    /// The first byte of the next answer has been written already.
    begun: Cell<bool>,
}

/// An eye on the socket while somebody else owns its wire.
#[derive(Clone)]
pub(super) struct Watch(Rc<Shared>);

/// What every answer of HTTP/1 begins with.
const FIRST: &[u8] = b"H";

/// A connected socket with what was read ahead of its reader.
pub(super) struct Wire {
    shared: Rc<Shared>,
    ahead: Bytes,
    /// A shutdown is not done, only what must come before it.
    kept_open: bool,
    seat: Rc<Seat>,
}

impl Wire {
    /// Registers the socket with this thread's reactor.
    pub(super) fn new(accepted: Accepted, seat: Rc<Seat>) -> io::Result<Wire> {
        let stream = if accepted.address.is_some() {
            let socket = std::net::TcpStream::from(accepted.socket);
            socket.set_nodelay(true)?;
            Stream::Tcp(TcpStream::from_std(socket)?)
        } else {
            Stream::Unix(UnixStream::from_std(accepted.socket.into())?)
        };
        let stream = RefCell::new(stream);
        let shared = Rc::new(Shared { stream, flushed: Cell::new(true), begun: Cell::new(false) });
        Ok(Wire { shared, ahead: Bytes::new(), kept_open: false, seat })
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(Rc::clone(&self.shared))
    }

    /// These bytes were read too early: they are read again before all others.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else if !bytes.is_empty() {
            let mut joined = BytesMut::with_capacity(bytes.len() + self.ahead.len());
            joined.extend_from_slice(&bytes);
            joined.extend_from_slice(&self.ahead);
            self.ahead = joined.freeze();
        }
    }

    /// Whether a shutdown by who serves the connection shall leave the socket open.
    pub(super) fn keep_open(&mut self, kept_open: bool) {
        self.kept_open = kept_open;
    }

    /// Whether something to read is here: put back, or already in the socket, which is asked.
    /// What comes is put back.
    pub(super) fn has_something(&mut self) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let mut first = [0; 512];
        let received = rustix::net::recv(&*self.shared.stream.borrow(), &mut first, RecvFlags::DONTWAIT);
        let Ok((_, read)) = received else { return false };
        if read == 0 {
            self.seat.saw_end();
        } else {
            self.seat.heard();
        }
        self.ahead = Bytes::copy_from_slice(&first[..read]);
        read > 0
    }

    /// The close of a TCP connection is a reset, so that an answer without framing that broke off
    /// does not look complete (RFC 9112, section 8).
    pub(super) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = &*self.shared.stream.borrow() {
            // Not being able to set it leaves an ordinary close, which is all that is left to do.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Watch {
    /// Ready when the client has sent its last byte and all of it has been read.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.0.stream.borrow();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.peek() {
                Ok(true) => return Poll::Pending,
                Ok(false) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether nothing waits for the client to read.
    pub(super) fn is_flushed(&self) -> bool {
        self.0.flushed.get()
    }

    /// Writes the first byte of the next answer ahead of it; it must be flushed.
    pub(super) fn begin_answer(&self) -> io::Result<()> {
        if !self.0.begun.get() {
            let written =
                rustix::net::send(&*self.0.stream.borrow(), FIRST, rustix::net::SendFlags::NOSIGNAL)?;
            self.0.begun.set(written > 0);
        }
        Ok(())
    }

    /// Another descriptor of the socket.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.stream.borrow().as_fd().try_clone_to_owned()
    }
}

impl Stream {
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

impl Shared {
    /// What is left to write of `bytes` when the first one may have been written ahead, and how many
    /// that makes up for.
    fn ahead<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], usize) {
        if bytes.is_empty() || !self.begun.get() { (bytes, 0) } else { (&bytes[1..], 1) }
    }

    fn written(&self, seat: &Seat) {
        self.begun.set(false);
        seat.wrote();
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            self.seat.heard();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(match &mut *self.shared.stream.borrow_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        if buffer.filled().len() > before {
            self.seat.heard();
        } else if buffer.remaining() > 0 {
            self.seat.saw_end();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let shared = &*self.shared;
        shared.flushed.set(false);
        let (rest, ahead) = shared.ahead(bytes);
        if rest.is_empty() && ahead > 0 {
            shared.written(&self.seat);
            return Poll::Ready(Ok(ahead));
        }
        let written = ready!(match &mut *shared.stream.borrow_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, rest),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, rest),
        })?;
        shared.written(&self.seat);
        Poll::Ready(Ok(ahead + written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.shared.begun.get() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.as_mut().poll_write(cx, first);
        }
        let shared = &*self.shared;
        shared.flushed.set(false);
        let written = ready!(match &mut *shared.stream.borrow_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        })?;
        shared.written(&self.seat);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.flushed.set(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept_open {
            return Poll::Ready(Ok(()));
        }
        match &mut *self.shared.stream.borrow_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
