//! A socket to an endpoint that remembers what a failed request needs to know about it.
//!
//! Promises: it counts the bytes that the kernel took and gave, and keeps the one moment that
//! proves a request unsent (see [`Line::untaken_since`]). While HTTP is spoken on it, a failed
//! write is not an error: the endpoint may have answered before it closed, so only the reading side
//! decides what happened. Must not know: HTTP, requests, pools.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::net::RecvFlags;
use socket2::Domain;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket of either family.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The socket as the HTTP connection, its pool and, after an upgrade, the tunnel see it.
///
/// Clones are the same socket.
#[derive(Clone, Debug)]
pub struct Line(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    /// Bytes that the kernel took from us.
    written: Cell<u64>,
    /// Bytes that the kernel gave us.
    received: Cell<u64>,
    /// How many of `written` the endpoint's kernel had acknowledged when its end of stream was seen
    /// ([`UNSEEN`] before).
    acknowledged_at_end: Cell<u64>,
    /// A reset, or any other error that is not the consequence of an end of stream.
    reset: Cell<bool>,
    /// A write failed; nothing is written any more.
    deaf: Cell<bool>,
    /// HTTP was left behind by an upgrade: write errors are errors again.
    tunnel: Cell<bool>,
}

const UNSEEN: u64 = u64::MAX;

/// What a socket says without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Open, and nothing to read.
    Quiet,
    /// There is something to read.
    Talking,
    /// The end of the stream or an error is waiting.
    Dead,
}

impl Line {
    pub(super) fn new(socket: Socket) -> Line {
        Line(Rc::new(Shared {
            socket,
            written: Cell::new(0),
            received: Cell::new(0),
            acknowledged_at_end: Cell::new(UNSEEN),
            reset: Cell::new(false),
            deaf: Cell::new(false),
            tunnel: Cell::new(false),
        }))
    }

    /// The socket itself, for relaying a tunnel by hand.
    pub fn socket(&self) -> &Socket {
        &self.0.socket
    }

    /// Bytes written so far: the mark to hand to [`Line::untaken_since`].
    pub(super) fn written(&self) -> u64 {
        self.0.written.get()
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.0.received.get()
    }

    /// Whether the endpoint ended the connection, in whichever way.
    pub(super) fn ended(&self) -> bool {
        self.0.reset.get() || self.0.acknowledged_at_end.get() != UNSEEN
    }

    /// Whether another request may be written on it.
    pub(super) fn usable(&self) -> bool {
        !self.ended() && !self.deaf()
    }

    /// Whether a write has failed, so that nothing more reaches the endpoint.
    pub(super) fn deaf(&self) -> bool {
        self.0.deaf.get()
    }

    /// Whether it is proven that no byte written after `mark` reached the endpoint's application.
    ///
    /// `with_content` says whether more than a request head was written after `mark`.
    ///
    /// - The kernel took nothing after `mark`: nothing has left this machine.
    /// - TCP: the endpoint's FIN arrived, and when it was seen no byte after `mark` had been
    ///   acknowledged. A FIN carries the acknowledgement of everything that its sender's kernel had
    ///   received by then, so the endpoint had stopped talking before the first byte came; what
    ///   comes after a FIN cannot be answered, and an HTTP server does not act on what it cannot
    ///   answer (RFC 9112, section 9.6). An acknowledgement that comes between the FIN and our look
    ///   makes the look fail, never lie.
    /// - A reset without a FIN proves nothing on TCP: a kernel sends it too when a program ends with
    ///   a half-read request. Linux keeps them apart: a reset after a FIN is EPIPE, one without is
    ///   ECONNRESET (`tcp_reset`), reported once, to whichever call comes first; every call on this
    ///   socket goes through here, so none is missed.
    /// - Unix: a reset means that the endpoint closed with bytes unread (`unix_release_sock`). When
    ///   they are those of a head without content, the head was never read to its end.
    pub(super) fn untaken_since(&self, mark: u64, with_content: bool) -> bool {
        if self.written() <= mark {
            return true;
        }
        let reset = self.0.reset.get();
        match self.0.socket {
            Socket::Tcp(_) => !reset && self.0.acknowledged_at_end.get() <= mark,
            Socket::Unix(_) => reset && !with_content,
        }
    }

    /// Asks the kernel, not the last readiness event, how the connection is.
    pub(super) fn pulse(&self) -> Pulse {
        self.judged(self.peek())
    }

    /// Like [`Line::pulse`], but asks the kernel only when the reactor knows of something to read.
    pub(super) fn glance(&self) -> Pulse {
        let peeked = match &self.0.socket {
            Socket::Tcp(socket) => socket.try_io(Interest::READABLE, || self.peek()),
            Socket::Unix(socket) => socket.try_io(Interest::READABLE, || self.peek()),
        };
        self.judged(peeked)
    }

    /// Ready when the connection is not [`Pulse::Quiet`] any more.
    pub(super) fn poll_pulse(&self, cx: &mut Context<'_>) -> Poll<Pulse> {
        loop {
            if ready!(self.poll_readable(cx)).is_err() {
                return Poll::Ready(Pulse::Dead);
            }
            match self.glance() {
                Pulse::Quiet => {}
                pulse => return Poll::Ready(pulse),
            }
        }
    }

    fn peek(&self) -> io::Result<usize> {
        let mut byte = [0u8; 1];
        let (_, count) = rustix::net::recv(self, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    fn judged(&self, peeked: io::Result<usize>) -> Pulse {
        match peeked {
            Ok(0) => {
                self.note_end();
                Pulse::Dead
            }
            Ok(_) => Pulse::Talking,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Pulse::Quiet
            }
            Err(error) => {
                self.note_error(&error);
                Pulse::Dead
            }
        }
    }

    /// HTTP is over, bytes of another protocol follow.
    pub(super) fn become_tunnel(&self) {
        self.0.tunnel.set(true);
    }

    /// Whether nobody else has it.
    pub(super) fn is_sole(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// The socket, which this thread's reactor forgets. Of a line that is [sole](Line::is_sole).
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        let shared = Rc::into_inner(self.0).ok_or_else(|| io::Error::other("somebody else has it"))?;
        match shared.socket {
            Socket::Tcp(socket) => Ok(socket.into_std()?.into()),
            Socket::Unix(socket) => Ok(socket.into_std()?.into()),
        }
    }

    fn note_end(&self) {
        if self.0.acknowledged_at_end.get() == UNSEEN {
            let acknowledged = self.written().saturating_sub(self.unacknowledged());
            self.0.acknowledged_at_end.set(acknowledged);
        }
    }

    fn note_error(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.0.reset.set(true);
        }
    }

    /// Bytes that the endpoint's kernel has not acknowledged (tcp(7), SIOCOUTQ); 0 when unknown,
    /// which proves nothing.
    fn unacknowledged(&self) -> u64 {
        let Socket::Tcp(socket) = &self.0.socket else { return 0 };
        let mut queued: libc::c_int = 0;
        // SAFETY: the descriptor is open for the length of the call, and TIOCOUTQ (the number that
        // SIOCOUTQ has on Linux) writes one int.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
        if done == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.poll_write_ready(cx),
            Socket::Unix(socket) => socket.poll_write_ready(cx),
        }
    }

    fn written_or_deaf(&self, result: io::Result<usize>, asked: usize) -> io::Result<usize> {
        match result {
            Ok(taken) => {
                add(&self.0.written, taken);
                Ok(taken)
            }
            Err(error) => {
                self.note_error(&error);
                if self.0.tunnel.get() {
                    return Err(error);
                }
                self.0.deaf.set(true);
                Ok(asked)
            }
        }
    }

    fn poll_writing(
        &self,
        cx: &mut Context<'_>,
        asked: usize,
        write: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if self.deaf() {
            return Poll::Ready(Ok(asked));
        }
        loop {
            ready!(self.poll_writable(cx))?;
            match write(&self.0.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                result => return Poll::Ready(self.written_or_deaf(result, asked)),
            }
        }
    }
}

impl Line {
    /// Writes as much of `slices` as the kernel takes at once.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = slices.iter().map(|slice| slice.len()).sum();
        self.poll_writing(cx, asked, |socket| match socket {
            Socket::Tcp(socket) => socket.try_write_vectored(slices),
            Socket::Unix(socket) => socket.try_write_vectored(slices),
        })
    }

    /// Reads once to the end of `buffer`, which gets room for about `space` bytes when there is
    /// something to read. Nothing read is the end of the stream.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        space: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx))?;
            if buffer.capacity() - buffer.len() < space / 2 {
                buffer.reserve(space);
            }
            let length = buffer.len();
            let result = self.received_into(buffer.spare_capacity_mut());
            let Some(result) = result else { continue };
            if let Ok(count) = result {
                // SAFETY: recv(2) has written so many bytes behind the old length.
                unsafe { buffer.set_len(length + count) };
            }
            return Poll::Ready(result);
        }
    }

    /// Reads once, unless there is nothing to read yet.
    fn received_into(&self, space: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        let result = self.0.socket.receive(space);
        match &result {
            Ok(0) => self.note_end(),
            Ok(count) => add(&self.0.received, *count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => self.note_error(error),
        }
        Some(result)
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_readable(cx))?;
            // SAFETY: nothing here makes initialized bytes uninitialized.
            let Some(result) = self.received_into(unsafe { buffer.unfilled_mut() }) else { continue };
            return Poll::Ready(result.map(|count| {
                // SAFETY: recv(2) has written so many bytes.
                unsafe { buffer.assume_init(count) };
                buffer.advance(count);
            }));
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, bytes.len(), |socket| match socket {
            Socket::Tcp(socket) => socket.try_write(bytes),
            Socket::Unix(socket) => socket.try_write(bytes),
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write).map_err(Into::into))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl Socket {
    /// Registers a connected socket with this thread's reactor.
    pub(super) fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        let socket = socket2::Socket::from(fd);
        socket.set_nonblocking(true)?;
        match socket.domain()? {
            Domain::UNIX => Ok(Socket::Unix(UnixStream::from_std(OwnedFd::from(socket).into())?)),
            _ => Ok(Socket::Tcp(TcpStream::from_std(socket.into())?)),
        }
    }

    /// Reads once into `space`, which must not be empty. A read that does not fill it has emptied the
    /// socket, so the next one waits for the reactor instead of asking the kernel (epoll(7), question
    /// 9); an end is not forgotten by that.
    fn receive(&self, space: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let mut received = None;
        let size = space.len();
        let receive = || {
            let ((filled, _), _) = rustix::net::recv(self, space, RecvFlags::empty())?;
            let count = filled.len();
            received = Some(count);
            if (1..size).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let done = match self {
            Socket::Tcp(socket) => socket.try_io(Interest::READABLE, receive),
            Socket::Unix(socket) => socket.try_io(Interest::READABLE, receive),
        };
        match (received, done) {
            (Some(count), _) => Ok(count),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(0),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

fn add(counter: &Cell<u64>, more: usize) {
    counter.set(counter.get() + more as u64);
}
