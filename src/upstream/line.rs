//! A socket to an endpoint, with or without TLS, that remembers what a failed request needs to know about it.
//!
//! ```text
//!   plaintext ◀─▶ [Channel] ◀─▶ Wire ◀─▶ socket        counted here: what the kernel took
//! ```
//! Promises: it counts the bytes that the kernel took, which are records where there is TLS, and keeps the one
//! moment that proves a request unsent (see [`Line::untaken_since`]). While HTTP is spoken on it, a failed
//! write is not an error: the endpoint may have answered before it closed, so only the reading side
//! decides what happened. What TLS says beside the data, such as a ticket, nobody here sees.
//! Must not know: HTTP, requests, pools, handshakes.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use rustix::net::{RecvFlags, SendFlags};
use socket2::Domain;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::handover::record::Seal;
use crate::tls::{self, Channel};

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
    tls: OnceCell<RefCell<Tls>>,
    /// Bytes that the kernel took from us.
    written: Cell<u64>,
    /// Bytes of what the endpoint has to say, without what TLS is around it.
    received: Cell<u64>,
    /// How many of `written` the endpoint's kernel had acknowledged when its end of stream was seen
    /// ([`UNSEEN`] before).
    acknowledged_at_end: Cell<u64>,
    /// A reset, or any other error that is not the consequence of an end of stream.
    reset: Cell<bool>,
    /// TLS has broken off: by an alert of the endpoint, or because of a record.
    fault: Cell<Option<Fault>>,
    /// A write failed; nothing is written any more.
    deaf: Cell<bool>,
    /// HTTP was left behind by an upgrade: write errors are errors again.
    tunnel: Cell<bool>,
}

#[derive(Debug)]
struct Tls {
    channel: Channel,
    /// Read while it was only asked how the connection is.
    ahead: BytesMut,
}

/// How TLS broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Before the endpoint has said anything, by this alert.
    Alert(u8),
    Other,
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
            tls: OnceCell::new(),
            written: Cell::new(0),
            received: Cell::new(0),
            acknowledged_at_end: Cell::new(UNSEEN),
            reset: Cell::new(false),
            fault: Cell::new(None),
            deaf: Cell::new(false),
            tunnel: Cell::new(false),
        }))
    }

    /// From here on everything goes through `channel`, which a handshake on this line has made.
    pub(super) fn secured(self, channel: Channel) -> Line {
        let tls = RefCell::new(Tls { channel, ahead: BytesMut::new() });
        // There is one handshake on a line.
        let _ = self.0.tls.set(tls);
        self
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
        self.0.reset.get() || self.0.fault.get().is_some() || self.0.acknowledged_at_end.get() != UNSEEN
    }

    /// Whether the connection broke, so that what the endpoint has sent may not be here.
    pub(super) fn was_reset(&self) -> bool {
        self.0.reset.get()
    }

    /// Whether its end may not be where the endpoint ended: in TLS that says so (RFC 8446, section 6.1).
    pub(super) fn was_cut(&self) -> bool {
        self.was_reset() || self.0.tls.get().is_some_and(|tls| tls.borrow().channel.was_cut())
    }

    /// The alert by which the endpoint has refused the handshake after it was over for us, as one of TLS 1.3 does
    /// with a certificate (RFC 8446, section 4.4.2.4): it has not looked at anything that was written behind it.
    pub(super) fn refusal(&self) -> Option<u8> {
        match self.0.fault.get()? {
            Fault::Alert(number @ (42..=46 | 48..=51 | 116)) => Some(number),
            Fault::Alert(_) | Fault::Other => None,
        }
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
    ///
    /// TLS changes nothing of this: what is counted are its records, of which the last one cannot be opened unless
    /// all of it has come; and who has said close_notify has stopped talking as with a FIN. When it breaks off
    /// by a fault, an alert of ours is among what was written.
    pub(super) fn untaken_since(&self, mark: u64, with_content: bool) -> bool {
        if self.written() <= mark {
            return true;
        }
        if self.0.fault.get().is_some() {
            return false;
        }
        let reset = self.0.reset.get();
        match self.0.socket {
            Socket::Tcp(_) => !reset && self.0.acknowledged_at_end.get() <= mark,
            Socket::Unix(_) => reset && !with_content,
        }
    }

    /// Asks the kernel, not the last readiness event, how a connection is that nobody reads from. What only TLS
    /// says to itself is no talk.
    pub(super) fn pulse(&self) -> Pulse {
        let Some(tls) = self.0.tls.get() else { return self.judged(self.peek()) };
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_listen(tls, Wire::at_once(&self.0), &mut context) {
            Poll::Ready(pulse) => pulse,
            Poll::Pending => Pulse::Quiet,
        }
    }

    /// Whether the end of the stream is all that there is to read, or there is an error. Takes nothing from
    /// somebody who reads.
    pub(super) fn is_dead(&self) -> bool {
        self.judged(self.peek()) == Pulse::Dead
    }

    /// Like [`Line::pulse`], but asks the kernel only when the reactor knows of something to read.
    fn glance(&self) -> Pulse {
        let peeked = match &self.0.socket {
            Socket::Tcp(socket) => socket.try_io(Interest::READABLE, || self.peek()),
            Socket::Unix(socket) => socket.try_io(Interest::READABLE, || self.peek()),
        };
        self.judged(peeked)
    }

    /// Ready when the connection is not [`Pulse::Quiet`] any more.
    pub(super) fn poll_pulse(&self, cx: &mut Context<'_>) -> Poll<Pulse> {
        if let Some(tls) = self.0.tls.get() {
            return self.poll_listen(tls, Wire::patient(&self.0), cx);
        }
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
                self.0.note_end();
                Pulse::Dead
            }
            Ok(_) => Pulse::Talking,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Pulse::Quiet
            }
            Err(error) => {
                self.0.note_error(&error);
                Pulse::Dead
            }
        }
    }

    /// Opens what has come, as far as it is not for us.
    fn poll_listen(&self, tls: &RefCell<Tls>, mut wire: Wire<'_>, cx: &mut Context<'_>) -> Poll<Pulse> {
        let Tls { channel, ahead } = &mut *tls.borrow_mut();
        if !ahead.is_empty() {
            return Poll::Ready(Pulse::Talking);
        }
        let filled =
            ready!(tls::lend(|space| channel.poll_fill(&mut wire, ahead, &mut space[..tls::SPACE], cx)));
        Poll::Ready(match self.opened(filled) {
            Ok(1..) => Pulse::Talking,
            Ok(0) | Err(_) => Pulse::Dead,
        })
    }

    /// Takes note of what was opened.
    fn opened(&self, filled: io::Result<usize>) -> io::Result<usize> {
        match &filled {
            // It may be close_notify.
            Ok(0) => self.0.note_end(),
            Ok(count) => add(&self.0.received, *count),
            Err(error) => self.note_fault(error),
        }
        filled
    }

    fn note_fault(&self, error: &io::Error) {
        let fault = match tls::alert_in(error) {
            Some(alert) if self.received() == 0 => Fault::Alert(alert),
            None if error.kind() != io::ErrorKind::InvalidData => return,
            _ => Fault::Other,
        };
        if self.0.fault.get().is_none() {
            self.0.fault.set(Some(fault));
        }
    }

    /// Tells an endpoint that nobody will come back, if it wants to know and there is room for it now.
    pub(super) fn goodbye(&self) {
        let Some(tls) = self.0.tls.get() else { return };
        let channel = &mut tls.borrow_mut().channel;
        if self.usable() && !self.0.tunnel.get() && !channel.has_unsent() {
            let mut context = Context::from_waker(Waker::noop());
            let _ = channel.poll_shutdown(&mut Wire::at_once(&self.0), &mut context);
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

    /// The socket, which this thread's reactor forgets, the TLS around it, and what was read of that. Of a line that
    /// is [sole](Line::is_sole).
    pub(super) fn into_parts(self) -> io::Result<(OwnedFd, Option<Box<Seal>>, BytesMut)> {
        let shared = Rc::into_inner(self.0).ok_or_else(|| io::Error::other("somebody else has it"))?;
        let (seal, ahead) = match shared.tls.into_inner().map(RefCell::into_inner) {
            None => (None, BytesMut::new()),
            Some(Tls { channel, ahead }) => {
                let seal = channel.give_up().ok_or_else(|| io::Error::other("its TLS is broken"))?;
                (Some(Box::new(seal)), ahead)
            }
        };
        let socket = match shared.socket {
            Socket::Tcp(socket) => socket.into_std()?.into(),
            Socket::Unix(socket) => socket.into_std()?.into(),
        };
        Ok((socket, seal, ahead))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_readable(cx)
    }

    /// Reads once, unless there is nothing to read yet. Of a line without TLS.
    fn received_into(&self, space: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        let result = self.0.receive(space);
        if let Some(Ok(count)) = result {
            add(&self.0.received, count);
        }
        result
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
        let Some(tls) = self.0.tls.get() else {
            return self.0.poll_writing(cx, asked, |socket| match socket {
                Socket::Tcp(socket) => socket.try_write_vectored(slices),
                Socket::Unix(socket) => socket.try_write_vectored(slices),
            });
        };
        if self.deaf() {
            return Poll::Ready(Ok(asked));
        }
        let channel = &mut tls.borrow_mut().channel;
        let written =
            ready!(tls::lend(|space| { channel.poll_write(&mut Wire::patient(&self.0), slices, space, cx) }));
        Poll::Ready(match written {
            // There is no key for more of it: what can be read says how it ends.
            Err(_) if !self.0.tunnel.get() => {
                self.0.deaf.set(true);
                Ok(asked)
            }
            written => written,
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
        if let Some(tls) = self.0.tls.get() {
            let Tls { channel, ahead } = &mut *tls.borrow_mut();
            if ahead.is_empty() {
                return self.poll_open(channel, cx, buffer, space);
            }
            let ahead = std::mem::take(ahead);
            buffer.extend_from_slice(&ahead);
            return Poll::Ready(Ok(ahead.len()));
        }
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

    fn poll_open(
        &self,
        channel: &mut Channel,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
        space: usize,
    ) -> Poll<io::Result<usize>> {
        let filled = ready!(tls::lend(|lent| {
            let space = space.clamp(tls::SPACE, lent.len());
            channel.poll_fill(&mut Wire::patient(&self.0), plain, &mut lent[..space], cx)
        }));
        Poll::Ready(self.opened(filled))
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
        if let Some(tls) = self.0.tls.get() {
            let Tls { channel, ahead } = &mut *tls.borrow_mut();
            if ahead.is_empty() {
                ready!(self.poll_open(channel, cx, ahead, buffer.remaining()))?;
            }
            let count = ahead.len().min(buffer.remaining());
            buffer.put_slice(&ahead[..count]);
            ahead.advance(count);
            if ahead.is_empty() {
                *ahead = BytesMut::new();
            }
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
        self.poll_send(cx, &[io::IoSlice::new(bytes)])
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = self.0.tls.get() {
            let channel = &mut tls.borrow_mut().channel;
            ready!(channel.poll_shutdown(&mut Wire::patient(&self.0), cx))?;
        }
        Poll::Ready(rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write).map_err(Into::into))
    }
}

/// The socket below TLS.
struct Wire<'l> {
    shared: &'l Shared,
    /// Whether the task is woken when it is ready; otherwise somebody else may be, who waits for it.
    patient: bool,
}

impl Wire<'_> {
    fn patient(shared: &Shared) -> Wire<'_> {
        Wire { shared, patient: true }
    }

    fn at_once(shared: &Shared) -> Wire<'_> {
        Wire { shared, patient: false }
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing here makes initialized bytes uninitialized.
        let space = unsafe { buffer.unfilled_mut() };
        let result = if self.patient {
            loop {
                ready!(self.shared.socket.poll_readable(cx))?;
                if let Some(result) = self.shared.receive(space) {
                    break result;
                }
            }
        } else {
            let received = rustix::net::recv(&self.shared.socket, space, RecvFlags::DONTWAIT);
            let received = received.map(|((filled, _), _)| filled.len()).map_err(io::Error::from);
            ready!(self.shared.noted(received).map_or(Poll::Pending, Poll::Ready))
        };
        Poll::Ready(result.map(|count| {
            // SAFETY: recv(2) has written so many bytes.
            unsafe { buffer.assume_init(count) };
            buffer.advance(count);
        }))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.patient {
            return self.shared.poll_writing(cx, bytes.len(), |socket| match socket {
                Socket::Tcp(socket) => socket.try_write(bytes),
                Socket::Unix(socket) => socket.try_write(bytes),
            });
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.shared.socket, bytes, flags).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(self.shared.written_or_deaf(result, bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Shared {
    /// Reads once, unless there is nothing to read yet.
    fn receive(&self, space: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        self.noted(self.socket.receive(space))
    }

    fn noted(&self, received: io::Result<usize>) -> Option<io::Result<usize>> {
        match &received {
            Ok(0) => self.note_end(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => self.note_error(error),
        }
        Some(received)
    }

    fn note_end(&self) {
        if self.acknowledged_at_end.get() == UNSEEN {
            let acknowledged = self.written.get().saturating_sub(self.unacknowledged());
            self.acknowledged_at_end.set(acknowledged);
        }
    }

    fn note_error(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.reset.set(true);
        }
    }

    /// Bytes that the endpoint's kernel has not acknowledged (tcp(7), SIOCOUTQ); 0 when unknown,
    /// which proves nothing.
    fn unacknowledged(&self) -> u64 {
        let Socket::Tcp(socket) = &self.socket else { return 0 };
        let mut queued: libc::c_int = 0;
        // SAFETY: the descriptor is open for the length of the call, and TIOCOUTQ (the number that
        // SIOCOUTQ has on Linux) writes one int.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
        if done == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 }
    }

    fn written_or_deaf(&self, result: io::Result<usize>, asked: usize) -> io::Result<usize> {
        match result {
            Ok(taken) => {
                add(&self.written, taken);
                Ok(taken)
            }
            Err(error) => {
                self.note_error(&error);
                if self.tunnel.get() {
                    return Err(error);
                }
                self.deaf.set(true);
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
        if self.deaf.get() {
            return Poll::Ready(Ok(asked));
        }
        loop {
            ready!(self.socket.poll_writable(cx))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                result => return Poll::Ready(self.written_or_deaf(result, asked)),
            }
        }
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

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_write_ready(cx),
            Socket::Unix(socket) => socket.poll_write_ready(cx),
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
