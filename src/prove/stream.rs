//! The bytes between the client and the front door: a socket, or TLS over it.
//!
//! Promises: over TLS it says close_notify when it is dropped, as far as that is possible at once.
//! Must not know: HTTP.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::connection::{Kind, Loss};
use super::options::Address;
use super::socket::Socket;
use super::tls::{self, Handshakes, Secured};

pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Waits for as long as the kernel lets a new connection wait; over TLS until the handshake with `host` is done.
    pub async fn open(address: &Address, tls: Option<&Handshakes>, host: &str) -> Result<Stream, Loss> {
        let socket = Socket::connect(address).await.map_err(|error| Loss::of(&error))?;
        match tls {
            None => Ok(Stream::Plain(socket)),
            Some(tls) => Ok(Stream::Tls(tls.shake(socket, host).await?)),
        }
    }

    /// The client's own end, which tells one connection from another; `None` for a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Stream::Plain(socket) => socket.local(),
            Stream::Tls(stream) => stream.get_ref().0.local(),
        }
    }

    /// How it was secured; `None` without TLS.
    pub fn secured(&self) -> Option<Secured> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(tls::secured(stream)),
        }
    }

    /// Whether that protocol was agreed upon by ALPN; without TLS nothing is, and everything may be spoken.
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(protocol),
        }
    }

    /// How it ended while nothing was asked; `None` while it is open and silent.
    pub fn ended(&mut self) -> Option<Kind> {
        let socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => return tls::ended(stream),
        };
        match socket.peek(&mut [0_u8]) {
            Ok(0) => Some(Kind::Eof),
            Ok(_) => Some(Kind::Malformed),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            Err(error) => Some(Loss::of(&error).kind),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Stream::Tls(stream) = self {
            tls::close(stream);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is sealed but not sent is sent by this.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
