//! A socket to an endpoint that remembers what a failed request needs to know about it.
//!
//! Promises: it counts the bytes that the kernel took and gave, and keeps the one moment that
//! proves a request unsent (see [`Line::untaken_since`]). While HTTP is spoken on it, a failed
//! write is not an error: the endpoint may have answered before it closed, so only the reading side
//! decides what happened. Must not know: HTTP, requests, pools.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
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
/// Clones are the same socket. Its counters are atomics only because hyper wants an upgraded
/// connection to be `Send`; one thread uses them, so they are plain loads and stores.
#[derive(Clone, Debug)]
pub struct Line(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    /// Bytes that the kernel took from us.
    written: AtomicU64,
    /// Bytes that the kernel gave us.
    received: AtomicU64,
    /// How many of `written` the endpoint's kernel had acknowledged when its end of stream was seen
    /// ([`UNSEEN`] before).
    acknowledged_at_end: AtomicU64,
    /// A reset, or any other error that is not the consequence of an end of stream.
    reset: AtomicBool,
    /// A write failed; nothing is written any more.
    deaf: AtomicBool,
    /// HTTP was left behind by an upgrade: write errors are errors again.
    tunnel: AtomicBool,
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
        Line(Arc::new(Shared {
            socket,
            written: AtomicU64::new(0),
            received: AtomicU64::new(0),
            acknowledged_at_end: AtomicU64::new(UNSEEN),
            reset: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
        }))
    }

    /// The socket itself, for relaying a tunnel by hand.
    pub fn socket(&self) -> &Socket {
        &self.0.socket
    }

    /// Bytes written so far: the mark to hand to [`Line::untaken_since`].
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Relaxed)
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.0.received.load(Relaxed)
    }

    /// Whether the endpoint ended the connection, in whichever way.
    pub(super) fn ended(&self) -> bool {
        self.0.reset.load(Relaxed) || self.0.acknowledged_at_end.load(Relaxed) != UNSEEN
    }

    /// Whether another request may be written on it.
    pub(super) fn usable(&self) -> bool {
        !self.ended() && !self.0.deaf.load(Relaxed)
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
        let reset = self.0.reset.load(Relaxed);
        match self.0.socket {
            Socket::Tcp(_) => !reset && self.0.acknowledged_at_end.load(Relaxed) <= mark,
            Socket::Unix(_) => reset && !with_content,
        }
    }

    /// Asks the kernel, not the last readiness event, how the connection is.
    pub(super) fn pulse(&self) -> Pulse {
        let mut byte = [0u8; 1];
        match rustix::net::recv(self.as_fd(), &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                self.note_end();
                Pulse::Dead
            }
            Ok(_) => Pulse::Talking,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Pulse::Quiet,
            Err(errno) => {
                self.note_error(&errno.into());
                Pulse::Dead
            }
        }
    }

    /// HTTP is over, bytes of another protocol follow.
    pub(super) fn become_tunnel(&self) {
        self.0.tunnel.store(true, Relaxed);
    }

    fn note_end(&self) {
        if self.0.acknowledged_at_end.load(Relaxed) == UNSEEN {
            let acknowledged = self.written().saturating_sub(self.unacknowledged());
            self.0.acknowledged_at_end.store(acknowledged, Relaxed);
        }
    }

    fn note_error(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.0.reset.store(true, Relaxed);
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
                if self.0.tunnel.load(Relaxed) {
                    return Err(error);
                }
                self.0.deaf.store(true, Relaxed);
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
        if self.0.deaf.load(Relaxed) {
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
            let result = self.0.socket.receive(buffer);
            return Poll::Ready(match result {
                Ok(0) => {
                    self.note_end();
                    Ok(())
                }
                Ok(given) => {
                    add(&self.0.received, given);
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    self.note_error(&error);
                    Err(error)
                }
            });
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
        let asked = slices.iter().map(|slice| slice.len()).sum();
        self.poll_writing(cx, asked, |socket| match socket {
            Socket::Tcp(socket) => socket.try_write_vectored(slices),
            Socket::Unix(socket) => socket.try_write_vectored(slices),
        })
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
    /// Reads once into `buffer`. A read that does not fill it has emptied the socket, so the next one
    /// waits for the reactor instead of asking the kernel (epoll(7), question 9); an end is not forgotten by that.
    fn receive(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut received = None;
        let receive = || {
            // SAFETY: nothing here makes initialized bytes uninitialized.
            let space = unsafe { buffer.unfilled_mut() };
            let size = space.len();
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
            (Some(count), _) => {
                // SAFETY: recv(2) has written so many bytes.
                unsafe { buffer.assume_init(count) };
                buffer.advance(count);
                Ok(count)
            }
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

/// One writer, so a load and a store are enough.
fn add(counter: &AtomicU64, more: usize) {
    counter.store(counter.load(Relaxed) + more as u64, Relaxed);
}
